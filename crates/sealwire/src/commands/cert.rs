use std::net::IpAddr;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sealwire::config::SecureMcpConfig;
use sealwire_audit::ChangeKind;
use sealwire_identity::TokenUri;
use sealwire_names::{Kind, Timestamp};
use serde::Serialize;

use super::issuing::{
    DEFAULT_DAYS, HomeLock, Presence, Target, Terms, days, open_authority, token,
};
use super::{bundle, certificates, crl, revoke};
use crate::cli::{Context, Failure, print, print_json};
use crate::control::note;

/// Issue, bundle, revoke and look at certificates
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert issue --all
  sealwire cert bundle laptop --endpoint tools.example.org:7443
  sealwire cert revoke laptop --reason \"stolen\"
  sealwire cert list")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Issue(IssueArguments),
    Bundle(bundle::Arguments),
    Revoke(revoke::Arguments),
    Crl(crl::Arguments),
    List(certificates::ListArguments),
    Show(certificates::ShowArguments),
}

/// Issue a certificate with a new key, or all that the configuration needs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert issue --all                     one for each served server and agent
  sealwire cert issue laptop                    for another machine's sealwire
  sealwire cert issue time --dns tools.example.org --days 30
  sealwire cert issue time --force              replace it; the old pair is kept as .old
  sealwire cert issue time --key 'pkcs11:token=hsm;object=time?pin-source=file:/etc/pin'")]
struct IssueArguments {
    /// The name in the certificate
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// One for every served server and agent of the configuration that has none
    #[arg(long, conflicts_with_all = ["kind", "dns", "ip"])]
    all: bool,
    /// What it is for [default: mcp-server or agent if configured as one, else core]
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// A further DNS name; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// A further IP address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Validity from now, in days
    #[arg(long, default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=18_250))]
    days: u32,
    /// Use this key in a token (RFC 7512), and make it there if there is none: docs/hardware.md
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "all")]
    key: Option<TokenUri>,
    /// Replace an existing pair, which is kept beside it as .old
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    match arguments.command {
        Command::Issue(arguments) => issue(arguments, context),
        Command::Bundle(arguments) => bundle::run(arguments, context),
        Command::Revoke(arguments) => revoke::run(&arguments, context),
        Command::Crl(arguments) => crl::run(&arguments, context),
        Command::List(arguments) => certificates::list(&arguments, context),
        Command::Show(arguments) => certificates::show(&arguments, context),
    }
}

/// A kind on the command line.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|_| {
        let all = Kind::ALL.map(Kind::as_str).join(", ");
        format!("the kinds are {all}")
    })
}

/// What became of one certificate.
#[derive(Debug, Serialize)]
struct Outcome {
    id: String,
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
    not_after: String,
    /// Whether it was issued now; `false` if it was there already.
    issued: bool,
}

fn issue(arguments: IssueArguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let _lock = HomeLock::acquire(&context.home)?;
    let terms = Terms {
        dns: arguments.dns,
        ip: arguments.ip,
        validity: days(arguments.days),
        token: token(arguments.key, &config)?,
    };
    let outcomes = match &arguments.name {
        Some(name) => {
            let target = Target::new(&config, name, arguments.kind)?;
            if target.presence()? == Presence::Complete && !arguments.force {
                return Err(Failure::new(format!("{} has been issued already", target.id))
                    .at(target.pair.cert.display())
                    .fix("use it, or add --force to replace it; the old pair is kept as .old"));
            }
            vec![issue_one(&config, &target, &terms, arguments.force)?]
        }
        None => {
            let targets = Target::all(&config)?;
            let issue = |target| issue_one(&config, target, &terms, arguments.force);
            targets.iter().map(issue).collect::<Result<_, _>>()?
        }
    };
    if arguments.json {
        return print_json(&outcomes);
    }
    let mut text = String::new();
    for outcome in &outcomes {
        let word = if outcome.issued { "issued" } else { "kept  " };
        let Outcome { id, cert, not_after, .. } = outcome;
        text.push_str(&format!("{word} {id} until {not_after}  {}\n", cert.display()));
    }
    if outcomes.is_empty() {
        text.push_str("nothing to issue: the configuration serves nothing and has no agents\n");
    }
    print(&text)
}

fn issue_one(
    config: &SecureMcpConfig,
    target: &Target,
    terms: &Terms,
    replace: bool,
) -> Result<Outcome, Failure> {
    let outcome = |not_after: Timestamp, issued| Outcome {
        id: target.id.to_string(),
        cert: target.pair.cert.clone(),
        key: target.pair.key.clone(),
        not_after: not_after.to_string(),
        issued,
    };
    let presence = target.presence()?;
    if presence == Presence::Complete && !replace {
        let not_after = certificates::leaf(&target.pair.cert)?.not_after;
        if not_after <= Timestamp::from(SystemTime::now()) {
            tracing::warn!(peer = %target.id, "expired: issue it again with --force");
        }
        if let Some(refusal) = certificates::revoked_leaf(&target.pair.cert, &config.layout())? {
            tracing::warn!(peer = %target.id, %refusal, "revoked: issue it again with --force");
        }
        return Ok(outcome(not_after, false));
    }
    let authority = open_authority(config)?;
    let leaf = match presence {
        Presence::Complete => target.replace(&authority, terms)?,
        Presence::Absent => target.issue(&authority, terms)?,
    };
    let detail = format!("until {}", leaf.not_after);
    note(config, ChangeKind::CertificateIssued, &target.id, &detail);
    Ok(outcome(leaf.not_after, true))
}
