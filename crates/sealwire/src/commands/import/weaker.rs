//! What a configuration lets happen that the one before it did not.

use std::path::Path;

use sealwire::config::{
    AgentSecurityConfig, AlertsConfig, AuditConfig, Recipients, SecureMcpConfig, ServerEntry,
    SmtpSecurity,
};
use sealwire_audit::Durability;
use sealwire_guard::{
    AuthMethod, DEFAULT_LEVEL, Effect, Level, PinMode, Rate, RateLimits, ServerPolicy,
};

/// One way in which it is weaker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Weaker {
    /// The key that makes it so.
    pub(super) key: String,
    /// What follows.
    pub(super) what: String,
}

/// All of them. What is compared is what holds in the end, whatever keys say it. A server that there
/// was not is compared with itself in `plain`, where nothing but its program, or address, is said.
pub(super) fn weaker(
    before: &SecureMcpConfig,
    plain: &SecureMcpConfig,
    after: &SecureMcpConfig,
) -> Vec<Weaker> {
    let mut found = Found(Vec::new());
    found.ends(
        (before.zero_trust_mode, after.zero_trust_mode),
        "security.zero_trust_mode",
        "peers and tools need not be named any more",
    );
    if before.ca_cert != after.ca_cert {
        found.add("security.certificates.ca_cert", authorities(&after.ca_cert));
    }
    found.ends(
        (!before.crl.is_empty(), !after.crl.is_empty()),
        "security.certificates.crl",
        "revocation lists are not asked any more",
    );
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
            found.server(plain, server, after);
        }
    }
    found.0
}

struct Found(Vec<Weaker>);

impl Found {
    fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Weaker { key: key.into(), what: what.into() });
    }

    /// Something that held, and does not hold any more.
    fn ends(&mut self, (before, after): (bool, bool), key: &str, what: &str) {
        if before && !after {
            self.add(key, what);
        }
    }

    /// Something of which there may be more than there might.
    fn grows<T: PartialOrd>(&mut self, (before, after): (T, T), key: &str, what: &str) {
        if before < after {
            self.add(key, what);
        }
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
        self.ends(
            (before.refuse_unregistered, after.refuse_unregistered),
            "security.rate_limiting.refuse_unregistered",
            "peers that have no limit of their own are let in",
        );
        for (pattern, rate) in &after.peers {
            let old = before.peers.iter().find(|(old, _)| old == pattern).map(|(_, rate)| *rate);
            let is_new = old.is_none() && before.refuse_unregistered;
            if is_new || is_more(old.or(before.each_peer), Some(*rate)) {
                self.add(format!("{table}.peers"), format!("{pattern} may ask more often"));
            }
        }
    }

    fn agents(&mut self, before: &AgentSecurityConfig, after: &AgentSecurityConfig) {
        self.grows(
            (before.key_rotation, after.key_rotation),
            "security.encryption.key_rotation_days",
            "agents' keys are used for longer",
        );
        self.grows(
            (before.timestamp_tolerance, after.timestamp_tolerance),
            "security.replay_protection.timestamp_tolerance_sec",
            "messages from further in the future are taken",
        );
        self.grows(
            (before.max_messages_per_sec, after.max_messages_per_sec),
            "agent_security.rate_limiting.max_messages_per_sec",
            "each agent may send more often",
        );
        self.grows(
            (before.burst_size, after.burst_size),
            "agent_security.rate_limiting.burst_size",
            "each agent may send more at once",
        );
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
        let (old, new) = (&before.rules, &after.rules);
        for (pair, key, what) in [
            ((before.enabled, after.enabled), "enabled", "what is called and refused"),
            ((old.calls, new.calls), "include_mcp_calls", "calls that are allowed"),
            ((old.messages, new.messages), "include_agent_messages", "agents' messages"),
            ((old.security, new.security), "include_security_events", "refusals and incidents"),
        ] {
            self.ends(pair, &format!("audit.{key}"), &format!("no evidence is kept of {what}"));
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
        self.ends(
            (before.enabled, after.enabled),
            "audit.alerts.enabled",
            "nobody is told of anything",
        );
        self.ends(
            (before.on_security_events, after.on_security_events),
            "audit.alerts.alert_on_security_events",
            "nobody is told of incidents, quarantine and revocations",
        );
        self.ends(
            (!before.allow_private, !after.allow_private),
            "audit.alerts.allow_private",
            "alerts may be sent to addresses of this machine and its network",
        );
        self.grows(
            (before.repeat_after, after.repeat_after),
            "audit.alerts.repeat_after",
            "the same alert is told less often",
        );
        self.grows(
            (after.give_up_after, before.give_up_after),
            "audit.alerts.give_up_after",
            "alerts that cannot be delivered are given up earlier",
        );
        if before.ca_cert != after.ca_cert
            && let Some(file) = &after.ca_cert
        {
            let what = format!("receivers are who the authorities in {} say", file.display());
            self.add("audit.alerts.ca_cert", what);
        }
        let is_clear = |alerts: &AlertsConfig| {
            alerts.email.as_ref().is_some_and(|email| email.security == SmtpSecurity::None)
        };
        self.ends(
            (!is_clear(before), !is_clear(after)),
            "audit.alerts.smtp.security",
            "mail is sent without encryption",
        );
    }

    /// A server that there was not.
    fn server(&mut self, plain: &SecureMcpConfig, server: &ServerEntry, after: &SecureMcpConfig) {
        let name = &server.name;
        let key = |key: &str| format!("mcp_servers.{name}.{key}");
        let base = plain.servers.get(name);
        if strictness(server.pins) < base.map_or(u8::MAX, |base| strictness(base.pins)) {
            let what = match server.pins {
                PinMode::Off => {
                    format!("what {name} says of its tools may change, and nobody is asked")
                }
                _ => {
                    format!("what {name} says of its tools first is believed, and nobody is asked")
                }
            };
            self.add(key("pins"), what);
        }
        if base.is_none_or(|base| base.trusted_ca != server.trusted_ca) {
            self.add(key("trusted_ca"), authorities(&server.trusted_ca));
        }
        let of = |config: &SecureMcpConfig| {
            config.policy.servers.iter().find(|policy| policy.entry == *name).cloned()
        };
        if let Some(policy) = of(after) {
            self.policy(of(plain).as_ref(), &policy, after.zero_trust_mode);
        }
        for rule in &after.policy.rules {
            if rule.effect == Effect::Allow && rule.is_at(name) && !rule.is_everywhere() {
                let what = "something is allowed whatever the levels are";
                self.add(key("policy.allow"), what);
            }
        }
    }

    fn policy(&mut self, plain: Option<&ServerPolicy>, policy: &ServerPolicy, zero_trust: bool) {
        let name = &policy.entry;
        let key = |key: &str| format!("mcp_servers.{name}.{key}");
        // Where nothing is said, an import says 1, unless each tool has to be named.
        let otherwise = if zero_trust { DEFAULT_LEVEL } else { Level::Authenticated };
        let base = plain.and_then(|plain| plain.default_level).unwrap_or(otherwise);
        if policy.default_level.is_some_and(|level| level < base) {
            let what = match policy.default_level {
                Some(Level::Public) => {
                    format!("whoever reaches {name} may call each tool that is not listed")
                }
                _ => format!(
                    "tools of {name} that are not listed need less than level {}",
                    base.number()
                ),
            };
            self.add(key("default_level"), what);
        }
        for (space, pattern, level) in &policy.levels {
            if *level < base {
                let what = format!(
                    "{} {pattern} needs level {} alone, and not {}",
                    space.noun(),
                    level.number(),
                    base.number()
                );
                self.add(key(&format!("policy.{}", space.key())), what);
            }
        }
        let asked = plain.map_or(AuthMethod::Approval, |plain| plain.auth_method);
        if policy.auth_method < asked {
            let what = format!(
                "calls of level 2 and 3 do not need {:?} any more, but {:?}",
                asked.as_str(),
                policy.auth_method.as_str()
            );
            self.add(key("auth_method"), what);
        }
        for (pattern, level) in &policy.ceilings {
            let what = format!("{pattern} may use {name} up to level {}", level.number());
            self.add(key("policy.ceilings"), what);
        }
    }
}

/// How much of what a server says of itself an operator approves.
const fn strictness(pins: PinMode) -> u8 {
    match pins {
        PinMode::Off => 0,
        PinMode::FirstUse => 1,
        PinMode::Approved => 2,
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
#[path = "weaker_tests.rs"]
mod tests;
