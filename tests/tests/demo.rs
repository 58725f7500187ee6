//! The demonstration, and the small MCP server that it serves.

use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, Serve, bin, run, server_table};
use serde_json::{Value, json};

/// The demonstration has a home of its own: `HOME` stays as it was.
fn demo(args: &[&str]) -> sealwire_testkit::Output {
    let elsewhere = Home::empty();
    let mut command = Command::new(bin("sealwire"));
    command.arg("demo").args(args).env("HOME", elsewhere.path());
    let output = run(command, b"").ok();
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "demo wrote to HOME");
    output
}

#[test]
fn shows_what_it_promises() {
    let output = demo(&[]);
    for part in ["TLSv1.3", "X25519MLKEM768", "spiffe://", "signature_invalid", "message_replayed"]
    {
        assert!(output.stdout.contains(part), "{part} missing: {output}");
    }
}

#[test]
fn tells_the_same_as_data() {
    let output = demo(&["--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["tls"]["version"], "TLSv1.3", "{report}");
    assert_eq!(report["tls"]["group"], "X25519MLKEM768", "{report}");
    let suite = report["tls"]["suite"].as_str().unwrap();
    assert!(
        ["TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384"].contains(&suite)
            || suite.contains("CHACHA20_POLY1305"),
        "{report}"
    );
    for peer in ["client", "server"] {
        assert!(report[peer].as_str().unwrap().starts_with("spiffe://"), "{report}");
    }
    assert_eq!(report["tool_call"]["ok"], true, "{report}");
    assert!(report["resumed"]["cuts"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["resumed"]["lost"], 0, "{report}");
    assert_eq!(report["resumed"]["duplicated"], 0, "{report}");
    assert!(report["added_latency_us"].is_number(), "{report}");
    assert_eq!(report["message"]["ok"], true, "{report}");
    let refused = report["refused"].as_array().unwrap();
    let reasons: Vec<_> = refused.iter().map(|case| case["reason"].as_str().unwrap()).collect();
    let expected =
        ["certificate_missing", "unknown_issuer", "signature_invalid", "message_replayed"];
    assert_eq!(reasons, expected, "{report}");
    assert!(refused.iter().all(|case| case["case"].is_string() && case["reason"].is_string()));
}

#[test]
fn the_server_has_the_tools_it_promises() {
    let home = Home::with_config(&server_table("demo", bin("sealwire"), &["demo-server"]));
    let serve = Serve::start(&home);
    let through = home.connect_command("demo", serve.address(), "");
    let mut directly = Command::new(bin("sealwire"));
    directly.arg("demo-server").stdin(Stdio::piped());
    for command in [directly, through] {
        let mut client = Connect::spawn(command);
        client.initialize();
        let tools = client.request("tools/list", &json!({}));
        let tools = tools["result"]["tools"].as_array().unwrap().clone();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in ["echo", "add", "slow"] {
            assert!(names.contains(&name), "no {name} in {names:?}");
        }
    }
}
