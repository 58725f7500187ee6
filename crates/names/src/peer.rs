use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest trust domain accepted, in bytes (SPIFFE-ID §2.1).
const MAX_TRUST_DOMAIN: usize = 255;
/// Longest peer name accepted, in bytes. Names become file names and log fields.
const MAX_NAME: usize = 128;

/// A name verified from a certificate, or a name to be put into one:
/// `spiffe://<trust-domain>/<kind>/<name>`.
///
/// Parsing compares bytes and never normalises (SPIFFE-ID §2): what would need
/// normalising is refused, so that two different texts are never one peer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    trust_domain: TrustDomain,
    kind: Kind,
    name: Arc<str>,
}

impl PeerId {
    /// Composes a peer's name.
    ///
    /// # Errors
    /// [`NameError::Name`] if `name` is empty, longer than 128 bytes, starts with
    /// `.` or `-`, or holds anything but ASCII letters, digits, `.`, `-` and `_`.
    pub fn new(trust_domain: TrustDomain, kind: Kind, name: &str) -> Result<Self, NameError> {
        Ok(Self { trust_domain, kind, name: check_name(name)? })
    }

    /// The trust domain whose authority vouches for this name.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What the peer is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The last segment: the peer's name within its kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for PeerId {
    type Err = NameError;

    fn from_str(uri: &str) -> Result<Self, NameError> {
        let rest = uri.strip_prefix("spiffe://").ok_or(NameError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(NameError::Path)?;
        let (kind, name) = path.split_once('/').ok_or(NameError::Path)?;
        Self::new(trust_domain.parse()?, kind.parse()?, name)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = ["spiffe://", &self.trust_domain.0, "/", self.kind.as_str(), "/", &self.name];
        parts.into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a peer is: the first path segment of its SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One installation of sealwire.
    Core,
    /// An MCP server behind sealwire.
    McpServer,
    /// An agent that sends and receives messages.
    Agent,
    /// A person, for approvals.
    User,
}

impl Kind {
    /// Every kind, in the order users are shown them.
    pub const ALL: [Self; 4] = [Self::Core, Self::McpServer, Self::Agent, Self::User];

    /// The path segment for this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::McpServer => "mcp-server",
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

impl FromStr for Kind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NameError::Kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SPIFFE trust domain: lower-case ASCII letters, digits, `.`, `-`, `_`
/// (SPIFFE-ID §2.1), at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN || !text.bytes().all(legal) {
            return Err(NameError::TrustDomain);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An agent's name: the same characters as a peer's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text).map(Self)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The URI does not start with `spiffe://`, in these bytes.
    Scheme,
    /// The trust domain is empty, too long, or holds a forbidden byte.
    TrustDomain,
    /// The path is not `/<kind>/<name>`.
    Path,
    /// The kind is none of `core`, `mcp-server`, `agent`, `user`.
    Kind,
    /// The name is empty, too long, or holds a forbidden byte.
    Name,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it does not start with spiffe://",
            Self::TrustDomain => {
                "the trust domain must be 1 to 255 lower-case letters, digits, '.', '-' or '_'"
            }
            Self::Path => "the path is not /<kind>/<name>",
            Self::Kind => "the kind is none of core, mcp-server, agent, user",
            Self::Name => {
                "the name must be 1 to 128 letters, digits, '.', '-' or '_', not starting with '.' or '-'"
            }
        })
    }
}

impl std::error::Error for NameError {}

/// A name starts with a letter, digit or `_`: as a file name it is then never
/// hidden, never `..`, and never mistaken for an option.
fn check_name(name: &str) -> Result<Arc<str>, NameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !starts_well || name.len() > MAX_NAME || !name.bytes().all(legal) {
        return Err(NameError::Name);
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_shows_the_same_bytes() {
        for uri in [
            "spiffe://example.org/core/core",
            "spiffe://a_b-c.1/mcp-server/brave-search",
            "spiffe://x/agent/CodeExpert",
            "spiffe://x/user/_ops.1",
        ] {
            assert_eq!(uri.parse::<PeerId>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn refuses_what_would_need_normalising() {
        for (uri, why) in [
            ("SPIFFE://x/core/a", NameError::Scheme),
            ("https://x/core/a", NameError::Scheme),
            ("spiffe://", NameError::Path),
            ("spiffe://x", NameError::Path),
            ("spiffe://x/core", NameError::Path),
            ("spiffe:///core/a", NameError::TrustDomain),
            ("spiffe://Example.org/core/a", NameError::TrustDomain),
            ("spiffe://x:443/core/a", NameError::TrustDomain),
            ("spiffe://u@x/core/a", NameError::TrustDomain),
            ("spiffe://x%2e/core/a", NameError::TrustDomain),
            ("spiffe://x/Core/a", NameError::Kind),
            ("spiffe://x//a", NameError::Kind),
            ("spiffe://x/core/", NameError::Name),
            ("spiffe://x/core/a/", NameError::Name),
            ("spiffe://x/core/a/b", NameError::Name),
            ("spiffe://x/core/..", NameError::Name),
            ("spiffe://x/core/-a", NameError::Name),
            ("spiffe://x/core/a%20b", NameError::Name),
            ("spiffe://x/core/a?b", NameError::Name),
            ("spiffe://x/core/a#b", NameError::Name),
            ("spiffe://x/core/ä", NameError::Name),
            ("spiffe://x/core/a\0", NameError::Name),
        ] {
            assert_eq!(uri.parse::<PeerId>().unwrap_err(), why, "{uri}");
        }
        let long = format!("spiffe://x/core/{}", "a".repeat(MAX_NAME + 1));
        assert_eq!(long.parse::<PeerId>().unwrap_err(), NameError::Name);
        let long = format!("spiffe://{}/core/a", "x".repeat(MAX_TRUST_DOMAIN + 1));
        assert_eq!(long.parse::<PeerId>().unwrap_err(), NameError::TrustDomain);
    }
}
