//! Holding a message against RFC 3261: what deserves which answer.

use super::{Message, Name};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status of the answer.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> Reject {
    Reject { status: 400, reason }
}

/// Checks what every request must have (RFC 3261 §8.1.1, §8.2).
pub fn validate(message: &Message<'_>) -> Result<(), Reject> {
    if !message.is_version_2() {
        return Err(Reject { status: 505, reason: "Version Not Supported" });
    }
    for (name, reason) in [
        (Name::Via, "Missing Via"),
        (Name::From, "Missing From"),
        (Name::To, "Missing To"),
        (Name::CallId, "Missing Call-ID"),
        (Name::CSeq, "Missing CSeq"),
    ] {
        if message.header(name).is_none() {
            return Err(bad(reason));
        }
    }
    Ok(())
}

/// Checks what a response must have; one that fails is dropped.
pub fn validate_response(message: &Message<'_>) -> Result<(), &'static str> {
    if message.top_via().is_none() {
        return Err("Via");
    }
    Ok(())
}
