//! SRTP as a peer of these tests speaks it: AES_CM_128_HMAC_SHA1_80 written from RFC 3711 in the plainest way, and the keys in
//! SDP by hand. It shares no code with what it tests.

use aes::Aes128;
use aes::cipher::{BlockEncrypt as _, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

/// The suite that is spoken.
pub(crate) const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Octets of the tag.
const TAG: usize = 10;

/// The session keys of one direction.
#[derive(Clone)]
struct Keys {
    cipher: [u8; 16],
    auth: [u8; 20],
    salt: [u8; 16],
}

/// Keys as base64 has them in SDP: the byte given, thirty times.
pub(crate) fn key(byte: u8) -> String {
    STANDARD.encode([byte; 30])
}

/// The tag and the key of the one `a=crypto` line of that suite in a description.
pub(crate) fn key_in(sdp: &str) -> Option<(String, String)> {
    let mut lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let line = lines.find(|line| line.split(' ').nth(1) == Some(SUITE))?;
    let key = line.split("inline:").nth(1)?.split('|').next()?;
    Some((line.split(' ').next()?.to_owned(), key.to_owned()))
}

/// A description in the profile of SRTP, with a key.
pub(crate) fn protected(sdp: &str, tag: &str, key: &str) -> String {
    sdp.replace("RTP/AVP", "RTP/SAVP")
        .replace("a=ptime", &format!("a=crypto:{tag} {SUITE} inline:{key}\r\na=ptime"))
}

fn stream(key: &[u8; 16], mut block: [u8; 16], len: usize) -> Vec<u8> {
    let aes = Aes128::new(key.into());
    let mut out = Vec::new();
    let mut count = 0u16;
    while out.len() < len {
        block[14..].copy_from_slice(&count.to_be_bytes());
        let mut bytes = block.into();
        aes.encrypt_block(&mut bytes);
        out.extend_from_slice(&bytes);
        count += 1;
    }
    out.truncate(len);
    out
}

impl Keys {
    /// RFC 3711 §4.3, of a key in base64.
    fn of(key: &str) -> Self {
        let secret = STANDARD.decode(key).unwrap();
        let master: [u8; 16] = secret[..16].try_into().unwrap();
        let derived = |label: u8, len: usize| {
            let mut block = [0; 16];
            block[..14].copy_from_slice(&secret[16..30]);
            block[7] ^= label;
            stream(&master, block, len)
        };
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(&derived(2, 14));
        Self { cipher: derived(0, 16).try_into().unwrap(), auth: derived(1, 20).try_into().unwrap(), salt }
    }

    /// RFC 3711 §4.1.1 in the first round of sequence numbers.
    fn apply(&self, packet: &mut [u8]) {
        let mut block = self.salt;
        for (at, byte) in packet[8..12].iter().enumerate() {
            block[4 + at] ^= byte;
        }
        block[12] ^= packet[2];
        block[13] ^= packet[3];
        for (byte, key) in packet[12..].iter_mut().zip(stream(&self.cipher, block, 2000)) {
            *byte ^= key;
        }
    }

    /// RFC 3711 §4.2, in the first round too.
    fn tag(&self, packet: &[u8]) -> [u8; TAG] {
        let mut mac = <Hmac<Sha1> as hmac::Mac>::new_from_slice(&self.auth).unwrap();
        mac.update(packet);
        mac.update(&[0; 4]);
        mac.finalize().into_bytes()[..TAG].try_into().unwrap()
    }
}

/// Both directions of one side.
#[derive(Clone)]
pub(crate) struct Cover {
    out: Keys,
    into: Keys,
    /// Packets that did not open.
    pub(crate) refused: usize,
}

impl Cover {
    /// A side that sends under its own key and is sent to under the other's.
    pub(crate) fn new(own: &str, other: &str) -> Self {
        Self { out: Keys::of(own), into: Keys::of(other), refused: 0 }
    }

    pub(crate) fn seal(&self, packet: &mut Vec<u8>) {
        self.out.apply(packet);
        let tag = self.out.tag(packet);
        packet.extend(tag);
    }

    /// What was sealed; none, and counted, if it is not authentic.
    pub(crate) fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let end = packet.len().checked_sub(TAG).filter(|end| *end >= 12)?;
        if self.into.tag(&packet[..end]) != packet[end..] {
            self.refused += 1;
            return None;
        }
        let mut plain = packet[..end].to_vec();
        self.into.apply(&mut plain);
        Some(plain)
    }
}
