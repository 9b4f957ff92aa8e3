//! How events come from shards and commands go to them: what the composer of a process provides.

use link::{Command, Event, ShardId};
use std::os::fd::BorrowedFd;

/// Where the shards' events arrive: a bounded queue whose reader can sleep on a file descriptor.
pub trait Inbox: Send + 'static {
    /// Readable once an event came after [`Self::arm`]. The same one always.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The oldest event, if there is one. Never blocks.
    fn next(&mut self) -> Option<(ShardId, Event)>;

    /// The reader is about to sleep; false if it must not, since an event is there.
    fn arm(&mut self) -> bool;

    /// The reader is awake; the descriptor is not readable any more.
    fn disarm(&mut self);
}

/// Gives a command to a shard; see [`Links::commands`].
pub type Commands = dyn FnMut(ShardId, &Command) -> bool + Send;

/// Both directions.
pub struct Links {
    /// Events of all shards.
    pub inbox: Box<dyn Inbox>,
    /// Gives a command to a shard without blocking; false if its mailbox is full: then it is tried again.
    pub commands: Box<Commands>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}
