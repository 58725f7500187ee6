//! Both ends of sealwire, each a process of its own, with the gate that the configuration
//! describes or with one that lets everything pass:
//! `sealwire-gates serve guard|open HOME` and
//! `sealwire-gates connect guard|open HOME CONFIG SERVER`.
#![forbid(unsafe_code)]

use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use sealwire::serving::serve_config;
use sealwire::{Reach, SecureMcpConfig};
use sealwire_bench::Result;
use sealwire_guard::AllowAuthenticated;
use sealwire_relay::{Connection, Server, stdio};
use tokio::runtime::Builder;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, gate, home, rest @ ..] = arguments.as_slice() else {
        return Err("usage: sealwire-gates serve|connect guard|open HOME [CONFIG SERVER]".into());
    };
    let (is_open, home) = (gate == "open", Path::new(home));
    match (role.as_str(), rest) {
        ("connect", [config, server]) => {
            let config = SecureMcpConfig::load_file(home, Path::new(config))?;
            let mut how = Reach::configured(&config, server, None)?.connect_config()?;
            if is_open {
                how.gate = Arc::new(AllowAuthenticated);
            }
            Builder::new_current_thread().enable_all().build()?.block_on(async {
                let client = stdio(how.dial.max_message)?;
                Ok(Connection::new(how).relay(client, pending()).await?)
            })
        }
        ("serve", []) => {
            let mut how = serve_config(&SecureMcpConfig::load(home)?, &[])?;
            if is_open {
                how.gate = Arc::new(AllowAuthenticated);
            }
            Builder::new_multi_thread().enable_all().build()?.block_on(async {
                let mut server = Server::bind(how).await?;
                server.start();
                for (address, _) in server.addresses() {
                    eprintln!("listening address={address}");
                }
                pending().await
            })
        }
        _ => Err(format!("unknown role {role}").into()),
    }
}
