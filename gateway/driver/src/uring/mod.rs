//! The io_uring back-end: one ring per thread, multishot receives, sends of a turn in one submission.
//!
//! Who owns what the kernel sees: receive buffers belong to [`Buffers`], headers of receives and the
//! addresses of sends to this back-end, packets to the outbox (their slot is taken until the send
//! completed), addresses and bytes of streams to the stream's slot, which stays until all its operations
//! have ended.

mod buffers;
mod probe;
mod receive;
mod ring;
mod send;
mod stream;

pub use probe::{Probe, probe};

use crate::address::RawAddress;
use crate::error::Refusal;
use crate::mailbox::Receiver;
use crate::options::Options;
use crate::run::{Deed, Desk, Wait};
use crate::socket_table::SocketTable;
use crate::stream_table::StreamTable;
use crate::tag::{Kind, Tag};
use buffers::Buffers;
use ring::{Completion, Ring};
use sansio::{Key, Machine, SocketId};
use send::SendSlot;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

/// Completions for which a gathering thread is woken before its window is over.
const BATCH: u32 = 256;
/// Datagrams written down before they are submitted in the middle of a batch of completions.
const SUBMIT_EVERY: usize = 64;
/// Bytes of a small receive buffer, of which the kernel uses 44 to 108 for source and time. Not a power of
/// two, so that the first lines of the buffers do not fall on the same few sets of the caches.
const SMALL: usize = 2048 + 64;
/// Bytes of a large one: the largest datagram and what goes with it.
const LARGE: usize = 65_536 + 192;

pub(crate) struct Uring {
    /// First, so that it is closed before the memory below goes.
    ring: Ring,
    small: Buffers,
    large: Buffers,
    headers: receive::Headers,
    sends: Box<[SendSlot]>,
    /// Slots of datagrams that found the send buffer full, or an older error, once.
    again: Vec<u32>,
    /// Sends whose completion was not taken out; they complete during submission.
    sends_open: u32,
    sockets: SocketTable,
    streams: StreamTable,
    write_buffer: usize,
    /// Operations to be queued again before the next wait.
    rearm: Vec<Tag>,
    /// Streams whose peer has closed: they end once the machine's answers to the last bytes are taken in.
    finished: Vec<Key>,
    /// Listeners that had no descriptor left; armed again at the next tick.
    paused: Vec<Tag>,
    mail: RawFd,
    /// Sockets were closed and the kernel may not have let go of their ports.
    unsettled: bool,
    closed: bool,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("sockets", &self.sockets.open()).finish_non_exhaustive()
    }
}

impl Uring {
    pub(crate) fn new<M>(options: &Options, mail: &Receiver<M>) -> Result<Self, Refusal> {
        let ring = Ring::new()?;
        let provide = |group, count, size| {
            Buffers::new(&ring.submitter(), group, count, size)
                .map_err(|error| probe::explain("a provided buffer ring", &error))
        };
        let small = provide(0, options.small_buffers, SMALL)?;
        let large = provide(1, options.large_buffers, LARGE)?;
        let packets = (options.small_packets + options.large_packets) as usize;
        Ok(Self {
            ring,
            small,
            large,
            headers: receive::Headers::new(),
            sends: (0..packets).map(|_| SendSlot::new()).collect(),
            again: Vec::new(),
            sends_open: 0,
            sockets: SocketTable::default(),
            streams: StreamTable::new(options.streams_max, options.linger),
            write_buffer: options.write_buffer,
            rearm: vec![Tag::new(Kind::Mail, 0, 0)],
            finished: Vec::new(),
            paused: Vec::new(),
            mail: mail.as_raw_fd(),
            unsettled: false,
            closed: false,
        })
    }

    pub(crate) fn turn<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, wait: &Wait) {
        self.arm_all(desk);
        if !self.ring.has_next() {
            self.wait(desk, wait);
        }
        self.ring.collect();
        desk.look_at_clock();
        desk.woke = desk.now;
        desk.stats.wakes += 1;
        while let Some(completion) = self.ring.next() {
            self.complete(desk, machine, completion);
            self.carry_out(desk);
            if desk.out.sends_waiting() >= SUBMIT_EVERY {
                self.send_all(desk);
                self.ring.submit();
                desk.look_at_clock();
            }
        }
        desk.stats.enters += core::mem::take(&mut self.ring.enters);
    }

    /// Does what the machine wrote down besides datagrams.
    pub(crate) fn carry_out<M>(&mut self, desk: &mut Desk<M>) {
        while let Some(deed) = desk.next_deed() {
            match deed {
                Deed::Open(id, local, options) => {
                    let result = self.open_bound(id, local, options);
                    desk.opened(id, result);
                }
                Deed::Close(id) => self.close_socket(desk, id),
                Deed::Connect(name, local, remote) => self.connect(desk, name, local, remote),
                Deed::Write(name, bytes) => self.write(desk, name, bytes),
                Deed::Shut(name) => self.shut(desk, name),
            }
        }
    }

    /// Submits and waits as planned. Sends complete while they are submitted, so that they do not
    /// count among what is waited for.
    fn wait<M>(&mut self, desk: &mut Desk<M>, wait: &Wait) {
        if !wait.block {
            return self.ring.wait(0, 0, 0);
        }
        let timeout = wait.until.since(desk.now).as_nanos() as u64;
        let Some(gather) = wait.gather else {
            return self.ring.wait(self.sends_open + 1, 0, timeout);
        };
        desk.stats.waits_shared += 1;
        if self.ring.unsubmitted() {
            // Sending takes its time, which counts against the window.
            self.ring.submit();
            desk.look_at_clock();
        }
        let timeout = wait.until.since(desk.now).as_nanos() as u64;
        let gather = gather.since(desk.now);
        if self.ring.has_min_wait() {
            let micros = (gather.as_micros() as u32).max(1);
            return self.ring.wait(self.sends_open + BATCH, micros, timeout);
        }
        // Older kernels: the window as a timeout, and if nothing at all came, the rest for one.
        let window = (gather.as_nanos() as u64).clamp(1, timeout.max(1));
        self.ring.wait(self.sends_open + BATCH, 0, window);
        self.ring.collect();
        if !self.ring.has_next() && window < timeout {
            self.ring.wait(1, 0, timeout - window);
        }
    }

    fn complete<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, completion: Completion) {
        let tag = Tag::from_bits(completion.bits);
        match tag.kind {
            Kind::Receive | Kind::ReceiveLarge => self.received(desk, machine, tag, completion),
            Kind::Send => self.sent(desk, machine, tag.index, completion),
            Kind::Mail => {
                desk.mail.disarm();
                if !completion.more() {
                    self.rearm.push(tag);
                }
            }
            Kind::Accept => self.accepted(desk, machine, tag, completion),
            Kind::Connect => self.connected(desk, machine, stream_key(tag), completion),
            Kind::Read => self.read(desk, machine, tag, completion),
            Kind::Write => self.written(desk, stream_key(tag), completion),
            Kind::Ignored => {}
        }
    }

    /// Queues again what ended although it is still wanted.
    fn arm_all<M>(&mut self, desk: &mut Desk<M>) {
        let mut tags = core::mem::take(&mut self.rearm);
        for tag in tags.drain(..) {
            let armed = match tag.kind {
                Kind::Mail => self.arm_mail(tag),
                Kind::Receive | Kind::ReceiveLarge => self.arm_receive(tag),
                Kind::Accept => self.arm_accept(tag),
                Kind::Read => self.arm_read(tag),
                Kind::Ignored | Kind::Send | Kind::Connect | Kind::Write => true,
            };
            if !armed {
                desk.put_off = true;
                self.rearm.push(tag);
            }
        }
        if self.rearm.is_empty() {
            self.rearm = tags; // keeps its room
        }
    }

    pub(crate) fn tick<M>(&mut self, desk: &mut Desk<M>) {
        desk.stats.socket_drops += self.sockets.sample_drops();
        desk.stats.sockets_open = self.sockets.open() as u64;
        desk.stats.streams_open = self.streams.len() as u64;
        self.rearm.append(&mut self.paused);
        for key in self.streams.overdue(desk.now) {
            self.kill(desk, key, sansio::StreamEnd::Stalled);
        }
    }

    pub(crate) fn unwritten(&self) -> bool {
        self.streams.unwritten()
    }

    /// Ends everything: datagrams written down go out, all operations are cancelled and waited for.
    pub(crate) fn close<M>(&mut self, desk: &mut Desk<M>) {
        for _ in 0..2 {
            self.send_all(desk);
            self.ring.wait(0, 0, 0);
            self.ring.collect();
            self.settle_sends(desk);
        }
        for id in self.sockets.ids().collect::<Vec<_>>() {
            self.close_socket(desk, id);
        }
        self.end();
        self.settle_sends(desk);
        desk.stats.sockets_open = 0;
        desk.stats.streams_open = 0;
    }

    /// Counts and releases sends that completed; what else completed does not matter any more.
    fn settle_sends<M>(&mut self, desk: &mut Desk<M>) {
        while let Some(completion) = self.ring.next() {
            let tag = Tag::from_bits(completion.bits);
            match tag.kind {
                Kind::Send => self.settle_send(desk, tag.index, completion),
                Kind::Accept if completion.result >= 0 => stream::discard(completion.result),
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        if probe::finish(&mut self.ring) {
            return;
        }
        // The kernel may still write or read: what it was given must stay for ever.
        self.small.leak();
        self.large.leak();
        core::mem::forget(core::mem::replace(
            &mut self.streams,
            StreamTable::new(0, core::time::Duration::ZERO),
        ));
        core::mem::forget(core::mem::take(&mut self.sends));
        core::mem::forget(core::mem::replace(&mut self.headers, receive::Headers::new()));
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.end();
    }
}

/// The key of a stream from an operation's tag.
fn stream_key(tag: Tag) -> Key {
    Key::from_bits(u64::from(tag.generation) << 32 | u64::from(tag.index))
}

/// The tag of an operation on a stream.
fn stream_tag(kind: Kind, key: Key) -> Tag {
    let bits = key.to_bits();
    Tag::new(kind, bits as u32, (bits >> 32) as u32)
}

/// The tag of receiving on a socket.
fn receive_tag(id: SocketId, generation: u32, large: bool) -> Tag {
    Tag::new(if large { Kind::ReceiveLarge } else { Kind::Receive }, id.0, generation)
}

const _: () = assert!(RawAddress::ROOM + 16 + 64 <= 128);
