//! What becomes of an entry of a client's.

use sealwire::config::{SecureMcpConfig, ServerRole};
use toml_edit::{DocumentMut, Item, TableLike};

use super::candidate::{Candidate, Leaf, MOST, leaves};
use super::report::{Report, Server};
use crate::clients::Client;
use crate::clients::document::{Found, Other, Program, Shape};
use crate::commands::install::{NewServer, gets_level, server_table, starts_sealwire, usable};

/// Keys of Codex's entries by which it goes to a URL.
const TO_URL: [&str; 6] = [
    "bearer_token_env_var",
    "env_http_headers",
    "http_headers",
    "oauth",
    "oauth_resource",
    "scopes",
];
/// Keys of ours that a server's table gets from the program.
const OF_PROGRAM: [&str; 6] = ["args", "command", "cwd", "env", "env_vars", "endpoint"];

/// Takes each entry that can be, in their order.
pub(super) fn take(
    client: Client,
    found: &[Found],
    file: Option<&DocumentMut>,
    candidate: &mut Candidate<'_>,
    report: &mut Report,
) {
    let before = candidate.config().clone();
    for one in found {
        // Of TOML, all that the entry says.
        let entry = file.and_then(|file| {
            let mut table = one.table.iter().chain([&one.name]);
            table.try_fold(file.as_item(), |item, key| item.as_table_like()?.get(key))
        });
        let entry = entry.and_then(Item::as_table_like);
        if let Err(why) = take_one(client, one, entry, &before, candidate, report) {
            report.leave(one.title(), why);
        }
    }
}

fn take_one(
    client: Client,
    found: &Found,
    entry: Option<&dyn TableLike>,
    before: &SecureMcpConfig,
    candidate: &mut Candidate<'_>,
    report: &mut Report,
) -> Result<(), String> {
    let name = usable(&found.name);
    let said = entry.map(|entry| ours(entry, &name)).unwrap_or_default();
    if said.len() > MOST {
        return Err(format!("it has more than {MOST} keys"));
    }
    let says = |key: &str| said.iter().any(|(path, _)| path.get(2).is_some_and(|it| it == key));
    let says_off =
        |entry: &dyn TableLike| entry.get("enabled").and_then(Item::as_bool) == Some(false);
    if entry.is_some_and(says_off) {
        return Err("it is turned off there".to_owned());
    }
    let endpoint = entry.and_then(|entry| entry.get("endpoint"));
    let (table, stays) = match (endpoint.map(Item::as_str), &found.shape) {
        (Some(None), _) => return Err("its endpoint is no text".to_owned()),
        (Some(Some(endpoint)), _) => {
            let other = entry.is_some_and(|entry| entry.contains_key("command"));
            if other {
                return Err("it has both command and endpoint".to_owned());
            }
            let is_same = |config: &SecureMcpConfig| {
                let role = config.servers.get(&name).map(|server| &server.role);
                matches!(role, Some(ServerRole::Connect { endpoint: own, .. }) if own == endpoint)
            };
            check_name(&name, is_same, before, candidate)?;
            (endpoint_table(&name, endpoint), entry.map(codex_keys).unwrap_or_default())
        }
        (None, Shape::Unknown(why)) => return Err(why.clone()),
        (None, Shape::Remote(_)) => {
            return Err(
                "its server is at a URL: sealwire reaches servers by their `endpoint`".into()
            );
        }
        (None, Shape::Program(program)) => {
            let server = server(client, &name, program)?;
            check_name(&name, |config| server.is(config), before, candidate)?;
            // What is said of its tools is not to be made up for.
            let with_level =
                gets_level(candidate.config()) && !says("default_level") && !says("policy");
            let stays = match entry {
                Some(entry) => codex_keys(entry),
                None => program.others.iter().map(Other::name).collect(),
            };
            (server_table(&server, with_level), stays)
        }
    };
    let table = table.parse::<DocumentMut>().map_err(|error| error.message().to_owned())?;
    let target = candidate.add_server(table)?;
    let (_, left) = candidate.take(target, said);
    for ((path, _), why) in left {
        report.leave(path.join("."), why);
    }
    report.stays(found.title(), stays);
    if let Some(table) = candidate.server(target) {
        let has = |key: &str| {
            let servers = table.get("mcp_servers").and_then(Item::as_table_like);
            let server = servers.and_then(|servers| servers.get(&name)?.as_table_like());
            server.is_some_and(|server| server.contains_key(key))
        };
        let is_of_defaults = has("command") && !has("default_level");
        let (entry, table) = (found.title(), shown(table));
        report.servers.push(Server { name, entry, table, is_of_defaults });
    }
    Ok(())
}

/// A client's program as a server that nobody else gives variables and a directory.
fn server(client: Client, name: &str, program: &Program) -> Result<NewServer, String> {
    if program.is_off {
        return Err("it is turned off there".to_owned());
    }
    if starts_sealwire(program) {
        return Err("it starts sealwire already".to_owned());
    }
    let mut server = NewServer::of(client, name, program)?;
    server.env_vars.clone_from(&program.env_vars);
    for (name, value) in &program.env {
        if !client.expands(value) {
            server.env.push((name.clone(), value.clone()));
        } else if is_itself(name, value) {
            // It comes from where the client comes from, and so does `connect`.
            server.env_vars.push(name.clone());
        } else {
            return Err(format!(
                "the client itself puts a value into {name}: write the entry into sealwire.toml \
                 by hand, with that value or without it"
            ));
        }
    }
    server.env_vars.sort();
    server.env_vars.dedup();
    server.cwd = match &program.cwd {
        Some(cwd) if client.expands(cwd) || !cwd.starts_with(['/', '~']) => {
            return Err(format!(
                "its cwd, {cwd:?}, is a path from a directory that only the client knows: write \
                 it whole"
            ));
        }
        cwd => cwd.clone(),
    };
    Ok(server)
}

/// Whether the value is the variable of the same name in the client's own environment.
fn is_itself(name: &str, value: &str) -> bool {
    let braced = value.strip_prefix("${").and_then(|value| value.strip_suffix('}'));
    let named = braced.or_else(|| value.strip_prefix('$'));
    named.is_some_and(|named| named.strip_prefix("env:").unwrap_or(named) == name)
}

/// Whether the name is free; if it is not, what has it.
fn check_name(
    name: &str,
    is_same: impl Fn(&SecureMcpConfig) -> bool,
    before: &SecureMcpConfig,
    candidate: &Candidate<'_>,
) -> Result<(), String> {
    let is_there = |config: &SecureMcpConfig| config.servers.contains_key(name);
    match (is_there(before), is_there(candidate.config())) {
        (true, _) if is_same(before) => Err("sealwire has it already".to_owned()),
        (true, _) => {
            Err(format!("sealwire has another server of the name {name:?}: rename the entry"))
        }
        (false, true) if is_same(candidate.config()) => {
            Err("the same server stands before it in this file".to_owned())
        }
        (false, true) => Err(format!(
            "another server of the name {name:?} stands before it in this file: rename one of them"
        )),
        (false, false) => Ok(()),
    }
}

fn endpoint_table(name: &str, endpoint: &str) -> String {
    let name = toml_edit::Key::new(name);
    let endpoint = toml_edit::Value::from(endpoint);
    format!("[mcp_servers.{}]\nendpoint = {endpoint}\n", name.display_repr())
}

/// What an entry says that a table of ours could say, and Codex does not know.
fn ours(entry: &dyn TableLike, name: &str) -> Vec<Leaf> {
    let mut found = Vec::new();
    leaves(entry, &mut vec!["mcp_servers".to_owned(), name.to_owned()], &mut found);
    let is_ours = |key: &str| !is_codex(key) && !OF_PROGRAM.contains(&key) && key != "url";
    found.retain(|(path, _)| path.get(2).is_some_and(|key| is_ours(key)));
    found
}

fn codex_keys(entry: &dyn TableLike) -> Vec<String> {
    let keys = entry.iter().map(|(key, _)| key.to_owned());
    keys.filter(|key| is_codex(key)).collect()
}

/// Whether a key of an entry is between Codex and itself.
fn is_codex(key: &str) -> bool {
    TO_URL.contains(&key) || Client::Codex.settings().contains(&key)
}

/// Values of variables may be secrets, and may have several lines.
fn shown(table: &DocumentMut) -> String {
    let mut table = table.clone();
    let servers = table.get_mut("mcp_servers").and_then(Item::as_table_like_mut);
    for (_, server) in servers.into_iter().flat_map(|servers| servers.iter_mut()) {
        let env = server.as_table_like_mut().and_then(|server| server.get_mut("env"));
        let env = env.and_then(Item::as_table_like_mut);
        for (_, value) in env.into_iter().flat_map(|env| env.iter_mut()) {
            *value = toml_edit::value("…");
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::candidate::insert;
    use super::*;

    #[test]
    fn a_variable_of_the_clients_own_is_one_of_ours() {
        for value in ["${KEY}", "$KEY", "${env:KEY}"] {
            assert!(is_itself("KEY", value), "{value}");
        }
        for value in ["${OTHER}", "$KEY2", "a${KEY}", "${KEY:-x}", "${input:KEY}", "KEY", "$"] {
            assert!(!is_itself("KEY", value), "{value}");
        }
    }

    #[test]
    fn values_of_variables_are_not_shown() {
        let table =
            "[mcp_servers.a]\ncommand = \"b\"\nenv = { A = \"s3\", B = \"\"\"s3\nx\"\"\" }\n";
        let shown = shown(&table.parse().unwrap());
        assert!(
            !shown.contains("s3") && shown.contains("env = { A = \"…\", B = \"…\" }"),
            "{shown}"
        );
    }

    #[test]
    fn what_an_entry_says_to_us_is_put_into_its_table() {
        let file = "[mcp_servers.x]\ncommand = \"c\"\ntool_timeout_sec = 5\npins = \"off\" # mine\n\
                    policy.tools = { read = 1 }\n[[mcp_servers.x.policy.deny]]\ntools = [\"w\"]\n";
        let file: DocumentMut = file.parse().unwrap();
        let entry = file["mcp_servers"]["x"].as_table_like().unwrap();
        assert_eq!(codex_keys(entry), ["tool_timeout_sec"]);
        let mut table: DocumentMut = "[mcp_servers.x]\ncommand = \"c\"\n".parse().unwrap();
        for (path, value) in ours(entry, "x") {
            assert!(insert(&mut table, &path, value));
        }
        let text = table.to_string();
        assert!(text.contains("pins = \"off\"\n") && !text.contains("mine"), "{text}");
        let read: toml::Table = text.parse().unwrap();
        let policy = &read["mcp_servers"]["x"]["policy"];
        assert_eq!(policy["tools"]["read"].as_integer(), Some(1));
        assert_eq!(policy["deny"][0]["tools"][0].as_str(), Some("w"));
    }
}
