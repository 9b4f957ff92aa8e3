//! STIR/SHAKEN: who really calls, signed by whoever let the call in (RFC 8224, RFC 8225, RFC 8226, RFC 8588).
//!
//! No clock, no socket, no file, no randomness: times are seconds since 1970, certificates come as bytes, and the
//! source of randomness that a signature needs is given to the [`Signer`].
//!
//! **Verifying** has two halves, since the certificate may have to be fetched in between. [`Claim::read`] takes an Identity
//! field and what the INVITE says, and refuses all that can be refused without a certificate. [`Claim::check`]
//! verifies the signature with a [`Credential`], which is a certificate chain that was verified once and may be kept.
//! [`Testimony`] does both for all tokens of a request together: who calls, by way of whom, and with what priority.
//! [`Replays`] then says whether the same signature was seen in another call. A [`Failure`] knows its SIP status.
//!
//! **Signing** is [`Signer::sign`], and [`Signer::sign_as`] for tokens of other types.
#![forbid(unsafe_code)]

mod authority;
mod certificate;
mod claim;
mod constraints;
mod date;
mod failure;
mod identity;
mod number;
mod passport;
mod replay;
mod revocation;
mod sign;
mod testimony;
mod url;

pub use authority::Authority;
pub use certificate::{Credential, Roots, RootsError, validity};
pub use claim::{Caller, Claim, Policy, Verified};
pub use date::{read as read_date, write as write_date};
pub use failure::{Class, Failure};
pub use identity::Identity;
pub use number::canonical;
pub use passport::{Attestation, Claims, Destinations, Diverted, Party, Passport, Priority};
pub use replay::{Replays, Seen};
pub use revocation::{ListIssuers, Lists, Revocation, RevocationList, list_addresses};
pub use sign::{KeyError, Signer, origination_of};
pub use testimony::{Request, Testimony, integrity};
pub use url::is_fetchable;

/// The PASSporT type of SHAKEN (RFC 8588 §3).
pub const SHAKEN: &str = "shaken";

/// The type of tokens that tell of a diversion (RFC 8946 §3).
pub const DIV: &str = "div";

/// The type of those that have the token before nested in them (RFC 8946 §5).
pub const DIV_O: &str = "div-o";

/// The type of tokens that entitle to a Resource-Priority (RFC 8443 §3).
pub const RPH: &str = "rph";

/// The type of tokens of messages (RFC 9475 §3.2).
pub const MSG: &str = "msg";
