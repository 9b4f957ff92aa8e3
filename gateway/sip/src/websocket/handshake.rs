//! The opening handshake (RFC 6455 §4.2): an HTTP request in, 101 or a refusal out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// A request longer than this is refused, in bytes.
const REQUEST_MAX: usize = 8192;
/// RFC 6455 §1.3.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that is granted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The answer, 101.
    pub(crate) reply: Vec<u8>,
    /// Bytes of the request.
    pub(crate) used: usize,
}

/// The answer to a request, or the refusal; `None` if it is not whole yet.
pub(crate) fn answer(bytes: &[u8]) -> Option<Result<Accepted, Vec<u8>>> {
    let window = &bytes[..bytes.len().min(REQUEST_MAX)];
    // What does not begin as HTTP does is given up at once.
    let begun = window.len().min(4);
    if window[..begun] != b"GET "[..begun] {
        return Some(Err(refusal("400 Bad Request", "")));
    }
    let Some(end) = memchr::memmem::find(window, b"\r\n\r\n") else {
        let long = bytes.len() >= REQUEST_MAX;
        return long.then(|| Err(refusal("431 Request Header Fields Too Large", "")));
    };
    Some(judge(&window[..end + 2]).map(|reply| Accepted { reply, used: end + 4 }))
}

fn refusal(status: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn judge(request: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    let bad = || refusal("400 Bad Request", "");
    let text = core::str::from_utf8(request).map_err(|_| bad())?;
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let start = lines.next().unwrap_or_default();
    let fields: Vec<(&str, &str)> = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())))
        // RFC 9112 §5.1: no white space before the colon.
        .map(|field| field.filter(|(name, _)| !name.is_empty() && !name.contains([' ', '\t'])))
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    if !start.ends_with(" HTTP/1.1") || start.split(' ').count() != 3 {
        return Err(bad());
    }
    let values = |name: &'static str| {
        fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    let lists = |name, wanted: &str| {
        values(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    if !lists("Upgrade", "websocket") || !lists("Connection", "upgrade") {
        return Err(refusal("426 Upgrade Required", "Upgrade: websocket\r\n"));
    }
    // RFC 6455 §4.2.2, §4.4: the version we speak is named.
    if values("Sec-WebSocket-Version").ne(["13"]) {
        return Err(refusal("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"));
    }
    let mut keys = values("Sec-WebSocket-Key");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(bad()) };
    if values("Host").next().is_none() || STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad());
    }
    // RFC 7118 §4.1: who does not offer the subprotocol does not speak SIP here.
    if !lists("Sec-WebSocket-Protocol", "sip") {
        return Err(bad());
    }
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(SALT).finalize());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )
    .into_bytes())
}
