//! The gateway's process is killed with calls up, and started again: what it had is gone, what comes is served, and
//! what still arrives for the old calls harms nobody.

use super::{audit, blueprint, compare, conduct, records};
use crate::Link;
use crate::peer::{Behaviour, CallPlan, Outcome, Peer, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Places, Town};
use control::Record as Kept;
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// A gateway that is killed and started again.
pub(crate) fn restarts(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x7265_7374_6172);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(50);
    let dies = Time::from_millis(15_000 + random.below(5000));
    let back = dies + Duration::from_millis(300 + random.below(3000));
    let mut plans = Vec::new();
    for serial in 1..=30 + random.below(20) {
        let at = Time::from_millis(1000 + random.below(40_000));
        let mut plan = CallPlan::plain(at, serial, places.gateway());
        plan.hang_up = Some(Duration::from_millis(1000 + random.below(12_000)));
        plan.reinvite = random.chance(0.2).then(|| Duration::from_millis(random.below(8000)));
        plan.tcp = random.chance(0.2);
        plans.push(plan);
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carriers = Vec::new();
    for index in 0..2 {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.default = Behaviour {
            after: Duration::from_millis(200 + random.below(1500)),
            hang_up: Some(Duration::from_secs(20)),
            ..Behaviour::plain()
        };
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, busy);
    plan.ask_until = dies - Duration::from_secs(3);
    plan.slow_store = false;
    for carrier in &mut plan.carriers {
        if random.chance(0.3) {
            carrier.1.peers[0].transport = sip::Transport::Tcp;
        }
    }
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(3000)),
        ..Link::default()
    };
    let shards = usize::from(plan.shards);
    let everyone: BTreeSet<usize> = (shards + 2..shards + 5).collect();
    let again = random.u64();
    let script = move |town: &mut Town| {
        if let Err(error) = town.restart_at(dies, back, again) {
            town.world.violations.push(error);
        }
    };
    let judge = move |town: &mut Town| {
        let records = records(town);
        let mut wrong = Vec::new();
        // Those over before, and those begun after: as if nothing had been.
        let whole = |started: Time, ended: Option<Time>| {
            started > back + Duration::from_millis(200)
                || ended.is_some_and(|ended| ended + Duration::from_secs(1) < dies)
        };
        let untouched: Vec<_> = records
            .iter()
            .filter(|record| record.role == Role::Carrier || whole(record.started, record.ended))
            .cloned()
            .collect();
        for record in untouched.iter().filter(|record| record.role == Role::Caller) {
            if record.outcome != Outcome::Answered {
                wrong.push(format!("call {} came to {:?}", record.serial, record.outcome));
            }
        }
        wrong.extend(compare(&untouched));
        wrong.extend(audit(town, &untouched));
        let starts = town.kept().iter().filter(|kept| matches!(kept, Kept::Restarted { .. })).count();
        if starts != 2 * shards {
            wrong.push(format!("the store heard of {starts} starts of {shards} shards"));
        }
        (wrong, records)
    };
    conduct(Topology::Restarts, seed, options, &mut random, plan, busy, script, &everyone, judge)
}
