//! The text of a client's file, and what of it is servers.

use std::ops::Range;

use super::file::with_line_ends_of;
use super::{Client, Syntax, json, toml};

/// One entry of a client's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The keys that lead to the table it is in.
    pub(crate) table: Vec<String>,
    /// Its name there.
    pub(crate) name: String,
    /// What it says.
    pub(crate) shape: Shape,
    /// Where it stands: with its header in TOML, its value alone in JSON. `None` if it cannot be
    /// taken out of there as a whole: other things stand between its tables, or it has no header.
    pub(crate) at: Option<Range<usize>>,
}

impl Found {
    /// What people call it: its name, and where it is if that is one project alone.
    pub(crate) fn title(&self) -> String {
        title(&self.table, &self.name)
    }

    /// Notes that the client does not start it, or go there, whatever the entry itself says.
    pub(super) fn turn_off(&mut self) {
        match &mut self.shape {
            Shape::Program(program) => program.is_off = true,
            Shape::Remote(remote) => remote.is_off = true,
            Shape::Unknown(_) => {}
        }
    }
}

/// What people call the entry of that name in that table.
pub(crate) fn title(table: &[String], name: &str) -> String {
    match table {
        [_, project, _] => format!("{name} (in {project})"),
        _ => name.to_owned(),
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A program is started.
    Program(Program),
    /// A server elsewhere is reached by its URL.
    Remote(Remote),
    /// It is not understood; why.
    Unknown(String),
}

/// A server that is reached by its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) url: String,
    /// Whether the client does not go there for now.
    pub(crate) is_off: bool,
    /// The other keys of the entry, as [`Program::others`].
    pub(crate) others: Vec<Other>,
}

/// A key of an entry that is neither its program nor its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) key: String,
    /// One of those in it, where it is a table.
    pub(crate) inner: Option<String>,
    /// What it says, however that is written. It may be a secret.
    pub(crate) value: String,
}

impl Other {
    /// The key, for people.
    pub(crate) fn name(&self) -> String {
        match &self.inner {
            Some(inner) => format!("{}.{inner}", self.key),
            None => self.key.clone(),
        }
    }

    /// Whether it means the same to the client however the server is reached.
    pub(crate) fn is_kept(&self, client: Client) -> bool {
        client.settings().contains(&self.key.as_str())
    }
}

/// A program to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    /// Variables that the entry sets, with their values.
    pub(crate) env: Vec<(String, String)>,
    /// Variables of the client's own that it passes on.
    pub(crate) env_vars: Vec<String>,
    pub(crate) cwd: Option<String>,
    /// A file with more variables, whose names nobody knows here.
    pub(crate) env_file: bool,
    /// Whether the client does not start it for now.
    pub(crate) is_off: bool,
    /// The other keys of the entry, which are between the client and itself.
    pub(crate) others: Vec<Other>,
    /// Where its command stands, and its arguments, if there are any.
    pub(crate) command_at: Range<usize>,
    pub(crate) args_at: Option<Range<usize>>,
    /// Where arguments would be put in, and what would stand around them.
    pub(crate) args_place: (usize, String, String),
}

impl Program {
    /// The keys of the entry that say anything beyond its command and arguments, and beyond what
    /// is `known` of it.
    pub(crate) fn additions(&self, known: &[Other]) -> Vec<String> {
        let own = [
            ("env", !self.env.is_empty()),
            ("env_vars", !self.env_vars.is_empty()),
            ("cwd", self.cwd.is_some()),
            ("envFile", self.env_file),
        ];
        let own = own.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key.to_owned());
        let others = self.others.iter().filter(|other| !known.contains(other)).map(Other::name);
        own.chain(others).collect()
    }
}

/// A piece of text in another one's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// What the file of a client says.
///
/// # Errors
/// Why it is not understood. Nothing of it is shown: there may be secrets in it.
pub(crate) fn read(client: Client, text: &str) -> Result<Vec<Found>, String> {
    match client.syntax() {
        Syntax::Json => json::read(client, text),
        Syntax::Toml => toml::read(client, text),
    }
}

/// Turns off those of which a file of switches says so: an object for each name, in small letters.
///
/// # Errors
/// Why it is not understood; then nothing is turned off, by the client either.
pub(super) fn switch_off(found: &mut [Found], switches: &str) -> Result<(), String> {
    let switches: serde_json::Value =
        serde_json::from_str(switches).map_err(|_| "it is not JSON".to_owned())?;
    if !switches.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    let is_off = |one: &Found| switches[one.name.trim().to_lowercase()]["enabled"] == false;
    found.iter_mut().filter(|one| is_off(one)).for_each(Found::turn_off);
    Ok(())
}

/// Text in the file's own syntax.
pub(crate) fn string(client: Client, text: &str) -> String {
    match client.syntax() {
        Syntax::Json => json::string(text),
        Syntax::Toml => toml::string(text),
    }
}

/// The same of a list.
pub(crate) fn list(client: Client, items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| string(client, item)).collect();
    format!("[{}]", items.join(", "))
}

/// A whole entry, to stand in the place of `was`, the text of that of a server at a URL, with what
/// the client is told of the server.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn entry(
    client: Client,
    found: &Found,
    was: &str,
    command: &str,
    args: &[String],
) -> Result<String, String> {
    let entry = match client.syntax() {
        Syntax::Json => json::entry(client, was, command, args)?,
        Syntax::Toml => toml::entry(client, &found.name, was, command, args)?,
    };
    Ok(with_line_ends_of(was, &entry))
}

/// What an entry says that stood there by itself, beside its program.
pub(crate) fn others(client: Client, entry: &str) -> Vec<Other> {
    let alone = match client.syntax() {
        Syntax::Json => format!("{{\"{}\": {{\"x\": {entry}}}}}", client.table()),
        Syntax::Toml => entry.to_owned(),
    };
    match read(client, &alone).ok().and_then(|mut found| found.pop()).map(|one| one.shape) {
        Some(Shape::Program(program)) => program.others,
        _ => Vec::new(),
    }
}

/// The comments in a client's file.
pub(crate) fn comments(client: Client, text: &str) -> Vec<String> {
    match client.syntax() {
        Syntax::Json => json::comments(text),
        Syntax::Toml => toml::comments(text),
    }
}

/// `text` with one more entry, in the table of all projects.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn add(
    client: Client,
    text: &str,
    name: &str,
    command: &str,
    args: &[String],
) -> Result<String, String> {
    let added = match client.syntax() {
        Syntax::Json => json::add(client, text, name, command, args)?,
        Syntax::Toml => toml::add(client, text, name, command, args),
    };
    // Not to a table that is written in another way, such as within braces.
    read(client, &added).map_err(|why| format!("with {name:?} added, {why}"))?;
    Ok(added)
}

/// `text` without an entry.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn remove(client: Client, text: &str, found: &Found) -> Result<String, String> {
    match client.syntax() {
        Syntax::Json => json::remove(text, &found.table, &found.name),
        Syntax::Toml => {
            let Range { mut start, end } = whole(found)?;
            // The empty line that `add` has put before it.
            if text[..start].ends_with("\n\n") {
                start -= 1;
            }
            Ok(format!("{}{}", &text[..start], &text[end..]))
        }
    }
}

/// Where an entry stands that is to go as a whole.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn whole(found: &Found) -> Result<Range<usize>, String> {
    let elsewhere = "it does not stand in one place, under a header of its own";
    found.at.clone().ok_or_else(|| elsewhere.to_owned())
}

/// `text` without the arguments of an entry, where there were none before.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn without_args(
    client: Client,
    text: &str,
    found: &Found,
    program: &Program,
) -> Result<String, String> {
    let Some(args) = &program.args_at else { return Ok(text.to_owned()) };
    let (_, before, after) = &program.args_place;
    let at = args.start.saturating_sub(before.len())..args.end + after.len();
    // Where they were put in, unless somebody has moved them since.
    let is_put = |put: &str| put.starts_with(before) && put.ends_with(after);
    if !before.is_empty() && text.get(at.clone()).is_some_and(is_put) {
        return Ok(spliced(text, vec![Splice { at, text: String::new() }]));
    }
    match client.syntax() {
        Syntax::Json => {
            let entry: Vec<_> = found.table.iter().chain([&found.name]).cloned().collect();
            json::remove(text, &entry, "args")
        }
        Syntax::Toml => Err("its args were moved since".to_owned()),
    }
}

/// Whether a file that we have made says nothing any more.
pub(crate) fn is_bare(text: &str) -> bool {
    let is_empty =
        |value: &serde_json::Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let is_table = |key: &str| Client::ALL.iter().any(|client| client.table() == key);
    let read = || serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    text.trim().is_empty()
        || read().is_ok_and(|read| read.iter().all(|(key, value)| is_table(key) && is_empty(value)))
}

/// `text` with all of these, none of which overlaps another.
pub(crate) fn spliced(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| std::cmp::Reverse(splice.at.start));
    let mut text = text.to_owned();
    for Splice { at, text: with } in splices {
        text.replace_range(at, &with);
    }
    text
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
