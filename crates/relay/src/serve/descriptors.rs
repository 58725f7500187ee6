//! Open files: what the system allows, and how many connections fit into that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a conversation takes: its connection, the three streams of its server, and the
/// handle by which its end is noticed.
const PER_CONNECTION: u64 = 5;
/// For everything else: listeners, log, the start of a server.
const RESERVE: u64 = 64;

/// How many of `wanted` connections there can be. Raises the process's own limit of open
/// files as far as that takes and the system lets us.
///
/// Without this a flood of connections would use up the descriptors, and a server could no
/// longer be started for those that are welcome.
pub(super) fn connections_for(wanted: usize) -> usize {
    let needed = open_files_for(wanted);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(mut allowed) = current else { return wanted };
    if allowed < needed {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        let limit = Rlimit { current: Some(raised), maximum };
        if raised > allowed && setrlimit(Resource::Nofile, limit).is_ok() {
            allowed = raised;
        }
    }
    let fitting = connections_within(allowed).min(wanted);
    if fitting < wanted {
        tracing::warn!(
            open_files = allowed,
            needed,
            max_connections = wanted,
            "the limit of open files allows {fitting} connections only"
        );
    }
    fitting
}

/// How many open files the serving side needs for so many connections.
pub fn open_files_for(connections: usize) -> u64 {
    (connections as u64).saturating_mul(PER_CONNECTION).saturating_add(RESERVE)
}

/// How many connections the serving side takes where so many files may be open.
pub fn connections_within(open_files: u64) -> usize {
    let fitting = (open_files.saturating_sub(RESERVE) / PER_CONNECTION).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_kept_for_other_things() {
        assert_eq!(connections_within(256), 38);
        assert_eq!(connections_within(open_files_for(38)), 38);
        assert_eq!(connections_within(10), 1);
        assert_eq!(connections_for(1), 1);
        assert_eq!(connections_for(100), 100, "the limit can be raised to so many");
    }
}
