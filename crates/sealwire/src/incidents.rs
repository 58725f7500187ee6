//! Refusals that are too many: counted where they are recorded, and acted upon.
//!
//! [`IncidentSink`] stands before another [`AuditSink`]. What passes costs it a look at the kind
//! of event; only refusals are counted. Who is to blame, and when it is an incident, `guard` says.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sealwire_audit::{AgentStep, AuditSink, Event, Incident, PinStep, Position};
use sealwire_guard::{
    Direction, Entry, Evidence, IncidentAction, IncidentKind, IncidentRule, IncidentRules,
    Incidents, Subject, Target,
};
use sealwire_names::{Timestamp, TrustDomain};

/// Counts the refusals among the events that it hands on.
pub struct IncidentSink<S> {
    inner: S,
    counted: Mutex<Incidents>,
    start: Instant,
    raise: Box<dyn Fn(Raised) + Send + Sync>,
}

/// Refusals have just become too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// What was refused.
    pub kind: IncidentKind,
    /// Who is to blame; or, where nobody is known to be, where it was seen.
    pub subject: Subject,
    /// The rule by which they are too many.
    pub rule: IncidentRule,
}

/// An incident as it is kept. Its words may be those of another version of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityIncident {
    /// Its number in this home.
    pub id: u64,
    /// What was refused: a word of `[incidents]`.
    pub kind: String,
    /// What the subject is: `peer`, `agent`, `server`, `address` or `mailbox`.
    pub subject_kind: String,
    /// Its name. Of an address and a mailbox it is only told where it was seen.
    pub subject: String,
    /// How many refusals there were.
    pub events: u32,
    /// Within what time.
    pub window: Duration,
    /// What followed: `notify`, `quarantine` or `suspend`.
    pub action: String,
    /// When it was.
    pub at: Timestamp,
    /// Until when what followed holds, unless it is lifted.
    pub until: Timestamp,
}

impl<S: AuditSink> IncidentSink<S> {
    /// Hands events on to `inner`, and calls `raise` for each incident. It may be called on any
    /// thread, and should not take long.
    pub fn new(
        inner: S,
        rules: IncidentRules,
        raise: impl Fn(Raised) + Send + Sync + 'static,
    ) -> Self {
        let counted = Mutex::new(Incidents::new(rules));
        Self { inner, counted, start: Instant::now(), raise: Box::new(raise) }
    }

    /// Where events are handed on to; what goes there directly is not counted.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// From now on, goes by other rules. What has been counted, counts.
    pub fn replace(&self, rules: IncidentRules) {
        self.counted().replace(rules);
    }

    /// Counts anew for whoever is no longer shut out.
    pub fn forget(&self, target: &Target, home: &TrustDomain) {
        self.counted().forget(target, home);
    }

    fn count(&self, evidence: &Evidence<'_>) {
        let Some((kind, subject)) = evidence.blame() else { return };
        let now = self.start.elapsed();
        let rule = self.counted().observe(kind, &subject, now);
        if let Some(rule) = rule {
            (self.raise)(Raised { kind, subject, rule });
        }
    }

    fn counted(&self) -> MutexGuard<'_, Incidents> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AuditSink> AuditSink for IncidentSink<S> {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        // What cannot be recorded is refused for that reason, and not for its own.
        let position = self.inner.record(event)?;
        if let Some(evidence) = evidence(event) {
            self.count(&evidence);
        }
        Ok(position)
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_durable(position, cx)
    }
}

impl<S> fmt::Debug for IncidentSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncidentSink").finish_non_exhaustive()
    }
}

impl Raised {
    /// Who is to be shut out, if anybody.
    pub fn entry(&self, home: &TrustDomain, now: Timestamp) -> Option<Entry> {
        let target = match self.rule.action {
            IncidentAction::Quarantine | IncidentAction::Suspend => self.subject.target(home)?,
            IncidentAction::Off | IncidentAction::Notify => return None,
        };
        let IncidentRule { trigger, window, .. } = self.rule;
        let reason = format!("{trigger} {} within {window:?}", self.kind);
        let until = Some(self.until(now));
        Some(Entry { target, reason, since: now, until, incident: None })
    }

    /// Until when what follows holds, if it begins now.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        let millis = i64::try_from(self.rule.expiry.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_millis(now.unix_millis().saturating_add(millis))
    }

    /// Records it in the audit, with its number if it could be kept.
    pub fn tell(&self, audit: &impl AuditSink, id: Option<u64>, now: Timestamp) {
        let incident = Incident {
            id,
            kind: self.kind.as_str(),
            subject: &self.subject,
            events: self.rule.trigger,
            window: self.rule.window,
            action: self.rule.action.as_str(),
            until: self.until(now),
        };
        if let Err(error) = audit.record(&Event::Incident(&incident)) {
            tracing::error!(%error, "the audit log failed");
        }
    }
}

/// What of an event may be somebody's fault.
fn evidence<'a>(event: &Event<'a>) -> Option<Evidence<'a>> {
    match *event {
        Event::ConnectionRefused { address, peer, refusal, .. } => {
            let address = address.map(|address: SocketAddr| address.ip());
            Some(Evidence::Connection { address, peer, code: refusal.code })
        }
        Event::Decision { message, denied: Some(refusal) } => {
            let directions = [Direction::ToServer, Direction::ToClient];
            let direction =
                directions.into_iter().find(|direction| direction.as_str() == message.direction)?;
            Some(Evidence::Message { peer: message.peer?, direction, code: refusal.code })
        }
        Event::AgentMessage(message) => match message.step {
            AgentStep::NotSent(refusal) => {
                Some(Evidence::Sending { agent: message.agent, code: refusal.code })
            }
            AgentStep::Refused(refusal) => {
                Some(Evidence::Receiving { agent: message.agent, code: refusal.code })
            }
            _ => None,
        },
        Event::Pin(event) => match event.step {
            PinStep::Blocked { refusal, .. } => {
                Some(Evidence::Definition { server: event.server, code: refusal.code })
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sealwire_audit::AgentMessage;
    use sealwire_names::{AgentId, PeerId, Refusal, RefusalCode};

    use super::*;

    struct Broken;

    impl AuditSink for Broken {
        fn record(&self, _event: &Event<'_>) -> io::Result<Position> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    struct Fine;

    impl AuditSink for Fine {
        fn record(&self, _event: &Event<'_>) -> io::Result<Position> {
            Ok(Position::default())
        }
    }

    fn rules() -> IncidentRules {
        let mut rules = IncidentRules::default();
        for kind in IncidentKind::ALL {
            rules.set(kind, IncidentRule { trigger: 2, ..kind.default_rule() });
        }
        rules
    }

    fn counting<S: AuditSink>(inner: S) -> (IncidentSink<S>, Arc<Mutex<Vec<String>>>) {
        let raised = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&raised);
        let hear = move |raised: Raised| {
            heard.lock().unwrap().push(format!("{} {}", raised.kind, raised.subject));
        };
        (IncidentSink::new(inner, rules(), hear), raised)
    }

    #[test]
    fn mail_is_its_receivers_trouble_and_what_is_not_sent_its_senders() {
        let (sink, raised) = counting(Fine);
        let (me, victim): (AgentId, AgentId) = ("Me".parse().unwrap(), "Victim".parse().unwrap());
        let refusal = Refusal::new(RefusalCode::NotTrusted, "");
        let event = |step, from| AgentMessage {
            step,
            agent: &me,
            from,
            to: None,
            message_id: None,
            message_type: None,
        };
        // Even where it says that it comes from whoever receives it.
        for from in [&victim, &me, &victim] {
            let message = event(AgentStep::Refused(&refusal), from);
            sink.record(&Event::AgentMessage(&message)).unwrap();
        }
        assert_eq!(*raised.lock().unwrap(), ["untrusted_mail mailbox Me"]);
        for _ in 0..2 {
            let message = event(AgentStep::NotSent(&refusal), &me);
            sink.record(&Event::AgentMessage(&message)).unwrap();
        }
        assert_eq!(raised.lock().unwrap()[1], "denied_requests agent Me");
    }

    #[test]
    fn what_fails_for_want_of_a_log_is_nobodys_fault() {
        let (sink, raised) = counting(Broken);
        let peer: PeerId = "spiffe://x/core/a".parse().unwrap();
        let refusal = Refusal::new(RefusalCode::LinkProtocol, "");
        let (peer, refusal) = (Some(&peer), &refusal);
        for _ in 0..9 {
            let event = Event::ConnectionRefused { address: None, peer, server: None, refusal };
            sink.record(&event).unwrap_err();
        }
        assert!(raised.lock().unwrap().is_empty());
    }
}
