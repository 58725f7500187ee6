//! The tables of agent messages as typed.

use super::document::{Located, Section};
use super::error::Problems;
use super::schema;
use super::typed::{Stated, Typed};

/// Longest time between rotations of an agent's keys.
const MAX_ROTATION_DAYS: u64 = 3650;
/// Clocks of agents differ by less; more would let captured messages live.
const MAX_TOLERANCE_SECONDS: u64 = 3600;
/// Longest that mail may wait: a message is valid no longer.
const MAX_RETENTION_DAYS: u64 = 30;
/// Most mail that one agent's box may be allowed to hold.
const MAX_QUOTA: u64 = 10_000_000;
/// Highest rate; anything above is no limit.
const MAX_RATE: f64 = 1_000_000.0;
/// Lowest rate: one message in a little more than a day.
const MIN_RATE: f64 = 0.000_01;

/// `[security.replay_protection]`.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) nonce_store: Option<Located<String>>,
    pub(crate) timestamp_tolerance_sec: Option<Located<u64>>,
}

/// `[agent_security]`.
#[derive(Debug, Default)]
pub(crate) struct AgentSecurity {
    pub(crate) agents: Option<Located<Vec<String>>>,
    pub(crate) keys_directory: Option<Located<String>>,
    pub(crate) max_messages_per_sec: Option<Located<f64>>,
    pub(crate) burst_size: Option<Located<u64>>,
    pub(crate) privileged_agents: Option<Located<Vec<String>>>,
    pub(crate) trust: Vec<(Located<String>, Trusted)>,
}

/// `[agent_security.trust.<agent>]`.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    pub(crate) can_communicate_with: Option<Located<Vec<String>>>,
}

/// `[mailbox]`.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) file: Option<Located<String>>,
    pub(crate) retention_days: Option<Located<u64>>,
    pub(crate) max_messages_per_agent: Option<Located<u64>>,
    pub(crate) groups: Vec<(Located<String>, Group)>,
}

/// `[mailbox.groups.<name>]`.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) version: Option<Located<u64>>,
    pub(crate) members: Option<Located<Vec<String>>>,
}

impl Typed {
    /// The tables in `[security]` that say how messages are protected.
    pub(crate) fn read_message_security(
        &mut self,
        security: &Section<'_>,
        problems: &mut Problems,
    ) {
        if let Some(section) = security.section("signing", &schema::SIGNING, problems) {
            self.stated.extend(Stated::text(&section, "algorithm", "Ed25519", problems));
        }
        if let Some(section) = security.section("encryption", &schema::ENCRYPTION, problems) {
            self.stated.extend(Stated::text(&section, "algorithm", "AES-256-GCM", problems));
            self.stated.extend(Stated::text(&section, "key_derivation", "HKDF-SHA256", problems));
            self.key_rotation_days =
                section.integer("key_rotation_days", 1..=MAX_ROTATION_DAYS, problems);
        }
        let replay = security.section("replay_protection", &schema::REPLAY_PROTECTION, problems);
        if let Some(section) = replay {
            self.stated.extend(Stated::on(&section, "enabled", problems));
            let tolerance = 1..=MAX_TOLERANCE_SECONDS;
            self.replay = Replay {
                nonce_store: section.string("nonce_store", problems),
                timestamp_tolerance_sec: section.integer(
                    "timestamp_tolerance_sec",
                    tolerance,
                    problems,
                ),
            };
        }
    }

    /// `[agent_security]` and `[mailbox]`.
    pub(crate) fn read_agents(&mut self, top: &Section<'_>, problems: &mut Problems) {
        if let Some(section) = top.section("agent_security", &schema::AGENT_SECURITY, problems) {
            self.read_agent_security(&section, problems);
        }
        if let Some(section) = top.section("mailbox", &schema::MAILBOX, problems) {
            self.mailbox = mailbox(&section, problems);
        }
    }

    fn read_agent_security(&mut self, section: &Section<'_>, problems: &mut Problems) {
        for key in ["encryption_enabled", "signing_enabled"] {
            self.stated.extend(Stated::on(section, key, problems));
        }
        let agents = &mut self.agent_security;
        agents.agents = section.strings("agents", problems);
        if let Some(table) = section.section("encryption", &schema::AGENT_ENCRYPTION, problems) {
            self.stated.extend(Stated::text(&table, "algorithm", "AES-256-GCM", problems));
            self.stated.extend(Stated::text(&table, "key_exchange", "X25519", problems));
        }
        if let Some(table) = section.section("signing", &schema::AGENT_SIGNING, problems) {
            self.stated.extend(Stated::text(&table, "algorithm", "Ed25519", problems));
            agents.keys_directory = table.string("keys_directory", problems);
        }
        let limits = section.section("rate_limiting", &schema::AGENT_RATE_LIMITING, problems);
        if let Some(table) = limits {
            agents.max_messages_per_sec =
                table.number("max_messages_per_sec", MIN_RATE..=MAX_RATE, problems);
            agents.burst_size = table.integer("burst_size", 1..=MAX_QUOTA, problems);
        }
        if let Some(table) = section.named("trust", problems) {
            agents.privileged_agents = table.strings("privileged_agents", problems);
            agents.trust = table
                .sections_but(&schema::TRUST, &schema::TRUSTED_AGENT, problems)
                .into_iter()
                .map(|(name, table)| {
                    let can_communicate_with = table.strings("can_communicate_with", problems);
                    (name, Trusted { can_communicate_with })
                })
                .collect();
        }
    }
}

fn mailbox(section: &Section<'_>, problems: &mut Problems) -> Mailbox {
    let groups = section.named_sections("groups", &schema::GROUP, problems);
    let group = |table: &Section<'_>, problems: &mut Problems| Group {
        version: table.integer("version", 1..=u64::from(u32::MAX), problems),
        members: table.strings("members", problems),
    };
    Mailbox {
        file: section.string("file", problems),
        retention_days: section.integer("retention_days", 1..=MAX_RETENTION_DAYS, problems),
        max_messages_per_agent: section.integer("max_messages_per_agent", 1..=MAX_QUOTA, problems),
        groups: groups.into_iter().map(|(name, table)| (name, group(&table, problems))).collect(),
    }
}
