//! The two limits of a trunk: calls at a time and calls a second. Shared by the shards, touched once per call.
//!
//! Both are single atomic words changed by compare-and-swap, so that no interleaving of shards can take
//! one call more than allowed, nor refuse one while there is room.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use sansio::Time;

/// Calls at a time: at most `max` are taken at any instant.
#[derive(Debug, Default)]
pub struct CallLimit {
    calls: AtomicU32,
    refused: AtomicU64,
}

impl CallLimit {
    /// Takes a place if fewer than `max` are taken.
    pub fn take(&self, max: u32) -> bool {
        let taken = self
            .calls
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |calls| (calls < max).then_some(calls + 1));
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        let before = self.calls.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a place was given back twice");
    }

    /// Places taken now.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Acquire)
    }

    /// Calls refused because all places were taken, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Calls a second, by the generic cell rate algorithm (ITU-T I.371 annex A): a burst of up to one second's
/// worth is let through, the mean never exceeds the rate.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// The theoretical arrival time of the next call, in ns.
    next: AtomicU64,
    refused: AtomicU64,
}

impl RateLimit {
    /// Takes a call at `now` if the rate allows it; 0 calls a second means no limit.
    pub fn take(&self, now: Time, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let interval = 1_000_000_000 / u64::from(per_second);
        // One call less than a second's worth may come ahead of time.
        let tolerance = Duration::from_nanos(interval * u64::from(per_second - 1)).as_nanos() as u64;
        let now = now.as_nanos();
        let taken = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            (next <= now.saturating_add(tolerance)).then(|| next.max(now) + interval)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Takes back a call that was counted but never offered.
    pub fn give_back(&self, per_second: u32) {
        if per_second > 0 {
            self.next.fetch_sub(1_000_000_000 / u64::from(per_second), Ordering::AcqRel);
        }
    }

    /// Calls refused because they came too fast, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "races need threads")]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn racing_threads_never_exceed_the_cap_and_fill_it() {
        let limit = Arc::new(CallLimit::default());
        let high = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (limit, high) = (limit.clone(), high.clone());
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        if limit.take(7) {
                            high.fetch_max(limit.calls(), Ordering::Relaxed);
                            std::thread::yield_now();
                            limit.give_back();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(high.load(Ordering::Relaxed) <= 7);
        assert_eq!(limit.calls(), 0);
        assert!((0..7).all(|_| limit.take(7)));
        assert!(!limit.take(7));
        assert_eq!(limit.calls(), 7);
    }

    #[test]
    fn the_rate_holds_in_the_mean_with_a_seconds_burst() {
        let limit = RateLimit::default();
        let mut taken = 0;
        // 10 seconds of 1000 attempts each against 50 a second.
        for ms in 0..10_000 {
            taken += u32::from(limit.take(Time::from_millis(100_000 + ms), 50));
        }
        assert!((500..=550).contains(&taken), "{taken}");
        assert!(limit.take(Time::from_millis(200_000), 0), "0 is no limit");
    }
}
