//! Servers in JSON, also with comments and trailing commas.

use std::ops::Range;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::Client;
use super::document::{Found, Other, Program, Remote, Shape};
use super::halves::Halves;

/// What editors take. Whatever else there is, a client may understand otherwise.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

pub(super) fn read(client: Client, text: &str) -> Result<Vec<Found>, String> {
    let halves = Halves::of(text);
    let Some(root) = &root(halves.text())? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let key = client.table();
    if let Some(servers) = member(root, key)? {
        let table = vec![key.to_owned()];
        found.extend(servers_of(&halves, object(servers, key)?, &table)?);
    }
    // What holds in one directory alone.
    if client == Client::ClaudeCode
        && let Some(projects) = member(root, "projects")?
    {
        for project in &object(projects, "projects")?.properties {
            let name = project.name.as_str();
            let Value::Object(settings) = &project.value else { continue };
            if let Some(servers) = member(settings, key)? {
                let table = vec!["projects".to_owned(), name.to_owned(), key.to_owned()];
                found.extend(servers_of(&halves, object(servers, key)?, &table)?);
            }
        }
    }
    if client == Client::Gemini {
        let lists = Lists::of(root)?;
        found.iter_mut().filter(|one| lists.is_off(&one.name)).for_each(Found::turn_off);
    }
    Ok(found)
}

/// Turns off what Gemini CLI does not start of a file by its lists. Those that `text`, the file's,
/// does not have are those of the user's `own` one.
pub(super) fn turn_off(found: &mut [Found], text: &str, own: &str) -> Result<(), String> {
    let (said, own) = (Lists::read(text)?, Lists::read(own)?);
    let lists =
        Lists { allowed: said.allowed.or(own.allowed), excluded: said.excluded.or(own.excluded) };
    found.iter_mut().filter(|one| lists.is_off(&one.name)).for_each(Found::turn_off);
    Ok(())
}

/// The object that a file is, if it is not empty.
fn root(text: &str) -> Result<Option<Object<'_>>, String> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    let parsed = parsed.map_err(|error| {
        format!("it is not JSON: {} in line {}", error.kind(), error.line_display())
    })?;
    match parsed.value {
        None => Ok(None),
        Some(Value::Object(root)) => Ok(Some(root)),
        Some(_) => Err("it is no JSON object".to_owned()),
    }
}

/// The lists by which Gemini CLI starts some of its servers, and others not (`mcp.allowed` and
/// `mcp.excluded`; what is no list, and what in it is no text, it passes over).
#[derive(Default)]
struct Lists {
    allowed: Option<Vec<String>>,
    excluded: Option<Vec<String>>,
}

impl Lists {
    fn read(text: &str) -> Result<Self, String> {
        let halves = Halves::of(text);
        root(halves.text())?.map_or_else(|| Ok(Self::default()), |root| Self::of(&root))
    }

    fn of(root: &Object<'_>) -> Result<Self, String> {
        let mcp = member(root, "mcp")?.and_then(|mcp| mcp.value.as_object());
        let list = |name: &str| -> Result<Option<Vec<String>>, String> {
            let list = match mcp {
                Some(mcp) => member(mcp, name)?.and_then(|list| list.value.as_array()),
                None => None,
            };
            let text = |item: &Value<'_>| Some(item.as_string_lit()?.value.to_string());
            Ok(list.map(|list| list.elements.iter().filter_map(text).collect()))
        };
        Ok(Self { allowed: list("allowed")?, excluded: list("excluded")? })
    }

    /// Whether either of them says no. Its commands compare without regard to case, and what starts
    /// servers to the letter: one for which they differ counts as off.
    fn is_off(&self, name: &str) -> bool {
        let plain = |name: &str| name.trim().to_lowercase();
        let is_named = |allowed: &Vec<String>| allowed.iter().any(|one| one == name);
        // An empty list allows all.
        self.allowed.as_ref().is_some_and(|allowed| !allowed.is_empty() && !is_named(allowed))
            || self.excluded.iter().flatten().any(|one| plain(one) == plain(name))
    }
}

/// The only member of that name.
fn member<'o, 't>(of: &'o Object<'t>, name: &str) -> Result<Option<&'o ObjectProp<'t>>, String> {
    let mut named = of.properties.iter().filter(|property| property.name.as_str() == name);
    let first = named.next();
    match named.next() {
        Some(_) => Err(format!("it has {name:?} twice")),
        None => Ok(first),
    }
}

fn object<'o, 't>(property: &'o ObjectProp<'t>, name: &str) -> Result<&'o Object<'t>, String> {
    property.value.as_object().ok_or_else(|| format!("{name:?} in it is no JSON object"))
}

fn servers_of(
    halves: &Halves<'_>,
    servers: &Object<'_>,
    table: &[String],
) -> Result<Vec<Found>, String> {
    let mut found: Vec<Found> = Vec::new();
    for property in &servers.properties {
        let name = property.name.as_str();
        if found.iter().any(|other| other.name == name) {
            return Err(format!("it has the server {name:?} twice"));
        }
        let shape = match property.value.as_object() {
            _ if halves.are_in(&(property.start()..property.end())) || halves.are_named(table) => {
                Shape::Unknown("it has half a character in it (a lone surrogate)".to_owned())
            }
            Some(entry) => shape(halves.text(), entry).unwrap_or_else(Shape::Unknown),
            None => Shape::Unknown("it is no JSON object".to_owned()),
        };
        found.push(Found {
            table: table.to_vec(),
            name: name.to_owned(),
            shape,
            at: Some(range(&property.value)),
        });
    }
    Ok(found)
}

fn shape(text: &str, entry: &Object<'_>) -> Result<Shape, String> {
    let command = member(entry, "command")?;
    for key in ["url", "httpUrl", "serverUrl"] {
        if let Some(url) = member(entry, key)? {
            let url = url.value.as_string_lit().ok_or_else(|| format!("its {key} is no text"))?;
            if command.is_some() {
                return Err(format!("it has both command and {key}"));
            }
            return Ok(Shape::Remote(Remote {
                url: url.value.to_string(),
                is_off: is_off(entry),
                others: others(entry, &[key, "type"]),
            }));
        }
    }
    let Some(command) = command else {
        return Err("it has neither command nor url".to_owned());
    };
    let value = command.value.as_string_lit().ok_or("its command is no text")?;
    let kind = member(entry, "type")?.and_then(|kind| kind.value.as_string_lit());
    if let Some(kind) = kind.filter(|kind| !matches!(&*kind.value, "stdio" | "local")) {
        return Err(format!("it has a command, and its type is {:?}", kind.value));
    }
    let args = member(entry, "args")?;
    let mut program = Program {
        command: value.value.to_string(),
        command_at: range(&command.value),
        args_at: args.map(|args| range(&args.value)),
        env_file: member(entry, "envFile")?.is_some(),
        is_off: is_off(entry),
        others: others(entry, &["type", "command", "args", "env", "envFile", "cwd"]),
        ..Program::default()
    };
    // As far from what is before it as `command` is.
    let before = &text[..command.start()];
    let gap = &before[before.trim_end().len()..];
    let gap = if gap.contains('\n') { gap } else { " " };
    program.args_place = (range(&command.value).end, format!(",{gap}\"args\": "), String::new());
    if let Some(args) = args {
        let items = args.value.as_array().ok_or("its args are no list")?;
        for item in &items.elements {
            let item = item.as_string_lit().ok_or("its args are not all text")?;
            program.args.push(item.value.to_string());
        }
    }
    if let Some(env) = member(entry, "env")? {
        for variable in &env.value.as_object().ok_or("its env is no JSON object")?.properties {
            let name = variable.name.as_str().to_owned();
            let value = match &variable.value {
                Value::StringLit(value) => value.value.to_string(),
                Value::NumberLit(value) => value.value.to_string(),
                Value::BooleanLit(value) => value.value.to_string(),
                _ => return Err(format!("the variable {name} in its env is no text")),
            };
            program.env.push((name, value));
        }
    }
    if let Some(cwd) = member(entry, "cwd")? {
        let cwd = cwd.value.as_string_lit().ok_or("its cwd is no text")?;
        program.cwd = Some(cwd.value.to_string());
    }
    Ok(Shape::Program(program))
}

/// As some clients say that a server is not to be started.
fn is_off(entry: &Object<'_>) -> bool {
    entry.properties.iter().any(|property| match (property.name.as_str(), &property.value) {
        ("disabled", Value::BooleanLit(value)) => value.value,
        ("enabled", Value::BooleanLit(value)) => !value.value,
        _ => false,
    })
}

/// The keys of an entry that are not `known`.
fn others(entry: &Object<'_>, known: &[&str]) -> Vec<Other> {
    let mut others = Vec::new();
    let mut add = |key: &str, inner: Option<&str>, value: &Value<'_>| {
        let value = serde_json::Value::from(value.clone()).to_string();
        others.push(Other { key: key.to_owned(), inner: inner.map(str::to_owned), value });
    };
    for property in &entry.properties {
        let key = property.name.as_str();
        match property.value.as_object().map(|object| &object.properties[..]) {
            _ if known.contains(&key) => {}
            None | Some([]) => add(key, None, &property.value),
            Some(inner) => {
                inner.iter().for_each(|it| add(key, Some(it.name.as_str()), &it.value));
            }
        }
    }
    others
}

fn range(value: &Value<'_>) -> Range<usize> {
    value.start()..value.end()
}

pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn entry(
    client: Client,
    was: &str,
    command: &str,
    args: &[String],
) -> Result<String, String> {
    let mut members = Vec::new();
    if client.states_type() {
        members.push("\"type\": \"stdio\"".to_owned());
    }
    members.push(format!("\"command\": {}", string(command)));
    let args: Vec<_> = args.iter().map(|arg| string(arg)).collect();
    members.push(format!("\"args\": [{}]", args.join(", ")));
    let parsed = parse_to_ast(was, &CollectOptions::default(), &options());
    let value = parsed.map_err(|error| error.to_string())?.value;
    let was_object = value.as_ref().and_then(Value::as_object).ok_or("it is no JSON object")?;
    for property in &was_object.properties {
        if client.settings().contains(&property.name.as_str()) {
            members.push(was[property.start()..property.end()].to_owned());
        }
    }
    Ok(format!("{{ {} }}", members.join(", ")))
}

pub(super) fn comments(text: &str) -> Vec<String> {
    let halves = Halves::of(text);
    let collect = CollectOptions { comments: CommentCollectionStrategy::AsTokens, tokens: true };
    let parsed = parse_to_ast(halves.text(), &collect, &options());
    let tokens = parsed.ok().and_then(|parsed| parsed.tokens).unwrap_or_default();
    let comment = |token: TokenAndRange<'_>| match token.token {
        Token::CommentLine(text) | Token::CommentBlock(text) => Some(text.trim().to_owned()),
        _ => None,
    };
    tokens.into_iter().filter_map(comment).collect()
}

pub(super) fn add(
    client: Client,
    text: &str,
    name: &str,
    command: &str,
    args: &[String],
) -> Result<String, String> {
    let halves = Halves::of(text);
    let root = CstRootNode::parse(halves.text(), &options()).map_err(|error| error.to_string())?;
    let shape = || "it is of no shape that has servers".to_owned();
    let servers = root.object_value_or_create().ok_or_else(shape)?;
    let servers = servers.object_value_or_create(client.table()).ok_or_else(shape)?;
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let mut members = Vec::new();
    if client.states_type() {
        members.push(("type".to_owned(), text("stdio")));
    }
    members.push(("command".to_owned(), text(command)));
    let args = args.iter().map(|arg| text(arg)).collect();
    members.push(("args".to_owned(), CstInputValue::Array(args)));
    servers.append(name, CstInputValue::Object(members));
    let mut new = root.to_string();
    if halves.text().trim().is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    halves.back_in(new)
}

pub(super) fn remove(text: &str, table: &[String], name: &str) -> Result<String, String> {
    let halves = Halves::of(text);
    let root = CstRootNode::parse(halves.text(), &options()).map_err(|error| error.to_string())?;
    let gone = || "it is not there any more".to_owned();
    let mut at = root.object_value().ok_or_else(gone)?;
    for key in table {
        at = at.object_value(key).ok_or_else(gone)?;
    }
    at.get(name).ok_or_else(gone)?.remove();
    halves.back_in(root.to_string())
}
