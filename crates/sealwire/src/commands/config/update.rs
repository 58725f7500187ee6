//! `config update`: a `sealwire.toml` of an earlier version in the form of this one.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use sealwire::config::{RETIRED, Replacement, Retired, SecureMcpConfig};
use sealwire_identity::files;
use serde_json::{Value, json};
use toml_edit::{DocumentMut, Item};

use crate::cli::{Context, Failure, printable};
use crate::clients::file::{Original, with_line_ends_of};
use crate::commands::install::{Consent, Proposal};
use crate::commands::issuing::HomeLock;

/// Copies of the file that are kept at most: more are not made by updates.
const MOST_COPIES: u32 = 1000;

/// Bring a configuration of an earlier version to the form of this one
///
/// Keys that are not known any more go, and values that are not accepted any more become those
/// that held in their place. Nothing else changes, and nothing that `config check` would refuse is
/// written. What changes is shown first, and the file as it was is kept beside it. A file that is
/// of this version's form already is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire config update --dry-run
  sealwire config update --yes

More: docs/day-two.md")]
pub(super) struct Arguments {
    #[command(flatten)]
    consent: Consent,
}

/// One change, in the order in which they are made.
#[derive(Debug)]
struct Change {
    key: String,
    why: &'static str,
    /// The lines that go, and those that come.
    removed: Vec<String>,
    added: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    arguments.consent.check()?;
    let path = &context.config_file;
    // What says why it cannot be read at all is not said twice.
    if !path.exists() {
        return context.load_config().map(drop);
    }
    let _lock = HomeLock::acquire_as_owner(&context.home)?;
    let unusable = |why: String| {
        Failure::config("the configuration cannot be updated").at(path.display()).because(why)
    };
    let original = Original::read(path).map_err(unusable)?;
    let (text, changes) = updated(original.text()).map_err(unusable)?;
    let now = SecureMcpConfig::load_text(context.home.root(), path, &text);
    let is_idle = changes.is_empty();
    // Also where there was nothing to do: it is of no form that this version knows.
    let invalid = now.err().map(|error| match is_idle {
        true => Failure::from(error),
        false => Failure::from(error)
            .because("nothing was written: lines are those of the file as it would be"),
    });
    let unwritable = || {
        let why = original.obstacle().filter(|_| !is_idle)?;
        Some(unusable(why).fix("put that right, or write what is shown yourself"))
    };
    let proposal = Proposal {
        shown: shown(path, &changes),
        obstacle: invalid.or_else(unwritable),
        idle: is_idle.then(String::new),
        question: "Write this?".to_owned(),
    };
    let done = arguments.consent.settle(
        proposal,
        || write(&original, &text).map_err(|why| unusable(why).fix("run this again")),
        |kept| {
            json!({
                "file": path,
                "changed": kept.is_some(),
                "kept": kept,
                "changes": changes.iter().map(as_json).collect::<Vec<_>>(),
            })
        },
        |kept| match kept {
            None => "Nothing was changed.\n".to_owned(),
            Some(kept) => format!("Written. As it was: {}\n", kept.display()),
        },
    );
    done.map(drop)
}

/// The text in today's form, and what was changed for that.
fn updated(text: &str) -> Result<(String, Vec<Change>), String> {
    // Of a syntax error only the message is shown: the line may hold a secret.
    let parsed = text.parse::<DocumentMut>();
    let mut document = parsed
        .map_err(|error| format!("not valid TOML: {}", error.message().replace('\n', " ")))?;
    let mut changes = Vec::new();
    for Retired { table, key, now, why } in RETIRED {
        let before = document.to_string();
        let Some(table_like) = document.get_mut(table).and_then(Item::as_table_like_mut) else {
            continue;
        };
        match (now, table_like.get_mut(key)) {
            (_, None) => continue,
            (Replacement::Gone, Some(_)) => drop(table_like.remove(key)),
            (Replacement::AtMost(most), Some(item)) => {
                let Some(value) = item.as_value_mut() else { continue };
                if value.as_integer().is_none_or(|value| value <= most) {
                    continue;
                }
                let decor = value.decor().clone();
                *value = most.into();
                *value.decor_mut() = decor;
            }
        }
        let (removed, added) = difference(&before, &document.to_string());
        changes.push(Change { key: format!("{table}.{key}"), why, removed, added });
    }
    // Of what did not change, not a byte is another one.
    let text = match changes.is_empty() {
        true => text.to_owned(),
        false => with_line_ends_of(text, &document.to_string()),
    };
    Ok((text, changes))
}

/// The lines that only one of the two has, where they differ in one place.
fn difference(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old[start..].iter().rev().zip(new[start..].iter().rev());
    let end = rest.take_while(|(old, new)| old == new).count();
    let part = |lines: &[&str]| {
        lines[start..lines.len() - end].iter().map(|line| (*line).to_owned()).collect()
    };
    (part(&old), part(&new))
}

fn shown(path: &Path, changes: &[Change]) -> String {
    if changes.is_empty() {
        return format!("{} is of this version's form: nothing to update.\n", path.display());
    }
    let mut text = format!("{}:\n", path.display());
    for Change { key, why, removed, added } in changes {
        text.push_str(&format!("  {key}: {why}\n"));
        for (sign, lines) in [('-', removed), ('+', added)] {
            for line in lines {
                text.push_str(&format!("  {sign} {}\n", printable(line)));
            }
        }
    }
    text
}

fn as_json(change: &Change) -> Value {
    json!({
        "key": change.key,
        "why": change.why,
        "removed": change.removed,
        "added": change.added,
    })
}

/// Keeps what was there, under a name that nothing has, and writes what is new.
fn write(original: &Original, text: &str) -> Result<PathBuf, String> {
    let kept = keep(original)?;
    match original.replace(text) {
        Ok(()) => Ok(kept),
        Err(error) => {
            let why = error.to_string();
            // It is no earlier form of what is there.
            match fs::remove_file(&kept) {
                Ok(()) => Err(why),
                Err(error) => Err(format!("{why}; {} stays: {error}", kept.display())),
            }
        }
    }
}

fn keep(original: &Original) -> Result<PathBuf, String> {
    for number in 1..=MOST_COPIES {
        let mut name = original.path.clone().into_os_string();
        name.push(format!(".before-{number}"));
        let path = PathBuf::from(name);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        // There may be secrets in it.
        let written = files::write_new(&path, original.bytes(), files::PRIVATE_FILE);
        return written.map(|()| path).map_err(|error| error.to_string());
    }
    Err(format!("there are {MOST_COPIES} copies of it already: remove some"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_goes_and_all_else_stays() {
        let old = "# mine\n[mailbox] # mail\nfile = \"m.db\"\nmax_message_size = \"2KiB\" # small\n\
                   retention_days = 90 # long\n\n[listen]\nidle_timeout = \"9s\"\n";
        let (text, changes) = updated(old).unwrap();
        assert_eq!(
            text,
            "# mine\n[mailbox] # mail\nfile = \"m.db\"\nretention_days = 30 # long\n\n[listen]\n\
             idle_timeout = \"9s\"\n"
        );
        let told: Vec<_> = changes.iter().map(|one| (&one.removed[..], &one.added[..])).collect();
        let lines = |line: &str| vec![line.to_owned()];
        assert_eq!(told[0], (&lines("max_message_size = \"2KiB\" # small")[..], &[][..]));
        assert_eq!(
            told[1],
            (&lines("retention_days = 90 # long")[..], &lines("retention_days = 30 # long")[..])
        );
        let (again, changes) = updated(&text).unwrap();
        assert!(changes.is_empty() && again == text);
    }

    #[test]
    fn lines_end_as_they_did() {
        let old = "[mailbox]\r\nmax_message_size = 1\r\nfile = \"m\"\r\n\r\n# mine\r\n";
        let (text, changes) = updated(old).unwrap();
        assert_eq!(text, "[mailbox]\r\nfile = \"m\"\r\n\r\n# mine\r\n");
        assert_eq!(changes[0].removed, ["max_message_size = 1"]);
    }

    #[test]
    fn a_table_within_braces_is_one_too() {
        let (text, changes) =
            updated("mailbox = { max_message_size = 1, file = \"m\" }\n").unwrap();
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["mailbox"].as_table().unwrap().len(), 1);
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn what_is_of_todays_form_stays_byte_for_byte() {
        for text in ["", "\u{feff}", "[mailbox]\r\nretention_days = 30\r\n", "mailbox = 5", "x=1"] {
            let (same, changes) = updated(text).unwrap();
            assert!(changes.is_empty() && same == text, "{text:?}");
        }
        assert!(updated("[mailbox").unwrap_err().contains("not valid TOML"));
    }
}
