//! stunnel as a raw tunnel: what people put between a client and a server today.
//! The connecting one runs as from inetd, on the client's pipes; the serving one
//! starts the server for each connection.

use super::Route;
use crate::Result;
use crate::process::free_address;
use crate::setup::{Found, Setup, server};
use crate::stunnel::Stunnel;

/// An inner error if stunnel is not installed.
pub(crate) fn stunnel(setup: &mut Setup) -> Result<Found<Route>> {
    let stunnel = match Stunnel::find(setup)? {
        Ok(stunnel) => stunnel,
        Err(reason) => return Ok(Err(reason)),
    };
    let start = move |name: &str| {
        let address = free_address()?;
        let [program, option] = server()?;
        let service = format!(
            "[echo]\naccept = {address}\nexec = {program}\nexecArgs = fake-server {option}\n"
        );
        let mut serve = stunnel.serving(&format!("{name}-serve"), &service)?.background()?;
        serve.wait_for_port(address)?;
        let service = format!("connect = {address}\n");
        Ok((stunnel.connecting(&format!("{name}-connect"), &service)?, serve))
    };
    let about = "a raw tunnel: stunnel started as from inetd, and one that starts the server";
    Ok(Ok(Route::tunnel("stunnel", about, start)?))
}
