//! What a shard sees when it is asked: live calls, counters and its trunks.

use crate::{CallId, Media, RegistrationFacts, ShardId, Text, Ticket, TrunkName, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One shard's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// As asked.
    pub ticket: Ticket,
    /// Calls on this shard now, from INVITE to the last word.
    pub calls_total: u64,
    /// Those of them that are answered.
    pub calls_answered: u64,
    /// As many of them as were asked for.
    pub calls: Vec<LiveCall>,
    /// This shard's counters and gauges.
    pub figures: Vec<Figure>,
    /// Every trunk as this shard sees it.
    pub trunks: Vec<TrunkFacts>,
    /// Whether it takes no new calls.
    pub draining: bool,
}

/// A call in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveCall {
    /// The call.
    pub call: CallId,
    /// Its shard.
    pub shard: ShardId,
    /// How far it is.
    pub phase: Phase,
    /// The caller's number.
    pub from: String,
    /// The number dialled.
    pub dialled: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// The trunk in use or being tried.
    pub trunk: Option<TrunkName>,
    /// Its peer.
    pub peer: Option<SocketAddr>,
    /// When the INVITE arrived.
    pub started: UnixMicros,
    /// When it was answered.
    pub answered: Option<UnixMicros>,
    /// What was heard so far; `None` before there are ports for it.
    #[serde(default)]
    pub media: Option<Box<Media>>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; the callee has not rung yet.
    Trying,
    /// The callee rings or sends early media.
    Ringing,
    /// Both sides talk.
    Answered,
    /// Over, with last messages under way.
    Ending,
}

/// A counter or gauge of a shard. Those of the same name and label are added up over shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Prometheus name without prefix: `sip_requests_total`.
    pub name: Text,
    /// One sentence for people.
    pub help: Text,
    /// Counter or gauge.
    pub kind: Kind,
    /// Labels' names and values, to split the same figure: `("method", "INVITE")`.
    pub labels: Vec<(Text, Text)>,
    /// The value.
    pub value: u64,
}

impl Figure {
    /// A counter without label.
    pub fn counter(name: impl Into<Text>, help: impl Into<Text>, value: u64) -> Self {
        Self { name: name.into(), help: help.into(), kind: Kind::Counter, labels: Vec::new(), value }
    }

    /// A gauge without label.
    pub fn gauge(name: impl Into<Text>, help: impl Into<Text>, value: u64) -> Self {
        Self { name: name.into(), help: help.into(), kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// The same with one label more.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.labels.push((label.into(), value.into()));
        self
    }
}

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A trunk as a shard sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkFacts {
    /// The trunk.
    pub trunk: TrunkName,
    /// Calls on it as its cap counts them: one number for all shards of the process, so never to be added up.
    pub calls: u32,
    /// Calls of this shard on it, counted in the shard's own call table; adding them up over shards gives the truth
    /// that `calls` must equal.
    pub own_calls: u32,
    /// Its cap on calls.
    pub max_calls: u32,
    /// Its cap on new calls a second; `None` for no cap.
    pub max_cps: Option<u32>,
    /// The best state of its peers; down while it is not registered and has to be.
    pub state: TrunkState,
    /// Its registration with the carrier, if it has one.
    pub registration: Option<RegistrationFacts>,
    /// Each peer.
    pub peers: Vec<PeerFacts>,
    /// The names among its peers, and what is known of them; only the first shard knows.
    #[serde(default)]
    pub names: Vec<LocatedName>,
    /// How calls to it sounded in the last five minutes, to all shards of the process.
    #[serde(default)]
    pub heard: TrunkHeard,
}

/// How calls to a trunk sounded lately. Scores, jitter and round trip are means; `None` before there was anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkHeard {
    /// Seconds of audio from it for which R was calculated.
    pub seconds: u64,
    /// Those of them whose MOS was below 3.6.
    pub poor_seconds: u64,
    /// R in thousandths.
    pub r_milli: Option<u32>,
    /// Conversational quality in thousandths.
    pub mos_milli: Option<u32>,
    /// Packets expected from it.
    pub expected: u64,
    /// Those of them lost.
    pub lost: u64,
    /// Jitter in microseconds.
    pub jitter_us: Option<u32>,
    /// Round trip by RTCP in microseconds.
    pub round_trip_us: Option<u32>,
    /// Calls in which one side was not heard.
    pub one_way: u64,
    /// Whether it is chosen last because of it.
    pub avoided: bool,
}

/// A peer's name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedName {
    /// As configured: `carrier.example`, with port and transport if they are given.
    pub name: Text,
    /// By which records it was found, such as `SRV`; `None`: it is not found.
    pub by: Option<Text>,
    /// The DNS server that said so; `None` besides for the hosts file.
    pub from: Option<SocketAddr>,
    /// Until when that holds.
    pub until: Option<UnixMicros>,
    /// Whether it is past its time and kept since no DNS server answers (RFC 8767).
    pub stale: bool,
    /// Why it is not found, in words.
    pub why: Text,
    /// Its addresses.
    pub addresses: Vec<LocatedPeer>,
}

/// An address that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedPeer {
    /// Where.
    pub address: SocketAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: Text,
    /// Lower is tried first.
    pub priority: u16,
    /// Share of calls among those of one priority (RFC 2782).
    pub weight: u16,
}

/// A peer of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFacts {
    /// Its address.
    pub address: SocketAddr,
    /// Its state.
    pub state: TrunkState,
    /// Why it is in it, in words; empty at start.
    pub why: Text,
}

/// Whether a trunk or peer is used. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkState {
    /// In use.
    Up,
    /// Not yet known: no probe answered and no call tried. Used.
    Unknown,
    /// Being tried again after a failure: a few calls only.
    Trial,
    /// Not used until it answers again.
    Down,
    /// Switched off by the operator.
    Disabled,
}
