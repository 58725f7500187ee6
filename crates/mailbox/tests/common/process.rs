//! Real processes: the test program itself, started again as an agent.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sealwire_envelope::{Draft, MessageType};
use sealwire_mailbox::{ChannelError, SecureAgentChannel, SqliteOptions, TransportError};

use super::{agent, open, settings};

/// What an agent process is told: `send FROM FIRST COUNT` or `receive AS`.
const ROLE: &str = "SEALWIRE_MAIL_ROLE";
const DATABASE: &str = "SEALWIRE_MAIL_DATABASE";
/// A hang; nothing else takes so long.
const GUARD: Duration = Duration::from_secs(60);

/// `normal`, or `large` where `SEALWIRE_SOAK=1` asks for hours of testing.
pub fn soak<T>(normal: T, large: T) -> T {
    if std::env::var_os("SEALWIRE_SOAK").is_some_and(|value| value == "1") { large } else { normal }
}

/// To be called by a test named `agent_process`: if this process was started as an agent, it is
/// one, and never returns.
pub fn be_agent_if_told() {
    let (Ok(role), Some(database)) = (std::env::var(ROLE), std::env::var_os(DATABASE)) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let database = Path::new(&database);
    match words[..] {
        ["send", from, first, count] => {
            runtime.block_on(send(database, from, first.parse().unwrap(), count.parse().unwrap()));
        }
        ["receive", me] => runtime.block_on(receive(database, me)),
        _ => panic!("no role: {role}"),
    }
    std::process::exit(0);
}

/// Options with which mail of a killed receiver is there again soon.
pub fn short_leases() -> SqliteOptions {
    let mut options = SqliteOptions::default();
    options.lease = Duration::from_millis(300);
    options.max_deliveries = 10_000;
    options.max_messages = 1_000_000;
    options
}

fn channel(
    database: &Path,
    me: &str,
    known: &[&str],
) -> SecureAgentChannel<sealwire_mailbox::SqliteTransport> {
    let all = settings(known, sealwire_mailbox::Clock::system().now());
    let mine = all.into_iter().find(|settings| settings.keys.agent == agent(me)).unwrap();
    SecureAgentChannel::new(mine, open(database, short_leases()))
}

async fn send(database: &Path, from: &str, first: u64, count: u64) {
    let channel = channel(database, from, &[from, "B"]);
    for number in first..first + count {
        let content = number.to_string();
        let draft = Draft::new(MessageType::StatusUpdate, content.as_bytes());
        let id = channel.send_secure(agent("B"), &draft).await.unwrap();
        println!("sent {from} {number} {id}");
    }
}

/// Receives for ever. The effect of a message is a row in a database of the receiver's own,
/// committed with the message's id.
async fn receive(database: &Path, me: &str) {
    let channel = channel(database, me, &["A", "B", "C"]);
    let effects = rusqlite::Connection::open(database.with_file_name("effects.db")).unwrap();
    effects.busy_timeout(GUARD).unwrap();
    println!("receiving");
    loop {
        let delivery = channel.receive_secure().await.unwrap();
        let number: u64 = std::str::from_utf8(delivery.content()).unwrap().parse().unwrap();
        let (from, id) = (delivery.from().as_str(), delivery.message_id().to_string());
        let new = effects
            .execute(
                "INSERT OR IGNORE INTO effect (id, sender, number) VALUES (?1, ?2, ?3)",
                (&id, from, number.cast_signed()),
            )
            .unwrap();
        assert!(new == 1 || delivery.redelivered(), "{id} again, without a mark");
        // Whoever counts lines kills between effect and acknowledgement, too.
        println!("{} {id}", if new == 1 { "did" } else { "repeated" });
        match delivery.ack().await {
            Ok(_) => println!("acknowledged {id}"),
            Err(ChannelError::Transport(TransportError::LeaseLost)) => println!("lost {id}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A running agent.
pub struct AgentProcess {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl AgentProcess {
    pub fn start(database: &Path, role: &str) -> Self {
        let mut child = command(database, role).stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::<(Mutex<Said>, Condvar)>::default();
        let (output, heard) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test harness writes before the program without ending its line.
                let words = ["sent ", "receiving", "did ", "repeated ", "acknowledged ", "lost "];
                let Some(at) = words.iter().filter_map(|word| line.find(word)).min() else {
                    continue;
                };
                heard.0.lock().unwrap().lines.push(line[at..].to_owned());
                heard.1.notify_all();
            }
            heard.0.lock().unwrap().ended = true;
            heard.1.notify_all();
        });
        Self { child, said }
    }

    /// Waits until it has said so many lines, or ended.
    pub fn wait_for_lines(&self, count: usize) {
        let said = self.said.0.lock().unwrap();
        let waiting = |said: &mut Said| said.lines.len() < count && !said.ended;
        let (_said, waited) = self.said.1.wait_timeout_while(said, GUARD, waiting).unwrap();
        assert!(!waited.timed_out(), "it hangs");
    }

    /// Kills it as with `kill -9`; returns what it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said()
    }

    /// Waits for its end; returns what it said.
    pub fn join(mut self) -> Vec<String> {
        assert!(self.child.wait().unwrap().success());
        self.said()
    }

    fn said(&self) -> Vec<String> {
        let said = self.said.0.lock().unwrap();
        let (mut said, waited) =
            self.said.1.wait_timeout_while(said, GUARD, |said| !said.ended).unwrap();
        assert!(!waited.timed_out(), "it hangs");
        std::mem::take(&mut said.lines)
    }
}

/// How to start an agent.
pub fn command(database: &Path, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "agent_process", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DATABASE, database);
    command
}
