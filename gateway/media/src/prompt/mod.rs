//! Prompts: sound files decoded, brought to a codec's rate and encoded once, then shared by whoever plays them.
//!
//! A file's octets come from outside. [`Sound::parse`] makes samples of them, [`Clip::new`] the packets of one codec and length, and
//! [`Shelf`] keeps clips while there is room, so that a prompt costs processor time once and not for each call.

mod convert;
mod shelf;
mod wave;

pub use shelf::{Shelf, ShelfStats, Wanted};
pub use wave::{FILE_MAX, RATES, SECONDS_MAX, Sound, SoundError};

use crate::codec::{Codec, Encoder};
use core::time::Duration;

/// Packet lengths that a clip is made for, in milliseconds.
pub const PTIME: core::ops::RangeInclusive<u32> = 10..=60;
/// Milliseconds over which the end of a clip that is repeated passes into its beginning.
const SEAM: usize = 5;
/// Packets of its end by which the encoder of a clip that is repeated is led to its beginning.
const LEAD: usize = 5;
/// Most octets of a packet.
const OCTETS_MAX: usize = 1400;

/// A sound as the packets of one codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    codec: Codec,
    ptime: u32,
    samples: usize,
    octets: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<u32>,
}

impl Clip {
    /// Encodes a sound in packets of `ptime` milliseconds, brought into [`PTIME`] and to tens, which every codec has frames for, and shorter where it would not fit
    /// into a datagram. One that is `repeated` is cut to whole packets and its end passes into its beginning, so that the seam is not heard; any other one is
    /// filled up with silence.
    pub fn new(sound: &Sound, codec: Codec, ptime: u32, repeated: bool) -> Self {
        let mut ptime = (ptime.clamp(*PTIME.start(), *PTIME.end()) / 10) * 10;
        while ptime > *PTIME.start() && codec.octets(ptime) > OCTETS_MAX {
            ptime -= 10;
        }
        let rate = codec.rate().hertz();
        let mut samples = convert::convert(sound.samples(), sound.rate(), rate);
        let packet = codec.samples(ptime);
        if repeated {
            join_ends(&mut samples, packet, SEAM * rate as usize / 1000);
        }
        samples.resize(samples.len().next_multiple_of(packet), 0);
        let mut clip = Self { codec, ptime, samples: packet, octets: Vec::new(), ends: Vec::new() };
        let mut encoder = Encoder::new(codec, false);
        let mut room = [0; OCTETS_MAX];
        if repeated {
            // What comes before the beginning is the end: encoders that remember shall remember that.
            let packets = samples.len() / packet;
            samples.chunks(packet).skip(packets.saturating_sub(LEAD)).for_each(|it| {
                encoder.encode(it, &mut room);
            });
        }
        for packet in samples.chunks(packet) {
            let octets = encoder.encode(packet, &mut room).octets;
            clip.octets.extend_from_slice(&room[..octets]);
            // Sounds are bounded far below 4 GiB.
            clip.ends.push(clip.octets.len() as u32);
        }
        clip
    }

    /// The codec.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Milliseconds of a packet.
    pub const fn ptime(&self) -> u32 {
        self.ptime
    }

    /// How far a packet moves the RTP timestamp.
    pub const fn ticks(&self) -> u32 {
        self.codec.ticks(self.samples)
    }

    /// Its packets.
    pub const fn packets(&self) -> usize {
        self.ends.len()
    }

    /// The payload of a packet; `None` beyond the last.
    pub fn packet(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.octets.get(start..end)
    }

    /// How long it lasts.
    pub const fn span(&self) -> Duration {
        Duration::from_millis(self.ends.len() as u64 * self.ptime as u64)
    }

    /// Octets that it takes in memory, about.
    pub const fn size(&self) -> usize {
        self.octets.len() + 4 * self.ends.len() + size_of::<Self>()
    }
}

/// Cuts samples to whole packets such that the last is followed by the first without a jump: what comes behind the cut fades out over
/// the beginning. Sounds too short for that stay as they are.
fn join_ends(samples: &mut Vec<i16>, packet: usize, seam: usize) {
    let whole = samples.len().saturating_sub(seam) / packet * packet;
    if whole < packet.max(2 * seam) || seam == 0 {
        return;
    }
    for n in 0..seam {
        let (here, behind) = (i32::from(samples[n]), i32::from(samples[whole + n]));
        // Both are 16 bits and their weights add up to one.
        let mixed = (here * n as i32 + behind * (seam - n) as i32) / seam as i32;
        samples[n] = mixed as i16;
    }
    samples.truncate(whole);
}

#[cfg(test)]
mod tests;
