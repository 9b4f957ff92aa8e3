//! What travels between the threads of a gateway process.

use crate::config::Config;
use crate::trunk::TrunkTable;
use core::net::SocketAddr;
use link::{Command, Event, ShardId};
use sansio::SocketId;
use std::sync::Arc;

/// A message between shards, or between a shard and control.
#[derive(Debug)]
pub enum Mail {
    /// A datagram that arrived here and belongs there.
    Datagram {
        /// The socket it came on; sockets have the same numbers on every shard.
        socket: SocketId,
        /// Who sent it.
        source: SocketAddr,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
    /// ICMP refused a datagram; the kernel tells one shard, and any may have sent it.
    Unreachable {
        /// The socket, by number.
        socket: SocketId,
        /// Where it was going.
        destination: SocketAddr,
    },
    /// From a shard to control.
    Event(ShardId, Event),
    /// From control to a shard.
    Command(Command),
    /// New settings for new calls.
    Reload {
        /// How calls are handled.
        config: Box<Config>,
        /// Trunks and groups.
        table: Arc<TrunkTable>,
    },
    /// Take no new calls, stop when the last is over.
    Drain,
    /// End all calls now and stop.
    Quit,
}
