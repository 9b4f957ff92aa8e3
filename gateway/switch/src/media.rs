//! The ports and the bridge of a call: taken when the first peer is asked, kept for the next one, given back at the end.

use crate::bridge::{Bridge, Side as Leg};
use crate::call::{Call, CallMedia};
use crate::door::QUIET;
use crate::keys::Dtmf;
use crate::mail::Mail;
use crate::ports::Pair;
use crate::security::LegSecurity;
use crate::session::{self, LegSession, Origin};
use crate::shard::Shard;
use crate::status::Refusal;
use crate::streams::Allowed;
use link::{AlarmKind, Side};
use sansio::{Key, Outbox, Time};
use sip::Flow;

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
        let (listener, flow) = (call.listener, call.flow);
        if let Some(media) = call.media.as_mut()
            && media.pairs[1].pool() == self.pool_of[towards]
        {
            // What the peer tried before said of its media is void.
            media.bridge.forget_remote(now, Leg::Callee);
            media.streams.iter_mut().for_each(|stream| stream.forget_remote(now, Side::Callee));
            return Ok(());
        }
        self.release_media(now, key);
        let Some(pairs) = self.take_pairs(now, [listener, towards], out) else {
            self.stats.calls_ports_refused += 1;
            self.tell_ports(now, [listener, towards], out);
            return Err(Refusal::ports());
        };
        for (pair, side) in pairs.iter().zip([Side::Caller, Side::Callee]) {
            self.hold_pair(pair.id, Some((key, side, 0)));
        }
        // The callee's protection is set when it is asked.
        let (dtmf, allowed) = (self.dtmf_of(now, &flow), self.allowed_of(now, &flow));
        let securities = [self.security_of(now, &flow), LegSecurity::off(self.secrets.fork())];
        let reporting = self.reporting_of(now, &flow);
        let mut sessions = [listener, towards].into_iter().zip(securities).map(|(at, security)| {
            LegSession::new(self.random.u64() >> 16, self.places[at].media.advertised, security)
        });
        let (Some(mut caller), Some(callee)) = (sessions.next(), sessions.next()) else {
            return Err(Refusal::internal("call is gone"));
        };
        caller.dtmf = dtmf;
        caller.reporting = reporting;
        caller.allowed = allowed;
        let sessions = [caller, callee];
        let bridge = Bridge::new(pairs[0], pairs[1]);
        let pairs = pairs.map(|pair| pair.id);
        let (streams, translating) = (Vec::new(), None);
        let mut media = CallMedia { bridge, pairs, sessions, streams, translates: false, translating };
        let origin = self.calls.get(key).map(|call| self.origin_of(call, Side::Caller));
        if let (Some(call), Some(origin)) = (self.calls.get_mut(key), origin) {
            if let Some(offer) = &call.offer {
                session::apply(now, &mut media, Side::Caller, offer, origin);
            }
            call.media = Some(media);
        }
        Ok(())
    }

    /// Whether the ports a call has serve a callee reached from listener `towards` as well.
    pub(crate) fn keeps_media(&self, key: Key, towards: usize) -> bool {
        let media = self.calls.get(key).and_then(|call| call.media.as_ref());
        media.is_some_and(|media| media.pairs[1].pool() == self.pool_of[towards])
    }

    /// Whether a call could find too few ports on an address now, and more in a moment.
    pub(crate) fn ports_opening(&self) -> bool {
        self.pools.iter().any(|pool| pool.ready() < 2 && pool.is_filling())
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
        self.pools[self.pool_of[listener]].take(now, out)
    }

    /// Says that a call found no RTP ports, and what they are all doing.
    fn tell_ports(&mut self, now: Time, listeners: [usize; 2], out: &mut Outbox<Mail>) {
        if self.ports_told.is_some_and(|told| now.since(told) < QUIET) {
            return;
        }
        self.ports_told = Some(now);
        let pools = listeners.map(|listener| &self.pools[self.pool_of[listener]]);
        let Some(pool) = pools.into_iter().min_by_key(|pool| pool.ready()) else { return };
        let census = pool.census();
        let cure = if pool.is_out_of_files() {
            "the process is at its limit of open files (LimitNOFILE)"
        } else if census.failed > census.in_use {
            "another process has them, or the address is not this host's: give media.rtp_ports a range of its own"
        } else {
            "a wider media.rtp_ports takes more calls"
        };
        let what = format!(
            "no RTP ports free on {}: of {} pairs {} are in calls, {} at rest after one, {} cannot be opened; {cure}",
            pool.address(),
            pool.pairs(),
            census.in_use,
            census.resting,
            census.failed
        );
        self.tell_alarm(now, AlarmKind::Ports, what, out);
    }

    /// From where a side's media is to come, as far as its signalling tells.
    pub(crate) fn origin_of(&self, call: &Call, side: Side) -> Origin {
        let (leg, remote) = match side {
            Side::Caller => (call.leg(side), call.flow.remote),
            _ => (call.callee, call.draft.peer.unwrap_or(call.flow.remote)),
        };
        let facts = leg.and_then(|leg| self.endpoint.leg(leg));
        let behind_nat = facts.as_ref().is_some_and(|facts| facts.behind_nat);
        // A peer behind a NAT may have moved since the call began; a leg that was put through has its own.
        let moved = behind_nat || call.transferring.moved;
        let signalling = facts.filter(|_| moved).map_or(remote, |facts| facts.flow.remote).ip();
        Origin { signalling, behind_nat, latch: self.config.latch }
    }

    /// How media is protected on the leg of who is behind a flow: by the profile of his trunk, or as that of phones. Between
    /// shards it does not leave the host.
    pub(crate) fn security_of(&mut self, now: Time, flow: &Flow) -> LegSecurity {
        let secrets = self.secrets.fork();
        if self.is_tied(flow) {
            return LegSecurity::off(secrets);
        }
        let trunk = self.trunk_behind(now, flow);
        let own = trunk.as_ref().and_then(|trunk| trunk.config.profile.security.as_ref());
        let print = self.config.dtls.as_deref().map(rtp::dtls::Ends::fingerprint);
        LegSecurity::new(own.unwrap_or(&self.config.security), flow.transport, print, secrets)
    }

    /// How who is behind a flow says keys: by the profile of his trunk, or as phones do.
    pub(crate) fn dtmf_of(&self, now: Time, flow: &Flow) -> Dtmf {
        if self.is_tied(flow) {
            return Dtmf::Pass;
        }
        let trunk = self.trunk_behind(now, flow);
        trunk.and_then(|trunk| trunk.config.profile.dtmf).unwrap_or(self.config.dtmf)
    }

    /// Which streams beside speech pass from and to who is behind a flow, if his trunk's profile says so.
    pub(crate) fn allowed_of(&self, now: Time, flow: &Flow) -> Allowed {
        let trunk = self.trunk_behind(now, flow).filter(|_| !self.is_tied(flow));
        trunk.map_or_else(Allowed::default, |trunk| trunk.config.profile.allowed)
    }

    /// Gives a call's ports back.
    pub(crate) fn release_media(&mut self, now: Time, key: Key) {
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.take()) else { return };
        self.release_pairs(now, &media);
    }

    pub(crate) fn release_pairs(&mut self, now: Time, media: &CallMedia) {
        self.media_stats.add_bridge(&media.bridge);
        self.release_streams(now, &media.streams);
        for pair in media.pairs {
            self.forget_link(pair);
        }
        for pair in media.pairs {
            self.hold_pair(pair, None);
            if let Some(pool) = self.pools.get_mut(pair.pool()) {
                pool.release(now, pair);
            }
        }
    }
}
