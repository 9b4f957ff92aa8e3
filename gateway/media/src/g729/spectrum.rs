//! Codes of spectra: the encoder's search of the line spectral quantizer (§3.2.4), for speech and for noise (§B.4.3).

use super::lsp::{HIGHEST, LOWEST, Memory, Spectrum, code_vector, frequencies_of, pairs_of, stabilize};
use super::noise;
use super::tables::*;
use super::{HALF, ORDER};

/// Radians in Q13.
const ONE: f32 = 8192.0;

/// How much an error at each frequency is heard: close neighbours more, equation 22.
fn weights(frequencies: &Spectrum) -> [f32; ORDER] {
    let at = |n: usize| f32::from(frequencies[n]) / ONE;
    let mut out = [0.0; ORDER];
    for (n, out) in out.iter_mut().enumerate() {
        let (below, above) = match n {
            0 => (0.04 * core::f32::consts::PI, at(1)),
            9 => (at(8), 0.92 * core::f32::consts::PI),
            _ => (at(n - 1), at(n + 1)),
        };
        let room = above - below - 1.0;
        *out = if room > 0.0 { 1.0 } else { 10.0 * room * room + 1.0 };
        if n == 4 || n == 5 {
            *out *= 1.2;
        }
    }
    out
}

/// The same for errors of a code vector, of which a predictor leaves its rest (Q15).
fn scale(weights: &[f32; ORDER], rest: &Spectrum) -> [f32; ORDER] {
    core::array::from_fn(|n| weights[n] * (f32::from(rest[n]) / 32_768.0).powi(2))
}

/// The weighted square distance of code vectors, over part of them.
fn distance(code: &[i16], wanted: &[i16], weights: &[f32]) -> f32 {
    let terms = code.iter().zip(wanted).zip(weights);
    terms.map(|((&a, &b), weight)| weight * (f32::from(a) - f32::from(b)).powi(2)).sum()
}

/// The least of some distances.
fn least(distances: impl Iterator<Item = f32>) -> usize {
    let mut best = (f32::MAX, 0);
    for (n, distance) in distances.enumerate() {
        if distance < best.0 {
            best = (distance, n);
        }
    }
    best.1
}

/// Codes pairs of speech: the parameters L0 with L1 and L2 with L3, and the pairs that the decoder will have.
pub(super) fn code_speech(pairs: &Spectrum, memory: &mut Memory) -> ([u16; 2], Spectrum) {
    let frequencies = frequencies_of(pairs);
    let weights = weights(&frequencies);
    let mut best = (f32::MAX, [0; 2], [0; ORDER], 0);
    for mode in 0..2 {
        let wanted = memory.extract(&frequencies, &PREDICTOR[mode], &PREDICTOR_INVERSE[mode]);
        let first = least(LSP_FIRST.iter().map(|code| distance(code, &wanted, &[1.0; ORDER])));
        let second = |from: usize, to: usize| {
            let mut rest = [0; ORDER];
            for n in from..to {
                rest[n] = wanted[n].saturating_sub(LSP_FIRST[first][n]);
            }
            least(
                LSP_SECOND.iter().map(|code| distance(&code[from..to], &rest[from..to], &weights[from..to])),
            )
        };
        let (lower, upper) = (second(0, HALF), second(HALF, ORDER));
        let code = code_vector(first, lower, upper);
        let scaled = scale(&weights, &PREDICTOR_REST[mode]);
        let distance = distance(&code, &wanted, &scaled);
        if distance < best.0 {
            best = (distance, [(mode << 7 | first) as u16, (lower << 5 | upper) as u16], code, mode);
        }
    }
    let (_, parameters, code, mode) = best;
    let mut quantized = memory.compose(&code, &PREDICTOR[mode], &PREDICTOR_REST[mode]);
    memory.push(&code);
    stabilize(&mut quantized);
    (parameters, pairs_of(&quantized))
}

/// Codes pairs of noise: predictor and both stages of a silence description, and the pairs that the decoder will have.
pub(super) fn code_noise(pairs: &Spectrum, memory: &mut Memory) -> ([u16; 3], Spectrum) {
    let mut frequencies = frequencies_of(pairs);
    frequencies[0] = frequencies[0].max(LOWEST);
    for n in 1..ORDER {
        frequencies[n] = frequencies[n].max(frequencies[n - 1].saturating_add(642)).min(HIGHEST);
    }
    let weights = weights(&frequencies);
    let wanted =
        [0, 1].map(|mode| memory.extract(&frequencies, &noise::predictor(mode), &NOISE_INVERSE[mode]));
    let scaled = [0, 1].map(|mode| scale(&weights, &NOISE_REST[mode]));
    let mut best = (f32::MAX, [0; 3]);
    for first in 0..32 {
        for second in 0..16 {
            let code = noise::code_vector(first, second);
            for mode in 0..2 {
                let distance = distance(&code, &wanted[mode], &scaled[mode]);
                if distance < best.0 {
                    best = (distance, [mode as u16, first as u16, second as u16]);
                }
            }
        }
    }
    let (_, parameters) = best;
    let quantized = noise::spectrum(parameters[0], parameters[1], parameters[2], memory);
    (parameters, quantized)
}
