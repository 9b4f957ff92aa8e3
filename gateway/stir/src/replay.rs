//! Tokens that were seen before: who copies one into another call is found out while it is fresh (RFC 8224 §12.1).

use core::sync::atomic::{AtomicU64, Ordering};

/// Buckets by default: with four places each, 2 MiB in all, and room for 4000 calls a second at 60 s.
const BUCKETS: usize = 1 << 16;
/// Places of a bucket.
const PLACES: usize = 4;

// A place is one word: 28 bits of the signature, 16 of the call, 20 of the time in seconds; 0: empty.
const CALL_BITS: u32 = 16;
const TIME_BITS: u32 = 20;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// What is known of a signature that came with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was not seen lately.
    First,
    /// The same; and another one was forgotten for it while it was fresh, since too many came.
    Crowded,
    /// It came with the same call before, which may have been asked for a password meanwhile, or been sent elsewhere first.
    Again,
    /// It came with another call.
    Elsewhere,
}

/// A table of the signatures seen lately and the calls they came with. It is shared by all shards, since a copy may arrive at another
/// one; each place is one atomic word, so that nobody waits. When it is full, the oldest entry of a bucket gives way.
#[derive(Debug)]
pub struct Replays {
    places: Box<[AtomicU64]>,
}

impl Default for Replays {
    fn default() -> Self {
        Self::new(BUCKETS)
    }
}

impl Replays {
    /// A table of so many buckets of four places, rounded up to a power of two.
    pub fn new(buckets: usize) -> Self {
        let places = (0..buckets.next_power_of_two() * PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { places }
    }

    /// Notes that a signature came with a call at `now`, in seconds since 1970, and tells what is known of it from the
    /// last `window` seconds.
    pub fn note(&self, fingerprint: u64, call_id: &[u8], now: u64, window: u64) -> Seen {
        let bucket = fingerprint as usize & (self.places.len() / PLACES - 1);
        let places = &self.places[bucket * PLACES..(bucket + 1) * PLACES];
        // Never 0, so that no entry looks like an empty place.
        let signature = (fingerprint >> (64 - 28)).max(1);
        let call = hash(call_id) >> (64 - CALL_BITS);
        let entry = signature << (CALL_BITS + TIME_BITS) | call << TIME_BITS | (now & TIME_MASK);
        let window = window.min(TIME_MASK / 2);
        // Another shard's clock may be a little ahead: what it noted is not old.
        let age = |entry: u64| match now.wrapping_sub(entry) & TIME_MASK {
            age if age > TIME_MASK / 2 => 0,
            age => age,
        };
        // Somebody else may take the place in the same instant; then all are looked at anew.
        for _ in 0..64 {
            let mut oldest: Option<(usize, u64, u64)> = None;
            for (at, place) in places.iter().enumerate() {
                let found = place.load(Ordering::Relaxed);
                let expired = found == 0 || age(found) > window;
                if !expired && found >> (CALL_BITS + TIME_BITS) == signature {
                    let same = found >> TIME_BITS & ((1 << CALL_BITS) - 1) == call;
                    return if same { Seen::Again } else { Seen::Elsewhere };
                }
                let rank = if expired { u64::MAX } else { age(found) };
                if oldest.is_none_or(|(_, _, best)| rank > best) {
                    oldest = Some((at, found, rank));
                }
            }
            let Some((at, found, rank)) = oldest else { break };
            if places[at].compare_exchange(found, entry, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return if rank == u64::MAX { Seen::First } else { Seen::Crowded };
            }
        }
        Seen::Crowded
    }
}

/// FNV-1a with a final mix: a Call-ID is chosen by the caller, who gains nothing by two that collide.
fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    (sum ^ sum >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "threads that meet in one bucket")]
mod tests {
    use super::*;
    use std::sync::Arc;

    const NOW: u64 = 1_790_000_000;

    /// RFC 8224 §12.1
    #[test]
    fn a_signature_belongs_to_the_call_it_came_with() {
        let replays = Replays::new(4);
        let note = |n: u64, call: &[u8], now| replays.note(n << 40, call, now, 120);
        assert_eq!(note(7, b"a", NOW), Seen::First);
        assert_eq!(note(7, b"a", NOW + 5), Seen::Again);
        assert_eq!(note(7, b"b", NOW + 5), Seen::Elsewhere);
        assert_eq!(note(7, b"b", NOW + 120), Seen::Elsewhere);
        assert_eq!(note(7, b"b", NOW + 121), Seen::First, "too old to pass for fresh anyway");
        assert_eq!(note(8, b"b", NOW), Seen::First);
    }

    #[test]
    fn time_may_wrap_and_stand_still() {
        let replays = Replays::new(1);
        for now in [TIME_MASK - 1, TIME_MASK, TIME_MASK + 1, TIME_MASK + 2] {
            assert_eq!(replays.note(now << 40, b"a", now, 60), Seen::First);
            assert_eq!(replays.note(now << 40, b"b", now, 60), Seen::Elsewhere, "{now}");
        }
        // Noted just before the count began anew.
        assert_eq!(replays.note(TIME_MASK << 40, b"b", TIME_MASK + 3, 60), Seen::Elsewhere);
        assert_eq!(
            replays.note(TIME_MASK << 40, b"b", TIME_MASK - 2, 60),
            Seen::Elsewhere,
            "by a clock that is behind"
        );
    }

    #[test]
    fn a_full_bucket_forgets_the_oldest_and_says_so() {
        let replays = Replays::new(1);
        for n in 1..=5_u64 {
            let expected = if n == 5 { Seen::Crowded } else { Seen::First };
            assert_eq!(replays.note(n << 40, b"a", NOW + n, 60), expected);
        }
        assert_eq!(replays.note(5 << 40, b"b", NOW + 6, 60), Seen::Elsewhere);
        assert_eq!(replays.note(1 << 40, b"b", NOW + 6, 60), Seen::Crowded, "forgotten");
    }

    #[test]
    fn of_two_calls_at_the_same_time_one_is_taken() {
        for round in 0..200 {
            let replays = Arc::new(Replays::new(1));
            let threads: Vec<_> = (0..3_u8)
                .map(|n| {
                    let replays = Arc::clone(&replays);
                    std::thread::spawn(move || replays.note(round << 40, &[n], NOW, 60))
                })
                .collect();
            let taken = threads.into_iter().map(|it| it.join().unwrap());
            assert_eq!(taken.filter(|taken| *taken == Seen::First).count(), 1);
        }
    }
}
