//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): header fields, responses, nonces, both sides without IO.
//!
//! [`Authority`] is the server's side: it makes nonces that need no table, says whether credentials are right, and
//! remembers which nonces were used how often. [`Answerer`] is the client's: it answers the challenges of one request.

mod algorithm;
mod answer;
mod authority;
mod field;
mod response;

pub use algorithm::{Algorithm, Hash};
pub use answer::{Account, Answerer};
pub use authority::{Authority, Presented, Verdict};
pub use field::{Authorization, Challenge};
pub use response::{Facts, respond};
