//! What is changed while an agent waits for mail holds from then on.

use std::fs;
use std::process::Stdio;

use sealwire_testkit::{Home, Log, Process};

use crate::team::{FAST, recv, refused, send, try_send};

fn rules(of_a: &str) -> String {
    format!(
        "[agent_security]\nagents = [\"A\", \"B\"]\n\
         [agent_security.trust.A]\ncan_communicate_with = [{of_a}]\n{FAST}"
    )
}

/// The receiver's rules are its own: here the sender goes by another file.
#[test]
fn a_change_of_the_rules_keys_and_agents_holds_at_once() {
    let home = Home::with_config(&rules("\"B\""));
    home.run(&["key", "new", "--all"]).ok();
    let mut command = recv(&home, "B", &["--follow", "--log-level", "info"]);
    command.stdout(Stdio::piped());
    let mut follower = Process::spawn(command);
    let lines = Log::follow(follower.child().stdout.take().unwrap());
    let sender = home.write("sender.toml", rules("\"B\""));
    let send_as_before = |content: &str| {
        let mut command = home.sealwire();
        command.arg("--config").arg(&sender).args(["agent", "send", "--from", "A", "--to", "B"]);
        sealwire_testkit::run(command, content.as_bytes()).ok();
    };
    send_as_before("one");
    lines.wait_for(&["one"]);

    let mark = follower.log().mark();
    home.configure(&rules(""));
    follower.log().wait_after(mark, &["configuration reloaded"]);
    refused(&try_send(&home, "A", "B", &[], b"x"), 1, &["not_trusted"]);
    send_as_before("refused");
    follower.log().wait_after(mark, &["agent message refused", "not_trusted"]);

    // What is not in order changes nothing, and is said.
    let mark = follower.log().mark();
    home.configure("[agent_security]\nagent = [\"A\"]\n");
    follower.log().wait_after(mark, &["reload refused", "unknown key"]);
    send_as_before("refused too");
    follower.log().wait_after(mark, &["agent message refused", "not_trusted"]);

    let mark = follower.log().mark();
    home.configure(&rules("\"B\""));
    follower.log().wait_after(mark, &["configuration reloaded"]);
    send(&home, "A", "B", &[], b"two");
    lines.wait_for(&["two"]);

    // New keys of either are known as soon as they are there.
    let mark = follower.log().mark();
    home.run(&["key", "rotate", "--all"]).ok();
    follower.log().wait_after(mark, &["configuration reloaded"]);
    send(&home, "A", "B", &[], b"three");
    lines.wait_for(&["three"]);
    follower.terminate();
    assert_eq!(follower.wait().code(), Some(0));
    let heard = lines.wait_end();
    assert_eq!(heard.len(), 3, "{heard:#?}");
    assert!(fs::metadata(home.file("state.db")).unwrap().is_file());
}
