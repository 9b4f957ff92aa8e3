//! Recognizes what machines say with single tones: a fax that calls or answers, a line that is busy or rings.
//!
//! | what | how it sounds | from |
//! |---|---|---|
//! | a fax calls (CNG) | 1100 Hz ± 38 Hz for 0.5 s, each 3 s | ITU-T T.30 |
//! | a fax or modem answers (CED, ANS) | 2100 Hz ± 15 Hz for 2.6 to 4 s | ITU-T T.30, V.25 |
//! | echo cancellers off | its phase reversed, each 450 ms | ITU-T V.25, G.168 |
//! | busy, congestion | tone and silence of like length, 300 to 1100 ms together | ITU-T E.180 |
//! | rings | 0.67 to 2.5 s of tone, 3 to 6 s of silence | ITU-T E.180 |
//!
//! Call progress is told by its rhythm and by nearly all energy lying between 325 and 675 Hz, since every country has other frequencies there. Double rings
//! (0.4 s, 0.2 s, 0.4 s, 2 s) are not recognized.

use crate::bank::{BLOCKS_A_SECOND, Bank, Window};
use core::f64::consts::{PI, TAU};
use core::ops::RangeInclusive;

/// Lines that call progress may have, and then the two of fax.
const HERTZ: [f64; 9] = [350.0, 400.0, 450.0, 500.0, 550.0, 600.0, 650.0, 1100.0, 2100.0];
const PROGRESS: core::ops::Range<usize> = 0..7;
const CALLING: usize = 7;
const ANSWERING: usize = 8;
/// How far each may be off in Hz: what the sender may be, and 5 for the measurement.
const CALLING_OFF: f64 = 43.0;
const ANSWERING_OFF: f64 = 20.0;
/// Share of all energy that the tone has, and the softest that counts, in dBm0.
const PURE: f64 = 0.8;
const SOFTEST: f64 = -43.0;
/// Windows without the tone that do not end it: 40 ms, as a reversal of its phase makes.
const PATIENCE: u32 = 8;
/// A calling tone is so long (T.30: 0.5 s ± 15 %, and 30 ms for the ends).
const CALLING_MS: RangeInclusive<u32> = 395..=605;
/// An answering tone is reported when it is so long.
const ANSWERING_MS: u32 = 500;
/// A phase that is off by more is reversed.
const REVERSED: f64 = 0.6 * PI;
/// Bounds of call progress in milliseconds, with 10 % for the measurement.
const BUSY_PERIOD_MS: RangeInclusive<u32> = 270..=1210;
const RING_MS: RangeInclusive<u32> = 600..=2750;
const RING_SILENCE_MS: u32 = 2700;

/// What was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// One calling tone of a fax has ended.
    Calling,
    /// An answering tone has lasted half a second.
    Answering,
    /// The answering tone has reversed its phase: echo cancellers are to be off. Once for each tone.
    Reversed,
    /// Tone and silence have alternated three times as busy or congestion does. Once until the rhythm changes.
    Busy,
    /// A tone has rung and its silence has lasted nearly three seconds. Once for each ring.
    Ringing,
}

/// Listens to one stream.
#[derive(Clone, Debug)]
pub struct Detector {
    bank: Bank<9>,
    calling: Run,
    answering: Answer,
    rhythm: Rhythm,
}

/// Windows in which a tone goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    windows: u32,
    missing: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    run: Run,
    /// Phase at the last window that was clear, how it turned a window, and windows since.
    last: Option<(f64, f64, u32)>,
    reversed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rhythm {
    on: bool,
    /// Windows that show the other state, in a row, and that this state has lasted.
    other: u32,
    lasted: u32,
    /// The last tones and silences, the newest first, in milliseconds.
    tones: [u32; 3],
    silences: [u32; 3],
    /// The mean energy of the tones, and what adds up of the present one.
    levels: [f64; 3],
    energy: f64,
    told: bool,
}

const fn ms(windows: u32) -> u32 {
    windows.saturating_mul(1000 / BLOCKS_A_SECOND)
}

impl Run {
    /// Goes on by a window; gives how long the tone was, in milliseconds, if it is over now.
    fn go_on(&mut self, there: bool) -> Option<u32> {
        if there {
            // What was missing in between belongs to it.
            self.windows = self.windows.saturating_add(1 + core::mem::take(&mut self.missing));
            return None;
        }
        if self.windows == 0 {
            return None;
        }
        self.missing += 1;
        (self.missing > PATIENCE).then(|| ms(core::mem::take(self).windows))
    }
}

impl Detector {
    /// A detector for `rate` Hz, 8000 to 48 000.
    pub fn new(rate: u32) -> Self {
        Self {
            bank: Bank::new(rate, HERTZ),
            calling: Run::default(),
            answering: Answer::default(),
            rhythm: Rhythm::default(),
        }
    }

    /// Listens to the next samples; calls `heard` for what it recognizes in them.
    pub fn hear(&mut self, samples: &[i16], mut heard: impl FnMut(Heard)) {
        let Self { bank, calling, answering, rhythm } = self;
        bank.hear(samples, |window| {
            let there = is_there(window, CALLING, CALLING_OFF);
            if calling.go_on(there).is_some_and(|length| CALLING_MS.contains(&length)) {
                heard(Heard::Calling);
            }
            answering.listen(window, &mut heard);
            let tone = window.energy >= window.energy_of(SOFTEST) && window.share(PROGRESS) >= PURE;
            rhythm.listen(tone, window.energy, &mut heard);
        });
    }
}

/// Whether a window shows one tone and nearly nothing else.
fn is_there(window: &Window<9>, n: usize, off: f64) -> bool {
    window.off(n).abs() <= off
        && window.sine(n) >= PURE * window.energy
        && window.energy >= window.energy_of(SOFTEST)
}

impl Answer {
    fn listen(&mut self, window: &Window<9>, heard: &mut impl FnMut(Heard)) {
        let there = is_there(window, ANSWERING, ANSWERING_OFF);
        if let Some((_, _, since)) = &mut self.last {
            *since += 1;
        }
        if self.run.go_on(there).is_some() {
            *self = Self::default();
            return;
        }
        if !there {
            return;
        }
        let (phase, turn) = (window.phase(ANSWERING), window.turned(ANSWERING));
        if let Some((before, turned, since)) = self.last
            && !self.reversed
        {
            // Half a window after a reversal all is as before, but for the sign.
            let expected = before + turned * f64::from(since);
            let off = (phase - expected + PI).rem_euclid(TAU) - PI;
            if off.abs() > REVERSED && since > 1 {
                self.reversed = true;
                heard(Heard::Reversed);
            }
        }
        self.last = Some((phase, turn, 0));
        if ms(self.run.windows) == ANSWERING_MS {
            heard(Heard::Answering);
        }
    }
}

impl Rhythm {
    fn listen(&mut self, tone: bool, energy: f64, heard: &mut impl FnMut(Heard)) {
        self.lasted = self.lasted.saturating_add(1);
        if self.on && tone {
            self.energy += energy;
        }
        if tone == self.on {
            self.other = 0;
        } else {
            self.other += 1;
            if self.other >= PATIENCE {
                self.turn(heard);
            }
        }
        let silence = ms(self.lasted);
        if !self.on && !self.told && silence == RING_SILENCE_MS && RING_MS.contains(&self.tones[0]) {
            heard(Heard::Ringing);
        }
    }

    /// Tone has given way to silence or silence to tone, some windows ago.
    fn turn(&mut self, heard: &mut impl FnMut(Heard)) {
        let length = ms(self.lasted - self.other);
        self.lasted = self.other;
        self.other = 0;
        if self.on {
            let [last, earlier, _] = self.tones;
            self.tones = [length, last, earlier];
            let [last, earlier, _] = self.levels;
            self.levels = [self.energy / f64::from(length.max(1)), last, earlier];
        } else {
            let [last, earlier, _] = self.silences;
            self.silences = [length, last, earlier];
            let (tone, silence) = (self.tones[0], length);
            let even =
                |lengths: [u32; 3]| lengths.iter().all(|n| n.abs_diff(lengths[0]) <= 15 + lengths[0] / 20);
            let busy = BUSY_PERIOD_MS.contains(&(tone + silence))
                && 2 * tone <= 3 * silence + 60
                && 2 * silence <= 3 * tone + 60
                && even(self.tones)
                && even(self.silences)
                && self
                    .levels
                    .iter()
                    .all(|&level| level < 1.4 * self.levels[0] && self.levels[0] < 1.4 * level);
            if busy && !self.told {
                heard(Heard::Busy);
            }
            self.told = busy;
        }
        self.on = !self.on;
        self.energy = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;
    use crate::g711;

    /// Sound of tones and silences: two frequencies, a level in dBm0 and milliseconds each; through G.711.
    fn sound(rate: u32, pieces: &[(f64, f64, f64, usize)]) -> Vec<i16> {
        let mut samples = Vec::new();
        for &(low, high, level, ms) in pieces {
            let mut piece = vec![0; ms * rate as usize / 1000];
            let peak = (22_826.0 * 10f64.powf(level / 20.0)) as i16;
            let second = if high > 0.0 { peak } else { 0 };
            if low > 0.0 {
                Tone::dual((low, peak), (high, second), rate).fill(&mut piece);
            }
            samples.extend(piece.iter().map(|&s| g711::alaw_decode(g711::alaw_encode(s))));
        }
        samples
    }

    fn heard(rate: u32, samples: &[i16]) -> Vec<Heard> {
        let mut detector = Detector::new(rate);
        let mut all = Vec::new();
        samples.chunks(rate as usize / 50).for_each(|frame| detector.hear(frame, |heard| all.push(heard)));
        all
    }

    #[test]
    fn t_30_a_fax_calls() {
        for rate in [8000, 16_000] {
            for hertz in [1062.0, 1100.0, 1138.0] {
                for length in [425, 500, 575] {
                    let once = [(hertz, 0.0, -12.0, length), (0.0, 0.0, 0.0, 3000)];
                    assert_eq!(
                        heard(rate, &sound(rate, &once.repeat(2))),
                        [Heard::Calling; 2],
                        "{hertz} Hz, {length} ms"
                    );
                }
            }
        }
        for (hertz, length) in [(1180.0, 500), (1020.0, 500), (1100.0, 200), (1100.0, 1500)] {
            let once = [(hertz, 0.0, -12.0, length), (0.0, 0.0, 0.0, 1000)];
            assert_eq!(heard(8000, &sound(8000, &once)), [], "{hertz} Hz, {length} ms");
        }
    }

    #[test]
    fn v_25_an_answer_with_and_without_reversed_phase() {
        for (every, expected) in [(0, &[Heard::Answering][..]), (450, &[Heard::Reversed, Heard::Answering])] {
            for hertz in [2085.0, 2100.0, 2115.0] {
                let mut samples = vec![0i16; 8 * 3500];
                for (n, sample) in samples.iter_mut().enumerate().take(8 * 3300) {
                    let sign = if every > 0 && n / (8 * every) % 2 == 1 { -1.0 } else { 1.0 };
                    *sample = (sign * 6000.0 * (TAU * hertz * n as f64 / 8000.0).sin()) as i16;
                }
                assert_eq!(heard(8000, &samples), expected, "{hertz} Hz, each {every} ms");
                // ANSam (ITU-T V.8): a fifth of amplitude modulation at 15 Hz.
                for (n, sample) in samples.iter_mut().enumerate() {
                    let am = 1.0 + 0.2 * (TAU * 15.0 * n as f64 / 8000.0).sin();
                    *sample = (f64::from(*sample) * am) as i16;
                }
                assert_eq!(heard(8000, &samples), expected, "modulated, {hertz} Hz, each {every} ms");
            }
        }
        assert_eq!(heard(8000, &sound(8000, &[(2150.0, 0.0, -12.0, 3000)])), []);
        assert_eq!(heard(8000, &sound(8000, &[(2100.0, 0.0, -12.0, 300), (0.0, 0.0, 0.0, 500)])), []);
    }

    #[test]
    fn e_180_busy_and_ringing_in_several_countries() {
        for (low, high, on, off) in [
            (425.0, 0.0, 500, 500),
            (480.0, 620.0, 500, 500),
            (480.0, 620.0, 250, 250),
            (400.0, 0.0, 375, 375),
            (425.0, 0.0, 200, 200),
        ] {
            let cycle = [(low, high, -15.0, on), (0.0, 0.0, 0.0, off)];
            let sounds = sound(8000, &[cycle.repeat(6), vec![(0.0, 0.0, 0.0, 2000)]].concat());
            assert_eq!(heard(8000, &sounds), [Heard::Busy], "{low}, {high} Hz, {on}, {off} ms");
        }
        for (low, high, on, off) in
            [(425.0, 0.0, 1000, 4000), (440.0, 480.0, 2000, 4000), (440.0, 0.0, 1500, 3500)]
        {
            let cycle = [(low, high, -15.0, on), (0.0, 0.0, 0.0, off)];
            let sounds = sound(8000, &cycle.repeat(3));
            assert_eq!(heard(8000, &sounds), [Heard::Ringing; 3], "{low}, {high} Hz, {on}, {off} ms");
        }
        // Dial tone goes on; keys are no progress.
        assert_eq!(heard(8000, &sound(8000, &[(350.0, 440.0, -15.0, 5000)])), []);
        let keys = [(697.0, 1209.0, -12.0, 500), (0.0, 0.0, 0.0, 500)];
        assert_eq!(heard(8000, &sound(8000, &keys.repeat(6))), []);
    }
}
