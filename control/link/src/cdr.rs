//! The call detail record: everything an operator wants to know of a call that is over.

use crate::{CallId, Identity, ShardId, Text, TrunkName, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A finished call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    /// The call.
    pub call: CallId,
    /// Its shard.
    pub shard: ShardId,
    /// Call-ID of the caller's leg.
    pub caller_sip_call_id: String,
    /// Call-ID of the last callee leg tried, if any was.
    pub callee_sip_call_id: Option<String>,
    /// The caller's number (user part of From).
    pub from: String,
    /// The number dialled (user part of the Request-URI).
    pub dialled: String,
    /// The number sent to the carrier, after rewriting; `None` if no route matched.
    pub routed: Option<String>,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// The trunk that answered or gave the final refusal.
    pub trunk: Option<TrunkName>,
    /// The peer of that trunk.
    pub peer: Option<SocketAddr>,
    /// Each peer tried, in order.
    pub attempts: Vec<Attempt>,
    /// When the INVITE arrived.
    pub started: UnixMicros,
    /// When the callee's 2xx arrived; `None` if it never did.
    pub answered: Option<UnixMicros>,
    /// When the call ended.
    pub ended: UnixMicros,
    /// Post-dial delay in microseconds: from INVITE to the first 18x or final answer shown to the caller.
    pub pdd_us: Option<u64>,
    /// Set-up delay in microseconds: from INVITE to the 2xx sent to the caller.
    pub setup_us: Option<u64>,
    /// How it ended.
    pub end: End,
    /// What was heard; `None` if no media was ever anchored.
    pub media: Option<Media>,
    /// Whether the caller's number is the caller's; `None` if nobody asked.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// Session-ID of the call from the caller's side (RFC 7989): `UUID;remote=UUID`; `None` in records of older versions.
    #[serde(default)]
    pub session_id: Option<String>,
    /// The transfer it took part in, the last if there were several; `None` if there was none.
    #[serde(default)]
    pub transfer: Option<Transfer>,
}

impl Cdr {
    /// Microseconds talked: from answer to end; 0 if never answered.
    pub fn talked_us(&self) -> u64 {
        self.answered.map_or(0, |answered| self.ended.since(answered))
    }
}

/// A transfer that a call took part in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The part it took.
    pub part: Part,
    /// The number of who asked for it.
    pub by: String,
    /// The number that the other side was to be put through to.
    pub to: String,
    /// What came of it: 200 if it was done, else the status of the failure; 0 if nothing had come of it when the call ended.
    pub status: u16,
    /// The other call of the transfer, if there was one.
    pub call: Option<CallId>,
}

/// The part of a call in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One of its sides asked that the other be put through (REFER), and the gateway did so or tried.
    Referred,
    /// It was made, or carried on with another side, because of the transfer of another call.
    Target,
    /// One of its sides was replaced by another caller (INVITE with Replaces).
    Replaced,
    /// The REFER of one of its sides was handed on to the other.
    Passed,
}

/// One peer tried for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The trunk.
    pub trunk: TrunkName,
    /// Its peer.
    pub peer: SocketAddr,
    /// The final status it gave; `None` if it gave none.
    pub status: Option<u16>,
    /// What came of it, in words: `answered`, `503 Service Unavailable`, `no response in 2 s`, `refused (ICMP)`.
    pub cause: Text,
    /// Microseconds spent on it until answer or until the next was tried.
    pub spent_us: u64,
    /// Microseconds from its INVITE to the first response that says more than 100; `None` if none came.
    #[serde(default)]
    pub heard_us: Option<u64>,
    /// What came of it, in one of a few words.
    #[serde(default)]
    pub reason: Reason,
    /// Where a redirection by it led the call: the number now called, with the address it is asked at if that was
    /// named; `None` if it did not redirect the call, or to nowhere that is followed or told to the caller.
    #[serde(default)]
    pub redirected: Option<Text>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The peer answered.
    Answered,
    /// It gave a final status of 300 to 699.
    #[default]
    Status,
    /// It said nothing at all in time.
    NoResponse,
    /// It rang, and nobody answered in time.
    NoAnswer,
    /// ICMP refused, or the connection broke.
    Refused,
    /// It could not be connected.
    ConnectFailed,
    /// It gave no final response within the time of the transaction.
    TimedOut,
    /// It answered after it had been given up.
    AnsweredLate,
    /// The caller or the gateway gave up first.
    GivenUp,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Status,
        Self::NoResponse,
        Self::NoAnswer,
        Self::Refused,
        Self::ConnectFailed,
        Self::TimedOut,
        Self::AnsweredLate,
        Self::GivenUp,
    ];

    /// The word, as in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Status => "status",
            Self::NoResponse => "no_response",
            Self::NoAnswer => "no_answer",
            Self::Refused => "refused",
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut => "timed_out",
            Self::AnsweredLate => "answered_late",
            Self::GivenUp => "given_up",
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Who ended it.
    pub side: Side,
    /// The final status of the INVITE as the caller saw it: 200 if answered, 487 if the caller gave up; 0 if it saw none.
    pub status: u16,
    /// Q.850 cause value (16 normal clearing, 17 busy, 34 no circuit, ...), where one is known.
    pub q850: Option<u8>,
    /// In words: `normal`, `busy`, `media timeout: carrier sent no RTP for 5 s`, `gateway restarted`.
    pub cause: Text,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The side that dialled.
    Caller,
    /// The side that was dialled.
    Callee,
    /// The gateway itself: time-outs, limits, loss of a peer.
    Gateway,
    /// A person or program through the API.
    Operator,
}

/// What was heard in a call, per leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The leg towards the caller.
    pub caller: LegMedia,
    /// The leg towards the callee.
    pub callee: LegMedia,
    /// Whether there was a time when both sides should have sent and neither did.
    #[serde(default)]
    pub no_audio: bool,
}

/// The media of one leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegMedia {
    /// Codec as in SDP (`PCMU`, `PCMA`, ...); empty if none was agreed.
    pub codec: Text,
    /// Where its RTP came from once latched, else where SDP said it would.
    pub remote: Option<SocketAddr>,
    /// What we received from it, measured by us.
    pub received: StreamFacts,
    /// What we sent to it; loss and jitter as its RTCP receiver reports say.
    pub sent: StreamFacts,
    /// Packets thrown away since they came from another address than the latched one.
    pub strangers: u64,
    /// The suite of SRTP (RFC 4568 §6.2); empty if media was in the clear.
    #[serde(default)]
    pub srtp: Text,
    /// Packets thrown away since they were not authentic under the SRTP key.
    #[serde(default)]
    pub forged: u64,
    /// Packets thrown away since they had come before under it.
    #[serde(default)]
    pub replayed: u64,
    /// Round trip to its peer and back in milliseconds, by RTCP (RFC 3550 §6.4.1), last measured.
    #[serde(default)]
    pub round_trip_ms: Option<f32>,
    /// Packets thrown away since its SDP had not come yet.
    #[serde(default)]
    pub early: u64,
    /// Packets thrown away since it sent too many.
    #[serde(default)]
    pub flooded: u64,
    /// Packets of its peer's not passed on because of hold, or since the other side was not placed yet.
    #[serde(default)]
    pub withheld: u64,
    /// Packets of its peer's that could not be translated: late, doubled, or without a counterpart.
    #[serde(default)]
    pub untranslated: u64,
    /// Packets for its peer that were not sent: no buffer was free, or they could not be sealed.
    #[serde(default)]
    pub unsent: u64,
    /// RTCP compound packets from its peer.
    #[serde(default)]
    pub rtcp_received: u64,
    /// RTCP compound packets of the other side's passed on to its peer.
    #[serde(default)]
    pub rtcp_passed: u64,
    /// RTCP compound packets of the gateway's own sent to its peer.
    #[serde(default)]
    pub rtcp_own: u64,
    /// R of what its peer receives, as that says itself (RFC 3611 §4.7).
    #[serde(default)]
    pub peer_r: Option<u8>,
    /// The listening quality that its peer says it has.
    #[serde(default)]
    pub peer_mos_lq: Option<f32>,
    /// The conversational quality that its peer says it has.
    #[serde(default)]
    pub peer_mos_cq: Option<f32>,
    /// Whether there was a time when it should have sent and did not, while the other side did.
    #[serde(default)]
    pub silent: bool,
}

/// One direction of RTP on one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// RTP packets.
    pub packets: u64,
    /// RTP payload bytes.
    pub bytes: u64,
    /// Packets that should have come and did not (RFC 3550 §6.4.1: expected less received, never negative).
    pub lost: u64,
    /// Packets that came after a later one.
    pub out_of_order: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: Option<f32>,
    /// Longest time without a packet, in milliseconds.
    pub longest_gap_ms: Option<u32>,
    /// R factor of ITU-T G.107; `None` until something was measured.
    pub r: Option<f32>,
    /// Mean opinion score derived from R, 1 to 4.5: conversational quality; `None` until something was measured.
    pub mos: Option<f32>,
    /// The same without what delay takes: listening quality.
    #[serde(default)]
    pub mos_lq: Option<f32>,
    /// Mean of R over the seconds of the call.
    #[serde(default)]
    pub r_mean: Option<f32>,
    /// Mean over the seconds of the conversational score.
    #[serde(default)]
    pub mos_mean: Option<f32>,
    /// R in the worst second.
    #[serde(default)]
    pub r_min: Option<f32>,
    /// The conversational score in the worst second.
    #[serde(default)]
    pub mos_min: Option<f32>,
    /// Seconds judged.
    #[serde(default)]
    pub seconds: u32,
    /// Those of them whose conversational score was below 3.6.
    #[serde(default)]
    pub poor_seconds: u32,
}
