//! Sender information, report blocks, and the round trip they give (RFC 3550 §6.4.1).

use core::time::Duration;

/// What a sender report says of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall-clock time of the report as an NTP timestamp: seconds since 1900 in the high half, their fraction in the low.
    pub ntp: u64,
    /// The same instant in ticks of the stream's clock.
    pub rtp: u32,
    /// Packets sent since the stream began, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

impl SenderInfo {
    pub(super) fn read(bytes: &[u8; 20]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            ntp: u64::from(word(0)) << 32 | u64::from(word(4)),
            rtp: word(8),
            packets: word(12),
            octets: word(16),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.ntp.to_be_bytes());
        for word in [self.rtp, self.packets, self.octets] {
            out.extend(word.to_be_bytes());
        }
    }
}

/// What a receiver says of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source it speaks of.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits signed: duplicates count against it.
    pub lost: i32,
    /// Cycles and highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter in ticks.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP timestamp, 0 if none came.
    pub last_sr: u32,
    /// The time since that report came, in 1/65536 s.
    pub delay_since_sr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; 24]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // Sign-extends 24 bits.
            lost: (word(4) << 8).cast_signed() >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_sr: word(20),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        let loss = u32::from(self.fraction_lost) << 24 | lost;
        for word in [self.ssrc, loss, self.highest_sequence, self.jitter, self.last_sr, self.delay_since_sr] {
            out.extend(word.to_be_bytes());
        }
    }
}

/// The report blocks of one packet, at most 31.
#[derive(Clone, Copy, Debug)]
pub struct Reports<'a> {
    blocks: &'a [[u8; 24]],
}

impl<'a> Reports<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { blocks: bytes.as_chunks().0 }
    }

    /// The blocks, in order.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(ReportBlock::read)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// The middle 32 bits of an NTP timestamp, as LSR carries them (RFC 3550 §4).
pub const fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A span in 1/65536 s, as DLSR carries it; saturates at 18 hours.
pub const fn ntp_short(span: Duration) -> u32 {
    let units = (span.as_nanos() << 16) / 1_000_000_000;
    if units > u32::MAX as u128 { u32::MAX } else { units as u32 }
}

/// The round trip to a receiver, `A - LSR - DLSR` (RFC 3550 §6.4.1): `sent` is the time since the sender report that
/// the block answers left us. `None` where the block answers none, or claims to have held it longer than that.
pub fn round_trip(block: &ReportBlock, sent: Duration) -> Option<Duration> {
    if block.last_sr == 0 {
        return None;
    }
    let held = Duration::from_nanos(u64::from(block.delay_since_sr) * 1_000_000_000 / 65_536);
    // Both ends round down to 1/65536 s: what is less than one unit below zero is zero.
    if held > sent + Duration::from_nanos(15_259) {
        return None;
    }
    Some(sent.saturating_sub(held))
}
