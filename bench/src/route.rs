//! One way to reach the server, and what is measured of each.

use std::time::Duration;

use crate::memory::Memory;
use crate::process::{Background, Launch};
use crate::requests::Requests;
use crate::session::{Promise, Session};
use crate::{Effort, Figures, Measure, Result, stats};

mod gates;
mod plain;
mod sealwire;
mod stunnel;

pub(crate) use self::gates::gates;
pub(crate) use self::plain::{direct, floor};
pub(crate) use self::sealwire::{audited, sealwire};
pub(crate) use self::stunnel::stunnel;

/// What a client starts, and what must run meanwhile.
pub struct Route {
    /// Short and unique in a scenario.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Started by the client for each session.
    connect: Launch,
    /// Runs as long as the value exists, the server's side last; empty if the client
    /// starts the server itself.
    serve: Vec<Background>,
    promise: Promise,
    /// How to start it once more, beside itself.
    again: Option<Start>,
}

/// Starts the serving program, and tells how to connect to it. What it is given begins
/// the names of its files.
type Start = Box<dyn Fn(&str) -> Result<(Launch, Background)>>;

/// Bytes of a large result, and how many are in flight.
const LARGE: (usize, usize) = (1 << 20, 4);

impl Route {
    /// What [`Route::measure`] measures.
    pub const MEASURES: [Measure; 6] = [
        Measure::more(
            "calls_per_s_16",
            "1/s",
            "answers per second with 16 calls in flight; calls and answers have about 200 bytes each",
        ),
        Measure::more("calls_per_s_64", "1/s", "the same with 64 in flight"),
        Measure::less(
            "sequential_p50",
            "µs",
            "time of one call, the next being made only after its answer; the median",
        ),
        Measure::less("sequential_p99", "µs", "the same; 99 of 100 calls take less"),
        Measure::more(
            "large_results",
            "MB/s",
            "10⁶ bytes of answers per second; results of 1 MiB, four in flight",
        ),
        Measure::less(
            "connect_initialize",
            "ms",
            "from before the start of the connecting program to the answer to `initialize`; the median of the starts of a round",
        ),
    ];

    /// A way with nothing between the client and the server that it starts.
    fn direct(name: &'static str, about: &'static str, connect: Launch) -> Self {
        let (serve, promise) = (Vec::new(), Promise::InOrder);
        Self { name, about, connect, serve, promise, again: None }
    }

    /// A way through two programs, of which `start` starts the serving one.
    fn tunnel(
        name: &'static str,
        about: &'static str,
        start: impl Fn(&str) -> Result<(Launch, Background)> + 'static,
    ) -> Result<Self> {
        let (connect, serve) = start(name)?;
        let (serve, promise) = (vec![serve], Promise::InOrder);
        Ok(Self { name, about, connect, serve, promise, again: Some(Box::new(start)) })
    }

    /// A way through HTTP: `serve` are the programs that must run meanwhile.
    pub(crate) fn http(
        name: &'static str,
        about: &'static str,
        connect: Launch,
        serve: Vec<Background>,
    ) -> Self {
        Self { name, about, connect, serve, promise: Promise::OnlyOnce, again: None }
    }

    /// The same way with a serving program that has done nothing yet, where there is
    /// one serving program; for as long as the value lives.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn again(&self) -> Result<Option<Self>> {
        let Some(start) = &self.again else { return Ok(None) };
        let (connect, serve) = start(&format!("{}-again", self.name))?;
        Ok(Some(Self { connect, serve: vec![serve], again: None, ..*self }))
    }

    /// Starts a session, and makes sure that its answers are right.
    ///
    /// # Errors
    /// If the connecting program fails or an answer is wrong.
    pub fn start(&self) -> Result<(Session, Duration)> {
        Session::start(&self.connect, self.promise)
    }

    /// Measures everything once; `more` adds figures while the session is still there,
    /// after all the load it had.
    ///
    /// # Errors
    /// If anything fails, a wrong answer included.
    pub fn measure(
        &mut self,
        effort: &Effort,
        more: impl FnOnce(&Self, &mut Session, &mut Figures) -> Result<()>,
    ) -> Result<Figures> {
        let mut starts = Vec::new();
        let mut start = || -> Result<Session> {
            let (session, elapsed) = self.start()?;
            starts.push(elapsed.as_secs_f64() * 1e3);
            Ok(session)
        };
        for _ in 1..effort.connects {
            start()?.finish()?;
        }
        let mut session = start()?;
        session.check_answers()?;
        let mut load =
            |requests, in_flight| session.load(requests, in_flight, effort.warm_up, effort.load);
        let mut figures = Figures::default();
        figures.insert("calls_per_s_16", load(Requests::small(16), 16)?.calls_per_s);
        figures.insert("calls_per_s_64", load(Requests::small(64), 64)?.calls_per_s);
        let large = load(Requests::large(LARGE.0, LARGE.1), LARGE.1)?;
        figures.insert("large_results", large.mb_per_s);
        let sequential = session.sequential(Requests::small(1), effort.sequential_calls)?;
        figures.insert("sequential_p50", stats::percentile(&sequential, 0.5));
        figures.insert("sequential_p99", stats::percentile(&sequential, 0.99));
        figures.insert("connect_initialize", stats::median(&starts));
        more(self, &mut session, &mut figures)?;
        session.finish()?;
        Ok(figures)
    }

    /// Memory of the program that the client started for `session`; `None` if that is
    /// the server.
    pub fn connect_memory(&self, session: &Session) -> Option<Memory> {
        Memory::of(session.id()).filter(|_| !self.serve.is_empty())
    }

    /// Memory of what serves, the server not counted; `None` if nothing does.
    pub fn serve_memory(&self) -> Option<Memory> {
        let memory = Memory::sum(self.serve.iter().map(Background::id));
        memory.filter(|_| !self.serve.is_empty())
    }
}
