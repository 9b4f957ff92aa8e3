//! `message/sipfrag` (RFC 3420): the status line by which NOTIFY tells how a transfer goes (RFC 3515 §2.4.5).

use crate::message::reason_phrase;

/// The media type of a NOTIFY's body in a subscription that REFER made (RFC 3515 §2.4.5).
pub const FRAGMENT: &str = "message/sipfrag;version=2.0";

/// The body that says a status: its status line with the usual reason phrase.
pub fn fragment(status: u16) -> String {
    format!("SIP/2.0 {status} {}\r\n", reason_phrase(status))
}

/// The status in such a body; `None` if it does not begin with a status line.
pub fn fragment_status(body: &[u8]) -> Option<u16> {
    let rest = body.get(..8).filter(|start| start.eq_ignore_ascii_case(b"SIP/2.0 ")).map(|_| &body[8..])?;
    let (digits, behind) = rest.split_at_checked(3)?;
    let ends = behind.first().is_none_or(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let status: u16 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (ends && digits.iter().all(u8::is_ascii_digit) && (100..700).contains(&status)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(fragment(180), "SIP/2.0 180 Ringing\r\n");
        for status in [100, 180, 200, 486, 603] {
            assert_eq!(fragment_status(fragment(status).as_bytes()), Some(status));
        }
        assert_eq!(fragment_status(b"SIP/2.0 200 OK\r\nTo: <sip:a@b>\r\n"), Some(200));
        assert_eq!(fragment_status(b"sip/2.0 503"), Some(503));
        for other in [
            &b""[..],
            b"SIP/2.0 ",
            b"SIP/2.0 20",
            b"SIP/2.0 2000 OK",
            b"SIP/2.0 +20 OK",
            b"INVITE sip:a@b SIP/2.0",
        ] {
            assert_eq!(fragment_status(other), None);
        }
    }
}
