//! A few frequencies looked for in sound: how strong each is, and how far off, every 5 ms over the last 20.
//!
//! An oscillator for each frequency runs on without end, so that the phase of what is correlated with it stands still for that very frequency and
//! turns by the difference for any other: from one window to the next that difference is known within 1.5
//! hertz, far more exactly than so short a time could separate frequencies otherwise.

use core::f64::consts::TAU;

/// Blocks of 5 ms in a window, and in a second.
const BLOCKS: usize = 4;
pub(crate) const BLOCKS_A_SECOND: u32 = 200;
/// What each block of a window weighs, their sum, and the sum of their squares. Half at the ends keeps the frequencies out of each other's
/// sums: by 27 dB between neighbours of DTMF, where even weights leave 13.
const WEIGHTS: [f64; BLOCKS] = [0.5, 1.0, 1.0, 0.5];
const WEIGHT: f64 = 3.0;
const SQUARES: f64 = 2.5;
/// Peak of a sine of 0 dBm0 (ITU-T G.711: full scale is 3.14 dBm0).
pub(crate) const ZERO_DBM0: f64 = 32_768.0 * 0.696_6;

/// Correlates a stream with `N` frequencies.
#[derive(Clone, Debug)]
pub(crate) struct Bank<const N: usize> {
    /// Samples of a block.
    block: usize,
    /// Unit vectors that turn with each frequency, how far in a sample, and the sums of the present block.
    turning: [(f32, f32); N],
    turns: [(f32, f32); N],
    sums: [(f32, f32); N],
    energy: f32,
    filled: usize,
    /// Sums and energy of the last blocks.
    past: [([(f32, f32); N], f32); BLOCKS],
    place: usize,
    window: Window<N>,
}

/// What the last 20 ms show.
#[derive(Clone, Debug)]
pub(crate) struct Window<const N: usize> {
    block: f64,
    sums: [(f64, f64); N],
    /// Those of the window 5 ms before.
    before: [(f64, f64); N],
    /// All that was heard, weighed as the sums are.
    pub(crate) energy: f64,
}

impl<const N: usize> Bank<N> {
    /// For `rate` Hz, 8000 to 48 000; brought into that range.
    pub(crate) fn new(rate: u32, hertz: [f64; N]) -> Self {
        let rate = rate.clamp(8000, 48_000);
        let turns = hertz.map(|hertz| {
            let angle = TAU * hertz / f64::from(rate);
            (angle.cos() as f32, angle.sin() as f32)
        });
        let block = (rate / BLOCKS_A_SECOND) as usize;
        let nothing = [(0.0, 0.0); N];
        Self {
            block,
            turning: [(1.0, 0.0); N],
            turns,
            sums: [(0.0, 0.0); N],
            energy: 0.0,
            filled: 0,
            past: [([(0.0, 0.0); N], 0.0); BLOCKS],
            place: 0,
            window: Window { block: block as f64, sums: nothing, before: nothing, energy: 0.0 },
        }
    }

    /// Takes samples; calls `judge` with each window that they complete.
    pub(crate) fn hear(&mut self, mut samples: &[i16], mut judge: impl FnMut(&Window<N>)) {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.block - self.filled));
            self.correlate(now);
            self.filled += now.len();
            samples = later;
            if self.filled == self.block {
                self.filled = 0;
                self.complete();
                judge(&self.window);
            }
        }
    }

    fn correlate(&mut self, samples: &[i16]) {
        for &sample in samples {
            let x = f32::from(sample);
            self.energy += x * x;
            for n in 0..N {
                let (re, im) = self.turning[n];
                self.sums[n].0 += x * re;
                self.sums[n].1 += x * im;
                let (cos, sin) = self.turns[n];
                self.turning[n] = (re * cos - im * sin, re * sin + im * cos);
            }
        }
    }

    /// A block is complete.
    fn complete(&mut self) {
        for (re, im) in &mut self.turning {
            // One again, whatever rounding did.
            let length = (*re * *re + *im * *im).sqrt().max(f32::MIN_POSITIVE);
            (*re, *im) = (*re / length, *im / length);
        }
        self.past[self.place] = (self.sums, self.energy);
        self.place = (self.place + 1) % BLOCKS;
        (self.sums, self.energy) = ([(0.0, 0.0); N], 0.0);
        let window = &mut self.window;
        (window.before, window.sums) = (window.sums, [(0.0, 0.0); N]);
        window.energy = 0.0;
        for (n, weight) in WEIGHTS.iter().enumerate() {
            // The oldest first.
            let (sums, squares) = &self.past[(self.place + n) % BLOCKS];
            window.energy += weight * weight * f64::from(*squares);
            for (sum, part) in window.sums.iter_mut().zip(sums) {
                *sum = (sum.0 + weight * f64::from(part.0), sum.1 + weight * f64::from(part.1));
            }
        }
    }
}

impl<const N: usize> Window<N> {
    /// How strong the `n`th frequency is, on a scale of its own.
    pub(crate) fn power(&self, n: usize) -> f64 {
        self.sums[n].0.powi(2) + self.sums[n].1.powi(2)
    }

    /// The phase of the `n`th frequency against its oscillator, in radians.
    pub(crate) fn phase(&self, n: usize) -> f64 {
        self.sums[n].1.atan2(self.sums[n].0)
    }

    /// The share of all energy that lies around some frequencies, each of which stands for 50 Hz (the width of a window's line).
    pub(crate) fn share(&self, band: core::ops::Range<usize>) -> f64 {
        let sum: f64 = band.map(|n| self.power(n)).sum();
        2.0 * sum / (self.block * BLOCKS as f64) / self.energy.max(1.0)
    }

    /// By how much the phase of the `n`th frequency turned since the window before, in radians from -π to π.
    pub(crate) fn turned(&self, n: usize) -> f64 {
        let (a, b) = (self.before[n], self.sums[n]);
        (b.1 * a.0 - b.0 * a.1).atan2(b.0 * a.0 + b.1 * a.1)
    }

    /// How far what is heard near the `n`th frequency is off it, in Hz: up to 100 either way.
    pub(crate) fn off(&self, n: usize) -> f64 {
        // The sums turn backwards: the oscillator is taken as it is, not its conjugate.
        -self.turned(n) / TAU * f64::from(BLOCKS_A_SECOND)
    }

    /// Energy of the sine there, on the scale of [`Self::energy`], corrected for being off.
    pub(crate) fn sine(&self, n: usize) -> f64 {
        let half = self.turned(n) / 2.0;
        let within = if half.abs() < 1e-6 { 1.0 } else { half.sin() / half };
        let between = (2.0 * half.cos() + (3.0 * half).cos()) / WEIGHT;
        2.0 * self.power(n) * SQUARES / (WEIGHT * WEIGHT * self.block * (within * between).powi(2).max(0.01))
    }

    /// What the energy of a sine of so many dBm0 is.
    pub(crate) fn energy_of(&self, dbm0: f64) -> f64 {
        (ZERO_DBM0 * 10f64.powf(dbm0 / 20.0)).powi(2) / 2.0 * self.block * SQUARES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    #[test]
    fn frequency_and_energy_are_those_of_the_tone() {
        for rate in [8000u32, 16_000, 48_000] {
            for off in [-40.0, -20.0, -1.0, 0.0, 3.0, 30.0, 40.0] {
                let mut bank = Bank::new(rate, [1000.0, 2000.0]);
                let mut samples = vec![0; rate as usize / 5];
                Tone::sine(2000.0 + off, 10_000, rate).fill(&mut samples);
                let mut last = None;
                bank.hear(&samples, |window| last = Some(window.clone()));
                let window = last.unwrap();
                assert!((window.off(1) - off).abs() < 1.5, "{rate} Hz, {off} Hz: {}", window.off(1));
                let share = window.sine(1) / window.energy;
                assert!((share - 1.0).abs() < 0.08, "{rate} Hz, {off} Hz: {share}");
                assert!(window.power(0) < window.power(1) / 20.0);
                let level = 20.0 * (10_000.0 / ZERO_DBM0).log10();
                assert!((window.sine(1) / window.energy_of(level) - 1.0).abs() < 0.08);
            }
        }
    }
}
