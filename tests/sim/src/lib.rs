//! The deterministic simulator, the first driver of every machine: virtual time, a seeded network,
//! scripted peers, checks.
//!
//! A [`World`] holds nodes (each one [`sansio::Machine`] with its outbox), a [`Network`] between them and a queue
//! of events in virtual time. Everything random in it comes from one seed, so that the same seed gives the
//! same event log byte for byte, and a seed together with a commit is a complete bug report.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bare;
pub mod flow;
mod gateway;
mod guarded;
mod log;
mod mail;
pub mod mix;
pub mod nameserver;
mod network;
mod node;
pub mod papers;
pub mod peer;
mod plant;
pub mod scene;
pub mod stranger;
mod stream;
pub mod swarm;
pub mod town;
mod world;

pub use log::EventLog;
pub use mail::PostOffice;
pub use network::{Damage, Fate, Link, Network, NetworkStats, Passage};
pub use node::{Node, NodeId, Pace};
pub use plant::{Defect, Plant, Twist};
pub use world::{Arriving, Ended, World};
