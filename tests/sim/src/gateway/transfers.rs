//! A transfer to who rings, a click to dial or a third party that joins, in which one datagram suffers.

use super::{blueprint, conduct, records};
use crate::Link;
use crate::peer::{Behaviour, CallPlan, Outcome, Peer, Record, ReferPlan, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// Which transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// To somebody whose phone rings already (RFC 5589 §7.6).
    Ringing,
    /// Asked for outside of calls (RFC 5359 §2.18).
    Dial,
    /// The same with a target that is heard before it answers.
    DialHeard,
    /// No transfer: the second call joins the first at its far end (RFC 3911).
    Join,
    /// The same where the two calls are on different shards.
    JoinAcross,
}

impl Transfer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ringing, Self::Dial, Self::DialHeard, Self::Join, Self::JoinAcross];

    /// Whether it is asked for outside of calls.
    const fn dials(self) -> bool {
        matches!(self, Self::Dial | Self::DialHeard)
    }

    /// Whether it is none, but a third party that joins.
    const fn joins(self) -> bool {
        matches!(self, Self::Join | Self::JoinAcross)
    }
}

/// The call that is transferred, and the one that it is transferred to.
const CALLS: [u64; 2] = [1, 2];
/// Seeds.
const SEED: u64 = 1;
/// With this one the Call-IDs that come of it fall to different shards.
const ACROSS_TO_JOIN: u64 = 2;

pub(crate) fn transfers(fault: u64, transfer: Transfer, options: Options) -> Report {
    let mut random = Random::new(if transfer == Transfer::JoinAcross { ACROSS_TO_JOIN } else { SEED });
    let places = Places::V4;
    let attended = transfer == Transfer::Ringing;
    let plan = |serial: u64, at: u64| CallPlan {
        hang_up: None,
        rtp: None,
        ..CallPlan::plain(Time::from_millis(at), serial, places.gateway())
    };
    let refer = ReferPlan { attended, ..ReferPlan::blind(CALLS[1]) };
    let mut plans = vec![CallPlan {
        refer: (!transfer.dials() && !transfer.joins()).then_some(refer),
        dials: transfer.dials().then_some(CALLS[1]),
        hang_up: transfer.joins().then_some(Duration::from_secs(20)),
        ..plan(CALLS[0], 100)
    }];
    if attended {
        plans.push(plan(CALLS[1], if transfer == Transfer::Ringing { 5500 } else { 3000 }));
    }
    if transfer.joins() {
        let hang_up = Some(Duration::from_secs(10));
        plans.push(CallPlan { joins: Some(CALLS[0]), hang_up, ..plan(CALLS[1], 4000) });
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carrier = Peer::new(places.host(9, 0), random.u64(), Vec::new());
    carrier.default = Behaviour { rtp: None, ..Behaviour::plain() };
    carrier.answers.insert(
        CALLS[1],
        Behaviour {
            hang_up: Some(Duration::from_secs(25)),
            after: match transfer {
                Transfer::Ringing => Duration::from_secs(4),
                _ => carrier.default.after,
            },
            early_media: (transfer == Transfer::DialHeard).then_some(Duration::from_millis(200)),
            ..carrier.default.clone()
        },
    );
    let mut town = blueprint(&mut random, places, callers, vec![carrier], Duration::from_secs(60));
    (town.shards, town.chain, town.ask, town.slow_store, town.stranger) = (1, false, false, false, false);
    if transfer == Transfer::JoinAcross {
        town.shards = 2;
    }
    if transfer.dials() {
        town.config.outside.referrals = switch::profile::Referrals::Execute;
    }
    town.link = Link::default();
    let mark = |town: &mut Town| {
        let (number, network) = (fault / 4, &mut town.world.network);
        match fault % 4 {
            0 => network.doom(number),
            1 => network.double(number),
            2 => network.hold(number, Duration::from_millis(30)),
            _ => network.hold(number, Duration::from_millis(1200)),
        }
    };
    let judge = |town: &mut Town| {
        let records = records(town);
        (judge(town, &records, transfer), records)
    };
    let busy = Duration::from_secs(90);
    conduct(Topology::Gateway, fault, options, &mut random, town, busy, mark, &BTreeSet::new(), judge)
}

fn judge(town: &Town, records: &[Record], transfer: Transfer) -> Vec<String> {
    let mut wrong = Vec::new();
    if transfer.joins() {
        return judge_join(town, records, transfer);
    }
    let find = |serial: u64, role: Role| records.iter().find(|it| it.serial == serial && it.role == role);
    let (Some(referrer), Some(first), Some(second)) =
        (find(CALLS[0], Role::Caller), find(CALLS[0], Role::Carrier), find(CALLS[1], Role::Carrier))
    else {
        return vec![format!("a call was not made: {records:#?}")];
    };
    if referrer.told.last() != Some(&200) {
        wrong.push(format!("the referrer was told {:?}, not 200", referrer.told));
    }
    if first.outcome != Outcome::Answered {
        wrong.push(format!("the first call was not answered: {first:?}"));
    }
    if second.outcome != Outcome::Answered || !second.byes.0 {
        wrong.push(format!("the target did not talk to the end: {second:?}"));
    }
    // Whom the target hung up upon.
    if !first.byes.1 || first.ended.zip(second.ended).is_none_or(|(a, b)| a < b) {
        wrong.push(format!("the first callee did not talk with the target: {first:?} {second:?}"));
    }
    let cdrs = town.cdrs();
    let part = |serial: u64| {
        let cdr = cdrs.iter().find(|(found, _)| *found == serial)?;
        cdr.1.transfer.clone()
    };
    match (part(CALLS[0]), part(CALLS[1])) {
        (Some(of), Some(to)) if (of.status, to.status) == (200, 200) => {}
        other => wrong.push(format!("the records say {other:?}")),
    }
    if cdrs.len() != 2 {
        wrong.push(format!("{} records of 2 calls", cdrs.len()));
    }
    wrong
}

/// The second caller talks with the first one's callee, who knows which of his dialogs is meant.
fn judge_join(town: &Town, records: &[Record], transfer: Transfer) -> Vec<String> {
    let mut wrong = Vec::new();
    let unanswered: Vec<&Record> =
        records.iter().filter(|record| record.outcome != Outcome::Answered).collect();
    if !unanswered.is_empty() || records.len() != 4 {
        wrong.push(format!("not four sides that talked: {records:#?}"));
    }
    let joined: u64 =
        town.carriers.iter().filter_map(|node| town.peer(*node)).map(|peer| peer.stats().joined).sum();
    if joined != 1 {
        wrong.push(format!("{joined} INVITEs were to join"));
    }
    let cdrs = town.cdrs();
    let shards: BTreeSet<u8> = cdrs.iter().map(|(_, cdr)| cdr.shard.0).collect();
    // Both are calls to the same number.
    if cdrs.len() != 2 || cdrs.iter().any(|(serial, _)| *serial != CALLS[0]) {
        wrong.push(format!("the records say {cdrs:?}"));
    }
    if transfer == Transfer::JoinAcross && shards.len() != 2 {
        wrong.push("both calls are on one shard".to_owned());
    }
    wrong
}
