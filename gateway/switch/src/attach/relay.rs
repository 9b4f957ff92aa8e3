//! What passes between the legs where something is attached to the one that hears: off the usual path, which knows nothing of it.

use super::splice::Splice;
use crate::leg_media::LegMedia;
use core::net::SocketAddr;
use rtp::Packet;
use sansio::{Outbox, Time};

/// Longest packet that is renumbered: what fits into an Ethernet frame, and some.
const PACKET_MAX: usize = 2048;
/// RTCP packet types (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
/// Octets of a report block.
const BLOCK: usize = 24;

/// Sends on an RTP packet `datagram` of one leg to the other, numbered as its stream goes, unless something plays there.
pub(crate) fn relay<M>(
    from: &LegMedia,
    to: &mut LegMedia,
    packet: &Packet<'_>,
    datagram: &[u8],
    received: Time,
    target: SocketAddr,
    out: &mut Outbox<M>,
) {
    let Some(mut splice) = to.splice.take() else { return };
    let clock = from.receiver.clock();
    let header = *packet.header();
    if let Some(sent) = splice.relayed(received, header, clock) {
        renumbered(from, to, &sent, packet, datagram, target, out);
        to.note_made(received);
    }
    to.splice = Some(splice);
}

fn renumbered<M>(
    from: &LegMedia,
    to: &mut LegMedia,
    header: &rtp::Header,
    packet: &Packet<'_>,
    datagram: &[u8],
    target: SocketAddr,
    out: &mut Outbox<M>,
) {
    let mut room = [0; PACKET_MAX];
    let Some(bytes) = room.get_mut(..datagram.len()) else { return };
    bytes.copy_from_slice(datagram);
    // It was parsed: the fixed header is there (RFC 3550 §5.1).
    bytes[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    let second = u8::from(header.marker) << 7 | from.payload_map.of(header.payload_type);
    if to.send_rtp(out, target, bytes, second, header) {
        to.count_sent(header, packet.payload().len());
        to.note_timestamp(header);
    } else {
        to.unsent += 1;
    }
}

/// Gives `send` a compound packet of `from` as it is true for the other leg's peer: of what goes to that one sender reports tell, of what
/// it hears from that one receiver reports (RFC 3550 §7.2). `splices` are those towards the other leg and towards `from`.
pub(crate) fn restated(
    splices: (Option<&Splice>, Option<&Splice>),
    clock: u32,
    now: Time,
    compound: &[u8],
    send: impl FnOnce(&[u8]),
) {
    let mut room = [0; PACKET_MAX];
    let Some(bytes) = room.get_mut(..compound.len()) else { return send(compound) };
    bytes.copy_from_slice(compound);
    let mut rest = &mut *bytes;
    while rest.len() >= 8 {
        let length = 4 * (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1);
        let Some((packet, after)) = rest.split_at_mut_checked(length) else { break };
        rest = after;
        let (count, kind) = (usize::from(packet[0] & 0x1f), packet[1]);
        let blocks = match kind {
            SENDER_REPORT if packet.len() >= 28 => {
                if let Some(splice) = splices.0 {
                    let info = (word(packet, 16), word(packet, 20), word(packet, 24));
                    let (timestamp, packets, octets) = splice.restate(now, word(packet, 4), clock, info);
                    put(packet, 16, timestamp);
                    put(packet, 20, packets);
                    put(packet, 24, octets);
                }
                28
            }
            RECEIVER_REPORT => 8,
            _ => continue,
        };
        let Some(splice) = splices.1 else { continue };
        for block in packet.get_mut(blocks..).unwrap_or_default().chunks_exact_mut(BLOCK).take(count) {
            let highest = splice.theirs(word(block, 0), word(block, 8));
            put(block, 8, highest);
        }
    }
    send(bytes);
}

/// Four octets of a packet that has them.
fn word(packet: &[u8], at: usize) -> u32 {
    packet.get(at..at + 4).map_or(0, |it| u32::from_be_bytes([it[0], it[1], it[2], it[3]]))
}

fn put(packet: &mut [u8], at: usize, value: u32) {
    if let Some(place) = packet.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::Header;

    #[test]
    fn reports_are_true_of_what_goes_out() {
        let header = |sequence: u16| Header { payload_type: 8, sequence, ssrc: 5, ..Header::default() };
        let mut splice = Splice::new(Time::ZERO, Header { ssrc: 9, ..Header::default() });
        splice.relayed(Time::ZERO, header(10), 8000);
        splice.play(1);
        for n in 1..=5 {
            splice.next(Time::from_millis(20 * n), 8, 160, 8000, 160);
        }
        splice.stop();
        splice.relayed(Time::from_millis(120), header(11), 8000).unwrap();
        // SR of 5 with a block about 7, then an SDES of nothing.
        let mut compound = vec![0x81, 200, 0, 12];
        for value in [5u32, 1, 2, 1000, 2, 320, 7, 0, 70, 0, 0, 0] {
            compound.extend(value.to_be_bytes());
        }
        compound.extend([0x80, 202, 0, 0]);
        let mut got = Vec::new();
        restated((Some(&splice), None), 8000, Time::from_millis(120), &compound, |it| got = it.to_vec());
        assert_eq!(got.len(), compound.len());
        assert_eq!((word(&got, 16), word(&got, 20), word(&got, 24)), (1960, 7, 320 + 800), "RFC 3550 §7.2");
        assert_eq!(word(&got, 36), 70, "what it hears of the other side is as it is");
        // The hearer's report about 5, back to its sender.
        let mut report = vec![0x81, 201, 0, 7];
        for value in [7u32, 5, 0, (1 << 16) | 16, 0, 0, 0] {
            report.extend(value.to_be_bytes());
        }
        restated((None, Some(&splice)), 8000, Time::ZERO, &report, |it| got = it.to_vec());
        assert_eq!(word(&got, 16), (1 << 16) | 11);
        for length in 0..compound.len() {
            restated((Some(&splice), Some(&splice)), 8000, Time::ZERO, &compound[..length], |_| {});
        }
    }
}
