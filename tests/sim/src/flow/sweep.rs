//! Playing a flow once, and once for every message and fault.

use super::judge;
use super::{Fault, Flow, Kind, Stage};
use crate::Ended;
use crate::network::Passage;
use crate::peer::{Peer, Record, Role};
use crate::scene::AFTERMATH;
use crate::town::{Member, Town};
use sansio::Time;
use std::time::Duration;

/// A datagram that its successor shall overtake is held back until this long after that one was sent.
const BEHIND: Duration = Duration::from_millis(5);
/// Overtaken by what comes later than this it would be late, which is another fault.
const HELD_MAX: Duration = Duration::from_secs(20);
/// How long a drained gateway may take to stop: a request to a registrar that is not answered.
const DRAIN: Duration = Duration::from_secs(120);

/// What came of playing a flow once.
#[derive(Debug)]
pub struct Run {
    /// What was wrong; empty if all is well.
    pub wrong: Vec<String>,
    /// Datagrams of the run, in the order of their numbers.
    pub passages: Vec<Passage>,
    /// Writes on streams.
    pub writes: u64,
    /// The log's text if it was kept.
    pub log: String,
}

/// What was seen of a flow.
pub struct Seen<'a> {
    /// The town in which it was played.
    pub town: &'a Town,
    /// The calls as their two sides saw them.
    pub records: &'a [Record],
    /// The calls as the gateway recorded them, each once.
    pub cdrs: &'a [link::Cdr],
    /// How many of those are not of the caller's calls.
    pub extra: usize,
}

impl Seen<'_> {
    /// A side of a call: of several carriers that it was sent to, the one that answered.
    pub fn side(&self, serial: u64, role: Role) -> Option<&Record> {
        let mut sides: Vec<_> =
            self.records.iter().filter(|it| it.serial == serial && it.role == role).collect();
        sides.sort_by_key(|record| record.answered.is_none());
        sides.first().copied()
    }

    /// The records of the gateway's of calls to a number.
    pub fn recorded(&self, serial: u64) -> impl Iterator<Item = &link::Cdr> {
        let digits = format!("{serial:07}");
        self.cdrs.iter().filter(move |cdr| cdr.dialled.ends_with(&digits))
    }
}

/// What came of playing a flow with every fault.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Datagrams and writes of the clean runs.
    pub messages: u64,
    /// Runs that there are.
    pub runs: u64,
    /// Those of them that were played.
    pub played: u64,
    /// Those in which something was wrong: the fault, and what.
    pub failures: Vec<String>,
}

/// Plays a flow over so many gateway shards.
pub fn play(flow: &Flow, shards: u16, fault: Option<Fault>, keep_log: bool) -> Run {
    let mut stage = Stage::plain(shards);
    (flow.set)(&mut stage);
    let lasts = Time::ZERO + stage.lasts;
    let plans = stage.calls.clone();
    let phones = stage.phones.clone();
    let wanted = [&stage.errands].into_iter().chain(stage.carriers.iter().map(|carrier| &carrier.errands));
    let wanted: Vec<_> = wanted.cloned().collect();
    let extra = stage.records;
    let lenient = fault.is_some_and(|fault| fault.kind.brings_ghosts() || !fault.kind.is_repaired());
    let mut town = match stage.build(lenient, keep_log) {
        Ok(town) => town,
        Err(why) => {
            return Run { wrong: vec![why], passages: Vec::new(), writes: 0, log: String::new() };
        }
    };
    town.world.network.keep_passages();
    if let Some(fault) = fault {
        fault.befall(&mut town);
    }
    town.world.run(lasts + AFTERMATH);
    let kind = fault.map(|fault| fault.kind);
    let peers = || town.callers.iter().chain(&town.carriers).filter_map(|node| town.peer(*node));
    let records: Vec<Record> = peers().flat_map(Peer::records).collect();
    let cdrs = town.ended();
    let seen = Seen { town: &town, records: &records, cdrs: &cdrs, extra };
    let mut wrong = judge::calls(flow, kind, &plans, &seen);
    wrong.extend(judge::ends(kind, &plans, &seen));
    wrong.extend(judge::counts(kind, &plans, &seen));
    for (peer, wanted) in peers().zip(&wanted) {
        wrong.extend(judge::errands(kind, wanted, peer));
    }
    let calm = kind.is_none_or(|kind| kind.is_repaired() && !kind.brings_ghosts());
    if let Some(check) = flow.check.filter(|_| calm) {
        wrong.extend(check(&seen));
    }
    wrong.extend(judge::phones(kind, &phones, &town));
    wrong.extend(judge::leftovers(kind, &mut town));
    wrong.extend(drain(&mut town, kind.is_none_or(Kind::is_repaired)));
    wrong.extend(town.world.violations.iter().cloned());
    Run {
        wrong,
        passages: town.world.network.passages().to_vec(),
        writes: town.world.writes(),
        log: town.world.log.text().to_owned(),
    }
}

/// The shards stop, and take back what they registered.
fn drain(town: &mut Town, repaired: bool) -> Vec<String> {
    town.drain();
    let until = town.world.now() + DRAIN;
    let mut wrong = Vec::new();
    if town.world.run(until) == Ended::TooMany {
        wrong.push("too many events".to_owned());
    }
    for shard in &town.shards {
        let node = town.world.node(*shard);
        let Member::Shard(it) = &node.machine else { continue };
        let census = it.machine.inner().census();
        // A transaction that only waits for what may come again goes with the process (RFC 3261 §17.1.2.2, timer K).
        let census = switch::Census { sip: sip::Census::default(), ..census };
        if !node.has_stopped() || census != switch::Census::default() {
            wrong.push(format!("{} drained: stopped {}, {census:?}", node.name, node.has_stopped()));
        }
    }
    let now = town.world.now();
    let bound: usize =
        town.carriers.iter().filter_map(|node| town.peer(*node)).map(|peer| peer.bound(now)).sum();
    // What the registrar is not told in time it lets expire.
    if bound > 0 && repaired {
        wrong.push(format!("{bound} bindings are left at the carriers"));
    }
    wrong
}

/// The faults of a clean run.
pub fn faults(clean: &Run) -> Vec<Fault> {
    let mut all = Vec::new();
    for (number, passage) in clean.passages.iter().enumerate() {
        let next = clean.passages[number + 1..]
            .iter()
            .find(|next| (next.from, next.to) == (passage.from, passage.to))
            .map(|next| next.at.since(passage.at) + BEHIND)
            .filter(|held| *held <= HELD_MAX);
        for kind in Kind::DATAGRAM {
            let held = match kind {
                Kind::Overtaken => next,
                _ => Some(Duration::ZERO),
            };
            all.extend(held.map(|held| Fault { kind, number: number as u64, held, at: passage.at }));
        }
    }
    for number in 0..clean.writes {
        let held = Duration::ZERO;
        all.extend(Kind::STREAM.map(|kind| Fault { kind, number, held, at: Time::ZERO }));
    }
    all
}

/// Plays a flow over one shard and over two: clean, and with each fault of each message, or with every `stride`-th of them.
pub fn sweep(flow: &Flow, stride: usize) -> Tally {
    let mut tally = Tally::default();
    for shards in [1, 2] {
        let clean = play(flow, shards, None, false);
        tally.messages += clean.passages.len() as u64 + clean.writes;
        let note = |tally: &mut Tally, fault: Option<Fault>, wrong: &[String]| {
            tally.played += 1;
            if !wrong.is_empty() {
                let what = fault.map_or_else(|| "without a fault".to_owned(), |fault| fault.to_string());
                tally.failures.push(format!("{}, {shards} shards, {what}: {wrong:#?}", flow.name));
            }
        };
        note(&mut tally, None, &clean.wrong);
        let faults = faults(&clean);
        tally.runs += 1 + faults.len() as u64;
        // Not the same ones in each flow, and the same ones each time.
        let first = flow.name.len() % stride;
        for fault in faults.into_iter().skip(first).step_by(stride) {
            note(&mut tally, Some(fault), &play(flow, shards, Some(fault), false).wrong);
        }
    }
    tally
}
