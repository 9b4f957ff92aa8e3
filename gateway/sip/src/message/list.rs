//! Comma-separated lists: one header field that stands for several (RFC 3261 §7.3.1).

use super::ELEMENTS_MAX;
use super::params::quoted_end;
use super::scan::trim;

/// The elements of a list, trimmed, in order; commas in quoted strings and between angle brackets do not
/// separate. Empty elements are passed over; at most [`ELEMENTS_MAX`] are given.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    /// The elements of this field value.
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: value, left: ELEMENTS_MAX }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() && self.left > 0 {
            let end = comma(self.rest).unwrap_or(self.rest.len());
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                self.left -= 1;
                return Some(element);
            }
        }
        None
    }
}

/// Where the first separating comma stands.
pub(crate) fn comma(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr3(b',', b'"', b'<', bytes.get(at..)?)?;
        match bytes[at] {
            b',' => return Some(at),
            b'"' => at += quoted_end(&bytes[at..])?,
            _ => at += memchr::memchr(b'>', &bytes[at..])? + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        Elements::new(text.as_bytes()).map(|element| core::str::from_utf8(element).unwrap()).collect()
    }

    #[test]
    fn only_separating_commas_separate() {
        assert_eq!(split("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(
            split("\"A, \\\"B\" <sip:a,b@c>;x=\",\" , <sip:d>"),
            ["\"A, \\\"B\" <sip:a,b@c>;x=\",\"", "<sip:d>"]
        );
        assert_eq!(split(" , ,a,"), ["a"]);
        assert_eq!(split(""), [""; 0]);
        assert_eq!(split("\"open, <a>"), ["\"open, <a>"]);
        assert_eq!(split("<open, b"), ["<open, b"]);
    }
}
