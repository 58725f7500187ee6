//! `[ca]`: the service of this home's certificate authority.

use std::net::SocketAddr;
use std::time::Duration;

use super::check::address;
use super::error::Problems;
use super::typed;
use super::value::MAX_DURATION;

/// Where `sealwire ca serve` listens when nobody says.
const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7444);

/// `[ca]`: where others join, and what they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaConfig {
    /// Where `sealwire ca serve` listens.
    pub address: SocketAddr,
    /// How long a certificate is valid that is issued to whoever joins.
    pub leaf_lifetime: Duration,
}

/// What holds where the configuration says nothing.
impl Default for CaConfig {
    fn default() -> Self {
        Self { address: DEFAULT_ADDRESS, leaf_lifetime: MAX_DURATION }
    }
}

/// Checks `[ca]`. `taken` are the addresses of other listeners, each with its key.
pub(crate) fn check(
    typed: &typed::Ca,
    taken: &[(SocketAddr, String)],
    problems: &mut Problems,
) -> CaConfig {
    let mut config = CaConfig::default();
    if let Some(given) = &typed.address
        && let Some(address) = address(given, problems)
    {
        let other = taken.iter().find(|(other, _)| address.port() != 0 && *other == address);
        if let Some((_, key)) = other {
            let what = format!("is the address of {key} too");
            problems.push(given.at.problem(what, "give it a port of its own"));
        }
        config.address = address;
    }
    if let Some(given) = &typed.leaf_lifetime {
        config.leaf_lifetime = given.value;
    }
    config
}
