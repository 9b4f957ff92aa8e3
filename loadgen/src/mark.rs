//! The mark in each packet: who sent it, when, and in which place of its stream, inside what looks like G.711.
//!
//! A G.711 payload may hold any byte, so a mark travels through every relay that leaves the payload alone. It
//! names the sender's call, and the call the sender hears: so each end can tell whether both directions
//! join the same two calls. Layout, big-endian, 48 bytes, then tone up to the payload's end:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | magic |
//! | 4..8 | checksum over everything behind it, tone included |
//! | 8..16 | the sender's call: run (high half) and number in the run |
//! | 16..24 | the call the sender hears, 0 before it hears any |
//! | 24..28 | direction: 0 from the caller, 1 from the callee |
//! | 28..32 | place in the stream, from 0 |
//! | 32..40 | when it was to be sent, ns on the host's monotonic clock |
//! | 40..48 | when it was sent |
//!
//! Where a gateway is to translate, octets do not stay. There each half of a byte is a level ([`LEVELS`]), 96 samples in all, which any law of G.711
//! keeps apart; the checksum is then over the mark alone.

use sansio::Time;
use serde::{Deserialize, Serialize};

/// Bytes of a mark; payloads below this carry none.
pub const MARK_BYTES: usize = 48;

/// Samples of a mark in levels.
pub const LEVEL_SAMPLES: usize = 2 * MARK_BYTES;

/// The levels, by half a byte: eight magnitudes 4.3 dB apart, positive and negative.
const LEVELS: [i16; 16] =
    [250, 410, 672, 1102, 1807, 2964, 4861, 7972, -250, -410, -672, -1102, -1807, -2964, -4861, -7972];
/// Between two magnitudes: their geometric mean.
const BOUNDS: [u16; 7] = [320, 525, 861, 1411, 2314, 3796, 6225];

/// Which level a sample is nearest to.
fn level(sample: i16) -> u8 {
    let magnitude = sample.unsigned_abs();
    let above = BOUNDS.iter().filter(|bound| magnitude > **bound).count() as u8;
    if sample < 0 { above | 8 } else { above }
}

const MAGIC: u32 = 0x5472_6b4d;

/// A call of a load generator: unique over all farms of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallName(pub u64);

impl CallName {
    /// Nobody: what a sender that has not heard anything yet says it hears.
    pub const NOBODY: Self = Self(0);

    /// Call `number` of the farm `farm` (not 0).
    pub fn new(farm: u32, number: u32) -> Self {
        Self(u64::from(farm) << 32 | u64::from(number))
    }

    /// The farm whose call it is.
    pub const fn farm(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Which way a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the caller.
    Forth,
    /// From the callee.
    Back,
}

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The sender's call.
    pub call: CallName,
    /// The call the sender hears.
    pub hears: CallName,
    /// Which way it travels.
    pub direction: Direction,
    /// Its place in the stream, from 0.
    pub place: u32,
    /// When it was to be sent.
    pub intended: Time,
    /// When it was handed to the driver.
    pub sent: Time,
}

/// Why a payload holds no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmarked {
    /// Nobody of ours sent it (or it is too short).
    Foreign,
    /// It was ours, and some bytes changed on the way.
    Corrupt,
}

impl Mark {
    /// Writes the mark into a payload that holds tone; does nothing to one too short.
    pub fn write(&self, payload: &mut [u8]) {
        if payload.len() < MARK_BYTES {
            return;
        }
        payload[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        payload[8..16].copy_from_slice(&self.call.0.to_be_bytes());
        payload[16..24].copy_from_slice(&self.hears.0.to_be_bytes());
        let direction = match self.direction {
            Direction::Forth => 0u32,
            Direction::Back => 1,
        };
        payload[24..28].copy_from_slice(&direction.to_be_bytes());
        payload[28..32].copy_from_slice(&self.place.to_be_bytes());
        payload[32..40].copy_from_slice(&self.intended.as_nanos().to_be_bytes());
        payload[40..48].copy_from_slice(&self.sent.as_nanos().to_be_bytes());
        let sum = checksum(&payload[8..]);
        payload[4..8].copy_from_slice(&sum.to_be_bytes());
    }

    /// Writes the mark in levels, each as `encode` says it, into a payload that holds tone; does nothing to one too short.
    pub fn write_levels(&self, payload: &mut [u8], encode: fn(i16) -> u8) {
        let mut bytes = [0; MARK_BYTES];
        self.write(&mut bytes);
        for (pair, byte) in payload.chunks_exact_mut(2).zip(bytes) {
            if let [high, low] = pair {
                (*high, *low) =
                    (encode(LEVELS[usize::from(byte >> 4)]), encode(LEVELS[usize::from(byte & 15)]));
            }
        }
    }

    /// Reads a mark in levels, each as `decode` understands it.
    pub fn read_levels(payload: &[u8], decode: fn(u8) -> i16) -> Result<Self, Unmarked> {
        let Some(samples) = payload.get(..LEVEL_SAMPLES) else { return Err(Unmarked::Foreign) };
        let mut bytes = [0; MARK_BYTES];
        for (pair, byte) in samples.chunks_exact(2).zip(&mut bytes) {
            if let [high, low] = *pair {
                *byte = level(decode(high)) << 4 | level(decode(low));
            }
        }
        Self::read(&bytes)
    }

    /// Reads the mark of a payload.
    pub fn read(payload: &[u8]) -> Result<Self, Unmarked> {
        if payload.len() < MARK_BYTES || word(payload, 0) != MAGIC {
            return Err(Unmarked::Foreign);
        }
        if checksum(&payload[8..]) != word(payload, 4) {
            return Err(Unmarked::Corrupt);
        }
        let direction = match word(payload, 24) {
            0 => Direction::Forth,
            1 => Direction::Back,
            _ => return Err(Unmarked::Corrupt),
        };
        Ok(Self {
            call: CallName(long(payload, 8)),
            hears: CallName(long(payload, 16)),
            direction,
            place: word(payload, 28),
            intended: Time::from_nanos(long(payload, 32)),
            sent: Time::from_nanos(long(payload, 40)),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

/// Multiplies and folds eight bytes at a time: any changed bit changes the sum (but for one chance in 2³²).
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = 0x9e37_79b9_7f4a_7c15u64 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for chunk in words.by_ref() {
        sum = fold(sum ^ long(chunk, 0));
    }
    for &byte in words.remainder() {
        sum = fold(sum ^ u64::from(byte));
    }
    (sum >> 32) as u32 ^ sum as u32
}

fn fold(value: u64) -> u64 {
    let wide = u128::from(value) * 0xd6e8_feb8_6659_fd93_u128;
    (wide as u64) ^ (wide >> 64) as u64 ^ value.rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            call: CallName::new(0xdead_beef, 7),
            hears: CallName::new(3, 9),
            direction: Direction::Back,
            place: 4_000_000_000,
            intended: Time::from_nanos(u64::MAX - 5),
            sent: Time::from_nanos(12),
        }
    }

    #[test]
    fn a_mark_comes_back_as_it_was_written() {
        for len in [48, 80, 160, 240] {
            let mut payload = vec![0xd5; len];
            mark().write(&mut payload);
            assert_eq!(Mark::read(&payload), Ok(mark()));
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let mut payload = [0x55; 160];
        mark().write(&mut payload);
        for bit in 0..160 * 8 {
            let mut changed = payload;
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { Unmarked::Foreign } else { Unmarked::Corrupt };
            assert_eq!(Mark::read(&changed), Err(expected), "bit {bit}");
        }
        assert_eq!(Mark::read(&payload[..159]), Err(Unmarked::Corrupt));
        assert_eq!(Mark::read(&payload[..20]), Err(Unmarked::Foreign));
    }

    #[test]
    fn a_mark_in_levels_survives_any_number_of_translations() {
        use media::g711;
        let mut payload = [0xd5; 160];
        mark().write_levels(&mut payload, g711::alaw_encode);
        assert_eq!(Mark::read_levels(&payload, g711::alaw_decode), Ok(mark()));
        for _ in 0..3 {
            g711::alaw_to_ulaw_in_place(&mut payload);
            assert_eq!(Mark::read_levels(&payload, g711::ulaw_decode), Ok(mark()));
            g711::ulaw_to_alaw_in_place(&mut payload);
            assert_eq!(Mark::read_levels(&payload, g711::alaw_decode), Ok(mark()));
        }
        // One level is another: noticed.
        payload[50] = g711::alaw_encode(-payload[50].cast_signed() as i16 * 60);
        assert!(Mark::read_levels(&payload, g711::alaw_decode).is_err());
        assert_eq!(Mark::read_levels(&[0xd5; 160], g711::alaw_decode), Err(Unmarked::Foreign));
        assert_eq!(Mark::read_levels(&payload[..95], g711::alaw_decode), Err(Unmarked::Foreign));
        for (half, sample) in LEVELS.into_iter().enumerate() {
            assert_eq!(usize::from(level(sample)), half);
        }
    }

    #[test]
    fn tone_is_foreign_and_short_payloads_stay_as_they_are() {
        assert_eq!(Mark::read(&[0xd5; 160]), Err(Unmarked::Foreign));
        let mut short = [0xd5; 40];
        mark().write(&mut short);
        assert_eq!(short, [0xd5; 40]);
    }
}
