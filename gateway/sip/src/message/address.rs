//! `name-addr` and `addr-spec` with their parameters: From, To, Contact, Route and their like (RFC 3261 §20.10).

use super::params::quoted_end;
use super::scan::{is_token_byte, is_white, trim};
use super::{Params, Uri};
use std::borrow::Cow;

/// An address as a header field gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as received, with its quotes if it has any; empty if there is none.
    pub display: &'a [u8],
    /// The URI, without brackets.
    pub uri: &'a [u8],
    /// The field's parameters. Without brackets around the URI every parameter is the field's
    /// (RFC 3261 §20.10).
    pub params: Params<'a>,
    /// Whether the URI stood in angle brackets.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Parses one address; `None` if it is none: unbalanced quotes, text that is neither token nor quoted
    /// before the bracket, something other than parameters behind it, whitespace in the URI.
    /// The URI itself is not looked into (see [`Uri::parse`]).
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (display, rest) = match value {
            [b'"', ..] => {
                let end = quoted_end(value)?;
                (&value[..end], trim(&value[end..]))
            }
            _ => match memchr::memchr2(b'<', b'"', value) {
                Some(at) if value[at] == b'<' => {
                    let display = trim(&value[..at]);
                    let tokens = || display.split(|&byte| is_white(byte)).filter(|word| !word.is_empty());
                    if !tokens().all(is_name_word) {
                        return Self::bare(value);
                    }
                    (display, &value[at..])
                }
                _ => return Self::bare(value),
            },
        };
        let inner = rest.strip_prefix(b"<")?;
        let end = memchr::memchr(b'>', inner)?;
        let (uri, after) = (&inner[..end], trim(&inner[end + 1..]));
        if uri.is_empty() || !matches!(after, [] | [b';', ..]) || has_white(uri) {
            return None;
        }
        Some(Self { display, uri, params: Params::new(after), bracketed: true })
    }

    /// `addr-spec *( SEMI generic-param )`.
    fn bare(value: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let uri = trim(&value[..end]);
        if uri.is_empty() || has_white(uri) || memchr::memchr3(b'<', b'>', b'"', uri).is_some() {
            return None;
        }
        // A comma or question mark would have needed brackets (RFC 3261 §20.10).
        if memchr::memchr2(b',', b'?', uri).is_some() {
            return None;
        }
        Some(Self { display: b"", uri, params: Params::new(&value[end..]), bracketed: false })
    }

    /// The tag parameter, `None` if missing or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// The display name as it reads: quotes and escapes taken away.
    pub fn display_text(&self) -> Cow<'a, [u8]> {
        match self.display {
            [b'"', inner @ .., b'"'] => {
                if memchr::memchr(b'\\', inner).is_none() {
                    return Cow::Borrowed(inner);
                }
                let mut text = Vec::with_capacity(inner.len());
                let mut bytes = inner.iter();
                while let Some(&byte) = bytes.next() {
                    match byte {
                        b'\\' => text.extend(bytes.next()),
                        _ => text.push(byte),
                    }
                }
                Cow::Owned(text)
            }
            tokens => Cow::Borrowed(tokens),
        }
    }

    /// The URI parsed, `None` if it is malformed.
    pub fn parsed_uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }
}

/// A token; characters beyond ASCII are let through, which the grammar wants in quotes but many send without.
fn is_name_word(word: &[u8]) -> bool {
    word.iter().all(|&byte| byte >= 0x80 || is_token_byte(byte))
}

fn has_white(bytes: &[u8]) -> bool {
    bytes.iter().any(|&byte| is_white(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<NameAddr<'_>> {
        NameAddr::parse(text.as_bytes())
    }

    #[test]
    fn the_forms_of_the_rfc() {
        let quoted = parse("\"A; <b>, \\\"c\\\\\" <sip:u;x=y@h;lr>;tag=1").unwrap();
        assert_eq!(quoted.display_text().as_ref(), b"A; <b>, \"c\\");
        assert_eq!(quoted.uri, b"sip:u;x=y@h;lr");
        assert_eq!(quoted.tag(), Some(&b"1"[..]));
        let tokens = parse("caller one<sip:c@h>").unwrap();
        assert_eq!((tokens.display, tokens.uri), (&b"caller one"[..], &b"sip:c@h"[..]));
        assert_eq!(parse("M\u{fc}ller <sip:c@h>").unwrap().display, "M\u{fc}ller".as_bytes());
        let bare = parse("sip:u@h;tag=7;lr").unwrap();
        assert_eq!(bare.uri, b"sip:u@h");
        assert_eq!(bare.tag(), Some(&b"7"[..]));
        assert!(!bare.bracketed);
        let folded = parse("\"x\"\r\n <tel:+1>\r\n ;\r\n tag = 9").unwrap();
        assert_eq!((folded.uri, folded.tag()), (&b"tel:+1"[..], Some(&b"9"[..])));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "\"open <sip:a@b>",
            "Bell, A <sip:a@b>",
            "<sip:a@b",
            "\"x\" sip:a@b",
            "< sip:a@b>",
            "<sip:a@b >",
            "<>",
            "<sip:a@b> x",
            "sip:a@b?x=y",
            "sip:a,b@c",
            "\"x\"<sip:a@b>tag=1",
            "a\"b\" <sip:c@d>",
            ";tag=1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
