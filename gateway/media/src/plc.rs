//! Loss concealment: what was last heard goes on, pitch period by pitch period, and fades.
//!
//! The method is that of ITU-T G.711 Appendix I: the pitch is the lag of the greatest normalized correlation between 5 and 15 ms; the last
//! period is repeated, after 10 ms the last two, after 20 ms the last three; beyond 10 ms it fades by a fifth per 10 ms, to
//! silence after 60 ms; the first good frame is faded in. Unlike the appendix it adds no delay: where the appendix
//! keeps 3.75 ms back to blend into the first repetition, here the step at the seam is spread over a quarter of a period.

/// What the shortest and the longest pitch period, the correlated stretch and the kept past are at 8 kHz.
const SHORTEST: usize = 40;
const LONGEST: usize = 120;
const STRETCH: usize = 160;
/// Three periods and a quarter of one.
const PAST: usize = 3 * LONGEST + LONGEST / 4;
/// A length of 10 ms at 8 kHz.
const TEN_MS: usize = 80;
/// After this many times 10 ms nothing is heard.
const SILENT: usize = 6;

/// Fills in for lost packets of one direction, at any multiple of 8 kHz.
#[derive(Clone, Debug)]
pub struct Concealer {
    /// Sampling rate in units of 8 kHz.
    scale: usize,
    /// What was last played, newest last.
    past: Box<[i16]>,
    /// The past as it was when the loss began, from which it is repeated.
    source: Box<[i16]>,
    loss: Option<Loss>,
}

/// A loss going on.
#[derive(Clone, Copy, Debug)]
struct Loss {
    period: usize,
    /// Samples made up so far.
    made: usize,
    /// How many periods are repeated, and the place in them.
    periods: usize,
    at: usize,
    /// The periods and the place before there was one more, which fade out for as many samples as are left.
    before: (usize, usize, usize),
    /// The step between the last sample heard and what is repeated.
    step: f32,
}

impl Concealer {
    /// A concealer for `rate` samples a second; rates that are no multiple of 8000 count as the next lower one.
    pub fn new(rate: u32) -> Self {
        let scale = (rate / 8000).clamp(1, 6) as usize;
        let past = vec![0; PAST * scale].into_boxed_slice();
        Self { scale, source: past.clone(), past, loss: None }
    }

    /// Whether the last frame was made up.
    pub const fn is_concealing(&self) -> bool {
        self.loss.is_some()
    }

    /// Takes a frame that arrived. If it is the first after a loss, its beginning is blended with what was made up.
    pub fn good(&mut self, frame: &mut [i16]) {
        if frame.is_empty() {
            return;
        }
        if let Some(mut loss) = self.loss.take() {
            // A quarter of a period, 4 ms more for each 10 ms lost, 10 ms at most.
            let ten = TEN_MS * self.scale;
            let overlap = (loss.period / 4 + loss.made / ten * (ten * 2 / 5)).min(ten).min(frame.len());
            for (n, sample) in frame[..overlap].iter_mut().enumerate() {
                let weight = (n + 1) as f32 / (overlap + 1) as f32;
                let made_up = self.next(&mut loss);
                *sample = (f32::from(*sample) * weight + made_up * (1.0 - weight)) as i16;
            }
        }
        self.remember(frame);
    }

    /// Fills a frame that did not arrive.
    pub fn lost(&mut self, frame: &mut [i16]) {
        let mut loss = self.loss.unwrap_or_else(|| self.begin());
        for sample in frame.iter_mut() {
            *sample = self.next(&mut loss) as i16;
        }
        self.loss = Some(loss);
        self.remember(frame);
    }

    /// What would come next were the next frame lost as well; nothing changes.
    pub fn ahead(&self, samples: &mut [i16]) {
        let Some(mut loss) = self.loss else { return };
        for sample in samples {
            *sample = self.next(&mut loss) as i16;
        }
    }

    /// Appends to the past.
    fn remember(&mut self, frame: &[i16]) {
        let size = self.past.len();
        if frame.len() >= size {
            self.past.copy_from_slice(&frame[frame.len() - size..]);
        } else {
            self.past.copy_within(frame.len().., 0);
            self.past[size - frame.len()..].copy_from_slice(frame);
        }
    }

    fn begin(&mut self) -> Loss {
        self.source.copy_from_slice(&self.past);
        let period = self.pitch();
        let end = self.source.len();
        let step = f32::from(self.source[end - 1]) - f32::from(self.source[end - 1 - period]);
        Loss { period, made: 0, periods: 1, at: 0, before: (1, 0, 0), step }
    }

    /// The lag with the greatest normalized correlation: searched coarsely first, at 4 kHz, then exactly around the best.
    fn pitch(&self) -> usize {
        let coarse = 2 * self.scale;
        let (shortest, longest) = (SHORTEST * self.scale, LONGEST * self.scale);
        let mut best = (f32::MIN, shortest);
        let mut lag = shortest;
        while lag <= longest {
            let likeness = self.likeness(lag, coarse);
            if likeness > best.0 {
                best = (likeness, lag);
            }
            lag += coarse;
        }
        let around = best.1.saturating_sub(coarse - 1).max(shortest)..=(best.1 + coarse - 1).min(longest);
        best.0 = f32::MIN;
        for lag in around {
            let likeness = self.likeness(lag, self.scale);
            if likeness > best.0 {
                best = (likeness, lag);
            }
        }
        best.1
    }

    /// Correlation of the last 20 ms with what was `lag` samples earlier, over the root of that one's energy.
    fn likeness(&self, lag: usize, step: usize) -> f32 {
        let (end, stretch) = (self.source.len(), STRETCH * self.scale);
        let now = self.source[end - stretch..].iter().step_by(step);
        let then = self.source[end - stretch - lag..end - lag].iter().step_by(step);
        let (mut product, mut energy) = (0i64, 1i64);
        for (&now, &then) in now.zip(then) {
            product += i64::from(i32::from(now) * i32::from(then));
            energy += i64::from(i32::from(then) * i32::from(then));
        }
        product as f32 / (energy as f32).sqrt()
    }

    /// A sample of the last `periods` periods, the end of which blends into what stands before their beginning, so that they
    /// may be repeated without a step.
    fn repeated(&self, loss: &Loss, periods: usize, at: usize) -> f32 {
        let (length, quarter) = (periods * loss.period, loss.period / 4);
        let end = self.source.len();
        let here = f32::from(self.source[end - length + at]);
        let left = length - at;
        if left > quarter {
            return here;
        }
        let earlier = f32::from(self.source[end - length - left]);
        let weight = left as f32 / (quarter + 1) as f32;
        here * weight + earlier * (1.0 - weight)
    }

    fn next(&self, loss: &mut Loss) -> f32 {
        let ten = TEN_MS * self.scale;
        if loss.made >= SILENT * ten {
            loss.made = SILENT * ten;
            return 0.0;
        }
        let quarter = (loss.period / 4).max(1);
        if loss.made > 0 && loss.made.is_multiple_of(ten) && loss.periods < 3 {
            loss.before = (loss.periods, loss.at, quarter);
            loss.periods += 1;
            loss.at %= loss.period;
        }
        let mut sample = self.repeated(loss, loss.periods, loss.at);
        loss.at = (loss.at + 1) % (loss.periods * loss.period);
        let (periods, at, left) = loss.before;
        if left > 0 {
            let weight = left as f32 / (quarter + 1) as f32;
            sample += (self.repeated(loss, periods, at) - sample) * weight;
            loss.before = (periods, (at + 1) % (periods * loss.period), left - 1);
        }
        if loss.made < quarter {
            sample += loss.step * (1.0 - (loss.made + 1) as f32 / (quarter + 1) as f32);
        }
        let fade = loss.made.saturating_sub(ten) as f32 / ten as f32;
        loss.made += 1;
        sample * (1.0 - 0.2 * fade).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    /// A voice of a kind: harmonics of `pitch` Hz that fall off.
    fn voice(pitch: f64, rate: u32, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| {
                let t = n as f64 / f64::from(rate);
                let sum: f64 = (1..=8)
                    .map(|k| {
                        let k = f64::from(k);
                        (k * (core::f64::consts::TAU * pitch * t + 0.7 * k)).sin() / (k * k)
                    })
                    .sum();
                (6000.0 * sum) as i16
            })
            .collect()
    }

    #[test]
    fn a_lost_packet_of_a_voice_is_hardly_heard() {
        for rate in [8000, 16_000, 48_000] {
            let frame = rate as usize / 50;
            for pitch in [80.0, 123.0, 190.0] {
                let sent = voice(pitch, rate, 12 * frame);
                let mut concealer = Concealer::new(rate);
                let mut heard = sent.clone();
                for (n, frame) in heard.chunks_exact_mut(frame).enumerate() {
                    if n == 8 {
                        concealer.lost(frame)
                    } else {
                        concealer.good(frame)
                    }
                    assert_eq!(concealer.is_concealing(), n == 8);
                }
                let at = 8 * frame;
                let (mut signal, mut noise) = (0.0, 0.0);
                for n in at..at + frame / 2 {
                    signal += f64::from(sent[n]).powi(2);
                    noise += (f64::from(sent[n]) - f64::from(heard[n])).powi(2);
                }
                let decibels = 10.0 * (signal / noise).log10();
                assert!(decibels > 14.0, "{rate} Hz, pitch {pitch} Hz: {decibels:.1} dB");
                let mut ahead = [0; 22];
                let mut copy = Concealer::new(rate);
                let mut again = sent.clone();
                again.chunks_exact_mut(frame).take(8).for_each(|frame| copy.good(frame));
                copy.lost(&mut again[..frame]);
                copy.ahead(&mut ahead);
                copy.lost(&mut again[..frame]);
                assert_eq!(ahead, again[..22]);
                // No step anywhere that the voice itself does not have.
                let step = |s: &[i16]| s.windows(2).map(|w| (i32::from(w[0]) - i32::from(w[1])).abs()).max();
                assert!(step(&heard[at - 10..at + frame + 10]) < step(&sent).map(|s| s + s / 2 + 50));
            }
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_speech_fades_in() {
        let mut concealer = Concealer::new(8000);
        let mut tone = Tone::sine(200.0, 10_000, 8000);
        let mut frame = [0; 80];
        for _ in 0..8 {
            tone.fill(&mut frame);
            concealer.good(&mut frame);
        }
        let loudest = |frame: &[i16]| frame.iter().map(|s| s.unsigned_abs()).max().unwrap();
        let mut peaks = Vec::new();
        for _ in 0..8 {
            concealer.lost(&mut frame);
            peaks.push(loudest(&frame));
        }
        // 10 ms at full level, then a fifth less with every 10 ms.
        for (peak, wanted) in peaks.iter().zip([10_000, 10_000, 8000, 6000, 4000, 2000, 0, 0]) {
            assert!(peak.abs_diff(wanted) < 400, "{peaks:?}");
        }
        tone.fill(&mut frame);
        let sent = frame;
        concealer.good(&mut frame);
        assert!(loudest(&frame[..8]) < loudest(&sent[..20]) / 2, "speech begins with a step");
        assert_eq!(frame[79], sent[79] / 81 * 80 + sent[79] % 81 * 80 / 81);
    }

    #[test]
    fn what_comes_after_a_loss_is_blended_as_long_as_the_loss_was_long() {
        // ITU-T G.711 Appendix I: a quarter of a period, 4 ms for each 10 ms lost, 10 ms at most.
        for (lost, blended) in [(1, 42), (2, 74), (3, 80), (5, 80)] {
            let mut concealer = Concealer::new(8000);
            // A period of 40 samples.
            let mut tone = Tone::sine(200.0, 10_000, 8000);
            let mut frame = [0; 80];
            for _ in 0..8 {
                tone.fill(&mut frame);
                concealer.good(&mut frame);
            }
            for _ in 0..lost {
                concealer.lost(&mut frame);
            }
            let mut good = [-20_000; 80];
            concealer.good(&mut good);
            let changed = good.iter().rposition(|&s| s != -20_000).map_or(0, |n| n + 1);
            assert_eq!(changed, blended, "{lost} lost");
        }
    }

    #[test]
    fn any_past_and_any_size_is_taken() {
        for rate in [0, 8000, 11_025, 48_000, u32::MAX] {
            let mut concealer = Concealer::new(rate);
            for size in [0, 1, 7, 80, 5000] {
                let mut frame = vec![i16::MIN; size];
                concealer.lost(&mut frame);
                frame.fill(i16::MAX);
                concealer.good(&mut frame);
                frame.iter_mut().step_by(2).for_each(|s| *s = i16::MIN);
                concealer.good(&mut frame);
                concealer.lost(&mut frame);
                concealer.lost(&mut frame);
            }
        }
    }
}
