//! Settings that stand in a Codex `config.toml` under the names that they have here.

use std::path::Path;

use sealwire::config::SecureMcpConfig;
use toml_edit::{DocumentMut, Item};

use super::candidate::{Candidate, Leaf, MOST, Target, leaves};
use super::report::{Report, Setting};
use crate::cli::Failure;

/// The tables that are read. `[mcp_servers]` is read with the servers.
const TABLES: [&str; 3] = ["security", "agent_security", "audit"];
/// Those of ours that are not.
const OTHERS: [&str; 11] = [
    "admin",
    "ca",
    "defaults",
    "include",
    "incidents",
    "listen",
    "log",
    "mailbox",
    "pkcs11",
    "policy",
    "state",
];

/// Keys that are taken, and mean another thing here than their words may let one think.
const MEANINGS: [(&str, &str); 9] = [
    (
        "security.zero_trust_mode",
        "holds for all servers and agents of this home, and is refused together with what weakens it",
    ),
    ("security.certificates.", "paths start at sealwire's home, not at Codex's"),
    ("security.rate_limiting.", "is enforced, for each peer, by `serve` and `connect`"),
    (
        "security.replay_protection.",
        "is about messages between agents; the link between two sealwires has its own",
    ),
    ("agent_security.trust", "whoever is not named may send to nobody"),
    (
        "agent_security.rate_limiting.",
        "is counted where messages are sent and where they are received",
    ),
    ("audit.log_dir", "a relative path starts at sealwire's home; only sealwire writes there"),
    ("audit.retention_days", "what is older is removed, up to a signed index"),
    ("audit.alerts.", "`serve` tells whoever is named there what happens on this machine"),
];

/// Takes what the file says that the configuration does not say, and can.
pub(super) fn take(
    file: &DocumentMut,
    candidate: &mut Candidate<'_>,
    report: &mut Report,
) -> Result<(), Failure> {
    for name in OTHERS.into_iter().filter(|name| file.contains_key(name)) {
        let why = "of the file's tables, [security], [agent_security], [audit] and [mcp_servers] \
                   are read";
        report.leave(name, why);
    }
    let mut found = Vec::new();
    for name in TABLES {
        match file.get(name) {
            None => {}
            Some(item) => match item.as_table_like() {
                Some(table) => leaves(table, &mut vec![name.to_owned()], &mut found),
                None => report.leave(name, "it is no table"),
            },
        }
    }
    if found.len() > MOST {
        return Err(Failure::new(format!("more than {MOST} settings are no configuration"))
            .fix("name the client's own file with --from"));
    }
    let mut wanted = Vec::new();
    for (path, value) in found {
        let key = path.join(".");
        if candidate.says(&path) {
            report.leave(key, "sealwire.toml says it already");
        } else if let Some(own) = made_by_init(&key, candidate.config()) {
            report.leave(
                key,
                format!(
                    "this home has its own, {}, and what is there would be lost to it: say it in \
                     sealwire.toml if that is meant",
                    own.display()
                ),
            );
        } else {
            wanted.push((path, value));
        }
    }
    let (taken, left) = candidate.take(Target::Settings, wanted);
    for ((path, _), why) in left {
        report.leave(path.join("."), why);
    }
    report.settings.extend(taken.into_iter().map(setting));
    Ok(())
}

fn setting((path, value): Leaf) -> Setting {
    let key = path.join(".");
    let meaning = MEANINGS.iter().find(|(of, _)| key.starts_with(of)).map(|(_, meaning)| *meaning);
    // Whoever knows the URL of a webhook may write there.
    let value = match key.contains("webhook") {
        true => "…".to_owned(),
        false => shown(&value),
    };
    Setting { key, value, meaning }
}

fn shown(value: &Item) -> String {
    value.to_string().trim().to_owned()
}

/// What is there of this home's own, and would be looked for elsewhere with that key: its
/// identity, its agents' keys, its log.
fn made_by_init<'c>(key: &str, config: &'c SecureMcpConfig) -> Option<&'c Path> {
    let own: &Path = match key {
        "security.trust_domain"
        | "security.certificates.ca_cert"
        | "security.certificates.renew_from" => &config.ca_cert,
        "security.certificates.client_cert" | "security.certificates.client_key" => {
            &config.client_cert
        }
        "agent_security.signing.keys_directory" => &config.agent_security.keys_directory,
        "audit.log_dir" => &config.audit.log_dir,
        _ => return None,
    };
    own.exists().then_some(own)
}
