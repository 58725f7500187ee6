//! The log: whole for machines, unforgeable for people, and nothing that anybody waits for.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, Log, Process, Serve, run, wait_until};
use sealwire_tests::{call_echo, echo_params, echo_table, free_address, honest_session};
use serde_json::{Value, json};

/// A name that, written as it is, would look like a line of its own, or hide one.
const FORGED: &str = "x\n2026-01-01T00:00:00.000000Z ERROR audit: forged code=\"a\"\r\u{1b}[2K\
                      \u{85}\u{2028}\u{202e}\u{9b}1A\u{7f}y";

/// Calls that make some megabytes of log at level debug: more than may wait anywhere.
const FLOOD: u64 = 10_000;

fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    let fits = |(pattern, found): (char, char)| match pattern {
        'd' => found.is_ascii_digit(),
        other => found == other,
    };
    text.len() == pattern.len() && pattern.chars().zip(text.chars()).all(fits)
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn is_unsafe(found: char) -> bool {
    found.is_control() || "\u{2028}\u{202e}".contains(found)
}

/// A home that serves `echo` at an address that is known beforehand: its log cannot be read.
fn home_apart() -> (Home, SocketAddr) {
    let address = free_address();
    let listen = format!("[listen]\naddress = \"{address}\"\n");
    (Home::with_config(&format!("{listen}{}", echo_table())), address)
}

fn serve_command(home: &Home, options: &[&str]) -> Command {
    let mut command = home.sealwire();
    command.args(options).arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn wait_for_listener(address: SocketAddr) {
    wait_until("it listens", || TcpStream::connect(address).is_ok());
}

/// Makes [`FLOOD`] calls in one session; each is answered.
fn flood(home: &Home, address: SocketAddr) {
    let params = echo_params("flood");
    let call = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    let input: String = (1..=FLOOD).map(|id| format!("{}\n", call(id))).collect();
    let output = home.connect_once("echo", address, input.as_bytes()).ok();
    assert_eq!(output.stdout.lines().count() as u64, FLOOD);
    assert_eq!(output.stdout.matches("\"result\"").count() as u64, FLOOD);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A file that is being written, without a last line that is not all there.
fn whole(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..=end])
}

/// How many lines a line of the log says are missing.
fn missing(line: &str) -> u64 {
    let (_, rest) = line.split_once("lost lines=").expect("a line about lost lines");
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// How many lines about calls there are, and how many are said to be missing.
fn accounted<'a>(lines: impl Iterator<Item = &'a str>) -> (u64, u64) {
    let (mut told, mut lost) = (0, 0);
    for line in lines {
        if line.contains("log lines were lost") {
            assert!(line.contains("WARN") && line.contains("reason="), "{line}");
            lost += missing(line);
        } else if line.contains(": allowed ") || line.contains(": answered ") {
            told += 1;
        }
    }
    (told, lost)
}

/// They are all there are.
fn all_accounted_for<'a>(lines: impl Iterator<Item = &'a str>, sessions: u64) {
    let (told, lost) = accounted(lines);
    assert!(lost > 0, "nothing was lost: the test has not tested anything");
    // Besides its calls a session has a few lines; any of them may be among the lost.
    let calls = 2 * FLOOD * sessions;
    assert!((calls..calls + 50).contains(&(told + lost)), "{told} told, {lost} lost of {calls}");
}

#[test]
fn json_is_one_flat_object_a_line() {
    let home = Home::with_config(&echo_table());
    let options = ["--log-format", "json", "--log-level", "debug"];
    let mut process = Process::spawn(serve_command(&home, &options));
    let listening = parsed(&process.log().wait_for(&["\"listening\""]));
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    honest_session(&home, address);
    let mut client = Connect::start(&home, "echo", address);
    client.initialize();
    client.request("tools/call", &json!({"name": FORGED, "arguments": {}}));
    drop(client);
    process.terminate();
    assert!(process.wait().success());

    let lines = process.log().wait_end();
    for line in &lines {
        let event = parsed(line);
        let members = event.as_object().unwrap();
        for name in ["timestamp", "level", "target", "message"] {
            assert!(members[name].is_string(), "no {name}: {line}");
        }
        // A repeated member would be two values to two readers.
        let names = members.keys().map(|name| line.matches(&format!("\"{name}\":")).count());
        assert_eq!(names.max(), Some(1), "{line}");
        assert!(members.values().all(|value| !value.is_object() && !value.is_array()), "{line}");
        assert!(is_time(members["timestamp"].as_str().unwrap()), "{line}");
        let level = members["level"].as_str().unwrap();
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&level), "{line}");
        assert!(!line.contains(is_unsafe), "{line:?}");
    }
    let events: Vec<_> = lines.iter().map(|line| parsed(line)).collect();
    let answered = events.iter().find(|event| event["message"] == "answered").unwrap();
    assert!(answered["duration_us"].is_u64(), "{answered}");
    assert!(answered["peer"].as_str().unwrap().starts_with("spiffe://"), "{answered}");
    let forged = |event: &&Value| event["subject"] == FORGED;
    assert!(events.iter().any(|event| forged(&event)), "{lines:#?}");
    let mentions = events.iter().filter(|event| event.to_string().contains("forged"));
    assert!(mentions.into_iter().all(|event| forged(&event)), "{lines:#?}");
}

#[test]
fn text_cannot_be_forged() {
    let home = Home::with_config(&echo_table());
    let serve = Serve::start_with(&home, &["--log-level", "debug"], &[]);
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    client.request("tools/call", &json!({"name": FORGED, "arguments": {}}));
    serve.log().wait_for(&["answered", "forged"]);
    for line in serve.log().lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(is_time(time), "{line}");
        assert!(!rest.trim_start().starts_with("ERROR"), "{line}");
        assert!(!line.contains(is_unsafe), "{line:?}");
    }
}

/// What the configuration says holds for `serve`, options win, and nothing else asks it.
#[test]
fn the_log_table_is_the_default_of_serve() {
    let log = "[log]\nlevel = \"debug\"\nformat = \"json\"\nfile = \"serve.log\"\n\n";
    let (home, address) = home_apart();
    let config = read(&home.file("sealwire.toml"));
    home.write("sealwire.toml", format!("{log}{config}"));
    let file = home.file("serve.log");
    let mut process = Process::spawn(serve_command(&home, &[]));
    wait_for_listener(address);
    honest_session(&home, address);
    wait_until("a call is told", || read(&file).contains("\"answered\""));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    process.terminate();
    assert!(process.wait().success());
    assert_eq!(process.log().wait_end(), Vec::<String>::new());
    read(&file).lines().for_each(|line| drop(parsed(line)));

    fs::remove_file(&file).unwrap();
    let other = home.file("other.log");
    let options =
        ["--log-level", "info", "--log-format", "text", "--log-file", other.to_str().unwrap()];
    let mut process = Process::spawn(serve_command(&home, &options));
    wait_for_listener(address);
    honest_session(&home, address);
    process.terminate();
    assert!(process.wait().success());
    let text = read(&other);
    assert!(text.contains(" INFO ") && !text.contains("DEBUG"), "{text}");
    assert!(!file.exists());
    home.run(&["cert", "list"]).ok();
    assert!(!file.exists(), "a command that is not the daemon writes its log");
}

/// A disk that is full: /dev/full is one. What the path leads to is changed later, as if
/// somebody had made room.
#[test]
fn a_full_disk_stops_nothing_and_what_is_missing_is_told() {
    let (home, address) = home_apart();
    let admin = free_address();
    let config = read(&home.file("sealwire.toml"));
    home.write("sealwire.toml", format!("[admin]\naddress = \"{admin}\"\n\n{config}"));
    let log = home.file("log");
    symlink("/dev/full", &log).unwrap();
    let options = ["--log-level", "debug", "--log-file", log.to_str().unwrap()];
    let mut process = Process::spawn(serve_command(&home, &options));
    wait_for_listener(address);
    flood(&home, address);
    process.log().wait_for(&["the log", log.to_str().unwrap(), "No space left on device"]);
    honest_session(&home, address);
    let health = parsed(&home.run(&["health", "--json"]).ok().stdout);
    assert!(health["log_lines_lost"].as_u64() > Some(0), "{health}");
    assert!(health["audit_lines_lost"].as_u64() <= health["log_lines_lost"].as_u64());
    let room = home.file("room");
    symlink(&room, home.file("new")).unwrap();
    fs::rename(home.file("new"), &log).unwrap();
    wait_until("all is told", || {
        let (told, lost) = accounted(whole(&read(&room)).lines());
        told + lost >= 2 * FLOOD
    });
    assert!(read(&room).contains("No space left on device"));
    process.terminate();
    assert!(process.wait().success());
    assert_eq!(process.log().wait_end().len(), 1, "told more than once");
    all_accounted_for(read(&room).lines(), 1);
}

/// Nor does the end depend on a log that cannot be written.
#[test]
fn a_full_disk_does_not_keep_the_program_from_ending() {
    let (home, address) = home_apart();
    let mut process = Process::spawn(serve_command(&home, &["--log-file", "/dev/full"]));
    wait_for_listener(address);
    honest_session(&home, address);
    process.terminate();
    assert!(process.wait().success());
}

/// The same with a real file system, where this user may mount one.
#[test]
fn a_file_system_that_fills_up() {
    let (home, address) = home_apart();
    let Some(disk) = Disk::mount(home.file("disk"), "2m") else { return };
    let log = disk.0.join("log");
    let options = ["--log-level", "debug", "--log-file", log.to_str().unwrap()];
    let mut process = Process::spawn(serve_command(&home, &options));
    wait_for_listener(address);
    for _ in 0..2 {
        flood(&home, address);
    }
    process.log().wait_for(&["No space left on device"]);
    honest_session(&home, address);
    // Somebody makes room: what is there is moved elsewhere.
    let kept = home.file("kept");
    fs::copy(&log, &kept).unwrap();
    OpenOptions::new().write(true).truncate(true).open(&log).unwrap();
    wait_until("all is told", || {
        let (told, lost) = accounted(whole(&(read(&kept) + &read(&log))).lines());
        told + lost >= 4 * FLOOD
    });
    process.terminate();
    assert!(process.wait().success());
    assert_eq!(process.log().wait_end().len(), 1, "told more than once");
    // A line that the full disk had cut is whole in the two files together.
    let whole = read(&kept) + &read(&log);
    assert!(whole.lines().all(|line| is_time(line.split(' ').next().unwrap())));
    all_accounted_for(whole.lines(), 2);
}

/// A tmpfs; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "sealwire-test"]).arg(&at);
        let output = run(mount, b"");
        if output.code != Some(0) {
            println!("not tried, as nothing can be mounted here: {}", output.stderr);
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(&self.0);
        let _ = run(unmount, b"");
    }
}

/// Whoever started the program reads its standard error no more, and leaves it open.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (home, address) = home_apart();
    let mut command = serve_command(&home, &["--log-level", "debug"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_listener(address);
    flood(&home, address);
    honest_session(&home, address);
    // Reading after all, one finds what is missing, and where.
    let log = Log::follow(child.stderr.take().unwrap());
    wait_until("all is told", || {
        let (told, lost) = accounted(log.lines().iter().map(String::as_str));
        told + lost >= 2 * FLOOD
    });
    terminate(&child);
    assert!(child.wait().unwrap().success());
    all_accounted_for(log.wait_end().iter().map(String::as_str), 1);
}

#[test]
fn nobody_waits_at_the_end_for_a_log_that_nobody_reads() {
    let (home, address) = home_apart();
    let mut command = serve_command(&home, &["--log-level", "debug"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_listener(address);
    flood(&home, address);
    let mut command = home.connect_command("echo", address, "");
    command.args(["--log-level", "trace"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.stderr(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let output = Log::follow(output);
    for id in 1..=FLOOD {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                          "params": echo_params("x")});
        writeln!(input, "{call}").unwrap();
    }
    drop(input);
    assert_eq!(output.wait_end().len() as u64, FLOOD);
    let mut ended = None;
    wait_until("connect has ended", || {
        ended = client.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    terminate(&child);
    wait_until("serve has ended", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
}

/// Standard error that has been closed at its other end.
#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    let (home, address) = home_apart();
    let mut command = serve_command(&home, &["--log-level", "debug"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    wait_for_listener(address);
    flood(&home, address);
    terminate(&child);
    assert!(child.wait().unwrap().success());
}

fn terminate(child: &std::process::Child) {
    let mut kill = Command::new("kill");
    kill.arg(child.id().to_string());
    run(kill, b"").ok();
}

/// As logrotate does it: rename, and expect a new file; no signal is needed.
#[test]
fn a_renamed_log_is_begun_anew() {
    let (home, address) = home_apart();
    let log = home.file("serve.log");
    let options = ["--log-file", log.to_str().unwrap()];
    let mut process = Process::spawn(serve_command(&home, &options));
    wait_for_listener(address);
    honest_session(&home, address);
    let old = home.file("serve.log.1");
    fs::rename(&log, &old).unwrap();
    let mut client = Connect::start(&home, "echo", address);
    client.initialize();
    wait_until("there is a new file with lines in it", || {
        drop(TcpStream::connect(address));
        !read(&log).is_empty()
    });
    call_echo(&mut client, "x");
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
    assert!(read(&old).contains("listening"));
    let size = fs::metadata(&old).unwrap().len();

    // A directory in which nothing can be made: the file in hand is used on.
    fs::rename(&log, home.file("serve.log.2")).unwrap();
    fs::create_dir(&log).unwrap();
    wait_until("that is told", || {
        drop(TcpStream::connect(address));
        !process.log().lines().is_empty()
    });
    process.log().wait_for(&["serve.log", "old file grows on"]);
    fs::remove_dir(&log).unwrap();
    wait_until("there is a new file again", || {
        drop(TcpStream::connect(address));
        !read(&log).is_empty()
    });
    process.terminate();
    assert!(process.wait().success());
    assert!(read(&log).contains("stopped"));
    assert_eq!(fs::metadata(&old).unwrap().len(), size, "the first file is still written");
    let whole: String = [&old, &home.file("serve.log.2"), &log].map(|file| read(file)).concat();
    assert!(!whole.contains("lines were lost"), "{whole}");
}
