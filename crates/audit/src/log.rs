use tracing::{debug, info, warn};

use crate::{
    AgentMessage, AgentStep, AuditSink, Connection, Event, Message, PinEvent, PinStep, Position,
};

/// Writes events to the program's log, under the target `audit`.
///
/// Refusals are warnings, connections are information, and calls that pass are
/// debug lines, so that a busy server's log stays readable by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSink;

impl AuditSink for LogSink {
    fn record(&self, event: &Event<'_>) -> std::io::Result<Position> {
        match *event {
            Event::ConnectionAccepted(connection) => log_connection("accepted", connection),
            Event::ConnectionResumed(connection) => log_connection("resumed", connection),
            Event::ConnectionRefused { address, peer, server, refusal } => warn!(
                target: "audit",
                code = %refusal.code,
                address = address.map(tracing::field::display),
                peer = peer.map(tracing::field::display),
                server,
                reason = refusal.reason,
                "connection refused"
            ),
            Event::Decision { message, denied: None } => log_message("allowed", message),
            Event::Decision { message, denied: Some(refusal) } => warn!(
                target: "audit",
                code = %refusal.code,
                peer = message.peer.map(tracing::field::display),
                server = message.server,
                direction = message.direction,
                method = message.method,
                subject = message.subject,
                id = message.id.map(tracing::field::display),
                reason = refusal.reason,
                "message refused"
            ),
            Event::Outcome { message, result, duration, .. } => debug!(
                target: "audit",
                peer = message.peer.map(tracing::field::display),
                server = message.server,
                direction = message.direction,
                method = message.method,
                subject = message.subject,
                id = message.id.map(tracing::field::display),
                result = %result,
                // A number in JSON, too, which 128 bits are not.
                duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                "answered"
            ),
            Event::AgentMessage(message) => log_agent_message(message),
            Event::Pin(event) => log_pin(event),
            Event::Incident(incident) => warn!(
                target: "audit",
                incident = incident.id,
                kind = incident.kind,
                who = %incident.subject,
                events = incident.events,
                window = ?incident.window,
                action = incident.action,
                until = %incident.until,
                "incident"
            ),
            Event::AlertsGivenUp { channel, alerts, reason } => {
                warn!(target: "audit", channel, alerts, reason, "alerts given up");
            }
            // Whoever changes something says so himself.
            Event::Change(change) => debug!(
                target: "audit",
                subject = change.subject.map(tracing::field::display),
                detail = change.detail,
                "{}",
                change.kind.as_str()
            ),
        }
        Ok(Position::default())
    }
}

fn log_connection(what: &'static str, connection: &Connection<'_>) {
    info!(
        target: "audit",
        address = %connection.address,
        peer = %connection.peer,
        certificate = %connection.fingerprint,
        server = connection.server,
        "connection {what}"
    );
}

fn log_message(what: &'static str, message: &Message<'_>) {
    debug!(
        target: "audit",
        peer = message.peer.map(tracing::field::display),
        server = message.server,
        direction = message.direction,
        method = message.method,
        subject = message.subject,
        id = message.id.map(tracing::field::display),
        "{what}"
    );
}

fn log_agent_message(message: &AgentMessage<'_>) {
    let AgentMessage { agent, from, message_type, .. } = *message;
    let to = message.to.map(tracing::field::display);
    let message_id = message.message_id.map(tracing::field::display);
    macro_rules! log {
        ($level:ident, $text:literal $(, $($field:tt)+)?) => {
            $level!(target: "audit", %agent, %from, to, message_id, message_type, $($($field)+,)? $text)
        };
    }
    match message.step {
        AgentStep::NotSent(refusal) | AgentStep::Refused(refusal) => {
            log!(warn, "agent message refused", code = %refusal.code, reason = refusal.reason);
        }
        AgentStep::Deferred { wait } => log!(info, "agent message deferred", wait = ?wait),
        AgentStep::Sending => log!(debug, "agent message handed over"),
        AgentStep::Sent => log!(debug, "agent message sent"),
        AgentStep::SendFailed { reason } => {
            log!(warn, "agent message may not have been sent", reason);
        }
        AgentStep::Delivered { again } => log!(debug, "agent message delivered", again),
        AgentStep::Acknowledged => log!(debug, "agent message acknowledged"),
    }
}

fn log_pin(event: &PinEvent<'_>) {
    let PinEvent { server, kind, .. } = *event;
    let peer = event.peer.map(tracing::field::display);
    match event.step {
        PinStep::Pinned { definitions } => {
            info!(target: "audit", peer, server, kind, definitions, "definitions pinned");
        }
        PinStep::Blocked { name, refusal } => warn!(
            target: "audit",
            code = %refusal.code,
            peer,
            server,
            kind,
            name,
            reason = refusal.reason,
            "definition blocked"
        ),
        PinStep::Restored { name } => {
            info!(target: "audit", peer, server, kind, name, "definition restored");
        }
    }
}
