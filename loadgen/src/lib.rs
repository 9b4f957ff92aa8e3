//! The load generator: callers and carriers that can load any SIP system, measure every packet, and judge.

pub mod arrival;
pub mod heard;
pub mod hold;
pub mod mark;
pub mod number;
pub mod pace;
pub mod plan;
