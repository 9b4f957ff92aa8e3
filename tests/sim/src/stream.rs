//! Streams (TCP) as the network carries them: ordered, reliable, cut at random places, late, refused, reset.

use crate::NodeId;
use sansio::{StreamId, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Which connection of the world.
pub(crate) type ConnectionId = u64;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    /// `None` once the machine has shut it or was told that it is closed.
    pub(crate) stream: Option<StreamId>,
    pub(crate) address: SocketAddr,
    /// Written and not yet delivered to the other end.
    pub(crate) out: VecDeque<u8>,
    /// Close after `out`.
    pub(crate) fin: bool,
    /// Whether a delivery from this end is on its way.
    pub(crate) pumping: bool,
    /// Since when nothing gets through.
    pub(crate) blocked: Option<Time>,
    /// Whether what waits arrives byte by byte.
    pub(crate) crumbs: bool,
}

impl End {
    pub(crate) const fn new(node: NodeId, stream: Option<StreamId>, address: SocketAddr) -> Self {
        Self {
            node,
            stream,
            address,
            out: VecDeque::new(),
            fin: false,
            pumping: false,
            blocked: None,
            crumbs: false,
        }
    }
}

/// A connection between two nodes; end 0 is the one that connected.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    pub(crate) established: bool,
}

/// What happens next to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The request to connect arrives, for the `attempt`-th time.
    Syn { attempt: u32 },
    /// The answer to it arrives.
    SynAck,
    /// The refusal of it arrives.
    Refuse,
    /// Bytes of end `from` arrive at the other end.
    Pump { from: usize },
    /// A reset arrives at `end`.
    Reset { end: usize },
}
