//! What a certificate lets its holder claim: constraints on the claims of tokens (RFC 8226 §8, RFC 9118 §4).

use serde_json::{Map, Value};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// Most names and values that are read of one certificate.
const ENTRIES_MAX: usize = 1000;

/// Constraints of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Constraints {
    must_include: Vec<String>,
    /// Claims, and the values that each may have.
    permitted: Vec<(String, Vec<String>)>,
    must_exclude: Vec<String>,
}

impl Constraints {
    /// Reads the value of either extension; `None` if it is malformed. That of RFC 8226 has no claims to be excluded.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut it = Self::default();
        let mut count = 0;
        let mut content = sequence(der)?;
        while !content.is_empty() {
            // [0], [1] and [2], tagged explicitly.
            let (next, part) = Any::from_der(content).ok()?;
            content = next;
            if part.class() != Class::ContextSpecific {
                return None;
            }
            match part.tag().0 {
                0 => it.must_include = texts(part.data, Tag::Ia5String, &mut count)?,
                1 => {
                    let mut list = sequence(part.data)?;
                    while !list.is_empty() {
                        let (next, entry) = Any::from_der(list).ok()?;
                        list = next;
                        let (values, name) = Any::from_der(whole_sequence(&entry)?).ok()?;
                        let name = text(&name, Tag::Ia5String)?;
                        it.permitted.push((name, texts(values, Tag::Utf8String, &mut count)?));
                    }
                }
                2 => it.must_exclude = texts(part.data, Tag::Ia5String, &mut count)?,
                _ => return None,
            }
        }
        (it != Self::default()).then_some(it)
    }

    /// Whether claims keep to them; otherwise the claim that does not.
    pub(crate) fn admit(&self, claims: &Map<String, Value>) -> Result<(), String> {
        if let Some(name) = self.must_include.iter().find(|name| !claims.contains_key(*name)) {
            return Err(format!("a token has to claim \"{name}\""));
        }
        if let Some(name) = self.must_exclude.iter().find(|name| claims.contains_key(*name)) {
            return Err(format!("a token may not claim \"{name}\""));
        }
        for (name, values) in &self.permitted {
            if claims.get(name).is_some_and(|claim| !is_one_of(claim, values)) {
                return Err(format!("a token may not claim that for \"{name}\""));
            }
        }
        Ok(())
    }
}

/// A text has to be one of the values, of a list each; anything else is compared as it is written in JSON.
fn is_one_of(claim: &Value, values: &[String]) -> bool {
    match claim {
        Value::String(text) => values.contains(text),
        Value::Array(all) => !all.is_empty() && all.iter().all(|it| is_one_of(it, values)),
        other => values.contains(&other.to_string()),
    }
}

fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then(|| whole_sequence(&any))?
}

fn whole_sequence<'a>(any: &Any<'a>) -> Option<&'a [u8]> {
    (any.class() == Class::Universal && any.tag() == Tag::Sequence).then_some(any.data)
}

/// A sequence of at least one text.
fn texts(der: &[u8], kind: Tag, count: &mut usize) -> Option<Vec<String>> {
    let mut content = sequence(der)?;
    let mut all = Vec::new();
    while !content.is_empty() {
        let (next, any) = Any::from_der(content).ok()?;
        content = next;
        *count += 1;
        if *count > ENTRIES_MAX {
            return None;
        }
        all.push(text(&any, kind)?);
    }
    (!all.is_empty()).then_some(all)
}

fn text(any: &Any<'_>, kind: Tag) -> Option<String> {
    let is_text = any.class() == Class::Universal && any.tag() == kind;
    core::str::from_utf8(any.data).ok().filter(|_| is_text).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, content.len() as u8][..], content].concat()
    }

    fn names(list: &[&str]) -> Vec<u8> {
        tlv(0x30, &list.iter().flat_map(|name| tlv(0x16, name.as_bytes())).collect::<Vec<_>>())
    }

    fn values(claim: &str, list: &[&str]) -> Vec<u8> {
        let list = list.iter().flat_map(|value| tlv(0x0c, value.as_bytes())).collect::<Vec<_>>();
        tlv(0x30, &[tlv(0x16, claim.as_bytes()), tlv(0x30, &list)].concat())
    }

    fn read(parts: &[Vec<u8>]) -> Option<Constraints> {
        Constraints::read(&tlv(0x30, &parts.concat()))
    }

    fn admits(it: &Constraints, claims: &str) -> bool {
        it.admit(&serde_json::from_str(claims).unwrap()).is_ok()
    }

    /// RFC 8226 §8
    #[test]
    fn claims_have_to_be_there_and_to_be_permitted() {
        let it = read(&[
            tlv(0xa0, &names(&["attest", "orig"])),
            tlv(0xa1, &tlv(0x30, &[values("attest", &["B", "C"]), values("n", &["1"])].concat())),
        ])
        .unwrap();
        assert!(admits(&it, r#"{"attest":"B","orig":{"tn":"1"}}"#));
        assert!(!admits(&it, r#"{"attest":"A","orig":{"tn":"1"}}"#));
        assert!(!admits(&it, r#"{"attest":"B"}"#));
        assert!(admits(&it, r#"{"attest":"C","orig":1,"n":[1,"1"]}"#));
        assert!(!admits(&it, r#"{"attest":"C","orig":1,"n":[1,2]}"#));
        assert!(!admits(&it, r#"{"attest":"C","orig":1,"n":[]}"#));
    }

    /// RFC 9118 §4
    #[test]
    fn claims_may_be_excluded() {
        let it = read(&[tlv(0xa2, &names(&["rph"]))]).unwrap();
        assert!(admits(&it, r#"{"orig":1}"#) && !admits(&it, r#"{"rph":{"auth":[]}}"#));
    }

    #[test]
    fn what_is_malformed_is_not_read() {
        for parts in [
            vec![],
            vec![tlv(0xa0, &names(&[]))],
            vec![tlv(0x80, b"x")],
            vec![tlv(0xa3, &names(&["x"]))],
            vec![tlv(0xa0, &tlv(0x30, &tlv(0x0c, b"x")))],
            vec![tlv(0xa1, &tlv(0x30, &values("x", &[])))],
            vec![tlv(0xa1, &tlv(0x30, &tlv(0x30, &tlv(0x16, b"x"))))],
            vec![names(&["x"])],
        ] {
            assert_eq!(read(&parts), None, "{parts:02x?}");
        }
        assert_eq!(Constraints::read(&[0x30, 5]), None);
    }
}
