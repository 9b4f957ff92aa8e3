//! The gateway is told to stop with calls up: drained, so that calls finish, or at once.

use super::{blueprint, inspect, records};
use crate::Link;
use crate::mix::Expect;
use crate::peer::{Behaviour, CallPlan, Outcome, Peer, Role};
use crate::scene::{Options, Report, Topology, report};
use crate::town::{Mail, Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// A gateway that stops in the middle of its work.
pub(crate) fn stops(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x0073_746f_7073);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(40);
    let at = Time::from_millis(15_000 + random.below(10_000));
    let at_once = random.chance(0.4);
    let mut plans = Vec::new();
    for serial in 1..=20 + random.below(20) {
        let mut plan =
            CallPlan::plain(Time::from_millis(1000 + random.below(35_000)), serial, places.gateway());
        plan.hang_up = Some(Duration::from_millis(1000 + random.below(12_000)));
        plan.tcp = random.chance(0.2);
        plan.rtp = None;
        plans.push(plan);
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carriers = Vec::new();
    for index in 0..2 {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.default = Behaviour {
            after: Duration::from_millis(200 + random.below(1500)),
            hang_up: random.chance(0.3).then(|| Duration::from_millis(500 + random.below(8000))),
            rtp: None,
            ..Behaviour::plain()
        };
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, busy);
    plan.ask_until = at - Duration::from_secs(2);
    plan.stranger = false;
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(3000)),
        ..Link::default()
    };
    let mut town = match Town::build(&mut random, plan, options.keep_log) {
        Ok(town) => town,
        Err(error) => return report(Topology::Stops, seed, &crate::EventLog::new(false), vec![error], &[]),
    };
    let shards = town.shards.clone();
    town.world.at(at, move |world| {
        for shard in shards {
            let mail = if at_once { switch::Mail::Quit } else { switch::Mail::Drain };
            world.mail(shard, Mail::Switch(mail));
        }
    });
    town.world.run(Time::ZERO + busy + Duration::from_secs(120));
    // What came after the end was refused by the host, or by nobody: no fault of the peers' dialogue.
    let excused: BTreeSet<usize> = town.callers.iter().chain(&town.carriers).map(|node| node.0).collect();
    let mut wrong: Vec<String> = inspect(&mut town, &excused)
        .into_iter()
        // The transactions of a stopped shard die with it.
        .filter(|line| {
            !(line.contains("still holds Census")
                && line.contains("calls: 0, legs: 0, seizures: 0, pairs: 0, links: 0, call_timers: 0"))
        })
        .collect();
    for shard in &town.shards {
        if !town.world.node(*shard).has_stopped() {
            wrong.push(format!("{} did not stop (at once: {at_once})", town.world.node(*shard).name));
        }
    }
    let records = records(&town);
    for record in &records {
        let late = record.started >= at + Duration::from_millis(100);
        let early = record.started + Duration::from_secs(3) < at;
        let expect = match (early, late, at_once) {
            (true, ..) => Expect::Answered,
            (_, true, false) => Expect::Either(0),
            _ => Expect::Anything,
        };
        if record.role == Role::Caller && !late && !expect.admits(record.outcome) {
            wrong.push(format!("call {} came to {:?}", record.serial, record.outcome));
        }
        if record.role == Role::Caller && late && record.outcome == Outcome::Answered {
            wrong.push(format!("call {} was taken after the end", record.serial));
        }
        let limit = if at_once { at + Duration::from_secs(3) } else { Time::NEVER };
        if record.ended.is_none_or(|ended| ended > limit && record.started < at) {
            wrong.push(format!("call {} was not ended: {record:?}", record.serial));
        }
    }
    report(Topology::Stops, seed, &town.world.log, wrong, &records)
}
