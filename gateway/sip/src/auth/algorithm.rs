//! The hash functions of digest authentication and their names (RFC 7616 §3.3, RFC 8760 §2.1).

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};
use std::fmt;

/// A hash function, ordered from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5, which most phones know alone.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

/// A hash function, and whether its key is bound to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// `-sess`: the key takes in nonce and cnonce (RFC 7616 §3.4.2).
    pub session: bool,
}

impl Algorithm {
    /// MD5 without session: what a challenge without `algorithm` means.
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    /// SHA-256 without session.
    pub const SHA_256: Self = Self { hash: Hash::Sha256, session: false };
    /// SHA-512/256 without session.
    pub const SHA_512_256: Self = Self { hash: Hash::Sha512_256, session: false };

    /// The algorithm of this name, in any case; `None` for one that is not known.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let all = [Hash::Md5, Hash::Sha256, Hash::Sha512_256];
        let named = all.into_iter().flat_map(|hash| [false, true].map(|session| Self { hash, session }));
        named.into_iter().find(|it| it.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Its name as header fields have it.
    pub const fn name(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    /// The hash of parts joined by colons, as lower-case hexadecimal digits.
    pub(crate) fn of(self, parts: &[&[u8]]) -> String {
        match self.hash {
            Hash::Md5 => hashed::<Md5>(parts),
            Hash::Sha256 => hashed::<Sha256>(parts),
            Hash::Sha512_256 => hashed::<Sha512_256>(parts),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn hashed<D: Digest>(parts: &[&[u8]]) -> String {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for name in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
            assert_eq!(Algorithm::parse(name.to_lowercase().as_bytes()).unwrap().name(), name);
        }
        assert_eq!(Algorithm::parse(b"AKAv1-MD5"), None);
        assert!(Algorithm::SHA_512_256 > Algorithm::SHA_256 && Algorithm::SHA_256 > Algorithm::MD5);
    }
}
