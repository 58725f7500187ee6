use std::io::Cursor;

use serde_json::{Value, json};

use super::*;

fn answers(input: &str, options: &Options) -> Vec<Value> {
    let mut output = Vec::new();
    serve(Cursor::new(input), &mut output, options).unwrap();
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn call(id: u64, name: &str, arguments: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\
         \"params\":{{\"name\":\"{name}\",\"arguments\":{arguments}}}}}\n"
    )
}

#[test]
fn both_lifecycles_are_answered() {
    let input = concat!(
        r#"{"jsonrpc":"2.0","id":"d","method":"server/discover"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":0,"method":"tools/list"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
        "\r\n",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        "\n",
        r#"{ "method" : "ping" , "jsonrpc":"2.0" , "id" : 2 }"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":4,"method":"no/such"}"#,
        "\n",
    );
    let answers = answers(input, &Options::default());
    assert_eq!(answers.len(), 6);
    assert_eq!(answers[0]["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(answers[0]["id"], "d");
    assert_eq!(answers[1]["result"]["resultType"], "complete");
    assert_eq!(answers[1]["result"]["tools"][2]["name"], "count");
    assert_eq!(answers[2]["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answers[3], json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    assert_eq!(answers[4]["result"]["tools"], answers[1]["result"]["tools"]);
    assert_eq!(answers[4]["result"].get("resultType"), None);
    assert_eq!(answers[5]["error"]["code"], -32601);
}

#[test]
fn echo_copies_the_text_as_written() {
    let text = r#""a \"quoted\" \ud83d\ude00 \\ }{ ,""#;
    let input = call(1, "echo", &format!(r#"{{"deep":[{{"text":"no"}},"]"],"text":{text}}}"#));
    let mut output = Vec::new();
    serve(Cursor::new(input), &mut output, &Options::default()).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains(&format!(r#""text":{text}}}"#)), "{output}");
}

#[test]
fn big_answers_so_many_bytes() {
    let answers = answers(&call(7, "big", r#"{"bytes":1048576}"#), &Options::default());
    assert_eq!(answers[0]["id"], 7);
    assert_eq!(answers[0]["result"]["content"][0]["text"].as_str().unwrap().len(), 1 << 20);
}

#[test]
fn a_message_longer_than_the_buffer_is_one_message() {
    let text = "y".repeat(3 * READ_SIZE);
    let input = [call(1, "echo", &format!(r#"{{"text":"{text}"}}"#)), call(2, "echo", "{}")];
    let answers = answers(&input.concat(), &Options::default());
    assert_eq!(answers[0]["result"]["content"][0]["text"], text);
    assert_eq!(answers[1]["id"], 2);
}

#[test]
fn count_tells_executions_and_order_violations() {
    let calls: Vec<_> = [5, 6, 6, 4, 7].map(|id| call(id, "echo", "{}")).into();
    let input = calls.concat() + &call(8, "unknown", "{}") + &call(9, "count", "{}");
    let options = Options { verify_order: true, ..Options::default() };
    let answers = answers(&input, &options);
    assert_eq!(answers[5]["error"]["code"], -32602);
    let result = &answers[6]["result"];
    assert_eq!(result["content"][0]["text"], "5");
    assert_eq!(result["structuredContent"], json!({"executed": 5, "orderViolations": 2}));
}

#[test]
fn the_record_holds_every_message_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let input = concat!(
        r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
        "\n",
    );
    answers(input, &Options { record: Some(record.clone()), ..Options::default() });
    let expected = [("\"x\"", "ping"), ("-", "notifications/initialized"), ("9", "-")];
    let expected = expected.map(|(id, method)| (id.to_owned(), method.to_owned()));
    assert_eq!(read_record(&record).unwrap(), expected);
}
