//! What each codec costs for a packet of 20 ms: encode, decode, conceal, resample, make noise. None of it may ask for memory.
//!
//! `cargo bench --bench codecs`; `cargo test --benches` runs each once and counts allocations.

use allocation_counter::measure;
use criterion::{Criterion, criterion_group, criterion_main};
use media::Tone;
use media::codec::{Codec, Decoder, Encoder, Rate};
use media::noise::{Analyser, Generator, Noise};
use media::opus::Settings;
use media::resample::Resampler;
use std::hint::black_box;

const CODECS: [Codec; 10] = [
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::G729,
    Codec::L16(Rate::Hz8000),
    Codec::L16(Rate::Hz16000),
    Codec::L16(Rate::Hz48000),
    Codec::Opus(Settings::of(Rate::Hz8000)),
    Codec::Opus(Settings::of(Rate::Hz16000)),
    Codec::Opus(Settings::of(Rate::Hz48000)),
];
/// Samples of 20 ms at the highest rate, and octets of the largest payload.
const SAMPLES: usize = 960;
const OCTETS: usize = 2 * SAMPLES;

/// A second of something like a voice: two tones that come and go, and a little noise.
fn voice(rate: Rate) -> Vec<i16> {
    let hertz = rate.hertz();
    let mut samples = vec![0; hertz as usize];
    Tone::dual((180.0, 9000), (730.0, 5000), hertz).fill(&mut samples);
    let mut seed = 1u32;
    for (n, sample) in samples.iter_mut().enumerate() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let loud = i32::from(n / (hertz as usize / 8) % 4 != 3);
        *sample = (i32::from(*sample) * loud + (seed >> 24).cast_signed() - 128) as i16;
    }
    samples
}

/// Refuses work that allocates, and has it timed.
fn bench(c: &mut Criterion, name: &str, mut work: impl FnMut()) {
    work();
    let seen = measure(|| (0..60).for_each(|_| work()));
    assert_eq!(seen.count_total, 0, "{name} allocates");
    c.bench_function(name, |b| b.iter(&mut work));
}

fn codecs(c: &mut Criterion) {
    for codec in CODECS {
        let name = match codec {
            Codec::L16(rate) => format!("l16_{}", rate.hertz()),
            Codec::Opus(settings) => format!("opus_{}", settings.rate.hertz()),
            _ => codec.name().to_lowercase(),
        };
        let voice = voice(codec.rate());
        let size = codec.samples(20);
        let mut payload = [0; OCTETS];
        let mut encode = |name: &str, compress: bool| {
            let mut encoder = Encoder::new(codec, compress);
            let mut packets = voice.chunks_exact(size).cycle();
            bench(c, name, || {
                if let Some(samples) = packets.next() {
                    black_box(encoder.encode(black_box(samples), &mut payload));
                }
            });
        };
        encode(&format!("encode_{name}"), false);
        if codec == Codec::G729 {
            encode("encode_g729_silence", true);
        }
        let mut encoder = Encoder::new(codec, false);
        let payloads: Vec<Vec<u8>> = voice
            .chunks_exact(size)
            .map(|samples| {
                let count = encoder.encode(samples, &mut payload).octets;
                payload[..count].to_vec()
            })
            .collect();
        let mut decoder = Decoder::new(codec);
        let mut samples = [0; SAMPLES];
        let mut packets = payloads.iter().cycle();
        bench(c, &format!("decode_{name}"), || {
            if let Some(payload) = packets.next() {
                black_box(decoder.decode(black_box(payload), &mut samples));
            }
        });
        // Every other packet is lost: what begins a loss costs most.
        bench(c, &format!("decode_{name}_and_conceal"), || {
            if let Some(payload) = packets.next() {
                black_box(decoder.decode(black_box(payload), &mut samples));
            }
            black_box(decoder.conceal(&mut samples[..size]));
        });
    }
}

fn rates(c: &mut Criterion) {
    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];
    for from in RATES {
        for to in RATES.into_iter().filter(|&to| to != from) {
            let input = voice(from);
            let input = &input[..from.hertz() as usize / 50];
            let mut resampler = Resampler::new(from, to);
            let mut output = [0; SAMPLES];
            bench(c, &format!("resample_{}_to_{}", from.hertz(), to.hertz()), || {
                black_box(resampler.process(black_box(input), &mut output));
            });
        }
    }
}

fn noise(c: &mut Criterion) {
    let mut frame = [0; 160];
    let mut generator = Generator::new(1);
    generator.set(Noise::parse(&[40, 60, 140, 120]).unwrap_or(Noise::white(40)));
    bench(c, "noise_make", || generator.fill(black_box(&mut frame)));
    let mut analyser = Analyser::new();
    bench(c, "noise_describe", || {
        analyser.hear(black_box(&frame));
        black_box(analyser.describe());
    });
}

criterion_group!(benches, codecs, rates, noise);
criterion_main!(benches);
