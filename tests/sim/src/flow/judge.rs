//! What has to hold at the end of a flow, whatever befell it.

use super::{Flow, Kind};
use crate::mix::Expect;
use crate::peer::{CallPlan, Outcome, Peer, PhonePlan, Record, Role};
use crate::town::Town;
use std::collections::BTreeMap;

/// Final statuses that a call may come to whose messages were kept from arriving.
const TIMELY: [u16; 8] = [408, 480, 481, 487, 500, 502, 503, 504];

fn records(town: &Town) -> Vec<Record> {
    let peers = town.callers.iter().chain(&town.carriers).filter_map(|node| town.peer(*node));
    peers.flat_map(Peer::records).collect()
}

/// What the calls came to, and what their records say.
pub(super) fn calls(flow: &Flow, kind: Option<Kind>, plans: &[CallPlan], town: &Town) -> Vec<String> {
    let mut wrong = Vec::new();
    let records = records(town);
    let repaired = kind.is_none_or(Kind::is_repaired);
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
                Outcome::Status(status) => TIMELY.contains(&status),
                outcome => Expect::Anything.admits(outcome),
            };
        if !comes_to.admits(record.outcome) && !excused {
            wrong.push(format!("call {serial} came to {:?}, expected {comes_to:?}", record.outcome));
        }
        if repaired && record.inside.0 != record.inside.1 {
            wrong.push(format!("call {serial}: of what the caller did, served is {:?}", record.inside));
        }
        let cdrs = cdrs.get(&serial).map(|cdrs| cdrs.values().collect::<Vec<_>>()).unwrap_or_default();
        let told = cdrs.iter().any(|cdr| match record.outcome {
            Outcome::Answered => cdr.answered.is_some(),
            Outcome::Status(status) => cdr.answered.is_none() && cdr.end.status == status,
            _ => true,
        });
        // Whoever heard nothing may not have been heard either.
        let unheard = record.outcome == Outcome::TimedOut && !repaired;
        // A request that comes when its transaction is over is a new one.
        let ghosts = kind.is_some_and(Kind::brings_ghosts);
        if (!told && !unheard) || (cdrs.len() > 1 && !ghosts) {
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

/// How the phones' registrations went.
pub(super) fn phones(kind: Option<Kind>, plans: &[PhonePlan], town: &Town) -> Vec<String> {
    let mut wrong = Vec::new();
    let standings = town.callers.iter().filter_map(|node| town.peer(*node)).flat_map(Peer::standings);
    for (plan, standing) in plans.iter().zip(standings) {
        let failed = standing.failed > 0 && kind != Some(Kind::Stalled);
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
    for node in town.callers.iter().chain(&town.carriers) {
        let Some(peer) = town.peer(*node) else { continue };
        wrong.extend(peer.faults().iter().cloned());
        wrong.extend(peer.unfinished());
        if kind.is_none_or(Kind::is_repaired) && !peer.lenient {
            wrong.extend(peer.gaps().iter().cloned());
        }
    }
    wrong
}
