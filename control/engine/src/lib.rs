//! The control plane's decisions, without IO: routing and call records.
//!
//! [`Engine`] is a [`sansio::Machine`] that knows only [`Mail`]: events of gateway shards, answers of the store,
//! questions of the API and orders of whoever runs it come in; commands, writes and answers go out. The gateway never
//! waits for it: calls are routed by the snapshot it pushed last.
#![forbid(unsafe_code)]

mod abuse;
mod certificates;
mod engine;
mod gather;
mod ledger;
mod mail;
mod performance;
mod playbacks;
mod quality;
mod registrations;
mod spread;
mod traces;
mod view;

pub use certificates::{Fetch, Fetched};
pub use engine::{Config, Engine};
pub use mail::{Answer, Ask, Mail, Order, Outcome, Query, Record, Stored, Write};
pub use performance::{Attempts, Performance};
pub use quality::{Quality, RECENT, WINDOW};
pub use spread::Spread;
pub use view::{TrunkView, View};
