use std::sync::Arc;
use std::time::SystemTime;

use sealwire::config::SecureMcpConfig;
use sealwire::incidents::{IncidentSink, Raised};
use sealwire::state::State;
use sealwire_audit::AuditSink;

/// Records what happens in a process that is not `serve`, and counts what is refused.
pub(crate) type OwnCounting = IncidentSink<Arc<dyn AuditSink>>;

/// For this process, which records by `audit`. What follows from an incident is kept in the home,
/// where `serve` and others like this one find it.
pub(crate) fn counting(config: &SecureMcpConfig, audit: Arc<dyn AuditSink>) -> OwnCounting {
    let (home, trust_domain) = (config.layout(), config.trust_domain.clone());
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
