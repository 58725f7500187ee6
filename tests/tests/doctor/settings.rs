//! Settings that are allowed, and weak or at odds with each other.

use std::fs;
use std::process::Command;

use sealwire_testkit::openssl::Authority;
use sealwire_testkit::{Home, bin, run};
use sealwire_tests::echo_table;

use super::{doctor, doctor_with, examined, finds, heals, remedy};

fn listen(text: &str) -> impl FnOnce(&Home) {
    let text = format!("[listen]\naddress = \"127.0.0.1:0\"\n{text}\n\n{}", echo_table());
    move |home| home.configure(&text)
}

#[test]
fn times_and_sizes_that_cannot_be_meant() {
    for (text, id, part) in [
        ("resume_window = \"10s\"", "resume_window_short", "resume_window"),
        ("idle_timeout = \"500ms\"", "timeout_unusual", "idle_timeout"),
        ("idle_timeout = \"2h\"", "timeout_unusual", "idle_timeout"),
        ("handshake_timeout = \"10ms\"", "timeout_unusual", "handshake_timeout"),
        ("handshake_timeout = \"1h\"", "timeout_unusual", "handshake_timeout"),
        ("max_message_size = \"64KiB\"", "message_size_small", "max_message_size"),
    ] {
        finds(listen(text), "warning", id, &["[listen]", part]);
    }
}

#[test]
fn what_others_reach() {
    let home = Home::with_config(&echo_table());
    home.configure(&format!("[listen]\naddress = \"0.0.0.0:0\"\n\n{}", echo_table()));
    let examination = doctor(&home, &["--offline"]);
    let notes = examination.content().notes();
    for note in ["listen_exposed", "root_key_here"] {
        assert!(notes.contains(&note), "{notes:?}");
    }
    // What issues is still there when the root's key is elsewhere, and is another thing to know.
    fs::remove_file(home.file("certs/ca/ca-key.pem")).unwrap();
    let examination = doctor(&home, &["--offline"]);
    let notes = examination.content().notes();
    assert!(notes.contains(&"authority_key_exposed") && !notes.contains(&"root_key_here"));
    let limits = "max_connections = 8\nmax_connections_per_peer = 8";
    home.configure(&format!("[listen]\naddress = \"0.0.0.0:0\"\n{limits}\n\n{}", echo_table()));
    let examination = doctor(&home, &["--offline"]);
    examination.one("warning", "peer_takes_all", &["max_connections_per_peer"]);
}

#[test]
fn everybodys_authorities() {
    let plant = |home: &Home| {
        let own = fs::read_to_string(home.file("certs/ca/ca-cert.pem")).unwrap();
        let other = Home::initialized();
        let other = fs::read_to_string(other.file("certs/ca/ca-cert.pem")).unwrap();
        home.write("all.pem", own + &other.repeat(9));
        let table = "[security.certificates]\nca_cert = \"all.pem\"\n";
        home.configure(&format!("{table}\n{}", echo_table()));
    };
    finds(plant, "warning", "many_authorities", &["all.pem", "ca_cert"]);
}

#[test]
fn an_authority_about_to_expire() {
    let plant = |home: &Home| {
        let own = fs::read_to_string(home.file("certs/ca/ca-cert.pem")).unwrap();
        let other = Authority::create(&home.file("foreign"));
        let other = fs::read_to_string(&other.pair().cert).unwrap();
        home.write("both.pem", own + &other);
        let table = "[security.certificates]\nca_cert = \"both.pem\"\n";
        home.configure(&format!("{table}\n{}", echo_table()));
    };
    finds(plant, "warning", "certificate_expires_soon", &["both.pem", "another authority"]);
}

#[test]
fn what_no_shell_expands() {
    for table in
        ["args = [\"~/notes\"]", "args = [\"${HOME}/x\"]", "env = { TOKEN = \"${TOKEN}\" }"]
    {
        let plant = |home: &Home| {
            home.configure(&format!("[mcp_servers.echo]\ncommand = \"cat\"\n{table}\n"));
        };
        finds(plant, "warning", "not_expanded", &["[mcp_servers.echo]", "sh"]);
    }
}

#[test]
fn agents_of_one_account() {
    let home = Home::with_config("[agent_security]\nagents = [\"A\", \"B\"]\n");
    let examination = doctor(&home, &["--offline"]);
    assert!(examination.content().notes().contains(&"agents_share_user"));
}

#[test]
fn a_configuration_that_others_can_change() {
    let home = Home::initialized();
    home.write("etc/sealwire.toml", "[listen]\naddress = \"127.0.0.1:0\"\n");
    home.chmod("etc", 0o755);
    home.chmod("etc/sealwire.toml", 0o666);
    let file = home.file("etc/sealwire.toml");
    let options = ["--config", file.to_str().unwrap()];
    let examination = doctor_with(&home, &options, &["--offline"]);
    remedy(examination.one("error", "config_exposed", &["chmod 600"]));
    doctor_with(&home, &options, &["--offline"]).content();

    let env = format!("{}env = {{ TOKEN = \"x\" }}\n", echo_table());
    home.write("etc/sealwire.toml", env);
    home.run(&[&options[..], &["cert", "issue", "--all"]].concat()).ok();
    home.chmod("etc/sealwire.toml", 0o644);
    let examination = doctor_with(&home, &options, &["--offline"]);
    remedy(examination.one("warning", "config_exposed", &["chmod 600"]));
    doctor_with(&home, &options, &["--offline"]).content();
}

#[test]
fn fewer_files_than_connections() {
    let home = Home::with_config(&echo_table());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200; exec \"$0\" --home \"$1\" doctor --json --offline"]);
    command.arg(bin("sealwire")).arg(home.path());
    let examination = examined(run(command, b""));
    examination.one("warning", "file_limit_low", &["ulimit -n", "LimitNOFILE"]);
}

/// `serve` raises its own limit as far as it may: the usual 1024 of a shell is no finding.
#[test]
fn a_limit_of_files_that_serve_raises() {
    let limits = "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections = 100\n";
    let home = Home::with_config(&format!("{limits}{}", echo_table()));
    let mut command = Command::new("sh");
    let script =
        "ulimit -Sn 300 && ulimit -Hn 600; exec \"$0\" --home \"$1\" doctor --json --offline";
    command.args(["-c", script]).arg(bin("sealwire")).arg(home.path());
    let examination = examined(run(command, b""));
    assert!(!examination.content().notes().contains(&"file_limit_low"), "{}", examination.output);
}

/// The superuser may write anywhere, so a missing directory stands for all that is in the way.
#[test]
fn a_log_that_cannot_be_written() {
    let config = format!("{}\n[log]\nfile = \"logs/serve.log\"\n", echo_table());
    heals(|home| home.configure(&config), "error", "log_unwritable", &["serve.log", "mkdir -p"]);
    let plant = |home: &Home| {
        fs::create_dir_all(home.file("logs/serve.log")).unwrap();
        home.configure(&config);
    };
    finds(plant, "error", "log_unwritable", &["serve.log", "[log]"]);
}
