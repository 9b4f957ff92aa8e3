//! Between 8, 16 and 48 kHz: fixed polyphase filters of linear phase, computed at compile time.
//!
//! One filter per pair of rates, a windowed sinc (Kaiser) at the higher one. What is wanted passes with less than 0.1 dB of ripple up to
//! 3400 Hz (7000 Hz between 16 and 48 kHz); what would alias or mirror is at least 60 dB down from 4150 Hz (8300 Hz) on. The delay is
//! that of a linear phase, half the filter.

use core::f64::consts::PI;

/// A sampling rate that audio is resampled from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// 8 kHz, telephone band.
    Hz8000,
    /// 16 kHz, wide band.
    Hz16000,
    /// 48 kHz, full band.
    Hz48000,
}

impl Rate {
    /// Samples a second.
    pub const fn hertz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz16000 => 16_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// The rate of as many samples a second.
    pub const fn of(hertz: u32) -> Option<Self> {
        match hertz {
            8000 => Some(Self::Hz8000),
            16_000 => Some(Self::Hz16000),
            48_000 => Some(Self::Hz48000),
            _ => None,
        }
    }
}

/// The longest run of taps that one output sample takes, and how many input samples are taken at a time.
const REACH_MAX: usize = 288;
const BLOCK: usize = 480;

/// Filters for a ratio of 2, 3 and 6. Those of a lower rate to a higher one are sorted by phase.
static UP_2: [i16; 96] = by_phase(&taps::<96>(2, 3750.0 / 16_000.0), 2);
static UP_3: [i16; 162] = by_phase(&taps::<162>(3, 7600.0 / 48_000.0), 3);
static UP_6: [i16; 288] = by_phase(&taps::<288>(6, 3750.0 / 48_000.0), 6);
static DOWN_2: [i16; 96] = by_phase(&taps::<96>(1, 3750.0 / 16_000.0), 1);
static DOWN_3: [i16; 162] = by_phase(&taps::<162>(1, 7600.0 / 48_000.0), 1);
static DOWN_6: [i16; 288] = by_phase(&taps::<288>(1, 3750.0 / 48_000.0), 1);

/// Changes the rate of one stream of samples.
#[derive(Clone, Debug)]
pub struct Resampler {
    taps: &'static [i16],
    /// Output samples for each input sample, and input samples for each output sample: one of them is 1.
    up: usize,
    down: usize,
    /// Input samples that one output sample takes.
    reach: usize,
    /// The last `reach - 1` samples, and room for a block after them.
    samples: Box<[i16]>,
    /// Input samples to skip before the next output.
    skip: usize,
}

impl Resampler {
    /// A resampler; equal rates copy.
    pub fn new(from: Rate, to: Rate) -> Self {
        let (up, down) = if from <= to {
            ((to.hertz() / from.hertz()) as usize, 1)
        } else {
            (1, (from.hertz() / to.hertz()) as usize)
        };
        let taps: &'static [i16] = match (up, down) {
            (2, _) => &UP_2,
            (3, _) => &UP_3,
            (6, _) => &UP_6,
            (_, 2) => &DOWN_2,
            (_, 3) => &DOWN_3,
            (_, 6) => &DOWN_6,
            _ => &[],
        };
        let reach = (taps.len() / up).max(1);
        debug_assert!(reach <= REACH_MAX);
        Self { taps, up, down, reach, samples: vec![0; reach - 1 + BLOCK].into_boxed_slice(), skip: 0 }
    }

    /// How late the output is, in samples of the higher of both rates.
    pub const fn delay(&self) -> usize {
        // The last tap is zero, so that the filter's middle is a sample.
        if self.taps.is_empty() { 0 } else { self.taps.len() / 2 - 1 }
    }

    /// The most output samples that `count` more input samples give.
    pub const fn most(&self, count: usize) -> usize {
        (count * self.up).div_ceil(self.down)
    }

    /// Takes all of `input`, writes what it gives, returns how many samples. What `output` has no room for is lost: see
    /// [`Self::most`].
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        if self.taps.is_empty() {
            let count = input.len().min(output.len());
            output[..count].copy_from_slice(&input[..count]);
            return count;
        }
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            let kept = self.reach - 1;
            self.samples[kept..kept + block.len()].copy_from_slice(block);
            written += if self.down == 1 {
                self.raise(block.len(), &mut output[written..])
            } else {
                self.lower(block.len(), &mut output[written..])
            };
            self.samples.copy_within(block.len()..block.len() + kept, 0);
        }
        written
    }

    /// To a higher rate: each input sample gives one output sample per phase.
    fn raise(&self, count: usize, output: &mut [i16]) -> usize {
        let mut written = 0;
        for (window, group) in self.samples.windows(self.reach).take(count).zip(output.chunks_mut(self.up)) {
            for (sample, phase) in group.iter_mut().zip(self.taps.chunks_exact(self.reach)) {
                *sample = weigh(window, phase);
                written += 1;
            }
        }
        written
    }

    /// To a lower rate: only every so many windows give a sample.
    fn lower(&mut self, count: usize, output: &mut [i16]) -> usize {
        let mut written = 0;
        let mut at = self.skip;
        while at < count {
            if let Some(sample) = output.get_mut(written) {
                *sample = weigh(&self.samples[at..at + self.reach], self.taps);
                written += 1;
            }
            at += self.down;
        }
        self.skip = at - count;
        written
    }
}

/// One output sample. Taps are in Q14, the oldest sample's first.
#[inline]
fn weigh(window: &[i16], taps: &[i16]) -> i16 {
    let sum: i32 = window.iter().zip(taps).map(|(&sample, &tap)| i32::from(sample) * i32::from(tap)).sum();
    ((sum + (1 << 13)) >> 14).clamp(-32_768, 32_767) as i16
}

/// The taps of a low pass with its edge at `cut` times the sampling rate, in Q14, scaled to a gain of `gain` at 0 Hz. The last is zero:
/// an odd number of taps has its middle on a sample.
const fn taps<const N: usize>(gain: i32, cut: f64) -> [i16; N] {
    let middle = (N / 2 - 1) as f64;
    let mut exact = [0.0f64; N];
    let mut sum = 0.0;
    let mut n = 0;
    while n + 1 < N {
        let x = n as f64 - middle;
        let angle = 2.0 * PI * cut * x;
        let sinc = if n == N / 2 - 1 { 2.0 * cut } else { sine(angle) / (PI * x) };
        // Kaiser's window for about 68 dB.
        let beta = 6.5;
        let edge = x / middle;
        exact[n] = sinc * bessel(beta * root(1.0 - edge * edge)) / bessel(beta);
        sum += exact[n];
        n += 1;
    }
    let mut taps = [0; N];
    n = 0;
    while n + 1 < N {
        let scaled = exact[n] / sum * gain as f64 * 16_384.0;
        taps[n] = if scaled < 0.0 { (scaled - 0.5) as i16 } else { (scaled + 0.5) as i16 };
        n += 1;
    }
    taps
}

/// The taps sorted by phase, those of a phase from the oldest sample's to the newest's.
const fn by_phase<const N: usize>(taps: &[i16; N], phases: usize) -> [i16; N] {
    let reach = N / phases;
    let mut sorted = [0; N];
    let mut phase = 0;
    while phase < phases {
        let mut n = 0;
        while n < reach {
            // The newest sample meets the tap of its phase, the one before it the tap one ratio later.
            sorted[phase * reach + n] = taps[(reach - 1 - n) * phases + phase];
            n += 1;
        }
        phase += 1;
    }
    sorted
}

/// sin x, by its series after folding into -π..π.
const fn sine(x: f64) -> f64 {
    let turns = x / (2.0 * PI);
    let whole = if turns < 0.0 { (turns - 0.5) as i64 } else { (turns + 0.5) as i64 };
    let x = x - whole as f64 * 2.0 * PI;
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while n < 30.0 {
        term *= -x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// The modified Bessel function of the first kind and order 0, by its series.
const fn bessel(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while n < 40.0 {
        term *= x * x / (4.0 * n * n);
        sum += term;
        n += 1.0;
    }
    sum
}

/// √x for x in 0..=1, by Newton.
const fn root(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let (mut guess, mut n) = (1.0, 0);
    while n < 60 {
        guess = 0.5 * (guess + x / guess);
        n += 1;
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];

    /// Resamples in packets of 20 ms.
    fn through(from: Rate, to: Rate, input: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let mut out = Vec::new();
        for packet in input.chunks(from.hertz() as usize / 50) {
            let mut room = vec![0; resampler.most(packet.len())];
            let count = resampler.process(packet, &mut room);
            out.extend_from_slice(&room[..count]);
        }
        out
    }

    /// Level of the second half in dB against a sine of a peak of 10 000.
    fn level(samples: &[i16]) -> f64 {
        let half = &samples[samples.len() / 2..];
        let power = half.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / half.len() as f64;
        10.0 * (power / 5e7 + 1e-12).log10()
    }

    /// What is left when the sine of a frequency is taken out, in dB.
    fn rest(samples: &[i16], hertz: f64, rate: Rate) -> f64 {
        let half = &samples[samples.len() / 2..];
        let (mut re, mut im) = (0.0, 0.0);
        let angle = |n: usize| 2.0 * PI * hertz * n as f64 / f64::from(rate.hertz());
        for (n, &s) in half.iter().enumerate() {
            re += f64::from(s) * angle(n).cos() * 2.0 / half.len() as f64;
            im += f64::from(s) * angle(n).sin() * 2.0 / half.len() as f64;
        }
        let power: f64 = half
            .iter()
            .enumerate()
            .map(|(n, &s)| (f64::from(s) - re * angle(n).cos() - im * angle(n).sin()).powi(2))
            .sum();
        10.0 * (power / half.len() as f64 / 5e7 + 1e-12).log10()
    }

    /// A second of a sine.
    fn sine(hertz: f64, rate: Rate) -> Vec<i16> {
        let mut samples = vec![0; rate.hertz() as usize];
        Tone::sine(hertz, 10_000, rate.hertz()).fill(&mut samples);
        samples
    }

    #[test]
    fn what_is_wanted_passes_flat_and_clean() {
        for from in RATES {
            for to in RATES {
                let edge = if from.min(to) == Rate::Hz8000 { 3400 } else { 7000 };
                for hertz in (100..=edge).step_by(300).chain([edge]) {
                    let out = through(from, to, &sine(f64::from(hertz), from));
                    assert_eq!(out.len(), to.hertz() as usize);
                    let (level, rest) = (level(&out), rest(&out, f64::from(hertz), to));
                    assert!(level.abs() < 0.1, "{from:?} to {to:?}, {hertz} Hz: {level:.3} dB");
                    assert!(rest < -60.0, "{from:?} to {to:?}, {hertz} Hz: {rest:.1} dB of others");
                }
            }
        }
    }

    #[test]
    fn what_would_alias_is_gone() {
        for (from, to) in [(1, 0), (2, 0), (2, 1)].map(|(a, b)| (RATES[a], RATES[b])) {
            let edge = if to == Rate::Hz8000 { 4150 } else { 8300 };
            for hertz in (edge..from.hertz() / 2).step_by(370) {
                let level = level(&through(from, to, &sine(f64::from(hertz), from)));
                assert!(level < -60.0, "{from:?} to {to:?}, {hertz} Hz: {level:.1} dB");
            }
        }
    }

    #[test]
    fn an_impulse_comes_after_the_delay_that_is_told() {
        for from in RATES {
            for to in RATES {
                let mut input = vec![0; 600];
                input[60] = 20_000;
                let out = through(from, to, &input);
                let peak = (0..out.len()).max_by_key(|&n| out[n].unsigned_abs()).unwrap();
                let delay = Resampler::new(from, to).delay() as f64 / f64::from(from.max(to).hertz());
                let found = peak as f64 / f64::from(to.hertz()) - 60.0 / f64::from(from.hertz());
                assert!(
                    (found - delay).abs() < 0.6 / f64::from(to.hertz()),
                    "{from:?} to {to:?}: {found} for {delay}"
                );
                assert!(delay <= 0.003);
            }
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        for (from, to) in [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)].map(|(a, b)| (RATES[a], RATES[b]))
        {
            let input = sine(440.0, from);
            let whole = through(from, to, &input);
            let mut resampler = Resampler::new(from, to);
            let (mut out, mut at, mut size) = (Vec::new(), 0, 1);
            while at < input.len() {
                let piece = &input[at..(at + size).min(input.len())];
                let mut room = vec![0; resampler.most(piece.len())];
                let count = resampler.process(piece, &mut room);
                out.extend_from_slice(&room[..count]);
                at += size;
                size = size * 7 % 1501 + 1;
            }
            assert_eq!(out, whole);
        }
    }

    #[test]
    fn the_loudest_is_clipped_and_a_short_room_loses_the_rest() {
        let mut input = [i16::MAX; 480];
        input.iter_mut().step_by(7).for_each(|s| *s = i16::MIN);
        for from in RATES {
            for to in RATES {
                let mut resampler = Resampler::new(from, to);
                for room in [0, 1, 5, 3000] {
                    let mut out = vec![0; room];
                    assert!(resampler.process(&input, &mut out) <= room);
                }
            }
        }
    }
}
