//! A leg moves from one call to another with its ports, and the two that meet agree on a session.
//!
//! The gateway stands in the media path, so that nothing is to be negotiated where both have agreed upon the same codecs
//! and neither is held. Else the leg that came is offered what the other one last described, by re-INVITE; if its answer
//! is not what the other one knows, that one is offered the answer.

use super::sessions::{fit, open};
use crate::b2bua::name;
use crate::call::{Change, across, at};
use crate::leg_facts;
use crate::mail::Mail;
use crate::session::{self, Described};
use crate::shard::{Shard, Timer};
use core::time::Duration;
use link::{End, Side};
use sansio::{Key, Outbox, Time, TimerId};
use sip::{Body, LegId, Received};

/// How often a leg is asked again that is busy with a session change of its own, and how long between.
const BUSY: (u8, Duration) = (40, Duration::from_millis(250));
/// How often a leg is asked again whose own re-INVITE crossed ours.
const GLARES: u8 = 6;

/// The legs of a call agree on a session.
#[derive(Debug)]
pub(crate) struct Mending {
    /// Which one is asked.
    side: Side,
    /// Whether the other one was asked before.
    second: bool,
    /// Whether the re-INVITE is on its way.
    sent: bool,
    busy: u8,
    glares: u8,
    pub(super) timer: Option<TimerId>,
}

impl Shard {
    /// Moves the leg of a side of one call to a side of another, in the place of the leg that stands there: with its ports
    /// and its media, its place on a trunk, and what it is charged. The leg displaced stands in no call then. `false`, and
    /// nothing is changed, if one of them has no media.
    pub(super) fn move_leg(
        &mut self,
        now: Time,
        (from, side): (Key, Side),
        (to, place): (Key, Side),
        out: &mut Outbox<Mail>,
    ) -> bool {
        let Some(leg) = self.calls.get(from).and_then(|call| call.leg(side)) else { return false };
        let Some(flow) = self.endpoint.leg(leg).map(|facts| facts.flow) else { return false };
        if from == to
            || [from, to].iter().any(|key| self.calls.get(*key).is_none_or(|call| call.media.is_none()))
        {
            return false;
        }
        self.drop_change(now, from);
        self.drop_change(now, to);
        let Some(given) = self.calls.get_mut(from).and_then(|call| call.media.take()) else { return false };
        let Some(kept) = self.calls.get_mut(to).and_then(|call| call.media.take()) else { return false };
        let (mut given, mut kept) = (given, kept);
        let summary = leg_facts::summary(&given);
        // What they had beside speech was between others.
        for media in [&mut given, &mut kept] {
            let streams = core::mem::take(&mut media.streams);
            self.release_streams(now, &streams);
        }
        given.bridge.swap_leg(now, side.into(), &mut kept.bridge, place.into());
        core::mem::swap(&mut given.pairs[at(side)], &mut kept.pairs[at(place)]);
        core::mem::swap(&mut given.sessions[at(side)], &mut kept.sessions[at(place)]);
        // Its place is empty: what was heard there is in the record already.
        given.bridge.silence(now, side.into());
        crate::keys::arrange(&mut kept);
        self.hold_pair(given.pairs[at(side)], Some((from, side, 0)));
        self.hold_pair(kept.pairs[at(place)], Some((to, place, 0)));
        let mut tolls = Vec::new();
        let alarms = self.calls.get_mut(from).map(|call| call.charge_tolls(now)).unwrap_or_default();
        let session = self.calls.get(from).map(|call| call.ends.record());
        for alarm in alarms {
            self.tell_fraud(now, alarm, session.clone(), out);
        }
        if let Some(call) = self.calls.get_mut(from) {
            call.media = Some(given);
            call.draft.media.get_or_insert(summary);
            call.set_leg(side, LegId::NONE);
            // Whoever pays for the call pays for what has become of it.
            tolls.append(&mut call.tolls);
            tolls.append(&mut call.trunk_tolls);
        }
        if let Some(call) = self.calls.get_mut(to) {
            call.media = Some(kept);
            call.set_leg(place, leg);
            call.tolls.append(&mut tolls);
            call.transferring.moved = true;
            if place == Side::Caller {
                call.flow = flow;
            }
        }
        if let Some(slot) = self.legs.get_mut(leg.index()).and_then(Option::as_mut) {
            (slot.call, slot.side) = (to, place);
        }
        self.end_moved((from, side), (to, place));
        true
    }

    /// A session change that one side waits for the other to agree to is off.
    pub(super) fn drop_change(&mut self, now: Time, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(relayed) = call.reinvite.take() else { return };
        let Some(leg) = call.leg(relayed.from) else { return };
        let _ = match relayed.how {
            Change::Reinvite => self.endpoint.answer_reinvite(now, leg, 491, None),
            Change::Update => self.endpoint.answer_update(now, leg, 491, None),
        };
    }

    /// Two legs have come together, the one of `side` anew: has them agree on a session, unless they can do with theirs.
    pub(super) fn settle_sessions(&mut self, now: Time, key: Key, side: Side, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.media.as_ref().is_none_or(fit) {
            return self.announce_ends(now, key);
        }
        call.transferring.mending =
            Some(Mending { side, second: false, sent: false, busy: 0, glares: 0, timer: None });
        self.mend(now, key, out);
    }

    /// Offers a leg what the other one described.
    pub(crate) fn mend(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(mending) = call.transferring.mending.as_mut() else { return };
        mending.timer = None;
        let side = mending.side;
        let Some(media) = call.media.as_mut() else { return };
        if fit(media) {
            // They have found together by themselves.
            call.transferring.mending = None;
            return;
        }
        let before = media.sessions[at(side)].last();
        let offer = open(media.sessions[at(across(side))].said());
        media.sessions[at(side)].security.offering();
        let Ok(offer) = session::anchor(&offer, media, side, &[]) else {
            return self.mending_failed(now, key, 488, out);
        };
        let leg = if side == Side::Caller { call.caller } else { call.callee.unwrap_or(LegId::NONE) };
        if self.endpoint.reinvite(now, leg, Some(Body::sdp(&offer))).is_ok() {
            mending.sent = true;
            return;
        }
        media.sessions[at(side)].restore(before);
        mending.busy += 1;
        if mending.busy > BUSY.0 {
            return self.mending_failed(now, key, 500, out);
        }
        self.mend_later(now, key, BUSY.1);
    }

    fn mend_later(&mut self, now: Time, key: Key, span: Duration) {
        let timer = self.set_timer(now + span, Timer::Mend(key));
        if let Some(mending) = self.calls.get_mut(key).and_then(|call| call.transferring.mending.as_mut()) {
            mending.sent = false;
            mending.timer = timer;
        }
    }

    /// A re-INVITE was answered. `false` if it was none of these.
    pub(crate) fn mended(
        &mut self,
        now: Time,
        key: Key,
        side: Side,
        status: u16,
        message: Option<&Received>,
        out: &mut Outbox<Mail>,
    ) -> bool {
        let origin = self.calls.get(key).map(|call| self.origin_of(call, side));
        let (Some(origin), Some(call)) = (origin, self.calls.get_mut(key)) else { return false };
        let Some(mending) = call.transferring.mending.as_mut().filter(|it| it.sent && it.side == side) else {
            return false;
        };
        mending.sent = false;
        let described = message.map(Received::body).and_then(|body| Described::read(body).ok());
        match (status, described, call.media.as_mut()) {
            (200..300, Some(described), Some(media)) => {
                session::apply(now, media, side, &described, origin);
                if mending.second || fit(media) {
                    call.transferring.mending = None;
                } else {
                    *mending = Mending {
                        side: across(side),
                        second: true,
                        sent: false,
                        busy: 0,
                        glares: 0,
                        timer: None,
                    };
                    self.mend(now, key, out);
                }
            }
            // RFC 3261 §14.1: who owns the Call-ID waits 2.1 to 4 s, the other side up to 2 s.
            (491 | 500, ..) if mending.glares < GLARES => {
                mending.glares += 1;
                let leg = if side == Side::Caller { call.caller } else { call.callee.unwrap_or(LegId::NONE) };
                let outgoing = self.endpoint.leg(leg).is_some_and(|facts| facts.outgoing);
                let tens = if outgoing { 210 + self.random.below(190) } else { self.random.below(200) };
                self.mend_later(now, key, Duration::from_millis(10 * tens));
            }
            _ => self.mending_failed(now, key, status, out),
        }
        true
    }

    /// The two cannot talk.
    fn mending_failed(&mut self, now: Time, key: Key, status: u16, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(mending) = call.transferring.mending.take() else { return };
        self.stats.transfers_mute += 1;
        let end = End {
            side: Side::Gateway,
            status: 200,
            q850: Some(88),
            cause: format!("the {} did not take the session of the transfer: {status}", name(mending.side))
                .into(),
        };
        self.finish(now, key, end, &[("Reason", "Q.850;cause=88;text=\"incompatible destination\"")], out);
    }
}
