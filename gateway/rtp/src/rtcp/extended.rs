//! Extended reports (RFC 3611): VoIP metrics, and the round trip of who only receives.

use super::packet_type::XR;
use super::{Writer, ntp_middle, word};

/// Block types (RFC 3611 §4).
mod block_type {
    pub(super) const REFERENCE: u8 = 4;
    pub(super) const LAST_RECEIVED: u8 = 5;
    pub(super) const VOIP: u8 = 7;
}

/// Octets of a block's header.
const BLOCK_HEADER: usize = 4;
/// Octets of a VoIP metrics block after its header: eight words.
const VOIP: usize = 32;
/// Octets of one source in a DLRR block.
const LAST_RECEIVED: usize = 12;
/// What stands for a value that is not known (RFC 3611 §4.7).
const UNKNOWN: u8 = 127;

/// What one side tells of the speech that it receives (RFC 3611 §4.7); shares are in 1/256, as they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoipMetrics {
    /// The source it speaks of.
    pub ssrc: u32,
    /// Share of packets lost on the way.
    pub loss_rate: u8,
    /// Share of packets that came too late, or for which there was no room.
    pub discard_rate: u8,
    /// Share lost or discarded inside bursts.
    pub burst_density: u8,
    /// Share lost or discarded outside of bursts.
    pub gap_density: u8,
    /// Mean length of a burst in milliseconds.
    pub burst_ms: u16,
    /// Mean length of a gap in milliseconds.
    pub gap_ms: u16,
    /// The round trip between the two ends of RTP, in milliseconds; 0 if it is not known.
    pub round_trip_ms: u16,
    /// The delay inside the end that reports, in milliseconds.
    pub end_system_ms: u16,
    /// Level of speech in dBm0.
    pub signal_level: Option<i8>,
    /// Level of noise in dBm0.
    pub noise_level: Option<i8>,
    /// Residual echo return loss in dB.
    pub echo_return_loss: Option<u8>,
    /// Packets received in a row that end a burst; 16 is what is recommended.
    pub gmin: u8,
    /// R of ITU-T G.107 for this stream, 0 to 100.
    pub r: Option<u8>,
    /// R of what lies beyond this stream.
    pub external_r: Option<u8>,
    /// Listening quality, in tenths, 10 to 50.
    pub mos_lq: Option<u8>,
    /// Conversational quality, in tenths.
    pub mos_cq: Option<u8>,
    /// How losses are concealed and what kind of buffer there is (§4.7.6).
    pub configuration: u8,
    /// Delay of the jitter buffer now, in milliseconds.
    pub buffer_ms: u16,
    /// The most that it would be now.
    pub buffer_max_ms: u16,
    /// The most that it can be.
    pub buffer_limit_ms: u16,
}

impl VoipMetrics {
    fn read(body: &[u8; VOIP]) -> Self {
        let half = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let known = |at: usize| Some(body[at]).filter(|value| *value != UNKNOWN);
        Self {
            ssrc: word(body, 0).unwrap_or_default(),
            loss_rate: body[4],
            discard_rate: body[5],
            burst_density: body[6],
            gap_density: body[7],
            burst_ms: half(8),
            gap_ms: half(10),
            round_trip_ms: half(12),
            end_system_ms: half(14),
            signal_level: known(16).map(u8::cast_signed),
            noise_level: known(17).map(u8::cast_signed),
            echo_return_loss: known(18),
            gmin: body[19],
            r: known(20),
            external_r: known(21),
            mos_lq: known(22),
            mos_cq: known(23),
            configuration: body[24],
            buffer_ms: half(26),
            buffer_max_ms: half(28),
            buffer_limit_ms: half(30),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let or_unknown = |value: Option<u8>| value.unwrap_or(UNKNOWN);
        out.extend([block_type::VOIP, 0, 0, (VOIP / 4) as u8]);
        out.extend(self.ssrc.to_be_bytes());
        out.extend([self.loss_rate, self.discard_rate, self.burst_density, self.gap_density]);
        for half in [self.burst_ms, self.gap_ms, self.round_trip_ms, self.end_system_ms] {
            out.extend(half.to_be_bytes());
        }
        let levels =
            [self.signal_level, self.noise_level].map(|level| or_unknown(level.map(i8::cast_unsigned)));
        out.extend(levels);
        out.extend([or_unknown(self.echo_return_loss), self.gmin]);
        out.extend([self.r, self.external_r, self.mos_lq, self.mos_cq].map(or_unknown));
        out.extend([self.configuration, 0]);
        for half in [self.buffer_ms, self.buffer_max_ms, self.buffer_limit_ms] {
            out.extend(half.to_be_bytes());
        }
    }
}

/// When a source was last heard to say what time it is (RFC 3611 §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastReceived {
    /// Who said it.
    pub ssrc: u32,
    /// The middle 32 bits of what it said; 0 if it said nothing.
    pub last: u32,
    /// The time since, in 1/65536 s.
    pub delay: u32,
}

/// One block of an extended report.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    /// The time at who reports, as an NTP timestamp (RFC 3611 §4.4): it is answered with [`Self::LastReceived`].
    Reference(u64),
    /// The answers to such (RFC 3611 §4.5).
    LastReceived(Answers<'a>),
    /// How speech is received (RFC 3611 §4.7).
    VoipMetrics(VoipMetrics),
    /// Whatever else, and what is not as long as it should be (§3: to be ignored).
    Other {
        /// The block's type.
        block_type: u8,
        /// What follows its header.
        body: &'a [u8],
    },
}

/// The sources of a DLRR block.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    sources: &'a [[u8; LAST_RECEIVED]],
}

impl Answers<'_> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = LastReceived> {
        let at = |source: &[u8; LAST_RECEIVED], at: usize| word(source, at).unwrap_or_default();
        self.sources.iter().map(move |source| LastReceived {
            ssrc: at(source, 0),
            last: at(source, 4),
            delay: at(source, 8),
        })
    }
}

/// The blocks of an extended report.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
}

impl<'a> Blocks<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The blocks in order; ends early at one that is cut off.
    pub fn iter(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let header: [u8; BLOCK_HEADER] = *rest.first_chunk()?;
            let len = 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
            let body = rest.get(BLOCK_HEADER..BLOCK_HEADER + len)?;
            rest = &rest[BLOCK_HEADER + len..];
            Some(block(header[0], body))
        })
    }
}

fn block(block_type: u8, body: &[u8]) -> Block<'_> {
    let other = Block::Other { block_type, body };
    match block_type {
        block_type::REFERENCE => {
            <[u8; 8]>::try_from(body).map_or(other, |ntp| Block::Reference(u64::from_be_bytes(ntp)))
        }
        block_type::LAST_RECEIVED => match body.as_chunks() {
            (sources, []) => Block::LastReceived(Answers { sources }),
            _ => other,
        },
        block_type::VOIP => {
            <&[u8; VOIP]>::try_from(body).map_or(other, |body| Block::VoipMetrics(VoipMetrics::read(body)))
        }
        _ => other,
    }
}

/// What goes into one extended report of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extended<'a> {
    /// The time here, as an NTP timestamp.
    pub reference: Option<u64>,
    /// The answer to the other's.
    pub last_received: Option<LastReceived>,
    /// How its speech is received.
    pub metrics: Option<&'a VoipMetrics>,
}

impl Writer<'_> {
    /// An extended report (RFC 3611 §2).
    pub fn extended_report(&mut self, ssrc: u32, report: &Extended<'_>) -> &mut Self {
        self.packet(XR, 0, |out| {
            out.extend(ssrc.to_be_bytes());
            if let Some(ntp) = report.reference {
                out.extend([block_type::REFERENCE, 0, 0, 2]);
                out.extend(ntp.to_be_bytes());
            }
            if let Some(answer) = report.last_received {
                out.extend([block_type::LAST_RECEIVED, 0, 0, (LAST_RECEIVED / 4) as u8]);
                for word in [answer.ssrc, answer.last, answer.delay] {
                    out.extend(word.to_be_bytes());
                }
            }
            if let Some(metrics) = report.metrics {
                metrics.write(out);
            }
        })
    }
}

impl LastReceived {
    /// Whether it answers what was said at `ntp`.
    pub const fn answers(&self, ntp: u64) -> bool {
        self.last != 0 && self.last == ntp_middle(ntp)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compound, Packet};
    use super::*;
    use proptest::prelude::*;

    fn metrics() -> VoipMetrics {
        VoipMetrics {
            ssrc: 0x0102_0304,
            loss_rate: 13,
            discard_rate: 1,
            burst_density: 64,
            gap_density: 3,
            burst_ms: 340,
            gap_ms: 9000,
            round_trip_ms: 80,
            end_system_ms: 60,
            signal_level: Some(-20),
            noise_level: Some(-65),
            echo_return_loss: Some(55),
            gmin: 16,
            r: Some(88),
            external_r: None,
            mos_lq: Some(42),
            mos_cq: Some(41),
            configuration: 0x30,
            buffer_ms: 40,
            buffer_max_ms: 60,
            buffer_limit_ms: 120,
        }
    }

    #[test]
    fn rfc_3611_section_4_7_octet_by_octet() {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes)
            .extended_report(9, &Extended { metrics: Some(&metrics()), ..Extended::default() });
        let expected = [
            0x80, 207, 0, 10, 0, 0, 0, 9, // XR, eleven words, who reports
            7, 0, 0, 8, 1, 2, 3, 4, // VoIP metrics, eight words, of whom
            13, 1, 64, 3, 1, 0x54, 0x23, 0x28, 0, 80, 0,
            60, // losses, burst, gap, round trip, end system
            0xec, 0xbf, 55, 16, 88, 127, 42, 41, // levels, echo, Gmin, R, no external R, LQ, CQ
            0x30, 0, 0, 40, 0, 60, 0, 120,
        ];
        assert_eq!(bytes, expected);
        let compound = Compound::parse(&bytes).unwrap();
        let Some(Packet::ExtendedReport { ssrc: 9, blocks }) = compound.packets().next() else {
            panic!("an XR")
        };
        assert!(matches!(blocks.iter().next(), Some(Block::VoipMetrics(read)) if read == metrics()));
    }

    #[test]
    fn the_time_is_told_and_answered() {
        let mut bytes = Vec::new();
        let answer = LastReceived { ssrc: 5, last: 0x5678_9abc, delay: 0x8000 };
        let report =
            Extended { reference: Some(0x1234_5678_9abc_def0), last_received: Some(answer), metrics: None };
        Writer::new(&mut bytes).extended_report(9, &report);
        let compound = Compound::parse(&bytes).unwrap();
        let Some(Packet::ExtendedReport { blocks, .. }) = compound.packets().next() else { panic!("an XR") };
        let mut blocks = blocks.iter();
        assert!(matches!(blocks.next(), Some(Block::Reference(0x1234_5678_9abc_def0))));
        let Some(Block::LastReceived(answers)) = blocks.next() else { panic!("DLRR") };
        assert_eq!(answers.iter().collect::<Vec<_>>(), [answer]);
        assert!(answer.answers(0x1234_5678_9abc_def0) && !answer.answers(0x1234_5679_9abc_def0));
        assert!(blocks.next().is_none());
    }

    #[test]
    fn a_block_of_another_length_is_none_of_ours() {
        for (block, len) in [(4, 1), (5, 2), (7, 7), (1, 3)] {
            let body = vec![0; 4 * len];
            let bytes =
                [&[0x80, 207, 0, len as u8 + 2, 0, 0, 0, 9, block, 0, 0, len as u8][..], &body].concat();
            let compound = Compound::parse(&bytes).unwrap();
            let Some(Packet::ExtendedReport { blocks, .. }) = compound.packets().next() else {
                panic!("an XR")
            };
            assert!(
                matches!(blocks.iter().next(), Some(Block::Other { block_type, .. }) if block_type == block)
            );
        }
        let cut = Compound::parse(&[0x80, 207, 0, 2, 0, 0, 0, 9, 7, 0, 0, 8]).unwrap();
        let Some(Packet::ExtendedReport { blocks, .. }) = cut.packets().next() else { panic!("an XR") };
        assert!(blocks.iter().next().is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(body in proptest::array::uniform32(any::<u8>())) {
            let mut body = body;
            body[25] = 0; // reserved
            let read = VoipMetrics::read(&body);
            let mut bytes = Vec::new();
            read.write(&mut bytes);
            prop_assert_eq!(&bytes[4..], body);
        }
    }
}
