//! Request line and status line (RFC 3261 §7.1, §7.2).

use super::defect::Defect;
use super::scan::{is_token, number};
use super::{Method, URI_MAX};

/// The first line, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartLine {
    /// 0 in a request.
    pub(super) status: u16,
    pub(super) method: Method,
    pub(super) is_version_2: bool,
    /// Where the message begins (behind leading line ends).
    pub(super) start: u16,
    /// End of method.
    pub(super) method_end: u16,
    /// Request-URI or reason phrase.
    pub(super) text_start: u16,
    pub(super) text_end: u16,
}

impl StartLine {
    /// Parses the line at `start..end`, which does not hold its end. `lenient` takes a request line with anything between method
    /// and version.
    pub(super) fn parse(bytes: &[u8], start: usize, end: usize, lenient: bool) -> Result<Self, Defect> {
        let line = &bytes[start..end];
        if line.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/")) {
            return Self::response(line, start, end);
        }
        let first_space = memchr::memchr(b' ', line).ok_or(Defect::NotSip)?;
        let (method, rest) = (&line[..first_space], &line[first_space + 1..]);
        if !is_token(method) {
            return Err(Defect::NotSip);
        }
        let mut parsed = Self {
            status: 0,
            method: Method::parse(method),
            is_version_2: true,
            start: start as u16,
            method_end: (start + first_space) as u16,
            text_start: (start + first_space + 1) as u16,
            text_end: 0,
        };
        if let Some(uri) = rest.strip_suffix(b" SIP/2.0")
            && !uri.is_empty()
            && uri.len() <= URI_MAX
            && memchr::memchr2(b' ', b'\t', uri).is_none()
        {
            parsed.text_end = parsed.text_start + uri.len() as u16;
            return Ok(parsed);
        }
        // Whitespace behind the version is an error that can be answered, so the version is looked for before it.
        let used = rest.iter().rposition(|&byte| byte != b' ' && byte != b'\t').map_or(0, |last| last + 1);
        let version = rest[..used].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        let is_version_2 = version_of(&rest[version..used]).ok_or(Defect::NotSip)?;
        let uri = &rest[..version.saturating_sub(1)];
        if !lenient {
            if uri.is_empty() || used != rest.len() || uri.iter().any(|&byte| byte == b' ' || byte == b'\t') {
                return Err(Defect::RequestLine);
            }
            if uri.len() > URI_MAX {
                return Err(Defect::UriTooLong);
            }
        }
        parsed.is_version_2 = is_version_2;
        parsed.text_end = parsed.text_start + uri.len() as u16;
        Ok(parsed)
    }

    fn response(line: &[u8], start: usize, end: usize) -> Result<Self, Defect> {
        let version_end = memchr::memchr(b' ', line).ok_or(Defect::StatusLine)?;
        let is_version_2 = version_of(&line[..version_end]).ok_or(Defect::StatusLine)?;
        let rest = &line[version_end + 1..];
        let status = rest.get(..3).and_then(|digits| number(digits, 699)).ok_or(Defect::StatusLine)?;
        // The space is there even if the phrase is empty; one that is missing at the end does no harm.
        let text = match rest.get(3) {
            None => line.len(),
            Some(b' ') => version_end + 5,
            Some(_) => return Err(Defect::StatusLine),
        };
        if status < 100 {
            return Err(Defect::StatusLine);
        }
        Ok(Self {
            status: status as u16,
            method: Method::Other,
            is_version_2,
            start: start as u16,
            method_end: start as u16,
            text_start: (start + text) as u16,
            text_end: end as u16,
        })
    }
}

/// `SIP/` digits `.` digits: whether it is 2.0, `None` if it is no SIP version at all.
fn version_of(version: &[u8]) -> Option<bool> {
    if version == b"SIP/2.0" {
        return Some(true);
    }
    let (protocol, number) = version.split_at_checked(4)?;
    let mut halves = number.splitn(2, |&byte| byte == b'.');
    let mut digits = || halves.next().filter(|half| !half.is_empty() && half.iter().all(u8::is_ascii_digit));
    let (major, minor) = (digits()?, digits()?);
    protocol.eq_ignore_ascii_case(b"SIP/").then_some((major, minor) == (b"2", b"0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<StartLine, Defect> {
        StartLine::parse(line.as_bytes(), 0, line.len(), false)
    }

    #[test]
    fn request_lines() {
        let line = parse("INVITE sip:a@b SIP/2.0").unwrap();
        assert_eq!((line.method, line.status, line.is_version_2), (Method::Invite, 0, true));
        assert_eq!((line.method_end, line.text_start, line.text_end), (6, 7, 14));
        assert!(parse("X sip:a sip/2.0").unwrap().is_version_2);
        for other in ["SIP/2.1", "SIP/02.0", "SIP/3.0", "SIP/22.10"] {
            assert!(!parse(&format!("INVITE sip:a@b {other}")).unwrap().is_version_2, "{other}");
        }
        for (bad, defect) in [
            ("INVITE  sip:a@b SIP/2.0", Defect::RequestLine),
            ("INVITE sip:a@b  SIP/2.0", Defect::RequestLine),
            ("INVITE sip:a@b SIP/2.0 ", Defect::RequestLine),
            ("INVITE sip:a@b\tx SIP/2.0", Defect::RequestLine),
            ("INVITE SIP/2.0", Defect::RequestLine),
            (" INVITE sip:a@b SIP/2.0", Defect::NotSip),
            ("INVITE sip:a@b HTTP/1.1", Defect::NotSip),
            ("INVITE sip:a@b SIP/2", Defect::NotSip),
            ("INVITE sip:a@b SIP/2.", Defect::NotSip),
            ("INV(TE sip:a@b SIP/2.0", Defect::NotSip),
            ("INVITE", Defect::NotSip),
            ("", Defect::NotSip),
        ] {
            assert_eq!(parse(bad), Err(defect), "{bad:?}");
        }
        let long = format!("INVITE sip:{} SIP/2.0", "a".repeat(URI_MAX));
        assert_eq!(parse(&long), Err(Defect::UriTooLong));
    }

    #[test]
    fn status_lines() {
        for (good, status, text) in [
            ("SIP/2.0 180 Ringing", 180, 12..19),
            ("SIP/2.0 699 ", 699, 12..12),
            ("SIP/2.0 100", 100, 11..11),
        ] {
            let line = parse(good).unwrap();
            assert_eq!((line.status, line.text_start..line.text_end), (status, text), "{good}");
        }
        assert!(!parse("SIP/3.0 200 OK").unwrap().is_version_2);
        for bad in [
            "SIP/2.0",
            "SIP/2.0 ",
            "SIP/2.0 99 x",
            "SIP/2.0 099 x",
            "SIP/2.0 700 x",
            "SIP/2.0 2000 x",
            "SIP/2.0  200 x",
            "SIP/x 200 OK",
        ] {
            assert_eq!(parse(bad), Err(Defect::StatusLine), "{bad:?}");
        }
    }
}
