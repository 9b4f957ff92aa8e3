//! The recorded result of one run, schema `trunkline.result/1`: what is measured is written here first, pages come after.
//!
//! A run's folder holds `result.json` (this model), `series.jsonl` (one [`SeriesPoint`] a second), `events.jsonl`
//! (one [`Event`] a line), and the rendered `index.html` and `junit.xml`. What was not measured is absent (`None`, an
//! empty histogram), never zero: pages say "not measured".

mod capacity;
mod environment;
mod failover;
mod histogram;
mod limit;
mod media;
mod resources;
mod run;
mod series;
mod signalling;

pub use capacity::{Capacity, CountAgreement, Step};
pub use environment::{Environment, IoInForce};
pub use failover::{CallsAtFault, FailBack, Fault, FaultWindow, Moments};
pub use histogram::{Histogram, Percentiles, Unit};
pub use limit::{Comparison, Limit, Status, Verdict};
pub use media::{Direction, Media, Stage};
pub use resources::{Cost, Process, Resources};
pub use run::{Ended, Phase, Run, Target};
pub use series::{Event, SeriesPoint, event_kind};
pub use signalling::{Delays, Registers, Signalling, Trunk};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The schema name written into every `result.json`; a reader refuses any other.
pub const SCHEMA: &str = "trunkline.result/1";

/// Everything recorded about one run; the content of `result.json`.
///
/// Fill the parts, then [`crate::limits::judge`] computes the registers, the measured values of the limits and the
/// verdict from them. [`crate::Recorder::finish`] does so before it writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunResult {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// PASS, FAIL or INVALID; follows from `limits`, `validity` and `run.ended` alone.
    pub verdict: Verdict,
    /// Why the verdict is not PASS, one line each, `code: text`; empty on PASS.
    pub reasons: Vec<String>,
    /// The claims of this run with their measured values.
    pub limits: Vec<Limit>,
    /// What must hold for the measurement itself to count; any failure makes the run INVALID.
    pub validity: Vec<Limit>,
    /// What was run, when, with which seed and plan.
    pub run: Run,
    /// What was tested.
    pub target: Target,
    /// Where it was tested.
    pub environment: Environment,
    /// The phases of the run in time order (ramp, hold, fault, ...).
    pub phases: Vec<Phase>,
    /// Load offered and carried.
    pub capacity: Capacity,
    /// Sessions, response codes and delays by RFC 6076.
    pub signalling: Signalling,
    /// Voice quality, both directions.
    pub media: Media,
    /// CPU, memory and descriptors of each process.
    pub resources: Resources,
    /// One entry per injected fault, in time order.
    pub failover: Vec<Fault>,
    /// SHA-256 (hex) of the other recorded files by file name, written at the end; empty when the writer was killed.
    pub files: BTreeMap<String, String>,
}

impl Default for RunResult {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            verdict: Verdict::Invalid,
            reasons: Vec::new(),
            limits: Vec::new(),
            validity: Vec::new(),
            run: Run::default(),
            target: Target::default(),
            environment: Environment::default(),
            phases: Vec::new(),
            capacity: Capacity::default(),
            signalling: Signalling::default(),
            media: Media::default(),
            resources: Resources::default(),
            failover: Vec::new(),
            files: BTreeMap::new(),
        }
    }
}
