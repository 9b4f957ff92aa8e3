//! The calls of one shard: two legs, a bridge, a trunk. A back-to-back user agent (RFC 7092) without IO.
//!
//! [`Shard`] is the gateway's machine: it owns a SIP endpoint, the calls whose Call-ID hashes to it, and their RTP
//! ports. A call comes in as a leg, is routed by the snapshot that control pushed, hunts through trunks for a
//! peer that takes it, and is relayed until either side ends it. Signalling may hop between shards once
//! ([`Shards`]); RTP never does.
#![forbid(unsafe_code)]

mod admission;
mod attach;
mod attempt;
mod authenticate;
mod b2bua;
pub mod bridge;
mod call;
mod command;
mod config;
mod door;
mod early;
mod ends;
pub mod explain;
mod extensions;
mod finish;
pub mod fraud;
pub mod guard;
mod hep;
mod history;
pub mod identity;
mod invite;
mod keep;
pub mod keys;
mod leg_crypto;
mod leg_facts;
mod leg_link;
pub mod leg_media;
pub mod leg_quality;
mod leg_reports;
mod leg_way;
mod link_media;
mod locating;
mod mail;
mod mask;
mod media;
pub mod media_stats;
mod media_watch;
mod nat;
mod noise;
mod observe;
mod offer;
mod outside;
mod phone;
pub mod ports;
mod privacy;
mod probe;
pub mod profile;
mod realm;
mod redirect;
mod register;
mod registrant;
pub mod registrar;
mod reinvite;
mod relay;
mod report;
mod resync;
mod security;
mod session;
mod shard;
mod stats;
mod status;
mod streams;
mod toll;
mod transfer;
mod translation;
pub mod translator;
pub mod trunk;
mod users;

pub use admission::Network;
pub use attach::PromptAsked;
pub use config::{Config, Listener, RtpPorts, Start, StreamListener};
pub use hep::HepConfig;
pub use keys::Dtmf;
pub use leg_crypto::CryptoAccount;
pub use leg_link::LinkAccount;
pub use leg_reports::{Reporting, RtcpPolicy};
pub use mail::Mail;
pub use mask::Masks;
pub use nat::{KeepAlive, NatConfig};
pub use observe::Observing;
pub use outside::{Outside, Passing};
pub use realm::{MediaPlace, Realm, realm_of};
pub use rtp::srtp::Secrets;
pub use security::{KeyingPolicy, MediaSecurity, SrtpPolicy};
pub use shard::{Census, Shard};
pub use sip::Shards;
pub use stats::Stats;
pub use streams::Allowed;
pub use transfer::{Afar, Search, TransferPolicy};
pub use users::{Accounts, Users};
