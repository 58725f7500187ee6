//! What tools a server has: it is started, or connected to, and asked.

use std::sync::Arc;
use std::time::Duration;

use sealwire::Reach;
use sealwire::config::{SecureMcpConfig, ServerEntry};
use sealwire::serving::child_config;
use sealwire_guard::AllowAuthenticated;
use sealwire_relay::{Connection, Lines, Trial};
use serde_json::Value;
use tokio::io::{duplex, split};

use crate::cli::{Failure, printable};
use crate::commands::mcp::{self, Answered, Failed};

/// How long a server may take to end once its input has ended.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes that may wait between us and the link.
const BUFFER: usize = 256 * 1024;
/// Most of a tool's description that is shown, in characters.
const SHOWN: usize = 70;

/// One tool, as its server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// The first line of its description, shortened; safe to show.
    pub(super) description: String,
    /// `annotations`, of which each may be missing. A server may say what it likes.
    pub(super) read_only: Option<bool>,
    pub(super) destructive: Option<bool>,
    pub(super) open_world: Option<bool>,
}

/// The entry of that name.
pub(crate) fn entry<'c>(
    config: &'c SecureMcpConfig,
    name: &str,
) -> Result<&'c ServerEntry, Failure> {
    config.servers.get(name).ok_or_else(|| {
        let known: Vec<_> = config.servers.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::usage(format!("there is no server {name:?}"))
            .fix(format!("name one of those that are configured: {known}"))
    })
}

/// Asks the server of an entry. What is served here is started for it, as `serve` starts it.
pub(super) fn list(
    config: &SecureMcpConfig,
    name: &str,
    patience: Duration,
) -> Result<Vec<Tool>, Failure> {
    let entry = entry(config, name)?;
    let cannot = |reason: String| {
        Failure::new(format!("{name} cannot be asked for its tools"))
            .because(reason)
            .fix(format!("see `sealwire doctor {name}`"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot(error.to_string()))?;
    let answered = runtime.block_on(async {
        match child_config(&entry.role) {
            Some(child) => {
                let (trial, stdout, stdin) =
                    Trial::start(&child).map_err(|error| cannot(error.to_string()))?;
                let max_message = config.listen.max_message_size;
                let answered = mcp::ask(stdout, stdin, max_message, patience).await;
                let end = trial.end(GRACE).await;
                answered.map_err(|failed| {
                    let said = end.stderr.lines().next_back().unwrap_or_default();
                    cannot(format!("{}; it last wrote {:?}", failed.fault, printable(said)))
                })
            }
            None => connected(config, name, patience).await.map_err(cannot),
        }
    })?;
    Ok(answered.tools.unwrap_or_default().iter().filter_map(tool).collect())
}

/// Asks a server elsewhere. Its own policy decides what it lists; ours does not, since it is
/// about to be written.
async fn connected(
    config: &SecureMcpConfig,
    name: &str,
    patience: Duration,
) -> Result<Answered, String> {
    let reach = Reach::configured(config, name, None).map_err(|error| error.to_string())?;
    let mut how = reach.trial_config();
    how.gate = Arc::new(AllowAuthenticated);
    how.dial.handshake_timeout = patience;
    let max_message = how.dial.max_message;
    let connection = Connection::open(how).await.map_err(|error| error.to_string())?;
    let (ours, theirs) = duplex(BUFFER);
    let (input, output) = split(theirs);
    let relaying = connection.relay(Lines::new(input, output, max_message), std::future::pending());
    let asking = async {
        let (input, output) = split(ours);
        mcp::ask(input, output, max_message, patience).await
    };
    let relaying = async {
        // How it ended shows in what was answered.
        let _ended = relaying.await;
    };
    let (answered, ()) = tokio::join!(asking, relaying);
    answered.map_err(|Failed { fault, .. }| fault.to_string())
}

fn tool(json: &Value) -> Option<Tool> {
    let hint = |name: &str| json["annotations"][name].as_bool();
    let description = json["description"].as_str().unwrap_or_default();
    let line = description.lines().map(str::trim).find(|line| !line.is_empty());
    let mut description: String = line.unwrap_or_default().chars().take(SHOWN).collect();
    if description.len() < line.unwrap_or_default().len() {
        description.push('…');
    }
    Some(Tool {
        name: json["name"].as_str()?.to_owned(),
        description: printable(&description),
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        open_world: hint("openWorldHint"),
    })
}
