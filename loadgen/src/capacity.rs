//! Load offered and carried, from the plan and the recorded seconds.

use crate::plan::{Arrival, Plan, Step};
use reports::result::{RunResult, SeriesPoint};

/// Load offered and carried.
pub(crate) fn fill(result: &mut RunResult, series: &[SeriesPoint], plan: &Plan) {
    let hold = plan.hold.0.mean().as_secs_f64();
    let capacity = &mut result.capacity;
    capacity.concurrent_peak = series.iter().filter_map(|point| point.calls).max();
    capacity.peak_cps = series.iter().map(|point| point.attempts as f64).reduce(f64::max);
    capacity.mean_hold_s = result.signalling.delays.sdt.mean().map(|ns| ns / 1e9);
    let (from, to, offered) = match &plan.arrival {
        Arrival::Concurrent { calls, ramp_seconds, seconds, .. } => {
            capacity.concurrent_planned = Some(u64::from(calls.0));
            let ramp = ramp_seconds.0.as_secs_f64();
            (ramp + 2.0, ramp + seconds.0.as_secs_f64(), f64::from(calls.0) / hold.max(1e-3))
        }
        Arrival::Rate { rate, seconds, .. } => (hold + 1.0, seconds.0.as_secs_f64(), rate.0),
        Arrival::Stairs { steps, .. } => {
            let length: f64 = steps.iter().map(|step| step.seconds.0.as_secs_f64()).sum();
            let calls: f64 = steps.iter().map(|step| step.rate.0 * step.seconds.0.as_secs_f64()).sum();
            (0.0, length, calls / length.max(1e-3))
        }
    };
    let within = series.iter().filter(|point| point.t >= from && point.t <= to);
    capacity.concurrent_sustained = within.filter_map(|point| point.calls).min();
    capacity.hold_s = (to > from).then_some(to - from);
    capacity.offered_cps = Some(offered);
    capacity.erlangs = Some(offered * hold);
    capacity.bhca = Some(offered * 3600.0);
    if let Arrival::Stairs { steps, .. } = &plan.arrival {
        capacity.steps = stairs(steps, series);
    }
}

/// Each step of the stairs by itself.
fn stairs(steps: &[Step], series: &[SeriesPoint]) -> Vec<reports::result::Step> {
    let mut start = 0.0;
    let one = |step: &Step| {
        let from = start;
        let end = from + step.seconds.0.as_secs_f64();
        start = end;
        let inside: Vec<&SeriesPoint> =
            series.iter().filter(|point| point.t > from && point.t <= end).collect();
        let worst =
            |value: fn(&SeriesPoint) -> Option<f64>| inside.iter().filter_map(|p| value(p)).reduce(f64::max);
        let failed = inside.iter().map(|point| point.failed).sum();
        reports::result::Step {
            name: format!("{} calls/s", step.rate.0),
            start_s: from,
            seconds: end - from,
            offered_cps: step.rate.0,
            calls: inside.iter().filter_map(|point| point.calls).max().unwrap_or(0),
            attempts: inside.iter().map(|point| point.attempts).sum(),
            answered: inside.iter().map(|point| point.answered).sum(),
            failed,
            setup_p99_ms: worst(|point| point.setup_p99_ms),
            delay_p50_ms: worst(|point| point.delay_p50_ms),
            delay_p99_ms: worst(|point| point.delay_p99_ms),
            held: Some(failed == 0),
            ..reports::result::Step::default()
        }
    };
    steps.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(t: f64, calls: u64, attempts: u64, failed: u64) -> SeriesPoint {
        SeriesPoint { t, calls: Some(calls), attempts, failed, ..SeriesPoint::default() }
    }

    #[test]
    fn each_step_is_judged_by_its_own_seconds() {
        let text = r#"
            name = "x"
            [target]
            to = "sip:1@127.0.0.1"
            [arrival]
            law = "stairs"
            step = [{ rate = 10, seconds = 2 }, { rate = 20, seconds = 1 }]
        "#;
        let plan = Plan::parse("x", text).unwrap();
        let series = [second(1.0, 5, 10, 0), second(2.0, 9, 10, 0), second(3.0, 12, 20, 3)];
        let mut result = RunResult::default();
        fill(&mut result, &series, &plan);
        let steps = &result.capacity.steps;
        assert_eq!((steps[0].attempts, steps[0].calls, steps[0].held), (20, 9, Some(true)));
        assert_eq!((steps[1].attempts, steps[1].failed, steps[1].held), (20, 3, Some(false)));
        assert_eq!(result.capacity.concurrent_peak, Some(12));
    }
}
