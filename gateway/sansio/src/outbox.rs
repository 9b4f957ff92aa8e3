//! The outbox: what a machine wants done, written down until the driver does it.

use crate::{Mailbox, Packet, PacketPool, SocketId, StreamId};
use core::net::SocketAddr;
use std::collections::VecDeque;

/// A datagram on its way out.
#[derive(Debug)]
pub struct Send {
    /// The socket to send from.
    pub socket: SocketId,
    /// Where to.
    pub destination: SocketAddr,
    /// The bytes, in the outbox's pool; the driver releases it once the kernel is done with it.
    pub packet: Packet,
}

/// How a datagram socket shall be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Deliver ICMP refusals as [`crate::Input::Unreachable`] (IP_RECVERR).
    pub icmp_errors: bool,
    /// Stamp datagrams with the kernel's time of receipt.
    pub timestamps: bool,
    /// Ask for this much receive buffer, in bytes; 0 leaves the host's default.
    pub receive_buffer: u32,
}

/// What a machine wants done besides sending datagrams.
#[derive(Debug)]
pub enum Action<M> {
    /// Open a datagram socket bound to `local` (port 0: any); answered by [`crate::SocketEvent`].
    Open {
        /// The number it shall have.
        socket: SocketId,
        /// Where to bind.
        local: SocketAddr,
        /// How.
        options: SocketOptions,
    },
    /// Close a socket; no event follows.
    Close(SocketId),
    /// Connect a stream; answered by `Connected` or `Closed`.
    Connect {
        /// The number it shall have, below [`StreamId::ACCEPTED`].
        stream: StreamId,
        /// Where from: the address to bind, port 0 for any; `None` leaves it to the host.
        local: Option<SocketAddr>,
        /// Where to.
        remote: SocketAddr,
    },
    /// Write bytes to a stream, in order.
    Write(StreamId, Vec<u8>),
    /// Close a stream once everything written is out; no event follows.
    Shut(StreamId),
    /// Put mail into another thread's mailbox; when that is full it is dropped and counted.
    Mail(Mailbox, M),
    /// The machine is finished: the driver's thread ends after carrying out what is in the outbox.
    Stop,
}

/// What could not be written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Datagrams dropped since no packet was free.
    pub packets_exhausted: u64,
    /// Datagrams dropped since they were larger than UDP carries.
    pub datagrams_oversize: u64,
}

/// What a machine wants done. One per driver thread, made once, never grown by datagrams beyond its pool.
#[derive(Debug)]
pub struct Outbox<M> {
    pool: PacketPool,
    sends: VecDeque<Send>,
    actions: VecDeque<Action<M>>,
    stats: OutboxStats,
}

impl<M> Outbox<M> {
    /// An outbox with a pool of `small` and `large` packets (see [`PacketPool::new`]).
    pub fn new(small: u32, large: u32) -> Self {
        Self {
            pool: PacketPool::new(small, large),
            sends: VecDeque::with_capacity((small + large) as usize),
            actions: VecDeque::with_capacity(64),
            stats: OutboxStats::default(),
        }
    }

    /// Sends a datagram; dropped and counted if the pool is empty.
    pub fn send(&mut self, socket: SocketId, destination: SocketAddr, payload: &[u8]) {
        self.send_with(socket, destination, payload.len(), |bytes| bytes.copy_from_slice(payload));
    }

    /// Sends a datagram of `len` bytes that `write` fills in place (it sees whatever the buffer held before).
    pub fn send_with(
        &mut self,
        socket: SocketId,
        destination: SocketAddr,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) {
        if len > 65_507 {
            self.stats.datagrams_oversize += 1;
            return;
        }
        let Some(packet) = self.pool.take(len) else {
            self.stats.packets_exhausted += 1;
            return;
        };
        write(self.pool.bytes_mut(&packet));
        self.sends.push_back(Send { socket, destination, packet });
    }

    /// Opens a datagram socket.
    pub fn open(&mut self, socket: SocketId, local: SocketAddr, options: SocketOptions) {
        self.actions.push_back(Action::Open { socket, local, options });
    }

    /// Closes a socket.
    pub fn close(&mut self, socket: SocketId) {
        self.actions.push_back(Action::Close(socket));
    }

    /// Connects a stream.
    pub fn connect(&mut self, stream: StreamId, local: Option<SocketAddr>, remote: SocketAddr) {
        self.actions.push_back(Action::Connect { stream, local, remote });
    }

    /// Writes to a stream.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        self.actions.push_back(Action::Write(stream, bytes.to_vec()));
    }

    /// Closes a stream after what was written.
    pub fn shut(&mut self, stream: StreamId) {
        self.actions.push_back(Action::Shut(stream));
    }

    /// Sends mail.
    pub fn mail(&mut self, to: Mailbox, mail: M) {
        self.actions.push_back(Action::Mail(to, mail));
    }

    /// Ends the driver's thread.
    pub fn stop(&mut self) {
        self.actions.push_back(Action::Stop);
    }

    /// For layers between a machine and its driver: actions waiting.
    pub fn actions_waiting(&self) -> usize {
        self.actions.len()
    }

    /// For layers between a machine and its driver: takes back the actions written after the first `kept`.
    pub fn take_actions(&mut self, kept: usize, into: &mut VecDeque<Action<M>>) {
        into.extend(self.actions.drain(kept.min(self.actions.len())..));
    }

    /// For layers between a machine and its driver: writes an action down.
    pub fn act(&mut self, action: Action<M>) {
        self.actions.push_back(action);
    }

    /// For drivers: the next action, oldest first.
    pub fn next_action(&mut self) -> Option<Action<M>> {
        self.actions.pop_front()
    }

    /// For drivers: the next datagram, oldest first; its packet is to be released through [`Self::pool`].
    pub fn next_send(&mut self) -> Option<Send> {
        self.sends.pop_front()
    }

    /// For drivers: puts a datagram back at the front (the kernel would not take it yet).
    pub fn unsend(&mut self, send: Send) {
        self.sends.push_front(send);
    }

    /// For drivers: datagrams waiting.
    pub fn sends_waiting(&self) -> usize {
        self.sends.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.actions.is_empty()
    }

    /// For drivers: the pool behind the sends.
    pub fn pool(&mut self) -> &mut PacketPool {
        &mut self.pool
    }

    /// What could not be written down since the start.
    pub fn stats(&self) -> OutboxStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_beyond_the_pool_are_counted_not_queued() {
        let mut out = Outbox::<()>::new(1, 0);
        let to = "127.0.0.1:9".parse().unwrap();
        out.send(SocketId(0), to, b"one");
        out.send(SocketId(0), to, b"two");
        out.send(SocketId(0), to, &[0; 65_508]);
        assert_eq!(out.stats(), OutboxStats { packets_exhausted: 1, datagrams_oversize: 1 });
        let send = out.next_send().unwrap();
        assert_eq!(out.pool().bytes(&send.packet), b"one");
        out.pool().release(send.packet);
        assert!(out.is_empty());
        assert_eq!(out.pool().taken(), 0);
    }
}
