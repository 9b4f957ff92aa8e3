//! How a trunk is registered with its carrier (RFC 3261 §10.2), as told and as asked.

use crate::{TrunkName, UnixMicros};
use serde::{Deserialize, Serialize};

/// A registration in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    /// The first answer is awaited.
    Trying,
    /// The carrier has our binding.
    Registered,
    /// The last attempt failed and is repeated; a binding made before may still hold.
    Failing,
    /// The carrier said no (wrong password, unknown name): asked again seldom.
    Refused,
    /// Given up: the gateway drains, or the trunk is configured otherwise.
    Left,
}

/// A registration changed its state, or the carrier's last word was another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationChange {
    /// The trunk.
    pub trunk: TrunkName,
    /// The new state.
    pub state: RegistrationState,
    /// Until when the carrier has our binding.
    pub until: Option<UnixMicros>,
    /// When the next REGISTER is due, if none is under way.
    pub next: Option<UnixMicros>,
    /// Status of the last answer; `None` if none came.
    pub status: Option<u16>,
    /// The last answer in words.
    pub reason: String,
    /// When.
    pub at: UnixMicros,
}

/// A registration as the shards of a process see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationFacts {
    /// Its state.
    pub state: RegistrationState,
    /// Whether the carrier has our binding now.
    pub registered: bool,
    /// Until when.
    pub until: Option<UnixMicros>,
    /// When the next REGISTER is due, if none is under way.
    pub next: Option<UnixMicros>,
    /// Since when it has been in its state.
    pub since: UnixMicros,
    /// Status of the last answer; `None` if none came.
    pub status: Option<u16>,
    /// The last answer in words.
    pub reason: String,
    /// The registrar's URI.
    pub registrar: String,
    /// The address of record.
    pub aor: String,
    /// What requests to the carrier bear in Route (RFC 3608).
    pub service_route: Vec<String>,
    /// The identities that the carrier says are ours (P-Associated-URI).
    pub associated: Vec<String>,
    /// REGISTER requests sent, without repetitions.
    pub sent: u64,
    /// Attempts that were granted.
    pub granted: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Calls that the carrier sent to our contact.
    pub calls_in: u64,
}
