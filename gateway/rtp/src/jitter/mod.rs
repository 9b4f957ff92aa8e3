//! Jitter: how unevenly packets come, and the buffer that makes them even again.
//!
//! [`Jitter`] is the figure that reports carry (RFC 3550 §6.4.1). [`Buffer`] belongs to the thread that plays: it puts packets in order, chooses
//! the delay that nearly all of them keep ([`Delays`]), and says for each moment what is to be heard: a [`Step`]. It knows no codec.
//! Where packets are received on another thread than they are played, recorded or mixed on, [`ring`] carries them over; the
//! receiver never waits for the reader.
mod buffer;
mod delay;
mod interarrival;
mod ring;
mod skew;
mod slots;

/// What [`ring`] is built of; its model checking puts others in their place (`tests/ring_model.rs`).
mod atomic {
    pub(super) use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(super) use std::sync::Arc;
}

use crate::Header;
pub use buffer::{Adjust, Buffer, Config, Content, Counts, Put, Step};
pub use delay::{Bounds, Delays};
pub use interarrival::Jitter;
pub use ring::{Reader, Received, Writer, ring};
pub use skew::Skew;
