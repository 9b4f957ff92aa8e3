//! Silence compression of G.729 Annex B in the encoder (§B.4): whether to speak, to describe the noise, or to send nothing.

use super::ORDER;
use super::analysis::{LAGS, pairs, predict};
use super::basic::mult_r;
use super::lsp::{Memory, Spectrum};
use super::spectrum::code_noise;
use super::tables::{LSP_START, NOISE_GAIN};
use super::voice::Activity;

/// Frames that are not described after one that was, at least.
const APART: u32 = 3;
/// How much the filter may change before it is described again, and before the average no longer stands for it.
const CHANGED: f32 = 1.148_16;
const ALIKE: f32 = 1.096_46;

/// The autocorrelation that matters to the filter.
type Correlation = [f32; ORDER + 1];
type Coefficients = [f32; ORDER + 1];

/// What becomes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// It is sent as speech.
    Speech,
    /// It is noise, of a gain (Q3) and a spectrum that the decoder has, and described if need be.
    Noise { gain: i16, pairs: Spectrum, description: Option<[u16; 4]> },
}

/// What the encoder knows of the background.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    activity: Activity,
    /// Of the last two frames, newest first, and sums of pairs of earlier frames.
    recent: [Correlation; 2],
    sums: [Correlation; 3],
    odd: bool,
    /// Residual energies of the last two frames.
    energies: [f32; 2],
    counted: usize,
    /// Autocorrelation of the coefficients that were described.
    described: Coefficients,
    level: i16,
    changed: bool,
    since: u32,
    wanted: i16,
    gain: i16,
    pairs: Spectrum,
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            activity: Activity::new(),
            recent: [[0.0; ORDER + 1]; 2],
            sums: [[0.0; ORDER + 1]; 3],
            odd: false,
            energies: [0.0; 2],
            counted: 0,
            described: [0.0; ORDER + 1],
            level: 0,
            changed: false,
            since: 0,
            wanted: 0,
            gain: 0,
            pairs: LSP_START,
        }
    }
}

impl Silence {
    /// Takes a frame: its autocorrelation, pairs, second reflection coefficient and samples, and whether it may be sent as speech, or
    /// as a description.
    pub(super) fn hear(
        &mut self,
        correlation: &[f32; LAGS],
        found: &Spectrum,
        second: f32,
        samples: &[i16],
        may_speak: bool,
        memory: &mut Memory,
    ) -> Said {
        let after_speech = self.activity.was_speech();
        let speech = self.activity.hear(correlation, found, second, samples, may_speak);
        self.recent[1] = self.recent[0];
        self.recent[0].copy_from_slice(&correlation[..=ORDER]);
        self.odd = !self.odd;
        let said = if speech { Said::Speech } else { self.noise(after_speech, may_speak, found, memory) };
        if !self.odd {
            self.sums.copy_within(..2, 1);
            self.sums[0] = sum(&self.recent);
        }
        said
    }

    fn noise(
        &mut self,
        after_speech: bool,
        may_describe: bool,
        found: &Spectrum,
        memory: &mut Memory,
    ) -> Said {
        let now = sum(&self.recent);
        // Nothing at all is flat.
        let prediction = (now[0] > 0.0).then(|| predict(&now)).flatten();
        let (filter, error) = prediction.map_or_else(|| (flat(), now[0].max(0.0)), |p| (p.filter, p.error));
        self.energies = [error, self.energies[0]];
        self.counted = if after_speech { 1 } else { (self.counted + 1).min(2) };
        let energy: f32 = self.energies[..self.counted].iter().sum::<f32>() / (320.0 * self.counted as f32);
        let (code, level) = quantize(energy);
        let describe = if after_speech {
            true
        } else {
            self.changed |=
                distance(&self.described, &now) > error * CHANGED || level.abs_diff(self.level) > 2;
            self.since = self.since.saturating_add(1);
            self.since >= APART && self.changed && may_describe
        };
        let mut description = None;
        if describe {
            (self.since, self.changed, self.level) = (0, false, level);
            self.wanted = NOISE_GAIN[code];
            // The average of the past, where it stands for this as well.
            let past = sum(&self.sums);
            let average = (past[0] > 0.0).then(|| predict(&past)).flatten();
            let chosen = average
                .map(|average| average.filter)
                .filter(|average| distance(&products(average), &now) <= error * ALIKE)
                .unwrap_or(filter);
            self.described = products(&chosen);
            let (parameters, sent) = code_noise(&pairs(&chosen).unwrap_or(*found), memory);
            self.pairs = sent;
            let [mode, first, second] = parameters;
            description = Some([mode, first, second, code as u16]);
        }
        self.gain = if after_speech {
            self.wanted
        } else {
            mult_r(self.gain, 28_672).saturating_add(mult_r(self.wanted, 4096))
        };
        Said::Noise { gain: self.gain, pairs: self.pairs, description }
    }
}

fn flat() -> Coefficients {
    let mut out = [0.0; ORDER + 1];
    out[0] = 1.0;
    out
}

fn sum(parts: &[Correlation]) -> Correlation {
    core::array::from_fn(|n| parts.iter().map(|part| part[n]).sum())
}

/// The autocorrelation of a filter's coefficients, all lags but the first twice.
fn products(a: &Coefficients) -> Coefficients {
    core::array::from_fn(|lag| {
        let sum: f32 = a[lag..].iter().zip(a).map(|(a, b)| a * b).sum();
        if lag == 0 { sum } else { 2.0 * sum }
    })
}

/// What the filter of these products leaves of a signal's energy: Itakura's distance, §B.4.1.3.
fn distance(products: &Coefficients, correlation: &Correlation) -> f32 {
    products.iter().zip(correlation).map(|(a, b)| a * b).sum()
}

/// The code of an energy per sample, in steps of 4 dB below 14 dB and of 2 dB above (§B.4.2.1), and that energy in dB.
fn quantize(energy: f32) -> (usize, i16) {
    let decibels = 10.0 * energy.max(1e-3).log10();
    if decibels <= -8.0 {
        (0, -12)
    } else if decibels > 65.0 {
        (31, 66)
    } else if decibels <= 14.0 {
        let code = ((decibels + 10.0) * 0.25).max(1.0) as usize;
        (code, code as i16 * 4 - 8)
    } else {
        let code = ((decibels - 1.0) * 0.5).max(6.0) as usize;
        (code, code as i16 * 2 + 4)
    }
}
