//! How long packets are on their way, relative to the fastest, and the delay that nearly all of them keep.
//!
//! **Base.** A packet's transit time is its arrival less its media time; only differences mean anything. The base `B` is the
//! shortest transit of the last ten seconds (a minimum for each second, the least of them), so that it follows the remote's clock: at 200
//! millionths of skew it is at most 2 ms off. The relative delay of a packet is `r = transit - B`. This is the relative delay of
//! NetEQ's delay manager (WebRTC, `modules/audio_coding/neteq`), there with a window of two seconds.
//!
//! **Target.** A histogram of transit times with forgetting, as NetEQ's: each packet multiplies all weights by `f` and adds `1 - f` at its own,
//! here `f = 1 - 1/1000`, twenty seconds of packets of 20 ms; the first thousand weigh the same. The target is the delay that the share `q` of packets
//! keeps (NetEQ: 0.95 to 0.97; here 0.98 unless configured), the upper end of its bucket. Weights grow instead of being
//! multiplied down, and the quantile is moved from where it was, so that a packet costs the same however wide the histogram is.
//!
//! **Spikes.** A delay of more than twice the target and more than 40 ms above it is a peak (Ramjee, Kurose, Towsley and Schulzrinne, "Adaptive playout
//! mechanisms for packetized audio applications in wide-area networks", INFOCOM 1994, call it a spike). The first finds nobody prepared: the
//! buffer conceals and plays on later. Where peaks come again, two at least with no more than ten seconds between, the target is held at the highest of
//! the last eight, until none has come for twice the longest time between two: NetEQ's delay peak detector.
//!
//! Whatever is found, the target stays within the configured bounds; delays beyond them are not looked at, since no target would catch them.

use super::Skew;
use core::time::Duration;

const BUCKETS: usize = 256;
/// Packets that the histogram remembers.
const MEMORY: u32 = 1000;
/// Weights are brought down when they are beyond this.
const HEAVY: f64 = 1e9;
/// Packets until the start's target gives way to what was measured.
const LEARNING: u32 = 50;
const SECOND: i64 = 1_000_000_000;
/// Seconds that the base looks back.
const WINDOWS: usize = 10;
/// How far above the target a peak begins at least.
const PEAK: i64 = 40_000_000;
const PEAKS: usize = 8;
/// Peaks nearer than this are one, farther than [`PEAKS_FAR`] have nothing to do with each other.
const PEAKS_NEAR: i64 = SECOND;
const PEAKS_FAR: i64 = 10 * SECOND;

/// What the target may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The least.
    pub min: Duration,
    /// The most; not below the least.
    pub max: Duration,
    /// Until delays have been measured.
    pub start: Duration,
    /// The share of packets that shall come in time, 0.5 to 0.999.
    pub quantile: f64,
}

/// The delays of one stream's packets. Times are nanoseconds on scales of the caller's choice.
#[derive(Clone, Debug)]
pub struct Delays {
    min: i64,
    max: i64,
    start: i64,
    quantile: f64,
    /// Width of a bucket.
    width: i64,
    /// Weight by transit: bucket `n` stands at `n` modulo their number.
    weights: Box<[f64]>,
    total: f64,
    /// What the next packet weighs.
    weight: f64,
    /// The lowest bucket in use, that of the base.
    lowest: i64,
    /// The bucket of the quantile, and the weight of all below.
    at: i64,
    below: f64,
    packets: u32,
    base: i64,
    /// The number of a second and the shortest transit in it.
    windows: [(i64, i64); WINDOWS],
    window: i64,
    skew: Skew,
    /// When each peak began, and how high it was.
    peaks: [(i64, i64); PEAKS],
    peak_count: usize,
    target: i64,
}

impl Delays {
    /// Nothing measured yet. Bounds that contradict each other are brought in order.
    pub fn new(bounds: Bounds) -> Self {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX).min(60 * SECOND);
        let min = nanos(bounds.min);
        let max = nanos(bounds.max).max(min);
        let start = nanos(bounds.start).clamp(min, max);
        // Wide enough for a quarter more than the longest delay that matters.
        let width = (max / BUCKETS as i64 * 5 / 4).clamp(1_000_000, SECOND);
        Self {
            min,
            max,
            start,
            quantile: if bounds.quantile.is_nan() { 0.98 } else { bounds.quantile.clamp(0.5, 0.999) },
            width,
            weights: vec![0.0; BUCKETS].into_boxed_slice(),
            total: 0.0,
            weight: 1.0,
            lowest: 0,
            at: 0,
            below: 0.0,
            packets: 0,
            base: 0,
            windows: [(i64::MIN, 0); WINDOWS],
            window: i64::MIN,
            skew: Skew::default(),
            peaks: [(0, 0); PEAKS],
            peak_count: 0,
            target: start,
        }
    }

    /// A new time base: all is forgotten but the target, which the new one begins with.
    pub fn restart(&mut self) {
        self.start = self.target;
        self.packets = 0;
        self.clear();
        self.windows = [(i64::MIN, 0); WINDOWS];
        self.window = i64::MIN;
        self.skew.forget();
        self.peak_count = 0;
    }

    /// Takes a packet's transit time; returns its delay relative to the fastest, zero at least.
    pub fn record(&mut self, now: i64, transit: i64) -> i64 {
        self.see(now, transit);
        let relative = transit - self.base;
        // What no target may catch says nothing of which to choose.
        if relative <= self.max {
            self.weigh(transit);
            self.look_for_peak(now, relative);
        }
        self.packets = self.packets.saturating_add(1);
        self.aim(now);
        relative
    }

    /// Delay aimed at, in nanoseconds.
    pub const fn target(&self) -> i64 {
        self.target
    }

    /// The shortest transit, on the scale of [`Self::record`].
    pub const fn base(&self) -> i64 {
        self.base
    }

    /// The remote's clock beside ours.
    pub fn skew(&self) -> Option<f64> {
        self.skew.ppm()
    }

    /// Keeps the base.
    fn see(&mut self, now: i64, transit: i64) {
        let window = now.div_euclid(SECOND);
        let slot = window.rem_euclid(WINDOWS as i64) as usize;
        if window != self.window {
            if self.window != i64::MIN {
                let last = self.windows[self.window.rem_euclid(WINDOWS as i64) as usize];
                self.skew.record(self.window.saturating_mul(SECOND), last.1);
            }
            self.windows[slot] = (window, transit);
            self.window = window;
        } else {
            self.windows[slot].1 = self.windows[slot].1.min(transit);
        }
        let oldest = window.saturating_sub(WINDOWS as i64);
        let recent = self.windows.iter().filter(|w| w.0 > oldest && w.0 <= window);
        let base = recent.map(|w| w.1).min().unwrap_or(transit);
        if base != self.base || self.packets == 0 {
            self.base = base;
            self.move_to(base.div_euclid(self.width));
        }
    }

    fn clear(&mut self) {
        self.weights.fill(0.0);
        (self.total, self.below, self.weight) = (0.0, 0.0, 1.0);
        self.at = self.lowest;
    }

    const fn place(bucket: i64) -> usize {
        bucket.rem_euclid(BUCKETS as i64) as usize
    }

    /// The histogram begins at another bucket from now on. What falls out at either end goes into the last one there.
    fn move_to(&mut self, lowest: i64) {
        let steps = lowest - self.lowest;
        if steps == 0 {
            return;
        }
        let old = self.lowest;
        self.lowest = lowest;
        let all = BUCKETS as i64;
        if steps.abs() >= all || self.total == 0.0 {
            self.clear();
            return;
        }
        let (gone, last) =
            if steps > 0 { (old..lowest, lowest) } else { (lowest + all..old + all, lowest + all - 1) };
        let mut sum = 0.0;
        for bucket in gone {
            sum += core::mem::take(&mut self.weights[Self::place(bucket)]);
        }
        self.weights[Self::place(last)] += sum;
        self.count_again();
    }

    /// Finds the quantile from the bottom, free of what rounding has added up.
    fn count_again(&mut self) {
        self.total = self.weights.iter().sum();
        (self.at, self.below) = (self.lowest, 0.0);
        self.find();
    }

    /// Moves the quantile to where it belongs.
    fn find(&mut self) {
        let wanted = self.quantile * self.total;
        let top = self.lowest + BUCKETS as i64 - 1;
        while self.at < top {
            let here = self.below + self.weights[Self::place(self.at)];
            if here >= wanted {
                break;
            }
            self.below = here;
            self.at += 1;
        }
        while self.at > self.lowest && self.below >= wanted {
            self.at -= 1;
            self.below -= self.weights[Self::place(self.at)];
        }
    }

    fn weigh(&mut self, transit: i64) {
        let top = self.lowest + BUCKETS as i64 - 1;
        let bucket = transit.div_euclid(self.width).clamp(self.lowest, top);
        self.weights[Self::place(bucket)] += self.weight;
        self.total += self.weight;
        if bucket < self.at {
            self.below += self.weight;
        }
        if self.packets >= MEMORY {
            self.weight *= f64::from(MEMORY) / f64::from(MEMORY - 1);
        }
        if self.weight > HEAVY {
            self.weights.iter_mut().for_each(|weight| *weight /= HEAVY);
            self.weight /= HEAVY;
            self.count_again();
        } else {
            self.find();
        }
    }

    fn look_for_peak(&mut self, now: i64, relative: i64) {
        if self.packets <= LEARNING || relative <= 2 * self.target || relative <= self.target + PEAK {
            // Within a target that peaks hold up, a new one keeps it there.
            if self.peak_count < 2 || relative <= 2 * self.measured() || relative <= self.measured() + PEAK {
                return;
            }
        }
        if self.peak_count > 0 {
            let last = &mut self.peaks[(self.peak_count - 1) % PEAKS];
            let since = now - last.0;
            if since < PEAKS_NEAR {
                last.1 = last.1.max(relative);
                return;
            }
            if since > PEAKS_FAR {
                self.peak_count = 0;
            }
        }
        self.peaks[self.peak_count % PEAKS] = (now, relative);
        self.peak_count += 1;
    }

    /// What peaks ask for, if they come again and again.
    fn held(&self, now: i64) -> Option<i64> {
        if self.peak_count < 2 {
            return None;
        }
        let newest = self.peaks[(self.peak_count - 1) % PEAKS].0;
        let oldest = self.peak_count.saturating_sub(PEAKS);
        let of = |n: usize| self.peaks[n % PEAKS];
        let between = (oldest + 1..self.peak_count).map(|n| of(n).0 - of(n - 1).0).max()?;
        let height = (oldest..self.peak_count).map(|n| of(n).1).max()?;
        (now - newest <= 2 * between).then_some(height)
    }

    /// The quantile's delay: the upper end of its bucket.
    const fn measured(&self) -> i64 {
        (self.at + 1) * self.width - self.base
    }

    fn aim(&mut self, now: i64) {
        let mut target = self.measured();
        if self.packets < LEARNING {
            target = target.max(self.start);
        }
        if let Some(height) = self.held(now) {
            target = target.max(height);
        }
        self.target = target.clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn delays(quantile: f64) -> Delays {
        let ms = Duration::from_millis;
        Delays::new(Bounds { min: ms(10), max: ms(200), start: ms(60), quantile })
    }

    /// One packet each 20 ms with the delays given, in nanoseconds.
    fn fed(delays: &mut Delays, from: i64, transits: impl IntoIterator<Item = i64>) -> i64 {
        let mut now = from;
        for transit in transits {
            delays.record(now, transit);
            now += 20 * MS;
        }
        now
    }

    #[test]
    fn the_target_is_the_quantile_of_relative_delay() {
        // Evenly from 0 to 100 ms above anything.
        for quantile in [0.9, 0.95, 0.98] {
            let mut random = sansio::Random::new(7);
            let mut delays = delays(quantile);
            fed(&mut delays, 0, (0..5000).map(|_| 777 * MS + random.below(100_000_000) as i64));
            let wanted = quantile * 100.0;
            let target = delays.target() as f64 / 1e6;
            assert!((target - wanted).abs() < 3.0, "{quantile}: {target} ms");
        }
    }

    #[test]
    fn bounds_hold_and_the_start_counts_until_something_is_known() {
        let mut delays = delays(0.98);
        assert_eq!(delays.target(), 60 * MS);
        let now = fed(&mut delays, 0, [5 * MS; 49]);
        assert_eq!(delays.target(), 60 * MS);
        let now = fed(&mut delays, now, [5 * MS; 10]);
        assert_eq!(delays.target(), 10 * MS, "no jitter at all: the least");
        let now = fed(&mut delays, now, (0..400).map(|n| (n % 2) * 900 * MS));
        assert_eq!(delays.target(), 10 * MS, "what is beyond the bounds changes nothing");
        fed(&mut delays, now, (0..400).map(|n| (n % 2) * 199 * MS));
        assert_eq!(delays.target(), 200 * MS, "the most");
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut delays = delays(0.98);
        let mut random = sansio::Random::new(7);
        let now = fed(&mut delays, 0, (0..2000).map(|_| random.below(100_000_000) as i64));
        assert!(delays.target() > 90 * MS);
        fed(&mut delays, now, (0..5000).map(|_| random.below(5_000_000) as i64));
        assert!(delays.target() <= 10 * MS, "{} ms", delays.target() / MS);
    }

    #[test]
    fn the_base_follows_a_clock_that_drifts_and_the_target_stays() {
        for ppm in [-200, 200] {
            let mut delays = delays(0.98);
            let mut random = sansio::Random::new(7);
            let mut now = 0;
            for _ in 0..30_000 {
                // Transit shrinks while the remote's clock is fast.
                let drift = -now * ppm / 1_000_000;
                let relative = delays.record(now, drift + random.below(20_000_000) as i64);
                assert!((0..23 * MS).contains(&relative), "{relative}");
                now += 20 * MS;
                if now > 5 * SECOND {
                    assert!((17 * MS..31 * MS).contains(&delays.target()), "{}", delays.target());
                }
            }
            assert!((delays.base() + now * ppm / 1_000_000).abs() < 4 * MS);
            assert!((delays.skew().unwrap() - ppm as f64).abs() < 20.0, "{:?}", delays.skew());
        }
    }

    #[test]
    fn the_base_forgets_what_was_before_a_long_silence() {
        let mut delays = delays(0.98);
        fed(&mut delays, 0, [0; 200]);
        assert_eq!(delays.record(100 * SECOND, 50 * MS), 0, "nothing of the last ten seconds was faster");
        assert_eq!(delays.base(), 50 * MS);
    }

    #[test]
    fn peaks_that_come_again_hold_the_target_up_and_a_lone_one_does_not() {
        let mut delays = delays(0.98);
        let calm = |n: i64| (n % 5) * MS;
        let mut now = fed(&mut delays, 0, (0..500).map(calm));
        assert!(delays.target() <= 10 * MS);
        for peak in 0..4 {
            // 120 ms, falling as what waited comes all at once.
            now = fed(&mut delays, now, [120 * MS, 100 * MS, 80 * MS, 60 * MS]);
            now = fed(&mut delays, now, (0..200).map(calm));
            let held = delays.target() >= 120 * MS;
            assert_eq!(held, peak > 0, "after peak {peak}: {} ms", delays.target() / MS);
        }
        fed(&mut delays, now, (0..3000).map(calm));
        assert!(delays.target() <= 12 * MS, "{} ms", delays.target() / MS);
    }

    #[test]
    fn a_new_time_base_begins_with_the_target_that_was() {
        let mut delays = delays(0.98);
        let mut random = sansio::Random::new(7);
        fed(&mut delays, 0, (0..2000).map(|_| random.below(90_000_000) as i64));
        let before = delays.target();
        delays.restart();
        delays.record(0, -5_000_000_000_000);
        assert_eq!(delays.target(), before);
        assert_eq!(delays.base(), -5_000_000_000_000);
    }

    proptest! {
        /// The moved quantile is the one counted from the bottom, whatever comes.
        #[test]
        fn the_quantile_is_that_of_a_full_count(
            transits in proptest::collection::vec(prop_oneof![4 => 0..300i64, 1 => -2000..2000i64], 1..600)
        ) {
            let mut delays = delays(0.95);
            let mut now = 0;
            for transit in transits {
                delays.record(now, transit * MS);
                now += 20 * MS;
                let mut counted = delays.clone();
                counted.count_again();
                prop_assert_eq!(counted.at, delays.at);
                prop_assert!((10 * MS..=200 * MS).contains(&delays.target()));
                prop_assert!(delays.base() <= transit * MS);
            }
        }
    }
}
