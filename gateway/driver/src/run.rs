//! The driver: one machine on one thread, and the loop that both back-ends share.

use crate::clock::{self, WallAnchor};
use crate::error::{DriverError, Refusal, io_error};
use crate::fallback::Fallback;
use crate::mailbox::{Receiver, Sender};
use crate::options::{Choice, Io, Options, Scheduling};
use crate::pace::Pace;
use crate::stats::{Gauges, RunStats};
use crate::uring::{self, Uring};
use crate::{affinity, sockets};
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Action, Input, Machine, Mailbox, Outbox, SocketEvent, SocketId, SocketOptions};
use sansio::{StreamEnd, StreamEvent, StreamId, Time};
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How often counters are published and slow matters looked at; also the longest sleep.
const TICK: Duration = Duration::from_millis(100);
/// Messages taken from the mailbox before sockets are looked at again.
const MAIL_BATCH: usize = 256;
/// Timeouts given in a row before sockets are looked at again.
const TIMEOUT_BATCH: usize = 64;
/// How long a stopping driver tries to get the last bytes of its streams out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One machine's thread and sockets. Made, fed and run on one thread: the kernel's ring belongs to its maker.
#[derive(Debug)]
pub struct Driver<M> {
    /// Dropped before the desk, whose packets the kernel may be reading.
    back: Back,
    desk: Desk<M>,
    refusal: Option<Refusal>,
    realtime: bool,
}

#[derive(Debug)]
enum Back {
    Uring(Box<Uring>),
    Fallback(Box<Fallback>),
}

impl<M> Driver<M> {
    /// A driver as `options` say. `mail` is this thread's mailbox, `posts` those of the others by [`Mailbox`] number.
    ///
    /// Pins the calling thread if `options.cpu` says so, and gives it the priority of `options.scheduling`.
    ///
    /// # Errors
    /// [`DriverError::Refused`] if io_uring was demanded and cannot be had, [`DriverError::Priority`] if real-time
    /// priority was, [`DriverError::System`] if
    /// the operating system gives no memory or descriptors.
    pub fn new(
        options: Options,
        mail: Receiver<M>,
        posts: Vec<Option<Sender<M>>>,
    ) -> Result<Self, DriverError> {
        if let Some(cpu) = options.cpu {
            affinity::pin(cpu).map_err(|error| DriverError::System("pinning the thread", error))?;
        }
        let realtime = match options.scheduling {
            Scheduling::Normal => false,
            Scheduling::Auto => affinity::realtime().is_ok(),
            Scheduling::Realtime => {
                affinity::realtime().map_err(DriverError::Priority)?;
                true
            }
        };
        affinity::sharpen_timers();
        let (uring, refusal) = match options.io {
            Choice::Fallback => (None, None),
            Choice::Uring => (Some(Uring::new(&options, &mail).map_err(DriverError::Refused)?), None),
            Choice::Auto => match uring::probe().and_then(|_| Uring::new(&options, &mail)) {
                Ok(uring) => (Some(uring), None),
                Err(refusal) => (None, Some(refusal)),
            },
        };
        let back = match uring {
            Some(uring) => Back::Uring(Box::new(uring)),
            None => Back::Fallback(Box::new(
                Fallback::new(&options, &mail)
                    .map_err(|error| DriverError::System("setting up epoll", error))?,
            )),
        };
        Ok(Self { desk: Desk::new(&options, mail, posts), back, refusal, realtime })
    }

    /// Whether the thread runs before all normal ones.
    pub const fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// The back-end in use.
    pub fn io(&self) -> Io {
        match self.back {
            Back::Uring(_) => Io::Uring,
            Back::Fallback(_) => Io::Fallback,
        }
    }

    /// Why io_uring is not in use although it was tried.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// The counters for other threads, published every 100 ms while the driver runs.
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.desk.gauges)
    }

    /// Gives the driver a bound datagram socket under the machine's number `id`; `options` are set on it. The machine hears nothing of it.
    ///
    /// # Errors
    /// The operating system's, or `EEXIST` if the number is taken (numbers are below 2^20).
    pub fn adopt_udp(
        &mut self,
        id: SocketId,
        socket: impl Into<OwnedFd>,
        options: SocketOptions,
    ) -> io::Result<()> {
        let fd = socket.into();
        sockets::prepare_udp(&fd, options)?;
        let opened = match &mut self.back {
            Back::Uring(uring) => uring.open(id, fd, options),
            Back::Fallback(fallback) => fallback.open(id, fd, options),
        };
        opened.map_err(|_| io::Error::from_raw_os_error(libc::EEXIST))
    }

    /// Gives the driver a listening socket under the machine's number `id`.
    ///
    /// # Errors
    /// `EEXIST` if the number is taken (numbers are below 2^20, shared with datagram sockets).
    pub fn adopt_listener(&mut self, id: SocketId, listener: TcpListener) -> io::Result<()> {
        let fd = OwnedFd::from(listener);
        let opened = match &mut self.back {
            Back::Uring(uring) => uring.listen(id, fd),
            Back::Fallback(fallback) => fallback.listen(id, fd),
        };
        opened.map_err(|_| io::Error::from_raw_os_error(libc::EEXIST))
    }

    /// Runs `machine` until it says stop. What it wrote before is carried out; bytes waiting on
    /// streams get another second.
    pub fn run(mut self, machine: &mut impl Machine<Mail = M>) -> RunStats {
        let desk = &mut self.desk;
        let started = clock::now();
        desk.now = started;
        let mut next_tick = started;
        loop {
            self.back.tell(desk, machine);
            self.back.send_all(desk);
            if desk.now >= next_tick {
                next_tick = desk.now + TICK;
                self.back.tick(desk);
                desk.publish(started);
            }
            if desk.stopping {
                break;
            }
            let wait = desk.plan(machine, next_tick);
            let before = desk.stats.datagrams_in;
            self.back.turn(desk, machine, &wait);
            desk.mail.awake();
            desk.pace.woke(desk.woke, desk.stats.datagrams_in - before);
        }
        let give_up = desk.now + LAST_WORDS;
        while self.back.unwritten() && desk.now < give_up {
            let wait = Wait { until: desk.now + Duration::from_millis(10), gather: None, block: true };
            self.back.turn(desk, &mut Deaf::<M>::default(), &wait);
        }
        self.back.close(desk);
        desk.publish(started);
        desk.stats
    }
}

impl Back {
    /// Gives the machine what does not come from the kernel: what its actions caused, timeouts, mail. After
    /// each input its actions are carried out, so that nothing follows what it closed.
    fn tell<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc) {
        self.carry_out(desk);
        self.end_finished(desk);
        while let Some(notice) = desk.notices.pop_front() {
            let input = match notice {
                Notice::Socket(socket, event) => Input::Socket(socket, event),
                Notice::Closed(stream, end) => Input::Stream(stream, StreamEvent::Closed(end)),
            };
            machine.handle(desk.now, input, &mut desk.out);
            self.carry_out(desk);
        }
        for _ in 0..TIMEOUT_BATCH {
            if machine.deadline().is_none_or(|deadline| deadline > desk.now) {
                break;
            }
            desk.stats.timeouts += 1;
            machine.handle(desk.now, Input::Timeout, &mut desk.out);
            self.carry_out(desk);
        }
        for _ in 0..MAIL_BATCH {
            let Some(mail) = desk.mail.try_recv() else { break };
            desk.stats.mail_in += 1;
            machine.handle(desk.now, Input::Mail(mail), &mut desk.out);
            self.carry_out(desk);
        }
    }

    fn carry_out<M>(&mut self, desk: &mut Desk<M>) {
        match self {
            Self::Uring(uring) => uring.carry_out(desk),
            Self::Fallback(fallback) => fallback.carry_out(desk),
        }
    }

    fn end_finished<M>(&mut self, desk: &mut Desk<M>) {
        match self {
            Self::Uring(uring) => uring.end_finished(desk),
            Self::Fallback(fallback) => fallback.end_finished(desk),
        }
    }

    fn send_all<M>(&mut self, desk: &mut Desk<M>) {
        match self {
            Self::Uring(uring) => uring.send_all(desk),
            Self::Fallback(fallback) => fallback.send_all(desk),
        }
    }

    /// Waits as planned and gives the machine what came.
    fn turn<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, wait: &Wait) {
        match self {
            Self::Uring(uring) => uring.turn(desk, machine, wait),
            Self::Fallback(fallback) => fallback.turn(desk, machine, wait),
        }
    }

    fn tick<M>(&mut self, desk: &mut Desk<M>) {
        desk.anchor = WallAnchor::take();
        match self {
            Self::Uring(uring) => uring.tick(desk),
            Self::Fallback(fallback) => fallback.tick(desk),
        }
    }

    fn unwritten(&self) -> bool {
        match self {
            Self::Uring(uring) => uring.unwritten(),
            Self::Fallback(fallback) => fallback.unwritten(),
        }
    }

    fn close<M>(&mut self, desk: &mut Desk<M>) {
        match self {
            Self::Uring(uring) => uring.close(desk),
            Self::Fallback(fallback) => fallback.close(desk),
        }
    }
}

/// How the next turn is to wait.
#[derive(Debug)]
pub(crate) struct Wait {
    /// At the latest until then.
    pub(crate) until: Time,
    /// Packets may gather until then.
    pub(crate) gather: Option<Time>,
    /// False: only look, do not wait.
    pub(crate) block: bool,
}

/// An action that the back-end carries out.
#[derive(Debug)]
pub(crate) enum Deed {
    Open(SocketId, SocketAddr, SocketOptions),
    Close(SocketId),
    Connect(StreamId, Option<SocketAddr>, SocketAddr),
    Write(StreamId, Vec<u8>),
    Shut(StreamId),
}

/// What an action caused, to be told before the next wait (a machine is never re-entered).
#[derive(Debug)]
pub(crate) enum Notice {
    Socket(SocketId, SocketEvent),
    Closed(StreamId, StreamEnd),
}

/// What both back-ends work with: outbox, mail, counters, time.
#[derive(Debug)]
pub(crate) struct Desk<M> {
    pub(crate) out: Outbox<M>,
    pub(crate) stats: RunStats,
    pub(crate) notices: VecDeque<Notice>,
    /// The time given to the machine: read after each wait and now and then in between.
    pub(crate) now: Time,
    /// When the last wait ended.
    pub(crate) woke: Time,
    pub(crate) anchor: WallAnchor,
    /// The machine said stop.
    stopping: bool,
    /// Something was put off to the next turn: do not sleep long.
    pub(crate) put_off: bool,
    /// A turn took all it has room for and left datagrams in a socket: the next one neither waits nor lets packets gather,
    /// or a queue would grow before an idle thread.
    pub(crate) more: bool,
    pub(crate) mail: Receiver<M>,
    posts: Vec<Option<Sender<M>>>,
    pace: Pace,
    gauges: Arc<Gauges>,
}

impl<M> Desk<M> {
    fn new(options: &Options, mail: Receiver<M>, posts: Vec<Option<Sender<M>>>) -> Self {
        let now = clock::now();
        Self {
            out: Outbox::new(options.small_packets, options.large_packets),
            stats: RunStats::default(),
            notices: VecDeque::new(),
            now,
            woke: now,
            anchor: WallAnchor::take(),
            stopping: false,
            put_off: false,
            more: false,
            mail,
            posts,
            pace: Pace::new(options.coalesce, options.share_from, now),
            gauges: Arc::new(Gauges::default()),
        }
    }

    /// Reads the clock; time never runs backwards.
    pub(crate) fn look_at_clock(&mut self) {
        self.now = self.now.max(clock::now());
    }

    /// When a datagram came in, from the kernel's wall-clock stamp: never after now.
    pub(crate) fn received(&self, stamp: Option<u64>) -> Time {
        stamp.map_or(self.now, |wall| self.anchor.monotonic(wall).min(self.now))
    }

    pub(crate) fn ended(&mut self, ended: Option<(StreamId, StreamEnd)>) {
        if let Some((stream, end)) = ended {
            self.notices.push_back(Notice::Closed(stream, end));
        }
    }

    /// The next action that is the back-end's to carry out; mail is put into its box on the way.
    pub(crate) fn next_deed(&mut self) -> Option<Deed> {
        loop {
            return Some(match self.out.next_action()? {
                Action::Mail(to, mail) => {
                    self.post(to, mail);
                    continue;
                }
                Action::Stop => {
                    self.stopping = true;
                    continue;
                }
                Action::Open { socket, local, options } => Deed::Open(socket, local, options),
                Action::Close(socket) => {
                    self.notices.retain(|notice| !matches!(notice, Notice::Socket(id, _) if *id == socket));
                    Deed::Close(socket)
                }
                Action::Connect { stream, local, remote } => Deed::Connect(stream, local, remote),
                Action::Write(stream, bytes) => Deed::Write(stream, bytes),
                Action::Shut(stream) => {
                    self.notices.retain(|notice| !matches!(notice, Notice::Closed(id, _) if *id == stream));
                    Deed::Shut(stream)
                }
            });
        }
    }

    /// What became of an [`Deed::Open`].
    pub(crate) fn opened(&mut self, socket: SocketId, result: io::Result<SocketAddr>) {
        let event = match result {
            Ok(local) => SocketEvent::Opened(local),
            Err(error) => SocketEvent::Failed(io_error(&error)),
        };
        self.notices.push_back(Notice::Socket(socket, event));
    }

    fn post(&mut self, to: Mailbox, mail: M) {
        let sent = self.posts.get(usize::from(to.0)).and_then(Option::as_ref).map(|post| post.send(mail));
        match sent {
            Some(Ok(())) => self.stats.mail_out += 1,
            Some(Err(_)) | None => self.stats.mail_full += 1,
        }
    }

    fn plan(&mut self, machine: &impl Machine<Mail = M>, next_tick: Time) -> Wait {
        // What was done since the last look counts against the window and the deadline.
        self.look_at_clock();
        let mut until = machine.deadline().map_or(next_tick, |deadline| deadline.min(next_tick));
        if core::mem::take(&mut self.put_off) {
            until = until.min(self.now + Duration::from_millis(1));
        }
        let more = core::mem::take(&mut self.more);
        let idle = !more && self.notices.is_empty() && self.out.is_empty() && until > self.now;
        let block = idle && self.mail.arm();
        Wait { until, gather: self.pace.gather_until(), block }
    }

    fn publish(&mut self, started: Time) {
        let outbox = self.out.stats();
        self.stats.packets_exhausted = outbox.packets_exhausted;
        self.stats.datagrams_oversize = outbox.datagrams_oversize;
        self.stats.packets_taken = self.out.pool().taken() as u64;
        self.stats.cpu_nanos = clock::thread_cpu_nanos();
        self.stats.elapsed_nanos = self.now.since(started).as_nanos() as u64;
        self.gauges.publish(&self.stats);
    }
}

/// Takes the machine's place while its last bytes leave.
struct Deaf<M>(core::marker::PhantomData<M>);

impl<M> Default for Deaf<M> {
    fn default() -> Self {
        Self(core::marker::PhantomData)
    }
}

impl<M> Machine for Deaf<M> {
    type Mail = M;
    fn handle(&mut self, _: Time, _: Input<'_, M>, _: &mut Outbox<M>) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
}
