//! What a gateway shard tells control.

use crate::{
    Alarm, Ban, CallId, Cdr, MediaAnswer, Playback, Registration, RegistrationChange, ShardId, ShardReport,
    Text, Trace, TrunkName, TrunkState, UnixMicros,
};
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
    /// A trunk's registration with its carrier changed.
    Registration(Box<RegistrationChange>),
    /// A route that is marked `ask` matched: where shall the call go?
    RouteAsked(Box<RouteAsked>),
    /// The answer to [`Command::ReportAsked`](crate::Command::ReportAsked).
    Report(Box<ShardReport>),
    /// A user's bindings changed: these are all of them now.
    Registered(Box<Registration>),
    /// The answer to [`Command::TraceAsked`](crate::Command::TraceAsked).
    Trace(Box<Trace>),
    /// The answer to [`Command::Play`](crate::Command::Play) and [`Command::StopPlaying`](crate::Command::StopPlaying).
    MediaAnswered(Box<MediaAnswer>),
    /// Something is played in a call, or is not any more.
    Playback(Box<Playback>),
    /// Sessions on trunks that are over on the wire as well; told in batches.
    Released(Vec<Release>),
    /// A source is listened to no more; every shard of the gateway knows.
    Banned(Box<Ban>),
    /// An operator should look at this.
    Alarm(Box<Alarm>),
    /// Calls wait for the certificate at this address; the gateway has a timer, and does without it then.
    CertificateAsked(String),
    /// A certificate says that a list of revoked ones is at this address; the gateway does without it after a time.
    RevocationsAsked(String),
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
    /// Microseconds from the INVITE to that peer until it said more than 100.
    #[serde(default)]
    pub heard_us: Option<u64>,
}

/// A session on a trunk, from its 2xx until its leg was gone: what RFC 6076 wants of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The trunk.
    pub trunk: TrunkName,
    /// Microseconds from the 2xx to the BYE, whoever sent that (RFC 6076 §4.5).
    pub talked_us: u64,
    /// Microseconds from our BYE to its 2xx (RFC 6076 §4.4); `None` if the peer hung up, or never answered.
    pub disconnect_us: Option<u64>,
    /// Whether it was torn down properly: a BYE was sent or received, and answered with 2xx (RFC 6076 §4.9).
    pub completed: bool,
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
