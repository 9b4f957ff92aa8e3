//! What shards and their farm tell each other.

use crate::callee::Behaviour;
use crate::measure::Part;
use sansio::{IoError, Mailbox, Time};

/// The farm's own mailbox; shard `n` has `n + 1`.
pub const FARM: Mailbox = Mailbox(0);

/// A message between a shard and its farm.
#[derive(Debug)]
pub enum Mail {
    /// To a shard: the run begins at this instant; seconds and arrivals count from it.
    Begin(Time),
    /// To a shard: no new calls; hang up those that stand.
    Drain,
    /// To a shard: say what is left, and end.
    Stop,
    /// To a carrier: behave like this from now on.
    Behave(Behaviour),
    /// To a carrier: be gone at once, without a word to anybody, as a process that was killed.
    Die,
    /// From a shard: sockets are open (so many for RTP, and why not more).
    Ready {
        /// Which shard.
        shard: u16,
        /// RTP ports open.
        ports: u32,
        /// Why no more.
        refusal: Option<IoError>,
    },
    /// From a shard: one second.
    Part {
        /// Which shard.
        shard: u16,
        /// What it measured.
        part: Box<Part>,
    },
    /// From a shard: its schedule is done and all its calls are over.
    Done {
        /// Which shard.
        shard: u16,
    },
}
