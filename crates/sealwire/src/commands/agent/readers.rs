//! Whether there is anybody who could read what is written out.

use crate::cli::Failure;

/// Refuses a standard output that was closed when the program was started.
///
/// A closed one is opened again on the null device before any code of ours runs, for reading
/// and writing. Whatever is written there succeeds: mail would be acknowledged that nobody
/// has seen. Who means to throw mail away writes `> /dev/null`, which is open for writing only.
#[cfg(unix)]
pub(super) fn require_stdout() -> Result<(), Failure> {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};

    let stdout = rustix::stdio::stdout();
    let is_both = fcntl_getfl(stdout).map(|flags| flags & OFlags::RWMODE == OFlags::RDWR);
    let is_null = || match (fstat(stdout), stat("/dev/null")) {
        (Ok(stdout), Ok(null)) => stdout.st_rdev == null.st_rdev && null.st_rdev != 0,
        _ => false,
    };
    match is_both {
        Ok(false) => Ok(()),
        Ok(true) if !is_null() => Ok(()),
        Ok(true) | Err(_) => Err(Failure::new("standard output is closed")
            .because("messages would be acknowledged that nobody has read")
            .fix("give it an open one; to throw messages away, `> /dev/null`")),
    }
}

/// Elsewhere a write to a closed standard output fails.
#[cfg(not(unix))]
pub(super) fn require_stdout() -> Result<(), Failure> {
    Ok(())
}
