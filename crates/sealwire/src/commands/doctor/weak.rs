//! Settings that are allowed, and leave more open than most need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sealwire::config::{CaConfig, Recipients, SecureMcpConfig, ServerEntry, ServerRole};
use sealwire_audit::Durability;
use sealwire_guard::{
    Effect, IncidentAction, IncidentKind, Level, NamePattern, PeerPattern, PinMode, Space,
};

use super::finding::{Finding, Id};
use super::report::Report;
use super::{Case, settings};

const DAY: Duration = Duration::from_secs(86_400);
/// Longest time between two looks of an auditor that need not be remarked on.
const SHORT_RETENTION_DAYS: u32 = 30;
/// Longest time that others may go by an old list of what is revoked.
const LONG_LIST: Duration = Duration::from_secs(6 * 3600);
/// Longest life of an agent's keys that is not remarkable.
const LONG_ROTATION: Duration = DAY.saturating_mul(366);
/// Widest tolerance that clocks which are set at all can need.
const WIDE_TOLERANCE: Duration = Duration::from_secs(900);
/// What is in the name of a variable or an option whose value is a secret.
const SECRET_WORDS: [&str; 8] =
    ["token", "secret", "password", "passwd", "api_key", "apikey", "access_key", "credential"];

/// Looks at what the configuration says.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let weak = Weak { case, config, is_exposed: is_exposed(case, config) };
    weak.audit(report);
    weak.policy(report);
    case.entries().for_each(|entry| weak.server(entry, report));
    weak.limits_and_alerts(report);
    weak.revocation(report);
    weak.agents(report);
}

fn is_exposed(case: &Case<'_>, config: &SecureMcpConfig) -> bool {
    settings::addresses(case, config).iter().any(|address: &SocketAddr| !address.ip().is_loopback())
}

struct Weak<'a, 'c> {
    case: &'a Case<'c>,
    config: &'a SecureMcpConfig,
    /// Whether other machines reach what is served here.
    is_exposed: bool,
}

impl Weak<'_, '_> {
    /// A table or key of the configuration.
    fn key(&self, key: &str) -> String {
        format!("{}: {key}", self.case.context.config_file.display())
    }

    fn audit(&self, report: &mut Report) {
        let (audit, rules) = (&self.config.audit, &self.config.audit.rules);
        if !audit.enabled {
            let what = "nothing is recorded: nobody can show afterwards who called what";
            let found = Finding::warning(Id::AuditOff, what).at(self.key("[audit] enabled"));
            return report.found(found.fix("remove enabled = false from [audit]"));
        }
        for (key, is_on, missing) in [
            ("include_mcp_calls", rules.calls, "calls of tools are not recorded"),
            ("include_agent_messages", rules.messages, "agents' messages are not recorded"),
            ("include_security_events", rules.security, "refusals and changes are not recorded"),
        ] {
            if !is_on {
                let found = Finding::warning(Id::AuditPartial, missing);
                let found = found.at(self.key(&format!("[audit] {key}")));
                report.found(found.fix(format!("remove {key} = false from [audit]")));
            }
        }
        if audit.durability == Durability::Interval {
            let what = "what happened in the last moment before a crash of the machine is not on \
                        its disk: calls go on that no entry tells of";
            let found = Finding::note(Id::AuditInterval, what).at(self.key("[audit] durability"));
            report
                .found(found.fix("remove durability = \"interval\" where each call must be shown"));
        }
        if rules.retention_days < SHORT_RETENTION_DAYS {
            let what = format!(
                "what is older than {} days is gone: most intrusions are noticed later",
                rules.retention_days
            );
            let found = Finding::note(Id::AuditShort, what).at(self.key("[audit] retention_days"));
            report.found(found.fix("write retention_days = 90, the default, or more"));
        }
        let leaves = self.config.alerts.enabled || self.config.admin.address.is_some();
        if self.is_exposed && !leaves {
            let what = "no checkpoint of the log leaves this machine by itself: whoever takes it \
                        over can write another log, and nobody could tell";
            let remedy = "have alerts sent ([audit.alerts]) or metrics collected ([admin]), each of \
                          which carries checkpoints, or keep what `sealwire audit export` writes \
                          elsewhere";
            let found = Finding::note(Id::CheckpointHereAlone, what).at(self.key("[audit]"));
            report.found(found.fix(remedy));
        }
    }

    fn policy(&self, report: &mut Report) {
        let policy = &self.config.policy;
        for rule in policy.rules.iter().filter(|rule| rule.effect == Effect::Allow) {
            if !rule.peers.contains(&PeerPattern::Any) {
                continue;
            }
            let broad = |(space, pattern): &&(Space, NamePattern)| {
                matches!(space, Space::Method | Space::Tool | Space::ClientMethod)
                    && *pattern == NamePattern::any()
            };
            let Some((space, _)) = rule.objects.iter().find(broad) else { continue };
            let found = match space {
                Space::ClientMethod => Finding::note(
                    Id::RuleBroad,
                    "lets the server ask every client for anything: to sample, to ask its user",
                ),
                _ => Finding::warning(
                    Id::RuleBroad,
                    "lets everybody do all that is not of level 3, whatever the ceilings say",
                ),
            };
            let remedy = "name peers, and the methods or tools that they need, or remove the rule";
            report.found(found.at(&rule.label).fix(remedy));
        }
        let of_servers = policy.servers.iter().flat_map(|server| {
            let table = format!("[mcp_servers.{}.policy] ceilings", server.entry);
            server.ceilings.iter().map(move |ceiling| (table.clone(), ceiling))
        });
        let of_all = policy.ceilings.iter().map(|of| ("[policy] ceilings".to_owned(), of));
        for (table, (pattern, level)) in of_all.chain(of_servers) {
            if *pattern == PeerPattern::Any && *level >= Level::Authorized {
                let what = format!(
                    "every peer may use what is of level {}: whoever has any certificate writes",
                    level.number().min(Level::Authorized.number())
                );
                let remedy = "name the peers that write, and leave \"*\" at 1 or below";
                let found = Finding::warning(Id::CeilingBroad, what).at(self.key(&table));
                report.found(found.fix(remedy));
            }
        }
    }

    fn server(&self, entry: &ServerEntry, report: &mut Report) {
        let (table, name) = (self.case.table(entry), &entry.name);
        let policy = self.config.policy.servers.iter().find(|server| server.entry == *name);
        let default = policy.and_then(|server| server.default_level);
        let lists_none = policy.is_some_and(|server| server.levels.is_empty());
        let remedy = "list its tools in its policy, and leave default_level out: `sealwire policy \
                      suggest` drafts that";
        match default {
            Some(Level::Public) => {
                let what = "default_level = 0: every tool that is not listed, those that come one \
                            day among them, may be called by every peer, whatever its ceiling";
                let found = Finding::warning(Id::DefaultLevelLow, what).at(&table).of(name);
                report.found(found.fix(remedy));
            }
            Some(Level::Authenticated) if self.is_exposed && lists_none => {
                let what = "default_level = 1 and no tool is listed: every peer may call all that \
                            it has, and all that it gains";
                let found = Finding::note(Id::DefaultLevelLow, what).at(&table).of(name);
                report.found(found.fix(remedy));
            }
            _ => {}
        }
        if entry.pins == PinMode::Off {
            let what = "pins = \"off\": what the server says of its tools may change from one call \
                        to the next, and nobody is told";
            let found = Finding::warning(Id::PinsOff, what).at(&table).of(name);
            report.found(found.fix("remove pins = \"off\", or write pins = \"approved\""));
        }
        if let ServerRole::Serve { args, env, .. } | ServerRole::Local { args, env, .. } =
            &entry.role
        {
            secrets(&table, name, args, env, report);
        }
        // Of what somebody else's authority revokes nothing is told but by its list.
        if entry.role.pair().is_some()
            && entry.trusted_ca != self.config.ca_cert
            && self.config.crl.is_empty()
        {
            let what = format!(
                "what the authority in {} has revoked is never known here, as no list of it is read",
                entry.trusted_ca.display()
            );
            let remedy = "name its revocation list in crl of [security.certificates]";
            let found = Finding::note(Id::RevocationNotTold, what).at(&table).of(name);
            report.found(found.fix(remedy));
        }
    }

    fn limits_and_alerts(&self, report: &mut Report) {
        let alerts = &self.config.alerts;
        if alerts.enabled && !alerts.on_security_events {
            let what = "incidents, quarantines and revocations are told to nobody";
            let place = self.key("[audit.alerts] alert_on_security_events");
            let found = Finding::warning(Id::AlertsPartial, what).at(place);
            report.found(found.fix("remove alert_on_security_events = false"));
        }
        for kind in IncidentKind::ALL {
            if self.config.incidents.of(kind).action == IncidentAction::Off {
                let what = "is not counted: however often it happens, nobody is told";
                let place = self.key(&format!("[incidents.{}] action", kind.as_str()));
                let found = Finding::note(Id::IncidentOff, what).at(place);
                report.found(found.fix("write action = \"notify\", or remove it"));
            }
        }
        if !self.is_exposed {
            return;
        }
        if self.config.rate_limits.is_none() {
            let what = "others reach this machine, and no peer is limited in how often it calls";
            let place = self.key("[security.rate_limiting] enabled");
            let found = Finding::note(Id::LimitsOff, what).at(place);
            report.found(found.fix("write enabled = true under [security.rate_limiting]"));
        }
        let has_channel =
            alerts.slack.is_some() || alerts.webhook.is_some() || alerts.email.is_some();
        if !has_channel {
            let what = "others reach this machine, and nobody is told of an incident";
            let found = Finding::note(Id::AlertsMissing, what).at(self.key("[audit.alerts]"));
            report.found(found.fix("name a receiver in [audit.alerts]: docs/alerts.md"));
        }
    }

    fn revocation(&self, report: &mut Report) {
        let config = self.config;
        let has_key = self.case.context.home.has_authority();
        if has_key && config.ca.list_max_age > LONG_LIST {
            let what = format!(
                "machines that cannot reach the authority go on for {} hours by what was revoked \
                 when they last could",
                config.ca.list_max_age.as_secs() / 3600
            );
            let found =
                Finding::warning(Id::ListMaxAgeLong, what).at(self.key("[ca] list_max_age"));
            let usual = CaConfig::default().list_max_age.as_secs() / 3600;
            report.found(found.fix(format!("write list_max_age = \"{usual}h\", the default")));
        }
        let uses_wire = config.servers.values().any(|entry| entry.role.pair().is_some());
        if uses_wire && !has_key && config.renew_from.is_none() && config.crl.is_empty() {
            let what = "the authority is elsewhere, and nothing brings what it revokes here: a \
                        stolen certificate is good here until it expires";
            let remedy = "join by `sealwire invite` and `sealwire join`, which renews certificates \
                          and brings what is revoked; or name the authority's list in crl";
            let place = self.key("[security.certificates] crl");
            report.found(Finding::note(Id::RevocationNotTold, what).at(place).fix(remedy));
        }
    }

    fn agents(&self, report: &mut Report) {
        let agents = &self.config.agent_security;
        if agents.key_rotation > LONG_ROTATION {
            let what = format!(
                "agents' keys are due after {} days only: whoever gets one, and is not noticed, \
                 signs and reads for as long",
                agents.key_rotation.as_secs() / DAY.as_secs()
            );
            let place = self.key("[security.encryption] key_rotation_days");
            let found = Finding::warning(Id::KeyRotationSlow, what).at(place);
            report.found(found.fix("write key_rotation_days = 90, the default"));
        }
        if agents.timestamp_tolerance > WIDE_TOLERANCE {
            let what = format!(
                "clocks of agents may differ by {} s: replays must be kept off for as long",
                agents.timestamp_tolerance.as_secs()
            );
            let place = self.key("[security.replay_protection] timestamp_tolerance_sec");
            let found = Finding::warning(Id::ToleranceWide, what).at(place);
            report.found(found.fix("write timestamp_tolerance_sec = 300, the default; set clocks"));
        }
        for (agent, recipients) in &agents.trust.can_communicate_with {
            if *recipients == Recipients::Everybody {
                let what =
                    format!("{agent} may write to every agent, those that come one day, too");
                let place = self.key(&format!("[agent_security.trust.{agent}]"));
                let found = Finding::note(Id::TrustsEverybody, what).at(place);
                report.found(found.fix("name the agents that it writes to"));
            }
        }
    }
}

/// Secrets that others of this machine, or whoever sees the configuration, can read. They are
/// never shown.
fn secrets(
    table: &str,
    name: &str,
    args: &[String],
    env: &BTreeMap<String, String>,
    report: &mut Report,
) {
    for (variable, value) in env {
        // A variable that nobody expands is another finding.
        let is_value = !value.is_empty() && !value.starts_with(['/', '~']) && !value.contains("${");
        if is_value && is_secret(variable) {
            let what = format!("the value of {variable} is in the configuration in clear");
            let remedy = "keep it in a file of mode 0600, and start the server by a script that \
                          reads it; a server without a network can have it from its client, by \
                          env_vars";
            report.found(Finding::note(Id::SecretInClear, what).at(table).of(name).fix(remedy));
        }
    }
    for (index, argument) in args.iter().enumerate() {
        let Some(option) = argument.strip_prefix('-') else { continue };
        let (option, value) = match option.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (option, args.get(index + 1).map(String::as_str)),
        };
        let is_value = |value: &str| !value.is_empty() && !value.starts_with(['-', '/', '~']);
        if is_secret(option) && value.is_some_and(is_value) {
            let what = format!(
                "the value of -{option} stands on the command line, which every user of this \
                 machine can read while it runs"
            );
            let remedy = "give it in env, or in a file, if the server can take it from there";
            report.found(
                Finding::warning(Id::SecretInArguments, what).at(table).of(name).fix(remedy),
            );
        }
    }
}

/// Whether a name says that a secret follows, and not where one is.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let is_place = ["_file", "_path", "_dir", "_url"].iter().any(|end| name.ends_with(end));
    !is_place && SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let mut report = Report::default();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        secrets("t", "s", &args, &env, &mut report);
        report.findings().map(|finding| finding.what.clone()).collect()
    }

    #[test]
    fn secrets_are_found_by_their_names_and_never_shown() {
        for (args, env) in [
            (&["--api-key", "hunter2"][..], &[][..]),
            (&["--auth-token=hunter2"], &[]),
            (&["-password", "hunter2"], &[]),
            (&[], &[("GITHUB_TOKEN", "hunter2")]),
            (&[], &[("AWS_SECRET_ACCESS_KEY", "hunter2")]),
        ] {
            let found = found(args, env);
            assert_eq!(found.len(), 1, "{args:?} {env:?}: {found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        let args = ["--token-file", "x", "--token", "/run/t", "--password", "--verbose", "token"];
        let env = [("TOKEN_FILE", "x"), ("TOKEN", ""), ("SECRET", "${SECRET}"), ("MODE", "secret")];
        assert_eq!(found(&args, &env), Vec::<String>::new());
    }
}
