//! The values of plans: each knows its range, so that what was read can be run.

use crate::number::NumberPattern;
use core::net::SocketAddr;
use core::time::Duration;
use serde::Deserialize;

/// A span of time, written as a number of seconds (0 to ten days).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl TryFrom<f64> for Seconds {
    type Error = &'static str;
    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        if !(0.0..=864_000.0).contains(&seconds) {
            return Err("a span of time is a number of seconds from 0 to 864000");
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl Seconds {
    pub(super) const fn of_32() -> Self {
        Self(Duration::from_secs(32))
    }
    pub(super) const fn of_60() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// Calls per second, above 0 and at most 100 000.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Rate(pub f64);

impl TryFrom<f64> for Rate {
    type Error = &'static str;
    fn try_from(rate: f64) -> Result<Self, Self::Error> {
        if rate > 0.0 && rate <= 100_000.0 {
            Ok(Self(rate))
        } else {
            Err("a rate is a number of calls per second above 0, at most 100000")
        }
    }
}

/// A number of calls, 1 to 1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Count(pub u32);

impl TryFrom<u32> for Count {
    type Error = &'static str;
    fn try_from(count: u32) -> Result<Self, Self::Error> {
        if (1..=1_000_000).contains(&count) {
            Ok(Self(count))
        } else {
            Err("a number of calls is 1 to 1000000")
        }
    }
}

/// A number of threads, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Threads(pub u16);

impl TryFrom<u16> for Threads {
    type Error = &'static str;
    fn try_from(count: u16) -> Result<Self, Self::Error> {
        if (1..=64).contains(&count) { Ok(Self(count)) } else { Err("a number of threads is 1 to 64") }
    }
}

/// A SIP status that refuses: 300 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Status(pub u16);

impl TryFrom<u16> for Status {
    type Error = &'static str;
    fn try_from(status: u16) -> Result<Self, Self::Error> {
        if (300..700).contains(&status) {
            Ok(Self(status))
        } else {
            Err("a status that refuses a call is 300 to 699")
        }
    }
}

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Percent(pub f64);

impl TryFrom<f64> for Percent {
    type Error = &'static str;
    fn try_from(percent: f64) -> Result<Self, Self::Error> {
        if (0.0..=100.0).contains(&percent) { Ok(Self(percent)) } else { Err("a percentage is 0 to 100") }
    }
}

impl Percent {
    pub(super) const fn hundredth() -> Self {
        Self(0.01)
    }
    pub(super) const fn ninety_nine() -> Self {
        Self(99.0)
    }
    pub(super) const fn eighty_five() -> Self {
        Self(85.0)
    }
}

/// Milliseconds of voice in a packet: 10, 20, 30, 40 or 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Ptime(pub u16);

impl Default for Ptime {
    fn default() -> Self {
        Self(20)
    }
}

impl TryFrom<u16> for Ptime {
    type Error = &'static str;
    fn try_from(ms: u16) -> Result<Self, Self::Error> {
        if [10, 20, 30, 40, 60].contains(&ms) {
            Ok(Self(ms))
        } else {
            Err("ptime_ms is 10, 20, 30, 40 or 60")
        }
    }
}

/// UDP ports for RTP, written "LOW-HIGH".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl Default for PortRange {
    /// Away from the gateway's usual range and from well-known services; single ports that somebody else holds
    /// are stepped over.
    fn default() -> Self {
        Self { low: 34_000, high: 60_999 }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl PortRange {
    /// Reads "LOW-HIGH".
    pub fn parse(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').map(|(low, high)| (low.trim().parse(), high.trim().parse()));
        match ends {
            Some((Ok(low), Ok(high))) if low >= 1024 && low < high => Ok(Self { low, high }),
            _ => Err(format!(
                "\"{text}\": a range of ports is written LOW-HIGH, from 1024 on, like 20000-29999"
            )),
        }
    }

    /// Even ports in it: calls it has room for.
    pub const fn pairs(self) -> u32 {
        (self.high as u32 - self.low as u32).div_ceil(2)
    }
}

/// Which transport carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipTransport {
    /// UDP, the default.
    Udp,
    /// TCP: `;transport=tcp`.
    Tcp,
}

/// Whom to call: `sip:NUMBER@ADDR:PORT`, the number possibly a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Callee {
    /// The user part.
    pub number: NumberPattern,
    /// Where the INVITE goes.
    pub address: SocketAddr,
    /// Over what.
    pub transport: SipTransport,
}

impl TryFrom<String> for Callee {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl Callee {
    /// Reads a SIP URI with an IP address for its host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "whom to call is written sip:NUMBER@ADDR:PORT, like sip:+49301234567@127.0.0.1:5060";
        let wrong = |what: &str| format!("\"{text}\": {what}; {form}");
        let rest = text.strip_prefix("sip:").ok_or_else(|| wrong("does not begin with sip:"))?;
        let (number, rest) = rest.rsplit_once('@').ok_or_else(|| wrong("has no @"))?;
        let (host, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let transport = match parameters {
            "" => SipTransport::Udp,
            p if p.eq_ignore_ascii_case("transport=udp") => SipTransport::Udp,
            p if p.eq_ignore_ascii_case("transport=tcp") => SipTransport::Tcp,
            _ => return Err(wrong("only ;transport=udp and ;transport=tcp are known")),
        };
        let address = host
            .parse::<SocketAddr>()
            .or_else(|_| host.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, 5060)))
            .map_err(|_| wrong("has no IP address behind the @ (names are not looked up)"))?;
        let number = NumberPattern::parse(number).map_err(|error| error.to_string())?;
        Ok(Self { number, address, transport })
    }
}

/// A user part for the From header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Caller(pub NumberPattern);

impl TryFrom<String> for Caller {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        NumberPattern::parse(&text).map(Self).map_err(|error| error.to_string())
    }
}

impl Caller {
    /// The caller when none is named.
    pub fn load() -> Self {
        // "load" is a plain user part; an empty pattern is the only thing the parser could fall back to.
        NumberPattern::parse("load").map_or_else(|_| Self(NumberPattern::empty()), Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callees_are_addresses_with_a_transport() {
        let callee = Callee::parse("sip:4930{00-99}@[::1]:5080;transport=tcp").unwrap();
        assert_eq!(callee.transport, SipTransport::Tcp);
        assert_eq!(callee.address, "[::1]:5080".parse().unwrap());
        assert_eq!(Callee::parse("sip:1@10.0.0.1").unwrap().address, "10.0.0.1:5060".parse().unwrap());
        assert_eq!(Callee::parse("sip:1@[::1]").unwrap().address, "[::1]:5060".parse().unwrap());
        for bad in ["1@127.0.0.1", "sip:127.0.0.1", "sip:1@x:5060", "sip:1@127.0.0.1;transport=tls"] {
            assert!(Callee::parse(bad).is_err(), "{bad}");
        }
    }
}
