use super::*;

/// The keys that make `after` weaker than `before`.
fn keys(before: &str, after: &str) -> Vec<String> {
    let read = |text: &str| {
        let read = SecureMcpConfig::parse(Path::new("/h"), text);
        read.unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    // The first three lines of a server's table are its program.
    let program: String = match after.find("[mcp_servers.") {
        Some(at) => after[at..].lines().take(3).map(|line| format!("{line}\n")).collect(),
        None => String::new(),
    };
    let plain = format!("{before}{program}");
    let found = weaker(&read(before), &read(&plain), &read(after));
    found.into_iter().map(|weaker| weaker.key).collect()
}

const LIMITED: &str = "[security.rate_limiting]\nenabled = true\n";
const TRUST: &str = "[agent_security.trust.A]\ncan_communicate_with = [\"B\"]\n";
const MAIL: &str = "[audit.alerts]\nenabled = true\nalert_email = [\"a@b.example\"]\n\
                    [audit.alerts.smtp]\nhost = \"127.0.0.1\"\nfrom = \"c@d.example\"\n";

/// What each makes weaker than what is before it, which the reverse does not.
#[test]
fn each_way_is_told_and_what_is_stronger_is_not() {
    let limited = |more: &str| format!("{LIMITED}{more}");
    let mail = |more: &str| format!("{MAIL}{more}");
    let cases: &[(&str, &str, &str)] = &[
        ("[security]\nzero_trust_mode = true\n", LIMITED, "security.zero_trust_mode"),
        ("[security.certificates]\ncrl = \"c\"\n", "", "security.certificates.crl"),
        (LIMITED, "", "security.rate_limiting.enabled"),
        (
            LIMITED,
            &limited("max_requests_per_sec = 11.0\n"),
            "security.rate_limiting.max_requests_per_sec",
        ),
        (LIMITED, &limited("burst_size = 21\n"), "security.rate_limiting.max_requests_per_sec"),
        (
            &limited("total_requests_per_sec = 5.0\n"),
            LIMITED,
            "security.rate_limiting.total_requests_per_sec",
        ),
        (
            &limited("refuse_unregistered = true\n"),
            LIMITED,
            "security.rate_limiting.refuse_unregistered",
        ),
        (
            LIMITED,
            &limited("peers = { \"core/a\" = { max_requests_per_sec = 50.0 } }\n"),
            "security.rate_limiting.peers",
        ),
        (
            "",
            "[security.encryption]\nkey_rotation_days = 91\n",
            "security.encryption.key_rotation_days",
        ),
        (
            "",
            "[security.replay_protection]\ntimestamp_tolerance_sec = 301\n",
            "security.replay_protection.timestamp_tolerance_sec",
        ),
        (
            "",
            "[agent_security.rate_limiting]\nmax_messages_per_sec = 5.5\n",
            "agent_security.rate_limiting.max_messages_per_sec",
        ),
        (
            "",
            "[agent_security.rate_limiting]\nburst_size = 21\n",
            "agent_security.rate_limiting.burst_size",
        ),
        (
            "",
            "[agent_security.trust]\nprivileged_agents = [\"A\"]\n",
            "agent_security.trust.privileged_agents",
        ),
        ("", TRUST, "agent_security.trust.A.can_communicate_with"),
        (
            TRUST,
            "[agent_security.trust.A]\ncan_communicate_with = [\"*\"]\n",
            "agent_security.trust.A.can_communicate_with",
        ),
        ("", "[audit]\nenabled = false\n", "audit.enabled"),
        ("", "[audit]\ninclude_mcp_calls = false\n", "audit.include_mcp_calls"),
        ("", "[audit]\ninclude_agent_messages = false\n", "audit.include_agent_messages"),
        ("", "[audit]\ninclude_security_events = false\n", "audit.include_security_events"),
        ("", "[audit]\nretention_days = 89\n", "audit.retention_days"),
        ("", "[audit]\ndurability = \"interval\"\n", "audit.durability"),
        (MAIL, &MAIL.replace("enabled = true", "enabled = false"), "audit.alerts.enabled"),
        (
            MAIL,
            &MAIL.replace("enabled = true", "enabled = true\nalert_on_security_events = false"),
            "audit.alerts.alert_on_security_events",
        ),
        (
            MAIL,
            &MAIL.replace("enabled = true", "enabled = true\nallow_private = true"),
            "audit.alerts.allow_private",
        ),
        (
            MAIL,
            &MAIL.replace("enabled = true", "enabled = true\nrepeat_after = \"1h\""),
            "audit.alerts.repeat_after",
        ),
        (
            MAIL,
            &MAIL.replace("enabled = true", "enabled = true\ngive_up_after = \"1h\""),
            "audit.alerts.give_up_after",
        ),
        (MAIL, &mail("security = \"none\"\n"), "audit.alerts.smtp.security"),
    ];
    for (before, after, key) in cases {
        assert!(keys(before, after).iter().any(|told| told == key), "{key}: {after}");
        assert!(!keys(after, before).iter().any(|told| told == key), "{key}, the reverse");
        assert!(keys(after, after).is_empty(), "{after}");
    }
}

#[test]
fn what_holds_in_either_direction_is_told_where_it_changes() {
    for (key, text) in [
        ("security.certificates.ca_cert", "[security.certificates]\nca_cert = \"x.pem\"\n"),
        ("audit.log_dir", "[audit]\nlog_dir = \"x\"\n"),
        ("audit.alerts.ca_cert", "[audit.alerts]\nca_cert = \"x.pem\"\n"),
    ] {
        assert_eq!(keys("", text), [key]);
    }
}

#[test]
fn a_new_server_is_compared_with_one_of_which_only_the_program_is_said() {
    let table = "[mcp_servers.a]\ntransport = \"stdio\"\ncommand = \"b\"\n";
    let local = |defaults: &str, more: &str| keys(defaults, &format!("{defaults}{table}{more}"));
    for more in ["", "default_level = 1\n", "pins = \"approved\"\n", "default_level = 3\n"] {
        assert_eq!(local("", more), [""; 0], "{more}");
    }
    let strict = "[defaults]\ndefault_level = 2\nauth_method = \"approval\"\npins = \"approved\"\n";
    for (defaults, key, more) in [
        ("", "pins", "pins = \"off\"\n"),
        (strict, "pins", "pins = \"first_use\"\n"),
        ("", "default_level", "default_level = 0\n"),
        (strict, "default_level", "default_level = 1\n"),
        ("", "policy.tools", "policy.tools = { \"x*\" = 0, y = 1 }\n"),
        (strict, "policy.resources", "policy.resources = { \"x*\" = 1, y = 2 }\n"),
        (strict, "policy.prompts", "policy.prompts = { x = 1 }\n"),
        (strict, "auth_method", "auth_method = \"mtls\"\n"),
        (strict, "auth_method", "auth_method = \"agent_token\"\n"),
        ("", "policy.ceilings", "policy.ceilings = { \"core/x\" = 3 }\n"),
        ("", "policy.allow", "[[mcp_servers.a.policy.allow]]\ntools = [\"*\"]\n"),
    ] {
        assert_eq!(local(defaults, more), [format!("mcp_servers.a.{key}")], "{more}");
    }
    let off = "[defaults]\npins = \"off\"\n";
    assert_eq!(local(off, "pins = \"off\"\n"), [""; 0], "it was so already");
    assert_eq!(local("", "[[mcp_servers.a.policy.deny]]\ntools = [\"*\"]\n"), [""; 0]);
    let far = "[mcp_servers.a]\nendpoint = \"h:1\"\ntrusted_ca = \"x.pem\"\n";
    let plain = "[mcp_servers.a]\nendpoint = \"h:1\"\n";
    let read = |text: &str| SecureMcpConfig::parse(Path::new("/h"), text).unwrap();
    let found = weaker(&read(""), &read(plain), &read(far));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "mcp_servers.a.trusted_ca");
}
