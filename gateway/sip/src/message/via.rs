//! Via (RFC 3261 §20.42, RFC 3581).

use super::params::unquoted;
use super::scan::{is_token, is_white, number, trim};
use super::{Host, HostPort, Params};
use core::net::IpAddr;

/// One Via element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The protocol's name and version are SIP and 2.0.
    pub is_sip_2: bool,
    /// `UDP`, `TCP`, `TLS`, or whatever token stood there.
    pub transport: &'a [u8],
    /// `sent-by`.
    pub sent_by: HostPort<'a>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Parses one element of the list; whitespace may stand wherever LWS or SLASH of the grammar allow it.
    pub fn parse(element: &'a [u8]) -> Option<Self> {
        let (name, rest) = token(trim(element))?;
        let (version, rest) = token(trim(rest.strip_prefix(b"/")?))?;
        let rest = trim(rest.strip_prefix(b"/")?);
        let end = rest.iter().position(|&byte| is_white(byte))?;
        let (transport, rest) = rest.split_at(end);
        let end = unquoted(rest, b';').unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(end);
        if !is_token(name) || !is_token(version) || !is_token(transport) {
            return None;
        }
        Some(Self {
            is_sip_2: name.eq_ignore_ascii_case(b"SIP") && version == b"2.0",
            transport,
            sent_by: HostPort::parse(sent_by)?,
            params: Params::new(params),
        })
    }

    /// The branch, `None` if missing or empty.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// Whether the branch began with the cookie and holds something behind it: an RFC 3261 transaction key
    /// (RFC 3261 §8.1.1.7). The cookie alone identifies nothing and is matched as RFC 2543 was.
    pub fn has_cookie(&self) -> bool {
        self.branch().is_some_and(|branch| {
            branch.len() > 7 && branch.get(..7).is_some_and(|cookie| cookie.eq_ignore_ascii_case(b"z9hG4bK"))
        })
    }

    /// The `rport` parameter: `Some(None)` when it stands without a value, as a client writes it (RFC 3581 §3).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params
            .get("rport")
            .map(|value| value.and_then(|digits| number(digits, 65_535)).map(|port| port as u16))
    }

    /// The `received` parameter, an IPv6 address with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        if let Some(Host::Address(address)) = Host::parse(value) {
            return Some(address);
        }
        core::str::from_utf8(value).ok()?.parse().ok()
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<Host<'a>> {
        Host::parse(self.params.value("maddr")?)
    }

    /// The `ttl` parameter.
    pub fn ttl(&self) -> Option<u8> {
        number(self.params.value("ttl")?, 255).map(|ttl| ttl as u8)
    }

    /// The host of `sent-by`.
    pub const fn host(&self) -> Host<'a> {
        self.sent_by.host
    }

    /// The port of `sent-by`, if written.
    pub const fn port(&self) -> Option<u16> {
        self.sent_by.port
    }
}

/// A run without slash or whitespace, and what follows it (after whitespace).
fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'/' || is_white(byte))?;
    Some((&bytes[..end], trim(&bytes[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Via<'_>> {
        Via::parse(text.as_bytes())
    }

    #[test]
    fn plain_and_spaced_out() {
        let via = parse("SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bKx;received=10.0.0.1").unwrap();
        assert!(via.is_sip_2 && via.has_cookie());
        assert_eq!((via.transport, via.port()), (&b"UDP"[..], Some(5070)));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.received().unwrap().to_string(), "10.0.0.1");
        let via =
            parse("SIP  / 2.0  /\r\n TCP   [2001:db8::1] : 9 ;\r\n branch = z9hG4bK ; rport=7").unwrap();
        assert_eq!((via.transport, via.port(), via.rport()), (&b"TCP"[..], Some(9), Some(Some(7))));
        assert_eq!(via.branch(), Some(&b"z9hG4bK"[..]));
        assert!(!via.has_cookie());
    }

    #[test]
    fn addresses_of_received() {
        for text in ["received=2001:db8::9:255", "received=[2001:db8::9:255]"] {
            let text = format!("SIP/2.0/UDP h;{text};branch=z9hG4bKa");
            assert_eq!(parse(&text).unwrap().received().unwrap().to_string(), "2001:db8::9:255");
        }
    }

    #[test]
    fn what_is_no_via() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "SIP/2.0/UDP ;branch=a",
            "SIP/2.0/U@P h",
            "/2.0/UDP h",
            "SIP/2.0/UDP a b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(!parse("SIP/7.0/UDP h").unwrap().is_sip_2);
    }
}
