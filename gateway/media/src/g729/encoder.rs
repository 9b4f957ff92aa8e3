//! The G.729A encoder with Annex B.

use super::analysis::{LOOK, Prediction, autocorrelation, pairs, predict, smoothed};
use super::basic::*;
use super::code;
use super::filter::{Filter, HighPass, residual, synthesize, synthesize_on, weighted};
use super::gain::{Gains, Memory};
use super::lsp::{self, Spectrum, filters_between};
use super::noise;
use super::search::{Products, Signal, Taming, closed_loop, convolve, open_loop, pulses};
use super::silence::{Said, Silence};
use super::spectrum::code_speech;
use super::tables::*;
use super::{
    DELAY_MAX, DELAY_MIN, FRAME, ORDER, PAST, SHARP_MAX, SHARP_MIN, SILENCE_OCTETS, SPEECH_OCTETS, SUBFRAME,
    pack, parity,
};

/// γ of the weighting filter, 0.75, and the tilt that the open-loop search adds, 0.7 (Q15), §A.3.3 and §A.3.4.
const WEIGHT: i16 = 24_576;
const TILT: i16 = 22_938;
/// Where in what is looked at the frame begins that is encoded: 5 ms are looked ahead.
const NOW: usize = LOOK - FRAME - SUBFRAME;

/// Turns 8 kHz samples into octets, 5 ms late.
#[derive(Clone, Debug)]
pub struct Encoder {
    before: HighPass,
    speech: [i16; LOOK],
    weighted: [i16; DELAY_MAX + FRAME],
    excitation: [i16; PAST + FRAME],
    /// Memories of the filters that give weighted speech and the target.
    weighting: [i16; ORDER],
    target: [i16; ORDER],
    /// The last frame's pairs, and the last that were sent.
    found: Spectrum,
    sent: Spectrum,
    last: Prediction,
    spectra: lsp::Memory,
    energies: Memory,
    sharpness: i16,
    taming: Taming,
    random: Random,
    /// Silence compression, where it is wanted.
    silence: Option<Box<Silence>>,
}

impl Encoder {
    /// An encoder at rest; with `compress_silence` (Annex B) it says silence in two octets now and then.
    pub fn new(compress_silence: bool) -> Self {
        let mut filter = [0.0; ORDER + 1];
        filter[0] = 1.0;
        Self {
            before: HighPass::default(),
            speech: [0; LOOK],
            weighted: [0; DELAY_MAX + FRAME],
            excitation: [0; PAST + FRAME],
            weighting: [0; ORDER],
            target: [0; ORDER],
            found: LSP_START,
            sent: LSP_START,
            last: Prediction { filter, second: 0.0, error: 1.0 },
            spectra: lsp::Memory::new(),
            energies: Memory::new(),
            sharpness: SHARP_MIN,
            taming: Taming::new(),
            random: Random(noise::SEED),
            silence: compress_silence.then(Box::default),
        }
    }

    /// Encodes a frame; returns how many octets: 10 for speech, 2 for a silence description, 0 while silence goes on.
    pub fn encode(&mut self, samples: &[i16; FRAME], octets: &mut [u8; SPEECH_OCTETS]) -> usize {
        self.frame(samples, true, octets)
    }

    /// Encodes a packet's frames; returns how many octets, and how many samples lie between the packet's beginning and what its first
    /// octets stand for, by which the timestamp has to be later. Silence may end a packet, but no speech follows it there (RFC 3551 §4.5.6):
    /// where a silence description was written, all else waits for the next packet.
    pub fn encode_packet(&mut self, samples: &[i16], payload: &mut [u8]) -> (usize, usize) {
        let (mut written, mut skipped) = (0, 0);
        let room = payload.len() / SPEECH_OCTETS;
        for frame in samples.as_chunks::<FRAME>().0.iter().take(room) {
            let mut octets = [0; SPEECH_OCTETS];
            let open = written % SPEECH_OCTETS == 0;
            let size = self.frame(frame, open, &mut octets);
            if written == 0 && size == 0 {
                skipped += FRAME;
            }
            payload[written..written + size].copy_from_slice(&octets[..size]);
            written += size;
        }
        (written, if written == 0 { 0 } else { skipped })
    }

    fn frame(&mut self, samples: &[i16; FRAME], may_speak: bool, octets: &mut [u8; SPEECH_OCTETS]) -> usize {
        self.speech.copy_within(FRAME.., 0);
        for (new, &sample) in self.speech[LOOK - FRAME..].iter_mut().zip(samples) {
            *new = round(self.before.step(&HIGH_PASS_140, 3, sample));
        }
        let correlation = autocorrelation(&self.speech);
        let windowed = smoothed(&correlation);
        self.last = predict(&windowed).unwrap_or(self.last);
        self.found = pairs(&self.last.filter).unwrap_or(self.found);
        if let Some(silence) = &mut self.silence {
            let zone = self.speech.first_chunk::<200>().map_or(&[][..], |speech| &speech[NOW..]);
            let said =
                silence.hear(&correlation, &self.found, self.last.second, zone, may_speak, &mut self.spectra);
            if let Said::Noise { gain, pairs, description } = said {
                return self.quiet(gain, &pairs, description, octets);
            }
        }
        self.speak(octets);
        SPEECH_OCTETS
    }

    /// The excitation and the memories that the decoder will have of noise.
    fn quiet(
        &mut self,
        gain: i16,
        pairs: &Spectrum,
        description: Option<[u16; 4]>,
        octets: &mut [u8],
    ) -> usize {
        noise::excite(gain, &mut self.excitation, PAST, &mut self.random, |gain, delay| {
            self.taming.update(gain, delay);
        });
        let filters = filters_between(&self.sent, pairs);
        self.sent = *pairs;
        self.sharpness = SHARP_MIN;
        for (n, filter) in filters.iter().enumerate() {
            let (mut rest, weight) = self.weigh(n, filter);
            for (rest, &made) in rest.iter_mut().zip(&self.excitation[PAST + n * SUBFRAME..]) {
                *rest = rest.saturating_sub(made);
            }
            let mut out = [0; SUBFRAME];
            synthesize_on(&weight, &rest, &mut out, &mut self.target);
        }
        self.advance();
        match description {
            Some(parameters) => pack(&parameters, &SILENCE_BITS, &mut octets[..SILENCE_OCTETS]),
            None => 0,
        }
    }

    /// A subframe's residual; its weighted speech is appended. Also the weighting filter's denominator.
    fn weigh(&mut self, n: usize, filter: &Filter) -> ([i16; SUBFRAME], Filter) {
        let from = NOW + n * SUBFRAME - ORDER;
        let mut rest = [0; SUBFRAME];
        residual(filter, &self.speech[from..from + ORDER + SUBFRAME], &mut rest);
        let weight = weighted(filter, WEIGHT);
        let mut tilted = weight;
        for i in 1..=ORDER {
            tilted[i] = weight[i].saturating_sub(mult(weight[i - 1], TILT));
        }
        let mut out = [0; SUBFRAME];
        synthesize_on(&tilted, &rest, &mut out, &mut self.weighting);
        self.weighted[DELAY_MAX + n * SUBFRAME..][..SUBFRAME].copy_from_slice(&out);
        (rest, weight)
    }

    fn advance(&mut self) {
        self.weighted.copy_within(FRAME.., 0);
        self.excitation.copy_within(FRAME.., 0);
    }

    fn speak(&mut self, octets: &mut [u8; SPEECH_OCTETS]) {
        self.random = Random(noise::SEED);
        let ([l01, l23], pairs) = code_speech(&self.found, &mut self.spectra);
        let filters = filters_between(&self.sent, &pairs);
        self.sent = pairs;
        let mut weights = filters;
        for (n, filter) in filters.iter().enumerate() {
            let (rest, weight) = self.weigh(n, filter);
            self.excitation[PAST + n * SUBFRAME..][..SUBFRAME].copy_from_slice(&rest);
            weights[n] = weight;
        }
        let around = open_loop(&self.weighted);
        let low = around.saturating_sub(3).clamp(DELAY_MIN, DELAY_MAX - 6);
        let (first, delay) = self.subframe(0, &weights[0], (low, low + 6));
        let low = delay.0.saturating_sub(5).clamp(DELAY_MIN, DELAY_MAX - 9);
        let (second, near) = self.subframe(1, &weights[1], (low, low + 9));
        let p1 = match delay {
            (delay, fraction) if delay <= 85 => (3 * delay as i16 - 58 + fraction).cast_unsigned(),
            (delay, _) => delay as u16 + 112,
        };
        let p2 = (3 * (near.0 - low) as i16 + 2 + near.1).cast_unsigned();
        let [c1, s1, g1] = first;
        let [c2, s2, g2] = second;
        pack(&[l01, l23, p1, parity(p1), c1, s1, g1, p2, c2, s2, g2], &SPEECH_BITS, octets);
        self.advance();
    }

    /// Searches a subframe: its pulses, signs and gains, and its delay.
    fn subframe(&mut self, n: usize, weight: &Filter, range: (usize, usize)) -> ([u16; 3], (usize, i16)) {
        let at = PAST + n * SUBFRAME;
        let mut impulse = [0; SUBFRAME];
        impulse[0] = 4096;
        let mut response = [0; SUBFRAME];
        // The impulse alone: 1/A(z/γ) of 1 in Q12.
        synthesize(weight, &impulse, &mut response, &[0; ORDER]);
        let mut wanted = [0; SUBFRAME];
        synthesize(weight, &self.excitation[at..at + SUBFRAME], &mut wanted, &self.target);
        let real = |signal: &[i16; SUBFRAME], one: f32| -> Signal { signal.map(|x| f32::from(x) / one) };
        let (target, plain) = (real(&wanted, 1.0), real(&response, 4096.0));

        let delay = closed_loop(&mut self.excitation, at, &target, &plain, range, n == 0);
        let past: Signal = core::array::from_fn(|k| f32::from(self.excitation[at + k]));
        let past = convolve(&past, &plain);
        let tame = self.taming.is_needed(delay.0, delay.1);
        let gain = Products::pitch(&target, &past, tame);
        let left: Signal = core::array::from_fn(|k| target[k] - gain * past[k]);

        code::sharpen(&mut response, delay.0, self.sharpness);
        let sharp = real(&response, 4096.0);
        let (index, signs) = pulses(&left, &sharp);
        let mut vector = code::vector(index, signs);
        let pulses = convolve(&real(&vector, 8192.0), &sharp);
        code::sharpen(&mut vector, delay.0, self.sharpness);

        let (mantissa, q) = self.energies.predict(&vector);
        let predicted = f32::from(mantissa) * (-f32::from(q)).exp2();
        let (first, second) = Products::new(&target, &past, &pulses).gains(predicted, tame);
        let gains = Gains::of(GAIN_FIRST[first], GAIN_SECOND[second], &vector, &mut self.energies);
        let code = u16::from(GAIN_FIRST_CODE[first]) << 4 | u16::from(GAIN_SECOND_CODE[second]);
        self.sharpness = gains.pitch.clamp(SHARP_MIN, SHARP_MAX);
        self.taming.update(gains.pitch, delay.0);
        for (sample, code) in self.excitation[at..].iter_mut().zip(vector) {
            let sum = l_mac(l_mult(*sample, gains.pitch), code, gains.code);
            *sample = round(l_shl(sum, 1));
        }
        let (by_past, by_pulses) = (f32::from(gains.pitch) / 16_384.0, f32::from(gains.code) / 2.0);
        for (n, memory) in self.target.iter_mut().enumerate() {
            let k = SUBFRAME - ORDER + n;
            *memory = (target[k] - by_past * past[k] - by_pulses * pulses[k]) as i16;
        }
        ([index, signs, code], delay)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    /// A voice of a kind, with pauses: pulses of a gliding pitch through two resonances, and a little noise.
    pub(super) fn voice(seconds: usize) -> Vec<i16> {
        let (mut phase, mut seed) = (0.0f64, 1u32);
        let mut resonances = [[0.0f64; 2]; 2];
        let rate = 8000.0;
        (0..8000 * seconds)
            .map(|n| {
                let t = n as f64 / rate;
                let pitch = 120.0 + 40.0 * (1.7 * t).sin();
                phase += pitch / rate;
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = f64::from(seed.cast_signed()) / 2_147_483_648.0;
                let mut x = 0.0;
                if phase >= 1.0 {
                    phase -= 1.0;
                    x = 1.0;
                }
                // Spoken for 700 ms, silent for 500 ms.
                x = if t % 1.2 < 0.7 { x + 0.02 * noise } else { 0.001 * noise };
                for (memory, (hertz, width)) in
                    resonances.iter_mut().zip([(500.0 + 200.0 * (3.0 * t).sin(), 80.0), (1500.0, 150.0)])
                {
                    let r = (-core::f64::consts::PI * width / rate).exp();
                    let y = x + 2.0 * r * (core::f64::consts::TAU * hertz / rate).cos() * memory[0]
                        - r * r * memory[1];
                    *memory = [y, memory[0]];
                    x = y;
                }
                (2500.0 * x) as i16
            })
            .collect()
    }

    #[test]
    fn the_decoder_has_the_excitation_that_the_encoder_had() {
        for compress in [false, true] {
            let (mut encoder, mut decoder) = (Encoder::new(compress), Decoder::new());
            let mut kinds = [0; 11];
            for (n, frame) in voice(6).as_chunks::<FRAME>().0.iter().enumerate() {
                let mut octets = [0; SPEECH_OCTETS];
                let size = encoder.encode(frame, &mut octets);
                kinds[size] += 1;
                let mut out = [0; FRAME];
                if size == 0 {
                    decoder.missing(&mut out)
                } else {
                    decoder.decode(&octets[..size], &mut out)
                };
                assert_eq!(encoder.excitation[..PAST], *decoder.past(), "frame {n}");
                assert_eq!(decoder.is_quiet(), size != SPEECH_OCTETS);
            }
            // Of 500 ms of silence at a time some frames are said as such, few of them described.
            assert_eq!(kinds[0] + kinds[2] > 100, compress, "{kinds:?}");
            assert!(kinds[2] < kinds[0] / 2 || !compress, "{kinds:?}");
            assert!(kinds[10] > 300);
        }
    }

    #[test]
    fn a_voice_comes_back_as_loud_and_alike() {
        let sent = voice(4);
        let (mut encoder, mut decoder) = (Encoder::new(false), Decoder::new());
        let mut heard = vec![0; sent.len()];
        for (frame, out) in sent.as_chunks::<FRAME>().0.iter().zip(heard.as_chunks_mut::<FRAME>().0) {
            let mut octets = [0; SPEECH_OCTETS];
            encoder.encode(frame, &mut octets);
            decoder.decode(&octets, out);
        }
        let energy = |samples: &[i16]| samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>();
        let decibels = 10.0 * (energy(&heard) / energy(&sent)).log10();
        assert!(decibels.abs() < 2.0, "{decibels:.2} dB louder");
        // Where there is voice, waves are alike: the median of 20 ms pieces at the best delay.
        let alike = (20..60)
            .map(|late| {
                let mut found: Vec<f64> = (4..sent.len() / 160 - 1)
                    .map(|n| (&sent[160 * n..160 * (n + 1)], &heard[160 * n + late..160 * (n + 1) + late]))
                    .filter(|(sent, _)| energy(sent) > 1e5 * 160.0)
                    .map(|(a, b)| {
                        let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                        product / (energy(a) * energy(b)).sqrt()
                    })
                    .collect();
                found.sort_by(f64::total_cmp);
                found[found.len() / 2]
            })
            .fold(0.0, f64::max);
        assert!(alike > 0.8, "{alike:.3}");
    }

    #[test]
    fn any_samples_are_encoded() {
        for compress in [false, true] {
            let mut seed = 7u32;
            for kind in 0..6u8 {
                let (mut encoder, mut decoder) = (Encoder::new(compress), Decoder::new());
                for n in 0..300u32 {
                    let frame: [i16; FRAME] = core::array::from_fn(|k| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        match kind {
                            0 => 0,
                            1 => i16::MIN,
                            2 => (seed >> 16) as i16,
                            3 => {
                                if k % 2 == 0 {
                                    i16::MIN
                                } else {
                                    i16::MAX
                                }
                            }
                            4 => {
                                if (n + k as u32).is_multiple_of(97) {
                                    i16::MAX
                                } else {
                                    0
                                }
                            }
                            _ => {
                                if n % 20 < 10 {
                                    (seed >> 16) as i16
                                } else {
                                    (seed >> 30) as i16
                                }
                            }
                        }
                    });
                    let mut octets = [0; SPEECH_OCTETS];
                    let size = encoder.encode(&frame, &mut octets);
                    decoder.decode(&octets[..size], &mut [0; FRAME]);
                }
            }
        }
    }

    #[test]
    fn silence_begins_with_the_frame_that_everybody_knows() {
        // What encoders of the Recommendation make of zeros at rest, and what is seen on the wire.
        let mut octets = [0; SPEECH_OCTETS];
        assert_eq!(Encoder::new(false).encode(&[0; FRAME], &mut octets), SPEECH_OCTETS);
        assert_eq!(octets, [0x78, 0x52, 0x80, 0xa0, 0x00, 0xfa, 0xc2, 0x00, 0x07, 0xd6]);
    }

    #[test]
    fn descriptions_keep_apart() {
        // §B.4.1.2: noise that changes all the time is described at most every third frame.
        let mut encoder = Encoder::new(true);
        let mut octets = [0; SPEECH_OCTETS];
        let (mut seed, mut sizes) = (1u32, Vec::new());
        for n in 0..300usize {
            let frame = core::array::from_fn(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed.cast_signed().wrapping_shr(if n / 2 % 2 == 0 { 28 } else { 26 }) as i16
            });
            sizes.push(encoder.encode(&frame, &mut octets));
        }
        assert!(sizes.iter().filter(|&&size| size == SILENCE_OCTETS).count() > 20, "{sizes:?}");
        // Only what follows speech is described at once.
        assert!(sizes.windows(3).all(|w| w != [2, 0, 2] && w[..2] != [2, 2]), "{sizes:?}");
    }

    #[test]
    fn silence_costs_next_to_nothing() {
        let mut encoder = Encoder::new(true);
        let mut octets = [0; SPEECH_OCTETS];
        let sizes: Vec<usize> = (0..200).map(|_| encoder.encode(&[0; FRAME], &mut octets)).collect();
        assert_eq!(sizes[0], 2);
        assert!(sizes.iter().sum::<usize>() <= 6, "{sizes:?}");
    }
}
