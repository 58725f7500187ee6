//! What an incident is, and what an operator wants done about each kind.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sealwire_names::{AgentId, Kind, PeerId, TrustDomain};

use crate::Target;

/// A kind of incident: too much of something that a refusal alone does not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IncidentKind {
    /// Connections that ended before their peer was known.
    FailedHandshakes,
    /// A peer breaks the link's rules, or sends messages that no connecting side lets through.
    ProtocolViolations,
    /// A peer asks for what it may not use; an agent's own process sends where it may not.
    DeniedRequests,
    /// A peer, or an agent's own process, goes on beyond its rate. A second in which it does
    /// counts once.
    RateLimited,
    /// Mail that is not its sender's, or whose sender has no key that counts.
    BadSignatures,
    /// Mail that was there before.
    Replays,
    /// Mail that the trust matrix does not let its sender send.
    UntrustedMail,
    /// A server describes what it offers otherwise than was approved.
    PinChanges,
    /// A server defines something in addition to what was approved.
    PinAdditions,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncidentAction {
    /// Nothing, and nothing is counted.
    Off,
    /// It is recorded and told.
    Notify,
    /// The peer or agent that is to blame is quarantined, too.
    Quarantine,
    /// The server that is to blame is suspended, too.
    Suspend,
}

/// From when on a kind is an incident, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentRule {
    /// So many events of one subject; from 1 to [`MOST_EVENTS`](Self::MOST_EVENTS).
    pub trigger: u32,
    /// Within this time.
    pub window: Duration,
    /// What is done.
    pub action: IncidentAction,
    /// For how long: a quarantine ends after it, and one that is only told is not told again
    /// before.
    pub expiry: Duration,
}

/// A rule for each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRules([IncidentRule; IncidentKind::ALL.len()]);

/// Whose events are counted together. Only a peer, an agent or a server can be shut out; the
/// others say where something was seen, and nobody's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Where connections come from: an address, or the first half of one of IPv6.
    Address(IpAddr),
    /// A peer, by its verified certificate.
    Peer(PeerId),
    /// An agent, by its own process, which holds its key.
    Agent(AgentId),
    /// The agent whose mail was refused: the one to whom something is done.
    Mailbox(AgentId),
    /// A server, by what it said itself through the pipe or the link that leads to it alone.
    Server(String),
}

impl IncidentKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::FailedHandshakes,
        Self::ProtocolViolations,
        Self::DeniedRequests,
        Self::RateLimited,
        Self::BadSignatures,
        Self::Replays,
        Self::UntrustedMail,
        Self::PinChanges,
        Self::PinAdditions,
    ];

    /// The word for it, in the configuration and in what is recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailedHandshakes => "failed_handshakes",
            Self::ProtocolViolations => "protocol_violations",
            Self::DeniedRequests => "denied_requests",
            Self::RateLimited => "rate_limited",
            Self::BadSignatures => "bad_signatures",
            Self::Replays => "replays",
            Self::UntrustedMail => "untrusted_mail",
            Self::PinChanges => "pin_changes",
            Self::PinAdditions => "pin_additions",
        }
    }

    /// What can be done about it: to shut somebody out, it has to be known who it was.
    pub const fn actions(self) -> &'static [IncidentAction] {
        use IncidentAction::{Notify, Off, Quarantine, Suspend};
        match self {
            Self::ProtocolViolations | Self::DeniedRequests | Self::RateLimited => {
                &[Off, Notify, Quarantine]
            }
            // Whoever delivers these is not known: a connection without a certificate that
            // counts, or whoever can write to the store, in anybody's name.
            Self::FailedHandshakes | Self::BadSignatures | Self::Replays | Self::UntrustedMail => {
                &[Off, Notify]
            }
            Self::PinChanges => &[Off, Notify, Suspend],
            // Some servers have other tools for other clients, which nobody is to be blamed for.
            Self::PinAdditions => &[Off, Notify],
        }
    }

    /// Why another action than those cannot follow.
    pub const fn why_no_other(self) -> &'static str {
        match self {
            Self::FailedHandshakes => "whoever fails is not known, whatever name he uses",
            Self::BadSignatures | Self::Replays | Self::UntrustedMail => {
                "whoever put it there is not known, whatever name it carries"
            }
            Self::PinChanges => "it is the doing of a server, which is suspended",
            Self::PinAdditions => "what a server adds may be for another client",
            Self::ProtocolViolations | Self::DeniedRequests | Self::RateLimited => {
                "it is the doing of a peer or an agent, which is quarantined"
            }
        }
    }

    /// What holds where nothing else is said: it is told, and nobody is shut out.
    pub const fn default_rule(self) -> IncidentRule {
        let trigger = match self {
            Self::FailedHandshakes | Self::DeniedRequests => 100,
            // Seconds, not requests.
            Self::RateLimited => 30,
            // Each is told once.
            Self::PinChanges | Self::PinAdditions => 1,
            Self::ProtocolViolations
            | Self::BadSignatures
            | Self::Replays
            | Self::UntrustedMail => 10,
        };
        let action = IncidentAction::Notify;
        let (window, expiry) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
        IncidentRule { trigger, window, action, expiry }
    }
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IncidentAction {
    /// Every action, the weakest first.
    pub const ALL: [Self; 4] = [Self::Off, Self::Notify, Self::Quarantine, Self::Suspend];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Notify => "notify",
            Self::Quarantine => "quarantine",
            Self::Suspend => "suspend",
        }
    }
}

impl fmt::Display for IncidentAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IncidentRule {
    /// Most events that a rule may wait for, as each is remembered.
    pub const MOST_EVENTS: u32 = 1_000;
}

impl IncidentRules {
    /// The rule of a kind.
    pub fn of(&self, kind: IncidentKind) -> &IncidentRule {
        &self.0[kind as usize]
    }

    /// From now on, another one.
    pub fn set(&mut self, kind: IncidentKind, rule: IncidentRule) {
        self.0[kind as usize] = rule;
    }
}

impl Default for IncidentRules {
    fn default() -> Self {
        Self(IncidentKind::ALL.map(IncidentKind::default_rule))
    }
}

impl Subject {
    /// What kind of subject it is: `address`, `peer`, `agent`, `mailbox` or `server`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Peer(_) => "peer",
            Self::Agent(_) => "agent",
            Self::Mailbox(_) => "mailbox",
            Self::Server(_) => "server",
        }
    }

    /// Its name within its kind.
    pub fn name(&self) -> String {
        match self {
            Self::Address(IpAddr::V4(address)) => address.to_string(),
            Self::Address(IpAddr::V6(address)) => format!("{address}/64"),
            Self::Peer(peer) => peer.to_string(),
            Self::Agent(agent) | Self::Mailbox(agent) => agent.to_string(),
            Self::Server(server) => server.clone(),
        }
    }

    /// Who is shut out for it, if anybody can be. A peer that is an agent of the trust domain
    /// `home` is that agent, whose mail is stopped, too.
    pub fn target(&self, home: &TrustDomain) -> Option<Target> {
        match self {
            Self::Address(_) | Self::Mailbox(_) => None,
            Self::Agent(agent) => Some(Target::Agent(agent.clone())),
            Self::Server(server) => Some(Target::Server(server.clone())),
            Self::Peer(peer) => {
                let is_ours = peer.kind() == Kind::Agent && peer.trust_domain() == home;
                let agent = peer.name().parse().ok().filter(|_| is_ours);
                Some(agent.map_or_else(|| Target::Peer(peer.clone()), Target::Agent))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}
