//! Load offered and carried.

use serde::{Deserialize, Serialize};

/// Calls up at one instant as counted by caller, target and carrier: they must agree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountAgreement {
    /// When, seconds after the run's start.
    pub t: f64,
    /// Counted by the callers.
    pub callers: Option<u64>,
    /// Counted by the target.
    pub target: Option<u64>,
    /// Counted by the carriers.
    pub carriers: Option<u64>,
}

impl CountAgreement {
    /// Largest difference between two of the counts; `None` with fewer than two.
    #[must_use]
    pub fn spread(&self) -> Option<u64> {
        let known: Vec<u64> = [self.callers, self.target, self.carriers].into_iter().flatten().collect();
        if known.len() < 2 {
            return None;
        }
        Some(known.iter().max()? - known.iter().min()?)
    }
}

/// One step of a stepped load, or one phase summed up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Name, for instance `400 calls`.
    pub name: String,
    /// Start, seconds after the run's start.
    pub start_s: f64,
    /// Length in seconds.
    pub seconds: f64,
    /// Offered session attempts per second.
    pub offered_cps: f64,
    /// Highest number of calls up.
    pub calls: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts answered with 200.
    pub answered: u64,
    /// Attempts that ended otherwise.
    pub failed: u64,
    /// 99th percentile of setup delay, ms.
    pub setup_p99_ms: Option<f64>,
    /// Median one-way delay, ms.
    pub delay_p50_ms: Option<f64>,
    /// 99th percentile of one-way delay, ms.
    pub delay_p99_ms: Option<f64>,
    /// Packets lost / packets sent.
    pub loss: Option<f64>,
    /// MOS that 99 % of calls reach.
    pub mos_p1: Option<f64>,
    /// Cores used by the target.
    pub target_cores: Option<f64>,
    /// Cores used by the generator.
    pub generator_cores: Option<f64>,
    /// Whether every limit held for the whole step.
    pub held: Option<bool>,
}

/// Offered and carried load of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Concurrent calls the plan asks for.
    pub concurrent_planned: Option<u64>,
    /// Highest number of calls up at once.
    pub concurrent_peak: Option<u64>,
    /// Number of calls up that was kept for the whole hold phase (its minimum).
    pub concurrent_sustained: Option<u64>,
    /// Length of the hold phase, seconds.
    pub hold_s: Option<f64>,
    /// Session attempts per second offered in the hold phase.
    pub offered_cps: Option<f64>,
    /// Highest attempts per second over a whole second.
    pub peak_cps: Option<f64>,
    /// Mean session duration, seconds.
    pub mean_hold_s: Option<f64>,
    /// Offered traffic: attempts/s x mean hold.
    pub erlangs: Option<f64>,
    /// Busy-hour call attempts at the offered rate.
    pub bhca: Option<f64>,
    /// `constant`, `poisson`, `stairs`.
    pub arrivals: Option<String>,
    /// Counts of calls up, taken from all sides at the same instants.
    pub agreement: Vec<CountAgreement>,
    /// Steps in time order.
    pub steps: Vec<Step>,
}
