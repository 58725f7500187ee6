use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::config::{is_endpoint, parse_duration};
use sealwire::invitations::{Invitation, Invitations};
use sealwire::revocations::revoked;
use sealwire_identity::join::{JoinLine, Token};
use sealwire_identity::{Revocations, check_issuable};
use sealwire_names::{Kind, Timestamp};
use serde_json::json;

use super::issuing::{Target, open_authority};
use super::{bundle, invitations};
use crate::cli::{Context, Failure, print, print_json};
use crate::joining::Servers;

/// Invite another machine: print the one line that it joins by
///
/// The line holds a secret and is good once: whoever has it first is NAME. It says by which key
/// the authority is known, where its service listens, and what proves the invitation. There,
/// `sealwire join LINE` makes a key, gets a certificate for it and writes a home. Here,
/// `sealwire ca serve` must run meanwhile. Of a line that is lost, withdraw the invitation.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire invite laptop --address ca.example.org:7444 --endpoint tools.example.org:7443
  sealwire invite Reviewer --kind agent --ttl 1h
  sealwire invite search --kind mcp-server --lifetime 12h
  sealwire invite --list
  sealwire invite --withdraw 5e0c41d9
On the other machine:
  sealwire join LINE")]
pub(crate) struct Arguments {
    /// Whom: the name that its certificate will have
    #[arg(required_unless_present_any = ["list", "withdraw"])]
    name: Option<String>,
    /// Show the invitations that there are, and what became of them
    #[arg(long, conflicts_with_all = ["name", "withdraw"])]
    list: bool,
    /// Withdraw the invitation that `--list` shows with this ID
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    withdraw: Option<String>,
    /// What it is [default: as `cert issue` decides, core for a new name]
    #[arg(long, value_parser = super::cert::kind)]
    kind: Option<Kind>,
    /// What it is to reach of the servers that are served here, by the name on the wire; may be
    /// repeated [default: all]
    #[arg(long, value_name = "NAME")]
    server_name: Vec<String>,
    /// How long the invitation holds
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m")]
    ttl: Duration,
    /// How long its certificate is valid [default: `[ca] leaf_lifetime`, 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lifetime: Option<Duration>,
    /// Where it reaches `sealwire ca serve` [default: `[ca] address`]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Where it reaches the servers that are served here [default: the address listened on]
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match (&arguments.name, &arguments.withdraw) {
        (_, Some(id)) => invitations::withdraw(id, arguments.json, context),
        (Some(name), None) => invite(name, arguments, context),
        (None, None) => invitations::list(arguments.json, context),
    }
}

fn invite(name: &str, arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    for given in [&arguments.address, &arguments.endpoint].into_iter().flatten() {
        if !is_endpoint(given) {
            return Err(Failure::usage(format!("{given:?} is not host:port"))
                .fix("write it like tools.example.org:7443, 10.0.0.7:7443 or [::1]:7443"));
        }
    }
    let config = context.load_config()?;
    let peer = Target::new(&config, name, arguments.kind)?.id;
    // Else whoever joins would be the first to learn of it.
    check_issuable(&peer)?;
    let address = match &arguments.address {
        Some(given) => given.clone(),
        None => own_address(config.ca.address)?,
    };
    let mut notes = Vec::new();
    let servers = match peer.kind() {
        Kind::McpServer => Servers::new(),
        _ => bundle::served(&config, arguments.endpoint.as_deref(), &mut notes)?,
    };
    let servers = chosen(servers, &arguments.server_name)?;
    let authority = open_authority(&config)?.key_hash();
    // After what was revoked of the name: that ends invitations from before.
    let revoked = Revocations::new(revoked(&config.layout())?).of_name(&peer);
    let now = Timestamp::from(SystemTime::now());
    let made = revoked.map_or(now, |at| now.max(Timestamp::from_unix_millis(at.unix_millis() + 1)));
    let expires = Timestamp::from(SystemTime::now() + arguments.ttl);
    let lifetime = arguments.lifetime.unwrap_or(config.ca.leaf_lifetime);
    let invitation =
        Invitation { servers: json!(servers).to_string(), peer, made, expires, lifetime };
    let line = JoinLine { authority, token: Token::generate()?, address };
    let (token, secret) = (line.token.id(), line.token.secret());
    Invitations::open(&config.layout())?.add(&token, &secret, &invitation)?;
    if !servers.is_empty() {
        notes.iter().for_each(|note| tracing::warn!("{note}"));
    }
    if arguments.json {
        let (peer, expires) = (invitation.peer.to_string(), expires.to_string());
        return print_json(&json!({"line": *line.text(), "id": peer, "expires": expires}));
    }
    print(&format!("{}\n", *line.text()))
}

/// What is listened on, if that says where it is reached.
fn own_address(listen: SocketAddr) -> Result<String, Failure> {
    if listen.ip().is_unspecified() || listen.port() == 0 {
        let what = format!("[ca] address is {listen}, which does not say where it is reached");
        return Err(Failure::usage(what).fix("give --address HOST:PORT"));
    }
    if listen.ip().is_loopback() {
        tracing::warn!(
            "the service is reachable from this machine alone: set [ca] address, or give --address"
        );
    }
    Ok(listen.to_string())
}

/// Those of the servers that were asked for.
fn chosen(servers: Servers, names: &[String]) -> Result<Servers, Failure> {
    let is_served = |name: &&String| servers.values().any(|server| server.server_name == **name);
    if let Some(name) = names.iter().find(|name| !is_served(name)) {
        let all: Vec<_> = servers.values().map(|server| server.server_name.as_str()).collect();
        return Err(Failure::usage(format!("no server {name:?} is served here for others")).fix(
            format!("there is {}", if all.is_empty() { "none".into() } else { all.join(", ") }),
        ));
    }
    let is_wanted = |name: &String| names.is_empty() || names.contains(name);
    Ok(servers.into_iter().filter(|(_, server)| is_wanted(&server.server_name)).collect())
}
