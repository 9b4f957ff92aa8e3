//! One transfer, blind or attended, in which one datagram suffers.

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
    /// RFC 5589 §6.
    Blind,
    /// The same of somebody who is held.
    Held,
    /// To somebody who is busy: the call goes on.
    Busy,
    /// RFC 5589 §7, of somebody who is held.
    Attended,
    /// The same where the two calls are on different shards.
    Across,
    /// To somebody whose phone rings already.
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
    pub const ALL: [Self; 10] = [
        Self::Blind,
        Self::Held,
        Self::Busy,
        Self::Attended,
        Self::Across,
        Self::Ringing,
        Self::Dial,
        Self::DialHeard,
        Self::Join,
        Self::JoinAcross,
    ];

    /// Whether it is asked for outside of calls.
    const fn dials(self) -> bool {
        matches!(self, Self::Dial | Self::DialHeard)
    }

    /// Whether it is none, but a third party that joins.
    const fn joins(self) -> bool {
        matches!(self, Self::Join | Self::JoinAcross)
    }

    /// Whether it takes two shards.
    const fn is_across(self) -> bool {
        matches!(self, Self::Across | Self::JoinAcross)
    }
}

/// The call that is transferred, and the one that it is transferred to.
const CALLS: [u64; 2] = [1, 2];
/// Seeds.
const ACROSS: u64 = 1;
const ACROSS_TO_JOIN: u64 = 2;

pub(crate) fn transfers(fault: u64, transfer: Transfer, options: Options) -> Report {
    // The Call-IDs that come of it fall to different shards, where there are two.
    let mut random = Random::new(if transfer == Transfer::JoinAcross { ACROSS_TO_JOIN } else { ACROSS });
    let places = Places::V4;
    let attended = matches!(transfer, Transfer::Attended | Transfer::Across | Transfer::Ringing);
    let plan = |serial: u64, at: u64| CallPlan {
        hang_up: None,
        rtp: None,
        ..CallPlan::plain(Time::from_millis(at), serial, places.gateway())
    };
    let holds = matches!(transfer, Transfer::Attended | Transfer::Across | Transfer::Held);
    let refer = ReferPlan { after: Duration::from_secs(6), serial: CALLS[1], attended, holds };
    let mut plans = vec![CallPlan {
        refer: (!transfer.dials() && !transfer.joins()).then_some(refer),
        dials: transfer.dials().then_some(CALLS[1]),
        // Only if it is still there by then.
        hang_up: (transfer == Transfer::Busy || transfer.joins()).then_some(Duration::from_secs(20)),
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
        match transfer {
            Transfer::Busy => Behaviour::refuse(486),
            _ => Behaviour {
                hang_up: Some(Duration::from_secs(25)),
                after: match transfer {
                    Transfer::Ringing => Duration::from_secs(4),
                    _ => carrier.default.after,
                },
                early_media: (transfer == Transfer::DialHeard).then_some(Duration::from_millis(200)),
                ..carrier.default.clone()
            },
        },
    );
    let mut town = blueprint(&mut random, places, callers, vec![carrier], Duration::from_secs(60));
    (town.shards, town.chain, town.ask, town.slow_store, town.stranger) = (1, false, false, false, false);
    if transfer.is_across() {
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
    let expected = if transfer == Transfer::Busy { 486 } else { 200 };
    if referrer.told.last() != Some(&expected) {
        wrong.push(format!("the referrer was told {:?}, not {expected}", referrer.told));
    }
    if first.outcome != Outcome::Answered {
        wrong.push(format!("the first call was not answered: {first:?}"));
    }
    if transfer == Transfer::Busy {
        if referrer
            .ended
            .zip(referrer.answered)
            .is_none_or(|(end, at)| end.since(at) < Duration::from_secs(18))
        {
            wrong.push(format!("the call did not go on: {referrer:?}"));
        }
    } else {
        if second.outcome != Outcome::Answered || !second.byes.0 {
            wrong.push(format!("the target did not talk to the end: {second:?}"));
        }
        // Whom the target hung up upon.
        if !first.byes.1 || first.ended.zip(second.ended).is_none_or(|(a, b)| a < b) {
            wrong.push(format!("the first callee did not talk with the target: {first:?} {second:?}"));
        }
    }
    let cdrs = town.cdrs();
    let part = |serial: u64| {
        let cdr = cdrs.iter().find(|(found, _)| *found == serial)?;
        cdr.1.transfer.clone()
    };
    match (part(CALLS[0]), part(CALLS[1])) {
        (Some(of), Some(to)) if of.status == expected && (to.status == 200 || expected != 200) => {}
        other => wrong.push(format!("the records say {other:?}")),
    }
    let calls = if transfer == Transfer::Across { 3 } else { 2 };
    if cdrs.len() != calls {
        wrong.push(format!("{} records of {calls} calls", cdrs.len()));
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
