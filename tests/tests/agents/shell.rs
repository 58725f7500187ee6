//! By the shell: what is sent arrives, in order, at whom it is for, and nothing else does.

use std::fs;
use std::process::{Command, Stdio};

use sealwire_testkit::{Home, Log, Process, bin, run};
use serde_json::{Value, json};

use crate::team::{FAST, receive, recv, refused, send, standard, try_send};

fn contents(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

#[test]
fn what_is_sent_arrives_once_with_all_that_was_said() {
    let home = standard();
    let id = send(&home, "CodeExpert", "General", &["--priority", "7"], "hello ✓\n".as_bytes());
    let [message] = &receive(&home, "General", &[])[..] else { panic!("not one message") };
    for (member, value) in [
        ("message_id", json!(id)),
        ("from", json!("CodeExpert")),
        ("to", json!("General")),
        ("group", json!(null)),
        ("type", json!("task_request")),
        ("priority", json!(7)),
        ("in_reply_to", json!(null)),
        ("redelivered", json!(false)),
        ("encoding", json!("text")),
        ("content", json!("hello ✓\n")),
    ] {
        assert_eq!(message[member], value, "{member}");
    }
    assert_eq!(receive(&home, "General", &[]).len(), 0, "it came twice");

    // An answer, from a file, of every byte there is.
    let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let file = home.write("answer", &bytes);
    let more = ["--type", "task_response", "--reply-to", &id, "--file", file.to_str().unwrap()];
    send(&home, "General", "CodeExpert", &more, b"not this");
    let [answer] = &receive(&home, "CodeExpert", &[])[..] else { panic!("not one answer") };
    assert_eq!((&answer["in_reply_to"], &answer["type"]), (&json!(id), &json!("task_response")));
    assert_eq!(answer["encoding"], "base64");
    let mut decode = Command::new("openssl");
    decode.args(["base64", "-d", "-A", "-out"]).arg(home.file("decoded"));
    run(decode, answer["content"].as_str().unwrap().as_bytes()).ok();
    assert!(fs::read(home.file("decoded")).unwrap() == bytes, "content differs");

    // Empty, and as large as may be.
    for content in [Vec::new(), vec![b'x'; 1 << 20]] {
        send(&home, "General", "CodeExpert", &[], &content);
        let [message] = &receive(&home, "CodeExpert", &[])[..] else { panic!("not one message") };
        assert!(message["content"].as_str().unwrap().as_bytes() == content, "content differs");
    }
}

#[test]
fn as_json_it_is_the_same_text_and_the_terminal_does_not_obey_either() {
    let home = standard();
    let text = "a\u{1b}[2J\u{9b}2J\u{7f}\u{85}\u{202e}b\u{2066}\u{2028}\u{200f}é✓";
    send(&home, "CodeExpert", "General", &[], text.as_bytes());
    let output = run(recv(&home, "General", &[]), b"").ok().stdout;
    let line = output.trim_end_matches('\n');
    let is_obeyed = |c: char| c.is_control() || "\u{202e}\u{2066}\u{2028}\u{200f}".contains(c);
    assert!(!line.contains(is_obeyed), "{line:?}");
    assert!(line.contains("é✓"), "{line:?}");
    let message: Value = serde_json::from_str(line).unwrap();
    assert_eq!(message["content"], text);
}

#[test]
fn a_person_reads_it_and_the_terminal_does_not_obey() {
    let home = standard();
    send(&home, "CodeExpert", "General", &[], b"first\x1b[2Jline\nsecond\xe2\x80\xaeline\n\tx");
    let output = home.run(&["agent", "recv", "--as", "General"]).ok();
    assert!(output.stdout.contains("task_request from CodeExpert"), "{output}");
    assert!(output.stdout.contains("| first\u{fffd}[2Jline\n| second\u{fffd}line"), "{output}");
    assert!(output.stdout.contains("| \tx"), "{output}");
}

/// What is written to a closed output seems to have been written.
#[test]
fn nothing_is_taken_where_nobody_can_read_it() {
    let home = standard();
    send(&home, "CodeExpert", "General", &[], b"kept");
    for args in [["agent", "recv", "--as", "General"], ["agent", "mcp", "--as", "General"]] {
        let mut closed = Command::new("sh");
        closed.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(bin("sealwire"));
        closed.arg("--home").arg(home.path()).args(args);
        refused(&run(closed, b""), 1, &["standard output is closed", "to fix"]);
    }
    let mut full = Command::new("sh");
    full.args(["-c", "exec \"$0\" \"$@\" >/dev/full"]).arg(bin("sealwire"));
    full.arg("--home").arg(home.path()).args(["agent", "recv", "--as", "General"]);
    refused(&run(full, b""), 1, &["not acknowledged"]);
    assert_eq!(contents(&receive(&home, "General", &["--follow", "--count", "1"])), ["kept"]);
}

#[test]
fn messages_come_by_priority_and_then_in_order() {
    let home = standard();
    for number in 0..12 {
        let priority = if number % 3 == 0 { "9" } else { "1" };
        for from in ["CodeExpert", "DocsExpert"] {
            let content = format!("{from} {priority} {number}");
            send(&home, from, "General", &["--priority", priority], content.as_bytes());
        }
    }
    let messages = receive(&home, "General", &[]);
    let all = contents(&messages);
    assert_eq!(all.len(), 24);
    assert!(all[..8].iter().all(|content| content.contains(" 9 ")), "{all:?}");
    for from in ["CodeExpert", "DocsExpert"] {
        let of: Vec<_> = all.iter().filter(|content| content.starts_with(from)).collect();
        let urgent = (0..12).filter(|n| n % 3 == 0).map(|n| format!("{from} 9 {n}"));
        let other = (0..12).filter(|n| n % 3 != 0).map(|n| format!("{from} 1 {n}"));
        assert_eq!(of.len(), 12);
        assert!(of.into_iter().eq(urgent.chain(other).collect::<Vec<_>>().iter()), "{all:?}");
    }
}

#[test]
fn a_group_message_reaches_each_member_and_several_names_each_of_them() {
    let home = standard();
    let id = send(&home, "General", "all", &["--type", "status_update"], b"to all");
    for agent in [
        "CodeExpert",
        "SecurityExpert",
        "TestingExpert",
        "DocsExpert",
        "DeepResearcher",
        "DebugExpert",
        "PerformanceExpert",
    ] {
        let [message] = &receive(&home, agent, &[])[..] else { panic!("{agent}: not one") };
        assert_eq!(message["message_id"], json!(id), "{agent}");
        assert_eq!((&message["group"], &message["to"]), (&json!("all"), &json!(null)));
        assert_eq!(message["content"], "to all");
    }
    assert_eq!(receive(&home, "General", &[]).len(), 0, "the sender got it");

    send(&home, "General", "CodeExpert,DocsExpert", &[], b"to two");
    for agent in ["CodeExpert", "DocsExpert"] {
        assert_eq!(contents(&receive(&home, agent, &[])), ["to two"]);
    }
    assert_eq!(receive(&home, "DebugExpert", &[]).len(), 0);
}

#[test]
fn whoever_follows_is_told_as_it_comes() {
    let home = standard();
    let mut command = recv(&home, "General", &["--follow"]);
    command.stdout(Stdio::piped());
    let mut follower = Process::spawn(command);
    let lines = Log::follow(follower.child().stdout.take().unwrap());
    for number in 0..5 {
        let id = send(&home, "CodeExpert", "General", &[], format!("{number}").as_bytes());
        lines.wait_for(&[&id]);
    }
    follower.terminate();
    assert_eq!(follower.wait().code(), Some(0));
    assert_eq!(lines.wait_end().len(), 5);
    assert_eq!(receive(&home, "General", &[]).len(), 0, "something was not acknowledged");
}

#[test]
fn who_may_not_send_does_not() {
    let home = standard();
    for (from, to, more, code) in [
        ("CodeExpert", "DebugExpert", &[][..], "not_trusted"),
        ("CodeExpert", "all", &[], "not_trusted"),
        ("CodeExpert", "General,DebugExpert", &[], "not_trusted"),
        ("CodeExpert", "General", &["--type", "shutdown"], "not_trusted"),
        ("General", "Nobody", &[], "to fix"),
        ("General", "a b", &[], "no agent's name"),
        ("General", "CodeExpert", &["--ttl", "31d"], "1 s to 30 days"),
    ] {
        refused(&try_send(&home, from, to, more, b"x"), 1, &["the message was not sent", code]);
    }
    refused(&try_send(&home, "Nobody", "General", &[], b"x"), 2, &["no agent \"Nobody\""]);
    refused(&try_send(&home, "General", "CodeExpert", &["--ttl", "0s"], b"x"), 2, &["ttl"]);
    refused(&try_send(&home, "General", "CodeExpert", &["--type", "order"], b"x"), 2, &["task_"]);
    refused(&try_send(&home, "General", "CodeExpert", &["--priority", "256"], b"x"), 2, &["256"]);
    refused(&try_send(&home, "General", "CodeExpert", &["--reply-to", "x"], b"x"), 2, &["32"]);
    let long = vec![b'x'; (1 << 20) + 1];
    refused(&try_send(&home, "General", "CodeExpert", &[], &long), 1, &["longer than 1048576"]);
    refused(&try_send(&home, "General", "CodeExpert", &["--file", "/none"], b""), 1, &["/none"]);
    let listed = home.run(&["agent", "list", "--json"]).ok().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let waiting = |agent: &Value| agent["waiting"].as_u64().unwrap();
    assert_eq!(listed["agents"].as_array().unwrap().iter().map(waiting).sum::<u64>(), 0);
    send(&home, "SecurityExpert", "General", &["--type", "shutdown"], b"enough");
    assert_eq!(receive(&home, "General", &[])[0]["type"], "shutdown");
}

#[test]
fn the_rates_and_quotas_of_the_configuration_hold() {
    let team = "[agent_security]\nagents = [\"A\", \"B\"]\n\
                [agent_security.trust.A]\ncan_communicate_with = [\"B\"]\n";
    let home = Home::with_config(&format!("{team}{FAST}[mailbox]\nmax_messages_per_agent = 5\n"));
    home.run(&["key", "new", "--all"]).ok();
    // Of one sender there may be half, rounded up.
    for _ in 0..3 {
        send(&home, "A", "B", &[], b"x");
    }
    refused(&try_send(&home, "A", "B", &[], b"x"), 1, &["mailbox_full", "max_messages_per_agent"]);
    assert_eq!(receive(&home, "B", &[]).len(), 3);
    // Excess waits, and is not lost: one message in a thousand seconds.
    let slow = "[agent_security.rate_limiting]\nmax_messages_per_sec = 0.001\nburst_size = 2\n";
    home.configure(&format!("{team}{slow}"));
    for _ in 0..3 {
        send(&home, "A", "B", &[], b"x");
    }
    assert_eq!(receive(&home, "B", &[]).len(), 2);
    home.configure(&format!("{team}{FAST}"));
    let mut left = Command::new("faketime");
    left.args(["-f", "+2000s"]).arg(bin("sealwire")).arg("--home").arg(home.path());
    left.args(["agent", "recv", "--as", "B", "--json"]);
    assert_eq!(run(left, b"").ok().stdout.lines().count(), 1);
}

#[test]
fn mail_that_waited_too_long_is_a_dead_letter() {
    let home = standard();
    let id = send(&home, "CodeExpert", "General", &["--ttl", "1h"], b"late");
    let mut late = Command::new("faketime");
    late.args(["-f", "+2h"]).arg(bin("sealwire")).arg("--home").arg(home.path());
    late.args(["agent", "recv", "--as", "General", "--json"]);
    assert_eq!(run(late, b"").ok().stdout, "");
    let list = |more: &[&str]| -> Vec<Value> {
        let output = home.run(&[&["agent", "dead-letters", "list", "--json"], more].concat()).ok();
        serde_json::from_str::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
    };
    let [letter] = &list(&["--as", "General"])[..] else { panic!("not one dead letter") };
    assert_eq!(letter["code"], "message_expired");
    assert_eq!(
        (&letter["message_id"], &letter["claimed_from"]),
        (&json!(id), &json!("CodeExpert"))
    );
    assert_eq!(list(&["--as", "CodeExpert"]).len(), 0);
    let text = home.run(&["agent", "dead-letters", "list"]).ok().stdout;
    assert!(text.contains("message_expired") && !text.contains("late\n"), "{text}");
    let number = letter["number"].to_string();
    refused(&home.run(&["agent", "dead-letters", "release", "999"]), 1, &["no dead letter 999"]);
    home.run(&["agent", "dead-letters", "remove", &number]).ok();
    assert_eq!(list(&[]).len(), 0);
}

#[test]
fn keys_are_replaced_while_mail_waits() {
    let home = standard();
    send(&home, "CodeExpert", "General", &[], b"before");
    home.run(&["key", "rotate", "--all"]).ok();
    send(&home, "CodeExpert", "General", &[], b"after");
    assert_eq!(contents(&receive(&home, "General", &[])), ["before", "after"]);
    // Somebody else may have these keys: what waits is not believed.
    send(&home, "CodeExpert", "General", &[], b"perhaps forged");
    home.run(&["key", "rotate", "CodeExpert", "--compromised"]).ok();
    send(&home, "CodeExpert", "General", &[], b"genuine");
    assert_eq!(contents(&receive(&home, "General", &[])), ["genuine"]);
    let dead = home.run(&["agent", "dead-letters", "list"]).ok().stdout;
    assert!(dead.contains("sender_key_unknown"), "{dead}");
}

#[test]
fn nobody_can_write_to_an_agent_without_keys_or_as_one() {
    let home = Home::with_config(&format!(
        "[agent_security]\nagents = [\"A\", \"B\"]\n\
         [agent_security.trust.A]\ncan_communicate_with = [\"*\"]\n{FAST}"
    ));
    refused(&try_send(&home, "A", "B", &[], b"x"), 1, &["agent A has no keys here", "key new A"]);
    home.run(&["key", "new", "A"]).ok();
    refused(&try_send(&home, "A", "B", &[], b"x"), 1, &["no key of B", "key new"]);
    refused(&run(recv(&home, "B", &[]), b""), 1, &["agent B has no keys here"]);
    home.chmod("keys/agents/A-signing", 0o644);
    refused(&try_send(&home, "A", "B", &[], b"x"), 1, &["wider than 0600", "chmod"]);
}
