//! The cases of scenario `audit` that read a log: how fast it is verified, and how fast the same
//! bytes are hashed.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use sealwire_audit::note::Signer;
use sealwire_audit::{
    AuditSink, CallId, CallResult, Durability, Event, Journal, Message, Rules, Settings,
};
use sealwire_names::{Fingerprint, PeerId};

use crate::process::{self, sibling};
use crate::setup::Setup;
use crate::{Case, Effort, Figures, Result};

/// Calls in the log, each of two entries.
const CALLS: u64 = 200_000;

/// What is measured of both.
pub(crate) const RATE: &str = "verify_rate";

/// The log, made once.
struct Log {
    directory: PathBuf,
    key: PathBuf,
    bytes: u64,
}

impl Log {
    fn of(setup: &Setup) -> Result<Self> {
        let (directory, key) = (setup.file("log"), setup.file("log.pub"));
        if !directory.exists() {
            write(&directory, &key)?;
        }
        let bytes = lines(&directory)?.into_iter().map(|path| Ok(path.metadata()?.len()));
        Ok(Self { bytes: bytes.sum::<Result<_>>()?, directory, key })
    }

    fn rate(&self, took: Duration) -> Figures {
        let mut figures = Figures::default();
        figures.insert(RATE, self.bytes as f64 / 1e6 / took.as_secs_f64());
        figures
    }
}

/// The files that have lines.
fn lines(directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect())
}

/// Records calls like those of the other cases.
fn write(directory: &Path, key: &Path) -> Result<()> {
    let signer = Signer::new("sealwire-audit/bench.example/1", &[7; 32])?;
    fs::write(key, format!("{}\n", signer.verifier()))?;
    let rules = Rules {
        calls: true,
        messages: true,
        security: true,
        retention_days: 90,
        max_total_size: None,
    };
    let durability = Durability::Interval;
    let journal =
        Journal::open(Settings { directory: directory.to_owned(), signer, durability, rules })?;
    journal.start("bench")?;
    let peer: PeerId = "spiffe://bench.example/core/core".parse()?;
    let certificate = Fingerprint::from_sha256([0xab; 32]);
    for id in 0..CALLS {
        let arguments = format!(r#"{{"text":"{id}"}}"#);
        let message = Message {
            peer: Some(&peer),
            server: "echo",
            direction: "to_server",
            method: "tools/call",
            subject: Some("echo"),
            id: Some(CallId::Integer(id.cast_signed())),
            certificate: Some(&certificate),
            arguments: Some(arguments.as_bytes()),
            policy: Some(&certificate),
            at: None,
        };
        let decision = journal.record(&Event::Decision { message: &message, denied: None })?;
        let (result, duration) = (CallResult::Result, Duration::from_micros(id % 1_000));
        journal.record(&Event::Outcome { message: &message, decision, result, duration })?;
    }
    Ok(journal.close()?)
}

/// `sealwire audit verify`, from its start to its end.
pub(crate) struct Verify {
    program: PathBuf,
    log: Log,
}

impl Verify {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        Ok(Self { program: sibling("sealwire")?, log: Log::of(setup)? })
    }
}

impl Case for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn about(&self) -> &'static str {
        "`sealwire audit verify` of a log of 200,000 calls"
    }

    fn round(&mut self, _effort: &Effort) -> Result<Figures> {
        let began = Instant::now();
        let mut verify = Command::new(&self.program);
        verify.args(["audit", "verify", "--log-dir"]).arg(&self.log.directory);
        process::output(verify.arg("--key").arg(&self.log.key))?;
        Ok(self.log.rate(began.elapsed()))
    }
}

/// The same bytes read, and hashed as one, on one core.
pub(crate) struct Hashing(Log);

impl Hashing {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        Log::of(setup).map(Self)
    }
}

impl Case for Hashing {
    fn name(&self) -> &'static str {
        "hashing"
    }

    fn about(&self) -> &'static str {
        "SHA-256 over the lines of that log, on one core"
    }

    fn round(&mut self, _effort: &Effort) -> Result<Figures> {
        let began = Instant::now();
        let mut block = vec![0; 1 << 20];
        for path in lines(&self.0.directory)? {
            let mut file = File::open(path)?;
            let mut hash = digest::Context::new(&digest::SHA256);
            loop {
                match file.read(&mut block)? {
                    0 => break,
                    read => hash.update(&block[..read]),
                }
            }
            black_box(hash.finish());
        }
        Ok(self.0.rate(began.elapsed()))
    }
}
