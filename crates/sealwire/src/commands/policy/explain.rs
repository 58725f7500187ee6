use clap::Args;
use sealwire_guard::{
    Decision, Direction, Explanation, Level, PeerPattern, Principal, Request, Space, Table,
};
use serde_json::json;

use super::tools;
use crate::cli::{Context, Failure, print, print_json};

/// Tell whether a call would pass, which rule decides, and what is missing
///
/// It asks the same table that `serve` and `connect` ask. Limits are not looked at.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire policy explain --peer agent/CodeExpert --server github --tool create_issue
  sealwire policy explain --peer core/laptop --server files --resource file:///etc/passwd
  sealwire policy explain --peer local --server github --to-client --method elicitation/create
  sealwire policy explain --peer core/core --server github --tool get_issue --json | jq .allowed")]
pub(crate) struct Arguments {
    /// Who asks: `<kind>/<name>`, a SPIFFE ID, or `local` for the client that starts `connect`
    #[arg(long)]
    peer: String,
    /// Which server: the name of its table
    #[arg(long)]
    server: String,
    #[command(flatten)]
    what: What,
    /// The server asks the client, rather than the client the server
    #[arg(long, conflicts_with_all = ["tool", "prompt", "resource"], requires = "method")]
    to_client: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A tool that is called
    #[arg(long)]
    tool: Option<String>,
    /// A prompt that is got
    #[arg(long)]
    prompt: Option<String>,
    /// A resource that is read, by its URI
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Another JSON-RPC method
    #[arg(long)]
    method: Option<String>,
}

impl What {
    /// The method, and what it is about.
    fn request(&self) -> (&str, Option<&str>) {
        let named = [
            (Space::Tool, &self.tool),
            (Space::Prompt, &self.prompt),
            (Space::Resource, &self.resource),
        ];
        let named = named.into_iter().find_map(|(space, name)| Some((space, name.as_deref()?)));
        match named {
            Some((space, name)) => (space.method().unwrap_or_default(), Some(name)),
            None => (self.method.as_deref().unwrap_or_default(), None),
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    tools::entry(&config, &arguments.server)?;
    let pattern = PeerPattern::parse(&arguments.peer, &config.trust_domain);
    let refuse = |reason: String| {
        Failure::usage(format!("{:?} is not a peer", arguments.peer))
            .because(reason)
            .fix("write it like agent/CodeExpert, core/laptop or local")
    };
    let pattern = pattern.map_err(|error| refuse(error.to_string()))?;
    let peer = match &pattern {
        PeerPattern::Local => Principal::Local,
        PeerPattern::Exact(peer) => Principal::Peer(peer),
        _ => return Err(refuse("it is a pattern, and one peer is to be asked about".to_owned())),
    };
    let direction = if arguments.to_client { Direction::ToClient } else { Direction::ToServer };
    let (method, subject) = arguments.what.request();
    let server = &arguments.server;
    let request = Request { peer, server, direction, method, subject };
    let explanation = Table::compile(&config.policy).explain(&request);
    if arguments.json {
        print_json(&as_json(&explanation))
    } else {
        print(&text(&explanation, direction))
    }
}

fn text(explanation: &Explanation, direction: Direction) -> String {
    let word = match &explanation.decision {
        Decision::Allow => "allowed".to_owned(),
        Decision::Deny(refusal) | Decision::Later(refusal, _) => {
            format!("denied ({})", refusal.code)
        }
    };
    let mut text = format!("{word}: {}\n", explanation.operation);
    if direction == Direction::ToClient && explanation.level.is_none() {
        text.push_str("  level    does not count on the way to the client\n");
    }
    if let (Some(level), Some(source)) = (explanation.level, &explanation.level_source) {
        text.push_str(&format!("  level    {level}, {source}\n"));
    }
    if let Some(source) = &explanation.ceiling_source {
        let ceiling = explanation.ceiling.map_or_else(|| "none".to_owned(), |c| c.to_string());
        text.push_str(&format!("  ceiling  {ceiling}, {source}\n"));
    }
    match &explanation.rule {
        Some((effect, label)) => {
            text.push_str(&format!("  rule     {label}: {}\n", effect.as_str()));
        }
        None => text.push_str("  rule     none decides\n"),
    }
    for missing in &explanation.missing {
        text.push_str(&format!("  missing  {}\n", missing.describe()));
    }
    text
}

fn as_json(explanation: &Explanation) -> serde_json::Value {
    let (code, reason) = match &explanation.decision {
        Decision::Allow => (None, None),
        Decision::Deny(refusal) | Decision::Later(refusal, _) => {
            (Some(refusal.code.as_str()), Some(&refusal.reason))
        }
    };
    json!({
        "allowed": explanation.decision == Decision::Allow,
        "operation": explanation.operation,
        "code": code,
        "reason": reason,
        "level": explanation.level.map(Level::number),
        "level_source": explanation.level_source,
        "ceiling": explanation.ceiling.map(Level::number),
        "ceiling_source": explanation.ceiling_source,
        "rule": explanation.rule.as_ref().map(|(_, label)| label),
        "effect": explanation.rule.as_ref().map(|(effect, _)| effect.as_str()),
        "missing": explanation.missing.iter().map(|missing| missing.as_str()).collect::<Vec<_>>(),
    })
}
