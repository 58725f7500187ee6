//! What a conversation knows about its messages: whether each may pass, and which
//! requests wait for an answer.

mod recording;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sealwire_audit::{AuditSink, CallResult, Position};
use sealwire_guard::{Decision, Direction, Gate, Pins, Principal, Request};
use sealwire_identity::VerifiedPeer;
use sealwire_names::{Fingerprint, PeerId, Refusal, RefusalCode, Timestamp};

use tokio::sync::watch;

use self::recording::shortened;
use crate::in_flight::{Call, InFlight, Target};
use crate::message::{
    Asked, ErrorCode, Head, Parser, Rejected, RequestId, error_answer, error_answer_later,
};
use crate::opening::{INITIALIZE, INITIALIZED, Opening, Replay};
use crate::pinning::Pinning;
use crate::results::{self, Answer, Passage, Wire};
use crate::throttle::Throttle;

/// How many messages of a server's that cannot be understood, or answer nothing, are logged
/// in a second: its output is its own affair, and our log is not.
const REFUSALS_LOGGED: usize = 20;
/// Changed definitions of one server that are told one by one in a second, for each
/// conversation: it could change thousands with each listing, and drown what else is recorded.
const DEFINITIONS_TOLD: usize = 100;

/// Whoever made a request no longer waits for it (MCP 2025-11-25, Cancellation).
const CANCELLED: &str = "notifications/cancelled";

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hand it on as it came.
    Forward,
    /// Do not hand it on; send this to whoever sent it.
    Answer(Vec<u8>),
    /// Do not hand it on; send this to the other side, which waits for an answer.
    Substitute(Vec<u8>),
    /// Do not hand it on.
    Drop,
}

/// What is told to those whose requests are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate<'t> {
    pub(crate) code: ErrorCode,
    pub(crate) text: &'t str,
    pub(crate) word: &'static str,
}

impl<'t> Fate<'t> {
    pub(crate) const fn outcome_unknown(text: &'t str) -> Self {
        Self { code: ErrorCode::OutcomeUnknown, text, word: "outcome_unknown" }
    }

    pub(crate) const fn not_sent(text: &'t str) -> Self {
        Self { code: ErrorCode::NotSent, text, word: "not_sent" }
    }

    pub(crate) const fn server_ended(text: &'t str) -> Self {
        Self { code: ErrorCode::ServerEnded, text, word: "server_ended" }
    }
}

/// Why a request does not pass, and how long it may be until it does.
struct Denied {
    refusal: Refusal,
    wait: Option<Duration>,
    policy: ByPolicy,
}

/// The hash of the policy by which the gate decided; `None` if it was not asked, or has none.
type ByPolicy = Option<Fingerprint>;

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, wait: None, policy: None }
    }
}

/// When a batch of messages is judged; read once for all of them.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Instant,
}

/// The judge of one conversation between an MCP client and an MCP server.
pub(crate) struct Conversation {
    peer: Option<PeerId>,
    server: Arc<str>,
    gate: Arc<dyn Gate>,
    audit: Arc<dyn AuditSink>,
    pinning: Pinning,
    parser: Parser,
    to_server: InFlight,
    to_client: InFlight,
    /// Up to where the log has to be durable before what goes to the server, or to the client,
    /// leaves.
    recorded: [Position; 2],
    /// When what is judged came, if that is known.
    at: Option<Timestamp>,
    /// By which certificate the peer is here.
    presented: Option<watch::Receiver<Arc<VerifiedPeer>>>,
    /// What the latest request called.
    latest: Arc<Target>,
    draining: bool,
    /// For refusals of what the server writes.
    throttle: Throttle,
    definitions: Throttle,
    /// Where another process may have to take the server's place.
    opening: Option<Opening>,
}

/// What a message asks for.
#[derive(Clone, Copy)]
struct Use<'a> {
    method: &'a str,
    subject: Option<&'a str>,
    /// The method by which the subject would be used, where this one completes its arguments.
    completes: Option<&'static str>,
    /// As they stand in the message.
    arguments: Option<&'a str>,
}

impl<'a> Use<'a> {
    /// A method, without more.
    const fn of(method: &'a str) -> Self {
        Self { method, subject: None, completes: None, arguments: None }
    }
}

impl Conversation {
    /// `peer` is the verified peer across the wire; `None` where the client is the
    /// process that started us.
    pub(crate) fn new(
        peer: Option<PeerId>,
        server: Arc<str>,
        gate: Arc<dyn Gate>,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        Self {
            peer,
            server,
            gate,
            audit,
            pinning: Pinning::default(),
            parser: Parser::default(),
            to_server: InFlight::default(),
            to_client: InFlight::default(),
            recorded: [Position::default(); 2],
            at: None,
            presented: None,
            latest: Arc::default(),
            draining: false,
            throttle: Throttle::new(REFUSALS_LOGGED),
            definitions: Throttle::new(DEFINITIONS_TOLD),
            opening: None,
        }
    }

    /// The same, remembering what another server process would have to be told.
    pub(crate) fn that_can_be_reopened(mut self) -> Self {
        self.opening = Some(Opening::default());
        self
    }

    /// The same, with the certificate by which its peer is here, at any time.
    pub(crate) fn with_presented(mut self, peer: watch::Receiver<Arc<VerifiedPeer>>) -> Self {
        self.presented = Some(peer);
        self
    }

    /// The same, with the pins of its server, if there are any.
    pub(crate) fn with_pins(mut self, pins: Option<Arc<dyn Pins>>) -> Self {
        self.pinning = Pinning::new(pins);
        self
    }

    /// From now on, no new request reaches the server.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether the client waits for an answer.
    pub(crate) fn is_client_waiting(&self) -> bool {
        self.to_server.is_waiting()
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        !self.to_server.is_waiting() && !self.to_client.is_waiting()
    }

    /// Judges a message travelling in `direction`.
    pub(crate) fn judge(&mut self, direction: Direction, message: &[u8], now: Now) -> Verdict {
        self.at = Some(now.wall);
        match self.parser.parse(message) {
            Ok(Head::Request { id, method, params }) => {
                let subject = params.subject.as_deref();
                let page = self.pinning.page(&method, params.page);
                let (completes, arguments) = (params.completes, params.arguments);
                let used = Use { method: &method, subject, completes, arguments };
                match self.judge_request(direction, (&id, page), used, now) {
                    Ok(()) => {
                        if direction == Direction::ToServer && method == INITIALIZE {
                            self.opened(|opening| opening.asked(&id, message));
                        }
                        Verdict::Forward
                    }
                    Err(Denied { refusal, wait, policy }) => {
                        self.log_refusal(direction, Some(&id), used, (&refusal, policy));
                        Verdict::Answer(match wait {
                            Some(wait) => error_answer_later(&id, refusal.code.as_str(), wait),
                            None => answer(Some(&id), &refusal),
                        })
                    }
                }
            }
            Ok(Head::Notification { method, params }) => {
                let subject = params.subject.as_deref();
                let (completes, arguments) = (params.completes, params.arguments);
                let used = Use { method: &method, subject, completes, arguments };
                match self.judge_notification(direction, used, now.wall) {
                    Ok(()) => {
                        if let Some(id) = params.cancelled.filter(|_| method == CANCELLED) {
                            self.in_flight(direction).cancel(&id);
                        }
                        if direction == Direction::ToServer && method == INITIALIZED {
                            self.opened(Opening::initialized);
                        }
                        Verdict::Forward
                    }
                    Err(Denied { refusal, policy, .. }) => {
                        self.log_refusal(direction, None, used, (&refusal, policy));
                        Verdict::Drop
                    }
                }
            }
            Ok(Head::Response { id, is_error, asks }) => {
                let verdict =
                    self.judge_response(direction, id.as_ref(), is_error, (message, asks), now);
                if direction == Direction::ToClient && verdict == Verdict::Forward {
                    let id = id.as_ref();
                    self.opened(|opening| {
                        id.inspect(|id| opening.answered(id, is_error, message));
                    });
                }
                verdict
            }
            Err(rejected) => self.reject(direction, &rejected, now.monotonic),
        }
    }

    /// Judges a message over the size limit, of which only the first part is at hand, and
    /// perhaps the last bytes.
    pub(crate) fn judge_oversized(
        &mut self,
        direction: Direction,
        prefix: &[u8],
        suffix: &[u8],
        limit: usize,
        now: Now,
    ) -> Verdict {
        self.at = Some(now.wall);
        let reason = format!("a message of more than {limit} bytes");
        let refusal = Refusal::new(RefusalCode::MessageTooLarge, reason);
        self.reject(direction, &self.parser.recover(prefix, suffix, refusal), now.monotonic)
    }

    /// What is told in place of `answer`, which is of our own making and beyond the limit of
    /// whoever waits for it.
    pub(crate) fn too_large(&self, answer: &[u8]) -> Vec<u8> {
        let refusal = Refusal::new(RefusalCode::MessageTooLarge, "an answer beyond the limit");
        let rejected = self.parser.recover(answer, b"", refusal);
        self::answer(rejected.id.as_ref(), &rejected.refusal)
    }

    /// Gives up the requests that the client waits for and that `which` picks, and returns
    /// the answers.
    pub(crate) fn abandon(
        &mut self,
        which: impl Fn(&RequestId) -> bool,
        fate: Fate<'_>,
    ) -> Vec<Vec<u8>> {
        let (direction, now) = (Direction::ToServer, Instant::now());
        self.at = None;
        let given_up = self.to_server.give_up(which);
        let answers = given_up.into_iter().map(|(id, call)| {
            self.record_outcome(direction, &id, &call, CallResult::Unanswered, now);
            error_answer(Some(&id), fate.code, fate.text, fate.word)
        });
        answers.collect()
    }

    /// What a process that takes the server's place has to be told first, if anything. It
    /// is decided about and recorded as it was the first time.
    ///
    /// # Errors
    /// Why none can.
    pub(crate) fn replay(&mut self) -> Result<Option<Replay>, &'static str> {
        let Some(opening) = &self.opening else {
            return Err("nothing is known of how the conversation began");
        };
        let replay = opening.replay(|id| self.to_server.contains(id))?;
        if let Some(Replay { id, .. }) = &replay {
            let direction = Direction::ToServer;
            let used = Use::of(INITIALIZE);
            self.at = None;
            self.decide(direction, used, SystemTime::now().into())
                .and_then(|policy| self.record_allowed(direction, Some(id), used, policy))
                .map_err(|Denied { refusal, policy, .. }| {
                    self.log_refusal(direction, Some(id), used, (&refusal, policy));
                    "the client's initialize is not allowed any more"
                })?;
        }
        Ok(replay)
    }

    /// The server's process is gone, and with it whoever waits for answers of the client's.
    /// Yields its requests that the client has not answered.
    pub(crate) fn server_is_gone(&mut self) -> Vec<RequestId> {
        self.draining = false;
        self.to_client.orphan()
    }

    fn opened(&mut self, note: impl FnOnce(&mut Opening)) {
        if let Some(opening) = &mut self.opening {
            note(opening);
        }
    }

    /// A request passes if the gate lets it, its id is free, and it could be recorded.
    fn judge_request(
        &mut self,
        direction: Direction,
        (id, page): (&RequestId, Asked<'static>),
        used: Use<'_>,
        now: Now,
    ) -> Result<(), Denied> {
        if self.draining && direction == Direction::ToServer {
            let reason = "the conversation is being drained";
            return Err(Refusal::new(RefusalCode::Draining, reason).into());
        }
        let policy = self.decide(direction, used, now.wall)?;
        let Use { method, subject, .. } = used;
        let call = Call::new(self.target(method, subject), now.monotonic).of(page);
        let entered = self.in_flight(direction).enter(id.clone(), call);
        entered.map_err(|refusal| Denied { policy, ..refusal.into() })?;
        match self.record_allowed(direction, Some(id), used, policy) {
            Ok(decision) => {
                self.in_flight(direction).decided(id, decision);
                Ok(())
            }
            Err(denied) => {
                self.in_flight(direction).answered(id);
                Err(denied)
            }
        }
    }

    fn judge_notification(
        &mut self,
        direction: Direction,
        used: Use<'_>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let policy = self.decide(direction, used, now)?;
        self.record_allowed(direction, None, used, policy).map(|_| ())
    }

    /// Decides, and says by which policy.
    fn decide(
        &self,
        direction: Direction,
        used: Use<'_>,
        now: Timestamp,
    ) -> Result<ByPolicy, Denied> {
        let asked = self.ask(direction, used, now);
        let policy = self.gate.policy(&self.server);
        asked.map(|()| policy).map_err(|denied| Denied { policy, ..denied })
    }

    fn ask(&self, direction: Direction, used: Use<'_>, now: Timestamp) -> Result<(), Denied> {
        let Use { method, subject, completes, .. } = used;
        let request =
            Request { peer: self.principal(), server: &self.server, direction, method, subject };
        match self.gate.decide(&request, now) {
            Decision::Allow => {}
            Decision::Deny(refusal) => return Err(refusal.into()),
            Decision::Later(refusal, wait) => {
                return Err(Denied { wait: Some(wait), ..refusal.into() });
            }
        }
        // What may not be used may not be completed: that tells what is in it.
        if let Some(method) = completes
            && !self.gate.allows(&Request { method, ..request })
        {
            let reason = format!("{method} of it is not allowed, so neither is its completion");
            return Err(Refusal::new(RefusalCode::NotAuthorized, reason).into());
        }
        if direction == Direction::ToServer {
            self.pinning.used(completes.unwrap_or(method), subject, now)?;
        }
        Ok(())
    }

    fn principal(&self) -> Principal<'_> {
        self.peer.as_ref().map_or(Principal::Local, Principal::Peer)
    }

    /// A response passes only to a request that waits for it: an answer nobody asked
    /// for could only confuse whoever correlates by id alone.
    fn judge_response(
        &mut self,
        direction: Direction,
        id: Option<&RequestId>,
        is_error: bool,
        (message, asks): (&[u8], bool),
        now: Now,
    ) -> Verdict {
        let waiting = self.waiting_for(direction);
        let Some((id, call)) = id.and_then(|id| Some((id, waiting.answered(id)?))) else {
            let reason = "no request waits for this answer";
            let refusal = Refusal::new(RefusalCode::ResponseUnexpected, reason);
            self.log_malformed(direction, id, &refusal, now.monotonic);
            return Verdict::Drop;
        };
        if call.is_orphaned() {
            tracing::debug!(%id, "the answer comes after the end of the server that asked");
            return Verdict::Drop;
        }
        let mut result = if is_error { CallResult::Error } else { CallResult::Result };
        let mut verdict = Verdict::Forward;
        if direction == Direction::ToClient && !is_error {
            let method = &*call.target.method;
            let peer = self.peer.as_ref().map_or(Principal::Local, Principal::Peer);
            let wire = Wire { peer, server: &self.server, gate: &*self.gate };
            let mut news = Vec::new();
            let pinning = (&mut self.pinning, &mut news);
            let answered = Answer { method, page: &call.page, asks, message };
            let passage = results::judge(wire, pinning, answered, now.wall);
            news.iter().for_each(|news| self.tell(news, now.monotonic));
            match passage {
                Passage::Whole => {}
                Passage::Part(part) => {
                    if method == INITIALIZE {
                        self.opened(|opening| opening.answered(id, is_error, &part));
                    }
                    verdict = Verdict::Substitute(part);
                }
                Passage::Malformed(refusal) => {
                    self.log_malformed(direction, Some(id), &refusal, now.monotonic);
                    verdict = Verdict::Substitute(answer(Some(id), &refusal));
                    result = CallResult::Unanswered;
                }
                Passage::Denied(method, refusal) => {
                    let used = Use::of(&method);
                    let policy = self.gate.policy(&self.server);
                    self.log_refusal(direction, Some(id), used, (&refusal, policy));
                    verdict = Verdict::Substitute(answer(Some(id), &refusal));
                    result = CallResult::Unanswered;
                }
            }
        }
        self.record_outcome(opposite(direction), id, &call, result, now.monotonic);
        verdict
    }

    fn reject(&mut self, direction: Direction, rejected: &Rejected, now: Instant) -> Verdict {
        let Rejected { refusal, id, is_response } = rejected;
        self.log_malformed(direction, id.as_ref(), refusal, now);
        if !is_response {
            // A server's stray output is logged only: servers print banners, and an
            // answer without an id would mean nothing to them.
            let is_stray = direction == Direction::ToClient && id.is_none();
            return if is_stray {
                Verdict::Drop
            } else {
                Verdict::Answer(answer(id.as_ref(), refusal))
            };
        }
        let Some(id) = id else { return Verdict::Drop };
        let call = self.waiting_for(direction).answered(id).filter(|call| !call.is_orphaned());
        let Some(call) = call else { return Verdict::Drop };
        self.record_outcome(opposite(direction), id, &call, CallResult::Unanswered, now);
        Verdict::Substitute(answer(Some(id), refusal))
    }

    fn target(&mut self, method: &str, subject: Option<&str>) -> Arc<Target> {
        let subject = subject.map(shortened);
        if *self.latest.method != *method || self.latest.subject.as_deref() != subject {
            let subject = subject.map(Into::into);
            self.latest = Arc::new(Target { method: method.into(), subject });
        }
        Arc::clone(&self.latest)
    }

    fn in_flight(&mut self, direction: Direction) -> &mut InFlight {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// The requests that a response travelling in `direction` may answer.
    fn waiting_for(&mut self, direction: Direction) -> &mut InFlight {
        self.in_flight(opposite(direction))
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::ToServer => Direction::ToClient,
        Direction::ToClient => Direction::ToServer,
    }
}

/// What the sender of a refused message is told: what kind of refusal, nothing more.
fn answer(id: Option<&RequestId>, refusal: &Refusal) -> Vec<u8> {
    let text = match refusal.code {
        RefusalCode::MessageMalformed => "the message is not valid JSON",
        RefusalCode::MessageInvalid => "the message is not JSON-RPC 2.0",
        RefusalCode::MessageBatch => "batches are not supported; send messages one by one",
        RefusalCode::MessageTooDeep => "the message is nested too deeply",
        RefusalCode::MessageTooLarge => "the message is too large",
        RefusalCode::MemberAmbiguous => "a decisive member is repeated or misspelled by case",
        RefusalCode::RequestIdInUse => "a request with this id is still waiting",
        RefusalCode::RequestsInFlight => "too many requests are waiting for an answer",
        RefusalCode::Draining => "the server is shutting down; connect again",
        RefusalCode::AgentTokenRequired => "not allowed: an agent token is needed",
        RefusalCode::PinChanged => "not allowed: its definition has changed",
        RefusalCode::PinAdded | RefusalCode::PinUnapproved => {
            "not allowed: its definition is not approved"
        }
        RefusalCode::ApprovalRequired => "not allowed: a person's approval is needed",
        RefusalCode::PeerNotRegistered => "not allowed: no limit is set for this peer",
        _ => "not allowed",
    };
    error_answer(id, ErrorCode::for_refusal(refusal.code), text, refusal.code.as_str())
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
