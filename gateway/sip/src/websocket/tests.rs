//! Tests of the WebSocket framing: the RFC's own examples, fragments, and everything a peer must not send.

use super::*;

const OPENING: &str = "GET /chat HTTP/1.1\r\nHost: sip-ws.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://www.example.com\r\nSec-WebSocket-Protocol: chat, sip\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn opened() -> Session {
    let mut session = Session::new();
    session.take(OPENING.as_bytes());
    assert!(matches!(session.next(), Some(Step::Opened(_))));
    session
}

/// A masked frame: first byte, payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = head(Opcode::Text, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The code with which frames are refused.
fn code_of(bytes: &[u8]) -> u16 {
    let mut session = opened();
    session.take(bytes);
    loop {
        match session.next() {
            Some(Step::Over { reply, why: Ending::Broken }) => {
                assert_eq!(&reply[..2], [0x88, 2]);
                assert_eq!(session.next(), None);
                session.take(b"more");
                assert_eq!(session.next(), None, "nothing comes after the end");
                return u16::from_be_bytes([reply[2], reply[3]]);
            }
            Some(_) => {}
            None => return 0,
        }
    }
}

/// RFC 6455 §1.3 has this key and this answer.
#[test]
fn the_handshake_is_answered_as_rfc_6455_1_3_shows() {
    for cut in 0..OPENING.len() {
        let mut session = Session::new();
        session.take(&OPENING.as_bytes()[..cut]);
        assert_eq!(session.next(), None, "not whole after {cut} bytes");
        session.take(&OPENING.as_bytes()[cut..]);
        let Some(Step::Opened(reply)) = session.next() else { panic!("cut at {cut}") };
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
        assert!(reply.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{reply}");
        assert!(reply.contains("\r\nSec-WebSocket-Protocol: sip\r\n"), "{reply}");
    }
}

#[test]
fn handshakes_that_are_none_are_refused_by_status() {
    let without =
        |line: &str| OPENING.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect::<String>();
    let cases = [
        (String::from("OPTIONS sip:a SIP/2.0\r\n\r\n"), "400"),
        (String::from("\x16\x03\x01\x02\x00"), "400"),
        (String::from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "426"),
        (without("Upgrade"), "426"),
        (without("Connection"), "426"),
        (without("Sec-WebSocket-Version"), "426"),
        (without("Sec-WebSocket-Protocol"), "400"),
        (without("Sec-WebSocket-Key"), "400"),
        (without("Host"), "400"),
        (OPENING.replace("chat, sip", "chat"), "400"),
        (OPENING.replace("Version: 13", "Version: 8"), "426"),
        (OPENING.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), "400"),
        (OPENING.replace("HTTP/1.1", "HTTP/1.0"), "400"),
        (OPENING.replace("Origin: ", "Origin "), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)), "431"),
    ];
    for (request, status) in cases {
        let mut session = Session::new();
        session.take(request.as_bytes());
        let Some(Step::Over { reply, why: Ending::Refused }) = session.next() else { panic!("{request}") };
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{reply}");
        // RFC 6455 §4.4: who speaks another version, or names none, is told ours.
        let other = request.contains("Upgrade: websocket") && !request.contains("Version: 13");
        assert_eq!(reply.contains("Sec-WebSocket-Version: 13"), other, "{request}{reply}");
        assert_eq!(session.next(), None);
    }
}

/// RFC 6455 §5.7: "Hello", whole and in two fragments, with a ping between; cut anywhere.
#[test]
fn messages_come_out_whole_however_they_come_in() {
    let mut bytes = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    bytes.extend(frame(0x01, b"Hel"));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x80, b"lo"));
    bytes.extend(frame(0x8a, b"nobody asked"));
    bytes.extend(frame(0x82, &[0xff; 300]));
    bytes.extend(frame(0x81, b"\r\n\r\n"));
    for cut in 0..=bytes.len() {
        let mut session = opened();
        let mut steps = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            session.take(part);
            steps.extend(core::iter::from_fn(|| session.next()));
        }
        let expected = [
            Step::Message(b"Hello".to_vec()),
            Step::Reply(b"\x8a\x04ping".to_vec()),
            Step::Message(b"Hello".to_vec()),
            Step::Message(vec![0xff; 300]),
            Step::KeepAlive,
        ];
        assert_eq!(steps, expected, "cut at {cut}");
    }
}

#[test]
fn frames_that_break_the_rules_are_refused_by_code() {
    let unmasked = b"\x81\x05Hello";
    assert_eq!(code_of(unmasked), 1002, "RFC 6455 §5.1");
    assert_eq!(code_of(&frame(0xc1, b"a")), 1002, "a reserved bit");
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(code_of(&frame(0x80 | opcode, b"a")), 1002, "opcode {opcode}");
    }
    assert_eq!(code_of(&frame(0x80, b"a")), 1002, "a continuation of nothing");
    assert_eq!(code_of(&[frame(0x01, b"a"), frame(0x81, b"b")].concat()), 1002, "a message within a message");
    assert_eq!(code_of(&frame(0x09, b"a")), 1002, "a ping in fragments");
    assert_eq!(code_of(&frame(0x89, &[0; 126])), 1002, "a long ping");
    assert_eq!(code_of(b"\x81\xfe\x00\x05\0\0\0\0Hello"), 1002, "a length written longer than needed");
    assert_eq!(code_of(b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"), 1002, "the same with 64 bits");
    assert_eq!(code_of(b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0"), 1002, "the highest bit of a length");
    assert_eq!(code_of(b"\x81\xff\0\0\0\x7f\0\0\0\0\0\0\0\0"), 1009, "more than is ever kept");
    assert_eq!(code_of(&frame(0x81, b"\xff\xfe")), 1007, "text that is not UTF-8");
    assert_eq!(code_of(&frame(0x88, b"\x03")), 1002, "half a code");
    assert_eq!(code_of(&frame(0x88, &1005_u16.to_be_bytes())), 1002, "a code that is never sent");
    assert_eq!(code_of(&frame(0x88, b"\x03\xe8\xff")), 1007, "a reason that is not UTF-8");
    let half = vec![b'a'; MESSAGE_MAX / 2 + 1];
    assert_eq!(code_of(&[frame(0x01, &half), frame(0x00, &half)].concat()), 1009, "fragments without end");
    assert_eq!(code_of(&frame(0x81, &vec![b'a'; MESSAGE_MAX])), 0, "the largest message");
}

#[test]
fn a_close_is_answered_with_its_code() {
    for (payload, reply) in [(&b"\x03\xe8bye"[..], &b"\x88\x02\x03\xe8"[..]), (b"", b"\x88\x00")] {
        let mut session = opened();
        session.take(&frame(0x88, payload));
        assert_eq!(session.next(), Some(Step::Over { reply: reply.to_vec(), why: Ending::Closed }));
        assert_eq!(session.next(), None);
    }
}

#[test]
fn our_frames_are_unmasked_and_their_lengths_short() {
    assert_eq!(message_head(b"abc"), [0x81, 3]);
    assert_eq!(message_head(&[0xff; 126]), [0x82, 126, 0, 126]);
    assert_eq!(message_head(&[b'a'; 65_536]), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(close(GOING_AWAY), [0x88, 2, 3, 0xe9]);
}

proptest::proptest! {
    /// Whatever comes, nothing panics, and what is kept stays within the limit.
    #[test]
    fn nothing_breaks_it(bytes: Vec<u8>, cut in 0_usize..64) {
        let mut session = opened();
        for part in [&bytes[..cut.min(bytes.len())], &bytes[cut.min(bytes.len())..]] {
            session.take(part);
            while session.next().is_some() {}
            let held = session.message.as_ref().map_or(0, |(message, _)| message.len());
            assert!(held <= MESSAGE_MAX && session.buffer.len() <= bytes.len());
        }
    }
}
