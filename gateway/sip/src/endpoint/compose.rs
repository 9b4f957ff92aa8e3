//! Writing the messages a user agent generates (RFC 3261 §8.1.1, §8.2.6): lines onto a buffer.

use crate::dialog::Dialog;
use crate::event::{Body, Flow};
use crate::message::{Message, Name, reason_phrase};
use core::net::{IpAddr, SocketAddr};
use std::io::Write as _;

/// What an endpoint says of itself in every message, as finished lines.
#[derive(Debug)]
pub(crate) struct Identity {
    /// `User-Agent: ...` or nothing.
    pub(crate) user_agent: Box<[u8]>,
    /// `Server: ...` or nothing.
    pub(crate) server: Box<[u8]>,
    /// `Allow: ...`.
    pub(crate) allow: Box<[u8]>,
    /// `Supported: ...` or nothing.
    pub(crate) supported: Box<[u8]>,
    /// The same without 100rel, for an INVITE without offer.
    pub(crate) supported_late: Box<[u8]>,
}

/// Whether a text may stand in a line.
pub(crate) fn is_line(text: &[u8]) -> bool {
    !text.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
}

/// Appends `address` as host and port.
pub(crate) fn address(out: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        out.push(b'[');
    }
    ip(out, address.ip());
    if address.is_ipv6() {
        out.push(b']');
    }
    out.push(b':');
    decimal(out, address.port().into());
}

/// Appends `address` without brackets.
pub(crate) fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                decimal(out, octet.into());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Appends a number.
pub(crate) fn decimal(out: &mut Vec<u8>, mut value: u32) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends parts one after the other.
pub(crate) fn parts(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends the request line and Via (RFC 3261 §8.1.1.7, with `rport` of RFC 3581 §3), and Max-Forwards.
pub(crate) fn begin_request(
    out: &mut Vec<u8>,
    method: &[u8],
    uri: &[u8],
    flow: &Flow,
    branch: &[&[u8]],
    max_forwards: u8,
) {
    parts(out, &[method, b" ", uri, b" SIP/2.0\r\nVia: SIP/2.0/"]);
    parts(out, &[flow.transport.via().as_bytes(), b" "]);
    address(out, flow.local);
    out.extend_from_slice(b";rport;branch=");
    parts(out, branch);
    out.extend_from_slice(b"\r\nMax-Forwards: ");
    decimal(out, max_forwards.into());
    out.extend_from_slice(b"\r\n");
}

/// Appends CSeq.
pub(crate) fn cseq(out: &mut Vec<u8>, number: u32, method: &[u8]) {
    out.extend_from_slice(b"CSeq: ");
    decimal(out, number);
    parts(out, &[b" ", method, b"\r\n"]);
}

/// Appends Contact with our address.
pub(crate) fn contact(out: &mut Vec<u8>, user: &[u8], flow: &Flow) {
    out.extend_from_slice(b"Contact: <sip:");
    if !user.is_empty() {
        parts(out, &[user, b"@"]);
    }
    address(out, flow.local);
    parts(out, &[flow.transport.uri_parameter().as_bytes(), b">\r\n"]);
}

/// Appends header fields of the owner's; `false` if one would break its line.
#[must_use]
pub(crate) fn headers(out: &mut Vec<u8>, headers: &[(&str, &str)]) -> bool {
    for (name, value) in headers {
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte));
        if !is_name || !is_line(value.as_bytes()) {
            return false;
        }
        parts(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    true
}

/// Ends a message with its body, or without; `false` if the Content-Type would break its line.
#[must_use]
pub(crate) fn end(out: &mut Vec<u8>, body: Option<Body<'_>>) -> bool {
    let Some(body) = body else {
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        return true;
    };
    if !is_line(body.content_type.as_bytes()) {
        return false;
    }
    parts(out, &[b"Content-Type: ", body.content_type.as_bytes(), b"\r\nContent-Length: "]);
    decimal(out, u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    parts(out, &[b"\r\n\r\n", body.bytes]);
    true
}

/// Appends a status line.
pub(crate) fn status_line(out: &mut Vec<u8>, status: u16, reason: Option<&str>) {
    out.extend_from_slice(b"SIP/2.0 ");
    decimal(out, status.into());
    parts(out, &[b" ", reason.unwrap_or_else(|| reason_phrase(status)).as_bytes(), b"\r\n"]);
}

/// Begins a request inside a dialog (RFC 3261 §12.2.1.1): everything up to and with CSeq.
pub(crate) fn begin_inside(
    out: &mut Vec<u8>,
    dialog: &Dialog,
    flow: &Flow,
    method: &[u8],
    number: u32,
    branch: &[&[u8]],
) {
    begin_inside_by(out, dialog, flow, (method, number), branch, 70);
}

/// The same for a request that has come a part of its way.
pub(crate) fn begin_inside_by(
    out: &mut Vec<u8>,
    dialog: &Dialog,
    flow: &Flow,
    (method, number): (&[u8], u32),
    branch: &[&[u8]],
    max_forwards: u8,
) {
    let texts = dialog.parts();
    let path = dialog.path();
    begin_request(out, method, path.request_uri, flow, branch, max_forwards);
    if !path.routes.is_empty() || path.last_route.is_some() {
        parts(out, &[b"Route: ", path.routes]);
        if let Some(last) = path.last_route {
            let comma: &[u8] = if path.routes.is_empty() { b"" } else { b", " };
            parts(out, &[comma, b"<", last, b">"]);
        }
        out.extend_from_slice(b"\r\n");
    }
    parts(out, &[b"From: ", texts.local, b"\r\nTo: ", texts.remote]);
    parts(out, &[b"\r\nCall-ID: ", texts.call_id, b"\r\n"]);
    cseq(out, number, method);
}

/// Appends a request of ours once more, for another transaction: other branch and CSeq, and `lines` in place of what
/// it said of session timers.
pub(crate) fn again(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    flow: &Flow,
    branch: &[u8],
    number: u32,
    lines: &[u8],
) {
    let hops = request.max_forwards().unwrap_or(70);
    let method = request.method_bytes();
    begin_request(out, method, request.request_uri(), flow, &[branch], hops);
    for field in request.fields() {
        match field.name {
            Name::Via | Name::MaxForwards | Name::SessionExpires | Name::MinSe | Name::ContentLength => {}
            Name::CSeq => {
                cseq(out, number, method);
                out.extend_from_slice(lines);
            }
            _ => parts(out, &[field.spelling, b": ", field.value, b"\r\n"]),
        }
    }
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, u32::try_from(request.body().len()).unwrap_or(u32::MAX));
    parts(out, &[b"\r\n\r\n", request.body()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_host_and_port() {
        for text in ["192.0.2.255:5060", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let mut out = Vec::new();
            address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn what_would_break_its_line_is_refused() {
        let mut out = Vec::new();
        assert!(headers(&mut out, &[("X-A", "b\tc")]));
        assert!(!headers(&mut out, &[("X-A", "b\r\nEvil: yes")]));
        assert!(!headers(&mut out, &[("X: A", "b")]));
        assert!(!headers(&mut out, &[("", "b")]));
        assert!(!end(&mut out, Some(Body { content_type: "a\n", bytes: b"" })));
    }
}
