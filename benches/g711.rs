//! What G.711 costs for one frame of 20 ms, 160 samples: encode, decode, and A-law to µ-law.
//!
//! `cargo bench --bench g711`; `cargo test --benches` runs each once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::{Tone, g711};
use std::hint::black_box;

const FRAME: usize = 160;

fn frame(c: &mut Criterion) {
    let mut samples = [0i16; FRAME];
    Tone::sine(1004.0, 12_000, 8000).fill(&mut samples);
    let mut codes = [0u8; FRAME];
    let mut decoded = [0i16; FRAME];
    let mut group = c.benchmark_group("g711");
    group.throughput(Throughput::Elements(FRAME as u64));
    group.bench_function("alaw_encode_160", |b| {
        b.iter(|| g711::alaw_encode_frame(black_box(&samples), &mut codes));
    });
    group.bench_function("ulaw_encode_160", |b| {
        b.iter(|| g711::ulaw_encode_frame(black_box(&samples), &mut codes));
    });
    group.bench_function("alaw_decode_160", |b| {
        b.iter(|| g711::alaw_decode_frame(black_box(&codes), &mut decoded));
    });
    group.bench_function("ulaw_decode_160", |b| {
        b.iter(|| g711::ulaw_decode_frame(black_box(&codes), &mut decoded));
    });
    group.bench_function("alaw_to_ulaw_160", |b| {
        b.iter(|| g711::alaw_to_ulaw_in_place(black_box(&mut codes)));
    });
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
