//! A carrier dies with calls up, and comes back.

use super::{blueprint, compare, conduct, records};
use crate::Link;
use crate::mix::Expect;
use crate::peer::{Behaviour, CallPlan, Peer, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Places, Town};
use sansio::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switch::trunk::HealthConfig;

/// How a carrier fails for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Its process dies: ports refuse, connections are reset.
    Killed,
    /// Nothing reaches it, nothing comes from it.
    CutOff,
}

/// A carrier dies with calls up and comes back: new calls go elsewhere, old ones end in the media timeout.
pub(crate) fn deaths(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x0064_6561_7468);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(75);
    let media_timeout = Duration::from_secs(5);
    let dies = Time::from_millis(15_000 + random.below(5000));
    let back = dies + Duration::from_millis(15_000 + random.below(10_000));
    let death = if random.chance(0.5) { Death::Killed } else { Death::CutOff };
    let carriers_count = 2 + random.below(2) as usize;
    let mut plans = Vec::new();
    for serial in 1..=50 + random.below(20) {
        let mut plan =
            CallPlan::plain(Time::from_millis(1000 + random.below(70_000)), serial, places.gateway());
        plan.hang_up = Some(Duration::from_millis(2000 + random.below(15_000)));
        plan.tcp = random.chance(0.2);
        plans.push(plan);
    }
    let started: BTreeMap<u64, Time> = plans.iter().map(|plan| (plan.serial, plan.at)).collect();
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carriers = Vec::new();
    for index in 0..carriers_count {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.default = Behaviour {
            after: Duration::from_millis(200 + random.below(1500)),
            // What was cut off ends here, long after the other side has forgotten it.
            hang_up: Some(Duration::from_secs(40)),
            ..Behaviour::plain()
        };
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, busy);
    plan.config =
        switch::Config { media_timeout, allow: plan.config.allow.clone(), ..switch::Config::default() };
    for carrier in &mut plan.carriers {
        carrier.1.health = HealthConfig::default();
    }
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(5000)),
        ..Link::default()
    };
    // Calls come back to it once it is back, unless they find their carrier by another rule than turns.
    let takes_turns =
        !plan.chain && matches!(plan.selection, link::Selection::RoundRobin | link::Selection::Weighted);
    let victim_seed = random.u64();
    let carrier_nodes: BTreeSet<usize> =
        (0..carriers_count).map(|index| usize::from(plan.shards) + 2 + 1 + index).take(1).collect();
    let script = move |town: &mut Town| {
        let node = town.carriers[0];
        let place = places.host(9, 0);
        town.world.at(dies, move |world| match death {
            Death::Killed => world.kill(node),
            Death::CutOff => world.network.part(place.ip(), places.gateway().ip()),
        });
        town.world.at(back, move |world| match death {
            Death::CutOff => world.network.heal(place.ip(), places.gateway().ip()),
            Death::Killed => super::chaos::revive(world, node, victim_seed),
        });
    };
    let judge = move |town: &mut Town| {
        let records = records(town);
        let mut wrong = Vec::new();
        for record in records.iter().filter(|record| record.role == Role::Caller) {
            let at = started.get(&record.serial).copied().unwrap_or_default();
            // Rung by the victim when it died, or just after it came back with a half-made connection.
            let unlucky = at + Duration::from_secs(4) > dies && at < dies;
            let fate = if unlucky { Expect::Anything } else { Expect::Answered };
            if !fate.admits(record.outcome) {
                wrong.push(format!(
                    "call {} ({death:?} at {dies}) came to {:?}",
                    record.serial, record.outcome
                ));
            }
            if let (Some(answered), false) = (record.answered, unlucky) {
                let took = answered.since(record.started);
                if took > Duration::from_millis(2200 + 1500 + 400) {
                    wrong.push(format!("call {} took {took:?} to be answered", record.serial));
                }
            }
        }
        let healed = back + Duration::from_secs(10);
        let late = started.values().filter(|at| **at > healed).count();
        let taken = town.peer(town.carriers[0]).map(Peer::records).unwrap_or_default();
        if takes_turns && late >= 12 && !taken.iter().any(|record| record.started > healed) {
            wrong.push(format!("of {late} calls none went to the carrier that is back since {back}"));
        }
        // Who talked to the victim when it died hears of it in time.
        let victim: BTreeSet<u64> = town
            .peer(town.carriers[0])
            .map(Peer::records)
            .unwrap_or_default()
            .iter()
            .filter(|r| r.answered.is_some_and(|at| at < dies) && r.ended.is_none_or(|at| at > dies))
            .map(|record| record.serial)
            .collect();
        let limit = dies + media_timeout + Duration::from_secs(4);
        for record in records.iter().filter(|r| r.role == Role::Caller && victim.contains(&r.serial)) {
            if record.ended.is_none_or(|ended| ended > limit) {
                wrong.push(format!("call {} outlived its dead carrier: {record:?}", record.serial));
            }
        }
        wrong.extend(compare(&records).into_iter().filter(|line| !line.contains("no audio")));
        (wrong, records)
    };
    conduct(Topology::Deaths, seed, options, &mut random, plan, busy, script, &carrier_nodes, judge)
}
