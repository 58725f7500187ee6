use super::*;
use proptest::prelude::*;

fn tools() -> ListKind {
    ListKind::of("tools/list").unwrap()
}

fn response(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
}

/// What becomes of a list of tools if all but those that begin with `deny` may be called.
fn filtered(result: &str) -> String {
    let message = response(result);
    let listing = Listing::parse(message.as_bytes(), Some(tools())).unwrap();
    let spliced = listing.splice(message.as_bytes(), |name| !name.starts_with("deny"));
    String::from_utf8(spliced.unwrap_or_else(|| message.into())).unwrap()
}

fn refused(result: &str) -> RefusalCode {
    let message = response(result);
    Listing::parse(message.as_bytes(), Some(tools())).expect_err(result).code
}

#[test]
fn what_is_denied_goes_and_the_rest_stays_byte_for_byte() {
    let odd = r#"{ "name" : "a", "x":1.50e2, "inputSchema":{"z":[{"name":"denied"}]} }"#;
    for (before, after) in [
        (format!(r#"{{"tools":[{odd}]}}"#), format!(r#"{{"tools":[{odd}]}}"#)),
        (
            format!(r#"{{"tools":[{odd} , {{"name":"deny"}},{{"name":"b"}}] ,"nextCursor":"c"}}"#),
            format!(r#"{{"tools":[{odd},{{"name":"b"}}] ,"nextCursor":"c"}}"#),
        ),
        (r#"{"tools":[ {"name":"deny"} ]}"#.to_owned(), r#"{"tools":[  ]}"#.to_owned()),
        (r#"{"tools":[]}"#.to_owned(), r#"{"tools":[]}"#.to_owned()),
        (r#"{"nextCursor":"x"}"#.to_owned(), r#"{"nextCursor":"x"}"#.to_owned()),
        (
            r#"{"tools":[{"name":"\u0064eny"},{"\u006eame":"b"}]}"#.to_owned(),
            r#"{"tools":[{"\u006eame":"b"}]}"#.to_owned(),
        ),
    ] {
        assert_eq!(filtered(&before), response(&after));
    }
}

#[test]
fn a_shared_list_is_kept_by_nobody_else() {
    for (scope, after) in [
        (r#""public""#, r#""private""#),
        (r#""\u0070ublic""#, r#""private""#),
        (r#""shared""#, r#""private""#),
        (r#""private""#, r#""private""#),
        (r#""\u0070rivate""#, r#""\u0070rivate""#),
    ] {
        let result = |scope: &str| format!(r#"{{"cacheScope":{scope},"tools":[{{"name":"a"}}]}}"#);
        assert_eq!(filtered(&result(scope)), response(&result(after)));
    }
    let both = r#"{"tools":[{"name":"deny"}],"cacheScope": "public" ,"ttlMs":5}"#;
    let after = r#"{"tools":[],"cacheScope": "private" ,"ttlMs":5}"#;
    assert_eq!(filtered(both), response(after));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for result in [
        r#"{"tools":[{"name":"a"}],"tools":[{"name":"deny"}]}"#,
        r#"{"tools":[],"\u0074ools":[{"name":"deny"}]}"#,
        r#"{"tools":[],"Tools":[{"name":"deny"}]}"#,
        r#"{"tools":[],"tool\u017f":[{"name":"deny"}]}"#,
        r#"{"tools":[{"name":"a","name":"deny"}]}"#,
        r#"{"tools":[{"name":"a","Name":"deny"}]}"#,
        r#"{"tools":[{"name":"a","n\u0061me":"deny"}]}"#,
        r#"{"tools":[{"name":"a","inputSchema":{"x":1,"x":2}}]}"#,
        r#"{"tools":[{"name":"a","inputSchema":[{"y":{"x":1,"\u0078":2}}]}]}"#,
        r#"{"tools":[],"nextCursor":"a","nextCursor":"b"}"#,
        r#"{"tools":[],"cacheScope":"private","cachescope":"public"}"#,
        r#"{"tools":[],"inputrequests":{}}"#,
    ] {
        assert_eq!(refused(result), RefusalCode::MemberAmbiguous, "{result}");
    }
    for result in [
        "[]",
        "null",
        r#"{"tools":{}}"#,
        r#"{"tools":null}"#,
        r#"{"tools":["deny"]}"#,
        r#"{"tools":[[{"name":"deny"}]]}"#,
        r#"{"tools":[{}]}"#,
        r#"{"tools":[{"name":1}]}"#,
        r#"{"tools":[{"name":"\ud800"}]}"#,
        r#"{"tools":[],"\ud800":1}"#,
        r#"{"tools":[],"cacheScope":1}"#,
    ] {
        assert_eq!(refused(result), RefusalCode::MessageInvalid, "{result}");
    }
}

#[test]
fn requests_for_input_are_found_wherever_they_stand() {
    let asks = |result: &str| {
        let message = response(result);
        let listing = Listing::parse(message.as_bytes(), None)?;
        Ok::<_, Refusal>(listing.asks.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let two = r#"{"inputRequests":{"a":{"method":"roots/list"},"b":{"params":{},"m\u0065thod":"s"}},"x":{"x":1,"x":2}}"#;
    assert_eq!(asks(two).unwrap(), ["roots/list", "s"]);
    for result in [
        r#"{"inputRequests":{"a":{"method":"x","method":"y"}}}"#,
        r#"{"inputRequests":{"a":{"method":"x","Method":"y"}}}"#,
        r#"{"inputRequests":{"a":{"method":"x"},"a":{"method":"y"}}}"#,
        r#"{"inputRequests":{},"inputRequests":{}}"#,
        r#"{"InputRequests":{}}"#,
        r#"{"inputRequests":[]}"#,
        r#"{"inputRequests":{"a":{}}}"#,
        r#"{"inputRequests":{"a":"x"}}"#,
    ] {
        assert!(asks(result).is_err(), "{result}");
    }
}

#[test]
fn each_list_has_its_own_key() {
    for (method, member, key) in [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ] {
        let message = response(&format!(r#"{{"{member}":[{{"{key}":"deny"}},{{"{key}":"b"}}]}}"#));
        let listing = Listing::parse(message.as_bytes(), ListKind::of(method)).unwrap();
        let spliced = listing.splice(message.as_bytes(), |name| name == "b").unwrap();
        let after = response(&format!(r#"{{"{member}":[{{"{key}":"b"}}]}}"#));
        assert_eq!(String::from_utf8(spliced).unwrap(), after);
    }
    for other in ["roots/list", "tasks/list", "tools/call", "tools/List", "list"] {
        assert_eq!(ListKind::of(other), None, "{other}");
    }
}

proptest! {
    /// Whatever passes shows no lenient reader a tool that is denied.
    #[test]
    fn no_reader_sees_a_denied_tool(
        text in r#"\{("tools"|"Tools"|"t"):\[((\{"(name|x)":"(deny|a)"\}|\{"name":"a","name":"deny"\}),?){0,3}\](,"tools":\[\{"name":"deny"\}\])?\}"#
    ) {
        let message = response(&text);
        let Ok(listing) = Listing::parse(message.as_bytes(), Some(tools())) else { return Ok(()) };
        let spliced = listing.splice(message.as_bytes(), |name| name != "deny");
        let spliced = spliced.unwrap_or_else(|| message.clone().into());
        let json: serde_json::Value = serde_json::from_slice(&spliced).unwrap();
        for tool in json["result"]["tools"].as_array().into_iter().flatten() {
            prop_assert_ne!(&tool["name"], "deny");
        }
    }
}
