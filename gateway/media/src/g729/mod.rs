//! G.729 at 8 kbit/s with Annexes A and B: CS-ACELP of reduced complexity, silence compression, concealment of erased frames.
//!
//! Written from ITU-T G.729 (06/2012), in the 16-bit arithmetic it is defined in: clauses are cited as §3 (encoder), §4 (decoder), §A.3 and
//! §A.4 (what Annex A changes), §B.3 and §B.4 (silence). A frame is 10 ms: 80 samples, 10 octets; a silence description has 2. The post
//! filter is Annex A's, so that output differs in the last bits from a decoder of the main body, which takes the same streams.
//!
//! RFC 3551 §4.5.6: a packet is any number of speech frames, and at most one silence description, at its end.

mod analysis;
mod basic;
mod code;
mod decoder;
mod encoder;
mod filter;
mod gain;
mod lsp;
mod noise;
mod postfilter;
mod search;
mod silence;
mod spectrum;
mod tables;
mod voice;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// Samples of a frame.
pub const FRAME: usize = 80;
/// Octets of a speech frame.
pub const SPEECH_OCTETS: usize = 10;
/// Octets of a silence description.
pub const SILENCE_OCTETS: usize = 2;

/// Samples of a subframe.
const SUBFRAME: usize = 40;
/// Order of the prediction filter, and half of it.
const ORDER: usize = 10;
const HALF: usize = 5;
/// The shortest and the longest pitch delay.
const DELAY_MIN: usize = 20;
const DELAY_MAX: usize = 143;
/// Past excitation that is kept: the longest delay, and half the interpolation filter.
const PAST: usize = DELAY_MAX + 11;
/// Bounds of the sharpening by the pitch (Q14): 0.2 and 0.8.
const SHARP_MIN: i16 = 3277;
const SHARP_MAX: i16 = 13_017;

/// Takes `counts` bits each from octets, most significant first; octets that are missing count as 0.
fn unpack<const N: usize>(octets: &[u8], counts: &[u8; N]) -> [u16; N] {
    let mut at = 0usize;
    counts.map(|count| {
        let mut value = 0;
        for _ in 0..count {
            let octet = octets.get(at / 8).copied().unwrap_or(0);
            value = value << 1 | u16::from(octet >> (7 - at % 8) & 1);
            at += 1;
        }
        value
    })
}

/// Puts values of `counts` bits each into octets; returns how many octets.
fn pack<const N: usize>(values: &[u16; N], counts: &[u8; N], octets: &mut [u8]) -> usize {
    octets.fill(0);
    let mut at = 0usize;
    for (value, &count) in values.iter().zip(counts) {
        for bit in (0..count).rev() {
            if let Some(octet) = octets.get_mut(at / 8) {
                *octet |= ((value >> bit & 1) as u8) << (7 - at % 8);
            }
            at += 1;
        }
    }
    octets.len()
}

/// P0: one if an even number of a first delay's upper six bits are one: ITU-T G.729 §3.7.2.
fn parity(delay: u16) -> u16 {
    ((delay >> 2 & 0x3f).count_ones() as u16 + 1) & 1
}
