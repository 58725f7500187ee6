//! Scenario `guard`: what a decision costs, and what deciding costs a call.
//!
//! `table` decides, in one process and on one core; `map` is a bare hash map of as many peers,
//! or tools. `guarded` and `open` relay calls, with and without the guard.

use std::collections::HashMap;
use std::hint::black_box;

use sealwire_guard::{
    Direction, Effect, Gate, Level, NamePattern, PeerPattern, Policy, Principal, Request, Rule,
    ServerPolicy, Space, Table,
};
use sealwire_names::PeerId;

use crate::envelope::rate;
use crate::requests::Requests;
use crate::route::{self, Route};
use crate::setup::{Maker, Setup};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario};

/// Rules, few and many; a thousand of the many are asked about.
const RULES: [usize; 2] = [10, 10_000];
/// Peers that are named, few and many; a thousand of the many ask.
const PEERS: [usize; 2] = [10, 1_000_000];
const ASKING: usize = 1_000;

const MEASURES: [Measure; 6] = [
    Measure::less(
        "decision",
        "ns",
        "time of a decision where there are 10,000 rules, asked about a thousand tools and peers in turn",
    ),
    Measure::less(
        "rules_growth",
        "×",
        "time of a decision where there are 10,000 rules, by that where there are 10; the same ten requests",
    ),
    Measure::less(
        "spread_growth",
        "×",
        "the same; of the 10,000, a thousand tools and peers are asked about in turn; of `map`, for finding a tool in a bare hash map",
    ),
    Measure::less(
        "peers_growth",
        "×",
        "time of a decision where 1,000,000 peers have ceilings, by that where 10 have; of `map`, the same for finding a peer in a bare hash map",
    ),
    Measure::more("calls_per_s_16", "1/s", "calls relayed per second with 16 in flight"),
    Measure::more("calls_per_s_64", "1/s", "the same with 64 in flight"),
];

const OVER_MAP: Ratio = Ratio { of: "table", to: "map" };
const OVER_OPEN: Ratio = Ratio { of: "guarded", to: "open" };

const MAKERS: [Maker; 4] = [
    ("map", |_| Ok(Ok(Box::new(Map::new()?)))),
    ("table", |_| Ok(Ok(Box::new(Tables::new()?)))),
    ("open", |setup| Ok(Ok(Box::new(Relayed(route::gates(setup, "open", false)?))))),
    ("guarded", |setup| Ok(Ok(Box::new(Relayed(route::gates(setup, "guarded", true)?))))),
];

/// The scenario. With `only`, no other cases.
///
/// # Errors
/// If a program cannot be started or `only` names an unknown case.
pub fn scenario(mut setup: Setup, only: &[String]) -> Result<Scenario> {
    let (cases, skipped) = setup.cases(&MAKERS, only)?;
    let grows = "a decision depends on how large the policy is";
    let slower = "deciding costs a call more than it may";
    Ok(Scenario {
        name: "guard",
        about: "what a decision costs, and what deciding costs a call",
        measures: MEASURES.to_vec(),
        cases,
        skipped,
        ratios: vec![OVER_MAP, OVER_OPEN],
        limits: vec![
            Limit::at_most(1.15, "table", "rules_growth", grows),
            Limit::at_most(1.5, OVER_MAP, "spread_growth", grows),
            Limit::at_most(1.5, OVER_MAP, "peers_growth", grows),
            Limit::at_least(0.9, OVER_OPEN, "calls_per_s_16", slower),
            Limit::at_least(0.9, OVER_OPEN, "calls_per_s_64", slower),
        ],
        versions: setup.versions,
    })
}

fn peer(number: usize) -> Result<PeerId> {
    Ok(format!("spiffe://bench.example/agent/a{number}").parse()?)
}

fn tool(number: usize) -> String {
    format!("tool_{number}")
}

/// Those of `all` that ask: all of few, and as many of many, from everywhere.
fn asking(all: usize) -> impl Iterator<Item = usize> {
    (0..all).step_by(all / ASKING.min(all))
}

/// Hash maps of peers and of tools, as large as the tables.
struct Map {
    tools: Vec<(HashMap<String, u32>, Vec<String>)>,
    peers: Vec<(HashMap<PeerId, u32>, Vec<PeerId>)>,
}

impl Map {
    fn new() -> Result<Self> {
        let tools = RULES.map(|all| {
            let map = (0..all).map(|number| (tool(number), number as u32)).collect();
            (map, asking(all).map(tool).collect())
        });
        let peers = PEERS.map(|all| -> Result<_> {
            let map = (0..all).map(|number| Ok((peer(number)?, number as u32)));
            Ok((map.collect::<Result<_>>()?, asking(all).map(peer).collect::<Result<_>>()?))
        });
        Ok(Self { tools: tools.into(), peers: peers.into_iter().collect::<Result<_>>()? })
    }
}

impl Case for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn about(&self) -> &'static str {
        "a bare hash map of as many tools, or peers"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        figures.insert("spread_growth", growth(effort, &self.tools)?);
        figures.insert("peers_growth", growth(effort, &self.peers)?);
        Ok(figures)
    }
}

fn growth<K: std::hash::Hash + Eq>(
    effort: &Effort,
    maps: &[(HashMap<K, u32>, Vec<K>)],
) -> Result<f64> {
    let mut rates = Vec::new();
    for (map, wanted) in maps {
        let mut next = wanted.iter().cycle();
        rates.push(rate(effort, || {
            let found = next.next().and_then(|key| map.get(black_box(key)));
            black_box(found.ok_or("a key is gone")?);
            Ok(())
        })?);
    }
    Ok(rates[0] / rates[1])
}

/// Compiled policies.
struct Tables {
    /// With few and with many rules.
    of_rules: Vec<Table>,
    /// With few and with many peers.
    of_peers: Vec<Table>,
    peers: Vec<PeerId>,
}

impl Tables {
    fn new() -> Result<Self> {
        let of_rules = RULES.map(|count| Ok(Table::compile(&with_rules(count)?)));
        let of_peers = PEERS.map(|count| Ok(Table::compile(&with_peers(count)?)));
        Ok(Self {
            of_rules: of_rules.into_iter().collect::<Result<_>>()?,
            of_peers: of_peers.into_iter().collect::<Result<_>>()?,
            peers: (0..RULES[1]).map(peer).collect::<Result<_>>()?,
        })
    }

    /// Decisions a second about these tools, each asked for by the peer of its rule.
    fn decide(&self, effort: &Effort, table: &Table, numbers: &[usize]) -> Result<f64> {
        let asked: Vec<_> =
            numbers.iter().map(|number| (tool(*number), &self.peers[*number])).collect();
        let mut next = asked.iter().cycle();
        rate(effort, || {
            let (tool, peer) = next.next().ok_or("nothing is asked")?;
            allowed(table, peer, tool)
        })
    }
}

fn allowed(table: &Table, peer: &PeerId, tool: &str) -> Result<()> {
    let request = Request {
        peer: Principal::Peer(black_box(peer)),
        server: "s",
        direction: Direction::ToServer,
        method: "tools/call",
        subject: Some(black_box(tool)),
    };
    if !table.allows(&request) {
        return Err(format!("{tool} is denied to {peer}").into());
    }
    Ok(())
}

fn server(default_level: Level) -> ServerPolicy {
    ServerPolicy {
        name: "s".into(),
        entry: "s".into(),
        default_level: Some(default_level),
        ..ServerPolicy::default()
    }
}

/// Each rule lets one agent call one tool that it could not call without it; and one denies
/// what nobody asks for.
fn with_rules(count: usize) -> Result<Policy> {
    let rule = |number: usize, effect, peer, tool: NamePattern| Rule {
        label: format!("rule {number}"),
        effect,
        peers: vec![peer],
        servers: vec![NamePattern::Exact("s".into())],
        objects: vec![(Space::Tool, tool)],
    };
    let mut rules = vec![rule(count, Effect::Deny, PeerPattern::Any, "denied_*".parse()?)];
    for number in 0..count {
        let name = NamePattern::Exact(tool(number).into());
        rules.push(rule(number, Effect::Allow, PeerPattern::Exact(peer(number)?), name));
    }
    Ok(Policy { servers: vec![server(Level::Authorized)], rules, ..Policy::default() })
}

fn with_peers(count: usize) -> Result<Policy> {
    let ceiling = |number| Ok((PeerPattern::Exact(peer(number)?), Level::Authorized));
    let ceilings = (0..count).map(ceiling).collect::<Result<_>>()?;
    Ok(Policy { ceilings, servers: vec![server(Level::Authorized)], ..Policy::default() })
}

impl Case for Tables {
    fn name(&self) -> &'static str {
        "table"
    }

    fn about(&self) -> &'static str {
        "decisions of sealwire-guard, each of which needs its rule or its ceiling to pass"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        let [few, many] = self.of_rules.as_slice() else { return Err("two tables".into()) };
        let same: Vec<_> = (0..RULES[0]).collect();
        let of_few = self.decide(effort, few, &same)?;
        figures.insert("rules_growth", of_few / self.decide(effort, many, &same)?);
        let spread: Vec<_> = asking(RULES[1]).collect();
        let of_many = self.decide(effort, many, &spread)?;
        figures.insert("spread_growth", of_few / of_many);
        figures.insert("decision", 1e9 / of_many);

        let mut rates = Vec::new();
        for (table, count) in self.of_peers.iter().zip(PEERS) {
            let peers = asking(count).map(peer).collect::<Result<Vec<_>>>()?;
            let mut next = peers.iter().cycle();
            rates.push(rate(effort, || allowed(table, next.next().ok_or("nobody asks")?, "t"))?);
        }
        figures.insert("peers_growth", rates[0] / rates[1]);
        Ok(figures)
    }
}

/// Calls through both ends.
struct Relayed(Route);

impl Case for Relayed {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn about(&self) -> &'static str {
        self.0.about
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        let (mut session, _) = self.0.start()?;
        session.check_answers()?;
        for (measure, in_flight) in [("calls_per_s_16", 16), ("calls_per_s_64", 64)] {
            let requests = Requests::small(in_flight);
            let load = session.load(requests, in_flight, effort.warm_up, effort.load)?;
            figures.insert(measure, load.calls_per_s);
        }
        session.finish()?;
        Ok(figures)
    }
}
