//! Parameters: `;name=value` after an address, a Via, a URI, a media type.

use super::scan::{is_token, is_token_byte, is_white, trim};
use super::{PARAMS_MAX, host::Host};

/// Parameters as received, from their first semicolon to the end of the field or URI; parsed when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Parameters in `bytes`: nothing, or a semicolon and what follows it.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes, from the first semicolon.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Each as name and value, in order, at most [`PARAMS_MAX`]; a quoted value keeps its quotes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        Pieces { rest: self.0 }.take(PARAMS_MAX).map(split)
    }

    /// The first of this name (case aside): `Some(None)` if it stands without a value.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The value of the first of this name, `None` also if it has none.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name).flatten()
    }

    /// Whether one of this name stands here.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether each is a `generic-param`: a token, perhaps with a token, host or quoted string as value; and
    /// there are no more than [`PARAMS_MAX`].
    pub fn is_well_formed(&self) -> bool {
        if !matches!(trim(self.0), [] | [b';', ..]) {
            return false;
        }
        let mut count = 0;
        for piece in (Pieces { rest: self.0 }) {
            count += 1;
            let (name, value) = split(piece);
            let value_holds = match value {
                None => true,
                Some(value) => is_generic_value(value),
            };
            if !is_token(name) || !value_holds || count > PARAMS_MAX {
                return false;
            }
        }
        true
    }
}

/// `gen-value`, and also an IPv6 address without brackets, which `received` of Via carries (RFC 5118 §4.5).
fn is_generic_value(value: &[u8]) -> bool {
    match value {
        [b'"', ..] => quoted_end(value) == Some(value.len()),
        _ => {
            is_token(value)
                || Host::parse(value).is_some()
                || (memchr::memchr(b':', value).is_some()
                    && value.iter().all(|&byte| is_token_byte(byte) || matches!(byte, b':' | b'[' | b']')))
        }
    }
}

fn split(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', piece) {
        None => (trim(piece), None),
        Some(at) => (trim(&piece[..at]), Some(trim(&piece[at + 1..]))),
    }
}

/// What stands between semicolons, quoted strings respected.
struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [first, rest @ ..] = self.rest
            && is_white(*first)
        {
            self.rest = rest;
        }
        let [_, rest @ ..] = self.rest else { return None };
        let end = unquoted(rest, b';').unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        self.rest = after;
        Some(piece)
    }
}

/// Where `wanted` stands outside of quoted strings.
pub(crate) fn unquoted(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(wanted, b'"', bytes.get(at..)?)?;
        if bytes[at] == wanted {
            return Some(at);
        }
        at += quoted_end(&bytes[at..])?;
    }
}

/// Where the quoted string that `bytes` begin with is over: behind its closing quote.
pub(crate) fn quoted_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(&str, Option<&str>)> {
        let read = |bytes| core::str::from_utf8(bytes).unwrap();
        Params::new(text.as_bytes()).iter().map(|(name, value)| (read(name), value.map(read))).collect()
    }

    #[test]
    fn quotes_hide_semicolons_and_whitespace_is_free() {
        assert_eq!(all(""), []);
        assert_eq!(all(";a;b=1"), [("a", None), ("b", Some("1"))]);
        assert_eq!(all(" ; a = \"x;y\\\";=\" ;b"), [("a", Some("\"x;y\\\";=\"")), ("b", None)]);
        assert_eq!(all(";tag\r\n = 98"), [("tag", Some("98"))]);
        let params = Params::new(b";Tag=1;lr;rport=");
        assert_eq!(params.value("tag"), Some(&b"1"[..]));
        assert_eq!(params.get("LR"), Some(None));
        assert_eq!(params.value("rport"), Some(&b""[..]));
        assert!(!params.has("la"));
    }

    #[test]
    fn form_is_that_of_generic_param() {
        for good in
            ["", ";a", ";a=b;c", "; a = \"q\" ", ";received=2001:db8::9:255", ";received=[::1]", ";maddr=a.b"]
        {
            assert!(Params::new(good.as_bytes()).is_well_formed(), "{good}");
        }
        for bad in [";", ";;a", ";a=", ";a=b c", "a=b", ";a=\"open", ";a=\"q\"x", ";=b", ";a b", ";a;"] {
            assert!(!Params::new(bad.as_bytes()).is_well_formed(), "{bad}");
        }
        let many = ";a".repeat(PARAMS_MAX);
        assert!(Params::new(many.as_bytes()).is_well_formed());
        assert!(!Params::new(format!("{many};a").as_bytes()).is_well_formed());
    }

    #[test]
    fn quoted_strings_end_where_no_backslash_stands() {
        assert_eq!(quoted_end(b"\"\""), Some(2));
        assert_eq!(quoted_end(b"\"a\\\"b\" c"), Some(6));
        assert_eq!(quoted_end(b"\"a\\"), None);
        assert_eq!(quoted_end(b"\"a\\\\\"x"), Some(5));
    }
}
