//! What is not counted, but is so at the moment.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::PoisonError;

use sealwire_guard::Target;
use sealwire_names::Timestamp;

use super::SecurityMetrics;

/// What is not counted, but is so at the moment.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Open conversations, by server.
    pub conversations: HashMap<String, u64>,
    /// Who is shut out.
    pub quarantined: Vec<Target>,
    /// Until when the certificate of each server, and all that vouches for it, is valid.
    pub certificates: Vec<(String, Timestamp)>,
    /// Whether clients can be sent here.
    pub is_ready: bool,
    /// How the audit log is, if there is one.
    pub log: Option<LogLevels>,
    /// Lines of the program's log that could not be written.
    pub log_lines_lost: u64,
}

/// How an audit log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// Entries that it has had, those that were pruned among them.
    pub entries: u64,
    /// What it takes on disk, in bytes.
    pub bytes: u64,
    /// What it may take, in bytes; `None`: as much as there is.
    pub most_bytes: Option<u64>,
    /// Whether there will soon be no room for it.
    pub is_nearly_full: bool,
    /// Whether what happens can be recorded.
    pub is_writable: bool,
    /// The size of the tree and its root (RFC 6962 §2.1), of the latest signed checkpoint.
    pub checkpoint: Option<(u64, [u8; 32])>,
    /// When that was signed.
    pub signed: Option<Timestamp>,
}

impl SecurityMetrics {
    pub(super) fn tell(&self, levels: &Levels) {
        let families = &self.families;
        let truth = |is: bool| i64::from(is);
        families.conversations.clear();
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        for server in served.servers.keys() {
            let open = levels.conversations.get(server).copied().unwrap_or_default();
            families.conversations.of([server]).set(number(open));
        }
        for kind in ["peer", "agent", "server"] {
            let of_kind = levels.quarantined.iter().filter(|target| target.kind() == kind);
            families.quarantined.of([kind]).set(number(of_kind.count() as u64));
        }
        families.certificate_expiry_timestamp.clear();
        let mut certificates: Vec<_> = levels.certificates.iter().collect();
        // Of two of one name, at two addresses, the one counts that expires first.
        certificates.sort_by_key(|(_, until)| Reverse(*until));
        for (server, until) in certificates {
            families.certificate_expiry_timestamp.of([server]).set(seconds(*until));
        }
        families.ready.alone().set(truth(levels.is_ready));
        let lost = families.log_lines_lost.alone();
        lost.inc_by(levels.log_lines_lost.saturating_sub(lost.get()));
        let Some(log) = &levels.log else { return };
        families.audit_entries.alone().set(number(log.entries));
        families.audit_size.alone().set(number(log.bytes));
        if let Some(most) = log.most_bytes {
            families.audit_limit.alone().set(number(most));
        }
        families.audit_nearly_full.alone().set(truth(log.is_nearly_full));
        families.audit_writable.alone().set(truth(log.is_writable));
        if let Some(signed) = log.signed {
            families.audit_checkpoint_timestamp.alone().set(seconds(signed));
        }
        if let Some((size, root)) = &log.checkpoint {
            families.audit_checkpoint_entries.alone().set(number(*size));
            for (index, word) in root.chunks_exact(4).enumerate() {
                let word = word.iter().fold(0, |word, byte| (word << 8) | i64::from(*byte));
                families.audit_checkpoint_root.of([&index.to_string()]).set(word);
            }
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn seconds(moment: Timestamp) -> i64 {
    moment.unix_millis().div_euclid(1000)
}
