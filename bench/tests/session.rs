//! The load client notices servers that lie, and programs that end.
#![forbid(unsafe_code)]

use sealwire_bench::process::Launch;
use sealwire_bench::session::{Promise, Session};

const INITIALIZED: &str = r#"read line
echo '{"jsonrpc":"2.0","id":1000000000,"result":{"serverInfo":{"name":"sealwire-fake-server"}}}'
read line"#;

/// Starts a session with a shell script, and ends it.
fn session(script: &str) -> Result<(), String> {
    promised(script, Promise::InOrder)
}

fn promised(script: &str, promise: Promise) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new("/bin/sh", directory.path().join("log")).args(["-c", script]);
    let (session, _) = Session::start(&launch, promise).map_err(|error| error.to_string())?;
    session.finish().map_err(|error| error.to_string())
}

fn counting(count: &str, end: &str) -> Result<(), String> {
    let answer = r#"{"jsonrpc":"2.0","id":1000000001,"result":{"structuredContent":"#;
    session(&format!("{INITIALIZED}\nread line\necho '{answer}{count}}}}}'\ncat\n{end}"))
}

#[test]
fn executions_must_be_as_many_as_answers() {
    counting(r#"{"executed":0,"orderViolations":0}"#, "exit 0").unwrap();
    let error = counting(r#"{"executed":1,"orderViolations":0}"#, "exit 0").unwrap_err();
    assert!(error.starts_with("0 calls answered, but the server says"), "{error}");
    counting(r#"{"executed":0,"orderViolations":1}"#, "exit 0").unwrap_err();
}

/// A shared server that has executed `before` calls already, and in the end says `after`.
fn shared(before: &str, after: &str) -> Result<(), String> {
    let counts = [(1, before), (2, after)].map(|(id, count)| {
        let id = 1_000_000_000 + id;
        let result = format!(r#"{{"structuredContent":{count}}}"#);
        format!(r#"read line; echo '{{"jsonrpc":"2.0","id":{id},"result":{result}}}'"#)
    });
    promised(&format!("{INITIALIZED}\n{}\ncat", counts.join("\n")), Promise::OnlyOnce)
}

#[test]
fn what_a_shared_server_did_before_and_its_order_do_not_count_but_each_call_does() {
    let before = r#"{"executed":7,"orderViolations":2}"#;
    shared(before, r#"{"executed":7,"orderViolations":5}"#).unwrap();
    let error = shared(before, r#"{"executed":8,"orderViolations":2}"#).unwrap_err();
    assert!(error.starts_with("7 calls answered, but the server says"), "{error}");
}

#[test]
fn a_call_that_is_refused_is_told_with_the_reason_and_was_not_executed() {
    let refused = [
        r#""error":{"code":-1,"message":"too large"}"#,
        r#""result":{"isError":true,"content":[{"type":"text","text":"too large"}]}"#,
    ];
    for refused in refused {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":1000000001,{refused}}}"#);
        let count = r#"{"executed":0,"orderViolations":0}"#;
        let count = format!(
            r#"{{"jsonrpc":"2.0","id":1000000002,"result":{{"structuredContent":{count}}}}}"#
        );
        let script =
            format!("{INITIALIZED}\nread line; echo '{answer}'\nread line; echo '{count}'\ncat");
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new("/bin/sh", directory.path().join("log")).args(["-c", &script]);
        let (mut session, _) = Session::start(&launch, Promise::InOrder).unwrap();
        assert_eq!(session.call(3).unwrap().unwrap_err(), "too large");
        session.finish().unwrap();
    }
}

#[test]
fn the_program_must_end_well_when_its_input_does() {
    let end = "echo went wrong >&2; exit 3";
    let error = counting(r#"{"executed":0,"orderViolations":0}"#, end).unwrap_err();
    assert!(error.contains("exit status: 3") && error.contains("went wrong"), "{error}");
}

#[test]
fn another_server_is_not_measured() {
    let error = session(&INITIALIZED.replace("sealwire-fake-server", "other")).unwrap_err();
    assert!(error.starts_with("unexpected answer to initialize"), "{error}");
}

#[test]
fn a_program_that_ends_early_is_an_error_with_its_last_words() {
    let error = session("read line; echo no such server >&2").unwrap_err();
    assert!(error.contains("end of output") && error.contains("no such server"), "{error}");
}
