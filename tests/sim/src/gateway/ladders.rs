//! The gateway's account of each call's signalling, held against what really went over its sockets.

use super::{audit, blueprint, conduct, records};
use crate::mix::{Menu, Mix};
use crate::peer::Peer;
use crate::scene::{Options, Report, Topology, draw_link, draw_pace};
use crate::town::{Places, Town, Wire};
use link::{Trace, TraceOf};
use sansio::Random;
use std::collections::{BTreeMap, BTreeSet};

/// A mix of calls over UDP and bad lines; afterwards control asks for the ladder of every call, by its id and by its
/// legs' Call-IDs. With a small ring only the newest messages of a call can be there, with a large one all are.
pub(crate) fn ladders(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6c61_6464_6572);
    let places = Places::draw(&mut random);
    let small = random.chance(0.4);
    let calls = if small { 40 } else { 4 + random.below(8) };
    // Over TCP what goes over the socket is no whole message.
    let menu = Menu { calls, rtp: None, tcp: 0.0, ..Menu::default() };
    let mix = Mix::draw(&mut random, &menu, 1, places.gateway());
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), mix.plans.clone())];
    let carriers = (0..1 + random.below(3) as usize)
        .map(|index| {
            let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
            peer.answers = mix.answers.clone();
            peer
        })
        .collect();
    let mut plan = blueprint(&mut random, places, callers, carriers, menu.within);
    plan.link = draw_link(&mut random);
    plan.pace = draw_pace(&mut random);
    plan.stranger = false;
    if small {
        plan.shards = 1;
    }
    plan.config.observing.ring = if small { 1 << 18 } else { 16 << 20 };
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong = audit(town, &records);
        wrong.extend(compare(town, small));
        (wrong, records)
    };
    // The callers here do what they do; other scenes judge it.
    let excused: BTreeSet<usize> = BTreeSet::new();
    conduct(Topology::Ladders, seed, options, &mut random, plan, menu.within, |_| {}, &excused, judge)
}

/// What is wrong with the ladders of all calls.
fn compare(town: &mut Town, small: bool) -> Vec<String> {
    let mut wire: BTreeMap<Vec<u8>, Vec<Wire>> = BTreeMap::new();
    for seen in town.wire() {
        if let Some(peek) = sip::message::peek(&seen.bytes) {
            wire.entry(peek.call_id.to_vec()).or_default().push(seen);
        }
    }
    let mut wrong = Vec::new();
    for (_, cdr) in town.cdrs() {
        let mut names = vec![TraceOf::Call(cdr.call), TraceOf::SipCallId(cdr.caller_sip_call_id.clone())];
        names.extend(cdr.callee_sip_call_id.clone().map(TraceOf::SipCallId));
        let mut first: Option<Trace> = None;
        for name in names {
            let trace = town.trace(name.clone());
            let Some(trace) = trace.filter(|trace| small || !trace.messages.is_empty()) else {
                wrong.push(format!("call {}: no trace by {name:?}", cdr.call));
                continue;
            };
            if trace.messages.is_empty() {
                continue;
            }
            let trace = Trace { ticket: link::Ticket(0), ..trace };
            match &first {
                // At the ring's end one binding of a call may be overwritten and the next not yet.
                Some(first) if !small && *first != trace => {
                    wrong.push(format!("call {}: another trace by {name:?}", cdr.call));
                }
                Some(_) => {}
                None => {
                    wrong.extend(judge(&trace, &cdr, &wire, small));
                    first = Some(trace);
                }
            }
        }
    }
    wrong
}

/// One trace against what went over the sockets: all of it, or with a small ring the newest.
fn judge(trace: &Trace, cdr: &link::Cdr, wire: &BTreeMap<Vec<u8>, Vec<Wire>>, small: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if trace.call != Some(cdr.call) {
        wrong.push(format!("call {}: its trace is that of {:?}", cdr.call, trace.call));
    }
    if !small && trace.legs.len() != cdr.attempts.len() + 1 {
        wrong.push(format!("call {}: {} legs, {} attempts", cdr.call, trace.legs.len(), cdr.attempts.len()));
    }
    let attempts = cdr.attempts.iter().zip(1..).all(|(attempt, leg)| {
        trace.legs.iter().all(|it| it.leg != leg || it.label == attempt.trunk.as_str())
    });
    if !attempts {
        wrong.push(format!("call {}: legs {:?} and attempts {:?}", cdr.call, trace.legs, cdr.attempts));
    }
    if !trace.messages.is_sorted_by_key(|message| message.at) {
        wrong.push(format!("call {}: its messages are out of order", cdr.call));
    }
    for leg in &trace.legs {
        let nothing = Vec::new();
        let happened = wire.get(leg.sip_call_id.as_bytes()).unwrap_or(&nothing);
        for sent in [true, false] {
            let of_leg = trace.messages.iter().filter(|it| it.leg == leg.leg && it.sent == sent);
            let mut told: Vec<_> = of_leg.map(|it| (it.remote, it.bytes.as_slice())).collect();
            let of_leg = happened.iter().filter(|it| it.sent == sent);
            let mut real: Vec<_> = of_leg.map(|it| (it.remote, it.bytes.as_slice())).collect();
            if small {
                real.drain(..real.len().saturating_sub(told.len()));
            }
            if !sent {
                // What came to another shard was handed over: its order is that of handling.
                told.sort();
                real.sort();
            }
            if told != real {
                wrong.push(format!(
                    "call {} leg {}, {}: the ladder has {} messages, the wire {}",
                    cdr.call,
                    leg.leg,
                    if sent { "sent" } else { "received" },
                    told.len(),
                    real.len()
                ));
            }
        }
    }
    wrong
}
