//! A bounded number of mutations of good fields, tokens and certificates through the bodies of the fuzz targets: no input
//! brings the reader down, and what it reads it can write. A failure names its seed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/src/identity.rs"]
#[allow(unreachable_pub)]
mod identity;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use stir::{Caller, Claim, Credential, Party, Policy, Roots};

const MUTATIONS: u64 = 60_000;

/// Bytes that mean something somewhere.
const SPICE: &[&[u8]] = &[
    b";",
    b"=",
    b"<",
    b">",
    b"\"",
    b".",
    b"..",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"info=",
    b"ppt=",
    b"alg=",
    b"\\u0000",
    b"\xff",
    b"\0",
    b"1e999",
    b"-1",
    b"18446744073709551616",
    b"\"tn\"",
    b"\"uri\"",
    b"\"iat\"",
    b"null",
    b"-----BEGIN ",
    b"-----END CERTIFICATE-----\n",
    b"\x30\x84\xff\xff\xff\xff",
    b"\xa0\x80",
    b"\xa1\x00",
    b"\xa2\x7f",
    b"\n",
];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % below.max(1) as u64) as usize
    }
}

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/").to_owned() + of;
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(5) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + dice.roll(20)).min(bytes.len());
        match dice.roll(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, SPICE[dice.roll(SPICE.len())].iter().copied())),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            3 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
            _ => {
                let part = bytes[at..end].to_vec();
                let to = dice.roll(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
        }
    }
    bytes
}

fn all(of: &str, exercise: fn(&[u8])) {
    let seeds = seeds(of);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| exercise(seed));
    for seed in 0..MUTATIONS {
        let bytes = mutate(&seeds, &mut Dice(seed));
        let outcome = std::panic::catch_unwind(|| exercise(&bytes));
        assert!(outcome.is_ok(), "{of}, seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_field_brings_the_reader_down() {
    all("identity", identity::identity);
}

#[test]
fn no_certificate_brings_the_reader_down() {
    all("certificate", identity::certificate);
}

/// The seeds are what they should be; no change of a single letter of a token, or bit of a certificate, goes unnoticed.
#[test]
fn no_forgery_passes() {
    let seeds = seeds("certificate");
    let chain = seeds.iter().find(|seed| seed.starts_with(b"-----BEGIN")).unwrap();
    let text = String::from_utf8(chain.clone()).unwrap();
    let root = &text[text.rfind("-----BEGIN").unwrap()..];
    let roots = Roots::read(root.as_bytes()).unwrap();
    let credential = Credential::read(chain, &roots, identity::NOW).unwrap();
    let signer = seeds
        .iter()
        .find(|seed| Credential::read(seed, &roots, identity::NOW).is_ok() && *seed != chain)
        .unwrap();
    for at in 0..signer.len() {
        let mut forged = signer.clone();
        forged[at] ^= 1;
        assert!(Credential::read(&forged, &roots, identity::NOW).is_err(), "byte {at}");
    }
    let (orig, dest) = ([Party::Number("12155551212".into())], Party::Number("12155551213".into()));
    let caller = Caller { orig: &orig, dest: &dest, date: None };
    let policy = Policy::default();
    let check = |field: &str| {
        Claim::read(field.as_bytes(), &caller, &policy, identity::NOW)?.check(
            &credential,
            &policy,
            identity::NOW,
        )
    };
    // The seed's own signature is none.
    let field = String::from_utf8(
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/identity/full")).unwrap(),
    )
    .unwrap();
    assert_eq!(check(&field).unwrap_err().why, "the signature is wrong");
    let none = BASE64URL.encode([0; 64]);
    let (token, rest) = field.split_once(';').unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert!(check(&format!("{signed}.{none};{rest}")).is_err());
}
