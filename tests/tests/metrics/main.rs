//! Metrics: what is counted when a server is used and attacked, who can read it, and that a real
//! Prometheus has an answer to each question of the dashboard.

mod attacks;
mod prometheus;
mod scraped;
mod secrets;

use std::net::SocketAddr;
use std::process::Command;

use sealwire_testkit::{Serve, run};

/// Configuration of the address where metrics are told, chosen by the system.
const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Where `serve` tells them.
fn admin_address(serve: &Serve) -> SocketAddr {
    let line = serve.log().wait_for(&["answering health checks", "address="]);
    line.split_once("address=").unwrap().1.trim().trim_matches('"').parse().unwrap()
}

/// What `curl` gets with these options.
fn curl(options: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]);
    command.args(options);
    run(command, b"").ok().stdout
}

/// The metrics as they are told now.
fn metrics(admin: SocketAddr) -> String {
    curl(&[&format!("http://{admin}/metrics")])
}

/// The value of one series, as it is written.
fn value(text: &str, series: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}
