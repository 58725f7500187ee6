//! Patterns: a name, or the beginning of one followed by `*`.
//!
//! A `*` stands at the end or nowhere. So all patterns that match a name are beginnings
//! of it, each of the next; the longest is found in a trie, and the others follow from it.

use std::fmt;
use std::str::FromStr;

use sealwire_names::{Kind, NameError, PeerId, TrustDomain};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;

/// Matches tools, prompts, resources, methods and servers. Bytes are compared, nothing is
/// normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// This name alone.
    Exact(Box<str>),
    /// Every name that begins so; `*` alone is the empty beginning.
    Prefix(Box<str>),
}

impl NamePattern {
    /// Every name.
    pub fn any() -> Self {
        Self::Prefix(Box::default())
    }

    /// Whether it matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Whether it matches all that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(short), Self::Prefix(long)) => long.starts_with(&**short),
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(PatternError::Length);
        }
        match text.find('*') {
            None => Ok(Self::Exact(text.into())),
            Some(at) if at + 1 == text.len() => Ok(Self::Prefix(text[..at].into())),
            Some(_) => Err(PatternError::Star),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Matches who is at the other end of a wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerPattern {
    /// Everybody: peers, and the local process.
    Any,
    /// The process that started us; see [`Principal::Local`](crate::Principal::Local).
    Local,
    /// This peer alone.
    Exact(PeerId),
    /// Every peer of a kind in a trust domain whose name begins so.
    Prefix(TrustDomain, Kind, Box<str>),
}

impl PeerPattern {
    /// Reads `*`, `local`, `<kind>/<name>`, `<kind>/<beginning>*`, or one of the latter two
    /// behind `spiffe://<trust-domain>/`. Without that, `home` is meant, so that a pattern
    /// never matches a peer that another authority vouches for unless it says so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, home: &TrustDomain) -> Result<Self, PatternError> {
        match text {
            "*" => return Ok(Self::Any),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let (domain, path) = match text.strip_prefix("spiffe://") {
            Some(rest) => {
                let (domain, path) = rest.split_once('/').ok_or(PatternError::Peer)?;
                (domain.parse().map_err(PatternError::Name)?, path)
            }
            None => (home.clone(), text),
        };
        let (kind, name) = path.split_once('/').ok_or(PatternError::Peer)?;
        let kind: Kind = kind.parse().map_err(PatternError::Name)?;
        let peer = |name| PeerId::new(domain.clone(), kind, name).map_err(PatternError::Name);
        match name.parse()? {
            NamePattern::Exact(name) => peer(&name).map(Self::Exact),
            NamePattern::Prefix(prefix) => {
                // What no name begins with would never match.
                if !prefix.is_empty() {
                    peer(&prefix)?;
                }
                Ok(Self::Prefix(domain, kind, prefix))
            }
        }
    }

    /// Whether it names one principal and no other.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Local | Self::Exact(_))
    }

    /// Whether it matches all that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Prefix(domain, kind, prefix), Self::Exact(peer)) => {
                peer.trust_domain() == domain
                    && peer.kind() == *kind
                    && peer.name().starts_with(&**prefix)
            }
            (Self::Prefix(domain, kind, short), Self::Prefix(other, of, long)) => {
                domain == other && kind == of && long.starts_with(&**short)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Local => f.write_str("local"),
            Self::Exact(peer) => peer.fmt(f),
            Self::Prefix(domain, kind, prefix) => write!(f, "spiffe://{domain}/{kind}/{prefix}*"),
        }
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty, or longer than 1,024 bytes.
    Length,
    /// A `*` stands elsewhere than at the end.
    Star,
    /// It is not `*`, `local` or `<kind>/<name>`.
    Peer,
    /// The name, kind or trust domain in it cannot be one.
    Name(NameError),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a pattern has 1 to 1024 bytes"),
            Self::Star => f.write_str("a '*' may stand at the end only"),
            Self::Peer => f.write_str("it is neither \"*\", \"local\" nor <kind>/<name>"),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> TrustDomain {
        "home.example".parse().unwrap()
    }

    #[test]
    fn a_star_stands_at_the_end_or_nowhere() {
        let pattern = |text: &str| text.parse::<NamePattern>();
        assert!(pattern("read_*").unwrap().matches("read_file"));
        assert!(pattern("read_*").unwrap().matches("read_"));
        assert!(!pattern("read_*").unwrap().matches("Read_file"));
        assert!(pattern("*").unwrap().matches(""));
        assert!(!pattern("read").unwrap().matches("reader"));
        for bad in ["", "*a", "a*b", "a**"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
        assert_eq!(pattern("read_*").unwrap().to_string(), "read_*");
    }

    #[test]
    fn a_peer_without_a_trust_domain_is_of_this_home() {
        let parse = |text: &str| PeerPattern::parse(text, &home());
        let ours: PeerId = "spiffe://home.example/agent/Code".parse().unwrap();
        assert_eq!(parse("agent/Code").unwrap(), PeerPattern::Exact(ours.clone()));
        let theirs: PeerId = "spiffe://other.example/agent/Code".parse().unwrap();
        let of_home = parse("agent/*").unwrap();
        assert!(of_home.covers(&PeerPattern::Exact(ours)));
        assert!(!of_home.covers(&PeerPattern::Exact(theirs.clone())));
        let of_other = parse("spiffe://other.example/agent/C*").unwrap();
        assert!(of_other.covers(&PeerPattern::Exact(theirs)));
        for bad in ["", "Code", "agent", "age*", "robot/x", "agent/", "agent/*x", "agent/-*", "/"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
