use std::io::Read;

use clap::Args;
use sealwire::config::is_endpoint;
use sealwire_identity::join::JoinLine;
use zeroize::Zeroizing;

use super::bundle::Bundle;
use super::founding;
use crate::cli::{Context, Failure};
use crate::joining::{self, Joined};

/// Longest text that is read for a line.
const MAX_INPUT: u64 = 4096;

/// Join another machine's trust domain, by a line that `sealwire invite` printed there
///
/// Makes a key here, which never leaves; checks that the authority is the one that the line
/// names; proves the invitation without sending it; and makes the home, from which `sealwire
/// connect` reaches what that machine serves.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire join sealwire-join-1/…
  sealwire join - < line                        other users cannot see it among the processes
  sealwire --home ~/.sealwire-work join LINE    beside a home that there is")]
pub(crate) struct Arguments {
    /// The line; `-` reads it from standard input
    line: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let text = Zeroizing::new(match arguments.line.as_str() {
        "-" => typed()?,
        _ => arguments.line,
    });
    let line = JoinLine::parse(&text).map_err(|error| {
        Failure::usage("this is no line to join by")
            .because(error)
            .fix("copy the whole line that `sealwire invite` printed")
    })?;
    if !is_endpoint(&line.address) {
        return Err(Failure::usage(format!("{:?} in the line is not host:port", line.address))
            .fix("copy the whole line that `sealwire invite` printed"));
    }
    founding::found(context, arguments.json, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new("cannot start").because(error))?;
        bundle(runtime.block_on(joining::join(&line))?, &line.address)
    })
}

/// What was granted is checked as what a file says.
fn bundle(joined: Joined, place: &str) -> Result<Bundle, Failure> {
    let Joined { id, certificate, ca_cert, key, servers } = joined;
    let id = id.parse().map_err(|error| {
        Failure::new(format!("{id:?}, which we are to be, is no name")).at(place).because(error)
    })?;
    let bundle = Bundle {
        id,
        ca_cert,
        cert: certificate,
        key: Zeroizing::new(key.key_pem().to_owned()),
        servers,
        renew_from: Some(place.to_owned()),
    };
    bundle.check(place)?;
    Ok(bundle)
}

fn typed() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_INPUT).read_to_string(&mut text);
    read.map_err(|error| Failure::new("cannot read standard input").because(error))?;
    Ok(text)
}
