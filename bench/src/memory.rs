//! Memory of the processes that take part.

use std::ops::Add;
use std::path::Path;

/// Memory of a process in MB (10⁶ bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident set: every page it has in memory, counted in full even where other
    /// processes share it (its own program file and libc among them).
    pub rss: f64,
    /// Proportional set: the same pages, shared ones by their share. What adds up
    /// over several processes.
    pub pss: f64,
}

impl Memory {
    /// Of one process; `None` where the system does not tell.
    pub fn of(pid: u32) -> Option<Self> {
        let rollup = Path::new("/proc").join(pid.to_string()).join("smaps_rollup");
        Self::parse(&std::fs::read_to_string(rollup).ok()?)
    }

    /// Of several together; `None` if the system does not tell of one of them.
    pub fn sum(pids: impl IntoIterator<Item = u32>) -> Option<Self> {
        pids.into_iter().try_fold(Self::default(), |sum, pid| Some(sum + Self::of(pid)?))
    }

    /// proc_pid_smaps(5), where kB are 1,024 bytes.
    fn parse(rollup: &str) -> Option<Self> {
        let value = |name| -> Option<f64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024.0 / 1e6)
        };
        Some(Self { rss: value("Rss:")?, pss: value("Pss:")? })
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rss: self.rss + other.rss, pss: self.pss + other.pss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_in_full_names_only() {
        let text =
            "0-f ---p 00000000 00:00 0 [rollup]\nRss:  2000 kB\nPss:  1000 kB\nPss_Dirty:  9 kB\n";
        assert_eq!(Memory::parse(text), Some(Memory { rss: 2.048, pss: 1.024 }));
        assert_eq!(Memory::parse("Pss: 1 kB\n"), None);
    }
}
