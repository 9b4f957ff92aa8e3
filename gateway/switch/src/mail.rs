//! What travels between the threads of a gateway process.

use crate::attach::PromptAsked;
use crate::config::Config;
use crate::guard::Sentence;
use crate::transfer::{Afar, Search};
use crate::trunk::{TrunkTable, Version};
use core::net::SocketAddr;
use link::{Command, Event, ShardId};
use media::prompt::Clip;
use sansio::{SocketId, StreamId, Time};
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
        /// When the kernel got it.
        received: Time,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
    /// A message that arrived on a connection there and belongs here.
    Foreign {
        /// The shard that holds the connection.
        holder: u16,
        /// Its number of the connection.
        stream: StreamId,
        /// What is spoken on it.
        transport: sip::Transport,
        /// Our address on it.
        local: SocketAddr,
        /// The peer's address on it.
        remote: SocketAddr,
        /// The message.
        bytes: Box<[u8]>,
    },
    /// A connection of another shard is over.
    ForeignClosed {
        /// The shard that held it.
        holder: u16,
        /// Its number of the connection.
        stream: StreamId,
    },
    /// Bytes to be written to a connection that the receiving shard holds.
    Write {
        /// The connection.
        stream: StreamId,
        /// Its peer.
        remote: SocketAddr,
        /// The bytes.
        bytes: Box<[u8]>,
    },
    /// A SIP message from a shard to another, about a dialog between the two of them.
    Tied {
        /// Who wrote it.
        from: u16,
        /// The message.
        bytes: Box<[u8]>,
    },
    /// A question of a shard about a dialog of the one that gets it.
    Seek(Box<Search>),
    /// The answer to that.
    Found(Box<Search>),
    /// A REFER that a shard has accepted, about a call of the one that gets it.
    Refer(Box<Afar>),
    /// How that goes, for the subscription that it has made.
    Referred {
        /// At the shard that gets it.
        subscription: sip::SubscriptionId,
        /// The status to be told.
        status: u16,
        /// Whether nothing follows.
        last: bool,
    },
    /// ICMP refused a datagram; the kernel tells one shard, and any may have sent it.
    Unreachable {
        /// The socket, by number.
        socket: SocketId,
        /// Where it was going.
        destination: SocketAddr,
    },
    /// A source is banned.
    Banned(Sentence),
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
    /// From a shard to who reads prompts.
    PromptAsked(Box<PromptAsked>),
    /// The answer to that.
    PromptCame {
        /// As asked.
        play: u64,
        /// The files in order, or why they cannot be played: which, and what to do.
        clips: Result<Vec<Arc<Clip>>, String>,
    },
    /// From the first shard: trunks with the addresses that their peers' names stand for now.
    Table(Arc<TrunkTable>),
    /// To the first shard: which table a shard has.
    TableTaken {
        /// The shard.
        shard: u16,
        /// Its table.
        version: Version,
    },
    /// This shard has nothing left to do and stops as soon as all have: until then it passes on what the others need.
    Over(u16),
    /// Take no new calls, stop when the last is over.
    Drain,
    /// End all calls now and stop.
    Quit,
}
