use clap::Args;

use super::block_on;
use super::post::{Overview, overview};
use crate::cli::{Context, Failure, print, print_json};

/// List the agents and groups: who may send to whom, whose keys are here, what waits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire agent list
  sealwire agent list --json | jq -r '.agents[] | select(.waiting > 0) | .name'")]
pub(super) struct Arguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let overview = block_on(overview(&config))?;
    if arguments.json { print_json(&overview) } else { print(&text(&overview)) }
}

fn text(overview: &Overview) -> String {
    let Overview { agents, groups } = overview;
    let mut text = String::new();
    let width = agents.iter().map(|agent| agent.name.len()).max().unwrap_or_default();
    for agent in agents {
        let name = &agent.name;
        let waits = match agent.waiting {
            Some(1) => "1 message waits".to_owned(),
            Some(number) => format!("{number} messages wait"),
            None => "elsewhere".to_owned(),
        };
        let to = match &agent.may_send_to[..] {
            [] => "may send to nobody".to_owned(),
            names => format!("may send to {}", names.join(", ")),
        };
        let privileged = if agent.privileged { "; privileged" } else { "" };
        let keys = if agent.has_keys { "" } else { "; has no keys" };
        text.push_str(&format!("{name:width$}  {waits}; {to}{privileged}{keys}\n"));
    }
    for group in groups {
        let members = group.members.join(", ");
        text.push_str(&format!("{}: group, version {}: {members}\n", group.name, group.version));
    }
    if text.is_empty() {
        text.push_str("no agents: name them in agents of [agent_security]\n");
    }
    text
}
