//! A re-INVITE of our own: one side is told what the other's answer has made of the session after all.
//!
//! It is wanted where a side was told of a session before the last word was said: by an early dialog of another branch than
//! the one that answered (RFC 3261 §13.2.1: what the caller hears after its first answer, it does not heed), or by an offer of
//! ours to which the other side agreed in part only.

use crate::call::{Call, at};
use crate::shard::{Shard, Timer};
use link::{Phase, Side};
use sansio::{Key, Time, TimerId};
use sip::{Body, glare_pause};

/// How often it is tried while re-INVITEs cross.
const TRIES: u8 = 5;

/// A session description that a side has still to hear.
#[derive(Debug)]
pub(crate) struct Resync {
    side: Side,
    body: Vec<u8>,
    tries: u8,
    /// Whether its re-INVITE is on its way.
    sent: bool,
    /// When it is tried again.
    pub(crate) timer: Option<TimerId>,
}

impl Shard {
    /// Tells a side of a call that stands, as soon as nothing else changes its session.
    pub(crate) fn resync(&mut self, now: Time, key: Key, side: Side, body: Vec<u8>) {
        self.resync_drop(key);
        if let Some(call) = self.calls.get_mut(key) {
            call.resync = Some(Resync { side, body, tries: 0, sent: false, timer: None });
        }
        self.resync_try(now, key);
    }

    /// Sends the re-INVITE, or lets it wait.
    pub(crate) fn resync_try(&mut self, now: Time, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(leg) = call.resync.as_ref().and_then(|it| leg_of(call, it.side)) else { return };
        let Some(resync) = call.resync.as_mut() else { return };
        resync.timer = None;
        resync.tries += 1;
        if let Some(media) = call.media.as_mut() {
            media.sessions[at(resync.side)].security.reoffered();
        }
        resync.sent = call.phase == Phase::Answered
            && self.endpoint.reinvite(now, leg, Some(Body::sdp(&resync.body))).is_ok();
        if resync.sent {
            self.stats.sessions_resynced += 1;
        } else {
            self.resync_later(now, key);
        }
    }

    /// RFC 3261 §14.1: after a random while, longer for the side that owns the Call-ID.
    fn resync_later(&mut self, now: Time, key: Key) {
        let Some(resync) = self.calls.get_mut(key).and_then(|call| call.resync.as_mut()) else { return };
        resync.sent = false;
        if resync.tries >= TRIES {
            return self.resync_drop(key);
        }
        // Call-IDs of callees' legs are ours.
        let pause = glare_pause(&mut self.random, resync.side == Side::Callee);
        let timer = self.set_timer(now + pause, Timer::Resync(key));
        if let Some(resync) = self.calls.get_mut(key).and_then(|call| call.resync.as_mut()) {
            resync.timer = timer;
        }
    }

    /// A re-INVITE of ours was answered.
    pub(crate) fn resync_done(&mut self, now: Time, key: Key, side: Side, status: u16) {
        let call = self.calls.get_mut(key);
        if call.is_none_or(|call| call.resync.as_ref().is_none_or(|it| it.side != side || !it.sent)) {
            return;
        }
        if status == 491 {
            self.stats.glares += 1;
            self.resync_later(now, key);
        } else {
            // Refused for good: the session stays as that side knows it (RFC 3261 §14.1).
            self.resync_drop(key);
        }
    }

    /// Nothing is to be told any more: something newer was said.
    pub(crate) fn resync_drop(&mut self, key: Key) {
        let resync = self.calls.get_mut(key).and_then(|call| call.resync.take());
        if let Some(timer) = resync.and_then(|resync| resync.timer) {
            self.wheel.cancel(timer);
        }
    }
}

fn leg_of(call: &Call, side: Side) -> Option<sip::LegId> {
    match side {
        Side::Caller => Some(call.caller),
        _ => call.callee,
    }
}
