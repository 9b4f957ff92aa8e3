//! The control plane as a process part: engine, store and HTTP API on one thread of their own.
//!
//! [`start`] binds the API, opens the store and runs the [`control::Engine`] on a tokio runtime of one thread. Gateway
//! shards are reached through [`Links`], which whoever composes the process builds from its mailboxes: nothing
//! here is on the path of a call or a packet.
#![forbid(unsafe_code)]

mod bridge;
mod fetch;
mod http;
mod inbox;
mod process;
mod registration;
mod stamp;

pub use fetch::Fetching;
pub use inbox::{Commands, Inbox, Links};
pub use process::{Config, Error, Handle, Stopped, start};
