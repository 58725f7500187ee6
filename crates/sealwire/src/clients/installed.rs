//! What was replaced in clients' files, so that it can come back: `clients.json` in the home's
//! state directory, mode 0600, since arguments may hold secrets.

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
}

/// What was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Was {
    /// No such entry; whether there was a file.
    Nothing {
        /// Whether there was.
        file: bool,
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
        let added = if goes { program.additions() } else { Vec::new() };
        if !added.is_empty() {
            return Err(format!(
                "it was changed since, and would lose {}: take that out of it, and run this again",
                added.join(", ")
            ));
        }
        match &self.was {
            Was::Nothing { .. } => document::remove(client, text, &found),
            Was::Whole(was) => {
                let splice = Splice { at: document::whole(&found)?, text: was.clone() };
                Ok(document::spliced(text, vec![splice]))
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
                Ok(document::spliced(&text, splices))
            }
        }
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
