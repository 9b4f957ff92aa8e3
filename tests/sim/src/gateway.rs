//! Whole towns in one seed each: a mix of calls over bad lines, caps under racing shards, carriers that die.

use crate::mix::{Expect, Menu, Mix};
use crate::peer::{Behaviour, CallPlan, Outcome, Peer, Record, Role};
use crate::scene::{AFTERMATH, Options, Report, Topology, draw_link, draw_pace, outcome, report};
use crate::town::{Blueprint, Town, gateway, host};
use crate::{Ended, Link, Pace};
use sansio::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switch::trunk::{HealthConfig, TrunkConfig};

/// What a peer of the other side must never see: addresses, Call-IDs and names.
fn keep_apart(callers: &mut [Peer], carriers: &mut [Peer]) {
    for caller in callers {
        caller.forbidden = ["10.9.", "Scripted"].map(str::to_owned).to_vec();
    }
    for carrier in carriers {
        carrier.forbidden = ["10.1.", "caller-", "Scripted"].map(str::to_owned).to_vec();
    }
}

fn trunk(index: usize) -> TrunkConfig {
    let mut trunk = TrunkConfig::new(&format!("carrier{index}"), host(9, index));
    // Health has scenes of its own; here every peer stays in service.
    trunk.health = HealthConfig { open_after: 1_000_000, ..HealthConfig::default() };
    trunk
}

const SELECTIONS: [link::Selection; 5] = [
    link::Selection::Weighted,
    link::Selection::RoundRobin,
    link::Selection::LeastCalls,
    link::Selection::Hash,
    link::Selection::Ordered,
];

fn blueprint(random: &mut Random, callers: Vec<Peer>, carriers: Vec<Peer>, until: Duration) -> Blueprint {
    let (mut callers, mut carriers) = (callers, carriers);
    keep_apart(&mut callers, &mut carriers);
    let mut config = switch::Config {
        allow: "10.1.0.0/16".parse().into_iter().collect(),
        media_timeout: Duration::ZERO,
        ..switch::Config::default()
    };
    config.no_response = Duration::from_secs(8);
    config.no_response_suspect = Duration::from_secs(8);
    config.no_progress = Duration::from_secs(20);
    Blueprint {
        shards: 1 + random.below(4) as u16,
        callers,
        carriers: carriers.into_iter().enumerate().map(|(index, peer)| (peer, trunk(index))).collect(),
        selection: SELECTIONS[random.below(SELECTIONS.len() as u64) as usize],
        ask: random.chance(0.3),
        config,
        pairs: 64,
        link: Link::default(),
        pace: Pace::default(),
        slow_store: random.chance(0.2),
        ask_until: Time::ZERO + until,
        stranger: random.chance(0.3),
    }
}

/// Everything wrong in a town at its end, apart from what its calls came to.
fn inspect(town: &mut Town, excused: &BTreeSet<usize>) -> Vec<String> {
    let mut wrong = town.world.violations.clone();
    wrong.extend(town.leftovers());
    let peers: Vec<_> = town.callers.iter().chain(&town.carriers).copied().collect();
    for node in peers {
        let name = town.world.node(node).name.clone();
        let Some(peer) = town.peer(node) else { continue };
        wrong.extend(peer.faults().iter().map(|fault| format!("{name}: {fault}")));
        if !excused.contains(&node.0) {
            let gaps = peer.gaps().iter().cloned().chain(peer.unfinished());
            wrong.extend(gaps.map(|gap| format!("{name}: {gap}")));
        }
    }
    wrong
}

fn records(town: &Town) -> Vec<Record> {
    town.callers
        .iter()
        .chain(&town.carriers)
        .filter_map(|node| town.peer(*node))
        .flat_map(Peer::records)
        .collect()
}

/// The store's records against what the callers saw.
fn audit(town: &Town, records: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_serial: BTreeMap<u64, BTreeMap<link::CallId, link::Cdr>> = BTreeMap::new();
    for (serial, cdr) in town.cdrs() {
        by_serial.entry(serial).or_default().insert(cdr.call, cdr);
    }
    for record in records.iter().filter(|record| record.role == Role::Caller) {
        let serial = record.serial;
        let cdrs = by_serial.get(&serial).map(|cdrs| cdrs.values().collect::<Vec<_>>()).unwrap_or_default();
        let [cdr] = cdrs[..] else {
            wrong.push(format!("call {serial} has {} records in the store", cdrs.len()));
            continue;
        };
        let answered = cdr.answered.is_some();
        match record.outcome {
            Outcome::Answered if !answered => {
                wrong.push(format!("call {serial} was answered; its record says {:?}", cdr.end))
            }
            Outcome::Status(status) if answered || cdr.end.status != status => {
                wrong.push(format!(
                    "call {serial} got {status}; its record says {:?}, answered {answered}",
                    cdr.end
                ));
            }
            _ => {}
        }
    }
    wrong
}

/// What callers and carriers must agree about.
fn compare(records: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    for caller in records.iter().filter(|record| record.role == Role::Caller) {
        let far: Vec<_> =
            records.iter().filter(|r| r.role == Role::Carrier && r.serial == caller.serial).collect();
        let answered = far.iter().filter(|record| record.answered.is_some()).count();
        if caller.outcome == Outcome::Answered && answered == 0 {
            wrong.push(format!("call {} was answered by nobody", caller.serial));
        }
        if let (Outcome::Answered, Some(answered), Some(ended)) =
            (caller.outcome, caller.answered, caller.ended)
        {
            let talked = ended.since(answered) > Duration::from_secs(3) && !caller.cancelled;
            let heard = far.iter().any(|record| record.rtp.1 > 0);
            let spoke = far.iter().any(|record| record.rtp.0 > 5);
            if talked && caller.rtp.0 > 5 && spoke && (caller.rtp.1 == 0 || !heard) {
                wrong.push(format!("call {} has no audio both ways: {caller:?} {far:?}", caller.serial));
            }
        }
    }
    wrong
}

/// Lets a town come to rest and stop; what is wrong with that.
fn rest(town: &mut Town, until: Time) -> Vec<String> {
    let mut wrong = Vec::new();
    town.world.run(until);
    if let Err(error) = town.stop_probing() {
        wrong.push(error);
    }
    town.world.run(until + AFTERMATH);
    wrong
}

/// The last word: shards stop when told to drain.
fn stop(town: &mut Town) -> Vec<String> {
    town.drain();
    let until = town.world.now() + Duration::from_secs(10);
    let ended = town.world.run(until);
    let mut wrong = Vec::new();
    if ended == Ended::TooMany {
        wrong.push("too many events".to_owned());
    }
    for shard in &town.shards {
        if !town.world.node(*shard).has_stopped() {
            wrong.push(format!("{} does not stop when drained", town.world.node(*shard).name));
        }
    }
    wrong
}

/// A mix of everything over lines as bad as the seed draws them; nothing dies, no cap is reached.
pub(crate) fn mixed(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6d69_7865_6400);
    let menu = Menu {
        calls: 5 + random.below(8),
        rtp: random.chance(0.5).then(|| Duration::from_millis(200)),
        ..Menu::default()
    };
    let mut callers = Vec::new();
    let mut whole = Mix::default();
    let carriers_count = 1 + random.below(3) as usize;
    let mut answers: Vec<BTreeMap<u64, Behaviour>> = vec![BTreeMap::new(); carriers_count];
    for index in 0..1 + random.below(2) as usize {
        let mix = Mix::draw(&mut random, &menu, 1 + 1000 * index as u64, gateway());
        callers.push(Peer::new(host(1, index), random.u64(), mix.plans.clone()));
        for (serial, behaviour) in &mix.answers {
            // Some carriers fail this call in a way that sends it on; one at least takes it as drawn.
            let good = random.below(carriers_count as u64) as usize;
            for (carrier, answers) in answers.iter_mut().enumerate() {
                let mut behaviour = behaviour.clone();
                if carrier != good && random.chance(0.3) {
                    behaviour = match random.below(3) {
                        0 => Behaviour::refuse(503),
                        1 => Behaviour::refuse(500),
                        _ => Behaviour::silent(),
                    };
                }
                answers.insert(*serial, behaviour);
            }
        }
        whole.expected.extend(mix.expected);
    }
    let carriers = answers.into_iter().enumerate().map(|(index, answers)| {
        let mut peer = Peer::new(host(9, index), random.u64(), Vec::new());
        peer.answers = answers;
        peer
    });
    let carriers: Vec<Peer> = carriers.collect();
    // A caller that cancels while a silent carrier is being tried is answered 487 as well.
    let mut plan = blueprint(&mut random, callers, carriers, menu.within);
    plan.link = draw_link(&mut random);
    plan.pace = draw_pace(&mut random);
    for carrier in &mut plan.carriers {
        if random.chance(0.2) {
            carrier.1.peers[0].transport = sip::Transport::Tcp;
        }
    }
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong: Vec<String> = whole.judge(|serial| outcome(&records, serial)).collect();
        wrong.extend(compare(&records));
        wrong.extend(audit(town, &records));
        (wrong, records)
    };
    conduct(Topology::Gateway, seed, options, &mut random, plan, menu.within, |_| {}, &BTreeSet::new(), judge)
}

/// Builds a town, plays a script in it, lets it rest, inspects and judges it.
fn conduct(
    topology: Topology,
    seed: u64,
    options: Options,
    random: &mut Random,
    plan: Blueprint,
    busy: Duration,
    script: impl FnOnce(&mut Town),
    excused: &BTreeSet<usize>,
    judge: impl FnOnce(&mut Town) -> (Vec<String>, Vec<Record>),
) -> Report {
    let mut town = match Town::build(random, plan, options.keep_log) {
        Ok(town) => town,
        Err(error) => {
            return report(topology, seed, &crate::EventLog::new(false), vec![error], &[]);
        }
    };
    if let Some(defect) = options.defect {
        for shard in town.shards.clone() {
            town.world.plant(shard, defect.plant());
        }
    }
    script(&mut town);
    let mut violations = rest(&mut town, Time::ZERO + busy + Duration::from_secs(120));
    violations.extend(inspect(&mut town, excused));
    let (wrong, records) = judge(&mut town);
    violations.extend(wrong);
    violations.extend(stop(&mut town));
    report(topology, seed, &town.world.log, violations, &records)
}

/// Small caps, many calls, racing shards: never one call too many at a carrier, never a needless refusal.
pub(crate) fn caps(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x0063_6170_7300);
    let within = Duration::from_secs(20);
    let calls = 30 + random.below(40);
    let mut plans = Vec::new();
    for serial in 1..=calls {
        // Bursts: several calls at the same millisecond or so.
        let at = Time::from_millis(500 + random.below(20) * 1000 + random.below(3));
        let mut plan = CallPlan::plain(at, serial, gateway());
        plan.rtp = None;
        plan.hang_up = Some(Duration::from_millis(500 + random.below(6000)));
        plan.cancel = random.chance(0.1).then(|| Duration::from_millis(random.below(1000)));
        plans.push(plan);
    }
    let cancelling: BTreeSet<u64> = plans.iter().filter(|p| p.cancel.is_some()).map(|p| p.serial).collect();
    let mut callers = Vec::new();
    for index in 0..4 {
        let own = plans.iter().filter(|plan| plan.serial % 4 == index).cloned().collect();
        callers.push(Peer::new(host(1, index as usize), random.u64(), own));
    }
    let mut carriers = Vec::new();
    let mut caps = Vec::new();
    for index in 0..1 + random.below(3) as usize {
        let mut peer = Peer::new(host(9, index), random.u64(), Vec::new());
        let cap = 1 + random.below(5);
        peer.calls_max = Some(cap);
        peer.default.rtp = None;
        peer.default.after = Duration::from_millis(random.below(800));
        peer.default.ring = None;
        caps.push(cap as u32);
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, callers, carriers, within);
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
    for (node, cap) in town.carriers.iter().zip(&caps) {
        let reached = town.peer(*node).map_or(0, |peer| peer.stats().peak);
        if calls > 40 && reached < u64::from(*cap) {
            violations.push(format!("the cap {cap} was never reached: {reached}"));
        }
    }
    violations.extend(compare(&records));
    violations.extend(audit(&town, &records));
    violations.extend(stop(&mut town));
    report(Topology::Caps, seed, &town.world.log, violations, &records)
}

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
    let busy = Duration::from_secs(60);
    let media_timeout = Duration::from_secs(5);
    let dies = Time::from_millis(15_000 + random.below(5000));
    let back = dies + Duration::from_millis(15_000 + random.below(10_000));
    let death = if random.chance(0.5) { Death::Killed } else { Death::CutOff };
    let carriers_count = 2 + random.below(2) as usize;
    let mut plans = Vec::new();
    for serial in 1..=40 + random.below(20) {
        let mut plan = CallPlan::plain(Time::from_millis(1000 + random.below(55_000)), serial, gateway());
        plan.hang_up = Some(Duration::from_millis(2000 + random.below(15_000)));
        plan.tcp = random.chance(0.2);
        plans.push(plan);
    }
    let started: BTreeMap<u64, Time> = plans.iter().map(|plan| (plan.serial, plan.at)).collect();
    let callers = vec![Peer::new(host(1, 0), random.u64(), plans)];
    let mut carriers = Vec::new();
    for index in 0..carriers_count {
        let mut peer = Peer::new(host(9, index), random.u64(), Vec::new());
        peer.default = Behaviour {
            after: Duration::from_millis(200 + random.below(1500)),
            // What was cut off ends here, long after the other side has forgotten it.
            hang_up: Some(Duration::from_secs(40)),
            ..Behaviour::plain()
        };
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, callers, carriers, busy);
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
    let victim_seed = random.u64();
    let carrier_nodes: BTreeSet<usize> =
        (0..carriers_count).map(|index| usize::from(plan.shards) + 2 + 1 + index).take(1).collect();
    let script = move |town: &mut Town| {
        let node = town.carriers[0];
        let place = host(9, 0);
        town.world.at(dies, move |world| match death {
            Death::Killed => world.kill(node),
            Death::CutOff => world.network.part(place.ip(), gateway().ip()),
        });
        town.world.at(back, move |world| match death {
            Death::CutOff => world.network.heal(place.ip(), gateway().ip()),
            Death::Killed => {
                let now = world.now();
                let fresh = Peer::new(place, victim_seed, Vec::new());
                if let crate::town::Member::Peer(peer) = &mut world.node_mut(node).machine {
                    let old = std::mem::replace(&mut **peer, fresh);
                    let reborn = crate::town::Member::Peer(Box::new(old.reborn(now)));
                    world.revive(node, reborn);
                    world.bind(node, crate::peer::SIGNALLING, place);
                    world.listen(node, crate::peer::LISTENER, place);
                }
            }
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
