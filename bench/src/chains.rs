//! Scenario `chains`: what people chain today to reach a stdio server over mutual
//! TLS, beside sealwire. Each chain is
//!
//! client ─stdio─ bridge ─HTTP─ tunnel ═ mutual TLS 1.3 ═ tunnel ─HTTP─ bridge ─stdio─ server
//!
//! and is named after the bridge that the client starts.

use std::time::Duration;

use crate::route::{self, Route};
use crate::setup::{Maker, Setup};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario, stats};

use self::bridge::{Far, Near};
use self::chain::Chain;
use self::tunnel::Tunnel;

mod bridge;
mod chain;
mod tools;
mod tunnel;

const MORE: [Measure; 2] = [
    Measure::less(
        "large_request",
        "ms",
        "one call with 1 MiB of arguments and an answer as long; the median of five",
    ),
    Measure::less(
        "memory_pss",
        "MB",
        "memory of all programs between client and server after all that, pages shared by several by their share; the server is not counted",
    ),
];

/// Bytes of a large call's argument, and how many such calls a round makes.
const LARGE: (usize, usize) = (1 << 20, 5);

const CHAINS: [Chain; 3] = [
    Chain {
        name: "mcp-remote",
        about: "mcp-remote → stunnel ═ stunnel → supergateway (stateful)",
        near: Near::McpRemote,
        tunnel: Tunnel::Stunnel,
        far: Far::Supergateway,
    },
    Chain {
        name: "mcp-proxy",
        about: "PyPI mcp-proxy → stunnel ═ stunnel → PyPI mcp-proxy",
        near: Near::PyPiMcpProxy,
        tunnel: Tunnel::Stunnel,
        far: Far::PyPiMcpProxy,
    },
    Chain {
        name: "supergateway",
        about: "supergateway → haproxy ═ haproxy → npm mcp-proxy",
        near: Near::Supergateway,
        tunnel: Tunnel::Haproxy,
        far: Far::NpmMcpProxy,
    },
];

const MAKERS: [Maker; 6] = [
    ("direct", |setup| Ok(Ok(case(route::direct(setup)?)))),
    ("floor", |setup| Ok(Ok(case(route::floor(setup)?)))),
    ("sealwire", |setup| Ok(Ok(case(route::sealwire(setup)?)))),
    (CHAINS[0].name, |setup| Ok(CHAINS[0].route(setup)?.map(slow))),
    (CHAINS[1].name, |setup| Ok(CHAINS[1].route(setup)?.map(slow))),
    (CHAINS[2].name, |setup| Ok(CHAINS[2].route(setup)?.map(slow))),
];

/// The scenario. With `only`, no other cases.
///
/// # Errors
/// If a program cannot be started or `only` names an unknown case.
pub fn scenario(mut setup: Setup, only: &[String]) -> Result<Scenario> {
    let (cases, skipped) = setup.cases(&MAKERS, only)?;
    let ratio = |to| Ratio { of: "sealwire", to };
    let mut ratios = vec![ratio("floor")];
    let mut limits = Vec::new();
    for Chain { name, .. } in CHAINS {
        let otherwise = "sealwire is less far ahead of what people chain today than it claims";
        ratios.push(ratio(name));
        limits.push(Limit::at_least(100.0, ratio(name), "calls_per_s_64", otherwise));
        limits.push(Limit::at_most(1.0 / 15.0, ratio(name), "sequential_p50", otherwise));
    }
    Ok(Scenario {
        name: "chains",
        about: "what people chain today to reach a stdio server over mutual TLS, beside sealwire",
        measures: Route::MEASURES.into_iter().chain(MORE).collect(),
        cases,
        skipped,
        ratios,
        limits,
        versions: setup.versions,
    })
}

struct ChainsCase {
    route: Route,
    slow: bool,
}

fn case(route: Route) -> Box<dyn Case> {
    Box::new(ChainsCase { route, slow: false })
}

fn slow(route: Route) -> Box<dyn Case> {
    Box::new(ChainsCase { route, slow: true })
}

impl Case for ChainsCase {
    fn name(&self) -> &'static str {
        self.route.name
    }

    fn about(&self) -> &'static str {
        self.route.about
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let effort = if self.slow { effort.for_slow() } else { *effort };
        self.route.measure(&effort, |route, session, figures| {
            let all = route.connect_memory(session).zip(route.serve_memory());
            figures.insert("memory_pss", all.map(|(connect, serve)| (connect + serve).pss));
            let calls: std::result::Result<Vec<Duration>, String> =
                (0..LARGE.1).map(|_| session.call(LARGE.0)).collect::<Result<_>>()?;
            match calls {
                Ok(calls) => {
                    let ms: Vec<_> = calls.iter().map(|call| call.as_secs_f64() * 1e3).collect();
                    figures.insert("large_request", stats::median(&ms));
                }
                // sealwire is not excused: it carries what its limits allow.
                Err(refused) if self.slow => figures.fail("large_request", &refused),
                Err(refused) => return Err(format!("a call of 1 MiB: {refused}").into()),
            }
            Ok(())
        })
    }
}
