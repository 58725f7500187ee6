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

/// For how long others go by what they were told is revoked when nobody says.
const DEFAULT_LIST_MAX_AGE: Duration = Duration::from_secs(3600);
const SHORTEST_LIST_MAX_AGE: Duration = Duration::from_secs(2);

/// `[ca]`: where others join, and what they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaConfig {
    /// Where `sealwire ca serve` listens.
    pub address: SocketAddr,
    /// How long a certificate is valid that is issued to whoever joins.
    pub leaf_lifetime: Duration,
    /// How long other machines go by what they were told is revoked.
    pub list_max_age: Duration,
}

/// What holds where the configuration says nothing.
impl Default for CaConfig {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS,
            leaf_lifetime: MAX_DURATION,
            list_max_age: DEFAULT_LIST_MAX_AGE,
        }
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
    if let Some(given) = &typed.list_max_age {
        if given.value < SHORTEST_LIST_MAX_AGE {
            let what = format!("is less than {SHORTEST_LIST_MAX_AGE:?}");
            let fix = "allow for the time that a list takes to come, and for clocks";
            problems.push(given.at.problem(what, fix));
        }
        config.list_max_age = given.value;
    }
    config
}
