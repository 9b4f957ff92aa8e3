//! A token bucket in one word: so many a second, and a burst of so many ahead of time.

use sansio::Time;

/// A rate with its burst. `per_second` 0: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many a second in the mean, at most 10⁹; 0: no limit.
    pub per_second: u32,
    /// How many may come at once, at least 1.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and `burst` at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// The same for a crowd of so many.
    pub(super) const fn times(self, count: u32) -> Self {
        Self { per_second: self.per_second.saturating_mul(count), burst: self.burst.saturating_mul(count) }
    }
}

/// The bucket, by the generic cell rate algorithm (ITU-T I.371 annex A): the time at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Time,
}

impl Bucket {
    /// Takes one if the rate allows it.
    pub(super) fn take(&mut self, now: Time, rate: Rate) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let interval = 1_000_000_000 / u64::from(rate.per_second.min(1_000_000_000));
        let ahead = interval.saturating_mul(u64::from(rate.burst.max(1) - 1));
        if self.full_at.as_nanos() > now.as_nanos().saturating_add(ahead) {
            return false;
        }
        self.full_at = Time::from_nanos(self.full_at.max(now).as_nanos().saturating_add(interval));
        true
    }

    /// Whether nothing is owed: a new bucket would be the same.
    pub(super) fn is_full(self, now: Time) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use sansio::Random;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(10, 25));
        let begun = Time::from_millis(5_000);
        assert_eq!((0..100).filter(|_| bucket.take(begun, rate)).count(), 25);
        assert!(!bucket.is_full(begun));
        assert_eq!((0..100).filter(|_| bucket.take(begun + Duration::from_secs(1), rate)).count(), 10);
        assert!(bucket.is_full(begun + Duration::from_secs(10)));
        assert!((0..1000).all(|_| bucket.take(begun, Rate::new(0, 1))), "0 is no limit");
    }

    /// Whatever comes when: never more than the burst and the rate's share of the time, and never fewer refused than that.
    #[test]
    fn no_pattern_of_arrivals_gets_more_than_its_share() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let rate = Rate::new(1 + random.below(500) as u32, 1 + random.below(300) as u32);
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Time::from_millis(1), 0_u64);
            let begun = now;
            for _ in 0..3000 {
                if random.chance(0.3) {
                    now += Duration::from_micros(random.below(40_000));
                }
                taken += u64::from(bucket.take(now, rate));
            }
            // The interval is a whole number of nanoseconds: at most one in a million more.
            let most = u64::from(rate.burst)
                + now.since(begun).as_micros() as u64 * u64::from(rate.per_second) / 999_999;
            assert!(taken <= most + 1, "seed {seed}: {taken} of {most} by {rate:?}");
        }
    }
}
