//! What follows synthesis in a G.729A decoder: the post filter with its pitch, formant and tilt parts, gain control (§A.4.2), and the
//! high pass with doubling (§4.2.5).

use super::basic::*;
use super::filter::{Filter, HighPass, residual, synthesize, synthesize_on, weighted};
use super::tables::HIGH_PASS_100;
use super::{DELAY_MAX, FRAME, ORDER, SUBFRAME};

/// γn and γd of the formant filter (Q15): 0.55 and 0.7.
const NUMERATOR: i16 = 18_022;
const DENOMINATOR: i16 = 22_938;
/// γp of the pitch filter, 0.5, and the gains of its strongest form: 1/(1 + γp) and γp/(1 + γp) (Q15).
const PITCH: i16 = 16_384;
const PITCH_DIRECT: i16 = 21_845;
const PITCH_DELAYED: i16 = 10_923;
/// γt of tilt compensation, 0.8, and the part of the impulse response it looks at.
const TILT: i16 = 26_214;
const RESPONSE: usize = 22;
/// Gain control: 0.9 of the last sample's gain.
const GAIN_KEPT: i16 = 29_491;
const GAIN_NEW: i16 = 32_767 - GAIN_KEPT;

/// The state of the post filter.
#[derive(Clone, Debug)]
pub(super) struct PostFilter {
    /// Speech before the frame.
    speech: [i16; ORDER],
    /// The residual, with as much of the past as the longest delay, and the same divided by four.
    residual: [i16; DELAY_MAX + SUBFRAME],
    scaled: [i16; DELAY_MAX + SUBFRAME],
    synthesis: [i16; ORDER],
    tilt: i16,
    gain: i16,
    high_pass: HighPass,
}

impl PostFilter {
    pub(super) fn new() -> Self {
        Self {
            speech: [0; ORDER],
            residual: [0; DELAY_MAX + SUBFRAME],
            scaled: [0; DELAY_MAX + SUBFRAME],
            synthesis: [0; ORDER],
            tilt: 0,
            gain: 4096,
            high_pass: HighPass::default(),
        }
    }

    /// Filters a frame. `delays` are those of the subframes; comfort noise (`voice` is false) has no pitch.
    pub(super) fn filter(
        &mut self,
        speech: &mut [i16; FRAME],
        filters: &[Filter; 2],
        delays: [usize; 2],
        voice: bool,
    ) {
        let mut before = [0; ORDER + FRAME];
        before[..ORDER].copy_from_slice(&self.speech);
        before[ORDER..].copy_from_slice(speech);
        self.speech.copy_from_slice(&speech[FRAME - ORDER..]);
        for (n, out) in speech.as_chunks_mut::<SUBFRAME>().0.iter_mut().enumerate() {
            let numerator = weighted(&filters[n], NUMERATOR);
            let denominator = weighted(&filters[n], DENOMINATOR);
            let at = n * SUBFRAME;
            residual(&numerator, &before[at..at + ORDER + SUBFRAME], &mut self.residual[DELAY_MAX..]);
            for (scaled, &residual) in self.scaled[DELAY_MAX..].iter_mut().zip(&self.residual[DELAY_MAX..]) {
                *scaled = residual >> 2;
            }
            let mut excitation = if voice { self.pitch(delays[n]) } else { self.now() };
            self.compensate_tilt(&numerator, &denominator, &mut excitation);
            synthesize_on(&denominator, &excitation, out, &mut self.synthesis);
            self.control_gain(&before[ORDER + at..][..SUBFRAME], out);
            self.residual.copy_within(SUBFRAME.., 0);
            self.scaled.copy_within(SUBFRAME.., 0);
        }
        for sample in speech {
            let doubled = l_shl(self.high_pass.step(&HIGH_PASS_100, 2, *sample), 1);
            *sample = round(doubled);
        }
    }

    /// The residual of this subframe.
    fn now(&self) -> [i16; SUBFRAME] {
        let mut out = [0; SUBFRAME];
        out.copy_from_slice(&self.residual[DELAY_MAX..]);
        out
    }

    /// §A.4.2.1: adds the residual of one pitch period ago, where the signal is periodic.
    fn pitch(&self, around: usize) -> [i16; SUBFRAME] {
        let now = &self.scaled[DELAY_MAX..];
        let last = (around + 3).min(DELAY_MAX);
        let first = if around + 3 > DELAY_MAX { DELAY_MAX - 6 } else { around.saturating_sub(3).max(1) };
        let (mut delay, mut most) = (first, i32::MIN);
        for candidate in first..=last {
            let then = &self.scaled[DELAY_MAX - candidate..];
            let correlation = now.iter().zip(then).fold(0, |sum, (&a, &b)| l_mac(sum, a, b));
            if correlation > most {
                (delay, most) = (candidate, correlation);
            }
        }
        let then = &self.scaled[DELAY_MAX - delay..][..SUBFRAME];
        let energy_then = then.iter().fold(1, |sum, &x| l_mac(sum, x, x));
        let energy_now = now.iter().fold(1, |sum, &x| l_mac(sum, x, x));
        let most = most.max(0);
        let shift = norm_l(most.max(energy_then).max(energy_now));
        let correlation = round(l_shl(most, shift));
        let energy_then = round(l_shl(energy_then, shift));
        let energy_now = round(l_shl(energy_now, shift));
        let mut out = self.now();
        // Less than 3 dB of prediction gain: no period worth the name.
        if l_mult(correlation, correlation) < l_mult(energy_then, energy_now) >> 1 {
            return out;
        }
        let (direct, delayed) = if correlation > energy_then {
            (PITCH_DIRECT, PITCH_DELAYED)
        } else {
            let correlation = mult(correlation, PITCH) >> 1;
            let sum = correlation.saturating_add(energy_then >> 1);
            if sum > 0 {
                let delayed = div_s(correlation, sum);
                (32_767 - delayed, delayed)
            } else {
                (32_767, 0)
            }
        };
        for (n, out) in out.iter_mut().enumerate() {
            let then = self.residual[DELAY_MAX + n - delay];
            *out = mult(direct, *out).saturating_add(mult(delayed, then));
        }
        out
    }

    /// §A.4.2.3: takes the tilt of the formant filter off, by its impulse response.
    fn compensate_tilt(&mut self, numerator: &Filter, denominator: &Filter, signal: &mut [i16; SUBFRAME]) {
        let (mut impulse, mut response) = ([0; RESPONSE], [0; RESPONSE]);
        impulse[..=ORDER].copy_from_slice(numerator);
        synthesize(denominator, &impulse, &mut response, &[0; ORDER]);
        let energy = extract_h(response.iter().fold(0, |sum, &x| l_mac(sum, x, x)));
        let next = extract_h(response.windows(2).fold(0, |sum, pair| l_mac(sum, pair[0], pair[1])));
        let gain = if next > 0 { div_s(mult(next, TILT), energy) } else { 0 };
        let mut previous = self.tilt;
        for sample in signal {
            let now = *sample;
            *sample = now.saturating_sub(mult(gain, previous));
            previous = now;
        }
        self.tilt = previous;
    }

    /// §A.4.2.4: gives the output the energy of the input, smoothly.
    fn control_gain(&mut self, input: &[i16], output: &mut [i16; SUBFRAME]) {
        let energy = |signal: &[i16]| signal.iter().fold(0, |sum, &x| l_mac(sum, x >> 2, x >> 2));
        let out = energy(output);
        if out == 0 {
            self.gain = 0;
            return;
        }
        let shift = norm_l(out) - 1;
        let out = round(l_shl(out, shift));
        let into = energy(input);
        let wanted = if into == 0 {
            0
        } else {
            let more = norm_l(into);
            let into = round(l_shl(into, more));
            // The ratio of energies, Q22, then one over its root, Q12.
            let ratio = l_shr(l_shl(i32::from(div_s(out, into)), 7), shift - more);
            mult(round(l_shl(inv_sqrt(ratio), 9)), GAIN_NEW)
        };
        for sample in output {
            self.gain = mult(self.gain, GAIN_KEPT).saturating_add(wanted);
            *sample = extract_h(l_shl(l_mult(*sample, self.gain), 3));
        }
    }
}
