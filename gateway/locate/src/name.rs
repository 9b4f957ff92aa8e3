//! Domain names, in the one spelling in which they are compared: lower case, no dot at the end.

use core::fmt;
use std::sync::Arc;

/// The longest name in text: 255 octets on the wire (RFC 1035 §2.3.4).
const LENGTH_MAX: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// A domain name of letters, digits, hyphens and underscores: what SRV and address records are kept under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is no domain name; names are labels of letters, digits and hyphens, parted by dots")
    }
}

impl core::error::Error for BadName {}

impl Name {
    /// Reads a name; a dot at its end is left off.
    ///
    /// # Errors
    /// [`BadName`]: empty or too long, as a whole or a label, or with characters that host and service names have not.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if text.len() > LENGTH_MAX || !text.split('.').all(label) {
            return Err(BadName);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name made of labels as they came; `None` if it is the root.
    pub(crate) fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, BadName> {
        let mut text = String::new();
        for label in labels {
            if !text.is_empty() {
                text.push('.');
            }
            // A dot within a label would read as two labels.
            if label.contains(&b'.') {
                return Err(BadName);
            }
            text.push_str(core::str::from_utf8(label).map_err(|_| BadName)?);
        }
        if text.is_empty() { Ok(None) } else { Self::new(&text).map(Some) }
    }

    /// The name with labels put in front, such as `_sip._udp`; `None` if that is too long.
    pub(crate) fn under(&self, labels: &str) -> Option<Self> {
        Self::new(&format!("{labels}.{self}")).ok()
    }

    /// Whether this is `zone` or lies below it.
    pub(crate) fn is_within(&self, zone: &Self) -> bool {
        self.0.strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(Name::new("SIP.Carrier.Example."), Name::new("sip.carrier.example"));
        assert_eq!(Name::new("_sip._udp.carrier.example").unwrap().as_str(), "_sip._udp.carrier.example");
        let long = "a".repeat(64);
        let longer = ["abcdefg"; 32].join(".");
        for bad in ["", ".", "a..b", ".a", "a b", "a/b", "käse.example", &long, &longer] {
            assert_eq!(Name::new(bad), Err(BadName), "{bad}");
        }
        assert_eq!(Name::new(&["abcdefg"; 31].join(".")).unwrap().under("_sips._tcp"), None);
    }

    #[test]
    fn a_name_lies_within_its_zones_only() {
        let name = |text| Name::new(text).unwrap();
        assert!(name("a.example").is_within(&name("example")));
        assert!(name("example").is_within(&name("example")));
        assert!(!name("badexample").is_within(&name("example")));
        assert!(!name("example").is_within(&name("a.example")));
    }
}
