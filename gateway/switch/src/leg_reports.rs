//! RTCP of the gateway's own on a leg: what it sends there and what it receives from there (RFC 3550 §6, RFC 3611).
//!
//! Each leg is an RTP session of its own with two members, the peer and the gateway (RFC 7667 §3.2.2, back-to-back sessions). What the gateway
//! sends bears the SSRC of the stream that it sends on the leg, which is the other peer's; while it sends none, one of its own. Where packets go
//! through as they are, so may their RTCP (RFC 3550 §7.2): then the gateway says nothing unless the other peer's RTCP is not heard of.

use crate::bridge::{Bridge, Side};
use crate::leg_media::LegMedia;
use crate::media_stats::LegQuality;
use core::net::SocketAddr;
use core::time::Duration;
use rtp::rtcp::{
    Extended, LastReceived, ReportBlock, SenderInfo, Session, VoipMetrics, Writer, ntp_middle, ntp_short,
};
use rtp::srtp::Secrets;
use rtp::{Header, Receiver};
use sansio::{Outbox, Random, SocketId, Time};

/// What becomes of RTCP on a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcpPolicy {
    /// The other peer's passes as long as packets are relayed as they are; the gateway speaks for itself where they are translated, or where the
    /// other peer's is not heard of. Once it does it goes on.
    #[default]
    Auto,
    /// The gateway speaks for itself.
    Own,
    /// The other peer's passes, and nothing else.
    Pass,
    /// Nothing is sent.
    Off,
}

impl RtcpPolicy {
    /// Its names.
    pub const WORDS: &'static [&'static str] = &["auto", "own", "pass", "off"];

    /// The policy of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "own" => Some(Self::Own),
            "pass" => Some(Self::Pass),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// What is reported on a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reporting {
    /// By whom.
    pub rtcp: RtcpPolicy,
    /// Whether reports of the gateway's own are extended (RFC 3611): VoIP metrics, and the round trip where it only receives.
    pub extended: bool,
}

impl Reporting {
    /// What a leg between two shards has: reports pass.
    pub(crate) const PASSED: Self = Self { rtcp: RtcpPolicy::Pass, extended: false };

    /// The value of `a=rtcp-xr` (RFC 3611 §5.1) that the leg's peer is told: `None`, what the other side says; empty, nothing.
    pub(crate) const fn attribute(self) -> Option<&'static str> {
        match (self.rtcp, self.extended) {
            (RtcpPolicy::Auto | RtcpPolicy::Own, true) => Some("rcvr-rtt=all voip-metrics"),
            (RtcpPolicy::Own | RtcpPolicy::Off, _) => Some(""),
            (RtcpPolicy::Auto | RtcpPolicy::Pass, _) => None,
        }
    }
}

/// Other RTCP passed within this time speaks for the gateway as well: three intervals.
const PASSED_LATELY: Duration = Duration::from_secs(15);
/// The other peer is given as long for its first report, and an interval more: many begin with a whole interval, not with half of it.
const FIRST_AWAITED: Duration = Duration::from_secs(5);
/// Characters of a name: 96 bits (RFC 7022 §4.2).
const CNAME: usize = 16;
/// Octets that a compound packet of ours has at most, with UDP and IP, for the interval's calculation.
const PACKET: f64 = 180.0;
/// A twentieth of what G.711 takes with its headers, in octets per second.
const SHARE: f64 = 500.0;

/// Who we are on a leg as long as no stream lends its SSRC.
#[derive(Clone, Copy, Debug)]
struct Identity {
    ssrc: u32,
    cname: [u8; CNAME],
}

impl Identity {
    fn new(secrets: &mut Secrets) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut ssrc, mut cname) = ([0; 4], [0; CNAME]);
        secrets.fill(&mut ssrc);
        secrets.fill(&mut cname);
        Self { ssrc: u32::from_ne_bytes(ssrc), cname: cname.map(|octet| ALPHABET[usize::from(octet & 63)]) }
    }
}

/// The stream that is sent on a leg.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    ssrc: u32,
    /// What had been sent on the leg before it.
    packets_before: u64,
    octets_before: u64,
    /// The timestamp sent last and when, of what is translated.
    timestamp: u32,
    at: Time,
}

/// Something with a time in it that a source said.
#[derive(Clone, Copy, Debug)]
struct Heard {
    ssrc: u32,
    /// The middle of its NTP timestamp.
    middle: u32,
    at: Time,
}

impl Heard {
    /// As report blocks answer it.
    fn answer(heard: Option<Self>, ssrc: u32, now: Time) -> (u32, Duration) {
        heard
            .filter(|heard| heard.ssrc == ssrc)
            .map_or((0, Duration::ZERO), |it| (it.middle, now.since(it.at)))
    }
}

/// What a leg keeps for its reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    reporting: Reporting,
    identity: Option<Identity>,
    /// When the next report may be due.
    due: Option<Time>,
    /// Whether the gateway speaks for itself.
    speaks: bool,
    /// When RTCP of the other peer was passed on last.
    passed: Option<Time>,
    stream: Stream,
    /// The SSRC under which was reported last.
    told: Option<u32>,
    /// Packets sent at the last report and at the one before.
    sent: [u64; 2],
    /// Packets received at the last report.
    received: u64,
    sender_report: Option<Heard>,
    reference: Option<Heard>,
    /// What the peer told of how it receives.
    pub(crate) metrics: Option<VoipMetrics>,
    /// Compound packets of our own.
    pub(crate) own: u64,
    /// Times that the peer was found to have an SSRC that we have.
    pub(crate) collisions: u64,
}

impl LegMedia {
    /// Counts an RTP packet that went to the peer.
    #[inline]
    pub(crate) fn count_sent(&mut self, header: &Header, octets: usize) {
        if header.ssrc != self.reports.stream.ssrc {
            self.begin_stream(header.ssrc);
        }
        self.sent_packets += 1;
        self.sent_octets += octets as u64;
    }

    /// RFC 3550 §6.4.1: counts begin anew with another SSRC.
    #[cold]
    fn begin_stream(&mut self, ssrc: u32) {
        self.reports.stream = Stream {
            ssrc,
            packets_before: self.sent_packets,
            octets_before: self.sent_octets,
            ..self.reports.stream
        };
    }

    /// Notes the time of a packet made of one that was received then.
    #[inline]
    pub(crate) const fn note_made(&mut self, at: Time) {
        self.reports.stream.at = at;
    }

    /// Notes the timestamp of a packet of our own making, unless it is an event's, which stands still.
    #[inline]
    pub(crate) fn note_timestamp(&mut self, header: &Header) {
        if Some(header.payload_type) != self.event_type {
            self.reports.stream.timestamp = header.timestamp;
        }
    }

    /// What is reported from now on.
    pub(crate) const fn set_reporting(&mut self, reporting: Reporting) {
        self.reports.reporting = reporting;
    }

    /// The SSRC of the stream that is sent to the peer; `None` before one is.
    pub(crate) const fn stream_ssrc(&self) -> Option<u32> {
        if self.sent_packets > self.reports.stream.packets_before {
            Some(self.reports.stream.ssrc)
        } else {
            None
        }
    }

    /// Whether RTCP of the other peer goes on to this one.
    pub(crate) const fn passes_rtcp(&self, translated: bool) -> bool {
        match self.reports.reporting.rtcp {
            RtcpPolicy::Auto => !self.reports.speaks && !translated,
            RtcpPolicy::Pass => true,
            RtcpPolicy::Own | RtcpPolicy::Off => false,
        }
    }

    /// RTCP of the other peer went on to this one.
    pub(crate) const fn note_passed(&mut self, now: Time) {
        self.reports.passed = Some(now);
    }

    /// The peer said what time it is, in a sender report.
    pub(crate) const fn note_sender_report(&mut self, now: Time, ssrc: u32, ntp: u64) {
        self.reports.sender_report = Some(Heard { ssrc, middle: ntp_middle(ntp), at: now });
    }

    /// The same in an extended report.
    pub(crate) const fn note_reference(&mut self, now: Time, ssrc: u32, ntp: u64) {
        self.reports.reference = Some(Heard { ssrc, middle: ntp_middle(ntp), at: now });
    }

    /// From where RTCP for the peer goes, and where to.
    pub(crate) fn rtcp_way(&self) -> Option<(SocketId, SocketAddr)> {
        if self.is_multiplexed() {
            return Some((self.rtp_socket, self.latch.target()?));
        }
        Some((self.rtcp_socket, self.rtcp_target()?))
    }

    /// RTCP of our own that was sent, and SSRCs that had to be changed.
    pub const fn own_rtcp(&self) -> (u64, u64) {
        (self.reports.own, self.reports.collisions)
    }

    /// The block about what comes from the peer, if something came since the last one.
    fn block(&mut self, now: Time) -> Option<ReportBlock> {
        let packets = self.receiver.packets();
        if packets == self.reports.received {
            return None;
        }
        self.reports.received = packets;
        let (last_sr, delay) = Heard::answer(self.reports.sender_report, self.receiver.ssrc(), now);
        Some(self.receiver.report(last_sr, delay))
    }

    /// What the stream that is sent to the peer says of itself, if something was sent since the last report but one
    /// (RFC 3550 §6.4); `moment`: a time, and the stream's timestamp and clock then.
    fn info(&mut self, now: Time, ntp: u64, moment: Option<(Time, u32, u32)>) -> Option<SenderInfo> {
        let [last, before] = self.reports.sent;
        self.reports.sent = [self.sent_packets, last];
        let (at, timestamp, clock) = moment.filter(|_| self.sent_packets > before)?;
        let ticks = now.since(at).as_nanos() * u128::from(clock) / 1_000_000_000;
        let stream = &self.reports.stream;
        Some(SenderInfo {
            ntp,
            rtp: timestamp.wrapping_add(ticks as u32),
            packets: self.sent_packets.wrapping_sub(stream.packets_before) as u32, // modulo 2^32, as the field
            octets: self.sent_octets.wrapping_sub(stream.octets_before) as u32,
        })
    }

    /// The SSRC to report under: that of the stream sent, unless the peer has the same; else one of our own, drawn again if it
    /// is the peer's (RFC 3550 §8.2). Also the name.
    fn speaker(&mut self, secrets: &mut Secrets) -> (u32, [u8; CNAME]) {
        let peer = Some(self.receiver.ssrc()).filter(|_| self.receiver.packets() > 0);
        let identity = *self.reports.identity.get_or_insert_with(|| Identity::new(secrets));
        let stream = self.stream_ssrc();
        if let Some(ssrc) = stream.filter(|ssrc| Some(*ssrc) != peer) {
            return (ssrc, identity.cname);
        }
        self.reports.collisions += u64::from(stream.is_some() && self.reports.told == stream);
        let mut ssrc = identity.ssrc;
        if Some(ssrc) == peer {
            self.reports.collisions += 1;
            ssrc = Identity::new(secrets).ssrc;
            self.reports.identity = Some(Identity { ssrc, ..identity });
        }
        (ssrc, identity.cname)
    }

    /// Sends a report; with `bye`, the last one.
    fn send_report<M>(
        &mut self,
        (now, ntp): (Time, u64),
        moment: Option<(Time, u32, u32)>,
        metrics: Option<VoipMetrics>,
        secrets: &mut Secrets,
        bye: bool,
        out: &mut Outbox<M>,
    ) {
        let Some((socket, target)) = self.rtcp_way() else { return };
        let (ssrc, cname) = self.speaker(secrets);
        let info = self.info(now, ntp, moment.filter(|_| self.stream_ssrc() == Some(ssrc)));
        let block = self.block(now);
        let mut room = core::mem::take(&mut self.plain);
        room.clear();
        let mut writer = Writer::new(&mut room);
        match &info {
            Some(info) => writer.sender_report(ssrc, info, block.as_slice()),
            None => writer.receiver_report(ssrc, block.as_slice()),
        };
        writer.cname(ssrc, &cname);
        if self.reports.reporting.extended {
            let answer = self.reports.reference.map(|heard| LastReceived {
                ssrc: heard.ssrc,
                last: heard.middle,
                delay: ntp_short(now.since(heard.at)),
            });
            // Who sends is asked by its sender reports (RFC 3611 §4.4).
            let reference = info.is_none().then_some(ntp);
            let metrics = metrics.filter(|_| block.is_some());
            writer.extended_report(
                ssrc,
                &Extended { reference, last_received: answer, metrics: metrics.as_ref() },
            );
        }
        // RFC 3550 §8.2: what was an SSRC of ours is none any more.
        if let Some(old) = self.reports.told.filter(|old| *old != ssrc) {
            writer.bye(old, &[]);
        }
        if bye {
            writer.bye(ssrc, &[]);
        }
        self.reports.told = Some(ssrc);
        self.reports.own += 1;
        self.await_own(now, ntp);
        self.send_written_rtcp(out, socket, target, &mut room);
        self.plain = room;
    }

    /// Whether the gateway speaks for itself now; in doubt that is decided now.
    fn decide(&mut self, now: Time, translated: bool) -> bool {
        let reports = &mut self.reports;
        reports.speaks |= match reports.reporting.rtcp {
            RtcpPolicy::Own => true,
            RtcpPolicy::Auto => translated || reports.passed.is_none_or(|at| now.since(at) > PASSED_LATELY),
            RtcpPolicy::Pass | RtcpPolicy::Off => false,
        };
        reports.speaks && matches!(reports.reporting.rtcp, RtcpPolicy::Own | RtcpPolicy::Auto)
    }

    fn interval(&self, initial: bool, random: &mut Random) -> Duration {
        Session {
            members: 2,
            senders: 2,
            octets_per_second: SHARE,
            we_send: self.sent_packets > self.reports.sent[1],
            packet_octets: PACKET,
            initial,
        }
        .interval(random)
    }
}

/// A share in 1/256, as report blocks carry it.
fn in_256ths(share: f64) -> u8 {
    (share * 256.0).clamp(0.0, 255.0) as u8
}

/// What is told of a stream received, from what is known of it (RFC 3611 §4.7).
pub(crate) fn metrics(receiver: &Receiver, quality: &LegQuality) -> VoipMetrics {
    let snapshot = receiver.snapshot();
    // One packet's time, by how many came in which time.
    let span = snapshot.first.zip(snapshot.last).map_or(Duration::ZERO, |(first, last)| last.since(first));
    let packet_ms = span.as_secs_f64() * 1000.0 / snapshot.expected.saturating_sub(1).max(1) as f64;
    let packet_ms = packet_ms.clamp(5.0, 200.0);
    let ms = |packets: f64| (packets * packet_ms).min(f64::from(u16::MAX)) as u16;
    let tenths = |mos: f64| (mos * 10.0).round() as u8;
    VoipMetrics {
        ssrc: receiver.ssrc(),
        loss_rate: in_256ths(snapshot.loss().unwrap_or_default()),
        burst_density: in_256ths(snapshot.burst_density),
        gap_density: in_256ths(snapshot.gap_density),
        burst_ms: ms(snapshot.burst_length),
        gap_ms: ms(snapshot.gap_length),
        round_trip_ms: quality.round_trip_ms.map_or(0, |ms| ms.min(f64::from(u16::MAX)) as u16),
        gmin: 16,
        r: quality.received.r.map(|r| r.round() as u8),
        mos_lq: quality.received.mos_lq.map(tenths),
        mos_cq: quality.received.mos.map(tenths),
        ..VoipMetrics::default()
    }
}

impl Bridge {
    /// What is reported on a side from now on.
    pub fn set_reporting(&mut self, side: Side, reporting: Reporting) {
        self.legs(side).0.set_reporting(reporting);
    }

    /// A moment of the stream sent to a side: when, its timestamp then, and its clock.
    fn moment(&self, side: Side) -> Option<(Time, u32, u32)> {
        let (leg, across) = (self.leg(side), self.leg(side.other()));
        if self.is_changed(side.other()) || leg.splice.is_some() {
            let stream = &leg.reports.stream;
            return Some((stream.at, stream.timestamp, leg.receiver.clock()));
        }
        let (at, timestamp) = across.receiver.moment()?;
        Some((at, timestamp, across.receiver.clock()))
    }

    /// Sends the reports of our own that are due, `ntp` being the wall-clock time; when the next ones will be.
    pub fn report<M>(
        &mut self,
        (now, ntp): (Time, u64),
        random: &mut Random,
        secrets: &mut Secrets,
        out: &mut Outbox<M>,
    ) -> Option<Time> {
        let translated = self.is_changed(Side::Caller) || self.is_changed(Side::Callee);
        let mut next: Option<Time> = None;
        for side in [Side::Caller, Side::Callee] {
            let leg = self.legs(side).0;
            let policy = leg.reports.reporting.rtcp;
            if matches!(policy, RtcpPolicy::Pass | RtcpPolicy::Off) {
                continue;
            }
            let due = match leg.reports.due {
                Some(due) => due,
                None if policy == RtcpPolicy::Own || translated => now + leg.interval(true, random),
                None => now + FIRST_AWAITED + leg.interval(true, random),
            };
            leg.reports.due = Some(due);
            if now >= due {
                leg.reports.due = Some(now + leg.interval(false, random));
                if leg.decide(now, translated) {
                    self.report_now((now, ntp), side, secrets, false, out);
                }
            }
            let due = self.leg(side).reports.due;
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    fn report_now<M>(
        &mut self,
        time: (Time, u64),
        side: Side,
        secrets: &mut Secrets,
        bye: bool,
        out: &mut Outbox<M>,
    ) {
        let moment = self.moment(side);
        let leg = self.leg(side);
        let metrics =
            leg.reports.reporting.extended.then(|| metrics(&leg.receiver, &LegQuality::of(self, side)));
        self.legs(side).0.send_report(time, moment, metrics, secrets, bye, out);
    }

    /// Says goodbye to whom it has reported (RFC 3550 §6.3.7: nobody else).
    pub fn say_goodbye<M>(&mut self, time: (Time, u64), secrets: &mut Secrets, out: &mut Outbox<M>) {
        for side in [Side::Caller, Side::Callee] {
            if self.leg(side).reports.told.is_some() {
                self.report_now(time, side, secrets, true, out);
                self.legs(side).0.reports.told = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
