//! What was heard on a leg, for records and figures: plain numbers, `None` where nothing was measured.

use crate::bridge::{Bridge, Side};
use crate::leg_link::LinkAccount;
use crate::leg_media::LegMedia;
use crate::leg_quality::Course;
use crate::ports::PortStats;
use crate::streams::Stream;
use core::net::SocketAddr;
use core::time::Duration;
use rtp::Snapshot;
use rtp::quality::{Measured, Score};
use rtp::rtcp::VoipMetrics;
use sansio::Time;

/// Delay that the gateway cannot see, taken into R: one packet of 20 ms and a playout buffer of two.
const TERMINAL_DELAY: Duration = Duration::from_millis(60);

/// One direction of a leg's RTP.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamQuality {
    /// RTP packets, duplicates included.
    pub packets: u64,
    /// Payload octets.
    pub octets: u64,
    /// Packets expected and not received.
    pub lost: u64,
    /// The same in percent of those expected; `None` before any was expected.
    pub loss_percent: Option<f64>,
    /// Interarrival jitter in ms (RFC 3550 §6.4.1), mean over the call.
    pub jitter_ms: Option<f64>,
    /// Its maximum.
    pub jitter_max_ms: Option<f64>,
    /// Packets out of order.
    pub out_of_order: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Longest time between two packets, in ms; `None` before two came.
    pub longest_gap_ms: Option<f64>,
    /// Times that no packet came for 200 ms or more.
    pub gaps: u32,
    /// BurstR of ITU-T G.107.
    pub burst_ratio: Option<f64>,
    /// R factor of ITU-T G.107 with the delay known; `None` until something was measured.
    pub r: Option<f64>,
    /// Mean opinion score from R: conversational quality.
    pub mos: Option<f64>,
    /// The same as if there were no delay: listening quality.
    pub mos_lq: Option<f64>,
    /// Second by second.
    pub course: Course,
}

/// What is known of one leg's media.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LegQuality {
    /// What came from the peer, measured by the gateway.
    pub received: StreamQuality,
    /// What went to the peer; loss and jitter as its receiver reports say, if it sent any.
    pub sent: StreamQuality,
    /// Where its RTP came from, else where SDP said it would.
    pub remote: Option<SocketAddr>,
    /// Packets dropped since they came from somebody else, RTP and RTCP.
    pub strangers: u64,
    /// Packets dropped since its SDP had not come yet.
    pub early: u64,
    /// Packets dropped since it sent too many.
    pub flooded: u64,
    /// Times the source of its RTP moved.
    pub relatched: u32,
    /// Datagrams that were neither RTP nor RTCP.
    pub malformed: u64,
    /// Packets not passed on because of hold.
    pub withheld: u64,
    /// Packets of payload types not agreed upon.
    pub unexpected_types: u64,
    /// Times its SSRC changed.
    pub ssrc_changes: u32,
    /// Round trip between gateway and peer by RTCP, last measured, in ms.
    pub round_trip_ms: Option<f64>,
    /// Packets of its peer's that could not be translated for the other side.
    pub untranslated: u64,
    /// Packets for its peer that were not sent: no buffer was free, or they could not be sealed.
    pub unsent: u64,
    /// RTCP compound packets from the peer, passed on to it, and of our own to it.
    pub rtcp: (u64, u64, u64),
    /// How the peer says that it receives (RFC 3611 §4.7).
    pub told: Option<VoipMetrics>,
    /// Packets refused since they were not authentic under the leg's SRTP key.
    pub forged: u64,
    /// Packets refused since they had come before under that key.
    pub replayed: u64,
    /// When the first packet came.
    pub first: Option<Time>,
    /// When the last packet came.
    pub last: Option<Time>,
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

impl LegQuality {
    /// What is known of a side's leg.
    pub fn of(bridge: &Bridge, side: Side) -> Self {
        let (leg, across) = (bridge.leg(side), bridge.leg(side.other()));
        let snapshot = leg.receiver.snapshot();
        let delay = delay(leg, across);
        Self {
            received: received(leg, &snapshot, delay),
            sent: sent(leg, across, delay),
            remote: leg.latch.target(),
            strangers: leg.latch.strangers() + leg.rtcp_strangers,
            early: leg.latch.early(),
            flooded: leg.flooded,
            relatched: leg.latch.relatched(),
            malformed: leg.malformed + leg.rtcp.malformed,
            withheld: leg.withheld,
            unexpected_types: leg.unexpected_types,
            ssrc_changes: snapshot.ssrc_changes,
            round_trip_ms: leg.rtcp.round_trip.map(millis),
            untranslated: leg.untranslated,
            unsent: leg.unsent,
            rtcp: (leg.rtcp.packets, leg.rtcp.relayed, leg.own_rtcp().0),
            told: leg.reports.metrics,
            forged: leg.crypto_account().forged,
            replayed: leg.crypto_account().replayed,
            first: snapshot.first,
            last: snapshot.last,
        }
    }
}

/// Mouth to ear, one way: half of what RTCP measured on either leg (nothing where it measured nothing), and the
/// terminals'.
pub(crate) fn delay(leg: &LegMedia, across: &LegMedia) -> Duration {
    let half = |leg: &LegMedia| leg.rtcp.round_trip.unwrap_or_default() / 2;
    half(leg) + half(across) + TERMINAL_DELAY
}

/// R, and what it means for a conversation and for a listener.
fn score(
    leg: &LegMedia,
    loss: f64,
    burst_ratio: f64,
    delay: Duration,
) -> (Option<f64>, Option<f64>, Option<f64>) {
    let score = |delay| leg.codec.map(|codec| Score::of(codec, Measured { loss, burst_ratio, delay }));
    let (here, listening) = (score(delay), score(Duration::ZERO));
    (here.map(|score| score.r), here.map(|score| score.mos), listening.map(|score| score.mos))
}

fn received(leg: &LegMedia, snapshot: &Snapshot, delay: Duration) -> StreamQuality {
    let loss = snapshot.loss();
    let (r, mos, mos_lq) =
        loss.map_or((None, None, None), |loss| score(leg, loss, snapshot.burst_ratio, delay));
    StreamQuality {
        packets: snapshot.packets,
        octets: snapshot.octets,
        lost: snapshot.lost,
        loss_percent: loss.map(|loss| loss * 100.0),
        jitter_ms: snapshot.jitter_mean.map(millis),
        jitter_max_ms: snapshot.jitter_max.map(millis),
        out_of_order: snapshot.out_of_order,
        duplicates: snapshot.duplicates,
        longest_gap_ms: (snapshot.packets > 1).then(|| millis(snapshot.longest_gap)),
        gaps: snapshot.gaps,
        burst_ratio: loss.map(|_| snapshot.burst_ratio),
        r,
        mos,
        mos_lq,
        course: leg.judged.received,
    }
}

/// What the peer's reports say of the stream relayed to it: its whole path, from the other peer through us.
fn sent(leg: &LegMedia, across: &LegMedia, delay: Duration) -> StreamQuality {
    let mut stream = StreamQuality {
        packets: leg.sent_packets,
        octets: leg.sent_octets,
        course: leg.judged.sent,
        ..StreamQuality::default()
    };
    let Some(block) = leg.rtcp.reported else { return stream };
    stream.lost = u64::try_from(block.lost).unwrap_or(0);
    let expected = stream.lost + leg.sent_packets;
    if expected > 0 {
        let loss = stream.lost as f64 / expected as f64;
        stream.loss_percent = Some(loss * 100.0);
        (stream.r, stream.mos, stream.mos_lq) = score(leg, loss, 1.0, delay);
    }
    stream.jitter_ms = Some(f64::from(block.jitter) * 1000.0 / f64::from(across.receiver.clock()));
    stream
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Media counters of a shard, added up over bridges and pools of ports.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct MediaStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl MediaStats {
            /// Calls `visitor` with name, meaning and value of each counter.
            pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &'static str, u64)) {
                $(visitor(stringify!($name), concat!($($doc),+).trim_ascii(), self.$name);)+
            }
        }
    };
}

counters! {
    /// RTP packets received from peers.
    rtp_received,
    /// RTP packets passed on to peers.
    rtp_sent,
    /// RTP payload octets received from peers.
    rtp_received_octets,
    /// RTP payload octets passed on to peers.
    rtp_sent_octets,
    /// RTP packets that should have come and did not.
    rtp_lost,
    /// RTP packets that came after a later one.
    rtp_out_of_order,
    /// RTP packets that came more than once.
    rtp_duplicates,
    /// RTP and RTCP packets dropped because their source was not the peer.
    media_strangers,
    /// RTP packets dropped because the peer's SDP had not come yet.
    media_early,
    /// RTP and RTCP packets dropped because the peer sent more than the limit per second.
    media_flooded,
    /// Times that the source of a peer's RTP moved.
    media_relatched,
    /// Datagrams on media ports that were neither RTP nor RTCP.
    media_malformed,
    /// RTP packets not passed on because of hold.
    rtp_withheld,
    /// RTP packets of payload types not agreed upon.
    rtp_unexpected_types,
    /// RTP packets translated from one codec to another.
    rtp_translated,
    /// RTP packets that could not be translated: late, doubled, or of a codec that the other side has no counterpart for.
    rtp_untranslated,
    /// RTP packets of noise sent to codecs that cannot say silence, while nothing came.
    rtp_filled,
    /// Keys (DTMF) that came as telephone events and were translated.
    keys_from_events,
    /// Keys that came in INFO and were translated.
    keys_from_info,
    /// Keys that came as tones and were translated.
    keys_from_tones,
    /// Keys said as telephone events by the gateway.
    keys_to_events,
    /// Keys said in INFO by the gateway.
    keys_to_info,
    /// Keys said as tones by the gateway.
    keys_to_tones,
    /// Keys not said: too many waited, the other side has no word for them, or is on hold.
    keys_dropped,
    /// RTP packets in whose place a key was said, or whose tone was hidden.
    keys_covered,
    /// UDPTL datagrams (T.38) received from peers.
    udptl_received,
    /// UDPTL datagrams passed on to peers.
    udptl_sent,
    /// RTCP compound packets received from peers.
    rtcp_received,
    /// RTCP compound packets passed on to peers.
    rtcp_sent,
    /// RTCP compound packets of the gateway's own sent to peers.
    rtcp_own_sent,
    /// Times that the gateway took another SSRC for its reports since a peer had the same.
    rtcp_collisions,
    /// RTP packets not sent since no buffer was free or they could not be sealed.
    rtp_unsent,
    /// Seconds of audio from peers for which R was calculated.
    quality_seconds,
    /// Those of them whose MOS was below 3.6.
    quality_seconds_poor,
    /// SRTP and SRTCP packets refused since they were not authentic: in the clear, under another key, or changed.
    srtp_forged,
    /// SRTP and SRTCP packets refused since they had come before.
    srtp_replayed,
    /// Packets not taken or not sent since an SRTP key had served too many packets or sources.
    srtp_exhausted,
    /// RTP packets not sent to a protected leg since their index had been used: doubled, or of a stream that began anew.
    srtp_unsealed,
    /// RTP and RTCP packets dropped since no authentic ICE check had come from their source.
    ice_unchecked,
    /// ICE checks answered with success.
    ice_checks,
    /// ICE checks refused since they did not show the password (400, 401).
    ice_unauthentic,
    /// ICE checks refused since their sender thought itself controlled (487).
    ice_role_conflicts,
    /// ICE checks not answered: no check, without a right fingerprint, said again from elsewhere, or of too many sources; or refused (420).
    ice_ignored,
    /// Times that a peer stopped renewing its consent (RFC 7675): nothing was sent to it any more.
    ice_consent_lapsed,
    /// STUN and DTLS on media ports not taken: from an unknown source, or on a leg that agreed on neither.
    link_unwanted,
    /// RTP and RTCP packets dropped since DTLS had not come to keys yet.
    dtls_unkeyed,
    /// DTLS handshakes begun.
    dtls_begun,
    /// DTLS handshakes that came to keys.
    dtls_keyed,
    /// DTLS handshakes that failed.
    dtls_failed,
    /// DTLS handshakes that failed since another certificate was shown than signalling said.
    dtls_mismatched,
    /// Microseconds of processor time spent in DTLS.
    dtls_busy_us,
    /// Pairs of ports lent to calls.
    rtp_pairs_taken,
    /// Calls for which no pair of ports was free.
    rtp_pairs_exhausted,
    /// Pairs of ports lent before they had rested in full, since no other was left.
    rtp_pairs_hurried,
    /// Pairs of ports opened.
    rtp_pairs_opened,
    /// Pairs of ports not opened because somebody else has them.
    rtp_pairs_in_use_elsewhere,
    /// Pairs of ports not opened because the process has no file descriptors left.
    rtp_pairs_no_files,
    /// Pairs of ports not opened for another reason: address or permission.
    rtp_pairs_refused,
    /// Pairs of ports given back twice.
    rtp_pairs_misreturned,
}

impl MediaStats {
    /// Adds both legs of a bridge.
    pub fn add_bridge(&mut self, bridge: &Bridge) {
        for side in [Side::Caller, Side::Callee] {
            let leg = bridge.leg(side);
            let counts = leg.receiver.counts();
            self.rtp_received += counts.packets;
            self.rtp_received_octets += counts.octets;
            self.rtp_lost += counts.lost;
            self.rtp_out_of_order += counts.out_of_order;
            self.rtp_duplicates += counts.duplicates;
            self.rtp_sent += leg.sent_packets;
            self.rtp_sent_octets += leg.sent_octets;
            self.media_strangers += leg.latch.strangers() + leg.rtcp_strangers;
            self.media_early += leg.latch.early();
            self.media_flooded += leg.flooded;
            self.media_relatched += u64::from(leg.latch.relatched());
            self.media_malformed += leg.malformed + leg.rtcp.malformed;
            self.rtp_withheld += leg.withheld;
            self.rtp_unexpected_types += leg.unexpected_types;
            self.rtp_translated += leg.translated;
            self.rtp_untranslated += leg.untranslated;
            self.rtp_filled += leg.filled;
            let keys = leg.keys_account();
            self.keys_from_events += keys.from_events;
            self.keys_from_info += keys.from_info;
            self.keys_from_tones += keys.from_tones;
            self.keys_to_events += keys.to_events;
            self.keys_to_info += keys.to_info;
            self.keys_to_tones += keys.to_tones;
            self.keys_dropped += keys.dropped;
            self.keys_covered += keys.covered;
            let crypto = leg.crypto_account();
            self.srtp_forged += crypto.forged;
            self.srtp_replayed += crypto.replayed;
            self.srtp_exhausted += crypto.exhausted;
            self.srtp_unsealed += crypto.unsealed;
            self.rtcp_received += leg.rtcp.packets;
            self.rtcp_sent += leg.rtcp.relayed;
            let (own, collisions) = leg.own_rtcp();
            self.rtcp_own_sent += own;
            self.rtcp_collisions += collisions;
            self.rtp_unsent += leg.unsent;
            self.quality_seconds += u64::from(leg.judged.received.seconds);
            self.quality_seconds_poor += u64::from(leg.judged.received.poor);
            self.add_link(&leg.link_account());
        }
    }

    /// Adds a stream beside speech.
    pub(crate) fn add_stream(&mut self, stream: &Stream) {
        self.add_bridge(&stream.bridge);
        self.udptl_received += stream.fax.received;
        self.udptl_sent += stream.fax.sent;
        self.media_strangers += stream.fax.strangers;
    }

    const fn add_link(&mut self, link: &LinkAccount) {
        let ice = &link.ice;
        self.ice_unchecked += link.unchecked;
        self.ice_checks += ice.checks;
        self.ice_unauthentic += ice.unauthentic;
        self.ice_role_conflicts += ice.conflicts;
        self.ice_ignored += ice.ignored + ice.replayed + ice.crowded + ice.unknown;
        self.ice_consent_lapsed += ice.lapses;
        self.link_unwanted += link.unwanted;
        self.dtls_unkeyed += link.unkeyed;
        self.dtls_begun += link.begun;
        self.dtls_keyed += link.keyed;
        self.dtls_failed += link.failed;
        self.dtls_mismatched += link.mismatched;
        self.dtls_busy_us += link.spent_us;
    }

    /// Adds a pool's counters.
    pub const fn add_ports(&mut self, ports: &PortStats) {
        self.rtp_pairs_taken += ports.taken;
        self.rtp_pairs_exhausted += ports.exhausted;
        self.rtp_pairs_hurried += ports.hurried;
        self.rtp_pairs_opened += ports.opened;
        self.rtp_pairs_in_use_elsewhere += ports.in_use_elsewhere;
        self.rtp_pairs_no_files += ports.no_files;
        self.rtp_pairs_refused += ports.refused;
        self.rtp_pairs_misreturned += ports.misreturned;
    }
}
