//! What was replaced in clients' files, so that it can come back: `clients.json` in the home's
//! state directory, mode 0600, since arguments may hold secrets.

use std::ops::Range;
use std::path::PathBuf;

use sealwire::home::Home;
use sealwire_identity::files;
use serde::{Deserialize, Serialize};

use super::Client;
use super::document::{self, Found, Program, Shape, Splice};

const VERSION: u32 = 1;

/// All that is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Installed {
    version: u32,
    pub(crate) entries: Vec<Replaced>,
}

/// One entry of a client's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replaced {
    pub(crate) client: String,
    pub(crate) file: PathBuf,
    pub(crate) table: Vec<String>,
    pub(crate) name: String,
    /// The server of this home that it reaches now.
    pub(crate) server: String,
    pub(crate) was: Was,
    /// The command and its arguments, as they were written.
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    /// The whole entry, as it was written in another one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wrote: Option<String>,
}

/// What was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Was {
    /// No such entry; whether there was a file.
    Nothing {
        /// Whether there was.
        file: bool,
        /// Where the entry was put.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        put: Option<Put>,
    },
    /// A program: the text of its command, and of its arguments if there were any.
    Program {
        /// As it stood.
        command: String,
        /// As they stood.
        args: Option<String>,
    },
    /// An entry that was replaced as a whole, as it stood.
    Whole(String),
}

/// The part of a file's text that became another one when an entry was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Put {
    before: String,
    after: String,
}

impl Put {
    /// The part in which the two differ.
    pub(crate) fn of(before: &str, after: &str) -> Self {
        let same = |pair: &(char, char)| pair.0 == pair.1;
        let length = |pairs: &mut dyn Iterator<Item = (char, char)>| -> usize {
            pairs.map(|(c, _)| c.len_utf8()).sum()
        };
        let start = length(&mut before.chars().zip(after.chars()).take_while(same));
        let (before, after) = (&before[start..], &after[start..]);
        let end = length(&mut before.chars().rev().zip(after.chars().rev()).take_while(same));
        let part = |text: &str| text[..text.len() - end].to_owned();
        Self { before: part(before), after: part(after) }
    }

    /// `text` as it was, if what was put stands there as it was put, once, around `at`.
    fn taken_out(&self, text: &str, at: &Range<usize>) -> Option<String> {
        let start = text.find(&self.after)?;
        if text.rfind(&self.after) != Some(start) {
            return None;
        }
        let end = start + self.after.len();
        let is_around = !self.after.is_empty() && start <= at.end && at.start <= end;
        is_around.then(|| format!("{}{}{}", &text[..start], self.before, &text[end..]))
    }
}

impl Installed {
    /// What is known in that home.
    ///
    /// # Errors
    /// If it cannot be read or understood; in one line.
    pub(crate) fn load(home: &Home) -> Result<Self, String> {
        let path = Self::path(home);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let read: Self = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        match read.version {
            VERSION => Ok(read),
            other => Err(format!("{}: it is of version {other}", path.display())),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If it cannot be written; in one line.
    pub(crate) fn store(&self, home: &Home) -> Result<(), String> {
        let of_now = Self { version: VERSION, entries: self.entries.clone() };
        let text = serde_json::to_vec_pretty(&of_now).map_err(|error| error.to_string())?;
        files::create_private_dir(home.state_dir())
            .and_then(|()| files::write_atomic(&Self::path(home), &text, 0o600))
            .map_err(|error| error.to_string())
    }

    /// Notes `new`, in place of what was said of the same entry.
    pub(crate) fn note(&mut self, new: Replaced) {
        self.forget(&new);
        self.entries.push(new);
    }

    /// Forgets one entry.
    pub(crate) fn forget(&mut self, gone: &Replaced) {
        self.entries.retain(|one| {
            (&one.file, &one.table, &one.name) != (&gone.file, &gone.table, &gone.name)
        });
    }

    fn path(home: &Home) -> PathBuf {
        home.state_dir().join("clients.json")
    }
}

fn would_lose(what: &str) -> String {
    format!("it was changed since, and would lose {what}: take that out of it, and run this again")
}

impl Replaced {
    /// `text` with this entry as it was before.
    ///
    /// # Errors
    /// Why it is left as it is.
    pub(crate) fn undone(&self, client: Client, text: &str) -> Result<String, String> {
        let (found, mut program) = self.find(client, text)?;
        if (&program.command, &program.args) != (&self.command, &self.args) {
            return Err("it was changed since, and starts another program now".to_owned());
        }
        // What we wrote goes as a whole then; what somebody has added would go with it.
        let goes = matches!(self.was, Was::Nothing { .. } | Was::Whole(_));
        let wrote = self.wrote.as_deref().map(|wrote| document::others(client, wrote));
        let added = if goes { program.additions(&wrote.unwrap_or_default()) } else { Vec::new() };
        if !added.is_empty() {
            return Err(would_lose(&added.join(", ")));
        }
        let undone = match &self.was {
            Was::Nothing { put, .. } => match self.taken_out(client, text, &found, put.as_ref()) {
                Some(undone) => undone,
                None => document::remove(client, text, &found)?,
            },
            Was::Whole(was) => {
                let splice = Splice { at: document::whole(&found)?, text: was.clone() };
                document::spliced(text, vec![splice])
            }
            Was::Program { command, args } => {
                let mut text = text.to_owned();
                if args.is_none() {
                    text = document::without_args(client, &text, &found, &program)?;
                    // The command may stand elsewhere now.
                    (_, program) = self.find(client, &text)?;
                }
                let mut splices = vec![Splice { at: program.command_at, text: command.clone() }];
                if let (Some(at), Some(args)) = (program.args_at, args) {
                    splices.push(Splice { at, text: args.clone() });
                }
                document::spliced(&text, splices)
            }
        };
        // Nobody but whoever wrote them since could write them again.
        let mut left = document::comments(client, &undone);
        for comment in document::comments(client, text) {
            match left.iter().position(|kept| *kept == comment) {
                Some(at) => drop(left.swap_remove(at)),
                None => return Err(would_lose("a comment")),
            }
        }
        Ok(undone)
    }

    /// `text` as it was before this entry was added, if nothing else has changed there.
    fn taken_out(
        &self,
        client: Client,
        text: &str,
        found: &Found,
        put: Option<&Put>,
    ) -> Option<String> {
        let undone = put?.taken_out(text, found.at.as_ref()?)?;
        let is_this = |one: &Found| one.table == self.table && one.name == self.name;
        let names = |found: Vec<Found>| -> Vec<_> {
            found.into_iter().map(|one| (one.table, one.name)).collect()
        };
        let mut others = document::read(client, text).ok()?;
        others.retain(|one| !is_this(one));
        (names(document::read(client, &undone).ok()?) == names(others)).then_some(undone)
    }

    /// The entry as it stands now.
    fn find(&self, client: Client, text: &str) -> Result<(Found, Program), String> {
        let found = document::read(client, text)?;
        let is_it = |one: &Found| one.table == self.table && one.name == self.name;
        let found = found.into_iter().find(is_it).ok_or("it is not there any more")?;
        match &found.shape {
            Shape::Program(program) => {
                let program = program.clone();
                Ok((found, program))
            }
            _ => Err("it was changed since".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_put_is_taken_out_only_where_it_was_put() {
        let put = Put::of("{\"a\": {}}", "{\"a\": {\"\u{e9}\": 1}}");
        assert_eq!(put, Put { before: String::new(), after: "\"\u{e9}\": 1".to_owned() });
        let out = |text: &str, at| put.taken_out(text, &at);
        assert_eq!(out("  {\"a\": {\"\u{e9}\": 1}}", 9..15).as_deref(), Some("  {\"a\": {}}"));
        assert_eq!(out("{\"a\": {\"\u{e9}\": 2}}", 7..13), None);
        assert_eq!(out("[\"\u{e9}\": 1, \"\u{e9}\": 1]", 1..7), None, "not once");
        assert_eq!(out("[\"\u{e9}\": 1        ]", 12..14), None, "elsewhere");
    }

    proptest! {
        #[test]
        fn what_was_put_comes_out_again(before in "[ab\u{e9}\n]{0,12}", after in "[ab\u{e9}\n]{0,12}") {
            let put = Put::of(&before, &after);
            let at = after.find(&put.after).unwrap();
            if after.rfind(&put.after) == Some(at) && !put.after.is_empty() {
                prop_assert_eq!(put.taken_out(&after, &(at..at)), Some(before));
            }
        }
    }
}
