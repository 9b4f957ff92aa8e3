//! The load generator: callers and carriers that can load any SIP system, measure every packet, and judge.
//!
//! Decisions are machines ([`Shard`] under any driver); around them stand the farm that gives each a thread, the
//! conductor that gathers seconds, and the commands [`answer`], [`call`] and [`run_plan`].

pub mod arrival;
mod audio;
mod callee;
mod caller;
mod capacity;
mod conduct;
pub mod drill;
mod environment;
pub mod farm;
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
mod options;
pub mod pace;
pub mod partfile;
pub mod plan;
mod ports;
mod run;
mod session;
mod shard;
mod sign;
pub mod summary;
pub mod verdict;

pub use callee::Behaviour;
pub use caller::CallerConfig;
pub use options::{AnswerOptions, CallOptions, LoadError, RunOptions};
pub use run::{answer, call, interruption, run_plan};
pub use shard::{Part, SIP_TCP, SIP_UDP, Shard, ShardConfig};
