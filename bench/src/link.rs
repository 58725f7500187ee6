//! Scenario `link`: one client, one server, and what can be put between them.
//!
//! | case | client ↔ | ↔ server |
//! |---|---|---|
//! | `direct` | pipes | |
//! | `floor` | [plain rustls tunnel](crate::tunnel) | the same |
//! | `stunnel` | `stunnel`, started as from inetd | `stunnel`, which starts the server |
//! | `sealwire` | `sealwire connect` | `sealwire serve` |

use std::thread::sleep;
use std::time::Duration;

use crate::route::{self, Route};
use crate::session::Session;
use crate::setup::{Maker, Setup};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario, stats};

/// Sessions that `serve` has at once when its memory is looked at.
const SESSIONS: usize = 100;
/// How long a program has had nothing to do when its memory is looked at.
const AT_REST: Duration = Duration::from_secs(1);
/// Bytes of the argument of a small call.
const SMALL: usize = 100;

const MEMORY: [Measure; 6] = [
    Measure::less(
        "connect_rss",
        "MB",
        "resident memory of the connecting program a second after all that; pages shared with other processes count in full",
    ),
    Measure::less("connect_pss", "MB", "the same; shared pages by their share"),
    Measure::less(
        "connect_rss_new",
        "MB",
        "resident memory of the connecting program when it has carried `initialize` and one small call",
    ),
    Measure::less(
        "serve_rss_100",
        "MB",
        "resident memory of a newly started serving program with 100 sessions that have made a small call each; its children (the servers) are not counted",
    ),
    Measure::less("serve_pss_100", "MB", "the same; shared pages by their share"),
    Measure::less(
        "serve_rss_used",
        "MB",
        "resident memory of the serving program after the load of all rounds so far, with one session",
    ),
];

const OVER_FLOOR: Ratio = Ratio { of: "sealwire", to: "floor" };
const FLOOR_OVER_STUNNEL: Ratio = Ratio { of: "floor", to: "stunnel" };
const OVER_STUNNEL: Ratio = Ratio { of: "sealwire", to: "stunnel" };

const MAKERS: [Maker; 4] = [
    ("direct", |setup| Ok(Ok(case(route::direct(setup)?)))),
    ("floor", |setup| Ok(Ok(case(route::floor(setup)?)))),
    ("stunnel", |setup| Ok(route::stunnel(setup)?.map(case))),
    ("sealwire", |setup| Ok(Ok(case(route::sealwire(setup)?)))),
];

/// The scenario. With `only`, no other cases.
///
/// # Errors
/// If a program cannot be started or `only` names an unknown case.
pub fn scenario(mut setup: Setup, only: &[String]) -> Result<Scenario> {
    let (cases, skipped) = setup.cases(&MAKERS, only)?;
    Ok(Scenario {
        name: "link",
        about: "one client, one server, and what can be put between them",
        measures: Route::MEASURES.into_iter().chain(MEMORY).collect(),
        cases,
        skipped,
        ratios: vec![OVER_FLOOR, OVER_STUNNEL, FLOOR_OVER_STUNNEL],
        limits: limits(),
        versions: setup.versions,
    })
}

fn limits() -> Vec<Limit> {
    let slower = "sealwire costs more above a plain tunnel than it may";
    let larger = "sealwire needs more memory than it may";
    vec![
        Limit::at_least(
            0.9,
            FLOOR_OVER_STUNNEL,
            "calls_per_s_64",
            "THE FLOOR IS VOID: a plain tunnel must not be slower than stunnel's, \
             so sealwire/floor says nothing in this run",
        ),
        Limit::at_least(0.8, OVER_FLOOR, "calls_per_s_16", slower),
        Limit::at_least(0.75, OVER_FLOOR, "calls_per_s_64", slower),
        Limit::at_most(1.25, OVER_FLOOR, "sequential_p50", slower),
        Limit::at_least(0.8, OVER_FLOOR, "large_results", slower),
        Limit::at_most(
            1.0,
            OVER_STUNNEL,
            "connect_initialize",
            "a session through sealwire begins later than one through a raw stunnel tunnel",
        ),
        // The strict reading of "resident": a page counts in full even if every other
        // sealwire on the machine shares it.
        Limit::at_most(12.0, "sealwire", "connect_rss", larger),
        Limit::at_most(30.0, "sealwire", "serve_rss_100", larger),
    ]
}

struct LinkCase(Route);

fn case(route: Route) -> Box<dyn Case> {
    Box::new(LinkCase(route))
}

impl Case for LinkCase {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn about(&self) -> &'static str {
        self.0.about
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = self.0.measure(effort, |route, session, figures| {
            sleep(AT_REST);
            let connect = route.connect_memory(session);
            figures.insert("connect_rss", connect.map(|memory| memory.rss));
            figures.insert("connect_pss", connect.map(|memory| memory.pss));
            figures.insert("serve_rss_used", route.serve_memory().map(|memory| memory.rss));
            Ok(())
        })?;
        if let Some(route) = self.0.again()? {
            hundred_sessions(&route, &mut figures)?;
        }
        Ok(figures)
    }
}

/// Memory with many sessions at once, none of which does much.
fn hundred_sessions(route: &Route, figures: &mut Figures) -> Result<()> {
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let (mut session, _) = route.start()?;
        session.call(SMALL)??;
        sessions.push(session);
    }
    let connects: Option<Vec<_>> =
        sessions.iter().map(|session| Some(route.connect_memory(session)?.rss)).collect();
    figures.insert("connect_rss_new", connects.and_then(|all| stats::median(&all)));
    let serve = route.serve_memory();
    figures.insert("serve_rss_100", serve.map(|memory| memory.rss));
    figures.insert("serve_pss_100", serve.map(|memory| memory.pss));
    sessions.into_iter().try_for_each(Session::finish)
}
