//! Extensions that the gateway passes from one side to the other: preconditions (RFC 3312, RFC 4032). Whether a call
//! waits for resources is agreed upon by its ends; what they say of it in SDP passes as it is.

use sip::Received;
use sip::message::{Message, Name};

/// The option tag of preconditions.
pub(crate) const TAG: &str = "precondition";

/// By which field a message speaks of preconditions, if it does: Require where they are a must (RFC 3312 §11).
pub(crate) fn passed(message: &Message<'_>) -> Option<Name> {
    [Name::Require, Name::Supported].into_iter().find(|name| message.lists(*name, TAG))
}

/// The same for a response, in which they are only worth a word where they are a must.
pub(crate) fn required(response: &Received) -> Option<(&'static str, &'static str)> {
    let message = response.parse().ok()?;
    message.lists(Name::Require, TAG).then_some((Name::Require.as_str(), TAG))
}
