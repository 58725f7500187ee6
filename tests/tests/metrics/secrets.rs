//! No secret is in anything that is told or kept: metrics, audit files, logs, status, alerts.

use std::fs;
use std::path::{Path, PathBuf};

use sealwire_testkit::{Connect, Home, Serve, bin, server_table};
use sealwire_tests::{call_echo, honest_session};
use serde_json::json;

use crate::{ADMIN, admin_address, metrics};

/// What stands for a secret, where each is.
const IN_ARGUMENTS: &str = "planted-argument-5f1d9c";
const IN_ENVIRONMENT_OF_SERVER: &str = "planted-token-77ab02";
const IN_ENVIRONMENT_OF_SERVE: &str = "planted-environment-c01d3e";
const IN_MAIL: &str = "planted-mail-e0917b";

/// All of them, and the private keys of the home.
fn secrets(home: &Home) -> Vec<String> {
    let planted = [IN_ARGUMENTS, IN_ENVIRONMENT_OF_SERVER, IN_ENVIRONMENT_OF_SERVE, IN_MAIL];
    let mut secrets: Vec<_> = planted.map(str::to_owned).into();
    let mut keys = 0;
    for file in files(home.path()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            keys += 1;
            // The end of the first line is of the private key: of Ed25519 and P-256 alike, what is
            // before it is the same in all of them, and what is after it may be the public key.
            let first = text.lines().find(|line| !line.starts_with("-----")).unwrap();
            secrets.push(first[first.len() - 16..].to_owned());
        }
    }
    assert!(keys >= 5, "{keys} keys");
    secrets
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_secret_is_told_or_kept() {
    let table = server_table("echo", bin("sealwire-fake-server"), &[]);
    let agents = "[agent_security]\nagents = [\"Writer\", \"Reader\"]\n\
                  [agent_security.trust.Writer]\ncan_communicate_with = [\"Reader\"]\n";
    let home = Home::with_config(&format!(
        "{table}env = {{ TOKEN = \"{IN_ENVIRONMENT_OF_SERVER}\" }}\n{agents}\
         [[policy.deny]]\ntools = [\"big\"]\n{ADMIN}"
    ));
    home.run(&["key", "new", "--all"]).ok();
    let mut command = home.sealwire();
    command.args(["--log-level", "trace", "serve"]).env("PLANTED", IN_ENVIRONMENT_OF_SERVE);
    let serve = Serve::spawn(command);
    let admin = admin_address(&serve);

    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    call_echo(&mut client, IN_ARGUMENTS);
    // Where it is refused, and where it is understood less and less.
    let denied = json!({"name": "big", "arguments": {"bytes": 1, "text": IN_ARGUMENTS}});
    assert!(client.request("tools/call", &denied)["error"].is_object());
    let wrong = json!({"name": "nothing", "arguments": {"text": IN_ARGUMENTS}});
    assert!(client.request("tools/call", &wrong)["error"].is_object());
    client.send(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":7,\"params\":\"{IN_ARGUMENTS}\"}}"
    ));
    client.receive_json();
    client.finish();
    honest_session(&home, serve.address());
    for to in ["Reader", "Writer"] {
        let mut command = home.sealwire();
        command.args(["agent", "send", "--from", "Writer", "--to", to]);
        sealwire_testkit::run(command, IN_MAIL.as_bytes());
    }
    home.run(&["agent", "recv", "--as", "Reader"]).ok();

    let mut told = vec![
        ("the metrics".to_owned(), metrics(admin).into_bytes()),
        ("the log".to_owned(), serve.log().lines().join("\n").into_bytes()),
    ];
    for command in ["status", "status --json", "quarantine incidents --json"] {
        let output = home.run(&command.split(' ').collect::<Vec<_>>()).ok();
        told.push((command.to_owned(), output.stdout.into_bytes()));
    }
    serve.stop();
    // The audit log, alerts that wait, and what else there is but keys and configuration.
    let kept = files(home.path()).into_iter().filter(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        !text.contains("PRIVATE KEY") && file.extension().is_none_or(|end| end != "toml")
    });
    for file in kept {
        told.push((file.display().to_string(), fs::read(&file).unwrap()));
    }
    let secrets = secrets(&home);
    for (place, bytes) in &told {
        let holds = |secret: &&String| {
            bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        };
        let found: Vec<_> = secrets.iter().filter(holds).collect();
        assert!(found.is_empty(), "{place} holds {found:?}");
    }
}
