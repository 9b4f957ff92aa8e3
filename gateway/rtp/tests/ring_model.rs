//! The ring between threads, under every order in which two threads may see each other's stores: the same source, over loom's atomics.
//!
//! What is checked: packets arrive whole, once and in order, none is overwritten while it is read, what is not handed over is counted,
//! and what was written before the writer went is there for who sees it gone.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

mod atomic {
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}
use rtp::Header;
#[path = "../src/jitter/ring.rs"]
mod ring;

use sansio::Time;

fn packet(n: u16) -> (Time, Header, [u8; 9]) {
    let header = Header {
        payload_type: n as u8,
        marker: n % 2 == 1,
        sequence: n,
        timestamp: u32::from(n) << 16,
        ssrc: u32::from(n),
    };
    (Time::from_nanos(u64::from(n)), header, [n as u8; 9])
}

/// Two slots, three packets, a reader that looks as often as it likes.
#[test]
fn packets_cross_whole_once_and_in_order() {
    loom::model(|| {
        let (mut writer, mut reader) = ring::ring(2, 9);
        let receiver = loom::thread::spawn(move || {
            (1..=3)
                .filter(|&n| {
                    let (at, header, payload) = packet(n);
                    writer.push(at, &header, &payload)
                })
                .collect::<Vec<_>>()
        });
        let mut seen = Vec::new();
        let mut look = |reader: &mut ring::Reader| {
            let mut payload = [0xff; 16];
            let received = reader.pop(&mut payload)?;
            let (at, header, octets) = packet(received.header.sequence);
            assert_eq!((received.arrival, received.header, received.octets), (at, header, 9));
            assert_eq!(payload[..9], octets);
            seen.push(header.sequence);
            Some(())
        };
        for _ in 0..2 {
            let _ = look(&mut reader);
        }
        let sent = receiver.join().unwrap();
        assert!(reader.is_ended());
        while look(&mut reader).is_some() {}
        assert_eq!(seen, sent);
        assert!(sent.starts_with(&[1, 2]), "two slots hold the first two whatever the reader does");
    });
}

#[test]
fn who_sees_the_writer_gone_sees_all_that_it_wrote() {
    loom::model(|| {
        let (mut writer, mut reader) = ring::ring(2, 9);
        let receiver = loom::thread::spawn(move || {
            let (at, header, payload) = packet(7);
            assert!(writer.push(at, &header, &payload));
        });
        if reader.is_ended() {
            assert!(reader.pop(&mut [0; 9]).is_some());
        }
        receiver.join().unwrap();
    });
}
