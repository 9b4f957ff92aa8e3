//! The header fields of digest authentication: WWW-/Proxy-Authenticate and (Proxy-)Authorization, read and written
//! (RFC 7616 §3.3 and §3.4, RFC 3261 §20.7, §20.27, §20.28 and §20.44).

use super::Algorithm;
use crate::message::{Elements, is_token, trim, unfold};
use std::fmt::Write as _;

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Where the password holds.
    pub realm: Vec<u8>,
    /// The server's nonce.
    pub nonce: Vec<u8>,
    /// To be sent back as it is.
    pub opaque: Option<Vec<u8>>,
    /// The nonce was too old, the password right.
    pub stale: bool,
    /// The algorithm; MD5 if none was named, `None` if one that is not known.
    pub algorithm: Option<Algorithm>,
    /// Whether `qop` was named at all; without it the response is that of RFC 2069.
    pub has_qop: bool,
    /// Whether `qop` names `auth`.
    pub qop_auth: bool,
}

/// What a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who.
    pub username: Vec<u8>,
    /// Where the password holds.
    pub realm: Vec<u8>,
    /// The server's nonce.
    pub nonce: Vec<u8>,
    /// The `digest-uri`.
    pub uri: Vec<u8>,
    /// The response, hexadecimal digits.
    pub response: Vec<u8>,
    /// The algorithm; MD5 if none was named, `None` if one that is not known.
    pub algorithm: Option<Algorithm>,
    /// As the challenge gave it.
    pub opaque: Option<Vec<u8>>,
    /// The quality of protection, if named: `auth` or another.
    pub qop: Option<Vec<u8>>,
    /// The client's nonce; empty if there is none.
    pub cnonce: Vec<u8>,
    /// The nonce count as it stands there; empty if there is none.
    pub nc: Vec<u8>,
}

/// The parameters behind `Digest`, by name; the first of each name counts.
struct Parameters<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Parameters<'a> {
    /// `None` for another scheme, or if a parameter is no `name=value`.
    fn read(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let end = value.iter().position(u8::is_ascii_whitespace)?;
        let (scheme, rest) = value.split_at(end);
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return None;
        }
        let mut found = Vec::new();
        for element in Elements::new(rest) {
            let equals = element.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (trim(&element[..equals]), trim(&element[equals + 1..]));
            if !is_token(name) {
                return None;
            }
            found.push((name, value));
        }
        Some(Self(found))
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| unquoted(value))
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.get("algorithm").map_or(Some(Algorithm::MD5), |name| Algorithm::parse(&name))
    }
}

impl Challenge {
    /// Reads the value of one field; `None` for another scheme than Digest, or without realm or nonce.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = unfold(value);
        let it = Parameters::read(&value)?;
        let qop = it.get("qop");
        Some(Self {
            realm: it.get("realm")?,
            nonce: it.get("nonce")?,
            opaque: it.get("opaque"),
            stale: it.get("stale").is_some_and(|word| word.eq_ignore_ascii_case(b"true")),
            algorithm: it.algorithm(),
            has_qop: qop.is_some(),
            qop_auth: qop.is_some_and(|list| {
                list.split(|byte| *byte == b',').any(|word| trim(word).eq_ignore_ascii_case(b"auth"))
            }),
        })
    }

    /// The value of a field with `qop="auth"` (or without, if it has none).
    pub fn write(&self) -> String {
        let mut out = String::from("Digest ");
        quoted(&mut out, "realm", &self.realm);
        out.push_str(", ");
        quoted(&mut out, "nonce", &self.nonce);
        if let Some(opaque) = &self.opaque {
            out.push_str(", ");
            quoted(&mut out, "opaque", opaque);
        }
        if self.stale {
            out.push_str(", stale=true");
        }
        if let Some(algorithm) = self.algorithm {
            // Writing to a String cannot fail.
            let _ = write!(out, ", algorithm={algorithm}");
        }
        if self.qop_auth {
            out.push_str(", qop=\"auth\"");
        }
        out
    }
}

impl Authorization {
    /// Reads the value of one field; `None` for another scheme than Digest, or without what every response has.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = unfold(value);
        let it = Parameters::read(&value)?;
        Some(Self {
            username: it.get("username")?,
            realm: it.get("realm")?,
            nonce: it.get("nonce")?,
            uri: it.get("uri")?,
            response: it.get("response")?,
            algorithm: it.algorithm(),
            opaque: it.get("opaque"),
            qop: it.get("qop"),
            cnonce: it.get("cnonce").unwrap_or_default(),
            nc: it.get("nc").unwrap_or_default(),
        })
    }

    /// The value of a field: `qop`, `nc` and `algorithm` without quotes (RFC 7616 §3.4).
    pub fn write(&self) -> String {
        let mut out = String::from("Digest ");
        let texts = [
            ("username", &self.username),
            ("realm", &self.realm),
            ("nonce", &self.nonce),
            ("uri", &self.uri),
            ("response", &self.response),
        ];
        for (index, (name, value)) in texts.into_iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            quoted(&mut out, name, value);
        }
        if let Some(algorithm) = self.algorithm {
            // Writing to a String cannot fail.
            let _ = write!(out, ", algorithm={algorithm}");
        }
        if !self.cnonce.is_empty() {
            out.push_str(", ");
            quoted(&mut out, "cnonce", &self.cnonce);
        }
        if let Some(opaque) = &self.opaque {
            out.push_str(", ");
            quoted(&mut out, "opaque", opaque);
        }
        if self.qop.is_some() {
            out.push_str(", qop=auth, nc=");
            // It stands without quotes: nothing but digits may.
            out.extend(self.nc.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|byte| char::from(*byte)));
        }
        out
    }
}

/// Appends `name="value"`; what cannot stand in a header field is left out.
fn quoted(out: &mut String, name: &str, value: &[u8]) {
    out.push_str(name);
    out.push_str("=\"");
    for character in String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

/// A value without its quotes and escapes.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let [b'"', inside @ .., b'"'] = value else { return value.to_vec() };
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        let taken = if *byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
        out.push(*taken);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §20.44 and §20.7, in their spelling.
    #[test]
    fn the_examples_are_read() {
        let challenge = Challenge::parse(
            b"Digest realm=\"atlanta.com\",\r\n domain=\"sip:boxesbybob.com\", qop=\"auth\", \
              nonce=\"f84f1cec41e6cbe5aea9c8e88d359\", opaque=\"\", stale=FALSE, algorithm=MD5",
        )
        .unwrap();
        assert_eq!(challenge.realm, b"atlanta.com");
        assert_eq!(challenge.algorithm, Some(Algorithm::MD5));
        assert!(challenge.qop_auth && challenge.has_qop && !challenge.stale);
        assert_eq!(challenge.opaque.as_deref(), Some(&b""[..]));
        let shown = Authorization::parse(
            b"Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
              uri=\"sip:bob@biloxi.com\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
              response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        )
        .unwrap();
        assert_eq!((shown.username.as_slice(), shown.nc.as_slice()), (&b"bob"[..], &b"00000001"[..]));
        assert_eq!(shown.qop.as_deref(), Some(&b"auth"[..]));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let challenge = Challenge {
            realm: b"a \"b\" \\c".to_vec(),
            nonce: b"n".to_vec(),
            opaque: None,
            stale: true,
            algorithm: Some(Algorithm::SHA_256),
            has_qop: true,
            qop_auth: true,
        };
        assert_eq!(Challenge::parse(challenge.write().as_bytes()), Some(challenge));
        let shown = Authorization {
            username: b"u,\"".to_vec(),
            realm: b"r".to_vec(),
            nonce: b"n".to_vec(),
            uri: b"sip:a@b".to_vec(),
            response: b"00".to_vec(),
            algorithm: Some(Algorithm::SHA_512_256),
            opaque: Some(b"o".to_vec()),
            qop: Some(b"auth".to_vec()),
            cnonce: b"c".to_vec(),
            nc: b"00000001".to_vec(),
        };
        assert_eq!(Authorization::parse(shown.write().as_bytes()), Some(shown));
    }

    /// Found by fuzzing: a count that is none ended the parameter.
    #[test]
    fn a_count_stays_within_its_parameter() {
        let text = "Digest username=u, realm=r, nonce=n, uri=\"sip:a\", response=0, qop=auth, nc=\"1\t, x\"";
        let written = Authorization::parse(text.as_bytes()).unwrap().write();
        assert!(written.ends_with(", qop=auth, nc=1"), "{written}");
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for text in [
            "",
            "Digest",
            "Basic YTpi",
            "Digest realm=\"r\"",
            "Digest realm",
            "Digest realm=\"r\", nonce",
            "Digest ,,,",
            "Bearer authz_server=\"x\"",
        ] {
            assert_eq!(Challenge::parse(text.as_bytes()), None, "{text}");
            assert_eq!(Authorization::parse(text.as_bytes()), None, "{text}");
        }
        let unknown = Challenge::parse(b"Digest realm=r, nonce=n, algorithm=AKAv1-MD5").unwrap();
        assert_eq!((unknown.algorithm, unknown.has_qop), (None, false));
        let int_only = Challenge::parse(b"digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"").unwrap();
        assert!(int_only.has_qop && !int_only.qop_auth);
    }

    #[test]
    fn nothing_written_can_break_its_line() {
        let mut out = String::new();
        quoted(&mut out, "realm", b"a\r\nEvil: yes");
        assert_eq!(out, "realm=\"aEvil: yes\"");
    }
}
