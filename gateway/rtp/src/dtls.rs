//! Keys of SRTP by DTLS (RFC 5764): what is asked of a library that does the handshake, what it gives, and whose it is.
//!
//! The handshake itself is no part of this crate: it draws randomness of its own, so that it lives at the edge, behind
//! [`Ends`]. Time comes in as everywhere.

use crate::srtp::{Keying, Suite};
use core::fmt::Debug;
use ring::digest;
use sansio::Time;

/// Octets of the longest datagram that a handshake sends.
pub const DATAGRAM_MAX: usize = 2048;

/// A certificate's hash by which it is known (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    octets: Vec<u8>,
}

/// The hash functions that are taken: those of SHA-2. What is older vouches for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const ALL: [(Self, &'static str, usize); 3] =
        [(Self::Sha256, "sha-256", 32), (Self::Sha384, "sha-384", 48), (Self::Sha512, "sha-512", 64)];

    fn of(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

impl Fingerprint {
    /// The fingerprint of a certificate (DER) by SHA-256, the one that all have to know (RFC 8122 §5).
    pub fn of(certificate: &[u8]) -> Self {
        Self { hash: Hash::Sha256, octets: Hash::Sha256.of(certificate).as_ref().to_vec() }
    }

    /// Reads the value of `a=fingerprint`: the name of the hash, then octets in hexadecimal with colons between them.
    /// `None` if that is not what it is, or of a hash that is not taken.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(value).ok()?;
        let (name, digits) = text.trim().split_once(' ')?;
        let (hash, _, length) =
            Hash::ALL.into_iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name))?;
        let octets: Option<Vec<u8>> = digits
            .trim()
            .split(':')
            .take(length + 1)
            .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten())
            .collect();
        octets.filter(|octets| octets.len() == length).map(|octets| Self { hash, octets })
    }

    /// Whether it is this certificate's.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        self.hash.of(certificate).as_ref() == self.octets
    }

    /// Whether a certificate is the one that these describe: by the strongest hash among them, of which any may be the
    /// certificate's (RFC 8122 §5.1).
    pub fn vouch(all: &[Self], certificate: &[u8]) -> bool {
        let Some(strongest) = all.iter().map(|print| print.hash).max() else { return false };
        all.iter().any(|print| print.hash == strongest && print.is_of(certificate))
    }
}

impl core::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = Hash::ALL.iter().find(|(hash, ..)| *hash == self.hash).map_or("", |(_, name, _)| name);
        f.write_str(name)?;
        for (at, octet) in self.octets.iter().enumerate() {
            write!(f, "{}{octet:02X}", if at == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// The handshake cannot go on: it has to begin anew, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What makes the ends of handshakes: a process's certificate, and the library that speaks DTLS.
pub trait Ends: Send + Sync + Debug {
    /// The certificate's fingerprint.
    fn fingerprint(&self) -> &Fingerprint;

    /// The end of a new handshake; `active`: it begins (the client of RFC 5763 §5).
    fn open(&self, now: Time, active: bool) -> Box<dyn End>;
}

/// One end of a handshake. After each input [`Self::poll`] is to be called until it says [`Step::Wait`].
pub trait End: Send + Debug {
    /// A datagram came.
    ///
    /// # Errors
    /// [`Broken`], for good.
    fn handle(&mut self, now: Time, datagram: &[u8]) -> Result<(), Broken>;

    /// Time went by.
    ///
    /// # Errors
    /// [`Broken`], for good: the peer has been silent for too long.
    fn handle_timeout(&mut self, now: Time) -> Result<(), Broken>;

    /// What is to be done next; `room` has [`DATAGRAM_MAX`] octets.
    fn poll<'a>(&mut self, room: &'a mut [u8]) -> Step<'a>;

    /// Microseconds of processor time that it took so far.
    fn spent(&self) -> u64;
}

/// What a handshake wants done.
#[derive(Debug)]
pub enum Step<'a> {
    /// This is to be sent to the peer.
    Send(&'a [u8]),
    /// The peer showed this certificate (DER), and has proved or will have proved that it is its own.
    Certificate(&'a [u8]),
    /// The keys of both directions.
    Keys(Exported),
    /// The peer closed.
    Closed,
    /// Nothing before this time, unless something comes.
    Wait(Time),
}

/// The keys that a handshake came to (RFC 5764 §4.2).
#[derive(Debug)]
pub struct Exported {
    /// By which the client sends.
    pub client: Keying,
    /// By which the server sends.
    pub server: Keying,
}

impl Exported {
    /// From what the exporter gave: both keys, then both salts, the client's first. `None` if the length is not the suite's.
    pub fn new(suite: Suite, material: &[u8]) -> Option<Self> {
        let (key, salt) = (suite.key_len(), suite.salt_len());
        if material.len() != 2 * (key + salt) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key);
        let of = |at: usize| {
            let mut secret = zeroize::Zeroizing::new(Vec::with_capacity(key + salt));
            secret.extend_from_slice(&keys[at * key..(at + 1) * key]);
            secret.extend_from_slice(&salts[at * salt..(at + 1) * salt]);
            Keying::new(suite, &secret)
        };
        Some(Self { client: of(0)?, server: of(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let print = Fingerprint::of(b"a certificate");
        let text = print.to_string();
        assert!(text.starts_with("sha-256 ") && text.len() == 8 + 32 * 3 - 1, "{text}");
        assert_eq!(Fingerprint::parse(text.as_bytes()), Some(print.clone()));
        assert_eq!(Fingerprint::parse(text.to_lowercase().as_bytes()), Some(print.clone()), "RFC 8122 §5");
        assert!(print.is_of(b"a certificate") && !print.is_of(b"another"));
        for bad in
            ["", "sha-256", "sha-256 AA", "sha-1 AA:BB", "md5 AA", &text[..text.len() - 1], "sha-256 A:B"]
        {
            assert_eq!(Fingerprint::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Fingerprint::parse(format!("{text}:00").as_bytes()), None, "too long");
    }

    /// RFC 8122 §5.1.
    #[test]
    fn the_strongest_hash_decides() {
        let weak = |of: &[u8]| Fingerprint::of(of);
        let strong =
            |of: &[u8]| Fingerprint { hash: Hash::Sha512, octets: Hash::Sha512.of(of).as_ref().to_vec() };
        assert!(Fingerprint::vouch(&[weak(b"a"), weak(b"b")], b"b"));
        assert!(Fingerprint::vouch(&[weak(b"x"), strong(b"b")], b"b"));
        assert!(!Fingerprint::vouch(&[weak(b"b"), strong(b"x")], b"b"), "not by the weaker");
        assert!(!Fingerprint::vouch(&[], b"b"));
    }

    /// RFC 5764 §4.2: client key, server key, client salt, server salt.
    #[test]
    fn exported_keys_are_cut_in_their_order() {
        let material: Vec<u8> = (0..60).collect();
        let exported = Exported::new(Suite::AesCm128Sha1_80, &material).unwrap();
        let client: Vec<u8> = (0..16).chain(32..46).collect();
        let server: Vec<u8> = (16..32).chain(46..60).collect();
        assert_eq!((exported.client.secret(), exported.server.secret()), (&client[..], &server[..]));
        assert!(Exported::new(Suite::AeadAes128Gcm, &material).is_none());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..250)) {
            let _ = Fingerprint::parse(&bytes);
            let _ = Fingerprint::parse(&[b"sha-384 ", &bytes[..]].concat());
        }
    }
}
