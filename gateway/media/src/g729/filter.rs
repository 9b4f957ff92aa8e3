//! Filters that both directions of G.729 share: prediction, synthesis, weighting, delays of thirds of a sample, the high passes.

use super::basic::*;
use super::tables::THIRDS;
use super::{ORDER, SUBFRAME};

/// Coefficients of a prediction filter, the first of which is 1 (Q12).
pub(super) type Filter = [i16; ORDER + 1];

/// The largest magnitude of a signal.
fn loudest(signal: &[i16]) -> i64 {
    signal.iter().fold(0, |most, &x| most.max(i64::from(x).abs()))
}

/// How loud what a filter reads may be for no sum of products to leave 32 bits on its way: then nothing saturates, and sums may be formed
/// in any order.
fn harmless(taps: &[i16]) -> i64 {
    let sum: i64 = taps.iter().map(|&a| i64::from(a).abs()).sum();
    (1 << 30) / sum.max(1) - 1
}

/// The difference of a signal and its prediction. `signal` begins `ORDER` samples before the first that is filtered.
pub(super) fn residual(a: &Filter, signal: &[i16], out: &mut [i16]) {
    let plain = loudest(signal) <= harmless(a);
    for (out, window) in out.iter_mut().zip(signal.windows(ORDER + 1)) {
        let sum = if plain {
            2 * window.iter().rev().zip(a).map(|(&x, &a)| i32::from(x) * i32::from(a)).sum::<i32>()
        } else {
            a.iter().zip(window.iter().rev()).fold(0, |sum, (&a, &x)| l_mac(sum, a, x))
        };
        *out = round(l_shl(sum, 3));
    }
}

/// Synthesis from an excitation of at most a subframe; `memory` is what came out before, oldest first, and stays as it is.
/// Tells whether anything overflowed.
pub(super) fn synthesize(a: &Filter, excitation: &[i16], out: &mut [i16], memory: &[i16; ORDER]) -> bool {
    let mut past = [0i16; ORDER + SUBFRAME];
    past[..ORDER].copy_from_slice(memory);
    let count = excitation.len().min(out.len()).min(SUBFRAME);
    let bound = harmless(a);
    let mut most = loudest(memory).max(loudest(&excitation[..count]));
    let mut overflow = false;
    for n in 0..count {
        let window = &past[n..n + ORDER];
        let exact = (most <= bound).then(|| {
            let predicted: i32 =
                window.iter().rev().zip(&a[1..]).map(|(&x, &a)| i32::from(x) * i32::from(a)).sum();
            2 * (i32::from(excitation[n]) * i32::from(a[0]) - predicted)
        });
        let sample = match exact.and_then(|exact| i32::try_from((i64::from(exact) << 3) + 0x8000).ok()) {
            Some(whole) => extract_h(whole),
            None => {
                let (sum, beyond) = saturated(a, excitation[n], window);
                overflow |= beyond;
                sum
            }
        };
        most = most.max(i64::from(sample).abs());
        past[ORDER + n] = sample;
        out[n] = sample;
    }
    overflow
}

/// One sample of synthesis, step by step as the operators define it, and whether one of them saturated.
#[cold]
fn saturated(a: &Filter, excitation: i16, window: &[i16]) -> (i16, bool) {
    let mut exact = 2 * i64::from(excitation) * i64::from(a[0]);
    let mut within = true;
    let mut sum = l_mult(excitation, a[0]);
    for (&a, &x) in a[1..].iter().zip(window.iter().rev()) {
        exact -= 2 * i64::from(a) * i64::from(x);
        within &= i32::try_from(exact).is_ok();
        sum = l_msu(sum, a, x);
    }
    within &= i32::try_from((exact << 3) + 0x8000).is_ok();
    (round(l_shl(sum, 3)), !within)
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
    let taps: [i16; 20] = core::array::from_fn(|k| {
        if k < 10 { THIRDS[phase + 3 * (9 - k)] } else { THIRDS[3 - phase + 3 * (k - 10)] }
    });
    // What is written here is read again where the delay is short, and may be a little louder.
    let mut most = loudest(&excitation[at - back - 9..at]);
    let bound = harmless(&taps);
    for n in 0..SUBFRAME {
        let middle = at + n - back;
        let window = &excitation[middle - 9..middle + 11];
        let sum = if most <= bound {
            2 * window.iter().zip(&taps).map(|(&x, &tap)| i32::from(x) * i32::from(tap)).sum::<i32>()
        } else {
            (0..10).fold(0, |sum, k| {
                let sum = l_mac(sum, window[9 - k], taps[9 - k]);
                l_mac(sum, window[10 + k], taps[10 + k])
            })
        };
        let sample = round(sum);
        most = most.max(i64::from(sample).abs());
        excitation[at + n] = sample;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Signals from soft to the loudest there are, of which the shape is the worst for the filter.
    fn signals(taps: &[i16], mut each: impl FnMut(&[i16; 200])) {
        let mut seed = 3u32;
        for shift in 0..12 {
            for worst in [false, true] {
                let mut signal = [0i16; 200];
                for (n, x) in signal.iter_mut().enumerate() {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let tap = taps[taps.len() - 1 - n % taps.len()];
                    *x = if worst { if tap < 0 { i16::MIN } else { i16::MAX } } else { (seed >> 16) as i16 }
                        >> shift;
                }
                each(&signal);
            }
        }
    }

    #[test]
    fn plain_sums_are_what_the_operators_say() {
        for a in [
            [4096, -7800, 5000, -1200, 300, 80, -500, 900, -1100, 600, -200],
            [4096, 20_000, -30_000, 32_767, -32_768, 30_000, 0, 20_000, -9000, 8000, -32_768],
        ] {
            signals(&a, |signal| {
                let mut out = [0; SUBFRAME];
                residual(&a, signal, &mut out);
                for (n, &out) in out.iter().enumerate() {
                    let sum = (0..=ORDER).fold(0, |sum, j| l_mac(sum, a[j], signal[n + ORDER - j]));
                    assert_eq!(out, round(l_shl(sum, 3)));
                }
                let memory: [i16; ORDER] = *signal[50..].first_chunk().unwrap();
                synthesize(&a, &signal[..SUBFRAME], &mut out, &memory);
                let past = [&memory[..], &out].concat();
                for (n, &out) in out.iter().enumerate() {
                    let sum = l_mult(signal[n], a[0]);
                    let sum = (1..=ORDER).fold(sum, |sum, j| l_msu(sum, a[j], past[n + ORDER - j]));
                    assert_eq!(out, round(l_shl(sum, 3)));
                }
            });
        }
    }

    #[test]
    fn delays_of_thirds_are_what_the_operators_say() {
        for (delay, fraction) in [(20, -1), (20, 1), (33, 0), (45, 1), (143, -1), (143, 0)] {
            signals(&THIRDS, |signal| {
                let mut excitation = *signal;
                delayed(&mut excitation, 155, delay, fraction);
                // Equation 40 with t = 0, 1, 2 thirds after a whole number of samples.
                let (k, t) = if fraction > 0 { (delay + 1, 2) } else { (delay, usize::from(fraction < 0)) };
                for n in 155..155 + SUBFRAME {
                    let sum = (0..10).fold(0, |sum, i| {
                        let sum = l_mac(sum, excitation[n - k - i], THIRDS[t + 3 * i]);
                        l_mac(sum, excitation[n - k + 1 + i], THIRDS[3 - t + 3 * i])
                    });
                    assert_eq!(excitation[n], round(sum), "{delay} and {fraction} thirds");
                }
            });
        }
    }

    #[test]
    fn what_overflows_is_told() {
        let a = [4096, -8000, 4000, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut out = [0; SUBFRAME];
        assert!(!synthesize(&a, &[10; SUBFRAME], &mut out, &[0; ORDER]));
        assert!(synthesize(&a, &[20_000; SUBFRAME], &mut out, &[0; ORDER]));
        assert_eq!(out.iter().max(), Some(&i16::MAX));
    }
}
