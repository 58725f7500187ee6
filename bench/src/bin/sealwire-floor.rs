//! Both ends of the plain rustls tunnel of `sealwire_bench::tunnel`, each a
//! process of its own:
//! `sealwire-floor serve CA CERT KEY COMMAND [ARGUMENT]…` and
//! `sealwire-floor connect CA CERT KEY ADDRESS`.
#![forbid(unsafe_code)]

use std::path::Path;

use sealwire_bench::Result;
use sealwire_bench::tunnel::{Identity, connect, serve};
use tokio::runtime::Builder;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, ca, cert, key, rest @ ..] = arguments.as_slice() else {
        return Err("usage: sealwire-floor serve|connect CA CERT KEY COMMAND…|ADDRESS".into());
    };
    let identity = Identity { ca: Path::new(ca), cert: Path::new(cert), key: Path::new(key) };
    match (role.as_str(), rest) {
        ("connect", [address]) => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(connect(address.parse()?, identity))
        }
        ("serve", command) => {
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(identity, command))
        }
        _ => Err(format!("unknown role {role}").into()),
    }
}
