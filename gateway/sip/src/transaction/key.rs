//! What identifies a transaction (RFC 3261 §17.1.3, §17.2.3): branches of our own, hashes of others'.
//!
//! A branch we generate carries the place of its transaction, so that a response is matched without a table.
//! A request is matched by a keyed hash of what §17.2.3 compares; 64 bits, whose key the peer does not know.

use crate::message::{Host, Message, Method, Via};
use core::hash::{BuildHasherDefault, Hash as _, Hasher};
use core::net::{IpAddr, SocketAddr};
use core::ops::Deref;
use sansio::{Key, Random};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;

/// The cookie every branch begins with (RFC 3261 §8.1.1.7).
pub const COOKIE: &[u8; 7] = b"z9hG4bK";

/// A token of our own, in a branch or a tag, that says where its state lies and has 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnToken {
    /// Where the state lies.
    pub key: Key,
    /// What a stranger cannot guess.
    pub nonce: u64,
}

impl OwnToken {
    /// Bytes in its text: two numbers in hexadecimal.
    pub const LEN: usize = 32;

    /// The text.
    pub fn text(self) -> [u8; Self::LEN] {
        let mut text = [0; Self::LEN];
        hex(self.key.to_bits(), &mut text[..16]);
        hex(self.nonce, &mut text[16..]);
        text
    }

    /// The token with this text; `None` if it is none of ours.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::LEN {
            return None;
        }
        Some(Self { key: Key::from_bits(unhex(&text[..16])?), nonce: unhex(&text[16..])? })
    }

    /// The token in a branch of ours.
    pub fn of_branch(branch: &[u8]) -> Option<Self> {
        Self::parse(branch.strip_prefix(COOKIE)?)
    }

    /// The branch with this token.
    pub fn branch(self) -> [u8; COOKIE.len() + Self::LEN] {
        let mut branch = [0; COOKIE.len() + Self::LEN];
        branch[..COOKIE.len()].copy_from_slice(COOKIE);
        branch[COOKIE.len()..].copy_from_slice(&self.text());
        branch
    }
}

fn hex(mut value: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn unhex(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut wrong = 0u8;
    for &digit in text {
        let number = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => 0x80,
        };
        wrong |= number;
        value = value << 4 | u64::from(number & 15);
    }
    (wrong & 0x80 == 0).then_some(value)
}

/// A well-formed request, with what every step looks at taken out once.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a, 'm> {
    message: &'m Message<'a>,
    /// The top Via.
    pub via: Via<'a>,
    /// Its branch, empty if missing.
    pub branch: &'a [u8],
    /// The tag in From, empty if missing.
    pub from_tag: &'a [u8],
    /// The tag in To.
    pub to_tag: Option<&'a [u8]>,
    /// The number in CSeq.
    pub cseq: u32,
}

impl<'a, 'm> Arrived<'a, 'm> {
    /// The facts of a request; `None` if one of them is missing or malformed.
    pub fn of(message: &'m Message<'a>) -> Option<Self> {
        let via = message.top_via()?;
        Some(Self {
            message,
            via,
            branch: via.branch().unwrap_or_default(),
            from_tag: message.from()?.tag().unwrap_or_default(),
            to_tag: message.to()?.tag(),
            cseq: message.cseq()?.number,
        })
    }

    /// Whether the branch is one of RFC 3261 (§8.1.1.7): the cookie with something behind it.
    fn has_cookie(&self) -> bool {
        self.branch.len() > COOKIE.len() && self.branch[..COOKIE.len()].eq_ignore_ascii_case(COOKIE)
    }
}

impl<'a> Deref for Arrived<'a, '_> {
    type Target = Message<'a>;

    fn deref(&self) -> &Message<'a> {
        self.message
    }
}

/// Hashes what identifies a server transaction, keyed by a secret of the endpoint.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    seed: DefaultHasher,
}

impl KeyHasher {
    /// A hasher with a key drawn from `random`.
    pub fn new(random: &mut Random) -> Self {
        let mut seed = DefaultHasher::new();
        seed.write_u64(random.u64());
        seed.write_u64(random.u64());
        Self { seed }
    }

    /// The key of the server transaction a request belongs to, as if its method were `method`: for the ACK of a refused
    /// INVITE and for the INVITE the same; for a CANCEL its own.
    ///
    /// With the cookie it is branch, sent-by and method; without (RFC 2543) Request-URI, tags, Call-ID, CSeq and
    /// top Via (RFC 3261 §17.2.3), where the To tag is left out for INVITE and ACK, which differ in it.
    pub fn server(&self, request: &Arrived<'_, '_>, method: Method) -> u64 {
        let mut hasher = self.seed.clone();
        let method = if method == Method::Ack { Method::Invite } else { method };
        if request.has_cookie() {
            field(&mut hasher, request.branch);
        } else {
            hasher.write_u8(1);
            field(&mut hasher, request.request_uri());
            field(&mut hasher, request.from_tag);
            if method != Method::Invite {
                field(&mut hasher, request.to_tag.unwrap_or_default());
            }
            field(&mut hasher, request.call_id());
            hasher.write_u32(request.cseq);
            field(&mut hasher, request.branch);
        }
        // sent-by is a host: case does not matter, and a missing port is the default one.
        match request.via.host() {
            Host::Name(name) => {
                for byte in name {
                    hasher.write_u8(byte.to_ascii_lowercase());
                }
                hasher.write_u8(0xff);
            }
            Host::Address(IpAddr::V4(address)) => hasher.write_u32(address.to_bits()),
            Host::Address(IpAddr::V6(address)) => hasher.write_u128(address.to_bits()),
        }
        hasher.write_u16(request.via.port().unwrap_or(5060));
        write_method(&mut hasher, request, method);
        hasher.finish()
    }

    /// What two copies of one request have in common that came by different ways (RFC 3261 §8.2.2.2): From tag,
    /// Call-ID and CSeq.
    pub fn merge(&self, request: &Arrived<'_, '_>) -> u64 {
        let mut hasher = self.seed.clone();
        hasher.write_u8(2);
        field(&mut hasher, request.from_tag);
        field(&mut hasher, request.call_id());
        hasher.write_u32(request.cseq);
        write_method(&mut hasher, request, request.method());
        hasher.finish()
    }

    /// The tag of answers to a request outside of dialogs with this key: it gives nothing of the key away.
    pub fn tag(&self, key: u64) -> [u8; 16] {
        let mut hasher = self.seed.clone();
        hasher.write_u8(4);
        hasher.write_u64(key);
        let mut tag = [0; 16];
        hex(hasher.finish(), &mut tag);
        tag
    }

    /// The hash of an address.
    pub fn address(&self, address: SocketAddr) -> u64 {
        let mut hasher = self.seed.clone();
        hasher.write_u8(5);
        address.hash(&mut hasher);
        hasher.finish()
    }

    /// The hash of any text.
    pub fn text(&self, text: &[u8]) -> u64 {
        let mut hasher = self.seed.clone();
        hasher.write_u8(3);
        field(&mut hasher, text);
        hasher.finish()
    }
}

fn write_method(hasher: &mut DefaultHasher, request: &Message<'_>, method: Method) {
    match method {
        Method::Other => field(hasher, request.method_bytes()),
        known => hasher.write_u8(known as u8),
    }
}

fn field(hasher: &mut DefaultHasher, bytes: &[u8]) {
    hasher.write(bytes);
    hasher.write_u8(0xff);
}

/// Passes a value through that is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A table whose keys are hashes already.
pub type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<Hashed>>;

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::Slab;

    fn request(method: &str, via: &str, to: &str) -> Vec<u8> {
        format!(
            "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>{to}\r\n\
             Call-ID: c\r\nCSeq: 7 {method}\r\n\r\n"
        )
        .into_bytes()
    }

    fn key(bytes: &[u8]) -> u64 {
        let message = Message::parse(bytes).unwrap();
        KeyHasher::new(&mut Random::new(1)).server(&Arrived::of(&message).unwrap(), message.method())
    }

    #[test]
    fn requests_match_by_branch_sent_by_and_method() {
        let invite = key(&request("INVITE", "h:5060;branch=z9hG4bK1", ""));
        assert_eq!(invite, key(&request("INVITE", "H;branch=z9hG4bK1", "")));
        assert_eq!(invite, key(&request("ACK", "h;branch=z9hG4bK1", ";tag=2")));
        assert_ne!(invite, key(&request("CANCEL", "h;branch=z9hG4bK1", "")));
        assert_ne!(invite, key(&request("INVITE", "h;branch=z9hG4bK2", "")));
        assert_ne!(invite, key(&request("INVITE", "h:5061;branch=z9hG4bK1", "")));
    }

    #[test]
    fn requests_without_cookie_match_as_rfc_2543_had_it() {
        let invite = key(&request("INVITE", "h", ""));
        assert_eq!(invite, key(&request("ACK", "h", ";tag=2")));
        assert_ne!(invite, key(&request("INVITE", "h;branch=1", "")));
        assert_ne!(key(&request("BYE", "h", ";tag=2")), key(&request("BYE", "h", ";tag=3")));
    }

    #[test]
    fn a_branch_says_where_its_transaction_lies() {
        let mut slab = Slab::new(4);
        slab.insert(()).unwrap();
        let key = slab.insert(()).unwrap();
        let token = OwnToken { key, nonce: 0x0123_4567_89ab_cdef };
        assert_eq!(OwnToken::of_branch(&token.branch()), Some(token));
        assert_eq!(OwnToken::of_branch(b"z9hG4bK"), None);
        assert_eq!(OwnToken::parse(&[b'g'; 32]), None);
    }
}
