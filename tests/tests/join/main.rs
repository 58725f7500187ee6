//! A second machine joins by one printed line: `sealwire ca serve`, `invite` and `join`.

mod attacks;
mod client;
mod crowded;
mod lists;
mod namespaces;
mod renewal;
mod root;
mod rotation;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, Process, Serve};
use sealwire_tests::{call_echo, echo_table};
use serde_json::Value;

/// A running `sealwire ca serve`.
struct Ca {
    process: Process,
    address: SocketAddr,
}

impl Ca {
    fn start(home: &Home) -> Self {
        let mut command = home.sealwire();
        command.args(["ca", "serve"]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::spawn(command);
        let line = process.log().wait_for(&["listening for those who join", "address="]);
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        Self { process, address }
    }
}

/// A home with an authority whose service picks a free port.
fn inviting() -> (Home, Ca) {
    let home = Home::with_config(&format!("[ca]\naddress = \"127.0.0.1:0\"\n\n{}", echo_table()));
    let ca = Ca::start(&home);
    (home, ca)
}

/// A name may be longer than what a certificate can hold: whoever invites is told, not whoever joins.
#[test]
fn a_name_that_no_certificate_can_hold_is_not_invited() {
    let home = Home::with_config("[ca]\naddress = \"127.0.0.1:1\"\n");
    for kind in ["core", "agent", "mcp-server"] {
        let invite = |length| home.run(&["invite", &"n".repeat(length), "--kind", kind]);
        let refused = invite(65);
        assert_eq!(refused.code, Some(1), "{refused}");
        assert!(refused.stderr.contains("at most 64 characters"), "{refused}");
        invite(64).ok();
    }
    assert_eq!(home.run(&["invite", "--list"]).ok().stdout.matches("open until").count(), 3);
    // Nor is a home made that would be for such a name, and for no other from then on.
    let other = Home::empty();
    let refused = other.run(&["init", "--name", &"n".repeat(65)]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("at most 64 characters"), "{refused}");
    other.run(&["init", "--name", &"n".repeat(64)]).ok();
}

/// The line that `invite` prints.
fn invite(home: &Home, ca: SocketAddr, args: &[&str]) -> String {
    let (address, mut command) = (ca.to_string(), home.sealwire());
    command.arg("invite").args(args).args(["--address", &address]);
    if !args.contains(&"--endpoint") {
        command.args(["--endpoint", "127.0.0.1:1"]);
    }
    let line = sealwire_testkit::run(command, b"").ok().stdout.trim_end().to_owned();
    assert!(line.starts_with("sealwire-join-1/") && !line.contains('\n'), "{line:?}");
    line
}

/// What the log of a home says of one kind of event.
fn entries(home: &Home, of: &str) -> Vec<Value> {
    let log = fs::read_dir(home.file("audit")).unwrap().map(|entry| entry.unwrap().path());
    let days = log.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let text: String = days.map(|day| fs::read_to_string(day).unwrap()).collect();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|entry| entry["type"] == of).collect()
}

#[test]
fn two_commands_make_a_peer_that_calls_tools() {
    let (home, ca) = inviting();
    let serve = Serve::start(&home);
    let endpoint = serve.address().to_string();
    let line = invite(&home, ca.address, &["laptop", "--endpoint", &endpoint]);
    let other = Home::empty();
    other.run(&["join", &line]).ok();

    let mut command = other.sealwire();
    command.args(["connect", "echo"]);
    let mut client = Connect::spawn(command);
    client.initialize();
    call_echo(&mut client, "from another machine");
    assert!(client.finish().0.success());
    let peer = "spiffe://sealwire.internal/core/laptop";
    serve.log().wait_for(&["connection accepted", peer]);

    // The key was made there, for its owner alone, and never was here.
    let key = other.file("certs/laptop/laptop-key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!home.file("certs/laptop").exists());
    for key in ["certs/ca/ca-key.pem", "certs/ca/issuing-key.pem"] {
        assert!(!other.file(key).exists());
    }
    other.run(&["config", "check"]).ok();
    // A certificate of a day that renews itself is nothing to be warned of.
    let examined = other.run(&["doctor"]);
    assert!(!examined.stdout.contains("expires at"), "{examined}");
    assert!(examined.stdout.contains("reached"), "{examined}");
    let listed = other.run(&["cert", "list"]).ok();
    assert!(!listed.stdout.contains("expiring"), "{listed}");

    let shown = other.run(&["cert", "show", "laptop", "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["uris"][0], peer, "{shown}");
    serve.stop();
    let issued = entries(&home, "certificate.issued");
    let joined = issued.iter().find(|entry| entry["subject"].to_string().contains(peer));
    let detail = joined.expect("an entry")["detail"].to_string();
    assert!(detail.contains("joined from 127.0.0.1"), "{detail}");
    // The secret of the line is written nowhere.
    let token = line.split('/').nth(2).unwrap();
    for file in ["state.db", "state.db-wal"] {
        let bytes = fs::read(home.file(file)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{file}");
    }
    assert!(!ca.process.log().lines().join("\n").contains(token));
}

#[test]
fn an_invitation_says_what_is_to_be_reached_and_for_how_long() {
    let (home, ca) = inviting();
    let more = format!(
        "[listen]\naddress = \"127.0.0.1:7443\"\n[ca]\naddress = \"127.0.0.1:0\"\n{}{}",
        echo_table(),
        sealwire_testkit::server_table("other", "cat", &[])
    );
    home.configure(&more);
    let line = invite(
        &home,
        ca.address,
        &[
            "Reviewer",
            "--kind",
            "agent",
            "--server-name",
            "other",
            "--lifetime",
            "60s",
            "--ttl",
            "1h",
        ],
    );
    let other = Home::empty();
    // Read from standard input, the line is not among the processes' arguments.
    let mut command = other.sealwire();
    command.args(["join", "-", "--json"]);
    let output = sealwire_testkit::run(command, format!("{line}\n").as_bytes()).ok();
    let made: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(made["made"].to_string().contains("Reviewer-cert.pem"), "{made}");
    let config = fs::read_to_string(other.file("sealwire.toml")).unwrap();
    assert!(config.contains("[mcp_servers.other]"), "{config}");
    assert!(!config.contains("[mcp_servers.echo]"), "{config}");
    let shown = other.run(&["cert", "show", "Reviewer", "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["uris"][0], "spiffe://sealwire.internal/agent/Reviewer");
    let instant = |key: &str| shown[0][key].as_str().unwrap().to_owned();
    let seconds = |text: String| {
        let clock = text.split('T').nth(1).unwrap().trim_end_matches('Z').to_owned();
        let of = |n: usize| clock.split(':').nth(n).unwrap()[..2].parse::<i64>().unwrap();
        of(0) * 3600 + of(1) * 60 + of(2)
    };
    // Five minutes before, for clocks that are behind, and sixty seconds.
    let valid = (seconds(instant("not_after")) - seconds(instant("not_before"))).rem_euclid(86_400);
    assert!((360..=361).contains(&valid), "{shown}");
}

#[test]
fn invitations_are_listed_and_withdrawn() {
    let (home, ca) = inviting();
    assert!(home.run(&["invite", "--list"]).ok().stdout.contains("no invitations"));
    let (used, lost) =
        (invite(&home, ca.address, &["laptop"]), invite(&home, ca.address, &["lost"]));
    invite(&home, ca.address, &["late", "--ttl", "1ms"]);
    invite(&home, ca.address, &["ghost"]);
    Home::empty().run(&["join", &used]).ok();
    home.run(&["cert", "revoke", "core/ghost"]).ok();
    let list = || -> Vec<Value> {
        serde_json::from_str(&home.run(&["invite", "--list", "--json"]).ok().stdout).unwrap()
    };
    let state_of = |name: &str| {
        let all = list();
        let it = all.iter().find(|it| it["peer"].to_string().contains(name)).expect("listed");
        (it["state"].as_str().unwrap().to_owned(), it["id"].as_str().unwrap().to_owned())
    };
    for (name, state) in
        [("laptop", "used"), ("lost", "open"), ("late", "expired"), ("ghost", "revoked")]
    {
        assert_eq!(state_of(name).0, state, "{name}");
    }
    // The list is no secret: by what is in it nobody joins.
    assert!(!format!("{:?}", list()).contains(lost.split('/').nth(2).unwrap()));
    let id = state_of("lost").1;
    for wrong in ["", "abc", "zzzzzzzz"] {
        assert_eq!(home.run(&["invite", "--withdraw", wrong]).code, Some(2), "{wrong}");
    }
    let text = home.run(&["invite", "--list"]).ok().stdout;
    assert!(text.contains(&format!("{}  spiffe://sealwire.internal/core/lost  open", &id[..8])));
    home.run(&["invite", "--withdraw", &id[..8]]).ok();
    assert_eq!(list().len(), 3);
    let output = Home::empty().run(&["join", &lost]);
    assert!(output.stderr.contains("not known there"), "{output}");
}

#[test]
fn a_server_joins_too() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["search", "--kind", "mcp-server"]);
    let other = Home::empty();
    let output = other.run(&["join", &line]).ok();
    assert!(output.stdout.contains("[mcp_servers.search]"), "{output}");
    let text = fs::read_to_string(other.file("sealwire.toml")).unwrap();
    let table = sealwire_testkit::server_table("search", "cat", &[]);
    other.write("sealwire.toml", format!("[listen]\naddress = \"127.0.0.1:0\"\n{text}\n{table}"));
    Serve::start(&other);
}

#[test]
fn a_home_that_is_there_is_left_alone_and_the_line_stays_good() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let other = Home::initialized();
    let before = fs::read(other.file("sealwire.toml")).unwrap();
    let output = other.run(&["join", &line]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("there is a home already"), "{output}");
    assert_eq!(fs::read(other.file("sealwire.toml")).unwrap(), before);
    Home::empty().run(&["join", &line]).ok();
}

#[test]
fn wrong_usage_is_told_before_anything_happens() {
    let (home, ca) = inviting();
    let other = Home::empty();
    let good = invite(&home, ca.address, &["laptop"]);
    let nowhere = good.rsplit_once('/').unwrap().0;
    for line in
        ["", "x", "sealwire-join-1/abc", "sealwire-join-2/a/b/c:1", &format!("{nowhere}/ca:0")]
    {
        let output = other.run(&["join", line]);
        assert_eq!(output.code, Some(2), "{output}");
    }
    assert!(fs::read_dir(other.path()).map_or(true, |mut made| made.next().is_none()));
    for (args, what) in [
        (&["invite", "a/b"][..], "a/b"),
        (&["invite", "laptop", "--address", "nowhere"], "host:port"),
        (
            &["invite", "x", "--server-name", "none", "--address", "a:1", "--endpoint", "a:2"],
            "none",
        ),
        (&["invite", "laptop"], "--address"),
        (&["invite", "laptop", "--ttl", "25h"], "24h"),
    ] {
        let output = home.run(args);
        assert_eq!(output.code, Some(2), "{args:?} {output}");
        assert!(output.stderr.contains(what), "{args:?} {output}");
    }
    // Where no authority is, nobody can be invited, and nobody joins.
    let line = invite(&home, ca.address, &["laptop"]);
    other.run(&["join", &line]).ok();
    for args in [&["invite", "x"][..], &["ca", "serve"]] {
        let output = other.run(args);
        assert_eq!(output.code, Some(1), "{output}");
        assert!(output.stderr.contains("no certificate authority"), "{output}");
    }
}
