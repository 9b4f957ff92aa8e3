//! The machine trait and its inputs: the whole abstraction between deciding and touching the world.

use crate::{Outbox, Time};
use core::net::SocketAddr;

/// Something that decides: takes the time and an input, writes outputs; see the crate's contract.
pub trait Machine {
    /// Typed messages between threads.
    type Mail;

    /// Takes one input; everything that follows from it is in `out` when this returns.
    fn handle(&mut self, now: Time, input: Input<'_, Self::Mail>, out: &mut Outbox<Self::Mail>);

    /// When [`Input::Timeout`] is wanted next. O(1).
    fn deadline(&self) -> Option<Time>;
}

/// What can happen to a machine.
#[derive(Debug)]
pub enum Input<'a, M> {
    /// A datagram arrived on a socket of this machine.
    Datagram(Datagram<'a>),
    /// ICMP said that nobody listens at `destination` (only on sockets opened with `icmp_errors`).
    Unreachable {
        /// The socket that had sent.
        socket: SocketId,
        /// Where the refused datagram was going.
        destination: SocketAddr,
    },
    /// A socket was opened or could not be.
    Socket(SocketId, SocketEvent),
    /// Something happened on a stream (TCP).
    Stream(StreamId, StreamEvent<'a>),
    /// A message from another thread's machine.
    Mail(M),
    /// The deadline has come (perhaps late; the machine looks at `now`).
    Timeout,
}

/// A datagram as received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The socket it arrived on.
    pub socket: SocketId,
    /// Who sent it.
    pub source: SocketAddr,
    /// When the kernel got it if the socket has timestamps on, else the `now` of the batch.
    pub received: Time,
    /// Its bytes, borrowed until `handle` returns.
    pub payload: &'a [u8],
}

/// A datagram or listening socket. The machine chooses the number, so that it can index its own tables with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// A TCP stream. The machine chooses numbers below [`StreamId::ACCEPTED`] for those it connects (from
/// [`StreamId::SECURED`] on where TLS shall be spoken), the driver those above for streams it accepts; a driver never reuses a number while late events may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The first number of accepted streams.
    pub const ACCEPTED: u32 = 1 << 31;

    /// The first number of streams that a machine connects and wants TLS on: the layer between it and the driver that
    /// speaks TLS knows them by their numbers. Without such a layer they are plain like all others.
    pub const SECURED: u32 = 1 << 30;

    /// Whether the driver accepted this stream (rather than the machine connecting it).
    pub const fn is_accepted(self) -> bool {
        self.0 >= Self::ACCEPTED
    }

    /// Whether the machine connected this stream to speak TLS on it.
    pub const fn is_secured(self) -> bool {
        self.0 >= Self::SECURED && self.0 < Self::ACCEPTED
    }
}

/// What became of an opened socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// It is bound to this address.
    Opened(SocketAddr),
    /// It could not be opened.
    Failed(IoError),
}

/// What happens on a stream.
#[derive(Clone, Copy, Debug)]
pub enum StreamEvent<'a> {
    /// The driver accepted it on listening socket `listener`.
    Accepted {
        /// The listening socket.
        listener: SocketId,
        /// Our address.
        local: SocketAddr,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// A connection the machine asked for stands; writes given before are on their way.
    Connected {
        /// Our address.
        local: SocketAddr,
    },
    /// Bytes arrived.
    Data(&'a [u8]),
    /// It is over, for whatever reason; the number is free again.
    Closed(StreamEnd),
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The peer closed in order.
    Peer,
    /// It could not be connected.
    Refused(IoError),
    /// It broke.
    Broken(IoError),
    /// The peer did not take what was written (the write buffer's limit was reached).
    Stalled,
}

/// The errors of the outside that a machine may have to decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The address or port is taken.
    AddressInUse,
    /// The address is not one of this host.
    AddressNotAvailable,
    /// Not permitted (privileged port, firewall).
    PermissionDenied,
    /// No file descriptors left.
    TooManyFiles,
    /// The other side refused.
    Refused,
    /// No route, host or network unreachable.
    Unreachable,
    /// Nothing came back in time.
    TimedOut,
    /// The connection was reset.
    Reset,
    /// Anything else: the operating system's number.
    Other(i32),
}

/// Where mail goes: the threads of a process, numbered at start by whoever composes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox(pub u16);
