//! What protection costs per packet of 20 ms of G.711 (172 octets): sealing and opening, by suite, without the kernel.
//!
//! `cargo bench --bench srtp`; `cargo test --benches` runs each once.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtp::srtp::{Keying, Mki, Opener, Sealer, Secrets, Suite};
use rtp::{HEADER_LEN, Header};
use std::hint::black_box;

/// 20 ms of G.711.
const PAYLOAD: usize = 160;
/// A context is made anew after so many packets, which a call of 20 minutes has.
const PACKETS: u32 = 60_000;

fn packet(count: u32, out: &mut [u8]) {
    let header = Header {
        payload_type: 8,
        marker: false,
        sequence: count as u16,
        timestamp: count.wrapping_mul(160),
        ssrc: 7,
    };
    header.write(out).unwrap();
}

fn protection(criterion: &mut Criterion) {
    for suite in [
        Suite::AesCm128Sha1_80,
        Suite::AesCm256Sha1_80,
        Suite::AesCm128Sha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ] {
        let mut group = criterion.benchmark_group(suite.name());
        group.throughput(Throughput::Elements(1));
        let keying = Keying::draw(suite, &mut Secrets::new([7; 32]));
        let fresh = || (Sealer::new(&keying, Mki::default()), Opener::new(&keying, Mki::default()));
        let mut sealer = fresh().0;
        let mut bytes = vec![0u8; HEADER_LEN + PAYLOAD + sealer.rtp_overhead()];
        let mut count = 0;
        group.bench_function("seal", |bencher| {
            bencher.iter(|| {
                count += 1;
                packet(count, &mut bytes);
                let index = sealer.admit(count as u16, 7).unwrap();
                assert!(sealer.seal_rtp(index, black_box(&mut bytes)));
            });
        });
        let (mut sealer, mut opener) = fresh();
        let sealed: Vec<Vec<u8>> = (0..PACKETS)
            .map(|count| {
                packet(count, &mut bytes);
                bytes[HEADER_LEN..].fill(0x55);
                let index = sealer.admit(count as u16, 7).unwrap();
                assert!(sealer.seal_rtp(index, &mut bytes));
                bytes.clone()
            })
            .collect();
        let mut at = 0;
        group.bench_function("open", |bencher| {
            bencher.iter(|| {
                if at == sealed.len() {
                    (at, opener) = (0, fresh().1);
                }
                bytes.copy_from_slice(&sealed[at]);
                at += 1;
                black_box(opener.open_rtp(black_box(&mut bytes))).unwrap();
            });
        });
        group.finish();
    }
}

criterion_group!(benches, protection);
criterion_main!(benches);
