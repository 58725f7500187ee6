//! What the service manager is told, `sd_notify(3)`: without one, that is, without
//! `NOTIFY_SOCKET` in the environment, nobody is told anything.
//!
//! Written here because the crates for it do not know the abstract addresses (`@…`) that
//! the protocol has as well.

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

/// Beyond the drain limit: the time for conversations to put their servers away, and for
/// the last lines of the log.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// All listeners are bound, or a reload has ended, whatever came of it.
pub(crate) fn ready(status: &str) {
    report(tell(&format!("READY=1\nSTATUS={status}")));
}

/// A reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    // What systemd compares with the time at which it asked, from version 253 on.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    report(tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=Reloading")));
}

/// The drain begins, and takes at most `limit` beyond the last steps, however short the
/// service manager's own patience is.
pub(crate) fn stopping(limit: Duration) {
    let microseconds = (limit + LAST_STEPS).as_micros();
    report(tell(&format!(
        "STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=Finishing calls under way"
    )));
}

/// Tells the watchdog, if there is one, that this runtime still gets round to things.
/// Must be called within it.
pub(crate) fn keep_watchdog_fed() {
    let Some(patience) = watchdog() else { return };
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(patience / 2);
        loop {
            interval.tick().await;
            if let Err(error) = tell("WATCHDOG=1") {
                tracing::debug!(%error, "cannot feed the service manager's watchdog");
            }
        }
    });
}

/// How long the watchdog waits, if there is one and it watches this process.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = env::var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(process::id()));
    let patience = number("WATCHDOG_USEC").filter(|microseconds| is_ours && *microseconds > 0)?;
    Some(Duration::from_micros(patience).max(Duration::from_millis(2)))
}

fn report(told: io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn tell(assignments: &str) -> io::Result<()> {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    // It must not wait for whoever does not read.
    socket.set_nonblocking(true)?;
    match address.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => socket.connect_addr(&in_no_file_system(name)?)?,
        None => socket.connect(&address)?,
    }
    socket.send(assignments.as_bytes()).map(drop)
}

#[cfg(target_os = "linux")]
fn in_no_file_system(name: &str) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn in_no_file_system(_: &str) -> io::Result<std::os::unix::net::SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
