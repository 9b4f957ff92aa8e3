//! RTP packets: the header as plain values, bounds checked once, and the demultiplexing of one port.

use rtp_rs::{RtpPacketBuilder, RtpReader, RtpReaderError, Seq};

/// Bytes of the fixed RTP header (RFC 3550 §5.1).
pub const HEADER_LEN: usize = RtpReader::MIN_HEADER_LEN;

/// What a datagram on a media port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looks like RTP; [`Packet::parse`] says whether it is.
    Rtp,
    /// Looks like RTCP; [`crate::rtcp::Compound::parse`] says whether it is.
    Rtcp,
    /// Neither: STUN, DTLS, keep-alives, noise (version bits other than 2, or too short).
    Other,
}

/// Tells RTP from RTCP on one port by the second octet, RFC 5761 §4: RTCP packet types are 192 to 223, which
/// as RTP would be payload types 64 to 95 with the marker, and those are never negotiated.
pub const fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [first, second, _, _, ..] if *first >> 6 == 2 => match *second {
            192..=223 => Kind::Rtcp,
            _ => Kind::Rtp,
        },
        _ => Kind::Other,
    }
}

/// Why a datagram is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Shorter than what its header announces.
    Truncated,
    /// Not RTP version 2.
    Version,
    /// The padding count is zero or larger than what it pads.
    Padding,
    /// RTCP on an RTP port.
    Rtcp,
}

impl core::fmt::Display for PacketError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "RTP packet shorter than its header says",
            Self::Version => "not RTP version 2",
            Self::Padding => "RTP padding larger than the packet",
            Self::Rtcp => "RTCP where RTP was expected",
        })
    }
}

impl core::error::Error for PacketError {}

/// The buffer has no room for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// The fields of the fixed header that change from packet to packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker: for audio, the first packet of a talk spurt (RFC 3551 §4.1).
    pub marker: bool,
    /// Sequence number, one more for each packet sent.
    pub sequence: u16,
    /// Sampling instant of the first sample, in ticks of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Writes a header without CSRCs, extension or padding into the first [`HEADER_LEN`] bytes of `packet`.
    ///
    /// # Errors
    /// [`Truncated`] when `packet` is shorter than that.
    pub fn write(&self, packet: &mut [u8]) -> Result<(), Truncated> {
        RtpPacketBuilder::new()
            .payload_type(self.payload_type & 0x7f)
            .marked(self.marker)
            .sequence(Seq::from(self.sequence))
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .build_into(packet)
            .map(|_| ())
            .map_err(|_| Truncated)
    }
}

/// A received RTP packet whose CSRC list, extension and padding lie within the datagram (RFC 3550 §5.1, A.1).
#[derive(Debug)]
pub struct Packet<'a> {
    header: Header,
    reader: RtpReader<'a>,
}

impl<'a> Packet<'a> {
    /// Checks a datagram's bounds and reads its header.
    ///
    /// # Errors
    /// [`PacketError`] when it is not RTP version 2, is RTCP, or announces more than it holds.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let reader = RtpReader::new(datagram).map_err(|error| match error {
            RtpReaderError::BufferTooShort(_) | RtpReaderError::HeadersTruncated { .. } => {
                PacketError::Truncated
            }
            RtpReaderError::UnsupportedVersion(_) => PacketError::Version,
            RtpReaderError::PaddingLengthInvalid(_) => PacketError::Padding,
        })?;
        if matches!(datagram[1], 192..=223) {
            return Err(PacketError::Rtcp);
        }
        let header = Header {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: u16::from(reader.sequence_number()),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
        };
        Ok(Self { header, reader })
    }

    /// The fixed header's fields.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, without header, extension and padding.
    pub fn payload(&self) -> &'a [u8] {
        self.reader.payload()
    }

    /// Contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + '_ {
        self.reader.csrc()
    }

    /// The header extension: its profile number and data (RFC 3550 §5.3.1).
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        self.reader.extension()
    }

    /// Octets of padding at the end, 0 if none.
    pub fn padding(&self) -> u8 {
        self.reader.padding().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn minimal() -> Vec<u8> {
        vec![0x80, 0x80 | 8, 0x12, 0x34, 0, 0, 1, 0x40, 0xde, 0xad, 0xbe, 0xef]
    }

    #[test]
    fn reads_what_it_wrote() {
        let header =
            Header { payload_type: 8, marker: true, sequence: 0x1234, timestamp: 320, ssrc: 0xdead_beef };
        let mut bytes = [0xff; 16];
        header.write(&mut bytes).unwrap();
        assert_eq!(bytes[..12], minimal());
        assert_eq!(bytes[12..], [0xff; 4], "the payload is the caller's");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(*packet.header(), header);
        assert_eq!(packet.payload(), [0xff; 4]);
        assert_eq!(header.write(&mut [0; 11]), Err(Truncated));
    }

    #[test]
    fn finds_the_payload_between_csrcs_extension_and_padding() {
        let mut bytes = minimal();
        bytes[0] |= 0x20 | 0x10 | 2;
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]); // two CSRCs
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // an extension of one word
        bytes.extend([7, 7, 7, 0, 2]); // payload, two octets of padding
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(packet.extension(), Some((0xbede, &[9, 9, 9, 9][..])));
        assert_eq!(packet.payload(), [7, 7, 7]);
        assert_eq!(packet.padding(), 2);
    }

    #[test]
    fn refuses_what_announces_more_than_it_holds() {
        let with = |first: u8, tail: &[u8]| {
            let mut bytes = minimal();
            bytes[0] = first;
            bytes.extend(tail);
            Packet::parse(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0x8f, &[0; 56]), PacketError::Truncated, "15 CSRCs, room for 14");
        assert_eq!(with(0x90, &[0, 0, 0]), PacketError::Truncated, "extension header cut");
        assert_eq!(with(0x90, &[0, 0, 0, 2, 1, 1, 1, 1]), PacketError::Truncated, "extension cut");
        assert_eq!(with(0x90, &[0, 0, 0xff, 0xff]), PacketError::Truncated, "extension of 256 KiB");
        assert_eq!(with(0xa0, &[]), PacketError::Truncated, "padding without an octet to say how much");
        assert_eq!(with(0xa0, &[0]), PacketError::Padding);
        assert_eq!(with(0xa0, &[1, 3]), PacketError::Padding, "padding reaches into the header");
        assert_eq!(with(0x40, &[]), PacketError::Version);
        assert_eq!(Packet::parse(&minimal()[..11]).map(|_| ()), Err(PacketError::Truncated));
        assert_eq!(Packet::parse(&[]).map(|_| ()), Err(PacketError::Truncated));
    }

    #[test]
    fn tells_rtp_from_rtcp_by_rfc_5761_section_4() {
        for second in 0..=255u8 {
            let expected = if (192..=223).contains(&second) { Kind::Rtcp } else { Kind::Rtp };
            let mut bytes = minimal();
            bytes[1] = second;
            assert_eq!(classify(&bytes), expected);
            assert_eq!(Packet::parse(&bytes).is_ok(), expected == Kind::Rtp);
        }
        assert_eq!(classify(&[0, 1, 0, 0]), Kind::Other, "STUN");
        assert_eq!(classify(&[22, 254, 253, 0]), Kind::Other, "DTLS");
        assert_eq!(classify(&[0x80, 0, 0]), Kind::Other, "too short for either");
        assert_eq!(classify(b"\r\n"), Kind::Other);
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_within_the_datagram(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(&bytes);
            if let Ok(packet) = Packet::parse(&bytes) {
                let extension = packet.extension().map_or(0, |(_, data)| data.len() + 4);
                let csrcs = packet.csrcs().count() * 4;
                let padding = usize::from(packet.padding());
                prop_assert_eq!(HEADER_LEN + csrcs + extension + packet.payload().len() + padding, bytes.len());
            }
        }

        #[test]
        fn headers_round_trip(payload_type in 0u8..64, marker: bool, sequence: u16, timestamp: u32, ssrc: u32) {
            let header = Header { payload_type, marker, sequence, timestamp, ssrc };
            let mut bytes = [0; HEADER_LEN];
            header.write(&mut bytes).unwrap();
            prop_assert_eq!(*Packet::parse(&bytes).unwrap().header(), header);
        }
    }
}
