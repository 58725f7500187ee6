//! Servers in TOML.

use std::ops::Range;

use toml_edit::{Array, Document, DocumentMut, Item, Key, TableLike, Value};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::Client;
use super::document::{Found, Other, Program, Remote, Shape};

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
    let mut whole = item.span()?;
    extend(item, &mut whole);
    let end = whole.end;
    if whole.start < start {
        return None;
    }
    let rest = &text[end..];
    let region = start..end + rest.find('\n').map_or(rest.len(), |at| at + 1);
    let alone = Document::parse(&text[region.clone()]).ok()?;
    let servers = alone.get(key)?.as_table_like()?;
    let is_only = |of: &dyn TableLike| of.iter().count() == 1;
    (is_only(alone.as_table()) && is_only(servers) && servers.get(name).is_some()).then_some(region)
}

fn extend(item: &Item, whole: &mut Range<usize>) {
    if let Some(span) = item.span() {
        *whole = whole.start.min(span.start)..whole.end.max(span.end);
    }
    if let Some(table) = item.as_table() {
        table.iter().for_each(|(_, item)| extend(item, whole));
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
        return Ok(Shape::Remote(Remote {
            url: url.to_owned(),
            is_off: is_off(entry),
            others: others(entry, &["url"]),
        }));
    }
    let (key, command) = entry.get_key_value("command").ok_or("it has neither command nor url")?;
    let at = |item: &Item| item.span().ok_or("it cannot be found in the text");
    let args = entry.get("args");
    let mut program = Program {
        command: command.as_str().ok_or("its command is no text")?.to_owned(),
        command_at: at(command)?,
        args_at: args.map(at).transpose()?,
        args_place: match args {
            None => args_place(text, item, key, at(command)?)?,
            // They have theirs; where they had none before, they are put there again.
            Some(_) => args_place(text, item, key, at(command)?).unwrap_or_default(),
        },
        is_off: is_off(entry),
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

/// As Codex says that a server is not to be started.
fn is_off(entry: &dyn TableLike) -> bool {
    entry.get("enabled").and_then(Item::as_bool) == Some(false)
}

/// The keys of an entry that are not `known`.
fn others(entry: &dyn TableLike, known: &[&str]) -> Vec<Other> {
    let mut others = Vec::new();
    let mut add = |key: &str, inner: Option<&str>, item: &Item| {
        let (key, inner) = (key.to_owned(), inner.map(str::to_owned));
        others.push(Other { key, inner, value: plain(item) });
    };
    for (key, item) in entry.iter().filter(|(name, _)| !known.contains(name)) {
        match item.as_table_like().filter(|inner| !inner.is_empty()) {
            None => add(key, None, item),
            Some(inner) => inner.iter().for_each(|(inner, item)| add(key, Some(inner), item)),
        }
    }
    others
}

/// What it says, without comments, and whichever way it is written in.
fn plain(item: &Item) -> String {
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    if let Some(table) = item.as_table_like() {
        let mut members = table.iter().map(|(key, item)| format!("{key:?} = {}", plain(item)));
        return format!("{{{}}}", list(&mut members));
    }
    if let Some(array) = item.as_array() {
        return format!("[{}]", list(&mut array.iter().map(|value| plain(&value.clone().into()))));
    }
    if let Some(tables) = item.as_array_of_tables() {
        return format!("[{}]", list(&mut tables.iter().map(|it| plain(&it.clone().into()))));
    }
    match item.as_value() {
        Some(Value::String(text)) => format!("{:?}", text.value()),
        Some(Value::Integer(number)) => number.value().to_string(),
        Some(Value::Float(number)) => number.value().to_string(),
        Some(value) => value.clone().decorated("", "").to_string(),
        None => String::new(),
    }
}

/// In a line of their own before the command's, as a comment may follow that, with the same keys
/// before a dot; in an inline table behind it.
fn args_place(
    text: &str,
    entry: &Item,
    key: &Key,
    command: Range<usize>,
) -> Result<(usize, String, String), &'static str> {
    const OTHERWISE: &str = "it is written in another way than under a header, and has no args";
    if let Some(inline) = entry.as_inline_table() {
        return match inline.is_dotted() {
            true => Err(OTHERWISE),
            false => Ok((command.end, ", args = ".to_owned(), String::new())),
        };
    }
    let key = key.span().ok_or("it cannot be found in the text")?.start;
    let line = text[..key].rfind('\n').map_or(0, |at| at + 1);
    let before = text[line..key].trim();
    let is_dotted = entry.as_table().is_some_and(toml_edit::Table::is_dotted);
    if !(before.is_empty() || before.ends_with('.') && is_dotted) {
        return Err(OTHERWISE);
    }
    let end = if text[command.end..].starts_with("\r\n") { "\r\n" } else { "\n" };
    Ok((line, format!("{}args = ", &text[line..key]), end.to_owned()))
}

pub(super) fn string(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn entry(
    client: Client,
    name: &str,
    was: &str,
    command: &str,
    args: &[String],
) -> Result<String, String> {
    let mut document = was.parse::<DocumentMut>().map_err(|error| error.message().to_owned())?;
    let servers = document.get_mut(client.table()).and_then(Item::as_table_mut);
    let entry = servers.and_then(|servers| servers.get_mut(name)).and_then(Item::as_table_mut);
    let entry = entry.ok_or("it has no header of its own")?;
    entry.retain(|key, _| client.settings().contains(&key));
    entry.insert("command", toml_edit::value(command));
    entry.insert("args", toml_edit::value(args.iter().collect::<Array>()));
    Ok(document.to_string())
}

pub(super) fn comments(text: &str) -> Vec<String> {
    let tokens = Source::new(text).lex();
    let comments = tokens.filter(|token| token.kind() == TokenKind::Comment);
    let text_of = |span: toml_parser::Span| text.get(span.start()..span.end()).unwrap_or_default();
    comments.map(|token| text_of(token.span()).trim().to_owned()).collect()
}

pub(super) fn add(
    client: Client,
    text: &str,
    name: &str,
    command: &str,
    args: &[String],
) -> String {
    let args: Vec<_> = args.iter().map(|arg| string(arg)).collect();
    let (key, command) = (Key::new(name), string(command));
    let (table, key, args) = (client.table(), key.display_repr(), args.join(", "));
    let entry = format!("[{table}.{key}]\ncommand = {command}\nargs = [{args}]\n");
    match text.trim().is_empty() {
        true => entry,
        false if text.ends_with('\n') => format!("{text}\n{entry}"),
        false => format!("{text}\n\n{entry}"),
    }
}
