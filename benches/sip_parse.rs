//! What reading and writing one SIP message costs: an INVITE of 874 bytes and 15 headers, its answer, its SDP.
//!
//! `cargo bench --bench sip_parse`; `cargo test --benches` runs each once.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sip::message::{Message, Name, RequestWriter, ResponseWriter, peek, validate};
use sip::sdp::{Direction, LocalOrigin, Relay, Session, rewrite};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

/// As a carrier's border controller sends it.
const HEAD: &str = "INVITE sip:+4930123456@192.0.2.10:5060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK-524287-1---a3c1f0d2;rport\r\n\
Max-Forwards: 70\r\n\
From: \"Alice\" <sip:+86755123456@carrier.example.com;user=phone>;tag=8a7b6c5d\r\n\
To: <sip:+4930123456@gateway.example.net;user=phone>\r\n\
Call-ID: 7f3e9d10-1c2b-4a59-8e70@192.0.2.20\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:+86755123456@192.0.2.20:5060;transport=udp>\r\n\
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK, INFO, REFER\r\n\
Supported: timer, replaces, 100rel\r\n\
Session-Expires: 1800\r\n\
Min-SE: 90\r\n\
User-Agent: Border/4.2\r\n\
P-Asserted-Identity: <sip:+86755123456@carrier.example.com>\r\n\
Content-Type: application/sdp\r\n";

const SDP: &str = "v=0\r\n\
o=- 20518 0 IN IP4 192.0.2.20\r\n\
s=-\r\n\
c=IN IP4 192.0.2.20\r\n\
t=0 0\r\n\
m=audio 49170 RTP/AVP 8 0 101\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n";

/// The length the figures of other parsers were taken at.
const LENGTH: usize = 874;

fn invite() -> Vec<u8> {
    let tail = format!("Content-Length: {}\r\n\r\n{SDP}", SDP.len());
    // The user agent's name takes up what is missing.
    let missing = LENGTH.saturating_sub(HEAD.len() + tail.len());
    let message = HEAD.replace("Border/4.2", &format!("Border/4.2{}", "0".repeat(missing))) + &tail;
    message.into_bytes()
}

fn message(c: &mut Criterion) {
    let invite = invite();
    let parsed = Message::parse(&invite).unwrap();
    assert_eq!((invite.len(), parsed.fields().count()), (LENGTH, 15));
    validate(&parsed).unwrap();

    let mut group = c.benchmark_group("sip");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function("parse_invite_874", |b| {
        b.iter(|| Message::parse(black_box(&invite)).unwrap().bytes().len());
    });
    group.bench_function("parse_and_validate_invite_874", |b| {
        b.iter(|| validate(&Message::parse(black_box(&invite)).unwrap()).is_ok());
    });
    group.bench_function("validate_invite_874", |b| b.iter(|| validate(black_box(&parsed)).is_ok()));
    group.bench_function("peek_invite_874", |b| {
        b.iter(|| peek(black_box(&invite)).map(|p| p.call_id.len()));
    });
    let mut out = Vec::with_capacity(2048);
    let source = "192.0.2.20:5060".parse().unwrap();
    group.bench_function("write_response_180", |b| {
        b.iter(|| {
            out.clear();
            let mut writer = ResponseWriter::answer(
                &mut out,
                black_box(&parsed),
                180,
                None,
                Some(b"9f8e7d"),
                Some(source),
            );
            writer.header(Name::Contact, b"<sip:192.0.2.10:5060>");
            writer.end().unwrap();
            out.len()
        });
    });
    group.bench_function("write_invite_874", |b| {
        b.iter(|| {
            out.clear();
            write(&mut out, black_box(&parsed));
            out.len()
        });
    });
    // Byte for byte what was read, so that the two figures are of the same message.
    assert_eq!(out, invite);
    group.finish();
}

/// Writes a message field by field as it was read.
fn write(out: &mut Vec<u8>, message: &Message<'_>) {
    let mut writer = RequestWriter::begin(out, message.method_bytes(), message.request_uri());
    for field in message.fields() {
        if !matches!(field.name, Name::ContentType | Name::ContentLength) {
            writer.header_named(std::str::from_utf8(field.spelling).unwrap(), field.value);
        }
    }
    writer.body("application/sdp", message.body()).unwrap();
}

fn description(c: &mut Criterion) {
    let mut group = c.benchmark_group("sdp");
    group.bench_function("parse", |b| {
        b.iter(|| Session::parse(black_box(SDP.as_bytes())).unwrap().media.len());
    });
    let mut origin = LocalOrigin::new(1);
    let relay = Relay {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
        ports: &[16_384],
        codecs: &[],
        events: sip::sdp::Events::AsDescribed,
        direction: Direction::SendRecv,
        protocol: None,
        crypto: &[],
        extended_reports: None,
        added: sip::sdp::Added::default(),
    };
    let mut out = Vec::with_capacity(2048);
    group.bench_function("parse_and_rewrite", |b| {
        b.iter(|| {
            out.clear();
            let session = Session::parse(black_box(SDP.as_bytes())).unwrap();
            rewrite(&session, &relay, &mut origin, &mut out).unwrap();
            out.len()
        });
    });
    group.finish();
}

/// All messages of RFC 4475 and RFC 5118, sound and broken, one after the other.
fn torture(c: &mut Criterion) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut messages = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "dat") {
                messages.push(std::fs::read(path).unwrap());
            }
        }
    }
    assert!(messages.len() > 50, "{} messages", messages.len());
    messages.sort();
    let mut group = c.benchmark_group("torture");
    group.throughput(Throughput::Elements(messages.len() as u64));
    group.bench_function("parse_and_validate_all", |b| {
        b.iter(|| {
            let sound = |bytes: &&Vec<u8>| Message::parse(bytes).is_ok_and(|m| validate(&m).is_ok());
            black_box(&messages).iter().filter(sound).count()
        });
    });
    group.finish();
}

criterion_group!(benches, message, description, torture);
criterion_main!(benches);
