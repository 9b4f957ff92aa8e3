//! A trace as packets for a protocol analyser: pcapng with IP, UDP and TCP headers made up around each message.
//!
//! Addresses, ports and times are those that were recorded; identifiers, sequence numbers and hop counts are not, since
//! messages are recorded above the transport. What came over TLS or a WebSocket stands in clear as over TCP. The
//! format is that of draft-ietf-opsawg-pcapng: a section header, one interface of raw IP, a packet per message.

use link::{Trace, TraceMessage};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Raw IP, version 4 or 6 by its first four bits (LINKTYPE_RAW).
const LINK_RAW: u16 = 101;
/// Most payload in one segment, so that any header fits the length field of IP as well.
const SEGMENT: usize = 65_000;

/// The trace as a pcapng file.
pub fn pcapng(trace: &Trace) -> Vec<u8> {
    let mut file =
        Vec::with_capacity(128 + trace.messages.iter().map(|it| it.bytes.len() + 160).sum::<usize>());
    let mut section = Vec::new();
    section.extend_from_slice(&0x1a2b_3c4du32.to_le_bytes());
    section.extend_from_slice(&1u16.to_le_bytes());
    section.extend_from_slice(&0u16.to_le_bytes());
    section.extend_from_slice(&u64::MAX.to_le_bytes());
    option(&mut section, 4, b"trunkline");
    end_of_options(&mut section);
    block(&mut file, 0x0a0d_0d0a, &section);
    let mut interface = Vec::new();
    interface.extend_from_slice(&LINK_RAW.to_le_bytes());
    interface.extend_from_slice(&[0; 6]);
    option(&mut interface, 2, b"signalling");
    end_of_options(&mut interface);
    block(&mut file, 1, &interface);
    let mut streams = HashMap::new();
    for (number, message) in trace.messages.iter().enumerate() {
        let label = trace.legs.iter().find(|leg| leg.leg == message.leg).map_or("", |leg| &leg.label);
        let call = trace.call.map_or_else(String::new, |call| format!("call {call}, "));
        let comment = format!("{call}leg {} {label}, {}", message.leg, message.transport);
        for packet in packets(message, number as u16, &mut streams) {
            let mut body = Vec::with_capacity(packet.len() + 128);
            body.extend_from_slice(&0u32.to_le_bytes());
            body.extend_from_slice(&((message.at.0 >> 32) as u32).to_le_bytes());
            body.extend_from_slice(&(message.at.0 as u32).to_le_bytes());
            for _ in 0..2 {
                body.extend_from_slice(&(packet.len() as u32).to_le_bytes());
            }
            body.extend_from_slice(&packet);
            pad(&mut body);
            option(&mut body, 1, comment.trim_end().as_bytes());
            end_of_options(&mut body);
            block(&mut file, 6, &body);
        }
    }
    file
}

/// Bytes sent so far in each direction of each connection: of the one first named by its source.
type Streams = HashMap<(SocketAddr, SocketAddr), u32>;

/// The packets of one message: one, unless it is longer than a segment.
fn packets(message: &TraceMessage, id: u16, streams: &mut Streams) -> Vec<Vec<u8>> {
    let (from, to) =
        if message.sent { (message.local, message.remote) } else { (message.remote, message.local) };
    let (from, to) = same_family(from, to);
    if message.transport == "udp" {
        let bytes = &message.bytes[..message.bytes.len().min(SEGMENT)];
        let mut datagram = Vec::with_capacity(8 + bytes.len());
        datagram.extend_from_slice(&from.port().to_be_bytes());
        datagram.extend_from_slice(&to.port().to_be_bytes());
        datagram.extend_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(bytes);
        let sum = match transport_sum(from.ip(), to.ip(), 17, &datagram) {
            // RFC 768: a sum of nought is sent as all ones.
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        return vec![ip(from.ip(), to.ip(), 17, id, &datagram)];
    }
    let mut sent = Vec::new();
    for part in message.bytes.chunks(SEGMENT) {
        let acknowledged = streams.get(&(to, from)).copied().unwrap_or(0).wrapping_add(1);
        let place = streams.entry((from, to)).or_default();
        let sequence = place.wrapping_add(1);
        *place = place.wrapping_add(part.len() as u32);
        let mut segment = Vec::with_capacity(20 + part.len());
        segment.extend_from_slice(&from.port().to_be_bytes());
        segment.extend_from_slice(&to.port().to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        // Five words of header; PSH and ACK; the largest window.
        segment.extend_from_slice(&[5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(part);
        let sum = transport_sum(from.ip(), to.ip(), 6, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        sent.push(ip(from.ip(), to.ip(), 6, id, &segment));
    }
    sent
}

/// Both addresses in one family: an IPv4 address beside an IPv6 one is written as mapped (RFC 4291 §2.5.5.2).
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |it: SocketAddr| match it.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), it.port()),
        IpAddr::V6(_) => it,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) }
}

/// An IP packet (RFC 791 §3.1, RFC 8200 §3) around a transport's bytes.
fn ip(from: IpAddr, to: IpAddr, protocol: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
            packet.extend_from_slice(&id.to_be_bytes());
            packet.extend_from_slice(&[0x40, 0, 64, protocol, 0, 0]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            let sum = !folded(add(0, &packet));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend_from_slice(&[protocol, 64]);
            packet.extend_from_slice(&octets(from));
            packet.extend_from_slice(&octets(to));
        }
    }
    packet.extend_from_slice(payload);
    packet
}

/// The 16 bytes of an IPv6 address, the 4 of an IPv4 one.
fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The checksum of UDP and TCP with its pseudo header (RFC 768, RFC 9293 §3.1, RFC 8200 §8.1): the same sum for
/// both versions of IP, since nought adds nothing.
fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut sum = add(0, &octets(from));
    sum = add(sum, &octets(to));
    sum = add(sum, &(bytes.len() as u32).to_be_bytes());
    sum = add(sum, &[0, protocol]);
    !folded(add(sum, bytes))
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut sum = sum;
    for pair in bytes.chunks(2) {
        sum += (u64::from(pair[0]) << 8) | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    sum
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// An option; longer values than it can hold are cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(1024)];
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

/// A block: its type, its length before and behind its body.
fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() + 12) as u32;
    file.extend_from_slice(&kind.to_le_bytes());
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(body);
    file.extend_from_slice(&length.to_le_bytes());
}
