use std::time::Duration;

use sealwire_testkit::Connect;
use serde_json::json;

use super::{call, calls, client, serving};

/// One request every 11 days: what was used stays used while a test runs.
const SLOW: &str = "max_requests_per_sec = 0.000001";

#[test]
fn who_is_over_the_limit_is_told_when_to_try_again() {
    let limits = format!("[security.rate_limiting]\nenabled = true\nburst_size = 4\n{SLOW}\n");
    let (home, serve) = serving(&format!("default_level = 1\n{limits}"));
    // `initialize` is one of them, and its notification none.
    let mut first = client(&home, &serve, "");
    for _ in 0..3 {
        assert_eq!(call(&mut first, "echo"), None);
    }
    let mark = serve.log().mark();
    let answer = first.request("tools/call", &json!({"name": "echo", "arguments": {"text": "x"}}));
    let data = &answer["error"]["data"];
    assert_eq!(data["sealwire"], "rate_limited", "{answer}");
    let wait = Duration::from_millis(data["retry_after_ms"].as_u64().unwrap());
    assert!(wait > Duration::from_secs(900_000) && wait <= Duration::from_secs(1_000_000));
    assert!(serve.refused_message(mark, "rate_limited").contains("of this peer"));
    assert_eq!(calls(&home), 3);
    // The limit is the peer's, not the connection's.
    let mut second = Connect::start(&home, "echo", serve.address());
    let answer = second.request("ping", &json!({}));
    assert_eq!(answer["error"]["data"]["sealwire"], "rate_limited");
}

#[test]
fn tools_servers_and_the_whole_have_limits_too() {
    let enabled = "[security.rate_limiting]\nenabled = true\nburst_size = 1000\n";
    let cases = [
        (
            format!("rate_limiting.tools = {{ \"e*\" = {{ {SLOW}, burst_size = 2 }} }}\n"),
            "",
            "of this tool",
        ),
        (format!("rate_limiting = {{ {SLOW}, burst_size = 3 }}\n"), "", "of this server"),
        (String::new(), "total_requests_per_sec = 0.000001\ntotal_burst_size = 3\n", "together"),
    ];
    for (of_server, in_total, whose) in cases {
        let (home, serve) = serving(&format!("default_level = 1\n{of_server}{enabled}{in_total}"));
        let mut client = client(&home, &serve, "");
        assert_eq!(call(&mut client, "echo"), None);
        assert_eq!(call(&mut client, "echo"), None);
        let mark = serve.log().mark();
        assert_eq!(call(&mut client, "echo").as_deref(), Some("shared_limit"), "{whose}");
        assert!(serve.refused_message(mark, "shared_limit").contains(whose));
        let is_of_tool = whose == "of this tool";
        assert_eq!(call(&mut client, "count").is_none(), is_of_tool, "another tool: {whose}");
        assert_eq!(calls(&home), 2 + usize::from(is_of_tool));
    }
}

#[test]
fn who_has_no_limit_is_refused_where_one_is_demanded() {
    let limits = |peer: &str| {
        format!(
            "[security.rate_limiting]\nenabled = true\nrefuse_unregistered = true\n\
             [security.rate_limiting.peers]\n\"{peer}\" = {{ max_requests_per_sec = 1000 }}\n"
        )
    };
    let (home, serve) = serving(&format!("default_level = 1\n{}", limits("agent/x")));
    let mut stranger = Connect::start(&home, "echo", serve.address());
    let answer = stranger.request("ping", &json!({}));
    assert_eq!(answer["error"]["data"]["sealwire"], "peer_not_registered");
    let mark = serve.log().mark();
    home.configure(&super::echo(&home, &format!("default_level = 1\n{}", limits("core/*"))));
    serve.log().wait_after(mark, &["configuration reloaded", "rate limits"]);
    let mut known = client(&home, &serve, "");
    assert_eq!(call(&mut known, "echo"), None);
}

#[test]
fn the_connecting_side_limits_what_leaves() {
    let (home, serve) = serving("default_level = 1");
    let extra = format!("[security.rate_limiting]\nenabled = true\nburst_size = 2\n{SLOW}\n");
    let mut client = client(&home, &serve, &extra);
    assert_eq!(call(&mut client, "echo"), None);
    assert_eq!(call(&mut client, "echo").as_deref(), Some("rate_limited"));
    assert_eq!(calls(&home), 1);
}
