//! Comfort noise of G.729 Annex B: what a silence description says, and the excitation that is made of it (§B.4.4). Encoder and decoder make
//! the same one, so that what follows it begins from the same past.

use super::basic::*;
use super::code::places;
use super::filter::delayed;
use super::lsp::{Memory, Spectrum, pairs_of, spread, stabilize};
use super::tables::*;
use super::{HALF, ORDER, SUBFRAME};

/// Where random numbers begin after speech.
pub(super) const SEED: i16 = 11_111;
/// The part of new excitation in the energy, (sqrt(40) α / 2 - 1) with α = 0.5, and 1 - α² (Q15).
const GAUSSIAN: i16 = 19_043;
const PULSES: i16 = 24_576;
/// The greatest gain of pulses.
const PULSE_GAIN_MAX: i16 = 5000;

/// The predictors of noise spectra: the first of speech, and a mixture of both (Q15).
pub(super) fn predictor(index: usize) -> [Spectrum; 4] {
    let mut out = PREDICTOR[0];
    if index != 0 {
        for (row, (first, second)) in out.iter_mut().zip(PREDICTOR[0].iter().zip(&PREDICTOR[1])) {
            for n in 0..ORDER {
                row[n] = extract_h(l_mac(l_mult(first[n], 19_660), second[n], 13_107));
            }
        }
    }
    out
}

/// The code vector of a silence description's spectrum.
pub(super) fn code_vector(first: usize, second: usize) -> Spectrum {
    let mut code = LSP_FIRST[usize::from(NOISE_FIRST[first & 31])];
    for (n, value) in code.iter_mut().enumerate() {
        let row = NOISE_SECOND[usize::from(n >= HALF)][second & 15];
        *value = value.saturating_add(LSP_SECOND[usize::from(row)][n]);
    }
    spread(&mut code, 10, 1, ORDER);
    code
}

/// The pairs of a silence description; `memory` is the one of speech.
pub(super) fn spectrum(mode: u16, first: u16, second: u16, memory: &mut Memory) -> Spectrum {
    let mode = usize::from(mode & 1);
    let code = code_vector(usize::from(first), usize::from(second));
    let mut frequencies = memory.compose(&code, &predictor(mode), &NOISE_REST[mode]);
    memory.push(&code);
    stabilize(&mut frequencies);
    pairs_of(&frequencies)
}

/// Fills the two subframes of `excitation` from `at` on with noise of a gain (Q3). `made` is told of each subframe's pitch gain and
/// delay.
pub(super) fn excite(
    gain: i16,
    excitation: &mut [i16],
    at: usize,
    random: &mut Random,
    mut made: impl FnMut(i16, usize),
) {
    for at in [at, at + SUBFRAME] {
        if gain == 0 {
            excitation[at..at + SUBFRAME].fill(0);
            made(0, SUBFRAME + 1);
            continue;
        }
        let (pitch, delay) = subframe(gain, excitation, at, random);
        made(pitch, delay);
    }
}

/// One subframe; returns pitch gain (Q14) and delay.
fn subframe(gain: i16, excitation: &mut [i16], at: usize, random: &mut Random) -> (i16, usize) {
    let bits = random.next().cast_unsigned();
    let fraction = match bits & 3 {
        0 => -1,
        2 => 1,
        _ => 0,
    };
    let delay = usize::from(bits >> 2 & 0x3f) + 40;
    let more = random.next().cast_unsigned();
    // Places and signs lie mixed: three bits and one sign each, four bits for the last.
    let last = more >> 4 & 15;
    let index = bits >> 8 & 7 | (bits >> 12 & 7) << 3 | (more & 7) << 6 | (last & 1) << 9 | (last >> 1) << 10;
    let places = places(index);
    let signs = [bits >> 11 & 1, bits >> 15 & 1, more >> 3 & 1, more >> 8 & 1].map(|sign| sign != 0);
    let pitch = random.next() & 0x1fff;

    // White noise, a quarter of the energy.
    let mut white = [0i16; SUBFRAME];
    for sample in &mut white {
        let sum: i32 = (0..12).map(|_| i32::from(random.next())).sum();
        *sample = (sum >> 7) as i16;
    }
    let energy = white.iter().fold(0, |sum, &x| l_mac(sum, x, x));
    let wanted = gain.saturating_add(mult_r(gain, GAUSSIAN));
    let factor = mpy_32_16(l_extract(inv_sqrt(energy >> 1)), wanted);
    let shift = norm_l(factor);
    let factor = extract_h(l_shl(factor, shift));
    for sample in &mut white {
        *sample = shr_r(mult_r(*sample, factor), shift - 14);
    }

    // The past, at random.
    delayed(excitation, at, delay, fraction);
    let now = &mut excitation[at..at + SUBFRAME];
    let mut most = 0;
    for (sample, &white) in now.iter_mut().zip(&white) {
        *sample = mult_r(*sample, shl(pitch, 1)).saturating_add(white);
        most = sample.saturating_abs().max(most);
    }

    // Pulses of the gain that gives the energy wanted: 4g² + 2bg + c = 0.
    let mut shift = if most == 0 { 0 } else { (3 - norm_s(most)).max(0) };
    let at_pulses = |signal: &[i16], shift: i16| {
        places.iter().zip(signs).fold(0i16, |sum, (&place, positive)| {
            let x = signal[place] >> shift;
            if positive { sum.saturating_add(x) } else { sum.saturating_sub(x) }
        })
    };
    let energy = now.iter().fold(0, |sum, &x| l_mac(sum, x >> shift, x >> shift));
    let mut b = at_pulses(now, shift);
    let target = l_mult(gain, (l_mult(gain, SUBFRAME as i16) >> 6) as i16);
    let mut root = l_shr(target, 1 + 2 * shift).saturating_sub(energy);
    b >>= 1;
    root = l_mac(root, b, b);
    shift += 1;
    let mut used = pitch;
    if root < 0 {
        // There is too much energy already: without the past there is not.
        now.copy_from_slice(&white);
        let any = places.iter().fold(0, |any, &place| any | white[place].saturating_abs());
        shift = if any & 0x4000 == 0 { 1 } else { 2 };
        b = at_pulses(now, shift);
        root = l_mac(l_shr(mpy_32_16(l_extract(target), PULSES), 2 * shift - 1), b, b);
        used = 0;
    }
    let root = half_root(root);
    let (first, second) = (root.saturating_sub(b), root.saturating_add(b).saturating_neg());
    let smaller = if second.saturating_abs() < first.saturating_abs() { second } else { first };
    let gain = shr_r(smaller, 2 - shift).clamp(-PULSE_GAIN_MAX, PULSE_GAIN_MAX);
    for (&place, positive) in places.iter().zip(signs) {
        now[place] = if positive { now[place].saturating_add(gain) } else { now[place].saturating_sub(gain) };
    }
    (used, delay)
}

/// √(x/2), bit by bit.
fn half_root(x: i32) -> i16 {
    let (mut root, mut bit) = (0i16, 0x4000i16);
    for _ in 0..14 {
        let trial = root + bit;
        if x >= l_mult(trial, trial) {
            root = trial;
        }
        bit >>= 1;
    }
    root
}
