//! A mixer of many parties: each hears the others and not itself, one tick of 20 ms at a time.
//!
//! Only the loudest few are heard, so that noise of many does not add up and the cost of a listener does not grow with the room. A sum
//! that is too loud is turned down smoothly and rounded off at the ends of the range, never wrapped. Who hears whom, and how loud, is a
//! matrix: that is all that listening in, whispering and barging in are. Nothing is allocated after it is made.

use crate::resample::Rate;

/// A tick, in milliseconds.
pub const TICK: u32 = 20;
/// Most parties of a mixer.
pub const PARTIES_MAX: usize = 256;
/// Most gain from one party to another: +12 dB.
pub const GAIN_MAX: f32 = 4.0;
/// Mean magnitude below which nobody is taken for a talker: -56 dB against a full sine.
const QUIET: f32 = 32.0;
/// By how much louder somebody has to be to take the place of one who talks.
const LEAD: f32 = 2.0;
/// How much of its level a party keeps from tick to tick once it is quieter: half of it in 140 ms.
const DECAY: f32 = 0.9;
/// Sums are turned down to this.
const CEILING: f32 = 28_000.0;
/// From here on samples are rounded off.
const KNEE: f32 = 26_000.0;
/// How far what was turned down is turned up again in a tick: from half to full in 320 ms.
const RELEASE: f32 = 1.0 / 32.0;

/// A party of a mixer, until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party(u16);

/// What a party is at present.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    taken: bool,
    /// Whether it said something since the last tick.
    spoke: bool,
    level: f32,
    /// Whether it is heard, and whether it was in the tick before.
    heard: bool,
    was_heard: bool,
    /// What its sum is multiplied by.
    gain: f32,
    /// Whether it hears somebody otherwise than as he is.
    particular: bool,
}

/// Mixes the parties of one conversation.
#[derive(Clone, Debug)]
pub struct Mixer {
    samples: usize,
    talkers: usize,
    seats: Box<[Seat]>,
    /// One frame for each party.
    frames: Box<[i16]>,
    /// How loud each party (row) hears each other one.
    gains: Box<[f32]>,
    /// All that are heard, added up.
    sum: Box<[i32]>,
    /// What one party hears.
    own: Box<[f32]>,
    /// Parties that are heard in this tick.
    heard: Vec<u16>,
}

impl Mixer {
    /// A mixer for up to `parties` (2 to [`PARTIES_MAX`]), of which the `talkers` loudest are heard (at least one).
    pub fn new(rate: Rate, parties: usize, talkers: usize) -> Self {
        let parties = parties.clamp(2, PARTIES_MAX);
        let samples = (rate.hertz() / 1000 * TICK) as usize;
        Self {
            samples,
            talkers: talkers.clamp(1, parties),
            seats: vec![Seat::default(); parties].into(),
            frames: vec![0; parties * samples].into(),
            gains: vec![1.0; parties * parties].into(),
            sum: vec![0; samples].into(),
            own: vec![0.0; samples].into(),
            heard: Vec::with_capacity(parties),
        }
    }

    /// Samples of a tick.
    pub const fn samples(&self) -> usize {
        self.samples
    }

    /// A new party that hears all and is heard by all; `None` if there is no seat left.
    pub fn join(&mut self) -> Option<Party> {
        let at = self.seats.iter().position(|seat| !seat.taken)?;
        self.seats[at] = Seat { taken: true, gain: 1.0, ..Seat::default() };
        let count = self.seats.len();
        for other in 0..count {
            self.gains[at * count + other] = 1.0;
            self.gains[other * count + at] = 1.0;
        }
        self.review();
        // At most PARTIES_MAX.
        Some(Party(at as u16))
    }

    /// A party leaves.
    pub fn leave(&mut self, party: Party) {
        if let Some(seat) = self.seats.get_mut(usize::from(party.0)) {
            *seat = Seat::default();
            self.review();
        }
    }

    /// How many there are.
    pub fn parties(&self) -> usize {
        self.seats.iter().filter(|seat| seat.taken).count()
    }

    /// How loud `hearer` hears `speaker`: 0 not at all, 1 as he is, [`GAIN_MAX`] at most. A party never hears itself.
    pub fn set_gain(&mut self, hearer: Party, speaker: Party, gain: f32) {
        let place = usize::from(hearer.0) * self.seats.len() + usize::from(speaker.0);
        if let Some(kept) = self.gains.get_mut(place) {
            *kept = if gain.is_finite() { gain.clamp(0.0, GAIN_MAX) } else { 0.0 };
        }
        self.review();
    }

    /// A supervisor hears all; nobody hears him.
    pub fn listen(&mut self, supervisor: Party) {
        self.heard_by(supervisor, |_| false);
    }

    /// A supervisor hears all; only `to` hears him.
    pub fn whisper(&mut self, supervisor: Party, to: Party) {
        self.heard_by(supervisor, |hearer| hearer == to);
    }

    /// A supervisor hears all, and all hear him.
    pub fn barge(&mut self, supervisor: Party) {
        self.heard_by(supervisor, |_| true);
    }

    fn heard_by(&mut self, speaker: Party, hears: impl Fn(Party) -> bool) {
        for hearer in 0..self.seats.len() as u16 {
            let gain = if hears(Party(hearer)) { 1.0 } else { 0.0 };
            self.set_gain(Party(hearer), speaker, gain);
        }
    }

    /// Notes who hears somebody otherwise than as he is.
    fn review(&mut self) {
        let count = self.seats.len();
        for at in 0..count {
            let row = &self.gains[at * count..(at + 1) * count];
            let particular =
                (0..count).any(|other| other != at && self.seats[other].taken && row[other] != 1.0);
            self.seats[at].particular = particular;
        }
    }

    /// What a party says in this tick; what is missing of [`Self::samples`] is silence, what is beyond is dropped. Who says nothing is
    /// silent.
    pub fn put(&mut self, party: Party, samples: &[i16]) {
        let at = usize::from(party.0);
        let Some(seat) = self.seats.get_mut(at).filter(|seat| seat.taken) else { return };
        let frame = &mut self.frames[at * self.samples..(at + 1) * self.samples];
        let count = samples.len().min(frame.len());
        frame[..count].copy_from_slice(&samples[..count]);
        frame[count..].fill(0);
        seat.spoke = true;
    }

    /// Takes what was put since the last tick: from now on [`Self::take`] tells what each hears.
    pub fn tick(&mut self) {
        for (seat, frame) in self.seats.iter_mut().zip(self.frames.chunks_exact_mut(self.samples)) {
            if !core::mem::take(&mut seat.spoke) {
                frame.fill(0);
            }
            let sum: u32 = frame.iter().map(|it| u32::from(it.unsigned_abs())).sum();
            // At most 960 samples of 15 bits.
            seat.level = (sum as f32 / self.samples as f32).max(seat.level * DECAY);
            (seat.was_heard, seat.heard) = (seat.heard, false);
        }
        for _ in 0..self.talkers {
            let rank = |seat: &Seat| if seat.was_heard { seat.level * LEAD } else { seat.level };
            let waiting = self.seats.iter_mut().filter(|it| it.taken && !it.heard && it.level > QUIET);
            let Some(loudest) = waiting.max_by(|a, b| rank(a).total_cmp(&rank(b))) else { break };
            loudest.heard = true;
        }
        self.heard.clear();
        self.sum.fill(0);
        let frames = self.frames.chunks_exact_mut(self.samples);
        for (at, (seat, frame)) in self.seats.iter().zip(frames).enumerate() {
            if !seat.heard && !seat.was_heard {
                continue;
            }
            match (seat.was_heard, seat.heard) {
                (false, true) => fade(frame, |n, all| (n, all)),
                (true, false) => fade(frame, |n, all| (all - n, all)),
                _ => {}
            }
            self.heard.push(at as u16);
            self.sum.iter_mut().zip(&*frame).for_each(|(sum, sample)| *sum += i32::from(*sample));
        }
    }

    /// What a party hears in this tick; returns how many samples were written, as many as there is room for. To be asked once a tick.
    pub fn take(&mut self, party: Party, samples: &mut [i16]) -> usize {
        let at = usize::from(party.0);
        let Some(seat) = self.seats.get(at).copied().filter(|seat| seat.taken) else { return 0 };
        let length = self.samples;
        let frame = |party: usize| &self.frames[party * length..(party + 1) * length];
        if seat.particular {
            self.own.fill(0.0);
            let row = &self.gains[at * self.seats.len()..(at + 1) * self.seats.len()];
            for speaker in self.heard.iter().map(|it| usize::from(*it)).filter(|it| *it != at) {
                let gain = row[speaker];
                if gain > 0.0 {
                    let frame = &self.frames[speaker * length..(speaker + 1) * length];
                    self.own.iter_mut().zip(frame).for_each(|(own, it)| *own += f32::from(*it) * gain);
                }
            }
        } else if seat.heard || seat.was_heard {
            let frame = frame(at);
            for ((own, sum), it) in self.own.iter_mut().zip(&self.sum).zip(frame) {
                // Below 2^24 with 256 parties: exact.
                *own = (*sum - i32::from(*it)) as f32;
            }
        } else {
            self.own.iter_mut().zip(&self.sum).for_each(|(own, sum)| *own = *sum as f32);
        }
        let gain = limit(&self.own, seat.gain, samples);
        self.seats[at].gain = gain;
        length.min(samples.len())
    }
}

/// Fades a frame by a weight that goes from sample to sample.
fn fade(frame: &mut [i16], weight: impl Fn(i32, i32) -> (i32, i32)) {
    // At most 960 samples.
    let all = frame.len() as i32;
    for (n, sample) in (0..all).zip(frame) {
        let (part, whole) = weight(n, all);
        *sample = (i32::from(*sample) * part / whole) as i16;
    }
}

/// Writes a sum, turned down if it is too loud: from the gain of the tick before to a new one, which it returns.
fn limit(sum: &[f32], before: f32, samples: &mut [i16]) -> f32 {
    let peak = sum.iter().fold(0.0f32, |peak, it| peak.max(it.abs()));
    let wanted = if peak > CEILING { CEILING / peak } else { 1.0 };
    let gain = wanted.min(before + RELEASE);
    let step = (gain - before) / sum.len() as f32;
    let mut now = before;
    for (sample, sum) in samples.iter_mut().zip(sum) {
        now += step;
        *sample = round_off(sum * now);
    }
    gain
}

/// A sample within 16 bits: as it is up to the knee, beyond it ever closer to the end.
fn round_off(sample: f32) -> i16 {
    const ROOM: f32 = 32_767.0 - KNEE;
    let over = sample.abs() - KNEE;
    if over <= 0.0 {
        return sample as i16;
    }
    (KNEE + ROOM * over / (ROOM + over)).copysign(sample) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];

    /// Parties that each say a sine of their own, and what each hears after a second.
    struct Room {
        mixer: Mixer,
        rate: f64,
        tones: Vec<(Party, Tone)>,
    }

    impl Room {
        fn new(rate: Rate, parties: &[(f64, i16)], talkers: usize) -> Self {
            let mut mixer = Mixer::new(rate, parties.len() + 1, talkers);
            let tone =
                |&(hertz, peak): &(f64, i16)| (mixer.join().unwrap(), Tone::sine(hertz, peak, rate.hertz()));
            let tones = parties.iter().map(tone).collect();
            Self { mixer, rate: rate.hertz().into(), tones }
        }

        fn party(&self, number: usize) -> Party {
            self.tones[number].0
        }

        /// What a party hears for so many ticks.
        fn hear(&mut self, number: usize, ticks: usize) -> Vec<i16> {
            let mut heard = Vec::new();
            for _ in 0..ticks {
                let mut frame = vec![0; self.mixer.samples()];
                for (party, tone) in &mut self.tones {
                    tone.fill(&mut frame);
                    self.mixer.put(*party, &frame);
                }
                self.mixer.tick();
                for (other, (party, _)) in self.tones.iter().enumerate() {
                    assert_eq!(self.mixer.take(*party, &mut frame), frame.len());
                    if other == number {
                        heard.extend_from_slice(&frame);
                    }
                }
            }
            heard
        }

        /// The peak of a frequency in a sound.
        fn peak(&self, samples: &[i16], hertz: f64) -> f64 {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &sample) in samples.iter().enumerate() {
                let angle = core::f64::consts::TAU * hertz * n as f64 / self.rate;
                re += f64::from(sample) * angle.cos();
                im += f64::from(sample) * angle.sin();
            }
            (re * re + im * im).sqrt() * 2.0 / samples.len() as f64
        }
    }

    #[test]
    fn each_hears_the_others_and_not_itself() {
        for rate in RATES {
            let tones = [(500.0, 6000), (1000.0, 5000), (1500.0, 4000)];
            let mut room = Room::new(rate, &tones, 3);
            for number in 0..3 {
                room.hear(number, 5);
                let heard = room.hear(number, 50);
                for (other, (hertz, peak)) in tones.into_iter().enumerate() {
                    let wanted = if other == number { 0.0 } else { f64::from(peak) };
                    let found = room.peak(&heard, hertz);
                    assert!((found - wanted).abs() < 20.0, "{rate:?}: {number} hears {other}: {found}");
                }
            }
        }
    }

    #[test]
    fn only_the_loudest_are_heard_and_keep_their_place() {
        let tones = [(500.0, 900), (900.0, 8000), (1300.0, 7000), (1700.0, 10), (2100.0, 1000)];
        let mut room = Room::new(Rate::Hz8000, &tones, 2);
        let listener = 0;
        room.hear(listener, 10);
        let heard = room.hear(listener, 50);
        assert!(room.peak(&heard, 900.0) > 7900.0 && room.peak(&heard, 1300.0) > 6900.0);
        assert!(room.peak(&heard, 2100.0) < 20.0 && room.peak(&heard, 1700.0) < 5.0);
        // A little louder than who talks is not enough; much louder is.
        room.tones[4].1 = Tone::sine(2100.0, 9000, 8000);
        let heard = room.hear(listener, 50);
        assert!(room.peak(&heard, 2100.0) < 20.0, "no changing to and fro");
        room.tones[4].1 = Tone::sine(2100.0, 16_000, 8000);
        room.hear(listener, 5);
        let heard = room.hear(listener, 50);
        assert!(room.peak(&heard, 2100.0) > 15_000.0 && room.peak(&heard, 1300.0) < 20.0);
    }

    #[test]
    fn too_loud_is_turned_down_and_neither_wrapped_nor_cut() {
        let tones = [(100.0, 1), (440.0, 30_000), (441.0, 30_000), (442.0, 30_000), (443.0, 30_000)];
        let mut room = Room::new(Rate::Hz16000, &tones, 4);
        let heard = room.hear(0, 100);
        let jump = heard.windows(2).map(|it| (i32::from(it[0]) - i32::from(it[1])).abs()).max().unwrap();
        // A full sine of 443 Hz moves by 5700 between samples; four of them cut off at the ends would by 20 000.
        assert!(jump < 8000, "{jump}");
        let loudest = heard[1600..].iter().map(|it| it.unsigned_abs()).max().unwrap();
        assert!((26_000..32_767).contains(&loudest), "{loudest}");
        // Turned up again once it is quiet, and not in one go.
        for number in 1..5 {
            room.tones[number].1 = Tone::sine(440.0 + number as f64, 1000, 16_000);
        }
        room.hear(0, 60);
        let heard = room.hear(0, 50);
        assert!((room.peak(&heard, 441.0) - 1000.0).abs() < 20.0, "{}", room.peak(&heard, 441.0));
    }

    #[test]
    fn supervisors_listen_whisper_and_barge_in() {
        let tones = [(500.0, 6000), (1000.0, 6000), (1500.0, 6000)];
        let mut room = Room::new(Rate::Hz8000, &tones, 3);
        let (customer, agent, boss) = (0, 1, 2);
        let levels = |room: &mut Room, hearer: usize| {
            room.hear(hearer, 5);
            let heard = room.hear(hearer, 25);
            tones.map(|(hertz, _)| (room.peak(&heard, hertz) / 100.0).round() as i32)
        };
        let supervisor = room.party(boss);
        room.mixer.listen(supervisor);
        assert_eq!(levels(&mut room, customer), [0, 60, 0]);
        assert_eq!(levels(&mut room, agent), [60, 0, 0]);
        assert_eq!(levels(&mut room, boss), [60, 60, 0]);
        let told = room.party(agent);
        room.mixer.whisper(supervisor, told);
        assert_eq!(levels(&mut room, customer), [0, 60, 0]);
        assert_eq!(levels(&mut room, agent), [60, 0, 60]);
        room.mixer.barge(supervisor);
        assert_eq!(levels(&mut room, customer), [0, 60, 60]);
        assert_eq!(levels(&mut room, agent), [60, 0, 60]);
        room.mixer.set_gain(told, supervisor, 0.5);
        assert_eq!(levels(&mut room, agent), [60, 0, 30]);
        // Who comes after one that left begins anew.
        room.mixer.listen(supervisor);
        room.mixer.leave(supervisor);
        assert_eq!(room.mixer.parties(), 2);
        room.tones[boss].0 = room.mixer.join().unwrap();
        assert_eq!(levels(&mut room, customer), [0, 60, 60]);
    }

    #[test]
    fn silence_strangers_and_odd_lengths_do_no_harm() {
        let mut mixer = Mixer::new(Rate::Hz8000, 2, 9);
        let (a, b) = (mixer.join().unwrap(), mixer.join().unwrap());
        assert!(mixer.join().is_none(), "bounded");
        let mut heard = [7; 160];
        mixer.tick();
        assert_eq!(mixer.take(a, &mut heard), 160);
        assert_eq!(heard, [0; 160]);
        mixer.put(b, &[9000; 500]);
        mixer.put(a, &[9000; 3]);
        mixer.put(Party(77), &[1; 160]);
        mixer.tick();
        mixer.tick();
        assert_eq!((mixer.take(a, &mut heard[..10]), mixer.take(Party(77), &mut heard)), (10, 0));
        mixer.set_gain(Party(900), a, f32::NAN);
        mixer.set_gain(a, b, f32::INFINITY);
        mixer.leave(a);
        mixer.leave(Party(900));
        assert_eq!(mixer.take(a, &mut heard), 0);
        for extreme in [i16::MIN, i16::MAX] {
            assert_eq!(round_off(f32::from(extreme) * 300.0).signum(), extreme.signum());
        }
    }

    #[test]
    fn who_begins_and_who_ends_does_so_without_a_click() {
        let mut room = Room::new(Rate::Hz8000, &[(300.0, 1), (300.0, 20_000)], 1);
        let heard = room.hear(0, 3);
        let jump = heard.windows(2).map(|it| (i32::from(it[0]) - i32::from(it[1])).abs()).max().unwrap();
        assert!(jump < 5000, "{jump}");
        assert!(heard[..8].iter().all(|it| it.unsigned_abs() < 1000), "it begins softly: {:?}", &heard[..8]);
    }
}
