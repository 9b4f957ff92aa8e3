//! Recognizes keys in sound.
//!
//! Every 5 ms the last 20 ms are correlated with the eight frequencies, by oscillators that run on, so that the phase of each correlation
//! stands still for its own frequency and turns by the difference for any other: that difference is known to a fraction of a hertz,
//! far more exactly than so short a time could separate frequencies otherwise. A key is there when
//!
//! - the strongest row and column are off by 2.5 % at most (ITU-T Q.24: 1.5 % has to be taken, 3.5 % must not be),
//! - each has -31 dBm0 at least, and the column is at most 5 dB louder and 9 dB softer than the row (Q.24: networks ask for
//!   4 to 8 dB either way),
//! - both together are 85 % of all that is heard (noise 15 dB below them leaves 97 %): that keeps speech out, whose energy is in many harmonics,
//! - and this was so, for the same key and with levels and frequencies that stood still, as no voice's do, in four windows in a row: 40 ms are
//!   always enough, 22 ms (what must not be taken) never.
//!
//! It ends when six windows in a row say otherwise: pauses of 30 ms separate two keys, breaks of 10 ms do not.

use super::{COLUMNS, Key, ROWS, ZERO_DBM0};
use core::f64::consts::TAU;

/// Blocks of 5 ms in a window, and a second.
const BLOCKS: usize = 4;
const BLOCKS_A_SECOND: u32 = 200;
/// Milliseconds of a block.
const BLOCK_MS: u32 = 5;
/// What each block of a window weighs, their sum, and the sum of their squares. Half at the ends keeps the frequencies out of each other's
/// sums: by 27 dB between neighbours, where even weights leave 13.
const WEIGHTS: [f64; BLOCKS] = [0.5, 1.0, 1.0, 0.5];
const WEIGHT: f64 = 3.0;
const SQUARES: f64 = 2.5;
/// How far a frequency may be off.
const OFF: f64 = 0.025;
/// Softest level of each frequency, in dBm0.
const SOFTEST: f64 = -31.0;
/// How much louder the column may be, and the row, as ratios of power: 5 and 9 dB.
const COLUMN_LOUDER: f64 = 3.16;
const ROW_LOUDER: f64 = 7.94;
/// Share of the energy that both have.
const PURE: f64 = 0.85;
/// The strongest of a group is so much stronger than the next: 6 dB.
const CLEAR: f64 = 4.0;
/// Change of level between windows that count as one tone, as a ratio of power: 3 dB.
const STEADY: f64 = 2.0;
/// Change of a frequency between windows that count as one tone, in Hz.
const STILL: f64 = 6.0;
/// Level below which a tone that was recognized is over: 10 dB.
const OVER: f64 = 0.1;
/// Windows that begin a key, and that end it.
const BEGIN: u32 = 4;
const END: u32 = 6;
/// A tone is so much longer than the blocks whose windows show it: the first does when it is nearly full.
const UNSEEN_MS: u32 = 15;

/// What was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A key is pressed; it has been for 25 to 40 ms.
    Began(Key),
    /// It is no longer. `ms` is how long the tone was, within 10 ms.
    Ended {
        /// The key.
        key: Key,
        /// Length of its tone in milliseconds.
        ms: u32,
    },
}

/// What a window shows: a key, the power of both sines, and how far each is off in Hz.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    power: f64,
    off: (f64, f64),
}

impl Seen {
    /// Whether this and the window before it show one tone.
    fn goes_on(&self, before: &Self) -> bool {
        self.key == before.key
            && self.power < before.power * STEADY
            && before.power < self.power * STEADY
            && (self.off.0 - before.off.0).abs() < STILL
            && (self.off.1 - before.off.1).abs() < STILL
    }
}

/// Listens to one stream.
#[derive(Clone, Debug)]
pub struct Detector {
    /// Samples of a block.
    block: usize,
    /// Unit vectors that turn with each frequency, how far in a sample, and the sums of the present block.
    turning: [(f32, f32); 8],
    turns: [(f32, f32); 8],
    sums: [(f32, f32); 8],
    energy: f32,
    filled: usize,
    /// Sums and energy of the last blocks.
    past: [([(f32, f32); 8], f32); BLOCKS],
    place: usize,
    /// The sums of the last window.
    window: [(f64, f64); 8],
    /// What the last window showed, and how many in a row did.
    candidate: Option<(Seen, u32)>,
    /// The key that is pressed: its power, windows since it began, windows in a row that show it no more.
    pressed: Option<(Key, f64, u32, u32)>,
}

impl Detector {
    /// A detector for `rate` Hz, 8000 to 48 000.
    pub fn new(rate: u32) -> Self {
        let rate = rate.clamp(8000, 48_000);
        let mut turns = [(1.0, 0.0); 8];
        for (turn, hertz) in turns.iter_mut().zip(ROWS.iter().chain(&COLUMNS)) {
            let angle = TAU * hertz / f64::from(rate);
            *turn = (angle.cos() as f32, angle.sin() as f32);
        }
        Self {
            block: (rate / BLOCKS_A_SECOND) as usize,
            turning: [(1.0, 0.0); 8],
            turns,
            sums: [(0.0, 0.0); 8],
            energy: 0.0,
            filled: 0,
            past: [([(0.0, 0.0); 8], 0.0); BLOCKS],
            place: 0,
            window: [(0.0, 0.0); 8],
            candidate: None,
            pressed: None,
        }
    }

    /// Listens to the next samples; calls `heard` for what it recognizes in them.
    pub fn hear(&mut self, mut samples: &[i16], mut heard: impl FnMut(Heard)) {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.block - self.filled));
            self.correlate(now);
            self.filled += now.len();
            samples = later;
            if self.filled == self.block {
                self.filled = 0;
                self.judge(&mut heard);
            }
        }
    }

    /// The key that is pressed.
    pub fn pressed(&self) -> Option<Key> {
        self.pressed.map(|pressed| pressed.0)
    }

    fn correlate(&mut self, samples: &[i16]) {
        for &sample in samples {
            let x = f32::from(sample);
            self.energy += x * x;
            for n in 0..8 {
                let (re, im) = self.turning[n];
                self.sums[n].0 += x * re;
                self.sums[n].1 += x * im;
                let (cos, sin) = self.turns[n];
                self.turning[n] = (re * cos - im * sin, re * sin + im * cos);
            }
        }
    }

    /// A block is complete.
    fn judge(&mut self, heard: &mut impl FnMut(Heard)) {
        for (re, im) in &mut self.turning {
            // One again, whatever rounding did.
            let length = (*re * *re + *im * *im).sqrt().max(f32::MIN_POSITIVE);
            (*re, *im) = (*re / length, *im / length);
        }
        self.past[self.place] = (self.sums, self.energy);
        self.place = (self.place + 1) % BLOCKS;
        (self.sums, self.energy) = ([(0.0, 0.0); 8], 0.0);
        let before = self.window;
        let mut energy = 0.0;
        self.window = [(0.0, 0.0); 8];
        for (n, weight) in WEIGHTS.iter().enumerate() {
            // The oldest first.
            let (sums, squares) = &self.past[(self.place + n) % BLOCKS];
            energy += weight * weight * f64::from(*squares);
            for (sum, part) in self.window.iter_mut().zip(sums) {
                *sum = (sum.0 + weight * f64::from(part.0), sum.1 + weight * f64::from(part.1));
            }
        }
        let seen = self.key(&before, energy);
        self.follow(seen, heard);
    }

    /// The key of this window and its power.
    fn key(&self, before: &[(f64, f64); 8], energy: f64) -> Option<Seen> {
        let power = |n: usize| self.window[n].0.powi(2) + self.window[n].1.powi(2);
        let strongest = |group: core::ops::Range<usize>| -> Option<usize> {
            let best = group.clone().max_by(|&a, &b| power(a).total_cmp(&power(b)))?;
            group.filter(|&n| n != best).all(|n| power(n) * CLEAR < power(best)).then_some(best)
        };
        let (row, column) = (strongest(0..4)?, strongest(4..8)?);
        let block = self.block as f64;
        // Energy of the sine that is there, corrected for being off the frequency that it was correlated with.
        let sine = |n: usize, hertz: f64| -> Option<(f64, f64)> {
            let (a, b) = (before[n], self.window[n]);
            let turned = (b.1 * a.0 - b.0 * a.1).atan2(b.0 * a.0 + b.1 * a.1);
            let off = turned / TAU * f64::from(BLOCKS_A_SECOND);
            if off.abs() > hertz * OFF {
                return None;
            }
            let half = turned / 2.0;
            let within = if half.abs() < 1e-6 { 1.0 } else { half.sin() / half };
            let between = (2.0 * half.cos() + (3.0 * half).cos()) / WEIGHT;
            let seen = (within * between).powi(2);
            Some((2.0 * power(n) * SQUARES / (WEIGHT * WEIGHT * block * seen), off))
        };
        let (low, low_off) = sine(row, ROWS[row])?;
        let (high, high_off) = sine(column, COLUMNS[column - 4])?;
        let softest = (ZERO_DBM0 * 10f64.powf(SOFTEST / 20.0)).powi(2) / 2.0 * block * SQUARES;
        let loud = low >= softest && high >= softest;
        let even = high <= low * COLUMN_LOUDER && low <= high * ROW_LOUDER;
        (loud && even && low + high >= PURE * energy).then(|| Seen {
            key: Key::at(row, column - 4),
            power: low + high,
            off: (low_off, high_off),
        })
    }

    fn follow(&mut self, seen: Option<Seen>, heard: &mut impl FnMut(Heard)) {
        let mut over = None;
        if let Some((key, power, windows, missing)) = &mut self.pressed {
            *windows += 1;
            match seen {
                Some(seen) if seen.key == *key && seen.power >= *power * OVER => {
                    *missing = 0;
                    *power = power.max(seen.power);
                }
                _ => *missing += 1,
            }
            if *missing >= END {
                // It was recognized at the end of its fourth window.
                over = Some((*key, (*windows + BEGIN - *missing) * BLOCK_MS + UNSEEN_MS));
            }
        }
        if let Some((key, ms)) = over {
            self.pressed = None;
            heard(Heard::Ended { key, ms });
        }
        self.candidate = seen.map(|seen| match &self.candidate {
            Some((before, count)) if seen.goes_on(before) => (seen, count.saturating_add(1)),
            _ => (seen, 1),
        });
        if let (None, Some((seen, BEGIN..))) = (self.pressed, self.candidate) {
            self.pressed = Some((seen.key, seen.power, 0, 0));
            heard(Heard::Began(seen.key));
        }
    }
}
