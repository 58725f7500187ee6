//! A client's program as a server of this home.

use sealwire::config::{SecureMcpConfig, ServerRole};
use sealwire_names::AgentId;
use toml_edit::Value;

use crate::clients::Client;
use crate::clients::document::Program;

/// A server to be added to the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewServer {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    /// Names of variables that the client gives us for it.
    pub(crate) env_vars: Vec<String>,
    /// Variables with their values, where the client does not give them.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
}

impl NewServer {
    /// The program of an entry. Its variables and its directory the client goes on to see to: we
    /// are started with them.
    ///
    /// # Errors
    /// Why that would not run what the entry runs.
    pub(crate) fn of(client: Client, name: &str, program: &Program) -> Result<Self, String> {
        if program.env_file {
            return Err("it takes variables from a file, whose names only the client knows: give \
                        them in env"
                .to_owned());
        }
        let names = program.env.iter().map(|(name, _)| name).chain(&program.env_vars);
        if let Some(name) = names.into_iter().find(|name| !is_variable(name)) {
            return Err(format!("{name:?} cannot be the name of an environment variable"));
        }
        let texts = std::iter::once(&program.command).chain(&program.args);
        if let Some(text) = texts.into_iter().find(|text| client.expands(text)) {
            return Err(format!("the client itself puts values into {text:?}: write them out"));
        }
        let mut env_vars: Vec<_> = program.env.iter().map(|(name, _)| name.clone()).collect();
        env_vars.extend(program.env_vars.iter().cloned());
        env_vars.sort();
        env_vars.dedup();
        Ok(Self {
            name: name.to_owned(),
            command: absolute(program)?,
            args: program.args.clone(),
            env_vars,
            env: Vec::new(),
            cwd: None,
        })
    }

    /// Whether a configured server is this one.
    pub(crate) fn is(&self, config: &SecureMcpConfig) -> bool {
        let Some(entry) = config.servers.get(&self.name) else { return false };
        let ServerRole::Local { command, args, env, env_vars, .. } = &entry.role else {
            return false;
        };
        let is_given = |name: &String| env_vars.contains(name) || env.contains_key(name);
        (command, args) == (&self.command, &self.args) && self.env_vars.iter().all(is_given)
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Whether it starts a program of this name.
pub(crate) fn starts_sealwire(program: &Program) -> bool {
    let name = program.command.rsplit(['/', '\\']).next().unwrap_or_default();
    matches!(name, "sealwire" | "sealwire.exe") && program.args.iter().any(|arg| arg == "connect")
}

/// A path is one from the directory that the client starts it in, which only the entry can tell.
fn absolute(program: &Program) -> Result<String, String> {
    let command = &program.command;
    if command.is_empty() {
        return Err("its command is empty".to_owned());
    }
    let is_absolute = command.starts_with('/') || command.as_bytes().get(1) == Some(&b':');
    if is_absolute || !command.contains(['/', '\\']) {
        return Ok(command.clone());
    }
    match program.cwd.as_deref().filter(|cwd| cwd.starts_with('/')) {
        Some(cwd) if !command.starts_with('~') => Ok(format!("{cwd}/{command}")),
        _ => Err(format!(
            "{command:?} is a path from a directory that only the client knows: write \
                          it whole"
        )),
    }
}

/// A name for it that can stand in a certificate and in SNI.
pub(crate) fn usable(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = name.chars().map(good).collect();
    let name = name.trim_matches(['-', '_']).chars().take(63).collect::<String>();
    if name.is_empty() || name.parse::<AgentId>().is_err() { "server".to_owned() } else { name }
}

/// Whether a new server is given a level for all of its tools: not with zero trust, where each of
/// them has to be named, and not in the place of what `[defaults]` gives to every server.
pub(crate) fn gets_level(config: &SecureMcpConfig) -> bool {
    !config.zero_trust_mode && config.default_level.is_none()
}

/// The text of a `sealwire.toml` with tables of servers at its end.
pub(super) fn with_servers(text: &str, servers: &[NewServer], with_level: bool) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for server in servers {
        text.push('\n');
        text.push_str(&server_table(server, with_level));
    }
    text
}

/// Its table of `sealwire.toml`. `with_level` gives a level to all of its tools; see [`gets_level`].
pub(crate) fn server_table(server: &NewServer, with_level: bool) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().map(|item| text(item)).collect();
        format!("[{}]", items.join(", "))
    };
    let mut table = format!(
        "[mcp_servers.{}]\ntransport = \"stdio\"\ncommand = {}\n",
        toml_edit::Key::new(&server.name).display_repr(),
        text(&server.command)
    );
    if !server.args.is_empty() {
        table.push_str(&format!("args = {}\n", list(&server.args)));
    }
    if !server.env_vars.is_empty() {
        table.push_str(&format!("env_vars = {}\n", list(&server.env_vars)));
    }
    if let Some(cwd) = &server.cwd {
        table.push_str(&format!("cwd = {}\n", text(cwd)));
    }
    if !server.env.is_empty() {
        let variable =
            |(name, value): &(String, String)| format!("{} = {}", text(name), text(value));
        let env: Vec<_> = server.env.iter().map(variable).collect();
        table.push_str(&format!("env = {{ {} }}\n", env.join(", ")));
    }
    if with_level {
        table.push_str("default_level = 1\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str) -> Program {
        Program { command: command.to_owned(), ..Program::default() }
    }

    #[test]
    fn a_table_says_what_the_program_was() {
        let server = NewServer {
            name: "a.b".to_owned(),
            command: "C:\\x \"y\"".to_owned(),
            args: vec!["-y".to_owned(), "it's\n".to_owned()],
            env_vars: vec!["TOKEN".to_owned()],
            env: vec![("A B".to_owned(), "c".to_owned())],
            cwd: None,
        };
        let text = server_table(&server, true);
        let read: toml::Table = text.parse().unwrap();
        let entry = &read["mcp_servers"]["a.b"];
        assert_eq!(entry["command"].as_str(), Some("C:\\x \"y\""));
        assert_eq!(entry["args"][1].as_str(), Some("it's\n"));
        assert_eq!(entry["env"]["A B"].as_str(), Some("c"));
        assert_eq!(entry["default_level"].as_integer(), Some(1));
        assert!(!server_table(&server, false).contains("default_level"));
    }

    #[test]
    fn what_only_the_client_can_start_is_told() {
        let of = |program: &Program| NewServer::of(Client::VsCode, "x", program);
        assert_eq!(of(&program("npx")).unwrap().command, "npx");
        assert!(of(&program("./x")).unwrap_err().contains("write it whole"));
        assert!(of(&program("${workspaceFolder}/x")).unwrap_err().contains("puts values"));
        let in_dir = Program { cwd: Some("/srv".to_owned()), ..program("bin/x") };
        assert_eq!(of(&in_dir).unwrap().command, "/srv/bin/x");
        let file = Program { env_file: true, ..program("x") };
        assert!(of(&file).unwrap_err().contains("from a file"));
    }

    #[test]
    fn any_name_becomes_one_that_can_be_used() {
        for (name, expected) in [
            ("github", "github"),
            ("My Server!", "My-Server"),
            ("@scope/pkg", "scope-pkg"),
            ("\u{30b5}", "server"),
        ] {
            assert_eq!(usable(name), expected);
        }
    }
}
