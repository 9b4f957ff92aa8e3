//! The load generator: callers and carriers that can load any SIP system, measure every packet, and judge.

pub mod arrival;
mod audio;
mod callee;
mod caller;
pub mod gather;
pub mod heard;
pub mod hold;
mod lines;
pub mod live;
pub mod mail;
pub mod mark;
pub mod measure;
pub mod number;
pub mod observe;
pub mod pace;
pub mod partfile;
pub mod plan;
mod ports;
mod session;
mod shard;

pub use callee::Behaviour;
pub use caller::CallerConfig;
pub use shard::{Part, SIP_TCP, SIP_UDP, Shard, ShardConfig};
