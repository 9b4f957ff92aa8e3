//! Voice activity of G.729 Annex B (§B.3): does this frame hold speech?
//!
//! Energies are decimal logarithms (Bel) of the mean square of what is encoded, frequencies are parts of the sampling rate.

use super::analysis::LAGS;
use super::lsp::{Spectrum, frequencies_of};
use super::tables::LOW_BAND;
use super::{FRAME, ORDER};

/// Frames at the beginning in which only loudness counts and the background is learnt; the least loudness of speech.
const LEARNT: u32 = 32;
const QUIET: f32 = 1.5;
/// About 3 dB: what energy may rise by without being news.
const STEADY: f32 = 0.3;
/// Frames over which the least energy is kept: 16 blocks of 8.
const BLOCKS: usize = 16;
const BLOCK: u32 = 8;

/// What is measured of a frame.
#[derive(Clone, Copy, Debug)]
struct Features {
    full: f32,
    low: f32,
    crossings: f32,
    frequencies: [f32; ORDER],
}

/// The background, and what was decided of late.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    frames: u32,
    /// Frames loud enough to learn from, at the beginning.
    loud: u32,
    mean: Features,
    /// Background frames since the means were begun anew.
    updates: u32,
    least: f32,
    blocks: [f32; BLOCKS],
    previous_energy: f32,
    silent: u32,
    extended: u32,
    may_extend: bool,
    /// The last two decisions.
    decisions: [bool; 2],
}

impl Activity {
    pub(super) const fn new() -> Self {
        Self {
            frames: 0,
            loud: 0,
            mean: Features { full: 0.0, low: 0.0, crossings: 0.0, frequencies: [0.0; ORDER] },
            updates: 0,
            least: f32::MAX,
            blocks: [f32::MAX; BLOCKS],
            previous_energy: 0.0,
            silent: 0,
            extended: 0,
            may_extend: true,
            decisions: [true; 2],
        }
    }

    /// Whether the frame before the one that is heard next was speech.
    pub(super) const fn was_speech(&self) -> bool {
        self.decisions[0]
    }

    /// Decides on a frame; `second` is the second reflection coefficient, `samples` are the frame's. What may not be speech is
    /// none.
    pub(super) fn hear(
        &mut self,
        correlation: &[f32; LAGS],
        pairs: &Spectrum,
        second: f32,
        samples: &[i16],
        may_speak: bool,
    ) -> bool {
        let level = |energy: f32| (energy.max(1e-3) / 240.0).log10();
        let low: f32 = correlation.iter().zip(LOW_BAND).map(|(r, h)| r * f32::from(h)).sum::<f32>();
        let low = (2.0 * low - correlation[0] * f32::from(LOW_BAND[0])) / 32_768.0;
        let crossings = samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        let now = Features {
            full: level(correlation[0]),
            low: level(low),
            crossings: crossings as f32 / FRAME as f32,
            frequencies: frequencies_of(pairs).map(|f| f32::from(f) / 8192.0 / core::f32::consts::TAU),
        };
        let speech = self.decide(&now, second) && may_speak;
        self.previous_energy = now.full;
        self.decisions = [speech, self.decisions[0]];
        self.frames = self.frames.saturating_add(1);
        speech
    }

    fn decide(&mut self, now: &Features, second: f32) -> bool {
        let block = (self.frames / BLOCK) as usize % BLOCKS;
        if self.frames.is_multiple_of(BLOCK) {
            self.blocks[block] = f32::MAX;
        }
        self.blocks[block] = self.blocks[block].min(now.full);
        self.least = self.blocks.iter().fold(f32::MAX, |least, &block| least.min(block));

        if self.frames < LEARNT {
            if now.full < QUIET {
                return false;
            }
            self.loud += 1;
            let part = 1.0 / self.loud as f32;
            self.mean.full += (now.full - self.mean.full) * part;
            self.mean.crossings += (now.crossings - self.mean.crossings) * part;
            for (mean, f) in self.mean.frequencies.iter_mut().zip(now.frequencies) {
                *mean += (f - *mean) * part;
            }
            return true;
        }
        if self.frames == LEARNT {
            self.mean.low = self.mean.full - 1.2;
            self.mean.full -= 1.0;
        }
        let distortion: f32 =
            now.frequencies.iter().zip(self.mean.frequencies).map(|(f, mean)| (f - mean) * (f - mean)).sum();
        let speech = now.full >= QUIET && self.differs(now, distortion);
        let speech = self.smooth(speech, now.full, second);
        self.learn(now, second, distortion);
        speech
    }

    /// The fourteen bounds of §B.3.5, in table B.1's constants.
    fn differs(&self, now: &Features, distortion: f32) -> bool {
        let full = self.mean.full - now.full;
        let low = self.mean.low - now.low;
        let crossings = self.mean.crossings - now.crossings;
        distortion > 0.001_75 * crossings + 0.000_85
            || distortion > -0.004_545_455 * crossings + 0.001_159_091
            || full < -2.5 * crossings - 0.5
            || full < 2.0 * crossings - 0.6
            || full < -0.47
            || full < 880.0 * distortion - 1.22
            || distortion > 0.0009
            || full < 2.5 * crossings - 0.7
            || full < -2.909_091 * crossings - 0.481_818_2
            || full < -0.53
            || low < 1400.0 * distortion - 1.55
            || low > 0.928_571_4 * full + 0.114_285_7
            || low < 0.714_285_7 * full - 0.214_285_7
            || low < -1.5 * full - 0.9
    }

    /// The four steps of §B.3.6: speech ends late, but not in what is clearly background.
    fn smooth(&mut self, mut speech: bool, energy: f32, second: f32) -> bool {
        let mut forced = false;
        if !speech && self.decisions[0] && energy > self.mean.full + 0.2 && energy > QUIET {
            (speech, forced) = (true, true);
        }
        if self.may_extend {
            if !speech && self.decisions == [true; 2] && (energy - self.previous_energy).abs() <= STEADY {
                (speech, forced) = (true, true);
                self.extended += 1;
                if self.extended > 4 {
                    (self.may_extend, self.extended) = (false, 0);
                }
            }
        } else {
            self.may_extend = true;
        }
        if speech {
            if self.silent > 10 && energy - self.previous_energy <= STEADY {
                speech = false;
            }
            self.silent = 0;
        } else {
            self.silent = self.silent.saturating_add(1);
        }
        speech && !(energy - STEADY < self.mean.full && self.frames > 128 && !forced && second < 0.6)
    }

    /// §B.3.7: the background follows frames that look like it.
    fn learn(&mut self, now: &Features, second: f32, distortion: f32) {
        let mean = &mut self.mean;
        if now.full - STEADY < mean.full && second < 0.75 && distortion < 0.002_532_959 {
            self.updates = self.updates.saturating_add(1);
            let (energy, crossings, shape) = match self.updates {
                ..20 => (0.75, 0.8, 0.6),
                20..30 => (0.95, 0.92, 0.65),
                30..40 => (0.97, 0.94, 0.7),
                40..50 => (0.99, 0.96, 0.75),
                50..60 => (0.995, 0.99, 0.75),
                60.. => (0.995, 0.998, 0.75),
            };
            mean.full = energy * mean.full + (1.0 - energy) * now.full;
            mean.low = energy * mean.low + (1.0 - energy) * now.low;
            mean.crossings = crossings * mean.crossings + (1.0 - crossings) * now.crossings;
            for (mean, f) in mean.frequencies.iter_mut().zip(now.frequencies) {
                *mean = shape * *mean + (1.0 - shape) * f;
            }
        }
        let far = mean.full - self.least > 1.0;
        if self.frames > 128 && (far || mean.full < self.least && distortion < 0.002_532_959) {
            mean.full = self.least;
            self.updates = 0;
        }
    }
}
