//! The drill's result: everything gathered set against what the drill claims.

use super::facts::{Evidence, SLACK};
use super::gateway::{Cdr, TrunkFacts};
use super::schedule::MEDIA_TIMEOUT;
use super::{Acts, CARRIERS, Seen};
use crate::conduct::Conductor;
use crate::gather::shifted;
use crate::mark::CallName;
use crate::plan::{Percent, Plan, Validity};
use crate::verdict::{self, Health};
use core::time::Duration;
use driver::clock::WallAnchor;
use reports::limits::on;
use reports::result::{Comparison, Cost, Event, Limit, RunResult, SeriesPoint, Stage, Trunk, event_kind};
use std::collections::HashMap;

/// Who asks for the drill's limits.
const BAR: &str = "product bar";

/// The generator may not be later than the delay it is to judge.
const VALIDITY: Validity = Validity {
    send_error_p999_ms: 5.0,
    start_error_p99_ms: 5.0,
    thread_percent: Percent(85.0),
    socket_drops: 0,
};

/// What is known beside the gathered parts.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) acts: &'a Acts,
    pub(crate) seen: &'a Seen,
    pub(crate) cdrs: HashMap<CallName, Cdr>,
    pub(crate) bare: Option<Duration>,
    /// Calls asked for.
    pub(crate) calls: u32,
}

/// What the drill claims.
pub(crate) fn limits(calls: u32) -> Vec<Limit> {
    use Comparison::{AtLeast, AtMost, Below};
    let dead_calls_end = (MEDIA_TIMEOUT + SLACK).as_secs_f64();
    vec![
        on("calls-concurrent", AtLeast, f64::from(calls), BAR),
        on("calls-failed-outside-fault", AtMost, 0.0, BAR),
        on("packet-loss", Below, 0.01, BAR),
        on("added-delay-p99", Below, 5.0, BAR),
        on("mos-p1", AtLeast, 4.3, BAR),
        on("one-way-audio", AtMost, 0.0, BAR),
        on("no-audio", AtMost, 0.0, BAR),
        on("cross-talk", AtMost, 0.0, BAR),
        on("fault-new-calls-failed", AtMost, 0.0, BAR),
        on("fault-last-call-ended", AtMost, dead_calls_end, BAR),
        on("fault-calls-stuck", AtMost, 0.0, BAR),
        on("fault-others-harmed", AtMost, 0.0, BAR),
        on("cdrs-missing", AtMost, 0.0, BAR),
        on("cap-counter-error", AtMost, 0.0, BAR),
        on("count-agreement", AtMost, 2.0, BAR),
    ]
}

/// Fills the conductor's result.
pub(crate) fn complete(conductor: &mut Conductor, known: &Known<'_>) {
    conductor.close_environment();
    let farms: Vec<Option<u32>> =
        conductor.outside.iter().map(|outside| outside.reader.head().map(|head| head.farm)).collect();
    let farm = |index: usize| farms.get(index).copied().flatten();
    let gather = &conductor.gather;
    let joined = verdict::join(&gather.callers, &gather.carriers);
    let evidence = known.acts.killed.map(|(t0, _)| Evidence {
        calls: &joined,
        cdrs: &known.cdrs,
        trunk: CARRIERS[0],
        dead_farm: farm(0).unwrap_or(0),
        new_farm: farm(2),
        start: known.acts.start,
        t0,
        returned: known.acts.returned,
    });
    let in_fault = |record: &_| evidence.as_ref().is_some_and(|evidence| evidence.in_fault(record));
    let result = &mut conductor.result;
    result.signalling = verdict::signalling(&gather.callers, in_fault);
    result.signalling.trunks = known.seen.trunks.iter().map(|trunk| trunk_of(trunk, known)).collect();
    let mut media = verdict::media(gather, &joined, in_fault);
    media.bare_delay_ns = known.bare.map(crate::measure::nanos);
    if let Some(bare) = known.bare {
        media.added_delay = shifted(&media.delay(), bare);
    }
    media.waterfall = waterfall(&media.directions);
    result.media = media;
    crate::capacity::fill(result, &conductor.series, known.plan);
    result.capacity.concurrent_planned = Some(u64::from(known.calls));
    let schedule = &known.acts.schedule;
    let (from, to) = (schedule.ramp.as_secs_f64() + 3.0, schedule.kill.as_secs_f64());
    let hold: Vec<&SeriesPoint> =
        conductor.series.iter().filter(|point| point.t >= from && point.t <= to).collect();
    result.capacity.concurrent_sustained = hold.iter().filter_map(|point| point.calls).min();
    result.capacity.hold_s = Some(to - from);
    if let Some(evidence) = &evidence {
        let anchor = WallAnchor::take();
        result.capacity.agreement = evidence.agreement(Duration::from_secs(5), |wall| anchor.monotonic(wall));
        let left = known.seen.calls.unwrap_or(u64::MAX);
        let error = known.acts.killed.map_or(Duration::ZERO, |(_, error)| error);
        let mut fault = evidence.fault(known.seen.down_at, known.seen.up_at, left, error);
        fault.cap_counter_error = cap_error(&known.seen.trunks, left);
        result.failover.push(fault);
    }
    result.resources.cost =
        cost(&hold, result.resources.processes.iter().find(|process| process.role == "target"));
    let health = Health::of(gather, None);
    result.validity = verdict::validity(&VALIDITY, &health, true);
}

/// The instants of the fault that only the records show, as events.
pub(crate) fn events(result: &RunResult) -> Vec<Event> {
    let Some(fault) = result.failover.first() else { return Vec::new() };
    let moments = &fault.moments;
    let told = [
        (event_kind::FIRST_FAILURE, moments.first_failure_s, "first call that suffered from the fault"),
        (event_kind::TAKEOVER, moments.takeover_s, "first new call answered by the other carrier"),
        (
            event_kind::RESTORED,
            moments.restored_s,
            "service restored: the first of ten answered calls in a row",
        ),
        (event_kind::LAST_CALL_ENDED, moments.last_call_ended_s, "last call to the dead carrier ended"),
    ];
    told.into_iter()
        .filter_map(|(kind, after, text)| {
            let event = Event {
                t: fault.t0_s + after?,
                kind: kind.to_owned(),
                text: text.to_owned(),
                ..Event::default()
            };
            Some(event.with("carrier", &fault.target))
        })
        .collect()
}

/// Largest difference between a trunk's cap counter and the truth at rest: no call is left, so all must be 0.
fn cap_error(trunks: &[TrunkFacts], left: u64) -> Option<u64> {
    let worst = trunks.iter().map(|trunk| trunk.calls.max(trunk.counted)).max()?;
    // While calls are left the truth is not known to be 0.
    (left == 0).then_some(worst)
}

fn trunk_of(trunk: &TrunkFacts, known: &Known<'_>) -> Trunk {
    Trunk {
        name: trunk.name.clone(),
        bids: trunk.seizures,
        seizures: trunk.seizures,
        answered: trunk.answered,
        talk_s: trunk.talk_s,
        max_calls: Some(trunk.max_calls),
        peak_calls: known.seen.peaks.get(&trunk.name).copied(),
        calls_at_end: Some(trunk.calls),
        ..Trunk::default()
    }
}

fn waterfall(directions: &[reports::result::Direction]) -> Vec<Stage> {
    let stage = |name: String, packets: u64| Stage { name, packets: Some(packets) };
    directions
        .iter()
        .flat_map(|direction| {
            [
                stage(format!("{}: sent", direction.name), direction.sent),
                stage(
                    format!("{}: sent to the living", direction.name),
                    direction.sent - direction.lost_to_fault.min(direction.sent),
                ),
                stage(format!("{}: heard", direction.name), direction.received),
            ]
        })
        .collect()
}

/// What the target cost while the calls were up.
fn cost(hold: &[&SeriesPoint], target: Option<&reports::result::Process>) -> Cost {
    let pairs: Vec<(f64, f64, f64)> = hold
        .iter()
        .filter_map(|point| {
            let cores = *point.cores.get("gateway")?;
            Some((cores, point.calls? as f64, *point.rss.get("gateway")? as f64))
        })
        .collect();
    let count = pairs.len() as f64;
    let sum =
        pairs.iter().fold((0.0, 0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1, sum.2 + pair.2));
    if count < 1.0 || sum.1 < 1.0 {
        return Cost::default();
    }
    let received: f64 = hold.iter().map(|point| point.rtp_received as f64).sum();
    let rss_start = target.and_then(|process| process.rss_start).unwrap_or(0) as f64;
    Cost {
        cores_per_1000_calls: Some(1000.0 * sum.0 / sum.1),
        memory_per_call: Some(((sum.2 / count - rss_start) / (sum.1 / count)).max(0.0)),
        packets_per_cpu_s: (sum.0 > 0.0).then(|| received / sum.0),
        method: Some(
            "means of the hold phase; cores include the set-ups that replace ended calls".to_owned(),
        ),
        ..Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_does_not_return_to_zero_is_an_error() {
        let trunk = |calls| TrunkFacts { calls, ..TrunkFacts::default() };
        assert_eq!(cap_error(&[trunk(0), trunk(0)], 0), Some(0));
        assert_eq!(cap_error(&[trunk(0), trunk(3)], 0), Some(3));
        assert_eq!(cap_error(&[trunk(3)], 3), None);
        assert_eq!(cap_error(&[], 0), None);
    }

    #[test]
    fn cost_is_of_the_hold_phase() {
        let point = |cores: f64| {
            let mut point = SeriesPoint { calls: Some(500), rtp_received: 50_000, ..SeriesPoint::default() };
            point.cores.insert("gateway".to_owned(), cores);
            point.rss.insert("gateway".to_owned(), 100 << 20);
            point
        };
        let (a, b) = (point(0.2), point(0.3));
        let cost = cost(&[&a, &b], None);
        assert!((cost.cores_per_1000_calls.unwrap() - 0.5).abs() < 1e-9);
        assert!((cost.packets_per_cpu_s.unwrap() - 200_000.0).abs() < 1e-6);
    }

    #[test]
    fn every_limit_names_a_metric_of_the_catalogue() {
        for limit in limits(1000) {
            assert!(reports::metric::find(&limit.id).is_some(), "{}", limit.id);
        }
    }
}
