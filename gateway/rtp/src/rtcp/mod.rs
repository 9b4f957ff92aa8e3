//! RTCP: compound packets read without copying, written onto a buffer (RFC 3550 §6).

mod extended;
mod interval;
mod report;
mod write;

pub use extended::{Answers, Block, Blocks, Extended, LastReceived, VoipMetrics};
pub use interval::{MINIMUM, Session};
pub use report::{ReportBlock, Reports, SenderInfo, ntp_middle, ntp_short, round_trip};
pub use write::Writer;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
pub mod packet_type {
    /// Sender report.
    pub const SR: u8 = 200;
    /// Receiver report.
    pub const RR: u8 = 201;
    /// Source description.
    pub const SDES: u8 = 202;
    /// Goodbye.
    pub const BYE: u8 = 203;
    /// Application-defined.
    pub const APP: u8 = 204;
    /// Transport-layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
    /// Extended report.
    pub const XR: u8 = 207;
}

const HEADER: usize = 4;
const SENDER_INFO: usize = 20;
const REPORT_BLOCK: usize = 24;

/// Why a datagram is no compound RTCP packet (the checks of RFC 3550 A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpError {
    /// The lengths of its packets do not add up to the datagram's.
    Length,
    /// A packet of another version than 2.
    Version,
    /// Padding elsewhere than in the last packet, or more than it holds.
    Padding,
    /// A packet type that is none of RTCP's (192 to 223).
    PacketType,
    /// A packet is too short for the blocks that it announces.
    Blocks,
}

impl core::fmt::Display for RtcpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "RTCP lengths do not add up",
            Self::Version => "not RTCP version 2",
            Self::Padding => "RTCP padding in the wrong place",
            Self::PacketType => "not an RTCP packet type",
            Self::Blocks => "RTCP packet shorter than its blocks",
        })
    }
}

impl core::error::Error for RtcpError {}

/// One packet of a compound packet.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1).
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// What it sent.
        info: SenderInfo,
        /// What it received.
        reports: Reports<'a>,
    },
    /// RR (RFC 3550 §6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it received.
        reports: Reports<'a>,
    },
    /// SDES (RFC 3550 §6.5).
    SourceDescription(Sdes<'a>),
    /// BYE (RFC 3550 §6.6).
    Goodbye(Bye<'a>),
    /// APP (RFC 3550 §6.7).
    Application {
        /// The subtype, 0 to 31.
        subtype: u8,
        /// Who sends it.
        ssrc: u32,
        /// Four ASCII characters.
        name: [u8; 4],
        /// What the application makes of it.
        data: &'a [u8],
    },
    /// XR (RFC 3611 §2).
    ExtendedReport {
        /// Who reports.
        ssrc: u32,
        /// What it reports.
        blocks: Blocks<'a>,
    },
    /// Feedback, and whatever else: passed on as it is.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The five bits beside the version: a count, subtype or format.
        count: u8,
        /// Everything after the four octets of the header.
        body: &'a [u8],
    },
}

/// A received compound packet whose packets all lie within the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks a datagram by RFC 3550 A.2, except that it may begin with any packet: reduced-size RTCP (RFC 5506) is
    /// accepted, [`Self::is_full`] tells.
    ///
    /// # Errors
    /// [`RtcpError`] says which check failed.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtcpError> {
        if datagram.is_empty() {
            return Err(RtcpError::Length);
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            let (packet, after) = split(rest).ok_or(RtcpError::Length)?;
            if packet[0] >> 6 != 2 {
                return Err(RtcpError::Version);
            }
            if !(192..=223).contains(&packet[1]) {
                return Err(RtcpError::PacketType);
            }
            let padded = packet[0] & 0x20 != 0;
            if padded && !after.is_empty() {
                return Err(RtcpError::Padding);
            }
            let body = unpadded(packet).ok_or(RtcpError::Padding)?;
            if body.len() < minimum(packet[1], packet[0] & 0x1f) {
                return Err(RtcpError::Blocks);
            }
            rest = after;
        }
        Ok(Self { bytes: datagram })
    }

    /// Its packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (packet, after) = split(rest)?;
            rest = after;
            read(packet)
        })
    }

    /// Whether it begins with SR or RR, as RFC 3550 §6.1 wants of a compound packet.
    pub fn is_full(&self) -> bool {
        matches!(self.bytes.get(1), Some(&(packet_type::SR | packet_type::RR)))
    }

    /// Who sent it: the SSRC of its first packet.
    pub fn ssrc(&self) -> Option<u32> {
        word(self.bytes, 4)
    }
}

/// The first packet of `bytes`, header and padding included, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(2..HEADER)?;
    let octets = 4 * (usize::from(u16::from_be_bytes([length[0], length[1]])) + 1);
    bytes.split_at_checked(octets)
}

/// The packet without its padding, header included; `None` if the padding count makes no sense.
fn unpadded(packet: &[u8]) -> Option<&[u8]> {
    if packet[0] & 0x20 == 0 {
        return Some(packet);
    }
    let padding = usize::from(*packet.last()?);
    // RFC 3550 §6.4.1: a multiple of four.
    if padding == 0 || !padding.is_multiple_of(4) || padding > packet.len() - HEADER {
        return None;
    }
    Some(&packet[..packet.len() - padding])
}

/// Octets that a packet of this type and count needs at least.
fn minimum(packet_type: u8, count: u8) -> usize {
    let count = usize::from(count);
    match packet_type {
        packet_type::SR => HEADER + 4 + SENDER_INFO + count * REPORT_BLOCK,
        packet_type::RR => HEADER + 4 + count * REPORT_BLOCK,
        packet_type::SDES | packet_type::BYE => HEADER + 4 * count,
        packet_type::APP => HEADER + 8,
        _ => HEADER,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read(packet: &[u8]) -> Option<Packet<'_>> {
    let body = unpadded(packet)?;
    let count = packet[0] & 0x1f;
    let blocks = |from: usize| {
        let end = from + usize::from(count) * REPORT_BLOCK;
        body.get(from..end).map(Reports::new)
    };
    Some(match packet[1] {
        packet_type::SR => Packet::SenderReport {
            ssrc: word(body, 4)?,
            info: SenderInfo::read(body.get(8..28)?.first_chunk()?),
            reports: blocks(28)?,
        },
        packet_type::RR => Packet::ReceiverReport { ssrc: word(body, 4)?, reports: blocks(8)? },
        packet_type::SDES => Packet::SourceDescription(Sdes { chunks: &body[HEADER..], count }),
        packet_type::BYE => {
            let sources = body.get(HEADER..HEADER + 4 * usize::from(count))?;
            Packet::Goodbye(Bye { sources, tail: &body[HEADER + sources.len()..] })
        }
        packet_type::APP => Packet::Application {
            subtype: count,
            ssrc: word(body, 4)?,
            name: *body.get(8..)?.first_chunk()?,
            data: body.get(12..)?,
        },
        packet_type::XR if body.len() >= HEADER + 4 => {
            Packet::ExtendedReport { ssrc: word(body, 4)?, blocks: Blocks::new(body.get(8..)?) }
        }
        packet_type => Packet::Other { packet_type, count, body: &body[HEADER..] },
    })
}

/// A source description: per source a list of items.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    chunks: &'a [u8],
    count: u8,
}

impl<'a> Sdes<'a> {
    /// The canonical name of a source (item 1), as sent.
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        self.items().find(|&(source, kind, _)| source == ssrc && kind == 1).map(|(_, _, text)| text)
    }

    /// All items: source, item type, text. Ends early where a chunk is cut off.
    pub fn items(&self) -> impl Iterator<Item = (u32, u8, &'a [u8])> + use<'a> {
        let (all, mut left) = (self.chunks, self.count);
        let mut at = 0;
        let mut source = None;
        core::iter::from_fn(move || {
            loop {
                let Some(ssrc) = source else {
                    left = left.checked_sub(1)?;
                    source = Some(word(all, at)?);
                    at += 4;
                    continue;
                };
                let kind = *all.get(at)?;
                if kind == 0 {
                    // RFC 3550 §6.5: null octets up to the next 32-bit boundary end the chunk.
                    at = (at + 4) & !3;
                    source = None;
                    continue;
                }
                let length = usize::from(*all.get(at + 1)?);
                let text = all.get(at + 2..at + 2 + length)?;
                at += 2 + length;
                return Some((ssrc, kind, text));
            }
        })
    }
}

/// A goodbye: who leaves, perhaps why.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Bye<'a> {
    /// The sources that leave.
    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sources.as_chunks().0.iter().map(|&source| u32::from_be_bytes(source))
    }

    /// The reason, if given whole.
    pub fn reason(&self) -> Option<&'a [u8]> {
        let (&length, text) = self.tail.split_first()?;
        text.get(..usize::from(length))
    }
}

#[cfg(test)]
mod tests;
