//! The TCP streams of a driver: numbers, states and what waits to be written. Shared by both back-ends.

use crate::address::RawAddress;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Key, Slab, StreamEnd, StreamId, Time};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Writes are gathered into pieces of about this size.
const PIECE: usize = 16 * 1024;

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Connecting; writes wait.
    Connecting,
    /// In use.
    Open,
    /// Shut by the machine, or ended by the peer: what waits is still written, nothing is delivered.
    Draining,
    /// All written and our side closed: waiting for the peer to close too, so that it gets our last bytes.
    Lingering,
    /// Over: waiting for the kernel to give back what it still holds.
    Dead,
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// The machine's number for it; `None` once the machine need not know any more.
    pub(crate) name: Option<StreamId>,
    pub(crate) fd: OwnedFd,
    pub(crate) state: State,
    pub(crate) queue: WriteQueue,
    /// Where to connect to; read by the kernel until the connect completes, hence not moved.
    pub(crate) remote: Box<RawAddress>,
    pub(crate) remote_len: u32,
    /// A read is with the kernel.
    pub(crate) reading: bool,
    /// A write is with the kernel: the front of `queue` is the kernel's to read.
    pub(crate) writing: bool,
    /// A connect is with the kernel: `remote` is the kernel's to read.
    pub(crate) connecting: bool,
    /// When a closing stream is given up.
    pub(crate) give_up: Option<Time>,
    /// What the fallback has asked epoll for.
    pub(crate) interest: u32,
}

impl Stream {
    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether the kernel holds none of its memory.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.reading && !self.writing && !self.connecting
    }
}

/// A stream ended; the machine is to be told.
pub(crate) type Ended = Option<(StreamId, StreamEnd)>;

#[derive(Debug)]
pub(crate) struct StreamTable {
    slab: Slab<Stream>,
    names: HashMap<StreamId, Key>,
    next_accepted: u32,
    /// Streams with `give_up` set.
    closing: usize,
    linger: Duration,
}

impl StreamTable {
    pub(crate) fn new(streams_max: u32, linger: Duration) -> Self {
        let capacity = streams_max.min(crate::tag::Tag::INDEX_END);
        Self {
            slab: Slab::new(capacity),
            names: HashMap::new(),
            next_accepted: StreamId::ACCEPTED,
            closing: 0,
            linger,
        }
    }

    /// Puts in a stream the machine connects under `name`; `None` when the table is full or the name in use.
    pub(crate) fn connect(&mut self, name: StreamId, fd: OwnedFd, remote: SocketAddr) -> Option<Key> {
        if self.names.contains_key(&name) {
            return None;
        }
        let mut raw = Box::new(RawAddress::EMPTY);
        let remote_len = raw.set(remote);
        self.insert(name, fd, State::Connecting, raw, remote_len)
    }

    /// Puts in an accepted stream under the next free number; `None` when the table is full.
    pub(crate) fn accept(&mut self, fd: OwnedFd) -> Option<(Key, StreamId)> {
        while self.names.contains_key(&StreamId(self.next_accepted)) {
            self.next_accepted = self.next_accepted.wrapping_add(1) | StreamId::ACCEPTED;
        }
        let name = StreamId(self.next_accepted);
        let key = self.insert(name, fd, State::Open, Box::new(RawAddress::EMPTY), 0)?;
        self.next_accepted = self.next_accepted.wrapping_add(1) | StreamId::ACCEPTED;
        Some((key, name))
    }

    fn insert(
        &mut self,
        name: StreamId,
        fd: OwnedFd,
        state: State,
        remote: Box<RawAddress>,
        remote_len: u32,
    ) -> Option<Key> {
        let stream = Stream {
            name: Some(name),
            fd,
            state,
            queue: WriteQueue::default(),
            remote,
            remote_len,
            reading: false,
            writing: false,
            connecting: false,
            give_up: None,
            interest: 0,
        };
        let key = self.slab.insert(stream).ok()?;
        self.names.insert(name, key);
        Some(key)
    }

    pub(crate) fn named(&self, name: StreamId) -> Option<Key> {
        self.names.get(&name).copied()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Stream> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.slab.get_mut(key)
    }

    /// The machine need not know this stream any more; its number is free. Returns it if it was known.
    fn forget(&mut self, key: Key) -> Option<StreamId> {
        let name = self.slab.get_mut(key)?.name.take()?;
        self.names.remove(&name);
        Some(name)
    }

    /// No more is delivered; what waits is to be written and the stream closed, within the linger time.
    pub(crate) fn drain(&mut self, key: Key, now: Time) -> Option<StreamId> {
        let name = self.forget(key);
        let linger = self.linger;
        if let Some(stream) = self.slab.get_mut(key) {
            if stream.state == State::Open {
                stream.state = State::Draining;
            }
            if stream.give_up.is_none() {
                stream.give_up = Some(now + linger);
                self.closing += 1;
            }
        }
        name
    }

    /// It is over at once, for reason `end`.
    pub(crate) fn kill(&mut self, key: Key, now: Time, end: StreamEnd) -> Ended {
        let name = self.drain(key, now);
        if let Some(stream) = self.slab.get_mut(key) {
            stream.state = State::Dead;
        }
        name.map(|name| (name, end))
    }

    /// Takes a stream out; its descriptor closes when the caller drops it.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream> {
        self.forget(key);
        let stream = self.slab.remove(key)?;
        if stream.give_up.is_some() {
            self.closing -= 1;
        }
        Some(stream)
    }

    /// Closing streams whose time is over.
    pub(crate) fn overdue(&self, now: Time) -> Vec<Key> {
        if self.closing == 0 {
            return Vec::new();
        }
        self.slab
            .iter()
            .filter(|(_, stream)| stream.give_up.is_some_and(|at| at <= now))
            .map(|(key, _)| key)
            .collect()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// Whether something still waits to be written to a living stream.
    pub(crate) fn unwritten(&self) -> bool {
        self.slab.iter().any(|(_, stream)| {
            stream.state != State::Dead && stream.state != State::Connecting && !stream.queue.is_empty()
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

/// The peer took too little: the limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

/// Bytes waiting to be written, in pieces that stay where they are while the kernel reads the first.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are out.
    written: usize,
    waiting: usize,
}

impl WriteQueue {
    /// Appends bytes. With `front_busy` the first piece is with the kernel and is not touched.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, limit: usize, front_busy: bool) -> Result<(), Stalled> {
        if bytes.len() > limit.saturating_sub(self.waiting) {
            return Err(Stalled);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.waiting += bytes.len();
        let untouched = usize::from(front_busy);
        let gather = self.pieces.len() > untouched;
        match self.pieces.back_mut() {
            Some(last) if gather && last.len() + bytes.len() <= PIECE => last.extend_from_slice(&bytes),
            _ => self.pieces.push_back(bytes),
        }
        Ok(())
    }

    /// What is to be written next.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.pieces.front().map(|piece| &piece[self.written..])
    }

    /// `count` bytes of the front are out.
    pub(crate) fn advance(&mut self, count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        self.written += count;
        if self.pieces.front().is_some_and(|piece| self.written >= piece.len()) {
            self.pieces.pop_front();
            self.written = 0;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_the_front_stays_put() {
        let mut queue = WriteQueue::default();
        queue.push(b"abc".to_vec(), 100, false).unwrap();
        let front = queue.front().unwrap().as_ptr();
        queue.push(b"def".to_vec(), 100, true).unwrap();
        queue.push(b"ghi".to_vec(), 100, true).unwrap();
        assert_eq!(queue.front().unwrap(), b"abc");
        assert_eq!(queue.front().unwrap().as_ptr(), front);
        queue.advance(2);
        assert_eq!(queue.front().unwrap(), b"c");
        queue.advance(1);
        assert_eq!(queue.front().unwrap(), b"defghi", "gathered behind the busy front");
        queue.advance(6);
        assert!(queue.is_empty() && queue.front().is_none());
    }

    #[test]
    fn a_full_queue_says_stalled() {
        let mut queue = WriteQueue::default();
        queue.push(vec![0; 90], 100, false).unwrap();
        assert_eq!(queue.push(vec![0; 11], 100, false), Err(Stalled));
        queue.advance(50);
        queue.push(vec![0; 11], 100, false).unwrap();
    }

    #[test]
    fn numbers_are_free_once_the_machine_was_told() {
        let mut table = StreamTable::new(2, Duration::from_secs(1));
        let fd = || {
            OwnedFd::from(
                crate::sockets::open_listener("127.0.0.1:0".parse().unwrap(), crate::sockets::Share::Alone)
                    .unwrap(),
            )
        };
        let remote = "127.0.0.1:9".parse().unwrap();
        let key = table.connect(StreamId(1), fd(), remote).unwrap();
        assert!(table.connect(StreamId(1), fd(), remote).is_none(), "in use");
        let now = Time::from_millis(1);
        assert_eq!(table.kill(key, now, StreamEnd::Peer), Some((StreamId(1), StreamEnd::Peer)));
        assert_eq!(table.kill(key, now, StreamEnd::Peer), None, "told once");
        let (accepted, name) = table.accept(fd()).unwrap();
        assert_eq!(name, StreamId(StreamId::ACCEPTED));
        assert!(table.accept(fd()).is_none(), "the dead one still counts");
        assert_eq!(table.overdue(now), []);
        assert_eq!(table.overdue(now + Duration::from_secs(1)), [key]);
        assert!(table.remove(key).is_some() && table.remove(accepted).is_some());
        assert_eq!((table.len(), table.closing), (0, 0));
    }
}
