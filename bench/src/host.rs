//! The machine, and what others do on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The machine a run was made on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Host {
    /// Model name of the processor.
    pub cpu: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Operating system, kernel and architecture.
    pub kernel: String,
    /// Share of the processors' time (0.0–1.0) that others took between the cases;
    /// `None` where the system does not tell.
    pub busy: Option<f64>,
}

impl Host {
    /// More than this share of others' work shows in the figures.
    const TOO_BUSY: f64 = 0.05;

    /// The machine this runs on; `busy` as found by [`Host::busy_for`].
    pub fn this(busy: Option<f64>) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().into())
            })
            .unwrap_or_else(|| "unknown".to_owned());
        Self {
            cpu: model,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: format!(
                "{} {} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim(),
                std::env::consts::ARCH
            ),
            busy,
        }
    }

    /// Share of the processors' time that is used during `period`, while this
    /// process does nothing.
    pub fn busy_for(period: Duration) -> Option<f64> {
        // user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
        let times = || -> Option<(u64, u64)> {
            let stat = std::fs::read_to_string("/proc/stat").ok()?;
            let line = stat.lines().next()?.strip_prefix("cpu ")?;
            let times: Vec<u64> = line.split_whitespace().map_while(|t| t.parse().ok()).collect();
            let times = times.get(..8)?;
            Some((times.iter().sum(), times[3] + times[4]))
        };
        let (total, idle) = times()?;
        std::thread::sleep(period);
        let (total_then, idle_then) = times()?;
        let (total, idle) = (total_then - total, idle_then.saturating_sub(idle));
        (total > 0).then(|| total.saturating_sub(idle) as f64 / total as f64)
    }

    /// A warning if figures taken now would be those of a busy machine.
    pub fn warning(&self) -> Option<String> {
        let busy = self.busy.filter(|busy| *busy > Self::TOO_BUSY)?;
        Some(format!(
            "others took {:.0} % of the processors meanwhile; figures and spread are not to be relied on",
            busy * 100.0
        ))
    }
}
