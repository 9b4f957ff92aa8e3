//! Asking the gateway over HTTP: one GET a connection, blocking, with a deadline. No more is needed of a client here.

use core::net::SocketAddr;
use core::time::Duration;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Most bytes of an answer: a page of 1000 call records has about two million.
const ANSWER_MAX: u64 = 64 << 20;

/// Gets `path` and reads its JSON, whatever the status.
///
/// # Errors
/// Nobody there, too slow, or no JSON.
pub(crate) fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let body = body_of(&answer).ok_or_else(|| io::Error::other(format!("{path}: no HTTP answer")))?;
    serde_json::from_slice(&body).map_err(|error| io::Error::other(format!("{path}: {error}")))
}

/// The body of an answer that ended with its connection.
fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = core::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 ") {
        return None;
    }
    let body = &answer[end + 4..];
    if head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked")) {
        return unchunked(body);
    }
    Some(body.to_vec())
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = core::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_found_whole_or_in_chunks() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(body_of(whole).unwrap(), b"{}");
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(body_of(chunked).unwrap(), b"{\"a\":1}");
        assert_eq!(body_of(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
