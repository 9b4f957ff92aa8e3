//! The fallback back-end: one epoll per thread, level triggered; recvmmsg in, sendmmsg out.
//!
//! Level triggered, since a socket that was not read to its end shows up again by itself: a bounded number
//! of packets is taken from each ready socket per turn, and none needs a last read that finds nothing.
#![allow(unsafe_code, reason = "epoll has no safe form in the standard library")]

mod datagram;
mod stream;

use crate::clock;
use crate::mailbox::Receiver;
use crate::options::Options;
use crate::run::{Deed, Desk, Wait};
use crate::socket_table::{SocketTable, Use};
use crate::sockets::{self, Share};
use crate::stream_table::StreamTable;
use crate::tag::{Kind, Tag};
use core::net::SocketAddr;
use datagram::Lane;
use sansio::{IoError, Key, Machine, Send, SocketId, SocketOptions};
use socket2::SockRef;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Ready descriptors taken from epoll per turn.
const EVENTS: usize = 512;
/// Datagrams taken from one socket per turn.
const BATCH: usize = 32;
/// Bytes of one read from a stream.
const CHUNK: usize = 64 * 1024;

pub(crate) struct Fallback {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    sockets: SocketTable,
    streams: StreamTable,
    write_buffer: usize,
    small: Lane,
    large: Lane,
    sender: datagram::Sender,
    /// Datagrams that found the send buffer full once.
    again: VecDeque<Send>,
    chunk: Box<[u8]>,
    /// Streams whose peer has closed: they end once the machine's answers to the last bytes are taken in.
    finished: Vec<Key>,
    /// Listeners that had no descriptor left; taken up again at the next tick.
    paused: Vec<SocketId>,
    /// epoll_pwait2 is there (it takes nanoseconds).
    precise: bool,
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("sockets", &self.sockets.open()).finish_non_exhaustive()
    }
}

impl Fallback {
    pub(crate) fn new<M>(options: &Options, mail: &Receiver<M>) -> io::Result<Self> {
        // SAFETY: takes a flag, touches no memory of ours.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let fallback = Self {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS].into_boxed_slice(),
            sockets: SocketTable::default(),
            streams: StreamTable::new(options.streams_max, options.linger),
            write_buffer: options.write_buffer,
            small: Lane::new(BATCH, 2048),
            large: Lane::new(32, 65_536),
            sender: datagram::Sender::new(BATCH),
            again: VecDeque::new(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            finished: Vec::new(),
            paused: Vec::new(),
            precise: true,
        };
        let tag = Tag::new(Kind::Mail, 0, 0);
        fallback.control(libc::EPOLL_CTL_ADD, mail.as_raw_fd(), libc::EPOLLIN as u32, tag)?;
        Ok(fallback)
    }

    pub(crate) fn open(&mut self, id: SocketId, fd: OwnedFd, options: SocketOptions) -> Result<(), IoError> {
        self.add(id, fd, Use::Datagrams(options), Kind::Receive)
    }

    pub(crate) fn listen(&mut self, id: SocketId, fd: OwnedFd) -> Result<(), IoError> {
        self.add(id, fd, Use::Listening, Kind::Accept)
    }

    fn add(&mut self, id: SocketId, fd: OwnedFd, purpose: Use, kind: Kind) -> Result<(), IoError> {
        let _ = SockRef::from(&fd).set_nonblocking(true);
        let raw = fd.as_raw_fd();
        let generation = self.sockets.insert(id, fd, purpose)?;
        let tag = Tag::new(kind, id.0, generation);
        self.control(libc::EPOLL_CTL_ADD, raw, libc::EPOLLIN as u32, tag).map_err(|error| {
            self.sockets.remove(id);
            crate::io_error(&error)
        })
    }

    fn close_socket<M>(&mut self, desk: &mut Desk<M>, id: SocketId) {
        // Closing the descriptor takes it out of epoll; events already fetched carry the old generation.
        if let Some((_, _, drops)) = self.sockets.remove(id) {
            desk.stats.socket_drops += drops;
        }
    }

    /// Changes what epoll watches.
    fn control(&self, operation: i32, fd: RawFd, events: u32, tag: Tag) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: tag.to_bits() };
        // SAFETY: the kernel reads `event`, which lives on this frame.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(crate) fn turn<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, wait: &Wait) {
        if let Some(gather) = wait.gather.filter(|_| wait.block) {
            let until = gather.min(wait.until);
            if until > desk.now {
                clock::sleep_until(until);
                desk.stats.enters += 1;
                desk.stats.waits_shared += 1;
                desk.look_at_clock();
            }
        }
        let ready = self.wait(desk, wait);
        desk.stats.wakes += 1;
        desk.look_at_clock();
        desk.woke = desk.now;
        for at in 0..ready {
            let libc::epoll_event { events, u64: bits } = self.events[at];
            let tag = Tag::from_bits(bits);
            match tag.kind {
                Kind::Mail => desk.mail.disarm(),
                Kind::Receive => self.receive(desk, machine, tag, events),
                Kind::Accept => self.accept(desk, machine, tag),
                Kind::Read => {
                    let key = Key::from_bits(u64::from(tag.generation) << 32 | u64::from(tag.index));
                    self.stream_ready(desk, machine, key, events);
                }
                Kind::Ignored | Kind::Send | Kind::Connect | Kind::Write | Kind::ReceiveLarge => {}
            }
            self.carry_out(desk);
            // Datagrams leave while they are few: their pool is bounded, and so is their wait.
            if desk.out.sends_waiting() >= 64 {
                self.send_all(desk);
                desk.look_at_clock();
            }
        }
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

    fn open_bound(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        options: SocketOptions,
    ) -> io::Result<SocketAddr> {
        let opened = sockets::open_udp(local, options, Share::Alone)?;
        self.open(id, OwnedFd::from(opened.socket), options)
            .map_err(|_| io::Error::from_raw_os_error(libc::EEXIST))?;
        Ok(opened.local)
    }

    fn wait<M>(&mut self, desk: &mut Desk<M>, wait: &Wait) -> usize {
        let nanos = if wait.block { wait.until.since(desk.now).as_nanos() as u64 } else { 0 };
        desk.stats.enters += 1;
        let count = if self.precise {
            let timeout = clock::timespec(nanos);
            // SAFETY: the kernel writes at most EVENTS entries into `events`, which this back-end
            // owns, and reads `timeout` from this frame; there is no signal mask.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.as_raw_fd(),
                    self.events.as_mut_ptr(),
                    EVENTS as libc::c_int,
                    core::ptr::from_ref(&timeout),
                    core::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            }
        } else {
            let millis = nanos.div_ceil(1_000_000) as libc::c_int; // at most a tick
            // SAFETY: the kernel writes at most EVENTS entries into `events`, which this back-end owns.
            i64::from(unsafe {
                libc::epoll_wait(
                    self.epoll.as_raw_fd(),
                    self.events.as_mut_ptr(),
                    EVENTS as libc::c_int,
                    millis,
                )
            })
        };
        if count < 0 {
            let error = io::Error::last_os_error().raw_os_error();
            if self.precise && matches!(error, Some(libc::ENOSYS | libc::EPERM)) {
                self.precise = false;
            }
            return 0;
        }
        count as usize
    }

    pub(crate) fn tick<M>(&mut self, desk: &mut Desk<M>) {
        desk.stats.socket_drops += self.sockets.sample_drops();
        desk.stats.sockets_open = self.sockets.open() as u64;
        desk.stats.streams_open = self.streams.len() as u64;
        for id in core::mem::take(&mut self.paused) {
            self.watch_listener(id, true);
        }
        for key in self.streams.overdue(desk.now) {
            self.streams.remove(key);
        }
    }

    pub(crate) fn unwritten(&self) -> bool {
        self.streams.unwritten()
    }

    pub(crate) fn close<M>(&mut self, desk: &mut Desk<M>) {
        self.send_all(desk);
        self.send_all(desk);
        for id in self.sockets.ids().collect::<Vec<_>>() {
            self.close_socket(desk, id);
        }
        for key in self.streams.keys() {
            self.streams.remove(key);
        }
        desk.stats.sockets_open = 0;
        desk.stats.streams_open = 0;
    }
}
