//! One conversation with a server that we have started, to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealwire_audit::{AuditSink, Event};
use sealwire_guard::Quarantine;
use sealwire_identity::VerifiedPeer;
use sealwire_names::{PeerId, Refusal, RefusalCode};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::barred::Barred;
use super::conversations::Registered;
use crate::bridge::{Bridge, Happened, Until, unrecorded};
use crate::child::Server;
use crate::connect::RelayError;
use crate::conversation::{Conversation, Fate};
use crate::endpoint::{Endpoint, EndpointError};
use crate::lines::Lines;
use crate::link::{Ending, LinkError};

/// How long a server may take to end by itself once its standard input is closed (MCP
/// 2025-11-25, Lifecycle, Shutdown), and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How long the output of a server is read after its process has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// A conversation that is about to run.
pub(crate) struct Session<C> {
    /// The client's side: a link, or our own standard input and output.
    pub(crate) client: C,
    /// How a message of the client's is judged, its peer and pins included.
    pub(crate) conversation: Conversation,
    /// Whom the client's certificate names; `None` where it is the process that started us.
    pub(crate) peer: Option<PeerId>,
    pub(crate) registered: Option<Registered>,
    pub(crate) server_name: Arc<str>,
    pub(crate) server: Server,
    pub(crate) endpoint: Lines<ChildStdout, ChildStdin>,
    pub(crate) patience: Patience,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) cut: Cut,
}

/// How long is waited for what.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// For answers, once we are to stop.
    pub(crate) drain: Duration,
    /// For a client that has to come back for its last answers.
    pub(crate) resume: Duration,
    /// Awake for what comes next.
    pub(crate) awake: Duration,
}

/// Tells a conversation that it has to end at once.
pub(crate) enum Cut {
    /// When its peer or server enters the quarantine, or when the certificate of its latest
    /// connection is revoked, whether that stands or is waited for.
    OfPeer { barred: watch::Receiver<Barred>, presented: watch::Receiver<Arc<VerifiedPeer>> },
    /// When its server enters the quarantine.
    OfServer(watch::Receiver<Arc<Quarantine>>),
}

impl Cut {
    pub(super) fn of_peer(
        mut barred: watch::Receiver<Barred>,
        presented: watch::Receiver<Arc<VerifiedPeer>>,
    ) -> Self {
        // What it says now counts, too: it may have changed since the peer was admitted.
        barred.mark_changed();
        Self::OfPeer { barred, presented }
    }

    pub(crate) fn of_server(mut quarantine: watch::Receiver<Arc<Quarantine>>) -> Self {
        quarantine.mark_changed();
        Self::OfServer(quarantine)
    }

    /// Waits for that, and tells why.
    async fn ordered(&mut self, server: &str) -> Refusal {
        loop {
            let changed = match self {
                Self::OfPeer { barred, .. } => barred.changed().await,
                Self::OfServer(quarantine) => quarantine.changed().await,
            };
            if changed.is_err() {
                // Nobody can order it any more.
                return std::future::pending().await;
            }
            let checked = match self {
                Self::OfPeer { barred, presented } => {
                    let peer = Arc::clone(&presented.borrow());
                    barred.borrow_and_update().check(&peer, server)
                }
                Self::OfServer(quarantine) => {
                    let now = SystemTime::now().into();
                    quarantine.borrow_and_update().check_server(server, now)
                }
            };
            if let Err(refusal) = checked {
                return refusal;
            }
        }
    }
}

/// What is to happen when the deadline passes.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Close the server's standard input: the drain limit is over.
    Finish,
    /// SIGTERM to its group.
    Terminate,
    /// SIGKILL to its group.
    Kill,
    /// Take the server for ended, although something still holds its standard output.
    Close,
    /// Stop waiting.
    Leave,
}

impl Next {
    fn following(self) -> Self {
        match self {
            Self::Finish => Self::Terminate,
            Self::Terminate => Self::Kill,
            Self::Kill => Self::Close,
            Self::Close | Self::Leave => Self::Leave,
        }
    }
}

impl<C: Endpoint> Session<C> {
    /// Relays until the client is done, the server has ended, the peer stays away, or
    /// the process is to stop.
    ///
    /// # Errors
    /// Why it ended before it was to.
    pub(crate) async fn run(self) -> Result<(), RelayError> {
        let Self { peer, server_name, mut server, patience, audit, mut draining, mut cut, .. } =
            self;
        // For the log.
        let peer_name = peer.as_ref().map_or_else(|| "the local client".into(), PeerId::to_string);
        let mut bridge = Bridge::new(self.client, self.endpoint, self.conversation)
            .that_stays_awake(patience.awake);
        let mut result = Ok(());
        let mut until = Until::Happened;
        let mut deadline: Option<Deadline> = None;
        let mut drained = false;
        let mut client_ended = false;
        let mut exited = false;
        let mut signalled = false;
        let mut expelled = None;
        loop {
            let at = deadline.map_or_else(Instant::now, |deadline| deadline.at);
            let happened = tokio::select! {
                // First, however much the conversation has to do.
                biased;
                refusal = cut.ordered(&server_name) => {
                    expelled = Some(refusal);
                    break;
                }
                happened = bridge.run(until) => happened,
                _ = draining.wait_for(|draining| *draining), if !drained => {
                    drained = true;
                    bridge.conversation.drain();
                    bridge.client.announce_drain();
                    match deadline.map(|deadline| deadline.next) {
                        None => {
                            until = Until::Idle;
                            deadline = Some(Deadline::after(patience.drain, Next::Finish));
                        }
                        Some(Next::Leave) => deadline = Some(Deadline::after(GRACE, Next::Leave)),
                        Some(_) => {}
                    }
                    continue;
                }
                () = server.exited(), if !exited => {
                    // Its last answers may still be in the pipe. What else holds that pipe
                    // open, a helper left behind, is not the server.
                    exited = true;
                    if !matches!(deadline, Some(Deadline { next: Next::Leave, .. })) {
                        deadline = Some(Deadline::after(LAST_OUTPUT, Next::Close));
                    }
                    continue;
                }
                () = sleep_until(at), if deadline.is_some() => {
                    let next = deadline.map_or(Next::Leave, |deadline| deadline.next);
                    signalled |= matches!(next, Next::Terminate | Next::Kill);
                    match next {
                        Next::Finish => bridge.server.finish(Ending::Drained),
                        Next::Terminate => server.terminate(),
                        Next::Kill => server.kill(),
                        Next::Close | Next::Leave => {}
                    }
                    match next {
                        Next::Leave => break,
                        Next::Close if !bridge.client.has_room() => {
                            // Its output has not been read yet, for the client is slow.
                            deadline = Some(Deadline::after(LAST_OUTPUT, Next::Close));
                            continue;
                        }
                        Next::Close => Happened::ServerEnded(Ending::Orderly),
                        _ => {
                            tracing::debug!(server = %server_name, ?next, "still running");
                            until = Until::Happened;
                            deadline = Some(Deadline::after(GRACE, next.following()));
                            continue;
                        }
                    }
                }
            };
            match happened {
                Happened::ClientEnded => {
                    client_ended = true;
                    bridge.server.finish(Ending::Orderly);
                    until = Until::Happened;
                    let waiting = bridge.conversation.is_client_waiting();
                    let answers = if waiting { patience.drain.max(GRACE) } else { GRACE };
                    deadline = Some(Deadline::after(answers, Next::Terminate));
                }
                Happened::Reached if until == Until::Idle => {
                    bridge.server.finish(Ending::Drained);
                    until = Until::Happened;
                    deadline = Some(Deadline::after(GRACE, Next::Terminate));
                }
                Happened::ServerFailed(error) => {
                    // It reads no more, but may have answered, and may be about to end.
                    tracing::info!(%error, server = %server_name, "the server takes no more input");
                    deadline.get_or_insert(Deadline::after(patience.drain, Next::Terminate));
                }
                Happened::ServerEnded(_) => {
                    // Being slow to end, when nobody waits any more, is no failure.
                    let dismissed =
                        client_ended && signalled && !bridge.conversation.is_client_waiting();
                    let ending = ending_of(&mut server, drained, dismissed, &server_name).await;
                    bridge.abandon(
                        |_| true,
                        Fate::server_ended("the server ended before it answered"),
                    );
                    if ending == Ending::ServerFailed {
                        result = Err(RelayError::ServerFailed);
                    }
                    bridge.client.finish(ending);
                    until = Until::ClientSettled;
                    // A client that is cut off just now comes back for its last answers;
                    // one that has said goodbye does not.
                    let goodbye = if drained || client_ended { GRACE } else { patience.resume };
                    deadline = Some(Deadline::after(goodbye, Next::Leave));
                }
                Happened::ClientFailed(error) => {
                    tracing::info!(%error, peer = peer_name, server = %server_name, "conversation ended");
                    record_violation(&*audit, peer.as_ref(), &server_name, &error);
                    result = Err(error.into());
                    break;
                }
                Happened::Unrecorded(error) => {
                    tracing::error!(%error, peer = peer_name, server = %server_name, "conversation cut: the audit log failed");
                    result = Err(unrecorded(error).into());
                    break;
                }
                Happened::Reached => break,
                // Only a serving side announces a drain; a peer that does is ignored.
                Happened::Drain => {}
            }
        }
        bridge.abandon(|_| true, Fate::server_ended("the conversation ended"));
        if let Some(refusal) = expelled {
            // Nothing of what was under way is delivered, in either direction.
            drop(bridge);
            drop(self.registered);
            tracing::info!(peer = peer_name, server = %server_name, code = %refusal.code, "conversation cut");
            record_refused(&*audit, peer.as_ref(), &server_name, &refusal);
            server.stop(GRACE).await;
            return Err(RelayError::Refused(refusal));
        }
        server.stop(GRACE).await;
        drop(self.registered);
        result
    }
}

/// When patience ends, and what then.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    next: Next,
}

impl Deadline {
    fn after(patience: Duration, next: Next) -> Self {
        Self { at: Instant::now() + patience, next }
    }
}

/// A verified peer that breaks the protocol is an event of its own.
fn record_violation(
    audit: &dyn AuditSink,
    peer: Option<&PeerId>,
    server: &str,
    error: &EndpointError,
) {
    let EndpointError::Link(LinkError::Frame(_) | LinkError::Protocol(_)) = error else { return };
    let refusal = Refusal::new(RefusalCode::LinkProtocol, error.to_string());
    record_refused(audit, peer, server, &refusal);
}

fn record_refused(audit: &dyn AuditSink, peer: Option<&PeerId>, server: &str, refusal: &Refusal) {
    let server = Some(server);
    let event = Event::ConnectionRefused { address: None, peer, server, refusal };
    if let Err(error) = audit.record(&event) {
        tracing::error!(%error, "the audit log failed");
    }
}

/// How the server's end is told to the client.
async fn ending_of(server: &mut Server, drained: bool, dismissed: bool, name: &str) -> Ending {
    match server.wait(Duration::from_millis(500)).await {
        Some(Ok(status)) if status.success() || drained || dismissed => server.bury(),
        Some(Ok(status)) => {
            tracing::warn!(server = name, %status, "the server failed");
            server.bury();
            return Ending::ServerFailed;
        }
        Some(Err(error)) => tracing::warn!(server = name, %error, "the server's status is unknown"),
        None => tracing::info!(server = name, "the server closed its output and runs on"),
    }
    if drained { Ending::Drained } else { Ending::Orderly }
}
