//! Keys as they are shown, and noted in the log.

use sealwire::agents::{Generation, RevokedKeys};
use sealwire_audit::ChangeKind;
use sealwire_envelope::Bundle;
use serde::Serialize;

use super::{Keys, ListArguments};
use crate::cli::{Failure, print, print_json};
use crate::control::note;

/// Seconds.
const DAY: u64 = 86_400;

/// A generation of keys as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    agent: String,
    /// Whether the agent is of this home.
    own: bool,
    /// To be read aloud.
    fingerprint: String,
    /// All of it.
    signing_kid: String,
    recipient_kid: String,
    number: u64,
    not_before: String,
    /// Since then, in whole days.
    age_days: u64,
    /// When it should be replaced.
    due: String,
    not_after: String,
    state: State,
    /// When it was replaced.
    replaced: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Current,
    /// To be replaced.
    Due,
    Expired,
    /// Kept for mail that may wait.
    Replaced,
    /// By the agent's name, or with the authority that has vouched for them: they count no more.
    Revoked,
}

impl Keys {
    pub(super) fn list(&self, arguments: &ListArguments) -> Result<(), Failure> {
        self.store.destroy_outdated(self.now)?;
        let (rows, without) = self.rows()?;
        if arguments.json {
            return print_json(&rows);
        }
        let mut text = String::new();
        let width = rows.iter().map(|row| row.agent.len()).max().unwrap_or_default();
        for row in &rows {
            let until = match row.state {
                State::Current => format!("due {}", row.due),
                State::Due => format!("due since {}: sealwire key rotate {}", row.due, row.agent),
                State::Expired => format!("expired {}", row.not_after),
                State::Replaced => format!("replaced {}", row.replaced.as_deref().unwrap_or("")),
                State::Revoked if row.own && row.replaced.is_none() => {
                    format!("revoked: sealwire key rotate {} --compromised", row.agent)
                }
                State::Revoked => "revoked".to_owned(),
            };
            let whose = if row.own { "own      " } else { "elsewhere" };
            let (agent, fingerprint) = (&row.agent, &row.fingerprint);
            text.push_str(&format!("{agent:width$}  {fingerprint}  {whose}  {until}\n"));
        }
        for agent in without {
            text.push_str(&format!("{agent:width$}  has no keys: sealwire key new {agent}\n"));
        }
        if text.is_empty() {
            text.push_str("no agents: name them in agents of [agent_security]\n");
        }
        print(&text)
    }

    /// All that there are, and the agents of this home that have none.
    pub(super) fn rows(&self) -> Result<(Vec<Row>, Vec<&str>), Failure> {
        let mut rows = Vec::new();
        let mut without = Vec::new();
        let revoked = RevokedKeys::of(&self.config, &self.store, self.now)?;
        for agent in &self.config.agent_security.agents {
            if !self.store.has(agent) {
                without.push(agent.as_str());
                continue;
            }
            let generations = self.store.generations(agent)?;
            rows.extend(generations.iter().map(|generation| self.row(generation, true, &revoked)));
        }
        for generations in self.store.known(self.now)?.values() {
            rows.extend(generations.iter().map(|generation| self.row(generation, false, &revoked)));
        }
        Ok((rows, without))
    }

    fn row(&self, generation: &Generation, own: bool, revoked: &RevokedKeys) -> Row {
        let Generation { bundle, replaced } = generation;
        let due = self.store.due(bundle);
        let state = match replaced {
            _ if revoked.holds(bundle) => State::Revoked,
            Some(_) => State::Replaced,
            None if bundle.not_after <= self.now => State::Expired,
            // Only its owner can do something about it.
            None if own && due <= self.now => State::Due,
            None => State::Current,
        };
        Row {
            agent: bundle.agent.to_string(),
            own,
            fingerprint: bundle.fingerprint().to_string(),
            signing_kid: bundle.fingerprint().to_hex(),
            recipient_kid: bundle.recipient.kid().to_hex(),
            number: bundle.number,
            not_before: bundle.not_before.to_string(),
            age_days: bundle.not_before.until(self.now).unwrap_or_default().as_secs() / DAY,
            due: due.to_string(),
            not_after: bundle.not_after.to_string(),
            state,
            replaced: replaced.map(|at| at.to_string()),
        }
    }

    pub(super) fn tell(
        &self,
        done: &str,
        bundles: &[Bundle],
        json: bool,
        nothing: &str,
    ) -> Result<(), Failure> {
        let is_own = |bundle: &Bundle| self.config.agent_security.agents.contains(&bundle.agent);
        let revoked = RevokedKeys::of(&self.config, &self.store, self.now)?;
        let row = |bundle: &Bundle| {
            let generation = Generation { bundle: bundle.clone(), replaced: None };
            self.row(&generation, is_own(bundle), &revoked)
        };
        let rows: Vec<Row> = bundles.iter().map(row).collect();
        for Row { agent, fingerprint, .. } in &rows {
            let detail = format!("{done}, fingerprint {fingerprint}");
            note(&self.config, ChangeKind::KeyChanged, agent, &detail);
        }
        if json {
            return print_json(&rows);
        }
        let line = |Row { agent, fingerprint, not_after, .. }: &Row| {
            format!("{done} {agent}  fingerprint {fingerprint}  valid until {not_after}\n")
        };
        let text: String = rows.iter().map(line).collect();
        print(&if text.is_empty() { format!("{nothing}\n") } else { text })
    }
}
