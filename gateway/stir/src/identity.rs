//! The Identity header field: a token, where its certificate is, and what kind of token it is (RFC 8224 §4).

use crate::failure::Failure;

/// Longest field that is read, in bytes: a SHAKEN token has about 500.
const LENGTH_MAX: usize = 8192;

/// An Identity field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The token: header, claims and signature parted by dots; the first two are empty in the compact form.
    pub token: &'a str,
    /// Where the certificate is.
    pub info: &'a str,
    /// The algorithm, if it is named here.
    pub alg: Option<&'a str>,
    /// The PASSporT's type, if it is named here.
    pub ppt: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// Reads a field's value, unfolded.
    ///
    /// # Errors
    /// A failure of the class [`Invalid`](crate::Class::Invalid): what is malformed.
    pub fn parse(value: &'a [u8]) -> Result<Self, Failure> {
        if value.len() > LENGTH_MAX {
            return Err(Failure::invalid("the Identity field is too long"));
        }
        let value =
            core::str::from_utf8(value).map_err(|_| Failure::invalid("the Identity field is no text"))?;
        let (token, mut rest) = value.split_once(';').unwrap_or((value, ""));
        let token = token.trim();
        let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/=".contains(&byte);
        if token.is_empty() || !token.bytes().all(of_token) {
            return Err(Failure::invalid("the Identity field holds no token"));
        }
        let (mut info, mut alg, mut ppt) = (None, None, None);
        while !rest.trim().is_empty() {
            let (name, parameter, next) = parameter(rest)?;
            let place = match name.to_ascii_lowercase().as_str() {
                "info" => &mut info,
                "alg" => &mut alg,
                "ppt" => &mut ppt,
                _ => &mut None,
            };
            if place.replace(parameter).is_some() {
                return Err(Failure::invalid(format!("the Identity field has two parameters {name}")));
            }
            rest = next;
        }
        let info = info.ok_or_else(|| Failure::invalid("the Identity field has no info parameter"))?;
        let info = info
            .strip_prefix('<')
            .and_then(|info| info.strip_suffix('>'))
            .filter(|info| !info.is_empty() && info.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| Failure::invalid("the info parameter is no URI in angle brackets"))?;
        Ok(Self { token, info, alg: alg.map(unquoted), ppt: ppt.map(unquoted) })
    }

    /// The field's value.
    pub fn write(&self) -> String {
        let mut out = format!("{};info=<{}>", self.token, self.info);
        for (name, value) in [("alg", self.alg), ("ppt", self.ppt)] {
            if let Some(value) = value {
                out.push_str(&format!(";{name}={value}"));
            }
        }
        out
    }

    /// Whether verifying it is of use: of SHAKEN's type or of none. Others say something besides who calls, and are passed
    /// over by who does not know them (RFC 8224 §6.2, RFC 8225 §8.1).
    pub fn is_supported(&self) -> bool {
        self.ppt.is_none_or(|ppt| ppt == crate::SHAKEN)
    }
}

/// The first parameter of what follows the token, and what follows it. A URI or a quoted string may hold a semicolon.
fn parameter(rest: &str) -> Result<(&str, &str, &str), Failure> {
    let (name, value) = rest
        .split_once('=')
        .map(|(name, value)| (name.trim(), value.trim_start()))
        .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
        .ok_or_else(|| Failure::invalid("the Identity field's parameters cannot be read"))?;
    let closing = match value.bytes().next() {
        Some(b'<') => Some('>'),
        Some(b'"') => Some('"'),
        _ => None,
    };
    let unclosed = || Failure::invalid(format!("the parameter {name} has no end"));
    let end = match closing {
        Some(closing) => value[1..].find(closing).ok_or_else(unclosed)? + 2,
        None => value.find(';').unwrap_or(value.len()),
    };
    let (value, after) = value.split_at(end);
    let after = after.trim_start();
    let next = match after.strip_prefix(';') {
        Some(next) => next,
        None if after.is_empty() => "",
        None => return Err(Failure::invalid(format!("something stands behind the parameter {name}"))),
    };
    let value = value.trim_end();
    if closing.is_none() && (value.is_empty() || !value.bytes().all(is_token)) {
        return Err(Failure::invalid(format!("the parameter {name} has no value")));
    }
    Ok((name, value, next))
}

/// RFC 3261 §25.1, token
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// RFC 8224 §4.1 has tokens; RFC 8588 §7 shows quotes.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8224 §4.1
    #[test]
    fn fields_are_read_and_written() {
        let text = "aa.bb.cc;info=<https://a.example/x;y=1>;alg=ES256;ppt=shaken";
        let identity = Identity::parse(text.as_bytes()).unwrap();
        assert_eq!((identity.token, identity.info), ("aa.bb.cc", "https://a.example/x;y=1"));
        assert_eq!((identity.alg, identity.ppt), (Some("ES256"), Some("shaken")));
        assert_eq!(identity.write(), text);
        let loose = b"..cc ; info = <https://a.example/> ; ppt=\"shaken\" ;x=y";
        let loose = Identity::parse(loose).unwrap();
        assert_eq!((loose.token, loose.ppt, loose.info), ("..cc", Some("shaken"), "https://a.example/"));
        assert!(loose.is_supported());
        assert!(!Identity::parse(b"a.b.c;info=<https://a/>;ppt=div").unwrap().is_supported());
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let long = format!("{};info=<https://a/>", "a".repeat(9000));
        for text in [
            "",
            ";info=<https://a/>",
            "a.b.c",
            "a b;info=<https://a/>",
            "a.b.c;info=https",
            "a.b.c;info=<https://a/",
            "a.b.c;info=<>",
            "a.b.c;info=<https://a b/>",
            "a.b.c;info=<https://a/>x",
            "a.b.c;info=<https://a/>;ppt",
            "a.b.c;info=<https://a/>;ppt=",
            "a.b.c;info=<https://a/>;info=<https://b/>",
            "a.b.c;info=<https://a/>;ppt=\"shaken",
            "\u{e9}.b.c;info=<https://a/>",
            &long,
        ] {
            let failure = Identity::parse(text.as_bytes()).unwrap_err();
            assert_eq!(failure.class.status(), 438, "{text}: {failure}");
        }
        assert!(Identity::parse(b"a.b.\xff;info=<https://a/>").is_err());
    }
}
