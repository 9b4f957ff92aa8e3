//! One injected fault and what followed.

use super::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Instants after T0 in seconds; `None` when not observed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moments {
    /// First call or packet that suffered.
    pub first_failure_s: Option<f64>,
    /// First state change in the target (breaker open, trunk down).
    pub detected_s: Option<f64>,
    /// First new call answered by the new owner.
    pub takeover_s: Option<f64>,
    /// First of K successive successes.
    pub restored_s: Option<f64>,
    /// Last call that was bound to the dead peer ended.
    pub last_call_ended_s: Option<f64>,
}

/// What became of the calls that were up at T0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallsAtFault {
    /// State at T0: `established`, `early`, ...
    pub state: String,
    /// Bound to the faulty part, at T0.
    pub bound: u64,
    /// Of those, kept with two-way media.
    pub kept: u64,
    /// Of those, ended by the target for a stated reason.
    pub ended_with_cause: u64,
    /// Of those, neither kept nor ended: must be 0.
    pub stuck: u64,
    /// Not bound to the faulty part, at T0.
    pub others: u64,
    /// Of the others, harmed: must be 0.
    pub others_harmed: u64,
}

/// New calls inside the fault window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultWindow {
    /// Window start, seconds after the run's start.
    pub start_s: f64,
    /// Window end, seconds after the run's start.
    pub end_s: f64,
    /// New calls attempted in it.
    pub attempts: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Setup delay of new calls that met the fault first, ns.
    pub setup: Histogram,
}

/// The way back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailBack {
    /// The faulty part was back, seconds after the run's start.
    pub returned_s: f64,
    /// The target took it back in, seconds after its return.
    pub detected_s: Option<f64>,
    /// First new call answered by it, seconds after its return.
    pub first_call_s: Option<f64>,
    /// Calls that failed because of the return.
    pub failed: Option<u64>,
}

/// One fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// `carrier-killed`, `carrier-silent`, `gateway-killed`, ...
    pub kind: String,
    /// What was hit, for instance `carrier-a`.
    pub target: String,
    /// T0, seconds after the run's start.
    pub t0_s: f64,
    /// Bound on the error of T0, ms.
    pub t0_error_ms: Option<f64>,
    /// What happened when.
    pub moments: Moments,
    /// Calls up at T0 by state.
    pub calls: Vec<CallsAtFault>,
    /// New calls in the window.
    pub window: FaultWindow,
    /// Last success before to first success after, seconds, over new calls.
    pub signalling_outage_s: Option<f64>,
    /// Longest run without RTP less the packet time, per surviving call, ns.
    pub media_gap: Histogram,
    /// Causes written into the CDRs of the calls that ended.
    pub cdr_causes: BTreeMap<String, u64>,
    /// CDRs expected for those calls.
    pub cdrs_expected: Option<u64>,
    /// CDRs missing or wrong.
    pub cdrs_missing: Option<u64>,
    /// Media timeout configured, seconds.
    pub media_timeout_s: Option<f64>,
    /// Legs alive more than 64 s after the other end left.
    pub zombie_legs: Option<u64>,
    /// Seconds billed beyond the truth.
    pub phantom_billed_s: Option<f64>,
    /// Largest |cap counter - true calls| over trunks, at rest after the fault.
    pub cap_counter_error: Option<u64>,
    /// The way back.
    pub fail_back: Option<FailBack>,
    /// How often this fault was tried.
    pub trials: Option<u32>,
}
