//! What a message says is no business of the relay: the bytes that go in come out. Only
//! what would let two readers disagree about what a message *does* is refused, with a
//! JSON-RPC error, and the connection lives on.
//!
//! The served child sends each line back and keeps a copy. A notification so passes both
//! directions; a request comes back as a request of the server's, and the answer to that
//! as the answer to the first: each kind of message passes each way.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sealwire_testkit::{Connect, Home, Serve, server_table, soak, wait_until};
use sealwire_tests::wire_table;
use serde_json::{Value, json};

/// A client of a served child that sends back each line.
struct Wire {
    client: Connect,
    _serve: Serve,
    _home: Home,
    record: PathBuf,
    sent: Vec<u8>,
}

impl Wire {
    fn new() -> Self {
        Self::with_limits("")
    }

    fn with_limits(limits: &str) -> Self {
        let home = Home::initialized();
        let (table, record) = wire_table(&home);
        home.configure(&format!("[listen]\naddress = \"127.0.0.1:0\"\n{limits}\n{table}"));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let extra = format!("[listen]\n{limits}");
        let client = Connect::spawn(home.connect_command("wire", serve.address(), &extra));
        Self { client, _serve: serve, _home: home, record, sent: Vec::new() }
    }

    fn send(&mut self, message: &[u8]) {
        self.client.send(message);
        self.sent.extend_from_slice(message);
        self.sent.push(b'\n');
    }

    /// The message arrives at the child, and comes back, byte for byte.
    #[track_caller]
    fn passes(&mut self, message: impl AsRef<[u8]>) {
        self.send(message.as_ref());
        let back = self.client.receive();
        assert!(
            back == message.as_ref(),
            "sent     {}\nreceived {}",
            shown(message.as_ref()),
            shown(&back)
        );
    }

    /// The message is answered by an error, nothing of it arrives at the child, the log
    /// tells the code, and the next message passes.
    #[track_caller]
    fn refuses(&mut self, message: impl AsRef<[u8]>, id: &Value, code: &str) {
        let message = message.as_ref();
        let mark = self.client.log().mark();
        self.client.send(message);
        let line = self.client.receive();
        assert!(line != message, "passed: {}", shown(message));
        let answer: Value = serde_json::from_slice(&line).expect("a JSON answer");
        assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
        assert!(answer["error"]["code"].is_i64(), "{answer} for {}", shown(message));
        assert!(answer["error"]["message"].is_string(), "{answer}");
        // JSON-RPC 2.0 §5: null where the id could not be told.
        assert!(answer["id"].is_null() || answer["id"] == *id, "{answer}");
        let code = format!("code={code}");
        self.client.log().wait_after(mark, &["WARN", "message refused", &code, "reason="]);
        self.passes(r#"{"jsonrpc":"2.0","method":"notifications/alive"}"#);
    }

    /// Compares what the child received with what it should have.
    fn compare(&self) {
        wait_until("the child has got everything", || self.recorded().len() >= self.sent.len());
        assert!(self.recorded() == self.sent, "the child received other bytes than were sent");
    }

    fn recorded(&self) -> Vec<u8> {
        fs::read(&self.record).unwrap_or_default()
    }
}

fn shown(bytes: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
    format!("{head} ({} bytes)", bytes.len())
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn arrive_identical() {
    let mut wire = Wire::new();
    for message in [
        // Unknown members at every level.
        r#"{"jsonrpc":"2.0","method":"notifications/a","params":{"new":{"deep":[{"er":1}]}},"extra":{"x":[]}}"#,
        // Key order, and members that are decisive elsewhere.
        r#"{"params":{"z":1,"a":{"method":"no","id":2,"Method":3}},"method":"notifications/b","jsonrpc":"2.0"}"#,
        r#"{"method":"notifications/c","params":{"id":1,"ID":2,"method":"m","METHOD":"n","result":1,"Result":2},"jsonrpc":"2.0"}"#,
        // Members that decide nothing, twice.
        r#"{"jsonrpc":"2.0","x":1,"x":2,"method":"notifications/d","params":{"y":1,"y":2,"Y":3}}"#,
        // Nothing inside `arguments` is judged.
        r#"{"jsonrpc":"2.0","method":"notifications/e","params":{"name":"t","arguments":{"a":1,"a":2,"name":3,"Name":4,"name":5,"\u0061":6}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/f","params":{"_meta":{"a":1,"a":2},"arguments":{"_meta":1,"_META":2}}}"#,
        // Numbers.
        r#"{"jsonrpc":"2.0","method":"notifications/g","params":{"n":[100000000000000000000000,-123456789012345678901234567890,1E400,1e-400,-0,-0.0,1.0,1.10,0.1000000000000000055511151231257827,1e+5,1E5]}}"#,
        // Escapes, each of them, and the ways to write one character.
        r#"{"jsonrpc":"2.0","method":"notifications\/h","params":{"s":"\"\\\/\b\f\n\r\t\u0000\u001f\u007F/é\u00e9\u00E9"}}"#,
        // Surrogates: a pair escaped and not, high and low alone, in the wrong order.
        r#"{"jsonrpc":"2.0","method":"notifications/i","params":{"arguments":["\ud83d\ude00","😀","\uD83D\uDE00","\ud83d","\ude00","\ude00\ud83d",{"\ud83d":1,"\ud83d":2}]}}"#,
        // Characters that some readers take for the end of a line, or for nothing.
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/j\",\"params\":{\"s\":\"\u{2028}\u{2029}\u{85}\u{feff}\u{7f}\u{0b}\u{10ffff}\"}}"
            .replace('\u{0b}', "\\u000b")
            .as_str(),
        // White space in every place.
        " {\t\"jsonrpc\" : \"2.0\" , \"method\"\t:\"notifications/k\",\"params\" : { } } ",
        // The Kelvin sign folds to k; no decisive member has one.
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/l\",\"\u{212a}\":1,\"params\":{}}",
        // A carriage return before the line's end.
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/m\"}\r",
        // Names that only look like the decisive ones.
        r#"{"jsonrpc":"2.0","method":"notifications/o","methods":1,"i":2,"idd":3,"":4,"i\u0000d":5,"params":{"names":1,"meta":2,"uri ":3}}"#,
    ] {
        wire.passes(message);
    }
    wire.passes(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/deep","params":{{"arguments":{}}}}}"#,
        nested(64)
    ));
    wire.compare();
}

#[test]
fn requests_and_answers_arrive_identical() {
    let mut wire = Wire::new();
    for (id, answer) in [
        ("1", r#""result":{}"#),
        ("-7", r#""result":{"a":1,"a":2,"Result":100000000000000000000001,"name":1,"Name":2}"#),
        ("123456789012345678901234", r#""result":null"#),
        (r#""text""#, r#""error":{"code":-32000,"message":"no \ud83d","data":{"x":1,"x":2}}"#),
        (r#""\u0041\/é""#, r#""result":{"content":[{"type":"text","text":"\u00e9"}]},"extra":1"#),
        (r#""""#, r#""error":{"message":"m","code":1,"code":2}"#),
    ] {
        let request =
            format!(r#"{{"id":{id},"params":{{"x":1e2}},"method":"m/n","jsonrpc":"2.0"}}"#);
        // As the client's request there, as the server's request back.
        wire.passes(&request);
        // As the client's answer there, as the server's answer back.
        wire.passes(format!(r#"{{ "jsonrpc":"2.0","id": {id},{answer}}}"#));
    }
    wire.compare();
}

/// An id that is written differently is another id only if it says something else.
#[test]
fn the_answer_finds_its_request() {
    let mut wire = Wire::new();
    wire.passes(r#"{"jsonrpc":"2.0","id":"1","method":"text"}"#);
    wire.passes(r#"{"jsonrpc":"2.0","id":1,"method":"number"}"#);
    wire.passes(r#"{"jsonrpc":"2.0","id":1,"result":"number"}"#);
    wire.passes(r#"{"jsonrpc":"2.0","id":"1","result":"text"}"#);
    wire.compare();
}

#[test]
fn large_messages_arrive_identical() {
    let mut wire = Wire::new();
    for size in [1 << 10, 16 << 10, (1 << 16) - 1, 1 << 16, (1 << 20) + 1, 50 << 20] {
        let open =
            r#"{"jsonrpc":"2.0","method":"notifications/large","params":{"arguments":{"s":""#;
        let mut message = open.as_bytes().to_vec();
        let mut state = size as u32;
        message.extend((message.len()..size - 4).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 24) as u8 % 26
        }));
        message.extend_from_slice(b"\"}}}");
        wire.passes(&message);
    }
    wire.compare();
}

#[test]
fn decisive_members_twice_or_in_another_case_are_refused() {
    let mut wire = Wire::new();
    let id = json!(1);
    for top in [
        r#""jsonrpc":"2.0""#,
        r#""id":1"#,
        r#""id":2"#,
        r#""method":"x""#,
        r#""params":{}"#,
        r#""JSONRPC":"2.0""#,
        r#""Id":1"#,
        r#""iD":1"#,
        r#""Method":"x""#,
        r#""METHOD":"x""#,
        r#""Params":{}"#,
        r#""Result":1"#,
        r#""ERROR":1"#,
        // The same names, written with escapes.
        r#""\u006dethod":"x""#,
        r#""\u0049d":1"#,
        r#""meth\u006Fd":"x""#,
        r#""\u0050arams":{}"#,
        // Unicode folds a long s to s.
        "\"j\u{17f}onrpc\":\"2.0\"",
        "\"param\u{17f}\":{}",
        "\"re\u{17f}ult\":{}",
        r#""param\u017f":{}"#,
    ] {
        for message in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{}},{top}}}"#),
            format!(r#"{{{top},"jsonrpc":"2.0","id":1,"method":"m","params":{{}}}}"#),
        ] {
            wire.refuses(message, &id, "member_ambiguous");
        }
    }
    for params in [
        r#""name":"a","name":"b""#,
        r#""name":"a","Name":"b""#,
        r#""Name":"b""#,
        r#""name":"a","n\u0061me":"b""#,
        r#""n\u0041me":"b""#,
        r#""uri":"a","uri":"b""#,
        r#""uri":"a","URI":"b""#,
        r#""arguments":{},"x":1,"arguments":{}"#,
        r#""arguments":{},"Arguments":{}"#,
        "\"name\":\"a\",\"argument\u{17f}\":{}",
        r#""argument\u017F":{}"#,
        r#""_meta":{},"_meta":{}"#,
        r#""_meta":{},"_Meta":{}"#,
        r#""_\u004deta":{}"#,
    ] {
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#);
        wire.refuses(message, &id, "member_ambiguous");
    }
    wire.compare();
}

#[test]
fn what_is_not_json_is_refused() {
    let mut wire = Wire::new();
    let id = json!(1);
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":"#;
    for bad in [
        "x",
        "nul",
        "NaN",
        "Infinity",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "0x1",
        "-",
        "'a'",
        "[1,]",
        "[,]",
        "[1 2]",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"tab\there\"",
        "\"\u{0}\"",
        "/**/1",
        "[",
        "{",
        "\"",
        "\u{a0}1",
        "]",
        "1}}}",
    ] {
        wire.refuses(format!("{good}{bad}}}}}"), &id, "message_malformed");
    }
    for bad in ["}", "{\"jsonrpc\"", "null", "1", "\"text\"", "\u{feff}{}", "Content-Length: 10\r"]
    {
        wire.refuses(bad, &id, "message_malformed");
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    wire.refuses(format!("{twice}{twice}"), &id, "message_malformed");
    for bad in [
        &b"\x80"[..],
        b"\xff",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ] {
        for (before, after) in [(good, "}}"), (r#"{"jsonrpc":"2.0","id":1,"method":"m"#, "}")] {
            let mut message = before.as_bytes().to_vec();
            if before == good {
                message.push(b'"');
            }
            message.extend_from_slice(bad);
            message.push(b'"');
            message.extend_from_slice(after.as_bytes());
            wire.refuses(message, &id, "message_malformed");
        }
    }
    wire.compare();
}

#[test]
fn what_is_not_json_rpc_is_refused() {
    let mut wire = Wire::new();
    for bad in [
        "{}",
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
    ] {
        wire.refuses(bad, &json!(1), "message_invalid");
    }
    wire.compare();
}

/// An answer that is refused is not answered. Whoever waits for it gets an error instead.
#[test]
fn an_answer_that_is_none_becomes_an_error() {
    let mut wire = Wire::new();
    for bad in [
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"#,
    ] {
        // Comes back as a request of the server's, which the client answers badly. The
        // server gets an error in its place; it comes back as the answer to the first.
        wire.passes(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#);
        wire.client.send(bad);
        let answer = wire.client.receive_json();
        assert_eq!(answer["id"], 1, "{answer} for {bad}");
        assert!(answer["error"]["code"].is_i64(), "{answer} for {bad}");
    }
    // Nobody waits for this one.
    let mark = wire.client.log().mark();
    wire.client.send(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    wire.client.log().wait_after(mark, &["message refused", "code=response_unexpected"]);
    wire.passes(r#"{"jsonrpc":"2.0","method":"notifications/alive"}"#);
}

#[test]
fn batches_are_refused() {
    let mut wire = Wire::new();
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    for batch in [format!("[{one}]"), format!(" [{one},{one}]"), "[]".into(), format!("[{one}")] {
        wire.refuses(batch, &json!(1), "message_batch");
    }
    wire.compare();
}

#[test]
fn deep_nesting_is_refused() {
    let mut wire = Wire::new();
    let id = json!(1);
    for deep in
        [nested(10_000), r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000), nested(1_000_000)]
    {
        for message in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{deep}}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"x":{deep},"method":"m"}}"#),
        ] {
            wire.refuses(message, &id, "message_too_deep");
        }
    }
    wire.compare();
}

#[test]
fn what_is_too_large_is_refused() {
    let mut wire = Wire::with_limits("max_message_size = \"64KiB\"");
    let large = |size: usize| {
        let empty = r#"{"jsonrpc":"2.0","method":"m","params":{"s":""}}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())))
    };
    wire.passes(large(64 << 10));
    wire.refuses(large((64 << 10) + 1), &Value::Null, "message_too_large");
    wire.refuses(large(10 << 20), &Value::Null, "message_too_large");
    // The SDKs for Python and TypeScript write the id of a request last.
    for size in [(64 << 10) + 1, 65 << 10, 10 << 20] {
        let request = r#"{"method":"m","params":{"s":""},"jsonrpc":"2.0","id":"x"}"#;
        let text = format!("\"{}\"", "x".repeat(size - request.len()));
        wire.refuses(request.replace("\"\"", &text), &Value::from("x"), "message_too_large");
    }
    wire.compare();
}

#[test]
fn an_id_in_use_is_refused() {
    let mut wire = Wire::new();
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    wire.passes(request);
    wire.refuses(request, &json!(1), "request_id_in_use");
    // The first is still waiting and gets its answer; then the id is free.
    wire.passes(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    wire.passes(request);
    wire.compare();
}

/// What comes from the server's side is held to the same rules, and refused there.
#[test]
fn a_server_is_held_to_the_same_rules() {
    let refused: &[(&str, &[u8])] = &[
        ("message_malformed", b"Starting up, please wait..."),
        ("message_malformed", b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"),
        ("member_ambiguous", br#"{"jsonrpc":"2.0","method":"a","Method":"b"}"#),
        ("member_ambiguous", br#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#),
        ("message_batch", br#"[{"jsonrpc":"2.0","method":"a"}]"#),
        ("message_invalid", br#"{"jsonrpc":"2.0"}"#),
        ("response_unexpected", br#"{"jsonrpc":"2.0","id":99,"result":{}}"#),
    ];
    let home = Home::initialized();
    let lines: Vec<u8> =
        refused.iter().flat_map(|(_, line)| [line, &b"\n"[..]]).flatten().copied().collect();
    home.write("noise", lines);
    let script = home.script("noisy.sh", "cat noise\nexec cat");
    home.configure(&format!(
        "{}cwd = \".\"\n",
        server_table("noisy", "sh", &[script.to_str().unwrap()])
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "noisy", serve.address());
    let alive = br#"{"jsonrpc":"2.0","method":"notifications/alive"}"#;
    client.send(alive);
    assert_eq!(shown(&client.receive()), shown(alive), "of the noise nothing may arrive");
    for (code, _) in refused {
        serve.refused_message(0, code);
    }
}

/// Any message that is not refused arrives identical: as made by a generator that knows
/// how JSON may be written, not by a serializer that knows one way.
#[test]
fn any_message_arrives_identical() {
    let wire = RefCell::new(Wire::new());
    let config = Config { cases: soak(64, 5_000), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(message(), 1..20), |messages| {
            let mut wire = wire.borrow_mut();
            for message in &messages {
                wire.send(message.as_bytes());
            }
            for message in &messages {
                let back = wire.client.receive();
                prop_assert_eq!(String::from_utf8_lossy(&back), message.as_str());
            }
            Ok(())
        })
        .unwrap();
    wire.borrow().compare();
}

/// A notification with its members in any order, and members nobody knows.
fn message() -> impl Strategy<Value = String> {
    let known = [
        text_member("\"jsonrpc\"", Just("\"2.0\"".to_owned())),
        text_member("\"method\"", Just("\"notifications/any\"".to_owned())),
        text_member("\"params\"", params()),
    ];
    let unknown = prop::collection::vec(member("x[a-zA-Z]{0,4}"), 0..4);
    (known, unknown)
        .prop_map(|(known, unknown)| [known.to_vec(), unknown].concat())
        .prop_shuffle()
        .prop_flat_map(object)
        .prop_flat_map(padded)
}

fn params() -> impl Strategy<Value = String> {
    // Inside `arguments` any name may occur, the decisive ones too, and twice.
    let arguments =
        prop::collection::vec(member("name|Name|id|method|_meta|[a-z\u{17f}]{0,3}"), 0..6)
            .prop_flat_map(object);
    (text_member("\"arguments\"", arguments), prop::collection::vec(member("y[a-zA-Z]{0,4}"), 0..3))
        .prop_map(|(arguments, mut rest)| {
            rest.push(arguments);
            rest
        })
        .prop_shuffle()
        .prop_flat_map(object)
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        string(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone().prop_flat_map(padded), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((string(), inner), 0..4).prop_flat_map(|members| {
                object(members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect())
            }),
        ]
    })
}

/// A string in every way it may be written: raw, short escapes, `\u` in either case,
/// surrogates paired and alone.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[^\"\\\\\\x00-\\x1f]{0,4}",
        1 => "\\\\[\"\\\\/bfnrt]",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => Just("\\ud83d\\ude00".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn member(name: &'static str) -> impl Strategy<Value = String> {
    (name, value()).prop_flat_map(|(name, value)| text_member_of(format!("\"{name}\""), value))
}

fn text_member(
    name: &'static str,
    value: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<String> {
    value.prop_flat_map(move |value| text_member_of(name.to_owned(), value)).boxed()
}

fn text_member_of(name: String, value: String) -> impl Strategy<Value = String> {
    (padded(name), padded(value)).prop_map(|(name, value)| format!("{name}:{value}"))
}

fn object(members: Vec<String>) -> impl Strategy<Value = String> {
    padded(members.join(",")).prop_map(|members| format!("{{{members}}}"))
}

fn padded(text: String) -> impl Strategy<Value = String> {
    ("[ \t]{0,2}", "[ \t]{0,2}").prop_map(move |(before, after)| format!("{before}{text}{after}"))
}
