//! Handshakes between two ends of ours, over a way that loses datagrams: with the same time and the same losses the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use core::time::Duration;
use rtp::dtls::{DATAGRAM_MAX, End, Ends, Exported, Fingerprint, Step};
use sansio::{Random, Time};
use secure::DtlsEnds;
use std::collections::VecDeque;

/// One side: its end, what waits for it, and what it came to.
struct Side {
    end: Box<dyn End>,
    inbox: VecDeque<Vec<u8>>,
    wake: Time,
    certificate: Option<Vec<u8>>,
    keys: Option<Exported>,
    sent: usize,
}

impl Side {
    fn new(ends: &DtlsEnds, active: bool) -> Self {
        let end = ends.open(Time::from_millis(1000), active);
        Self { end, inbox: VecDeque::new(), wake: Time::ZERO, certificate: None, keys: None, sent: 0 }
    }

    /// Drains what is to be done; what is sent is returned.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let (mut room, mut sent) = ([0; DATAGRAM_MAX], Vec::new());
        for _ in 0..100 {
            match self.end.poll(&mut room) {
                Step::Send(datagram) => sent.push(datagram.to_vec()),
                Step::Certificate(certificate) => self.certificate = Some(certificate.to_vec()),
                Step::Keys(keys) => self.keys = Some(keys),
                Step::Closed => panic!("closed"),
                Step::Wait(at) => {
                    self.wake = at;
                    self.sent += sent.len();
                    return sent;
                }
            }
        }
        panic!("no end of steps");
    }
}

/// Has two ends talk until both have keys; the time that took.
fn shake(loss: u64, seed: u64) -> (Duration, [Side; 2], [Fingerprint; 2]) {
    let (client, server) = (DtlsEnds::new().unwrap(), DtlsEnds::new().unwrap());
    let prints = [client.fingerprint().clone(), server.fingerprint().clone()];
    let mut sides = [Side::new(&client, true), Side::new(&server, false)];
    let mut random = Random::new(seed);
    let start = Time::from_millis(1000);
    let mut now = start;
    for _ in 0..10_000 {
        for at in 0..2 {
            while let Some(datagram) = sides[at].inbox.pop_front() {
                assert!(datagram.len() <= 1150, "{} octets", datagram.len());
                sides[at].end.handle(now, &datagram).unwrap();
            }
            if sides[at].wake <= now {
                sides[at].end.handle_timeout(now).unwrap();
            }
            for datagram in sides[at].drain() {
                if random.u64() % 100 >= loss {
                    sides[1 - at].inbox.push_back(datagram);
                }
            }
        }
        if sides.iter().all(|side| side.keys.is_some()) {
            return (now.since(start), sides, prints);
        }
        now += Duration::from_millis(10);
        assert!(now.since(start) < Duration::from_secs(30), "no keys after 30 s");
    }
    panic!("no end");
}

#[test]
fn both_ends_come_to_the_same_keys_and_know_each_other() {
    let (took, [client, server], [of_client, of_server]) = shake(0, 1);
    assert!(took < Duration::from_millis(100), "{took:?}");
    let (ours, theirs) = (client.keys.unwrap(), server.keys.unwrap());
    assert_eq!(
        (ours.client.secret(), ours.server.secret()),
        (theirs.client.secret(), theirs.server.secret())
    );
    assert_ne!(ours.client.secret(), ours.server.secret());
    assert!(of_server.is_of(&client.certificate.unwrap()) && of_client.is_of(&server.certificate.unwrap()));
    println!(
        "a handshake took {} us of the client, {} us of the server",
        client.end.spent(),
        server.end.spent()
    );
}

/// The handshake under loss: retransmission by timer brings it to its end.
#[test]
fn a_tenth_lost_delays_the_keys_and_no_more() {
    let mut slow = 0;
    for seed in 0..20 {
        let (took, [client, server], _) = shake(10, seed);
        assert_eq!(client.keys.unwrap().server.secret(), server.keys.unwrap().server.secret(), "seed {seed}");
        assert!(took < Duration::from_secs(10), "seed {seed}: {took:?}");
        slow += usize::from(took > Duration::from_millis(200));
    }
    assert!(slow > 0, "some flight has to be lost in twenty handshakes");
}

#[test]
fn noise_breaks_nothing_that_has_not_begun() {
    let ends = DtlsEnds::new().unwrap();
    let mut side = Side::new(&ends, false);
    let mut random = Random::new(3);
    for length in 0..600 {
        let mut noise: Vec<u8> = (0..length).map(|_| random.u64() as u8).collect();
        if let Some(first) = noise.first_mut() {
            *first = 22;
        }
        if side.end.handle(Time::from_millis(2000), &noise).is_err() {
            side = Side::new(&ends, false);
        }
        side.drain();
    }
    assert!(side.keys.is_none());
}

#[test]
fn what_is_no_key_is_refused() {
    assert!(DtlsEnds::with(vec![1], vec![2]).unwrap_err().contains("key"));
}

#[path = "../../../tests/fuzz/src/handshake.rs"]
#[allow(unreachable_pub, missing_docs, clippy::expect_used)]
mod body;

/// A bounded number of mutations of good datagrams through the body of the fuzz target. A failure names its seed.
#[test]
fn no_datagram_panics_or_gets_keys() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/dtls");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3);
    let seeds: Vec<Vec<u8>> = files.into_iter().map(|file| std::fs::read(file).unwrap()).collect();
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let mut bytes = seeds[seed as usize % seeds.len()].clone();
        if seed >= seeds.len() as u64 {
            for _ in 0..=random.below(5) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(4) {
                    0 if at > 2 => bytes.truncate(at),
                    1 => bytes.insert(at, random.u32() as u8),
                    _ => bytes[at] = random.u32() as u8,
                }
            }
        }
        let outcome = std::panic::catch_unwind(|| body::dtls(&bytes));
        assert!(outcome.is_ok(), "seed {seed}: {bytes:02x?}");
    }
}
