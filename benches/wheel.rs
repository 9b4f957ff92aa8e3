//! What a timer costs: set and taken back, as most are; set and run out; and a duration written down in a histogram.
//!
//! `cargo bench --bench wheel`; `cargo test --benches` runs each once.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use reports::result::{Histogram, Unit};
use sansio::{Random, Time, Wheel};
use std::hint::black_box;
use std::time::Duration;

/// A wheel with so many timers within the next 32 s, as SIP has them.
fn filled(count: u32, random: &mut Random) -> Wheel<u32> {
    let mut wheel = Wheel::new(Time::ZERO, count + 16);
    for n in 0..count {
        wheel.insert(Time::from_millis(1 + random.below(32_000)), n).unwrap();
    }
    wheel
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel");
    for count in [10u32, 100_000] {
        let mut random = Random::new(1);
        let mut wheel = filled(count, &mut random);
        group.bench_function(format!("insert_cancel_among_{count}"), |b| {
            b.iter(|| {
                let timer = wheel.insert(Time::from_millis(1 + random.below(32_000)), 0).unwrap();
                wheel.cancel(black_box(timer))
            });
        });
        let mut wheel = filled(count, &mut random);
        let mut now = Time::ZERO;
        group.bench_function(format!("pop_insert_among_{count}"), |b| {
            b.iter(|| {
                // Each that runs out is set again, so that their number stays.
                let due = loop {
                    if let Some((due, _)) = wheel.pop(now) {
                        break due;
                    }
                    now = wheel.deadline().unwrap();
                };
                wheel.insert(due + Duration::from_millis(1 + random.below(32_000)), 0)
            });
        });
    }
    group.finish();
}

fn histogram(c: &mut Criterion) {
    let mut random = Random::new(1);
    let values: Vec<u64> = (0..4096).map(|_| random.below(20_000_000)).collect();
    let mut histogram = Histogram::new(Unit::Nanoseconds);
    let mut next = 0;
    c.bench_function("histogram_record", |b| {
        b.iter(|| {
            next = (next + 1) % values.len();
            histogram.record(black_box(values[next]));
        });
    });
}

criterion_group!(benches, timers, histogram);
criterion_main!(benches);
