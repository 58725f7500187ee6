mod following;
mod local;

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::{AdHoc, Reach};
use sealwire_relay::link::LinkError;
use sealwire_relay::{ConnectConfig, Connection, EndpointError, RelayError, stdio};

use super::{out_of_date, signals};
use crate::cli::{Context, Failure, Page};
use crate::joining::{Following, Renewing, learn_in};

/// Longer than it takes to wake four processes one after the other, and to answer many calls.
const STAY_AWAKE: Duration = Duration::from_micros(500);

/// Connect standard input and output to an MCP server
///
/// This is the command to put into an MCP client's configuration. Nothing but MCP is
/// written to standard output; the log goes to standard error or --log-file. No
/// environment variable is needed.
///
/// A server whose entry says transport = "stdio" stays on this machine: it is started here, and
/// policy, pins, limits and the audit log stand before it as before any other.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire connect github
  sealwire connect github --as CodeExpert
  sealwire connect --endpoint tools.example.org:7443 --server-name github \\
      --ca ca-cert.pem --cert me-cert.pem --key me-key.pem

In a client's configuration:
  {\"mcpServers\": {\"github\": {\"command\": \"sealwire\", \"args\": [\"connect\", \"github\"]}}}")]
pub(crate) struct Arguments {
    /// The server, as the configuration names it
    #[arg(required_unless_present = "endpoint", conflicts_with_all = AD_HOC)]
    name: Option<String>,
    /// Present the certificate of this agent, one of `agents` in [agent_security]
    #[arg(long = "as", value_name = "AGENT", conflicts_with_all = AD_HOC)]
    agent: Option<String>,
    /// Where a server is that no configuration describes
    #[arg(long, value_name = "HOST:PORT", requires_all = ["server_name", "ca", "cert", "key"])]
    endpoint: Option<String>,
    /// Its name: the end of the SPIFFE ID in its certificate
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    server_name: Option<String>,
    /// The certificates of the authorities trusted to name it
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    ca: Option<PathBuf>,
    /// Our certificate
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    cert: Option<PathBuf>,
    /// Our private key
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    key: Option<PathBuf>,
    /// The common name its certificate must have, beside its SPIFFE ID
    #[arg(long, value_name = "CN", requires = "endpoint")]
    expected_cn: Option<String>,
}

impl Arguments {
    /// The server that the configuration describes, if it is one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

const AD_HOC: [&str; 6] = ["endpoint", "server_name", "ca", "cert", "key", "expected_cn"];

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    match target(arguments, context)? {
        Target::Served(reach, config) => relay(&reach, config),
        Target::Local(name, config) => local::run(*config, &name, context),
    }
}

/// What a client is connected to.
enum Target {
    /// A server that is served somewhere, and the configuration, if it is in that.
    Served(Box<Reach>, Option<Box<SecureMcpConfig>>),
    /// One that is started here.
    Local(String, Box<SecureMcpConfig>),
}

// Apart from what follows, as is that: what a function has needed of the stack stays resident under
// it, for as long as the conversation lasts.
#[inline(never)]
fn target(arguments: Arguments, context: &Context) -> Result<Target, Failure> {
    let agent = arguments.agent.clone();
    match (arguments.name.clone(), arguments.ad_hoc()) {
        (_, Some(target)) => Ok(Target::Served(Box::new(Reach::ad_hoc(&target)?), None)),
        (Some(name), None) => {
            let config = Box::new(context.load_config()?);
            if config.servers.get(&name).is_some_and(following::is_local) {
                if agent.is_some() {
                    let what = format!("{name} is started here, and is shown no certificate");
                    return Err(Failure::usage(what).fix("leave --as out"));
                }
                return Ok(Target::Local(name, config));
            }
            let reach = Reach::configured(&config, &name, agent.as_deref())?;
            Ok(Target::Served(Box::new(reach), Some(config)))
        }
        (None, None) => Err(Failure::usage("name a server, or describe one with options")),
    }
}

#[inline(never)]
fn relay(reach: &Reach, config: Option<Box<SecureMcpConfig>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let how = ConnectConfig { stay_awake: stay_awake(), ..reach.connect_config()? };
    let relayed = runtime.block_on(Box::pin(async {
        let stop = signals::stop()?;
        let client = stdio(reach.dial().max_message)
            .map_err(|error| Failure::new("cannot use standard input or output").because(error))?;
        let _kept = config.map(|config| {
            let pair = reach.certificate().clone();
            let renewing = Renewing::start(&config, vec![pair.clone()]);
            (renewing, Following::start(&config, Some(pair), learn_in(config.layout())))
        });
        let relaying = Box::pin(Connection::new(how).relay_stdio(client, Box::pin(stop)));
        let relayed = tokio::select! {
            relayed = relaying => relayed,
            never = reach.follow() => match never {},
        };
        relayed.map_err(|error| {
            let (endpoint, server) = (&reach.dial().endpoint, &reach.dial().server);
            let failure = Failure::new(format!("the connection to {server} failed")).at(endpoint);
            let failure = failure.because(&error).fix(remedy(&error, reach));
            match &error {
                RelayError::Endpoint(EndpointError::Link(error)) => {
                    failure.see(Page::of_link(error))
                }
                _ => failure,
            }
        })
    }));
    // A thread that still waits for a terminal's input must not keep the process alive.
    runtime.shutdown_background();
    relayed
}

impl Arguments {
    fn ad_hoc(self) -> Option<AdHoc> {
        Some(AdHoc {
            endpoint: self.endpoint?,
            server_name: self.server_name?,
            ca: self.ca?,
            cert: self.cert?,
            key: self.key?,
            expected_cn: self.expected_cn,
        })
    }
}

/// How long to look for what comes next before going to sleep. Where there is one processor
/// alone, whoever is to send it needs it.
fn stay_awake() -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    if processors > 1 { STAY_AWAKE } else { Duration::ZERO }
}

/// What a person can do about a connection that does not come about, or breaks off.
fn remedy(error: &RelayError, reach: &Reach) -> String {
    let RelayError::Endpoint(EndpointError::Link(error)) = error else {
        return "see the log of the serving side".to_owned();
    };
    let of_time = match error {
        LinkError::Refused(refusal) => {
            out_of_date::remedy(refusal, reach.dial().server.name(), reach.certificate())
        }
        _ => None,
    };
    of_time.unwrap_or_else(|| error.remedy().to_owned())
}
