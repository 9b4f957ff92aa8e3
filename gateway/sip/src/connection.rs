//! TCP connections of an endpoint: found by peer, opened when wanted, cut into messages, closed when idle.

use crate::framing::Framer;
use core::net::SocketAddr;
use sansio::{StreamId, TimerId};
use std::collections::BTreeMap;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The peer.
    pub(crate) remote: SocketAddr,
    /// Our address as told to others.
    pub(crate) local: SocketAddr,
    /// Whether it stands (rather than being made).
    pub(crate) open: bool,
    /// Cuts what arrives into messages; away while its messages are handled.
    pub(crate) framer: Option<Framer>,
    /// Whether anything went over it since the idle timer was set.
    pub(crate) used: bool,
    /// Legs that rely on it.
    pub(crate) legs: u32,
    /// Another endpoint holds it, under this number: what is sent over it goes there.
    pub(crate) holder: Option<(u16, StreamId)>,
    /// Messages of it were handed to other endpoints, which have to hear when it is over.
    pub(crate) lent: bool,
    /// Connect or idle timer.
    pub(crate) timer: Option<TimerId>,
}

/// All connections of an endpoint.
#[derive(Debug)]
pub(crate) struct Connections {
    table: BTreeMap<StreamId, Connection>,
    by_remote: BTreeMap<SocketAddr, StreamId>,
    /// Those that other endpoints hold, by holder and its number.
    borrowed: BTreeMap<(u16, StreamId), StreamId>,
    limit: usize,
    first: u32,
    next: u32,
    end: u32,
}

impl Connections {
    /// None yet; at most `limit`, numbered from `first` up to before `end`.
    pub(crate) const fn new(limit: u32, first: u32, end: u32) -> Self {
        Self {
            table: BTreeMap::new(),
            by_remote: BTreeMap::new(),
            borrowed: BTreeMap::new(),
            limit: limit as usize,
            first,
            next: first,
            end,
        }
    }

    /// Takes a connection into the table; `false` if that is full. The newest to a peer is the one that is used.
    pub(crate) fn insert(
        &mut self,
        stream: StreamId,
        remote: SocketAddr,
        local: SocketAddr,
        open: bool,
    ) -> bool {
        if self.table.len() >= self.limit || self.table.contains_key(&stream) {
            return false;
        }
        let framer = Some(Framer::new());
        let connection = Connection {
            remote,
            local,
            open,
            framer,
            used: false,
            legs: 0,
            holder: None,
            lent: false,
            timer: None,
        };
        self.table.insert(stream, connection);
        self.by_remote.insert(remote, stream);
        true
    }

    /// A number for a connection to be opened; `None` if the table is full.
    pub(crate) fn fresh(&mut self) -> Option<StreamId> {
        if self.table.len() >= self.limit || self.first >= self.end {
            return None;
        }
        // At most `limit` numbers are taken, so this ends.
        for _ in 0..=self.table.len() {
            let stream = StreamId(self.next);
            self.next = if self.next + 1 >= self.end { self.first } else { self.next + 1 };
            if !self.table.contains_key(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Our number of a connection that another endpoint holds; taken into the table if it is not there. `None`: table full.
    pub(crate) fn borrow(
        &mut self,
        holder: (u16, StreamId),
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Option<StreamId> {
        if let Some(stream) = self.borrowed.get(&holder) {
            return Some(*stream);
        }
        let stream = self.fresh()?;
        self.insert(stream, remote, local, true);
        self.get_mut(stream)?.holder = Some(holder);
        self.borrowed.insert(holder, stream);
        Some(stream)
    }

    /// Our number of a connection that another endpoint holds.
    pub(crate) fn borrowed(&self, holder: (u16, StreamId)) -> Option<StreamId> {
        self.borrowed.get(&holder).copied()
    }

    /// The connection to a peer.
    pub(crate) fn to(&self, remote: SocketAddr) -> Option<StreamId> {
        self.by_remote.get(&remote).copied()
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
        if self.by_remote.get(&connection.remote) == Some(&stream) {
            self.by_remote.remove(&connection.remote);
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
        let a = connections.fresh().unwrap();
        assert!(connections.insert(a, peers[0], local, false));
        let b = connections.fresh().unwrap();
        assert!(connections.insert(b, peers[1], local, true));
        assert_eq!((connections.to(peers[0]), connections.to(peers[2])), (Some(a), None));
        assert_eq!(connections.fresh(), None);
        assert!(!connections.insert(StreamId(12), peers[2], local, true));
        assert!(connections.remove(a).is_some());
        assert_eq!((connections.to(peers[0]), connections.len()), (None, 1));
        assert_eq!(connections.fresh(), Some(StreamId(12)));
        assert_eq!(connections.fresh(), Some(StreamId(10)));
    }
}
