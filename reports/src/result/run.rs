//! What was run, against what, and in which phases.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Stopped before its plan was done (Ctrl-C, a signal, a crash of the writer): INVALID.
    #[default]
    Interrupted,
    /// Gave up by itself (a process did not start, the target died): INVALID, see `run.abort`.
    Aborted,
    /// The whole plan was carried out.
    Completed,
}

/// Identity of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Short title of the plan, for instance `drill` or the plan's name.
    pub title: String,
    /// The command line that repeats this run.
    pub command: String,
    /// The plan as text (TOML), complete: defaults and flags resolved.
    pub plan: String,
    /// Seed of all randomness.
    pub seed: u64,
    /// Start, seconds since 1970-01-01 UTC; series and events count from here.
    pub start_unix: f64,
    /// End, seconds since 1970-01-01 UTC.
    pub end_unix: f64,
    /// Length in seconds, by a monotonic clock.
    pub duration_s: f64,
    /// How it ended.
    pub ended: Ended,
    /// Why it gave up, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<String>,
    /// Versions by component: `trunkline`, `rustc`, a peer's name.
    pub versions: BTreeMap<String, String>,
    /// Source commit of the generator, with `+` when the tree was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The system under test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Name, for instance `Trunkline gateway` or what the operator called it.
    pub name: String,
    /// Version it claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address and transport, for instance `udp:127.0.0.1:5060`.
    pub address: String,
    /// Its command line or configuration, as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Whether media passes through it (RFC 7502 §6.4); `None`: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relays_media: Option<bool>,
    /// Codec offered, for instance `PCMA/8000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Packet time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_ms: Option<u32>,
    /// Transport of signalling: `udp`, `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The topology in one line, for instance `callers -> gateway -> carriers a, b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<String>,
}

/// A phase of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// `warm-up`, `ramp`, `hold`, `fault`, `recovery`, `drain`, or any other word.
    pub name: String,
    /// Start, seconds after the run's start.
    pub start_s: f64,
    /// End, seconds after the run's start.
    pub end_s: f64,
}
