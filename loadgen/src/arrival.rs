//! Arrivals: when each call is due, from the plan and the seed alone.
//!
//! The schedule is open-loop: it never waits for a call to complete, so a slow target meets the
//! load that was planned, and every latency counts from the instant at which the call was due.

use crate::hold::HoldLaw;
use core::time::Duration;
use sansio::Random;

/// How arrivals follow each other while the rate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly.
    Constant,
    /// As a Poisson process: independent exponential gaps.
    Poisson,
}

/// One stretch of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// How long it lasts.
    pub length: Duration,
    /// Calls per second at its start.
    pub rate_from: f64,
    /// Calls per second at its end; in between the rate is linear.
    pub rate_to: f64,
    /// Whether its calls live until the stretch's end and a remainder beyond (see [`HoldLaw::residual`]).
    pub fills: bool,
}

/// A call that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Due {
    /// Which call of the run, from 0.
    pub number: u64,
    /// When, from the run's start.
    pub at: Duration,
    /// How long the call shall last once it is answered.
    pub hold: Duration,
}

/// The schedule of a run; an iterator over what is due, in order of time.
#[derive(Clone, Debug)]
pub struct Arrivals {
    stretches: Vec<Stretch>,
    spacing: Spacing,
    hold: HoldLaw,
    /// Gaps and holds have streams of their own: changing one law leaves the other's draws alone.
    gaps: Random,
    holds: Random,
    calls_max: u64,
    current: usize,
    /// When the current stretch began.
    began: Duration,
    /// Arrivals due so far in the current stretch, as an integral of the rate.
    mass: f64,
    number: u64,
    in_stretch: u64,
}

impl Arrivals {
    /// The schedule of these stretches, ended early after `calls_max` calls.
    pub fn new(stretches: Vec<Stretch>, spacing: Spacing, hold: HoldLaw, calls_max: u64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            stretches,
            spacing,
            hold,
            gaps: random.fork(),
            holds: random.fork(),
            calls_max,
            current: 0,
            began: Duration::ZERO,
            mass: 0.0,
            number: 0,
            in_stretch: 0,
        }
    }

    /// When the last stretch ends.
    pub fn length(&self) -> Duration {
        self.stretches.iter().map(|stretch| stretch.length).sum()
    }

    /// Calls the schedule expects in all, by its rates.
    pub fn expected(&self) -> f64 {
        let all: f64 = self.stretches.iter().map(Stretch::mass).sum();
        all.min(self.calls_max as f64)
    }

    fn hold_of(&mut self, stretch: Stretch, at: Duration) -> Duration {
        if !stretch.fills {
            return self.hold.draw(&mut self.holds);
        }
        // Multiples of the golden ratio spread the remainders evenly over the quantiles, whichever of the
        // arrivals one looks at: every second one, say, when the target has two carriers in turn.
        let position = (0.5 + self.in_stretch as f64 * 0.618_033_988_749_894_9).fract();
        let end = self.began + stretch.length;
        end.saturating_sub(at) + self.hold.residual(position)
    }
}

impl Stretch {
    /// A stretch at one rate.
    pub fn steady(length: Duration, rate: f64) -> Self {
        Self { length, rate_from: rate, rate_to: rate, fills: false }
    }

    /// Arrivals expected in it.
    fn mass(&self) -> f64 {
        (self.rate_from + self.rate_to) / 2.0 * self.length.as_secs_f64()
    }

    /// When the integral of the rate reaches `mass`, in seconds from the stretch's start.
    fn when(&self, mass: f64) -> Option<f64> {
        let length = self.length.as_secs_f64();
        if mass >= self.mass() || length <= 0.0 {
            return None;
        }
        let slope = (self.rate_to - self.rate_from) / length;
        if slope.abs() < 1e-12 {
            return Some(mass / self.rate_from);
        }
        // rate_from × t + slope × t² / 2 = mass
        let root = (self.rate_from * self.rate_from + 2.0 * slope * mass).max(0.0).sqrt();
        Some((root - self.rate_from) / slope)
    }
}

impl Iterator for Arrivals {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        if self.number >= self.calls_max {
            return None;
        }
        let mut mass = match self.spacing {
            // The first call is due half a gap after the start: stretches then join without a double.
            Spacing::Constant if self.in_stretch == 0 => self.mass + 0.5,
            Spacing::Constant => self.mass + 1.0,
            Spacing::Poisson => self.mass + self.gaps.exponential(1.0),
        };
        loop {
            let stretch = *self.stretches.get(self.current)?;
            if let Some(seconds) = stretch.when(mass) {
                let at = self.began + Duration::from_secs_f64(seconds);
                let hold = self.hold_of(stretch, at);
                let due = Due { number: self.number, at, hold };
                self.mass = mass;
                self.number += 1;
                self.in_stretch += 1;
                return Some(due);
            }
            // What is left of the gap goes on in the next stretch, at its rate.
            mass -= stretch.mass();
            self.began += stretch.length;
            self.current += 1;
            self.mass = 0.0;
            self.in_stretch = 0;
        }
    }
}

/// The schedule that ramps to `concurrent` calls within `ramp` and then sustains them for `plateau`:
/// while the ramp lasts no call ends; from then on as many come as go, at `concurrent / mean hold`.
pub fn towards(concurrent: u32, ramp: Duration, plateau: Duration, hold: &HoldLaw) -> Vec<Stretch> {
    let calls = f64::from(concurrent);
    let ramp = ramp.max(Duration::from_millis(1));
    let rate = calls / ramp.as_secs_f64();
    let filling = Stretch { length: ramp, rate_from: rate, rate_to: rate, fills: true };
    let sustain = calls / hold.mean().as_secs_f64().max(1e-3);
    vec![filling, Stretch::steady(plateau, sustain)]
}

/// Distance of Kolmogorov and Smirnov between `gaps` and the exponential law with mean `mean`, times √n.
/// Above 1.63 the gaps are not Poisson's, at 1 % error. Sorts `gaps`.
pub fn poisson_distance(gaps: &mut [f64], mean: f64) -> f64 {
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let mut distance = 0.0f64;
    for (i, gap) in gaps.iter().enumerate() {
        let law = 1.0 - (-gap / mean).exp();
        distance = distance.max((law - i as f64 / n).abs()).max(((i as f64 + 1.0) / n - law).abs());
    }
    distance * n.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: HoldLaw = HoldLaw::Fixed(Duration::from_secs(30));

    fn gaps(due: &[Due]) -> Vec<f64> {
        due.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect()
    }

    #[test]
    fn constant_arrivals_come_evenly() {
        let stretches = vec![Stretch::steady(Duration::from_secs(10), 50.0)];
        let due: Vec<Due> = Arrivals::new(stretches, Spacing::Constant, HOLD, u64::MAX, 1).collect();
        assert_eq!(due.len(), 500);
        assert!(gaps(&due).iter().all(|gap| (gap - 0.02).abs() < 1e-6));
    }

    #[test]
    fn poisson_arrivals_pass_the_test_and_constant_ones_fail_it() {
        let stretches = vec![Stretch::steady(Duration::from_secs(200), 50.0)];
        for seed in 0..5 {
            let make =
                |spacing| Arrivals::new(stretches.clone(), spacing, HOLD, u64::MAX, seed).collect::<Vec<_>>();
            let distance = poisson_distance(&mut gaps(&make(Spacing::Poisson)), 0.02);
            assert!(distance < 1.63, "seed {seed}: {distance}");
            assert!(poisson_distance(&mut gaps(&make(Spacing::Constant)), 0.02) > 10.0);
        }
    }

    #[test]
    fn the_schedule_follows_from_the_seed() {
        let stretches = vec![Stretch::steady(Duration::from_secs(5), 40.0)];
        let run = |seed| -> Vec<Due> {
            let hold = HoldLaw::Exponential(Duration::from_secs(9));
            Arrivals::new(stretches.clone(), Spacing::Poisson, hold, u64::MAX, seed).collect()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn stairs_change_the_rate_at_their_steps() {
        let second = Duration::from_secs(1);
        let stretches = [10.0, 30.0, 20.0].map(|rate| Stretch::steady(second, rate)).to_vec();
        let due: Vec<Due> = Arrivals::new(stretches, Spacing::Constant, HOLD, u64::MAX, 1).collect();
        let within = |from: u64| due.iter().filter(|d| d.at.as_secs() == from).count();
        assert_eq!([within(0), within(1), within(2)], [10, 30, 20]);
        assert!(due.windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn a_linear_ramp_has_the_area_below_it() {
        let ramp = Stretch { length: Duration::from_secs(10), rate_from: 0.0, rate_to: 20.0, fills: false };
        let due: Vec<Due> = Arrivals::new(vec![ramp], Spacing::Constant, HOLD, u64::MAX, 1).collect();
        assert_eq!(due.len(), 100);
        let half = due.iter().filter(|d| d.at < Duration::from_secs(5)).count();
        assert_eq!(half, 25);
    }

    #[test]
    fn a_ramp_reaches_its_plateau_and_stays_level() {
        for hold in [
            HOLD,
            HoldLaw::Exponential(Duration::from_secs(30)),
            HoldLaw::Uniform(Duration::from_secs(20), Duration::from_secs(40)),
        ] {
            let stretches = towards(1000, Duration::from_secs(20), Duration::from_secs(80), &hold);
            let due: Vec<Due> = Arrivals::new(stretches, Spacing::Constant, hold, u64::MAX, 1).collect();
            let up = |t: Duration| due.iter().filter(|d| d.at <= t && d.at + d.hold > t).count() as f64;
            let tolerance = if hold == HOLD { 5.0 } else { 90.0 };
            for t in [20u64, 25, 33, 50, 51, 77, 99] {
                let up = up(Duration::from_secs(t));
                assert!((up - 1000.0).abs() <= tolerance, "{hold:?} at {t} s: {up} up");
            }
            assert!((up(Duration::from_secs(10)) - 500.0).abs() <= 2.0);
            // Two carriers taken in turn stay level too.
            let even = due
                .iter()
                .filter(|d| d.number % 2 == 0 && d.at.as_secs() <= 33 && (d.at + d.hold).as_secs() > 33);
            assert!((even.count() as f64 - 500.0).abs() < 60.0);
        }
    }

    #[test]
    fn a_number_of_calls_ends_the_schedule() {
        let stretches = vec![Stretch::steady(Duration::from_secs(1000), 10.0)];
        let arrivals = Arrivals::new(stretches, Spacing::Poisson, HOLD, 7, 1);
        assert!((arrivals.expected() - 7.0).abs() < 1e-9);
        assert_eq!(arrivals.count(), 7);
    }
}
