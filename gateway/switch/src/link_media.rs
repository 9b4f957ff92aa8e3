//! ICE and DTLS of a shard's legs: what comes for them, when they are due, how many handshakes run at a time, and what becomes
//! of a call whose keys do not come.

use crate::bridge::Side as Leg;
use crate::leg_link::Fault;
use crate::mail::Mail;
use crate::ports::PairId;
use crate::shard::{Shard, Timer};
use core::time::Duration;
use link::{End, Phase, Side};
use sansio::{Datagram, Key, Outbox, Time, TimerId};
use sip::{Event, LegId};
use std::collections::{BTreeMap, BTreeSet};

/// Handshakes that run on a shard at a time, in parts of one flight each between which media passes. Those beyond wait for a
/// retransmission of the peer's, or for [`LATER`].
const HANDSHAKES_MAX: usize = 64;
/// When a handshake of ours that found no place is tried again.
const LATER: Duration = Duration::from_millis(500);

/// What a shard keeps of its legs' ICE and DTLS.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Handshakes under way.
    running: BTreeSet<PairId>,
    /// The timer of each leg that has one.
    timers: BTreeMap<PairId, (TimerId, Time)>,
}

impl Links {
    /// What it holds.
    pub(crate) fn len(&self) -> usize {
        self.running.len() + self.timers.len()
    }
}

/// The leg that an event is about, if descriptions may come with it.
const fn described(event: &Event) -> Option<LegId> {
    match event {
        Event::Invite { leg, .. }
        | Event::Progress { leg, .. }
        | Event::Answered { leg, .. }
        | Event::Acked { leg, .. }
        | Event::Reinvite { leg, .. }
        | Event::ReinviteDone { leg, .. }
        | Event::Pracked { leg, .. }
        | Event::Update { leg, .. }
        | Event::UpdateDone { leg, .. } => Some(*leg),
        _ => None,
    }
}

impl Shard {
    /// Handles an event, then sees whether handshakes of its call are ours to begin.
    pub(crate) fn on_event_linked(&mut self, now: Time, event: Event, out: &mut Outbox<Mail>) {
        let leg = if self.config.dtls.is_some() { described(&event) } else { None };
        self.on_event(now, event, out);
        let Some(call) = leg.and_then(|leg| self.slot(leg)).map(|slot| slot.call) else { return };
        for side in [Side::Caller, Side::Callee] {
            self.begin_link(now, call, side, out);
        }
    }

    /// STUN or DTLS came to a port of a leg that has agreed on either.
    #[cold]
    pub(crate) fn link_datagram(
        &mut self,
        (key, side): (Key, Side),
        rtcp: bool,
        datagram: Datagram<'_>,
        out: &mut Outbox<Mail>,
    ) {
        let Datagram { source, received: now, payload, .. } = datagram;
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return };
        let leg = media.bridge.legs(side.into()).0;
        if !leg.within_rate(now) {
            return;
        }
        if rtcp {
            // Both are agreed upon for the port that RTP and RTCP share.
            leg.link_account.unwanted += 1;
            return;
        }
        let room = self.links.running.len() < HANDSHAKES_MAX || leg.is_shaking();
        self.stats.dtls_deferred += u64::from(!room);
        let ends = self.config.dtls.as_deref().filter(|_| room);
        if leg.take_link(now, source, payload, ends, out) {
            media.bridge.expect(now);
        }
        self.begin_link(now, key, side, out);
        self.note_link(now, key, side, out);
    }

    /// Begins a leg's handshake, if it is ours to begin.
    fn begin_link(&mut self, now: Time, key: Key, side: Side, out: &mut Outbox<Mail>) {
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return };
        let leg = media.bridge.legs(side.into()).0;
        if !leg.could_begin() {
            return;
        }
        let pair = leg.pair().id;
        if self.links.running.len() >= HANDSHAKES_MAX {
            self.stats.dtls_deferred += 1;
            return self.arm_link(now + LATER, pair);
        }
        if let Some(ends) = self.config.dtls.as_deref() {
            leg.begin(now, ends, out);
        }
        self.note_link(now, key, side, out);
    }

    /// A leg's time has come.
    pub(crate) fn link_due(&mut self, now: Time, pair: PairId, out: &mut Outbox<Mail>) {
        self.links.timers.remove(&pair);
        let holder = self.holders.get(pair.pool()).and_then(|pairs| pairs.get(pair.index()));
        let Some((key, side, _)) = holder.copied().flatten() else {
            self.links.running.remove(&pair);
            return;
        };
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return };
        if media.bridge.legs(side.into()).0.link_timeout(now, out) {
            media.bridge.expect(now);
        }
        self.begin_link(now, key, side, out);
        self.note_link(now, key, side, out);
    }

    /// Keeps what a leg's handshake is at, and when it is due next; ends the call if it failed.
    fn note_link(&mut self, now: Time, key: Key, side: Side, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(leg) = call.media.as_ref().map(|media| media.bridge.leg(Leg::from(side))) else { return };
        let (pair, wake) = (leg.pair().id, leg.link_wake());
        if let Some(fault) = leg.fault() {
            self.forget_link(pair);
            return self.end_unkeyed(now, key, side, fault, out);
        }
        match leg.is_shaking() {
            true => self.links.running.insert(pair),
            false => self.links.running.remove(&pair),
        };
        if let Some(at) = wake {
            self.arm_link(at, pair);
        }
    }

    /// Sets a leg's timer, unless it comes in time as it is: then it is set anew.
    fn arm_link(&mut self, at: Time, pair: PairId) {
        if let Some((timer, set)) = self.links.timers.get(&pair).copied() {
            if set <= at {
                return;
            }
            self.wheel.cancel(timer);
        }
        match self.set_timer(at, Timer::Link(pair)) {
            Some(timer) => self.links.timers.insert(pair, (timer, at)),
            None => self.links.timers.remove(&pair),
        };
    }

    /// A leg's ports are given back.
    pub(crate) fn forget_link(&mut self, pair: PairId) {
        self.links.running.remove(&pair);
        if let Some((timer, _)) = self.links.timers.remove(&pair) {
            self.wheel.cancel(timer);
        }
    }

    /// A leg came to no keys, or its peer is not who signalling said: nothing can be said on it (RFC 5763 §5).
    fn end_unkeyed(&mut self, now: Time, key: Key, side: Side, fault: Fault, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let who = if side == Side::Caller { "caller" } else { "callee" };
        let (what, text) = match fault {
            Fault::Stranger => (
                format!("the {who}'s DTLS certificate is not the one that its SDP names"),
                "Q.850;cause=21;text=\"DTLS fingerprint mismatch\"",
            ),
            Fault::Failed => {
                (format!("no DTLS handshake with the {who}"), "Q.850;cause=102;text=\"no DTLS handshake\"")
            }
        };
        let answered = call.phase == Phase::Answered;
        if !answered {
            if fault == Fault::Stranger || side == Side::Callee {
                let refusal = crate::status::Refusal::sdp(&what);
                self.end_refused(now, key, &refusal, out);
            }
            return;
        }
        self.stats.calls_unkeyed += 1;
        let q850 = if fault == Fault::Stranger { 21 } else { 102 };
        let end = End { side: Side::Gateway, status: 200, q850: Some(q850), cause: what.into() };
        self.finish(now, key, end, &[("Reason", text)], out);
    }
}
