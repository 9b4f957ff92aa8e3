//! The G.729A decoder with Annex B: one frame after the other, arrived or not.

use super::basic::*;
use super::filter::{Filter, delayed, synthesize};
use super::gain::{Gains, Memory};
use super::lsp::{self, Spectrum, filters_between};
use super::noise;
use super::postfilter::PostFilter;
use super::tables::*;
use super::{
    DELAY_MAX, DELAY_MIN, FRAME, ORDER, PAST, SHARP_MAX, SHARP_MIN, SILENCE_OCTETS, SPEECH_OCTETS, SUBFRAME,
    code, parity, unpack,
};

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
enum Frame<'a> {
    Speech(&'a [u8]),
    Silence(&'a [u8]),
    /// Lost, or not sent since nobody speaks: what came before tells which.
    Missing,
}

/// Turns octets into 8 kHz samples.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Excitation: the past, and the frame that is decoded.
    excitation: [i16; PAST + FRAME],
    synthesis: [i16; ORDER],
    pairs: Spectrum,
    spectra: lsp::Decoder,
    energies: Memory,
    gains: Gains,
    sharpness: i16,
    delay: usize,
    /// Draws the code of erased frames.
    random: Random,
    post: PostFilter,
    quiet: Quiet,
}

/// What a decoder knows of silence.
#[derive(Clone, Debug)]
struct Quiet {
    /// Whether the last frame was speech, or was taken for it.
    speech: bool,
    pairs: Spectrum,
    /// The gain that was described, and the one that follows it.
    wanted: i16,
    gain: i16,
    random: Random,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at rest.
    pub fn new() -> Self {
        Self {
            excitation: [0; PAST + FRAME],
            synthesis: [0; ORDER],
            pairs: LSP_START,
            spectra: lsp::Decoder::new(),
            energies: Memory::new(),
            gains: Gains::default(),
            sharpness: SHARP_MIN,
            delay: 60,
            random: Random(21_845),
            post: PostFilter::new(),
            quiet: Quiet {
                speech: true,
                pairs: [31_441, 27_566, 21_458, 13_612, 4663, -4663, -13_612, -21_458, -27_566, -31_441],
                wanted: NOISE_GAIN[0],
                gain: 0,
                random: Random(noise::SEED),
            },
        }
    }

    /// Decodes a packet: speech frames of ten octets, at the end perhaps a silence description of two (RFC 3551 §4.5.6). Octets that are
    /// neither are left out, as are frames that `samples` has no room for. Returns how many samples.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let speech = payload.chunks_exact(SPEECH_OCTETS);
        let rest = speech.remainder();
        let silence = (rest.len() == SILENCE_OCTETS).then_some(rest).into_iter();
        let mut count = 0;
        let frames = speech.map(Frame::Speech).chain(silence.map(Frame::Silence));
        for (frame, out) in frames.zip(samples.as_chunks_mut::<FRAME>().0) {
            self.frame(frame, out);
            count += FRAME;
        }
        count
    }

    /// Fills frames that did not arrive: lost speech is concealed (§4.4), and after a silence description noise goes on (§B.4.5).
    /// Returns how many samples, a multiple of 80.
    pub fn missing(&mut self, samples: &mut [i16]) -> usize {
        let frames = samples.as_chunks_mut::<FRAME>().0;
        for out in frames.iter_mut() {
            self.frame(Frame::Missing, out);
        }
        frames.len() * FRAME
    }

    /// Whether the last frame was noise.
    pub const fn is_quiet(&self) -> bool {
        !self.quiet.speech
    }

    /// The past excitation.
    #[cfg(test)]
    pub(super) fn past(&self) -> &[i16] {
        &self.excitation[..PAST]
    }

    fn frame(&mut self, frame: Frame<'_>, out: &mut [i16; FRAME]) {
        let (filters, delays) = match frame {
            Frame::Speech(octets) => self.speech(Some(octets), out),
            Frame::Missing if self.quiet.speech => self.speech(None, out),
            Frame::Silence(octets) => self.silence(Some(octets), out),
            Frame::Missing => self.silence(None, out),
        };
        self.excitation.copy_within(FRAME.., 0);
        self.post.filter(out, &filters, delays, self.quiet.speech);
    }

    /// A frame of speech, or one that is missing after speech (`None`).
    fn speech(&mut self, octets: Option<&[u8]>, out: &mut [i16; FRAME]) -> ([Filter; 2], [usize; 2]) {
        self.quiet.speech = true;
        self.quiet.random = Random(noise::SEED);
        let [l01, l23, p1, p0, c1, s1, g1, p2, c2, s2, g2] = unpack(octets.unwrap_or(&[]), &SPEECH_BITS);
        let pairs = if octets.is_some() { self.spectra.decode(l01, l23) } else { self.spectra.repeat() };
        let filters = filters_between(&self.pairs, &pairs);
        self.pairs = pairs;
        // A wrong parity spoils the first delay only (§4.4).
        let first = (octets.is_some() && parity(p1) == p0).then(|| first_delay(p1));
        let mut delays = [0; 2];
        let mut around = self.delay;
        for (n, (pulses, signs, gains)) in [(c1, s1, g1), (c2, s2, g2)].into_iter().enumerate() {
            let delay = match n {
                0 => first,
                _ => octets.is_some().then(|| second_delay(p2, around)),
            };
            let (delay, fraction) = delay.unwrap_or((self.delay, 0));
            self.delay = if n == 0 && first.is_none() || octets.is_none() {
                (self.delay + 1).min(DELAY_MAX)
            } else {
                delay
            };
            around = delay;
            delays[n] = delay;
            let at = PAST + n * SUBFRAME;
            delayed(&mut self.excitation, at, delay, fraction);
            let (pulses, signs) = if octets.is_some() {
                (pulses, signs)
            } else {
                let pulses = self.random.next().cast_unsigned() & 0x1fff;
                (pulses, self.random.next().cast_unsigned() & 15)
            };
            let mut vector = code::vector(pulses, signs);
            code::sharpen(&mut vector, delay, self.sharpness);
            self.gains = if octets.is_some() {
                Gains::decode(gains, &vector, &mut self.energies)
            } else {
                self.gains.erase(&mut self.energies)
            };
            self.sharpness = self.gains.pitch.clamp(SHARP_MIN, SHARP_MAX);
            for (sample, code) in self.excitation[at..].iter_mut().zip(vector) {
                let sum = l_mac(l_mult(*sample, self.gains.pitch), code, self.gains.code);
                *sample = round(l_shl(sum, 1));
            }
            self.synthesize(n, &filters[n], out);
        }
        (filters, delays)
    }

    /// A silence description, or a frame after it that was not sent (`None`).
    fn silence(&mut self, octets: Option<&[u8]>, out: &mut [i16; FRAME]) -> ([Filter; 2], [usize; 2]) {
        let quiet = &mut self.quiet;
        if let Some(octets) = octets {
            let [mode, first, second, gain] = unpack(octets, &SILENCE_BITS);
            quiet.wanted = NOISE_GAIN[usize::from(gain & 31)];
            quiet.pairs = noise::spectrum(mode, first, second, &mut self.spectra.memory);
        }
        quiet.gain = if quiet.speech {
            quiet.wanted
        } else {
            // Seven eighths of the old, one of the new (§B.4.4).
            mult_r(quiet.gain, 28_672).saturating_add(mult_r(quiet.wanted, 4096))
        };
        quiet.speech = false;
        noise::excite(quiet.gain, &mut self.excitation, PAST, &mut quiet.random, |_, _| ());
        let filters = filters_between(&self.pairs, &quiet.pairs);
        self.pairs = quiet.pairs;
        self.sharpness = SHARP_MIN;
        for (n, filter) in filters.iter().enumerate() {
            self.synthesize(n, filter, out);
        }
        (filters, [self.delay; 2])
    }

    /// Speech from the excitation. Should it overflow, all excitation is made smaller first (§4.1.6 in the attachment's arithmetic).
    fn synthesize(&mut self, n: usize, filter: &Filter, out: &mut [i16; FRAME]) {
        let at = PAST + n * SUBFRAME;
        let out = &mut out[n * SUBFRAME..][..SUBFRAME];
        if synthesize(filter, &self.excitation[at..at + SUBFRAME], out, &self.synthesis) {
            for sample in &mut self.excitation {
                *sample >>= 2;
            }
            synthesize(filter, &self.excitation[at..at + SUBFRAME], out, &self.synthesis);
        }
        self.synthesis.copy_from_slice(&out[SUBFRAME - ORDER..]);
    }
}

/// The first subframe's delay and its thirds, -1 to 1 (§4.1.3).
fn first_delay(index: u16) -> (usize, i16) {
    if index < 197 {
        let delay = usize::from(index.div_ceil(3) + 19);
        (delay, index.cast_signed() - 3 * delay as i16 + 58)
    } else {
        (usize::from(index - 112).min(DELAY_MAX), 0)
    }
}

/// The second subframe's delay, near the first.
fn second_delay(index: u16, first: usize) -> (usize, i16) {
    let low = first.saturating_sub(5).clamp(DELAY_MIN, DELAY_MAX - 9);
    let index = index.cast_signed();
    let whole = (index + 2) / 3 - 1;
    (low.saturating_add_signed(isize::from(whole)), index - 2 - 3 * whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames and what another decoder, written from the Recommendation as well and published under the MIT licence (g729-c), makes of
    /// them: from a click, with silence around it, and from a sine near the overload point.
    const CLICK: [([u8; 10], [i16; 80]); 2] = [
        (
            [0x78, 0xba, 0xcb, 0x80, 0x00, 0xfa, 0xdc, 0x10, 0x40, 0xad],
            [
                2, 2, 2, 2, 0, -4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 71, -9, -67, -6, -62, 6, -52, 17, -2, 13, 1, 16, 8, 11, 7, 9, 4,
                4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 12,
            ],
        ),
        (
            [0x78, 0x55, 0x21, 0x24, 0x4a, 0xf6, 0x9b, 0x99, 0x60, 0x56],
            [
                0, 0, 0, 0, -1, -1, 122, 110, 98, -37, 85, -46, -40, -37, -31, -38, -34, -25, -26, -19, -16,
                -15, -14, -6, -8, -21, -14, -17, -14, -13, -14, -7, -9, -6, -5, -5, -4, -4, -3, -3, -3, -2,
                -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, -43, 5, -36, 8, -32, 12, -28, 12,
                19, 11, 15, 10, 21, 24, 24, 8, 10, 9, -3, 5,
            ],
        ),
    ];
    const LOUD: [([u8; 10], [i16; 80]); 3] = [
        (
            [0xaf, 0x4f, 0x84, 0x00, 0x00, 0xfa, 0xdd, 0xd0, 0xe6, 0x2c],
            [
                2, 4, 3, 3, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 20, 30, 32, 24, 16, 9, 4, -6, -19, -25,
                -24, -17, -12, -40, -64, -71, -60, -67, -71, -73, -62, -25, 10, 35, 48, 55, 62, 64, 68, 59,
                44, 64, 78, 84, 75, 47, 24,
            ],
        ),
        (
            [0x81, 0x06, 0x46, 0x67, 0x19, 0x65, 0xae, 0x25, 0x06, 0x2d],
            [
                16, 18, 19, -4, -61, -415, -723, -988, -1098, -1262, -1325, -1336, -1212, -826, -344, 168,
                869, 1422, 1856, 2093, 2036, 1810, 1785, 1685, 1529, 1220, 686, 155, -246, -465, -582, -687,
                -835, -1137, -1284, -1304, -1161, -1090, -1038, -1007, -2739, -4390, -6543, -7798, -7439,
                -6164, -4082, -2286, 1086, 4562, 8989, 13266, 17625, 20401, 21636, 21097, 18408, 14772,
                10085, 5016, -323, -7364, -14059, -20524, -25138, -26727, -25828, -24166, -21617, -19074,
                -15689, -10533, -4265, 2530, 8219, 13407, 16877, 19599, 21414, 23052,
            ],
        ),
        (
            [0x81, 0x4d, 0xc6, 0x29, 0xb4, 0x6b, 0x55, 0x54, 0x0a, 0xbe],
            [
                24150, 24087, 23159, 20371, 16351, 11594, 6410, 1548, -3870, -9916, -15970, -21841, -25950,
                -27921, -28044, -27105, -25347, -23170, -19892, -15127, -9462, -3250, 2718, 8252, 12877,
                16816, 20163, 23270, 25332, 26131, 25305, 22713, 19290, 15133, 11079, 6608, 1035, -5042,
                -11652, -17574, -21959, -24797, -26216, -26985, -27357, -26922, -25335, -21851, -16655,
                -10571, -4230, 1764, 7444, 12746, 17786, 22808, 27027, 29931, 31109, 30165, 27929, 24815,
                21337, 17650, 12797, 6788, -256, -7742, -14326, -19363, -22816, -25240, -27129, -28432,
                -28711, -27100, -23413, -18120, -11969, -5749,
            ],
        ),
    ];

    #[test]
    fn frames_decode_bit_for_bit() {
        for frames in [&CLICK[..], &LOUD[..]] {
            let mut decoder = Decoder::new();
            for (n, (octets, expected)) in frames.iter().enumerate() {
                let mut samples = [0; 80];
                assert_eq!(decoder.decode(octets, &mut samples), 80);
                assert_eq!(&samples, expected, "frame {n}");
            }
        }
    }

    #[test]
    fn delays_are_those_of_the_recommendation() {
        // ITU-T G.729 §3.7.2: 19 1/3 to 84 2/3 in thirds, then 85 to 143.
        let thirds = |(delay, fraction): (usize, i16)| 3 * delay as i32 + i32::from(fraction);
        for index in 0..256u16 {
            let expected = if index < 197 { 58 + i32::from(index) } else { 3 * (i32::from(index) - 112) };
            assert_eq!(thirds(first_delay(index)), expected);
        }
        for first in DELAY_MIN - 1..=DELAY_MAX {
            let low = first.saturating_sub(5).clamp(20, 134) as i32;
            for index in 0..32u16 {
                assert_eq!(thirds(second_delay(index, first)), 3 * low - 2 + i32::from(index));
            }
        }
    }

    #[test]
    fn packets_are_taken_apart() {
        // RFC 3551 §4.5.6: speech frames, and a silence description at the end.
        let mut samples = [0; 400];
        for (octets, expected) in
            [(0, 0), (1, 0), (2, 80), (9, 0), (10, 80), (12, 160), (20, 160), (22, 240), (25, 160), (90, 400)]
        {
            assert_eq!(
                Decoder::new().decode(&[0x55; 90][..octets], &mut samples),
                expected,
                "{octets} octets"
            );
        }
        assert_eq!(
            (Decoder::new().decode(&[0; 10], &mut [0; 79]), Decoder::new().missing(&mut [0; 239])),
            (0, 160)
        );
    }

    #[test]
    fn lost_speech_goes_on_and_dies_away() {
        let mut decoder = Decoder::new();
        let mut samples = [0; 80];
        for (octets, _) in &LOUD {
            decoder.decode(octets, &mut samples);
        }
        let loudest = |samples: &[i16]| samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
        let before = loudest(&samples);
        decoder.missing(&mut samples);
        assert!(loudest(&samples) > before / 2);
        for _ in 0..100 {
            decoder.missing(&mut samples);
        }
        assert!(loudest(&samples) < before / 20, "{}", loudest(&samples));
        assert!(!decoder.is_quiet());
    }

    #[test]
    fn noise_goes_on_until_speech_comes() {
        let mut decoder = Decoder::new();
        let mut samples = [0; 80];
        let mut power = |decoder: &mut Decoder| {
            let mut sum = 0.0;
            for _ in 0..100 {
                decoder.missing(&mut samples);
                sum += samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / 8000.0;
            }
            10.0 * f64::log10(sum)
        };
        // Gains 10 and 20: 127 and 1268 in steps of 1/8 of excitation.
        decoder.decode(&[0x2a, 10 << 1], &mut [0; 80]);
        assert!(decoder.is_quiet());
        let soft = power(&mut decoder);
        decoder.decode(&[0x2a, 20 << 1], &mut [0; 80]);
        power(&mut decoder);
        let loud = power(&mut decoder);
        assert!((loud - soft - 20.0).abs() < 1.5, "{soft:.1} dB, {loud:.1} dB");
        decoder.decode(&CLICK[0].0, &mut [0; 80]);
        assert!(!decoder.is_quiet());
    }
}
