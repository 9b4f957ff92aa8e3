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
}

impl Transfer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Blind, Self::Held, Self::Busy, Self::Attended, Self::Across];
}

/// The call that is transferred, and the one that it is transferred to.
const CALLS: [u64; 2] = [1, 2];
/// A seed.
const ACROSS: u64 = 1;

pub(crate) fn transfers(fault: u64, transfer: Transfer, options: Options) -> Report {
    // The Call-IDs that come of it fall to different shards, where there are two.
    let mut random = Random::new(ACROSS);
    let places = Places::V4;
    let attended = matches!(transfer, Transfer::Attended | Transfer::Across);
    let plan = |serial: u64, at: u64| CallPlan {
        hang_up: None,
        rtp: None,
        ..CallPlan::plain(Time::from_millis(at), serial, places.gateway())
    };
    let holds = attended || transfer == Transfer::Held;
    let refer = ReferPlan { after: Duration::from_secs(6), serial: CALLS[1], attended, holds };
    let mut plans = vec![CallPlan {
        refer: Some(refer),
        // Only if it is still there by then.
        hang_up: (transfer == Transfer::Busy).then_some(Duration::from_secs(20)),
        ..plan(CALLS[0], 100)
    }];
    if attended {
        plans.push(plan(CALLS[1], 3000));
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let mut carrier = Peer::new(places.host(9, 0), random.u64(), Vec::new());
    carrier.default = Behaviour { rtp: None, ..Behaviour::plain() };
    carrier.answers.insert(
        CALLS[1],
        match transfer {
            Transfer::Busy => Behaviour::refuse(486),
            _ => Behaviour { hang_up: Some(Duration::from_secs(25)), ..carrier.default.clone() },
        },
    );
    let mut town = blueprint(&mut random, places, callers, vec![carrier], Duration::from_secs(60));
    (town.shards, town.chain, town.ask, town.slow_store, town.stranger) = (1, false, false, false, false);
    if transfer == Transfer::Across {
        town.shards = 2;
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
