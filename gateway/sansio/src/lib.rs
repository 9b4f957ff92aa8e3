//! The contract between protocol cores and drivers, and the few structures every core is built of.
//!
//! # The contract
//!
//! A [`Machine`] decides; a driver touches the world. The driver calls [`Machine::handle`] with the
//! present [`Time`], one [`Input`] and the thread's [`Outbox`]; the machine changes its state and
//! writes what shall happen into the outbox. Nothing else may happen in between: a machine owns no
//! socket, clock, thread, file or source of randomness that was not seeded from outside.
//!
//! - Time never runs backwards between two calls.
//! - After each input, or after a batch of them, the driver carries out what the outbox holds, in
//!   this order: actions (open, close, connect, write, mail) first, datagrams second.
//! - The driver calls with [`Input::Timeout`] no earlier than [`Machine::deadline`] says, and as soon after
//!   as it can.
//! - A machine is never re-entered: what an action causes arrives as a later input.
//!
//! Three machines (gateway shard, load generator shard, control engine) run under three drivers
//! (io_uring, epoll, the simulator).
#![forbid(unsafe_code)]

mod machine;
mod outbox;
mod packet;
mod random;
mod slab;
mod time;
mod wheel;

pub use machine::{
    Datagram, Input, IoError, Machine, Mailbox, SocketEvent, SocketId, StreamEnd, StreamEvent, StreamId,
};
pub use outbox::{Action, Outbox, OutboxStats, Send, SocketOptions};
pub use packet::{LARGE_PACKET, Packet, PacketPool, SMALL_PACKET};
pub use random::Random;
pub use slab::{Full, Key, Slab};
pub use time::Time;
pub use wheel::{TimerId, Wheel};
