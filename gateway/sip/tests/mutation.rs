//! A bounded number of mutations of the torture messages through the bodies of the fuzz targets: what a fuzzer would
//! find first is found here, on stable Rust. A failure names its seed; `MUTATION_SEED` runs that one alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/src/exercise.rs"]
#[allow(unreachable_pub)]
mod exercise;

use std::path::PathBuf;

/// Mutations in all. Each takes some ten microseconds unoptimised.
const MUTATIONS: u64 = 200_000;

/// Bytes that mean something somewhere.
const SPICE: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b"\t",
    b" ",
    b"\"",
    b"\\",
    b"\\\"",
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"=",
    b"@",
    b"?",
    b"%00",
    b"%",
    b"[",
    b"]",
    b"[::1]",
    b":::",
    b"sip:",
    b"tel:+1",
    b"SIP/2.0",
    b"Via: ",
    b"v:",
    b"CSeq: ",
    b"i:",
    b"l: 0",
    b"Service-Route: <sip:a;lr>\r\n",
    b"Contact: <sip:a@192.0.2.1>;expires=9\r\n",
    b"WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n",
    b"Refer-To: <sip:a@b?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n",
    b"Replaces: c;to-tag=1;from-tag=2\r\n",
    b"Content-Length: 99999",
    b"4294967296",
    b"-1",
    b"\xff",
    b"\xc3\xa9",
    b"m=audio 9 RTP/AVP 0 8\r\n",
    b"a=rtpmap:0 x/1\r\n",
    b"c=IN IP4 1.2.3.4\r\n",
    b"a=rtcp:1\r\n",
    b"a=rtcp-mux\r\n",
    b"m=",
];

/// A transfer asked for, and a dialog to be replaced: the torture messages have neither.
const TRANSFERS: [&str; 2] = [
    "REFER sip:b@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\nMax-Forwards: 70\nFrom: <sip:a@h>;tag=1\n\
     To: <sip:b@h>;tag=2\nCall-ID: c\nCSeq: 2 REFER\nContact: <sip:a@192.0.2.2>\nRefer-Sub: true\n\
     Refer-To: \"C\" <sip:c@192.0.2.3;x=y?Replaces=d%40h%3Bto-tag%3D3%3Bfrom-tag%3D4%3Bearly-only&X=1>\n\
     Referred-By: <sip:a@h>\nContent-Length: 0\n\n",
    "INVITE sip:b@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2\nMax-Forwards: 70\nFrom: <sip:a@h>;tag=1\n\
     To: <sip:b@h>\nCall-ID: e\nCSeq: 1 INVITE\nContact: <sip:a@192.0.2.2>\nRequire: replaces\n\
     Replaces: d@h;from-tag=4;to-tag=3;early-only;x=\"y;z\"\nContent-Length: 0\n\n",
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

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture");
    let mut files: Vec<PathBuf> = ["rfc4475", "rfc5118"]
        .iter()
        .flat_map(|rfc| std::fs::read_dir(folder.join(rfc)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let torture = files.iter().map(|file| std::fs::read(file).unwrap());
    torture.chain(TRANSFERS.map(|text| text.replace('\n', "\r\n").into_bytes())).collect()
}

fn mutate(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(bytes.len());
        let end = (at + dice.roll(40)).min(bytes.len());
        match dice.roll(7) {
            0 if !bytes.is_empty() => bytes[at] = dice.roll(256) as u8,
            1 | 2 => drop(bytes.splice(at..at, SPICE[dice.roll(SPICE.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.roll(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            5 => {
                let other = &corpus[dice.roll(corpus.len())];
                let from = dice.roll(other.len());
                let piece = &other[from..(from + dice.roll(200)).min(other.len())];
                drop(bytes.splice(at..end, piece.iter().copied()));
            }
            _ => bytes.truncate(bytes.len() - dice.roll(bytes.len() / 8 + 1)),
        }
    }
    bytes
}

#[test]
fn nothing_breaks_whatever_arrives() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 63);
    let seeds = match std::env::var("MUTATION_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).unwrap(),
        Err(_) => 0..std::env::var("MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap()),
    };
    for seed in seeds {
        let mut dice = Dice(seed);
        let bytes = mutate(&corpus, &mut dice);
        let outcome = std::panic::catch_unwind(|| {
            exercise::message(&bytes);
            exercise::uri(&bytes);
            if seed % 8 == 0 {
                let other = &corpus[seed as usize / 8 % corpus.len()];
                exercise::framing(&[&[seed as u8][..], &bytes, other].concat());
            }
        });
        assert!(outcome.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_corpus_itself_passes() {
    for bytes in corpus() {
        exercise::message(&bytes);
        exercise::framing(&[&[13][..], &bytes].concat());
        if let Some(body) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            exercise::sdp(&bytes[body + 4..]);
        }
    }
}
