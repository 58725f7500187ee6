//! The servers served here are started as `serve` starts them, asked, and ended.

use std::fs;
use std::process::Stdio;

use sealwire_testkit::{Home, Process, bin, install, quoted, run, server_table, wait_until};
use sealwire_tests::echo_table;

use super::{Examination, doctor, examined, remedy};

/// A home whose server `bad` is this shell script.
fn script(body: &str) -> Home {
    let home = Home::initialized();
    let script = home.script("server.sh", body);
    home.configure(&server_table("bad", "sh", &[script.to_str().unwrap()]));
    home.run(&["cert", "issue", "--all"]).ok();
    home
}

fn with_server(table: &str) -> Home {
    Home::with_config(&format!("{}\n{table}", echo_table()))
}

#[track_caller]
fn what(examination: &Examination) -> String {
    examination.grave()[0]["what"].as_str().unwrap().to_owned()
}

#[test]
fn a_command_that_is_not_there() {
    let home = with_server("[mcp_servers.bad]\ncommand = \"no-such-program\"\n");
    let examination = doctor(&home, &[]);
    let found = examination.one("error", "command_not_found", &["[mcp_servers.bad]", "command"]);
    assert_eq!(found["server"], "bad");
    examination.passed(&["3 tools", "[mcp_servers.echo]"]);
    doctor(&home, &["--offline"]).one("error", "command_not_found", &[]);

    let home = with_server("[mcp_servers.bad]\ncommand = \"/no/such/program\"\n");
    doctor(&home, &[]).one("error", "command_not_found", &["correct command"]);
}

/// The `PATH` that counts is the one the program will have.
#[test]
fn a_command_in_its_own_path() {
    let dir = bin("sealwire-fake-server").parent().unwrap().to_owned();
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let table = format!(
        "[mcp_servers.own]\ncommand = \"sealwire-fake-server\"\nenv = {{ PATH = {} }}\n",
        quoted(&path)
    );
    doctor(&with_server(&table), &["own"]).content().passed(&["3 tools", "[mcp_servers.own]"]);
}

#[test]
fn a_command_that_cannot_be_executed() {
    let home = Home::initialized();
    let script = |interpreter: &str| {
        let text = format!("#!{interpreter}\nexec {}\n", bin("sealwire-fake-server").display());
        install(&home.write("server.sh", text), &home.file("server"));
    };
    script("/bin/sh");
    home.chmod("server", 0o644);
    home.configure("[mcp_servers.bad]\ncommand = \"./server\"\n");
    home.run(&["cert", "issue", "--all"]).ok();
    let examination = doctor(&home, &[]);
    remedy(examination.one("error", "command_not_executable", &["chmod u+x"]));
    doctor(&home, &[]).content();

    home.chmod("server", 0o757);
    let examination = doctor(&home, &[]);
    remedy(examination.one("warning", "command_exposed", &["chmod o-w"]));
    doctor(&home, &[]).content();

    script("/no/such/interpreter");
    doctor(&home, &[]).one("error", "server_start", &["interpreter"]);
}

#[test]
fn a_working_directory_that_is_not_there() {
    let home = with_server("[mcp_servers.bad]\ncommand = \"cat\"\ncwd = \"work\"\n");
    let examination = doctor(&home, &["--offline"]);
    remedy(examination.one("error", "working_directory", &["mkdir -p"]));
    doctor(&home, &["--offline"]).content();
}

#[test]
fn a_server_that_ends_at_once() {
    let home = script("echo 'no API key' >&2; exit 3");
    let examination = doctor(&home, &[]);
    examination.one("error", "server_ended", &["[mcp_servers.bad]", "sh ", "server.sh"]);
    let what = what(&examination);
    assert!(what.contains("exit status: 3") && what.contains("no API key"), "{what}");
}

/// A helper that has left the group holds standard error open; what was said before counts.
#[test]
fn the_last_words_of_a_server_that_leaves_a_helper_behind() {
    let home = script(
        "echo 'no API key' >&2; setsid sleep 1000 >/dev/null </dev/null & echo $! > \"$(dirname \"$0\")/pid\"; exit 3",
    );
    let examination = doctor(&home, &[]);
    let mut kill = std::process::Command::new("kill");
    kill.arg(fs::read_to_string(home.file("pid")).unwrap().trim());
    run(kill, b"").ok();
    examination.one("error", "server_ended", &["server.sh"]);
    assert!(what(&examination).contains("no API key"), "{}", what(&examination));
}

#[test]
fn a_server_that_never_answers_is_ended_with_all_it_started() {
    let home = script("sleep 1000 & echo $! > \"$(dirname \"$0\")/pid\"; exec sleep 1000");
    let examination = doctor(&home, &["--timeout", "3s"]);
    examination.one("error", "server_silent", &["--timeout", "server.sh"]);
    has_ended(&home);
}

/// The helper of a server whose id is in the file `pid`.
#[track_caller]
fn has_ended(home: &Home) {
    let pid = fs::read_to_string(home.file("pid")).unwrap();
    let process = format!("/proc/{}/stat", pid.trim());
    // A process that has ended may wait a moment for whoever inherited it.
    wait_until("the helper has ended", || {
        fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn who_loses_patience_leaves_no_server_behind() {
    let home = script(
        "echo $$ > \"$(dirname \"$0\")/new\"; mv \"$(dirname \"$0\")/new\" \"$(dirname \"$0\")/pid\"; exec sleep 1000",
    );
    let mut command = home.sealwire();
    command.args(["doctor", "--timeout", "1h"]).stdout(Stdio::null());
    let mut process = Process::spawn(command);
    wait_until("the server runs", || home.file("pid").exists());
    process.interrupt();
    assert_eq!(process.wait().code(), Some(1));
    has_ended(&home);
}

#[test]
fn a_server_that_refuses() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"not today"}}"#;
    let again = error.replace("\"id\":1", "\"id\":2");
    let home = script(&format!("read a; echo '{error}'; read a; echo '{again}'; cat > /dev/null"));
    let examination = doctor(&home, &[]);
    examination.one("error", "server_refuses", &["server.sh"]);
    assert!(what(&examination).contains("not today"), "{}", what(&examination));
}

/// Banners are the usual fault of servers; the server works, and its log fills.
#[test]
fn a_server_that_writes_banners() {
    let fake = bin("sealwire-fake-server");
    let home = script(&format!("echo 'Welcome!'; exec {}", fake.display()));
    let examination = doctor(&home, &[]);
    examination.one("warning", "server_output", &["standard error"]);
    assert!(what(&examination).contains("Welcome!"));
    examination.passed(&["3 tools"]);
}

#[test]
fn a_server_without_initialize_is_asked_as_it_wants() {
    let answer = |id: u32, result: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete",{result}}}}}"#)
    };
    let refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#;
    let discovered = answer(2, r#""capabilities":{"tools":{}},"supportedVersions":["2026-07-28"]"#);
    let tools = answer(3, r#""tools":[{"name":"a"},{"name":"b"}]"#);
    let home = script(&format!(
        "read a; echo '{refusal}'; read a; echo '{discovered}'; read a; echo '{tools}'; cat > /dev/null"
    ));
    doctor(&home, &[]).content().passed(&["MCP 2026-07-28, 2 tools"]);
}

#[test]
fn a_server_with_several_pages_or_none() {
    let head = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","serverInfo":{"name":"p"},"capabilities":{"tools":{}}}}"#;
    let page = |id: u32, rest: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{rest}}}}}"#)
    };
    let (first, second) =
        (page(2, r#"{"name":"a"}],"nextCursor":"x""#), page(3, r#"{"name":"b"}]"#));
    let read = "read a; read a;";
    let home = script(&format!(
        "read a; echo '{head}'; {read} echo '{first}'; read a; echo '{second}'; cat > /dev/null"
    ));
    doctor(&home, &[]).content().passed(&["MCP 2025-06-18, 2 tools"]);

    let none = page(2, "]");
    let home = script(&format!("read a; echo '{head}'; {read} echo '{none}'; cat > /dev/null"));
    let examination = doctor(&home, &[]);
    assert!(examination.content().notes().contains(&"server_without_tools"));
}

/// A secret of ours is not for every server, and a secret of a server's for nobody else.
#[test]
fn the_environment_is_that_of_serve() {
    let home = script(&format!(
        "[ -z \"${{DOCTOR_TEST-}}\" ] || exit 9\n[ \"$TOKEN\" = s3cr3t ] || exit 8\nexec {}",
        bin("sealwire-fake-server").display()
    ));
    let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("{config}env = {{ TOKEN = \"s3cr3t\" }}\n"));
    let mut command = home.sealwire();
    command.args(["doctor", "--json"]).env("DOCTOR_TEST", "1");
    examined(run(command, b"")).content().passed(&["3 tools"]);

    home.write("server.sh", "exit 1\n");
    let examination = doctor(&home, &[]);
    examination.one("error", "server_ended", &["TOKEN"]);
    assert!(!examination.output.stdout.contains("s3cr3t"), "{}", examination.output);
}

#[test]
fn offline_nothing_is_started() {
    let home = script("touch \"$(dirname \"$0\")/started\"; exit 1");
    doctor(&home, &["--offline"]).content();
    assert!(!home.file("started").exists());
    doctor(&home, &[]).one("error", "server_ended", &[]);
    assert!(home.file("started").exists());
}
