//! What it costs to listen for keys in 20 ms of sound, to play 20 ms out of a jitter buffer's orders, and to make them shorter.
//!
//! `cargo bench --bench dtmf`; `cargo test --benches` runs each once and counts allocations.

use allocation_counter::measure;
use criterion::{Criterion, criterion_group, criterion_main};
use media::Tone;
use media::codec::Codec;
use media::dtmf::{Detector, Generator, Key, Levels};
use media::playout::{Order, Playout, Source};
use media::stretch;
use std::hint::black_box;

/// Refuses work that allocates, and has it timed.
fn bench(c: &mut Criterion, name: &str, mut work: impl FnMut()) {
    work();
    let seen = measure(|| (0..60).for_each(|_| work()));
    assert_eq!(seen.count_total, 0, "{name} allocates");
    c.bench_function(name, |b| b.iter(&mut work));
}

/// One payload after the other.
struct Even(usize);

impl Source for Even {
    fn next(&mut self, _: u32, _: u32) -> Order<'_> {
        const PAYLOAD: [u8; 160] = [0x55; 160];
        self.0 += 1;
        if self.0.is_multiple_of(20) {
            return Order::Nothing(160);
        }
        Order::Play { payload: &PAYLOAD, shorter: if self.0.is_multiple_of(7) { 40 } else { 0 }, seam: false }
    }
}

fn dtmf(c: &mut Criterion) {
    for rate in [8000u32, 16_000, 48_000] {
        let mut voice = vec![0; rate as usize / 50];
        Tone::dual((180.0, 9000), (730.0, 5000), rate).fill(&mut voice);
        let mut detector = Detector::new(rate);
        bench(c, &format!("dtmf_listen_{rate}"), || {
            detector.hear(black_box(&voice), |heard| {
                black_box(heard);
            });
        });
    }
    let mut generator = Generator::new(8000);
    let mut frame = [0; 160];
    bench(c, "dtmf_make_8000", || {
        if generator.is_idle()
            && let Some(key) = Key::of('5')
        {
            generator.press(key, Levels::default(), 1000, 0);
        }
        black_box(generator.fill(&mut frame));
    });
    let mut playout = Playout::new(Codec::Pcma, 1);
    let mut source = Even(0);
    bench(c, "playout_pcma", || playout.fill(&mut source, black_box(&mut frame)));
    let mut voice = [0; 160];
    Tone::dual((180.0, 9000), (730.0, 5000), 8000).fill(&mut voice);
    bench(c, "stretch_shrink_8000", || {
        frame = voice;
        black_box(stretch::shrink(black_box(&mut frame), 8000, 100, false));
    });
}

criterion_group!(benches, dtmf);
criterion_main!(benches);
