//! What an endpoint has to say to the outside, kept in one reused piece of memory until it is flushed.

use crate::connection::Connections;
use crate::event::{Link, Transport};
use crate::observe::Tap;
use crate::websocket;
use core::net::SocketAddr;
use core::ops::Range;
use sansio::{Outbox, SocketId, StreamId};

#[derive(Debug)]
enum Item {
    Datagram(SocketId, SocketAddr, Range<usize>),
    Write(StreamId, Range<usize>),
    Foreign(u16, StreamId, SocketAddr, Range<usize>),
    Connect(StreamId, Option<SocketAddr>, SocketAddr),
    Shut(StreamId),
}

/// Messages and connection actions not yet flushed, and the connections they need.
#[derive(Debug)]
pub(crate) struct Wire {
    arena: Vec<u8>,
    items: Vec<Item>,
    /// TCP connections.
    pub(crate) connections: Connections,
    /// Sees what is sent, and what comes as well.
    pub(crate) tap: Tap,
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages dropped for lack of a connection.
    pub(crate) unsendable: u64,
}

/// The arena keeps this much memory between flushes, in bytes.
const ARENA_KEPT: usize = 1 << 20;

impl Wire {
    /// Nothing to say yet.
    pub(crate) fn new(connections: Connections) -> Self {
        let tap = Tap::default();
        Self { arena: Vec::new(), items: Vec::new(), connections, tap, sent: 0, unsendable: 0 }
    }

    /// Sends a message over a socket, or a connection that stands or is being made; `false` if it is gone.
    pub(crate) fn send(&mut self, link: Link, to: SocketAddr, bytes: &[u8]) -> bool {
        let sent = self.pass(link, to, bytes);
        let way = match link {
            Link::Socket(socket) => self.tap.address(socket).map(|local| (Transport::Udp, local)),
            Link::Stream(stream) => self.connections.get(stream).map(|it| (it.transport, it.local)),
        };
        if let (true, Some((transport, local))) = (sent, way) {
            self.tap.sent(transport, local, to, bytes);
        }
        sent
    }

    /// The same for a message that another endpoint has noted already.
    pub(crate) fn pass(&mut self, link: Link, to: SocketAddr, bytes: &[u8]) -> bool {
        let start = self.arena.len();
        if let Link::Stream(stream) = link
            && let Some(connection) = self.connections.get(stream)
            && connection.transport.is_websocket()
            && connection.holder.is_none()
        {
            self.arena.extend_from_slice(&websocket::message_head(bytes));
        }
        let range = start..self.arena.len() + bytes.len();
        match link {
            Link::Socket(socket) => self.items.push(Item::Datagram(socket, to, range)),
            Link::Stream(stream) => {
                let Some(connection) = self.connections.get_mut(stream) else { return false };
                connection.used = true;
                self.items.push(match connection.holder {
                    Some((holder, stream)) => Item::Foreign(holder, stream, connection.remote, range),
                    None => Item::Write(stream, range),
                });
            }
        }
        self.arena.extend_from_slice(bytes);
        self.sent += 1;
        true
    }

    /// Writes bytes to a connection of our own as they are.
    pub(crate) fn send_raw(&mut self, stream: StreamId, bytes: &[u8]) {
        let start = self.arena.len();
        self.items.push(Item::Write(stream, start..start + bytes.len()));
        self.arena.extend_from_slice(bytes);
    }

    /// Connects a stream, from that address if one is given.
    pub(crate) fn connect(&mut self, stream: StreamId, local: Option<SocketAddr>, remote: SocketAddr) {
        self.items.push(Item::Connect(stream, local, remote));
    }

    /// Closes a stream after what was written.
    pub(crate) fn shut(&mut self, stream: StreamId) {
        // A connection that another endpoint holds is the other one's to close.
        if self.connections.get(stream).is_none_or(|connection| connection.holder.is_none()) {
            self.items.push(Item::Shut(stream));
        }
    }

    /// Moves everything into the outbox; what goes over another endpoint's connection becomes what `foreign` makes of it.
    pub(crate) fn flush<M>(
        &mut self,
        out: &mut Outbox<M>,
        mut foreign: impl FnMut(u16, StreamId, SocketAddr, &[u8], &mut Outbox<M>),
    ) {
        for item in self.items.drain(..) {
            match item {
                Item::Datagram(socket, to, range) => out.send(socket, to, &self.arena[range]),
                Item::Write(stream, range) => out.write(stream, &self.arena[range]),
                Item::Foreign(holder, stream, remote, range) => {
                    foreign(holder, stream, remote, &self.arena[range], out);
                }
                Item::Connect(stream, local, remote) => out.connect(stream, local, remote),
                Item::Shut(stream) => out.shut(stream),
            }
        }
        self.arena.clear();
        self.arena.shrink_to(ARENA_KEPT);
    }

    /// Messages and actions waiting.
    pub(crate) const fn waiting(&self) -> usize {
        self.items.len()
    }
}
