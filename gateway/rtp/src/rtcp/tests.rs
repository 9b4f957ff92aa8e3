//! Tests of RTCP reading and writing, with `rtcp-types` as a second opinion.

use super::*;
use core::time::Duration;
use proptest::prelude::*;

fn block(ssrc: u32, lost: i32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 64,
        lost,
        highest_sequence: 0x1_0005,
        jitter: 12,
        last_sr: 0xaaaa_bbbb,
        delay_since_sr: 0x1_8000,
    }
}

const INFO: SenderInfo = SenderInfo { ntp: 0x1234_5678_9abc_def0, rtp: 160, packets: 7, octets: 1120 };

fn compound() -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes)
        .sender_report(1, &INFO, &[block(2, -3), block(3, 0x7f_ffff)])
        .cname(1, b"gw@example.net")
        .bye(1, b"done");
    bytes
}

#[test]
fn reads_what_it_wrote() {
    let bytes = compound();
    let compound = Compound::parse(&bytes).unwrap();
    assert!(compound.is_full());
    assert_eq!(compound.ssrc(), Some(1));
    let mut packets = compound.packets();
    let Some(Packet::SenderReport { ssrc, info, reports }) = packets.next() else { panic!("SR first") };
    assert_eq!((ssrc, info), (1, INFO));
    assert_eq!(reports.iter().collect::<Vec<_>>(), [block(2, -3), block(3, 0x7f_ffff)]);
    let Some(Packet::SourceDescription(sdes)) = packets.next() else { panic!("then SDES") };
    assert_eq!(sdes.cname(1), Some(&b"gw@example.net"[..]));
    assert_eq!(sdes.cname(2), None);
    let Some(Packet::Goodbye(bye)) = packets.next() else { panic!("then BYE") };
    assert_eq!(bye.sources().collect::<Vec<_>>(), [1]);
    assert_eq!(bye.reason(), Some(&b"done"[..]));
    assert!(packets.next().is_none());
}

#[test]
fn another_implementation_reads_the_same() {
    let bytes = compound();
    let mut packets = rtcp_types::Compound::parse(&bytes).unwrap();
    let Some(Ok(rtcp_types::Packet::Sr(sr))) = packets.next() else { panic!("SR first") };
    assert_eq!((sr.ssrc(), sr.ntp_timestamp(), sr.rtp_timestamp()), (1, INFO.ntp, INFO.rtp));
    assert_eq!((sr.packet_count(), sr.octet_count(), sr.n_reports()), (7, 1120, 2));
    let theirs = sr.report_blocks().next().unwrap();
    let ours = block(2, -3);
    assert_eq!((theirs.ssrc(), theirs.fraction_lost()), (ours.ssrc, ours.fraction_lost));
    assert_eq!(theirs.extended_sequence_number(), ours.highest_sequence);
    assert_eq!((theirs.interarrival_jitter(), theirs.last_sender_report_timestamp()), (12, ours.last_sr));
    assert_eq!(theirs.delay_since_last_sender_report_timestamp(), ours.delay_since_sr);
    let Some(Ok(rtcp_types::Packet::Sdes(sdes))) = packets.next() else { panic!("then SDES") };
    let item = sdes.chunks().next().unwrap().items().next().unwrap();
    assert_eq!((item.type_(), item.value()), (1, &b"gw@example.net"[..]));
    let Some(Ok(rtcp_types::Packet::Bye(bye))) = packets.next() else { panic!("then BYE") };
    assert_eq!(bye.reason(), Some(&b"done"[..]));
}

#[test]
fn the_checks_of_rfc_3550_a_2() {
    let whole = compound();
    let change = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] = to;
        Compound::parse(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(change(0, 0x42), RtcpError::Version);
    assert_eq!(change(0, 0xa2), RtcpError::Padding, "padding before the last packet");
    assert_eq!(change(0, 0x83), RtcpError::Blocks, "three blocks announced, two there");
    assert_eq!(change(1, 96), RtcpError::PacketType);
    assert_eq!(change(3, 200), RtcpError::Length);
    for cut in 1..whole.len() {
        if let Ok(compound) = Compound::parse(&whole[..cut]) {
            assert!(compound.packets().count() < 3, "cut at {cut}");
        }
    }
    assert_eq!(Compound::parse(&[]).map(|_| ()), Err(RtcpError::Length));
}

#[test]
fn padding_of_the_last_packet_is_taken_off() {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).receiver_report(5, &[]);
    bytes.extend([0, 0, 0, 4]);
    bytes[0] |= 0x20;
    bytes[3] += 1;
    assert!(matches!(
        Compound::parse(&bytes).unwrap().packets().next(),
        Some(Packet::ReceiverReport { ssrc: 5, .. })
    ));
    for wrong in [0, 3, 12, 255] {
        *bytes.last_mut().unwrap() = wrong;
        assert_eq!(Compound::parse(&bytes).map(|_| ()), Err(RtcpError::Padding), "{wrong} octets");
    }
}

#[test]
fn application_and_extended_reports_come_through() {
    let bytes = [
        [0x81, packet_type::APP, 0, 3].as_slice(),
        &[0, 0, 0, 9],
        b"test",
        &[1, 2, 3, 4],
        &[0x80, packet_type::XR, 0, 2, 0, 0, 0, 9, 4, 0, 0, 0],
    ]
    .concat();
    let compound = Compound::parse(&bytes).unwrap();
    assert!(!compound.is_full(), "reduced size, RFC 5506");
    let packets: Vec<Packet<'_>> = compound.packets().collect();
    assert!(matches!(
        packets[0],
        Packet::Application { subtype: 1, ssrc: 9, name: [b't', b'e', b's', b't'], data: [1, 2, 3, 4] }
    ));
    let Packet::ExtendedReport { ssrc: 9, blocks } = packets[1] else { panic!("XR") };
    assert!(matches!(blocks.iter().next(), Some(Block::Other { block_type: 4, body: [] })));
    let short = Compound::parse(&[0x80, packet_type::XR, 0, 0]).unwrap();
    assert!(matches!(short.packets().next(), Some(Packet::Other { packet_type: packet_type::XR, .. })));
}

#[test]
fn the_round_trip_of_rfc_3550_section_6_4_1() {
    // The example of figure 2: DLSR 5.250 s, A - LSR 11.375 s, so 6.125 s.
    let block = ReportBlock { last_sr: 0xb705_2000, delay_since_sr: 0x0005_4000, ..ReportBlock::default() };
    assert_eq!(round_trip(&block, Duration::from_millis(11_375)), Some(Duration::from_millis(6125)));
    assert_eq!(round_trip(&block, Duration::from_millis(5250)), Some(Duration::ZERO));
    assert_eq!(round_trip(&block, Duration::from_millis(5240)), None, "held longer than it was away");
    assert_eq!(round_trip(&ReportBlock::default(), Duration::from_secs(1)), None, "answers no report");
    assert_eq!(ntp_short(Duration::from_millis(5250)), 0x0005_4000);
    assert_eq!(ntp_short(Duration::MAX), u32::MAX);
    assert_eq!(ntp_middle(0xb44d_b705_2000_0000), 0xb705_2000);
}

#[test]
fn more_blocks_than_the_count_can_say_are_left_out() {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).receiver_report(1, &[block(2, 0); 40]);
    let Some(Packet::ReceiverReport { reports, .. }) = Compound::parse(&bytes).unwrap().packets().next()
    else {
        panic!("RR")
    };
    assert_eq!((reports.len(), reports.is_empty()), (31, false));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        walk(&bytes);
    }

    #[test]
    fn never_panics_on_a_damaged_packet(at in 0usize..120, to: u8, cut in 0usize..120) {
        let mut bytes = compound();
        let len = bytes.len();
        bytes[at % len] = to;
        bytes.truncate(len - cut % len);
        walk(&bytes);
    }

    #[test]
    fn names_of_any_length_round_trip(name in proptest::collection::vec(1u8.., 0..300)) {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).receiver_report(7, &[]).cname(7, &name);
        let Some(Packet::SourceDescription(sdes)) = Compound::parse(&bytes).unwrap().packets().nth(1) else {
            panic!("SDES second")
        };
        prop_assert_eq!(sdes.cname(7).unwrap(), &name[..name.len().min(255)]);
    }
}

fn walk(bytes: &[u8]) {
    let Ok(compound) = Compound::parse(bytes) else { return };
    let _ = compound.ssrc();
    for packet in compound.packets() {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                let _ = reports.iter().count();
            }
            Packet::SourceDescription(sdes) => {
                let _ = sdes.items().count();
            }
            Packet::Goodbye(bye) => {
                let _ = (bye.sources().count(), bye.reason());
            }
            Packet::ExtendedReport { blocks, .. } => {
                for block in blocks.iter() {
                    if let Block::LastReceived(answers) = block {
                        let _ = answers.iter().count();
                    }
                }
            }
            Packet::Application { .. } | Packet::Other { .. } => {}
        }
    }
}
