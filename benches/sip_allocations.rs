//! How often reading and writing SIP asks for memory: counted, not timed, so that a figure that grows fails here.
//!
//! `cargo bench --bench sip_allocations` prints the table; `cargo test --benches` holds it against the bounds.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use allocation_counter::measure;
use sip::message::{Message, Name, RequestWriter, ResponseWriter, peek, validate};
use sip::sdp::Session;
use std::hint::black_box;

const INVITE: &[u8] = b"INVITE sip:+4930123456@192.0.2.10:5060;user=phone SIP/2.0\r\n\
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
Content-Type: application/sdp\r\n\
Content-Length: 174\r\n\
\r\n\
v=0\r\n\
o=- 20518 0 IN IP4 192.0.2.20\r\n\
s=-\r\n\
c=IN IP4 192.0.2.20\r\n\
t=0 0\r\n\
m=audio 49170 RTP/AVP 8 0 101\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n";

/// Counts what `work` asks for, and holds it against what it may.
fn count(name: &str, most: u64, work: impl FnOnce()) {
    let seen = measure(work);
    println!("| {name} | {} | {} |", seen.count_total, seen.bytes_total);
    assert!(seen.count_total <= most, "{name}: {} allocations, {most} at most", seen.count_total);
}

fn main() {
    let message = Message::parse(INVITE).unwrap();
    validate(&message).unwrap();
    let sdp = message.body();
    assert!(sdp.ends_with(b"0-15\r\n"));
    let source = "192.0.2.20:5060".parse().unwrap();
    let mut out = Vec::with_capacity(4096);
    println!("| one INVITE of {} bytes | allocations | bytes |\n|---|---|---|", INVITE.len());
    count("peek", 0, || {
        black_box(peek(black_box(INVITE)));
    });
    count("parse", 0, || drop(black_box(Message::parse(black_box(INVITE)))));
    count("parse and validate", 0, || {
        black_box(validate(&Message::parse(black_box(INVITE)).unwrap()).is_ok());
    });
    count("write the request", 0, || {
        out.clear();
        let mut writer = RequestWriter::begin(&mut out, message.method_bytes(), message.request_uri());
        for field in message.fields() {
            if !matches!(field.name, Name::ContentType | Name::ContentLength) {
                writer.header_named(std::str::from_utf8(field.spelling).unwrap(), field.value);
            }
        }
        writer.body("application/sdp", sdp).unwrap();
    });
    assert_eq!(out, INVITE);
    // One for the text of `received`.
    count("write the 180 to it", 1, || {
        out.clear();
        let tag = Some(&b"9f8e7d"[..]);
        let mut writer = ResponseWriter::answer(&mut out, &message, 180, None, tag, Some(source));
        writer.header(Name::Contact, b"<sip:192.0.2.10:5060>");
        writer.end().unwrap();
    });
    count("parse its SDP", 1, || drop(black_box(Session::parse(black_box(sdp)))));
}
