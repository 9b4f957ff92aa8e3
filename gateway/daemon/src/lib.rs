//! The gateway as a process part: configuration, sockets, one thread per shard, mailboxes between them.
//!
//! [`start`] opens every SIP address on every shard, starts the shards and returns a [`Gateway`]: the end that
//! control reads events from, and the means to drain, reload and stop.
#![forbid(unsafe_code)]

mod advice;
mod config;
mod listeners;
mod names;
mod process;
mod profile;
mod settings;
mod tls;
mod users;

pub use advice::{Capacity, advice, capacity};
pub use config::{
    Calls, ConfigError, Dns, File, Group, Health, Media, Registrar, Route, Secret, Span, Timers, Tls, Trunk,
    User,
};
pub use process::{Gateway, Outcome, StartError, start};
pub use profile::{Headers, Numbers, Profile};
pub use settings::Settings;
pub use tls::TlsSettings;
