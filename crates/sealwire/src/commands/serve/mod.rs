mod changes;
mod reload;
mod watch;

use clap::Args;
use sealwire_relay::Server;

use self::reload::{Cause, Outcome, Reloader, load};
use self::watch::FileWatch;
use super::signals;
use crate::cli::{Context, Failure};

/// Serve MCP servers over mutual TLS
///
/// Starts one process of the server for each client that connects, and ends it with the
/// conversation. SIGTERM and SIGINT stop accepting, let calls under way finish, and end
/// the servers.
///
/// When the configuration, a certificate, a key or a file of trust anchors changes, and on
/// SIGHUP, everything is read again. If all of it holds, new connections go by it, and
/// those there are go on; if not, all stays as it is and the log says why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire serve                      every server of the configuration that has a command
  sealwire serve github filesystem    only these two
  sealwire --log-format json serve    one JSON object for each log line")]
pub(crate) struct Arguments {
    /// The servers to serve [default: all that the configuration serves]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let (loaded, serving) = load(context, &arguments.names)?;
    for warning in &loaded.checked.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        let terminal_lost = signals::terminal_lost()?;
        let hangup = signals::hangup()?;
        let mut server = Server::bind(serving)
            .await
            .map_err(|error| Failure::new(error.to_string()).fix("choose another address"))?;
        log_addresses(&server);
        server.start();
        let watch = FileWatch::new();
        let reloader = Reloader::new(context, &arguments.names, hangup, watch, loaded);
        tokio::select! {
            () = stop => {}
            () = terminal_lost => {}
            () = reload_for_ever(reloader, &mut server) => {}
        }
        server.drain().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Serves what the files say, whenever they change. Cancelling it leaves the server as it
/// is, old or new.
async fn reload_for_ever(mut reloader: Reloader<'_>, server: &mut Server) {
    loop {
        let mut cause = reloader.wanted().await;
        let before = server.addresses();
        let outcome = reloader.reload(&mut cause, server).await;
        let refusal = match &outcome {
            Outcome::Refused(failure) => Some(failure.one_line()),
            _ => None,
        };
        let is_news = reloader.is_news(cause, refusal.as_deref());
        match outcome {
            Outcome::Replaced(changes) => {
                tracing::info!(changes = changes.join("; "), "configuration reloaded");
                if server.addresses() != before {
                    log_addresses(server);
                }
            }
            Outcome::Unchanged if cause == Cause::Signal => {
                tracing::info!("configuration read again: nothing has changed");
            }
            Outcome::Unchanged => tracing::debug!("nothing has changed that matters here"),
            Outcome::Refused(failure) if is_news => {
                let reason = failure.one_line();
                tracing::error!(reason, "reload refused, the old configuration stays");
            }
            Outcome::Refused(_) => tracing::debug!("the files are as bad as before"),
        }
    }
}

fn log_addresses(server: &Server) {
    for (address, servers) in server.addresses() {
        tracing::info!(%address, servers = servers.join(","), "listening");
    }
}
