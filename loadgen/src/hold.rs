//! Hold laws: how long a call lasts, drawn from the plan's seed.

use core::time::Duration;
use sansio::Random;

/// How long calls last, from the answer to the caller's BYE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HoldLaw {
    /// Every call alike.
    Fixed(Duration),
    /// Exponential with this mean: the classical assumption of traffic theory.
    Exponential(Duration),
    /// Uniform between two bounds.
    Uniform(Duration, Duration),
}

impl HoldLaw {
    /// The mean of the law.
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Fixed(hold) | Self::Exponential(hold) => hold,
            Self::Uniform(from, to) => (from + to) / 2,
        }
    }

    /// One hold time.
    pub fn draw(&self, random: &mut Random) -> Duration {
        match *self {
            Self::Fixed(hold) => hold,
            Self::Exponential(mean) => Duration::from_secs_f64(random.exponential(mean.as_secs_f64())),
            Self::Uniform(from, to) => from + to.saturating_sub(from).mul_f64(random.unit()),
        }
    }

    /// What is left of a call that is found in progress at a random instant (the equilibrium
    /// residual life of renewal theory), at the quantile `position` in [0, 1).
    ///
    /// A ramp gives its calls such remainders, spread evenly over the quantiles, so that calls end
    /// at the rate at which new ones come from the ramp's end on, and the plateau is level at once.
    pub fn residual(&self, position: f64) -> Duration {
        let u = position.clamp(0.0, 1.0 - 1e-9);
        match *self {
            Self::Fixed(hold) => hold.mul_f64(u),
            Self::Exponential(mean) => mean.mul_f64(-(1.0 - u).ln()),
            Self::Uniform(from, to) => {
                // Density of the remainder: P(hold > x) / mean; constant up to `from`, falling to 0 at `to`.
                let (a, b) = (from.as_secs_f64(), to.as_secs_f64());
                let mean = (a + b) / 2.0;
                if mean <= 0.0 {
                    return Duration::ZERO;
                }
                let below = a / mean;
                let seconds = if u <= below || b <= a {
                    u * mean
                } else {
                    b - ((1.0 - u) * 2.0 * mean * (b - a)).sqrt()
                };
                Duration::from_secs_f64(seconds.max(0.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAWS: [HoldLaw; 3] = [
        HoldLaw::Fixed(Duration::from_secs(30)),
        HoldLaw::Exponential(Duration::from_secs(30)),
        HoldLaw::Uniform(Duration::from_secs(10), Duration::from_secs(50)),
    ];

    #[test]
    fn draws_have_the_mean_of_their_law() {
        for law in LAWS {
            let mut random = Random::new(5);
            let n = 50_000;
            let mean = (0..n).map(|_| law.draw(&mut random).as_secs_f64()).sum::<f64>() / f64::from(n);
            assert!((mean - law.mean().as_secs_f64()).abs() < 0.5, "{law:?}: {mean}");
        }
    }

    #[test]
    fn remainders_have_the_mean_of_renewal_theory() {
        // E[residual] = E[hold²] / (2 E[hold])
        let expected = [15.0, 30.0, (900.0 + 40.0 * 40.0 / 12.0) / 60.0];
        for (law, expected) in LAWS.iter().zip(expected) {
            let n = 20_000;
            let mean =
                (0..n).map(|i| law.residual((f64::from(i) + 0.5) / f64::from(n)).as_secs_f64()).sum::<f64>()
                    / f64::from(n);
            assert!((mean - expected).abs() < 0.1, "{law:?}: {mean}, expected {expected}");
        }
    }
}
