//! A bounded number of mutations of good packets through the bodies of the fuzz targets. A failure names its seed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../tests/fuzz/src/rtp.rs"]
#[allow(unreachable_pub)]
mod bodies;
#[path = "../../../tests/fuzz/src/link.rs"]
#[allow(unreachable_pub)]
mod link;

use sansio::Random;

const MUTATIONS: u64 = 20_000;

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/").to_owned() + of;
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u32() as u8),
            2 => {
                let piece = bytes[at..].iter().copied().take(random.below(40) as usize).collect::<Vec<_>>();
                bytes.extend(piece);
            }
            _ => {
                if let Some(octet) = bytes.get_mut(at) {
                    *octet =
                        if random.chance(0.5) { *octet ^ 1 << random.below(8) } else { random.u32() as u8 };
                }
            }
        }
    }
}

fn mutations(of: &str, body: fn(&[u8])) {
    let seeds = seeds(of);
    assert!(seeds.len() >= 3);
    for seed in 0..MUTATIONS {
        let mut random = Random::new(seed);
        let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
        if seed >= seeds.len() as u64 {
            mutate(&mut random, &mut bytes);
        } else {
            bytes.clone_from(&seeds[seed as usize]);
        }
        let outcome = std::panic::catch_unwind(|| body(&bytes));
        assert!(outcome.is_ok(), "{of}, seed {seed}: {bytes:02x?}");
    }
}

#[test]
fn rtp() {
    mutations("rtp", bodies::rtp);
}

#[test]
fn rtcp() {
    mutations("rtcp", bodies::rtcp);
}

#[test]
fn extended_reports() {
    mutations("xr", bodies::xr);
}

#[test]
fn events() {
    mutations("event", bodies::event);
}

#[test]
fn jitter_buffer() {
    mutations("jitter", bodies::jitter);
}

#[test]
fn ice() {
    mutations("ice", link::ice);
}
