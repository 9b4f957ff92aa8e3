//! SDP (RFC 8866): read kindly, written strictly, rewritten for a relay, offered and answered (RFC 3264).
//!
//! Reading bears with what is seen in the field: bare LF, blank lines, missing `s=` and `t=`, spaces at line ends,
//! unknown lines. It does not bear with a media line it cannot read, since that would shift every stream after it.

mod codec;
mod crypto;
mod media;
pub mod offer;
mod relay;
mod session;
mod way;
mod write;

pub use codec::{Codec, Codecs};
pub use crypto::{CRYPTO_MAX, Crypto, Profile, crypto_value, keep_crypto};
pub use media::{Direction, Media};
pub use relay::{Added, Events, Relay, rewrite};
pub use session::{Connection, Origin, ParseError, Session};
pub use way::{FINGERPRINTS_MAX, Setup, Way};
pub use write::{Chosen, Local, OfferedCodec, WriteError, choose, write_answer, write_offer};

/// Bytes in the longest description read.
pub const SDP_MAX: usize = 16_384;
/// Media streams in one description.
pub const MEDIA_MAX: usize = 16;
/// Payload types of one stream that are looked at.
pub const FORMATS_MAX: usize = 32;
/// Lines in one description. With [`FORMATS_MAX`] this bounds the work of looking up codecs.
pub const LINES_MAX: usize = 512;

/// Our side's `o=` line over the life of a session: the version grows by one whenever the description changes, and only
/// then (RFC 3264 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOrigin {
    session: u64,
    version: u64,
    digest: u64,
}

impl LocalOrigin {
    /// For a new session with this identifier, drawn at random by the caller; its low 62 bits are used.
    pub const fn new(session: u64) -> Self {
        Self { session: session & ((1 << 62) - 1), version: 0, digest: 0 }
    }

    /// The version last written, 0 before the first.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Inserts the `o=` line at `at` into the description that begins at `start` of `out`.
    fn insert(&mut self, out: &mut Vec<u8>, start: usize, at: usize, address: core::net::IpAddr) {
        let mut digest = 0xcbf2_9ce4_8422_2325u64; // FNV-1a
        for &byte in &out[start..] {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.version == 0 || digest != self.digest {
            self.version += 1;
            self.digest = digest;
        }
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let line = format!("o=- {} {} IN {family} {address}\r\n", self.session, self.version);
        out.splice(at..at, line.into_bytes());
    }
}

/// The lines of a description as type and value, whatever ends them; what is not `type=value` is passed over.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => Some((*kind, value.trim_ascii_end())),
            _ => None,
        }
    })
}

/// An attribute's name and value.
fn attribute(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b':', value) {
        Some(colon) => (&value[..colon], Some(value[colon + 1..].trim_ascii_start())),
        None => (value, None),
    }
}

/// The words of a line.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty())
}

/// A decimal number up to `max`.
fn number(digits: &[u8], max: u64) -> Option<u64> {
    crate::message::parse_number(digits, max)
}
