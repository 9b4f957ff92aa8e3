//! What must hold for what is no SIP but comes to its ports: STUN and the frames of a WebSocket. Called by the fuzz
//! targets here and with what they kept by `gateway/sip/tests/kept.rs`.

use sip::websocket::{Session, Step};

/// A datagram that may be STUN: an answer is small, and one to a request with the same transaction (RFC 8489 §6.3.1).
pub fn stun(bytes: &[u8]) {
    for source in ["192.0.2.1:5060", "[2001:db8::1]:5060"] {
        let source = source.parse().expect("an address");
        let Some(answer) = sip::stun::answer(bytes, source) else { continue };
        assert!(sip::stun::is_stun(bytes) && sip::stun::is_stun(&answer));
        assert!(answer.len() <= bytes.len() + 32);
        assert_eq!(answer[4..20], bytes[4..20]);
        assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len() - 20);
        // Two gateways never answer each other's answers.
        assert_eq!(sip::stun::answer(&answer, source), None);
    }
}

/// A handshake for whatever follows it.
const OPENING: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A connection, cut in any way (the first byte says into which pieces, and whether the handshake is done already): the
/// same steps.
pub fn websocket(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else { return };
    let opening = if first & 1 == 0 { OPENING } else { &[] };
    let stream = [opening, stream].concat();
    let whole = steps(&stream, stream.len());
    assert_eq!(whole, steps(&stream, usize::from(first >> 1)));
    if first & 1 == 0 {
        assert!(matches!(whole.first(), Some(Step::Opened(_))));
    }
    // Nothing follows the end.
    let over = whole.iter().position(|step| matches!(step, Step::Over { .. }));
    assert!(over.is_none_or(|at| at + 1 == whole.len()));
}

fn steps(stream: &[u8], size: usize) -> Vec<Step> {
    let mut session = Session::new();
    let mut found = Vec::new();
    for piece in stream.chunks(size.max(1)) {
        session.take(piece);
        while let Some(step) = session.next() {
            found.push(step);
        }
    }
    found
}
