use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use sealwire::config::SecureMcpConfig;
use sealwire::invitations::Invitations;
use sealwire_audit::ChangeKind;
use sealwire_identity::{CertificateAuthority, token_of};
use sealwire_names::Timestamp;

use super::crl;
use super::init::AUTHORITY_VALIDITY;
use super::issuing::{HomeLock, open_authority};
use super::signals;
use crate::cli::{Context, Failure, print};
use crate::control::note;
use crate::joining::{CRL_FILE, Service};

/// How long the last revocation list of an authority holds, in days.
const LAST_LIST_DAYS: u16 = 90;
/// How long before it is made an authority's certificate is valid.
const BACKDATED_MILLIS: i64 = 5 * 60 * 1000;

/// Run the service of this home's certificate authority
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca serve
  sealwire invite laptop --address ca.example.org:7444")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArguments),
    Rotate(RotateArguments),
}

/// Replace the authority by another one, in two steps, with nobody refused meanwhile
///
/// The first step makes the other authority's key and adds its certificate to the trust anchors.
/// Those who joined get it with their next renewal; to other machines, take certs/ca/ca-cert.pem.
/// When all have it, `--finish` puts the new key in the place of the old one, which is gone then.
/// What the old authority has issued stays good while its certificate is in the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca rotate
  sealwire ca rotate --finish      when every certificate has been renewed since")]
struct RotateArguments {
    /// The second step: the new authority issues from now on
    #[arg(long)]
    finish: bool,
}

/// Let other machines join, by the lines that `sealwire invite` prints, and renew what they got
///
/// A process and a listener of its own, at `[ca] address`: whoever breaks into the process that
/// serves MCP has not the authority's key. Whoever connects is nobody until he has proven an
/// invitation. It can run all the time, or only while somebody is to join.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca serve
  sealwire --home /etc/sealwire-ca ca serve      an authority in a home of its own")]
struct ServeArguments {}

impl Arguments {
    /// Whether it goes on until it is stopped.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::Serve(ServeArguments {}) => serve(context),
        Command::Rotate(arguments) => rotate(arguments, context),
    }
}

fn rotate(arguments: &RotateArguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let home = config.layout();
    let _lock = HomeLock::acquire(&home)?;
    open_authority(&config)?;
    let dir = home.ca_dir();
    if !arguments.finish {
        let is_new =
            CertificateAuthority::prepare_next(&dir, &config.trust_domain, AUTHORITY_VALIDITY)?;
        let due = due(&config)?;
        if is_new {
            note(&config, ChangeKind::KeyChanged, "the authority", "a rotation has begun");
        }
        let begun = if is_new { "has begun" } else { "had begun before" };
        return print(&format!(
            "the rotation {begun}: {} holds the other authority's certificate, too\n\
             those who joined get it when they renew; take the file to all other machines\n\
             then, from {due} on: {} ca rotate --finish\n",
            home.ca_cert().display(),
            context.invocation
        ));
    }
    let due = due(&config)?;
    if Timestamp::from(SystemTime::now()) < due {
        return Err(Failure::new("not all who joined can know the other authority yet")
            .because(format!("the last certificate from before is valid until {due}"))
            .fix("wait until then: who does not know it would refuse whom it certifies"));
    }
    let in_token = token_of(&home.ca_key())?;
    // What the old one has revoked is to stay so for as long as what it has issued by hand lives.
    let has_list = dir.join(CRL_FILE).exists();
    if has_list {
        crl::write_locked(&config, LAST_LIST_DAYS)?;
    }
    CertificateAuthority::activate_next(&dir)?;
    if has_list {
        crl::write_locked(&config, crl::DEFAULT_DAYS)?;
    }
    note(&config, ChangeKind::KeyChanged, "the authority", "the other one issues from now on");
    let old = match in_token {
        Some(uri) => format!("the key of the old one is in its token still: destroy {uri} there"),
        None => "the key of the old one is gone".to_owned(),
    };
    print(&format!("the other authority issues from now on; {old}\n"))
}

/// When everything that was issued before the rotation has been renewed, or has expired.
pub(super) fn due(config: &SecureMcpConfig) -> Result<Timestamp, Failure> {
    let home = config.layout();
    let next = CertificateAuthority::next(&home.ca_dir())?.ok_or_else(|| {
        Failure::new("no rotation has begun").fix("begin one: sealwire ca rotate")
    })?;
    let longest = Invitations::open(&home)?.longest_lifetime()?.max(config.ca.leaf_lifetime);
    // It is valid from five minutes before it was made.
    let made = next.not_before.unix_millis() + BACKDATED_MILLIS;
    let life = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_unix_millis(made.saturating_add(life).saturating_add(1_000)))
}

fn serve(context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let address = config.ca.address;
    let service = Arc::new(Service::new(config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot listen on {address}, the address of [ca]"))
                .because(error)
                .fix("choose another address")
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        tracing::info!(%address, "listening for those who join");
        tokio::select! {
            () = stop => {}
            () = service.serve(listener) => {}
        }
        tracing::info!("stopped");
        Ok(())
    })
}
