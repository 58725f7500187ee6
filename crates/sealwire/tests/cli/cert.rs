//! `sealwire cert issue`, `list` and `show`.

use crate::support::Home;

const CONFIG: &str = "[agent_security]\nagents = [\"Reviewer\"]\n\
                      [mcp_servers.time]\ncommand = \"/bin/cat\"\n\
                      [mcp_servers.clock]\ncommand = \"/bin/cat\"\nserver_name = \"clock.v2\"\n\
                      [mcp_servers.far]\nendpoint = \"h:1\"\n";

#[test]
fn all_makes_one_for_each_served_server_and_agent() {
    let home = Home::with(CONFIG);
    let issued = home.run(&["cert", "issue", "--all", "--json"]).ok().json();
    let ids: Vec<_> = issued.as_array().unwrap().iter().map(|i| i["id"].as_str()).collect();
    let id = |rest| Some(rest);
    assert_eq!(
        ids,
        [
            id("spiffe://sealwire.internal/mcp-server/clock.v2"),
            id("spiffe://sealwire.internal/mcp-server/time"),
            id("spiffe://sealwire.internal/agent/Reviewer"),
        ]
    );
    home.run(&["config", "check"]).ok();
    let again = home.run(&["cert", "issue", "--all", "--json"]).ok().json();
    assert!(again.as_array().unwrap().iter().all(|i| i["issued"] == false), "{again}");
}

#[test]
fn the_kind_follows_the_configuration() {
    let home = Home::with(CONFIG);
    for (name, kind) in [("time", "mcp-server"), ("Reviewer", "agent"), ("laptop", "core")] {
        let issued = home.run(&["cert", "issue", name, "--json"]).ok().json();
        let expected = format!("spiffe://sealwire.internal/{kind}/{name}");
        assert_eq!(issued[0]["id"], expected.as_str());
    }
    home.run(&["cert", "issue", "ann", "--kind", "user"]).ok();
    assert!(home.file("certs/users/ann-cert.pem").exists());
    // A core certificate for the table's name would help nobody.
    home.run(&["cert", "issue", "clock"]).failed(2, &["clock.v2", "to fix:"]);
    home.run(&["cert", "issue", "ca"]).failed(2, &["to fix:"]);
    home.run(&["cert", "issue", "../x"]).failed(2, &["to fix:"]);
    home.run(&["cert", "issue", "x", "--kind", "robot"]).failed(2, &["mcp-server"]);
}

#[test]
fn servers_have_the_names_that_clients_may_look_for() {
    let home = Home::with(CONFIG);
    home.run(&["cert", "issue", "time", "--dns", "tools.example.org", "--ip", "10.0.0.7"]).ok();
    let shown = home.run(&["cert", "show", "time", "--json"]).ok().json();
    assert_eq!(shown[0]["dns"], serde_json::json!(["time", "localhost", "tools.example.org"]));
    assert_eq!(shown[0]["ip"], serde_json::json!(["127.0.0.1", "::1", "10.0.0.7"]));
    assert_eq!(shown[0]["usages"], serde_json::json!(["digitalSignature", "serverAuth"]));
}

#[test]
fn an_existing_pair_is_replaced_only_by_force_and_kept_then() {
    let home = Home::with(CONFIG);
    home.run(&["cert", "issue", "time"]).ok();
    let key = home.read("certs/mcp-servers/time-key.pem");
    let cert = home.read("certs/mcp-servers/time-cert.pem");
    home.run(&["cert", "issue", "time"]).failed(1, &["time-cert.pem", "--force"]);
    assert_eq!(home.read("certs/mcp-servers/time-key.pem"), key);
    home.run(&["cert", "issue", "time", "--force", "--days", "2"]).ok();
    assert_ne!(home.read("certs/mcp-servers/time-key.pem"), key);
    assert_eq!(home.read("certs/mcp-servers/time-key.pem.old"), key);
    assert_eq!(home.read("certs/mcp-servers/time-cert.pem.old"), cert);
    home.run(&["config", "check"]).failed(78, &["clock.v2"]);
    // What cannot be replaced stays as it is.
    let (key, old) = (home.read("certs/mcp-servers/time-key.pem"), key);
    home.run(&["cert", "issue", "time", "--force", "--dns", "a b"]).failed(1, &["a b"]);
    assert_eq!(home.read("certs/mcp-servers/time-key.pem"), key);
    assert_eq!(home.read("certs/mcp-servers/time-key.pem.old"), old);
    let listed = home.run(&["cert", "list", "--json"]).ok().json();
    let time = listed.as_array().unwrap().iter().find(|c| c["subject"] == "CN=time").unwrap();
    assert_eq!(time["status"], "expiring");
}

#[test]
fn configured_paths_are_where_the_pair_goes() {
    let table = "[mcp_servers.time]\ncommand = \"/bin/cat\"\n\
                 tls_cert = \"own/c.pem\"\ntls_key = \"own/k.pem\"\n";
    let home = Home::with(table);
    home.run(&["cert", "issue", "--all"]).ok();
    assert!(home.file("own/c.pem").exists() && home.file("own/k.pem").exists());
    home.run(&["config", "check"]).ok();
}

#[test]
fn list_and_show_tell_what_is_there() {
    let home = Home::made();
    let listed = home.run(&["cert", "list"]).ok().stdout;
    assert!(listed.contains("spiffe://sealwire.internal/core/core"), "{listed}");
    assert!(listed.contains("certs/ca/ca-cert.pem"), "{listed}");
    let by_name = home.run(&["cert", "show", "core"]).ok().stdout;
    assert_eq!(
        home.run(&["cert", "show", "certs/core/core-cert.pem"]).ok().stdout.lines().count(),
        by_name.lines().count()
    );
    home.run(&["cert", "show", "nobody"]).failed(1, &["nobody", "cert list"]);
    home.run(&["cert", "show", "./gone.pem"]).failed(1, &["gone.pem"]);
}
