//! Socket addresses as the kernel writes them, and back, without a cast.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

const V4_LEN: usize = 16;
const V6_LEN: usize = 28;
const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// A `sockaddr_in` or `sockaddr_in6`, byte for byte.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAddress {
    bytes: [u8; 32],
}

impl RawAddress {
    /// Room the kernel may write into.
    pub(crate) const ROOM: usize = V6_LEN;

    pub(crate) const EMPTY: Self = Self { bytes: [0; 32] };

    /// Writes `address` and returns how many bytes of it the kernel is to read.
    pub(crate) fn set(&mut self, address: SocketAddr) -> u32 {
        let bytes = &mut self.bytes;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                V4_LEN as u32
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                V6_LEN as u32
            }
        }
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads an address the kernel wrote; `None` if it is of another family or cut short.
pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    if family == FAMILY_V4 {
        let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        return Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)));
    }
    if family == FAMILY_V6 {
        let flow = u32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?);
        let ip: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
        return Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        let mut raw = RawAddress::EMPTY;
        for text in ["192.0.2.7:5060", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let len = raw.set(address) as usize;
            assert_eq!(parse(&raw.bytes()[..len]), Some(address));
            assert_eq!(parse(&raw.bytes()[..len.min(7)]), None);
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 5060, 0, 3));
        raw.set(scoped);
        assert_eq!(parse(raw.bytes()), Some(scoped));
        assert_eq!(parse(&[0; 28]), None);
    }

    #[test]
    fn the_encoding_is_the_kernels() {
        let address: SocketAddr = "[2001:db8::2]:5061".parse().unwrap();
        let theirs = socket2::SockAddr::from(address);
        let mut raw = RawAddress::EMPTY;
        assert_eq!(raw.set(address), theirs.len());
        assert_eq!(theirs.as_socket(), parse(raw.bytes()));
    }
}
