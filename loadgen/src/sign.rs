//! Marks that every codec of speech carries: each packet is one of sixteen tones, and 64 packets in a row spell out whose they are.
//!
//! A codec that keeps no samples (Opus) keeps no mark of [`crate::mark`] either. A tone of 20 ms it does keep, well enough to tell which of
//! sixteen it is: four bits a packet. A sign is 64 of them, 32 bytes, big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | checksum over everything behind it |
//! | 4..12 | the sender's call |
//! | 12..20 | the call the sender hears, 0 before it hears any |
//! | 20..28 | direction in the first byte, then when place 0 was to be sent, µs on the host's monotonic clock |
//! | 28..32 | which sign of the stream it is, from 0 |
//!
//! Once a listener has read one it knows which tone every further packet has to be, when it was to be sent, and which are missing: RTP's
//! sequence numbers give the places, so what is between may number anew but must neither split nor join packets. Until then, 1.3 s at
//! least, packets wait to be accounted for. What a packet says of itself lacks when it was really sent: delays count from when it was due.

use crate::mark::{CallName, Direction, Mark, checksum};
use core::f32::consts::TAU;
use core::time::Duration;
use sansio::Time;

/// Tones that are told apart.
pub(crate) const TONES: usize = 16;
/// Samples of a packet, 20 ms at 8 kHz: each tone has whole periods in it, so that one follows the other without a click.
pub(crate) const SAMPLES: usize = 160;
/// Packets of a sign.
const LENGTH: u32 = 64;
/// Time of a packet.
const PTIME: Duration = Duration::from_millis(20);
/// The lowest tone and the distance between two, in Hz.
const LOWEST: f32 = 500.0;
const APART: f32 = 150.0;
/// Where a tone is listened to: codecs delay by up to 6.5 ms, so that the beginning may still be the tone before.
const FROM: usize = 60;
/// Peak of what is sent, 12 dB below full scale.
const PEAK: f32 = 8000.0;
/// The share of a packet's energy that its tone must have.
const SHARE: f32 = 0.4;
/// Packets kept until the first sign is read: ten seconds, so that of 1 % lost, where every other sign is whole, hardly a call stays unread.
const WAITING: usize = 8 * LENGTH as usize;
/// Packets that are too few to expect a whole sign among them.
const FEW: usize = 2 * LENGTH as usize;
/// That many wrong tones more than right ones, and the listener has to read a sign anew.
const LOST: u8 = 24;

type Tones = [u8; LENGTH as usize];

/// The samples of each tone.
pub(crate) fn samples(tone: usize) -> [i16; SAMPLES] {
    let step = TAU * frequency(tone) / 8000.0;
    core::array::from_fn(|n| (PEAK * (step * n as f32).sin()) as i16)
}

const fn frequency(tone: usize) -> f32 {
    LOWEST + APART * tone as f32
}

/// Tells tones apart.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    /// Cosine and sine of each tone over the part that is listened to.
    waves: Vec<[[f32; SAMPLES - FROM]; 2]>,
}

impl Ear {
    pub(crate) fn new() -> Self {
        let waves = (0..TONES).map(|tone| {
            let step = TAU * frequency(tone) / 8000.0;
            [0.0, TAU / 4.0].map(|phase| core::array::from_fn(|n| (step * n as f32 + phase).sin()))
        });
        Self { waves: waves.collect() }
    }

    /// Which tone a packet is; `None` if it is none.
    pub(crate) fn tone(&self, samples: &[i16]) -> Option<u8> {
        let mut heard = [0.0; SAMPLES - FROM];
        for (heard, sample) in heard.iter_mut().zip(samples.get(FROM..SAMPLES)?) {
            *heard = f32::from(*sample);
        }
        let energy: f32 = heard.iter().map(|sample| sample * sample).sum();
        let mut best = (0, 0.0);
        for (tone, waves) in self.waves.iter().enumerate() {
            let [sine, cosine] = waves.each_ref().map(|wave| dot(&heard, wave));
            let found = sine * sine + cosine * cosine;
            if found > best.1 {
                best = (tone as u8, found);
            }
        }
        // All energy in one tone comes to half the samples of it.
        (best.1 > energy * SHARE * heard.len() as f32 / 2.0).then_some(best.0)
    }
}

/// The product of two signals, eight sums side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// What a sign says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    call: CallName,
    hears: CallName,
    direction: Direction,
    /// When place 0 was to be sent, µs.
    began: u64,
    index: u32,
}

impl Sign {
    fn tones(&self) -> Tones {
        let mut bytes = [0; LENGTH as usize / 2];
        bytes[4..12].copy_from_slice(&self.call.0.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.hears.0.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.began.to_be_bytes());
        bytes[20] = u8::from(self.direction == Direction::Back);
        bytes[28..].copy_from_slice(&self.index.to_be_bytes());
        let sum = checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_be_bytes());
        veil(&mut bytes);
        let mut tones = [0; LENGTH as usize];
        for (pair, byte) in tones.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[byte >> 4, byte & 15]);
        }
        tones
    }

    fn read(tones: &Tones) -> Option<Self> {
        let mut bytes = [0u8; LENGTH as usize / 2];
        for (pair, byte) in tones.chunks_exact(2).zip(&mut bytes) {
            *byte = pair.iter().fold(0, |byte, tone| byte << 4 | tone);
        }
        veil(&mut bytes);
        let long = |at: usize| bytes[at..at + 8].iter().fold(0u64, |long, byte| long << 8 | u64::from(*byte));
        if checksum(&bytes[4..]) != (long(0) >> 32) as u32 {
            return None;
        }
        let direction = match bytes[20] {
            0 => Direction::Forth,
            1 => Direction::Back,
            _ => return None,
        };
        Some(Self {
            call: CallName(long(4)),
            hears: CallName(long(12)),
            direction,
            began: long(20) & (u64::MAX >> 8),
            index: long(24) as u32,
        })
    }
}

/// Lays over a sign, or takes off, what its checksum gives: so two signs differ nearly everywhere, and zeros are no steady tone.
fn veil(bytes: &mut [u8; LENGTH as usize / 2]) {
    let [a, b, c, d, rest @ ..] = bytes;
    let mut state = u32::from_be_bytes([*a, *b, *c, *d]);
    for byte in rest {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte ^= (state >> 24) as u8;
    }
}

/// Spells out one stream's signs.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    call: CallName,
    direction: Direction,
    began: Time,
    index: Option<u32>,
    tones: Tones,
}

impl Speaker {
    pub(crate) const fn new(call: CallName, direction: Direction) -> Self {
        Self { call, direction, began: Time::ZERO, index: None, tones: [0; LENGTH as usize] }
    }

    /// The tone of the packet at `place`, due at `intended`; `hears` is who is heard by now.
    pub(crate) fn tone(&mut self, place: u32, intended: Time, hears: CallName) -> usize {
        let began = intended - PTIME * place;
        if self.index != Some(place / LENGTH) || began != self.began {
            self.index = Some(place / LENGTH);
            self.began = began;
            self.tones = Sign {
                call: self.call,
                hears,
                direction: self.direction,
                began: began.as_nanos() / 1000,
                index: place / LENGTH,
            }
            .tones();
        }
        usize::from(self.tones[(place % LENGTH) as usize])
    }
}

/// A packet whose place is not known yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    sequence: i64,
    arrived: Time,
    tone: Option<u8>,
}

/// What was read, and what follows from it.
#[derive(Clone, Copy, Debug)]
struct Known {
    sign: Sign,
    /// The sequence number of place 0.
    zero: i64,
    /// Wrong tones more than right ones.
    wrong: u8,
    /// The tones that are due in the sign at hand: heard nobody, or whom it said last.
    due: [Tones; 2],
}

impl Known {
    fn new(sign: Sign, zero: i64) -> Self {
        let mut known = Self { sign, zero, wrong: 0, due: [[0; LENGTH as usize]; 2] };
        known.turn_to(sign.index);
        known
    }

    fn turn_to(&mut self, index: u32) {
        self.sign.index = index;
        self.due = [CallName::NOBODY, self.sign.hears].map(|hears| Sign { hears, ..self.sign }.tones());
    }

    /// The mark of a packet, if its tone is what it has to be.
    fn mark(&mut self, sequence: i64, tone: Option<u8>) -> Option<Mark> {
        let place = u32::try_from(sequence - self.zero).ok()?;
        if place / LENGTH != self.sign.index {
            self.turn_to(place / LENGTH);
        }
        let at = (place % LENGTH) as usize;
        if tone.is_none_or(|tone| self.due.iter().all(|due| due[at] != tone)) {
            self.wrong += 1;
            return None;
        }
        self.wrong = self.wrong.saturating_sub(1);
        let intended = Time::from_nanos(self.sign.began * 1000) + PTIME * place;
        let Sign { call, hears, direction, .. } = self.sign;
        Some(Mark { call, hears, direction, place, intended, sent: intended })
    }
}

/// What became of a packet.
pub(crate) type Read = (Time, Option<Mark>);

/// Reads one stream's signs.
#[derive(Debug)]
pub(crate) struct Listener {
    own: CallName,
    ssrc: Option<u32>,
    highest: i64,
    known: Option<Known>,
    /// Whether any packet was accounted for.
    told: bool,
    waiting: Vec<Waiting>,
}

impl Listener {
    /// A listener of the call `own`; 13 KB.
    pub(crate) fn new(own: CallName) -> Self {
        Self { own, ssrc: None, highest: 0, known: None, told: false, waiting: Vec::with_capacity(WAITING) }
    }

    /// Takes a packet; `tell` is called for each that is accounted for now, without a mark if it cannot be read.
    pub(crate) fn take(
        &mut self,
        (ssrc, sequence): (u32, u16),
        arrived: Time,
        tone: Option<u8>,
        mut tell: impl FnMut(Read),
    ) {
        if self.ssrc != Some(ssrc) {
            self.give_up(&mut tell);
            (self.ssrc, self.known, self.highest) = (Some(ssrc), None, i64::from(sequence));
        }
        // RFC 3550 §A.1: numbers wrap; what is less than half of them away is what is meant.
        let step = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let sequence = self.highest + i64::from(step);
        self.highest = self.highest.max(sequence);
        if let Some(known) = &mut self.known {
            tell((arrived, known.mark(sequence, tone)));
            if known.wrong >= LOST {
                self.known = None;
            }
            return;
        }
        if self.waiting.len() == WAITING {
            self.told = true;
            tell((self.waiting.remove(0).arrived, None));
        }
        let at = self.waiting.partition_point(|waiting| waiting.sequence <= sequence);
        self.waiting.insert(at, Waiting { sequence, arrived, tone });
        self.search(&mut tell);
    }

    /// Reads the last packets as a sign, if they are one; then all that wait have their places.
    fn search(&mut self, tell: &mut impl FnMut(Read)) {
        let Some(last) =
            self.waiting.len().checked_sub(LENGTH as usize).and_then(|at| self.waiting.get(at..))
        else {
            return;
        };
        let first = last[0].sequence;
        let mut tones = [0; LENGTH as usize];
        for ((tone, waiting), at) in tones.iter_mut().zip(last).zip(first..) {
            let (true, Some(heard)) = (waiting.sequence == at, waiting.tone) else { return };
            *tone = heard;
        }
        let Some(sign) = Sign::read(&tones) else { return };
        // Whom the sender is going to hear, it hears from us.
        let hears = if sign.hears == CallName::NOBODY { self.own } else { sign.hears };
        let mut known = Known::new(Sign { hears, ..sign }, first - i64::from(sign.index) * i64::from(LENGTH));
        for waiting in self.waiting.drain(..) {
            tell((waiting.arrived, known.mark(waiting.sequence, waiting.tone)));
        }
        known.wrong = 0;
        (self.known, self.told) = (Some(known), true);
    }

    /// Whether packets came, and too few by now to read anything from.
    pub(crate) fn heard_too_little(&self) -> bool {
        !self.told && (1..FEW).contains(&self.waiting.len())
    }

    /// What still waits is not going to be read.
    pub(crate) fn give_up(&mut self, mut tell: impl FnMut(Read)) {
        for waiting in self.waiting.drain(..) {
            tell((waiting.arrived, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::opus::{Decoder, Encoder, OCTETS_MAX, Settings, standalone};
    use media::resample::Rate;

    const OWN: CallName = CallName(0x1_0000_0007);
    const PEER: CallName = CallName(0x2_0000_0009);

    fn began() -> Time {
        Time::from_nanos(5_000_123_000)
    }

    fn due(place: u32) -> Time {
        began() + PTIME * place
    }

    /// The tones of a stream of `PEER`, which hears us from its second sign on.
    fn stream(packets: u32) -> Vec<u8> {
        let mut speaker = Speaker::new(PEER, Direction::Back);
        let hears = |place: u32| if place < 70 { CallName::NOBODY } else { OWN };
        (0..packets).map(|place| speaker.tone(place, due(place), hears(place)) as u8).collect()
    }

    fn take(listener: &mut Listener, sequence: u32, tone: Option<u8>) -> Vec<Read> {
        let mut read = Vec::new();
        let arrived = due(sequence) + Duration::from_millis(3);
        listener.take((1, (sequence + 65_500) as u16), arrived, tone, |packet| read.push(packet));
        read
    }

    #[test]
    fn each_tone_is_heard_through_opus_after_any_other() {
        let ear = Ear::new();
        let settings = Settings::of(Rate::Hz8000);
        let mut encoder = Encoder::new(settings);
        let [mut live, mut beforehand] = [Decoder::new(settings), Decoder::new(settings)];
        let mut payload = [0; OCTETS_MAX];
        let (mut heard, mut total) = ([0, 0], 0);
        for round in 0..TONES {
            for tone in 0..TONES {
                let tone = (tone * (2 * round + 1) + round) % TONES;
                let sound = samples(tone);
                let octets = encoder.encode(&sound, &mut payload);
                let mut out = [0; SAMPLES];
                live.decode(&payload[..octets], &mut out);
                heard[0] += usize::from(ear.tone(&out) == Some(tone as u8));
                let octets = standalone(settings, &sound.repeat(3), &mut payload);
                beforehand.decode(&payload[..octets], &mut out);
                heard[1] += usize::from(ear.tone(&out) == Some(tone as u8));
                total += 1;
            }
        }
        assert_eq!(heard, [total; 2], "of {total}");
        assert_eq!(ear.tone(&[0; SAMPLES]), None);
        assert_eq!(ear.tone(&samples(3)[..100]), None);
    }

    #[test]
    fn after_one_sign_every_packet_has_its_mark() {
        let mut listener = Listener::new(OWN);
        let mut read = Vec::new();
        for (place, tone) in stream(300).into_iter().enumerate() {
            read.extend(take(&mut listener, place as u32, Some(tone)));
            assert_eq!(read.len(), if place < 63 { 0 } else { place + 1 });
        }
        for (place, (arrived, mark)) in (0..).zip(read) {
            let mark = mark.unwrap();
            assert_eq!((mark.call, mark.hears, mark.direction), (PEER, OWN, Direction::Back));
            assert_eq!((mark.place, mark.intended), (place, due(place)));
            assert_eq!(arrived.since(mark.intended), Duration::from_millis(3));
        }
    }

    #[test]
    fn what_is_lost_first_delays_the_reading_and_nothing_else() {
        let mut listener = Listener::new(OWN);
        let mut places = Vec::new();
        for (place, tone) in (0..).zip(stream(400)).filter(|(place, _)| ![5, 130, 200].contains(place)) {
            let read = take(&mut listener, place, Some(tone));
            places.extend(read.into_iter().map(|(_, mark)| mark.map(|mark| mark.place)));
        }
        let expected: Vec<_> = (0..400).filter(|place| ![5, 130, 200].contains(place)).map(Some).collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn a_wrong_tone_is_unreadable_and_another_calls_stream_is_told() {
        let mut listener = Listener::new(OWN);
        let tones = stream(100);
        for (place, tone) in (0..).zip(&tones[..90]) {
            take(&mut listener, place, Some(*tone));
        }
        assert_eq!(take(&mut listener, 90, Some(tones[90] ^ 1))[0].1, None);
        assert_eq!(take(&mut listener, 91, None)[0].1, None);
        assert!(take(&mut listener, 92, Some(tones[92]))[0].1.is_some());
        // Somebody else's voice under the same numbers.
        let stranger = CallName(77);
        let mut speaker = Speaker::new(stranger, Direction::Back);
        let mut calls = Vec::new();
        for place in 93..400 {
            let tone = speaker.tone(place, due(place), CallName(78));
            let read = take(&mut listener, place, Some(tone as u8));
            calls.extend(read.into_iter().filter_map(|(_, mark)| mark.map(|mark| (mark.call, mark.hears))));
        }
        assert!(calls.iter().filter(|call| **call == (stranger, CallName(78))).count() > 200, "{calls:?}");
        // What agreed with the first call by chance, one in eight of the two dozen it took to see.
        assert!(calls.iter().filter(|(call, _)| *call == PEER).count() < 16, "{calls:?}");
    }

    #[test]
    fn noise_is_never_a_sign() {
        let mut listener = Listener::new(OWN);
        let mut seed = 1u32;
        let mut read = Vec::new();
        for n in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            read.extend(take(&mut listener, n, Some((seed >> 28) as u8)));
        }
        listener.give_up(|packet| read.push(packet));
        assert_eq!((read.len(), read.iter().filter(|(_, mark)| mark.is_some()).count()), (20_000, 0));
    }
}
