//! STUN as a keep-alive (RFC 5626 §3.5.2 and §8): a Binding request that comes to a SIP socket is told where it came from.
//!
//! Nothing else of STUN is spoken: no authentication, no other method, no state. An answer is at most 32 bytes longer than
//! its request, so it is of no use to whoever forges sources.

use core::net::SocketAddr;
use stun::{BINDING, Class, Message, Writer};

pub use stun::is_stun;

/// Attributes that a client may well send although nothing is made of them here.
const UNDERSTOOD: [u16; 4] = [stun::MAPPED_ADDRESS, stun::USERNAME, stun::MESSAGE_INTEGRITY, stun::PRIORITY];
/// Unknown attributes named in a refusal.
const UNKNOWN_MAX: usize = 4;
/// Longest request that is looked at.
const REQUEST_MAX: usize = 548;

/// The answer to a Binding request from `source` (RFC 8489 §7.3.1); `None` for anything that is not one, whole and well
/// formed.
pub fn answer(request: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::parse(request).filter(|_| request.len() <= REQUEST_MAX)?;
    if message.class() != Class::Request || message.method() != BINDING {
        return None;
    }
    let unknown = message.unknown(&UNDERSTOOD, UNKNOWN_MAX);
    let answer = |class| Writer::new(class, BINDING, message.transaction());
    let answer = match unknown.is_empty() {
        true => answer(Class::Success).mapped(source),
        // RFC 8489 §6.3.1: 420, and what was not understood.
        false => answer(Class::Error).error(420, "").unknown(&unknown),
    };
    Some(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: u32 = 0x2112_a442;

    fn request(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
        out.extend_from_slice(attributes);
        out
    }

    /// RFC 5769 §2.2 and §2.3 have this transaction id and these mapped addresses.
    #[test]
    fn mapped_addresses_are_those_of_rfc_5769() {
        let v4 = answer(&request(1, &[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(v4[..4], [1, 1, 0, 12]);
        assert_eq!(v4[4..20], request(1, &[])[4..20]);
        assert_eq!(v4[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let v6 = answer(&request(1, &[]), source).unwrap();
        assert_eq!(
            v6[20..],
            [
                0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
                0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9
            ]
        );
    }

    #[test]
    fn only_whole_binding_requests_are_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        let good = request(1, &[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0, 0, 0x24, 0, 4, 0, 0, 0, 1]);
        assert_eq!(answer(&good, source).unwrap()[..2], [1, 1]);
        for length in 0..good.len() {
            assert_eq!(answer(&good[..length], source), None, "{length} bytes");
        }
        assert_eq!(answer(&[&good[..], &[0; 4]].concat(), source), None, "more than it says");
        assert_eq!(answer(&request(0x0101, &[]), source), None, "an answer");
        assert_eq!(answer(&request(0x0003, &[]), source), None, "another method");
        assert_eq!(answer(&request(1, &[0x80, 0x22, 0, 9, 0, 0, 0, 0]), source), None);
        assert_eq!(
            answer(&request(1, &[0x80, 0, 0, 0].repeat(stun::ATTRIBUTES_MAX + 1)), source),
            None,
            "too many attributes"
        );
        let mut other = request(1, &[]);
        other[7] ^= 1;
        assert_eq!(answer(&other, source), None, "without the cookie (RFC 3489)");
        assert!(!is_stun(b"OPTIONS sip:a@h SIP/2.0\r\n\r\n") && !is_stun(b"\r\n\r\n"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let answer =
            answer(&request(1, &[0, 0x03, 0, 4, 0, 0, 0, 6]), "192.0.2.1:1".parse().unwrap()).unwrap();
        assert_eq!(answer[..4], [1, 0x11, 0, 16]);
        assert_eq!(answer[20..], [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn nothing_makes_it_panic_or_say_much() {
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut bytes = request(1, &[]);
            let length = seed as usize % 64;
            for _ in 0..length {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push((seed >> 24) as u8 & 0x0f);
            }
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes[3] = if seed & 1 == 0 { length as u8 } else { (seed >> 16) as u8 };
            if let Some(answer) = answer(&bytes, "[2001:db8::1]:9".parse().unwrap()) {
                assert!(answer.len() <= bytes.len() + 32);
            }
        }
    }
}
