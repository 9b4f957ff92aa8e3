//! Why a call's identity could not be verified, and what its caller is told (RFC 8224 §6.2.2).

use core::fmt;

/// The classes of failure: one SIP status each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The token, or the INVITE, is too old or from the future.
    Stale,
    /// There is no Identity field that could be verified.
    Absent,
    /// The certificate could not be had.
    NoCertificate,
    /// The certificate is not trusted, not valid now, or has no say over the number.
    Unsupported,
    /// The field cannot be read, contradicts the INVITE, was seen before, or its signature is wrong.
    Invalid,
}

impl Class {
    /// The status of a refusal.
    pub const fn status(self) -> u16 {
        match self {
            Self::Stale => 403,
            Self::Absent => 428,
            Self::NoCertificate => 436,
            Self::Unsupported => 437,
            Self::Invalid => 438,
        }
    }

    /// The reason phrase that goes with it.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Stale => "Stale Date",
            Self::Absent => "Use Identity Header",
            Self::NoCertificate => "Bad Identity Info",
            Self::Unsupported => "Unsupported Credential",
            Self::Invalid => "Invalid Identity Header",
        }
    }
}

/// A failure: its class, and what exactly was wrong, for the call's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub class: Class,
    /// In words.
    pub why: String,
}

impl Failure {
    /// A failure of that class.
    pub fn new(class: Class, why: impl Into<String>) -> Self {
        Self { class, why: why.into() }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::new(Class::Invalid, why)
    }

    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        Self::new(Class::Unsupported, why)
    }

    /// The value of a Reason field that tells it upstream (RFC 9410 §4).
    pub fn reason(&self) -> String {
        format!("STIR;cause={};text=\"{}\"", self.class.status(), self.class.phrase())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.class.status(), self.class.phrase(), self.why)
    }
}

impl core::error::Error for Failure {}
