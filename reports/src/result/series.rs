//! What is recorded while the run goes on: one point a second, and events.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One second of the run; a line of `series.jsonl`. Counters are of this second alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeriesPoint {
    /// End of the second, seconds after the run's start.
    pub t: f64,
    /// Calls up at `t`, as the callers count them.
    pub calls: Option<u64>,
    /// Calls up at `t`, as the target counts them.
    pub target_calls: Option<u64>,
    /// New attempts.
    pub attempts: u64,
    /// Answered.
    pub answered: u64,
    /// Failed.
    pub failed: u64,
    /// Ended as planned.
    pub completed: u64,
    /// Failures by cause: status or `timeout`, `unreachable`, `media-timeout`, ...
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub causes: BTreeMap<String, u64>,
    /// Mean MOS over calls heard in this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// MOS that 99 % of calls reach in this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_p1: Option<f64>,
    /// RTP packets sent by both ends.
    pub rtp_sent: u64,
    /// RTP packets received by both ends.
    pub rtp_received: u64,
    /// RTP packets found lost.
    pub rtp_lost: u64,
    /// Median setup delay, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_p50_ms: Option<f64>,
    /// 99th percentile of setup delay, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_p99_ms: Option<f64>,
    /// Median one-way delay, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_p50_ms: Option<f64>,
    /// 99th percentile of one-way delay, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_p99_ms: Option<f64>,
    /// 99th percentile of interarrival jitter, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_p99_ms: Option<f64>,
    /// 99th percentile of the generator's send-time error, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_error_p99_ms: Option<f64>,
    /// Cores used by each process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cores: BTreeMap<String, f64>,
    /// Resident memory of each process, bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rss: BTreeMap<String, u64>,
    /// Open descriptors of each process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fds: BTreeMap<String, u64>,
    /// Calls up per trunk, as the carriers count them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trunks: BTreeMap<String, u64>,
}

/// Event kinds that pages know by name and mark in the plots; any other kind is shown with its text.
pub mod event_kind {
    /// The run began. Data: none.
    pub const STARTED: &str = "started";
    /// A phase began. Data: `phase`.
    pub const PHASE: &str = "phase";
    /// The planned number of calls is up. Data: `calls`.
    pub const TARGET_REACHED: &str = "target-reached";
    /// A carrier process was killed. Data: `carrier`.
    pub const CARRIER_KILLED: &str = "carrier-killed";
    /// A carrier was told to fall silent. Data: `carrier`.
    pub const CARRIER_SILENT: &str = "carrier-silent";
    /// A carrier was started again. Data: `carrier`.
    pub const CARRIER_RETURNED: &str = "carrier-returned";
    /// First call or packet that suffered from a fault. Data: `carrier`.
    pub const FIRST_FAILURE: &str = "first-failure";
    /// The target stopped using a trunk. Data: `trunk`.
    pub const BREAKER_OPEN: &str = "breaker-open";
    /// The target took a trunk back. Data: `trunk`.
    pub const BREAKER_CLOSED: &str = "breaker-closed";
    /// First new call answered through the other carrier. Data: `carrier`.
    pub const TAKEOVER: &str = "takeover";
    /// Service restored: K successes in a row. Data: `calls`.
    pub const RESTORED: &str = "restored";
    /// The last call bound to the dead carrier ended. Data: `carrier`.
    pub const LAST_CALL_ENDED: &str = "last-call-ended";
    /// The gateway process was killed. Data: none.
    pub const GATEWAY_KILLED: &str = "gateway-killed";
    /// The gateway process answered again. Data: none.
    pub const GATEWAY_RETURNED: &str = "gateway-returned";
    /// Stopped by the user. Data: none.
    pub const INTERRUPTED: &str = "interrupted";
    /// The run ended. Data: none.
    pub const FINISHED: &str = "finished";
    /// All known kinds.
    pub const ALL: [&str; 16] = [
        STARTED,
        PHASE,
        TARGET_REACHED,
        CARRIER_KILLED,
        CARRIER_SILENT,
        CARRIER_RETURNED,
        FIRST_FAILURE,
        BREAKER_OPEN,
        BREAKER_CLOSED,
        TAKEOVER,
        RESTORED,
        LAST_CALL_ENDED,
        GATEWAY_KILLED,
        GATEWAY_RETURNED,
        INTERRUPTED,
        FINISHED,
    ];
}

/// Something that happened; a line of `events.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When, seconds after the run's start.
    pub t: f64,
    /// One of [`event_kind`], or any other word.
    pub kind: String,
    /// One line in English.
    pub text: String,
    /// Values by name; known kinds say which.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

impl Event {
    /// An event of `kind` at `t` seconds after the run's start.
    #[must_use]
    pub fn new(t: f64, kind: &str, text: impl Into<String>) -> Self {
        Self { t, kind: kind.to_owned(), text: text.into(), data: BTreeMap::new() }
    }

    /// The same event with one more named value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.data.insert(name.to_owned(), value.to_string());
        self
    }
}
