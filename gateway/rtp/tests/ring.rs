//! The ring between threads, as it is built: nothing is lost but what is counted, and a full ring drops what is new.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use rtp::Header;
use rtp::jitter::ring;
use sansio::Time;
use std::collections::VecDeque;

#[test]
fn two_threads_and_a_hundred_thousand_packets() {
    let (mut writer, mut reader) = ring(64, 160);
    let receiver = std::thread::spawn(move || {
        let mut sent = 0u64;
        for n in 0..100_000u32 {
            let header = Header { timestamp: n, ssrc: !n, ..Header::default() };
            let payload = [n as u8; 160];
            sent += u64::from(writer.push(Time::from_nanos(n.into()), &header, &payload[..n as usize % 161]));
            if n % 50 == 0 {
                std::thread::yield_now();
            }
        }
        (sent, writer.dropped())
    });
    let (mut seen, mut last) = (0, None);
    let mut payload = [0; 160];
    loop {
        let ended = reader.is_ended();
        let Some(packet) = reader.pop(&mut payload) else {
            if ended {
                break;
            }
            continue;
        };
        let n = packet.header.timestamp;
        assert!(last.is_none_or(|last| last < n));
        assert_eq!((packet.header.ssrc, packet.octets), (!n, n as usize % 161));
        assert!(payload[..packet.octets].iter().all(|&octet| octet == n as u8), "torn");
        last = Some(n);
        seen += 1;
    }
    let (sent, dropped) = receiver.join().unwrap();
    assert_eq!((seen, sent + dropped), (sent, 100_000));
}

#[test]
fn a_reader_that_goes_is_noticed() {
    let (mut writer, reader) = ring(1, 8);
    assert!(!writer.is_abandoned());
    drop(reader);
    assert!(writer.is_abandoned());
    assert!(writer.push(Time::ZERO, &Header::default(), &[]));
    assert!(!writer.push(Time::ZERO, &Header::default(), &[]), "one slot");
    assert_eq!(writer.dropped(), 1);
}

proptest! {
    #[test]
    fn is_a_queue_with_an_end(
        slots in 1..20usize,
        octets in 0..40usize,
        steps in proptest::collection::vec(prop_oneof![
            3 => proptest::collection::vec(any::<u8>(), 0..48).prop_map(Some), 2 => Just(None)
        ], 0..200),
        header: (u8, bool, u16, u32, u32),
    ) {
        let (mut writer, mut reader) = ring(slots, octets);
        let room = slots.next_power_of_two();
        let mut model = VecDeque::new();
        let mut dropped = 0;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Some(payload) => {
                    let header = Header {
                        payload_type: header.0, marker: header.1, sequence: header.2.wrapping_add(n as u16), timestamp: header.3, ssrc: header.4,
                    };
                    let fits = model.len() < room && payload.len() <= octets;
                    prop_assert_eq!(writer.push(Time::from_nanos(n as u64), &header, &payload), fits);
                    dropped += u64::from(!fits);
                    if fits {
                        model.push_back((Time::from_nanos(n as u64), header, payload));
                    }
                }
                None => {
                    let mut payload = [0; 64];
                    let packet = reader.pop(&mut payload);
                    let expected = model.pop_front();
                    prop_assert_eq!(packet.is_some(), expected.is_some());
                    if let (Some(packet), Some((at, header, octets))) = (packet, expected) {
                        prop_assert_eq!((packet.arrival, packet.header), (at, header));
                        prop_assert_eq!(&payload[..packet.octets], &octets[..]);
                    }
                }
            }
        }
        prop_assert_eq!(writer.dropped(), dropped);
    }
}
