//! User name fragments and passwords of ICE (RFC 8445 §5.3), and what SDP says of the peer's (RFC 8839).

use crate::srtp::Secrets;
use zeroize::Zeroize as _;

/// The letters of both (RFC 8839 §5.4: `ice-char`).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Letters of a fragment of ours: 48 bits, twice what is asked.
const FRAGMENT: usize = 8;
/// Letters of a password of ours: 144 bits, where 128 are asked.
const PASSWORD: usize = 24;
/// Most letters of either.
const MOST: usize = 256;

/// A user name fragment and its password. The password is wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    fragment: String,
    password: String,
}

impl Credentials {
    /// Those that SDP says; `None` if they are shorter or longer than they may be, or have other letters.
    pub fn new(fragment: &[u8], password: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8], least: usize| {
            let good = (least..=MOST).contains(&bytes.len()) && bytes.iter().all(|it| LETTERS.contains(it));
            good.then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
        };
        Some(Self { fragment: text(fragment, 4)?, password: text(password, 22)? })
    }

    /// New ones.
    pub fn draw(secrets: &mut Secrets) -> Self {
        let mut octets = [0; FRAGMENT + PASSWORD];
        secrets.fill(&mut octets);
        let text =
            |part: &[u8]| part.iter().map(|octet| char::from(LETTERS[usize::from(octet & 63)])).collect();
        let (fragment, password) = octets.split_at(FRAGMENT);
        let drawn = Self { fragment: text(fragment), password: text(password) };
        octets.zeroize();
        drawn
    }

    /// The fragment, `a=ice-ufrag`.
    pub fn fragment(&self) -> &str {
        &self.fragment
    }

    /// The password, `a=ice-pwd`.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({})", self.fragment)
    }
}

/// What a peer says of its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its credentials.
    pub credentials: Credentials,
    /// Whether it is a lite agent too: then nobody checks (RFC 8445 §6.1.1).
    pub lite: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_long_enough_and_of_the_right_letters() {
        let drawn = Credentials::draw(&mut Secrets::new([5; 32]));
        let again = Credentials::new(drawn.fragment().as_bytes(), drawn.password().as_bytes());
        assert_eq!(again.as_ref(), Some(&drawn), "what is drawn could be read");
        assert_eq!(
            format!("{drawn:?}"),
            format!("Credentials({})", drawn.fragment()),
            "no password is printed"
        );
        assert_ne!(Credentials::draw(&mut Secrets::new([6; 32])), drawn);
        let password = b"0123456789012345678901";
        assert!(Credentials::new(b"abcd", password).is_some());
        assert!(Credentials::new(b"abc", password).is_none(), "RFC 8839 §5.4: at least 4");
        assert!(Credentials::new(b"abcd", &password[1..]).is_none(), "at least 22");
        assert!(Credentials::new(b"ab:d", password).is_none());
        assert!(Credentials::new(b"abcd", &[b'a'; 257]).is_none());
    }
}
