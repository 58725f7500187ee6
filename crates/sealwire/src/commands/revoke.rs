//! `cert revoke`, and what `cert list --revoked` shows.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::home::Home;
use sealwire::invitations::Invitations;
use sealwire::revocations::revoked;
use sealwire::state::State;
use sealwire_audit::ChangeKind;
use sealwire_identity::{CertificateSummary, Revocation, Revocations, Revoked, describe, files};
use sealwire_names::{Fingerprint, Kind, PeerId};
use serde_json::{Value, json};

use super::certificates::certificate_files;
use super::crl;
use super::quarantine::{conversations_ended, reason};
use crate::cli::{Context, Failure, print, print_json, printable};
use crate::control::{Daemon, Request, UNKNOWN_CERTIFICATE, find, note, revocation_as_json};

/// Most names that are listed to choose from.
const MOST_NAMES: usize = 20;

/// Revoke a certificate, or all that a name has
///
/// Whoever presents it is refused from now on, and what he has open by it is cut and not
/// resumed; also the servers that this home connects to. Of a name, all that was issued up to
/// now is revoked, wherever it is, and what is issued to it afterwards is good. There is no way
/// back: issue another one.
///
/// It holds where this is run; and where the authority is, while `ca serve` runs, on every machine
/// that has joined. On others that serve, or connect to what is revoked, run it there as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert revoke laptop --reason \"stolen\"
  sealwire cert revoke core/laptop                 also where it is not known
  sealwire cert revoke 5e0c41d90f0a4f6f8a4b2b1f6f0c77aa    one certificate, by its serial number
  sealwire cert issue laptop --force               another one, with a new key
  sealwire cert list --revoked")]
pub(crate) struct Arguments {
    /// A name (of a certificate of this home, of who has joined, is invited or connected; else
    /// <kind>/<name>, or a SPIFFE ID), or one certificate
    /// by its serial number or SHA-256 fingerprint (of this home; by a fingerprint, also one by
    /// which somebody is connected)
    #[arg(value_name = "NAME|SERIAL|FINGERPRINT")]
    what: String,
    /// Why; for the log and for others who look
    #[arg(long, default_value = "by an operator", value_parser = reason)]
    reason: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A certificate in a file of this home, replaced ones included.
struct Known {
    file: PathBuf,
    id: Option<PeerId>,
    summary: CertificateSummary,
}

/// What is meant.
enum Wanted {
    /// It is known what that is.
    This(Revoked),
    /// No certificate of this home; somebody may be connected by it.
    Presented(Fingerprint),
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let home = config.layout();
    let known = known(&config);
    let mut daemon = find(&home)?;
    let elsewhere = elsewhere(&home, daemon.as_mut());
    let wanted = resolve(&arguments.what, &config, &known, &elsewhere)?;
    let (at, reason) = (SystemTime::now().into(), arguments.reason.clone());
    let done = match (daemon, &wanted) {
        (Some(mut daemon), wanted) => daemon.ask(&wanted.request(reason))?,
        (None, Wanted::This(what)) => {
            let revocation = Revocation { what: what.clone(), at, reason };
            let is_new = State::open(&home)?.revoke(&revocation)?;
            if is_new {
                let Revocation { what, reason, .. } = &revocation;
                note(&config, ChangeKind::Revocation, what, reason);
            }
            json!({"revoked": revocation_as_json(&revocation), "new": is_new})
        }
        (None, Wanted::Presented(fingerprint)) => {
            let what = format!("no certificate of this home is {fingerprint}");
            return Err(Failure::new(what).fix(UNKNOWN_CERTIFICATE));
        }
    };
    // What the authority signs of it, where it is here: for other machines.
    let list = match home.has_authority() {
        // What is revoked is revoked, with or without a list of it.
        true => crl::write(&config, crl::DEFAULT_DAYS)
            .inspect_err(|failure| {
                tracing::warn!(reason = failure.one_line(), "the revocation list is not written");
            })
            .ok(),
        false => None,
    };
    let concerned: Vec<_> = known.iter().filter(|known| wanted.concerns(known)).collect();
    if arguments.json {
        let mut done = done;
        done["certificates"] = concerned.iter().map(|known| known.as_json()).collect();
        done["crl"] = list.map_or(Value::Null, |(file, list)| crl::as_json(&file, &list));
        return print_json(&done);
    }
    let effect = match &done {
        done if done["new"] == false => "it was already".to_owned(),
        done if done["conversations_ended"].is_u64() => conversations_ended(done),
        _ => "no `serve` takes commands here; the next one begins with it".to_owned(),
    };
    let mut shown = format!("revoked {wanted}: {effect}\n");
    for Known { file, summary, .. } in &concerned {
        let file = file.strip_prefix(home.root()).unwrap_or(file).display();
        shown.push_str(&format!("  {file}  serial {}\n", summary.serial));
    }
    match concerned.iter().find_map(|known| known.id.as_ref()) {
        Some(id) => shown.push_str(&format!(
            "for another one: {} cert issue {} --kind {} --force\n",
            context.invocation,
            id.name(),
            id.kind()
        )),
        None => shown
            .push_str("note: no certificate of this home is concerned; it holds all the same\n"),
    }
    if let Some((file, list)) = &list {
        shown.push_str(&crl::shown(file.strip_prefix(home.root()).unwrap_or(file), list));
    }
    print(&shown)
}

impl Wanted {
    fn request(&self, reason: String) -> Request {
        match self {
            Self::This(what) => Request::Revoke {
                kind: what.kind().to_owned(),
                what: what.text(),
                signed: what.signed().map(ToString::to_string),
                reason,
            },
            Self::Presented(fingerprint) => Request::Revoke {
                kind: "certificate".to_owned(),
                what: fingerprint.to_string(),
                signed: None,
                reason,
            },
        }
    }

    /// Whether that certificate is revoked by it, and was not issued since.
    fn concerns(&self, known: &Known) -> bool {
        match self {
            Self::This(Revoked::Name(id)) => known.id.as_ref() == Some(id),
            Self::This(what) => *what == Revoked::certificate(&known.summary),
            Self::Presented(_) => false,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::This(what) => what.fmt(f),
            Self::Presented(fingerprint) => write!(f, "certificate {fingerprint}"),
        }
    }
}

/// Shows what is revoked, with whose certificates it is as far as they are in this home.
pub(super) fn list(json: bool, context: &Context) -> Result<(), Failure> {
    let home = context.state_home()?;
    let all = revoked(&home)?;
    let known = context.load_config().map(|config| known(&config)).unwrap_or_default();
    if json {
        return print_json(&json!(all.iter().map(revocation_as_json).collect::<Vec<_>>()));
    }
    if all.is_empty() {
        return print("nothing is revoked\n");
    }
    let line = |revocation: &Revocation| {
        let Revocation { what, at, reason } = revocation;
        let whose = known.iter().find_map(|known| match what {
            Revoked::Certificate { signed, .. } if known.summary.signed == *signed => {
                Some(format!(" ({})", known.summary.uris.first()?))
            }
            _ => None,
        });
        let (whose, reason) = (printable(&whose.unwrap_or_default()), printable(reason));
        format!("{:11}  {}{whose}  at {at}: {reason}\n", what.kind(), what.text())
    };
    print(&all.iter().map(line).collect::<String>())
}

/// The certificates in files of the home that are revoked by command.
pub(super) fn revoked_certificates(
    config: &SecureMcpConfig,
) -> Result<Vec<CertificateSummary>, Failure> {
    let revocations = Revocations::new(revoked(&config.layout())?);
    let all = known(config).into_iter().map(|known| known.summary);
    Ok(all.filter(|summary| revocations.check_summary(summary).is_err()).collect())
}

/// Every certificate of the home, and of its configuration, that can be read.
fn known(config: &SecureMcpConfig) -> Vec<Known> {
    let mut files: BTreeSet<PathBuf> =
        certificate_files(&config.layout()).unwrap_or_default().into_iter().collect();
    files.insert(config.client_cert.clone());
    files.extend(config.servers.values().filter_map(|entry| Some(entry.role.pair()?.0.clone())));
    let with_replaced = files.into_iter().flat_map(|file| {
        let mut replaced = file.clone().into_os_string();
        replaced.push(".old");
        [file, replaced.into()]
    });
    with_replaced.filter_map(|file| Known::read(&file)).collect()
}

impl Known {
    /// What is damaged or gone is not known.
    fn read(file: &Path) -> Option<Self> {
        let chain = describe(&files::read_public(file).ok()?, "").ok()?;
        let summary = chain.into_iter().next()?;
        let id = match summary.uris.as_slice() {
            [uri] => uri.parse().ok(),
            _ => None,
        };
        Some(Self { file: file.to_owned(), id, summary })
    }

    fn as_json(&self) -> Value {
        json!({
            "file": self.file,
            "id": self.id.as_ref().map(ToString::to_string),
            "serial": self.summary.serial,
            "sha256": self.summary.fingerprint.to_string(),
        })
    }
}

/// Names whose certificates are elsewhere: of those who have joined or are invited, and of those
/// who are connected. What cannot be asked is left out: a whole name is understood all the same.
fn elsewhere(home: &Home, daemon: Option<&mut Daemon>) -> BTreeSet<PeerId> {
    let joined = Invitations::open(home).and_then(|invitations| invitations.peers());
    let mut names = joined.unwrap_or_default();
    let status: Value =
        daemon.and_then(|daemon| daemon.ask(&Request::Status {}).ok()).unwrap_or_default();
    let connected = status["conversations"].as_array().into_iter().flatten();
    names.extend(connected.filter_map(|one| one["peer"].as_str()?.parse().ok()));
    names
}

fn resolve(
    text: &str,
    config: &SecureMcpConfig,
    known: &[Known],
    elsewhere: &BTreeSet<PeerId>,
) -> Result<Wanted, Failure> {
    if let Ok(fingerprint) = text.parse() {
        let found = known.iter().find(|known| known.summary.fingerprint == fingerprint);
        return found.map_or(Ok(Wanted::Presented(fingerprint)), one);
    }
    if text.contains('/') {
        return name(text, config);
    }
    let configured = configured(config);
    let of_files = known.iter().filter_map(|known| known.id.as_ref());
    // Names of other trust domains are accepted nowhere here, so that there is nothing to revoke.
    let named: BTreeSet<&PeerId> = of_files
        .chain(&configured)
        .chain(elsewhere)
        .filter(|id| *id.trust_domain() == config.trust_domain)
        .collect();
    let meant: Vec<_> = named.iter().filter(|id| id.name() == text).collect();
    match meant.as_slice() {
        [id] => return Ok(Wanted::This(Revoked::Name(PeerId::clone(id)))),
        [] => {}
        several => {
            let kinds: Vec<_> = several.iter().map(|id| format!("{}/{text}", id.kind())).collect();
            return Err(Failure::usage(format!("{text:?} is the name of several"))
                .fix(format!("say which: {}", kinds.join(" or "))));
        }
    }
    let serial = plain_serial(text);
    let mut of_serial = known.iter().filter(|known| plain_serial(&known.summary.serial) == serial);
    if let Some(found) = of_serial.next() {
        return one(found);
    }
    let mut names: Vec<_> = named.iter().map(|id| format!("{}/{}", id.kind(), id.name())).collect();
    if names.len() > MOST_NAMES {
        names.truncate(MOST_NAMES);
        names.push("…".to_owned());
    }
    Err(Failure::usage(format!(
        "no certificate of {text:?} is known here, by name or serial number"
    ))
    .because(format!("known are {}", names.join(", ")))
    .fix(
        "name one of these, or another as <kind>/<name>; or give the SHA-256 fingerprint of one \
         by which somebody is connected (`sealwire status --json`)",
    ))
}

/// One certificate; not an authority's.
fn one(known: &Known) -> Result<Wanted, Failure> {
    let Known { file, summary, .. } = known;
    if !summary.is_ca {
        return Ok(Wanted::This(Revoked::certificate(summary)));
    }
    let failure = Failure::usage("an authority's certificate cannot be revoked").at(file.display());
    Err(if summary.issuer == summary.subject {
        failure.fix(
            "take it out of the files of trust anchors (`ca_cert`, `trusted_ca`): nothing that it \
             issued is accepted then",
        )
    } else {
        failure
            .fix("put another in its place, which revokes it: sealwire ca renew-issuing --new-key")
    })
}

/// A name that need not be known here, if anything of that name could be accepted at all.
fn name(text: &str, config: &SecureMcpConfig) -> Result<Wanted, Failure> {
    let whole = match text.split_once("://") {
        Some(_) => text.to_owned(),
        None => format!("spiffe://{}/{text}", config.trust_domain),
    };
    let id: PeerId = whole.parse().map_err(|error| {
        Failure::usage(format!("{text:?} is no peer's name"))
            .because(error)
            .fix("write <kind>/<name>, such as core/laptop, or a whole SPIFFE ID")
    })?;
    if *id.trust_domain() == config.trust_domain {
        return Ok(Wanted::This(Revoked::Name(id)));
    }
    Err(Failure::usage(format!("{id} is of another trust domain"))
        .because(format!("only names of {} are accepted here", config.trust_domain))
        .fix("revoke it where it is accepted"))
}

/// Whom the configuration names.
fn configured(config: &SecureMcpConfig) -> Vec<PeerId> {
    let servers =
        config.servers.values().map(|entry| (Kind::McpServer, entry.server_name.as_str()));
    let agents = config.agent_security.agents.iter().map(|agent| (Kind::Agent, agent.as_str()));
    let id = |(kind, name): (Kind, &str)| PeerId::new(config.trust_domain.clone(), kind, name).ok();
    servers.chain(agents).filter_map(id).collect()
}

/// Without what programs write differently.
fn plain_serial(text: &str) -> String {
    let text = text.to_ascii_lowercase().replace(':', "");
    text.strip_prefix("0x").unwrap_or(&text).trim_start_matches('0').to_owned()
}
