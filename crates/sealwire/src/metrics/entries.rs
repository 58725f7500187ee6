//! What other processes record: agents' commands hand their entries to `serve`, as text.

use std::borrow::Cow;

use sealwire_guard::IncidentKind;
use sealwire_names::RefusalCode;
use serde::Deserialize;

use super::{AGENT_STEPS, REDELIVERED, SecurityMetrics};

/// What counts of an entry.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type", borrow)]
    of: Cow<'a, str>,
    /// A refusal code.
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    redelivered: bool,
}

impl SecurityMetrics {
    /// Counts an entry of another process: a line of the audit log, or what it says after its
    /// time. Only words that are known count.
    pub fn count_entry(&self, entry: &str) {
        let entry =
            if entry.starts_with('{') { Cow::from(entry) } else { format!("{{{entry}").into() };
        let Ok(Entry { of, reason, kind, redelivered }) = serde_json::from_str(&entry) else {
            return;
        };
        if let Some(step) = of.strip_prefix("message.") {
            let step = if redelivered && step == "delivered" { REDELIVERED } else { step };
            let code = reason.and_then(|word| {
                RefusalCode::ALL.iter().find(|code| code.as_str() == word).copied()
            });
            if AGENT_STEPS.contains(&step) {
                self.agent_step(step, code);
            }
        } else if of == "incident"
            && let Some(kind) =
                IncidentKind::ALL.iter().find(|of| Some(of.as_str()) == kind.as_deref())
        {
            self.families.incidents.of([kind.as_str()]).inc();
        }
    }
}
