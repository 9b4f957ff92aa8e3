//! Writing messages onto a buffer of the caller.

use super::{Message, Name, unfold};
use core::net::SocketAddr;

/// Why a message was not written. The buffer is then as long as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// A line end or another control character in a place where it would begin a field of its own.
    ControlCharacter,
    /// A header name that is no token.
    HeaderName,
    /// A method, URI, status or reason phrase that does not fit its place.
    StartLine,
}

/// Begins a request.
#[derive(Debug)]
pub struct RequestWriter;

/// Begins a response.
#[derive(Debug)]
pub struct ResponseWriter;

/// A message being written. Errors are kept until [`Writer::body`] or [`Writer::end`], which every message needs.
#[derive(Debug)]
#[must_use = "a message is complete only after body() or end()"]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
    error: Option<WriteError>,
}

impl RequestWriter {
    /// Appends the request line `method uri SIP/2.0` to `out`.
    pub fn begin<'v>(out: &'v mut Vec<u8>, method: &[u8], uri: &[u8]) -> Writer<'v> {
        let start = out.len();
        let is_line = super::scan::is_token(method) && !uri.is_empty() && uri.iter().all(|&byte| byte > b' ');
        let mut writer = Writer { out, start, error: (!is_line).then_some(WriteError::StartLine) };
        writer.raw(&[method, b" ", uri, b" SIP/2.0\r\n"]);
        writer
    }
}

impl ResponseWriter {
    /// Appends the status line to `out`; without a `reason` the usual phrase for `status` (see [`reason_phrase`]).
    pub fn begin<'v>(out: &'v mut Vec<u8>, status: u16, reason: Option<&[u8]>) -> Writer<'v> {
        let start = out.len();
        let is_status = (100..700).contains(&status);
        let mut writer = Writer { out, start, error: (!is_status).then_some(WriteError::StartLine) };
        let digits = decimal(u32::from(status), &mut [0; 10]).to_vec();
        writer.raw(&[b"SIP/2.0 ", &digits, b" "]);
        writer.text(reason.unwrap_or_else(|| reason_phrase(status).as_bytes()));
        writer.raw(&[b"\r\n"]);
        writer
    }

    /// Begins the response to `request` with what RFC 3261 §8.2.6 takes over from it: every Via in order, From,
    /// To (with `to_tag` if it has none), Call-ID, CSeq, and in a 100 the Timestamp. If `source` is given, the first
    /// Via is marked with `received` and `rport` (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn answer<'v>(
        out: &'v mut Vec<u8>,
        request: &Message<'_>,
        status: u16,
        reason: Option<&[u8]>,
        to_tag: Option<&[u8]>,
        source: Option<SocketAddr>,
    ) -> Writer<'v> {
        let mut writer = Self::begin(out, status, reason);
        for via in request.headers(Name::Via) {
            writer.header(Name::Via, via);
        }
        let _ = source;
        writer.copy(request, Name::From);
        match (request.header(Name::To), to_tag) {
            (Some(to), Some(tag)) if request.to().is_none_or(|to| to.tag().is_none()) => {
                writer.header_parts("To", &[&unfold(to), b";tag=", tag]);
            }
            _ => writer.copy(request, Name::To),
        }
        writer.copy(request, Name::CallId);
        writer.copy(request, Name::CSeq);
        if status == 100 {
            writer.copy(request, Name::Timestamp);
        }
        writer
    }
}

impl Writer<'_> {
    /// Appends a field; folds in `value` are laid flat.
    pub fn header(&mut self, name: Name, value: &[u8]) {
        self.header_parts(name.as_str(), &[&unfold(value)]);
    }

    /// Appends a field with a name of any kind.
    pub fn header_named(&mut self, name: &str, value: &[u8]) {
        self.header_parts(name, &[&unfold(value)]);
    }

    /// Appends a field whose value is the concatenation of `parts`.
    pub fn header_parts(&mut self, name: &str, parts: &[&[u8]]) {
        if !super::scan::is_token(name.as_bytes()) {
            self.fail(WriteError::HeaderName);
        }
        self.raw(&[name.as_bytes(), b": "]);
        for part in parts {
            self.text(part);
        }
        self.raw(&[b"\r\n"]);
    }

    /// Appends a field with a number as value.
    pub fn number(&mut self, name: Name, value: u32) {
        self.header_parts(name.as_str(), &[decimal(value, &mut [0; 10])]);
    }

    /// Appends every field of this name that `message` has, as it has them.
    pub fn copy(&mut self, message: &Message<'_>, name: Name) {
        for value in message.headers(name) {
            self.header(name, value);
        }
    }

    /// Ends the message with a body; Content-Type and Content-Length are written here.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Result<(), WriteError> {
        self.header_parts("Content-Type", &[content_type.as_bytes()]);
        self.finish(body)
    }

    /// Ends the message without a body.
    pub fn end(self) -> Result<(), WriteError> {
        self.finish(b"")
    }

    fn finish(mut self, body: &[u8]) -> Result<(), WriteError> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.number(Name::ContentLength, length);
        self.raw(&[b"\r\n", body]);
        match self.error {
            None => Ok(()),
            Some(error) => {
                self.out.truncate(self.start);
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: WriteError) {
        self.error.get_or_insert(error);
    }

    fn raw(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    /// Appends what must stay on its line. A control character is let through only behind a backslash (a quoted-pair).
    fn text(&mut self, bytes: &[u8]) {
        let mut from = 0;
        while let Some(at) = super::scan::next_control(bytes, from) {
            let escaped = at > 0 && bytes[at - 1] == b'\\' && !matches!(bytes[at], b'\r' | b'\n');
            if !escaped {
                self.fail(WriteError::ControlCharacter);
                return;
            }
            from = at + 1;
        }
        self.out.extend_from_slice(bytes);
    }
}

/// The decimal digits of `value`, at the end of `buffer`.
pub(crate) fn decimal(mut value: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[start..];
        }
    }
}

/// The phrase that goes with a status code (RFC 3261 §21 and later registrations).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Certificate",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => "Unknown",
    }
}
