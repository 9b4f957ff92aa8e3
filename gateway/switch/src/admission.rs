//! Who may place a call: the networks that are allowed, besides the trunks' own peers.

use crate::config::Config;
use crate::trunk::TrunkConfig;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A network, as `ADDR/BITS` or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// How many leading bits of an address it fixes.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// Whether calls are taken from an address: of an allowed network, or of a trunk's peer.
pub(crate) fn allowed<'a>(
    config: &Config,
    trunks: impl Iterator<Item = &'a TrunkConfig>,
    source: IpAddr,
) -> bool {
    covers(&config.allow, trunks, source)
}

/// Whether who calls is believed from an address: of a trusted network, or of a peer of a trusted trunk (RFC 3325 §5).
pub(crate) fn trusted<'a>(
    config: &Config,
    trunks: impl Iterator<Item = &'a TrunkConfig>,
    source: IpAddr,
) -> bool {
    covers(&config.trusted, trunks.filter(|trunk| trunk.profile.trusted), source)
}

fn covers<'a>(
    networks: &[Network],
    mut trunks: impl Iterator<Item = &'a TrunkConfig>,
    source: IpAddr,
) -> bool {
    let source = source.to_canonical();
    let is_it =
        |trunk: &TrunkConfig| trunk.peers.iter().any(|peer| peer.address.ip().to_canonical() == source);
    networks.iter().any(|network| network.contains(source)) || trunks.any(is_it)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("\"{text}\" is no network; write it as 192.0.2.0/24 or 2001:db8::/32");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(error()) } else { Ok(Self { address, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn networks_hold_what_lies_in_them() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255"));
        assert!(!holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("0.0.0.0/0", "203.0.113.9"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(holds("::/0", "2001:db8::1"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(!holds("127.0.0.1", "127.0.0.2"));
    }

    #[test]
    fn peers_of_trunks_are_let_in_and_those_of_trusted_trunks_believed() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let config = Config {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            trusted: vec!["192.0.2.7".parse().unwrap()],
            ..Config::default()
        };
        let plain = TrunkConfig::new("a", "198.51.100.1:5060".parse().unwrap());
        let mut believed = TrunkConfig::new("b", "198.51.100.2:5060".parse().unwrap());
        believed.profile = Profile::built_in("ims").unwrap().into();
        let trunks = [plain, believed];
        let facts = |text| {
            let source = address(text);
            (allowed(&config, trunks.iter(), source), trusted(&config, trunks.iter(), source))
        };
        assert_eq!(facts("192.0.2.1"), (true, false));
        assert_eq!(facts("192.0.2.7"), (true, true));
        assert_eq!(facts("198.51.100.1"), (true, false));
        assert_eq!(facts("::ffff:198.51.100.2"), (true, true));
        assert_eq!(facts("203.0.113.1"), (false, false));
    }

    #[test]
    fn nonsense_is_refused_with_the_cure() {
        for text in ["", "192.0.2.0/33", "192.0.2/24", "::/129", "a/8", "1.2.3.4/"] {
            assert!(text.parse::<Network>().unwrap_err().contains("write it as"), "{text}");
        }
    }
}
