//! No tunnel, and the plainest one.

use super::Route;
use crate::Result;
use crate::certificates::Certificates;
use crate::process::{Launch, sibling};
use crate::setup::{Setup, server};

/// The client starts the server itself.
pub(crate) fn direct(setup: &mut Setup) -> Result<Route> {
    let [program, options] = server()?;
    let connect = Launch::new(program, setup.file("direct.log")).args([options]);
    Ok(Route::direct("direct", "the client starts the server; pipes, no network", connect))
}

/// The [plain rustls tunnel](crate::tunnel).
pub(crate) fn floor(setup: &mut Setup) -> Result<Route> {
    let program = sibling("sealwire-floor")?;
    let (directory, certificates) = (setup.directory.clone(), setup.certificates.clone());
    let start = move |name: &str| {
        let Certificates { ca, server: own, client } = &certificates;
        let mut serve = Launch::new(&program, directory.join(format!("{name}-serve.log")))
            .args(["serve".as_ref(), ca.as_os_str(), own.cert.as_os_str(), own.key.as_os_str()])
            .args(server()?)
            .background()?;
        let address = serve.wait_for_address()?;
        let role = "connect".as_ref();
        let connect = Launch::new(&program, directory.join(format!("{name}-connect.log")))
            .args([role, ca.as_os_str(), client.cert.as_os_str(), client.key.as_os_str()])
            .args([address.to_string()]);
        Ok((connect, serve))
    };
    let about = "a plain rustls byte tunnel made of the parts sealwire is made of; it knows nothing of messages";
    Route::tunnel("floor", about, start)
}
