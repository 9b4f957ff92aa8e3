//! How much faster or slower the remote's clock runs than ours: a line through the shortest transit times.

/// Points that the line goes through, one for each second.
const POINTS: usize = 64;
/// Points before the estimate is given out.
const ENOUGH: usize = 8;

/// The skew of one source's clock.
///
/// A packet is never faster than the network at rest, so the shortest transit time of each second lies on a line whose
/// slope is the skew of both clocks; the line is that of least squares over the last 64 seconds.
#[derive(Clone, Debug)]
pub struct Skew {
    /// When, and the shortest transit, both in nanoseconds.
    points: [(i64, i64); POINTS],
    count: usize,
}

impl Default for Skew {
    fn default() -> Self {
        Self { points: [(0, 0); POINTS], count: 0 }
    }
}

impl Skew {
    /// Takes the shortest transit time, in nanoseconds, of the time around `at`.
    pub const fn record(&mut self, at: i64, transit: i64) {
        self.points[self.count % POINTS] = (at, transit);
        self.count += 1;
    }

    /// Millionths by which the remote's clock is faster than ours (below zero: slower); `None` before eight seconds.
    pub fn ppm(&self) -> Option<f64> {
        let count = self.count.min(POINTS);
        if count < ENOUGH {
            return None;
        }
        let points = &self.points[..count];
        let origin = points[0];
        let (mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0);
        for point in points {
            let at = point.0.wrapping_sub(origin.0) as f64;
            let transit = point.1.wrapping_sub(origin.1) as f64;
            (x, y, xx, xy) = (x + at, y + transit, xx + at * at, xy + at * transit);
        }
        let n = count as f64;
        let spread = n * xx - x * x;
        // Transit grows while the remote's clock lags behind.
        (spread > 0.0).then(|| -1e6 * (n * xy - x * y) / spread)
    }

    /// The time base changed: what was seen says nothing of what comes.
    pub const fn forget(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_slope_of_the_shortest_transits() {
        for ppm in [-200.0, -20.0, 0.0, 35.0, 200.0] {
            let mut skew = Skew::default();
            let mut random = sansio::Random::new(3);
            for second in 0..200i64 {
                assert_eq!(skew.ppm().is_some(), second >= 8);
                let noise = random.below(1_000_000) as i64;
                skew.record(second * 1_000_000_000, -(ppm * 1000.0 * second as f64) as i64 + noise);
            }
            assert!((skew.ppm().unwrap() - ppm).abs() < 5.0, "{ppm}: {:?}", skew.ppm());
            skew.forget();
            assert_eq!(skew.ppm(), None);
        }
    }
}
