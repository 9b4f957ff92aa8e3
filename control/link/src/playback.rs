//! What is played in a call: the orders to a shard, its answers, and what it tells of each.

use crate::{CallId, Side, Text, Ticket, UnixMicros};
use serde::{Deserialize, Serialize};

/// Play files to a side of a call, one after the other, in place of what the other side sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayAsked {
    /// To be repeated in the answer.
    pub ticket: Ticket,
    /// The call.
    pub call: CallId,
    /// Who hears it: caller or callee.
    pub side: Side,
    /// The files, by their names in the gateway's folder of prompts.
    pub files: Vec<String>,
    /// Over and over, until it is stopped.
    pub repeated: bool,
}

/// Play no more to a side of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAsked {
    /// To be repeated in the answer.
    pub ticket: Ticket,
    /// The call.
    pub call: CallId,
    /// Who hears the other side again; `None`: both.
    pub side: Option<Side>,
}

/// A shard's answer to either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaAnswer {
    /// As asked.
    pub ticket: Ticket,
    /// The number of what plays now; of a stop, how many were stopped.
    pub result: Result<u64, MediaRefusal>,
}

/// Why nothing is played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaRefusal {
    /// There is no such call.
    NoCall,
    /// The call, or the gateway, cannot do it now.
    NotNow(Text),
    /// A file cannot be played: which, why, and what to do.
    File(String),
}

/// How far something that is played is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaybackState {
    /// It plays.
    Playing,
    /// It was played to its end.
    Finished,
    /// It was stopped by an order, or since nobody is held any more.
    Stopped,
    /// Something else plays in its place.
    Replaced,
    /// Call or leg ended, or changed its codec.
    Interrupted,
    /// It could not be read.
    Failed,
}

/// Something that is played to a side of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playback {
    /// The call.
    pub call: CallId,
    /// Its number, unique on its shard.
    pub playback: u64,
    /// Who hears it.
    pub side: Side,
    /// The files.
    pub what: String,
    /// Whether it is music on hold.
    pub hold: bool,
    /// How far it is.
    pub state: PlaybackState,
    /// Since when.
    pub at: UnixMicros,
}
