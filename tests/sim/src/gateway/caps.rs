//! Small caps under bursts of calls and racing shards.

use super::{audit, blueprint, compare, inspect, records, rest, stop};
use crate::peer::{CallPlan, Outcome, Peer, Role};
use crate::scene::{Options, Report, Topology, report};
use crate::town::{Places, Town};
use crate::{Link, Pace};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// Small caps, many calls, racing shards: never one call too many at a carrier, never a needless refusal.
pub(crate) fn caps(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x0063_6170_7300);
    let places = Places::draw(&mut random);
    let within = Duration::from_secs(20);
    let calls = 30 + random.below(40);
    let mut plans = Vec::new();
    for serial in 1..=calls {
        // Bursts: several calls at the same millisecond or so.
        let at = Time::from_millis(500 + random.below(20) * 1000 + random.below(3));
        let mut plan = CallPlan::plain(at, serial, places.gateway());
        plan.rtp = None;
        plan.hang_up = Some(Duration::from_millis(500 + random.below(6000)));
        plan.cancel = random.chance(0.1).then(|| Duration::from_millis(random.below(1000)));
        plans.push(plan);
    }
    let cancelling: BTreeSet<u64> = plans.iter().filter(|p| p.cancel.is_some()).map(|p| p.serial).collect();
    let mut callers = Vec::new();
    for index in 0..4 {
        let own = plans.iter().filter(|plan| plan.serial % 4 == index).cloned().collect();
        callers.push(Peer::new(places.host(1, index as usize), random.u64(), own));
    }
    let mut carriers = Vec::new();
    let mut caps = Vec::new();
    for index in 0..1 + random.below(3) as usize {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        let cap = 1 + random.below(5);
        peer.calls_max = Some(cap);
        peer.default.rtp = None;
        peer.default.after = Duration::from_millis(random.below(800));
        peer.default.ring = None;
        caps.push(cap as u32);
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, within);
    plan.shards = 2 + random.below(3) as u16;
    for (carrier, cap) in plan.carriers.iter_mut().zip(&caps) {
        carrier.1.max_calls = *cap;
    }
    // The order of messages is kept, so that a carrier's own count is exact at every instant.
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(30_000)),
        jitter: Duration::from_micros(random.below(5000)),
        ..Link::default()
    };
    // One input at a time, so that the counters can be looked at after each.
    plan.pace = Pace { wake_max: Duration::ZERO, ..Pace::default() };
    let mut town = match Town::build(&mut random, plan, options.keep_log) {
        Ok(town) => town,
        Err(error) => return report(Topology::Caps, seed, &crate::EventLog::new(false), vec![error], &[]),
    };
    let mut violations = Vec::new();
    // The spans during which every trunk was full.
    let mut full: Vec<(Time, Time)> = Vec::new();
    let until = Time::ZERO + within + Duration::from_secs(60);
    while town.world.step_once(until).is_none() {
        let now = town.world.now();
        let mut all = true;
        for (trunk, cap) in town.table.trunks().iter().zip(&caps) {
            let calls = trunk.calls();
            all &= calls == *cap;
            if calls > *cap {
                violations.push(format!("{now} trunk {} counts {calls}, allowed {cap}", trunk.config.name));
            }
        }
        match (all, full.last_mut()) {
            (true, Some(last)) if last.1 == Time::NEVER => {}
            (true, _) => full.push((now, Time::NEVER)),
            (false, Some(last)) if last.1 == Time::NEVER => last.1 = now,
            (false, _) => {}
        }
    }
    violations.extend(rest(&mut town, until));
    violations.extend(inspect(&mut town, &BTreeSet::new()));
    let records = records(&town);
    for record in records.iter().filter(|record| record.role == Role::Caller) {
        let ended = record.ended.unwrap_or(Time::NEVER);
        let was_full = full.iter().any(|span| span.0 <= ended && span.1 >= record.started);
        match record.outcome {
            Outcome::Answered => {}
            Outcome::Status(503) if was_full => {}
            Outcome::Status(503) => {
                violations.push(format!("call {} was refused though there was room", record.serial))
            }
            Outcome::Status(487) if cancelling.contains(&record.serial) => {}
            other => violations.push(format!("call {} came to {other:?}", record.serial)),
        }
    }
    violations.extend(compare(&records));
    violations.extend(audit(&town, &records));
    violations.extend(stop(&mut town));
    report(Topology::Caps, seed, &town.world.log, violations, &records)
}
