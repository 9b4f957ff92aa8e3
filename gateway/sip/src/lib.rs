//! SIP and SDP without IO: messages, transactions, dialogs, offer/answer, the user agent.

pub mod auth;
mod config;
mod connection;
mod dialog;
mod endpoint;
mod error;
mod event;
pub mod framing;
pub mod gruu;
pub mod keys;
pub mod message;
mod nat;
pub mod observe;
pub mod registration;
pub mod sdp;
pub mod session_id;
mod shards;
mod stats;
pub mod stun;
pub mod transaction;
pub mod transfer;
pub mod treatment;
pub mod websocket;

pub use config::{Config, Limits, SessionTimers, Timers};
pub use endpoint::{Census, Endpoint, glare_pause};
pub use error::{LegError, StartError};
pub use event::{
    Body, Destination, Event, Failure, Flow, Held, Invite, LegFacts, LegId, LegState, Link, LostCause,
    Received, Register, Registering, Request, RequestId, SubscriptionId, Transport, UsageId,
};
pub use nat::{Nat, is_private, shows_nat};
pub use shards::Shards;
pub use stats::Stats;
pub use treatment::Treatment;
