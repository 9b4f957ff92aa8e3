//! What is to be located: a name, perhaps with port and transport, as the host part of a SIP URI says it.

use crate::name::Name;
use core::fmt;
use core::str::FromStr;

/// A transport protocol for SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// The labels of its SRV records (RFC 3263 §4.1).
    pub(crate) const fn service(self) -> &'static str {
        match self {
            Self::Udp => "_sip._udp",
            Self::Tcp => "_sip._tcp",
            Self::Tls => "_sips._tcp",
        }
    }

    /// The port where no SRV record names one (RFC 3261 §19.1.2).
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Its name in a URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A SIP server by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The domain or host.
    pub host: Name,
    /// Given: only address records are asked for.
    pub port: Option<u16>,
    /// Given: no NAPTR record is asked for.
    pub transport: Option<Transport>,
}

/// A text that names no target: why, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for BadTarget {}

impl FromStr for Target {
    type Err = BadTarget;

    /// Reads `HOST`, `HOST:PORT`, `HOST;transport=tcp` or `HOST:PORT;transport=tcp`.
    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = |what: &str| BadTarget(format!("\"{text}\": {what}"));
        let (place, transport) = match text.split_once(";transport=") {
            None => (text, None),
            Some((place, "udp")) => (place, Some(Transport::Udp)),
            Some((place, "tcp")) => (place, Some(Transport::Tcp)),
            Some((place, "tls")) => (place, Some(Transport::Tls)),
            Some((_, other)) => {
                return Err(bad(&format!("no transport \"{other}\"; write ;transport=udp, tcp or tls")));
            }
        };
        let (host, port) = match place.split_once(':') {
            None => (place, None),
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, Some(port.ok_or_else(|| bad("the port is no number from 1 to 65535"))?))
            }
        };
        let host = Name::new(host).map_err(|error| bad(&format!("\"{host}\" {error}")))?;
        // A last label of digits is an address with a slip in it (RFC 1123 §2.1).
        let last = host.as_str().rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("is no address; an IPv4 address has four numbers up to 255"));
        }
        Ok(Self { host, port, transport })
    }
}

impl fmt::Display for Target {
    /// As the host part of a SIP URI with its parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.transport {
            Some(transport) => write!(f, ";transport={}", transport.as_str()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_alike() {
        for text in
            ["carrier.example", "carrier.example:5070", "carrier.example;transport=tcp", "a:1;transport=udp"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let target: Target = "Carrier.Example.:5061;transport=tls".parse().unwrap();
        assert_eq!((target.port, target.transport), (Some(5061), Some(Transport::Tls)));
        assert_eq!(target.host.as_str(), "carrier.example");
    }

    #[test]
    fn what_names_nothing_is_told_why() {
        for (text, why) in [
            ("carrier.example;transport=sctp", "no transport \"sctp\""),
            ("carrier.example:0", "no number from 1"),
            ("carrier.example:sip", "no number from 1"),
            ("192.0.2.300", "no address"),
            ("192.0.2.1:5060", "no address"),
            ("car rier", "no domain name"),
            ("", "no domain name"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
