//! The signalling of one call, as its shard recorded it: asked for, and told.

use crate::{CallId, ShardId, Text, Ticket, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Tell the messages of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceAsked {
    /// To be repeated in the answer.
    pub ticket: Ticket,
    /// Which call.
    pub of: TraceOf,
}

/// How a call is named whose messages are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceOf {
    /// By its id.
    Call(CallId),
    /// By the Call-ID of one of its legs.
    SipCallId(String),
}

/// The messages of a call that its shard still has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// As asked.
    pub ticket: Ticket,
    /// The shard that tells.
    pub shard: ShardId,
    /// False if the shard records no messages at all.
    pub recording: bool,
    /// The call; `None` for messages that belong to no call (a registration, a refused INVITE).
    pub call: Option<CallId>,
    /// Session-ID of the call, from the caller's side (RFC 7989): `UUID;remote=UUID`; `None` if it is not known any more.
    #[serde(default)]
    pub session_id: Option<String>,
    /// Its legs by number.
    pub legs: Vec<TraceLeg>,
    /// Its messages, oldest first.
    pub messages: Vec<TraceMessage>,
    /// Whether there were older ones that are left out, since an answer is bounded.
    pub truncated: bool,
}

/// A leg of a traced call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLeg {
    /// 0 the caller, then each peer tried in order.
    pub leg: u16,
    /// What it is: `caller`, or the trunk tried.
    pub label: String,
    /// Its Call-ID.
    pub sip_call_id: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceMessage {
    /// When it came to the gateway or left it.
    pub at: UnixMicros,
    /// Its leg.
    pub leg: u16,
    /// Whether the gateway sent it (rather than received it).
    pub sent: bool,
    /// Over what: `udp`, `tcp` and so on.
    pub transport: Text,
    /// The gateway's address, as it names it.
    pub local: SocketAddr,
    /// The other side's address.
    pub remote: SocketAddr,
    /// The message as it was on the wire, but for what is masked by configuration.
    pub bytes: Vec<u8>,
}
