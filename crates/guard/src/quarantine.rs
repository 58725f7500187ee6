use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use sealwire_names::{AgentId, Kind, PeerId, Refusal, RefusalCode, Timestamp, TrustDomain};

/// Who is shut out for now: an immutable value, replaced as a whole when it changes.
///
/// It stands before policy: a peer that is in it gets nothing, whatever is allowed to it. A
/// look-up costs one hash of the peer's name and one of the server's, and nothing at all is
/// allocated unless there is an entry.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    entries: Vec<Entry>,
    peers: HashMap<PeerId, usize, RandomState>,
    /// Agents, by the peer's name that they have in this home's trust domain.
    agents_as_peers: HashMap<PeerId, usize, RandomState>,
    servers: HashMap<Box<str>, usize, RandomState>,
    agents: HashMap<AgentId, usize, RandomState>,
}

/// Who, or what, is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A peer: none of its connections is accepted, and those there are end.
    Peer(PeerId),
    /// An agent: neither its messages nor messages to it pass. As a peer of this home's trust
    /// domain it is shut out, too.
    Agent(AgentId),
    /// A server, by its name on the wire: nobody reaches it.
    Server(String),
}

/// One of those shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who it is.
    pub target: Target,
    /// Why, for the log and for operators.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until somebody lifts it.
    pub until: Option<Timestamp>,
    /// The incident that it comes from; `None`: an operator's command.
    pub incident: Option<u64>,
}

impl Target {
    /// What kind of target it is: `peer`, `agent` or `server`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Agent(_) => "agent",
            Self::Server(_) => "server",
        }
    }

    /// Its name within its kind.
    pub fn name(&self) -> String {
        match self {
            Self::Peer(peer) => peer.to_string(),
            Self::Agent(agent) => agent.to_string(),
            Self::Server(server) => server.clone(),
        }
    }

    /// The target of that kind and name; `None` if it is none.
    pub fn parse(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "peer" => name.parse().ok().map(Self::Peer),
            "agent" => name.parse().ok().map(Self::Agent),
            "server" => Some(Self::Server(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

impl Entry {
    /// Whether it holds at the moment `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// What is said to whoever it concerns, and why.
    pub fn refusal(&self) -> Refusal {
        let (code, what) = match self.target {
            Target::Peer(_) => (RefusalCode::PeerQuarantined, "is quarantined"),
            Target::Agent(_) => (RefusalCode::AgentQuarantined, "is quarantined"),
            Target::Server(_) => (RefusalCode::ServerSuspended, "is suspended"),
        };
        let until = match self.until {
            Some(until) => format!("until {until}"),
            None => "until it is lifted".to_owned(),
        };
        Refusal::new(code, format!("{} {what} {until}: {}", self.target, self.reason))
    }
}

impl Quarantine {
    /// These entries, of which the last counts where a target occurs twice. `home` is the
    /// trust domain in which agents are peers.
    pub fn new(home: &TrustDomain, entries: Vec<Entry>) -> Self {
        let mut quarantine = Self {
            entries,
            peers: HashMap::default(),
            agents_as_peers: HashMap::default(),
            servers: HashMap::default(),
            agents: HashMap::default(),
        };
        for (index, entry) in quarantine.entries.iter().enumerate() {
            match &entry.target {
                Target::Peer(peer) => {
                    quarantine.peers.insert(peer.clone(), index);
                }
                Target::Server(server) => {
                    quarantine.servers.insert(server.as_str().into(), index);
                }
                Target::Agent(agent) => {
                    quarantine.agents.insert(agent.clone(), index);
                    // Every agent's name is a valid peer's name, too.
                    if let Ok(peer) = PeerId::new(home.clone(), Kind::Agent, agent.as_str()) {
                        quarantine.agents_as_peers.insert(peer, index);
                    }
                }
            }
        }
        quarantine
    }

    /// Every entry, also those that have expired.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries that concern a peer's use of a server, expired or not: at most three.
    pub fn concerning(&self, peer: &PeerId, server: &str) -> impl Iterator<Item = &Entry> {
        let found =
            [self.peers.get(peer), self.agents_as_peers.get(peer), self.servers.get(server)];
        found.into_iter().flatten().filter_map(|index| self.entries.get(*index))
    }

    /// May the peer use the server at the moment `now`?
    ///
    /// # Errors
    /// `peer_quarantined`, `agent_quarantined` or `server_suspended`, with why and until when.
    pub fn check(&self, peer: &PeerId, server: &str, now: Timestamp) -> Result<(), Refusal> {
        match self.concerning(peer, server).find(|entry| entry.holds(now)) {
            Some(entry) => Err(entry.refusal()),
            None => Ok(()),
        }
    }

    /// May a client of this machine, which has no name, use the server at the moment `now`?
    ///
    /// # Errors
    /// `server_suspended`, with why and until when.
    pub fn check_server(&self, server: &str, now: Timestamp) -> Result<(), Refusal> {
        let entry = self.servers.get(server).and_then(|index| self.entries.get(*index));
        match entry.filter(|entry| entry.holds(now)) {
            Some(entry) => Err(entry.refusal()),
            None => Ok(()),
        }
    }

    /// May the agent send or receive messages at the moment `now`?
    ///
    /// # Errors
    /// `agent_quarantined`, with why and until when.
    pub fn check_agent(&self, agent: &AgentId, now: Timestamp) -> Result<(), Refusal> {
        let entry = self.agents.get(agent).and_then(|index| self.entries.get(*index));
        match entry.filter(|entry| entry.holds(now)) {
            Some(entry) => Err(entry.refusal()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn entry(target: &str, until: Option<i64>) -> Entry {
        let (kind, name) = target.split_once(' ').unwrap();
        Entry {
            target: Target::parse(kind, name).unwrap(),
            reason: "because".to_owned(),
            since: at(0),
            until: until.map(at),
            incident: None,
        }
    }

    fn quarantine(entries: &[Entry]) -> Quarantine {
        Quarantine::new(&"x".parse().unwrap(), entries.to_vec())
    }

    fn code(quarantine: &Quarantine, peer: &str, server: &str, now: i64) -> Option<&'static str> {
        let peer = peer.parse().unwrap();
        let refused = quarantine.check(&peer, server, at(now)).err();
        refused.map(|refusal| refusal.code.as_str())
    }

    #[test]
    fn each_kind_concerns_its_own_and_nobody_else() {
        let all = quarantine(&[
            entry("peer spiffe://x/core/bad", None),
            entry("server shell", None),
            entry("agent Rogue", None),
        ]);
        assert_eq!(code(&all, "spiffe://x/core/bad", "echo", 1), Some("peer_quarantined"));
        assert_eq!(code(&all, "spiffe://x/core/good", "shell", 1), Some("server_suspended"));
        assert_eq!(code(&all, "spiffe://x/agent/Rogue", "echo", 1), Some("agent_quarantined"));
        assert_eq!(code(&all, "spiffe://x/core/good", "echo", 1), None);
        // The same names, somewhere else.
        assert_eq!(code(&all, "spiffe://y/core/bad", "echo", 1), None);
        assert_eq!(code(&all, "spiffe://y/agent/Rogue", "echo", 1), None);
        assert_eq!(code(&all, "spiffe://x/user/Rogue", "echo", 1), None);
        assert!(all.check_agent(&"Rogue".parse().unwrap(), at(1)).is_err());
        assert!(all.check_agent(&"bad".parse().unwrap(), at(1)).is_ok());
    }

    #[test]
    fn an_entry_ends_by_itself_and_another_one_stays() {
        let peer = "spiffe://x/core/bad";
        let one = quarantine(&[entry(&format!("peer {peer}"), Some(10))]);
        assert_eq!(code(&one, peer, "echo", 9), Some("peer_quarantined"));
        assert_eq!(code(&one, peer, "echo", 10), None);
        let both =
            quarantine(&[entry(&format!("peer {peer}"), Some(10)), entry("server echo", None)]);
        assert_eq!(code(&both, peer, "echo", 9), Some("peer_quarantined"));
        assert_eq!(code(&both, peer, "echo", 10), Some("server_suspended"));
    }

    #[test]
    fn a_refusal_says_who_why_and_until_when() {
        let refusal = entry("server shell", Some(0)).refusal();
        assert_eq!(
            refusal.reason,
            "server shell is suspended until 1970-01-01T00:00:00.000Z: because"
        );
        assert!(entry("agent A", None).refusal().reason.contains("until it is lifted"));
    }
}
