//! Messages against the vectors of RFC 5769, and against noise.

use super::*;
use proptest::prelude::*;

/// A vector as RFC 5769 prints it.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 §2.1.
const REQUEST: &str = "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74 00240004 \
    6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 \
    c1b571a2 80280004 e57a3bcf";
/// RFC 5769 §2.2.
const RESPONSE_V4: &str = "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008 \
    0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96";
/// RFC 5769 §2.3.
const RESPONSE_V6: &str = "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014 \
    0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c";

#[test]
fn the_request_of_rfc_5769_is_read() {
    let bytes = hex(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, BINDING));
    assert_eq!(message.get(USERNAME), Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.number(PRIORITY), Some(0x6e00_01ff));
    assert_eq!(message.get(ICE_CONTROLLED).map(<[u8]>::len), Some(8));
    assert_eq!((message.fingerprint_holds(), message.integrity_holds(PASSWORD)), (Some(true), Some(true)));
    assert_eq!(message.integrity_holds(b"another"), Some(false));
    assert!(message.unknown(&[USERNAME, MESSAGE_INTEGRITY, PRIORITY], 4).is_empty());
    assert_eq!(message.unknown(&[MESSAGE_INTEGRITY], 4), [PRIORITY, USERNAME]);
}

#[test]
fn the_responses_of_rfc_5769_are_read_and_written() {
    for (text, address) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(text);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            (message.fingerprint_holds(), message.integrity_holds(PASSWORD)),
            (Some(true), Some(true))
        );
        let written = Writer::new(Class::Success, BINDING, message.transaction())
            .mapped(address.parse().unwrap())
            .integrity(PASSWORD)
            .fingerprint()
            .finish();
        let again = Message::parse(&written).unwrap();
        assert_eq!((again.fingerprint_holds(), again.integrity_holds(PASSWORD)), (Some(true), Some(true)));
        assert_eq!(again.get(XOR_MAPPED_ADDRESS), message.get(XOR_MAPPED_ADDRESS));
    }
}

#[test]
fn a_changed_octet_is_seen() {
    let bytes = hex(REQUEST);
    for at in 20..bytes.len() - 8 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let Some(message) = Message::parse(&changed) else { continue };
        assert_ne!(message.fingerprint_holds(), Some(true), "octet {at}");
    }
    for at in [8, 20 + 4, bytes.len() - 12] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(Message::parse(&changed).unwrap().integrity_holds(PASSWORD), Some(false), "octet {at}");
    }
}

#[test]
fn what_stands_behind_the_integrity_is_passed_over() {
    let id = [7; 12];
    let bytes = Writer::new(Class::Request, BINDING, id)
        .attribute(USERNAME, b"a:b")
        .integrity(b"key")
        .attribute(USE_CANDIDATE, &[])
        .attribute(0x7777, &[1])
        .fingerprint()
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.integrity_holds(b"key"), Some(true));
    assert_eq!((message.get(USE_CANDIDATE), message.fingerprint_holds()), (None, Some(true)));
    assert!(message.unknown(&[USERNAME, MESSAGE_INTEGRITY], 9).is_empty());
}

#[test]
fn what_is_not_one_whole_message_is_not_read() {
    let good = hex(REQUEST);
    for length in 0..good.len() {
        assert!(Message::parse(&good[..length]).is_none(), "{length} octets");
    }
    assert!(Message::parse(&[&good[..], &[0; 4]].concat()).is_none());
    let many = (0..=ATTRIBUTES_MAX)
        .fold(Writer::new(Class::Request, BINDING, [0; 12]), |it, _| it.attribute(0x8022, b""));
    assert!(Message::parse(&many.finish()).is_none(), "too many attributes");
    let large = Writer::new(Class::Request, BINDING, [0; 12]).attribute(0x8022, &[0; MESSAGE_MAX]);
    assert!(Message::parse(&large.finish()).is_none(), "too large");
}

proptest! {
    #[test]
    fn methods_and_classes_are_read_as_written(method in 0u16..0x100, class in 0usize..4) {
        let class = [Class::Request, Class::Indication, Class::Success, Class::Error][class];
        let bytes = Writer::new(class, method, [1; 12]).finish();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!((message.class(), message.method()), (class, method));
    }

    #[test]
    fn no_input_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), length: u8) {
        if bytes.len() >= HEADER {
            bytes[0] &= 3;
            let whole = (bytes.len() - HEADER) as u8;
            bytes[2..4].copy_from_slice(&[0, if length & 1 == 0 { whole } else { length }]);
            bytes[4..8].copy_from_slice(&COOKIE);
        }
        if let Some(message) = Message::parse(&bytes) {
            let _ = (message.class(), message.method(), message.fingerprint_holds());
            let _ = (message.integrity_holds(b"key"), message.unknown(&[], 4), message.number(PRIORITY));
            prop_assert!(message.attributes().count() <= ATTRIBUTES_MAX);
        }
    }
}
