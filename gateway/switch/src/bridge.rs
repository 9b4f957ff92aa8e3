//! The relay between the two legs of a call: once per packet, without allocation, lock or look-up.
//!
//! A datagram is taken if it is RTP or RTCP in form and comes from the source that the leg's latch knows; it is counted
//! and leaves from the other leg's socket towards the other peer. Sequence numbers, timestamps and SSRCs are left as
//! they are, so RTCP may be relayed as it is too (`leg_reports`); only a payload type that the legs number differently is rewritten.

use crate::attach;
use crate::leg_media::{Direction, LegMedia, PayloadMap, Remote};
use crate::leg_quality::Watch;
use crate::ports::Pair;
use crate::translator::{Spoken, Translator};
use core::net::SocketAddr;
use core::time::Duration;
use rtp::rtcp::Compound;
use rtp::{Kind, Packet, Verdict, classify};
use sansio::{Outbox, Time};

/// Which of a call's two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that called.
    Caller,
    /// The one that was called.
    Callee,
}

impl Side {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

impl From<link::Side> for Side {
    fn from(side: link::Side) -> Self {
        match side {
            link::Side::Caller => Self::Caller,
            _ => Self::Callee,
        }
    }
}

impl From<Side> for link::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Self::Caller,
            Side::Callee => Self::Callee,
        }
    }
}

/// Both legs' media of a call. About 5 KB, the fields that every packet touches side by side; 6 KiB more for each leg that
/// is protected.
#[derive(Debug)]
pub struct Bridge {
    legs: [LegMedia; 2],
    /// Since when silence counts.
    clock: Option<Time>,
    /// Whether [`Self::tend`] is to be called, though it is not yet the time that was last asked for.
    pub(crate) tends: bool,
    /// When it was last asked to be.
    pub(crate) due_at: Option<Time>,
    pub(crate) watch: Watch,
}

impl Bridge {
    /// A bridge over the caller's and the callee's ports; nothing passes until both sides have said where they are.
    pub fn new(caller: Pair, callee: Pair) -> Self {
        Self {
            legs: [LegMedia::new(caller), LegMedia::new(callee)],
            clock: None,
            tends: false,
            due_at: None,
            watch: Watch::default(),
        }
    }

    /// A leg.
    pub const fn leg(&self, side: Side) -> &LegMedia {
        &self.legs[side as usize]
    }

    pub(crate) fn legs(&mut self, from: Side) -> (&mut LegMedia, &mut LegMedia) {
        let [caller, callee] = &mut self.legs;
        match from {
            Side::Caller => (caller, callee),
            Side::Callee => (callee, caller),
        }
    }

    /// A side's SDP said this.
    pub fn set_remote(&mut self, now: Time, side: Side, remote: &Remote) {
        self.legs(side).0.set_remote(remote);
        self.expect(now);
    }

    /// What a side's peer said is void, and so is what it sent: another peer takes its place (the next of a hunt). Until that
    /// one has said where it is, nothing is taken from the leg's ports and nothing sent from them.
    pub fn forget_remote(&mut self, now: Time, side: Side) {
        self.pass();
        let (leg, other) = self.legs(side);
        other.end_keys();
        *leg = LegMedia::new(*leg.pair());
        self.expect(now);
    }

    /// The media of a side and that of a side of another bridge change places, ports and all.
    pub fn swap_leg(&mut self, now: Time, side: Side, other: &mut Self, place: Side) {
        core::mem::swap(&mut self.legs[side as usize], &mut other.legs[place as usize]);
        for bridge in [self, other] {
            for leg in &mut bridge.legs {
                leg.payload_map = PayloadMap::default();
                (leg.translator, leg.noise_due) = (None, None);
                leg.end_keys();
                if let Some(splice) = &mut leg.splice {
                    splice.stop();
                }
                // Who it is expected to send to is another.
                leg.expected_since = None;
            }
            bridge.expect(now);
        }
    }

    /// Nothing is taken from a side any more and nothing sent to it; what was counted stays.
    pub fn silence(&mut self, now: Time, side: Side) {
        let remote = Remote {
            rtp: None,
            rtcp: None,
            policy: rtp::Policy::Strict,
            direction: Direction::INACTIVE,
            payload_types: 0,
            formats: Vec::new(),
            event_type: None,
        };
        self.set_remote(now, side, &remote);
    }

    /// How payload types of packets from `side` are changed on their way.
    pub fn set_payload_map(&mut self, side: Side, map: PayloadMap) {
        self.legs(side).0.payload_map = map;
    }

    /// From now on what comes from `side`, which speaks so, is translated for the other one, which speaks otherwise, and back.
    /// What is translated so already goes on undisturbed.
    pub fn translate(&mut self, side: Side, here: Spoken, there: Spoken) {
        let (from, to) = self.legs(side);
        for (leg, way) in [(from, (here, there)), (to, (there, here))] {
            if leg.translator.as_ref().is_none_or(|it| !it.is(way.0, way.1)) {
                leg.translator = Some(Box::new(Translator::new(way.0, way.1)));
                leg.noise_due = None;
            }
        }
    }

    /// From now on nothing is translated.
    pub fn pass(&mut self) {
        for leg in &mut self.legs {
            (leg.translator, leg.noise_due) = (None, None);
        }
    }

    /// Whether anything is translated.
    pub fn translates(&self) -> bool {
        self.legs.iter().any(|leg| leg.translator.is_some())
    }

    /// Whether a side's packets do not go on as they come, so that reports about them would be about others.
    pub(crate) fn is_changed(&self, side: Side) -> bool {
        let leg = self.leg(side);
        leg.translator.is_some() || leg.keys.way.is_some()
    }

    /// The call was answered: from now on both sides are expected to send.
    pub fn start_clock(&mut self, now: Time) {
        self.clock = Some(now);
        self.expect(now);
    }

    /// Notes since when each side is expected to send; a side that begins to be is given the whole time limit.
    pub(crate) fn expect(&mut self, now: Time) {
        for side in [Side::Caller, Side::Callee] {
            let started = self.clock.is_some();
            let (from, to) = self.legs(side);
            let expected =
                started && from.direction.sends && to.direction.receives && from.target().is_some();
            from.expected_since = if expected { Some(from.expected_since.unwrap_or(now)) } else { None };
        }
    }

    /// Takes a datagram that arrived on a port of `side` (`rtcp`: on its RTCP port) and passes it on if it may pass.
    #[inline]
    pub fn relay<M>(
        &mut self,
        side: Side,
        rtcp: bool,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        let leg = &self.legs[side as usize];
        if leg.crypto.is_some() || leg.link.is_some() {
            return self.relay_sealed(side, rtcp, received, source, payload, out);
        }
        self.relay_clear(side, rtcp, received, source, payload, out);
    }

    /// The same for what is not protected, or not any more.
    #[inline]
    pub(crate) fn relay_clear<M>(
        &mut self,
        side: Side,
        rtcp: bool,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        if rtcp {
            return self.relay_rtcp(side, received, source, payload, out);
        }
        match classify(payload) {
            Kind::Rtp => self.relay_rtp(side, received, source, payload, out),
            // RFC 5761: both on one port.
            Kind::Rtcp => self.relay_rtcp(side, received, source, payload, out),
            Kind::Other => self.legs(side).0.malformed += 1,
        }
    }

    fn relay_rtp<M>(
        &mut self,
        side: Side,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        let (from, to) = self.legs(side);
        let Ok(packet) = Packet::parse(payload) else {
            from.malformed += 1;
            return;
        };
        let header = packet.header();
        let negotiated = from.negotiated(header.payload_type);
        match from.latch.check(received, source, header, negotiated) {
            Verdict::Accepted => {}
            Verdict::Latched => from.forget_rtcp_source(),
            Verdict::Stranger => return,
        }
        if !from.within_rate(received) {
            return;
        }
        if header.payload_type != from.payload_type {
            from.change_format(header.payload_type);
        }
        let octets = packet.payload().len();
        from.receiver.record(received, header, octets);
        from.heard = Some(received);
        from.unexpected_types += u64::from(!negotiated);
        if !(from.direction.sends && to.direction.receives) {
            from.withheld += 1;
            return;
        }
        let Some(target) = to.latch.target() else {
            from.withheld += 1;
            return;
        };
        if from.keys.way.is_some() {
            return self.relay_with_keys(side, received, &packet, target, out);
        }
        if let Some(translator) = &mut from.translator {
            to.note_made(received);
            let taken = translator
                .translate(&packet, |header, payload| to.send_on(received, target, header, payload, out));
            from.translated += u64::from(taken);
            from.untranslated += u64::from(!taken);
            let quiet = translator.is_quiet();
            self.expect_noise(side, received, quiet);
            return;
        }
        if to.splice.is_some() {
            return attach::relay(from, to, &packet, payload, received, target, out);
        }
        let marked_type = payload[1] & 0x80 | from.payload_map.of(header.payload_type);
        if to.send_rtp(out, target, payload, marked_type, header) {
            to.count_sent(header, octets);
        } else {
            to.unsent += 1;
        }
    }

    /// RTCP is accounted, and relayed if it may be, on hold too: it tells that both sides are alive (RFC 3264 §5.1).
    #[cold]
    fn relay_rtcp<M>(
        &mut self,
        side: Side,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        let changed = self.is_changed(Side::Caller) || self.is_changed(Side::Callee);
        let (from, to) = self.legs(side);
        let parsed = Compound::parse(payload);
        let ssrc = parsed.as_ref().ok().and_then(Compound::ssrc);
        if !from.accepts_rtcp(source, ssrc) || !from.within_rate(received) {
            return;
        }
        let Ok(compound) = parsed else {
            from.rtcp.malformed += 1;
            return;
        };
        from.heard = Some(received);
        let sent = from.stream_ssrc().unwrap_or_else(|| to.receiver.ssrc());
        from.account(received, &compound, sent);
        if !to.passes_rtcp(changed) {
            return;
        }
        if let Some((socket, target)) = to.rtcp_way() {
            to.note_passed(received);
            to.await_answer(received, &compound);
            if to.splice.is_none() && from.splice.is_none() {
                return to.send_rtcp(out, socket, target, payload);
            }
            let clock = from.receiver.clock();
            let splices = (to.splice.take(), from.splice.as_deref());
            attach::restated((splices.0.as_deref(), splices.1), clock, received, payload, |bytes| {
                to.send_rtcp(out, socket, target, bytes);
            });
            to.splice = splices.0;
        }
    }

    /// The side that should send and has sent neither RTP nor RTCP for `limit`, the one silent for longer if both are.
    /// Silence counts from [`Self::start_clock`], and not while SDP says that the side does not send or that the other does
    /// not receive. A `limit` of zero never ends.
    pub fn timed_out(&self, now: Time, limit: Duration) -> Option<Side> {
        if limit.is_zero() {
            return None;
        }
        [Side::Caller, Side::Callee]
            .into_iter()
            .filter_map(|side| Some((self.quiet_since(side)?, side)))
            .filter(|(since, _)| now.since(*since) >= limit)
            .min_by_key(|(since, _)| *since)
            .map(|(_, side)| side)
    }

    /// Since when a side that should send has been silent; `None` if it need not send.
    pub fn quiet_since(&self, side: Side) -> Option<Time> {
        let leg = self.leg(side);
        let expected = leg.expected_since?;
        Some(leg.heard.map_or(expected, |heard| heard.max(expected)))
    }
}

#[cfg(test)]
mod tests;
