//! What each process cost.

use serde::{Deserialize, Serialize};

/// One process over the run, from the kernel's accounting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Name as in the series: `gateway`, `callers`, `carrier-a`, ...
    pub name: String,
    /// `target` or `generator`.
    pub role: String,
    /// Process id.
    pub pid: Option<u32>,
    /// Seconds observed.
    pub seconds: f64,
    /// User CPU seconds.
    pub cpu_user_s: Option<f64>,
    /// System CPU seconds.
    pub cpu_system_s: Option<f64>,
    /// Highest cores used over one second.
    pub cpu_peak_cores: Option<f64>,
    /// Resident memory before the first call, bytes.
    pub rss_start: Option<u64>,
    /// Highest resident memory, bytes.
    pub rss_peak: Option<u64>,
    /// Resident memory after the last call, bytes.
    pub rss_end: Option<u64>,
    /// Highest number of open descriptors.
    pub fds_peak: Option<u64>,
    /// Open descriptors after the last call.
    pub fds_end: Option<u64>,
    /// Threads.
    pub threads: Option<u32>,
    /// Voluntary context switches.
    pub switches_voluntary: Option<u64>,
    /// Involuntary context switches.
    pub switches_involuntary: Option<u64>,
}

impl Process {
    /// CPU seconds, user and system.
    #[must_use]
    pub fn cpu_s(&self) -> Option<f64> {
        Some(self.cpu_user_s? + self.cpu_system_s?)
    }

    /// Mean cores used.
    #[must_use]
    pub fn cores(&self) -> Option<f64> {
        (self.seconds > 0.0).then_some(self.cpu_s()? / self.seconds)
    }
}

/// Cost per call of the target; slopes over load, not one division, where load varied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Cores per 1000 calls up with media.
    pub cores_per_1000_calls: Option<f64>,
    /// CPU seconds per 1000 calls set up and torn down, media apart.
    pub cpu_s_per_1000_setups: Option<f64>,
    /// Resident memory per call up, bytes.
    pub memory_per_call: Option<f64>,
    /// Descriptors per call up.
    pub fds_per_call: Option<f64>,
    /// Relayed packets per CPU second.
    pub packets_per_cpu_s: Option<f64>,
    /// How these were derived.
    pub method: Option<String>,
}

/// Resources of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Each process.
    pub processes: Vec<Process>,
    /// Cost per call of the target.
    pub cost: Cost,
}
