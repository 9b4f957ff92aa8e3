//! DTMF within sound: what ITU-T Q.24 says has to be recognized, what must not be, and what codecs leave of it.
#![allow(clippy::unwrap_used, missing_docs)]

use media::Tone;
use media::codec::{Codec, Decoder, Encoder};
use media::dtmf::{Detector, Generator, Heard, Key, Levels};
use media::signal;

const RATE: u32 = 8000;
const KEYS: &str = "1234567890*#ABCD";

/// White noise of a root mean square.
struct Noise(u32);

impl Noise {
    fn next(&mut self, rms: f64) -> f64 {
        // Twelve evens are nearly normal.
        let sum: f64 = (0..12)
            .map(|_| {
                self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(self.0) / f64::from(u32::MAX)
            })
            .sum();
        (sum - 6.0) * rms
    }

    fn add(&mut self, samples: &mut [i16], rms: f64) {
        for sample in samples {
            *sample = (f64::from(*sample) + self.next(rms)) as i16;
        }
    }
}

/// The keys of a text, each with tone and pause in milliseconds, after 100 ms of silence.
fn dialled(text: &str, rate: u32, levels: Levels, on: u32, off: u32) -> Vec<i16> {
    let mut samples = vec![0; rate as usize / 10];
    let mut generator = Generator::new(rate);
    for key in text.chars() {
        generator.press(Key::of(key).unwrap(), levels, on, off);
        let mut sound = vec![0; (on + off) as usize * rate as usize / 1000];
        assert_eq!(generator.fill(&mut sound), sound.len());
        samples.extend(sound);
    }
    samples.extend(vec![0; rate as usize / 10]);
    samples
}

/// What is recognized in frames of 20 ms: the keys, and how long each was.
fn heard(samples: &[i16], rate: u32) -> (String, Vec<u32>) {
    let mut detector = Detector::new(rate);
    let (mut began, mut ended, mut lengths) = (String::new(), String::new(), Vec::new());
    for frame in samples.chunks(rate as usize / 50) {
        detector.hear(frame, |heard| match heard {
            Heard::Began(key) => began.push(key.character()),
            Heard::Ended { key, ms } => {
                ended.push(key.character());
                lengths.push(ms);
            }
        });
    }
    assert!(began.starts_with(&ended), "{began} {ended}");
    (began, lengths)
}

/// Two sines of any frequencies and levels in dBm0.
fn pair(low: (f64, f64), high: (f64, f64), ms: usize) -> Vec<i16> {
    let peak = |level: f64| (22_826.0 * 10f64.powf(level / 20.0)) as i16;
    let mut samples = vec![0; 400 + ms * 8 + 800];
    Tone::dual((low.0, peak(low.1)), (high.0, peak(high.1)), RATE).fill(&mut samples[400..400 + ms * 8]);
    samples
}

#[test]
fn every_key_at_every_rate_as_long_as_it_was() {
    for rate in [8000, 16_000, 48_000] {
        for (on, off) in [(40, 40), (50, 45), (100, 100), (500, 30)] {
            let (keys, lengths) = heard(&dialled(KEYS, rate, Levels::default(), on, off), rate);
            assert_eq!(keys, KEYS, "{rate} Hz, {on} ms, {off} ms");
            assert!(lengths.iter().all(|ms| ms.abs_diff(on) <= 12), "{rate} Hz, {on} ms: {lengths:?}");
        }
    }
}

#[test]
fn forty_milliseconds_whenever_they_begin() {
    // ITU-T Q.24, table A-1: 40 ms has to be taken, 20 (NTT: 24) must not be.
    for shift in 0..40 {
        for (on, taken) in [(40, true), (22, false)] {
            let mut samples = vec![0; shift * 2];
            samples.extend(dialled("7", RATE, Levels::default(), on, 60));
            assert_eq!(heard(&samples, RATE).0, if taken { "7" } else { "" }, "{on} ms, shifted by {shift}");
        }
    }
}

#[test]
fn a_break_of_ten_milliseconds_is_none_and_a_pause_of_thirty_is_one() {
    for shift in 0..20 {
        for (gap, keys) in [(10, "4"), (30, "44")] {
            let mut samples = dialled("4", RATE, Levels::default(), 200, 50);
            let at = 800 + 800 + shift * 4;
            samples[at..at + gap * 8].fill(0);
            assert_eq!(heard(&samples, RATE).0, keys, "{gap} ms, shifted by {shift}");
        }
    }
}

#[test]
fn frequencies_off_by_1_5_percent_are_taken_and_by_3_5_percent_not() {
    for key in Key::all() {
        let (low, high) = key.frequencies();
        for sign in [-1.0, 1.0] {
            let off = |hertz: f64, percent: f64| (hertz * (1.0 + sign * percent / 100.0), -10.0);
            let both = |a, b| heard(&pair(off(low, a), off(high, b), 50), RATE).0;
            assert_eq!(both(1.5, 1.5), key.character().to_string(), "{key:?}");
            assert_eq!(both(1.5, -1.5), key.character().to_string(), "{key:?}");
            assert_eq!((both(3.5, 0.0), both(0.0, 3.5)), (String::new(), String::new()), "{key:?}");
        }
    }
}

#[test]
fn levels_and_twist() {
    for key in Key::all() {
        let (low, high) = key.frequencies();
        let both = |a, b| heard(&pair((low, a), (high, b), 60), RATE).0;
        let yes = key.character().to_string();
        for level in [0.0, -3.0, -15.0, -25.0, -29.0] {
            assert_eq!(both(level, level), yes, "{key:?} at {level} dBm0");
        }
        assert_eq!(both(-36.0, -36.0), "");
        for (a, b, taken) in
            [(-12.0, -8.0, true), (-8.0, -16.0, true), (-18.0, -10.0, false), (-8.0, -20.0, false)]
        {
            assert_eq!(both(a, b), if taken { &yes } else { "" }, "{key:?}: {a}, {b} dBm0");
        }
    }
}

#[test]
fn noise_fifteen_decibels_below_hides_nothing() {
    let mut noise = Noise(1);
    for (level, repeats) in [(-10.0, 20), (-20.0, 20)] {
        for round in 0..repeats {
            let levels = Levels { low: level, high: level };
            let mut samples = dialled(KEYS, RATE, levels, 50, 50);
            // The power of both sines is that of one peak squared.
            let rms = 22_826.0 * 10f64.powf(level / 20.0) * 10f64.powf(-15.0 / 20.0);
            noise.add(&mut samples, rms);
            assert_eq!(heard(&samples, RATE).0, KEYS, "{level} dBm0, round {round}");
        }
    }
}

#[test]
fn noise_alone_and_other_tones_are_no_keys() {
    let mut noise = Noise(2);
    let mut samples = vec![0; RATE as usize * 60];
    noise.add(&mut samples, 3000.0);
    assert_eq!(heard(&samples, RATE).0, "", "noise");
    // Dial tone, ring-back, busy, fax, one row alone, two rows.
    for (a, b) in [
        (350.0, 440.0),
        (440.0, 480.0),
        (480.0, 620.0),
        (425.0, 425.0),
        (1100.0, 1100.0),
        (2100.0, 2100.0),
        (697.0, 697.0),
        (697.0, 852.0),
        (1209.0, 1477.0),
    ] {
        assert_eq!(heard(&pair((a, -10.0), (b, -10.0), 400), RATE).0, "", "{a} and {b} Hz");
    }
}

/// A voice of a kind: a train of pulses of gliding pitch through three resonances that wander, syllables and pauses.
fn voice(seconds: usize, seed: u32) -> Vec<i16> {
    let mut noise = Noise(seed);
    let mut between =
        |low: f64, high: f64| low + (noise.next(0.5).clamp(-1.0, 1.0) + 1.0) / 2.0 * (high - low);
    let rate = f64::from(RATE);
    let mut samples = Vec::new();
    let mut state = [(0.0f64, 0.0f64); 3];
    let mut phase = 0.0f64;
    while samples.len() < seconds * RATE as usize {
        let length = between(0.08, 0.4) * rate;
        let pitch = (between(80.0, 400.0), between(80.0, 400.0));
        let from = [between(250.0, 900.0), between(800.0, 2400.0), between(2000.0, 3200.0)];
        let to = [between(250.0, 900.0), between(800.0, 2400.0), between(2000.0, 3200.0)];
        for n in 0..length as usize {
            let t = n as f64 / length;
            phase += (pitch.0 + (pitch.1 - pitch.0) * t) / rate;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let mut sum = 0.0;
            for (k, (a, b)) in state.iter_mut().enumerate() {
                let hertz = from[k] + (to[k] - from[k]) * t;
                let r = (-std::f64::consts::PI * 70.0 / rate).exp();
                let y = pulse + 2.0 * r * (std::f64::consts::TAU * hertz / rate).cos() * *a - r * r * *b;
                (*a, *b) = (y, *a);
                sum += y * [1.0, 0.6, 0.3][k];
            }
            samples.push((sum * 4000.0 * (std::f64::consts::PI * t).sin()) as i16);
        }
        samples.extend(vec![0; (between(0.0, 0.2) * rate) as usize]);
    }
    samples
}

#[test]
fn ten_minutes_of_something_like_speech_are_no_key() {
    for seed in 1..=5 {
        let voice = voice(120, seed);
        assert_eq!(heard(&voice, RATE).0, "", "seed {seed}");
        let mut signals = Vec::new();
        signal::Detector::new(RATE).hear(&voice, |heard| signals.push(heard));
        assert_eq!(signals, [], "seed {seed}");
    }
}

/// Share of keys that survive a codec, and how many are heard that were not dialled, for each that was.
fn through(codec: Codec, on: u32, off: u32) -> (f64, f64) {
    let samples = dialled(&KEYS.repeat(4), RATE, Levels::default(), on, off);
    let (mut encoder, mut decoder) = (Encoder::new(codec, false), Decoder::new(codec));
    let mut after = Vec::new();
    for frame in samples.chunks_exact(160) {
        let (mut payload, mut sound) = ([0; 320], [0; 160]);
        let octets = encoder.encode(frame, &mut payload).octets;
        let count = decoder.decode(&payload[..octets], &mut sound);
        after.extend(&sound[..count]);
    }
    let (keys, _) = heard(&after, RATE);
    let wanted = KEYS.repeat(4);
    let same = lcs(&wanted, &keys) as f64;
    (same / wanted.len() as f64, (keys.len() as f64 - same) / wanted.len() as f64)
}

/// Length of the longest common subsequence.
fn lcs(a: &str, b: &str) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a.bytes() {
        let mut diagonal = 0;
        for (n, y) in b.bytes().enumerate() {
            let above = row[n + 1];
            row[n + 1] = if x == y { diagonal + 1 } else { above.max(row[n]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[test]
fn g711_leaves_every_key_and_g729_what_is_said_here() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        for (on, off) in [(40, 40), (100, 100)] {
            assert_eq!(through(codec, on, off), (1.0, 0.0), "{codec:?}, {on} ms");
        }
    }
    // G.729 codes speech: in-band keys are not safe there, which is why RFC 4733 exists.
    for (on, off) in [(60, 60), (100, 100), (200, 100)] {
        let (there, more) = through(Codec::G729, on, off);
        println!("G.729, {on} ms: {there:.3} of the keys, {more:.3} that were not dialled");
        assert!(there > 0.5 && more < 0.2);
    }
}
