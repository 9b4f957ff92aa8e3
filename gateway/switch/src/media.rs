//! The ports and the bridge of a call: taken when the first peer is asked, kept for the next one, given back at the end.

use crate::bridge::{Bridge, Side as Leg};
use crate::call::{Call, CallMedia};
use crate::config::media_address;
use crate::mail::Mail;
use crate::ports::Pair;
use crate::session::{self, LegSession, Origin};
use crate::shard::Shard;
use crate::status::Refusal;
use link::Side;
use sansio::{Key, Outbox, Time};

impl Shard {
    /// Sees to it that the call has ports: the caller's on the address it called, the callee's on that of listener `towards`.
    pub(crate) fn ensure_media(
        &mut self,
        now: Time,
        key: Key,
        towards: usize,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Refusal> {
        let Some(call) = self.calls.get_mut(key) else { return Err(Refusal::internal("call is gone")) };
        let listener = call.listener;
        if let Some(media) = call.media.as_mut()
            && self.pools[media.pairs[1].pool()].address() == self.listeners[towards].local.ip()
        {
            // What the peer tried before said of its media is void.
            media.bridge.forget_remote(now, Leg::Callee);
            return Ok(());
        }
        self.release_media(now, key);
        let pairs = self.take_pairs(now, [listener, towards], out).ok_or_else(|| {
            self.stats.calls_ports_refused += 1;
            Refusal::ports()
        })?;
        for (pair, side) in pairs.iter().zip([Side::Caller, Side::Callee]) {
            self.hold_pair(pair.id, Some((key, side)));
        }
        let sessions = [listener, towards]
            .map(|at| LegSession::new(self.random.u64() >> 16, media_address(&self.listeners[at])));
        let bridge = Bridge::new(pairs[0], pairs[1]);
        let mut media = CallMedia { bridge, pairs: pairs.map(|pair| pair.id), sessions };
        if let Some(call) = self.calls.get_mut(key) {
            if let Some(offer) = &call.offer {
                let origin = Origin { signalling: call.flow.remote.ip(), latch: self.config.latch };
                session::apply(now, &mut media, Side::Caller, offer, origin);
            }
            call.media = Some(media);
        }
        Ok(())
    }

    /// Whether the ports a call has serve a callee reached from listener `towards` as well.
    pub(crate) fn keeps_media(&self, key: Key, towards: usize) -> bool {
        self.calls.get(key).and_then(|call| call.media.as_ref()).is_some_and(|media| {
            self.pools[media.pairs[1].pool()].address() == self.listeners[towards].local.ip()
        })
    }

    /// Whether a call of a listener would find too few ports now, and more in a moment.
    pub(crate) fn ports_opening(&self, listener: usize) -> bool {
        let address = self.listeners[listener].local.ip();
        let pool = self.pools.iter().find(|pool| pool.address() == address);
        pool.is_some_and(|pool| pool.ready() < 2 && pool.is_filling())
    }

    fn take_pairs(&mut self, now: Time, listeners: [usize; 2], out: &mut Outbox<Mail>) -> Option<[Pair; 2]> {
        let caller = self.take_pair(now, listeners[0], out)?;
        let Some(callee) = self.take_pair(now, listeners[1], out) else {
            self.pools[caller.id.pool()].release(now, caller.id);
            return None;
        };
        Some([caller, callee])
    }

    fn take_pair(&mut self, now: Time, listener: usize, out: &mut Outbox<Mail>) -> Option<Pair> {
        let address = self.listeners[listener].local.ip();
        self.pools.iter_mut().find(|pool| pool.address() == address)?.take(now, out)
    }

    /// From where a side's media is to come, as far as its signalling tells.
    pub(crate) fn origin_of(&self, call: &Call, side: Side) -> Origin {
        let at = call.leg(side).filter(|_| call.transferring.moved).and_then(|leg| self.endpoint.leg(leg));
        if let Some(facts) = at {
            return Origin { signalling: facts.flow.remote.ip(), latch: self.config.latch };
        }
        let signalling = match side {
            Side::Caller => call.flow.remote.ip(),
            _ => call.draft.peer.map_or_else(|| call.flow.remote.ip(), |peer| peer.ip()),
        };
        Origin { signalling, latch: self.config.latch }
    }

    /// Gives a call's ports back.
    pub(crate) fn release_media(&mut self, now: Time, key: Key) {
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.take()) else { return };
        self.release_pairs(now, &media);
    }

    pub(crate) fn release_pairs(&mut self, now: Time, media: &CallMedia) {
        self.media_stats.add_bridge(&media.bridge);
        for pair in media.pairs {
            self.hold_pair(pair, None);
            if let Some(pool) = self.pools.get_mut(pair.pool()) {
                pool.release(now, pair);
            }
        }
    }
}
