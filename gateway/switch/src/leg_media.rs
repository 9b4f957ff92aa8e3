//! The media of one leg: its ports, where its peer is, what came from it and what went to it.

use crate::attach::Splice;
use crate::keys::{KeysAccount, LegKeys};
use crate::leg_crypto::{CryptoAccount, LegCrypto};
use crate::leg_link::{Link, LinkAccount};
use crate::leg_quality::Judged;
use crate::leg_reports::Reports;
use crate::ports::Pair;
use crate::translator::{PAYLOAD_MAX, Translator};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use rtp::rtcp::{Block, Blocks, Compound, Packet, ReportBlock, ntp_middle, round_trip};
use rtp::{Latch, LatchConfig, Policy, Receiver, quality};
use sansio::{Outbox, SocketId, Time};
use sip::is_private;

/// From where, besides the address in its SDP, a peer's media is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatchPolicy {
    /// From nowhere else, unless the peer is behind a NAT: its signalling shows it, or SDP names a private address and
    /// signalling came from a public one. Then its media is taken from any port of the address that its signalling came
    /// from; from the address in SDP too if that is public, since a host may have several.
    #[default]
    Auto,
    /// From nowhere else.
    Strict,
    /// From another port of the same address: peers whose NAT changes ports only. Whoever shares that address can take
    /// the place of a peer that has not spoken yet.
    SameIp,
    /// From anywhere, by whoever first sends a consistent stream: only where neither SDP nor signalling tells the
    /// address. Whoever guesses the port can take the place of a peer that has not spoken yet.
    Any,
}

impl LatchPolicy {
    /// The policy of a name: `auto`, `strict`, `same-ip` or `any`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "strict" => Some(Self::Strict),
            "same-ip" => Some(Self::SameIp),
            "any" => Some(Self::Any),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Strict => "strict",
            Self::SameIp => "same-ip",
            Self::Any => "any",
        }
    }

    /// Where media is expected from, and what else is permitted, when SDP says `described` and signalling came from
    /// `signalling`; `behind_nat`: it showed a NAT.
    pub fn resolve(
        self,
        described: SocketAddr,
        signalling: IpAddr,
        behind_nat: bool,
    ) -> (SocketAddr, Policy) {
        let (ip, from) = (described.ip().to_canonical(), signalling.to_canonical());
        match self {
            Self::Auto if ip == from && behind_nat => (described, Policy::SameIp),
            Self::Auto if is_private(ip) && (behind_nat || !is_private(from)) => {
                (SocketAddr::new(signalling, described.port()), Policy::SameIp)
            }
            // A NAT, or a host with several addresses: it shows where it is by what it sends.
            Self::Auto if behind_nat => (described, Policy::Also(signalling)),
            Self::Auto | Self::Strict => (described, Policy::Strict),
            Self::SameIp => (described, Policy::SameIp),
            Self::Any => (described, Policy::Any),
        }
    }
}

/// What a peer said of its media (RFC 3264 §5.1), from its own point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// It will send.
    pub sends: bool,
    /// It wants to receive.
    pub receives: bool,
}

impl Direction {
    /// `a=sendrecv`
    pub const SEND_RECV: Self = Self { sends: true, receives: true };
    /// `a=sendonly`
    pub const SEND_ONLY: Self = Self { sends: true, receives: false };
    /// `a=recvonly`
    pub const RECV_ONLY: Self = Self { sends: false, receives: true };
    /// `a=inactive`
    pub const INACTIVE: Self = Self { sends: false, receives: false };
}

/// A payload type as SDP describes it (RFC 8866 §6.6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Its number, 0 to 127.
    pub payload_type: u8,
    /// Its clock in Hz.
    pub clock: u32,
    /// How the codec takes loss; `None` if no figures are known: no R and MOS then.
    pub codec: Option<quality::Codec>,
}

/// Most payload types with a clock of their own that a leg knows: those beyond are relayed, their jitter is counted in the
/// clock of the one before.
const FORMATS_MAX: usize = 8;

/// Where a peer's media is and what it consists of, from its SDP.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its RTP address; `None` if it refused the stream (port 0) or named none (0.0.0.0, RFC 2543 hold).
    pub rtp: Option<SocketAddr>,
    /// Its RTCP address: `a=rtcp` (RFC 3605) or the port above; the RTP address if it multiplexes (RFC 5761).
    pub rtcp: Option<SocketAddr>,
    /// From where else it may send.
    pub policy: Policy,
    /// Which way media flows.
    pub direction: Direction,
    /// The payload types agreed upon, one bit each.
    pub payload_types: u128,
    /// The speech codecs among them, the preferred one first.
    pub formats: Vec<Format>,
    /// Payload type of telephone events (RFC 4733).
    pub event_type: Option<u8>,
}

/// What RTCP told of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtcpAccount {
    /// Compound packets from the peer.
    pub packets: u64,
    /// Sender reports in them.
    pub sender_reports: u64,
    /// Receiver reports in them.
    pub receiver_reports: u64,
    /// Goodbyes in them.
    pub goodbyes: u64,
    /// Extended reports and other packet types in them.
    pub others: u64,
    /// Datagrams on the RTCP port that were not RTCP, or cut short.
    pub malformed: u64,
    /// Compound packets relayed to the peer.
    pub relayed: u64,
    /// The round trip between gateway and peer, last measured.
    pub round_trip: Option<Duration>,
    /// The longest measured.
    pub round_trip_max: Option<Duration>,
    /// What the peer last said of the stream we send to it.
    pub reported: Option<ReportBlock>,
    /// When it said so.
    pub reported_at: Option<Time>,
}

/// Most packets relayed for a leg per second, RTP and RTCP together: five times what frames of 5 ms take. What SDP could
/// be made to say is bounded by it: a relay that was pointed at itself, or at another one that points back.
pub const PACKETS_PER_SECOND: u32 = 1000;

/// Sender reports whose answer is awaited: a peer answers the last one or the one before.
const REPORTS_KEPT: usize = 4;

/// One leg's media: addresses, counters, times, and keys if it is protected.
#[derive(Debug)]
pub struct LegMedia {
    // What every packet reads or writes comes first.
    pub(crate) latch: Latch,
    pub(crate) direction: Direction,
    pub(crate) payload_types: u128,
    pub(crate) rtp_socket: SocketId,
    /// The last RTP or RTCP from the peer.
    pub(crate) heard: Option<Time>,
    /// The second being counted, and the packets in it.
    second: (Time, u32),
    /// Packets from the peer dropped beyond [`PACKETS_PER_SECOND`].
    pub(crate) flooded: u64,
    pub(crate) sent_packets: u64,
    pub(crate) sent_octets: u64,
    /// From this peer's payload types to the other's, where they differ.
    pub(crate) payload_map: PayloadMap,
    /// What its packets become if the other peer speaks another codec.
    pub(crate) translator: Option<Box<Translator>>,
    /// When noise is due in the place of what the peer does not send; `None` while it sends.
    pub(crate) noise_due: Option<Time>,
    /// Packets of such noise sent to the other peer.
    pub(crate) filled: u64,
    /// The keys that it says.
    pub(crate) keys: LegKeys,
    /// What became of them before the present way of saying them.
    pub(crate) keys_account: KeysAccount,
    /// What numbers the packets to the peer, once something was played to it.
    pub(crate) splice: Option<Box<Splice>>,
    /// Packets from the peer that were translated.
    pub(crate) translated: u64,
    /// Packets from the peer that could not be translated: late, doubled, or of a codec without a counterpart.
    pub(crate) untranslated: u64,
    pub(crate) receiver: Receiver,
    /// Datagrams on the RTP port that were neither RTP nor RTCP, or cut short.
    pub(crate) malformed: u64,
    /// Packets not relayed since one side does not send or the other does not receive.
    pub(crate) withheld: u64,
    /// Packets of a payload type that was not agreed upon.
    pub(crate) unexpected_types: u64,
    /// Packets for the peer that were not sent: no buffer was free, or they could not be sealed.
    pub(crate) unsent: u64,
    /// RTCP from sources not accepted.
    pub(crate) rtcp_strangers: u64,
    pub(crate) rtcp_socket: SocketId,
    pub(crate) rtcp_remote: Option<SocketAddr>,
    rtcp_latched: Option<SocketAddr>,
    pub(crate) rtcp: RtcpAccount,
    /// Relayed to the peer: the middle of the NTP timestamp, and when.
    awaited: [(u32, Time); REPORTS_KEPT],
    awaited_next: usize,
    /// Since when the peer is expected to send; `None` while it is not.
    pub(crate) expected_since: Option<Time>,
    pub(crate) codec: Option<quality::Codec>,
    /// The payload type of the speech heard last, or expected.
    pub(crate) payload_type: u8,
    pub(crate) event_type: Option<u8>,
    formats: [Option<Format>; FORMATS_MAX],
    pub(crate) pair: Pair,
    /// Keys, if the leg is protected.
    pub(crate) crypto: Option<Box<LegCrypto>>,
    pub(crate) crypto_account: CryptoAccount,
    /// What is settled with the peer beside media: ICE, DTLS.
    pub(crate) link: Option<Link>,
    pub(crate) link_account: LinkAccount,
    /// Where packets are opened.
    pub(crate) plain: Vec<u8>,
    pub(crate) reports: Reports,
    pub(crate) judged: Judged,
}

/// Payload types to be changed on the way, the few that differ between the legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadMap {
    entries: [(u8, u8); Self::MOST],
    len: u8,
}

impl PayloadMap {
    /// Most entries: more codecs than a leg negotiates at a time.
    pub const MOST: usize = 8;

    /// Adds a change; false if the map is full. What does not change is not kept.
    pub fn insert(&mut self, from: u8, to: u8) -> bool {
        if from == to {
            return true;
        }
        let Some(entry) = self.entries.get_mut(usize::from(self.len)) else { return false };
        *entry = (from & 0x7f, to & 0x7f);
        self.len += 1;
        true
    }

    /// What a payload type becomes.
    #[inline]
    pub fn of(&self, payload_type: u8) -> u8 {
        let entries = &self.entries[..usize::from(self.len)];
        entries.iter().find(|(from, _)| *from == payload_type).map_or(payload_type, |&(_, to)| to)
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// No payload type.
const NOT_HEARD: u8 = u8::MAX;

impl LegMedia {
    /// The media of a leg whose peer has said nothing yet: nothing is accepted, nothing is sent.
    pub fn new(pair: Pair) -> Self {
        Self {
            latch: Latch::new(LatchConfig::default()),
            direction: Direction::SEND_RECV,
            payload_types: 0,
            rtp_socket: pair.rtp_socket,
            heard: None,
            second: (Time::ZERO, 0),
            flooded: 0,
            sent_packets: 0,
            sent_octets: 0,
            payload_map: PayloadMap::default(),
            translator: None,
            noise_due: None,
            filled: 0,
            keys: LegKeys::default(),
            keys_account: KeysAccount::default(),
            splice: None,
            translated: 0,
            untranslated: 0,
            receiver: Receiver::new(8000, None),
            malformed: 0,
            withheld: 0,
            unexpected_types: 0,
            unsent: 0,
            rtcp_strangers: 0,
            rtcp_socket: pair.rtcp_socket,
            rtcp_remote: None,
            rtcp_latched: None,
            rtcp: RtcpAccount::default(),
            awaited: [(0, Time::ZERO); REPORTS_KEPT],
            awaited_next: 0,
            expected_since: None,
            codec: None,
            payload_type: NOT_HEARD,
            event_type: None,
            formats: [None; FORMATS_MAX],
            pair,
            crypto: None,
            crypto_account: CryptoAccount::default(),
            link: None,
            link_account: LinkAccount::default(),
            plain: Vec::new(),
            reports: Reports::default(),
            judged: Judged::default(),
        }
    }

    /// The peer's SDP said this. A latched source is kept while SDP names the same address as before.
    pub(crate) fn set_remote(&mut self, remote: &Remote) {
        // RFC 3264 §5.1, RFC 2543 hold: an unspecified address or port 0 takes nothing.
        let usable = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
        let mut rtp = remote.rtp.filter(usable);
        let mut rtcp = remote.rtcp.filter(usable);
        let mut policy = remote.policy;
        if let Some(chosen) = self.way_chosen() {
            (rtp, rtcp, policy) = (chosen, chosen, Policy::Strict);
        }
        self.latch.expect(rtp, policy);
        if self.rtcp_remote != rtcp {
            self.rtcp_remote = rtcp;
            self.rtcp_latched = None;
        }
        if self.direction.sends && !remote.direction.sends {
            self.receiver.pause();
        }
        self.direction = remote.direction;
        self.payload_types = remote.payload_types;
        self.event_type = remote.event_type;
        self.formats = core::array::from_fn(|n| remote.formats.get(n).copied());
        let heard = self.formats.iter().flatten().find(|format| format.payload_type == self.payload_type);
        if let Some(format) = heard.or(self.formats[0].as_ref()).copied() {
            self.set_format(format);
        }
    }

    fn set_format(&mut self, format: Format) {
        self.payload_type = format.payload_type;
        self.codec = format.codec;
        self.receiver.set_payload(format.clock, self.event_type);
    }

    /// The peer changed from one codec to another of those agreed upon, as it may at any time (RFC 3264 §7).
    #[cold]
    pub(crate) fn change_format(&mut self, payload_type: u8) {
        let format = self.formats.iter().flatten().find(|format| format.payload_type == payload_type);
        if let Some(&format) = format {
            self.set_format(format);
        }
    }

    /// The payload type of the speech heard last, else of the preferred codec; `None` before any SDP.
    pub fn payload_type(&self) -> Option<u8> {
        (self.payload_type != NOT_HEARD).then_some(self.payload_type)
    }

    /// The clock of a payload type agreed upon, in Hz.
    pub(crate) fn clock_of(&self, payload_type: u8) -> Option<u32> {
        self.formats.iter().flatten().find(|it| it.payload_type == payload_type).map(|it| it.clock)
    }

    /// Whether it is known where its peer takes media.
    pub(crate) fn is_placed(&self) -> bool {
        self.latch.target().is_some()
    }

    /// Whether a payload type was agreed upon.
    #[inline]
    pub(crate) const fn negotiated(&self, payload_type: u8) -> bool {
        self.payload_types >> (payload_type & 0x7f) & 1 == 1
    }

    /// Whether one more packet from the peer is within its rate.
    #[inline]
    pub(crate) fn within_rate(&mut self, now: Time) -> bool {
        let (start, count) = &mut self.second;
        if now.since(*start) >= Duration::from_secs(1) {
            (*start, *count) = (now, 0);
        }
        if *count == PACKETS_PER_SECOND {
            self.flooded += 1;
            return false;
        }
        *count += 1;
        true
    }

    /// Sends the peer a packet made of the other side's, numbered on if something was ever played here; not while something is.
    #[inline]
    pub(crate) fn send_on<M>(
        &mut self,
        now: Time,
        target: SocketAddr,
        header: rtp::Header,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        // Both ways of a leg have one clock.
        let clock = self.receiver.clock();
        let numbered = match &mut self.splice {
            Some(splice) => splice.relayed(now, header, clock),
            None => Some(header),
        };
        if let Some(header) = numbered {
            self.send(target, header, payload, out);
        }
    }

    /// Sends the peer a packet of our own making, of at most [`PAYLOAD_MAX`] octets.
    #[inline]
    pub(crate) fn send<M>(
        &mut self,
        target: SocketAddr,
        header: rtp::Header,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        let mut packet = [0; rtp::HEADER_LEN + PAYLOAD_MAX];
        let Some(packet) = packet.get_mut(..rtp::HEADER_LEN + payload.len()) else { return };
        packet[rtp::HEADER_LEN..].copy_from_slice(payload);
        // There is room for a header.
        let _ = header.write(packet);
        let second = packet[1];
        if self.send_rtp(out, target, packet, second, &header) {
            self.count_sent(&header, payload.len());
            self.note_timestamp(&header);
        } else {
            self.unsent += 1;
        }
    }

    /// The source of the peer's RTP moved: its RTCP has moved too.
    pub(crate) const fn forget_rtcp_source(&mut self) {
        self.rtcp_latched = None;
    }

    /// Where RTP for the peer goes: where its RTP comes from (RFC 4961), else where its SDP says.
    pub fn target(&self) -> Option<SocketAddr> {
        self.latch.target()
    }

    /// Where RTCP for the peer goes.
    pub fn rtcp_target(&self) -> Option<SocketAddr> {
        self.rtcp_latched.or(self.rtcp_remote)
    }

    /// Whether RTCP and RTP share the peer's port (RFC 5761).
    pub fn is_multiplexed(&self) -> bool {
        self.rtcp_remote.is_some() && self.rtcp_remote == self.latch.expected()
    }

    /// Whether RTCP from this source is the peer's: from exactly the addresses it named or was latched at; behind a NAT
    /// also from another port of the address latched for RTP, if it speaks of the SSRC heard there.
    pub(crate) fn accepts_rtcp(&mut self, source: SocketAddr, ssrc: Option<u32>) -> bool {
        if self.rtcp_remote == Some(source) || self.rtcp_latched == Some(source) || self.latch.knows(source) {
            return true;
        }
        let latched = self.latch.locked().filter(|locked| locked.ip() == source.ip());
        let behind_nat = self.latch.policy() != Policy::Strict && latched.is_some();
        if behind_nat && self.rtcp_latched.is_none() && ssrc == Some(self.receiver.ssrc()) {
            self.rtcp_latched = Some(source);
            return true;
        }
        self.rtcp_strangers += 1;
        false
    }

    /// Notes what the peer's RTCP says; `relayed` is the SSRC of the stream that we relay to it.
    pub(crate) fn account(&mut self, now: Time, compound: &Compound<'_>, relayed: u32) {
        self.rtcp.packets += 1;
        for packet in compound.packets() {
            let reports = match packet {
                Packet::SenderReport { ssrc, info, reports } => {
                    self.rtcp.sender_reports += 1;
                    self.note_sender_report(now, ssrc, info.ntp);
                    reports
                }
                Packet::ReceiverReport { reports, .. } => {
                    self.rtcp.receiver_reports += 1;
                    reports
                }
                Packet::Goodbye(_) => {
                    self.rtcp.goodbyes += 1;
                    continue;
                }
                Packet::SourceDescription(_) => continue,
                Packet::ExtendedReport { ssrc, blocks } => {
                    self.rtcp.others += 1;
                    self.account_extended(now, ssrc, &blocks, relayed);
                    continue;
                }
                Packet::Application { .. } | Packet::Other { .. } => {
                    self.rtcp.others += 1;
                    continue;
                }
            };
            for block in reports.iter() {
                self.note_round_trip(now, &block);
                if block.ssrc == relayed {
                    (self.rtcp.reported, self.rtcp.reported_at) = (Some(block), Some(now));
                }
            }
        }
    }

    /// The same of an extended report (RFC 3611).
    fn account_extended(&mut self, now: Time, ssrc: u32, blocks: &Blocks<'_>, relayed: u32) {
        for block in blocks.iter() {
            match block {
                Block::Reference(ntp) => self.note_reference(now, ssrc, ntp),
                Block::LastReceived(answers) => {
                    for answer in answers.iter() {
                        let (last_sr, delay_since_sr) = (answer.last, answer.delay);
                        self.note_round_trip(
                            now,
                            &ReportBlock { last_sr, delay_since_sr, ..ReportBlock::default() },
                        );
                    }
                }
                Block::VoipMetrics(metrics) if metrics.ssrc == relayed => {
                    self.reports.metrics = Some(metrics)
                }
                Block::VoipMetrics(_) | Block::Other { .. } => {}
            }
        }
    }

    /// The peer answers a sender report that went through us to it: RFC 3550 §6.4.1, with the time at which we relayed the
    /// report in place of the one at which it was made, which leaves the round trip between us and the peer.
    fn note_round_trip(&mut self, now: Time, block: &ReportBlock) {
        let awaited = self.awaited.iter().find(|(middle, _)| *middle == block.last_sr);
        let trip = awaited.and_then(|&(_, sent)| round_trip(block, now.since(sent)));
        if let Some(trip) = trip {
            self.rtcp.round_trip = Some(trip);
            self.rtcp.round_trip_max = self.rtcp.round_trip_max.max(Some(trip));
        }
    }

    /// A compound packet goes to the peer: its answer to a sender report in it will tell the round trip.
    pub(crate) fn await_answer(&mut self, now: Time, compound: &Compound<'_>) {
        self.rtcp.relayed += 1;
        for packet in compound.packets() {
            if let Packet::SenderReport { info, .. } = packet {
                self.await_own(now, info.ntp);
            }
        }
    }

    /// The peer was told the time: its answer will tell the round trip.
    pub(crate) const fn await_own(&mut self, now: Time, ntp: u64) {
        self.awaited[self.awaited_next] = (ntp_middle(ntp), now);
        self.awaited_next = (self.awaited_next + 1) % REPORTS_KEPT;
    }

    /// The leg's ports.
    pub const fn pair(&self) -> &Pair {
        &self.pair
    }

    /// The peer's direction.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// What RTCP told.
    pub const fn rtcp(&self) -> &RtcpAccount {
        &self.rtcp
    }

    /// The last RTP or RTCP from the peer.
    pub const fn heard(&self) -> Option<Time> {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(policy: LatchPolicy, described: &str, signalling: &str) -> (String, Policy) {
        let (described, signalling) = (described.parse().unwrap(), signalling.parse().unwrap());
        let (expected, policy) = policy.resolve(described, signalling, false);
        (expected.to_string(), policy)
    }

    #[test]
    fn auto_opens_up_only_where_sdp_shows_a_nat() {
        let auto = |described, signalling| resolve(LatchPolicy::Auto, described, signalling);
        assert_eq!(auto("192.0.2.1:4000", "192.0.2.1"), ("192.0.2.1:4000".into(), Policy::Strict));
        assert_eq!(auto("192.0.2.9:4000", "192.0.2.1"), ("192.0.2.9:4000".into(), Policy::Strict), "an SBC");
        assert_eq!(auto("10.0.0.5:4000", "192.0.2.1"), ("192.0.2.1:4000".into(), Policy::SameIp));
        assert_eq!(auto("100.100.3.5:4000", "192.0.2.1"), ("192.0.2.1:4000".into(), Policy::SameIp));
        assert_eq!(auto("100.128.3.5:4000", "192.0.2.1"), ("100.128.3.5:4000".into(), Policy::Strict));
        assert_eq!(auto("10.0.0.5:4000", "10.0.0.5"), ("10.0.0.5:4000".into(), Policy::Strict));
        assert_eq!(auto("10.0.0.5:4000", "10.0.0.1"), ("10.0.0.5:4000".into(), Policy::Strict), "a PBX");
        assert_eq!(auto("127.0.0.1:4000", "127.0.0.1"), ("127.0.0.1:4000".into(), Policy::Strict));
        assert_eq!(auto("[fd00::1]:4000", "2001:db8::1"), ("[2001:db8::1]:4000".into(), Policy::SameIp));
        assert_eq!(resolve(LatchPolicy::Any, "10.0.0.5:1", "192.0.2.1"), ("10.0.0.5:1".into(), Policy::Any));
    }

    #[test]
    fn signalling_that_shows_a_nat_opens_up_whatever_sdp_says() {
        let resolve = |policy: LatchPolicy, described: &str| {
            let (described, signalling) = (described.parse().unwrap(), "192.0.2.1".parse().unwrap());
            let (expected, policy) = policy.resolve(described, signalling, true);
            (expected.to_string(), policy)
        };
        let at = |address: &str, policy| (address.to_owned(), policy);
        assert_eq!(resolve(LatchPolicy::Auto, "192.168.1.7:4000"), at("192.0.2.1:4000", Policy::SameIp));
        let also = Policy::Also("192.0.2.1".parse().unwrap());
        assert_eq!(resolve(LatchPolicy::Auto, "198.51.100.7:4000"), at("198.51.100.7:4000", also));
        assert_eq!(resolve(LatchPolicy::Auto, "192.0.2.1:4000"), at("192.0.2.1:4000", Policy::SameIp));
        assert_eq!(resolve(LatchPolicy::Strict, "10.0.0.5:4000"), at("10.0.0.5:4000", Policy::Strict));
    }

    #[test]
    fn policies_have_names() {
        for policy in [LatchPolicy::Auto, LatchPolicy::Strict, LatchPolicy::SameIp, LatchPolicy::Any] {
            assert_eq!(LatchPolicy::named(policy.name()), Some(policy));
        }
        assert_eq!(LatchPolicy::named("Any"), None);
    }

    #[test]
    fn a_payload_map_changes_what_differs_and_has_an_end() {
        let mut map = PayloadMap::default();
        assert!(map.insert(8, 8));
        assert!(map.is_empty());
        assert!(map.insert(101, 96));
        assert_eq!((map.of(101), map.of(96), map.of(0)), (96, 96, 0));
        for n in 0..7 {
            assert!(map.insert(110 + n, 100 + n));
        }
        assert!(!map.insert(120, 121));
        assert_eq!(map.of(116), 106);
    }
}
