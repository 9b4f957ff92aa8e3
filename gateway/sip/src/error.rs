//! Why an endpoint refuses what its owner asks for.

use core::fmt;

/// Why a call or request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// A table is full (transactions, legs or connections); the counters in [`crate::Stats`] say which.
    Full,
    /// The destination names a socket that was not added, or one of another address family.
    NoSocket,
    /// The connection that it was to go over, which the peer had opened, is gone.
    ConnectionGone,
    /// A text holds CR, LF or NUL, or is empty where it must not be.
    BadText,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the endpoint's tables are full",
            Self::NoSocket => "no socket for this destination",
            Self::ConnectionGone => "the peer's connection is gone",
            Self::BadText => "a header holds a line break or lacks text",
        })
    }
}

impl core::error::Error for StartError {}

/// A leg or request cannot do what was asked of it at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegError {
    /// The id finds nothing: the leg or request is over.
    Unknown,
    /// It is not in a state for this (answered twice, re-INVITE while another one is pending).
    WrongState,
    /// A table is full.
    Full,
    /// A text holds CR, LF or NUL.
    BadText,
}

impl fmt::Display for LegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such leg or request",
            Self::WrongState => "not possible in this state",
            Self::Full => "the endpoint's tables are full",
            Self::BadText => "a header holds a line break",
        })
    }
}

impl core::error::Error for LegError {}
