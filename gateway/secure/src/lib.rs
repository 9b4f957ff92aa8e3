//! TLS 1.3 and 1.2 between a machine and its driver: what comes over chosen streams is decrypted, what goes encrypted.
//!
//! [`Secured`] is itself a machine around another one, on the same thread, under the same driver. rustls does no IO of
//! its own: it is fed the bytes that came and gives those that are to go. What this crate is not is a core without IO:
//! rustls asks the operating system for randomness and for the date that certificates are held against.

mod dtls;
mod machine;
mod policy;
mod session;
mod stats;

pub use dtls::DtlsEnds;
pub use machine::{Config, Secured};
pub use policy::{FileError, Peer, Policy, Shared, Trust, roots, server};
pub use stats::{Gauges, Stats};
