//! Host checks and profiles as code: what the kernel should be set to, why, what it costs when it is not, and the way back.
//!
//! [`check`] only reads. [`apply`] changes settings only with [`Consent::Change`], after every previous value has been
//! written to a state file; [`restore`] puts exactly those values back. [`fingerprint`] says where a figure was
//! measured. All paths hang below a [`Root`], so tests run on a made-up tree.

mod apply;
mod check;
mod error;
mod fingerprint;
mod profile;
mod root;
mod state;
mod value;

pub use apply::{ApplyReport, Change, Consent, Outcome, RestoreReport, Restored, apply, restore};
pub use check::{CheckReport, Finding, Options, PortRange, Verdict, check};
pub use error::TuneError;
pub use fingerprint::{Fingerprint, Interface, Ticks, fingerprint, fingerprint_of};
pub use profile::{Effect, Kind, Knob, Only, Profile, Want};
pub use root::Root;

/// Where [`apply`] remembers the previous values unless told otherwise.
pub const STATE_FILE: &str = "/var/lib/trunkline/tune-state.toml";
