//! Checks that wait for others run side by side, and say so where somebody watches.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::finding::{Finding, Id};
use super::report::Report;

/// Checks under way at a time: each may start a program.
const AT_A_TIME: usize = 4;
/// After this long one is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

type Check = Pin<Box<dyn Future<Output = Report> + Send>>;

/// Checks to be run, each with what to say while it runs.
#[derive(Default)]
pub(super) struct Checks {
    checks: Vec<(String, Check)>,
}

impl Checks {
    /// Adds a check.
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        check: impl Future<Output = Report> + Send + 'static,
    ) {
        self.checks.push((name.into(), Box::pin(check)));
    }

    /// Runs all of them; what they found is in the order in which they were added.
    pub(super) async fn run(self) -> Report {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        let mut running = JoinSet::new();
        let mut waiting: BTreeMap<usize, String> = BTreeMap::new();
        let mut tasks = BTreeMap::new();
        for (number, (name, check)) in self.checks.into_iter().enumerate() {
            waiting.insert(number, name);
            let places = Arc::clone(&places);
            let handle = running.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                (number, check.await)
            });
            tasks.insert(handle.id(), number);
        }
        let mut reports = BTreeMap::new();
        let mut shown = Line::default();
        let mut ticks = interval_at(Instant::now() + PATIENCE, PATIENCE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !running.is_empty() {
            tokio::select! {
                Some(done) = running.join_next() => match done {
                    Ok((number, report)) => {
                        waiting.remove(&number);
                        reports.insert(number, report);
                    }
                    Err(error) => {
                        // A defect of ours must not take the other findings with it.
                        let number = tasks.get(&error.id()).copied().unwrap_or_default();
                        let name = waiting.remove(&number).unwrap_or_default();
                        let mut report = Report::default();
                        let what = format!("the check failed: {error}");
                        let found = Finding::error(Id::EndpointBroken, what).at(name);
                        report.found(found.fix("this is a defect of sealwire; report it"));
                        reports.insert(number, report);
                    }
                },
                _ = ticks.tick() => shown.show(waiting.values()),
            }
        }
        drop(shown);
        let mut all = Report::default();
        reports.into_values().for_each(|report| all.append(report));
        all
    }
}

/// One line on standard error, if that is a terminal; gone when dropped.
#[derive(Default)]
struct Line {
    is_shown: bool,
}

impl Line {
    fn show<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return;
        }
        let names: Vec<&str> = names.map(String::as_str).take(AT_A_TIME).collect();
        let line = format!("\r\x1b[Kwaiting for {} …", names.join(", "));
        // Whoever closed it does not want to know.
        drop(stderr.write_all(line.as_bytes()).and_then(|()| stderr.flush()));
        self.is_shown = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_shown {
            drop(std::io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}
