//! What relaying one RTP packet costs without the kernel: check, count, copy, rewrite, hand to the driver.
//!
//! To be read beside the 3 to 4 µs that the kernel's UDP path takes for the same packet: the relay's own work shall
//! stay far below that. `cargo bench --bench relay`; `cargo test --benches` runs each once.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use allocation_counter::measure;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::codec::{Codec, Encoder, Rate};
use media::opus::Settings;
use rtp::{HEADER_LEN, Header, Policy, quality};
use sansio::{Outbox, Random, SocketEvent, SocketId, Time};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use switch::bridge::{Bridge, Side};
use switch::keys::{Dtmf, Speaker};
use switch::leg_media::{Direction, Format, PayloadMap, Remote};
use switch::ports::{Pair, PortPool};
use switch::translator::Spoken;
use switch::{Reporting, RtcpPolicy, RtpPorts, Secrets};

/// 20 ms of G.711.
const PAYLOAD: usize = 160;

/// Pairs of ports, opened without a driver.
fn pairs(count: u16) -> Vec<Pair> {
    let ports = RtpPorts { low: 10_000, high: 10_000 + 2 * count - 1 };
    let base = SocketId(1 << 16);
    let mut pool = PortPool::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ports, base, u32::from(count));
    let mut out = Outbox::<()>::new(1, 0);
    let mut pairs = Vec::new();
    while pairs.len() < usize::from(count) {
        pool.refill(Time::ZERO, &mut out);
        while let Some(action) = out.next_action() {
            if let sansio::Action::Open { socket, local, .. } = action {
                pool.handle_socket(Time::ZERO, socket, SocketEvent::Opened(local), &mut out);
            }
        }
        pairs.extend(std::iter::from_fn(|| pool.take(Time::ZERO, &mut out)));
    }
    pairs
}

fn remote(address: SocketAddr) -> Remote {
    Remote {
        rtp: Some(address),
        rtcp: Some(SocketAddr::new(address.ip(), address.port() + 1)),
        policy: Policy::Strict,
        direction: Direction::SEND_RECV,
        payload_types: 1 | 1 << 8 | 1 << 9 | 1 << 18 | 1 << 101,
        formats: vec![Format { payload_type: 8, clock: 8000, codec: Some(quality::Codec::G711) }],
        event_type: Some(101),
    }
}

/// One direction of a call: where its packets come from, and the next of them.
struct Stream {
    call: usize,
    side: Side,
    source: SocketAddr,
    packet: [u8; HEADER_LEN + PAYLOAD],
    header: Header,
    at: Time,
}

impl Stream {
    /// Numbers the next packet, 20 ms after the last.
    fn next(&mut self) {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(PAYLOAD as u32);
        self.at += Duration::from_millis(20);
        self.header.write(&mut self.packet).unwrap();
    }
}

struct Calls {
    bridges: Vec<Bridge>,
    streams: Vec<Stream>,
    out: Outbox<()>,
}

impl Calls {
    fn new(count: u16) -> Self {
        let pairs = pairs(2 * count);
        let (mut bridges, mut streams) = (Vec::new(), Vec::new());
        for (call, pair) in pairs.chunks(2).enumerate() {
            let mut bridge = Bridge::new(pair[0], pair[1]);
            for side in [Side::Caller, Side::Callee] {
                let host = Ipv4Addr::new(192, 0, 2, side as u8 + 1);
                let source = SocketAddr::new(host.into(), 10_000 + 4 * call as u16);
                bridge.set_remote(Time::ZERO, side, &remote(source));
                let ssrc = call as u32 * 2 + side as u32 + 1;
                let header = Header { payload_type: 8, ssrc, ..Header::default() };
                let packet = [0xd5; HEADER_LEN + PAYLOAD];
                streams.push(Stream { call, side, source, packet, header, at: Time::from_millis(1000) });
            }
            bridges.push(bridge);
        }
        // In the order in which a kernel would deliver them: any.
        let mut random = Random::new(1);
        for n in (1..streams.len()).rev() {
            streams.swap(n, random.below(n as u64 + 1) as usize);
        }
        Self { bridges, streams, out: Outbox::new(64, 1) }
    }

    /// One packet in; what comes out goes the way a driver sends it.
    fn relay(&mut self, stream: usize) -> usize {
        self.relay_of(stream, HEADER_LEN + PAYLOAD)
    }

    /// The same with a packet of so many octets.
    fn relay_of(&mut self, stream: usize, length: usize) -> usize {
        let stream = &mut self.streams[stream];
        stream.next();
        let bridge = &mut self.bridges[stream.call];
        bridge.relay(stream.side, false, stream.at, stream.source, &stream.packet[..length], &mut self.out);
        let mut octets = 0;
        while let Some(send) = self.out.next_send() {
            octets += send.packet.len();
            self.out.pool().release(black_box(send).packet);
        }
        octets
    }
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    for count in [1u16, 1000] {
        let mut calls = Calls::new(count);
        let mut next = 0;
        group.bench_function(format!("packet_{count}_calls"), |b| {
            b.iter(|| {
                next = (next + 1) % calls.streams.len();
                let octets = calls.relay(next);
                assert_eq!(octets, HEADER_LEN + PAYLOAD);
            });
        });
    }

    let mut calls = Calls::new(1);
    let mut map = PayloadMap::default();
    assert!(map.insert(101, 96) && map.insert(8, 97));
    for side in [Side::Caller, Side::Callee] {
        calls.bridges[0].set_payload_map(side, map);
    }
    group.bench_function("packet_payload_type_rewritten", |b| b.iter(|| calls.relay(0)));

    // What sound costs where keys are translated: looked at for telephone events, listened to for tones.
    for (name, dtmf, events) in
        [("events_to_info", Dtmf::Rfc4733, Some((101, 101))), ("tones_to_info", Dtmf::Inband, None)]
    {
        let mut calls = Calls::new(1);
        let codecs = vec![(8, Codec::Pcma)];
        let from = Speaker { dtmf, events, codecs: codecs.clone() };
        let to = Speaker { dtmf: Dtmf::Info, events: None, codecs };
        let speakers = if calls.streams[0].side == Side::Caller { [&from, &to] } else { [&to, &from] };
        calls.bridges[0].set_speakers(speakers[0], speakers[1], 1);
        group.bench_function(format!("packet_{name}"), |b| {
            b.iter(|| assert_eq!(calls.relay(0), HEADER_LEN + PAYLOAD));
        });
    }

    let mut calls = Calls::new(1);
    calls.streams[0].source.set_port(9);
    group.bench_function("stranger_dropped", |b| b.iter(|| assert_eq!(calls.relay(0), 0)));
    group.finish();
}

/// The same where the legs speak different codecs: 20 ms of the one become 20 ms of the other.
fn translate(c: &mut Criterion) {
    let spoken =
        |codec: Codec, payload_type: u8| Spoken { codec, payload_type, event_type: None, noise_type: None };
    // Of constant size, so that it is known.
    let opus = Settings::of(Rate::Hz48000).asked(b"maxaveragebitrate=24000;cbr=1");
    let opus = Codec::Opus(opus);
    let size = |codec: Codec| if codec == opus { 60 } else { codec.octets(20) };
    let known = [(Codec::Pcma, 8), (Codec::Pcmu, 0), (Codec::G722, 9), (Codec::G729, 18), (opus, 111)];
    let mut group = c.benchmark_group("translate");
    group.throughput(Throughput::Elements(1));
    for (here, there) in
        known.iter().flat_map(|a| known.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b)
    {
        let mut calls = Calls::new(1);
        let side = calls.streams[0].side;
        let (from, to) = (here.0.at(there.0.rate()), there.0.at(here.0.rate()));
        calls.bridges[0].translate(side, spoken(from, here.1), spoken(to, there.1));
        let octets = size(here.0);
        if here.0 == opus {
            let mut encoder = Encoder::new(opus, false);
            let mut voice = [0; 960];
            media::Tone::dual((180.0, 9000), (730.0, 5000), 48_000).fill(&mut voice);
            encoder.encode(&voice, &mut calls.streams[0].packet[HEADER_LEN..HEADER_LEN + octets]);
        }
        calls.streams[0].header.payload_type = here.1;
        group.bench_function(format!("{}_to_{}", here.0.name(), there.0.name()), |b| {
            b.iter(|| {
                let sent = calls.relay_of(0, HEADER_LEN + octets);
                assert_eq!(sent, HEADER_LEN + size(there.0));
            });
        });
    }
    group.finish();
}

fn parts(c: &mut Criterion) {
    let mut calls = Calls::new(1);
    calls.streams[0].next();
    let packet = calls.streams[0].packet;
    c.bench_function("rtp_parse", |b| {
        b.iter(|| *rtp::Packet::parse(black_box(&packet)).unwrap().header());
    });
    let mut receiver = rtp::Receiver::new(8000, Some(101));
    c.bench_function("receiver_record", |b| {
        let stream = &mut calls.streams[0];
        b.iter(|| {
            stream.next();
            receiver.record(stream.at, &stream.header, PAYLOAD)
        });
    });
}

/// What a call costs besides its packets: each second is judged once, and a report goes to each side about every four.
fn reports(c: &mut Criterion) {
    let mut group = c.benchmark_group("call");
    for (name, extended) in [("report", false), ("report_extended", true)] {
        let mut calls = Calls::new(1);
        for side in [Side::Caller, Side::Callee] {
            calls.bridges[0].set_reporting(side, Reporting { rtcp: RtcpPolicy::Own, extended });
        }
        let (mut random, mut secrets) = (Random::new(1), Secrets::new([1; 32]));
        let mut report = move || {
            // Something to be reported, and more time than any interval takes.
            calls.relay(0);
            let now = calls.streams[0].at + Duration::from_secs(10);
            calls.streams[0].at = now;
            calls.bridges[0].report((now, now.as_nanos()), &mut random, &mut secrets, &mut calls.out);
            while let Some(send) = calls.out.next_send() {
                calls.out.pool().release(black_box(send).packet);
            }
        };
        report();
        report();
        assert_eq!(measure(&mut report).count_total, 0, "memory is asked for with the first report only");
        group.bench_function(name, |b| b.iter(&mut report));
    }
    let mut calls = Calls::new(1);
    group.bench_function("second_judged", |b| {
        b.iter(|| {
            let octets = calls.relay(0) + calls.relay(1);
            let now = calls.streams[0].at;
            calls.bridges[0].judge(now);
            (octets, calls.bridges[0].trouble(now, Duration::from_secs(5)))
        });
    });
    group.finish();
}

criterion_group!(benches, relay, translate, parts, reports);
criterion_main!(benches);
