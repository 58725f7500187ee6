//! Servers in TOML.

use std::ops::Range;

use toml_edit::{Document, Item, Key, TableLike, Value};

use super::Client;
use super::document::{Found, Program, Remote, Shape};

pub(super) fn read(client: Client, text: &str) -> Result<Vec<Found>, String> {
    let document = Document::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("it is not TOML: {} in line {line}", error.message().replace('\n', " "))
    })?;
    let key = client.table();
    let Some(servers) = document.get(key) else { return Ok(Vec::new()) };
    let servers = servers.as_table_like().ok_or_else(|| format!("{key:?} in it is no table"))?;
    let mut found = Vec::new();
    for (name, item) in servers.iter() {
        let at = region(text, key, name, item);
        let shape = match item.as_table_like() {
            Some(entry) => shape(text, item, entry, at.is_some()).unwrap_or_else(Shape::Unknown),
            None => Shape::Unknown("it is no table".to_owned()),
        };
        let table = vec![key.to_owned()];
        found.push(Found { table, name: name.to_owned(), shape, at });
    }
    Ok(found)
}

/// From its header to the end of the last line that is of it; `None` if anything else is there,
/// too: its tables may stand anywhere in the file.
fn region(text: &str, key: &str, name: &str, item: &Item) -> Option<Range<usize>> {
    let start = item.span()?.start;
    let mut end = item.span()?.end;
    extend(item, &mut end);
    let rest = &text[end..];
    let region = start..end + rest.find('\n').map_or(rest.len(), |at| at + 1);
    let alone = Document::parse(&text[region.clone()]).ok()?;
    let servers = alone.get(key)?.as_table_like()?;
    let is_only = |of: &dyn TableLike| of.iter().count() == 1;
    (is_only(alone.as_table()) && is_only(servers) && servers.get(name).is_some()).then_some(region)
}

fn extend(item: &Item, end: &mut usize) {
    *end = (*end).max(item.span().map_or(0, |span| span.end));
    if let Some(table) = item.as_table() {
        table.iter().for_each(|(_, item)| extend(item, end));
    }
}

fn shape(text: &str, item: &Item, entry: &dyn TableLike, is_whole: bool) -> Result<Shape, String> {
    if let Some(url) = entry.get("url") {
        let url = url.as_str().ok_or("its url is no text")?;
        if entry.get("command").is_some() {
            return Err("it has both command and url".to_owned());
        }
        if !is_whole {
            return Err("it does not stand in one place, under a header of its own".to_owned());
        }
        let others = others(entry, &["url"]);
        return Ok(Shape::Remote(Remote { url: url.to_owned(), others }));
    }
    let (key, command) = entry.get_key_value("command").ok_or("it has neither command nor url")?;
    let at = |item: &Item| item.span().ok_or("it cannot be found in the text");
    let args = entry.get("args");
    let mut program = Program {
        command: command.as_str().ok_or("its command is no text")?.to_owned(),
        command_at: at(command)?,
        args_at: args.map(at).transpose()?,
        args_place: args_place(text, item, key, at(command)?)?,
        is_off: entry.get("enabled").and_then(Item::as_bool) == Some(false),
        others: others(entry, &["command", "args", "env", "env_vars", "cwd"]),
        ..Program::default()
    };
    if let Some(args) = args {
        for item in args.as_array().ok_or("its args are no list")? {
            program.args.push(item.as_str().ok_or("its args are not all text")?.to_owned());
        }
    }
    if let Some(env) = entry.get("env") {
        for (name, value) in env.as_table_like().ok_or("its env is no table")?.iter() {
            let value = value.as_str().ok_or("its env is not all text")?;
            program.env.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some(names) = entry.get("env_vars") {
        for item in names.as_array().ok_or("its env_vars are no list")? {
            let name = item.as_str().or_else(|| item.as_inline_table()?.get("name")?.as_str());
            program.env_vars.push(name.ok_or("its env_vars are not all names")?.to_owned());
        }
    }
    if let Some(cwd) = entry.get("cwd") {
        program.cwd = Some(cwd.as_str().ok_or("its cwd is no text")?.to_owned());
    }
    Ok(Shape::Program(program))
}

/// The keys of an entry that are not `known`.
fn others(entry: &dyn TableLike, known: &[&str]) -> Vec<String> {
    let mut others = Vec::new();
    for (name, item) in entry.iter().filter(|(name, _)| !known.contains(name)) {
        match item.as_table_like().filter(|inner| !inner.is_empty()) {
            None => others.push(name.to_owned()),
            Some(inner) => {
                others.extend(inner.iter().map(|(inner, _)| format!("{name}.{inner}")));
            }
        }
    }
    others
}

/// In a line of their own before the command's, as a comment may follow that; in an inline table
/// behind it.
fn args_place(
    text: &str,
    entry: &Item,
    key: &Key,
    command: Range<usize>,
) -> Result<(usize, String, String), &'static str> {
    if entry.is_inline_table() {
        return Ok((command.end, ", args = ".to_owned(), String::new()));
    }
    let key = key.span().ok_or("it cannot be found in the text")?.start;
    let line = text[..key].rfind('\n').map_or(0, |at| at + 1);
    if !text[line..key].trim().is_empty() {
        return Err("it is written in another way than under a header");
    }
    let end = if text[command.end..].starts_with("\r\n") { "\r\n" } else { "\n" };
    Ok((line, format!("{}args = ", &text[line..key]), end.to_owned()))
}

pub(super) fn string(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn entry(table: &[String], name: &str, command: &str, args: &[String]) -> String {
    let key: Vec<_> = table.iter().map(String::as_str).chain([name]).map(key).collect();
    let args: Vec<_> = args.iter().map(|arg| string(arg)).collect();
    let (key, command, args) = (key.join("."), string(command), args.join(", "));
    format!("[{key}]\ncommand = {command}\nargs = [{args}]\n")
}

/// A name as it stands in a header.
fn key(name: &str) -> String {
    Key::new(name).display_repr().into_owned()
}

pub(super) fn add(
    client: Client,
    text: &str,
    name: &str,
    command: &str,
    args: &[String],
) -> String {
    let entry = entry(&[client.table().to_owned()], name, command, args);
    match text.trim().is_empty() {
        true => entry,
        false if text.ends_with('\n') => format!("{text}\n{entry}"),
        false => format!("{text}\n\n{entry}"),
    }
}
