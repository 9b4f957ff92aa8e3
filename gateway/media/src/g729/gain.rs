//! Gains of G.729: the code's is predicted from the energies of the last four subframes (§3.9.1), both are coded together (§3.9.2).

use super::SUBFRAME;
use super::basic::*;
use super::tables::*;

/// Energies of past subframes in dB, newest first (Q10).
#[derive(Clone, Debug)]
pub(super) struct Memory([i16; 4]);

impl Memory {
    pub(super) const fn new() -> Self {
        Self([-14_336; 4])
    }

    /// The gain to be expected of a code vector: mantissa and its Q.
    pub(super) fn predict(&self, code: &[i16; SUBFRAME]) -> (i16, i16) {
        let energy = code.iter().fold(0, |sum, &x| l_mac(sum, x, x));
        // 10 log10 of the energy per sample, subtracted from 30 dB, in Q14 and then Q24.
        let mut decibels = mpy_32_16(log2(energy), -24_660);
        decibels = l_shl(l_mac(decibels, 32_588, 32), 10);
        for (past, weight) in self.0.iter().zip(GAIN_PREDICTOR) {
            decibels = l_mac(decibels, weight, *past);
        }
        // From dB to a power of two: 1/6.02.
        let (exponent, fraction) = l_extract(l_mult(extract_h(decibels), 5439) >> 8);
        (pow2(14, fraction) as i16, 14 - exponent)
    }

    /// Takes the correction of the predicted gain (Q13) that was coded.
    pub(super) fn update(&mut self, correction: i32) {
        let (exponent, fraction) = log2(correction);
        let logarithm = extract_h(l_shl(l_comp(exponent.saturating_sub(13), fraction), 13));
        self.push(mult(logarithm, 24_660));
    }

    /// Takes an erased frame: 4 dB less than the average (§4.4.3).
    pub(super) fn erase(&mut self) {
        let sum: i32 = self.0.iter().map(|&past| i32::from(past)).sum();
        let average = (sum >> 2) as i16;
        self.push(average.saturating_sub(4096).max(-14_336));
    }

    fn push(&mut self, energy: i16) {
        self.0.copy_within(..3, 1);
        self.0[0] = energy;
    }
}

/// Gains of the two excitations: the pitch's in Q14, the code's in Q1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gains {
    pub(super) pitch: i16,
    pub(super) code: i16,
}

impl Gains {
    /// The gains of a code of seven bits (§4.1.5).
    pub(super) fn decode(index: u16, code: &[i16; SUBFRAME], memory: &mut Memory) -> Self {
        let first = GAIN_FIRST[usize::from(GAIN_FIRST_ENTRY[usize::from(index >> 4 & 7)])];
        let second = GAIN_SECOND[usize::from(GAIN_SECOND_ENTRY[usize::from(index & 15)])];
        Self::of(first, second, code, memory)
    }

    /// The gains of two entries of the codebook.
    pub(super) fn of(first: [i16; 2], second: [i16; 2], code: &[i16; SUBFRAME], memory: &mut Memory) -> Self {
        let (mantissa, q) = memory.predict(code);
        let correction = i32::from(first[1]) + i32::from(second[1]);
        let gain = l_shl(l_mult((correction >> 1) as i16, mantissa), 4i16.saturating_sub(q));
        memory.update(correction);
        Self { pitch: first[0].saturating_add(second[0]), code: extract_h(gain) }
    }

    /// The gains of an erased frame: both fall (§4.4.2).
    pub(super) fn erase(self, memory: &mut Memory) -> Self {
        memory.erase();
        Self { pitch: mult(self.pitch, 29_491).min(29_491), code: mult(self.code, 32_111) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_fall_with_each_erased_frame() {
        // ITU-T G.729 §4.4.2: 0.9 of the pitch's, at most 0.9; 0.98 of the code's.
        let mut memory = Memory([0, -4096, -8192, -4096]);
        let gains = Gains { pitch: 10_000, code: 1000 }.erase(&mut memory);
        assert_eq!((gains.pitch, gains.code), (8999, 979));
        let loud = Gains { pitch: i16::MAX, code: 0 }.erase(&mut memory);
        assert_eq!(loud.pitch, 29_490);
        // §4.4.3: 4 dB below the average in Q10, not below -14 dB.
        let mut memory = Memory([0, -4096, -8192, -4096]);
        memory.erase();
        assert_eq!(memory.0, [-8192, 0, -4096, -8192]);
        let mut memory = Memory([-14_000; 4]);
        memory.erase();
        assert_eq!(memory.0[0], -14_336);
    }

    #[test]
    fn the_predicted_gain_follows_the_past() {
        // §3.9.1: at rest, 30 dB less four times 14 dB weighted; one pulse more in the past, louder by 0.68 of its dB.
        let mut code = [0; SUBFRAME];
        code[0] = 8192;
        code[7] = -8192;
        code[16] = 8192;
        code[33] = 8192;
        let decibels = |memory: &Memory| {
            let (mantissa, q) = memory.predict(&code);
            20.0 * (f64::from(mantissa) * (-f64::from(q)).exp2()).log10()
        };
        // Four pulses of 1 in 40 samples are -10 dB.
        let expected = 30.0 + 10.0 - 14.0 * (0.68 + 0.58 + 0.34 + 0.19);
        assert!((decibels(&Memory::new()) - expected).abs() < 0.05);
        let mut memory = Memory::new();
        memory.update(8192 * 2);
        let expected = 30.0 + 10.0 + 6.02 * 0.68 - 14.0 * (0.58 + 0.34 + 0.19);
        assert!((decibels(&memory) - expected).abs() < 0.05);
    }
}
