use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use sealwire_audit::{AgentMessage, AgentStep, AuditSink, Event, LogSink};
use sealwire_envelope::{
    Bundle, Draft, MessageId, Nonce, OpenError, Opened, SecureAgentMessage, Sender, open, seal,
};
use sealwire_names::{AgentId, Refusal, RefusalCode};

use crate::clock::after;
use crate::delivery::Held;
use crate::receiving::Checks;
use crate::settings::Route;
use crate::{
    AgentRateLimiter, ChannelError, ChannelSettings, Delivery, Letter, Limited, Numbers, Recipient,
    Stream, Taken, Transport, TransportError,
};

/// Most numbers that are leased at a time.
const MOST_NUMBERS: u32 = 64;
/// Most streams whose numbers are kept at hand.
const MAX_STREAMS: usize = 1_024;

/// One agent's way to send and receive messages that are signed, sealed, checked on both sides,
/// and delivered until they are acknowledged.
///
/// See the [crate's manual](crate) for what is promised. All methods may be called from several
/// tasks at once.
pub struct SecureAgentChannel<T: Transport> {
    transport: T,
    audit: Arc<dyn AuditSink>,
    active: RwLock<Active>,
    /// What is left of the last lease, and how many that had.
    numbers: Mutex<HashMap<Stream, (Numbers, u32)>>,
}

struct Active {
    settings: ChannelSettings,
    /// Of this agent, for what it sends.
    sending: AgentRateLimiter,
    /// Of each sender, for what it receives.
    receiving: AgentRateLimiter,
}

impl<T: Transport> SecureAgentChannel<T> {
    /// A channel of the agent whose keys are in `settings`. It records what happens in the log.
    pub fn new(settings: ChannelSettings, transport: T) -> Self {
        let active = RwLock::new(Active::new(settings));
        Self { transport, audit: Arc::new(LogSink), active, numbers: Mutex::default() }
    }

    /// The same channel, which records what happens in `audit`.
    pub fn with_audit(self, audit: Arc<dyn AuditSink>) -> Self {
        Self { audit, ..self }
    }

    /// From now on, goes by other settings. What has been delivered remains so; what waits is
    /// judged by the new ones.
    pub fn replace(&self, settings: ChannelSettings) {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        active.replace(settings);
    }

    /// Believes an agent from now on. Somebody must have vouched for the bundle: an operator who
    /// compared the fingerprint, or an authority.
    ///
    /// # Errors
    /// If it contradicts what is known.
    pub fn register_trusted_agent(&self, bundle: Bundle) -> Result<(), Refusal> {
        let agent = bundle.agent.clone();
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        active.settings.directory.vouch(bundle)?;
        active.receiving.register_agent(&agent);
        Ok(())
    }

    /// The agent whose channel this is.
    pub fn agent(&self) -> AgentId {
        self.active().settings.keys.agent.clone()
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Seals a message and sends it: to all receivers, or to none. When this returns `Ok`, the
    /// transport keeps it, which for mail on disk means that it is on the disk.
    ///
    /// If the future is dropped, it may have been sent, or may be yet.
    ///
    /// # Errors
    /// [`ChannelError`]. Nothing was sent, except perhaps after [`TransportError::Closed`].
    pub async fn send_secure(
        &self,
        to: impl Into<Recipient>,
        draft: &Draft<'_>,
    ) -> Result<MessageId, ChannelError> {
        let to = to.into();
        let (me, routed) = {
            let active = self.active();
            (active.settings.keys.agent.clone(), active.route(&to, draft, self.transport.now()))
        };
        let (route, stream) = match routed {
            Ok(found) => found,
            Err(error) => return Err(self.not_sent(&me, &to, draft, error)),
        };
        let nonce = self.nonce(stream, draft).await?;
        let sealed = self.active().seal(draft, &route, nonce, self.transport.now());
        let message = match sealed {
            Ok(message) => message,
            Err(error) => return Err(self.not_sent(&me, &to, draft, error)),
        };
        let (id, audience) = (message.metadata.message_id, message.audience.clone());
        let record = |step| {
            let (to, message_id) = (Some(&audience as _), Some(&id as _));
            let message_type = Some(draft.message_type.as_str());
            let event = AgentMessage { step, agent: &me, from: &me, to, message_id, message_type };
            self.audit.record(&Event::AgentMessage(&event)).map(drop)
        };
        record(AgentStep::Sending).map_err(ChannelError::Audit)?;
        let (recorded, sent) = match self.transport.put(Letter { message, to: route.members }).await
        {
            Ok(()) => (record(AgentStep::Sent), Ok(id)),
            Err(error @ TransportError::Refused(_)) => {
                return Err(self.not_sent(&me, &to, draft, error.into()));
            }
            Err(error) => {
                let reason = error.to_string();
                (record(AgentStep::SendFailed { reason: &reason }), Err(error.into()))
            }
        };
        if let Err(error) = recorded {
            // It was recorded that it might happen, and it cannot be undone.
            tracing::error!(%error, "the audit log failed");
        }
        sent
    }

    /// Waits for the next message that is genuine and may be received. What is refused meanwhile
    /// is recorded and becomes a dead letter; what comes too fast waits until it may pass.
    ///
    /// If the future is dropped, no message is lost.
    ///
    /// # Errors
    /// If the transport or the audit log fails.
    pub async fn receive_secure(&self) -> Result<Delivery<T>, ChannelError> {
        let mut bell = self.transport.bell(&self.agent());
        loop {
            let due = match self.look().await? {
                Look::Found(delivery) => return Ok(*delivery),
                Look::Nothing(due) => due,
            };
            bell.heard(self.transport.now(), due).await;
        }
    }

    /// The next message, if one is there now.
    ///
    /// # Errors
    /// As for [`receive_secure`](Self::receive_secure).
    pub async fn try_receive(&self) -> Result<Option<Delivery<T>>, ChannelError> {
        match self.look().await? {
            Look::Found(delivery) => Ok(Some(*delivery)),
            Look::Nothing(_) => Ok(None),
        }
    }

    /// Goes through what is there until one message passes.
    async fn look(&self) -> Result<Look<T>, ChannelError> {
        let me = self.agent();
        loop {
            let round = self.transport.take(&me, 1).await?;
            let Some(taken) = round.taken.into_iter().next() else {
                return Ok(Look::Nothing(round.due));
            };
            let transport = self.transport.clone();
            let held = Held { transport, lease: taken.lease.clone(), ended: false };
            match self.examine(&me, &taken, held).await {
                Ok(Some(delivery)) => return Ok(Look::Found(Box::new(delivery))),
                // Somebody else has it now.
                Ok(None) | Err(ChannelError::Transport(TransportError::LeaseLost)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks a message, and takes it, puts it off or buries it.
    async fn examine(
        &self,
        me: &AgentId,
        taken: &Taken,
        mut held: Held<T>,
    ) -> Result<Option<Delivery<T>>, ChannelError> {
        // Not within the match, which would hold the lock until its end.
        let opened = self.active().open(taken, &self.transport);
        let opened = match opened {
            Ok(opened) => opened,
            Err(OpenError::Deferred(deferred)) => {
                let wait = deferred.wait;
                let due =
                    after(self.transport.now(), wait.max(std::time::Duration::from_millis(1)));
                self.about(me, taken, AgentStep::Deferred { wait })?;
                self.transport.release(&held.lease, due).await?;
                held.ended = true;
                return Ok(None);
            }
            Err(OpenError::Refused(refusal)) => {
                return self.bury(me, taken, held, refusal).await;
            }
        };
        let delivered = match self.transport.deliver(&held.lease, &opened.message).await {
            Ok(delivered) => delivered,
            Err(TransportError::Refused(refusal)) => {
                return self.bury(me, taken, held, refusal).await;
            }
            Err(error) => return Err(error.into()),
        };
        let again = delivered.redelivered;
        record(&*self.audit, me, &opened.message, AgentStep::Delivered { again })?;
        Ok(Some(Delivery::new(opened, again, held, Arc::clone(&self.audit))))
    }

    async fn bury(
        &self,
        me: &AgentId,
        taken: &Taken,
        mut held: Held<T>,
        refusal: Refusal,
    ) -> Result<Option<Delivery<T>>, ChannelError> {
        self.about(me, taken, AgentStep::Refused(&refusal))?;
        self.transport.bury(&held.lease, refusal).await?;
        held.ended = true;
        Ok(None)
    }

    /// A number that no message has had.
    async fn nonce(&self, stream: Stream, draft: &Draft<'_>) -> Result<Nonce, ChannelError> {
        // Whoever sends much leases more at a time.
        let mut count = 1;
        {
            let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((left, leased)) = numbers.get_mut(&stream) {
                if let Some(nonce) = next(left) {
                    return Ok(nonce);
                }
                count = (*leased * 2).min(MOST_NUMBERS);
            }
        }
        let expires = after(self.transport.now(), draft.ttl);
        let mut leased = self.transport.number(stream.clone(), count, expires).await?;
        let nonce = next(&mut leased).ok_or(TransportError::Closed)?;
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= MAX_STREAMS {
            numbers.clear();
        }
        numbers.insert(stream, (leased, count));
        Ok(nonce)
    }

    fn active(&self) -> RwLockReadGuard<'_, Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that something was not sent, where that was decided; returns the error.
    fn not_sent(
        &self,
        me: &AgentId,
        to: &Recipient,
        draft: &Draft<'_>,
        error: ChannelError,
    ) -> ChannelError {
        let limited;
        let refusal = match &error {
            ChannelError::Refused(refusal) => refusal,
            ChannelError::TooFast { .. } => {
                limited = Refusal::new(RefusalCode::AgentRateLimited, error.to_string());
                &limited
            }
            _ => return error,
        };
        let event = AgentMessage {
            step: AgentStep::NotSent(refusal),
            agent: me,
            from: me,
            to: Some(to),
            message_id: None,
            message_type: Some(draft.message_type.as_str()),
        };
        let recorded = self.audit.record(&Event::AgentMessage(&event));
        recorded.map_err(ChannelError::Audit).err().unwrap_or(error)
    }

    /// Records something about a message that may be anything.
    fn about(&self, me: &AgentId, taken: &Taken, step: AgentStep<'_>) -> Result<(), ChannelError> {
        let message = SecureAgentMessage::decode(&taken.bytes);
        if let Ok(message) = message {
            return record(&*self.audit, me, &message, step);
        }
        let from = &taken.label.from;
        let event =
            AgentMessage { step, agent: me, from, to: None, message_id: None, message_type: None };
        self.audit.record(&Event::AgentMessage(&event)).map(drop).map_err(ChannelError::Audit)
    }
}

enum Look<T: Transport> {
    Found(Box<Delivery<T>>),
    Nothing(Option<sealwire_names::Timestamp>),
}

impl Active {
    fn new(settings: ChannelSettings) -> Self {
        let sending = AgentRateLimiter::new(settings.rate);
        let receiving = AgentRateLimiter::new(settings.rate);
        let active = Self { settings, sending, receiving };
        active.register();
        active
    }

    fn replace(&mut self, settings: ChannelSettings) {
        if settings.rate != self.settings.rate {
            self.sending = AgentRateLimiter::new(settings.rate);
            self.receiving = AgentRateLimiter::new(settings.rate);
        }
        self.settings = settings;
        self.receiving.retain(|agent| self.settings.directory.knows(agent));
        self.register();
    }

    /// Whoever is known may send; how fast, the limiters remember.
    fn register(&self) {
        self.sending.register_agent(&self.settings.keys.agent);
        for agent in self.settings.directory.agents() {
            self.receiving.register_agent(agent);
        }
    }

    /// Whether this may be sent now, and to whom.
    fn route(
        &self,
        to: &Recipient,
        draft: &Draft<'_>,
        now: sealwire_names::Timestamp,
    ) -> Result<(Route, Stream), ChannelError> {
        let route = self.settings.route(to, draft.message_type, now)?;
        let agent = &self.settings.keys.agent;
        match self.sending.allow_request(agent) {
            Ok(()) => {}
            Err(Limited::Unregistered(refusal)) => return Err(refusal.into()),
            Err(Limited::For(wait)) => {
                return Err(ChannelError::TooFast { agent: agent.clone(), wait });
            }
        }
        let stream = self.settings.stream(&route);
        Ok((route, stream))
    }

    fn seal(
        &self,
        draft: &Draft<'_>,
        route: &Route,
        nonce: Nonce,
        now: sealwire_names::Timestamp,
    ) -> Result<SecureAgentMessage, ChannelError> {
        let keys = &self.settings.keys;
        let sender = Sender { agent: &keys.agent, key: &keys.signing };
        let sealed =
            self.settings.with_receivers(route, now, |to| seal(draft, &sender, to, nonce, now))?;
        Ok(sealed?)
    }

    fn open(&self, taken: &Taken, transport: &impl Transport) -> Result<Opened, OpenError> {
        let now = transport.now();
        let mut checks = Checks::new(&self.settings, &self.receiving, taken, now);
        let me = &self.settings.keys.agent;
        open(&taken.bytes, me, &mut checks, now, transport.times())
    }
}

fn next(numbers: &mut Numbers) -> Option<Nonce> {
    numbers.count = numbers.count.checked_sub(1)?;
    let seq = numbers.first;
    numbers.first = seq + 1;
    Some(Nonce { epoch: numbers.epoch, seq })
}

pub(crate) fn record(
    audit: &dyn AuditSink,
    agent: &AgentId,
    message: &SecureAgentMessage,
    step: AgentStep<'_>,
) -> Result<(), ChannelError> {
    let event = AgentMessage {
        step,
        agent,
        from: &message.from,
        to: Some(&message.audience),
        message_id: Some(&message.metadata.message_id),
        message_type: Some(message.metadata.message_type.as_str()),
    };
    audit.record(&Event::AgentMessage(&event)).map(drop).map_err(ChannelError::Audit)
}
