//! G.722 at 64 kbit/s: two bands of adaptive differential code behind a quadrature mirror filter, 16 kHz audio.
//!
//! Written from ITU-T G.722 (09/2012): the names in comments are those of its blocks (§3 to §6), the numbers those of its tables.
//! Each octet stands for two samples. RFC 3551 §4.5.2 keeps the RTP clock at 8000 Hz, which is a mistake of RFC 1890 made permanent.

/// The tap weights of both mirror filters, ITU-T G.722 table 11: every other one, the rest is their mirror image.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band's 60-level quantizer, table 14 (Q6).
const LOW_LEVELS: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121,
    1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// The codes of negative and positive intervals 1 to 30, table 14 (ILN, ILP).
const LOW_NEGATIVE: [u8; 30] = [
    63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
    6, 5, 4,
];
const LOW_POSITIVE: [u8; 30] = [
    61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36,
    35, 34, 33, 32,
];
/// Output of the inverse quantizers of 6, 4 and 2 bits (QM6, QM4, QM2).
const INVERSE_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032,
    -1688, -1360, -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360,
    8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040,
    728, 432, 136, -432, -136,
];
const INVERSE_4: [i32; 16] =
    [0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0];
const INVERSE_2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// How much each magnitude moves the logarithmic scale factor (WL by RL42, WH by RH2).
const LOW_STEP: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const HIGH_STEP: [i32; 4] = [798, -214, 798, -214];
/// One octave of the scale factor (ILB).
const OCTAVE: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Samples that the way through encoder and decoder takes: both mirror filters (ITU-T G.722 §1.4).
pub const DELAY: usize = 22;

/// Keeps a value within 16 bits.
#[inline]
fn limit(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// One band's predictor and scale factor, alike in encoder and decoder.
#[derive(Clone, Debug)]
struct Band {
    /// Logarithmic and linear scale factor.
    nb: i32,
    det: i32,
    /// The predicted signal, and the share of the zeros in it.
    predicted: i32,
    zeros: i32,
    /// Pole and zero coefficients.
    a: [i32; 2],
    b: [i32; 6],
    /// Quantized differences, newest first.
    d: [i32; 6],
    /// Reconstructed signal and partial reconstruction, newest first.
    r: [i32; 2],
    p: [i32; 2],
}

impl Band {
    const fn new(det: i32) -> Self {
        Self { nb: 0, det, predicted: 0, zeros: 0, a: [0; 2], b: [0; 6], d: [0; 6], r: [0; 2], p: [0; 2] }
    }

    /// LOGSCL and SCALEL, LOGSCH and SCALEH: moves the scale factor by `step`, keeps it below `ceiling`; `shift` is the band's.
    #[inline]
    fn scale(&mut self, step: i32, ceiling: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + step).clamp(0, ceiling);
        let fraction = OCTAVE[(self.nb >> 6 & 31) as usize];
        let right = shift - (self.nb >> 11);
        self.det = (if right < 0 { fraction << -right } else { fraction >> right }) << 2;
    }

    /// Block 4: takes the quantized difference, adapts both predictors and predicts the next sample.
    #[inline]
    fn adapt(&mut self, difference: i32) {
        // RECONS, PARREC.
        let r0 = limit(self.predicted + difference);
        let p0 = limit(self.zeros + difference);
        // UPPOL2, UPPOL1.
        let same = (p0 < 0) == (self.p[0] < 0);
        let leak = limit(self.a[0] << 2);
        let leak = (if same { -leak } else { leak }).min(32_767);
        let second = if (p0 < 0) == (self.p[1] < 0) { 128 } else { -128 };
        let a2 = (second + (leak >> 7) + ((self.a[1] * 32_512) >> 15)).clamp(-12_288, 12_288);
        let bound = limit(15_360 - a2);
        let first = if same { 192 } else { -192 };
        let a1 = limit(first + ((self.a[0] * 32_640) >> 15)).clamp(-bound, bound);
        self.a = [a1, a2];
        // UPZERO.
        let step = if difference == 0 { 0 } else { 128 };
        for (b, &d) in self.b.iter_mut().zip(&self.d) {
            let step = if (d < 0) == (difference < 0) { step } else { -step };
            *b = limit(step + ((*b * 32_640) >> 15));
        }
        // DELAYA.
        self.d.copy_within(..5, 1);
        self.d[0] = difference;
        self.r = [r0, self.r[0]];
        self.p = [p0, self.p[0]];
        // FILTEP, FILTEZ, PREDIC.
        let poles: i32 =
            ((self.a[0] * limit(2 * self.r[0])) >> 15) + ((self.a[1] * limit(2 * self.r[1])) >> 15);
        let zeros: i32 = self.b.iter().zip(&self.d).map(|(&b, &d)| (b * limit(2 * d)) >> 15).sum();
        self.zeros = limit(zeros);
        self.predicted = limit(limit(poles) + self.zeros);
    }

    /// The lower band takes its six-bit code; only the upper four bits adapt it.
    #[inline]
    fn low(&mut self, code: u8) {
        let core = usize::from(code >> 2 & 15);
        let difference = (self.det * INVERSE_4[core]) >> 15;
        self.scale(LOW_STEP[core], 18_432, 8);
        self.adapt(difference);
    }

    #[inline]
    fn high(&mut self, code: u8) {
        let code = usize::from(code & 3);
        let difference = (self.det * INVERSE_2[code]) >> 15;
        self.scale(HIGH_STEP[code], 22_528, 10);
        self.adapt(difference);
    }
}

/// Both bands, and the code that stands for a pair of their samples.
#[derive(Clone, Debug)]
struct Bands {
    low: Band,
    high: Band,
}

impl Bands {
    const fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8) }
    }

    /// Blocks 1L and 1H: quantizes both differences, adapts both bands, returns the octet.
    #[inline]
    fn encode(&mut self, low: i32, high: i32) -> u8 {
        // SUBTRA, QUANTL.
        let error = limit(low - self.low.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let levels = &LOW_LEVELS[1..];
        let interval = levels.partition_point(|&level| magnitude >= (level * self.low.det) >> 12);
        let low = if error < 0 { LOW_NEGATIVE[interval] } else { LOW_POSITIVE[interval] };
        self.low.low(low);
        // SUBTRA, QUANTH.
        let error = limit(high - self.high.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let large = magnitude >= (564 * self.high.det) >> 12;
        let high = match (error < 0, large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.high(high);
        high << 6 | low
    }

    /// Blocks 5L, 5H and the rest of the decoder: the two sub-band samples of an octet.
    #[inline]
    fn decode(&mut self, octet: u8) -> (i32, i32) {
        let difference = (self.low.det * INVERSE_6[usize::from(octet & 63)]) >> 15;
        let low = (self.low.predicted + difference).clamp(-16_384, 16_383);
        self.low.low(octet & 63);
        let high = octet >> 6;
        let difference = (self.high.det * INVERSE_2[usize::from(high)]) >> 15;
        let upper = (self.high.predicted + difference).clamp(-16_384, 16_383);
        self.high.high(high);
        (low, upper)
    }
}

/// The memory of a mirror filter: 24 samples, those of even and of odd time apart, newest last, kept twice so that a window is
/// always in one piece.
#[derive(Clone, Debug)]
struct Mirror {
    even: [i32; 24],
    odd: [i32; 24],
    at: usize,
}

impl Mirror {
    const fn new() -> Self {
        Self { even: [0; 24], odd: [0; 24], at: 0 }
    }

    /// Takes a pair and returns both halves of the convolution.
    #[inline]
    fn push(&mut self, even: i32, odd: i32) -> (i32, i32) {
        (self.even[self.at], self.even[self.at + 12]) = (even, even);
        (self.odd[self.at], self.odd[self.at + 12]) = (odd, odd);
        self.at = (self.at + 1) % 12;
        let (evens, odds) = (&self.even[self.at..self.at + 12], &self.odd[self.at..self.at + 12]);
        let mut sums = (0, 0);
        for n in 0..12 {
            sums.0 += evens[n] * MIRROR[n];
            sums.1 += odds[n] * MIRROR[11 - n];
        }
        sums
    }

    /// The transmit filter: two samples in, one of each band out.
    #[inline]
    fn split(&mut self, first: i16, second: i16) -> (i32, i32) {
        let (even, odd) = self.push(i32::from(first), i32::from(second));
        ((odd + even) >> 14, (odd - even) >> 14)
    }

    /// The receive filter: one sample of each band in, two out.
    #[inline]
    fn join(&mut self, low: i32, high: i32) -> (i16, i16) {
        let (even, odd) = self.push(low + high, low - high);
        (limit(odd >> 11) as i16, limit(even >> 11) as i16)
    }
}

/// Turns 16 kHz samples into octets.
#[derive(Clone, Debug)]
pub struct Encoder {
    mirror: Mirror,
    bands: Bands,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder at rest.
    pub const fn new() -> Self {
        Self { mirror: Mirror::new(), bands: Bands::new() }
    }

    /// Encodes as many pairs of samples as `octets` has room for; returns how many octets. An odd sample at the end is left out.
    pub fn encode(&mut self, samples: &[i16], octets: &mut [u8]) -> usize {
        let count = octets.len().min(samples.len() / 2);
        for (octet, pair) in octets.iter_mut().zip(samples.chunks_exact(2)) {
            let (low, high) = self.mirror.split(pair[0], pair[1]);
            *octet = self.bands.encode(low, high);
        }
        count
    }
}

/// Turns octets into 16 kHz samples.
#[derive(Clone, Debug)]
pub struct Decoder {
    mirror: Mirror,
    bands: Bands,
    /// Splits what concealment made up, so that the bands may follow it.
    made_up: Mirror,
    following: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at rest.
    pub const fn new() -> Self {
        Self { mirror: Mirror::new(), bands: Bands::new(), made_up: Mirror::new(), following: false }
    }

    /// Decodes as many octets as `samples` has room for two each; returns how many samples.
    pub fn decode(&mut self, octets: &[u8], samples: &mut [i16]) -> usize {
        let count = octets.len().min(samples.len() / 2);
        for (&octet, pair) in octets.iter().zip(samples.chunks_exact_mut(2)) {
            let (low, high) = self.bands.decode(octet);
            (pair[0], pair[1]) = self.mirror.join(low, high);
        }
        self.following = false;
        // The filter that splits made-up samples has to know what stood before them.
        for pair in samples[..2 * count].rchunks_exact(2).take(12).rev() {
            self.made_up.push(i32::from(pair[0]), i32::from(pair[1]));
        }
        2 * count
    }

    /// Takes samples that stood in for a lost packet, and those that would come after them: the bands adapt as if their code had
    /// come (as in ITU-T G.722 Appendix III), so that neither predictor nor scale factor stands still while the speaker goes on.
    pub fn follow(&mut self, samples: &[i16], ahead: &[i16; DELAY]) {
        // The bands are ahead of what is heard by the delay of both filters.
        let (head, tail) = samples.split_at(samples.len().min(DELAY));
        if !self.following {
            for pair in head.chunks_exact(2) {
                self.made_up.push(i32::from(pair[0]), i32::from(pair[1]));
            }
        }
        self.following = true;
        for pair in tail.chunks_exact(2).chain(ahead.chunks_exact(2)).take(samples.len() / 2) {
            let (low, high) = self.made_up.split(pair[0], pair[1]);
            self.bands.encode(low, high);
            // The receive filter goes on from here as well.
            self.mirror.push(low + high, low - high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    /// Signal to noise in dB, `late` samples apart.
    fn fidelity(sent: &[i16], heard: &[i16], late: usize) -> f64 {
        let (mut signal, mut noise) = (0.0, 1e-9);
        for (&sent, &heard) in sent.iter().zip(&heard[late..]) {
            signal += f64::from(sent).powi(2);
            noise += (f64::from(sent) - f64::from(heard)).powi(2);
        }
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn both_bands_come_back() {
        for (hertz, least) in [(300.0, 35.0), (1000.0, 35.0), (3000.0, 30.0), (5000.0, 15.0), (6500.0, 15.0)]
        {
            let mut sent = [0i16; 3200];
            Tone::sine(hertz, 10_000, 16_000).fill(&mut sent);
            let mut octets = [0; 1600];
            assert_eq!(Encoder::new().encode(&sent, &mut octets), 1600);
            let mut heard = [0; 3200];
            assert_eq!(Decoder::new().decode(&octets, &mut heard), 3200);
            let found = fidelity(&sent[800..3000], &heard[800..], DELAY);
            assert!(found > least, "{hertz} Hz: {found:.1} dB");
        }
    }

    #[test]
    fn a_frame_may_be_of_any_size() {
        let mut sent = [0i16; 640];
        Tone::dual((440.0, 8000), (4800.0, 3000), 16_000).fill(&mut sent);
        let (mut whole, mut pieces) = ([0; 320], [0; 320]);
        Encoder::new().encode(&sent, &mut whole);
        let mut encoder = Encoder::new();
        let mut at = 0;
        for size in [2, 34, 100, 504] {
            at += encoder.encode(&sent[2 * at..2 * at + size], &mut pieces[at..]);
        }
        assert_eq!((at, whole), (320, pieces));
    }

    #[test]
    fn following_made_up_samples_keeps_the_decoder_near_the_encoder() {
        let mut sent = [0i16; 12_800];
        Tone::dual((400.0, 9000), (5200.0, 2000), 16_000).fill(&mut sent);
        let (mut octets, mut perfect) = ([0; 6400], [0; 12_800]);
        Encoder::new().encode(&sent, &mut octets);
        Decoder::new().decode(&octets, &mut perfect);
        for lost in 1..5 {
            let mut follows = Decoder::new();
            follows.decode(&octets[..3200], &mut [0; 6400]);
            let stands = follows.clone();
            for n in 20..20 + lost {
                // Concealment is perfect.
                let ahead = perfect[320 * (n + 1)..].first_chunk().unwrap();
                follows.follow(&perfect[320 * n..320 * (n + 1)], ahead);
            }
            let at = 20 + lost;
            let fidelity = |mut decoder: Decoder| {
                let mut heard = [0; 320];
                decoder.decode(&octets[160 * at..160 * (at + 1)], &mut heard);
                fidelity(&perfect[320 * at..320 * (at + 1)], &heard, 0)
            };
            let (follows, stands) = (fidelity(follows), fidelity(stands));
            assert!(follows > stands + 6.0, "{lost} lost: {follows:.1} dB, and {stands:.1} dB without");
        }
    }
}
