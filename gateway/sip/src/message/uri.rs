//! URIs (RFC 3261 §19.1): SIP and SIPS taken apart, others kept whole.

use super::scan::{HEADER, PARAMETER, PASSWORD, USER, is_hex, uri_run};
use super::{HostPort, Params, URI_MAX};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel` (RFC 3966)
    Tel,
    /// Any other: a request for it is answered 416 (RFC 3261 §8.2.2.1).
    Other,
}

/// A URI taken apart without copying. Of schemes other than SIP and SIPS only `scheme`, `user` (for `tel`:
/// the number) and `params` are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI.
    pub bytes: &'a [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// The user part as received, escapes in it, without password.
    pub user: Option<&'a [u8]>,
    /// The password, which nobody should send.
    pub password: Option<&'a [u8]>,
    /// Host and port; of SIP and SIPS always there.
    pub host_port: Option<HostPort<'a>>,
    /// The URI's parameters.
    pub params: Params<'a>,
    /// What stands behind the question mark.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// Parses a URI; `None` if it is malformed or longer than [`URI_MAX`]. An unknown scheme is not malformed.
    /// A `#` in the user part is let through, which the grammar wants escaped but carriers put between prefix and number.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > URI_MAX {
            return None;
        }
        let colon = memchr::memchr(b':', bytes)?;
        let (scheme, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let is_sip = scheme.eq_ignore_ascii_case(b"sip");
        if is_sip || scheme.eq_ignore_ascii_case(b"sips") {
            return Self::sip(bytes, if is_sip { Scheme::Sip } else { Scheme::Sips }, rest);
        }
        let scheme_holds = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let graphic = |&byte: &u8| byte > b' ' && byte != 0x7f && !matches!(byte, b'<' | b'>' | b'"');
        if !scheme_holds || rest.is_empty() || !rest.iter().all(graphic) {
            return None;
        }
        let mut uri = Self {
            bytes,
            scheme: Scheme::Other,
            user: None,
            password: None,
            host_port: None,
            params: Params::default(),
            headers: None,
        };
        if scheme.eq_ignore_ascii_case(b"tel") {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            let (number, params) = rest.split_at(end);
            if !is_telephone_number(number) {
                return None;
            }
            uri.scheme = Scheme::Tel;
            uri.user = Some(number);
            uri.params = Params::new(params);
        }
        Some(uri)
    }

    fn sip(bytes: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Option<Self> {
        let (user, password, rest) = user_info(rest);
        let end = rest.iter().position(|&byte| matches!(byte, b';' | b'?')).unwrap_or(rest.len());
        let (host_port, rest) = rest.split_at(end);
        let end = parameters(rest)?;
        let (params, rest) = rest.split_at(end);
        let headers = match rest {
            [] => None,
            [b'?', headers @ ..] if !headers.is_empty() && uri_run(headers, 0, HEADER) == headers.len() => {
                Some(headers)
            }
            _ => return None,
        };
        // Unlike in Via, no whitespace may stand anywhere in it.
        if host_port.iter().any(|&byte| byte <= b' ') {
            return None;
        }
        Some(Self {
            bytes,
            scheme,
            user,
            password,
            host_port: Some(HostPort::parse(host_port)?),
            params: Params::new(params),
            headers,
        })
    }

    /// Whether it is a SIP or SIPS URI.
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Whether the `lr` parameter marks a loose router (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params.has("lr")
    }

    /// The user part with its escapes resolved, onto `out`.
    pub fn user_unescaped(&self, out: &mut Vec<u8>) {
        let mut rest = self.user.unwrap_or_default();
        while let [first, after @ ..] = rest {
            if let [b'%', high, low, after @ ..] = rest
                && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            {
                out.push(high << 4 | low);
                rest = after;
            } else {
                out.push(*first);
                rest = after;
            }
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// User, password, and what follows the at sign. Without one all of `rest` follows; an at sign that is no end of user
/// information is then found where none may stand.
#[allow(clippy::type_complexity)]
fn user_info(rest: &[u8]) -> (Option<&[u8]>, Option<&[u8]>, &[u8]) {
    let user = uri_run(rest, 0, USER);
    match rest.get(user) {
        Some(b'@') if user > 0 => (Some(&rest[..user]), None, &rest[user + 1..]),
        Some(b':') if user > 0 => {
            let end = user + 1 + uri_run(rest, user + 1, PASSWORD);
            match rest.get(end) {
                Some(b'@') => (Some(&rest[..user]), Some(&rest[user + 1..end]), &rest[end + 1..]),
                _ => (None, None, rest),
            }
        }
        _ => (None, None, rest),
    }
}

/// `uri-parameters`: each a name, perhaps with a value, both of `paramchar`. How many bytes they take.
fn parameters(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    while rest.get(at) == Some(&b';') {
        let name = uri_run(rest, at + 1, PARAMETER);
        at += 1 + name;
        if name == 0 {
            return None;
        }
        if rest.get(at) == Some(&b'=') {
            let value = uri_run(rest, at + 1, PARAMETER);
            at += 1 + value;
            if value == 0 {
                return None;
            }
        }
    }
    Some(at)
}

/// Digits with visual separators, perhaps a plus in front; local numbers also have `*`, `#` and hex digits.
fn is_telephone_number(number: &[u8]) -> bool {
    let (global, digits) = match number {
        [b'+', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let is_digit =
        |byte: u8| byte.is_ascii_digit() || (!global && (is_hex(byte) || matches!(byte, b'*' | b'#')));
    digits.iter().any(|&byte| is_digit(byte))
        && digits.iter().all(|&byte| is_digit(byte) || matches!(byte, b'-' | b'.' | b'(' | b')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Uri<'_>> {
        Uri::parse(text.as_bytes())
    }

    #[test]
    fn a_sip_uri_is_taken_apart() {
        let uri =
            parse("SIPS:alice%40x;day=tue:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=a%20b&x=").unwrap();
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"alice%40x;day=tue"[..]));
        assert_eq!(uri.password, Some(&b"pw"[..]));
        assert_eq!(uri.host_port.unwrap().port, Some(5061));
        assert_eq!(uri.params.value("transport"), Some(&b"tcp"[..]));
        assert!(uri.is_loose_router() && uri.is_sip());
        assert_eq!(uri.headers, Some(&b"Subject=a%20b&x="[..]));
        let mut user = Vec::new();
        uri.user_unescaped(&mut user);
        assert_eq!(user, b"alice@x;day=tue");
        assert_eq!(parse("sip:1234#4930@h").unwrap().user, Some(&b"1234#4930"[..]));
        let host_only = parse("sip:example.com").unwrap();
        assert_eq!((host_only.user, host_only.headers), (None, None));
    }

    #[test]
    fn other_schemes_are_kept() {
        let tel = parse("tel:+1-201-555-0123;phone-context=x").unwrap();
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
        assert!(parse("tel:7042;phone-context=example.com").is_some());
        assert_eq!(parse("nobodyKnowsThisScheme:totallyopaquecontent").unwrap().scheme, Scheme::Other);
        assert_eq!(parse("soap.beep://192.0.2.103:3002").unwrap().scheme, Scheme::Other);
        assert_eq!(parse("http://example.com").unwrap().scheme, Scheme::Other);
    }

    #[test]
    fn malformed_ones_are_refused() {
        for text in [
            "",
            "sip:",
            "sip",
            ":a@b",
            "1x:y",
            "sip:@h",
            "sip:a@",
            "sip:a@b@c",
            "sip:a b@c",
            "sip:a%4@c",
            "sip:a%zz@c",
            "sip:2001:db8::10",
            "sip:a@h;",
            "sip:a@h;;x",
            "sip:a@h;x=",
            "sip:a@h?",
            "sip:a@h:port",
            "sip:a@h :5",
            "sip:a\"b@c",
            "sip:a<b@c",
            "tel:",
            "tel:+",
            "tel:abcxyz",
            "x: y",
            "x:",
            "sip:a@h;x=<",
            "sip:a:p;w@h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let long = format!("sip:{}@h", "a".repeat(URI_MAX));
        assert_eq!(parse(&long), None);
    }
}
