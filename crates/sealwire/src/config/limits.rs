//! `[security.rate_limiting]` and `[mcp_servers.<name>.rate_limiting]`: how often.

use sealwire_guard::{NamePattern, PeerPattern, Rate, RateLimits, ServerLimits};
use sealwire_names::TrustDomain;

use super::document::{Located, Section};
use super::error::Problems;
use super::{schema, typed};

/// Slowest and fastest rate, a second.
const RATES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// Of each peer, where nothing else is said, a second.
const DEFAULT_RATE: f64 = 10.0;
/// The burst that goes with any rate, where nothing else is said.
const DEFAULT_BURST: u32 = 20;

/// A rate and its burst, as typed.
#[derive(Debug, Default)]
struct TypedRate {
    per_second: Option<Located<f64>>,
    burst: Option<Located<u64>>,
}

/// `[security.rate_limiting]`.
#[derive(Debug, Default)]
pub(crate) struct TypedLimits {
    enabled: Option<Located<bool>>,
    each_peer: TypedRate,
    total: TypedRate,
    refuse_unregistered: Option<Located<bool>>,
    peers: Vec<(Located<String>, TypedRate)>,
}

/// `[mcp_servers.<name>.rate_limiting]`.
#[derive(Debug, Default)]
pub(crate) struct TypedServerLimits {
    total: TypedRate,
    tools: Vec<(Located<String>, TypedRate)>,
}

impl TypedLimits {
    pub(crate) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        Self {
            enabled: section.boolean("enabled", problems),
            each_peer: rate(section, ["max_requests_per_sec", "burst_size"], problems),
            total: rate(section, ["total_requests_per_sec", "total_burst_size"], problems),
            refuse_unregistered: section.boolean("refuse_unregistered", problems),
            peers: rates(section, "peers", problems),
        }
    }
}

impl TypedServerLimits {
    pub(crate) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        Self {
            total: rate(section, ["max_requests_per_sec", "burst_size"], problems),
            tools: rates(section, "tools", problems),
        }
    }

    /// Where the first of its limits stands.
    fn first(&self) -> Option<&Located<f64>> {
        let of_tools = self.tools.iter().filter_map(|(_, rate)| rate.per_second.as_ref());
        self.total.per_second.iter().chain(of_tools).next()
    }
}

fn rate(section: &Section<'_>, [rate, burst]: [&str; 2], problems: &mut Problems) -> TypedRate {
    TypedRate {
        per_second: section.number(rate, RATES, problems),
        burst: section.integer(burst, 1..=u64::from(u32::MAX), problems),
    }
}

fn rates(
    section: &Section<'_>,
    key: &str,
    problems: &mut Problems,
) -> Vec<(Located<String>, TypedRate)> {
    let parts = section.named_parts(key, &schema::RATE, problems);
    let read = |(name, part): (Located<String>, Section<'_>), problems: &mut Problems| {
        (name, rate(&part, ["max_requests_per_sec", "burst_size"], problems))
    };
    parts.into_iter().map(|part| read(part, problems)).collect()
}

/// Checks all of it; `None` if there are no limits.
pub(crate) fn check(
    typed: &typed::Typed,
    home: &TrustDomain,
    problems: &mut Problems,
) -> Option<RateLimits> {
    let limits = &typed.rate_limiting;
    if let Some(given) = limits.enabled.as_ref().filter(|given| !given.value && typed.zero_trust())
    {
        let what = "zero_trust_mode limits how often";
        problems.push(given.at.problem(what, "remove it, or turn zero_trust_mode off"));
    }
    let enabled = limits.enabled.as_ref().map_or(typed.zero_trust(), |given| given.value);
    let mut checker = Checker { home, problems };
    // What is wrong is told whether it is enabled or not.
    let servers: Vec<_> = typed
        .servers
        .iter()
        .map(|(name, server)| checker.server(&name.value, &server.rate_limiting))
        .collect();
    let checked = RateLimits {
        each_peer: checker.rate(&limits.each_peer, Some(DEFAULT_RATE)),
        peers: checker.peers(&limits.peers),
        refuse_unregistered: limits.refuse_unregistered.as_ref().is_some_and(|given| given.value),
        total: checker.rate(&limits.total, None),
        servers,
    };
    if enabled {
        return Some(checked);
    }
    for (_, server) in &typed.servers {
        if let Some(given) = server.rate_limiting.first() {
            let what = "has no effect while [security.rate_limiting] is not enabled";
            problems.push(given.at.problem(what, "write enabled = true there, or remove it here"));
        }
    }
    None
}

struct Checker<'a> {
    home: &'a TrustDomain,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    /// A rate; without one, `otherwise`, or none.
    fn rate(&mut self, typed: &TypedRate, otherwise: Option<f64>) -> Option<Rate> {
        let Some(per_second) = typed.per_second.as_ref().map(|given| given.value).or(otherwise)
        else {
            if let Some(burst) = &typed.burst {
                let remedy = "give the rate as well, or remove it";
                self.problems.push(burst.at.problem("is given without its rate", remedy));
            }
            return None;
        };
        let burst = typed.burst.as_ref().and_then(|given| u32::try_from(given.value).ok());
        // Both are within bounds: they have been read so.
        Rate::new(per_second, burst.unwrap_or(DEFAULT_BURST)).ok()
    }

    /// A rate that has to be there.
    fn stated(&mut self, name: &Located<String>, typed: &TypedRate) -> Option<Rate> {
        if typed.per_second.is_none() {
            let remedy = "write it like { max_requests_per_sec = 0.5, burst_size = 2 }";
            self.problems.push(name.at.problem("max_requests_per_sec is missing", remedy));
            return None;
        }
        self.rate(typed, None)
    }

    fn peers(&mut self, typed: &[(Located<String>, TypedRate)]) -> Vec<(PeerPattern, Rate)> {
        let mut peers: Vec<(PeerPattern, Rate)> = Vec::new();
        for (name, rate) in typed {
            let rate = self.stated(name, rate);
            match PeerPattern::parse(&name.value, self.home) {
                Ok(pattern) => {
                    if peers.iter().any(|(other, _)| *other == pattern) {
                        let what = "names the same peers as another of them";
                        self.problems.push(name.at.problem(what, "keep one of the two"));
                    }
                    peers.extend(rate.map(|rate| (pattern, rate)));
                }
                Err(error) => {
                    let what = format!("{:?}: {error}", name.value);
                    let remedy = "write it like \"agent/CodeExpert\", \"core/*\" or \"local\"";
                    self.problems.push(name.at.problem(what, remedy));
                }
            }
        }
        peers
    }

    fn server(&mut self, entry: &str, typed: &TypedServerLimits) -> ServerLimits {
        let mut tools = Vec::new();
        for (name, rate) in &typed.tools {
            let rate = self.stated(name, rate);
            match name.value.parse::<NamePattern>() {
                Ok(pattern) => tools.extend(rate.map(|rate| (pattern, rate))),
                Err(error) => {
                    let what = format!("{:?}: {error}", name.value);
                    let remedy = "write a name, or its beginning and a '*'";
                    self.problems.push(name.at.problem(what, remedy));
                }
            }
        }
        let total = self.rate(&typed.total, None);
        ServerLimits { name: entry.to_owned(), entry: entry.to_owned(), total, tools }
    }
}
