//! Turns kernel completions into inputs and outputs into submissions: io_uring, or epoll where that is refused.
//!
//! A [`Driver`] runs one [`sansio::Machine`] on one thread. It is created on the thread that runs it
//! (the ring belongs to its creator), given its first sockets with [`Driver::adopt_udp`] and
//! [`Driver::adopt_listener`], and then [`Driver::run`] returns when the machine says stop. Machines get
//! their first call through [`sansio::Machine::deadline`]: one that wants to open sockets at start has a
//! deadline of [`sansio::Time::ZERO`].
//!
//! Numbers of sockets are below 2^20 (the driver's table is an array); accepted streams get rising numbers
//! from [`sansio::StreamId::ACCEPTED`] on. Sockets with `icmp_errors` count as signalling and receive datagrams up
//! to 64 KiB; others are media and receive up to 2000 bytes (what a buffer of 2 KiB leaves); larger ones are dropped and counted.
//!
//! # The two back-ends
//!
//! - [`Io::Uring`]: one ring per thread (SINGLE_ISSUER, DEFER_TASKRUN), multishot receives into provided
//!   buffer rings, all sends of a turn in one submission. Needs Linux 6.1; from 6.12 on wake-ups are shared
//!   by the kernel's own minimum wait.
//! - [`Io::Fallback`]: epoll (level triggered), recvmmsg and sendmmsg. Any Linux, any container.
//!
//! [`probe`] tries everything the first one needs and says in plain words what refused it.
//!
//! # Waiting
//!
//! With little traffic each packet wakes the thread at once. When packets arrive faster than a few per
//! [`Options::coalesce`], wake-ups are shared: packets gather for a part of that window that grows with
//! their rate, up to the whole of it at a few hundred calls. Timers are never held back by the window.
//!
//! # What belongs to whom
//!
//! Memory the kernel may read or write lives in slots of the driver until the completion that ends
//! the operation. Completions carry kind, slot and generation; one of an older generation is
//! counted ([`RunStats::late_completions`]) and otherwise ignored.

mod address;
pub mod affinity;
pub mod clock;
mod error;
mod fallback;
pub mod mailbox;
mod options;
mod pace;
mod run;
mod socket_table;
pub mod sockets;
mod stats;
mod stream_table;
mod tag;
mod uring;

pub use affinity::spawn;
pub use error::{DriverError, Refusal, io_error};
pub use options::{Choice, Io, Options, Scheduling, UnknownChoice, UnknownScheduling};
pub use run::Driver;
pub use stats::{Gauges, RunStats};
pub use uring::{Probe, probe};
