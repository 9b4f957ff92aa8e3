//! What a tick of the mixer costs: everybody says something, four are heard, each takes what he hears.
//!
//! `cargo bench --bench mixer`; `cargo test --benches` runs each once and counts allocations. Divide by the parties for what one costs
//! in 20 ms.

use allocation_counter::measure;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media::Tone;
use media::mixer::{Mixer, Party};
use media::resample::Rate;
use std::hint::black_box;

fn mixer(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
        for parties in [3, 10, 50, 200] {
            for particular in [false, true] {
                let mut mixer = Mixer::new(rate, parties, 4);
                let seats: Vec<Party> = (0..parties).filter_map(|_| mixer.join()).collect();
                if particular {
                    mixer.whisper(seats[0], seats[1]);
                }
                let mut voice = vec![0; mixer.samples()];
                Tone::dual((180.0, 6000), (730.0, 4000), rate.hertz()).fill(&mut voice);
                let mut heard = voice.clone();
                let mut tick = || {
                    for seat in &seats {
                        mixer.put(*seat, black_box(&voice));
                    }
                    mixer.tick();
                    for seat in &seats {
                        black_box(mixer.take(*seat, &mut heard));
                    }
                };
                let kind = if particular { "_whispered" } else { "" };
                let name = format!("{}_{parties}{kind}", rate.hertz());
                tick();
                let seen = measure(|| (0..20).for_each(|_| tick()));
                assert_eq!(seen.count_total, 0, "{name} allocates");
                group.throughput(Throughput::Elements(parties as u64));
                group.bench_function(name, |b| b.iter(&mut tick));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, mixer);
criterion_main!(benches);
