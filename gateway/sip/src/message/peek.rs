//! What steering needs of a message, without indexing its fields.

use super::{CSeq, Message, Method, Name, Via};

/// Whether a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request with this method.
    Request(Method),
    /// A response with this status.
    Response(u16),
}

/// What [`peek()`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    /// Request or response.
    pub start: Start,
    /// The Call-ID; empty if missing.
    pub call_id: &'a [u8],
    /// The branch of the first Via.
    pub branch: Option<&'a [u8]>,
    /// CSeq.
    pub cseq: Option<CSeq<'a>>,
}

/// Reads Call-ID, first line, branch and CSeq. `None` where [`Message::parse`] fails.
pub fn peek(bytes: &[u8]) -> Option<Peek<'_>> {
    let message = Message::parse(bytes).ok()?;
    let start = if message.is_request() {
        Start::Request(message.method())
    } else {
        Start::Response(message.status())
    };
    let branch = message.values(Name::Via).next().and_then(Via::parse).and_then(|via| via.branch());
    Some(Peek { start, call_id: message.call_id(), branch, cseq: message.cseq() })
}
