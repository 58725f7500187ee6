use sealwire_testkit::{Connect, Home, Serve, server_table};

use super::{call, calls, client, echo, serving};

const DENIED: Option<&str> = Some("not_authorized");

#[test]
fn the_first_call_of_a_new_home_works() {
    let home = Home::initialized();
    // What `init` wrote stays, with the server that its comment shows.
    let config = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    assert!(config.contains("\"core/core\" = 2"), "{config}");
    let more = echo(&home, "default_level = 2");
    home.configure(&format!("{config}\n{more}"));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let mut client = client(&home, &serve, "");
    assert_eq!(call(&mut client, "echo"), None);
}

#[test]
fn a_server_of_which_nothing_is_said_lets_nobody_call_and_the_log_says_why() {
    let (home, serve) = serving("");
    let mut client = client(&home, &serve, "");
    let mark = serve.log().mark();
    assert_eq!(call(&mut client, "echo").as_deref(), DENIED);
    let line = serve.refused_message(mark, "not_authorized");
    for part in ["level 3", "default_level", "core/core", "echo", "names the peer and the object"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert_eq!(calls(&home), 0);
    // The peer is told no more than that it may not.
    let said = client.log().lines().join("\n");
    assert!(!said.contains("default_level"), "{said}");
}

#[test]
fn levels_ceilings_and_rules_decide() {
    let policy = "[mcp_servers.echo.policy]\ntools = { echo = 2, \"b*\" = 3, count = 0 }\n\
                  [policy.ceilings]\n\"core/*\" = 0\n\
                  [[policy.allow]]\npeers = [\"core/core\"]\ntools = [\"big\"]\n\
                  [[policy.deny]]\npeers = [\"agent/*\"]\n";
    let (home, serve) = serving(policy);
    let mut client = client(&home, &serve, "");
    assert_eq!(call(&mut client, "count"), None);
    assert_eq!(call(&mut client, "echo").as_deref(), DENIED, "above the ceiling");
    assert_eq!(call(&mut client, "big"), None, "of level 3, and named exactly with its peer");
    assert_eq!(call(&mut client, "bigger").as_deref(), DENIED);
    assert_eq!(calls(&home), 2);
}

#[test]
fn what_an_auth_method_asks_for_is_missing_by_name() {
    for (method, code) in
        [("agent_token", "agent_token_required"), ("approval", "approval_required")]
    {
        let keys = format!(
            "default_level = 2\nauth_method = \"{method}\"\n[policy.ceilings]\n\"core/core\" = 2"
        );
        let (home, serve) = serving(&keys);
        let mut client = client(&home, &serve, "");
        assert_eq!(call(&mut client, "echo").as_deref(), Some(code));
        assert_eq!(calls(&home), 0);
    }
}

#[test]
fn the_connecting_side_decides_for_itself() {
    let (home, serve) = serving("default_level = 1");
    let mut client = client(&home, &serve, "policy.deny = [{ tools = [\"b*\"] }]");
    assert_eq!(call(&mut client, "echo"), None);
    assert_eq!(call(&mut client, "big").as_deref(), DENIED);
    client.log().wait_for(&["message refused", "policy.deny]] 1", "client-0.toml", "local client"]);
    assert_eq!(calls(&home), 1);
}

#[test]
fn a_new_policy_holds_for_conversations_under_way() {
    let (home, serve) = serving("default_level = 1");
    let mut client = client(&home, &serve, "");
    assert_eq!(call(&mut client, "echo"), None);
    let mark = serve.log().mark();
    home.configure(&echo(&home, "default_level = 1\npolicy.deny = [{ tools = [\"echo\"] }]"));
    serve.log().wait_after(mark, &["configuration reloaded", "policy"]);
    assert_eq!(call(&mut client, "echo").as_deref(), DENIED);
    let mark = serve.log().mark();
    home.configure(&echo(&home, "default_level = 1\n\n"));
    serve.log().wait_after(mark, &["configuration reloaded", "policy"]);
    assert_eq!(call(&mut client, "echo"), None);
    // A policy that cannot be read changes nothing.
    let mark = serve.log().mark();
    home.configure(&echo(&home, "policy.deny = [{ tool = [\"echo\"] }]"));
    serve.log().wait_after(mark, &["reload refused", "unknown key", "tools"]);
    assert_eq!(call(&mut client, "echo"), None);
}

#[test]
fn servers_ask_clients_only_what_both_sides_allow() {
    let asks = "policy.allow = [{ direction = \"to_client\", methods = [\"sampling/*\"] }]";
    for (server, client, passes) in
        [("", "", false), (asks, "", false), ("", asks, false), (asks, asks, true)]
    {
        let home = Home::initialized();
        let script = home.script(
            "asks.sh",
            "read -r line\necho '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\"}'\n\
             read -r line\ncase $line in *error*) what=refused;; *) what=answered;; esac\n\
             echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/'$what'\"}'\ncat >/dev/null",
        );
        let table = server_table("asks", "sh", &[script.to_str().unwrap()]);
        let table: String = table.lines().take(3).map(|line| format!("{line}\n")).collect();
        home.configure(&format!("{table}{server}\n"));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let config = format!("[mcp_servers.asks]\nendpoint = \"{}\"\n{client}\n", serve.address());
        let config = home.write("asking.toml", config);
        let mut command = home.sealwire();
        command.arg("--config").arg(config).args(["connect", "asks"]);
        let mut connect = Connect::spawn(command);
        connect.send(r#"{"jsonrpc":"2.0","method":"notifications/begin"}"#);
        if passes {
            assert_eq!(connect.receive_json()["method"], "sampling/createMessage");
            connect.send(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
            assert_eq!(connect.receive_json()["method"], "notifications/answered");
        } else {
            assert_eq!(connect.receive_json()["method"], "notifications/refused");
        }
    }
}

#[test]
fn zero_trust_lets_nobody_in_who_is_not_named() {
    let tools = "[mcp_servers.echo.policy.tools]\necho = 1\n";
    let zero = "[security]\nzero_trust_mode = true\n";
    let (home, serve) = serving(&format!("{tools}{zero}"));
    let mut stranger = Connect::spawn(home.connect_command("echo", serve.address(), ""));
    let answer = stranger.request("tools/list", &serde_json::json!({}));
    assert_eq!(answer["error"]["data"]["sealwire"], "not_authorized");
    let mark = serve.log().mark();
    home.configure(&echo(&home, &format!("{tools}{zero}[policy.ceilings]\n\"core/core\" = 1\n")));
    serve.log().wait_after(mark, &["configuration reloaded"]);
    let mut client = client(&home, &serve, "");
    assert_eq!(call(&mut client, "echo").as_deref(), Some("pin_unapproved"));
    client.request("tools/list", &serde_json::json!({}));
    home.approve_pins("echo");
    assert_eq!(call(&mut client, "echo"), None);
    assert_eq!(call(&mut client, "big").as_deref(), DENIED, "not listed");
    home.configure(&echo(&home, &format!("default_level = 3\n{zero}")));
    let output = home.run(&["config", "check"]);
    assert_eq!(output.code, Some(78));
    assert!(output.stderr.contains("not accepted by zero_trust_mode"), "{output:?}");
}
