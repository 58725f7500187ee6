use std::time::Duration;

use clap::Args;
use sealwire::config::parse_duration;
use sealwire_guard::{Direction, Level, Principal, Request, Table};
use serde_json::json;

use super::tools::{self, Tool};
use crate::cli::{Context, Failure, print, print_json, printable};

/// Draft levels for a server's tools, for a person to review
///
/// The server is started, or connected to, and asked for its tools. What it says of them
/// (annotations) is its own word, so this is a draft and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire policy suggest github
  sealwire policy suggest github >> ~/.sealwire/sealwire.toml    then review each line")]
pub(crate) struct Arguments {
    /// The server
    server: String,
    /// How long each of its answers may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a tool is proposed to have, and why.
fn proposal(tool: &Tool) -> (Level, &'static str) {
    match (tool.read_only, tool.destructive, tool.open_world) {
        (Some(true), _, Some(true)) => {
            (Level::Authorized, "says that it only reads, and reaches beyond its own world")
        }
        (Some(true), _, _) => (Level::Authenticated, "says that it only reads"),
        (_, Some(false), Some(false)) => {
            (Level::Authorized, "says that it writes, destroys nothing and stays at home")
        }
        (Some(false), _, _) | (_, Some(_), _) => {
            (Level::Privileged, "says that it may change or destroy things")
        }
        (None, None, _) => (Level::Privileged, "says nothing of what it does"),
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let tools = tools::list(&config, &arguments.server, arguments.timeout)?;
    let table = Table::compile(&config.policy);
    let now = |tool: &Tool| {
        let request = Request {
            peer: Principal::Local,
            server: &arguments.server,
            direction: Direction::ToServer,
            method: "tools/call",
            subject: Some(&tool.name),
        };
        table.explain(&request).level
    };
    if arguments.json {
        let tools: Vec<_> = tools
            .iter()
            .map(|tool| {
                let (level, because) = proposal(tool);
                json!({
                    "tool": tool.name,
                    "level": level.number(),
                    "because": because,
                    "level_now": now(tool).map(Level::number),
                    "description": tool.description,
                    "annotations": {
                        "readOnlyHint": tool.read_only,
                        "destructiveHint": tool.destructive,
                        "openWorldHint": tool.open_world,
                    },
                })
            })
            .collect();
        return print_json(&json!({ "server": arguments.server, "tools": tools }));
    }
    print(&text(&arguments.server, &tools))
}

/// A table that can be put into the configuration. Nothing that the server wrote stands
/// outside quotes and comments.
fn text(server: &str, tools: &[Tool]) -> String {
    let key = toml::Value::from(server).to_string();
    let mut text = format!(
        "\n# A draft, from what {server} says of its own tools, which nobody has verified. Review \
         each line:\n# 0 public, 1 reads, 2 writes, 3 privileged (only by rules that name peer and \
         tool).\n[mcp_servers.{key}.policy.tools]\n"
    );
    if tools.is_empty() {
        text.push_str("# it lists no tools\n");
    }
    for tool in tools {
        let name = toml::Value::from(tool.name.as_str()).to_string();
        // Across lines, it would no longer be one key; and such a name is no tool's to have.
        if name.contains('\n') || tool.name.contains('*') || tool.name.is_empty() {
            text.push_str(&format!(
                "# left out, as it cannot be a key: {}\n",
                printable(&name.replace('\n', " "))
            ));
            continue;
        }
        let (level, because) = proposal(tool);
        let about = if tool.description.is_empty() {
            String::new()
        } else {
            format!(": {}", tool.description)
        };
        text.push_str(&format!("{name} = {}  # {because}{about}\n", level.number()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwire::config::SecureMcpConfig;

    #[test]
    fn a_hostile_server_writes_no_configuration() {
        let tool = |name: &str, description: &str| Tool {
            name: name.to_owned(),
            description: printable(description),
            read_only: Some(true),
            destructive: None,
            open_world: None,
        };
        let tools = [
            tool("read", "reads\n[[policy.allow]]\npeers = [\"*\"]"),
            tool("a\" = 0\n[policy.ceilings]\n\"*", ""),
            tool("x\n\"\"\"'''", ""),
            tool("tabs\tand\u{1b}[2J", "\u{202e}"),
            tool("*", ""),
            tool("", ""),
            tool("é", "é"),
        ];
        let text = text("s.t", &tools);
        let config = format!("[mcp_servers.\"s.t\"]\ncommand = \"x\"\n{text}");
        let home = std::path::Path::new("/h");
        let config = SecureMcpConfig::parse(home, &config).expect(&config);
        assert!(config.policy.ceilings.is_empty() && config.policy.rules.is_empty(), "{text}");
        let levels = &config.policy.servers[0].levels;
        assert!(levels.iter().all(|(_, _, level)| *level == Level::Authenticated));
        let names: Vec<_> = levels.iter().map(|(_, name, _)| name.to_string()).collect();
        assert!(names.contains(&"read".to_owned()) && names.contains(&"é".to_owned()), "{names:?}");
    }
}
