//! Whatever comes, nothing panics and nothing is written beyond its place: payloads of every length and content, in any order with losses.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use media::codec::{Codec, Decoder, Encoder, Rate};
use media::noise::{Generator, Noise, PAYLOAD_MAX};
use media::opus::Settings;
use media::resample::Resampler;
use proptest::prelude::*;

const CODECS: [Codec; 10] = [
    Codec::Opus(Settings::of(Rate::Hz8000)),
    Codec::Opus(Settings { redundant: true, silence: true, ..Settings::of(Rate::Hz16000) }),
    Codec::Opus(Settings { constant: true, ..Settings::of(Rate::Hz48000) }),
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::G729,
    Codec::L16(Rate::Hz8000),
    Codec::L16(Rate::Hz16000),
    Codec::L16(Rate::Hz48000),
];
const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];

#[test]
fn payloads_of_every_length_decode() {
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 16
    };
    for codec in CODECS {
        let mut decoder = Decoder::new(codec);
        for length in 0..=400 {
            let payload: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            let mut samples = vec![0; codec.samples_of(&payload)];
            assert_eq!(decoder.decode(&payload, &mut samples), samples.len(), "{codec:?}, {length} octets");
            if next() % 3 == 0 {
                decoder.describe_silence(&payload, next());
            }
            if next() % 4 == 0 {
                let mut samples = vec![0; next() as usize % 1000];
                assert!(decoder.conceal(&mut samples) <= samples.len());
            }
        }
    }
}

/// What may befall a stream.
#[derive(Clone, Debug)]
enum Event {
    Payload(Vec<u8>, usize),
    Silence(Vec<u8>),
    Loss(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (octets(), 0..500usize).prop_map(|(octets, room)| Event::Payload(octets, room)),
        octets().prop_map(Event::Silence),
        (0..1000usize).prop_map(Event::Loss),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn streams_of_anything_decode(codec in 0..10usize, events in proptest::collection::vec(event(), 1..30)) {
        let mut decoder = Decoder::new(CODECS[codec]);
        for event in events {
            match event {
                Event::Payload(octets, room) => {
                    let mut samples = vec![0; room];
                    prop_assert!(decoder.decode(&octets, &mut samples) <= room);
                }
                Event::Silence(octets) => decoder.describe_silence(&octets, 1),
                Event::Loss(room) => {
                    let mut samples = vec![0; room];
                    prop_assert!(decoder.conceal(&mut samples) <= room);
                }
            }
        }
    }

    #[test]
    fn samples_of_anything_encode_to_what_decodes(
        codec in 0..10usize,
        compress in any::<bool>(),
        packets in proptest::collection::vec((proptest::collection::vec(any::<i16>(), 0..500), 0..1000usize), 1..10),
    ) {
        let codec = CODECS[codec];
        let (mut encoder, mut decoder) = (Encoder::new(codec, compress), Decoder::new(codec));
        for (samples, room) in packets {
            let mut payload = vec![0; room];
            let encoded = encoder.encode(&samples, &mut payload);
            prop_assert!(encoded.octets <= room);
            let mut heard = vec![0; 1000];
            let count = decoder.decode(&payload[..encoded.octets], &mut heard);
            prop_assert!(count <= samples.len());
            prop_assert_eq!(count, codec.samples_of(&payload[..encoded.octets]));
        }
    }

    #[test]
    fn pieces_of_anything_are_resampled(
        from in 0..3usize,
        to in 0..3usize,
        pieces in proptest::collection::vec((proptest::collection::vec(any::<i16>(), 0..600), 0..4000usize), 1..10),
    ) {
        let mut resampler = Resampler::new(RATES[from], RATES[to]);
        for (piece, room) in pieces {
            let mut out = vec![0; room];
            prop_assert!(resampler.process(&piece, &mut out) <= room.min(resampler.most(piece.len())));
        }
    }

    #[test]
    fn noise_of_anything_is_made(payload in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u32>()) {
        prop_assert_eq!(Noise::parse(&payload).is_none(), payload.is_empty());
        if let Some(noise) = Noise::parse(&payload) {
            let mut again = [0; PAYLOAD_MAX];
            let size = noise.write(&mut again);
            prop_assert_eq!(Noise::parse(&again[..size]), Some(noise));
            let mut generator = Generator::new(seed);
            generator.set(noise);
            for _ in 0..20 {
                generator.fill(&mut [0; 160]);
            }
        }
    }
}
