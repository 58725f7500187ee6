//! The store against a model that is too simple to be wrong: a list of messages, looked through
//! from the start.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use common::process::soak;
use common::{Time, agent, deliver, letter, open, text};
use proptest::prelude::*;
use sealwire_mailbox::{SqliteTransport, Taken, Transport, TransportError};
use sealwire_names::{Refusal, RefusalCode, Timestamp};

const LEASE: i64 = 15_000;

#[derive(Clone, Debug)]
enum Step {
    /// A number that was put before is a copy.
    Put {
        from: &'static str,
        number: u64,
        priority: u8,
    },
    Take {
        by: usize,
        most: usize,
    },
    /// The others are about one of the leases that there ever were.
    Deliver(prop::sample::Index),
    Acknowledge(prop::sample::Index),
    Release(prop::sample::Index, i64),
    Abandon(prop::sample::Index),
    Bury(prop::sample::Index),
    Forward(i64),
    Restart {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let any = || any::<prop::sample::Index>();
    prop_oneof![
        4 => (prop_oneof![Just("A"), Just("C")], 0..8_u64, 0..2_u8)
            .prop_map(|(from, number, priority)| Step::Put { from, number, priority }),
        4 => (0..2_usize, 1..4_usize).prop_map(|(by, most)| Step::Take { by, most }),
        4 => any().prop_map(Step::Deliver),
        3 => any().prop_map(Step::Acknowledge),
        1 => (any(), 0..20_000_i64).prop_map(|(lease, delay)| Step::Release(lease, delay)),
        1 => any().prop_map(Step::Abandon),
        1 => any().prop_map(Step::Bury),
        2 => (0..20_000_i64).prop_map(Step::Forward),
        1 => (0..2_usize).prop_map(|which| Step::Restart { which }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    /// To whom, until when, and which of its leases it is.
    Leased {
        holder: u32,
        until: i64,
        lease: usize,
    },
    PutOff {
        until: i64,
    },
    Ended,
}

#[derive(Debug)]
struct Message {
    from: &'static str,
    number: u64,
    priority: u8,
    state: State,
}

/// Who has had which message, and whether it is acknowledged.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Delivered { message: usize },
    Done,
}

#[derive(Default)]
struct Model {
    messages: Vec<Message>,
    known: HashMap<(&'static str, u64), Known>,
    /// The message of each lease.
    leases: Vec<usize>,
    holders: [u32; 2],
    now: i64,
}

impl Model {
    fn take(&mut self, by: usize, most: usize) -> Vec<usize> {
        let (now, holder) = (self.now, self.holders[by]);
        for message in &mut self.messages {
            match message.state {
                State::Leased { until, .. } | State::PutOff { until } if until <= now => {
                    message.state = State::Waiting;
                }
                _ => {}
            }
        }
        let blocked = |index: usize| {
            let this = &self.messages[index];
            self.messages[..index].iter().any(|earlier| {
                let away = match earlier.state {
                    State::Leased { holder: other, .. } => other != holder,
                    State::PutOff { .. } => true,
                    State::Waiting | State::Ended => false,
                };
                away && (earlier.from, earlier.priority) == (this.from, this.priority)
            })
        };
        let mut found: Vec<usize> = (0..self.messages.len())
            .filter(|&index| self.messages[index].state == State::Waiting && !blocked(index))
            .collect();
        found.sort_by_key(|&index| (u8::MAX - self.messages[index].priority, index));
        found.truncate(most);
        for &index in &found {
            let (until, lease) = (now + LEASE, self.leases.len());
            self.messages[index].state = State::Leased { holder, until, lease };
            self.leases.push(index);
        }
        found
    }

    /// The message of a lease that holds, for the process that it was given to.
    fn held(&mut self, lease: usize, holder: u32) -> Option<&mut Message> {
        let message = &mut self.messages[self.leases[lease]];
        let holds = matches!(message.state,
            State::Leased { lease: now, holder: by, .. } if now == lease && by == holder);
        holds.then_some(message)
    }

    fn deliver(&mut self, lease: usize, holder: u32) -> &'static str {
        let index = self.leases[lease];
        let Some(message) = self.held(lease, holder) else { return "lost" };
        let id = (message.from, message.number);
        match self.known.get(&id) {
            None => {
                self.known.insert(id, Known::Delivered { message: index });
                "new"
            }
            Some(Known::Delivered { message }) if *message == index => "again",
            Some(_) => "replayed",
        }
    }

    fn acknowledge(&mut self, lease: usize, holder: u32) -> &'static str {
        let index = self.leases[lease];
        let Some(message) = self.held(lease, holder) else { return "lost" };
        let id = (message.from, message.number);
        if self.known.get(&id) != Some(&Known::Delivered { message: index }) {
            return "lost";
        }
        self.known.insert(id, Known::Done);
        self.messages[index].state = State::Ended;
        "ok"
    }

    fn put_back(&mut self, lease: usize, holder: u32, state: State) -> &'static str {
        let Some(message) = self.held(lease, holder) else { return "lost" };
        message.state = state;
        "ok"
    }
}

/// The store, opened by two processes, of which each may be replaced.
struct Stores<'a> {
    path: &'a Path,
    time: Time,
    open: [SqliteTransport; 2],
    /// What was taken, by which process, in which of its lives.
    taken: Vec<(Taken, usize, u32)>,
}

fn word(result: &Result<(), TransportError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(TransportError::LeaseLost) => "lost",
        Err(error) => panic!("{error}"),
    }
}

async fn run(steps: Vec<Step>) {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let stores = [open(&path, time.options()), open(&path, time.options())];
    let mut real = Stores { path: &path, time, open: stores, taken: Vec::new() };
    let mut model = Model { holders: [0, 1], ..Model::default() };
    for step in steps {
        one(&mut real, &mut model, step).await;
    }
    // Whatever is held has a lease or a time, and nothing else has.
    let database = rusqlite::Connection::open(&path).unwrap();
    let astray: i64 = database
        .query_row(
            "SELECT count(*) FROM mail_record FULL JOIN mail_lease ON record = id
             WHERE (state IS 1) <> (record IS NOT NULL)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(astray, 0);
}

async fn one(real: &mut Stores<'_>, model: &mut Model, step: Step) {
    let pick = |index: &prop::sample::Index| {
        (!real.taken.is_empty()).then(|| index.index(real.taken.len()))
    };
    match &step {
        Step::Put { from, number, priority } => {
            let letter = letter(&real.time, from, &["B"], *number, *priority);
            real.open[0].put(letter).await.unwrap();
            let (from, number, priority) = (*from, *number, *priority);
            model.messages.push(Message { from, number, priority, state: State::Waiting });
        }
        Step::Take { by, most } => {
            let round = real.open[*by].take(&agent("B"), *most).await.unwrap();
            let found: Vec<_> = round.taken.iter().map(text).collect();
            let expected: Vec<_> = model
                .take(*by, *most)
                .into_iter()
                .map(|index| {
                    let Message { from, number, .. } = model.messages[index];
                    format!("{from} {number}")
                })
                .collect();
            assert_eq!(found, expected, "{step:?}");
            let life = model.holders[*by];
            real.taken.extend(round.taken.into_iter().map(|taken| (taken, *by, life)));
        }
        Step::Deliver(index) => {
            let Some(lease) = pick(index) else { return };
            let (taken, by, life) = &real.taken[lease];
            let found = match deliver(&real.open[*by], taken).await {
                Ok(delivered) if delivered.redelivered => "again",
                Ok(_) => "new",
                Err(TransportError::LeaseLost) => "lost",
                Err(TransportError::Refused(refusal)) => {
                    assert_eq!(refusal.code, RefusalCode::MessageReplayed);
                    "replayed"
                }
                Err(error) => panic!("{error}"),
            };
            // A process that was started anew has another name.
            assert_eq!(found, model.deliver(lease, same(*life, model.holders[*by])), "{step:?}");
        }
        Step::Acknowledge(index) => {
            let Some(lease) = pick(index) else { return };
            let (taken, by, life) = &real.taken[lease];
            let found = word(&real.open[*by].acknowledge(&taken.lease).await);
            let holder = same(*life, model.holders[*by]);
            assert_eq!(found, model.acknowledge(lease, holder), "{step:?}");
        }
        Step::Release(index, delay) => {
            let Some(lease) = pick(index) else { return };
            let (taken, by, life) = &real.taken[lease];
            let until = model.now + delay;
            let due = Timestamp::from_unix_millis(real.time.now().unix_millis() + delay);
            let found = word(&real.open[*by].release(&taken.lease, due).await);
            let holder = same(*life, model.holders[*by]);
            let state = if *delay > 0 { State::PutOff { until } } else { State::Waiting };
            assert_eq!(found, model.put_back(lease, holder, state), "{step:?}");
        }
        Step::Abandon(index) => {
            let Some(lease) = pick(index) else { return };
            let (taken, by, life) = &real.taken[lease];
            real.open[*by].abandon(&taken.lease);
            // It is done when whatever comes after it is.
            real.open[*by].waiting(agent("B")).await.unwrap();
            model.put_back(lease, same(*life, model.holders[*by]), State::Waiting);
        }
        Step::Bury(index) => {
            let Some(lease) = pick(index) else { return };
            let (taken, by, life) = &real.taken[lease];
            let refusal = Refusal::new(RefusalCode::NotTrusted, "a test");
            let found = word(&real.open[*by].bury(&taken.lease, refusal).await);
            let holder = same(*life, model.holders[*by]);
            assert_eq!(found, model.put_back(lease, holder, State::Ended), "{step:?}");
        }
        Step::Forward(millis) => {
            real.time.forward(Duration::from_millis(millis.unsigned_abs()));
            model.now += millis;
        }
        Step::Restart { which } => {
            real.open[*which] = open(real.path, real.time.options());
            model.holders[*which] += 2;
        }
    }
    let live = model.messages.iter().filter(|message| message.state != State::Ended).count();
    assert_eq!(real.open[0].waiting(agent("B")).await.unwrap(), live as u64);
}

/// The process as which a lease is used: its own, unless that was replaced.
fn same(taken_by: u32, now: u32) -> u32 {
    if taken_by == now { now } else { u32::MAX }
}

#[test]
fn the_store_does_what_the_model_does() {
    let cases = soak(40, 4_000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        runtime.block_on(run(steps));
    });
}
