//! Tests of the gateway's own reports: what they say, when they go, under which name.

use super::*;
use crate::leg_media::{Direction, Format, Remote};
use crate::ports::{Pair, PortPool};
use crate::translator::Spoken;
use media::codec::Codec;
use rtp::rtcp::{Block, Compound, Packet};
use rtp::{HEADER_LEN, Policy, quality};
use sansio::{SocketEvent, SocketId};

const CALLER: &str = "192.0.2.1:4000";
const CALLEE: &str = "198.51.100.7:6000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn pairs() -> [Pair; 2] {
    let ports = crate::config::RtpPorts { low: 30_000, high: 30_003 };
    let base = SocketId(crate::shard::MEDIA_SOCKETS);
    let mut pool = PortPool::new("127.0.0.1".parse().unwrap(), ports, base, 1);
    let mut out = Outbox::<()>::new(1, 0);
    pool.refill(Time::ZERO, &mut out);
    for n in 0..4 {
        let opened = SocketEvent::Opened(address("127.0.0.1:30000"));
        pool.handle_socket(Time::ZERO, SocketId(base.0 + n), opened, &mut out);
    }
    [0, 1].map(|_| pool.take(Time::ZERO, &mut out).unwrap())
}

fn remote(rtp: &str) -> Remote {
    let rtp = address(rtp);
    Remote {
        rtp: Some(rtp),
        rtcp: Some(SocketAddr::new(rtp.ip(), rtp.port() + 1)),
        policy: Policy::Strict,
        direction: Direction::SEND_RECV,
        payload_types: 1 | 1 << 8 | 1 << 101,
        formats: vec![Format { payload_type: 8, clock: 8000, codec: Some(quality::Codec::G711) }],
        event_type: Some(101),
    }
}

/// One report that left: where to, and its octets.
type Sent = (String, Vec<u8>);

struct Bench {
    bridge: Bridge,
    out: Outbox<()>,
    now: Time,
    random: Random,
    secrets: Secrets,
}

impl Bench {
    fn new(caller: RtcpPolicy, callee: RtcpPolicy) -> Self {
        let [a, b] = pairs();
        let mut bridge = Bridge::new(a, b);
        bridge.set_remote(Time::ZERO, Side::Caller, &remote(CALLER));
        bridge.set_remote(Time::ZERO, Side::Callee, &remote(CALLEE));
        for (side, rtcp) in [(Side::Caller, caller), (Side::Callee, callee)] {
            bridge.set_reporting(side, Reporting { rtcp, extended: false });
        }
        Self {
            bridge,
            out: Outbox::new(64, 1),
            now: Time::from_millis(1000),
            random: Random::new(1),
            secrets: Secrets::new([7; 32]),
        }
    }

    /// NTP time: a tenth of a second into a second at the start.
    fn ntp(&self) -> u64 {
        let nanos = u128::from(self.now.as_nanos()) + 3_900_000_000_100_000_000;
        (((nanos / 1_000_000_000) << 32) | (((nanos % 1_000_000_000) << 32) / 1_000_000_000)) as u64
    }

    fn rtp(&mut self, side: Side, sequence: u16, ssrc: u32) {
        let mut bytes = vec![0xd5; HEADER_LEN + 160];
        let timestamp = u32::from(sequence) * 160;
        Header { payload_type: 8, marker: false, sequence, timestamp, ssrc }.write(&mut bytes).unwrap();
        let from = address(if side == Side::Caller { CALLER } else { CALLEE });
        self.bridge.relay(side, false, self.now, from, &bytes, &mut self.out);
        self.take();
    }

    fn rtcp(&mut self, side: Side, bytes: &[u8]) -> Vec<Sent> {
        let from = address(if side == Side::Caller { CALLER } else { CALLEE });
        let from = SocketAddr::new(from.ip(), from.port() + 1);
        self.bridge.relay(side, true, self.now, from, bytes, &mut self.out);
        self.take()
    }

    fn take(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(send) = self.out.next_send() {
            sent.push((send.destination.to_string(), self.out.pool().bytes(&send.packet).to_vec()));
            self.out.pool().release(send.packet);
        }
        sent
    }

    /// Lets time pass in steps of 10 ms; what is reported on a side, and when.
    fn pass(&mut self, ms: u64) -> Vec<(Time, Sent)> {
        let until = self.now + Duration::from_millis(ms);
        let mut all = Vec::new();
        while self.now < until {
            self.now += Duration::from_millis(10);
            let ntp = self.ntp();
            self.bridge.report((self.now, ntp), &mut self.random, &mut self.secrets, &mut self.out);
            let now = self.now;
            all.extend(self.take().into_iter().map(|sent| (now, sent)));
        }
        all
    }

    /// Both speak for so long, in packets of 20 ms from this number on; reports for the callee.
    fn talk(&mut self, ms: u64, from: u16) -> Vec<(Time, Sent)> {
        let mut all = Vec::new();
        for n in 0..(ms / 20) as u16 {
            self.rtp(Side::Caller, from.wrapping_add(n), 0xa);
            self.rtp(Side::Callee, 7000u16.wrapping_add(from).wrapping_add(n), 0xb);
            all.extend(self.pass(20));
        }
        all.retain(|(_, (to, _))| to == "198.51.100.7:6001");
        all
    }
}

fn first(bytes: &[u8]) -> Packet<'_> {
    Compound::parse(bytes).unwrap().packets().next().unwrap()
}

#[test]
fn rfc_3550_section_6_4_1_a_sender_report_says_what_was_sent_on_the_leg() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    let reports = bench.talk(20_000, 1);
    assert!((3..=9).contains(&reports.len()), "{}", reports.len());
    let (at, (_, bytes)) = reports.last().unwrap();
    let compound = Compound::parse(bytes).unwrap();
    assert!(compound.is_full());
    let mut packets = compound.packets();
    let Some(Packet::SenderReport { ssrc, info, reports: blocks }) = packets.next() else {
        panic!("SR first")
    };
    assert_eq!(ssrc, 0xa, "the stream's own source");
    let milliseconds = at.as_nanos() / 1_000_000 - 1000;
    let packets_sent = milliseconds.div_ceil(20) as u32;
    assert_eq!((info.packets, info.octets), (packets_sent, packets_sent * 160));
    // The last packet had its timestamp at its time; 8 ticks each millisecond since.
    let last = (packets_sent - 1) * 20;
    assert_eq!(info.rtp, packets_sent * 160 + (milliseconds as u32 - last) * 8);
    // 1000 ms of the clock are 3 900 000 001.1 s since 1900 here.
    assert_eq!(info.ntp >> 32, 3_900_000_000 + (at.as_nanos() + 100_000_000) / 1_000_000_000);
    let block = blocks.iter().next().unwrap();
    assert_eq!((block.ssrc, block.lost, block.fraction_lost, block.last_sr), (0xb, 0, 0, 0));
    assert_eq!(block.highest_sequence, 7000 + packets_sent);
    let Some(Packet::SourceDescription(sdes)) = packets.next() else { panic!("then SDES") };
    let name = sdes.cname(0xa).unwrap().to_vec();
    assert_eq!(name.len(), 16, "96 bits in base64 (RFC 7022 §4.2)");
    assert!(packets.next().is_none());
    let (_, (_, earlier)) = &reports[0];
    let Packet::SourceDescription(sdes) = Compound::parse(earlier).unwrap().packets().nth(1).unwrap() else {
        panic!()
    };
    assert_eq!(sdes.cname(0xa), Some(name.as_slice()), "the name stays");
}

#[test]
fn rfc_3550_a_3_every_twentieth_packet_lost_is_an_eightieth_of_256() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    for n in 1..=1000u16 {
        if n % 20 != 10 {
            bench.rtp(Side::Callee, n, 0xb);
        }
        for (_, (to, bytes)) in bench.pass(20) {
            let Packet::ReceiverReport { ssrc, reports } = first(&bytes) else {
                assert_eq!(to, "192.0.2.1:4001");
                continue;
            };
            assert_eq!(to, "198.51.100.7:6001", "who is sent nothing hears what is received of him");
            assert_ne!(ssrc, 0xb);
            let block = reports.iter().next().unwrap();
            // 5 % of 256 is 12.8, of an interval of 50 to 310 packets.
            assert!((8..=18).contains(&block.fraction_lost), "{block:?}");
        }
    }
    let (_, leg) = bench.bridge.legs(Side::Caller);
    assert_eq!(leg.receiver.snapshot().lost, 50);
}

#[test]
fn the_round_trip_is_from_our_report_to_its_answer() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    let reports = bench.talk(4000, 1);
    let (at, (_, bytes)) = reports.last().unwrap();
    let Packet::SenderReport { info, .. } = first(bytes) else { panic!("SR") };
    bench.pass(500);
    let away = bench.now.since(*at);
    let held = away - Duration::from_millis(80);
    let block = ReportBlock {
        ssrc: 0xa,
        fraction_lost: 26,
        lost: 12,
        jitter: 80,
        last_sr: ntp_middle(info.ntp),
        delay_since_sr: ntp_short(held),
        ..ReportBlock::default()
    };
    let mut answer = Vec::new();
    Writer::new(&mut answer).receiver_report(0xb, &[block]);
    assert!(bench.rtcp(Side::Callee, &answer).is_empty(), "nothing passes where the gateway reports itself");
    let quality = LegQuality::of(&bench.bridge, Side::Callee);
    assert!((quality.round_trip_ms.unwrap() - 80.0).abs() < 0.1, "{quality:?}");
    assert_eq!((quality.sent.lost, quality.sent.jitter_ms), (12, Some(10.0)));
    bench.bridge.judge(bench.now);
    assert_eq!(bench.bridge.leg(Side::Callee).judged.sent.seconds, 1);
}

#[test]
fn a_peers_sender_report_is_answered_with_the_time_since() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    bench.talk(2000, 1);
    let info = SenderInfo { ntp: 0x1111_2222_3333_4444, ..SenderInfo::default() };
    let mut report = Vec::new();
    Writer::new(&mut report).sender_report(0xb, &info, &[]).cname(0xb, b"x");
    bench.rtcp(Side::Callee, &report);
    let heard = bench.now;
    let reports = bench.talk(8000, 101);
    let (at, (_, bytes)) = &reports[0];
    let Packet::SenderReport { reports, .. } = first(bytes) else { panic!("SR") };
    let block = reports.iter().next().unwrap();
    assert_eq!((block.last_sr, block.delay_since_sr), (0x2222_3333, ntp_short(at.since(heard))));
}

#[test]
fn what_is_relayed_as_it_is_is_reported_by_the_peers_unless_they_do_not() {
    let mut bench = Bench::new(RtcpPolicy::Auto, RtcpPolicy::Auto);
    let mut report = Vec::new();
    Writer::new(&mut report).sender_report(0xa, &SenderInfo::default(), &[]).cname(0xa, b"a");
    let mut heard = Vec::new();
    for second in 0..40u16 {
        if second.is_multiple_of(5) {
            assert_eq!(bench.rtcp(Side::Caller, &report), [("198.51.100.7:6001".to_owned(), report.clone())]);
        }
        for n in 0..50 {
            bench.rtp(Side::Caller, second * 50 + n, 0xa);
            bench.rtp(Side::Callee, second * 50 + n, 0xb);
            heard.extend(bench.pass(20));
        }
    }
    assert!(heard.len() >= 5);
    assert!(heard.iter().all(|(_, (to, _))| to == "192.0.2.1:4001"), "the callee's own were never heard");
    // He falls silent: the gateway goes on for him, and for good.
    let heard = bench.talk(30_000, 2000);
    assert!(heard.len() >= 2 && bench.now.since(heard[0].0) < Duration::from_secs(20), "{}", heard.len());
    assert!(bench.rtcp(Side::Caller, &report).is_empty(), "two would speak under one SSRC");
}

#[test]
fn nothing_is_sent_where_nothing_may_be() {
    for policy in [RtcpPolicy::Off, RtcpPolicy::Pass] {
        let mut bench = Bench::new(policy, policy);
        assert!(bench.talk(20_000, 1).is_empty());
        let mut report = Vec::new();
        Writer::new(&mut report).receiver_report(0xa, &[]);
        assert_eq!(bench.rtcp(Side::Caller, &report).len(), usize::from(policy == RtcpPolicy::Pass));
        let ntp = bench.ntp();
        bench.bridge.say_goodbye((bench.now, ntp), &mut bench.secrets, &mut bench.out);
        assert!(bench.take().is_empty());
    }
}

#[test]
fn translated_packets_are_reported_by_the_gateway() {
    let mut bench = Bench::new(RtcpPolicy::Auto, RtcpPolicy::Auto);
    let spoken = |codec, payload_type| Spoken { codec, payload_type, event_type: None, noise_type: None };
    bench.bridge.translate(Side::Caller, spoken(Codec::Pcma, 8), spoken(Codec::Pcmu, 8));
    let mut report = Vec::new();
    Writer::new(&mut report).sender_report(0xa, &SenderInfo::default(), &[]).cname(0xa, b"a");
    assert!(bench.rtcp(Side::Caller, &report).is_empty(), "RFC 3550 §7.2: it is not true of what is sent");
    let reports = bench.talk(4000, 1);
    let (at, (_, bytes)) = &reports[0];
    let Packet::SenderReport { ssrc: 0xa, info, .. } = first(bytes) else { panic!("SR") };
    let milliseconds = at.as_nanos() / 1_000_000 - 1000;
    assert_eq!(info.rtp, (milliseconds as u32) * 8 + 160, "the first packet had 160");
}

#[test]
fn rfc_3550_section_8_2_another_source_says_goodbye_to_the_one_before() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    bench.talk(8000, 1);
    for n in 0..400u16 {
        bench.rtp(Side::Caller, n, 0xcc);
        bench.rtp(Side::Callee, n, 0xb);
        for (_, (to, bytes)) in bench.pass(20) {
            if to != "198.51.100.7:6001" {
                continue;
            }
            let compound = Compound::parse(&bytes).unwrap();
            let Some(Packet::SenderReport { ssrc: 0xcc, info, .. }) = compound.packets().next() else {
                panic!()
            };
            assert_eq!(info.packets, u32::from(n) + 1, "counted anew");
            let Some(Packet::Goodbye(bye)) = compound.packets().last() else { panic!("BYE") };
            assert_eq!(bye.sources().collect::<Vec<_>>(), [0xa]);
            return;
        }
    }
    panic!("no report within 8 s");
}

#[test]
fn rfc_3550_section_8_2_nobody_reports_under_the_peers_ssrc() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    for n in 0..1000u16 {
        bench.rtp(Side::Caller, n, 0xb);
        bench.rtp(Side::Callee, n, 0xb);
        for (_, (_, bytes)) in bench.pass(20) {
            let Packet::ReceiverReport { ssrc, reports } = first(&bytes) else {
                panic!("no sender of that name")
            };
            assert_ne!(ssrc, 0xb);
            assert_eq!(reports.iter().next().unwrap().ssrc, 0xb);
        }
    }
    // The one we drew for ourselves is not safe either.
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    let own = Identity::new(&mut Secrets::new([7; 32])).ssrc;
    let mut under = Vec::new();
    for n in 0..1000u16 {
        bench.rtp(Side::Callee, n, own);
        under.extend(
            bench
                .pass(20)
                .iter()
                .filter(|(_, (to, _))| to == "198.51.100.7:6001")
                .map(|(_, (_, bytes))| Compound::parse(bytes).unwrap().ssrc().unwrap()),
        );
    }
    assert!(under.iter().all(|ssrc| *ssrc != own && *ssrc == under[0]), "{under:?}");
    assert_eq!(bench.bridge.leg(Side::Callee).own_rtcp().1, 1);
}

#[test]
fn at_the_end_it_says_goodbye() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    bench.talk(4000, 1);
    let ntp = bench.ntp();
    bench.bridge.say_goodbye((bench.now, ntp), &mut bench.secrets, &mut bench.out);
    let sent = bench.take();
    assert_eq!(sent.len(), 2);
    for (to, bytes) in sent {
        let compound = Compound::parse(&bytes).unwrap();
        assert!(compound.is_full());
        let ssrc = if to == "198.51.100.7:6001" { 0xa } else { 0xb };
        let Some(Packet::Goodbye(bye)) = compound.packets().last() else { panic!("BYE last") };
        assert_eq!(bye.sources().collect::<Vec<_>>(), [ssrc]);
    }
    bench.bridge.say_goodbye((bench.now, ntp), &mut bench.secrets, &mut bench.out);
    assert!(bench.take().is_empty(), "once");
}

#[test]
fn rfc_3611_section_4_7_losses_are_told_with_r_and_mos() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    bench.bridge.set_reporting(Side::Callee, Reporting { rtcp: RtcpPolicy::Own, extended: true });
    let mut told = None;
    for n in 1..=1500u16 {
        if n % 20 != 10 {
            bench.rtp(Side::Callee, n, 0xb);
        }
        for (_, (to, bytes)) in bench.pass(20) {
            if to != "198.51.100.7:6001" {
                continue;
            }
            let compound = Compound::parse(&bytes).unwrap();
            let Some(Packet::ExtendedReport { blocks, .. }) = compound.packets().nth(2) else { panic!("XR") };
            let mut blocks = blocks.iter();
            assert!(
                matches!(blocks.next(), Some(Block::Reference(_))),
                "who only receives asks for the round trip"
            );
            if let Some(Block::VoipMetrics(metrics)) = blocks.next() {
                told = Some(metrics);
            }
        }
    }
    let told = told.unwrap();
    assert_eq!(
        (told.ssrc, told.gmin, told.burst_density, told.burst_ms),
        (0xb, 16, 0, 0),
        "lone losses are no bursts"
    );
    assert_eq!((told.loss_rate, told.gap_density), (12, 12), "5 % of 256");
    assert!((25_000..30_500).contains(&told.gap_ms), "{told:?}");
    // 93.2 - 95 × 5 / (5 + 4.3) = 42.1; of it MOS 2.17.
    assert!((41..=42).contains(&told.r.unwrap()) || told.r == Some(40), "{told:?}");
    assert_eq!(told.mos_lq, Some(22), "{told:?}");
}

#[test]
fn rfc_3611_section_4_5_the_time_is_answered_and_gives_a_round_trip() {
    let mut bench = Bench::new(RtcpPolicy::Own, RtcpPolicy::Own);
    bench.bridge.set_reporting(Side::Callee, Reporting { rtcp: RtcpPolicy::Own, extended: true });
    let mut asks = Vec::new();
    let ask = Extended { reference: Some(0x5555_6666_7777_8888), ..Extended::default() };
    Writer::new(&mut asks).receiver_report(0xb, &[]).extended_report(0xb, &ask);
    bench.rtcp(Side::Callee, &asks);
    let heard = bench.now;
    // The gateway sends nothing to him: it asks by a reference of its own.
    let reports = bench.pass(8000);
    let (at, (_, bytes)) = reports.iter().find(|(_, (to, _))| to == "198.51.100.7:6001").unwrap();
    let compound = Compound::parse(bytes).unwrap();
    let Some(Packet::ExtendedReport { ssrc, blocks }) = compound.packets().nth(2) else { panic!("XR") };
    let blocks: Vec<Block<'_>> = blocks.iter().collect();
    let [Block::Reference(reference), Block::LastReceived(answers)] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    let answer = answers.iter().next().unwrap();
    assert_eq!(answer, LastReceived { ssrc: 0xb, last: 0x6666_7777, delay: ntp_short(at.since(heard)) });
    let away = bench.now.since(*at);
    let delay = ntp_short(away.saturating_sub(Duration::from_millis(30)));
    let mut told = Vec::new();
    let answer = LastReceived { ssrc, last: ntp_middle(*reference), delay };
    Writer::new(&mut told)
        .receiver_report(0xb, &[])
        .extended_report(0xb, &Extended { last_received: Some(answer), ..Extended::default() });
    bench.rtcp(Side::Callee, &told);
    let trip = LegQuality::of(&bench.bridge, Side::Callee).round_trip_ms.unwrap();
    assert!((trip - 30.0).abs() < 0.1 || away < Duration::from_millis(30), "{trip}");
}
