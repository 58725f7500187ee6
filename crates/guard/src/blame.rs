use std::net::{IpAddr, Ipv6Addr};

use sealwire_names::{AgentId, PeerId, RefusalCode};

use crate::{Direction, IncidentKind, Subject};

/// A refusal, and who brought about that there was one, as far as that is proven.
///
/// There is no place in it for a name that only stands in what was refused: the certificate
/// that a handshake failed with, or the sender of mail. So nobody can be blamed by somebody who
/// uses his name, his old mail, or all of it at once.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// A connection was refused.
    Connection {
        /// Where it came from.
        address: Option<IpAddr>,
        /// Its peer, if that was verified by then.
        peer: Option<&'a PeerId>,
        /// Why.
        code: RefusalCode,
    },
    /// A message of a conversation was refused.
    Message {
        /// The verified peer of the conversation.
        peer: &'a PeerId,
        /// Which way it went.
        direction: Direction,
        /// Why.
        code: RefusalCode,
    },
    /// An agent's own process, which holds its key, was not let send.
    Sending {
        /// The agent.
        agent: &'a AgentId,
        /// Why.
        code: RefusalCode,
    },
    /// What a server says of itself, or of what it offers, was not let through.
    Definition {
        /// The server, by its name on the wire.
        server: &'a str,
        /// Why.
        code: RefusalCode,
    },
    /// Mail for an agent was refused. Who put it there is not known: whoever can write to the
    /// store can, and mail that is genuine is not proof that its sender put it there now.
    Receiving {
        /// The agent that received it.
        agent: &'a AgentId,
        /// Why.
        code: RefusalCode,
    },
}

impl Evidence<'_> {
    /// What it counts as, and against whom; `None` if it counts as nothing.
    pub fn blame(&self) -> Option<(IncidentKind, Subject)> {
        match *self {
            Self::Connection { peer: Some(peer), code, .. } => {
                let kind = of_link(code)?;
                Some((kind, Subject::Peer(peer.clone())))
            }
            // For want of room here, or because we stop: nobody's failure.
            Self::Connection {
                code: RefusalCode::ConnectionLimit | RefusalCode::Draining, ..
            } => None,
            Self::Connection { address, peer: None, .. } => {
                Some((IncidentKind::FailedHandshakes, Subject::Address(network(address?))))
            }
            // What a server sends is not its peer's doing.
            Self::Message { direction: Direction::ToClient, .. } => None,
            Self::Message { peer, code, .. } => {
                let kind = of_message(code)?;
                Some((kind, Subject::Peer(peer.clone())))
            }
            Self::Sending { agent, code } => {
                let kind = match code {
                    RefusalCode::NotTrusted => IncidentKind::DeniedRequests,
                    RefusalCode::AgentRateLimited => IncidentKind::RateLimited,
                    _ => return None,
                };
                Some((kind, Subject::Agent(agent.clone())))
            }
            Self::Definition { server, code } => {
                let kind = match code {
                    RefusalCode::PinChanged => IncidentKind::PinChanges,
                    RefusalCode::PinAdded => IncidentKind::PinAdditions,
                    // Where nothing has been approved, nothing is changed or added.
                    _ => return None,
                };
                Some((kind, Subject::Server(server.to_owned())))
            }
            Self::Receiving { agent, code } => {
                let kind = of_mail(code)?;
                Some((kind, Subject::Mailbox(agent.clone())))
            }
        }
    }
}

/// Of a verified peer. Only what it said within TLS counts: a connection that is cut or garbled
/// may be the work of whoever is between us.
fn of_link(code: RefusalCode) -> Option<IncidentKind> {
    matches!(code, RefusalCode::LinkProtocol | RefusalCode::ServerNameMismatch)
        .then_some(IncidentKind::ProtocolViolations)
}

/// On the way to a server.
fn of_message(code: RefusalCode) -> Option<IncidentKind> {
    match code {
        RefusalCode::NotAuthorized
        | RefusalCode::AgentTokenRequired
        | RefusalCode::ApprovalRequired
        | RefusalCode::PeerNotRegistered => Some(IncidentKind::DeniedRequests),
        RefusalCode::RateLimited => Some(IncidentKind::RateLimited),
        // Its `connect` would have refused these itself.
        RefusalCode::MessageMalformed
        | RefusalCode::MessageInvalid
        | RefusalCode::MemberAmbiguous
        | RefusalCode::MessageTooDeep
        | RefusalCode::MessageTooLarge
        | RefusalCode::MessageBatch => Some(IncidentKind::ProtocolViolations),
        _ => None,
    }
}

fn of_mail(code: RefusalCode) -> Option<IncidentKind> {
    match code {
        RefusalCode::SignatureInvalid
        | RefusalCode::SenderUnknown
        | RefusalCode::SenderKeyUnknown
        | RefusalCode::SenderKeyRevoked => Some(IncidentKind::BadSignatures),
        RefusalCode::MessageReplayed => Some(IncidentKind::Replays),
        RefusalCode::NotTrusted => Some(IncidentKind::UntrustedMail),
        _ => None,
    }
}

/// What one customer of a provider has: of IPv6, a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IncidentAction, Target};

    fn peer() -> PeerId {
        "spiffe://x/core/a".parse().unwrap()
    }

    fn kind(evidence: Evidence<'_>) -> Option<(&'static str, String)> {
        evidence.blame().map(|(kind, subject)| (kind.as_str(), subject.to_string()))
    }

    #[test]
    fn a_verified_peer_is_to_blame_for_what_it_said_and_for_nothing_else() {
        let peer = peer();
        let on = |direction, code| Evidence::Message { peer: &peer, direction, code };
        let blamed = |kind| Some((kind, "peer spiffe://x/core/a".to_owned()));
        for (code, expected) in [
            (RefusalCode::NotAuthorized, "denied_requests"),
            (RefusalCode::ApprovalRequired, "denied_requests"),
            (RefusalCode::RateLimited, "rate_limited"),
            (RefusalCode::MessageMalformed, "protocol_violations"),
        ] {
            assert_eq!(kind(on(Direction::ToServer, code)), blamed(expected));
            assert_eq!(kind(on(Direction::ToClient, code)), None, "its server sent it");
        }
        // Others have used the shared limit up, or it is ourselves.
        for code in [RefusalCode::SharedLimit, RefusalCode::PeerQuarantined, RefusalCode::Draining]
        {
            assert_eq!(kind(on(Direction::ToServer, code)), None);
        }
        // Its key is in other hands.
        let code = RefusalCode::CertificateRevoked;
        assert_eq!(kind(on(Direction::ToServer, code)), None);
        let address = Some("192.0.2.1".parse().unwrap());
        let link = |code| kind(Evidence::Connection { address, peer: Some(&peer), code });
        assert_eq!(link(RefusalCode::LinkProtocol), blamed("protocol_violations"));
        // Who is on the way can bring these about.
        for code in [
            RefusalCode::ConnectionLost,
            RefusalCode::ResumeUnknown,
            RefusalCode::CertificateRevoked,
        ] {
            assert_eq!(link(code), None);
        }
    }

    #[test]
    fn whose_name_is_not_proven_is_not_named() {
        for (address, shown) in [
            ("192.0.2.1", "address 192.0.2.1"),
            ("::ffff:192.0.2.1", "address 192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ] {
            let address = Some(address.parse().unwrap());
            for code in RefusalCode::ALL {
                let Some((kind, subject)) =
                    Evidence::Connection { address, peer: None, code: *code }.blame()
                else {
                    continue;
                };
                assert_eq!(subject.to_string(), shown);
                assert_eq!(subject.target(&"x".parse().unwrap()), None);
                assert!(!kind.actions().contains(&IncidentAction::Quarantine));
            }
        }
        let agent = "Victim".parse().unwrap();
        for code in RefusalCode::ALL {
            let Some((kind, subject)) =
                (Evidence::Receiving { agent: &agent, code: *code }).blame()
            else {
                continue;
            };
            assert_eq!(subject.target(&"x".parse().unwrap()), None, "{code}");
            assert!(!kind.actions().contains(&IncidentAction::Quarantine), "{code}");
        }
    }

    #[test]
    fn a_change_of_what_was_approved_is_the_servers_doing() {
        let of = |code| Evidence::Definition { server: "s", code }.blame();
        let (kind, subject) = of(RefusalCode::PinChanged).unwrap();
        assert_eq!(kind, IncidentKind::PinChanges);
        assert_eq!(subject.target(&"x".parse().unwrap()), Some(Target::Server("s".to_owned())));
        let (kind, _) = of(RefusalCode::PinAdded).unwrap();
        assert_eq!(kind, IncidentKind::PinAdditions);
        assert!(!kind.actions().contains(&IncidentAction::Suspend));
        assert_eq!(of(RefusalCode::PinUnapproved), None);
    }

    #[test]
    fn an_agents_own_process_and_its_certificate_are_the_agent() {
        let agent: AgentId = "A".parse().unwrap();
        let home = "x".parse().unwrap();
        let sending = |code| Evidence::Sending { agent: &agent, code }.blame();
        let (kind, subject) = sending(RefusalCode::AgentRateLimited).unwrap();
        assert_eq!(kind, IncidentKind::RateLimited);
        assert_eq!(subject.target(&home), Some(Target::Agent(agent.clone())));
        assert_eq!(sending(RefusalCode::MailboxFull), None, "its receiver does not read");
        let target = |peer: &str| Subject::Peer(peer.parse().unwrap()).target(&home);
        assert_eq!(target("spiffe://x/agent/A"), Some(Target::Agent(agent.clone())));
        for other in ["spiffe://y/agent/A", "spiffe://x/core/A"] {
            assert_eq!(target(other), Some(Target::Peer(other.parse().unwrap())));
        }
    }
}
