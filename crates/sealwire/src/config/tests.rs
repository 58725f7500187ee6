use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
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
fn each_rule_refuses_with_its_reason() {
    for (text, reason) in [
        ("[mcp_servers.a]\ncommand = \"x\"\nendpoint = \"h:1\"", "command and endpoint are both"),
        ("[mcp_servers.a]", "neither command nor endpoint"),
        ("[mcp_servers.a]\ncommand = \"\"", "is empty"),
        ("[mcp_servers.a]\ncommand = \"x\"\ntls_cert = \"c\"", "given without tls_key"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\ntls_key = \"c\"", "given without tls_cert"),
        ("[security.certificates]\nclient_cert = \"c\"", "given without client_key"),
        ("[security.certificates]\nclient_key = \"c\"", "given without client_cert"),
        ("[security.certificates]\nca_cert = \"\"", "is empty"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\ncwd = \"/\"", "has no effect"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\nargs = []", "has no effect"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\nenv = {}", "has no effect"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\nbind_address = \"127.0.0.1:2\"", "has no effect"),
        ("[mcp_servers.a]\ncommand = \"x\"\nexpected_cn = \"a\"", "has no effect"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\nexpected_cn = \"\"", "is empty"),
        ("[mcp_servers.a]\ncommand = \"x\"\nserver_name = \"a b\"", "cannot be a server's name"),
        ("[mcp_servers.a]\ncommand = \"x\"\nserver_name = \"a.\"", "not a DNS name"),
        ("[mcp_servers.a]\ncommand = \"x\"\nserver_name = \"a..b\"", "not a DNS name"),
        ("[mcp_servers.a]\ncommand = \"x\"\nserver_name = \"10.0.0.1\"", "an IP address"),
        ("[mcp_servers.a]\nendpoint = \"h:1\"\nserver_name = \"../a\"", "cannot be a server's"),
        ("[mcp_servers.\"a b\"]\ncommand = \"x\"", "cannot be a server's name"),
        ("[mcp_servers.\"a b\"]\ncommand = \"x\"\nserver_name = \"a\"", "the name of an entry"),
        ("[mcp_servers.a]\ncommand = \"x\"\n[mcp_servers.A]\ncommand = \"x\"", "but for case"),
        ("[mcp_servers.a]\ncommand = \"x\"\nbind_address = \"127.0.0.1:7443\"", "of [listen]"),
        ("[mcp_servers.a]\ncommand = \"x\"\nbind_address = \"localhost:1\"", "not an IP address"),
        ("[mcp_servers.a]\ncommand = \"x\"\nenv = { \"A=B\" = \"c\" }", "environment variable"),
        ("[mcp_servers.a]\ncommand = \"x\\u0000\"", "NUL"),
        ("[mcp_servers.a]\ncommand = [\"x\"]", "is an array"),
        ("[mcp_servers]\na = 1", "is an integer"),
        ("mcp_servers = 1", "is an integer"),
        ("[mcp_servers.a]\ncommand = \"x\"\nargs = [1]", "is an integer"),
        ("[security]\ntrust_domain = \"Example.org\"", "lower-case"),
        ("[security]\ntls_version = \"1.2\"", "not offered"),
        ("[listen]\naddress = \"7443\"", "not an IP address"),
        ("[listen]\naddress = \"127.0.0.1:65536\"", "not an IP address"),
        ("[listen]\nmax_connections = 0", "out of range"),
        ("[listen]\nmax_connections = -1", "out of range"),
        ("[listen]\nmax_connections = \"9\"", "is a string"),
        ("[listen]\nmax_connections = 9\nmax_connections_per_peer = 10", "more than max_conn"),
        ("[listen]\nidle_timeout = \"0s\"", "at least 1ms"),
        ("[listen]\nidle_timeout = 30", "is an integer"),
        ("[listen]\nresume_window = \"25h\"", "at most 24h"),
        ("[listen]\nmax_message_size = \"65MiB\"", "out of range"),
        ("[listen]\nmax_message_size = 1023", "out of range"),
        ("[listen]\nmax_message_size = \"64MB\"", "not a size"),
        ("[incidents.replay]\naction = \"off\"", "nearest known key is replays"),
        ("[incidents]\nreplays = 1", "is an integer"),
        ("[incidents.replays]\nactions = \"off\"", "nearest known key is action"),
        ("[incidents.replays]\naction = \"ban\"", "\"ban\" is no action"),
        ("[incidents.replays]\naction = \"quarantine\"", "whoever put it there is not known"),
        ("[incidents.failed_handshakes]\naction = \"quarantine\"", "whoever fails is not known"),
        ("[incidents.pin_changes]\naction = \"quarantine\"", "a server, which is suspended"),
        ("[incidents.pin_additions]\naction = \"suspend\"", "may be for another client"),
        ("[incidents.rate_limited]\naction = \"suspend\"", "which is quarantined"),
        ("[incidents.replays]\naction = \"off\"\ntrigger = 2", "no effect where action is"),
        ("[incidents.replays]\ntrigger = 0", "from 1 to 1000"),
        ("[incidents.replays]\ntrigger = 1001", "from 1 to 1000"),
        ("[incidents.replays]\nwindow = \"1d\"", "expected a duration"),
        ("[incidents.replays]\nexpiry = 5", "is an integer"),
        (
            "[security]\nzero_trust_mode = true\n[incidents.replays]\naction = \"off\"",
            "zero_trust_mode counts every kind",
        ),
        ("[audit]\nformat = \"cef\"", "is not offered"),
        ("[audit]\nrotation = \"hourly\"", "is not offered"),
        ("[audit]\ndurability = \"none\"", "not one of them"),
        ("[audit]\nretention_days = 0", "out of range"),
        ("[audit]\nmax_total_size = \"1KiB\"", "out of range"),
        ("[audit]\nlog_dir = \"\"", "is empty"),
        (
            "[security]\nzero_trust_mode = true\n[audit]\nenabled = false",
            "zero_trust_mode records everything",
        ),
        (
            "[security]\nzero_trust_mode = true\n[audit]\ninclude_mcp_calls = false",
            "zero_trust_mode records everything",
        ),
        (
            "[security]\nzero_trust_mode = true\n[audit]\ndurability = \"interval\"",
            "not on the disk",
        ),
        ("[agent_security]\nagents = [\"a b\"]", "name must be"),
        ("[agent_security]\nagents = [\"a\", \"A\"]", "twice"),
        ("[agent_security]\nencryption_enabled = false", "false is not offered"),
        ("[agent_security]\nsigning_enabled = false", "false is not offered"),
        ("[agent_security]\nsigning_enabled = \"no\"", "is a string"),
        ("[agent_security.encryption]\nalgorithm = \"AES-128-GCM\"", "is not offered"),
        ("[agent_security.encryption]\nkey_exchange = \"none\"", "is not offered"),
        ("[agent_security.signing]\nalgorithm = \"none\"", "is not offered"),
        ("[agent_security.signing]\nkeys_directory = \"\"", "is empty"),
        ("[security.signing]\nalgorithm = \"RSA\"", "is not offered"),
        ("[security.encryption]\nalgorithm = \"none\"", "is not offered"),
        ("[security.encryption]\nkey_derivation = \"MD5\"", "is not offered"),
        ("[security.encryption]\nkey_rotation_days = 0", "out of range"),
        ("[security.replay_protection]\nenabled = false", "false is not offered"),
        ("[security.replay_protection]\nnonce_store = \"memory\"", "would forget"),
        ("[security.replay_protection]\nnonce_store = \"redis\"", "kept in a SQLite file"),
        ("[security.replay_protection]\nnonce_store = \"disk\"", "is not offered"),
        ("[security.replay_protection]\ntimestamp_tolerance_sec = 3601", "out of range"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = 0", "out of range"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = nan", "out of range"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = inf", "out of range"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = -0.5", "out of range"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = \"5\"", "is a string"),
        ("[agent_security.rate_limiting]\nburst_size = 0", "out of range"),
        ("[agent_security.trust]\nprivileged = []", "unknown key"),
        ("[agent_security.trust]\nprivileged_agents = [\"*\"]", "name must be"),
        ("[agent_security.trust.\"a b\"]\ncan_communicate_with = []", "name must be"),
        ("[agent_security.trust.a]", "says nothing"),
        ("[agent_security.trust.a]\ncan_comunicate_with = []", "the only known key"),
        ("[agent_security.trust.a]\ncan_communicate_with = [\"*\", \"b\"]", "is everybody"),
        ("[agent_security.trust.a]\ncan_communicate_with = [\"b\", \"B\"]", "twice"),
        ("[agent_security.trust]\na = [\"b\"]", "unknown key"),
        ("[mailbox]\nretention_days = 0", "out of range"),
        ("[mailbox]\nfile = \"\"", "is empty"),
        ("[mailbox.groups.g]\nmembers = [\"a\"]", "lacks version"),
        ("[mailbox.groups.g]\nversion = 1", "lacks version or members"),
        ("[mailbox.groups.g]\nversion = 1\nmembers = []", "is empty"),
        ("[mailbox.groups.g]\nversion = 0\nmembers = [\"a\"]", "out of range"),
        ("[mailbox.groups.g]\nversion = 1\nmembers = [\"a\", \"a\"]", "twice"),
        (
            "[agent_security]\nagents = [\"G\"]\n[mailbox.groups.g]\nversion = 1\nmembers = [\"G\"]",
            "is an agent",
        ),
        ("[admin]\naddress = \"0.0.0.0:9\"", "not a loopback address"),
        ("[admin]\naddress = \"[::ffff:10.0.0.1]:9\"", "not a loopback address"),
        ("[admin]\naddress = \"localhost:9\"", "not an IP address"),
        ("[admin]\naddress = \"127.0.0.1:7443\"", "is the address of [listen]"),
        ("[security.certificates]\nrenew_from = \"ca\"", "is not host:port"),
        ("[ca]\naddress = \"127.0.0.1:7443\"", "is the address of [listen]"),
        ("[ca]\nleaf_lifetime = \"25h\"", "at most 24h"),
        ("[ca]\nlist_max_age = \"1s\"", "less than 2s"),
        ("[log]\nlevel = \"verbose\"", "is not one of them"),
        ("[log]\nformat = \"JSON\"", "is not one of them"),
        ("[log]\nfile = \"\"", "is empty"),
        ("[security]\nzero_trust_mode = 1", "is an integer"),
        ("[defaults]\ndefault_level = 4", "out of range"),
        ("[mcp_servers.a]\ncommand = \"x\"\nauth_method = \"password\"", "not one of them"),
        ("[policy]\nceilings = { \"core/core\" = 4 }", "out of range"),
        ("[policy]\nceilings = { \"core\" = 1 }", "<kind>/<name>"),
        ("[policy]\nceilings = { \"robot/x\" = 1 }", "the kind is none of"),
        (
            "[policy.ceilings]\n\"core/x\" = 1\n\"spiffe://sealwire.internal/core/x\" = 2",
            "names the same peers as line 2",
        ),
        ("[policy.ceilings]\n\"core/x\" = 1\n\"core/x\" = 2", "not valid TOML"),
        ("[[policy.allow]]", "does not say what it allows"),
        ("[[policy.allow]]\nservers = [\"x\"]\ntools = [\"a\"]", "there is no [mcp_servers.x]"),
        ("[[policy.deny]]\ntools = []", "is empty, so the rule never applies"),
        ("[[policy.deny]]\npeers = []", "is empty, so the rule never applies"),
        ("[[policy.deny]]\ntools = [\"a*b\"]", "at the end only"),
        ("[[policy.deny]]\ntools = \"a\"", "is a string"),
        ("[[policy.deny]]\ntool = [\"a\"]", "nearest known key is tools"),
        ("[[policy.deny]]\ndirection = \"up\"", "is not a direction"),
        (
            "[[policy.deny]]\ndirection = \"to_client\"\ntools = [\"a\"]",
            "has no effect on what goes to the client",
        ),
        ("[policy]\ndeny = {}", "is a table"),
        ("[policy]\ndeny = [1]", "give a list of tables"),
        ("[policy]\ntools = { a = 1 }", "unknown key"),
        (
            "[mcp_servers.a]\ncommand = \"x\"\n[[mcp_servers.a.policy.deny]]\nservers = [\"a\"]",
            "has no effect here",
        ),
        ("[mcp_servers.a]\ncommand = \"x\"\npolicy.tools = { a = -1 }", "out of range"),
        ("[mcp_servers.a]\ncommand = \"x\"\npolicy.tools = { \"\" = 1 }", "1 to 1024 bytes"),
        (
            "[security]\nzero_trust_mode = true\n[mcp_servers.a]\ncommand = \"x\"\ndefault_level = 3",
            "not accepted by zero_trust_mode",
        ),
        (
            "[security]\nzero_trust_mode = true\n[defaults]\ndefault_level = 3\n[mcp_servers.a]\ncommand = \"x\"",
            "not accepted by zero_trust_mode",
        ),
        ("[security.rate_limiting]\nenabled = 1", "is an integer"),
        ("[security.rate_limiting]\nmax_requests_per_sec = 0", "out of range"),
        ("[security.rate_limiting]\nmax_requests_per_sec = nan", "out of range"),
        ("[security.rate_limiting]\nburst_size = 0", "out of range"),
        ("[security.rate_limiting]\ntotal_burst_size = 2", "without its rate"),
        ("[security.rate_limiting]\npeers = { \"core\" = { max_requests_per_sec = 1 } }", "<kind>"),
        (
            "[security.rate_limiting]\npeers = { \"core/x\" = {} }",
            "max_requests_per_sec is missing",
        ),
        ("[security.rate_limiting]\npeers = { \"core/x\" = { rate = 1 } }", "unknown key"),
        ("[security.rate_limiting]\npeers = { \"core/x\" = 1 }", "is an integer"),
        (
            "[security]\nzero_trust_mode = true\nrate_limiting = { enabled = false }",
            "limits how often",
        ),
        (
            "[mcp_servers.a]\ncommand = \"x\"\nrate_limiting = { max_requests_per_sec = 1 }",
            "has no effect while [security.rate_limiting] is not enabled",
        ),
        (
            "[security.rate_limiting]\nenabled = true\n[mcp_servers.a]\ncommand = \"x\"\nrate_limiting.tools = { \"a*b\" = { max_requests_per_sec = 1 } }",
            "at the end only",
        ),
        ("[listen\n", "not valid TOML"),
        ("[listen]\naddress = \"127.0.0.1:1\"\naddress = \"127.0.0.1:2\"", "not valid TOML"),
    ] {
        let shown = problem(text);
        assert!(shown.contains(reason), "{text}\n{shown}");
        assert!(shown.contains("(to fix: "), "{shown}");
    }
    let two = "[mcp_servers.a]\ncommand = \"x\"\nbind_address = \"127.0.0.1:1\"\n\
               [mcp_servers.b]\ncommand = \"x\"\nbind_address = \"127.0.0.1:1\"\n";
    assert!(problem(two).contains("is the address of \"a\" too"));
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

/// Text that is nearly a configuration: known words in a random order.
fn nearly_toml() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "[security]\n",
        "[listen]\n",
        "[defaults]\n",
        "[mcp_servers.a]\n",
        "[[mcp_servers]]\n",
        "include",
        "command",
        "endpoint",
        "env",
        "agents",
        "address",
        "max_message_size",
        "idle_timeout",
        " = ",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "0x",
        "-1",
        "1.5",
        "\\u",
        "true",
        "1979-05-27",
        "\"127.0.0.1:1\"",
        "\"1s\"",
        "ä",
        "\0",
        "\"\"\"",
        ".",
        "#",
    ]);
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn parse_never_panics_and_always_says_why(text in prop_oneof![".*", nearly_toml()]) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
