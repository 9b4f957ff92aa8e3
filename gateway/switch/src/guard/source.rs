//! Whom a limit counts as one: an IPv4 address, or the /64 network of an IPv6 address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A source of requests. An IPv6 host has a /64 network to choose addresses from, so all of that is one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    v6: bool,
    bits: u64,
}

impl Source {
    /// The source of an address; an IPv4 address mapped into IPv6 is the IPv4 address.
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { v6: false, bits: v4.to_bits() as u64 },
            IpAddr::V6(v6) => Self { v6: true, bits: (v6.to_bits() >> 64) as u64 },
        }
    }

    /// Its address; of an IPv6 network the first.
    pub const fn address(self) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from_bits((self.bits as u128) << 64))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.bits as u32))
        }
    }

    /// A number to hash: no two sources of one family have the same.
    pub(super) const fn bits(self) -> (bool, u64) {
        (self.v6, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("0.0.0.1"), of("::1"));
        assert_eq!(of("2001:db8:0:1::9").address().to_string(), "2001:db8:0:1::");
        assert_eq!(of("192.0.2.1").address().to_string(), "192.0.2.1");
    }
}
