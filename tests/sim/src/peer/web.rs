//! WebSocket as a scripted peer speaks it, as client (RFC 6455, RFC 7118): one SIP message in one frame.

use std::net::SocketAddr;

/// The key of RFC 6455 §1.3, whose answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// What every byte is masked with: any four bytes do (RFC 6455 §5.3).
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Whether a stream is a WebSocket.
#[derive(Debug)]
pub(super) enum Web {
    /// It is not.
    Not,
    /// The server was asked, and has not agreed; what waits until then.
    Asking(Vec<Vec<u8>>),
    /// It is.
    Open,
}

/// The request to make a stream a WebSocket.
pub(super) fn upgrade(own: SocketAddr) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {own}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A message in a frame (RFC 6455 §5.2), masked as a client's has to be.
fn wrapped(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(bytes.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The next frame of a server's; pings and pongs are passed over.
pub(super) fn frame(buffer: &mut Vec<u8>) -> Option<Result<Vec<u8>, String>> {
    loop {
        let (&first, &second) = (buffer.first()?, buffer.get(1)?);
        let (start, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes([*buffer.get(2)?, *buffer.get(3)?]))),
            length => (2, usize::from(length)),
        };
        if second & 0x80 != 0 || second == 127 || first & 0x70 != 0 {
            buffer.clear();
            return Some(Err(format!("a frame that no server sends: {first:02x} {second:02x}")));
        }
        if buffer.len() < start + length {
            return None;
        }
        let payload = buffer.drain(..start + length).skip(start).collect();
        match first {
            0x81 | 0x82 => return Some(Ok(payload)),
            0x88..=0x8a => {}
            _ => return Some(Err(format!("a frame of a kind that was not agreed: {first:02x}"))),
        }
    }
}

impl Web {
    /// What is to be written for a message; `None` if it has to wait.
    pub(super) fn wrap(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Not => Some(bytes.to_vec()),
            Self::Open => Some(wrapped(bytes)),
            Self::Asking(waiting) => {
                waiting.push(wrapped(bytes));
                None
            }
        }
    }

    /// Looks whether the server has agreed by now; then what waited goes out.
    pub(super) fn open(
        &mut self,
        buffer: &mut Vec<u8>,
        mut write: impl FnMut(Vec<u8>),
    ) -> Result<(), String> {
        let Self::Asking(waiting) = self else { return Ok(()) };
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
        let head: Vec<u8> = buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
            return Err("the server did not agree to a WebSocket".to_owned());
        }
        waiting.drain(..).for_each(&mut write);
        *self = Self::Open;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_out_masked_and_come_in_plain() {
        assert_eq!(wrapped(b"Hello"), [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let mut buffer = [&[0x89, 0][..], &[0x81, 5], b"Hello", &[0x81]].concat();
        assert_eq!(frame(&mut buffer), Some(Ok(b"Hello".to_vec())));
        assert_eq!(frame(&mut buffer), None);
        assert!(frame(&mut wrapped(b"Hello")).unwrap().is_err(), "masked");
    }
}
