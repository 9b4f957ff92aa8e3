//! The jitter buffer and the playout joined, as a call joins them: sound that goes on, whatever the network does to its packets.
#![allow(clippy::unwrap_used, missing_docs)]

use media::codec::{Codec, Decoder, Encoder, Rate};
use media::opus::Settings;
use media::playout::{Order, Playout, Source};
use rtp::Header;
use rtp::jitter::{Adjust, Bounds, Buffer, Config, Content, Step};
use sansio::{Random, Time};
use std::time::Duration;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

/// A buffer and the present moment.
struct Joined<'a>(&'a mut Buffer, Time);

impl Source for Joined<'_> {
    fn next(&mut self, queued: u32, need: u32) -> Order<'_> {
        match self.0.take(self.1, queued, need) {
            Step::Silence(ticks) | Step::Noise(ticks) | Step::Conceal(ticks) => Order::Nothing(ticks),
            Step::Describe(payload) => Order::Describe(payload),
            Step::Play { payload, adjust, seam, .. } => {
                let shorter = match adjust {
                    Adjust::Keep => 0,
                    Adjust::Shrink(most) => i32::try_from(most).unwrap(),
                    Adjust::Stretch(most) => -i32::try_from(most).unwrap(),
                };
                Order::Play { payload, shorter, seam }
            }
        }
    }
}

struct Sent {
    at: i64,
    header: Header,
    content: Content,
    payload: Vec<u8>,
}

/// A sound in packets of 20 ms, each of which takes as long as `delay` says, by a clock that is `ppm` fast.
fn sent(codec: Codec, sound: &[i16], ppm: i64, mut delay: impl FnMut(u32) -> Option<i64>) -> Vec<Sent> {
    let mut encoder = Encoder::new(codec, false);
    let size = codec.samples(20);
    let mut packets = Vec::new();
    for (n, samples) in sound.chunks_exact(size).enumerate() {
        let mut payload = vec![0; 2 * size];
        let octets = encoder.encode(samples, &mut payload).octets;
        payload.truncate(octets);
        let ticks = codec.ticks(size);
        let header = Header { sequence: n as u16, timestamp: n as u32 * ticks, ..Header::default() };
        let time = n as i64 * 20 * MS;
        if let Some(delay) = delay(n as u32) {
            let content = Content::Audio { ticks, then_silent: false };
            packets.push(Sent {
                at: SECOND + time - time * ppm / 1_000_000 + delay,
                header,
                content,
                payload,
            });
        }
    }
    packets.sort_by_key(|packet| packet.at);
    packets
}

/// What is heard of them.
fn played(codec: Codec, packets: &[Sent]) -> (Vec<i16>, Buffer, Playout) {
    let ms = Duration::from_millis;
    let bounds = Bounds { min: ms(20), max: ms(200), start: ms(60), quantile: 0.98 };
    let mut buffer = Buffer::new(&Config { bounds, ..Config::telephony(codec.clock_rate(), 2000) });
    let mut playout = Playout::new(codec, 1);
    let (mut heard, mut frame) = (Vec::new(), vec![0; codec.samples(20)]);
    let mut coming = packets.iter().peekable();
    let mut now = packets[0].at - 7 * MS;
    while coming.peek().is_some() || buffer.waiting() > 0 {
        while let Some(packet) = coming.next_if(|packet| packet.at <= now) {
            let at = Time::from_nanos(packet.at as u64);
            buffer.put(at, &packet.header, packet.content, &packet.payload);
        }
        playout.fill(&mut Joined(&mut buffer, Time::from_nanos(now as u64)), &mut frame);
        heard.extend(&frame);
        now += 20 * MS;
    }
    assert_eq!(playout.counts().starved, 0);
    assert_eq!(playout.counts().cut, 0);
    (heard, buffer, playout)
}

/// A vowel of a kind: harmonics of a pitch that glides a little, so that no two periods are the same.
fn vowel(rate: u32, seconds: usize) -> Vec<i16> {
    let mut phase = 0.0f64;
    (0..rate as usize * seconds)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            phase += (130.0 + 12.0 * (t * 1.7).sin()) / f64::from(rate);
            let sum: f64 = (1..=8)
                .map(|k| {
                    (std::f64::consts::TAU * f64::from(k) * phase + f64::from(k)).sin() / f64::from(k * k)
                })
                .sum();
            (7000.0 * sum) as i16
        })
        .collect()
}

/// The largest second difference: a click is a corner, whatever the slope around it.
fn sharpest(samples: &[i16]) -> i32 {
    samples.windows(3).map(|w| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs()).max().unwrap()
}

/// The largest first difference.
fn steepest(samples: &[i16]) -> u16 {
    samples.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap()
}

const CODECS: [Codec; 4] = [Codec::Pcma, Codec::G722, Codec::L16(Rate::Hz48000), Codec::Pcmu];

#[test]
fn an_even_network_is_heard_as_it_was_sent() {
    for codec in CODECS {
        let sound = vowel(codec.rate().hertz(), 10);
        let (heard, buffer, playout) = played(codec, &sent(codec, &sound, 0, |_| Some(0)));
        // The last second, somewhere in what is heard of it.
        let second = codec.rate().hertz() as usize;
        let piece = &heard[heard.len() - second..heard.len() - second / 2];
        let best = sound[8 * second..]
            .windows(piece.len())
            .map(|window| {
                window.iter().zip(piece).map(|(&a, &b)| i64::from(a.abs_diff(b))).sum::<i64>()
                    / piece.len() as i64
            })
            .min()
            .unwrap();
        assert!(best < 400, "{codec:?}: off by {best} on the average");
        assert_eq!((buffer.counts().lost, buffer.counts().underruns), (0, 0));
        assert!(playout.counts().taken_out > 0, "from 60 ms down to 20: {:?}", playout.counts());
    }
}

#[test]
fn jitter_loss_and_skew_make_no_click() {
    // G.711 alone makes steps of a few per cent; a click would be many times the voice's own.
    let mut clicks = Vec::new();
    for codec in CODECS {
        let rate = codec.rate().hertz();
        let sound = vowel(rate, 60);
        let (steep, sharp) = (steepest(&sound), sharpest(&sound));
        for (name, ppm, loss, jitter) in [
            ("jitter", 0, 0.0, 30.0),
            ("skew", 200, 0.0, 2.0),
            ("slow", -200, 0.0, 2.0),
            ("loss", 0, 0.03, 5.0),
            ("all", 200, 0.03, 20.0),
        ] {
            let mut random = Random::new(4);
            let packets = sent(codec, &sound, ppm, |_| {
                let delay = (random.exponential(jitter / 2.0) * 1e6) as i64;
                (!random.chance(loss)).then_some(delay)
            });
            let (heard, buffer, playout) = played(codec, &packets);
            let (steeper, sharper) = (steepest(&heard), sharpest(&heard));
            let at = heard.windows(2).enumerate().max_by_key(|(_, w)| w[0].abs_diff(w[1])).unwrap().0;
            println!("at {at}: {:?}", &heard[at.saturating_sub(6)..at + 8]);
            println!(
                "{codec:?}, {name}: steepest {steeper} of {steep}, sharpest {sharper} of {sharp}, {:?} {:?}",
                buffer.counts(),
                playout.counts()
            );
            // G.711 alone makes steps of a few per cent; a click would be many times the voice's own.
            if f64::from(steeper) > 2.0 * f64::from(steep) + 900.0
                || f64::from(sharper) > 2.0 * f64::from(sharp) + 1800.0
            {
                clicks.push(format!("{codec:?}, {name}: {steeper} of {steep}, {sharper} of {sharp}"));
            }
        }
    }
    assert!(clicks.is_empty(), "{clicks:#?}");
}

#[test]
fn a_pause_is_filled_with_the_noise_that_was_described_and_speech_comes_back_without_a_step() {
    let codec = Codec::Pcmu;
    let sound = vowel(8000, 6);
    let mut packets = sent(codec, &sound, 0, |n| (!(100..200).contains(&n)).then_some(0));
    for packet in &mut packets {
        // What was left out was not sent at all.
        if packet.header.sequence >= 200 {
            packet.header.marker = packet.header.sequence == 200;
            packet.header.sequence -= 99;
        }
    }
    let header = Header { payload_type: 13, sequence: 100, timestamp: 100 * 160, ..Header::default() };
    // 50 dB below the overload point.
    packets.push(Sent { at: SECOND + 2000 * MS, header, content: Content::Noise, payload: vec![50] });
    packets.sort_by_key(|packet| packet.at);
    let (heard, buffer, _) = played(codec, &packets);
    let c = buffer.counts();
    assert_eq!((c.lost, c.underruns, c.concealed), (0, 0, 0), "{c:?}");
    let pause = &heard[2400 * 8..3800 * 8];
    let rms = (pause.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pause.len() as f64).sqrt();
    let level = 20.0 * (rms / 32_767.0).log10();
    assert!((level + 50.0).abs() < 2.0, "{level} dB");
    assert!(f64::from(steepest(&heard)) < 1.6 * f64::from(steepest(&sound)) + 900.0);
}

#[test]
fn g729_is_played_and_concealed_in_whole_frames() {
    let codec = Codec::G729;
    let sound = vowel(8000, 20);
    let mut random = Random::new(4);
    let packets =
        sent(codec, &sound, 200, |_| (!random.chance(0.03)).then(|| random.below(15_000_000) as i64));
    let (heard, buffer, playout) = played(codec, &packets);
    assert!(buffer.counts().lost > 10);
    assert!(playout.counts().made_up >= buffer.counts().concealed);
    // As loud as if nothing had happened to it.
    let mut decoder = Decoder::new(codec);
    let mut even = Vec::new();
    for packet in sent(codec, &sound, 0, |_| Some(0)) {
        let mut frame = [0; 160];
        decoder.decode(&packet.payload, &mut frame);
        even.extend(frame);
    }
    let loud = |s: &[i16]| (s.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / s.len() as f64).sqrt();
    let ratio = loud(&heard[16_000..]) / loud(&even[16_000..]);
    // G.729 itself grows softer with each loss.
    assert!((0.7..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn what_is_missing_lasts_as_long_as_it_would_have_whatever_the_clock_is() {
    // RFC 7587 §4.1, RFC 3551 §4.5.2: clocks faster and slower than the samples.
    let opus = |rate| Codec::Opus(Settings::of(rate));
    for codec in
        [Codec::Pcma, Codec::G722, Codec::G729, opus(Rate::Hz8000), opus(Rate::Hz16000), opus(Rate::Hz48000)]
    {
        let mut playout = Playout::new(codec, 1);
        playout.carry_out(Order::Nothing(codec.clock_rate() / 50));
        assert_eq!(playout.queued(), codec.clock_rate() / 50, "{codec:?}");
        assert_eq!(playout.counts().made_up, codec.samples(20) as u64, "{codec:?}");
    }
}

/// What a hostile or broken source orders.
struct Anything(Random);

impl Source for Anything {
    fn next(&mut self, _: u32, _: u32) -> Order<'_> {
        const OCTETS: [u8; 4000] = [0x5a; 4000];
        let length = self.0.below(4000) as usize;
        match self.0.below(4) {
            0 => Order::Nothing(self.0.u32() >> self.0.below(32)),
            1 => Order::Describe(&OCTETS[..length % 20]),
            _ => Order::Play {
                payload: &OCTETS[..length],
                shorter: (self.0.u32() >> self.0.below(32)) as i32 * if self.0.chance(0.5) { 1 } else { -1 },
                seam: self.0.chance(0.2),
            },
        }
    }
}

#[test]
fn any_orders_fill_any_frame() {
    let opus = Codec::Opus(Settings::of(Rate::Hz8000));
    for codec in [Codec::Pcma, Codec::G722, Codec::G729, Codec::L16(Rate::Hz48000), opus] {
        let mut playout = Playout::new(codec, 1);
        let mut source = Anything(Random::new(3));
        for n in 0..3000usize {
            let mut frame = vec![0; n * 7 % 6000];
            playout.fill(&mut source, &mut frame);
        }
        // A source that says nothing of any length.
        struct Mute;
        impl Source for Mute {
            fn next(&mut self, _: u32, _: u32) -> Order<'_> {
                Order::Describe(&[])
            }
        }
        let before = playout.counts().starved;
        for _ in 0..20 {
            playout.fill(&mut Mute, &mut vec![0; 480]);
        }
        assert!(playout.counts().starved > before);
    }
}
