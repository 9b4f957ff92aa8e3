//! The two ways of protection under session keys: AES in counter mode with HMAC-SHA1 (RFC 3711 §4), and AES-GCM (RFC 7714).

use aes::cipher::{Block, BlockEncrypt as _, KeyInit as _};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

/// What protects packets of one kind.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once for a key, and not moved after that")]
pub(super) enum Guard {
    Counter(Counter),
    Gcm(Authenticated),
}

/// AES with a key of 128, 192 or 256 bits.
#[derive(Debug)]
pub(super) enum Aes {
    A128(Aes128Enc),
    A192(Aes192Enc),
    A256(Aes256Enc),
}

/// Blocks encrypted at once.
const LANES: usize = 8;

impl Aes {
    /// With a key of 16, 24 or 32 octets, which [`super::Suite::key_len`] sees to; a key of another length counts as zeros.
    pub(super) fn new(key: &[u8]) -> Self {
        match key.len() {
            24 => {
                Self::A192(Aes192Enc::new_from_slice(key).unwrap_or_else(|_| Aes192Enc::new(&[0; 24].into())))
            }
            32 => {
                Self::A256(Aes256Enc::new_from_slice(key).unwrap_or_else(|_| Aes256Enc::new(&[0; 32].into())))
            }
            _ => {
                Self::A128(Aes128Enc::new_from_slice(key).unwrap_or_else(|_| Aes128Enc::new(&[0; 16].into())))
            }
        }
    }

    /// Adds the key stream of counter mode from `iv` on, whose last 16 bits count blocks (RFC 3711 §4.1.1). At most 1 MiB.
    pub(super) fn xor_keystream(&self, mut iv: [u8; 16], data: &mut [u8]) {
        let mut counter = u16::from_be_bytes([iv[14], iv[15]]);
        for part in data.chunks_mut(16 * LANES) {
            let mut blocks = [Block::<Aes128Enc>::default(); LANES];
            let blocks = &mut blocks[..part.len().div_ceil(16)];
            for block in blocks.iter_mut() {
                iv[14..].copy_from_slice(&counter.to_be_bytes());
                block.copy_from_slice(&iv);
                counter = counter.wrapping_add(1);
            }
            match self {
                Self::A128(aes) => aes.encrypt_blocks(blocks),
                Self::A192(aes) => aes.encrypt_blocks(blocks),
                Self::A256(aes) => aes.encrypt_blocks(blocks),
            }
            for (bytes, stream) in part.chunks_mut(16).zip(blocks.iter()) {
                for (byte, key) in bytes.iter_mut().zip(stream.iter()) {
                    *byte ^= key;
                }
            }
        }
    }
}

/// HMAC-SHA1 (RFC 2104) with both halves of the key hashed ahead.
#[derive(Clone, Debug)]
pub(super) struct Mac {
    inner: Sha1,
    outer: Sha1,
}

impl Mac {
    /// With a key of at most 64 octets.
    pub(super) fn new(key: &[u8]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            Sha1::new_with_prefix(block)
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    fn of(&self, data: &[u8], rest: &[u8]) -> [u8; 20] {
        let mut inner = self.inner.clone();
        inner.update(data);
        inner.update(rest);
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

/// AES in counter mode, and HMAC-SHA1 over what it encrypted.
#[derive(Debug)]
pub(super) struct Counter {
    aes: Aes,
    salt: [u8; 14],
    mac: Mac,
}

impl Counter {
    pub(super) const fn new(aes: Aes, salt: [u8; 14], mac: Mac) -> Self {
        Self { aes, salt, mac }
    }

    /// Encrypts or decrypts (RFC 3711 §4.1.1): the same.
    pub(super) fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        let mixed = (u128::from(ssrc) << 64 | u128::from(index) << 16) ^ u128::from_be_bytes(iv);
        self.aes.xor_keystream(mixed.to_be_bytes(), data);
    }

    /// Writes as much of the tag as there is room for: over `data` and what follows it unsent (RFC 3711 §4.2).
    pub(super) fn sign(&self, data: &[u8], rest: &[u8], tag: &mut [u8]) {
        let len = tag.len();
        tag.copy_from_slice(&self.mac.of(data, rest)[..len]);
    }

    /// Whether the tag is right; takes equally long if it is not.
    pub(super) fn verifies(&self, data: &[u8], rest: &[u8], tag: &[u8]) -> bool {
        self.mac.of(data, rest)[..tag.len()].ct_eq(tag).into()
    }
}

/// AES-GCM with tags of 16 octets.
pub(super) struct Authenticated {
    key: Option<LessSafeKey>,
    salt: [u8; 12],
}

impl core::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Authenticated")
    }
}

impl Authenticated {
    /// With a key of 16 or 32 octets; with another it seals and opens nothing.
    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Self { key: UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new), salt }
    }

    /// RFC 7714 §8.1 and §9.1: `index` is ROC and sequence number, or the SRTCP index.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        let mixed = u128::from(ssrc) << 48 | u128::from(index);
        for (byte, part) in nonce.iter_mut().zip(&mixed.to_be_bytes()[4..]) {
            *byte ^= part;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `data` and returns the tag; `None` if it cannot.
    pub(super) fn seal(&self, ssrc: u32, index: u64, associated: &[u8], data: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = self.nonce(ssrc, index);
        let tag = self.key.as_ref()?.seal_in_place_separate_tag(nonce, Aad::from(associated), data).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts what ends with its tag; false, and `data` is void, if it is not authentic.
    pub(super) fn open(&self, ssrc: u32, index: u64, associated: &[u8], data: &mut [u8]) -> bool {
        let nonce = self.nonce(ssrc, index);
        self.key.as_ref().is_some_and(|key| key.open_in_place(nonce, Aad::from(associated), data).is_ok())
    }
}
