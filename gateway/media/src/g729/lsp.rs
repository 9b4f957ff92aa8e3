//! Line spectra: pairs (cosines, Q15) and frequencies (Q13), filters from them, their predictive codes.

use super::basic::*;
use super::filter::Filter;
use super::tables::*;
use super::{HALF, ORDER};

/// Ten of anything: a spectrum.
pub(super) type Spectrum = [i16; ORDER];

/// The least distance of neighbours in the code, in its two passes, and in what is decoded; lowest and highest frequency (Q13).
const CODE_GAPS: [i16; 2] = [10, 5];
const GAP: i16 = 321;
pub(super) const LOWEST: i16 = 40;
pub(super) const HIGHEST: i16 = 25_681;

/// The cosines of frequencies.
pub(super) fn pairs_of(frequencies: &Spectrum) -> Spectrum {
    frequencies.map(|frequency| {
        // 1/2π in Q17.
        let turns = mult(frequency, 20_861);
        let index = usize::try_from(turns >> 8).unwrap_or(0).min(63);
        let step = l_shr(l_mult(COSINE_SLOPE[index], turns & 0xff), 13) as i16;
        COSINE[index].saturating_add(step)
    })
}

/// The frequencies of cosines, which fall.
pub(super) fn frequencies_of(pairs: &Spectrum) -> Spectrum {
    let mut out = [0; ORDER];
    let mut index = 63;
    for n in (0..ORDER).rev() {
        while index > 0 && COSINE[index] < pairs[n] {
            index -= 1;
        }
        let offset = pairs[n].saturating_sub(COSINE[index]);
        let step = l_shr(l_mult(ARC_SLOPE[index], offset), 12) as i16;
        let frequency = ((index as i16) << 9).saturating_add(step);
        // 2π in Q12.
        out[n] = mult(frequency, 25_736);
    }
    out
}

/// The product of the quadratic factors of every other pair (Q24).
fn polynomial(pairs: &Spectrum, first: usize) -> [i32; HALF + 1] {
    let mut f = [0i32; HALF + 1];
    f[0] = l_mult(4096, 2048);
    f[1] = l_msu(0, pairs[first], 512);
    for i in 2..=HALF {
        let pair = pairs[first + 2 * (i - 1)];
        // By symmetry, the coefficient that is new is the one two below it.
        f[i] = f[i - 2];
        for j in (2..=i).rev() {
            let product = l_shl(mpy_32_16(l_extract(f[j - 1]), pair), 1);
            f[j] = f[j].saturating_add(f[j - 2]).saturating_sub(product);
        }
        f[1] = l_msu(f[1], pair, 512);
    }
    f
}

/// The prediction filter of pairs, ITU-T G.729 §3.2.6.
pub(super) fn filter_of(pairs: &Spectrum) -> Filter {
    let (mut sum, mut difference) = (polynomial(pairs, 0), polynomial(pairs, 1));
    for i in (1..=HALF).rev() {
        sum[i] = sum[i].saturating_add(sum[i - 1]);
        difference[i] = difference[i].saturating_sub(difference[i - 1]);
    }
    let mut a = [4096; ORDER + 1];
    for i in 1..=HALF {
        a[i] = l_shr_r(sum[i].saturating_add(difference[i]), 13) as i16;
        a[ORDER + 1 - i] = l_shr_r(sum[i].saturating_sub(difference[i]), 13) as i16;
    }
    a
}

/// The filters of both subframes: halfway from the previous pairs, and the new ones (§3.2.5).
pub(super) fn filters_between(old: &Spectrum, new: &Spectrum) -> [Filter; 2] {
    let mut between = [0; ORDER];
    for n in 0..ORDER {
        between[n] = (new[n] >> 1) + (old[n] >> 1);
    }
    [filter_of(&between), filter_of(new)]
}

/// Pushes neighbours apart that are closer than `gap`, those from index `from` up to `to`.
pub(super) fn spread(code: &mut Spectrum, gap: i16, from: usize, to: usize) {
    for j in from..to {
        let lack = code[j - 1].saturating_sub(code[j]).saturating_add(gap) >> 1;
        if lack > 0 {
            code[j - 1] = code[j - 1].saturating_sub(lack);
            code[j] = code[j].saturating_add(lack);
        }
    }
}

/// Puts frequencies in order and keeps them apart, ITU-T G.729 §3.2.4.
pub(super) fn stabilize(frequencies: &mut Spectrum) {
    for j in 0..ORDER - 1 {
        if frequencies[j + 1] < frequencies[j] {
            frequencies.swap(j, j + 1);
        }
    }
    frequencies[0] = frequencies[0].max(LOWEST);
    for j in 0..ORDER - 1 {
        if i32::from(frequencies[j + 1]) - i32::from(frequencies[j]) < i32::from(GAP) {
            frequencies[j + 1] = frequencies[j].saturating_add(GAP);
        }
    }
    frequencies[ORDER - 1] = frequencies[ORDER - 1].min(HIGHEST);
}

/// The code vector of both stages, spread.
pub(super) fn code_vector(first: usize, lower: usize, upper: usize) -> Spectrum {
    let mut code = [0; ORDER];
    for n in 0..ORDER {
        let second = if n < HALF { lower } else { upper };
        code[n] = LSP_FIRST[first & 127][n].saturating_add(LSP_SECOND[second & 31][n]);
    }
    for gap in CODE_GAPS {
        spread(&mut code, gap, 1, ORDER);
    }
    code
}

/// The last four code vectors, newest first, from which the next spectrum is predicted.
#[derive(Clone, Debug)]
pub(super) struct Memory(pub(super) [Spectrum; 4]);

impl Memory {
    pub(super) const fn new() -> Self {
        Self([LSF_REST; 4])
    }

    /// The frequencies that a code vector stands for.
    pub(super) fn compose(&self, code: &Spectrum, predictor: &[Spectrum; 4], rest: &Spectrum) -> Spectrum {
        let mut out = [0; ORDER];
        for n in 0..ORDER {
            let mut sum = l_mult(code[n], rest[n]);
            for (past, weights) in self.0.iter().zip(predictor) {
                sum = l_mac(sum, past[n], weights[n]);
            }
            out[n] = extract_h(sum);
        }
        out
    }

    /// The code vector that frequencies would have.
    pub(super) fn extract(
        &self,
        frequencies: &Spectrum,
        predictor: &[Spectrum; 4],
        inverse: &Spectrum,
    ) -> Spectrum {
        let mut out = [0; ORDER];
        for n in 0..ORDER {
            let mut sum = i32::from(frequencies[n]) << 16;
            for (past, weights) in self.0.iter().zip(predictor) {
                sum = l_msu(sum, past[n], weights[n]);
            }
            out[n] = extract_h(l_shl(l_mult(extract_h(sum), inverse[n]), 3));
        }
        out
    }

    pub(super) fn push(&mut self, code: &Spectrum) {
        self.0.copy_within(..3, 1);
        self.0[0] = *code;
    }
}

/// What a decoder remembers of spectra.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    pub(super) memory: Memory,
    last: Spectrum,
    predictor: usize,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { memory: Memory::new(), last: LSF_REST, predictor: 0 }
    }

    /// The pairs of parameters L0 with L1 and L2 with L3, ITU-T G.729 §3.2.4.
    pub(super) fn decode(&mut self, first: u16, second: u16) -> Spectrum {
        let predictor = usize::from(first >> 7 & 1);
        let code =
            code_vector(usize::from(first & 127), usize::from(second >> 5 & 31), usize::from(second & 31));
        let mut frequencies = self.memory.compose(&code, &PREDICTOR[predictor], &PREDICTOR_REST[predictor]);
        self.memory.push(&code);
        stabilize(&mut frequencies);
        self.last = frequencies;
        self.predictor = predictor;
        pairs_of(&frequencies)
    }

    /// The pairs of a frame that is missing: the last ones again (§4.4.1).
    pub(super) fn repeat(&mut self) -> Spectrum {
        let (predictor, inverse) = (&PREDICTOR[self.predictor], &PREDICTOR_INVERSE[self.predictor]);
        let code = self.memory.extract(&self.last, predictor, inverse);
        self.memory.push(&code);
        pairs_of(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_come_in_order_and_apart() {
        // ITU-T G.729 §3.2.4: 0.005 at least, 0.0392 between neighbours, 3.135 at most, in Q13.
        let mut frequencies = [-5, 3000, 2900, 2910, 10_000, 9000, 15_000, 15_100, 25_600, 25_700];
        stabilize(&mut frequencies);
        assert_eq!(frequencies, [40, 2900, 3221, 3542, 9000, 10_000, 15_000, 15_321, 25_600, 25_681]);
        let mut code = [100, 100, 115, 500, 0, 0, 0, 0, 0, 0];
        spread(&mut code, 10, 1, 4);
        assert_eq!(code[..4], [95, 105, 115, 500]);
    }

    #[test]
    fn cosines_and_frequencies_are_each_others() {
        for frequencies in [LSF_REST, [300, 700, 2000, 4000, 9000, 12_000, 15_000, 19_000, 23_000, 25_600]] {
            let pairs = pairs_of(&frequencies);
            for (&pair, &frequency) in pairs.iter().zip(&frequencies) {
                let exact = (f64::from(frequency) / 8192.0).cos() * 32_768.0;
                assert!((f64::from(pair) - exact).abs() < 45.0, "{pair} for {exact}");
            }
            for (&again, &frequency) in frequencies_of(&pairs).iter().zip(&frequencies) {
                assert!(again.abs_diff(frequency) < 40, "{again} for {frequency}");
            }
        }
    }

    #[test]
    fn filters_have_the_roots_that_pairs_are() {
        // §3.2.6, in floating point: A(z) is half the sum of both polynomials.
        let pairs = pairs_of(&[1500, 2600, 5000, 7000, 9500, 12_000, 15_000, 18_000, 21_000, 24_000]);
        let product = |first: usize, end: f64| {
            let mut f = vec![1.0, end];
            for n in (first..10).step_by(2) {
                let middle = -2.0 * f64::from(pairs[n]) / 32_768.0;
                let mut next = vec![0.0; f.len() + 2];
                for (k, &c) in f.iter().enumerate() {
                    next[k] += c;
                    next[k + 1] += c * middle;
                    next[k + 2] += c;
                }
                f = next;
            }
            f
        };
        let (sum, difference) = (product(0, 1.0), product(1, -1.0));
        for (n, &a) in filter_of(&pairs).iter().enumerate() {
            let exact = (sum[n] + difference[n]) / 2.0 * 4096.0;
            assert!((f64::from(a) - exact).abs() < 2.0, "a{n}: {a} for {exact:.1}");
        }
    }

    #[test]
    fn what_is_composed_is_extracted() {
        let memory = Memory([[2000, 4000, 7000, 9000, 11_000, 14_000, 16_000, 19_000, 21_000, 23_000]; 4]);
        let code = code_vector(77, 3, 30);
        for mode in 0..2 {
            let frequencies = memory.compose(&code, &PREDICTOR[mode], &PREDICTOR_REST[mode]);
            let again = memory.extract(&frequencies, &PREDICTOR[mode], &PREDICTOR_INVERSE[mode]);
            assert!(again.iter().zip(&code).all(|(a, b)| a.abs_diff(*b) < 24), "{again:?} for {code:?}");
        }
    }
}
