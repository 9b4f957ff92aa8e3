//! Too little of everything: ports, calls, calls a second. What is refused is refused with 503, at once and cleanly.

use super::{audit, blueprint, compare, conduct, records};
use crate::Link;
use crate::mix::Expect;
use crate::peer::{Behaviour, CallPlan, Outcome, Peer, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// A gateway with too little of everything.
pub(crate) fn scarce(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x7363_6172_6365);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(20);
    let mut plans = Vec::new();
    for serial in 1..=20 + random.below(40) {
        let at = Time::from_millis(1000 + random.below(10) * 1500 + random.below(300));
        let mut plan = CallPlan::plain(at, serial, places.gateway());
        plan.hang_up = Some(Duration::from_millis(500 + random.below(6000)));
        plan.tcp = random.chance(0.2);
        plans.push(plan);
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carriers = Vec::new();
    for index in 0..2 {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.default = Behaviour { after: Duration::from_millis(random.below(900)), ..Behaviour::plain() };
        peer.default.ring = None;
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, busy);
    if random.chance(0.5) {
        plan.pairs = 2 + random.below(8) as u16;
    }
    if random.chance(0.5) {
        plan.config.calls_max = 1 + random.below(6) as u32;
    }
    if random.chance(0.5) {
        for carrier in &mut plan.carriers {
            carrier.1.max_cps = 1 + random.below(4) as u32;
        }
    }
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(3000)),
        ..Link::default()
    };
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong = compare(&records);
        for record in records.iter().filter(|record| record.role == Role::Caller) {
            if !Expect::Either(503).admits(record.outcome) {
                wrong.push(format!("call {} came to {:?}", record.serial, record.outcome));
            }
            let took = record.ended.map(|ended| ended.since(record.started));
            if record.outcome == Outcome::Status(503) && took > Some(Duration::from_millis(800)) {
                wrong.push(format!("call {} was refused after {took:?}", record.serial));
            }
        }
        // A call refused for want of a place among the calls leaves no record: it never became one.
        wrong.extend(audit(town, &records).into_iter().filter(|line| !line.contains("has 0 records")));
        (wrong, records)
    };
    conduct(Topology::Scarce, seed, options, &mut random, plan, busy, |_| {}, &BTreeSet::new(), judge)
}
