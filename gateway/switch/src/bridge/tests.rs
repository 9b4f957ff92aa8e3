//! Tests of the relay: what passes, what never does, and what is counted.

use super::*;
use crate::leg_media::{Direction, Format, LatchPolicy};
use crate::media_stats::{LegQuality, MediaStats};
use crate::ports::PortPool;
use proptest::prelude::*;
use rtp::rtcp::{Packet as Rtcp, ReportBlock, SenderInfo, Writer};
use rtp::{HEADER_LEN, Header, Policy, quality};
use sansio::{SocketEvent, SocketId};
use std::collections::HashSet;

const CALLER: &str = "192.0.2.1:4000";
const CALLER_RTCP: &str = "192.0.2.1:4001";
const CALLEE: &str = "198.51.100.7:6000";
const CALLEE_RTCP: &str = "198.51.100.7:6001";
const STRANGER: &str = "203.0.113.66:4000";

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

fn remote(rtp: &str, rtcp: &str) -> Remote {
    Remote {
        rtp: Some(address(rtp)),
        rtcp: Some(address(rtcp)),
        policy: Policy::Strict,
        direction: Direction::SEND_RECV,
        payload_types: 1 | 1 << 8 | 1 << 101,
        formats: [0, 8].map(|payload_type| format(payload_type, 8000, Some(quality::Codec::G711))).to_vec(),
        event_type: Some(101),
    }
}

fn format(payload_type: u8, clock: u32, codec: Option<quality::Codec>) -> Format {
    Format { payload_type, clock, codec }
}

fn rtp_packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0xd5; HEADER_LEN + 160];
    let header =
        Header { payload_type: 8, marker: false, sequence, timestamp: u32::from(sequence) * 160, ssrc };
    header.write(&mut bytes).unwrap();
    bytes
}

/// A bridge with an outbox to look into.
struct Bench {
    bridge: Bridge,
    out: Outbox<()>,
    now: Time,
}

impl Bench {
    /// Both sides have said where they are.
    fn new() -> Self {
        let mut bench = Self::before_sdp();
        bench.bridge.set_remote(Time::ZERO, Side::Caller, &remote(CALLER, CALLER_RTCP));
        bench.bridge.set_remote(Time::ZERO, Side::Callee, &remote(CALLEE, CALLEE_RTCP));
        bench
    }

    fn before_sdp() -> Self {
        let [caller, callee] = pairs();
        Self { bridge: Bridge::new(caller, callee), out: Outbox::new(64, 1), now: Time::from_millis(1000) }
    }

    fn change(&mut self, side: Side, change: impl FnOnce(&mut Remote)) {
        let mut to = match side {
            Side::Caller => remote(CALLER, CALLER_RTCP),
            Side::Callee => remote(CALLEE, CALLEE_RTCP),
        };
        change(&mut to);
        self.bridge.set_remote(self.now, side, &to);
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Sends a datagram to a port of `side`; what comes out: from which socket, where to, what.
    fn send(
        &mut self,
        side: Side,
        rtcp: bool,
        source: &str,
        payload: &[u8],
    ) -> Option<(SocketId, String, Vec<u8>)> {
        self.bridge.relay(side, rtcp, self.now, address(source), payload, &mut self.out);
        let send = self.out.next_send()?;
        assert!(self.out.next_send().is_none(), "one in, at most one out");
        let bytes = self.out.pool().bytes(&send.packet).to_vec();
        self.out.pool().release(send.packet);
        Some((send.socket, send.destination.to_string(), bytes))
    }

    fn rtp(&mut self, side: Side, source: &str, sequence: u16) -> Option<(SocketId, String, Vec<u8>)> {
        self.send(side, false, source, &rtp_packet(sequence, side as u32 + 1))
    }

    fn quality(&self, side: Side) -> LegQuality {
        LegQuality::of(&self.bridge, side)
    }

    fn socket(&self, side: Side, rtcp: bool) -> SocketId {
        let pair = self.bridge.leg(side).pair();
        if rtcp { pair.rtcp_socket } else { pair.rtp_socket }
    }
}

#[test]
fn a_packet_leaves_unchanged_from_the_other_legs_socket() {
    let mut bench = Bench::new();
    let (caller, callee) = (bench.socket(Side::Caller, false), bench.socket(Side::Callee, false));
    assert_eq!(bench.rtp(Side::Caller, CALLER, 1), Some((callee, CALLEE.into(), rtp_packet(1, 1))));
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 9), Some((caller, CALLER.into(), rtp_packet(9, 2))));
    assert_eq!(bench.quality(Side::Caller).sent.packets, 1);
    assert_eq!(bench.quality(Side::Caller).sent.octets, 160);
    assert_eq!(bench.quality(Side::Callee).received.packets, 1);
}

#[test]
fn nothing_passes_before_both_sides_said_where_they_are() {
    let mut bench = Bench::before_sdp();
    assert_eq!(bench.rtp(Side::Caller, CALLER, 1), None);
    bench.change(Side::Caller, |_| ());
    assert_eq!(bench.rtp(Side::Caller, CALLER, 2), None, "nowhere to send it");
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 2), None, "early media of a callee without SDP");
    bench.change(Side::Callee, |_| ());
    assert!(bench.rtp(Side::Caller, CALLER, 3).is_some());
    let (caller, callee) = (bench.quality(Side::Caller), bench.quality(Side::Callee));
    assert_eq!((caller.early, callee.early, caller.strangers, callee.strangers), (1, 1, 0, 0));
}

#[test]
fn no_injected_packet_passes_before_between_or_after_genuine_ones() {
    for policy in [Policy::Strict, Policy::SameIp, Policy::Any] {
        let mut bench = Bench::new();
        bench.change(Side::Caller, |remote| remote.policy = policy);
        let mut injected = 0;
        for n in 0..2u16 {
            // Before the first genuine packet: fewer than a consistent stream would take, or one of another address.
            assert_eq!(bench.rtp(Side::Caller, STRANGER, n), None);
            injected += 1;
        }
        for n in 0..200u16 {
            bench.pass(20);
            assert!(bench.rtp(Side::Caller, CALLER, n).is_some());
            for source in [STRANGER, "192.0.2.1:4002", CALLEE] {
                assert_eq!(bench.rtp(Side::Caller, source, n), None, "{policy:?} {source}");
                injected += 1;
            }
        }
        let quality = bench.quality(Side::Caller);
        assert_eq!((quality.strangers, quality.received.packets), (injected, 200));
        assert_eq!(quality.received.lost, 0);
    }
}

#[test]
fn strict_lets_no_injected_packet_pass_however_long_the_peer_is_silent() {
    let mut bench = Bench::new();
    for n in 0..500u16 {
        bench.pass(20);
        for source in [STRANGER, "192.0.2.1:4002", "192.0.2.1:4001"] {
            assert_eq!(bench.rtp(Side::Caller, source, n), None);
        }
    }
    bench.rtp(Side::Caller, CALLER, 7);
    bench.pass(60_000);
    for n in 0..500u16 {
        assert_eq!(bench.rtp(Side::Caller, "192.0.2.1:4002", n), None);
    }
    // And media for the peer never went astray.
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 1).unwrap().1, CALLER);
}

#[test]
fn behind_a_nat_the_port_is_learnt_and_media_follows_it() {
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| {
        let (expected, policy) =
            LatchPolicy::Auto.resolve(address("10.0.0.5:4000"), "192.0.2.1".parse().unwrap(), false);
        (remote.rtp, remote.policy) = (Some(expected), policy);
    });
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 1).unwrap().1, CALLER);
    let passed: Vec<bool> = (0..5).map(|n| bench.rtp(Side::Caller, "192.0.2.1:61234", n).is_some()).collect();
    assert_eq!(passed, [false, false, true, true, true]);
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 2).unwrap().1, "192.0.2.1:61234");
    // RTCP from a port of its own behind the same NAT is known by its SSRC, and answered there.
    let report = receiver_report(1, &[]);
    assert_eq!(bench.send(Side::Caller, true, "192.0.2.1:61235", &receiver_report(77, &[])), None);
    assert_eq!(bench.send(Side::Caller, true, "203.0.113.66:61235", &report), None, "another address");
    assert!(bench.send(Side::Caller, true, "192.0.2.1:61235", &report).is_some());
    assert_eq!(bench.send(Side::Caller, true, "192.0.2.1:61236", &report), None, "one is enough");
    // The NAT forgets the binding and makes another.
    bench.pass(2000);
    let passed: Vec<bool> =
        (9..13).map(|n| bench.rtp(Side::Caller, "192.0.2.1:50001", n).is_some()).collect();
    assert_eq!(passed, [false, false, true, true]);
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 3).unwrap().1, "192.0.2.1:50001");
    assert_eq!(bench.quality(Side::Caller).relatched, 1);
    // RTCP moves with it.
    assert!(bench.send(Side::Caller, true, "192.0.2.1:50002", &report).is_some());
    assert_eq!(bench.send(Side::Caller, true, "192.0.2.1:61235", &report), None);
    assert_eq!(bench.send(Side::Callee, true, CALLEE_RTCP, &report).unwrap().1, "192.0.2.1:50002");
}

#[test]
fn a_payload_type_numbered_differently_is_rewritten_and_nothing_else() {
    let mut bench = Bench::new();
    let mut map = PayloadMap::default();
    assert!(map.insert(101, 96));
    bench.bridge.set_payload_map(Side::Caller, map);
    for (marker, expected) in [(true, 0x80 | 96), (false, 96)] {
        let mut packet = vec![5; HEADER_LEN + 4];
        let header = Header { payload_type: 101, marker, sequence: 3, timestamp: 5, ssrc: 1 };
        header.write(&mut packet).unwrap();
        let (_, _, sent) = bench.send(Side::Caller, false, CALLER, &packet).unwrap();
        assert_eq!(sent[1], expected);
        packet[1] = expected;
        assert_eq!(sent, packet);
    }
    assert_eq!(bench.rtp(Side::Caller, CALLER, 4).unwrap().2, rtp_packet(4, 1));
    let back = bench.rtp(Side::Callee, CALLEE, 4).unwrap().2;
    assert_eq!(back, rtp_packet(4, 2), "the other direction has its own map");
}

#[test]
fn what_is_neither_rtp_nor_rtcp_is_counted_and_dropped() {
    let mut bench = Bench::new();
    let whole = rtp_packet(1, 1);
    let mut csrc = rtp_packet(1, 1);
    csrc[0] |= 0x0f;
    csrc.truncate(40);
    let bad: [&[u8]; 6] = [b"", b"\r\n\r\n", &[0; 20], &whole[..11], &csrc, &[22, 254, 253, 0, 0]];
    for payload in bad {
        assert_eq!(bench.send(Side::Caller, false, CALLER, payload), None);
    }
    assert_eq!(bench.quality(Side::Caller).malformed, 6);
    assert_eq!(bench.quality(Side::Caller).received.packets, 0);
}

#[test]
fn hold_stops_media_one_way_and_rtcp_neither_way() {
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| remote.direction = Direction::SEND_ONLY);
    bench.change(Side::Callee, |remote| remote.direction = Direction::RECV_ONLY);
    assert!(bench.rtp(Side::Caller, CALLER, 1).is_some(), "music on hold");
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 1), None);
    assert_eq!(bench.quality(Side::Callee).withheld, 1);
    assert!(bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[])).is_some());
    bench.change(Side::Callee, |_| ());
    for nowhere in ["0.0.0.0:4000", "192.0.2.1:0", "[::]:4000"] {
        bench.change(Side::Caller, |remote| remote.rtp = Some(address(nowhere)));
        assert_eq!(bench.rtp(Side::Callee, CALLEE, 2), None, "hold as RFC 2543 had it, or a refused stream");
    }
    bench.change(Side::Caller, |_| ());
    assert!(bench.rtp(Side::Callee, CALLEE, 3).is_some());
}

#[test]
fn a_relay_pointed_at_itself_does_not_run_away() {
    let (gateway_caller, gateway_callee) = ("127.0.0.1:30000", "127.0.0.1:30002");
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| remote.rtp = Some(address(gateway_callee)));
    bench.change(Side::Callee, |remote| remote.rtp = Some(address(gateway_caller)));
    let mut rounds = 0;
    // What leaves the caller's socket arrives at the callee's, and the other way round.
    let mut packet = rtp_packet(1, 1);
    while let Some((_, _, bytes)) = bench.send(Side::Caller, false, gateway_callee, &packet) {
        packet = bytes;
        rounds += 1;
        assert!(rounds <= crate::leg_media::PACKETS_PER_SECOND);
    }
    assert_eq!(rounds, crate::leg_media::PACKETS_PER_SECOND);
    assert_eq!(bench.quality(Side::Caller).flooded, 1);
    bench.pass(1000);
    assert!(
        bench.send(Side::Caller, false, gateway_callee, &packet).is_some(),
        "the next second has its own"
    );
}

#[test]
fn a_side_that_nobody_listens_to_is_neither_relayed_nor_missed() {
    let mut bench = Bench::new();
    bench.bridge.start_clock(bench.now);
    // The callee still says sendrecv, the caller does not receive.
    bench.change(Side::Caller, |remote| remote.direction = Direction::SEND_ONLY);
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 1), None);
    for n in 0..60 {
        bench.pass(1000);
        assert!(bench.rtp(Side::Caller, CALLER, n).is_some());
    }
    assert_eq!(bench.bridge.timed_out(bench.now, Duration::from_secs(30)), None);
}

#[test]
fn the_silence_of_a_hold_is_no_gap() {
    let mut bench = Bench::new();
    for n in 0..100 {
        if n == 50 {
            bench.change(Side::Caller, |remote| remote.direction = Direction::RECV_ONLY);
            bench.pass(10_000);
            bench.change(Side::Caller, |_| ());
        }
        bench.pass(20);
        bench.rtp(Side::Caller, CALLER, n);
    }
    let received = bench.quality(Side::Caller).received;
    assert_eq!((received.longest_gap_ms, received.gaps, received.jitter_max_ms), (Some(20.0), 0, Some(0.0)));
}

#[test]
fn jitter_counts_in_the_clock_of_the_codec_heard_not_of_the_one_preferred() {
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| {
        remote.formats = vec![
            format(96, 48_000, None),
            format(8, 16_000, Some(quality::Codec::G711)),
            format(97, 8000, Some(quality::Codec::G711)),
        ];
    });
    assert_eq!(bench.bridge.leg(Side::Caller).payload_type(), Some(96));
    for n in 0..50u16 {
        bench.pass(10); // 160 ticks of 16 kHz
        bench.rtp(Side::Caller, CALLER, n);
    }
    assert_eq!(bench.bridge.leg(Side::Caller).payload_type(), Some(8));
    let received = bench.quality(Side::Caller).received;
    assert_eq!(received.jitter_max_ms, Some(0.0));
    assert!(received.mos.is_some());
    // An event in between changes nothing; a refresh of the session neither.
    let mut packet = vec![5; HEADER_LEN + 4];
    Header { payload_type: 101, marker: true, sequence: 50, timestamp: 8000, ssrc: 1 }
        .write(&mut packet)
        .unwrap();
    bench.pass(10);
    assert!(bench.send(Side::Caller, false, CALLER, &packet).is_some());
    assert_eq!(bench.bridge.leg(Side::Caller).payload_type(), Some(8));
    bench.change(Side::Caller, |_| ());
    assert_eq!(bench.bridge.leg(Side::Caller).payload_type(), Some(8));
}

#[test]
fn a_session_refresh_moves_nothing_a_new_address_does() {
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| remote.policy = Policy::SameIp);
    for n in 0..3 {
        bench.rtp(Side::Caller, "192.0.2.1:61234", n);
    }
    bench.change(Side::Caller, |remote| remote.policy = Policy::SameIp);
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 1).unwrap().1, "192.0.2.1:61234");
    bench.change(Side::Caller, |remote| remote.rtp = Some(address("192.0.2.50:8000")));
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 2).unwrap().1, "192.0.2.50:8000");
    assert_eq!(bench.rtp(Side::Caller, "192.0.2.1:61234", 4), None, "the old address is a stranger's now");
    assert!(bench.rtp(Side::Caller, "192.0.2.50:8000", 5).is_some());
}

#[test]
fn the_next_peer_of_a_hunt_begins_with_nothing_of_the_one_before() {
    let mut bench = Bench::new();
    for n in 0..10 {
        assert!(bench.rtp(Side::Callee, CALLEE, n).is_some(), "early media");
    }
    bench.bridge.forget_remote(bench.now, Side::Callee);
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 10), None);
    assert_eq!(bench.rtp(Side::Caller, CALLER, 1), None);
    assert_eq!(bench.quality(Side::Callee).received.mos, None);
    bench.change(Side::Callee, |remote| remote.rtp = Some(address("198.51.100.8:7000")));
    assert_eq!(bench.rtp(Side::Callee, CALLEE, 11), None);
    assert!(bench.rtp(Side::Callee, "198.51.100.8:7000", 500).is_some());
    assert_eq!(bench.rtp(Side::Caller, CALLER, 2).unwrap().1, "198.51.100.8:7000");
    let received = bench.quality(Side::Callee).received;
    assert_eq!((received.packets, received.lost), (1, 0));
}

fn receiver_report(ssrc: u32, blocks: &[ReportBlock]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).receiver_report(ssrc, blocks).cname(ssrc, b"x");
    bytes
}

fn sender_report(ssrc: u32, ntp: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = SenderInfo { ntp, rtp: 0, packets: 1, octets: 160 };
    Writer::new(&mut bytes).sender_report(ssrc, &info, &[]).cname(ssrc, b"x");
    bytes
}

#[test]
fn rtcp_goes_to_the_rtcp_address_and_only_from_there() {
    let mut bench = Bench::new();
    let report = receiver_report(1, &[]);
    let socket = bench.socket(Side::Callee, true);
    let expected = Some((socket, CALLEE_RTCP.to_string(), report.clone()));
    assert_eq!(bench.send(Side::Caller, true, CALLER_RTCP, &report), expected);
    assert_eq!(bench.send(Side::Caller, true, CALLER, &report), expected, "from the RTP port, as some do");
    for source in [STRANGER, "192.0.2.1:4003", CALLEE_RTCP] {
        assert_eq!(bench.send(Side::Caller, true, source, &report), None);
    }
    assert_eq!(bench.send(Side::Caller, true, CALLER_RTCP, &rtp_packet(1, 1)), None, "RTP on the RTCP port");
    assert_eq!(bench.send(Side::Caller, true, CALLER_RTCP, &report[..10]), None);
    let quality = bench.quality(Side::Caller);
    assert_eq!((quality.strangers, quality.malformed), (3, 2));
    let account = bench.bridge.leg(Side::Caller).rtcp();
    assert_eq!((account.packets, account.receiver_reports, account.sender_reports), (2, 2, 0));
}

#[test]
fn a_peer_that_multiplexes_gets_rtcp_on_its_rtp_port_rfc_5761() {
    let mut bench = Bench::new();
    bench.change(Side::Callee, |remote| remote.rtcp = remote.rtp);
    let report = receiver_report(1, &[]);
    let socket = bench.socket(Side::Callee, false);
    let sent = bench.send(Side::Caller, true, CALLER_RTCP, &report);
    assert_eq!(sent, Some((socket, CALLEE.to_string(), report)));
    let back = receiver_report(2, &[]);
    let (_, to, _) = bench.send(Side::Callee, false, CALLEE, &back).unwrap();
    assert_eq!(to, CALLER_RTCP);
    assert_eq!(bench.quality(Side::Callee).received.packets, 0, "RTCP is no RTP");
    assert_eq!(bench.send(Side::Callee, false, STRANGER, &back), None);
}

#[test]
fn the_round_trip_to_a_peer_is_known_from_its_answer_to_a_relayed_report() {
    let mut bench = Bench::new();
    bench.rtp(Side::Caller, CALLER, 1);
    // The caller's report passes to the callee, who answers 1.25 s later having held it for one second.
    bench.send(Side::Caller, true, CALLER_RTCP, &sender_report(1, 0x1234_5678_9abc_def0));
    bench.pass(1250);
    let answer = ReportBlock {
        ssrc: 1,
        fraction_lost: 25,
        lost: 1,
        jitter: 80,
        last_sr: 0x5678_9abc,
        delay_since_sr: 65_536,
        ..ReportBlock::default()
    };
    let (_, to, _) = bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[answer])).unwrap();
    assert_eq!(to, CALLER_RTCP);
    let quality = bench.quality(Side::Callee);
    assert_eq!(quality.round_trip_ms, Some(250.0));
    assert_eq!(quality.sent.jitter_ms, Some(10.0));
    assert_eq!((quality.sent.packets, quality.sent.lost, quality.sent.loss_percent), (1, 1, Some(50.0)));
    assert!(quality.sent.mos.unwrap() < 2.0);
    assert_eq!(bench.quality(Side::Caller).round_trip_ms, None, "nobody measured that one");
    // Half of it is in R, beside the terminals' delay: Id of ITU-T G.107 for 185 ms.
    bench.rtp(Side::Caller, CALLER, 2);
    let received = bench.quality(Side::Caller).received;
    assert!((received.r.unwrap() - (93.2 - 5.8176)).abs() < 0.001, "{received:?}");
    // An answer to a report that did not pass here says nothing, nor does one about another stream.
    let other = ReportBlock { last_sr: 1, ..answer };
    bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[other]));
    let foreign = ReportBlock { ssrc: 99, last_sr: 0, lost: 7, ..answer };
    bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[foreign]));
    let quality = bench.quality(Side::Callee);
    assert_eq!((quality.round_trip_ms, quality.sent.lost), (Some(250.0), 1));
    // Two reports passed before the answer to the first of them comes.
    for ntp in [0xaaaa_0000_0000, 0xbbbb_0000_0000] {
        bench.send(Side::Caller, true, CALLER_RTCP, &sender_report(1, ntp));
        bench.pass(100);
    }
    let first = ReportBlock { last_sr: 0xaaaa_0000, delay_since_sr: 0, ..answer };
    bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[first]));
    assert_eq!(bench.quality(Side::Callee).round_trip_ms, Some(200.0));
    assert_eq!(bench.bridge.leg(Side::Callee).rtcp().round_trip_max, Some(Duration::from_millis(250)));
}

#[test]
fn a_goodbye_and_an_extended_report_pass_and_are_counted() {
    let mut bench = Bench::new();
    let mut bytes = receiver_report(1, &[]);
    bytes.extend([0x80, rtp::rtcp::packet_type::XR, 0, 1, 0, 0, 0, 1]);
    Writer::new(&mut bytes).bye(1, b"");
    let (_, _, sent) = bench.send(Side::Caller, true, CALLER_RTCP, &bytes).unwrap();
    assert!(matches!(Compound::parse(&sent).unwrap().packets().last(), Some(Rtcp::Goodbye(_))));
    let account = bench.bridge.leg(Side::Caller).rtcp();
    assert_eq!((account.goodbyes, account.others), (1, 1));
}

#[test]
fn silence_of_a_side_that_should_send_ends_the_call() {
    let limit = Duration::from_secs(30);
    let mut bench = Bench::new();
    bench.rtp(Side::Caller, CALLER, 1);
    bench.pass(100_000);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None, "ringing takes what it takes");
    bench.bridge.start_clock(bench.now);
    bench.pass(29_999);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None);
    bench.rtp(Side::Caller, CALLER, 2);
    bench.pass(1);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), Some(Side::Callee), "never said anything");
    bench.send(Side::Callee, true, CALLEE_RTCP, &receiver_report(2, &[]));
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None, "RTCP is a sign of life");
    bench.pass(29_999);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), Some(Side::Caller));
    bench.pass(60_000);
    assert_eq!(
        bench.bridge.timed_out(bench.now, limit),
        Some(Side::Caller),
        "still the one silent for longer"
    );
    assert_eq!(bench.bridge.timed_out(bench.now, Duration::ZERO), None, "no limit");
}

#[test]
fn strangers_do_not_keep_a_dead_call_alive() {
    let mut bench = Bench::new();
    bench.bridge.start_clock(bench.now);
    for n in 0..40u16 {
        bench.pass(1000);
        bench.rtp(Side::Caller, CALLER, n);
        bench.rtp(Side::Callee, STRANGER, n);
        bench.send(Side::Callee, true, STRANGER, &receiver_report(2, &[]));
        bench.send(Side::Callee, true, CALLEE_RTCP, b"noise from the right place");
    }
    assert_eq!(bench.bridge.timed_out(bench.now, Duration::from_secs(30)), Some(Side::Callee));
}

#[test]
fn nobody_times_out_on_hold_and_the_time_begins_anew_after_it() {
    let limit = Duration::from_secs(30);
    let mut bench = Bench::new();
    bench.bridge.start_clock(bench.now);
    bench.change(Side::Caller, |remote| remote.direction = Direction::INACTIVE);
    bench.change(Side::Callee, |remote| remote.direction = Direction::INACTIVE);
    bench.pass(600_000);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None);
    bench.change(Side::Caller, |_| ());
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None, "the callee does not receive yet");
    bench.change(Side::Callee, |_| ());
    bench.pass(29_000);
    assert_eq!(bench.bridge.timed_out(bench.now, limit), None);
    // A refresh does not prolong it.
    bench.change(Side::Caller, |_| ());
    bench.pass(1000);
    assert!(bench.bridge.timed_out(bench.now, limit).is_some());
}

#[test]
fn quality_is_none_until_measured_then_says_what_was_lost() {
    let mut bench = Bench::new();
    let quality = bench.quality(Side::Caller);
    assert_eq!((quality.received.r, quality.received.mos, quality.received.jitter_ms), (None, None, None));
    assert_eq!((quality.received.loss_percent, quality.received.longest_gap_ms), (None, None));
    assert_eq!((quality.sent.r, quality.sent.mos), (None, None));
    for n in 0..100u16 {
        bench.pass(20);
        if n % 50 != 20 {
            bench.rtp(Side::Caller, CALLER, n);
            bench.rtp(Side::Callee, CALLEE, n);
        }
    }
    let quality = bench.quality(Side::Caller);
    assert_eq!((quality.received.packets, quality.received.lost), (98, 2));
    assert_eq!(quality.received.loss_percent, Some(2.0));
    assert_eq!(quality.received.longest_gap_ms, Some(40.0));
    assert_eq!(quality.received.jitter_ms, Some(0.0));
    // 93.2 less Id of ITU-T G.107 for 60 ms, and 95 × 2 / (2 + 4.3).
    assert!((quality.received.r.unwrap() - (93.2 - 1.6823 - 30.1587)).abs() < 0.001);
    bench.change(Side::Caller, |remote| remote.formats = vec![format(8, 8000, None)]);
    assert_eq!(bench.quality(Side::Caller).received.mos, None, "a codec without figures has no score");
    let mut stats = MediaStats::default();
    stats.add_bridge(&bench.bridge);
    assert_eq!((stats.rtp_received, stats.rtp_sent, stats.rtp_lost), (196, 196, 4));
    let mut names = HashSet::new();
    stats.visit(&mut |name, help, _| assert!(names.insert(name) && !help.is_empty()));
}

#[test]
fn clean_audio_scores_above_4_3() {
    let mut bench = Bench::new();
    for n in 0..500 {
        bench.pass(20);
        bench.rtp(Side::Caller, CALLER, n);
    }
    assert!(bench.quality(Side::Caller).received.mos.unwrap() > 4.3);
}

#[test]
fn a_packet_that_found_no_buffer_was_not_sent() {
    let mut bench = Bench::new();
    bench.out = Outbox::new(1, 0);
    for n in 0..3 {
        let packet = rtp_packet(n, 1);
        bench.bridge.relay(Side::Caller, false, bench.now, address(CALLER), &packet, &mut bench.out);
    }
    assert_eq!(bench.out.stats().packets_exhausted, 2);
    assert_eq!(bench.quality(Side::Callee).sent.packets, 1);
    assert_eq!(bench.quality(Side::Caller).received.packets, 3);
}

proptest! {
    /// Whatever arrives from whomever: what leaves came from the peer's own addresses, goes to the other peer's, and is
    /// as long as what came in.
    #[test]
    fn only_the_peers_own_datagrams_ever_leave(
        datagrams in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), 0usize..6, proptest::collection::vec(any::<u8>(), 0..80), 0u8..4),
            0..60,
        ),
    ) {
        let sources = [CALLER, CALLER_RTCP, CALLEE, CALLEE_RTCP, STRANGER, "192.0.2.1:4002"];
        let mut bench = Bench::new();
        for (callee, rtcp, source, mut payload, shape) in datagrams {
            // Most of random bytes is no RTP: give some of them its first bytes.
            if let (1.., [first, second, ..]) = (shape, payload.as_mut_slice()) {
                *first = 0x80 | *first & if shape == 3 { 0x3f } else { 0 };
                *second = [*second, 8, 201][usize::from(shape - 1)];
            }
            let side = if callee { Side::Callee } else { Side::Caller };
            let (own, other) = match side {
                Side::Caller => ([CALLER, CALLER_RTCP], [CALLEE, CALLEE_RTCP]),
                Side::Callee => ([CALLEE, CALLEE_RTCP], [CALLER, CALLER_RTCP]),
            };
            bench.pass(500);
            if let Some((_, to, bytes)) = bench.send(side, rtcp, sources[source], &payload) {
                prop_assert!(own.contains(&sources[source]));
                prop_assert!(other.contains(&to.as_str()));
                prop_assert_eq!(bytes, payload);
            }
            let _ = bench.quality(side);
            prop_assert_eq!(bench.out.pool().taken(), 0);
        }
    }
}

#[test]
fn noise_is_sent_at_its_time_while_a_silent_leg_sends_nothing() {
    use crate::translator::Spoken;
    use media::codec::Codec;
    let spoken = |codec, payload_type| Spoken { codec, payload_type, event_type: None, noise_type: None };
    let mut bench = Bench::new();
    bench.change(Side::Caller, |remote| remote.payload_types |= 1 << 18);
    bench.bridge.translate(Side::Caller, spoken(Codec::G729, 18), spoken(Codec::Pcma, 8));
    let packet = |sequence: u16, octets: usize| {
        let mut bytes = vec![0x35; HEADER_LEN + octets];
        let timestamp = u32::from(sequence) * 160;
        Header { payload_type: 18, marker: false, sequence, timestamp, ssrc: 1 }.write(&mut bytes).unwrap();
        bytes
    };
    assert!(bench.send(Side::Caller, false, CALLER, &packet(1, 20)).is_some());
    assert_eq!((bench.bridge.deadline(), bench.bridge.tends), (None, false));
    bench.pass(20);
    assert!(bench.send(Side::Caller, false, CALLER, &packet(2, 12)).is_some());
    assert!(bench.bridge.tends, "a timer is wanted");
    let mut heard = Vec::new();
    for _ in 0..10 {
        let due = bench.bridge.deadline().unwrap();
        bench.bridge.tend(due, &mut bench.out);
        while let Some(send) = bench.out.next_send() {
            let bytes = bench.out.pool().bytes(&send.packet).to_vec();
            heard.push((due.since(bench.now), Packet::parse(&bytes).unwrap().header().sequence, bytes.len()));
            bench.out.pool().release(send.packet);
        }
    }
    let ms = Duration::from_millis;
    let expected: Vec<_> = (0..10).map(|n| (ms(40 + 20 * u64::from(n)), 3 + n, HEADER_LEN + 160)).collect();
    assert_eq!(heard, expected);
    // Speech again: it goes on behind the noise, and nothing is due.
    bench.pass(230);
    let sent = bench.send(Side::Caller, false, CALLER, &packet(3, 20)).unwrap();
    assert_eq!(Packet::parse(&sent.2).unwrap().header().sequence, 13);
    assert_eq!(bench.bridge.deadline(), None);
    // On hold nothing is filled.
    bench.send(Side::Caller, false, CALLER, &packet(4, 12)).unwrap();
    bench.change(Side::Callee, |remote| remote.direction = Direction::SEND_ONLY);
    bench.bridge.tend(bench.now + ms(500), &mut bench.out);
    assert!(bench.out.next_send().is_none() && bench.bridge.deadline().is_none());
}
