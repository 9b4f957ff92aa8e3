//! The gateway as a process part: configuration, sockets, one thread per shard, mailboxes between them.
//!
//! [`start`] opens every SIP address on every shard, starts the shards and returns a [`Gateway`]: the end that
//! control reads events from, and the means to drain, reload and stop.
#![forbid(unsafe_code)]

mod advice;
mod calls;
mod config;
mod guard;
mod listeners;
mod names;
mod nat;
mod outside;
mod process;
mod profile;
mod prompts;
mod realm;
mod registration;
mod reporting;
mod security;
mod settings;
mod stir;
mod tls;
mod users;

pub use advice::{Capacity, advice, capacity};
pub use config::{
    Calls, ConfigError, Dns, File, Group, Health, Media, Register, Registrar, Route, Secret, Span, Timers,
    Tls, Trunk, User,
};
pub use guard::{Fraud, Guard, Overload};
pub use nat::Nat;
pub use process::{Gateway, Outcome, StartError, start};
pub use profile::{Headers, Numbers, Profile};
pub use realm::{Realm, RealmAddresses, realm_name};
pub use settings::Settings;
pub use stir::{FetchSettings, Stir, StirSettings, TrunkStir};
pub use tls::TlsSettings;
