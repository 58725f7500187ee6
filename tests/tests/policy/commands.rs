use sealwire_testkit::{Home, Serve};
use serde_json::json;

use super::{call, client, echo, parsed, serving};

const POLICY: &str = "default_level = 1\n\
                      [mcp_servers.echo.policy]\ntools = { \"b*\" = 2 }\n\
                      [[mcp_servers.echo.policy.deny]]\ntools = [\"count\"]\n\
                      [policy.ceilings]\n\"core/core\" = 1\n";

fn explain(home: &Home, tool: &str) -> serde_json::Value {
    let ask = ["policy", "explain", "--peer", "core/core", "--server", "echo", "--json"];
    parsed(&home.run(&[&ask[..], &["--tool", tool]].concat()).ok())
}

#[test]
fn explain_tells_what_serve_does() {
    let (home, serve) = serving(POLICY);
    let mut client = client(&home, &serve, "");
    for (tool, missing) in [("echo", json!([])), ("big", json!(["ceiling"])), ("count", json!([]))]
    {
        let explained = explain(&home, tool);
        let word = call(&mut client, tool);
        assert_eq!(explained["allowed"], word.is_none(), "{explained}");
        assert_eq!(explained["code"].as_str(), word.as_deref());
        assert_eq!(explained["missing"], missing);
    }
    let denied = explain(&home, "count");
    assert_eq!(denied["rule"], "[[mcp_servers.echo.policy.deny]] 1 (sealwire.toml:10)");
    assert_eq!(explain(&home, "big")["level"], 2);
    assert_eq!(explain(&home, "echo")["level_source"], "by the server's default_level");

    let run = |args: &[&str]| home.run(&[&["policy", "explain"], args].concat());
    let text = run(&["--peer", "core/core", "--server", "echo", "--tool", "big"]).ok().stdout;
    for part in
        ["denied (not_authorized)", "level    2 (authorized)", "\"b*\"", "ceiling  1", "missing"]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let asks = ["--peer", "local", "--server", "echo", "--method", "roots/list"];
    assert!(run(&[&asks[..], &["--to-client"]].concat()).ok().stdout.contains("denied"));
    for bad in [
        ["--peer", "core/*", "--server", "echo", "--tool", "x"],
        ["--peer", "robot/x", "--server", "echo", "--tool", "x"],
        ["--peer", "core/core", "--server", "gone", "--tool", "x"],
    ] {
        assert_eq!(run(&bad).code, Some(2));
    }
}

#[test]
fn show_tells_what_holds_defaults_included() {
    let home = Home::with_config(&echo(&Home::empty(), POLICY));
    let text = home.run(&["policy", "show"]).ok().stdout;
    for part in [
        "spiffe://sealwire.internal/core/core",
        "peers that nothing names                 1 (authenticated)",
        "local, if nothing names it               2 (authorized)",
        "tool b*                                  2 (authorized)",
        "what is not listed                       1 (authenticated)",
        "deny [[mcp_servers.echo.policy.deny]] 1 (sealwire.toml:",
        "to * at echo: tool count",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let json = parsed(&home.run(&["policy", "show", "echo", "--json"]).ok());
    assert_eq!(json["servers"]["echo"]["tools"], json!({"b*": 2}));
    assert_eq!(json["rules"][0]["tools"], json!(["count"]));
    assert_eq!(home.run(&["policy", "show", "gone"]).code, Some(2));
}

#[test]
fn show_tells_the_limits_too() {
    let home = Home::with_config(&echo(&Home::empty(), "default_level = 1"));
    assert!(home.run(&["policy", "show"]).ok().stdout.contains("none: [security.rate_limiting]"));
    assert!(parsed(&home.run(&["policy", "show", "--json"]).ok())["limits"].is_null());
    home.configure(&echo(
        &home,
        "default_level = 1\n\
         rate_limiting.max_requests_per_sec = 3\n\
         rate_limiting.tools = { \"b*\" = { max_requests_per_sec = 0.01, burst_size = 1 } }\n\
         [security.rate_limiting]\nenabled = true\ntotal_requests_per_sec = 50\n\
         peers = { \"core/*\" = { max_requests_per_sec = 0.5, burst_size = 2 } }\n",
    ));
    let text = home.run(&["policy", "show"]).ok().stdout;
    for part in [
        "all its requests together                3 a second, 20 at once",
        "calls of tool b*                         0.01 a second, 1 at once",
        "each peer spiffe://sealwire.internal/core/* 0.5 a second, 2 at once",
        "each peer that nothing names             10 a second, 20 at once",
        "all together                             50 a second, 20 at once",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let json = parsed(&home.run(&["policy", "show", "echo", "--json"]).ok());
    let rate = |rate: f64, burst: u32| json!({"max_requests_per_sec": rate, "burst_size": burst});
    let limits = &json["limits"];
    assert_eq!(limits["each_peer"], rate(10.0, 20));
    assert_eq!(limits["peers"], json!({"spiffe://sealwire.internal/core/*": rate(0.5, 2)}));
    assert_eq!(limits["total"], rate(50.0, 20));
    let of_server = json!({"total": rate(3.0, 20), "tools": {"b*": rate(0.01, 1)}});
    assert_eq!(json["servers"]["echo"]["limits"], of_server);
}

#[test]
fn check_finds_what_is_likely_not_meant() {
    let home = Home::with_config(&echo(&Home::empty(), "default_level = 1"));
    assert_eq!(home.run(&["policy", "check"]).ok().stdout, "nothing found");
    home.configure(&echo(
        &home,
        "[[policy.allow]]\ntools = [\"b*\"]\n\
         [[policy.allow]]\npeers = [\"agent/x\"]\ntools = [\"count\"]\n\
         [[policy.deny]]\ntools = [\"c*\"]\n\
         [[policy.deny]]\nservers = [\"echo\"]\ntools = [\"gone\"]\n",
    ));
    let output = home.run(&["policy", "check", "--json"]);
    assert_eq!(output.code, Some(1));
    let json = parsed(&output);
    let kinds: Vec<_> =
        json["found"].as_array().unwrap().iter().map(|found| &found["kind"]).collect();
    assert_eq!(kinds, ["never_applies", "contradiction"], "{json}");
    let text = home.run(&["policy", "check", "echo"]).stdout;
    for part in ["echo echo: no level and no rule names this tool", "has no tool that gone matches"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("echo big: no level"), "{text}");
}

#[test]
fn suggest_drafts_what_can_be_put_into_the_configuration() {
    let home = Home::initialized();
    let sealwire = sealwire_testkit::bin("sealwire");
    let table = sealwire_testkit::server_table("demo", sealwire, &["demo-server"]);
    home.configure(&table);
    home.run(&["cert", "issue", "--all"]).ok();
    let draft = home.run(&["policy", "suggest", "demo"]).ok().stdout;
    assert!(draft.contains("[mcp_servers.\"demo\".policy.tools]\n"), "{draft}");
    let json = parsed(&home.run(&["policy", "suggest", "demo", "--json"]).ok());
    let tools = json["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["tool"] == "echo" && tool["level_now"] == 1), "{json}");
    let bare: String = table.lines().take(3).map(|line| format!("{line}\n")).collect();
    home.configure(&format!("{bare}{draft}"));
    home.run(&["config", "check"]).ok();

    // The same from elsewhere, over mutual TLS.
    let serve = Serve::start(&home);
    let config = format!("[mcp_servers.demo]\nendpoint = \"{}\"\n", serve.address());
    let config = home.write("away.toml", config);
    let away = ["--config", config.to_str().unwrap(), "policy", "suggest", "demo", "--json"];
    assert!(parsed(&home.run(&away).ok())["tools"].is_array());
}
