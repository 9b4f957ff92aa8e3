//! What a ladder says of a call with a retransmission and a second trunk, in each of its forms.

use super::*;
use link::{ShardId, Ticket, TraceLeg};
use proptest::prelude::*;

fn message(ms: u64, leg: u16, sent: bool, text: &str) -> TraceMessage {
    let remote = match leg {
        0 => "192.0.2.7:5080",
        1 => "192.0.2.10:5060",
        _ => "192.0.2.20:5060",
    };
    TraceMessage {
        at: UnixMicros(1_700_000_000_000_000 + ms * 1000),
        leg,
        sent,
        transport: if leg == 2 { "tcp".into() } else { "udp".into() },
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn request(method: &str, sdp: bool) -> String {
    let body = if sdp { "v=0\r\n" } else { "" };
    let kind = if sdp { "Content-Type: application/sdp\r\n" } else { "" };
    format!("{method} sip:1@h SIP/2.0\r\nCSeq: 1 {method}\r\n{kind}\r\n{body}")
}

fn response(status: &str, method: &str) -> String {
    format!("SIP/2.0 {status}\r\ncseq: 1 {method}\r\n\r\n")
}

fn trace() -> Trace {
    let leg = |leg, label: &str| TraceLeg { leg, label: label.into(), sip_call_id: format!("{leg}@h") };
    Trace {
        ticket: Ticket(1),
        shard: ShardId(0),
        recording: true,
        call: Some(CallId(0x17)),
        session_id: Some("a;remote=b".into()),
        legs: vec![leg(0, "caller"), leg(1, "carrier-a"), leg(2, "carrier-b")],
        messages: vec![
            message(0, 0, false, &request("INVITE", true)),
            message(0, 0, true, &response("100 Trying", "INVITE")),
            message(1, 1, true, &request("INVITE", true)),
            message(501, 1, true, &request("INVITE", true)),
            message(520, 1, false, &response("503 Service Unavailable", "INVITE")),
            message(521, 1, true, &request("ACK", false)),
            message(522, 2, true, &request("INVITE", true)),
            message(540, 2, false, &response("200 OK", "INVITE")),
            message(541, 0, true, &response("200 OK", "INVITE")),
            message(9541, 0, false, &request("BYE", false)),
            message(9542, 0, true, &response("200 OK", "BYE")),
        ],
        truncated: false,
    }
}

fn ladder() -> Ladder {
    Ladder::new(&trace(), |at| format!("{} us", at.0))
}

#[test]
fn messages_are_read_and_repetitions_known() {
    let ladder = ladder();
    let read: Vec<_> = ladder.messages.iter().map(Step::words).collect();
    assert_eq!(
        read,
        [
            "INVITE SDP",
            "100 Trying",
            "INVITE SDP",
            "INVITE SDP again",
            "503 Service Unavailable",
            "ACK",
            "INVITE SDP",
            "200 OK",
            "200 OK",
            "BYE",
            "200 OK (BYE)"
        ]
    );
    assert_eq!((ladder.messages[4].status, ladder.messages[4].method.as_str()), (Some(503), "INVITE"));
    assert_eq!(ladder.messages[10].offset_ms, 9542.0);
    assert_eq!(ladder.parties[2].address, Some("192.0.2.20:5060".parse().unwrap()));
}

#[test]
fn the_text_has_a_column_for_each_party_and_arrows_point_the_right_way() {
    let text = ladder().text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("call 0000000000000017, 11 messages from 1700000000000000 us"), "{text}");
    assert!(lines[0].ends_with(", Session-ID a;remote=b"), "{text}");
    for (word, at) in [("caller", 0), ("gateway", 1), ("carrier-a", 2), ("carrier-b", 3)] {
        let place = lines[1].find(word).unwrap() + word.len() / 2;
        assert!(place.abs_diff(24 + 30 * at) <= 1, "{word} at {place}\n{text}");
    }
    let row = |at: usize| lines[3 + at];
    assert!(
        row(0).contains("INVITE SDP ")
            && row(0).ends_with("▶│                             │                             │"),
        "{text}"
    );
    assert!(row(1).contains("│◀") && row(1).contains("100 Trying"), "{text}");
    assert!(row(3).contains("╌ INVITE SDP again ╌"), "{text}");
    assert!(row(6).ends_with("▶│") && row(6).contains("INVITE SDP"), "to the second trunk\n{text}");
    assert!(row(7).contains("│◀"), "{text}");
    assert!(row(10).trim_start().starts_with("9542.000 ms"), "{text}");
}

#[test]
fn the_svg_is_well_formed_and_carries_each_message() {
    let mut trace = trace();
    trace.messages[0].bytes.extend_from_slice(b"<&\"\0\xff>");
    let svg = Ladder::new(&trace, |_| "now".into()).svg();
    assert_eq!(svg.matches("<g class=\"step ").count(), 11);
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    assert!(svg.contains("&lt;&amp;&quot;\u{fffd}\u{fffd}&gt;"), "escaped and cleaned");
    assert!(svg.contains("step bad") && svg.contains("step request again") && svg.contains("9.0 s later"));
    assert!(svg.contains("prefers-color-scheme:dark"));
}

/// Reads what was written by the specification: blocks, then packets, whose sums must come out.
fn packets_of(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut kinds, mut packets) = (0, Vec::new(), Vec::new());
    while at < file.len() {
        let length = u32_at(at + 4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(at + length - 4) as usize, length, "the length stands twice");
        kinds.push(u32_at(at));
        if u32_at(at) == 6 {
            let time = (u64::from(u32_at(at + 12)) << 32) | u64::from(u32_at(at + 16));
            let captured = u32_at(at + 20) as usize;
            assert_eq!(captured, u32_at(at + 24) as usize);
            packets.push((time, file[at + 28..at + 28 + captured].to_vec()));
        }
        at += length;
    }
    assert_eq!(kinds[..2], [0x0a0d_0d0a, 1]);
    assert!(kinds[2..].iter().all(|kind| *kind == 6));
    packets
}

/// RFC 1071: the sum over everything, its own field included, is all ones.
fn sums_up(parts: &[&[u8]]) -> bool {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// Addresses, ports, protocol, TCP sequence numbers and payload of a packet whose sums are right.
fn dissect(packet: &[u8]) -> (SocketAddr, SocketAddr, u8, Option<(u32, u32)>, Vec<u8>) {
    let v4 = packet[0] >> 4 == 4;
    let (from, to, protocol, inner): (IpAddr, IpAddr, u8, &[u8]) = if v4 {
        assert!(sums_up(&[&packet[..20]]), "IP header");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        (ip(12), ip(16), packet[9], &packet[20..])
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - 40);
        let ip = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        (ip(8), ip(24), packet[6], &packet[40..])
    };
    let addresses = if v4 { &packet[12..20] } else { &packet[8..40] };
    let length = (inner.len() as u32).to_be_bytes();
    assert!(sums_up(&[addresses, &length, &[0, protocol], inner]), "transport");
    let port = |at: usize| u16::from_be_bytes([inner[at], inner[at + 1]]);
    let number = |at: usize| u32::from_be_bytes(inner[at..at + 4].try_into().unwrap());
    let (numbers, payload) = match protocol {
        17 => {
            assert_eq!(usize::from(port(4)), inner.len());
            (None, &inner[8..])
        }
        6 => (Some((number(4), number(8))), &inner[20..]),
        other => panic!("protocol {other}"),
    };
    (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)), protocol, numbers, payload.to_vec())
}

use std::net::IpAddr;

#[test]
fn packets_carry_what_was_on_the_wire() {
    let trace = trace();
    let packets = packets_of(&pcapng(&trace));
    assert_eq!(packets.len(), trace.messages.len());
    for ((time, packet), message) in packets.iter().zip(&trace.messages) {
        let (from, to, protocol, _, payload) = dissect(packet);
        let ends =
            if message.sent { (message.local, message.remote) } else { (message.remote, message.local) };
        assert_eq!(((from, to), *time), (ends, message.at.0));
        assert_eq!(protocol, if message.transport == "udp" { 17 } else { 6 });
        assert_eq!(payload, message.bytes);
    }
    // Over TCP each side goes on where it stopped, and acknowledges what it has.
    let invite = dissect(&packets[6].1);
    let answer = dissect(&packets[7].1);
    assert_eq!(invite.3, Some((1, 1)));
    assert_eq!(answer.3, Some((1, 1 + trace.messages[6].bytes.len() as u32)));
}

#[test]
fn ipv6_and_mixed_families_and_long_messages_are_packets_too() {
    let mut trace = trace();
    trace.messages.truncate(2);
    trace.messages[0].local = "[2001:db8::1]:5060".parse().unwrap();
    trace.messages[0].remote = "[2001:db8::2]:5060".parse().unwrap();
    trace.messages[1].remote = "[2001:db8::2]:5060".parse().unwrap();
    trace.messages[1].transport = "tls".into();
    trace.messages[1].bytes = vec![7; 70_001];
    let packets = packets_of(&pcapng(&trace));
    assert_eq!(packets.len(), 3, "the second in two segments");
    assert_eq!(dissect(&packets[0].1).0, trace.messages[0].remote);
    let (first, second) = (dissect(&packets[1].1), dissect(&packets[2].1));
    assert_eq!(first.0.ip().to_canonical(), trace.messages[1].local.ip());
    assert_eq!((first.4.len() + second.4.len(), second.3), (70_001, Some((1 + first.4.len() as u32, 1))));
}

proptest! {
    #[test]
    fn nothing_panics(
        messages in proptest::collection::vec((any::<u64>(), 0u16..5, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..20),
    ) {
        let mut trace = trace();
        trace.messages = messages
            .into_iter()
            .map(|(at, leg, sent, bytes)| TraceMessage { at: UnixMicros(at), bytes, ..message(0, leg, sent, "") })
            .collect();
        let ladder = Ladder::new(&trace, |_| String::new());
        prop_assert_eq!(ladder.text().lines().count(), 3 + trace.messages.len());
        prop_assert!(ladder.svg().ends_with("</svg>\n"));
        // A message without a byte has no TCP segment.
        let empty = trace.messages.iter().filter(|it| it.bytes.is_empty() && it.transport != "udp").count();
        prop_assert_eq!(packets_of(&pcapng(&trace)).len(), trace.messages.len() - empty);
    }
}
