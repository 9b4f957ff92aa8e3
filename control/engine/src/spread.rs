//! How delays are spread: counts in buckets an eighth of an octave wide, so that any percentile is right within 6 %.

/// Buckets of one octave.
const STEPS: u32 = 8;

/// Delays in microseconds, counted. Only buckets that hold something are kept: at most 488, of 8 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Bucket and count, in order of buckets.
    buckets: Vec<(u16, u32)>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Spread {
    /// Counts one delay.
    pub fn note(&mut self, micros: u64) {
        self.count_in(bucket(micros), 1);
        self.count += 1;
        self.sum = self.sum.saturating_add(micros);
        self.max = self.max.max(micros);
    }

    /// One delay alone.
    pub fn of(micros: u64) -> Self {
        let mut it = Self::default();
        it.note(micros);
        it
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.count_in(bucket, count);
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    fn count_in(&mut self, bucket: u16, count: u32) {
        match self.buckets.binary_search_by_key(&bucket, |it| it.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// How many delays were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum in microseconds.
    pub const fn sum_us(&self) -> u64 {
        self.sum
    }

    /// The longest in microseconds; 0 before there was any.
    pub const fn max_us(&self) -> u64 {
        self.max
    }

    /// Their mean in microseconds.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The delay that `share` (0 to 1) of them do not exceed, in microseconds: the middle of its bucket.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|it| u64::from(it.1)).sum();
        let wanted = ((share * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.buckets {
            seen += u64::from(count);
            if seen >= wanted {
                let (low, high) = bounds(bucket);
                return Some((low + (high - low) / 2).min(self.max));
            }
        }
        None
    }
}

/// Values below 8 have a bucket each; above, each octave has 8.
const fn bucket(value: u64) -> u16 {
    if value < STEPS as u64 {
        return value as u16;
    }
    let octave = value.ilog2() - STEPS.ilog2();
    let step = (value >> octave) as u32 - STEPS;
    (STEPS * (octave + 1) + step) as u16
}

/// The least value of a bucket and the greatest.
const fn bounds(bucket: u16) -> (u64, u64) {
    let bucket = bucket as u32;
    if bucket < STEPS {
        return (bucket as u64, bucket as u64);
    }
    let octave = bucket / STEPS - 1;
    let low = ((STEPS + bucket % STEPS) as u64) << octave;
    (low, low + ((1u64 << octave) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let mut values: Vec<u64> = (0..5000).collect();
        values.extend((0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1, u64::MAX >> bit]));
        values.sort_unstable();
        for pair in values.windows(2) {
            assert!(bucket(pair[0]) <= bucket(pair[1]), "{pair:?}");
            let (low, high) = bounds(bucket(pair[0]));
            assert!((low..=high).contains(&pair[0]), "{}: {low} to {high}", pair[0]);
            assert!((high - low) as f64 <= low as f64 / 8.0, "{low} to {high}");
        }
        assert!(bucket(u64::MAX) < 488 + STEPS as u16);
    }

    #[test]
    fn quantiles_are_those_of_the_values_within_a_bucket() {
        let mut spread = Spread::default();
        assert_eq!((spread.quantile_us(0.5), spread.mean_us()), (None, None));
        (1..=1000).for_each(|value| spread.note(value * 100));
        for (share, exact) in [(0.5, 50_000.0), (0.95, 95_000.0), (0.99, 99_000.0)] {
            let found = spread.quantile_us(share).unwrap() as f64;
            assert!((found / exact - 1.0).abs() < 0.07, "{share}: {found}");
        }
        let mut twice = spread.clone();
        twice.add(&spread);
        assert_eq!((twice.count(), twice.quantile_us(0.5)), (2000, spread.quantile_us(0.5)));
        assert_eq!((twice.max_us(), twice.mean_us()), (100_000, spread.mean_us()));
        assert_eq!(Spread::of(7).quantile_us(1.0), Some(7));
    }
}
