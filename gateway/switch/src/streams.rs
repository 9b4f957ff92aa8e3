//! Streams of a call beside its speech: video over RTP, and fax over UDPTL (T.38), relayed each over ports of its own.
//!
//! What is said of them goes through with the gateway's addresses and ports (RFC 3264 §6 keeps their number and order); what is not relayed is
//! refused with port 0. UDPTL has no source that could be told from another but by its address: it is taken from where SDP says, behind a
//! NAT from whoever sends first from that address.

use crate::bridge::{Bridge, Side as Leg};
use crate::call::{Call, CallMedia, across, at};
use crate::leg_media::{Direction, Format, Remote};
use crate::mail::Mail;
use crate::ports::PairId;
use crate::session::Origin;
use crate::shard::Shard;
use core::net::SocketAddr;
use link::Side;
use rtp::Policy;
use sansio::{Datagram, Key, Outbox, Time};
use sip::sdp::{Media, Session};

/// Most streams of a call beside its speech.
const STREAMS_MAX: usize = 3;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Video over RTP in the clear.
    Video,
    /// T.38 over UDPTL.
    Fax,
}

impl Kind {
    /// What a stream is, if it is one that can be relayed.
    pub(crate) fn of(media: &Media<'_>) -> Option<Self> {
        let (is, over) = (|name: &[u8]| media.kind.eq_ignore_ascii_case(name), media.protocol);
        if is(b"image") && over.eq_ignore_ascii_case(b"udptl") {
            return Some(Self::Fax);
        }
        let in_the_clear = [&b"RTP/AVP"[..], b"RTP/AVPF"].iter().any(|name| over.eq_ignore_ascii_case(name));
        (is(b"video") && in_the_clear).then_some(Self::Video)
    }
}

/// Which streams a side's profile lets pass; none: as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Video.
    pub video: Option<bool>,
    /// T.38.
    pub t38: Option<bool>,
}

impl Allowed {
    const fn says(&self, kind: Kind) -> Option<bool> {
        match kind {
            Kind::Video => self.video,
            Kind::Fax => self.t38,
        }
    }
}

/// A stream as a description has it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    index: usize,
    kind: Kind,
    rtp: SocketAddr,
    rtcp: Option<SocketAddr>,
    direction: Direction,
    formats: Vec<Format>,
}

impl Said {
    /// The streams of a description that can be relayed.
    pub(crate) fn all(session: &Session<'_>) -> Vec<Self> {
        let streams = session.media.iter().enumerate().filter_map(|(index, media)| {
            let rtp = media.rtp_address()?;
            let unspecified = media.connection.is_some_and(|connection| connection.is_unspecified());
            let format = |codec: sip::sdp::Codec<'_>| Format {
                payload_type: codec.payload,
                clock: codec.clock.max(1),
                codec: None,
            };
            Some(Self {
                index,
                kind: Kind::of(media)?,
                rtp,
                // Multiplexing is never agreed to.
                rtcp: match media.rtcp {
                    Some(_) => media.rtcp_address(),
                    None => rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port)),
                },
                direction: Direction {
                    sends: media.direction.sends(),
                    receives: media.direction.receives() && !unspecified,
                },
                formats: media.codecs().map(format).collect(),
            })
        });
        streams.collect()
    }

    fn remote(&self, origin: Origin) -> Remote {
        let nowhere = self.rtp.ip().is_unspecified();
        let (rtp, policy) = origin.latch.resolve(self.rtp, origin.signalling, origin.behind_nat && !nowhere);
        let moved = rtp.ip() != self.rtp.ip();
        let types = self.formats.iter().fold(0, |types, format| types | 1 << (format.payload_type & 127));
        Remote {
            rtp: Some(rtp),
            rtcp: self.rtcp.map(|it| if moved { SocketAddr::new(rtp.ip(), it.port()) } else { it }),
            policy,
            direction: self.direction,
            payload_types: types,
            formats: self.formats.clone(),
            event_type: None,
        }
    }
}

/// UDPTL datagrams of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaxAccount {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) strangers: u64,
}

/// A stream that is relayed.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Which `m=` line it is.
    pub(crate) index: usize,
    pub(crate) kind: Kind,
    pub(crate) bridge: Bridge,
    pub(crate) pairs: [PairId; 2],
    /// Whether it passes to whom the call is now tried.
    open: bool,
    /// Where each side's UDPTL comes from, once it was heard.
    sources: [Option<SocketAddr>; 2],
    pub(crate) fax: FaxAccount,
}

impl Stream {
    /// What a side described, or that it described nothing.
    fn set_remote(&mut self, now: Time, side: Side, said: Option<&Said>, origin: Origin) {
        match said {
            Some(said) => self.bridge.set_remote(now, side.into(), &said.remote(origin)),
            None => self.bridge.silence(now, side.into()),
        }
        self.sources[at(side)] = None;
    }

    /// What a side's peer said is void.
    pub(crate) fn forget_remote(&mut self, now: Time, side: Side) {
        self.bridge.forget_remote(now, side.into());
        self.sources[at(side)] = None;
    }

    /// Takes a datagram that came on a port of `side`.
    fn relay(&mut self, side: Side, rtcp: bool, datagram: &Datagram<'_>, out: &mut Outbox<Mail>) {
        let Datagram { received, source, payload, .. } = *datagram;
        match self.kind {
            Kind::Video => self.bridge.relay(side.into(), rtcp, received, source, payload, out),
            Kind::Fax if rtcp => self.fax.strangers += 1,
            Kind::Fax => self.relay_udptl(side, received, source, payload, out),
        }
    }

    fn relay_udptl(
        &mut self,
        side: Side,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<Mail>,
    ) {
        let sources = &mut self.sources;
        let (from, to) = self.bridge.legs(side.into());
        let expected = from.latch.expected();
        let is_peer = match sources[at(side)] {
            Some(known) => known == source,
            None => {
                let same_host = expected.is_some_and(|it| it.ip() == source.ip());
                expected == Some(source)
                    || match from.latch.policy() {
                        Policy::Strict => false,
                        Policy::SameIp => same_host,
                        Policy::Also(ip) => same_host || ip == source.ip(),
                        Policy::Any => expected.is_some(),
                    }
            }
        };
        if !is_peer {
            self.fax.strangers += 1;
            return;
        }
        sources[at(side)] = Some(source);
        if !from.within_rate(received) {
            return;
        }
        self.fax.received += 1;
        from.heard = Some(received);
        let target = sources[at(across(side))].or_else(|| to.latch.expected());
        let Some(target) = target.filter(|_| from.direction.sends && to.direction.receives) else { return };
        let waiting = out.sends_waiting();
        out.send(to.rtp_socket, target, payload);
        // Unless no buffer was free, which the outbox counts.
        self.fax.sent += u64::from(out.sends_waiting() > waiting);
    }
}

/// The streams beside speech are where and what `side` described.
pub(crate) fn apply(now: Time, media: &mut CallMedia, side: Side, said: &[Said], origin: Origin) {
    for stream in &mut media.streams {
        let it = said.iter().find(|it| it.index == stream.index && it.kind == stream.kind);
        stream.set_remote(now, side, it, origin);
    }
}

/// Puts the ports of the streams beside speech that `towards` is told of into their places.
pub(crate) fn place(session: &Session<'_>, media: &CallMedia, towards: Side, ports: &mut [u16]) {
    for stream in media.streams.iter().filter(|stream| stream.open) {
        let is_it = session.media.get(stream.index).and_then(Kind::of) == Some(stream.kind);
        if let Some(port) = ports.get_mut(stream.index).filter(|_| is_it) {
            *port = stream.bridge.leg(Leg::from(towards)).pair().rtp_port;
        }
    }
}

impl Shard {
    /// Sees to it that the streams beside speech that a description offers have ports, as far as they pass.
    pub(crate) fn ensure_streams(&mut self, now: Time, key: Key, body: &[u8], out: &mut Outbox<Mail>) {
        let Ok(session) = Session::parse(body) else { return };
        for (index, line) in session.media.iter().enumerate().filter(|(_, line)| line.port != 0) {
            let Some(kind) = Kind::of(line) else { continue };
            let Some(call) = self.calls.get_mut(key) else { return };
            let open = passes(call, kind, (self.config.video, self.config.t38));
            let Some(media) = call.media.as_mut() else { return };
            if let Some(stream) = media.streams.iter_mut().find(|stream| stream.index == index) {
                (stream.kind, stream.open) = (kind, open);
                continue;
            }
            if !open {
                continue;
            }
            let (number, pools) = (media.streams.len(), media.pairs.map(PairId::pool));
            if number >= STREAMS_MAX || !self.add_stream(now, key, (index, kind), pools, out) {
                self.stats.streams_refused += 1;
            }
        }
    }

    fn add_stream(
        &mut self,
        now: Time,
        key: Key,
        (index, kind): (usize, Kind),
        pools: [usize; 2],
        out: &mut Outbox<Mail>,
    ) -> bool {
        let Some(caller) = self.pools.get_mut(pools[0]).and_then(|pool| pool.take(now, out)) else {
            return false;
        };
        let Some(callee) = self.pools.get_mut(pools[1]).and_then(|pool| pool.take(now, out)) else {
            self.pools[pools[0]].release(now, caller.id);
            return false;
        };
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return false };
        let (bridge, pairs) = (Bridge::new(caller, callee), [caller.id, callee.id]);
        let number = media.streams.len() + 1;
        let (sources, fax) = ([None; 2], FaxAccount::default());
        media.streams.push(Stream { index, kind, bridge, pairs, open: true, sources, fax });
        self.stats.streams_added += 1;
        for (pair, side) in pairs.into_iter().zip([Side::Caller, Side::Callee]) {
            self.hold_pair(pair, Some((key, side, number as u8))); // a few at most
        }
        true
    }

    /// Takes a datagram of a stream beside speech.
    #[cold]
    pub(crate) fn beside_speech(
        &mut self,
        (key, side, number): (Key, Side, u8),
        rtcp: bool,
        datagram: &Datagram<'_>,
        out: &mut Outbox<Mail>,
    ) {
        let media = self.calls.get_mut(key).and_then(|call| call.media.as_mut());
        match media.and_then(|media| media.streams.get_mut(usize::from(number).wrapping_sub(1))) {
            Some(stream) => stream.relay(side, rtcp, datagram, out),
            None => self.stats.media_unclaimed += 1,
        }
    }

    /// Gives the ports of a call's streams beside speech back.
    pub(crate) fn release_streams(&mut self, now: Time, streams: &[Stream]) {
        for stream in streams {
            self.media_stats.add_stream(stream);
            for pair in stream.pairs {
                self.hold_pair(pair, None);
                if let Some(pool) = self.pools.get_mut(pair.pool()) {
                    pool.release(now, pair);
                }
            }
        }
    }
}

/// Whether a kind of stream passes in a call: as the trunks of its sides say, all that say anything; else as for all.
fn passes(call: &Call, kind: Kind, (video, t38): (bool, bool)) -> bool {
    let sessions = call.media.iter().flat_map(|media| &media.sessions);
    let said: Vec<bool> = sessions.filter_map(|session| session.allowed.says(kind)).collect();
    match (said.is_empty(), kind) {
        (false, _) => said.into_iter().all(|it| it),
        (true, Kind::Video) => video,
        (true, Kind::Fax) => t38,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &[u8] = b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 8\nm=image 4000 udptl t38\n\
        a=T38FaxVersion:0\na=T38MaxBitRate:14400\nm=video 4002 RTP/AVPF 96\na=rtpmap:96 H264/90000\na=sendonly\n\
        m=video 4004 RTP/SAVPF 96\nm=image 0 udptl t38\nm=image 4006 RTP/AVP 101\n";

    #[test]
    fn what_can_be_relayed_is_known() {
        let session = Session::parse(OFFER).unwrap();
        let said = Said::all(&session);
        let seen: Vec<_> = said.iter().map(|it| (it.index, it.kind, it.rtp.port())).collect();
        assert_eq!(seen, [(1, Kind::Fax, 4000), (2, Kind::Video, 4002)]);
        assert_eq!((said[1].formats.len(), said[1].formats[0].clock), (1, 90_000));
        assert_eq!(said[1].direction, Direction::SEND_ONLY);
        assert_eq!(said[1].rtcp.unwrap().port(), 4003);
    }
}
