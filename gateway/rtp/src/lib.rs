//! RTP and RTCP without IO: packets, receiver statistics, latching, quality.
//!
//! Nothing here owns a socket or a clock: datagrams and their time of receipt come in as arguments.
//!
//! - [`Packet`] and [`Header`] read and write RTP headers, [`classify`] tells RTP from RTCP and from
//!   what merely shares the port.
//! - [`Receiver`] keeps what is known about one received stream, [`Sender`] numbers a sent one.
//! - [`jitter`] makes what comes unevenly even again: a buffer, and a way from thread to thread.
//! - [`event`] receives and sends keys and flash (RFC 4733).
//! - [`Latch`] decides which source addresses a port listens to.
//! - [`srtp`] protects RTP and RTCP and takes the protection off.
//! - [`rtcp`] reads and writes compound RTCP packets, extended reports among them, [`quality`] turns figures into R and MOS.
//! - [`Framing`] tells what shares a port, [`ice`] answers checks as a lite agent, [`dtls`] says what a handshake is to bring.
#![forbid(unsafe_code)]

mod burst;
mod demux;
pub mod dtls;
pub mod event;
pub mod ice;
pub mod jitter;
mod latch;
mod packet;
pub mod quality;
mod receiver;
pub mod rtcp;
mod sender;
mod sequence;
pub mod srtp;
mod transmission;

pub use burst::BurstGap;
pub use demux::Framing;
pub use jitter::Jitter;
pub use latch::{Latch, LatchConfig, Policy, Verdict};
pub use packet::{HEADER_LEN, Header, Kind, Packet, PacketError, Truncated, classify};
pub use receiver::{Counts, Receiver, Snapshot};
pub use sender::Sender;
pub use sequence::{Arrival, Sequence};
