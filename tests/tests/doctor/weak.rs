//! Settings that leave much open, and settings that do nothing: each is found, with its key.

use sealwire_testkit::{Connect, Home, Serve};
use sealwire_tests::echo_table;
use serde_json::{Value, json};

use super::{doctor, finds, healthy, text};

fn with(text: &str) -> impl FnOnce(&Home) {
    let text = format!("{}\n{text}\n", echo_table());
    move |home| home.configure(&text)
}

/// A note of that word, whose place and remedy hold each of `parts`.
#[track_caller]
fn notes(config: &str, id: &str, parts: &[&str]) {
    let home = healthy();
    home.configure(config);
    let examination = doctor(&home, &["--offline"]);
    let holds = |one: &&Value| {
        let told = format!("{} {}", text(&one["where"]), text(&one["remedy"]));
        one["id"] == id && parts.iter().all(|part| told.contains(part))
    };
    let found: Vec<&Value> = examination.findings().filter(holds).collect();
    let [one] = found.as_slice() else { panic!("not one {id}, {parts:?}: {}", examination.output) };
    assert_eq!(one["severity"], "note", "{one:#}");
}

/// `echo` is the last table of this: what follows belongs to it.
fn entry(text: &str) -> impl FnOnce(&Home) {
    let text = format!("{}{text}\n", echo_table());
    move |home| home.configure(&text)
}

#[test]
fn what_leaves_much_open() {
    for (text, id, part) in [
        ("[audit]\nenabled = false", "audit_off", "[audit] enabled"),
        ("[audit]\ninclude_mcp_calls = false", "audit_partial", "include_mcp_calls"),
        ("[audit]\ninclude_agent_messages = false", "audit_partial", "include_agent_messages"),
        ("[audit]\ninclude_security_events = false", "audit_partial", "include_security_events"),
        ("[policy]\nallow = [{ tools = [\"*\"] }]", "rule_broad", "[[policy.allow]] 1"),
        ("[policy]\nceilings = { \"*\" = 2 }", "ceiling_broad", "[policy] ceilings"),
        ("[ca]\nlist_max_age = \"20h\"", "list_max_age_long", "[ca] list_max_age"),
        ("[security.encryption]\nkey_rotation_days = 800", "key_rotation_slow", "key_rotation"),
        (
            "[security.replay_protection]\ntimestamp_tolerance_sec = 3000",
            "tolerance_wide",
            "timestamp_tolerance_sec",
        ),
    ] {
        finds(with(text), "warning", id, &[part]);
    }
    finds(entry("pins = \"off\""), "warning", "pins_off", &["[mcp_servers.echo]"]);
    let open = echo_table().replace("default_level = 1", "default_level = 0");
    let plant = move |home: &Home| home.configure(&open);
    finds(plant, "warning", "default_level_low", &["[mcp_servers.echo]", "policy suggest"]);
}

#[test]
fn secrets_where_others_can_read_them() {
    let table = "[mcp_servers.s]\ncommand = \"cat\"\ndefault_level = 1\n";
    notes(&format!("{table}env = {{ API_KEY = \"hunter2\" }}\n"), "secret_in_clear", &["0600"]);
    let config = format!("{table}args = [\"--api-key\", \"hunter2\"]\n");
    let home = healthy();
    home.configure(&config);
    home.run(&["cert", "issue", "--all"]).ok();
    let examination = doctor(&home, &["--offline"]);
    examination.one("warning", "secret_in_arguments", &["[mcp_servers.s]"]);
    assert!(!examination.output.stdout.contains("hunter2"), "{}", examination.output);
}

#[test]
fn what_should_be_known() {
    let echo = echo_table();
    let exposed = format!("[listen]\naddress = \"0.0.0.0:0\"\n{echo}");
    notes(&exposed, "limits_off", &["[security.rate_limiting]"]);
    notes(&exposed, "alerts_missing", &["[audit.alerts]"]);
    notes(&exposed, "default_level_low", &["[mcp_servers.echo]"]);
    notes(&exposed, "checkpoint_here_alone", &["[audit.alerts]", "[admin]"]);
    notes(&echo, "rule_broad", &["[[mcp_servers.echo.policy.allow]] 1"]);
    let more = |text: &str| format!("{echo}\n{text}\n");
    notes(&more("[audit]\ndurability = \"interval\""), "audit_interval", &["durability"]);
    notes(&more("[audit]\nretention_days = 7"), "audit_short", &["retention_days"]);
    let off = "[incidents.denied_requests]\naction = \"off\"";
    notes(&more(off), "incident_off", &["[incidents.denied_requests]"]);
    let trust = "[agent_security]\nagents = [\"A\", \"B\"]\n[agent_security.trust.A]\n\
                 can_communicate_with = [\"*\"]";
    notes(&more(trust), "trusts_everybody", &["[agent_security.trust.A]"]);
    let away = "[mcp_servers.away]\nendpoint = \"localhost:1\"\ntrusted_ca = \"their.pem\"";
    notes(&more(away), "revocation_not_told", &["[mcp_servers.away]", "crl"]);
}

#[test]
fn whoever_has_a_bundle_is_told_nothing_of_revocations() {
    let first = healthy();
    let bundle = first.file("b.sealwire-bundle");
    let path = bundle.to_str().expect("a path");
    let args = ["cert", "bundle", "b", "--endpoint", "localhost:7443", "--out", path];
    first.run(&args).ok();
    let second = Home::empty();
    second.run(&["init", "--from-bundle", path]).ok();
    let config = std::fs::read_to_string(second.file("sealwire.toml")).expect("a configuration");
    let more = format!("{config}\n[mcp_servers.e]\nendpoint = \"localhost:1\"\n");
    second.configure(&more);
    let examination = doctor(&second, &["--offline"]);
    assert!(examination.notes().contains(&"revocation_not_told"), "{}", examination.output);
}

#[test]
fn rules_that_do_nothing() {
    let deny = "deny = [{ tools = [\"echo\"] }]";
    let allow = "allow = [{ peers = [\"core/x\"], tools = [\"echo\"] }]";
    for (text, id, parts) in [
        (
            format!("[policy]\n{deny}\n{allow}"),
            "rule_contradicted",
            ["[[policy.allow]] 1", "denies"],
        ),
        (
            "[policy]\ndeny = [{ servers = [\"x*\"], tools = [\"a\"] }]".to_owned(),
            "rule_never_applies",
            ["[[policy.deny]] 1", "remove it"],
        ),
        (
            "[policy]\nceilings = { \"spiffe://other.example/core/x\" = 1 }".to_owned(),
            "rule_never_applies",
            ["[policy] ceilings", "kind/name"],
        ),
        (
            "[policy]\ndeny = [{ peers = [\"mcp-server/echo\"], tools = [\"a\"] }]".to_owned(),
            "rule_never_applies",
            ["[[policy.deny]] 1", "kind/name"],
        ),
    ] {
        finds(with(&text), "warning", id, &parts);
    }
    let auth = "auth_method = \"agent_token\"";
    finds(entry(auth), "warning", "auth_method_unavailable", &["[mcp_servers.echo]", "mtls"]);
    let echo = echo_table();
    let level = format!("{echo}\n[policy]\nceilings = {{ \"core/x\" = 3 }}\n");
    notes(&level, "ceiling_without_effect", &["ceilings", "core/x"]);
    let closed = "[mcp_servers.echo]\ncommand = \"cat\"\n";
    notes(closed, "nothing_callable", &["[mcp_servers.echo]", "policy suggest"]);
}

/// What a server has is known from what it has shown.
#[test]
fn names_that_no_tool_has() {
    let home = healthy();
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    client.request("tools/list", &json!({}));
    client.finish();
    drop(serve);
    doctor(&home, &["--offline"]).content();
    entry("policy.tools = { echo = 1, ehco = 2 }")(&home);
    let examination = doctor(&home, &["--offline"]);
    let finding = examination.one("warning", "name_unknown", &["[mcp_servers.echo.policy] tools"]);
    assert!(text(&finding["what"]).contains("ehco"), "{finding:#}");
}

#[test]
fn tables_for_what_is_not_here() {
    let echo = echo_table();
    let away = "[mcp_servers.away]\nendpoint = \"localhost:1\"\n";
    for (config, key) in [
        (format!("{away}[listen]\naddress = \"127.0.0.1:7555\"\n"), "[listen]"),
        (format!("{away}[admin]\naddress = \"127.0.0.1:7556\"\n"), "[admin]"),
        (format!("{echo}\n[pkcs11]\nmodule = \"/usr/lib/none.so\"\n"), "[pkcs11] module"),
        (
            format!("{echo}\n[agent_security.trust.X]\ncan_communicate_with = [\"Y\"]\n"),
            "[agent_security.trust]",
        ),
        (
            format!("{echo}\n[mailbox.groups.g]\nversion = 1\nmembers = [\"X\"]\n"),
            "[mailbox.groups]",
        ),
        (
            format!(
                "{echo}\n[agent_security]\nagents = [\"A\"]\n[agent_security.trust]\n\
                 privileged_agents = [\"A\"]\n"
            ),
            "privileged_agents",
        ),
    ] {
        notes(&config, "setting_unused", &[key]);
    }
    let home = healthy();
    home.configure(&format!("{echo}\n[ca]\nleaf_lifetime = \"1h\"\n"));
    assert!(!doctor(&home, &["--offline"]).notes().contains(&"setting_unused"));
    for key in ["certs/ca/ca-key.pem", "certs/ca/issuing-key.pem"] {
        assert!(!doctor(&home, &["--offline"]).notes().contains(&"setting_unused"));
        std::fs::remove_file(home.file(key)).expect("the key");
    }
    assert!(doctor(&home, &["--offline"]).notes().contains(&"setting_unused"));
}
