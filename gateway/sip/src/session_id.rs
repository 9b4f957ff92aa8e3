//! Session-ID (RFC 7989): two UUIDs, one for each end of a session, that stay what they are from end to end whatever
//! stands between.

use crate::message::{Message, Name, trim, unfold};
use core::fmt;

/// A UUID as Session-ID writes it: 32 hexadecimal digits in lower case (RFC 7989 §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 32]);

impl Uuid {
    /// The nil UUID: that end is not known yet (RFC 7989 §5).
    pub const NIL: Self = Self([b'0'; 32]);

    /// Reads one; capital digits are taken as small ones.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut digits: [u8; 32] = text.try_into().ok()?;
        digits.make_ascii_lowercase();
        digits.iter().all(u8::is_ascii_hexdigit).then_some(Self(digits))
    }

    /// A random one (RFC 4122 §4.4, version 4) of these 128 bits, of which six are overwritten.
    pub fn random(high: u64, low: u64) -> Self {
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        let mut digits = [0; 32];
        for (index, digit) in digits.iter_mut().enumerate() {
            let word = if index < 16 { high } else { low };
            *digit = b"0123456789abcdef"[(word >> (60 - index % 16 * 4) & 15) as usize];
        }
        Self(digits)
    }

    /// Whether it says nothing.
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // All are ASCII.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a Session-ID field, as the sender of the message means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// The sender's end.
    pub local: Uuid,
    /// The other end; `None` in the old form that has one UUID for both (RFC 7329, kept for by RFC 7989 §11).
    pub remote: Option<Uuid>,
}

impl SessionId {
    /// Reads a value; `None` if it is malformed, which is as if it were not there (RFC 7989 §7).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = unfold(value);
        let mut parts = value.split(|byte| *byte == b';').map(trim);
        let local = Uuid::parse(parts.next()?)?;
        let remote = parts.find_map(|part| {
            let at = part.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (trim(&part[..at]), trim(&part[at + 1..]));
            name.eq_ignore_ascii_case(b"remote").then(|| Uuid::parse(value))
        });
        match remote {
            Some(None) => None,
            remote => Some(Self { local, remote: remote.flatten() }),
        }
    }

    /// What a message says.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        Self::parse(message.header(Name::SessionId)?)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};remote={}", self.local, self.remote.unwrap_or(Uuid::NIL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ab30317f1a784dc48ff824d0d3715d86";
    const B: &str = "47755a9de7794ba387653f2099600ef2";

    /// RFC 7989 §5, with the example of §10.1.
    #[test]
    fn both_forms_are_read_and_the_new_one_is_written() {
        let uuid = |text: &str| Uuid::parse(text.as_bytes()).unwrap();
        let read = |text: String| SessionId::parse(text.as_bytes());
        let both = SessionId { local: uuid(A), remote: Some(uuid(B)) };
        assert_eq!(read(format!("{A};remote={B}")), Some(both));
        assert_eq!(read(format!("{} ; x=1; Remote = {B}", A.to_uppercase())), Some(both));
        assert_eq!(both.to_string(), format!("{A};remote={B}"));
        let old = SessionId { local: uuid(A), remote: None };
        assert_eq!(read(A.to_owned()), Some(old));
        assert_eq!(old.to_string(), format!("{A};remote=00000000000000000000000000000000"));
        for bad in ["", "x", &A[1..], &format!("{A}0"), &format!("{A};remote=x"), &format!(";remote={B}")] {
            assert_eq!(read(bad.to_owned()), None, "{bad}");
        }
    }

    #[test]
    fn a_random_one_is_of_version_4() {
        let text = Uuid::random(u64::MAX, u64::MAX).to_string();
        assert_eq!(text, "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(Uuid::random(0, 0).to_string(), "00000000000040008000000000000000");
        assert!(Uuid::NIL.is_nil() && !Uuid::random(0, 0).is_nil());
    }
}
