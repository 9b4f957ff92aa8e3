//! Where a SIP server is: NAPTR, SRV and address records asked of DNS and put into the order of RFC 3263. No IO.
//!
//! A [`Locator`] is told which [`Target`]s are wanted. It asks the DNS servers it is given, keeps what they say for as
//! long as they allow, asks again before that ends, and holds for each target a [`Route`]: the addresses to try. It
//! never makes anybody wait: whoever places a call takes the route as it is.
//!
//! It is driven like any machine: datagrams, stream bytes, socket events and the time go in, what shall be sent comes
//! out through the [`sansio::Outbox`].
#![forbid(unsafe_code)]

mod cache;
mod config;
mod locator;
mod message;
mod name;
mod procedure;
mod resolver;
mod route;
mod stats;
mod target;

pub use config::{Config, SOCKETS, STREAMS};
pub use locator::{Census, Fact, Locator};
pub use name::{BadName, Name};
pub use route::{How, Place, Route, order};
pub use stats::Stats;
pub use target::{BadTarget, Target, Transport};

#[doc(hidden)]
pub mod fuzzed {
    //! What reads bytes from outside, for fuzzers.
    pub use crate::message::{Answer, Kind, Outcome, Records, is_answer_to, query, read};
}
