//! Where a phone is: the bindings of a user's name to contact addresses (RFC 3261 §10).

use crate::{Text, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

/// All bindings of one user at one time; it replaces what was said of the user before. Whoever keeps one within a process
/// shares it with the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The user's name.
    pub user: Arc<str>,
    /// Grows with each change of any user's bindings, over restarts too (unless the clock is set back).
    pub revision: u64,
    /// The bindings; none once the last was removed or expired.
    pub bindings: Arc<[Binding]>,
}

/// A connection that a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The shard.
    pub shard: u16,
    /// Its number there.
    pub stream: u32,
}

/// What tells a phone from a user's others, and one of its flows from the others (RFC 5626 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowName {
    /// The phone: a URN.
    pub instance: String,
    /// The flow; 0 if the phone is known, but does not register by flows.
    pub reg_id: u32,
    /// Since when the phone has been there, as the registrar reckons: temporary GRUUs that were made since then are good
    /// (RFC 5627 §5.1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u32,
}

/// One contact address of a user: about 230 bytes, and its texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The URI, as registered.
    pub contact: Box<str>,
    /// Its preference in thousandths, 0 to 1000 (RFC 3261 §20.10).
    #[serde(default = "most", skip_serializing_if = "is_most")]
    pub q: u16,
    /// When it ends.
    pub expires: UnixMicros,
    /// When it was registered or refreshed last.
    pub registered: UnixMicros,
    /// Call-ID of that REGISTER.
    pub call_id: Box<str>,
    /// Its CSeq number.
    pub cseq: u32,
    /// Over what it came: `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: Text,
    /// The connection it came over; none over UDP, and none after a restart of the gateway.
    #[serde(skip)]
    pub connection: Option<Connection>,
    /// Where it came from.
    pub source: SocketAddr,
    /// Where calls are sent: the source, unless the phone showed that it listens elsewhere.
    pub target: SocketAddr,
    /// Whether the phone is behind a NAT: it is reached at the source alone, whatever its contact says.
    #[serde(default, skip_serializing_if = "is_not")]
    pub behind_nat: bool,
    /// Whether it has stopped to answer: calls do not go to it until it is heard again.
    #[serde(default, skip_serializing_if = "is_not")]
    pub silent: bool,
    /// Which phone it is (`+sip.instance`) and which of its flows (`reg-id`), if it registers by flows (RFC 5626) or is given
    /// GRUUs (RFC 5627).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Box<FlowName>>,
    /// The proxies on the way to it, as Route has them (RFC 3327 §5.3); empty if there are none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub path: Box<str>,
    /// The gateway's address it came to, as named in SIP: calls leave from there, as a NAT wants it.
    pub local: SocketAddr,
    /// What the phone calls itself; empty if it does not say.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub user_agent: Arc<str>,
}

impl Binding {
    /// The flow, if it was registered by flows (RFC 5626).
    pub fn by_flow(&self) -> Option<&FlowName> {
        self.flow.as_deref().filter(|flow| flow.reg_id > 0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn most() -> u16 {
    1000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_most(q: &u16) -> bool {
    *q == most()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bindings are kept by the ten thousand.
    #[test]
    fn a_binding_is_small() {
        assert!(size_of::<Binding>() <= 232, "{}", size_of::<Binding>());
    }
}
