use std::sync::Arc;
use std::time::SystemTime;

use sealwire::config::SecureMcpConfig;
use sealwire::incidents::{IncidentSink, Raised};
use sealwire::state::State;
use sealwire_audit::AuditSink;

use crate::control::recorder;

/// Records what happens to an agent's messages, and counts what is refused.
pub(super) type Counting = IncidentSink<Arc<dyn AuditSink>>;

/// For this process. What follows from an incident is kept in the home, where `serve` and the
/// agents' other processes find it.
pub(super) fn counting(config: &SecureMcpConfig) -> Counting {
    let (home, trust_domain) = (config.layout(), config.trust_domain.clone());
    let audit = recorder(config);
    let telling = Arc::clone(&audit);
    let raise = move |raised: Raised| {
        let now = SystemTime::now().into();
        let kept =
            State::open(&home).and_then(|mut state| state.raise(&raised, &trust_domain, now));
        match kept {
            // Shut out already.
            Ok(None) => {}
            Ok(id) => raised.tell(&telling, id, now),
            Err(error) => {
                raised.tell(&telling, None, now);
                tracing::error!(%error, "the incident could not be kept, and nobody is shut out");
            }
        }
    };
    IncidentSink::new(audit, config.incidents.clone(), raise)
}
