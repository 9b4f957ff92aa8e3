//! Writing a message.

use crate::{
    COOKIE, Class, ERROR_CODE, FINGERPRINT, FINGERPRINT_MIX, HEADER, MESSAGE_INTEGRITY, UNKNOWN_ATTRIBUTES,
    XOR_MAPPED_ADDRESS,
};
use core::net::{IpAddr, SocketAddr};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

/// A message in the making: attributes stand in the order in which they are added.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Begins a message of a class and a method of 8 bits (RFC 7983 §3).
    pub fn new(class: Class, method: u16, transaction: [u8; 12]) -> Self {
        let class = match class {
            Class::Request => 0,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let kind = class | method & 0xf | (method & 0x70) << 1 | (method & 0xf80) << 2;
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(&transaction);
        Self { out }
    }

    /// Adds an attribute; of a value that is longer than a length can say, nothing is added.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(length) = u16::try_from(value.len()) else { return self };
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self
    }

    /// Adds XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    #[must_use]
    pub fn mapped(self, address: SocketAddr) -> Self {
        let port = address.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let mut value = vec![0, 1];
        value.extend_from_slice(&port.to_be_bytes());
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => value.extend(v4.octets().iter().zip(COOKIE).map(|(byte, key)| byte ^ key)),
            IpAddr::V6(v6) => {
                value[1] = 2;
                // Cookie and transaction, which the header has side by side.
                let key = self.out.get(4..HEADER).unwrap_or_default();
                value.extend(v6.octets().iter().zip(key).map(|(byte, key)| byte ^ key));
            }
        }
        self.attribute(XOR_MAPPED_ADDRESS, &value)
    }

    /// Adds ERROR-CODE, a number from 300 to 699 (RFC 8489 §14.8).
    #[must_use]
    pub fn error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(ERROR_CODE, &value)
    }

    /// Adds UNKNOWN-ATTRIBUTES (RFC 8489 §14.9).
    #[must_use]
    pub fn unknown(self, kinds: &[u16]) -> Self {
        let names: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        self.attribute(UNKNOWN_ATTRIBUTES, &names)
    }

    /// Adds MESSAGE-INTEGRITY by this key (RFC 8489 §14.5): only a fingerprint may follow.
    #[must_use]
    pub fn integrity(mut self, key: &[u8]) -> Self {
        self.announce(24);
        // HMAC takes keys of any length.
        let Ok(mac) = Hmac::<Sha1>::new_from_slice(key) else { return self };
        let tag = mac.chain_update(&self.out).finalize().into_bytes();
        self.attribute(MESSAGE_INTEGRITY, &tag)
    }

    /// Adds FINGERPRINT (RFC 8489 §14.7): nothing may follow.
    #[must_use]
    pub fn fingerprint(mut self) -> Self {
        self.announce(8);
        let sum = crc32fast::hash(&self.out) ^ FINGERPRINT_MIX;
        self.attribute(FINGERPRINT, &sum.to_be_bytes())
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.announce(0);
        self.out
    }

    /// Writes the length that the message has once `more` octets were added.
    fn announce(&mut self, more: usize) {
        let length = u16::try_from(self.out.len() - HEADER + more).unwrap_or(u16::MAX);
        self.out[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
