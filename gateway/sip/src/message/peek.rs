//! What steering needs of a message, without indexing its fields.

use super::parse::{field_at, start_of};
use super::{CSeq, Elements, Method, Name, NameAddr, Via};

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
    /// The branch of the first Via; `None` if missing or malformed.
    pub branch: Option<&'a [u8]>,
    /// CSeq; `None` if missing or malformed.
    pub cseq: Option<CSeq<'a>>,
}

/// Reads the first line alone.
pub fn start(bytes: &[u8]) -> Option<Start> {
    let (status, method, _) = start_of(bytes).ok()?;
    Some(if status == 0 { Start::Request(method) } else { Start::Response(status) })
}

/// Reads first line, Call-ID (empty if missing) and method (of a response what its CSeq says, if anything), and leaves Via
/// alone: what [`peek()`] says of them.
pub fn dialog(bytes: &[u8]) -> Option<(Start, &[u8], Option<Method>)> {
    let (status, method, mut at) = start_of(bytes).ok()?;
    let (start, mut method) =
        if status == 0 { (Start::Request(method), Some(method)) } else { (Start::Response(status), None) };
    let (mut call_id, mut counted) = (None, method.is_some());
    while let Ok((name, value, next)) = field_at(bytes, at) {
        match name {
            Name::CallId => call_id = call_id.or(Some(value)),
            Name::CSeq if !counted => {
                method = CSeq::parse(value).map(|cseq| cseq.method);
                counted = true;
            }
            _ => {}
        }
        if call_id.is_some() && counted {
            break;
        }
        at = next;
    }
    Some((start, call_id.unwrap_or_default(), method))
}

/// The Call-ID of a request that begins a call: an INVITE whose To has no tag (RFC 3261 §8.1.1.2). `None` of everything else,
/// and of what cannot be told.
pub fn new_call(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(b"INVITE ") {
        return None;
    }
    let (_, _, mut at) = start_of(bytes).ok()?;
    let (mut call_id, mut to) = (None, None);
    while call_id.is_none() || to.is_none() {
        let (name, value, next) = field_at(bytes, at).ok()?;
        match name {
            Name::CallId => call_id = call_id.or(Some(value)),
            Name::To => to = to.or(Some(value)),
            _ => {}
        }
        at = next;
    }
    call_id.filter(|_| to.and_then(NameAddr::parse).is_some_and(|to| to.tag().is_none()))
}

/// The Call-ID of a CANCEL.
pub fn cancelled(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(b"CANCEL ") {
        return None;
    }
    dialog(bytes).map(|(_, call_id, _)| call_id)
}

/// Reads Call-ID, first line, branch and CSeq, and nothing beyond the last of them. Where
/// [`super::Message::parse`] succeeds it says the same; where that fails, this may be `None` or what was there.
pub fn peek(bytes: &[u8]) -> Option<Peek<'_>> {
    let (status, method, mut at) = start_of(bytes).ok()?;
    let start = if status == 0 { Start::Request(method) } else { Start::Response(status) };
    let (mut call_id, mut via, mut cseq) = (None, None, None);
    // A line that cannot be read, or the empty one behind the header, ends the search.
    while let Ok((name, value, next)) = field_at(bytes, at) {
        match name {
            Name::CallId => call_id = call_id.or(Some(value)),
            Name::CSeq => cseq = cseq.or(Some(value)),
            // A Via field without an element passes the turn to the next.
            Name::Via if via.is_none() => via = Elements::new(value).next(),
            _ => {}
        }
        if call_id.is_some() && via.is_some() && cseq.is_some() {
            break;
        }
        at = next;
    }
    Some(Peek {
        start,
        call_id: call_id.unwrap_or_default(),
        branch: via.and_then(Via::parse).and_then(|via| via.branch()),
        cseq: cseq.and_then(CSeq::parse),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[test]
    fn compact_names_and_folds() {
        let text = b"SIP/2.0 180 Ringing\r\nV:\r\n SIP/2.0/UDP h;branch=z9hG4bKx\r\n ;rport, SIP/2.0/UDP g;branch=2\r\n\
            i :\r\n  call@here\r\nVia: SIP/2.0/UDP f;branch=3\r\ncseq: 7\r\n\tINVITE\r\nl: 0\r\n\r\n";
        let peek = peek(text).unwrap();
        assert_eq!(peek.start, Start::Response(180));
        assert_eq!((peek.call_id, peek.branch), (&b"call@here"[..], Some(&b"z9hG4bKx"[..])));
        assert_eq!(peek.cseq.unwrap().method, Method::Invite);
        assert_eq!(dialog(text), Some((peek.start, peek.call_id, Some(Method::Invite))));
        let message = Message::parse(text).unwrap();
        assert_eq!((message.call_id(), message.cseq()), (peek.call_id, peek.cseq));
    }

    #[test]
    fn calls_that_begin_are_told_from_those_that_go_on() {
        let text =
            |line: &str, to: &str| format!("{line} sip:h SIP/2.0\r\nt: {to}\r\nX: y\r\nCall-ID: c@h\r\n\r\n");
        let begins = |line: &str, to: &str| new_call(text(line, to).as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(begins("INVITE", "<sip:a@h;tag=1>").as_deref(), Some(&b"c@h"[..]));
        assert_eq!(begins("INVITE", "\"a;tag=1\" <sip:a@h>").as_deref(), Some(&b"c@h"[..]));
        assert_eq!(begins("INVITE", "sip:a@h;Tag=x"), None);
        assert_eq!(begins("INVITE", "<nonsense"), None);
        assert_eq!(begins("BYE", "<sip:a@h>"), None);
        assert_eq!(new_call(b"INVITE sip:h SIP/2.0\r\nTo: <sip:a@h>\r\n\r\n"), None);
        assert_eq!(cancelled(text("CANCEL", "<sip:a@h>").as_bytes()), Some(&b"c@h"[..]));
        assert_eq!(cancelled(text("INVITE", "<sip:a@h>").as_bytes()), None);
    }

    #[test]
    fn nothing_but_a_first_line_is_needed() {
        assert_eq!(peek(b""), None);
        assert_eq!(peek(b"\r\n\r\n"), None);
        assert_eq!(peek(b"GET / HTTP/1.1\r\n\r\n"), None);
        let bare = peek(b"OPTIONS sip:h SIP/2.0\r\n\r\n").unwrap();
        assert_eq!(
            (bare.start, bare.call_id, bare.branch),
            (Start::Request(Method::Options), &b""[..], None)
        );
        assert_eq!(
            dialog(b"OPTIONS sip:h SIP/2.0\r\n\r\n"),
            Some((bare.start, &b""[..], Some(Method::Options)))
        );
        assert_eq!(dialog(b"\r\n\r\n"), None);
    }
}
