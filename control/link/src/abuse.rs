//! What a gateway does against abuse: sources it listens to no more, and alarms.

use crate::{Text, UnixMicros};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A source that is not listened to for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Its address; of an IPv6 source the first of its /64 network, all of which is meant.
    pub source: IpAddr,
    /// Why.
    pub reason: BanReason,
    /// What was seen, in words: `User-Agent holds "friendly-scanner"`, `20 malformed messages`.
    pub evidence: Text,
    /// Since when.
    pub since: UnixMicros,
    /// Until when.
    pub until: UnixMicros,
    /// The how many-th ban of this source in a row: each lasts twice as long as the one before.
    pub times: u16,
}

/// Why a source is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanReason {
    /// It calls itself by the name of a scanner.
    Scanner,
    /// It sends what is no SIP.
    Malformed,
    /// It guesses passwords.
    Authentication,
    /// It goes on although it is refused (403, 404).
    Refused,
}

impl BanReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Scanner, Self::Malformed, Self::Authentication, Self::Refused];

    /// Its name, as the API says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scanner => "scanner",
            Self::Malformed => "malformed",
            Self::Authentication => "authentication",
            Self::Refused => "refused",
        }
    }
}

/// Something an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// When.
    pub at: UnixMicros,
    /// What kind.
    pub kind: AlarmKind,
    /// What was exceeded: a rule's name, or empty.
    pub rule: Text,
    /// By whom: `source 192.0.2.1`, `user alice`, `trunk carrier-a`, `all`.
    pub who: Text,
    /// What happened, in words.
    pub what: Text,
    /// Whether calls are refused because of it.
    pub refused: bool,
    /// Session-ID of the call or message that raised it, from the caller's side (RFC 7989): `UUID;remote=UUID`.
    #[serde(default)]
    pub session_id: Option<String>,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Calls that look like toll fraud.
    Fraud,
    /// The gateway has more to do than it can.
    Overload,
    /// Calls find no RTP ports.
    Ports,
    /// A call in which one side hears nothing, or both.
    OneWay,
}

impl AlarmKind {
    /// All of them, in order, with their names.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Fraud, "fraud"),
        (Self::Overload, "overload"),
        (Self::Ports, "ports"),
        (Self::OneWay, "one_way"),
    ];
}
