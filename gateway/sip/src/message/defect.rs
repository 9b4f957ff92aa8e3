//! What can be wrong with a message as a sequence of lines, and what it still can be answered with.

use super::{Message, Method};

/// What is wrong with a message as a sequence of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1), or an empty datagram.
    Empty,
    /// The first line is neither a request nor a status line.
    NotSip,
    /// Longer than [`super::MESSAGE_MAX`].
    TooLarge,
    /// More fields than [`super::FIELDS_MAX`].
    TooManyFields,
    /// A line longer than [`super::LINE_MAX`].
    LineTooLong,
    /// A Request-URI longer than [`super::URI_MAX`].
    UriTooLong,
    /// The request line is not `Method SP Request-URI SP SIP-Version` (RFC 3261 §7.1).
    RequestLine,
    /// The status line is not `SIP-Version SP Status-Code SP Reason-Phrase` (RFC 3261 §7.2).
    StatusLine,
    /// A header line is not `name: value`.
    HeaderLine,
    /// A line end that is not CRLF, or a control character that nothing escapes.
    ControlCharacter,
    /// No empty line behind the header fields.
    Unterminated,
    /// Content-Length is not a number.
    ContentLength,
    /// Content-Length stands more than once.
    ContentLengthRepeated,
    /// Content-Length is larger than what follows.
    Truncated,
    /// No Content-Length in a stream, where nothing else says how long the body is (RFC 3261 §18.3).
    ContentLengthMissing,
}

impl Defect {
    /// The reason phrase for the answer.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "Empty Message",
            Self::NotSip => "Not SIP",
            Self::TooLarge => "Message Too Large",
            Self::TooManyFields => "Too Many Header Fields",
            Self::LineTooLong => "Header Field Too Long",
            Self::UriTooLong => "Request-URI Too Long",
            Self::RequestLine => "Malformed Request-Line",
            Self::StatusLine => "Malformed Status-Line",
            Self::HeaderLine => "Malformed Header Field",
            Self::ControlCharacter => "Control Character In Header",
            Self::Unterminated => "Header Not Terminated",
            Self::ContentLength => "Malformed Content-Length",
            Self::ContentLengthRepeated => "Multiple Content-Length",
            Self::Truncated => "Message Shorter Than Content-Length",
            Self::ContentLengthMissing => "Missing Content-Length",
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 513,
            Self::UriTooLong => 414,
            _ => 400,
        }
    }
}

/// A message that could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError<'a> {
    /// What is wrong with it.
    pub defect: Defect,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ParseError<'a> {
    /// The status of the answer: 400, 414 or 513.
    pub const fn status(&self) -> u16 {
        self.defect.status()
    }

    /// The reason phrase of the answer, which should "identify the syntax problem" (RFC 3261 §21.4.1).
    pub const fn reason(&self) -> &'static str {
        self.defect.reason()
    }

    /// What could be read of a request that shall be answered: `Some` if it is a request other than ACK whose
    /// first Via says where the answer goes. Lines that could not be read are left out of it, and any field
    /// but Via may be missing.
    pub fn answerable(&self) -> Option<Message<'a>> {
        if matches!(self.defect, Defect::Empty | Defect::NotSip | Defect::StatusLine) {
            return None;
        }
        let message = Message::parse_leniently(self.bytes)?;
        let answerable =
            message.is_request() && message.method() != Method::Ack && message.top_via().is_some();
        answerable.then_some(message)
    }
}
