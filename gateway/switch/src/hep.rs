//! HEP version 3 (EEP), the encapsulation in which Homer and its like take copies of SIP messages: one UDP datagram each.
//!
//! A packet is `HEP3`, its length, and chunks, of vendor 0 but for one of our own: two bytes of vendor, two of type, two of length (all
//! of the chunk), then the value, in network order (HEP/EEP protocol, revision 3.6, "Chunk types").

use core::net::{IpAddr, SocketAddr};

/// Where copies of messages are sent and how they are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HepConfig {
    /// The capture server.
    pub server: SocketAddr,
    /// What tells this gateway from other agents there.
    pub capture_id: u32,
    /// The server's password; empty for none.
    pub password: String,
    /// How many of ten thousand calls are copied.
    pub sample: u16,
}

/// A message to be copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// IP protocol: 17 for UDP, 6 for TCP and what runs over it.
    pub(crate) protocol: u8,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    /// The call it belongs to; 0 for none.
    pub(crate) call: u64,
    /// Session-ID of that call, if it is known.
    pub(crate) session: Option<&'a str>,
    pub(crate) bytes: &'a [u8],
}

/// A vendor that nobody is; a server passes over chunks of vendors that it does not know.
const PRIVATE: u16 = 0xffff;
/// Session-ID of the call (RFC 7989). Its number is none of a generic chunk, for servers that do not look at the vendor.
const SESSION_ID: u16 = 0x0100;

/// Longest packet: what UDP over IPv4 carries.
const LONGEST: usize = 65_507;

/// Appends the packet to `out`; gives where in it the message begins, or `None` (nothing appended) if it would be too long.
pub(crate) fn write(out: &mut Vec<u8>, config: &HepConfig, copied: &Copied<'_>) -> Option<usize> {
    let start = out.len();
    out.extend_from_slice(b"HEP3\0\0");
    let family: u8 = if copied.source.is_ipv4() { 2 } else { 10 };
    chunk(out, 1, &[family]);
    chunk(out, 2, &[copied.protocol]);
    for (address, v4, v6) in [(copied.source, 3, 5), (copied.destination, 4, 6)] {
        match address.ip() {
            IpAddr::V4(ip) => chunk(out, v4, &ip.octets()),
            IpAddr::V6(ip) => chunk(out, v6, &ip.octets()),
        }
    }
    chunk(out, 7, &copied.source.port().to_be_bytes());
    chunk(out, 8, &copied.destination.port().to_be_bytes());
    chunk(out, 9, &((copied.at / 1_000_000) as u32).to_be_bytes());
    chunk(out, 10, &((copied.at % 1_000_000) as u32).to_be_bytes());
    // Protocol type 1 is SIP.
    chunk(out, 11, &[1]);
    chunk(out, 12, &config.capture_id.to_be_bytes());
    if !config.password.is_empty() {
        chunk(out, 14, config.password.as_bytes());
    }
    if copied.call != 0 {
        chunk(out, 17, link::CallId(copied.call).to_string().as_bytes());
    }
    if let Some(session) = copied.session {
        chunk_of(out, PRIVATE, SESSION_ID, session.as_bytes());
    }
    let length = out.len() - start + 6 + copied.bytes.len();
    if length > LONGEST {
        out.truncate(start);
        return None;
    }
    chunk(out, 15, copied.bytes);
    // At most LONGEST, so it fits.
    out[start + 4..start + 6].copy_from_slice(&(length as u16).to_be_bytes());
    Some(out.len() - copied.bytes.len())
}

/// One chunk of the generic vendor.
fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    chunk_of(out, 0, kind, value);
}

/// One chunk; values are short but for the message, whose length was checked.
fn chunk_of(out: &mut Vec<u8>, vendor: u16, kind: u16, value: &[u8]) {
    out.extend_from_slice(&vendor.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&((value.len() + 6) as u16).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HepConfig {
        HepConfig {
            server: "192.0.2.9:9060".parse().unwrap(),
            capture_id: 2001,
            password: "pw".into(),
            sample: 10_000,
        }
    }

    #[test]
    fn a_packet_byte_for_byte() {
        let copied = Copied {
            source: "10.0.0.1:5060".parse().unwrap(),
            destination: "10.0.0.2:5061".parse().unwrap(),
            protocol: 17,
            at: 0x5000_0000 * 1_000_000 + 7,
            call: 0xab,
            session: None,
            bytes: b"SIP",
        };
        let mut out = b"before".to_vec();
        let message = write(&mut out, &config(), &copied).unwrap();
        let expected: &[u8] = &[
            b'H', b'E', b'P', b'3', 0, 132, // 132 bytes in all
            0, 0, 0, 1, 0, 7, 2, // IPv4
            0, 0, 0, 2, 0, 7, 17, // UDP
            0, 0, 0, 3, 0, 10, 10, 0, 0, 1, // from
            0, 0, 0, 4, 0, 10, 10, 0, 0, 2, // to
            0, 0, 0, 7, 0, 8, 0x13, 0xc4, // port from
            0, 0, 0, 8, 0, 8, 0x13, 0xc5, // port to
            0, 0, 0, 9, 0, 10, 0x50, 0, 0, 0, // seconds
            0, 0, 0, 10, 0, 10, 0, 0, 0, 7, // microseconds
            0, 0, 0, 11, 0, 7, 1, // SIP
            0, 0, 0, 12, 0, 10, 0, 0, 7, 0xd1, // agent 2001
            0, 0, 0, 14, 0, 8, b'p', b'w', // password
        ];
        assert_eq!(&out[6..6 + expected.len()], expected);
        let rest = &out[6 + expected.len()..];
        assert_eq!(&rest[..22], b"\0\0\0\x11\0\x1600000000000000ab");
        assert_eq!(&rest[22..], b"\0\0\0\x0f\0\x09SIP");
        assert_eq!(out.len() - 6, 132);
        assert_eq!(&out[message..], b"SIP");
        // With the call's Session-ID in a chunk of its own.
        out.clear();
        let message = write(&mut out, &config(), &Copied { session: Some("a;remote=b"), ..copied }).unwrap();
        let chunk = b"\xff\xff\x01\x00\x00\x10a;remote=b";
        assert!(out.windows(chunk.len()).any(|window| window == chunk));
        assert_eq!((&out[message..], out.len()), (&b"SIP"[..], 132 + chunk.len()));
    }

    #[test]
    fn what_udp_cannot_carry_is_left_out() {
        let long = vec![b'x'; 65_500];
        let copied = Copied {
            source: "[2001:db8::1]:1".parse().unwrap(),
            destination: "[2001:db8::2]:2".parse().unwrap(),
            protocol: 6,
            at: 0,
            call: 0,
            session: None,
            bytes: &long,
        };
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &config(), &copied), None);
        assert!(out.is_empty());
        assert!(write(&mut out, &config(), &Copied { bytes: &long[..65_000], ..copied }).is_some());
        assert_eq!(out.len(), usize::from(u16::from_be_bytes([out[4], out[5]])));
    }
}
