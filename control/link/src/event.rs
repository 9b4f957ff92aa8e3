//! What a gateway shard tells control.

use crate::{CallId, Cdr, Registration, ShardId, ShardReport, Text, TrunkName, TrunkState, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Something that happened on a shard. The sender's [`ShardId`] travels beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The shard is up and wants its routing; the first event of each shard.
    Hello(Hello),
    /// An INVITE was accepted for processing: there is a call.
    CallStarted(Box<CallRecord>),
    /// The callee answered.
    CallAnswered(CallAnswered),
    /// The call is over and this is its record. Said again until acknowledged, if the gateway keeps a spool.
    CallEnded(Box<Cdr>),
    /// A trunk's peer changed its state.
    TrunkState(TrunkChange),
    /// A route that is marked `ask` matched: where shall the call go?
    RouteAsked(Box<RouteAsked>),
    /// The answer to [`Command::ReportAsked`](crate::Command::ReportAsked).
    Report(Box<ShardReport>),
    /// A user's bindings changed: these are all of them now.
    Registered(Box<Registration>),
    /// Calls wait for the certificate at this address; the gateway has a timer, and does without it then.
    CertificateAsked(String),
    /// No call is left on a shard that was told to drain.
    Drained,
}

/// A shard introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The [`VERSION`](crate::VERSION) it speaks.
    pub version: u16,
    /// When its process started. Open calls of this shard in the store that began earlier are no more.
    pub started: UnixMicros,
}

/// A call at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The call.
    pub call: CallId,
    /// Its shard.
    pub shard: ShardId,
    /// When its INVITE arrived.
    pub started: UnixMicros,
    /// Call-ID of the caller's leg.
    pub sip_call_id: String,
    /// The caller's number (user part of From).
    pub from: String,
    /// The number dialled (user part of the Request-URI).
    pub dialled: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
}

/// A call was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswered {
    /// The call.
    pub call: CallId,
    /// When the callee's 2xx arrived.
    pub at: UnixMicros,
    /// The trunk that carries it.
    pub trunk: TrunkName,
    /// The peer of that trunk.
    pub peer: SocketAddr,
}

/// A trunk's peer changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkChange {
    /// The trunk.
    pub trunk: TrunkName,
    /// Its peer.
    pub peer: SocketAddr,
    /// The new state.
    pub state: TrunkState,
    /// Why, in words: `503 to INVITE, 5 in a row`, `OPTIONS answered`.
    pub why: Text,
    /// When.
    pub at: UnixMicros,
}

/// A call waits for control's decision; the gateway has a timer and a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAsked {
    /// The call.
    pub call: CallId,
    /// The number dialled.
    pub number: String,
    /// The caller's number.
    pub from: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
}
