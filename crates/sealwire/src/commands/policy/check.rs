use std::time::Duration;

use clap::Args;
use sealwire::config::{SecureMcpConfig, parse_duration};
use sealwire_guard::{NamePattern, Policy, ServerPolicy, Space};
use serde_json::json;

use super::tools::{self, Tool};
use crate::cli::{Context, Failure, print, print_json, printable};

/// Find what in the policy is likely not meant
///
/// Contradictions, rules that never apply, ceilings and settings that do not do what they
/// seem to. With servers named, each is asked for its tools: which of them nothing names,
/// and which names are no tool's. Ends with exit code 1 if anything is found.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire policy check
  sealwire policy check github
  sealwire policy check --json | jq .found")]
pub(crate) struct Arguments {
    /// Servers to ask for their tools: each is started, or connected to
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// How long each of a server's answers may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Something that was found.
struct Found {
    kind: &'static str,
    about: String,
    what: String,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let mut found: Vec<Found> = config
        .policy
        .review()
        .into_iter()
        .map(|remark| Found { kind: remark.kind.as_str(), about: remark.about, what: remark.what })
        .collect();
    for name in &arguments.servers {
        let tools = tools::list(&config, name, arguments.timeout)?;
        found.extend(of_tools(&config, name, &tools));
    }
    if arguments.json {
        let list: Vec<_> = found
            .iter()
            .map(|found| json!({ "kind": found.kind, "about": found.about, "what": found.what }))
            .collect();
        print_json(&json!({ "ok": found.is_empty(), "found": list }))?;
    } else if found.is_empty() {
        print("nothing found\n")?;
    } else {
        let line = |found: &Found| format!("{}: {} [{}]\n", found.about, found.what, found.kind);
        print(&found.iter().map(line).collect::<String>())?;
    }
    match found.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} found in the policy"))
            .fix("change what is not meant; docs/policy.md tells what each setting does")),
    }
}

/// Compares the tools that a server has with those that the policy names.
fn of_tools(config: &SecureMcpConfig, name: &str, tools: &[Tool]) -> Vec<Found> {
    let mut found = Vec::new();
    let policy = &config.policy;
    let Some(server) = policy.servers.iter().find(|server| server.entry == name) else {
        return found;
    };
    let named = named(policy, server);
    for tool in tools {
        // What matches everything names nothing.
        let by =
            |pattern: &&NamePattern| **pattern != NamePattern::any() && pattern.matches(&tool.name);
        if !named.iter().any(|named| by(&named.pattern)) {
            found.push(Found {
                kind: "tool_not_named",
                about: format!("{name} {}", printable(&tool.name)),
                what: "no level and no rule names this tool; default_level holds".to_owned(),
            });
        }
    }
    for Named { pattern, place, .. } in named.into_iter().filter(|named| named.is_of_server) {
        if !tools.iter().any(|tool| pattern.matches(&tool.name)) {
            found.push(Found {
                kind: "no_such_tool",
                about: place,
                what: format!("{name} has no tool that {pattern} matches"),
            });
        }
    }
    found
}

/// A pattern of tools.
struct Named<'p> {
    pattern: &'p NamePattern,
    /// Where it stands.
    place: String,
    /// Whether it is meant for this server; a rule for all servers need not fit each of them.
    is_of_server: bool,
}

/// Every pattern of tools that holds for this server.
fn named<'p>(policy: &'p Policy, server: &'p ServerPolicy) -> Vec<Named<'p>> {
    let levels = server.levels.iter().filter(|(space, _, _)| *space == Space::Tool);
    let place = format!("[mcp_servers.{}.policy] tools", server.entry);
    let mut named: Vec<_> = levels
        .map(|(_, pattern, _)| Named { pattern, place: place.clone(), is_of_server: true })
        .collect();
    for rule in policy.rules.iter().filter(|rule| rule.is_at(&server.entry)) {
        let is_of_server = !rule.is_everywhere();
        let tools = rule.objects.iter().filter(|(space, _)| *space == Space::Tool);
        named.extend(tools.map(|(_, pattern)| Named {
            pattern,
            place: rule.label.clone(),
            is_of_server,
        }));
    }
    named
}
