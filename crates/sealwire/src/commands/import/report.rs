//! What an import takes, what it leaves, and what it weakens: for people, and for programs.

use sealwire::config::SecureMcpConfig;
use serde_json::{Value, json};

use super::super::install::of_defaults;
use super::weaker::Weaker;
use crate::cli::printable;

/// What becomes of a client's file.
#[derive(Default)]
pub(super) struct Report {
    pub(super) servers: Vec<Server>,
    pub(super) settings: Vec<Setting>,
    pub(super) weaker: Vec<Weaker>,
    left: Vec<(String, String)>,
    stays: Vec<(String, Vec<String>)>,
}

/// A server that is taken.
pub(super) struct Server {
    /// Its name here.
    pub(super) name: String,
    /// What the client calls it.
    pub(super) entry: String,
    /// Its table, without the values of variables.
    pub(super) table: String,
    /// Whether its level is that of `[defaults]`, if there is one: it is started here, and its table
    /// says none.
    pub(super) is_of_defaults: bool,
}

/// A setting that is taken.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    /// What it means here, where that is another thing.
    pub(super) meaning: Option<&'static str>,
}

impl Report {
    /// Something is not taken; why.
    pub(super) fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.left.push((what.into(), why.into()));
    }

    /// Keys of an entry are the client's own.
    pub(super) fn stays(&mut self, entry: impl Into<String>, keys: Vec<String>) {
        if !keys.is_empty() {
            self.stays.push((entry.into(), keys));
        }
    }

    /// Whether nothing is taken.
    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.settings.is_empty()
    }

    /// For people. `config` is what there will be.
    pub(super) fn text(&self, config: &SecureMcpConfig) -> String {
        let mut text = String::new();
        for server in &self.servers {
            for line in server.table.lines() {
                text.push_str(&format!("  + {}\n", printable(line)));
            }
        }
        let of_theirs = self.servers.iter().filter(|server| server.is_of_defaults);
        let of_theirs: Vec<&str> = of_theirs.map(|server| server.name.as_str()).collect();
        if !of_theirs.is_empty() {
            let whose = match of_theirs.len() == self.servers.len() {
                true => "Their level".to_owned(),
                false => format!("The level of {}", printable(&of_theirs.join(", "))),
            };
            text.push_str(&of_defaults(&whose, config));
        }
        for Setting { key, value, meaning } in &self.settings {
            text.push_str(&format!("  + {} = {}\n", printable(key), printable(value)));
            if let Some(meaning) = meaning {
                text.push_str(&format!("    here: {meaning}\n"));
            }
        }
        for (entry, keys) in &self.stays {
            let keys = printable(&keys.join(", "));
            text.push_str(&format!("  {}: stay with the client: {keys}\n", printable(entry)));
        }
        for (what, why) in &self.left {
            text.push_str(&format!("  {}: not taken: {}\n", printable(what), printable(why)));
        }
        for Weaker { key, what } in &self.weaker {
            text.push_str(&format!("  WEAKER: {}: {}\n", printable(key), printable(what)));
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self, is_written: bool) -> Value {
        let each = |pairs: &[(String, String)]| -> Vec<Value> {
            pairs.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect()
        };
        let servers: Vec<_> = (self.servers.iter())
            .map(|one| json!({ "name": one.name, "entry": one.entry, "table": one.table }))
            .collect();
        let settings: Vec<_> = (self.settings.iter())
            .map(|one| json!({ "key": one.key, "value": one.value, "meaning": one.meaning }))
            .collect();
        let weaker: Vec<_> =
            (self.weaker.iter()).map(|one| json!({ "key": one.key, "what": one.what })).collect();
        let stays: Vec<_> = (self.stays.iter())
            .map(|(entry, keys)| json!({ "entry": entry, "keys": keys }))
            .collect();
        json!({
            "written": is_written,
            "servers": servers,
            "settings": settings,
            "weaker": weaker,
            "stays_with_the_client": stays,
            "left": each(&self.left),
        })
    }
}
