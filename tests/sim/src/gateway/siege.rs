//! Strangers flood the gateway from many addresses and scan it: calls come about as if nothing were, and nothing is left.

use super::{audit, blueprint, compare, conduct, records};
use crate::Link;
use crate::peer::{CallPlan, Outcome, Peer, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Member, Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;
use switch::guard::Rate;

/// A gateway under siege.
pub(crate) fn siege(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x0073_6965_6765);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(8);
    let mut plans = Vec::new();
    for serial in 1..=10 + random.below(20) {
        let at = Time::from_millis(1000 + random.below(6000));
        let mut plan = CallPlan::plain(at, serial, places.gateway());
        plan.rtp = None;
        plan.hang_up = Some(Duration::from_millis(500 + random.below(4000)));
        plan.tcp = random.chance(0.3);
        plans.push(plan);
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carrier = Peer::new(places.host(9, 0), random.u64(), Vec::new());
    carrier.default.rtp = None;
    carrier.default.ring = None;
    let mut plan = blueprint(&mut random, places, callers, vec![carrier], busy);
    plan.siege = 2 + random.below(60) as u32;
    let guard = &mut plan.config.guard;
    guard.sources = 8 << random.below(6);
    // Far below what the callers and the carrier send, who are exempt.
    guard.datagrams = Rate::new(1, 1 + random.below(20) as u32);
    guard.ignore_unknown = random.chance(0.3);
    guard.ban = Duration::from_millis(100 + random.below(3000));
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(3000)),
        ..Link::default()
    };
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong = compare(&records);
        for record in records.iter().filter(|record| record.role == Role::Caller) {
            if record.outcome != Outcome::Answered {
                wrong.push(format!("call {} came to {:?}", record.serial, record.outcome));
            }
        }
        wrong.extend(audit(town, &records));
        let mut dropped = 0;
        for &shard in &town.shards {
            if let Member::Shard(shard) = &town.world.node(shard).machine {
                let stats = shard.machine.inner().stats();
                dropped += stats.guard_flood_dropped + stats.guard_banned_dropped;
            }
        }
        if dropped < 100 {
            wrong.push(format!("only {dropped} datagrams of the flood were dropped"));
        }
        (wrong, records)
    };
    conduct(Topology::Siege, seed, options, &mut random, plan, busy, |_| {}, &BTreeSet::new(), judge)
}
