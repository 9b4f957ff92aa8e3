//! Keys in the signalling of a call: INFO that is taken, INFO of our own, and the time at which packets of keys are due.

use crate::bridge::Side as Leg;
use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use link::Side;
use rtp::event::event_of;
use sansio::{Key, Outbox, Time};
use sip::keys::{PLAIN, Press, RELAY};
use sip::message::Method;
use sip::{Body, LegId, Received, RequestId};

impl Shard {
    /// Takes a key that a leg says in an INFO if it goes on as something else; the status of its answer. `None`: it passes.
    pub(crate) fn take_key(
        &mut self,
        now: Time,
        leg: LegId,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) -> Option<u16> {
        let (key, side) = self.slot(leg).map(|slot| (slot.call, slot.side))?;
        let media = self.calls.get_mut(key)?.media.as_mut()?;
        if !media.bridge.takes_info(side.into()) {
            return None;
        }
        let content_type = message.parse().ok()?.content_type().map(session::text)?;
        let press = Press::parse(&content_type, message.body())?;
        let event = event_of(press.key)?;
        let seed = media.sessions[0].seed;
        let taken = media.bridge.press(now, side.into(), event, press.duration, seed);
        self.tend_bridge(now, key, out);
        // Not now: on hold, or too many wait. RFC 5057 §5.1: what this must not be is a status that ends the call.
        Some(if taken { 200 } else { 488 })
    }

    /// Does what is due of a call's keys.
    pub(crate) fn tend_bridge(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return };
        media.bridge.tend(now, out);
        let deadline = media.bridge.deadline();
        for side in [Side::Caller, Side::Callee] {
            self.say_info(now, key, side);
        }
        let timer = deadline.and_then(|at| self.set_timer(at, Timer::Bridge(key)));
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(before) = core::mem::replace(&mut call.bridge_timer, timer) {
            self.wheel.cancel(before);
        }
    }

    /// A call's timer of keys is due.
    pub(crate) fn bridge_due(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        if let Some(call) = self.calls.get_mut(key) {
            call.bridge_timer = None;
            self.tend_bridge(now, key, out);
        }
    }

    /// Says the next key of `from` to the other side in an INFO, one after the other: over UDP two might change places, and the second
    /// would be refused for its CSeq (RFC 3261 §12.2.2).
    fn say_info(&mut self, now: Time, key: Key, from: Side) {
        if self.key_infos.values().any(|it| *it == (key, from)) {
            return;
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        let (Some(other), Some(media)) = (call.other(from), call.media.as_mut()) else { return };
        let plain = media.bridge.says_plain_info(Leg::from(from));
        let Some((event, duration)) = media.bridge.next_info(from.into()) else { return };
        let character = rtp::event::character(event).unwrap_or('!');
        let press = Press { key: character, duration };
        let (content_type, body) = if plain { (PLAIN, press.plain()) } else { (RELAY, press.relay()) };
        let body = Body { content_type, bytes: body.as_bytes() };
        match self.endpoint.request_inside(now, other, Method::Info, &[], Some(body)) {
            Ok(id) => {
                self.key_infos.insert(id, (key, from));
            }
            // The call is not answered yet, or over.
            Err(_) => self.stats.keys_unsaid += 1,
        }
    }

    /// The other side answered an INFO of ours, or did not.
    pub(crate) fn info_answered(
        &mut self,
        now: Time,
        id: RequestId,
        status: Option<u16>,
        out: &mut Outbox<Mail>,
    ) {
        let Some((key, _)) = self.key_infos.remove(&id) else { return };
        self.stats.keys_unsaid += u64::from(status.is_none_or(|status| status >= 300));
        self.tend_bridge(now, key, out);
    }
}
