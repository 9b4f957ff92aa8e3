//! Where the run took place: the facts that make a figure comparable.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which IO mode a process really used, and why not the better one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoInForce {
    /// Process name as in [`super::Process::name`].
    pub process: String,
    /// `io_uring` or `epoll`.
    pub mode: String,
    /// What the probe said, for instance `forced by --io fallback`.
    pub note: String,
    /// `realtime` if its threads ran before all normal ones, `normal` if not, empty if not known.
    pub scheduling: String,
    /// Worker threads (shards).
    pub workers: Option<u32>,
}

/// The fingerprint of the host. What could not be read is `None` or missing from the maps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Host name.
    pub host: Option<String>,
    /// Operating system, for instance `Debian GNU/Linux 12`.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// CPU model.
    pub cpu: Option<String>,
    /// Logical CPUs that the run could use.
    pub cores: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Virtual machine kind, for instance `kvm`; `none` when on bare metal.
    pub virtual_machine: Option<String>,
    /// Container hint, for instance `docker`; `none` when outside.
    pub container: Option<String>,
    /// CPU frequency governor.
    pub governor: Option<String>,
    /// Share of CPU time stolen by the hypervisor over the run, 0..=1.
    pub steal: Option<f64>,
    /// Where caller, target and callee stand, for instance `one host, loopback`.
    pub placement: Option<String>,
    /// IO mode in force of each process.
    pub io: Vec<IoInForce>,
    /// Kernel settings by name.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits by name, soft limit as text (`nofile`, `memlock`).
    pub limits: BTreeMap<String, String>,
    /// Name of the tuning profile compared with, and how many of its knobs are off.
    pub tuning: Option<String>,
    /// Anything else worth knowing, by name.
    pub notes: BTreeMap<String, String>,
}
