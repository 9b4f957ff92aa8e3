//! What a packet costs in the jitter buffer, and what it costs to carry it to another thread: the ring of atomic words beside `rtrb` with whole packets
//! and beside the textbook's `Mutex<BTreeMap>`.
//!
//! `cargo bench --bench jitter`; `cargo test --benches` runs each once and counts allocations.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may panic, and measures threads"
)]

use allocation_counter::measure;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtp::Header;
use rtp::jitter::{Buffer, Config, Content, Step, ring};
use sansio::{Random, Time};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// 20 ms of G.711.
const PAYLOAD: [u8; 160] = [0xd5; 160];
const TICKS: u32 = 160;

/// A packet with its payload, as a queue of packets holds it.
#[derive(Clone, Copy)]
struct Whole {
    arrival: Time,
    header: Header,
    octets: usize,
    payload: [u8; 160],
}

/// Packets of a stream in even time, with jitter before they come.
struct Stream {
    header: Header,
    now: Time,
    random: Random,
}

impl Stream {
    fn new() -> Self {
        Self { header: Header::default(), now: Time::from_millis(1000), random: Random::new(1) }
    }

    /// The next packet and when it comes.
    fn next(&mut self) -> Time {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(TICKS);
        self.now += Duration::from_millis(20);
        self.now + Duration::from_micros(self.random.below(10_000))
    }
}

fn buffer(c: &mut Criterion) {
    let mut group = c.benchmark_group("jitter");
    group.throughput(Throughput::Elements(1));
    let content = Content::Audio { ticks: TICKS, then_silent: false };
    let mut stream = Stream::new();
    let mut buffer = Buffer::new(&Config::telephony(8000, 160));
    let mut queued = 0;
    let mut put_and_take = || {
        let at = stream.next();
        black_box(buffer.put(at, &stream.header, content, &PAYLOAD));
        let now = stream.now + Duration::from_millis(60);
        while queued < TICKS {
            match black_box(buffer.take(now, queued, TICKS - queued)) {
                Step::Play { .. } => queued += TICKS,
                Step::Silence(ticks) | Step::Noise(ticks) | Step::Conceal(ticks) => queued += ticks,
                Step::Describe(_) => {}
            }
        }
        queued -= TICKS;
    };
    (0..100).for_each(|_| put_and_take());
    assert_eq!(measure(|| (0..1000).for_each(|_| put_and_take())).count_total, 0, "it allocates");
    group.bench_function("put_and_take", |b| b.iter(&mut put_and_take));

    // What is usually written instead: order by a tree behind a lock. No target, no concealment, nothing adaptive.
    let mut stream = Stream::new();
    let tree: Mutex<BTreeMap<u32, Vec<u8>>> = Mutex::default();
    group.bench_function("mutex_btreemap_put_and_take", |b| {
        b.iter(|| {
            stream.next();
            tree.lock().unwrap().insert(stream.header.timestamp, PAYLOAD.to_vec());
            let mut waiting = tree.lock().unwrap();
            if waiting.len() > 3 {
                black_box(waiting.pop_first());
            }
        });
    });
    group.finish();
}

/// Both ends on one thread: the work itself.
fn hand_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("hand_over");
    group.throughput(Throughput::Elements(1));
    let mut payload = [0; 160];
    let (mut writer, mut reader) = ring(64, 160);
    let mut stream = Stream::new();
    group.bench_function("ring", |b| {
        b.iter(|| {
            let at = stream.next();
            assert!(writer.push(at, &stream.header, &PAYLOAD));
            black_box(reader.pop(&mut payload)).unwrap()
        });
    });
    let (mut writer, mut reader) = rtrb::RingBuffer::<Whole>::new(64);
    let mut stream = Stream::new();
    group.bench_function("rtrb", |b| {
        b.iter(|| {
            let arrival = stream.next();
            let whole = Whole { arrival, header: stream.header, octets: PAYLOAD.len(), payload: PAYLOAD };
            assert!(writer.push(whole).is_ok());
            let whole = reader.pop().unwrap();
            payload[..whole.octets].copy_from_slice(&whole.payload[..whole.octets]);
            black_box((whole.arrival, whole.header, payload[0]))
        });
    });
    let shared: Mutex<BTreeMap<u32, Vec<u8>>> = Mutex::default();
    let mut stream = Stream::new();
    group.bench_function("mutex_btreemap", |b| {
        b.iter(|| {
            stream.next();
            shared.lock().unwrap().insert(stream.header.timestamp, PAYLOAD.to_vec());
            black_box(shared.lock().unwrap().pop_first()).unwrap()
        });
    });
    group.finish();
}

/// What the receiver's half costs while a reader on another thread looks without pause: whoever locks waits.
fn beside_a_reader(c: &mut Criterion) {
    let mut group = c.benchmark_group("receiver_beside_a_reader");
    group.throughput(Throughput::Elements(1));
    let over = Arc::new(AtomicBool::new(false));

    let (mut writer, mut reader) = ring(1024, 160);
    let stop = Arc::clone(&over);
    let reading = std::thread::spawn(move || {
        let mut payload = [0; 160];
        while !stop.load(Ordering::Relaxed) {
            black_box(reader.pop(&mut payload));
        }
    });
    let mut stream = Stream::new();
    group.bench_function("ring", |b| {
        b.iter(|| {
            let at = stream.next();
            black_box(writer.push(at, &stream.header, &PAYLOAD))
        });
    });
    over.store(true, Ordering::Relaxed);
    reading.join().unwrap();

    over.store(false, Ordering::Relaxed);
    let shared: Arc<Mutex<BTreeMap<u32, Vec<u8>>>> = Arc::default();
    let (stop, theirs) = (Arc::clone(&over), Arc::clone(&shared));
    let reading = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            black_box(theirs.lock().unwrap().pop_first());
        }
    });
    let mut stream = Stream::new();
    group.bench_function("mutex_btreemap", |b| {
        b.iter(|| {
            stream.next();
            let mut waiting = shared.lock().unwrap();
            if waiting.len() < 1024 {
                waiting.insert(stream.header.timestamp, PAYLOAD.to_vec());
            }
        });
    });
    over.store(true, Ordering::Relaxed);
    reading.join().unwrap();
    group.finish();
}

criterion_group!(benches, buffer, hand_over, beside_a_reader);
criterion_main!(benches);
