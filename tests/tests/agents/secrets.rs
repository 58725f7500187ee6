//! Neither private keys nor what was written is in a log, an error, a file or a core dump.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, Log, Process, run};
use serde_json::json;

use crate::team::{receive, recv, send, standard, try_send};

const MARKER: &str = "planted-Marker-9f3c61d2";

/// Everything that must not be found, each with what it is.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    /// The content of messages, and the private keys of these agents, in every form in which
    /// they might be written.
    fn of(home: &Home, agents: &[&str]) -> Self {
        let mut secrets = vec![("the content".to_owned(), MARKER.as_bytes().to_vec())];
        for agent in agents {
            for what in ["signing", "recipient"] {
                let file = home.file(&format!("keys/agents/{agent}-{what}"));
                let mut der = Command::new("openssl");
                let out = home.file("key.der");
                der.args(["pkey", "-outform", "DER", "-in"]).arg(&file).arg("-out").arg(&out);
                run(der, b"").ok();
                let der = fs::read(&out).unwrap();
                fs::remove_file(out).unwrap();
                let key = &der[der.len() - 32..];
                let pem = fs::read_to_string(&file).unwrap();
                let base64 = pem.lines().nth(1).unwrap();
                let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                let numbers: Vec<_> = key[..8].iter().map(ToString::to_string).collect();
                let name = format!("the {what} key of {agent}");
                secrets.extend([
                    (name.clone(), key.to_vec()),
                    // From where the DER around the key, which is no secret, is over.
                    (format!("{name} in base64"), base64.as_bytes()[24..].to_vec()),
                    (format!("{name} in hex"), hex.into_bytes()),
                    (format!("{name} in numbers"), numbers.join(", ").into_bytes()),
                ]);
            }
        }
        Self(secrets)
    }

    /// What is found of them.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        self.0.iter().filter(|(_, part)| holds(part)).map(|(name, _)| name.as_str()).collect()
    }

    fn assert_none(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{place} holds {found:?}");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_is_in_logs_errors_and_files() {
    let home = standard();
    let secrets = Secrets::of(&home, &["CodeExpert", "General"]);
    // What is looked for would be found.
    let own = fs::read(home.file("keys/agents/General-signing")).unwrap();
    assert_eq!(secrets.found_in(&own), ["the signing key of General in base64"]);

    let trace = ["--log-level", "trace"];
    let content = format!("{MARKER}\n").repeat(50);
    for to in ["General", "TestingExpert", "DebugExpert"] {
        let output = try_send(&home, "CodeExpert", to, &trace, content.as_bytes());
        assert_eq!(output.code == Some(0), to != "DebugExpert", "{output}");
        secrets.assert_none("agent send", output.to_string().as_bytes());
    }
    let check_files = |when: &str| {
        for file in files(home.path()) {
            let relative = file.strip_prefix(home.path()).unwrap().to_str().unwrap();
            let is_key = ["signing", "recipient"].iter().any(|what| relative.ends_with(what));
            if !is_key {
                secrets.assert_none(&format!("{relative}, {when},"), &fs::read(&file).unwrap());
            }
        }
    };
    check_files("with mail");
    // The mail is there: its sender is to be read.
    assert!(files(home.path()).iter().any(|file| {
        let bytes = fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with("state.db") && bytes.windows(10).any(|window| window == b"CodeExpert")
    }));
    for args in [
        &["agent", "list"][..],
        &["agent", "list", "--json"],
        &["agent", "dead-letters", "list", "--json"],
        &["key", "list", "--json"],
        &["key", "export", "General"],
        &["config", "check", "--json"],
        &["doctor", "--offline", "--json"],
    ] {
        let output = home.run(&[args, &trace].concat());
        secrets.assert_none(&args.join(" "), output.to_string().as_bytes());
    }
    let received = run(recv(&home, "General", &trace), b"").ok();
    assert!(received.stdout.contains(MARKER), "it did not arrive: {received}");
    secrets.assert_none("the log of agent recv", received.stderr.as_bytes());
    check_files("after it");

    let mut command = home.sealwire();
    command.args(["agent", "mcp", "--as", "TestingExpert"]).args(trace);
    let mut client = Connect::spawn(command);
    client.initialize();
    let call = json!({"name": "receive_messages", "arguments": {}});
    let answer = client.request("tools/call", &call);
    assert!(answer.to_string().contains(MARKER), "it did not arrive: {answer}");
    let send = json!({"name": "send_message", "arguments": {"to": "General", "content": MARKER}});
    client.request("tools/call", &send);
    let refused =
        json!({"name": "send_message", "arguments": {"to": "DocsExpert", "content": MARKER}});
    let refused = client.request("tools/call", &refused);
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    secrets.assert_none("an answer", refused.to_string().as_bytes());
    let log = client.log().clone();
    client.finish();
    secrets.assert_none("the log of agent mcp", log.wait_end().join("\n").as_bytes());
    check_files("after agent mcp");
}

/// A program that is ended with SIGABRT where core dumps are allowed.
fn abort(home: &Home, mut command: Command, ready: impl FnOnce(&mut Process)) -> Vec<PathBuf> {
    let directory = home.file("dumps");
    fs::create_dir_all(&directory).unwrap();
    for file in files(&directory) {
        fs::remove_file(file).unwrap();
    }
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]).arg(program).args(args);
    command.current_dir(&directory).stdin(Stdio::piped()).stdout(Stdio::piped()).arg0("sh");
    let mut process = Process::spawn(command);
    ready(&mut process);
    let mut kill = Command::new("kill");
    kill.args(["-ABRT", &process.child().id().to_string()]);
    run(kill, b"").ok();
    let status = process.wait();
    assert_eq!(status.code(), None, "it was not aborted");
    files(&directory)
}

/// Keys must be in memory as long as they are used, so the memory is not written out.
#[test]
fn there_is_no_core_dump() {
    let home = standard();
    let mut sleep = Command::new("sleep");
    sleep.arg("100");
    let dumped = abort(&home, sleep, |process| {
        // It is `sleep` by now, and no longer the shell.
        let name = format!("/proc/{}/comm", process.child().id());
        sealwire_testkit::wait_until("sleep runs", || {
            fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep")
        });
    });
    assert!(
        !dumped.is_empty(),
        "this system writes no core dumps to the working directory, so that nothing can be \
         seen: set it with `sysctl kernel.core_pattern=core`"
    );
    send(&home, "CodeExpert", "General", &[], MARKER.as_bytes());
    let dumped = abort(&home, recv(&home, "General", &["--follow"]), |process| {
        Log::follow(process.child().stdout.take().unwrap()).wait_for(&[MARKER]);
    });
    assert_eq!(dumped, Vec::<PathBuf>::new(), "agent recv was dumped");
    assert_eq!(receive(&home, "DocsExpert", &[]).len(), 0);
}
