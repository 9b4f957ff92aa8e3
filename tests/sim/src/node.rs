//! A node: one machine, its outbox, what the kernel would hold for it, and its pace.

use crate::Plant;
use sansio::{
    Datagram, Input, Machine, Outbox, Random, SocketEvent, SocketId, StreamEnd, StreamEvent, StreamId, Time,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Which node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// How promptly a node's thread runs.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From an input's arrival to its handling at most, drawn evenly from zero: shared wake-ups, scheduling.
    pub wake_max: Duration,
    /// Chance that a wake-up comes late by up to `stall_max` (the thread was not scheduled).
    pub stall: f64,
    /// How late a late wake-up is at most.
    pub stall_max: Duration,
    /// Chance that the outbox is carried out between two inputs of a batch.
    pub drain_between: f64,
    /// Datagrams that wait for the node at most (receive buffer); more are dropped and counted.
    pub backlog: usize,
    /// Datagrams it may send before they are carried out.
    pub packets: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wake_max: Duration::from_micros(500),
            stall: 0.0,
            stall_max: Duration::from_millis(100),
            drain_between: 0.5,
            backlog: 4096,
            packets: 4096,
        }
    }
}

/// An input as it waits for a machine.
#[derive(Debug)]
pub(crate) enum Arrival<M> {
    Datagram { socket: SocketId, source: SocketAddr, received: Time, payload: Vec<u8> },
    Unreachable { socket: SocketId, destination: SocketAddr },
    Socket(SocketId, SocketEvent),
    Accepted { stream: StreamId, listener: SocketId, local: SocketAddr, remote: SocketAddr },
    Connected { stream: StreamId, local: SocketAddr },
    Data(StreamId, Vec<u8>),
    Closed(StreamId, StreamEnd),
    Mail(M),
}

impl<M> Arrival<M> {
    pub(crate) const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Accepted { stream, .. }
            | Self::Connected { stream, .. }
            | Self::Data(stream, _)
            | Self::Closed(stream, _) => Some(*stream),
            _ => None,
        }
    }
}

/// A socket as the node holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) icmp: bool,
    pub(crate) listener: bool,
}

/// One machine under the simulator.
#[derive(Debug)]
pub struct Node<A: Machine> {
    /// Its name in the log.
    pub name: String,
    /// The machine itself.
    pub machine: A,
    /// Its process: mailboxes are numbered per process.
    pub process: u16,
    /// How promptly it runs.
    pub pace: Pace,
    /// A planted defect.
    pub plant: Option<Plant>,
    pub(crate) outbox: Outbox<A::Mail>,
    pub(crate) inbox: VecDeque<Arrival<A::Mail>>,
    pub(crate) sockets: BTreeMap<SocketId, Bound>,
    /// Closed since the outbox was last carried out.
    pub(crate) closed: Vec<SocketId>,
    /// Streams the machine knows of: connected or accepted, and not yet told to be closed.
    pub(crate) streams: BTreeSet<StreamId>,
    /// Streams over in this turn: shut by the machine, or told to it as closed.
    pub(crate) shut: BTreeSet<StreamId>,
    pub(crate) next_accepted: u32,
    pub(crate) alive: bool,
    pub(crate) stopped: bool,
    pub(crate) wake_at: Option<Time>,
    last: Time,
    spins: u32,
    pub(crate) datagrams_dropped: u64,
}

impl<A: Machine> Node<A> {
    pub(crate) fn new(name: String, machine: A, process: u16, pace: Pace) -> Self {
        Self {
            name,
            machine,
            process,
            pace,
            plant: None,
            outbox: Outbox::new(pace.packets, 16),
            inbox: VecDeque::new(),
            sockets: BTreeMap::new(),
            closed: Vec::new(),
            streams: BTreeSet::new(),
            shut: BTreeSet::new(),
            next_accepted: StreamId::ACCEPTED,
            alive: true,
            stopped: false,
            wake_at: None,
            last: Time::ZERO,
            spins: 0,
            datagrams_dropped: 0,
        }
    }

    /// Whether its process lives.
    pub const fn is_alive(&self) -> bool {
        self.alive
    }

    /// Whether the machine asked to be ended ([`sansio::Action::Stop`]).
    pub const fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Packets taken from its pool and not yet given back; zero between two turns.
    pub fn packets_taken(&mut self) -> usize {
        self.outbox.pool().taken()
    }

    /// Datagrams that were dropped since none of the backlog was free.
    pub const fn datagrams_dropped(&self) -> u64 {
        self.datagrams_dropped
    }

    /// Streams the machine still has.
    pub fn streams_open(&self) -> usize {
        self.streams.len()
    }

    /// Sockets the machine still has.
    pub fn sockets_open(&self) -> usize {
        self.sockets.len()
    }

    /// From an event to the wake-up that sees it.
    pub(crate) fn latency(&self, random: &mut Random) -> Duration {
        let mut nanos = random.below(self.pace.wake_max.as_nanos() as u64 + 1);
        if random.chance(self.pace.stall) {
            nanos += random.below(self.pace.stall_max.as_nanos() as u64 + 1);
        }
        Duration::from_nanos(nanos)
    }

    /// Hands one input to the machine. What it says about the contract being broken, if it is.
    pub(crate) fn handle(&mut self, now: Time, arrival: Arrival<A::Mail>) -> Result<(), String> {
        if now < self.last {
            return Err(format!("time ran backwards from {} to {now}", self.last));
        }
        self.last = now;
        self.spins = 0;
        let input = match &arrival {
            Arrival::Datagram { socket, source, received, payload } => {
                Input::Datagram(Datagram { socket: *socket, source: *source, received: *received, payload })
            }
            Arrival::Unreachable { socket, destination } => {
                Input::Unreachable { socket: *socket, destination: *destination }
            }
            Arrival::Socket(socket, event) => Input::Socket(*socket, *event),
            Arrival::Accepted { stream, listener, local, remote } => {
                self.streams.insert(*stream);
                Input::Stream(
                    *stream,
                    StreamEvent::Accepted { listener: *listener, local: *local, remote: *remote },
                )
            }
            Arrival::Connected { stream, local } => {
                Input::Stream(*stream, StreamEvent::Connected { local: *local })
            }
            Arrival::Data(stream, bytes) => Input::Stream(*stream, StreamEvent::Data(bytes)),
            Arrival::Closed(stream, end) => {
                self.streams.remove(stream);
                self.shut.insert(*stream);
                Input::Stream(*stream, StreamEvent::Closed(*end))
            }
            Arrival::Mail(_) => {
                let Arrival::Mail(mail) = arrival else { return Ok(()) };
                self.machine.handle(now, Input::Mail(mail), &mut self.outbox);
                return Ok(());
            }
        };
        self.machine.handle(now, input, &mut self.outbox);
        Ok(())
    }

    /// Hands a timeout to the machine if it is due; says whether it was.
    pub(crate) fn timeout(&mut self, now: Time) -> Result<bool, String> {
        let Some(deadline) = self.machine.deadline() else { return Ok(false) };
        if deadline > now {
            return Ok(false);
        }
        self.last = self.last.max(now);
        self.spins += 1;
        if self.spins > 1000 {
            return Err(format!("the deadline {deadline} does not move at {now}, after 1000 timeouts"));
        }
        self.machine.handle(now, Input::Timeout, &mut self.outbox);
        if self.machine.deadline().is_none_or(|next| next > now) {
            self.spins = 0;
        }
        Ok(true)
    }
}
