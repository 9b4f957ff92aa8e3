//! What must hold for what comes to a media port: RTP, RTCP, telephone events, and any stream of packets in a jitter buffer. Called by the
//! fuzz targets here and by `gateway/rtp/tests/fuzzed.rs`.

use rtp::event::{Listener, Payload, Report};
use rtp::jitter::{Bounds, Buffer, Config, Content, Step};
use rtp::rtcp::{Block, Compound, Extended, Packet as Rtcp, Writer};
use rtp::{HEADER_LEN, Header, Kind, Packet, Receiver, classify};
use sansio::Time;
use std::time::Duration;

/// A datagram as RTP: what is read lies within it, and what is written from it reads the same.
pub fn rtp(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    assert_eq!(classify(bytes), Kind::Rtp);
    let extension = packet.extension().map_or(0, |(_, data)| data.len() + 4);
    let around = HEADER_LEN + 4 * packet.csrcs().count() + extension + usize::from(packet.padding());
    assert_eq!(around + packet.payload().len(), bytes.len());
    let mut again = [0; HEADER_LEN];
    packet.header().write(&mut again).expect("room for a header");
    // Marker, type, numbers and source are where they were; version alone is left of the first octet.
    assert_eq!((again[0], &again[1..]), (0x80, &bytes[1..HEADER_LEN]));
    let mut receiver = Receiver::new(8000, Some(101));
    receiver.record(Time::ZERO, packet.header(), packet.payload().len());
    assert_eq!(receiver.packets(), 1);
}

/// A datagram as RTCP: all of it is gone through, and reports that are read and written again read the same.
pub fn rtcp(bytes: &[u8]) {
    let Ok(compound) = Compound::parse(bytes) else { return };
    assert_eq!(classify(bytes), Kind::Rtcp);
    assert!(Packet::parse(bytes).is_err());
    let _ = (compound.is_full(), compound.ssrc());
    for packet in compound.packets() {
        let mut written = Vec::new();
        match packet {
            Rtcp::SenderReport { ssrc, info, reports } => {
                let blocks: Vec<_> = reports.iter().collect();
                assert_eq!(blocks.len(), reports.len());
                Writer::new(&mut written).sender_report(ssrc, &info, &blocks);
            }
            Rtcp::ReceiverReport { ssrc, reports } => {
                let blocks: Vec<_> = reports.iter().collect();
                Writer::new(&mut written).receiver_report(ssrc, &blocks);
            }
            Rtcp::SourceDescription(description) => {
                for (source, _, text) in description.items() {
                    assert!(text.len() <= 255);
                    let _ = description.cname(source);
                }
                continue;
            }
            Rtcp::Goodbye(bye) => {
                assert!(bye.sources().count() <= 31);
                let _ = bye.reason();
                continue;
            }
            Rtcp::Application { subtype, data, .. } => {
                assert!(subtype < 32 && data.len() < bytes.len());
                continue;
            }
            Rtcp::ExtendedReport { ssrc, blocks } => {
                extended(ssrc, &blocks, bytes.len());
                continue;
            }
            Rtcp::Other { body, .. } => {
                assert!(body.len() < bytes.len());
                continue;
            }
        }
        let again = Compound::parse(&written).expect("what was written");
        let mut twice = Vec::new();
        match again.packets().next() {
            Some(Rtcp::SenderReport { ssrc, info, reports }) => {
                let blocks: Vec<_> = reports.iter().collect();
                Writer::new(&mut twice).sender_report(ssrc, &info, &blocks);
            }
            Some(Rtcp::ReceiverReport { ssrc, reports }) => {
                let blocks: Vec<_> = reports.iter().collect();
                Writer::new(&mut twice).receiver_report(ssrc, &blocks);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(written, twice);
    }
}

/// The blocks of an extended report: what is known is written and read again.
fn extended(ssrc: u32, blocks: &rtp::rtcp::Blocks<'_>, len: usize) {
    for block in blocks.iter() {
        let mut report = Extended::default();
        match &block {
            Block::Reference(ntp) => report.reference = Some(*ntp),
            Block::LastReceived(answers) => report.last_received = answers.iter().next(),
            Block::VoipMetrics(metrics) => report.metrics = Some(metrics),
            Block::Other { body, .. } => assert!(body.len() < len),
        }
        let mut written = Vec::new();
        Writer::new(&mut written).extended_report(ssrc, &report);
        let again = Compound::parse(&written).expect("what was written");
        let Some(Rtcp::ExtendedReport { ssrc: source, blocks }) = again.packets().next() else {
            panic!("an extended report")
        };
        assert_eq!(source, ssrc);
        match (blocks.iter().next(), &block) {
            (Some(Block::VoipMetrics(a)), Block::VoipMetrics(b)) => assert_eq!(a, *b),
            (Some(Block::Reference(a)), Block::Reference(b)) => assert_eq!(a, *b),
            (Some(Block::LastReceived(a)), Block::LastReceived(b)) => {
                assert_eq!(a.iter().next(), b.iter().next())
            }
            (None, Block::Other { .. } | Block::LastReceived(_)) => {}
            (again, _) => panic!("{again:?}"),
        }
    }
}

/// An extended report of these blocks alone: the fuzzer need not find the header.
pub fn xr(bytes: &[u8]) {
    let body = &bytes[..bytes.len().min(4096) & !3];
    let words = (body.len() / 4 + 1) as u16;
    let mut datagram = vec![0x80, 207];
    datagram.extend(words.to_be_bytes());
    datagram.extend([0, 0, 0, 9]);
    datagram.extend(body);
    rtcp(&datagram);
}

/// Eight octets for each packet: how much later it comes, how far its timestamp goes, flags, and the payload. Beginnings and ends alternate, and after a while of
/// nothing no event goes on.
pub fn event(bytes: &[u8]) {
    let mut listener = Listener::new(8000, Duration::from_millis(200));
    let (mut now, mut timestamp) = (Time::from_millis(1), 0u32);
    let mut open = None;
    let mut take = |report: Report| match report {
        Report::Began { event, .. } => assert_eq!(open.replace(event), None),
        Report::Ended { event, .. } => assert_eq!(open.take(), Some(event)),
    };
    for packet in bytes.chunks_exact(8) {
        now += Duration::from_millis(packet[0].into());
        timestamp = timestamp.wrapping_add_signed(i32::from(packet[1].cast_signed()) * 80);
        let header = Header {
            marker: packet[2] & 1 != 0,
            ssrc: u32::from(packet[2] >> 1 & 1),
            timestamp,
            ..Header::default()
        };
        let length = usize::from(packet[3] & 7).min(4);
        listener.put(now, &header, &packet[4..4 + length], &mut take);
        if let Some(payload) = Payload::parse(&packet[4..]) {
            assert_eq!(Payload::parse(&payload.octets()), Some(payload));
        }
        if packet[2] & 0x80 != 0
            && let Some(deadline) = listener.deadline()
        {
            now = now.max(deadline);
            listener.poll(now, &mut take);
            assert_eq!(listener.present(), None);
        }
    }
    if let Some(deadline) = listener.deadline() {
        listener.poll(deadline, &mut take);
    }
    assert_eq!((listener.present(), open), (None, None));
}

/// Six octets for each packet: how much later it comes, how far sequence and timestamp go, what it is, how much is asked for. Packets are
/// counted once each, played at most once and in order, and what is asked for is given.
pub fn jitter(bytes: &[u8]) {
    let ms = Duration::from_millis;
    let bounds = Bounds { min: ms(20), max: ms(150), start: ms(40), quantile: 0.95 };
    let mut buffer = Buffer::new(&Config { clock: 8000, bounds, slots: 16, octets: 4 });
    let (mut now, mut header) = (Time::from_millis(1000), Header::default());
    let mut last: Option<(u32, u64, u16)> = None;
    for (number, packet) in bytes.chunks_exact(6).enumerate() {
        now += ms((packet[0] & 0x7f).into());
        let far = if packet[3] & 0x40 != 0 { 4000 } else { 1 };
        header.sequence =
            header.sequence.wrapping_add_signed(i16::from(packet[1].cast_signed()).wrapping_mul(far));
        header.timestamp =
            header.timestamp.wrapping_add_signed(i32::from(packet[2].cast_signed()) * 16 * i32::from(far));
        header.ssrc = u32::from(packet[3] >> 5 & 1);
        header.marker = packet[3] & 0x10 != 0;
        let content = match packet[3] & 7 {
            0 => Content::Noise,
            1 => Content::Other,
            n => Content::Audio { ticks: 40 * u32::from(n), then_silent: packet[3] & 8 != 0 },
        };
        let octets = (number as u32).to_be_bytes();
        buffer.put(now, &header, content, &octets[..usize::from(packet[4] & 7).min(4)]);
        let tick = u32::from(packet[5]) * 4;
        let mut queued = 0;
        for turn in 0.. {
            if queued >= tick {
                break;
            }
            assert!(turn < 1000, "no progress");
            match buffer.take(now, queued, tick - queued) {
                Step::Silence(ticks) | Step::Noise(ticks) | Step::Conceal(ticks) => {
                    assert!(ticks > 0 && ticks <= tick - queued);
                    queued += ticks;
                }
                Step::Describe(payload) => assert!(payload.len() <= 4),
                Step::Play { header, payload, .. } => {
                    assert!(payload.len() <= 4);
                    let counts = buffer.counts();
                    let begun = counts.restarts + counts.ssrc_changes;
                    if let Some((ssrc, beginnings, sequence)) = last
                        && (ssrc, beginnings) == (header.ssrc, begun)
                    {
                        assert!(header.sequence.wrapping_sub(sequence).cast_signed() > 0, "out of order");
                    }
                    last = Some((header.ssrc, begun, header.sequence));
                    queued += 40;
                }
            }
        }
        let c = buffer.counts();
        let sum = c.played
            + c.events
            + c.late
            + c.duplicates
            + c.overflow
            + c.early
            + c.skipped
            + c.flushed
            + c.jumps;
        assert_eq!(c.packets, sum + buffer.waiting() as u64, "{c:?}");
        let target = buffer.target();
        assert!(target >= ms(20) && target <= ms(150));
    }
}
