//! What an alert says.
//!
//! Its sentence is ours; names and other words of others are values beside it, which each
//! channel escapes as its form needs.

use std::time::SystemTime;

use aws_lc_rs::rand;
use sealwire_names::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest value, in characters; the rest is cut off.
const MAX_VALUE: usize = 200;

/// Something that an operator is to know now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alert {
    /// Its own: the same in each attempt to deliver it.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Who or what it is about; with the kind, what makes alerts the same.
    pub(crate) subject: Option<Subject>,
    /// Further values, each with its label.
    pub(crate) details: Vec<(String, String)>,
    /// When it was, in milliseconds since 1970.
    pub(crate) at: i64,
    /// How many it stands for.
    pub(crate) count: u64,
    /// The signed checkpoint of the log as it stood then: one more copy out of the reach of
    /// whoever has this machine.
    #[serde(default)]
    pub(crate) checkpoint: Option<String>,
}

/// Who or what an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    Information,
    Warning,
    Critical,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Refusals have become too many, and are told.
    Incident,
    /// They have, and whoever is to blame is shut out.
    IncidentActed,
    /// An operator has shut somebody out.
    Quarantined,
    /// A certificate or a name was revoked.
    Revoked,
    /// A definition of a server is not the approved one, and is kept back.
    DefinitionBlocked,
    /// What happens cannot be recorded: calls are refused.
    AuditFailed,
    /// Soon there will be no room to record it.
    AuditNearlyFull,
    /// An incident could not be kept: the next start will not know who is shut out.
    IncidentLost,
    /// A changed configuration was not taken up.
    ReloadRefused,
    /// Alerts were more than can wait.
    AlertsLost,
    /// An operator wants to see one.
    Test,
}

impl Kind {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::IncidentActed => "incident_acted",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
            Self::DefinitionBlocked => "definition_blocked",
            Self::AuditFailed => "audit_failed",
            Self::AuditNearlyFull => "audit_nearly_full",
            Self::IncidentLost => "incident_lost",
            Self::ReloadRefused => "reload_refused",
            Self::AlertsLost => "alerts_lost",
            Self::Test => "test",
        }
    }

    /// What it means, in a sentence without words of others.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Incident => "Refusals have become too many",
            Self::IncidentActed => "Refusals have become too many, and who is to blame is shut out",
            Self::Quarantined => "Shut out by an operator",
            Self::Revoked => "Revoked by an operator",
            Self::DefinitionBlocked => {
                "A server's definition is not the approved one, and is blocked"
            }
            Self::AuditFailed => "The audit log cannot be written: calls are refused",
            Self::AuditNearlyFull => {
                "There is little room left for the audit log: without any, calls are refused"
            }
            Self::IncidentLost => "An incident could not be kept: no restart will know of it",
            Self::ReloadRefused => "A changed configuration was refused, and the old one stays",
            Self::AlertsLost => "More alerts than can wait: some were lost",
            Self::Test => "This is a test: nothing has happened",
        }
    }

    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::Test => Severity::Information,
            Self::Incident
            | Self::DefinitionBlocked
            | Self::Revoked
            | Self::ReloadRefused
            | Self::AuditNearlyFull => Severity::Warning,
            Self::IncidentActed
            | Self::Quarantined
            | Self::AuditFailed
            | Self::IncidentLost
            | Self::AlertsLost => Severity::Critical,
        }
    }

    /// Whether it is about an attack or its defence, and not about the program itself.
    pub(crate) const fn is_security_event(self) -> bool {
        matches!(
            self,
            Self::Incident
                | Self::IncidentActed
                | Self::Quarantined
                | Self::Revoked
                | Self::DefinitionBlocked
        )
    }
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Alert {
    /// About something that happens now.
    pub(crate) fn new(kind: Kind) -> Self {
        let at = Timestamp::from(SystemTime::now()).unix_millis();
        let (subject, details, checkpoint) = (None, Vec::new(), None);
        Self { id: new_id(), kind, subject, details, at, count: 1, checkpoint }
    }

    /// It is about this.
    pub(crate) fn about(self, kind: &str, name: &str) -> Self {
        let subject = Subject { kind: cut(kind), name: cut(name) };
        Self { subject: Some(subject), ..self }
    }

    /// When it was.
    pub(crate) fn at(self, at: Timestamp) -> Self {
        Self { at: at.unix_millis(), ..self }
    }

    /// A further value.
    pub(crate) fn with(mut self, label: &str, value: impl ToString) -> Self {
        self.details.push((label.to_owned(), cut(&value.to_string())));
        self
    }

    /// How many entries the log had, and their root hash.
    pub(crate) fn log(&self) -> Option<(u64, &str)> {
        let mut lines = self.checkpoint.as_deref()?.lines().skip(1);
        Some((lines.next()?.parse().ok()?, lines.next()?))
    }

    /// Alerts with the same key are the same.
    pub(crate) fn key(&self) -> String {
        let subject = self.subject.as_ref();
        let subject = subject.map(|subject| format!(" {} {}", subject.kind, subject.name));
        // Two kinds of incident of one peer are not the same; nor are two blocked tools.
        let details = self.details.iter().filter(|(label, _)| is_of_key(label));
        let details: String = details.map(|(_, value)| format!(" {value}")).collect();
        format!("{}{}{details}", self.kind.as_str(), subject.unwrap_or_default())
    }

    /// The same, anew: for the others like it that came after it.
    pub(crate) fn again(&self, count: u64, at: i64) -> Self {
        Self { id: new_id(), count, at, checkpoint: None, ..self.clone() }
    }
}

fn is_of_key(label: &str) -> bool {
    label == "what" || label == "definition"
}

fn cut(text: &str) -> String {
    without_middle(text, MAX_VALUE, "…")
}

/// At most so many characters of a text, and `gap` where there were more: what a thing is stands at
/// the beginning of most, and which at the end.
pub(super) fn without_middle(text: &str, most: usize, gap: &str) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(gap.chars().count());
    let head = text.chars().take(kept / 2);
    let tail = text.chars().skip(length - (kept - kept / 2));
    head.chain(gap.chars()).chain(tail).collect()
}

/// A number that nobody else has, as 32 hexadecimal digits.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness nothing else here works either; then the time must do.
    if rand::fill(&mut bytes).is_err() {
        let now = Timestamp::from(SystemTime::now()).unix_millis();
        bytes[..8].copy_from_slice(&now.to_be_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
