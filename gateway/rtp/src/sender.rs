//! A sent stream: numbers its packets, counts them, and says so in sender reports.

use crate::Header;
use crate::rtcp::SenderInfo;

/// Numbers the packets of one stream that we originate.
#[derive(Clone, Debug)]
pub struct Sender {
    next: Header,
    packets: u64,
    octets: u64,
}

impl Sender {
    /// A stream whose first packet has these numbers. RFC 3550 §5.1 wants sequence, timestamp and SSRC to be random.
    pub const fn new(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let next = Header { payload_type, marker: true, sequence, timestamp, ssrc };
        Self { next, packets: 0, octets: 0 }
    }

    /// The header of the next packet, which carries `ticks` of the payload's clock in `octets` bytes. The first packet
    /// and the one after [`Self::pause`] carry the marker (RFC 3551 §4.1).
    pub fn packet(&mut self, ticks: u32, octets: usize) -> Header {
        let header = self.next;
        self.next.marker = false;
        self.next.sequence = self.next.sequence.wrapping_add(1);
        self.next.timestamp = self.next.timestamp.wrapping_add(ticks);
        self.packets += 1;
        self.octets += octets as u64;
        header
    }

    /// Nothing is sent for `ticks`: the timestamp goes on, the sequence does not, the next packet has the marker.
    pub fn pause(&mut self, ticks: u32) {
        self.next.timestamp = self.next.timestamp.wrapping_add(ticks);
        self.next.marker = true;
    }

    /// The stream's SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.next.ssrc
    }

    /// Packets numbered so far.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes so far.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// What a sender report says now: `ntp` is wall-clock time as an NTP timestamp (RFC 3550 §6.4.1).
    pub const fn info(&self, ntp: u64) -> SenderInfo {
        SenderInfo {
            ntp,
            rtp: self.next.timestamp,
            packets: self.packets as u32, // counts modulo 2^32, as the field does
            octets: self.octets as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_the_marker_opens_each_spurt() {
        let mut sender = Sender::new(0, 7, u16::MAX, u32::MAX - 159);
        let first = sender.packet(160, 160);
        assert_eq!((first.sequence, first.timestamp, first.marker), (u16::MAX, u32::MAX - 159, true));
        let second = sender.packet(160, 160);
        assert_eq!((second.sequence, second.timestamp, second.marker), (0, 0, false));
        sender.pause(800);
        let third = sender.packet(160, 160);
        assert_eq!((third.sequence, third.timestamp, third.marker), (1, 960, true));
        let info = sender.info(5);
        assert_eq!((info.ntp, info.rtp, info.packets, info.octets), (5, 1120, 3, 480));
    }
}
