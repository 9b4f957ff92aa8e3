//! What a locator is told: whom to ask, how long to wait, how long to believe.

use crate::name::Name;
use crate::target::Transport;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeMap;

/// The numbers of sockets that a locator opens. Whoever drives it hands over what comes to them.
pub const SOCKETS: Range<u32> = 1 << 15..(1 << 15) + 4096;
/// The numbers of streams that a locator connects.
pub const STREAMS: Range<u32> = 1 << 29..(1 << 29) + (1 << 16);

/// Most names that are located.
pub(crate) const TARGETS_MAX: usize = 256;
/// Most questions that are with a server at a time; more wait.
pub(crate) const ASKING_MAX: usize = 64;
/// Most questions that wait.
pub(crate) const WAITING_MAX: usize = 4096;
/// Most answers kept.
pub(crate) const CACHE_MAX: usize = 8192;
/// Most records taken from one answer.
pub(crate) const RECORDS_MAX: usize = 32;
/// Most addresses of one target.
pub(crate) const PLACES_MAX: usize = 32;
/// Most aliases followed from one name (CNAME).
pub(crate) const ALIASES_MAX: usize = 8;
/// Most questions asked for one target before it is given up until later.
pub(crate) const QUESTIONS_MAX: u32 = 256;

/// By what names are located. A change takes effect with the next question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// DNS servers, the first is asked first; they have to resolve recursively.
    pub servers: Vec<SocketAddr>,
    /// How long a server may take to answer, doubled with each round through the servers.
    pub timeout: Duration,
    /// Rounds through all servers before a question counts as failed, at least 1.
    pub rounds: u8,
    /// An answer is believed for at least this long, whatever it says.
    pub ttl_min: Duration,
    /// An answer is believed for at most this long.
    pub ttl_max: Duration,
    /// How long past its time an answer is still used when no server answers (RFC 8767); zero: not at all.
    pub stale: Duration,
    /// Names whose addresses are known without asking.
    pub hosts: BTreeMap<Name, Vec<IpAddr>>,
    /// Whether IPv6 (`true`) and IPv4 addresses can be reached, the preferred family first.
    pub families: Vec<bool>,
    /// Transports that can be used, the preferred first.
    pub transports: Vec<Transport>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            rounds: 2,
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(86_400),
            stale: Duration::from_secs(86_400),
            hosts: BTreeMap::new(),
            families: vec![false],
            transports: vec![Transport::Udp, Transport::Tcp],
        }
    }
}

impl Config {
    /// How long an answer of this TTL in seconds is believed.
    pub(crate) fn ttl(&self, seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds)).max(self.ttl_min).min(self.ttl_max.max(self.ttl_min))
    }
}
