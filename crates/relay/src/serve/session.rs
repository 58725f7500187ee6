//! One conversation on the serving side, from the server's start to its end.

use std::sync::Arc;
use std::time::Duration;

use sealwire_audit::AuditSink;
use sealwire_guard::Gate;
use sealwire_names::PeerId;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::conversations::Registered;
use super::limits::Limits;
use crate::bridge::{Bridge, Happened, Until};
use crate::child::Server;
use crate::conversation::Conversation;
use crate::endpoint::Endpoint;
use crate::lines::Lines;
use crate::link::{Attachments, DEFAULT_WINDOW, Ending, LinkEndpoint};
use crate::message::ErrorCode;

/// How long a server may take to end by itself once its standard input is closed (MCP
/// 2025-11-25, Lifecycle, Shutdown), and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A conversation that is about to run.
pub(super) struct Session {
    pub(super) registered: Registered,
    pub(super) peer: PeerId,
    pub(super) server_name: Arc<str>,
    pub(super) server: Server,
    pub(super) endpoint: Lines<ChildStdout, ChildStdin>,
    pub(super) attachments: Attachments,
    pub(super) limits: Arc<Limits>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) draining: watch::Receiver<bool>,
}

/// What is to happen when the deadline passes.
#[derive(Clone, Copy)]
enum Next {
    /// Close the server's standard input: the drain limit is over.
    Finish,
    /// SIGTERM to its group.
    Terminate,
    /// SIGKILL to its group.
    Kill,
    /// Stop waiting for the peer.
    Leave,
}

impl Session {
    /// Relays until the client is done, the server has ended, the peer stays away, or
    /// the process is to stop.
    pub(super) async fn run(self) {
        let Self { peer, server_name, mut server, endpoint, limits, mut draining, .. } = self;
        let link = LinkEndpoint::new(
            self.attachments,
            limits.max_message,
            DEFAULT_WINDOW,
            limits.idle_timeout,
        );
        let conversation =
            Conversation::new(Some(peer.clone()), server_name.clone(), self.gate, self.audit);
        let mut bridge = Bridge::new(link, endpoint, conversation);
        let mut until = Until::Happened;
        let mut deadline: Option<(Instant, Next)> = None;
        let mut drained = false;
        loop {
            let at = deadline.map_or_else(Instant::now, |(at, _)| at);
            let happened = tokio::select! {
                happened = bridge.run(until) => happened,
                _ = draining.wait_for(|draining| *draining), if !drained => {
                    drained = true;
                    if deadline.is_none() {
                        bridge.conversation.drain();
                        bridge.client.announce_drain();
                        until = Until::Idle;
                        deadline = Some((Instant::now() + limits.drain_timeout, Next::Finish));
                    }
                    continue;
                }
                () = sleep_until(at), if deadline.is_some() => {
                    let next = deadline.map(|(_, next)| next);
                    let following = match next {
                        Some(Next::Finish) => {
                            bridge.server.finish(Ending::Drained);
                            Next::Terminate
                        }
                        Some(Next::Terminate) => {
                            tracing::info!(server = %server_name, "the server did not end by itself");
                            server.terminate();
                            Next::Kill
                        }
                        Some(Next::Kill) => {
                            server.kill();
                            Next::Leave
                        }
                        Some(Next::Leave) | None => break,
                    };
                    until = Until::Happened;
                    deadline = Some((Instant::now() + GRACE, following));
                    continue;
                }
            };
            match happened {
                Happened::ClientEnded => {
                    bridge.server.finish(Ending::Orderly);
                    until = Until::Happened;
                    deadline = Some((Instant::now() + GRACE, Next::Terminate));
                }
                Happened::Reached if until == Until::Idle => {
                    bridge.server.finish(Ending::Drained);
                    until = Until::Happened;
                    deadline = Some((Instant::now() + GRACE, Next::Terminate));
                }
                Happened::ServerEnded(_) | Happened::ServerFailed(_) => {
                    let ending = ending_of(&mut server, drained, &server_name).await;
                    bridge.abandon(
                        ErrorCode::ServerEnded,
                        "the server ended before it answered",
                        "server_ended",
                    );
                    bridge.client.finish(ending);
                    until = Until::ClientSettled;
                    deadline =
                        Some((Instant::now() + limits.resume_window.min(GRACE), Next::Leave));
                }
                Happened::ClientFailed(error) => {
                    tracing::info!(%error, %peer, server = %server_name, "conversation ended");
                    break;
                }
                Happened::Reached => break,
                // Only a serving side announces a drain; a peer that does is ignored.
                Happened::Drain => {}
            }
        }
        bridge.abandon(ErrorCode::ServerEnded, "the conversation ended", "server_ended");
        server.stop(GRACE).await;
        drop(self.registered);
    }
}

/// How the server's end is told to the client.
async fn ending_of(server: &mut Server, drained: bool, name: &str) -> Ending {
    match server.wait(Duration::from_millis(500)).await {
        Some(Ok(status)) if status.success() || drained => {}
        Some(Ok(status)) => {
            tracing::warn!(server = name, %status, "the server failed");
            return Ending::ServerFailed;
        }
        Some(Err(error)) => tracing::warn!(server = name, %error, "the server's status is unknown"),
        None => tracing::info!(server = name, "the server closed its output and runs on"),
    }
    if drained { Ending::Drained } else { Ending::Orderly }
}
