//! What a configuration lets happen that the one before it did not.

use std::path::Path;

use sealwire::config::{
    AgentSecurityConfig, AlertsConfig, AuditConfig, Recipients, SecureMcpConfig, ServerEntry,
    SmtpSecurity,
};
use sealwire_audit::Durability;
use sealwire_guard::{Effect, Level, PinMode, Rate, RateLimits};

/// One way in which it is weaker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Weaker {
    /// The key that makes it so.
    pub(super) key: String,
    /// What follows.
    pub(super) what: String,
}

/// All of them. What is compared is what holds in the end, whatever keys say it.
pub(super) fn weaker(before: &SecureMcpConfig, after: &SecureMcpConfig) -> Vec<Weaker> {
    let mut found = Found(Vec::new());
    if before.zero_trust_mode && !after.zero_trust_mode {
        found.add("security.zero_trust_mode", "peers and tools need not be named any more");
    }
    if before.ca_cert != after.ca_cert {
        found.add("security.certificates.ca_cert", authorities(&after.ca_cert));
    }
    if !before.crl.is_empty() && after.crl.is_empty() {
        found.add("security.certificates.crl", "revocation lists are not asked any more");
    }
    match (&before.rate_limits, &after.rate_limits) {
        (Some(before), Some(after)) => found.limits(before, after),
        (Some(_), None) => found.add("security.rate_limiting.enabled", "nothing limits how often"),
        (None, _) => {}
    }
    found.agents(&before.agent_security, &after.agent_security);
    found.audit(&before.audit, &after.audit);
    found.alerts(&before.alerts, &after.alerts);
    for (name, server) in &after.servers {
        if !before.servers.contains_key(name) {
            found.server(server, after);
        }
    }
    found.0
}

struct Found(Vec<Weaker>);

impl Found {
    fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Weaker { key: key.into(), what: what.into() });
    }

    fn limits(&mut self, before: &RateLimits, after: &RateLimits) {
        let table = "security.rate_limiting";
        for (key, old, new) in [
            ("max_requests_per_sec", before.each_peer, after.each_peer),
            ("total_requests_per_sec", before.total, after.total),
        ] {
            if is_more(old, new) {
                self.add(format!("{table}.{key}"), "peers may ask more often");
            }
        }
        if before.refuse_unregistered && !after.refuse_unregistered {
            let what = "peers that have no limit of their own are let in";
            self.add(format!("{table}.refuse_unregistered"), what);
        }
        for (pattern, rate) in &after.peers {
            let old = before.peers.iter().find(|(old, _)| old == pattern).map(|(_, rate)| *rate);
            let is_new = old.is_none() && before.refuse_unregistered;
            if is_new || is_more(old.or(before.each_peer), Some(*rate)) {
                self.add(format!("{table}.peers"), format!("{pattern} may ask more often"));
            }
        }
    }

    fn agents(&mut self, before: &AgentSecurityConfig, after: &AgentSecurityConfig) {
        if before.key_rotation < after.key_rotation {
            self.add("security.encryption.key_rotation_days", "agents' keys are used for longer");
        }
        if before.timestamp_tolerance < after.timestamp_tolerance {
            let what = "messages from further in the future are taken";
            self.add("security.replay_protection.timestamp_tolerance_sec", what);
        }
        if before.max_messages_per_sec < after.max_messages_per_sec {
            let key = "agent_security.rate_limiting.max_messages_per_sec";
            self.add(key, "each agent may send more often");
        }
        if before.burst_size < after.burst_size {
            let key = "agent_security.rate_limiting.burst_size";
            self.add(key, "each agent may send more at once");
        }
        for agent in &after.trust.privileged {
            if !before.trust.privileged.contains(agent) {
                let key = "agent_security.trust.privileged_agents";
                self.add(key, format!("{agent} may send Shutdown"));
            }
        }
        for (agent, recipients) in &after.trust.can_communicate_with {
            let old = before.trust.can_communicate_with.get(agent);
            let new = match (old, recipients) {
                (Some(Recipients::Everybody), _) => continue,
                (_, Recipients::Everybody) => "everybody".to_owned(),
                (old, Recipients::These(new)) => {
                    let had =
                        |agent| matches!(old, Some(Recipients::These(old)) if old.contains(agent));
                    let new: Vec<_> =
                        new.iter().filter(|agent| !had(agent)).map(ToString::to_string).collect();
                    new.join(", ")
                }
            };
            if !new.is_empty() {
                let key = format!("agent_security.trust.{agent}.can_communicate_with");
                self.add(key, format!("{agent} may send to {new}"));
            }
        }
    }

    fn audit(&mut self, before: &AuditConfig, after: &AuditConfig) {
        if before.enabled && !after.enabled {
            self.add("audit.enabled", "no evidence is kept of what is called and refused");
        }
        for (key, old, new, what) in [
            ("calls", before.rules.calls, after.rules.calls, "calls that are allowed"),
            ("messages", before.rules.messages, after.rules.messages, "agents' messages"),
            ("security", before.rules.security, after.rules.security, "refusals and incidents"),
        ] {
            if old && !new {
                let key = match key {
                    "calls" => "audit.include_mcp_calls",
                    "messages" => "audit.include_agent_messages",
                    _ => "audit.include_security_events",
                };
                self.add(key, format!("no evidence is kept of {what}"));
            }
        }
        if before.rules.retention_days > after.rules.retention_days {
            let days = after.rules.retention_days;
            let unit = if days == 1 { "day" } else { "days" };
            self.add("audit.retention_days", format!("evidence is removed after {days} {unit}"));
        }
        if (before.durability, after.durability) == (Durability::Fsync, Durability::Interval) {
            let what = "calls pass before what is recorded of them is on the disk";
            self.add("audit.durability", what);
        }
        if before.log_dir != after.log_dir {
            let what = format!("evidence is written in {} from now on", after.log_dir.display());
            self.add("audit.log_dir", what);
        }
    }

    fn alerts(&mut self, before: &AlertsConfig, after: &AlertsConfig) {
        let table = "audit.alerts";
        if before.enabled && !after.enabled {
            self.add(format!("{table}.enabled"), "nobody is told of anything");
        }
        if before.on_security_events && !after.on_security_events {
            let key = format!("{table}.alert_on_security_events");
            self.add(key, "nobody is told of incidents, quarantine and revocations");
        }
        if !before.allow_private && after.allow_private {
            let what = "alerts may be sent to addresses of this machine and its network";
            self.add(format!("{table}.allow_private"), what);
        }
        if before.repeat_after < after.repeat_after {
            self.add(format!("{table}.repeat_after"), "the same alert is told less often");
        }
        if before.give_up_after > after.give_up_after {
            let what = "alerts that cannot be delivered are given up earlier";
            self.add(format!("{table}.give_up_after"), what);
        }
        if before.ca_cert != after.ca_cert
            && let Some(file) = &after.ca_cert
        {
            let what = format!("receivers are who the authorities in {} say", file.display());
            self.add(format!("{table}.ca_cert"), what);
        }
        let is_clear = |alerts: &AlertsConfig| {
            alerts.email.as_ref().is_some_and(|email| email.security == SmtpSecurity::None)
        };
        if !is_clear(before) && is_clear(after) {
            self.add(format!("{table}.smtp.security"), "mail is sent without encryption");
        }
    }

    /// A server that there was not, against one of which only the program was said.
    fn server(&mut self, server: &ServerEntry, config: &SecureMcpConfig) {
        let name = &server.name;
        let key = |key: &str| format!("mcp_servers.{name}.{key}");
        if server.pins == PinMode::Off {
            let what = format!("what {name} says of its tools may change, and nobody is asked");
            self.add(key("pins"), what);
        }
        if server.trusted_ca != config.ca_cert {
            self.add(key("trusted_ca"), authorities(&server.trusted_ca));
        }
        let policies = config.policy.servers.iter().filter(|policy| policy.entry == *name);
        for policy in policies {
            if policy.default_level == Some(Level::Public) {
                let what = format!("whoever reaches {name} may call each tool that is not listed");
                self.add(key("default_level"), what);
            }
            for (pattern, level) in &policy.ceilings {
                let what = format!("{pattern} may use {name} up to level {}", level.number());
                self.add(key("policy.ceilings"), what);
            }
        }
        for rule in &config.policy.rules {
            if rule.effect == Effect::Allow && rule.is_at(name) && !rule.is_everywhere() {
                let what = "something is allowed whatever the levels are";
                self.add(key("policy.allow"), what);
            }
        }
    }
}

fn authorities(file: &Path) -> String {
    format!("whoever the authorities in {} vouch for is believed", file.display())
}

/// `None` is no limit.
fn is_more(before: Option<Rate>, after: Option<Rate>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => {
            before.per_second() < after.per_second() || before.burst() < after.burst()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that make `after` weaker than `before`.
    fn keys(before: &str, after: &str) -> Vec<String> {
        let read = |text: &str| {
            let read = SecureMcpConfig::parse(Path::new("/h"), text);
            read.unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        weaker(&read(before), &read(after)).into_iter().map(|weaker| weaker.key).collect()
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
        let local = |more: &str| {
            let table = "[mcp_servers.a]\ntransport = \"stdio\"\ncommand = \"b\"\n";
            keys("", &format!("{table}{more}"))
        };
        assert_eq!(local(""), [""; 0]);
        assert_eq!(local("default_level = 1\n"), [""; 0]);
        for (key, more) in [
            ("pins", "pins = \"off\"\n"),
            ("default_level", "default_level = 0\n"),
            ("policy.ceilings", "policy.ceilings = { \"core/x\" = 3 }\n"),
            ("policy.allow", "[[mcp_servers.a.policy.allow]]\ntools = [\"*\"]\n"),
        ] {
            assert_eq!(local(more), [format!("mcp_servers.a.{key}")]);
        }
        assert_eq!(local("[[mcp_servers.a.policy.deny]]\ntools = [\"*\"]\n"), [""; 0]);
        let far = "[mcp_servers.a]\nendpoint = \"h:1\"\ntrusted_ca = \"x.pem\"\n";
        assert_eq!(keys("", far), ["mcp_servers.a.trusted_ca"]);
    }
}
