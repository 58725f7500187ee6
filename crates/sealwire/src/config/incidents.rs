//! `[incidents]`: when refusals are too many, and what follows.

use std::time::Duration;

use sealwire_guard::{IncidentAction, IncidentKind, IncidentRule, IncidentRules};

use super::document::{Located, Section};
use super::error::Problems;
use super::{schema, typed};

/// `[incidents.<kind>]`, as typed.
#[derive(Debug)]
pub(crate) struct TypedIncident {
    kind: IncidentKind,
    trigger: Option<Located<u64>>,
    window: Option<Located<Duration>>,
    action: Option<Located<String>>,
    expiry: Option<Located<Duration>>,
}

impl TypedIncident {
    /// Reads each kind that is there.
    pub(crate) fn read_all(section: &Section<'_>, problems: &mut Problems) -> Vec<Self> {
        let read = |kind: IncidentKind| {
            let section = section.section(kind.as_str(), &schema::INCIDENT, problems)?;
            let most = u64::from(IncidentRule::MOST_EVENTS);
            Some(Self {
                kind,
                trigger: section.integer("trigger", 1..=most, problems),
                window: section.duration("window", problems),
                action: section.string("action", problems),
                expiry: section.duration("expiry", problems),
            })
        };
        IncidentKind::ALL.into_iter().filter_map(read).collect()
    }
}

/// Checks all of it.
pub(crate) fn check(typed: &typed::Typed, problems: &mut Problems) -> IncidentRules {
    let mut rules = IncidentRules::default();
    for kind in IncidentKind::ALL {
        let mut rule = kind.default_rule();
        if typed.zero_trust() {
            rule.action = strongest(kind);
        }
        if let Some(given) = typed.incidents.iter().find(|given| given.kind == kind) {
            read(given, &mut rule, typed.zero_trust(), problems);
        }
        rules.set(kind, rule);
    }
    rules
}

fn read(given: &TypedIncident, rule: &mut IncidentRule, zero_trust: bool, problems: &mut Problems) {
    if let Some(action) = &given.action {
        rule.action = self::action(given.kind, action, zero_trust, problems).unwrap_or(rule.action);
    }
    if rule.action == IncidentAction::Off {
        let counts = given.trigger.as_ref().map(|given| &given.at);
        let times = [&given.window, &given.expiry].into_iter().flatten().map(|given| &given.at);
        for at in counts.into_iter().chain(times) {
            let what = "has no effect where action is \"off\"";
            problems.push(at.problem(what, "remove it, or choose another action"));
        }
    }
    if let Some(trigger) = &given.trigger {
        rule.trigger = u32::try_from(trigger.value).unwrap_or(IncidentRule::MOST_EVENTS);
    }
    if let Some(window) = &given.window {
        rule.window = window.value;
    }
    if let Some(expiry) = &given.expiry {
        rule.expiry = expiry.value;
    }
}

/// The action that was meant, if it can follow.
fn action(
    kind: IncidentKind,
    given: &Located<String>,
    zero_trust: bool,
    problems: &mut Problems,
) -> Option<IncidentAction> {
    let choices: Vec<_> =
        kind.actions().iter().map(|action| format!("\"{}\"", action.as_str())).collect();
    let remedy = format!("write one of {}", choices.join(", "));
    let named = IncidentAction::ALL.into_iter().find(|action| action.as_str() == given.value);
    let what = match named {
        Some(IncidentAction::Off) if zero_trust => {
            "zero_trust_mode counts every kind of incident".to_owned()
        }
        Some(action) if kind.actions().contains(&action) => return Some(action),
        Some(action) => format!("\"{action}\" cannot follow from {kind}: {}", kind.why_no_other()),
        None => format!("{:?} is no action", given.value),
    };
    problems.push(given.at.problem(what, remedy));
    None
}

/// What can be done at most.
fn strongest(kind: IncidentKind) -> IncidentAction {
    kind.actions().last().copied().unwrap_or(IncidentAction::Notify)
}
