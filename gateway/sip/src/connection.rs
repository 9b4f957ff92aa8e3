//! TCP and TLS connections of an endpoint: found by peer, opened when wanted, cut into messages, closed when idle.

use crate::event::{Flow, Link, Transport};
use crate::framing::Framer;
use crate::websocket::Session;
use core::net::SocketAddr;
use sansio::{StreamId, TimerId};
use std::collections::BTreeMap;

/// What cuts a connection's bytes into messages.
#[derive(Debug)]
pub(crate) enum Cutter {
    /// By Content-Length.
    Stream(Framer),
    /// By WebSocket frames.
    WebSocket(Box<Session>),
}

/// What is known of a connection that is kept open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// How often the other side wants a ping, if it says.
    pub(crate) every: Option<core::time::Duration>,
    /// Whether an answer to a ping is awaited.
    pub(crate) awaited: bool,
    /// Whether the other side is known to answer pings.
    pub(crate) answers: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What is spoken on it.
    pub(crate) transport: Transport,
    /// The peer.
    pub(crate) remote: SocketAddr,
    /// Our address as told to others.
    pub(crate) local: SocketAddr,
    /// Whether it stands (rather than being made).
    pub(crate) open: bool,
    /// Cuts what arrives into messages; away while its messages are handled.
    pub(crate) framer: Option<Cutter>,
    /// Whether anything went over it since the idle timer was set.
    pub(crate) used: bool,
    /// Legs that rely on it.
    pub(crate) legs: u32,
    /// Another endpoint holds it, under this number: what is sent over it goes there.
    pub(crate) holder: Option<(u16, StreamId)>,
    /// Messages of it were handed to other endpoints, which have to hear when it is over.
    pub(crate) lent: bool,
    /// It is not closed for lack of traffic.
    pub(crate) kept: Option<Kept>,
    /// Connect, idle or ping timer.
    pub(crate) timer: Option<TimerId>,
}

impl Connection {
    /// Whether the peer cannot be expected to be reached otherwise: it connected to us and encrypts, so that its own
    /// address is as a rule behind a NAT, and its certificate, if it has one, names no address (RFC 5626 §1).
    pub(crate) const fn is_only_way(&self, stream: StreamId) -> bool {
        let accepted = match self.holder {
            Some((_, stream)) => stream.is_accepted(),
            None => stream.is_accepted(),
        };
        accepted && !matches!(self.transport, Transport::Tcp | Transport::Udp)
    }

    /// The way over it.
    pub(crate) const fn flow(&self, stream: StreamId) -> Flow {
        Flow { transport: self.transport, link: Link::Stream(stream), local: self.local, remote: self.remote }
    }
}

/// All connections of an endpoint.
#[derive(Debug)]
pub(crate) struct Connections {
    table: BTreeMap<StreamId, Connection>,
    by_remote: BTreeMap<(Transport, SocketAddr), StreamId>,
    /// Those that other endpoints hold, by holder and its number.
    borrowed: BTreeMap<(u16, StreamId), StreamId>,
    limit: usize,
    plain: Numbers,
    secured: Numbers,
}

/// The numbers of the connections we open, given out in turn.
#[derive(Debug)]
struct Numbers {
    first: u32,
    next: u32,
    end: u32,
}

impl Numbers {
    const fn new(first: u32, end: u32) -> Self {
        Self { first, next: first, end }
    }

    /// The next that is free. At most `held` are taken, so this ends.
    fn draw(&mut self, held: usize, is_free: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        if self.first >= self.end {
            return None;
        }
        for _ in 0..=held {
            let stream = StreamId(self.next);
            self.next = if self.next + 1 >= self.end { self.first } else { self.next + 1 };
            if is_free(stream) {
                return Some(stream);
            }
        }
        None
    }
}

impl Connections {
    /// None yet; at most `limit`, numbered from `first` up to before `end`; those over TLS from
    /// [`StreamId::SECURED`] on.
    pub(crate) const fn new(limit: u32, first: u32, end: u32) -> Self {
        Self {
            table: BTreeMap::new(),
            by_remote: BTreeMap::new(),
            borrowed: BTreeMap::new(),
            limit: limit as usize,
            plain: Numbers::new(first, if end < StreamId::SECURED { end } else { StreamId::SECURED }),
            secured: Numbers::new(StreamId::SECURED, StreamId::ACCEPTED),
        }
    }

    /// Takes a connection into the table; `false` if that is full. The newest to a peer is the one that is used.
    pub(crate) fn insert(
        &mut self,
        stream: StreamId,
        transport: Transport,
        remote: SocketAddr,
        local: SocketAddr,
        open: bool,
    ) -> bool {
        if self.table.len() >= self.limit || self.table.contains_key(&stream) {
            return false;
        }
        let framer = Some(if transport.is_websocket() {
            Cutter::WebSocket(Box::default())
        } else {
            Cutter::Stream(Framer::new())
        });
        let connection = Connection {
            transport,
            remote,
            local,
            open,
            framer,
            used: false,
            legs: 0,
            holder: None,
            lent: false,
            kept: None,
            timer: None,
        };
        self.table.insert(stream, connection);
        self.by_remote.insert((transport, remote), stream);
        true
    }

    /// A number for a connection to be opened; `None` if the table is full.
    pub(crate) fn fresh(&mut self, transport: Transport) -> Option<StreamId> {
        let held = self.table.len();
        if held >= self.limit {
            return None;
        }
        let numbers = if transport == Transport::Tls { &mut self.secured } else { &mut self.plain };
        numbers.draw(held, |stream| !self.table.contains_key(&stream))
    }

    /// Our number of a connection that another endpoint holds; taken into the table if it is not there. `None`: table full.
    pub(crate) fn borrow(
        &mut self,
        holder: (u16, StreamId),
        transport: Transport,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Option<StreamId> {
        if let Some(stream) = self.borrowed.get(&holder) {
            return Some(*stream);
        }
        let stream = self.fresh(transport)?;
        self.insert(stream, transport, remote, local, true);
        self.get_mut(stream)?.holder = Some(holder);
        self.borrowed.insert(holder, stream);
        Some(stream)
    }

    /// Our number of a connection that another endpoint holds.
    pub(crate) fn borrowed(&self, holder: (u16, StreamId)) -> Option<StreamId> {
        self.borrowed.get(&holder).copied()
    }

    /// The connection to a peer over a transport.
    pub(crate) fn to(&self, transport: Transport, remote: SocketAddr) -> Option<StreamId> {
        self.by_remote.get(&(transport, remote)).copied()
    }

    /// A connection.
    pub(crate) fn get(&self, stream: StreamId) -> Option<&Connection> {
        self.table.get(&stream)
    }

    /// A connection, to be changed.
    pub(crate) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Connection> {
        self.table.get_mut(&stream)
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, stream: StreamId) -> Option<Connection> {
        let connection = self.table.remove(&stream)?;
        let peer = (connection.transport, connection.remote);
        if self.by_remote.get(&peer) == Some(&stream) {
            self.by_remote.remove(&peer);
        }
        if let Some(holder) = connection.holder {
            self.borrowed.remove(&holder);
        }
        Some(connection)
    }

    /// Connections held.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_reused_by_peer_and_bounded() {
        let mut connections = Connections::new(2, 10, 13);
        let local = "127.0.0.1:5060".parse().unwrap();
        let peers: [SocketAddr; 3] =
            ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(|a| a.parse().unwrap());
        let a = connections.fresh(Transport::Tcp).unwrap();
        assert!(connections.insert(a, Transport::Tcp, peers[0], local, false));
        let b = connections.fresh(Transport::Tcp).unwrap();
        assert!(connections.insert(b, Transport::Tcp, peers[1], local, true));
        assert_eq!(
            (connections.to(Transport::Tcp, peers[0]), connections.to(Transport::Tcp, peers[2])),
            (Some(a), None)
        );
        assert_eq!(connections.fresh(Transport::Tcp), None);
        assert!(!connections.insert(StreamId(12), Transport::Tcp, peers[2], local, true));
        assert!(connections.remove(a).is_some());
        assert_eq!((connections.to(Transport::Tcp, peers[0]), connections.len()), (None, 1));
        assert_eq!(connections.fresh(Transport::Tcp), Some(StreamId(12)));
        assert_eq!(connections.fresh(Transport::Tcp), Some(StreamId(10)));
    }

    #[test]
    fn connections_over_tls_are_numbered_and_found_apart() {
        let mut connections = Connections::new(4, 10, StreamId::ACCEPTED);
        let [peer, local] = ["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap());
        let plain = connections.fresh(Transport::Tcp).unwrap();
        let secured = connections.fresh(Transport::Tls).unwrap();
        assert!(!plain.is_secured() && secured.is_secured());
        assert!(connections.insert(plain, Transport::Tcp, peer, local, true));
        assert!(connections.insert(secured, Transport::Tls, peer, local, true));
        assert_eq!(connections.to(Transport::Tls, peer), Some(secured));
        assert!(connections.remove(secured).is_some());
        assert_eq!(
            (connections.to(Transport::Tls, peer), connections.to(Transport::Tcp, peer)),
            (None, Some(plain))
        );
    }
}
