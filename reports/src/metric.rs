//! The catalogue of metrics that limits may name: each is computed from the recorded result alone, so that a verdict
//! can be recomputed by anyone who has the file.

use crate::result::{Histogram, RunResult};

/// A metric: its id, English name, unit, and how it is computed.
#[derive(Debug)]
pub struct Metric {
    /// Stable id; limits refer to it.
    pub id: &'static str,
    /// English name.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// The value; `None` when it was not measured.
    pub value: fn(&RunResult) -> Option<f64>,
}

/// Every metric that a limit may name.
pub const CATALOGUE: &[Metric] = &[
    metric("calls-concurrent", "Concurrent calls sustained", "calls", |r| {
        count(r.capacity.concurrent_sustained)
    }),
    metric("calls-peak", "Concurrent calls, peak", "calls", |r| count(r.capacity.concurrent_peak)),
    metric("calls-failed-outside-fault", "Failed calls outside the fault window", "calls", |r| {
        (r.signalling.invites > 0).then_some(r.signalling.failed_outside_fault as f64)
    }),
    metric("ser", "Session establishment ratio (SER)", "%", |r| r.signalling.compute_registers().ser),
    metric("seer", "Session establishment effectiveness ratio (SEER)", "%", |r| {
        r.signalling.compute_registers().seer
    }),
    metric("isa", "Ineffective session attempts (ISA)", "%", |r| r.signalling.compute_registers().isa),
    metric("scr", "Session completion ratio (SCR)", "%", |r| r.signalling.compute_registers().scr),
    metric("setup-p99", "Setup delay, 99th percentile", "ms", |r| ms(&r.signalling.delays.setup, 0.99)),
    metric("srd-p99", "Session request delay (SRD), 99th percentile", "ms", |r| {
        ms(&r.signalling.delays.srd, 0.99)
    }),
    metric("sdd-p99", "Session disconnect delay (SDD), 99th percentile", "ms", |r| {
        ms(&r.signalling.delays.sdd, 0.99)
    }),
    metric("unexpected-messages", "Unexpected SIP messages", "messages", |r| count(r.signalling.unexpected)),
    metric("packet-loss", "Packet loss", "%", |r| r.media.loss().map(|loss| loss * 100.0)),
    metric("delay-p99", "One-way delay, 99th percentile", "ms", |r| ms(&r.media.delay(), 0.99)),
    metric("added-delay-p99", "Added one-way delay, 99th percentile", "ms", |r| {
        ms(&r.media.added_delay, 0.99)
    }),
    metric("jitter-p99", "Interarrival jitter, 99th percentile", "ms", |r| ms(&r.media.jitter(), 0.99)),
    metric("mos-p1", "MOS reached by 99 % of calls", "MOS", |r| {
        r.media.mos.quantile(0.01).map(|mos| mos as f64 / 1000.0)
    }),
    metric("one-way-audio", "Calls with one-way audio", "calls", |r| count(r.media.one_way_audio)),
    metric("no-audio", "Calls without audio", "calls", |r| count(r.media.no_audio)),
    metric("cross-talk", "Calls with cross-talk", "calls", |r| count(r.media.cross_talk_calls)),
    metric("fault-new-calls-failed", "New calls failed in the fault window", "calls", |r| {
        over_faults(r, |fault| (fault.window.attempts > 0).then_some(fault.window.failed as f64)).map(sum)
    }),
    metric("fault-detection", "Fault detection time", "s", |r| {
        over_faults(r, |fault| fault.moments.detected_s).map(largest)
    }),
    metric("fault-restored", "Service restored after", "s", |r| {
        over_faults(r, |fault| fault.moments.restored_s).map(largest)
    }),
    metric("fault-last-call-ended", "Last dead call ended after", "s", |r| {
        over_faults(r, |fault| fault.moments.last_call_ended_s).map(largest)
    }),
    metric("fault-calls-stuck", "Calls neither kept nor ended", "calls", |r| {
        over_faults(r, |fault| Some(fault.calls.iter().map(|calls| calls.stuck).sum::<u64>() as f64)).map(sum)
    }),
    metric("fault-others-harmed", "Unrelated calls harmed by the fault", "calls", |r| {
        over_faults(r, |fault| Some(fault.calls.iter().map(|calls| calls.others_harmed).sum::<u64>() as f64))
            .map(sum)
    }),
    metric("cdrs-missing", "CDRs missing or wrong", "CDRs", |r| {
        over_faults(r, |fault| count(fault.cdrs_missing)).map(sum)
    }),
    metric("cap-counter-error", "Cap counter error", "calls", |r| {
        over_faults(r, |fault| count(fault.cap_counter_error)).map(largest)
    }),
    metric("count-agreement", "Counts of calls disagree by at most", "calls", |r| {
        r.capacity.agreement.iter().filter_map(|at| at.spread()).max().map(|spread| spread as f64)
    }),
];

const fn metric(
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    value: fn(&RunResult) -> Option<f64>,
) -> Metric {
    Metric { id, name, unit, value }
}

/// The metric called `id`.
#[must_use]
pub fn find(id: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().find(|metric| metric.id == id)
}

fn count(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn ms(histogram: &Histogram, share: f64) -> Option<f64> {
    histogram.quantile(share).map(|ns| ns as f64 / 1e6)
}

/// The values of all faults; `None` when there was no fault or any of them was not measured.
fn over_faults(result: &RunResult, value: impl Fn(&crate::result::Fault) -> Option<f64>) -> Option<Vec<f64>> {
    if result.failover.is_empty() {
        return None;
    }
    result.failover.iter().map(value).collect()
}

fn sum(values: Vec<f64>) -> f64 {
    values.iter().sum()
}

fn largest(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::MIN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_an_empty_result_measures_nothing() {
        let empty = RunResult::default();
        for (index, metric) in CATALOGUE.iter().enumerate() {
            assert_eq!((metric.value)(&empty), None, "{}", metric.id);
            assert!(CATALOGUE[index + 1..].iter().all(|other| other.id != metric.id), "{} twice", metric.id);
        }
    }
}
