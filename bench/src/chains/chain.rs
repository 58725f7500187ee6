//! A bridge, a tunnel and a bridge in a row.

use super::bridge::{Far, Near};
use super::tunnel::{Stations, Tunnel};
use crate::Result;
use crate::process::free_address;
use crate::route::Route;
use crate::setup::{Found, Setup};

/// What people put between a client and a server today.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) near: Near,
    pub(super) tunnel: Tunnel,
    pub(super) far: Far,
}

impl Chain {
    /// Starts all of it but the bridge that the client starts. An inner error if one of
    /// the programs is not installed.
    pub(super) fn route(&self, setup: &mut Setup) -> Result<Found<Route>> {
        let Self { name, about, near, tunnel, far } = *self;
        let stations =
            Stations { near: free_address()?, between: free_address()?, far: free_address()? };
        let connect = near.launch(setup, &format!("{name}-near.log"), stations.near, far.path())?;
        let bridge = far.launch(setup, &format!("{name}-far.log"), stations.far)?;
        let ends = tunnel.ends(setup, name, stations)?;
        let (connect, bridge, [serving, connecting]) = match (connect, bridge, ends) {
            (Ok(connect), Ok(bridge), Ok(ends)) => (connect, bridge, ends),
            (Err(reason), _, _) | (_, Err(reason), _) | (_, _, Err(reason)) => {
                return Ok(Err(reason));
            }
        };
        let [mut bridge, mut serving, mut connecting] =
            [bridge.background()?, serving.background()?, connecting.background()?];
        bridge.wait_for_port(stations.far)?;
        serving.wait_for_port(stations.between)?;
        connecting.wait_for_port(stations.near)?;
        let serve = vec![connecting, serving, bridge];
        Ok(Ok(Route::http(name, about, connect, serve)))
    }
}
