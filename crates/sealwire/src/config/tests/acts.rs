//! Each key has an effect: a configuration with it is another one.

use super::*;

const LIMITED: &str = "[security.rate_limiting]\nenabled = true\n";
const LIMITED_SERVER: &str =
    "[security.rate_limiting]\nenabled = true\n[mcp_servers.a]\ncommand = \"x\"\n";
const PEERS: &str = "peers = { \"agent/*\" = { max_requests_per_sec = 1 } }";
const RULE: &str = "[[policy.allow]]\ntools = [\"a\"]\n";
const METHOD_RULE: &str = "[[policy.allow]]\nmethods = [\"m\"]\n";

/// For each key: a configuration, and the same with the key changed.
const ACTS: &[(&str, &str, &str, &str)] = &[
    ("[security]", "trust_domain", "[security]\n", "trust_domain = \"example.org\""),
    ("[security.certificates]", "ca_cert", "[security.certificates]\n", "ca_cert = \"c\""),
    (
        "[security.certificates]",
        "client_cert",
        "[security.certificates]\nclient_key = \"certs/core/core-key.pem\"\nclient_cert = \"a\"",
        "b\"",
    ),
    (
        "[security.certificates]",
        "client_key",
        "[security.certificates]\nclient_cert = \"c\"\nclient_key = \"a\"",
        "b\"",
    ),
    ("[security.certificates]", "crl", "[security.certificates]\n", "crl = \"c\""),
    ("[listen]", "address", "[listen]\n", "address = \"[::1]:1\""),
    ("[listen]", "max_connections", "[listen]\n", "max_connections = 2"),
    ("[listen]", "max_connections_per_peer", "[listen]\n", "max_connections_per_peer = 2"),
    ("[listen]", "max_detached_per_peer", "[listen]\n", "max_detached_per_peer = 0"),
    ("[listen]", "handshake_timeout", "[listen]\n", "handshake_timeout = \"1s\""),
    ("[listen]", "idle_timeout", "[listen]\n", "idle_timeout = \"1s\""),
    ("[listen]", "max_message_size", "[listen]\n", "max_message_size = \"1MiB\""),
    ("[listen]", "connect_timeout", "[listen]\n", "connect_timeout = \"1s\""),
    ("[listen]", "reconnect_timeout", "[listen]\n", "reconnect_timeout = \"1s\""),
    ("[listen]", "resume_window", "[listen]\n", "resume_window = \"1s\""),
    ("[listen]", "drain_timeout", "[listen]\n", "drain_timeout = \"1s\""),
    ("[state]", "directory", SERVED, "[state]\ndirectory = \"/s\""),
    ("[defaults]", "env", SERVED, "[defaults]\nenv = { A = \"b\" }"),
    ("[defaults]", "cwd", SERVED, "[defaults]\ncwd = \"/srv\""),
    ("[defaults]", "trusted_ca", SERVED, "[defaults]\ntrusted_ca = \"c\""),
    ("[mcp_servers.<name>]", "command", "[mcp_servers.a]\ncommand = \"x\"", "y\""),
    ("[mcp_servers.<name>]", "args", SERVED, "args = [\"-v\"]"),
    ("[mcp_servers.<name>]", "env", SERVED, "env = { A = \"b\" }"),
    ("[mcp_servers.<name>]", "cwd", SERVED, "cwd = \"/srv\""),
    ("[mcp_servers.<name>]", "endpoint", "[mcp_servers.a]\nendpoint = \"h:1\"", "2\""),
    ("[mcp_servers.<name>]", "server_name", SERVED, "server_name = \"clock\""),
    ("[mcp_servers.<name>]", "bind_address", SERVED, "bind_address = \"127.0.0.1:1\""),
    (
        "[mcp_servers.<name>]",
        "tls_cert",
        "[mcp_servers.a]\ncommand = \"x\"\ntls_key = \"k\"\ntls_cert = \"a\"",
        "b\"",
    ),
    (
        "[mcp_servers.<name>]",
        "tls_key",
        "[mcp_servers.a]\ncommand = \"x\"\ntls_cert = \"k\"\ntls_key = \"a\"",
        "b\"",
    ),
    ("[mcp_servers.<name>]", "trusted_ca", CONNECTED, "trusted_ca = \"c\""),
    ("[mcp_servers.<name>]", "expected_cn", CONNECTED, "expected_cn = \"far\""),
    ("[agent_security]", "agents", "[agent_security]\n", "agents = [\"A\"]"),
    (
        "[security.encryption]",
        "key_rotation_days",
        "[security.encryption]\n",
        "key_rotation_days = 9",
    ),
    (
        "[security.replay_protection]",
        "timestamp_tolerance_sec",
        "[security.replay_protection]\n",
        "timestamp_tolerance_sec = 9",
    ),
    (
        "[agent_security.signing]",
        "keys_directory",
        "[agent_security.signing]\n",
        "keys_directory = \"k\"",
    ),
    (
        "[agent_security.rate_limiting]",
        "max_messages_per_sec",
        "[agent_security.rate_limiting]\n",
        "max_messages_per_sec = 0.1",
    ),
    (
        "[agent_security.rate_limiting]",
        "burst_size",
        "[agent_security.rate_limiting]\n",
        "burst_size = 1",
    ),
    (
        "[agent_security.trust]",
        "privileged_agents",
        "[agent_security.trust]\n",
        "privileged_agents = [\"a\"]",
    ),
    (
        "[agent_security.trust.<agent>]",
        "can_communicate_with",
        "[agent_security.trust.a]\ncan_communicate_with = [\"b\"]\n",
        "[agent_security.trust.c]\ncan_communicate_with = [\"b\"]",
    ),
    ("[mailbox]", "file", "[mailbox]\n", "file = \"m.db\""),
    ("[mailbox]", "retention_days", "[mailbox]\n", "retention_days = 1"),
    ("[mailbox]", "max_messages_per_agent", "[mailbox]\n", "max_messages_per_agent = 1"),
    (
        "[mailbox.groups.<name>]",
        "version",
        "[mailbox.groups.g]\nmembers = [\"a\"]\nversion = 1",
        "2",
    ),
    (
        "[mailbox.groups.<name>]",
        "members",
        "[mailbox.groups.g]\nversion = 1\nmembers = [\"a\"]\n",
        "[mailbox.groups.h]\nversion = 1\nmembers = [\"b\"]\n",
    ),
    ("[admin]", "address", "[admin]\n", "address = \"127.0.0.1:9\""),
    (
        "[security.certificates]",
        "renew_from",
        "[security.certificates]\n",
        "renew_from = \"ca.example.org:7444\"",
    ),
    ("[ca]", "address", "[ca]\n", "address = \"127.0.0.1:9\""),
    ("[ca]", "leaf_lifetime", "[ca]\n", "leaf_lifetime = \"1h\""),
    ("[pkcs11]", "module", "[pkcs11]\n", "module = \"/m.so\""),
    ("[ca]", "list_max_age", "[ca]\n", "list_max_age = \"10m\""),
    ("[log]", "level", "[log]\n", "level = \"debug\""),
    ("[audit]", "enabled", "[audit]\n", "enabled = false"),
    ("[audit]", "log_dir", "[audit]\n", "log_dir = \"/var/log/x\""),
    ("[audit]", "include_mcp_calls", "[audit]\n", "include_mcp_calls = false"),
    ("[audit]", "include_agent_messages", "[audit]\n", "include_agent_messages = false"),
    ("[audit]", "include_security_events", "[audit]\n", "include_security_events = false"),
    ("[audit]", "retention_days", "[audit]\n", "retention_days = 9"),
    ("[audit]", "durability", "[audit]\n", "durability = \"interval\""),
    ("[audit]", "max_total_size", "[audit]\n", "max_total_size = \"1GiB\""),
    ("[log]", "format", "[log]\n", "format = \"json\""),
    ("[log]", "file", "[log]\n", "file = \"serve.log\""),
    ("[security]", "zero_trust_mode", "[security]\n", "zero_trust_mode = true"),
    ("[defaults]", "default_level", SERVED, "[defaults]\ndefault_level = 0"),
    ("[defaults]", "auth_method", SERVED, "[defaults]\nauth_method = \"approval\""),
    ("[mcp_servers.<name>]", "default_level", SERVED, "default_level = 0"),
    ("[mcp_servers.<name>]", "auth_method", SERVED, "auth_method = \"agent_token\""),
    ("[defaults]", "pins", SERVED, "[defaults]\npins = \"off\""),
    ("[mcp_servers.<name>]", "pins", SERVED, "pins = \"approved\""),
    ("[policy]", "ceilings", "[policy]\n", "ceilings = { \"core/core\" = 2 }"),
    ("[policy]", "allow", "[[policy.deny]]\n", "[[policy.allow]]\ntools = [\"a\"]"),
    ("[policy]", "deny", "[policy]\n", "[[policy.deny]]"),
    ("[mcp_servers.<name>.policy]", "tools", SERVED, "policy.tools = { a = 0 }"),
    ("[mcp_servers.<name>.policy]", "prompts", SERVED, "policy.prompts = { a = 0 }"),
    ("[mcp_servers.<name>.policy]", "resources", SERVED, "policy.resources = { \"a*\" = 0 }"),
    ("[mcp_servers.<name>.policy]", "ceilings", SERVED, "policy.ceilings = { local = 0 }"),
    ("[mcp_servers.<name>.policy]", "allow", SERVED, "policy.allow = [{ tools = [\"a\"] }]"),
    ("[mcp_servers.<name>.policy]", "deny", SERVED, "policy.deny = [{}]"),
    ("[[policy.allow]]", "peers", RULE, "peers = [\"local\"]"),
    ("[[policy.allow]]", "servers", RULE, "servers = [\"a*\"]"),
    ("[[policy.allow]]", "direction", METHOD_RULE, "direction = \"to_client\""),
    ("[[policy.allow]]", "methods", RULE, "methods = [\"a\"]"),
    ("[[policy.allow]]", "tools", METHOD_RULE, "tools = [\"b\"]"),
    ("[[policy.allow]]", "prompts", RULE, "prompts = [\"a\"]"),
    ("[[policy.allow]]", "resources", RULE, "resources = [\"a\"]"),
    ("[incidents.<kind>]", "trigger", "[incidents.replays]\n", "trigger = 1"),
    ("[incidents.<kind>]", "window", "[incidents.replays]\n", "window = \"1s\""),
    ("[incidents.<kind>]", "action", "[incidents.replays]\n", "action = \"off\""),
    ("[incidents.<kind>]", "expiry", "[incidents.replays]\n", "expiry = \"1s\""),
    ("[security.rate_limiting]", "enabled", "[security.rate_limiting]\n", "enabled = true"),
    ("[security.rate_limiting]", "max_requests_per_sec", LIMITED, "max_requests_per_sec = 0.5"),
    ("[security.rate_limiting]", "burst_size", LIMITED, "burst_size = 1"),
    ("[security.rate_limiting]", "total_requests_per_sec", LIMITED, "total_requests_per_sec = 9"),
    (
        "[security.rate_limiting]",
        "total_burst_size",
        "[security.rate_limiting]\nenabled = true\ntotal_requests_per_sec = 9\n",
        "total_burst_size = 1",
    ),
    ("[security.rate_limiting]", "refuse_unregistered", LIMITED, "refuse_unregistered = true"),
    ("[security.rate_limiting]", "peers", LIMITED, PEERS),
    (
        "[mcp_servers.<name>.rate_limiting]",
        "max_requests_per_sec",
        LIMITED_SERVER,
        "rate_limiting.max_requests_per_sec = 1",
    ),
    (
        "[mcp_servers.<name>.rate_limiting]",
        "burst_size",
        "[security.rate_limiting]\nenabled = true\n[mcp_servers.a]\ncommand = \"x\"\n\
         rate_limiting.max_requests_per_sec = 1\n",
        "rate_limiting.burst_size = 1",
    ),
    (
        "[mcp_servers.<name>.rate_limiting]",
        "tools",
        LIMITED_SERVER,
        "rate_limiting.tools = { a = { max_requests_per_sec = 1 } }",
    ),
    (
        "[security.rate_limiting.peers.<peer>]",
        "max_requests_per_sec",
        LIMITED,
        "peers = { local = { max_requests_per_sec = 2 } }",
    ),
    (
        "[security.rate_limiting.peers.<peer>]",
        "burst_size",
        "[security.rate_limiting]\nenabled = true\n[security.rate_limiting.peers.local]\n\
         max_requests_per_sec = 1\n",
        "burst_size = 1",
    ),
    ("[mcp_servers.<name>]", "transport", SERVED, "transport = \"stdio\""),
    (
        "[mcp_servers.<name>]",
        "env_vars",
        "[mcp_servers.a]\ncommand = \"x\"\ntransport = \"stdio\"\n",
        "env_vars = [\"A\"]",
    ),
    ("[audit.alerts]", "enabled", TOLD, "enabled = false"),
    ("[audit.alerts]", "alert_on_security_events", TOLD, "alert_on_security_events = false"),
    ("[audit.alerts]", "alert_slack_webhook", TOLD, "alert_slack_webhook = \"${S}\""),
    (
        "[audit.alerts]",
        "alert_webhook",
        "[audit.alerts]\nalert_webhook_secret = \"${A}\"\nalert_webhook = \"https://a/\"",
        "b\"",
    ),
    (
        "[audit.alerts]",
        "alert_webhook_secret",
        "[audit.alerts]\nalert_webhook = \"https://a/\"\nalert_webhook_secret.file = \"a\"",
        "b\"",
    ),
    (
        "[audit.alerts]",
        "alert_email",
        "[audit.alerts.smtp]\nhost = \"m\"\nfrom = \"c@b\"\n[audit.alerts]\nalert_email = \"a@b\"",
        "c\"",
    ),
    ("[audit.alerts]", "allow_private", TOLD, "allow_private = true"),
    ("[audit.alerts]", "ca_cert", TOLD, "ca_cert = \"ca.pem\""),
    ("[audit.alerts]", "repeat_after", TOLD, "repeat_after = \"1s\""),
    ("[audit.alerts]", "give_up_after", TOLD, "give_up_after = \"1s\""),
    (
        "[audit.alerts.smtp]",
        "host",
        "[audit.alerts]\nalert_email = \"a@b\"\n[audit.alerts.smtp]\nfrom = \"c@b\"\nhost = \"m\"",
        "n\"",
    ),
    ("[audit.alerts.smtp]", "port", MAILED, "port = 1"),
    ("[audit.alerts.smtp]", "security", MAILED, "security = \"tls\""),
    (
        "[audit.alerts.smtp]",
        "from",
        "[audit.alerts]\nalert_email = \"a@b\"\n[audit.alerts.smtp]\nhost = \"m\"\nfrom = \"c@b\"",
        "c\"",
    ),
    ("[audit.alerts.smtp]", "username", MAILED, "password.file = \"p\"\nusername = \"u\""),
    ("[audit.alerts.smtp]", "password", MAILED, "username = \"u\"\npassword.file = \"p\""),
];

/// Somebody is told.
const TOLD: &str =
    "[audit.alerts]\nalert_webhook = \"https://a/\"\nalert_webhook_secret = \"${A}\"\n";
const MAILED: &str = "[audit.alerts]\nalert_email = \"a@b\"\n\
                      [audit.alerts.smtp]\nhost = \"m\"\nfrom = \"c@b\"\n";

#[test]
fn each_key_acts() {
    for (table, key, before, change) in ACTS {
        // A change that starts inside a value replaces that value's end.
        let after = match before.strip_suffix('"') {
            Some(open) if !change.contains('=') => format!("{open}{change}"),
            _ => format!("{before}{change}"),
        };
        let (before, after) = (parse(before).expect(before), parse(&after).expect(&after));
        assert_ne!(before, after, "{table} {key} has no effect");
    }
    // Proven elsewhere: these have one value and refuse any other
    // (`each_rule_refuses_with_its_reason`); include reads files (`included_files…`).
    let elsewhere = [
        ("[security]", "tls_version"),
        ("[security.signing]", "algorithm"),
        ("[security.encryption]", "algorithm"),
        ("[security.encryption]", "key_derivation"),
        ("[security.replay_protection]", "enabled"),
        ("[security.replay_protection]", "nonce_store"),
        ("[agent_security]", "encryption_enabled"),
        ("[agent_security]", "signing_enabled"),
        ("[agent_security.encryption]", "algorithm"),
        ("[agent_security.encryption]", "key_exchange"),
        ("[agent_security.signing]", "algorithm"),
        ("[audit]", "format"),
        ("[audit]", "rotation"),
        ("top level", "include"),
    ];
    for table in schema::TABLES {
        for key in table.keys {
            let shown = ACTS.iter().any(|(t, k, ..)| (t, k) == (&table.title, key));
            assert!(shown || elsewhere.contains(&(table.title, key)), "{} {key}", table.title);
        }
    }
}
