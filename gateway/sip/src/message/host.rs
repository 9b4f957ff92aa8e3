//! Host and port as they stand in URIs and Via (RFC 3261 §25.1 `hostport`).

use super::scan::{is_host_byte, number, trim};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A host: a name, or an address that is ready to be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name, as received. An underscore is let through, which the grammar does not have but the
    /// names of containers do.
    Name(&'a [u8]),
    /// An address; an IPv6 one stood in brackets.
    Address(IpAddr),
}

impl<'a> Host<'a> {
    /// Parses a host without whitespace around it; IPv6 in brackets (`IPv6reference`).
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'[', inner @ .., b']'] => v6(inner).map(|address| Self::Address(IpAddr::V6(address))),
            _ => {
                let last_label = match bytes {
                    [rest @ .., b'.'] => rest,
                    all => all,
                };
                let last_label = last_label.rsplit(|&byte| byte == b'.').next()?;
                if last_label.first()?.is_ascii_digit() {
                    return v4(bytes).map(|address| Self::Address(IpAddr::V4(address)));
                }
                is_domain(bytes).then_some(Self::Name(bytes))
            }
        }
    }

    /// The address, if it is one.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Address(address) => Some(*address),
        }
    }
}

/// A host with perhaps a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port if one was written.
    pub port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Parses `host [":" port]`; whitespace may stand around the colon, as COLON of the grammar says for Via.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if let Some((address, end)) = v4_prefix(bytes) {
            match &bytes[end..] {
                [] => return Some(Self { host: Host::Address(IpAddr::V4(address)), port: None }),
                [b':', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
                    let port = Some(number(trim(digits), 65_535)? as u16);
                    return Some(Self { host: Host::Address(IpAddr::V4(address)), port });
                }
                _ => {} // perhaps a name, perhaps whitespace
            }
        }
        let bytes = trim(bytes);
        let host_end = match bytes {
            [b'[', ..] => memchr::memchr(b']', bytes)? + 1,
            _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
        };
        let (host, rest) = bytes.split_at(host_end);
        let host = Host::parse(trim(host))?;
        let port = match trim(rest) {
            [] => None,
            [b':', digits @ ..] => Some(number(trim(digits), 65_535)? as u16),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Where this says to send, with `default_port` if it names none; `None` for a domain name.
    pub fn socket_address(&self, default_port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.address()?, self.port.unwrap_or(default_port)))
    }
}

fn v4(bytes: &[u8]) -> Option<Ipv4Addr> {
    let (address, end) = v4_prefix(bytes)?;
    (end == bytes.len()).then_some(address)
}

/// The IPv4 address that `bytes` begin with, and where it ends: four numbers of one to three digits.
fn v4_prefix(bytes: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut value = 0u16;
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit())
            && at < start + 3
        {
            value = value * 10 + u16::from(digit - b'0');
            at += 1;
        }
        if at == start {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    Some((Ipv4Addr::from(octets), at))
}

/// Three colons before an IPv4 address are read as two, since the grammar of RFC 3261 has them and
/// RFC 5118 §4.10 has us bear with both.
fn v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    let text = core::str::from_utf8(bytes).ok()?;
    if let Some((before, after)) = text.split_once(":::") {
        after.parse::<Ipv4Addr>().ok()?;
        return format!("{before}::{after}").parse().ok();
    }
    text.parse().ok()
}

/// Labels of letters, digits, hyphens (and underscores), separated by single dots, perhaps a dot at the end.
fn is_domain(bytes: &[u8]) -> bool {
    let labels = match bytes {
        [rest @ .., b'.'] => rest,
        all => all,
    };
    labels.len() <= 255
        && labels.split(|&byte| byte == b'.').all(|label| {
            label.first().is_some_and(|&first| first != b'-')
                && label.last().is_some_and(|&last| last != b'-')
                && label.iter().all(|&byte| (is_host_byte(byte) && byte != b'.') || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<HostPort<'_>> {
        HostPort::parse(text.as_bytes())
    }

    #[test]
    fn addresses_and_names() {
        assert_eq!(
            parse("192.0.2.1:5070").unwrap().socket_address(5060).unwrap().to_string(),
            "192.0.2.1:5070"
        );
        assert_eq!(
            parse("[2001:db8::9:1]:5070").unwrap().socket_address(5060).unwrap().to_string(),
            "[2001:db8::9:1]:5070"
        );
        assert_eq!(parse("[::ffff:192.0.2.1]").unwrap().port, None);
        assert_eq!(parse("[2001:db8:::192.0.2.1]"), parse("[2001:db8::192.0.2.1]"));
        assert!(parse("[:::192.0.2.1]").is_some());
        assert_eq!(parse("example.com").unwrap().host, Host::Name(b"example.com"));
        assert_eq!(parse("example.com.").unwrap().host, Host::Name(b"example.com."));
        assert_eq!(parse("192.0.2.1 : 9").unwrap().port, Some(9));
        assert_eq!(parse("1.2.3.4.example:5").unwrap().port, Some(5));
        assert_eq!(parse("1h.example").unwrap().host, Host::Name(b"1h.example"));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            ":5060",
            "2001:db8::10",
            "[2001:db8::10",
            "2001:db8::10]",
            "[2001:db8:::1]",
            "[1::2:::192.0.2.1]",
            "a..b",
            ".a",
            "-a",
            "a-.b",
            "999.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.0004",
            "1.2.3.4a",
            "1.2.3.4:",
            "1.2.3.4: x",
            "1.2.3.4]",
            "host:",
            "host:65536",
            "host:-1",
            "host:5o",
            "a b",
            "[::1]x",
            "a/b",
            "a@b",
            "[::1%eth0]",
            "h\u{fc}.example",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
