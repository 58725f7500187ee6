//! `[audit]`: what is recorded as evidence, where, and for how long.

use std::path::PathBuf;

use sealwire_audit::{Durability, Rules};

use super::alerts::TypedAlerts;
use super::check::path;
use super::document::{Located, Section};
use super::error::Problems;
use super::schema;
use super::typed::{Stated, Typed};
use crate::home::Home;

/// Fewest bytes that the log may be limited to: what is recorded of a start fits.
const LEAST_SIZE: u64 = 1 << 20;
/// Longest retention, in days.
const LONGEST: u64 = 36_500;

const DURABILITIES: [(&str, Durability); 2] =
    [("fsync", Durability::Fsync), ("interval", Durability::Interval)];

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether evidence is kept.
    pub enabled: bool,
    /// Where.
    pub log_dir: PathBuf,
    /// When an entry is as good as written.
    pub durability: Durability,
    /// What is recorded, and how long it is kept.
    pub rules: Rules,
}

/// `[audit]`, as typed.
#[derive(Debug, Default)]
pub(crate) struct TypedAudit {
    enabled: Option<Located<bool>>,
    log_dir: Option<Located<String>>,
    include_mcp_calls: Option<Located<bool>>,
    include_agent_messages: Option<Located<bool>>,
    include_security_events: Option<Located<bool>>,
    retention_days: Option<Located<u64>>,
    durability: Option<Located<String>>,
    max_total_size: Option<Located<u64>>,
}

impl Typed {
    /// Reads `[audit]`.
    pub(crate) fn read_audit(&mut self, top: &Section<'_>, problems: &mut Problems) {
        let Some(section) = top.section("audit", &schema::AUDIT, problems) else { return };
        self.audit = TypedAudit {
            enabled: section.boolean("enabled", problems),
            log_dir: section.string("log_dir", problems),
            include_mcp_calls: section.boolean("include_mcp_calls", problems),
            include_agent_messages: section.boolean("include_agent_messages", problems),
            include_security_events: section.boolean("include_security_events", problems),
            retention_days: section.integer("retention_days", 1..=LONGEST, problems),
            durability: section.string("durability", problems),
            max_total_size: section.size("max_total_size", LEAST_SIZE..=u64::MAX, problems),
        };
        if let Some(section) = section.section("alerts", &schema::ALERTS, problems) {
            self.alerts = TypedAlerts::read(&section, problems);
        }
        self.stated.extend(Stated::text(&section, "format", "json", problems));
        self.stated.extend(Stated::text(&section, "rotation", "daily", problems));
    }
}

/// Checks all of it.
pub(crate) fn check(home: &Home, typed: &Typed, problems: &mut Problems) -> AuditConfig {
    let given = &typed.audit;
    let mut on = |given: &Option<Located<bool>>| match given {
        Some(given) if !given.value && typed.zero_trust() => {
            let what = "zero_trust_mode records everything";
            problems.push(given.at.problem(what, "remove it, or turn zero_trust_mode off"));
            true
        }
        Some(given) => given.value,
        None => true,
    };
    let (enabled, calls, messages, security) = (
        on(&given.enabled),
        on(&given.include_mcp_calls),
        on(&given.include_agent_messages),
        on(&given.include_security_events),
    );
    let log_dir = given.log_dir.as_ref().and_then(|given| path(home, given, problems));
    let retention_days = given.retention_days.as_ref().map_or(90, |given| given.value);
    AuditConfig {
        enabled,
        log_dir: log_dir.unwrap_or_else(|| home.audit_dir()),
        durability: durability(typed, problems),
        rules: Rules {
            calls,
            messages,
            security,
            retention_days: u32::try_from(retention_days).unwrap_or(u32::MAX),
            max_total_size: given.max_total_size.as_ref().map(|given| given.value),
        },
    }
}

fn durability(typed: &Typed, problems: &mut Problems) -> Durability {
    let Some(given) = &typed.audit.durability else { return Durability::Fsync };
    let found = DURABILITIES.iter().find(|(word, _)| *word == given.value);
    match found {
        None => {
            let what = format!("{:?} is not one of them", given.value);
            problems.push(given.at.problem(what, "write \"fsync\" or \"interval\""));
        }
        Some((_, Durability::Interval)) if typed.zero_trust() => {
            let what = "zero_trust_mode lets nothing pass that is not on the disk";
            problems.push(given.at.problem(what, "remove it, or turn zero_trust_mode off"));
        }
        Some(_) => {}
    }
    found.map_or(Durability::Fsync, |(_, durability)| *durability)
}
