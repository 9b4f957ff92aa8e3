//! Keys (DTMF) from one side to the other: telephone events (RFC 4733), INFO and tones, each made of each where the two sides speak
//! differently.
//!
//! How a side speaks is said by its trunk's profile, or for all in the configuration. Where nothing is said, and where both say the same,
//! nothing is looked at: a call pays only for what it needs.

mod bridge;
mod call;
mod describe;
mod ear;
mod mode;
mod numbering;
mod voice;
mod way;

pub use mode::{Dtmf, Speaker};
pub use way::KeysAccount;

pub(crate) use bridge::LegKeys;
pub(crate) use describe::{answers_events, arrange, events, offers_events};
pub(crate) use mode::Plan;
pub(crate) use way::Way;
