//! Filters that both directions of G.729 share: prediction, synthesis, weighting, delays of thirds of a sample, the high passes.

use super::basic::*;
use super::tables::THIRDS;
use super::{ORDER, SUBFRAME};

/// Coefficients of a prediction filter, the first of which is 1 (Q12).
pub(super) type Filter = [i16; ORDER + 1];

/// The difference of a signal and its prediction. `signal` begins `ORDER` samples before the first that is filtered.
pub(super) fn residual(a: &Filter, signal: &[i16], out: &mut [i16]) {
    for (out, window) in out.iter_mut().zip(signal.windows(ORDER + 1)) {
        let mut sum = l_mult(window[ORDER], a[0]);
        for j in 1..=ORDER {
            sum = l_mac(sum, a[j], window[ORDER - j]);
        }
        *out = round(l_shl(sum, 3));
    }
}

/// Synthesis from an excitation of at most a subframe; `memory` is what came out before, oldest first, and stays as it is.
/// Tells whether anything overflowed.
pub(super) fn synthesize(a: &Filter, excitation: &[i16], out: &mut [i16], memory: &[i16; ORDER]) -> bool {
    let mut past = [0i16; ORDER + SUBFRAME];
    past[..ORDER].copy_from_slice(memory);
    let mut overflow = false;
    let count = excitation.len().min(out.len()).min(SUBFRAME);
    for n in 0..count {
        let window = &past[n..n + ORDER];
        let mut exact = 2 * i64::from(excitation[n]) * i64::from(a[0]);
        let mut within = true;
        for j in 1..=ORDER {
            exact -= 2 * i64::from(a[j]) * i64::from(window[ORDER - j]);
            within &= i32::try_from(exact).is_ok();
        }
        let whole = (exact << 3) + 0x8000;
        let sample = if within && i32::try_from(whole).is_ok() {
            (whole >> 16) as i16
        } else {
            overflow = true;
            let mut sum = l_mult(excitation[n], a[0]);
            for j in 1..=ORDER {
                sum = l_msu(sum, a[j], window[ORDER - j]);
            }
            round(l_shl(sum, 3))
        };
        past[ORDER + n] = sample;
        out[n] = sample;
    }
    overflow
}

/// The same, and the memory goes on.
pub(super) fn synthesize_on(
    a: &Filter,
    excitation: &[i16; SUBFRAME],
    out: &mut [i16; SUBFRAME],
    memory: &mut [i16; ORDER],
) {
    synthesize(a, excitation, out, memory);
    memory.copy_from_slice(&out[SUBFRAME - ORDER..]);
}

/// A(z/γ), γ in Q15.
pub(super) fn weighted(a: &Filter, gamma: i16) -> Filter {
    let mut out = *a;
    let mut factor = gamma;
    for (n, out) in out.iter_mut().enumerate().skip(1) {
        *out = round(l_mult(a[n], factor));
        if n < ORDER {
            factor = round(l_mult(factor, gamma));
        }
    }
    out
}

/// The excitation `delay + fraction/3` samples ago, for the subframe that begins at `at` (ITU-T G.729 §3.7.1, equation 40). A short delay
/// repeats what it writes.
pub(super) fn delayed(excitation: &mut [i16], at: usize, delay: usize, fraction: i16) {
    let (back, phase) = match fraction {
        0 => (delay, 0),
        1 => (delay + 1, 2),
        _ => (delay, 1),
    };
    for n in 0..SUBFRAME {
        let middle = at + n - back;
        let mut sum = 0;
        for k in 0..10 {
            sum = l_mac(sum, excitation[middle - k], THIRDS[phase + 3 * k]);
            sum = l_mac(sum, excitation[middle + 1 + k], THIRDS[3 - phase + 3 * k]);
        }
        excitation[at + n] = round(sum);
    }
}

/// A high pass of second order whose output history is kept in double precision.
#[derive(Clone, Debug, Default)]
pub(super) struct HighPass {
    x: [i16; 2],
    y: [(i16, i16); 2],
}

impl HighPass {
    /// Takes a sample; `shift` is that of the coefficients' format. The output before rounding.
    #[inline]
    pub(super) fn step(&mut self, coefficients: &([i16; 3], [i16; 2]), shift: i16, sample: i16) -> i32 {
        let (b, a) = coefficients;
        let mut sum = mpy_32_16(self.y[0], a[0]);
        sum = sum.saturating_add(mpy_32_16(self.y[1], a[1]));
        sum = l_mac(sum, sample, b[0]);
        sum = l_mac(sum, self.x[0], b[1]);
        sum = l_mac(sum, self.x[1], b[2]);
        sum = l_shl(sum, shift);
        self.x = [sample, self.x[0]];
        self.y = [l_extract(sum), self.y[0]];
        sum
    }
}
