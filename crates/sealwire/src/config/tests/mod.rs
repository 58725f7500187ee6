mod acts;
mod nearly;
mod refusals;

use std::fs;
use std::path::Path;
use std::time::Duration;

use sealwire_guard::{IncidentAction, IncidentKind, IncidentRule};

use super::*;

fn parse(text: &str) -> Result<SecureMcpConfig, ConfigError> {
    SecureMcpConfig::parse(Path::new("/home/x/.sealwire"), text)
}

/// The only problem of `text`, as shown.
fn problem(text: &str) -> String {
    let error = parse(text).expect_err(text);
    assert_eq!(error.problems().len(), 1, "{error}");
    error.to_string()
}

const SERVED: &str = "[mcp_servers.time]\ncommand = \"uvx\"\n";
const CONNECTED: &str = "[mcp_servers.far]\nendpoint = \"tools.example.org:7443\"\n";

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.trust_domain.as_str(), "sealwire.internal");
    assert_eq!(config.ca_cert, Path::new("/home/x/.sealwire/certs/ca/ca-cert.pem"));
    assert_eq!(config.client_cert, Path::new("/home/x/.sealwire/certs/core/core-cert.pem"));
    assert_eq!(config.client_key, Path::new("/home/x/.sealwire/certs/core/core-key.pem"));
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:7443");
    assert_eq!(config.listen.max_message_size, 64 << 20);
    assert_eq!(config.listen.resume_window, Duration::from_secs(120));
    assert!(config.servers.is_empty() && config.agent_security.agents.is_empty());
}

#[test]
fn a_served_server_presents_its_own_certificate_and_a_connected_one_the_cores() {
    let config = parse(&format!("{SERVED}server_name = \"Time.v2\"\n{CONNECTED}")).unwrap();
    let served = &config.servers["time"];
    assert_eq!((served.name.as_str(), served.server_name.as_str()), ("time", "Time.v2"));
    let ServerRole::Serve { tls_cert, tls_key, .. } = &served.role else { panic!("{served:?}") };
    let certs = Path::new("/home/x/.sealwire/certs/mcp-servers");
    assert_eq!(*tls_cert, certs.join("Time.v2-cert.pem"));
    assert_eq!(*tls_key, certs.join("Time.v2-key.pem"));
    let ServerRole::Connect { tls_cert, tls_key, .. } = &config.servers["far"].role else {
        panic!("not connected to")
    };
    assert_eq!((tls_cert, tls_key), (&config.client_cert, &config.client_key));
    assert_eq!(served.trusted_ca, config.ca_cert);
}

#[test]
fn unknown_keys_name_file_line_table_and_the_nearest_key() {
    let shown = problem("[listen]\naddress = \"127.0.0.1:1\"\nidle_timout = \"3s\"\n");
    for part in ["/home/x/.sealwire/sealwire.toml:3:", "[listen] idle_timout", "idle_timeout"] {
        assert!(shown.contains(part), "{shown}");
    }
    let shown = problem(&format!("{SERVED}comand = \"x\"\n"));
    assert!(shown.contains("[mcp_servers.time] comand: unknown key"), "{shown}");
    assert!(shown.contains("nearest known key is command"), "{shown}");
}

#[test]
fn keys_of_later_releases_are_unknown() {
    for text in [
        "[security]\nmtls_enabled = false",
        "[security.certificates]\nverify_peer = false",
        "[security.signing]\nsigning_key = \"x\"",
        "[security.replay_protection]\nredis_url = \"redis://localhost\"",
        "[agent_security.rate_limiting]\nenabled = true",
        "[mcp_servers.a]\ncommand = \"x\"\nmessage_security = \"seal\"",
    ] {
        assert!(problem(text).contains("unknown key"), "{text}");
    }
}

#[test]
fn a_server_over_stdio_has_neither_address_nor_certificate() {
    let local = "[mcp_servers.a]\ntransport = \"stdio\"\n";
    let config = parse(&format!("{local}command = \"x\"\nenv_vars = [\"TOKEN\"]")).unwrap();
    let entry = &config.servers["a"];
    assert!(matches!(&entry.role, ServerRole::Local { env_vars, .. } if env_vars[..] == ["TOKEN"]));
    assert!(entry.role.pair().is_none() && !entry.role.is_served());
    for (keys, expected) in [
        ("endpoint = \"h:1\"\ncommand = \"x\"", "[mcp_servers.a] endpoint: has no effect"),
        ("command = \"x\"\ntls_cert = \"c\"", "tls_cert: has no effect"),
        ("command = \"x\"\nbind_address = \"127.0.0.1:1\"", "bind_address: has no effect"),
        ("command = \"x\"\nenv_vars = [\"A=B\"]", "cannot be the name of an environment"),
        ("args = []", "no command is given"),
    ] {
        let shown = problem(&format!("{local}{keys}"));
        assert!(shown.contains(expected), "{keys}: {shown}");
    }
    let shown = problem("[mcp_servers.a]\ncommand = \"x\"\ntransport = \"https\"");
    assert!(shown.contains("\"https\" is not one of them"), "{shown}");
    let shown = problem("[mcp_servers.a]\ncommand = \"x\"\nenv_vars = [\"A\"]");
    assert!(shown.contains("env_vars: has no effect without transport"), "{shown}");
}

#[test]
fn what_messages_between_agents_are_held_to() {
    let config = parse(
        "[security.encryption]\nkey_rotation_days = 7\n\
         [security.replay_protection]\nenabled = true\nnonce_store = \"sqlite\"\n\
         timestamp_tolerance_sec = 60\n\
         [agent_security]\nagents = [\"A\", \"B\"]\nencryption_enabled = true\n\
         [agent_security.signing]\nkeys_directory = \"k\"\n\
         [agent_security.rate_limiting]\nmax_messages_per_sec = 0.5\nburst_size = 3\n\
         [agent_security.trust]\nprivileged_agents = [\"A\"]\n\
         [agent_security.trust.A]\ncan_communicate_with = [\"*\"]\n\
         [agent_security.trust.B]\ncan_communicate_with = [\"A\", \"Elsewhere\"]\n\
         [mailbox]\nfile = \"mail.db\"\nretention_days = 2\nmax_messages_per_agent = 7\n\
         [mailbox.groups.all]\nversion = 4\nmembers = [\"A\", \"B\"]\n",
    );
    let config = config.unwrap();
    let agent = |name: &str| name.parse::<sealwire_names::AgentId>().unwrap();
    let (agents, mailbox) = (&config.agent_security, &config.mailbox);
    assert_eq!(agents.agents, [agent("A"), agent("B")]);
    assert_eq!(agents.key_rotation, Duration::from_secs(7 * 86_400));
    assert_eq!(agents.timestamp_tolerance, Duration::from_secs(60));
    assert_eq!(agents.keys_directory, Path::new("/home/x/.sealwire/k"));
    assert_eq!((agents.max_messages_per_sec, agents.burst_size), (0.5, 3));
    assert_eq!(agents.trust.privileged, [agent("A")]);
    assert_eq!(agents.trust.can_communicate_with[&agent("A")], Recipients::Everybody);
    let these = Recipients::These(vec![agent("A"), agent("Elsewhere")]);
    assert_eq!(agents.trust.can_communicate_with[&agent("B")], these);
    assert_eq!(mailbox.file, Path::new("/home/x/.sealwire/mail.db"));
    assert_eq!(mailbox.retention, Duration::from_secs(2 * 86_400));
    assert_eq!(mailbox.max_messages_per_agent, 7);
    let group = &mailbox.groups[&agent("all")];
    assert_eq!(group.version, 4);
    assert_eq!(group.members, [agent("A"), agent("B")]);
}

#[test]
fn several_problems_are_told_at_once_in_file_order() {
    let error = parse("a = 1\n[listen]\naddress = 3\n[security]\ntls_version = 1.3\n");
    let error = error.unwrap_err();
    let lines: Vec<_> = error.problems().iter().map(|problem| problem.line.unwrap()).collect();
    assert_eq!(lines, [1, 3, 5]);
}

#[test]
fn endpoints_are_a_host_and_a_port() {
    for good in ["h:1", "tools.example.org:65535", "10.0.0.7:7443", "[::1]:7443", "a_b:2"] {
        assert!(is_endpoint(good), "{good}");
    }
    for bad in ["h", "h:", ":1", "h:0", "h:65536", "h:+1", "::1:7443", "[h]:1", "a b:1", "u@h:1"] {
        assert!(!is_endpoint(bad), "{bad}");
    }
}

#[test]
fn no_secret_is_shown() {
    let secret = "ghp_0123456789";
    let env = format!("env = {{ GITHUB_TOKEN = \"{secret}\" }}\n");
    let config = parse(&format!("{SERVED}{env}")).unwrap();
    assert!(!format!("{config:?}").contains(secret));
    assert!(format!("{config:?}").contains("GITHUB_TOKEN"));
    for broken in ["env = { \"A=B\" = \"ghp_0123456789\" }", "env = { A = \"ghp_0123456789\" "] {
        let error = parse(&format!("{SERVED}{broken}\n")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn defaults_are_inherited_and_an_entrys_own_values_win() {
    let config = parse(&format!(
        "[defaults]\nenv = {{ A = \"1\", B = \"1\" }}\ncwd = \"work\"\ntrusted_ca = \"ca\"\n\
         {SERVED}env = {{ B = \"2\" }}\ntrusted_ca = \"own\"\n{CONNECTED}"
    ))
    .unwrap();
    let ServerRole::Serve { env, cwd, .. } = &config.servers["time"].role else { panic!("role") };
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", "2"));
    assert_eq!(cwd.as_deref(), Some(Path::new("/home/x/.sealwire/work")));
    assert!(config.servers["time"].trusted_ca.ends_with("own"));
    assert!(config.servers["far"].trusted_ca.ends_with("ca"));
}

#[test]
fn incidents_shut_nobody_out_unless_told_to_or_nothing_is_taken_on_trust() {
    let rules = |text: &str| parse(text).unwrap().incidents;
    let action = |text: &str, kind| rules(text).of(kind).action;
    let (peers, mail) = (IncidentKind::DeniedRequests, IncidentKind::Replays);
    assert_eq!(action("", peers), IncidentAction::Notify);
    let zero_trust = "[security]\nzero_trust_mode = true\n";
    assert_eq!(action(zero_trust, peers), IncidentAction::Quarantine);
    assert_eq!(action(zero_trust, mail), IncidentAction::Notify);
    let notify = "[incidents.denied_requests]\naction = \"notify\"\n";
    assert_eq!(action(&format!("{zero_trust}{notify}"), peers), IncidentAction::Notify);
    let rule = "[incidents.denied_requests]\naction = \"quarantine\"\ntrigger = 3\n\
                window = \"2s\"\nexpiry = \"4s\"";
    let expected = IncidentRule {
        trigger: 3,
        window: Duration::from_secs(2),
        action: IncidentAction::Quarantine,
        expiry: Duration::from_secs(4),
    };
    assert_eq!(*rules(rule).of(peers), expected);
}

#[test]
fn a_command_with_a_slash_is_a_path_and_without_one_a_name() {
    for (given, checked) in
        [("npx", "npx"), ("/bin/x", "/bin/x"), ("bin/x", "/home/x/.sealwire/bin/x")]
    {
        let config = parse(&format!("[mcp_servers.a]\ncommand = \"{given}\"")).unwrap();
        let ServerRole::Serve { command, .. } = &config.servers["a"].role else { panic!("role") };
        assert_eq!(command, checked);
    }
}

#[test]
fn included_files_add_servers_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("servers.d")).unwrap();
    fs::write(at("sealwire.toml"), "include = \"servers.d/*.toml\"\n").unwrap();
    assert!(SecureMcpConfig::load(home.path()).unwrap().servers.is_empty());

    fs::write(at("servers.d/a.toml"), SERVED).unwrap();
    fs::write(at("servers.d/b.toml"), CONNECTED).unwrap();
    fs::write(at("servers.d/ignored.txt"), "[").unwrap();
    let config = SecureMcpConfig::load(home.path()).unwrap();
    assert_eq!(config.servers.keys().collect::<Vec<_>>(), ["far", "time"]);

    fs::write(at("servers.d/c.toml"), SERVED).unwrap();
    let shown = SecureMcpConfig::load(home.path()).unwrap_err().to_string();
    assert!(shown.contains("c.toml:1:") && shown.contains("a.toml"), "{shown}");

    fs::write(at("servers.d/c.toml"), "[defaults]\ncwd = \"/\"\n").unwrap();
    let shown = SecureMcpConfig::load(home.path()).unwrap_err().to_string();
    assert!(shown.contains("c.toml:1: [defaults]") || shown.contains("c.toml:1: defaults"));

    fs::write(at("sealwire.toml"), "include = [\"gone.toml\"]\n").unwrap();
    let shown = SecureMcpConfig::load(home.path()).unwrap_err().to_string();
    assert!(shown.contains("gone.toml: included, but cannot be read"), "{shown}");
}

#[test]
fn a_missing_file_says_what_to_run() {
    let home = tempfile::tempdir().unwrap();
    let shown = SecureMcpConfig::load(home.path()).unwrap_err().to_string();
    assert!(shown.contains("sealwire init"), "{shown}");
}
