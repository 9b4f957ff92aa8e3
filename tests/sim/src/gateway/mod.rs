//! Whole towns in one seed each: what they share, and one file for each kind of town.

mod caps;
mod chaos;
mod deaths;
mod extensions;
mod ladders;
mod mixed;
mod names;
mod restarts;
mod scarce;
mod siege;
mod stops;

pub(crate) use caps::caps;
pub(crate) use chaos::chaos;
pub(crate) use deaths::deaths;
pub(crate) use extensions::extensions;
pub(crate) use ladders::ladders;
pub(crate) use mixed::mixed;
pub(crate) use names::names;
pub(crate) use restarts::restarts;
pub(crate) use scarce::scarce;
pub(crate) use siege::siege;
pub(crate) use stops::stops;

use crate::peer::{Outcome, Peer, Record, Role};
use crate::scene::{AFTERMATH, Options, Report, Topology, report};
use crate::town::{Blueprint, Member, Places, Town};
use crate::{Ended, Pace};
use sansio::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switch::trunk::{HealthConfig, TrunkConfig};

/// What a peer of the other side must never see: addresses, Call-IDs and names.
fn keep_apart(places: Places, callers: &mut [Peer], carriers: &mut [Peer]) {
    for caller in callers {
        caller.forbidden = vec![places.mark(9), "Scripted".to_owned()];
    }
    for carrier in carriers {
        carrier.forbidden = vec![places.mark(1), "caller-".to_owned(), "Scripted".to_owned()];
    }
}

fn trunk(places: Places, index: usize) -> TrunkConfig {
    let mut trunk = TrunkConfig::new(&format!("carrier{index}"), places.host(9, index));
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

fn blueprint(
    random: &mut Random,
    places: Places,
    callers: Vec<Peer>,
    carriers: Vec<Peer>,
    until: Duration,
) -> Blueprint {
    let (mut callers, mut carriers) = (callers, carriers);
    keep_apart(places, &mut callers, &mut carriers);
    for peer in callers.iter_mut().chain(&mut carriers) {
        // Many peers open a connection of their own for requests inside a dialog: any shard may get it.
        peer.reuse = random.chance(0.5);
    }
    let mut config = switch::Config {
        allow: places.network(1).into_iter().collect(),
        media_timeout: Duration::ZERO,
        ..switch::Config::default()
    };
    config.no_response = Duration::from_secs(8);
    config.no_response_suspect = Duration::from_secs(8);
    config.no_progress = Duration::from_secs(20);
    let plain = Blueprint::plain(callers, Vec::new());
    Blueprint {
        places,
        shards: 1 + random.below(4) as u16,
        carriers: carriers
            .into_iter()
            .enumerate()
            .map(|(index, peer)| (peer, trunk(places, index)))
            .collect(),
        selection: SELECTIONS[random.below(SELECTIONS.len() as u64) as usize],
        chain: random.chance(0.2),
        ask: random.chance(0.3),
        config,
        pairs: 64,
        pace: Pace::default(),
        slow_store: random.chance(0.2),
        ask_until: Time::ZERO + until,
        stranger: random.chance(0.3),
        ..plain
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
            // On hold nothing need be heard.
            let held = caller.inside.0 > 0 || far.iter().any(|record| record.inside.0 > 0);
            for (own, others) in [(caller, &far[..]), (far.first().unwrap_or(&caller), &[caller][..])] {
                let sends = others.iter().any(|other| other.rtp.0 > 5);
                let long = own.moved.is_some_and(|(at, _)| ended.since(at) > Duration::from_secs(4));
                if sends && long && !held && own.moved.is_some_and(|(_, heard)| heard == 0) {
                    wrong.push(format!("call {}: audio did not follow to the new port: {own:?}", own.serial));
                }
            }
            let talked = ended.since(answered) > Duration::from_secs(3) && !caller.cancelled;
            let heard = far.iter().any(|record| record.rtp.1 > 0);
            let spoke = far.iter().any(|record| record.rtp.0 > 5);
            let reported = ended.since(answered) > Duration::from_secs(12) && far.len() == 1;
            let reports = |record: &Record| record.rtcp.0 > 8;
            let deaf = |record: &Record| record.rtcp.1 == 0;
            if reported
                && !caller.cancelled
                && reports(caller)
                && far.iter().all(|it| reports(it))
                && (deaf(caller) || far.iter().any(|it| deaf(it)))
            {
                wrong.push(format!("call {} has no RTCP both ways: {caller:?} {far:?}", caller.serial));
            }
            if talked && !held && caller.rtp.0 > 5 && spoke && (caller.rtp.1 == 0 || !heard) {
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
        if let Member::Shard(it) = &town.world.node(*shard).machine
            && it.machine.inner().census().questions > 0
        {
            wrong.push(format!("{} stopped and still asks DNS", town.world.node(*shard).name));
        }
    }
    wrong
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
