//! Makes the tones of keys, with ramps that do not click.

use super::Key;
use crate::bank::ZERO_DBM0;
use core::f64::consts::{PI, TAU};

/// Milliseconds in which a tone comes and goes.
const RAMP: u32 = 2;

/// How loud the two frequencies are, in dBm0 each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// The row's.
    pub low: f64,
    /// The column's.
    pub high: f64,
}

impl Default for Levels {
    /// -10 and -8 dBm0: the higher one 2 dB louder, for lines that dampen it more; both within what ITU-T Q.24 lists for every network.
    fn default() -> Self {
        Self { low: -10.0, high: -8.0 }
    }
}

/// Makes one tone after the other.
#[derive(Clone, Debug)]
pub struct Generator {
    rate: u32,
    /// Phase and advance of each sine, in turns, and its peak.
    sines: [(f64, f64, f64); 2],
    /// Samples of the tone so far, how many it has, and of silence after it.
    at: u32,
    on: u32,
    off: u32,
}

impl Generator {
    /// Silent, at `rate` Hz.
    pub const fn new(rate: u32) -> Self {
        Self { rate, sines: [(0.0, 0.0, 0.0); 2], at: 0, on: 0, off: 0 }
    }

    /// Begins a key: a tone of `on` milliseconds (at least 4) and silence of `off` after it. ITU-T Q.24 lists 40 ms each as what every network takes; 100 ms are
    /// customary. `u32::MAX` lasts until [`Self::release`].
    pub fn press(&mut self, key: Key, levels: Levels, on: u32, off: u32) {
        let (low, high) = key.frequencies();
        let rate = f64::from(self.rate.max(1));
        // Above 3 dBm0 there is nothing but clipping.
        let peak = |level: f64| ZERO_DBM0 * 10f64.powf(level.clamp(-90.0, 3.0) / 20.0);
        self.sines = [(0.0, low / rate, peak(levels.low)), (0.0, high / rate, peak(levels.high))];
        let samples =
            |ms: u32| u32::try_from(u64::from(ms) * u64::from(self.rate) / 1000).unwrap_or(u32::MAX);
        self.at = 0;
        self.on = if on == u32::MAX { u32::MAX } else { samples(on.max(2 * RAMP)) };
        self.off = samples(off);
    }

    /// Ends a tone that lasts: it fades out now.
    pub fn release(&mut self) {
        self.on = self.on.min(self.at.saturating_add(self.ramp()));
    }

    /// Whether there is nothing more to come.
    pub const fn is_idle(&self) -> bool {
        self.at >= self.on && self.off == 0
    }

    fn ramp(&self) -> u32 {
        self.rate / 1000 * RAMP
    }

    /// Writes the next samples; returns how many, fewer than there is room for at the end of tone and silence.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let ramp = self.ramp().max(1);
        for (n, sample) in samples.iter_mut().enumerate() {
            if self.at >= self.on {
                if self.off == 0 {
                    return n;
                }
                self.off -= 1;
                *sample = 0;
                continue;
            }
            // Raised cosine at both ends.
            let edge = self.at.min(self.on - 1 - self.at).min(ramp);
            let gain = 0.5 - 0.5 * (PI * f64::from(edge) / f64::from(ramp)).cos();
            let mut sum = 0.0;
            for (phase, step, peak) in &mut self.sines {
                sum += *peak * (*phase * TAU).sin();
                *phase = (*phase + *step).fract();
            }
            *sample = (sum * gain).round() as i16; // saturates
            if self.on != u32::MAX || self.at < ramp {
                self.at += 1;
            }
        }
        samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_levels_its_length_and_soft_ends() {
        for rate in [8000u32, 16_000, 48_000] {
            let mut generator = Generator::new(rate);
            assert!(generator.is_idle());
            let key = Key::of('5').unwrap();
            generator.press(key, Levels { low: -10.0, high: -8.0 }, 50, 30);
            let mut samples = vec![7; rate as usize];
            let count = generator.fill(&mut samples);
            let ms = rate as usize / 1000;
            assert_eq!((count, generator.is_idle()), (80 * ms, true));
            assert!(samples[50 * ms..80 * ms].iter().all(|&s| s == 0));
            assert_eq!((samples[0], samples[50 * ms - 1]), (0, 0));
            let (low, high) = key.frequencies();
            let peak = |hertz: f64| {
                let (mut re, mut im) = (0.0, 0.0);
                // Forty milliseconds in the middle.
                for (n, &sample) in samples[5 * ms..45 * ms].iter().enumerate() {
                    let angle = TAU * hertz * n as f64 / f64::from(rate);
                    re += f64::from(sample) * angle.cos();
                    im += f64::from(sample) * angle.sin();
                }
                20.0 * ((re * re + im * im).sqrt() * 2.0 / (40 * ms) as f64 / ZERO_DBM0).log10()
            };
            assert!(
                (peak(low) + 10.0).abs() < 0.7 && (peak(high) + 8.0).abs() < 0.7,
                "{rate}: {} {}",
                peak(low),
                peak(high)
            );
            // No step at the ends larger than the tone has itself.
            let steep = |s: &[i16]| s.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap();
            assert!(steep(&samples[..3 * ms]) <= steep(&samples[5 * ms..45 * ms]));
            assert!(steep(&samples[47 * ms..]) <= steep(&samples[5 * ms..45 * ms]));
        }
    }

    #[test]
    fn a_key_is_held_until_it_is_released() {
        let mut generator = Generator::new(8000);
        generator.press(Key::of('#').unwrap(), Levels::default(), u32::MAX, 0);
        let mut frame = [0; 160];
        for _ in 0..100 {
            assert_eq!(generator.fill(&mut frame), 160);
        }
        generator.release();
        assert_eq!(generator.fill(&mut frame), 16, "the ramp");
        assert!(generator.is_idle());
    }
}
