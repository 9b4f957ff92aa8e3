//! Keys of one direction: each kind made of each, with its length, whatever is lost, and no tone that passes twice.

use super::super::mode::{Dtmf, Speaker};
use super::*;
use media::codec::{Codec, Decoder, Encoder};
use media::dtmf::{Detector, Generator, Levels};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn speaker(dtmf: Dtmf, events: bool, codec: (u8, Codec)) -> Speaker {
    Speaker { dtmf, events: events.then_some((101, 101)), codecs: vec![codec] }
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// A way, with a stream of sound of 20 ms packets through it.
struct Bench {
    way: Way,
    now: u64,
    number: u16,
    timestamp: u32,
    sent: Vec<(u64, Header, Vec<u8>)>,
}

impl Bench {
    fn new(from: (Dtmf, bool), to: (Dtmf, bool)) -> Self {
        let pcma = (8, Codec::Pcma);
        let plan = Plan::new(&speaker(from.0, from.1, pcma), &speaker(to.0, to.1, pcma)).unwrap();
        Self { way: Way::new(plan, 7), now: 1000, number: 65_530, timestamp: 4000, sent: Vec::new() }
    }

    /// Time passes; what is due is done when it is.
    fn wait(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(due) = self.way.deadline().filter(|due| *due <= at(until)) {
            let now = due.max(at(self.now));
            let sent = &mut self.sent;
            self.way.tick(now, |header, payload| sent.push((now.as_nanos() / MS, header, payload.to_vec())));
        }
        self.now = until;
    }

    /// A packet comes with the next number.
    fn come(&mut self, payload_type: u8, timestamp: u32, marker: bool, payload: &[u8]) {
        self.number = self.number.wrapping_add(1);
        let header = Header { payload_type, marker, sequence: self.number, timestamp, ssrc: 5 };
        let mut datagram = vec![0; 12 + payload.len()];
        header.write(&mut datagram).unwrap();
        datagram[12..].copy_from_slice(payload);
        let packet = Packet::parse(&datagram).unwrap();
        let mut room = [0; 1400];
        if let Some(length) = self.way.take(at(self.now), &packet, &mut room)
            && let Some(header) = self.way.pass(at(self.now), header)
        {
            self.sent.push((self.now, header, room[..length].to_vec()));
        }
        self.wait(0);
    }

    /// Sound comes, and 20 ms pass.
    fn sound(&mut self, payload: &[u8]) {
        self.come(8, self.timestamp, false, payload);
        self.timestamp += 160;
        self.wait(20);
    }

    fn silence(&mut self, packets: usize) {
        for _ in 0..packets {
            self.sound(&[0x55; 160]);
        }
    }

    /// A key comes as telephone events, without sound meanwhile; `lost` says which packets do not come.
    fn event(&mut self, event: u8, ms: u32, mut lost: impl FnMut(usize) -> bool) {
        let mut sending = Transmission::lasting(event, 10, self.timestamp, ms * 8);
        let packets: Vec<_> = core::iter::from_fn(|| sending.packet(160)).collect();
        for (n, it) in packets.iter().enumerate() {
            if lost(n) {
                self.number = self.number.wrapping_add(1);
            } else {
                self.come(101, it.timestamp, it.marker, &it.payload.octets());
            }
            self.timestamp += 160;
            self.wait(20);
        }
    }

    /// Keys come as tones, each so long, with 80 ms between them; sound that is no silence before and behind.
    fn tones(&mut self, keys: &str, ms: u32) {
        let mut generator = Generator::new(8000);
        let mut samples: Vec<i16> = vec![0; 8 * 113];
        for key in keys.chars() {
            generator.press(Key::of(key).unwrap(), Levels::default(), ms, 80);
            let mut part = vec![0; 8 * (ms as usize + 80)];
            generator.fill(&mut part);
            samples.extend(part);
        }
        samples.resize(samples.len() + 8 * 300, 0);
        let mut encoder = Encoder::new(Codec::Pcma, false);
        for frame in samples.chunks_exact(160) {
            let mut payload = [0; 160];
            encoder.encode(frame, &mut payload);
            self.sound(&payload);
        }
    }

    /// What whoever hears the stream makes of its events.
    fn events_heard(&self) -> Vec<(u8, u64)> {
        let mut listener = Listener::new(8000, PATIENCE);
        let mut ended = Vec::new();
        for (now, header, payload) in self.sent.iter().filter(|it| it.1.payload_type == 101) {
            listener.put(at(*now), header, payload, |report| {
                if let Report::Ended { event, duration, ending } = report {
                    assert_eq!(ending, rtp::event::Ending::Said);
                    ended.push((event, duration.as_millis() as u64));
                }
            });
        }
        ended
    }

    /// What whoever hears its sound makes of the tones in it.
    fn tones_heard(&self) -> Vec<(char, u32)> {
        let (mut decoder, mut detector) = (Decoder::new(Codec::Pcma), Detector::new(8000));
        let mut ended = Vec::new();
        for (_, _, payload) in self.sent.iter().filter(|it| it.1.payload_type == 8) {
            let mut samples = [0; 160];
            let count = decoder.decode(payload, &mut samples);
            detector.hear(&samples[..count], |heard| {
                if let Heard::Ended { key, ms } = heard {
                    ended.push((key.character(), ms));
                }
            });
        }
        ended
    }

    fn infos(&mut self) -> Vec<(u8, u64)> {
        core::iter::from_fn(|| self.way.info()).map(|it| (it.0, it.1.as_millis() as u64)).collect()
    }

    /// Numbers go up by one from packet to packet, times never back.
    fn is_even(&self) {
        for pair in self.sent.windows(2) {
            assert_eq!(
                pair[1].1.sequence.wrapping_sub(pair[0].1.sequence),
                1,
                "{:?} {:?}",
                pair[0].1,
                pair[1].1
            );
            let step = pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp).cast_signed();
            assert!(step >= 0, "{:?} {:?}", pair[0].1, pair[1].1);
            assert_eq!(pair[0].1.ssrc, 5);
        }
    }
}

#[test]
fn a_key_in_info_becomes_events_with_its_length_in_the_stream_of_the_sound() {
    let mut bench = Bench::new((Dtmf::Info, false), (Dtmf::Rfc4733, true));
    bench.silence(5);
    for (event, ms) in [(5, 160), (11, 250), (16, 70)] {
        assert!(bench.way.press(at(bench.now), event, Duration::from_millis(ms)));
    }
    bench.silence(60);
    assert_eq!(bench.events_heard(), [(5, 160), (11, 250), (16, 70)]);
    bench.is_even();
    let events: Vec<_> = bench.sent.iter().filter(|it| it.1.payload_type == 101).collect();
    assert_eq!(events.iter().filter(|it| it.1.marker).count(), 3, "RFC 4733 §2.2.2");
    assert_eq!(events.iter().filter(|it| it.2[1] & 0x80 != 0).count(), 9, "RFC 4733 §2.5.1.4");
    assert!(events.iter().all(|it| it.2[1] & 0x3f == VOLUME));
    // No sound while a key is said, one packet of it each 20 ms, and the mark of a new spurt behind it.
    let (first, last) = (events[0].0, events.last().unwrap().0);
    assert!(bench.sent.iter().filter(|it| it.0 > first && it.0 < last).all(|it| it.1.payload_type == 101));
    assert!((events.len() as u64 - 1) * 20 <= last - first + 60);
    let behind = bench.sent.iter().find(|it| it.0 > last && it.1.payload_type == 8).unwrap();
    assert!(behind.1.marker);
    let account = bench.way.account;
    assert_eq!((account.from_info, account.to_events, account.dropped), (3, 3, 0));
}

#[test]
fn rfc_4733_section_2_5_1_3_a_long_key_in_info_is_said_in_segments() {
    let mut bench = Bench::new((Dtmf::Info, false), (Dtmf::Rfc4733, true));
    bench.silence(2);
    assert!(bench.way.press(at(bench.now), 1, Duration::from_millis(20_000)));
    bench.silence(1100);
    assert_eq!(bench.events_heard(), [(1, 20_000)]);
    bench.is_even();
}

#[test]
fn a_key_for_a_silent_stream_has_one_of_its_own() {
    let mut bench = Bench::new((Dtmf::Info, false), (Dtmf::Rfc4733, true));
    assert!(bench.way.press(at(bench.now), 3, Duration::from_millis(100)));
    bench.wait(500);
    assert_eq!(bench.events_heard(), [(3, 100)]);
    assert!(bench.sent.iter().all(|it| it.1.ssrc == 7));
    assert_eq!(bench.way.deadline(), None, "nothing is left to be done");
    bench.sent.clear();
    bench.silence(3);
    bench.is_even();
}

#[test]
fn events_become_info_with_their_length_whatever_is_lost() {
    let mut bench = Bench::new((Dtmf::Rfc4733, true), (Dtmf::Info, false));
    bench.silence(5);
    bench.event(1, 100, |_| false);
    bench.silence(5);
    // Beginning and two ends are lost.
    bench.event(2, 140, |n| n == 0 || n == 6 || n == 7);
    bench.silence(5);
    // All ends are lost: it is over when nothing comes any more.
    bench.event(12, 120, |n| n >= 5);
    bench.silence(20);
    // 9 seconds: two segments (RFC 4733 §2.5.1.3).
    bench.event(4, 9000, |n| n % 7 == 3 && n < 400);
    bench.silence(20);
    assert_eq!(bench.infos(), [(1, 100), (2, 140), (12, 100), (4, 9000)]);
    // Nothing of them is heard, and the numbers of what is have no gap but what was lost.
    assert!(bench.sent.iter().all(|it| it.1.payload_type == 8));
    assert_eq!(bench.way.account.from_events, 4);
    assert_eq!(bench.way.account.to_info, 4);
}

#[test]
fn events_become_tones_as_long_as_they_are() {
    let mut bench = Bench::new((Dtmf::Rfc4733, true), (Dtmf::Inband, false));
    bench.silence(5);
    for (event, ms) in [(1, 100), (10, 60), (15, 400), (0, 40)] {
        bench.event(event, ms, |_| false);
        bench.silence(10);
    }
    bench.silence(20);
    let heard = bench.tones_heard();
    assert_eq!(heard.iter().map(|it| it.0).collect::<String>(), "1*D0");
    for ((_, ms), expected) in heard.iter().zip([100u32, 60, 400, 50]) {
        assert!(ms.abs_diff(expected) <= 45, "{ms} of {expected}");
    }
    bench.is_even();
}

#[test]
fn keys_in_info_become_tones_one_after_the_other() {
    let mut bench = Bench::new((Dtmf::Info, false), (Dtmf::Inband, false));
    bench.silence(3);
    for event in 0..16 {
        assert!(bench.way.press(at(bench.now), event, Duration::from_millis(90)));
    }
    assert!(!bench.way.press(at(bench.now), 16, Duration::from_millis(90)), "a flash has no tone");
    bench.silence(160);
    let heard = bench.tones_heard();
    assert_eq!(heard.iter().map(|it| it.0).collect::<String>(), "0123456789*#ABCD");
    assert!(heard.iter().all(|it| it.1.abs_diff(90) <= 12), "{heard:?}");
    bench.is_even();
    assert_eq!(bench.way.account.dropped, 1);
}

#[test]
fn tones_become_events_or_info_and_are_not_heard_besides() {
    for (to, form) in [((Dtmf::Rfc4733, true), "events"), ((Dtmf::Info, false), "info")] {
        let mut bench = Bench::new((Dtmf::Inband, false), to);
        bench.silence(3);
        bench.tones("159D#", 100);
        bench.silence(20);
        let heard = if form == "info" { bench.infos() } else { bench.events_heard() };
        assert_eq!(heard.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 5, 9, 15, 11], "{form}");
        assert!(heard.iter().all(|it| it.1.abs_diff(100) <= 25), "{form}: {heard:?}");
        assert_eq!(bench.tones_heard(), [], "{form}");
        bench.is_even();
        assert!(bench.way.account.covered > 25);
    }
}

#[test]
fn a_tone_whose_stream_stops_is_over() {
    let mut bench = Bench::new((Dtmf::Inband, false), (Dtmf::Rfc4733, true));
    let mut generator = Generator::new(8000);
    generator.press(Key::of('7').unwrap(), Levels::default(), u32::MAX, 0);
    for _ in 0..10 {
        let (mut samples, mut payload) = ([0; 160], [0; 160]);
        generator.fill(&mut samples);
        Encoder::new(Codec::Pcma, false).encode(&samples, &mut payload);
        bench.sound(&payload);
    }
    bench.wait(2000);
    let heard = bench.events_heard();
    assert_eq!((heard.len(), heard[0].0), (1, 7));
    assert_eq!(bench.way.deadline(), None);
}

#[test]
fn too_many_keys_are_dropped_and_counted() {
    let mut bench = Bench::new((Dtmf::Info, false), (Dtmf::Rfc4733, true));
    for n in 0..QUEUE_MAX + 3 {
        assert_eq!(bench.way.press(at(bench.now), 1, Duration::from_millis(100)), n < QUEUE_MAX);
    }
    assert_eq!(bench.way.account.dropped, 3);
    assert_eq!(bench.way.drop_all().dropped, 3 + QUEUE_MAX as u64);
}

proptest! {
    /// Whatever keys come as events and whatever packets of them are lost, as long as one comes: each goes on as one tone or one INFO.
    #[test]
    fn no_key_is_lost_or_doubled(
        keys in proptest::collection::vec((0..16u8, 60..400u32), 1..6),
        seed: u64,
        info: bool,
    ) {
        let to = if info { Dtmf::Info } else { Dtmf::Inband };
        let mut random = sansio::Random::new(seed);
        let mut bench = Bench::new((Dtmf::Rfc4733, true), (to, false));
        bench.silence(3);
        for (event, ms) in &keys {
            let sure = random.below(u64::from(ms.div_ceil(20) + 2)) as usize;
            bench.event(*event, *ms, |n| n != sure && random.below(3) == 0);
            bench.silence(25);
        }
        bench.silence(20);
        let expected: Vec<u8> = keys.iter().map(|it| it.0).collect();
        let heard: Vec<u8> = if info {
            bench.infos().iter().map(|it| it.0).collect()
        } else {
            bench.tones_heard().iter().map(|it| Key::of(it.0).unwrap().event()).collect()
        };
        prop_assert_eq!(heard, expected);
        prop_assert_eq!(bench.way.deadline(), None);
    }

    /// Any packets at any time, and nothing panics; what goes out is numbered upwards.
    #[test]
    fn nothing_panics(
        packets in proptest::collection::vec(
            (prop_oneof![Just(8u8), Just(101), any::<u8>()], any::<u16>(), any::<u32>(), 0..300u64,
             proptest::collection::vec(any::<u8>(), 0..400)),
            0..100),
        to in prop_oneof![Just(Dtmf::Info), Just(Dtmf::Inband)],
    ) {
        let mut bench = Bench::new((Dtmf::Rfc4733, true), (to, false));
        for (payload_type, number, timestamp, ms, payload) in packets {
            bench.number = number;
            bench.come(payload_type & 127, timestamp, false, &payload);
            bench.wait(ms);
        }
        bench.wait(5000);
    }
}
