//! What has to hold at the end of a flow, whatever befell it.

use super::{Flow, Kind, Seen};
use crate::mix::Expect;
use crate::peer::{CallPlan, Errand, ErrandPlan, Outcome, Peer, PhonePlan, Record, Role};
use crate::town::Town;
use std::collections::BTreeMap;
use std::time::Duration;

/// Final statuses that a call may come to whose messages were kept from arriving.
const TIMELY: [u16; 8] = [408, 480, 481, 487, 500, 502, 503, 504];

/// How long one side of a call may not know that the other has ended it: 64 × T1.
const ZOMBIE: Duration = Duration::from_secs(32);

/// What the calls came to, and what their records say.
pub(super) fn calls(flow: &Flow, kind: Option<Kind>, plans: &[CallPlan], seen: &Seen<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (town, records) = (seen.town, seen.records);
    let repaired = kind.is_none_or(Kind::is_repaired);
    // A certificate is not waited for as long as control is gone.
    let unverified = |outcome| kind == Some(Kind::ControlDies) && outcome == Outcome::Status(436);
    let damaged = kind.is_some_and(Kind::is_damage);
    let mut cdrs: BTreeMap<u64, BTreeMap<link::CallId, link::Cdr>> = BTreeMap::new();
    for (serial, cdr) in town.cdrs() {
        cdrs.entry(serial).or_default().insert(cdr.call, cdr);
    }
    for plan in plans {
        let serial = plan.serial;
        let own = |record: &&Record| record.serial == serial && record.role == Role::Caller;
        let Some(record) = records.iter().find(own) else {
            wrong.push(format!("call {serial} was never made"));
            continue;
        };
        let comes_to = if serial == 1 { flow.comes_to } else { flow.others.unwrap_or(flow.comes_to) };
        let excused = !repaired
            && match record.outcome {
                // What was said is not what was heard.
                // A leg of a call that is being changed is not replaced.
                Outcome::Status(491) => plan.replaces.is_some() || damaged,
                Outcome::Status(status) => damaged || TIMELY.contains(&status),
                outcome => Expect::Anything.admits(outcome),
            };
        if !comes_to.admits(record.outcome) && !excused && !unverified(record.outcome) {
            wrong.push(format!("call {serial} came to {:?}, expected {comes_to:?}", record.outcome));
        }
        if repaired && record.inside.0 != record.inside.1 {
            wrong.push(format!("call {serial}: of what the caller did, served is {:?}", record.inside));
        }
        let cdrs = cdrs.get(&serial).map(|cdrs| cdrs.values().collect::<Vec<_>>()).unwrap_or_default();
        let told = cdrs.iter().any(|cdr| match record.outcome {
            Outcome::Answered => cdr.answered.is_some(),
            // Whose ringing call somebody else was put through to is told 487, the record of what became of that.
            Outcome::Status(487) if cdr.transfer.is_some() => true,
            // Who has others put through is told what came of that.
            Outcome::Status(status) if plan.dials.is_some() => {
                cdr.transfer.as_ref().map_or(cdr.end.status, |it| it.status) == status
            }
            Outcome::Status(status) => cdr.answered.is_none() && cdr.end.status == status,
            _ => true,
        });
        // Whoever heard nothing may not have been heard either.
        let unheard = (record.outcome == Outcome::TimedOut || damaged) && !repaired;
        // A request that comes when its transaction is over is a new one.
        let ghosts = kind.is_some_and(Kind::brings_ghosts);
        // What replaces a leg of a call has no record but that call's.
        // What joins a call is one of its own, to the same number.
        let is_part = (plan.replaces.is_some() || plan.joins.is_some()) && cdrs.is_empty();
        let own = 1 + plans.iter().filter(|it| it.joins == Some(serial)).count();
        if (!told && !unheard && !is_part) || (cdrs.len() > own && !ghosts && !damaged && seen.extra == 0) {
            let ends: Vec<_> = cdrs.iter().map(|cdr| (cdr.answered.is_some(), &cdr.end)).collect();
            wrong.push(format!("call {serial} came to {:?}; its records say {ends:?}", record.outcome));
        }
    }
    for record in records.iter().filter(|record| record.role == Role::Carrier) {
        if repaired && !kind.is_some_and(Kind::brings_ghosts) && record.inside.0 != record.inside.1 {
            wrong.push(format!(
                "call {}: of what the callee did, served is {:?}",
                record.serial, record.inside
            ));
        }
    }
    wrong
}

/// Whether both sides of each call agree that it is over, and since when; and whether the gateway does.
pub(super) fn ends(kind: Option<Kind>, plans: &[CallPlan], seen: &Seen<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for record in seen.records.iter().filter(|record| record.ended.is_none()) {
        wrong.push(format!("call {} never ended for its {:?}", record.serial, record.role));
    }
    let calm = kind.is_none_or(|kind| kind.is_repaired() && !kind.brings_ghosts());
    // Who was put through talks on, and who was told nothing in time knows nothing.
    if seen.extra > 0 || !calm {
        return wrong;
    }
    for plan in plans {
        let of = |role| seen.records.iter().filter(move |it| it.serial == plan.serial && it.role == role);
        let caller = of(Role::Caller).next().and_then(|record| record.ended);
        let callee = of(Role::Carrier).filter(|it| it.answered.is_some()).filter_map(|it| it.ended).max();
        let Some((caller, callee)) = caller.zip(callee) else { continue };
        let apart = caller.max(callee).since(caller.min(callee));
        if apart > ZOMBIE {
            wrong.push(format!("call {} ended {apart:?} later for one side than for the other", plan.serial));
        }
    }
    wrong
}

/// Whether what was counted adds up, and each call has one record.
pub(super) fn counts(kind: Option<Kind>, plans: &[CallPlan], seen: &Seen<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut equal = |what: &str, one: u64, other: u64| {
        if one != other {
            wrong.push(format!("{what}: {one} and {other}"));
        }
    };
    let total = |count| seen.town.total(count);
    let cdrs = seen.cdrs;
    let number = |cdrs: &mut dyn Iterator<Item = &link::Cdr>| cdrs.count() as u64;
    equal("calls begun and recorded", total(|it| it.calls_started), number(&mut cdrs.iter()));
    let answered = number(&mut cdrs.iter().filter(|cdr| cdr.answered.is_some()));
    let heard = total(|it| it.calls_answered) - total(|it| it.calls_answers_unheard);
    equal("calls counted and recorded as answered", heard, answered);
    let attempts = cdrs.iter().map(|cdr| cdr.attempts.len() as u64).sum();
    equal("attempts counted and recorded", total(|it| it.attempts), attempts);
    let transfers = total(|it| it.transfers_executed + it.transfers_failed)
        + total(|it| it.transfers_refused + it.transfers_passed);
    equal("transfers asked for and settled", total(|it| it.transfers_asked), transfers);
    let replaced = total(|it| it.replaces_done + it.replaces_refused);
    equal("replacements asked for and settled", total(|it| it.replaces_asked), replaced);
    let settled = total(|it| it.outside_answered + it.outside_failed);
    equal("requests outside of calls taken and settled", total(|it| it.outside_taken), settled);
    equal("records dropped", total(|it| it.cdrs_dropped), 0);
    equal("timers without room", total(|it| it.timers_full), 0);
    // Nothing was called up that nobody asked for.
    if kind.is_none_or(Kind::is_repaired) && !kind.is_some_and(Kind::brings_ghosts) {
        let own = plans.iter().filter(|plan| plan.replaces.is_none()).count();
        let expected = (own + seen.extra) as u64;
        equal("records and calls", number(&mut cdrs.iter()), expected);
    }
    wrong
}

/// How requests outside of calls were answered.
pub(super) fn errands(kind: Option<Kind>, wanted: &[ErrandPlan], peer: &Peer) -> Vec<String> {
    let answers: Vec<u16> = peer.news().answers.iter().map(|answer| answer.1).collect();
    let expected: Vec<u16> = wanted.iter().map(|plan| plan.comes_to).collect();
    let repaired = kind.is_none_or(Kind::is_repaired);
    // Who notifies has more to say than what it was told to.
    let notifies = wanted.iter().any(|plan| matches!(plan.what, Errand::Notify(_)));
    if repaired && !notifies && !expected.is_empty() && answers != expected {
        return vec![format!("requests outside of calls came to {:?}", peer.news().answers)];
    }
    Vec::new()
}

/// How the phones' registrations went.
pub(super) fn phones(kind: Option<Kind>, plans: &[PhonePlan], town: &Town) -> Vec<String> {
    let mut wrong = Vec::new();
    let standings = town.callers.iter().filter_map(|node| town.peer(*node)).flat_map(Peer::standings);
    for (plan, standing) in plans.iter().zip(standings) {
        let failed = standing.failed > 0 && kind.is_none_or(Kind::is_repaired);
        if kind.is_some_and(Kind::is_damage) {
            continue;
        }
        if standing.granted == 0 || failed || (plan.leave.is_some() && !standing.left) {
            wrong.push(format!("{}'s phone: {standing:?}", plan.login.user));
        }
    }
    if town.bindings() > 0 {
        wrong.push(format!("{} bindings of phones are left", town.bindings()));
    }
    wrong
}

/// Faults of the gateway, and what is left of the calls anywhere.
pub(super) fn leftovers(kind: Option<Kind>, town: &mut Town) -> Vec<String> {
    let mut wrong = town.leftovers();
    if kind == Some(Kind::ControlDies) {
        // Who asked the dead has no answer.
        wrong.retain(|line| !line.contains("questions"));
    }
    let damaged = kind.is_some_and(Kind::is_damage);
    for node in town.callers.iter().chain(&town.carriers) {
        let Some(peer) = town.peer(*node) else { continue };
        // Who reads what nobody wrote may hold it against who did not write it.
        if !damaged {
            wrong.extend(peer.faults().iter().cloned());
        }
        wrong.extend(peer.unfinished());
        if kind.is_none_or(Kind::is_repaired) && !peer.lenient {
            wrong.extend(peer.gaps().iter().cloned());
        }
    }
    wrong
}
