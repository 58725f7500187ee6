//! Settings that stand in a Codex `config.toml` under the names that they have here.

use sealwire::config::{ConfigError, SecureMcpConfig};
use toml_edit::{DocumentMut, Item, Table, TableLike};

use crate::cli::{Context, Failure, printable};
use crate::clients::file::Original;

/// The tables that are read. `[mcp_servers]` is read with the servers.
const TABLES: [&str; 3] = ["security", "agent_security", "audit"];

/// Keys that are taken, and mean another thing here than their words may let one think.
const MEANINGS: [(&str, &str); 8] = [
    (
        "security.zero_trust_mode",
        "holds for all servers and agents of this home, and is refused together with what weakens it",
    ),
    ("security.certificates.", "paths start at sealwire's home, not at Codex's"),
    ("security.rate_limiting.", "is enforced, for each peer, by `serve` and `connect`"),
    (
        "security.replay_protection.",
        "is about messages between agents; the link between two sealwires has its own",
    ),
    ("agent_security.trust", "whoever is not named may send to nobody"),
    (
        "agent_security.rate_limiting.",
        "is counted where messages are sent and where they are received",
    ),
    ("audit.log_dir", "a relative path starts at sealwire's home; only sealwire writes there"),
    ("audit.retention_days", "what is older is removed, up to a signed index"),
];

/// What is taken over.
#[derive(Default)]
pub(super) struct Settings {
    /// Key and value, as they stand in the file that they are from.
    taken: Vec<(Vec<String>, Item)>,
    /// What is not; why.
    left: Vec<(String, String)>,
}

/// What the text says that the configuration does not say, and can.
pub(super) fn of(text: &str, context: &Context) -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    // It was read before.
    let Ok(document) = text.parse::<DocumentMut>() else { return Ok(settings) };
    let mut leaves = Vec::new();
    for name in TABLES {
        if let Some(table) = document.get(name).and_then(Item::as_table_like) {
            collect(table, &mut vec![name.to_owned()], &mut leaves);
        }
    }
    let original = own(context)?;
    for (path, value) in leaves {
        let mut candidate = with(original.text(), &settings.taken)?;
        if lookup(&candidate, &path).is_some() {
            settings.left.push((path.join("."), "sealwire.toml says it already".to_owned()));
            continue;
        }
        put(&mut candidate, &path, value.clone());
        match SecureMcpConfig::parse(context.home.root(), &candidate.to_string()) {
            Ok(_) => settings.taken.push((path, value)),
            Err(error) => settings.left.push((path.join("."), why(&error))),
        }
    }
    Ok(settings)
}

impl Settings {
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// What is taken, what it means, and what is not.
    pub(super) fn shown(&self) -> String {
        let mut text = String::new();
        for (path, value) in &self.taken {
            let key = path.join(".");
            text.push_str(&format!("  + {key} = {}\n", printable(value.to_string().trim())));
            let meaning = MEANINGS.iter().find(|(of, _)| key.starts_with(of));
            if let Some((_, meaning)) = meaning {
                text.push_str(&format!("    here: {meaning}\n"));
            }
        }
        for (key, why) in &self.left {
            text.push_str(&format!("  {}: not taken: {}\n", printable(key), printable(why)));
        }
        text
    }

    pub(super) fn write(&self, context: &Context) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let original = own(context)?;
        let text = with(original.text(), &self.taken)?.to_string();
        SecureMcpConfig::parse(context.home.root(), &text)?;
        original.replace(&text).map_err(|error| unwritable(context, &error.to_string()))
    }
}

fn own(context: &Context) -> Result<Original, Failure> {
    Original::read(&context.config_file).map_err(|why| unwritable(context, &why))
}

fn unwritable(context: &Context, why: &str) -> Failure {
    Failure::config("the configuration cannot be added to")
        .at(context.config_file.display())
        .because(why)
}

/// The first thing that is wrong, in one line.
fn why(error: &ConfigError) -> String {
    error
        .problems()
        .first()
        .map_or_else(String::new, |problem| format!("{}; {}", problem.what, problem.remedy))
}

/// Every key that has a value, not a table.
fn collect(table: &dyn TableLike, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Item)>) {
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item.as_table_like() {
            Some(inner) => collect(inner, path, leaves),
            None => leaves.push((path.clone(), item.clone())),
        }
        path.pop();
    }
}

fn with(text: &str, taken: &[(Vec<String>, Item)]) -> Result<DocumentMut, Failure> {
    let parsed = text.parse::<DocumentMut>();
    let mut document = parsed.map_err(|error| Failure::config(error.message().to_owned()))?;
    for (path, value) in taken {
        put(&mut document, path, value.clone());
    }
    Ok(document)
}

fn lookup<'d>(document: &'d DocumentMut, path: &[String]) -> Option<&'d Item> {
    let mut item = document.as_item();
    for key in path {
        item = item.as_table_like()?.get(key)?;
    }
    Some(item)
}

fn put(document: &mut DocumentMut, path: &[String], value: Item) {
    let Some((last, tables)) = path.split_last() else { return };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, key) in tables.iter().enumerate() {
        let fresh = || {
            let mut fresh = Table::new();
            // Without a header of its own unless something stands in it.
            fresh.set_implicit(depth + 1 < tables.len());
            Item::Table(fresh)
        };
        let Some(inner) = table.entry(key).or_insert_with(fresh).as_table_like_mut() else {
            return;
        };
        table = inner;
    }
    table.insert(last, value);
}
