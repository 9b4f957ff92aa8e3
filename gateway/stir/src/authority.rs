//! For which numbers, or which provider, a certificate stands: its TN authorisation list (RFC 8226 §9).

use crate::number;
use x509_parser::asn1_rs::{Any, Class, FromDer, Sequence, Tag};

/// Most entries that are read of a list.
const ENTRIES_MAX: usize = 10_000;

/// A TN authorisation list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Codes of service providers: whose numbers those are is known to the authorities alone.
    pub providers: Vec<String>,
    /// First numbers and how many follow them, that first one included.
    pub ranges: Vec<(String, u64)>,
}

impl Authority {
    /// Reads the extension's value; `None` if it is malformed.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, list) = Sequence::from_der(der).ok()?;
        let mut authority = Self::default();
        let mut content = list.content.as_ref();
        while !content.is_empty() {
            // TNEntry ::= CHOICE { spc [0], range [1], one [2] }, tagged explicitly.
            let (next, entry) = Any::from_der(content).ok()?;
            content = next;
            if entry.class() != Class::ContextSpecific || authority.len() == ENTRIES_MAX {
                return None;
            }
            match entry.tag().0 {
                0 => authority.providers.push(text(whole(entry.data)?)?.to_owned()),
                1 => authority.ranges.push(range(entry.data)?),
                2 => authority.ranges.push((telephone_number(whole(entry.data)?)?, 1)),
                _ => return None,
            }
        }
        (rest.is_empty() && authority.len() > 0).then_some(authority)
    }

    fn len(&self) -> usize {
        self.providers.len() + self.ranges.len()
    }

    /// Whether it may speak for a number: in one of its ranges, or, where it names providers, in none that could be known.
    pub fn covers(&self, number: &str) -> bool {
        !self.providers.is_empty() || self.ranges.iter().any(|(first, count)| holds(first, *count, number))
    }
}

/// Whether a number is among the `count` numbers from `first` on: of the same length, and not far above it.
fn holds(first: &str, count: u64, number: &str) -> bool {
    if first == number {
        return true;
    }
    match (first.parse::<u64>(), number.parse::<u64>()) {
        (Ok(low), Ok(value)) => first.len() == number.len() && value >= low && value - low < count,
        _ => false,
    }
}

/// The one element of what is tagged explicitly.
fn whole(der: &[u8]) -> Option<Any<'_>> {
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then_some(any)
}

fn text<'a>(any: Any<'a>) -> Option<&'a str> {
    let is_text = any.class() == Class::Universal && any.tag() == Tag::Ia5String;
    let text = core::str::from_utf8(any.data).ok()?;
    (is_text && !text.is_empty() && text.is_ascii()).then_some(text)
}

fn telephone_number(any: Any<'_>) -> Option<String> {
    let text = text(any)?;
    number::canonical(text).filter(|number| number == text)
}

/// TelephoneNumberRange ::= SEQUENCE { start TelephoneNumber, count INTEGER (2..MAX), ... }
fn range(der: &[u8]) -> Option<(String, u64)> {
    let sequence = whole(der)?;
    if sequence.class() != Class::Universal || sequence.tag() != Tag::Sequence {
        return None;
    }
    let (rest, first) = Any::from_der(sequence.data).ok()?;
    let (_, count) = Any::from_der(rest).ok()?;
    let count = (count.tag() == Tag::Integer).then(|| count.as_u64().ok())??;
    Some((telephone_number(first)?, count)).filter(|(_, count)| *count >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, content.len() as u8][..], content].concat()
    }

    fn list(entries: &[Vec<u8>]) -> Vec<u8> {
        tlv(0x30, &entries.concat())
    }

    fn provider(code: &str) -> Vec<u8> {
        tlv(0xa0, &tlv(0x16, code.as_bytes()))
    }

    fn some(first: &str, count: u8) -> Vec<u8> {
        tlv(0xa1, &tlv(0x30, &[tlv(0x16, first.as_bytes()), tlv(0x02, &[count])].concat()))
    }

    fn one(number: &str) -> Vec<u8> {
        tlv(0xa2, &tlv(0x16, number.as_bytes()))
    }

    /// RFC 8226 §9
    #[test]
    fn lists_are_read() {
        // As in ATIS-1000080: one provider's code.
        let known = Authority::read(&[0x30, 0x08, 0xa0, 0x06, 0x16, 0x04, 0x37, 0x30, 0x39, 0x4a]).unwrap();
        assert_eq!(known.providers, ["709J"]);
        assert!(known.covers("12155551212"), "whose numbers are a provider's cannot be seen from here");
        let ranges = Authority::read(&list(&[some("12155551200", 20), one("442012345678")])).unwrap();
        for (number, covered) in [
            ("12155551199", false),
            ("12155551200", true),
            ("12155551219", true),
            ("12155551220", false),
            ("442012345678", true),
            ("44201234567", false),
            ("012155551200", false),
            ("*67", false),
        ] {
            assert_eq!(ranges.covers(number), covered, "{number}");
        }
        assert!(Authority::read(&list(&[one("1"), provider("x")])).unwrap().covers("2"));
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        let good = list(&[provider("709J")]);
        for bad in [
            vec![],
            list(&[]),
            [&good[..], &[0]].concat(),
            good[..good.len() - 1].to_vec(),
            list(&[tlv(0xa3, &[])]),
            list(&[tlv(0x80, b"709J")]),
            list(&[provider("")]),
            list(&[one("+1")]),
            list(&[one("1234567890123456")]),
            list(&[some("1", 1)]),
            list(&[some("1", 0xff)]),
            list(&[tlv(0xa1, &tlv(0x16, b"1"))]),
        ] {
            assert_eq!(Authority::read(&bad), None, "{bad:02x?}");
        }
    }
}
