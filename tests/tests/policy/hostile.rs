//! Whatever is tried with the text of messages: the server never sees a call of a tool that
//! is denied, and the client never sees such a tool listed.

use std::fs;

use sealwire_testkit::{Connect, Home, Serve, quoted};
use serde_json::{Value, json};

/// All that begins so is denied; everything else may be called.
const DENY: &str = "default_level = 1\n\
                    policy.deny = [\n\
                    { tools = [\"secret*\"], prompts = [\"secret*\"], resources = [\"secret:*\"] },\n\
                    ]\n";

/// A server that keeps each line it gets in the file `record`, and answers the first with
/// `answers[0]`, and so on; nothing follows the last.
fn serving(keys: &str, answers: &[String]) -> (Home, Serve) {
    let home = Home::initialized();
    for (number, answer) in answers.iter().enumerate() {
        home.write(&format!("answer-{}", number + 1), format!("{answer}\n"));
    }
    let script = home.script(
        "server.sh",
        "n=0\n: > record\nwhile IFS= read -r line; do\nprintf '%s\\n' \"$line\" >> record\n\
         n=$((n+1))\n[ ! -f answer-$n ] || cat answer-$n\ndone",
    );
    let (cwd, script) = (quoted(home.path()), quoted(script));
    home.configure(&format!(
        "[mcp_servers.wire]\ncommand = \"sh\"\nargs = [{script}]\ncwd = {cwd}\n{keys}"
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    (home, serve)
}

fn recorded(home: &Home) -> Vec<String> {
    let record = fs::read_to_string(home.file("record")).expect("a record");
    record.lines().map(ToOwned::to_owned).collect()
}

/// Lines that would call `secret`, were one reader or another asked.
const ATTACKS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\u0073ecret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\u0061me":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\u002fcall","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret","name":"ok"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","n\u0061me":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","Name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"PARAMS":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"param\u017f":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"name":"ok"},"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret","_meta":{"name":"ok"}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{},"_meta":{},"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"name":"ok"},"name":"secret"}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret"}}]"#,
    r#" [ {"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"secret"}}]"#,
    r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["secret"]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["secret"]}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret"},"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"secret"}}"#,
    "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"secret\"}}",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"secret\"}}\r",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"secret\"}}",
    r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"secret"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"secret:x"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"\u0073ecret:x","name":"ok"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"secret"},"argument":{"name":"a","value":""}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"secret:{x}"},"argument":{"name":"x","value":""}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"name":"ok","r\u0065f":{"type":"ref/prompt","n\u0061me":"secret"}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"ok"},"ref":{"type":"ref/prompt","name":"secret"}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"ok","Name":"secret"}}}"#,
    r#"{"jsonrpc":"2.0","method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"secret"}}}"#,
];

const LAST: &str = r#"{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"ok"}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":99,"result":{}}"#;

#[test]
fn no_way_of_writing_a_call_gets_a_denied_tool_to_the_server() {
    // One side decides, the other lets everything pass that it understands.
    let connecting = "[[policy.deny]]\ntools = [\"secret*\"]\nprompts = [\"secret*\"]\n\
                      resources = [\"secret:*\"]\n";
    for (serving_keys, connecting) in [(DENY, ""), ("default_level = 1\n", connecting)] {
        let (home, serve) = serving(serving_keys, &[DONE.to_owned()]);
        let mut client = Connect::spawn(home.connect_command("wire", serve.address(), connecting));
        for attack in ATTACKS {
            client.send(attack);
        }
        client.send(LAST);
        loop {
            let answer = client.receive_json();
            if answer["id"] == 99 {
                assert!(answer["result"].is_object(), "{answer}");
                break;
            }
            assert!(answer["error"]["data"]["sealwire"].is_string(), "{answer}");
        }
        assert_eq!(recorded(&home), [LAST]);
    }
}

#[test]
fn a_denied_call_does_not_slip_in_under_an_id_in_flight() {
    let (home, serve) = serving(DENY, &[String::new(), DONE.to_owned()]);
    let mut client = Connect::start(&home, "wire", serve.address());
    let pending = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"ok"}}"#;
    client.send(pending);
    client.send(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"secret"}}"#);
    assert_eq!(client.receive_json()["error"]["data"]["sealwire"], "request_id_in_use");
    client.send(LAST);
    assert_eq!(client.receive_json()["id"], 99);
    assert_eq!(recorded(&home), [pending, LAST]);
}

fn page(id: u64, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

#[test]
fn the_client_never_sees_what_is_denied_in_a_list() {
    let odd = r#"{ "name":"ok", "n": 12345678901234567890123, "inputSchema": {"e":"\u00e9"} }"#;
    let cases = [
        (
            "tools/list",
            format!(r#"{{"tools":[{odd} ,{{"name":"secret"}}],"nextCursor":"2"}}"#),
            Ok(format!(r#"{{"tools":[{odd}],"nextCursor":"2"}}"#)),
        ),
        // The same name on the next page, and a name in escapes.
        (
            "tools/list",
            r#"{"tools":[{"name":"secret"},{"name":"secre\u0074"},{"n\u0061me":"secret_2"}]}"#.into(),
            Ok(r#"{"tools":[]}"#.to_owned()),
        ),
        ("tools/list", r#"{"tools":[],"tools":[{"name":"secret"}]}"#.into(), Err("member_ambiguous")),
        ("tools/list", r#"{"Tools":[{"name":"secret"}]}"#.into(), Err("member_ambiguous")),
        ("tools/list", r#"{"tools":[{"name":"ok","name":"secret"}]}"#.into(), Err("member_ambiguous")),
        ("tools/list", r#"{"tools":[{"name":"ok","NAME":"secret"}]}"#.into(), Err("member_ambiguous")),
        ("tools/list", r#"{"tools":{"0":{"name":"secret"}}}"#.into(), Err("message_invalid")),
        ("tools/list", r#"{"tools":[["secret"]]}"#.into(), Err("message_invalid")),
        (
            "prompts/list",
            r#"{"prompts":[{"name":"secret_p"},{"name":"p"}]}"#.into(),
            Ok(r#"{"prompts":[{"name":"p"}]}"#.to_owned()),
        ),
        (
            "resources/list",
            r#"{"resources":[{"uri":"a:b","name":"secret"},{"uri":"secret:b","name":"b"}],"ttlMs":5,"cacheScope":"public"}"#.into(),
            Ok(r#"{"resources":[{"uri":"a:b","name":"secret"}],"ttlMs":5,"cacheScope":"private"}"#.to_owned()),
        ),
        (
            "resources/templates/list",
            r#"{"resourceTemplates":[{"uriTemplate":"secret:{x}"},{"uriTemplate":"a:{x}"}]}"#.into(),
            Ok(r#"{"resourceTemplates":[{"uriTemplate":"a:{x}"}]}"#.to_owned()),
        ),
        // Of other results, nothing is taken away.
        (
            "ping",
            r#"{"tools":[{"name":"secret"}],"x":{"y":1,"y":2}}"#.into(),
            Ok(r#"{"tools":[{"name":"secret"}],"x":{"y":1,"y":2}}"#.to_owned()),
        ),
    ];
    let answers: Vec<_> = (1..).zip(&cases).map(|(id, (_, result, _))| page(id, result)).collect();
    let (home, serve) = serving(DENY, &answers);
    let mut client = Connect::start(&home, "wire", serve.address());
    for (id, (method, result, expected)) in (1..).zip(&cases) {
        assert_eq!(client.send_request(method, &json!({})), id);
        let line = String::from_utf8(client.receive()).unwrap();
        match expected {
            Ok(expected) => assert_eq!(line, page(id, expected), "{result}"),
            Err(word) => {
                let answer: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(answer["error"]["data"]["sealwire"], *word, "{result}: {line}");
                assert!(!line.contains("secret"), "{line}");
            }
        }
    }
}

#[test]
fn the_connecting_side_hides_what_it_denies_itself() {
    let both = r#"{"tools":[{"name":"a"},{"name":"b"}]}"#;
    let (home, serve) = serving("default_level = 1\n", &[page(1, both)]);
    let deny = "[[policy.deny]]\ntools = [\"b\"]\n";
    let mut client = Connect::spawn(home.connect_command("wire", serve.address(), deny));
    client.send_request("tools/list", &json!({}));
    assert_eq!(client.receive(), page(1, r#"{"tools":[{"name":"a"}]}"#).into_bytes());
}

#[test]
fn a_result_asks_for_input_only_as_a_request_might() {
    let asking = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{}}},"requestState":"s"}"#;
    let hidden = asking.replace("inputRequests", "input\\u0052equests");
    let twice = asking.replace(r#""method":"#, r#""method":"roots/list","method":"#);
    let other_case = asking.replace("inputRequests", "inputrequests");
    let allow = "[[policy.allow]]\ndirection = \"to_client\"\nmethods = [\"sampling/*\"]\n";
    for (policy, result, expected) in [
        (DENY.to_owned(), asking.to_owned(), Some("not_authorized")),
        (DENY.to_owned(), hidden, Some("not_authorized")),
        (format!("{DENY}{allow}"), asking.to_owned(), None),
        (format!("{DENY}{allow}"), twice, Some("member_ambiguous")),
        (format!("{DENY}{allow}"), other_case, Some("member_ambiguous")),
    ] {
        let (home, serve) = serving(&policy, &[page(1, &result)]);
        let mut client = Connect::start(&home, "wire", serve.address());
        client.send_request("tools/call", &json!({"name": "ok"}));
        let line = client.receive();
        match expected {
            None => assert_eq!(line, page(1, &result).into_bytes()),
            Some(word) => {
                let answer: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(answer["error"]["data"]["sealwire"], word, "{result}");
                serve.refused_message(0, word);
            }
        }
    }
}
