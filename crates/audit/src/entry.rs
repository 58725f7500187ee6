//! From an event to what its line says: the members after `entry` and `time`.
//!
//! Their names are those of OCSF and of OpenTelemetry's conventions for MCP, where these have
//! one. Nothing here may hold a secret: of arguments there is only a keyed hash.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;

use sealwire_names::{Fingerprint, PeerId, Refusal};

use crate::call::CallDraft;
use crate::group::Group;
use crate::text::Escaped;
use crate::{AgentMessage, AgentStep, Connection, Event, Incident, PinEvent, PinStep};

/// Which of `[audit]`'s `include_` keys an event falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `include_mcp_calls`
    Call,
    /// `include_agent_messages`
    Message,
    /// `include_security_events`
    Security,
}

pub(crate) fn class(event: &Event<'_>) -> Class {
    match event {
        Event::Decision { denied: None, .. } | Event::Outcome { .. } => Class::Call,
        Event::AgentMessage(message) => match message.step {
            AgentStep::NotSent(_) | AgentStep::Refused(_) => Class::Security,
            _ => Class::Message,
        },
        _ => Class::Security,
    }
}

/// Writes the members of an entry, in the order in which they are given.
pub(crate) struct Body<'o> {
    out: &'o mut Vec<u8>,
    /// Some text of it was too long.
    pub(crate) is_cut: bool,
}

impl<'o> Body<'o> {
    /// An entry about that.
    pub(crate) fn new(out: &'o mut Vec<u8>, kind: &str) -> Self {
        out.extend_from_slice(b"\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out, is_cut: false }
    }

    // Of a name that is known where this is compiled, copies of a known length are made.
    #[inline]
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn escaped(&mut self, write: impl FnOnce(&mut Escaped<'_>)) {
        self.out.push(b'"');
        let mut escaped = Escaped::new(self.out);
        write(&mut escaped);
        self.is_cut |= escaped.is_cut;
        self.out.push(b'"');
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        self.escaped(|out| out.push(value));
        self
    }

    pub(crate) fn shown(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.name(name);
        self.escaped(|out| {
            // Writing to memory does not fail.
            let _written = write!(out, "{value}");
        });
        self
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        push_number(self.out, value);
        self
    }

    pub(crate) fn time(&mut self, name: &str, value: sealwire_names::Timestamp) -> &mut Self {
        self.name(name);
        push_integer(self.out, value.unix_millis());
        self
    }

    pub(crate) fn is_true(&mut self, name: &str) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(b"true");
        self
    }

    /// Bytes in hexadecimal.
    pub(crate) fn hex(&mut self, name: &str, bytes: &[u8; 32]) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.name(name);
        let mut hex = [b'"'; 66];
        for (at, byte) in bytes.iter().enumerate() {
            hex[1 + 2 * at] = DIGITS[usize::from(byte >> 4)];
            hex[2 + 2 * at] = DIGITS[usize::from(byte & 15)];
        }
        self.out.extend_from_slice(&hex);
        self
    }

    /// How often something was counted, by name.
    pub(crate) fn counts(
        &mut self,
        name: &str,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> &mut Self {
        self.name(name);
        self.out.push(b'{');
        for (at, (of, count)) in counts.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.escaped(|out| out.push(of));
            self.out.push(b':');
            push_number(self.out, count);
        }
        self.out.push(b'}');
        self
    }

    pub(crate) fn list(
        &mut self,
        name: &str,
        texts: impl IntoIterator<Item = impl Display>,
    ) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        for (at, text) in texts.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.escaped(|out| {
                let _written = write!(out, "{text}");
            });
        }
        self.out.push(b']');
        self
    }

    fn address(&mut self, address: SocketAddr) -> &mut Self {
        self.shown("network.peer.address", address.ip());
        self.number("network.peer.port", address.port().into())
    }

    pub(crate) fn peer(&mut self, peer: Option<&PeerId>) -> &mut Self {
        match peer {
            Some(peer) => self.shown("peer", peer),
            None => self,
        }
    }

    pub(crate) fn certificate(&mut self, certificate: Option<&Fingerprint>) -> &mut Self {
        match certificate {
            Some(certificate) => self.hex("certificate", certificate.as_bytes()),
            None => self,
        }
    }

    pub(crate) fn refusal(&mut self, refusal: &Refusal) -> &mut Self {
        self.text("reason", refusal.code.as_str());
        self.text("detail", &refusal.reason)
    }

    /// Ends the entry.
    pub(crate) fn end(&mut self) {
        if self.is_cut {
            self.is_true("cut");
        }
        self.out.push(b'}');
    }
}

pub(crate) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(crate) fn push_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_number(out, value.unsigned_abs());
}

/// Writes what the line of an event says after its time.
pub(crate) fn write(out: &mut Vec<u8>, event: &Event<'_>) {
    match *event {
        Event::ConnectionAccepted(connection) => of_connection(out, "accepted", connection),
        Event::ConnectionResumed(connection) => of_connection(out, "resumed", connection),
        Event::ConnectionRefused { address, peer, server, refusal } => {
            let mut body = Body::new(out, "connection.refused");
            if let Some(address) = address {
                body.address(address);
            }
            body.peer(peer);
            if let Some(server) = server {
                body.text("server", server);
            }
            body.refusal(refusal).end();
        }
        Event::Decision { message, denied } => {
            let mut call = CallDraft::default();
            call.decided(message, denied, None);
            of_call(out, &call);
        }
        Event::Outcome { message, decision, result, duration } => {
            let mut call = CallDraft::default();
            call.ended(message, decision, result, duration);
            of_call(out, &call);
        }
        Event::AgentMessage(message) => of_agent_message(out, message),
        Event::Pin(event) => of_pin(out, event),
        Event::Incident(incident) => of_incident(out, incident),
        Event::AlertsGivenUp { channel, alerts, reason } => {
            let mut body = Body::new(out, "alert.failed");
            body.text("channel", channel).number("alerts", alerts as u64);
            body.text("detail", reason).end();
        }
        Event::Change(change) => {
            let mut body = Body::new(out, change.kind.as_str());
            if let Some(subject) = change.subject {
                body.shown("subject", subject);
            }
            body.text("detail", change.detail);
            if let Some(until) = change.until {
                body.time("until", until);
            }
            body.end();
        }
    }
}

fn of_call(out: &mut Vec<u8>, call: &CallDraft) {
    let mut group = Group::default();
    group.add(&call.body());
    group.end(out);
}

fn of_connection(out: &mut Vec<u8>, how: &str, connection: &Connection<'_>) {
    let mut body = Body::new(out, &kind("connection", how));
    body.address(connection.address).peer(Some(connection.peer));
    body.certificate(Some(connection.fingerprint)).text("server", connection.server);
    for (name, value) in [("tls.cipher", connection.cipher), ("tls.curve", connection.group)] {
        if !value.is_empty() {
            body.text(name, value);
        }
    }
    body.end();
}

/// `a.b`
fn kind(of: &str, step: &str) -> String {
    [of, ".", step].concat()
}

fn of_agent_message(out: &mut Vec<u8>, message: &AgentMessage<'_>) {
    let step = match message.step {
        AgentStep::Sending => "sending",
        AgentStep::Sent => "sent",
        AgentStep::SendFailed { .. } => "send_failed",
        AgentStep::Delivered { .. } => "delivered",
        AgentStep::Acknowledged => "acknowledged",
        AgentStep::Deferred { .. } => "deferred",
        AgentStep::NotSent(_) => "not_sent",
        AgentStep::Refused(_) => "refused",
    };
    let mut body = Body::new(out, &kind("message", step));
    body.text("agent", message.agent.as_str()).text("from", message.from.as_str());
    let optional = [("to", message.to), ("message_id", message.message_id)];
    for (name, value) in optional {
        if let Some(value) = value {
            body.shown(name, value);
        }
    }
    if let Some(message_type) = message.message_type {
        body.text("message_type", message_type);
    }
    match message.step {
        AgentStep::NotSent(refusal) | AgentStep::Refused(refusal) => {
            body.refusal(refusal);
        }
        AgentStep::SendFailed { reason } => {
            body.text("detail", reason);
        }
        AgentStep::Deferred { wait } => {
            body.number("wait_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        AgentStep::Delivered { again: true } => {
            body.is_true("redelivered");
        }
        _ => {}
    }
    body.end();
}

fn of_pin(out: &mut Vec<u8>, event: &PinEvent<'_>) {
    let step = match event.step {
        PinStep::Pinned { .. } => "pinned",
        PinStep::Blocked { .. } => "blocked",
        PinStep::Restored { .. } => "restored",
    };
    let mut body = Body::new(out, &kind("pin", step));
    body.peer(event.peer).text("server", event.server).text("kind", event.kind);
    match event.step {
        PinStep::Pinned { definitions } => body.number("definitions", definitions as u64),
        PinStep::Blocked { name, refusal } => body.text("name", name).refusal(refusal),
        PinStep::Restored { name } => body.text("name", name),
    };
    body.end();
}

fn of_incident(out: &mut Vec<u8>, incident: &Incident<'_>) {
    let mut body = Body::new(out, "incident");
    if let Some(id) = incident.id {
        body.number("incident", id);
    }
    body.text("kind", incident.kind).shown("subject", incident.subject);
    body.number("events", incident.events.into());
    body.number("window_s", incident.window.as_secs());
    body.text("action", incident.action).time("until", incident.until).end();
}
