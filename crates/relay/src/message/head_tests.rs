use super::*;
use proptest::prelude::*;

fn parse(message: &str) -> Result<Head<'_>, Box<Rejected>> {
    Parser::default().parse(message.as_bytes())
}

fn code(message: &str) -> RefusalCode {
    match parse(message) {
        Ok(head) => panic!("{message} passed as {head:?}"),
        Err(rejected) => rejected.refusal.code,
    }
}

#[test]
fn tells_the_three_kinds_apart() {
    let request = r#"{"jsonrpc":"2.0","id":7,"method":"tools\/call","params":{"name":"ech\u006f","arguments":{"name":"x"}}}"#;
    assert_eq!(
        parse(request).unwrap(),
        Head::Request {
            id: RequestId::Integer(7),
            method: "tools/call".into(),
            params: Params {
                subject: Some("echo".into()),
                cancelled: None,
                page: Asked::First,
                completes: None,
                arguments: Some(r#"{"name":"x"}"#),
            },
        }
    );
    let notification = r#"{"method":"notifications/cancelled","params":{"requestId":"a","reason":"r"},"jsonrpc":"2.0"}"#;
    let Head::Notification { params, .. } = parse(notification).unwrap() else { panic!() };
    assert_eq!(params.cancelled.unwrap().to_string(), "\"a\"");
    assert_eq!(
        parse(r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#).unwrap(),
        Head::Response { id: Some(RequestId::Integer(7)), is_error: false, asks: false }
    );
    assert_eq!(
        parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#).unwrap(),
        Head::Response { id: None, is_error: true, asks: false }
    );
}

#[test]
fn passes_what_it_need_not_judge() {
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"a":1,"a":2,"A":3,"\ud800":"\udc00"}}}"#,
        r#"{"jsonrpc":"2.0","id":100000000000000000000001,"method":"m","x":{"X":1,"x":2},"params":null}"#,
        "\t{ \"jsonrpc\" : \"2.0\" , \"method\" : \"m\" }\r",
        r#"{"jsonrpc":"2.0","method":"m","params":{"cursor":"a","Cursor":"b","cursor":"c"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"name":1,"Name":2,"name":3}}"#,
    ] {
        assert!(parse(message).is_ok(), "{message}: {:?}", parse(message));
    }
}

#[test]
fn the_quick_look_at_a_member_knows_all_that_are_decisive() {
    for (index, name) in TOP_LEVEL.iter().enumerate() {
        assert_eq!(top_level(&mut Scanner::new(&format!("{name:?}:1"))), Some(index));
        assert_eq!(top_level(&mut Scanner::new(&format!("{name:?} :1"))), None);
    }
    for (index, name) in IN_PARAMS.iter().enumerate() {
        assert_eq!(in_params(&mut Scanner::new(&format!("{name:?}:1"))), Some(index));
        assert_eq!(in_params(&mut Scanner::new(&format!("{name:?} :1"))), None);
    }
}

#[test]
fn refuses_decisive_members_twice_or_in_another_case() {
    let whole = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"n","uri":"u","arguments":{},"_meta":{}}}"#;
    assert!(parse(whole).is_ok());
    let variants = |name: &str| {
        vec![
            name.to_owned(),
            name.to_uppercase(),
            format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]),
            format!("\\u{:04X}{}", name.to_uppercase().as_bytes()[0], &name[1..]),
            name.replacen('s', "\u{17f}", 1),
            name.replacen('s', "\\u017f", 1),
            name.replacen('k', "\u{212a}", 1),
        ]
    };
    for name in TOP_LEVEL {
        for variant in variants(name) {
            for value in ["1", "{}", "\"x\""] {
                let message = format!("{{\"{variant}\":{value},{}", &whole[1..]);
                if !whole.contains(&format!("\"{variant}\"")) && variant == name {
                    continue; // result and error do not occur in a request at all
                }
                let got = code(&message);
                let expected = [RefusalCode::MemberAmbiguous, RefusalCode::MessageInvalid];
                assert!(expected.contains(&got), "{message}: {got}");
            }
        }
    }
    for name in IN_PARAMS {
        for variant in variants(name) {
            let message = whole.replace("\"params\":{", &format!("\"params\":{{\"{variant}\":1,"));
            assert_eq!(code(&message), RefusalCode::MemberAmbiguous, "{message}");
        }
    }
}

#[test]
fn what_is_completed_is_the_prompt_or_resource_that_ref_names_in_one_way() {
    let complete = |params: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"completion/complete\",\"params\":{{{params}}}}}"
        )
    };
    for (params, method, subject) in [
        (r#""name":"x","ref":{"type":"ref/prompt","name":"a"}"#, "prompts/get", "a"),
        (r#""r\u0065f":{"name":"\u0061","title":1,"type":"ref/prompt"}"#, "prompts/get", "a"),
        (r#""ref":{"type":"ref/resource","uri":"f:{x}"}"#, "resources/read", "f:{x}"),
    ] {
        let message = complete(params);
        let Ok(Head::Request { params, .. }) = parse(&message) else { panic!("{message}") };
        assert_eq!((params.completes, params.subject.as_deref()), (Some(method), Some(subject)));
    }
    for params in [
        r#""name":"a""#,
        r#""ref":null"#,
        r#""ref":"a""#,
        r#""ref":[]"#,
        r#""ref":{}"#,
        r#""ref":{"type":"ref/prompt"}"#,
        r#""ref":{"type":"ref/prompt","uri":"a"}"#,
        r#""ref":{"type":"ref/prompt","name":"a","uri":"a"}"#,
        r#""ref":{"type":"ref/tool","name":"a"}"#,
        r#""ref":{"type":"ref/prompt","name":"a","Name":"b"}"#,
        r#""ref":{"type":"ref/prompt","name":"a","n\u0061me":"b"}"#,
        r#""ref":{"type":"ref/prompt","name":7}"#,
        r#""ref":{"type":"ref/prompt","name":"\ud800"}"#,
        r#""ref":{"type":"ref/prompt","name":"a"},"ref":{"type":"ref/prompt","name":"b"}"#,
        r#""Ref":{"type":"ref/prompt","name":"b"},"ref":{"type":"ref/prompt","name":"a"}"#,
        r#""ref":{"type":"ref/prompt","name":"a"},"\u0052EF":{"type":"ref/prompt","name":"b"}"#,
    ] {
        assert_eq!(code(&complete(params)), RefusalCode::MessageInvalid, "{params}");
    }
    // Of other methods, it decides nothing.
    assert!(parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"ref":1,"Ref":2}}"#).is_ok());
}

#[test]
fn refuses_what_is_not_json_rpc() {
    for message in [
        "{}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#,
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"\udc00"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
    ] {
        assert_eq!(code(message), RefusalCode::MessageInvalid, "{message}");
    }
    assert_eq!(code(r#"[{"jsonrpc":"2.0","method":"m"}]"#), RefusalCode::MessageBatch);
    for message in ["", "null", "\"\"", "{", r#"{"jsonrpc":"2.0","method":"m"} x"#, "garbage"] {
        assert_eq!(code(message), RefusalCode::MessageMalformed, "{message}");
    }
    let overlong = b"{\"jsonrpc\":\"2.0\",\"method\":\"\xc0\xae\"}";
    let rejected = Parser::default().parse(overlong).unwrap_err();
    assert_eq!(rejected.refusal.code, RefusalCode::MessageMalformed);
}

#[test]
fn a_refusal_carries_the_id_wherever_it_stands() {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let message =
        format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"arguments":{deep}}},"id":9}}"#);
    let rejected = parse(&message).unwrap_err();
    assert_eq!(rejected.refusal.code, RefusalCode::MessageTooDeep);
    assert_eq!(rejected.id, Some(RequestId::Integer(9)));

    let twice = parse(r#"{"jsonrpc":"2.0","method":"m","method":"n","id":9}"#).unwrap_err();
    assert_eq!(twice.id, Some(RequestId::Integer(9)));
    let two_ids = parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","id":1}"#).unwrap_err();
    assert_eq!(two_ids.id, None);
    let three_ids = parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","id":1,"id":1}"#).unwrap_err();
    assert_eq!(three_ids.id, None);
    let answer = parse(r#"{"jsonrpc":"2.0","id":3,"result":1,"result":2}"#).unwrap_err();
    assert!(answer.is_response);

    let cut = r#"{"jsonrpc":"2.0","id":9,"method":"m","params":{"arguments":{"a":"aaaa"#;
    let with_end = |prefix: &str, end: &str| {
        let refusal = Refusal::new(RefusalCode::MessageTooLarge, "");
        let rejected = Parser::default().recover(prefix.as_bytes(), end.as_bytes(), refusal);
        (rejected.id, rejected.is_response)
    };
    let recover = |prefix: &str| with_end(prefix, "");
    assert_eq!(recover(cut), (Some(RequestId::Integer(9)), false));
    assert_eq!(recover(&cut[..16]), (None, false));
    for half in
        [r#"{"method":"m","id":12"#, r#"{"method":"m","id":-12"#, r#"{"method":"m","id":"12"#]
    {
        assert_eq!(recover(half), (None, false), "{half}");
    }
    let cut = r#"{"jsonrpc":"2.0","id":9,"result":{"content":[{"text":"aaaa"#;
    assert_eq!(recover(cut), (Some(RequestId::Integer(9)), true));

    let end = r#"aa"}},"jsonrpc":"2.0","id":4}"#;
    assert_eq!(with_end(cut, end).0, Some(RequestId::Integer(9)), "an id that stands there");
    let cut = r#"{"result":{"content":[{"text":"aaaa"#;
    assert_eq!(with_end(cut, end), (Some(RequestId::Integer(4)), true));
    let cut = r#"{"method":"tools/call","params":{"name":"aaaa"#;
    assert_eq!(with_end(cut, end), (Some(RequestId::Integer(4)), false));
    assert_eq!(with_end(r#"{"x":{"text":"aaaa"#, end), (None, false), "call or answer?");
    assert_eq!(with_end(r#"{"result":{},"id":1"#, end), (None, true), "which of two?");
}

#[test]
fn the_subject_is_what_a_server_of_the_method_reads() {
    let subject = |method: &str, params: &str| {
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let Ok(Head::Request { params, .. }) = parse(&message) else { return None };
        Some(params.subject.map(std::borrow::Cow::into_owned))
    };
    let both = r#"{"name":"n","uri":"u"}"#;
    assert_eq!(subject("resources/read", both), Some(Some("u".into())));
    assert_eq!(subject("tools/call", both), Some(Some("n".into())));
    assert_eq!(subject("prompts/get", both), Some(Some("n".into())));
    assert_eq!(subject("other", r#"{"uri":"u"}"#), Some(Some("u".into())));
    assert_eq!(subject("other", r#"{"name":{},"uri":[]}"#), Some(None));
    assert_eq!(subject("tools/list", "{}"), Some(None));
    assert_eq!(subject("resources/read", r#"{"name":"n","uri":["u"]}"#), None, "refused");
    assert_eq!(subject("tools/call", r#"{"name":{"n":1},"uri":"u"}"#), None, "refused");
}

#[test]
fn what_is_kept_until_the_answer_is_bounded() {
    let long = "a".repeat(MAX_ID);
    let message = format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"m"}}"#);
    let rejected = parse(&message).unwrap_err();
    assert_eq!((rejected.refusal.code, rejected.id), (RefusalCode::MessageInvalid, None));
    let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{long}"}}"#);
    assert_eq!(code(&message), RefusalCode::MessageInvalid);
}

/// Whoever reads lines next would take the rest for a message of its own, which nobody
/// judged. Some readers end a line at a carriage return, too.
#[test]
fn refuses_line_breaks_inside_a_message() {
    let inner = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    for line_break in ["\n", "\r", "\r\n"] {
        for message in [
            format!(r#"{{"jsonrpc":"2.0","method":"m","x":{line_break}{inner}{line_break}}}"#),
            format!(r#"{{"jsonrpc":"2.0",{line_break}"method":"m"}}"#),
            format!(r#"{line_break}{{"jsonrpc":"2.0","method":"m"}}"#),
            format!(r#"{{"jsonrpc":"2.0","method":"m"}}{line_break} "#),
        ] {
            assert_eq!(code(&message), RefusalCode::MessageMalformed, "{message:?}");
        }
    }
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"method\":\"m\"}\n"), RefusalCode::MessageMalformed);
    assert!(parse("{\"jsonrpc\":\"2.0\",\"method\":\"m\"}\r").is_ok(), "CRLF line ends");
}

#[test]
fn the_depth_limit_is_exact() {
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!(
            r#"{{"jsonrpc":"2.0","method":"m","x":{}{}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(code(&nested(MAX_DEPTH + 1)), RefusalCode::MessageTooDeep);
}

proptest! {
    #[test]
    fn never_panics(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Parser::default().parse(&message);
        let refusal = Refusal::new(RefusalCode::MessageTooLarge, "");
        let _ = Parser::default().recover(&message, &message, refusal);
    }

    /// Whatever passes is read by serde_json to the same method, id and name.
    #[test]
    fn agrees_with_a_full_parser(
        method in "\\PC{0,12}", name in "\\PC{0,12}", id in any::<i64>(), extra in "[a-z]{3,9}",
    ) {
        let message = serde_json::json!({
            "jsonrpc": "2.0", "id": id, "method": method,
            "params": {"name": name, "arguments": {&extra: name}},
        })
        .to_string();
        let arguments = format!("{{{extra:?}:{}}}", serde_json::json!(name));
        let head = parse(&message).unwrap();
        let expected = Head::Request {
            id: RequestId::Integer(id),
            method: method.into(),
            params: Params {
                subject: Some(name.into()),
                cancelled: None,
                page: Asked::First,
                completes: None,
                arguments: Some(&arguments),
            },
        };
        prop_assert_eq!(head, expected);
    }
}
