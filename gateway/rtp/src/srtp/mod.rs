//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714) without IO: in place, and without allocation per packet.
//!
//! A [`Sealer`] protects what is sent under one master key, an [`Opener`] takes the protection off what was sent under
//! another. Both keep for each synchronisation source its rollover counter and a window of the indices that were used: an
//! opener refuses what is replayed, a sealer what would use a key stream twice (RFC 3711 §9.1).

mod cipher;
mod context;
mod derive;
mod secrets;
#[cfg(test)]
mod tests;
mod window;

pub use context::{Mki, Opener, Refusal, Sealer};
pub use secrets::Secrets;

use zeroize::Zeroize as _;

/// Most octets of master key and salt together.
pub const SECRET_MAX: usize = 46;
/// Most octets that protection adds to a packet: index and tag, without MKI.
pub const OVERHEAD_MAX: usize = 20;
/// Most sources under one key: what a call has, and as many changes as transfers behind a peer may bring. Those beyond are
/// refused, since forgetting one would let its packets be replayed.
pub const SOURCES_MAX: usize = 64;

/// What SRTP protects with: cipher, lengths and tags, as RFC 4568 §6.2, RFC 6188 §4 and RFC 7714 §14.2 name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// AES_CM_128_HMAC_SHA1_80, which all must know (RFC 4568 §6.2.1).
    AesCm128Sha1_80,
    /// AES_CM_128_HMAC_SHA1_32: short tags for RTP, long ones for RTCP (RFC 4568 §6.2.2).
    AesCm128Sha1_32,
    /// AES_192_CM_HMAC_SHA1_80.
    AesCm192Sha1_80,
    /// AES_192_CM_HMAC_SHA1_32.
    AesCm192Sha1_32,
    /// AES_256_CM_HMAC_SHA1_80.
    AesCm256Sha1_80,
    /// AES_256_CM_HMAC_SHA1_32.
    AesCm256Sha1_32,
    /// AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

impl Suite {
    /// All of them, the stronger first, of equals the faster.
    pub const ALL: [Self; 8] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm256Sha1_80,
        Self::AesCm192Sha1_80,
        Self::AesCm128Sha1_80,
        Self::AesCm256Sha1_32,
        Self::AesCm192Sha1_32,
        Self::AesCm128Sha1_32,
    ];

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm192Sha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::AesCm192Sha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::AesCm256Sha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256Sha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of a name in SDP, case aside. Also takes `AES_CM_192_…` and `AES_CM_256_…`, as some write them.
    pub fn named(name: &str) -> Option<Self> {
        let twisted = |suite: Self| match suite.name().strip_prefix("AES_192_CM_") {
            Some(rest) => Some(("AES_CM_192_", rest)),
            None => suite.name().strip_prefix("AES_256_CM_").map(|rest| ("AES_CM_256_", rest)),
        };
        Self::ALL.into_iter().find(|suite| {
            suite.name().eq_ignore_ascii_case(name)
                || twisted(*suite).is_some_and(|(head, rest)| {
                    name.len() == head.len() + rest.len()
                        && name.get(..head.len()).is_some_and(|it| it.eq_ignore_ascii_case(head))
                        && name.get(head.len()..).is_some_and(|it| it.eq_ignore_ascii_case(rest))
                })
        })
    }

    /// Octets of the master key, and of the session keys for encryption.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128Sha1_80 | Self::AesCm128Sha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm192Sha1_80 | Self::AesCm192Sha1_32 => 24,
            Self::AesCm256Sha1_80 | Self::AesCm256Sha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt: 14, with GCM 12.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Octets of key and salt together, as SDP carries them.
    pub const fn secret_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Whether one operation encrypts and authenticates (RFC 7714).
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Octets of the tag of an RTP packet.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128Sha1_32 | Self::AesCm192Sha1_32 | Self::AesCm256Sha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            _ => 10,
        }
    }

    /// Octets of the tag of an RTCP packet: long ones also where those of RTP are short (RFC 3711 §5.2).
    pub const fn rtcp_tag_len(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }
}

/// A master key with its salt. It is wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Keying {
    suite: Suite,
    secret: [u8; SECRET_MAX],
}

impl Keying {
    /// From key and salt as SDP carries them, the key first; `None` if they are not as long as the suite's.
    pub fn new(suite: Suite, secret: &[u8]) -> Option<Self> {
        if secret.len() != suite.secret_len() {
            return None;
        }
        let mut kept = [0; SECRET_MAX];
        kept[..secret.len()].copy_from_slice(secret);
        Some(Self { suite, secret: kept })
    }

    /// A new one.
    pub fn draw(suite: Suite, secrets: &mut Secrets) -> Self {
        let mut secret = [0; SECRET_MAX];
        secrets.fill(&mut secret[..suite.secret_len()]);
        Self { suite, secret }
    }

    /// What it is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt, the key first.
    pub fn secret(&self) -> &[u8] {
        &self.secret[..self.suite.secret_len()]
    }

    fn key(&self) -> &[u8] {
        &self.secret[..self.suite.key_len()]
    }

    fn salt(&self) -> &[u8] {
        &self.secret[self.suite.key_len()..self.suite.secret_len()]
    }
}

impl Drop for Keying {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl core::fmt::Debug for Keying {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Keying({})", self.suite.name())
    }
}
