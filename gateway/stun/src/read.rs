//! Reading a message.

use crate::{
    ATTRIBUTES_MAX, COOKIE, FINGERPRINT, FINGERPRINT_MIX, HEADER, MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256, MESSAGE_MAX, OPTIONAL_FROM,
};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

/// Whether a datagram is STUN: a first octet that is left to it (RFC 7983 §7), and the cookie (RFC 8489 §6.3).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4 && datagram.get(4..8) == Some(&COOKIE)
}

/// What a message is (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asks, and is answered.
    Request,
    /// Is not answered.
    Indication,
    /// Grants a request.
    Success,
    /// Refuses it.
    Error,
}

/// A message whose attributes lie within it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram; `None` unless it is one message, whole and well formed, of at most [`MESSAGE_MAX`] octets and
    /// [`ATTRIBUTES_MAX`] attributes.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !is_stun(bytes) || bytes.len() > MESSAGE_MAX {
            return None;
        }
        if usize::from(word(bytes, 2)?) != bytes.len() - HEADER {
            return None;
        }
        let (mut at, mut seen) = (HEADER, 0);
        while at < bytes.len() {
            let length = usize::from(word(bytes, at + 2)?);
            // Each is padded to four octets (RFC 8489 §14).
            at += 4 + length.next_multiple_of(4);
            seen += 1;
            if at > bytes.len() || seen > ATTRIBUTES_MAX {
                return None;
            }
        }
        Some(Self { bytes })
    }

    fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// What it is.
    pub fn class(&self) -> Class {
        match self.kind() & 0x0110 {
            0 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// The method, of 8 bits: others share no port with media (RFC 7983 §3).
    pub fn method(&self) -> u16 {
        let kind = self.kind();
        kind & 0xf | (kind & 0xe0) >> 1 | (kind & 0x3e00) >> 2
    }

    /// By which an answer finds its request.
    pub fn transaction(&self) -> [u8; 12] {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        id
    }

    /// Attributes in order: where each begins, its type and its value.
    fn all(&self) -> impl Iterator<Item = (usize, u16, &'a [u8])> {
        let bytes = self.bytes;
        let mut at = HEADER;
        core::iter::from_fn(move || {
            let start = at;
            let (kind, length) = (word(bytes, start)?, usize::from(word(bytes, start + 2)?));
            at += 4 + length.next_multiple_of(4);
            Some((start, kind, bytes.get(start + 4..start + 4 + length)?))
        })
    }

    /// The attributes that count: what stands behind the integrity is nobody's word (RFC 8489 §14.5).
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut sealed = false;
        self.all().filter_map(move |(_, kind, value)| {
            let integrity = matches!(kind, MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256);
            let counts = !sealed || integrity || kind == FINGERPRINT;
            sealed |= integrity;
            counts.then_some((kind, value))
        })
    }

    /// The first attribute of a type.
    pub fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    /// The first attribute of a type as a number of 32 bits.
    pub fn number(&self, wanted: u16) -> Option<u32> {
        self.get(wanted)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The attributes that have to be understood and are none of `known`, at most `most` of them.
    pub fn unknown(&self, known: &[u16], most: usize) -> Vec<u16> {
        let kinds = self.attributes().map(|(kind, _)| kind);
        kinds.filter(|kind| *kind < OPTIONAL_FROM && !known.contains(kind)).take(most).collect()
    }

    /// Whether the fingerprint, which has to be the last attribute, is right (RFC 8489 §14.7); `None` if there is none.
    pub fn fingerprint_holds(&self) -> Option<bool> {
        let (start, _, value) = self.all().find(|(_, kind, _)| *kind == FINGERPRINT)?;
        let sum = crc32fast::hash(&self.bytes[..start]) ^ FINGERPRINT_MIX;
        Some(start + 8 == self.bytes.len() && value == sum.to_be_bytes())
    }

    /// Whether who wrote it knows the key (RFC 8489 §14.5); `None` if that is not said.
    pub fn integrity_holds(&self, key: &[u8]) -> Option<bool> {
        let (start, _, value) = self.all().find(|(_, kind, _)| *kind == MESSAGE_INTEGRITY)?;
        let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
        // As if the message ended with this attribute.
        let length = u16::try_from(start + 24 - HEADER).ok()?;
        mac.update(&self.bytes[..2]);
        mac.update(&length.to_be_bytes());
        mac.update(&self.bytes[4..start]);
        Some(mac.verify_slice(value).is_ok())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
