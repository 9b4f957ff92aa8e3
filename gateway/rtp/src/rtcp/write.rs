//! Writing compound packets.

use super::{ReportBlock, SenderInfo, packet_type};

/// Appends RTCP packets to a buffer; a compound packet begins with SR or RR and carries a CNAME (RFC 3550 §6.1).
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// Most report blocks, sources or chunks in one packet: the count has five bits.
const MOST: usize = 31;

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A sender report; blocks beyond 31 are left out (they go into the next report).
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> &mut Self {
        let blocks = &blocks[..blocks.len().min(MOST)];
        self.packet(packet_type::SR, blocks.len(), |out| {
            out.extend(ssrc.to_be_bytes());
            info.write(out);
            for block in blocks {
                block.write(out);
            }
        })
    }

    /// A receiver report; blocks beyond 31 are left out.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> &mut Self {
        let blocks = &blocks[..blocks.len().min(MOST)];
        self.packet(packet_type::RR, blocks.len(), |out| {
            out.extend(ssrc.to_be_bytes());
            for block in blocks {
                block.write(out);
            }
        })
    }

    /// A source description with the canonical name, cut at 255 octets.
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) -> &mut Self {
        let name = &name[..name.len().min(255)];
        self.packet(packet_type::SDES, 1, |out| {
            out.extend(ssrc.to_be_bytes());
            out.extend([1, name.len() as u8]);
            out.extend(name);
            // RFC 3550 §6.5: at least one null octet ends the list; the rest pads.
            out.push(0);
        })
    }

    /// A goodbye, with the reason (cut at 255 octets) if it is not empty.
    pub fn bye(&mut self, ssrc: u32, reason: &[u8]) -> &mut Self {
        let reason = &reason[..reason.len().min(255)];
        self.packet(packet_type::BYE, 1, |out| {
            out.extend(ssrc.to_be_bytes());
            if !reason.is_empty() {
                out.push(reason.len() as u8);
                out.extend(reason);
            }
        })
    }

    pub(super) fn packet(
        &mut self,
        packet_type: u8,
        count: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> &mut Self {
        let start = self.out.len();
        self.out.extend([0x80 | count as u8, packet_type, 0, 0]); // at most 31
        body(self.out);
        while !(self.out.len() - start).is_multiple_of(4) {
            self.out.push(0);
        }
        // At most 31 blocks or 255 octets of text: far below 2^16 words.
        let words = ((self.out.len() - start) / 4 - 1) as u16;
        self.out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        self
    }
}
