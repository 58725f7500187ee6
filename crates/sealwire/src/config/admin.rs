//! `[admin]`: where health is told.

use std::net::SocketAddr;

use super::check::address;
use super::error::Problems;
use super::typed;

/// `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// The loopback address that answers `/healthz` and `/readyz`; none, and nothing
    /// listens.
    pub address: Option<SocketAddr>,
}

/// Checks `[admin]`. `taken` are the addresses of other listeners, each with its key.
pub(crate) fn check(
    typed: &typed::Admin,
    taken: &[(SocketAddr, String)],
    problems: &mut Problems,
) -> AdminConfig {
    let Some(given) = &typed.address else { return AdminConfig::default() };
    let address = address(given, problems);
    if let Some(address) = address {
        // There is no TLS and no authentication there: what everybody on the network
        // could ask would be a map of this machine.
        if !address.ip().to_canonical().is_loopback() {
            let what = format!("{} is not a loopback address", address.ip());
            let remedy = "use 127.0.0.1 or [::1]; probe from elsewhere with `sealwire health`, \
                          run on this machine";
            problems.push(given.at.problem(what, remedy));
        }
        let other = taken.iter().find(|(other, _)| address.port() != 0 && *other == address);
        if let Some((_, key)) = other {
            let what = format!("is the address of {key} too");
            problems.push(given.at.problem(what, "give it a port of its own"));
        }
    }
    AdminConfig { address }
}
