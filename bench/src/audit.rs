//! Scenario `audit`: what the log of what happened costs a call.
//!
//! `off` relays calls without it, `interval` and `fsync` with it. `disk` is what the disk allows
//! at most: what is recorded of 64 calls, as many as are in flight, written and synced again and
//! again, by nobody else. `verify` reads a log, and `hashing` hashes as many bytes.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use crate::requests::Requests;
use crate::route::{self, Route};
use crate::setup::{Maker, Setup};
use crate::verifying::{self, Hashing, Verify};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario};

/// Calls in flight. Each waits for the disk once, so that is how many a sync can be good for.
const IN_FLIGHT: usize = 64;
/// About what is recorded of a call among others, in bytes.
const RECORDED: usize = 90;

const MEASURES: [Measure; 3] = [
    Measure::more("calls_per_s_16", "1/s", "calls relayed per second with 16 in flight"),
    Measure::more(
        "calls_per_s_64",
        "1/s",
        "the same with 64 in flight; of `disk`, as many as it can sync what is recorded of",
    ),
    Measure::more(verifying::RATE, "MB/s", "lines of a log verified, or only hashed"),
];

const OVER_OFF: Ratio = Ratio { of: "interval", to: "off" };
const OVER_DISK: Ratio = Ratio { of: "fsync", to: "disk" };
const OVER_HASHING: Ratio = Ratio { of: "verify", to: "hashing" };

const MAKERS: [Maker; 6] = [
    ("disk", |setup| {
        let file = File::options().append(true).create(true).open(setup.file("disk"))?;
        Ok(Ok(Box::new(Disk(file))))
    }),
    ("off", |setup| Ok(Ok(Box::new(Relayed(route::audited(setup, "off", "enabled = false")?))))),
    ("interval", |setup| {
        let audit = "durability = \"interval\"";
        Ok(Ok(Box::new(Relayed(route::audited(setup, "interval", audit)?))))
    }),
    ("fsync", |setup| {
        Ok(Ok(Box::new(Relayed(route::audited(setup, "fsync", "durability = \"fsync\"")?))))
    }),
    ("verify", |setup| Ok(Ok(Box::new(Verify::new(setup)?)))),
    ("hashing", |setup| Ok(Ok(Box::new(Hashing::new(setup)?)))),
];

/// The scenario. With `only`, no other cases.
///
/// # Errors
/// If a program cannot be started or `only` names an unknown case.
pub fn scenario(mut setup: Setup, only: &[String]) -> Result<Scenario> {
    let (cases, skipped) = setup.cases(&MAKERS, only)?;
    let slower = "recording costs a call more than it may";
    let waits = "calls wait for more than the disk";
    Ok(Scenario {
        name: "audit",
        about: "what the log of what happened costs a call",
        measures: MEASURES.to_vec(),
        cases,
        skipped,
        ratios: vec![OVER_OFF, OVER_DISK, OVER_HASHING],
        limits: vec![
            Limit::at_least(0.8, OVER_OFF, "calls_per_s_16", slower),
            Limit::at_least(0.8, OVER_OFF, "calls_per_s_64", slower),
            Limit::at_least(0.7, OVER_DISK, "calls_per_s_64", waits),
            Limit::at_least(0.3, OVER_HASHING, verifying::RATE, "verifying is slow"),
        ],
        versions: setup.versions,
    })
}

/// A file to which lines are appended, and synced.
struct Disk(File);

impl Case for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn about(&self) -> &'static str {
        "64 times 90 bytes appended and synced, again and again: what is recorded of 64 calls"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let lines = vec![b'x'; IN_FLIGHT * RECORDED];
        let (began, mut calls) = (Instant::now(), 0.0);
        while began.elapsed() < effort.load {
            self.0.write_all(&lines)?;
            self.0.sync_data()?;
            calls += IN_FLIGHT as f64;
        }
        let rate = calls / began.elapsed().as_secs_f64();
        self.0.set_len(0)?;
        let mut figures = Figures::default();
        figures.insert("calls_per_s_64", rate);
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
        for (name, in_flight) in [("calls_per_s_16", 16), ("calls_per_s_64", IN_FLIGHT)] {
            let requests = Requests::small(in_flight);
            let load = session.load(requests, in_flight, effort.warm_up, effort.load)?;
            figures.insert(name, load.calls_per_s);
        }
        session.finish()?;
        Ok(figures)
    }
}
