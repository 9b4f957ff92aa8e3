//! Call flows, each played once for every message in it and every fault that can befall the message.
//!
//! A flow is a row of [`flows`]: a function that sets the [`Stage`], and what its calls come to. It is played clean once, so
//! that its datagrams and writes have numbers; then again from the same seed for each of them and each [`Fault`]. What a
//! retransmission can repair has to come to the same end; what it cannot has to end cleanly all the same: a final
//! status that the call's record names too, and nothing left in any table.

mod faults;
mod judge;
mod stage;
mod sweep;
mod table;

pub use faults::{Fault, Kind};
pub use stage::{Carrier, Stage};
pub use sweep::{Run, Seen, Tally, faults, play, sweep};
pub use table::{Flow, flows};
