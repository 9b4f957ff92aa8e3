//! GRUUs (RFC 5627): addresses of one phone of a user, that anybody can reach it by. The public one says whose phone it is and
//! which; the temporary ones say neither, and are made and understood without a table.
//!
//! A temporary one is what it stands for, sealed: the user, a short name of the phone, and since when it has been there. The seal is
//! a MAC over that under a key of ours, and the key stream it is encrypted with is drawn from the MAC (the construction of
//! RFC 5297, by HMAC-SHA-256). So nobody else can read or make one, two of the same phone have nothing in common, and whoever
//! has the key understands them after a restart.

use crate::message::{Scheme, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// How the user part of a temporary GRUU begins.
const PREFIX: &[u8] = b"tgruu.";
/// Bytes of the seal.
const SEAL: usize = 16;
/// Contents are filled up to a multiple of this, so that their length does not tell whose they are.
const FILL: usize = 16;
/// Longest user part that is looked into, in bytes.
const TOKEN_MAX: usize = 512;

/// What a URI is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gruu {
    /// A public one: the phone's `+sip.instance`, in angle brackets or not, as the URI has it.
    Public(Vec<u8>),
    /// One that claims to be temporary and ours; [`Keeper::open`] tells.
    Temporary,
}

/// What a temporary GRUU stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The user.
    pub user: String,
    /// The phone, as [`Keeper::short`] names it.
    pub phone: u64,
    /// Since when it was registered, as it was told to [`Keeper::temporary`].
    pub since: u32,
}

/// What a URI is by its `gr` parameter; `None` if it is no GRUU.
pub fn gruu(uri: &Uri<'_>) -> Option<Gruu> {
    match uri.params.get("gr").filter(|_| uri.is_sip())? {
        Some(instance) => Some(Gruu::Public(unescape(instance))),
        None => uri.user?.starts_with(PREFIX).then_some(Gruu::Temporary),
    }
}

/// Whether two names of phones are one, in angle brackets or not. Those that are used are UUIDs, where case has no meaning
/// (RFC 4122 §3).
pub fn is_same_instance(a: &[u8], b: &[u8]) -> bool {
    bare(a).eq_ignore_ascii_case(bare(b))
}

fn bare(instance: &[u8]) -> &[u8] {
    let inner = instance.strip_prefix(b"<").unwrap_or(instance);
    inner.strip_suffix(b">").unwrap_or(inner)
}

/// The public GRUU of a phone (RFC 5627 §3.1.1): the address of record with `gr`. `None` if that is no address to be called.
pub fn public(aor: &Uri<'_>, instance: &str) -> Option<String> {
    let user = core::str::from_utf8(aor.user?).ok()?;
    Some(format!("{}{user}@{};gr={}", scheme(aor)?, host(aor)?, escape(bare(instance.as_bytes()))))
}

fn scheme(aor: &Uri<'_>) -> Option<&'static str> {
    match aor.scheme {
        Scheme::Sip => Some("sip:"),
        Scheme::Sips => Some("sips:"),
        Scheme::Tel | Scheme::Other => None,
    }
}

/// Host and port as they are written.
fn host<'a>(aor: &Uri<'a>) -> Option<&'a str> {
    let after = aor.bytes.iter().position(|byte| *byte == b'@')? + 1;
    let rest = &aor.bytes[after..];
    let end = rest.iter().position(|byte| b";?".contains(byte)).unwrap_or(rest.len());
    core::str::from_utf8(&rest[..end]).ok()
}

/// As a parameter of a URI may have it (RFC 3261 §25.1, `paramchar`).
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// Whoever makes temporary GRUUs and understands them: all that have the same secret understand each other's.
#[derive(Clone)]
pub struct Keeper {
    key: Hmac<Sha256>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

impl Keeper {
    /// One that has this secret, of any length.
    pub fn new(secret: &[u8]) -> Self {
        // A MAC of this kind takes a key of any length; the block's length is the one that cannot fail by type.
        let keyed = |key: &[u8; 32]| {
            let mut block = [0; 64];
            block[..32].copy_from_slice(key);
            Hmac::<Sha256>::new(&block.into())
        };
        let root = keyed(b"trunkline: temporary GRUUs, keys").chain_update(secret);
        Self { key: keyed(&root.finalize().into_bytes().into()) }
    }

    fn mac(&self, of: &[u8], parts: [&[u8]; 2]) -> [u8; 32] {
        let mac = self.key.clone().chain_update(of).chain_update(parts[0]).chain_update(parts[1]);
        mac.finalize().into_bytes().into()
    }

    /// A short name of a phone.
    pub fn short(&self, instance: &str) -> u64 {
        let mac = self.mac(b"phone", [&bare(instance.as_bytes()).to_ascii_lowercase(), b""]);
        u64::from_be_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7]])
    }

    /// A temporary GRUU of a phone (RFC 5627 §3.1.2) that nobody can tell from a random one; `chance` is a random number, another
    /// each time. `None` if the address of record is none to be called.
    pub fn temporary(&self, aor: &Uri<'_>, held: &Held, chance: u64) -> Option<String> {
        let mut plain = Vec::with_capacity(SEAL + 2 * FILL);
        plain.extend(chance.to_be_bytes());
        plain.extend(held.since.to_be_bytes());
        plain.extend(held.phone.to_be_bytes());
        plain.extend(held.user.as_bytes());
        plain.resize(plain.len().next_multiple_of(FILL), 0);
        let seal = self.seal(&plain);
        self.crypt(&seal, &mut plain);
        let token = URL_SAFE_NO_PAD.encode([&seal[..], &plain].concat());
        let prefix = core::str::from_utf8(PREFIX).ok()?;
        Some(format!("{}{prefix}{token}@{};gr", scheme(aor)?, host(aor)?))
    }

    fn seal(&self, plain: &[u8]) -> [u8; SEAL] {
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&self.mac(b"seal", [plain, b""])[..SEAL]);
        seal
    }

    /// Encrypts, or decrypts.
    fn crypt(&self, seal: &[u8; SEAL], bytes: &mut [u8]) {
        for (number, block) in (0_u32..).zip(bytes.chunks_mut(32)) {
            let stream = self.mac(b"stream", [seal, &number.to_be_bytes()]);
            for (byte, key) in block.iter_mut().zip(stream) {
                *byte ^= key;
            }
        }
    }

    /// What a temporary GRUU stands for; `None` if it is none of ours.
    pub fn open(&self, uri: &Uri<'_>) -> Option<Held> {
        let token = uri.user?.strip_prefix(PREFIX).filter(|token| token.len() <= TOKEN_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, sealed) = bytes.split_first_chunk::<SEAL>()?;
        let mut plain = sealed.to_vec();
        self.crypt(seal, &mut plain);
        let expected = self.seal(&plain);
        // As long for a wrong one as for a right one.
        if seal.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b)) != 0 {
            return None;
        }
        let (_, rest) = plain.split_first_chunk::<8>()?;
        let (since, rest) = rest.split_first_chunk::<4>()?;
        let (phone, user) = rest.split_first_chunk::<8>()?;
        let user = String::from_utf8(user.to_vec()).ok()?;
        Some(Held {
            user: user.trim_end_matches('\0').to_owned(),
            phone: u64::from_be_bytes(*phone),
            since: u32::from_be_bytes(*since),
        })
    }
}

/// The option tag of RFC 5627.
pub const TAG: &str = "gruu";

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    /// RFC 5627 §3.1.1, its example.
    #[test]
    fn a_public_one_is_the_address_of_record_and_the_phone() {
        let it = public(&uri("sip:callee@example.com"), INSTANCE).unwrap();
        assert_eq!(it, "sip:callee@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
        let Some(Gruu::Public(instance)) = gruu(&uri(&it)) else { panic!("{it}") };
        assert!(is_same_instance(&instance, INSTANCE.as_bytes()));
        assert!(is_same_instance(&instance.to_ascii_uppercase(), INSTANCE.as_bytes()));
        let it = public(&uri("sips:a;x=1@[2001:db8::1]:5071;transport=tcp"), "<urn:a;b=\u{e9}%>").unwrap();
        assert_eq!(it, "sips:a;x=1@[2001:db8::1]:5071;gr=urn:a%3Bb%3D%C3%A9%25");
        assert_eq!(gruu(&uri(&it)), Some(Gruu::Public("urn:a;b=\u{e9}%".as_bytes().to_vec())));
        for none in ["sip:example.com", "tel:+4930"] {
            assert_eq!(public(&uri(none), INSTANCE), None, "{none}");
        }
        for none in ["sip:a@h", "sip:a@h;gr", "sip:tgruu.x@h", "tel:1;gr=x"] {
            assert_eq!(gruu(&uri(none)), None, "{none}");
        }
    }

    /// RFC 5627 §3.1.2 and §8.2: no two alike, readable for us alone, and none can be made up.
    #[test]
    fn a_temporary_one_is_known_to_who_made_it_alone() {
        let keeper = Keeper::new(b"secret");
        let aor = "sip:alice@example.com:5070";
        let held = Held { user: "alice".into(), phone: keeper.short(INSTANCE), since: 7 };
        let make = |chance| keeper.temporary(&uri(aor), &held, chance).unwrap();
        let (one, two) = (make(1), make(2));
        assert!(one.starts_with("sip:tgruu.") && one.ends_with("@example.com:5070;gr"), "{one}");
        assert!(!one.contains("alice") && one[10..30] != two[10..30] && one[40..60] != two[40..60]);
        assert_eq!(gruu(&uri(&one)), Some(Gruu::Temporary));
        assert_eq!(keeper.open(&uri(&one)), Some(held.clone()));
        assert_eq!(Keeper::new(b"secret").open(&uri(&two)), Some(held.clone()), "after a restart");
        assert_eq!(Keeper::new(b"another").open(&uri(&two)), None);
        let end = one.find('@').unwrap();
        for place in 10..end {
            let mut forged = one.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last digit may have bits that mean nothing, which must be 0.
            assert_eq!(keeper.open(&uri(&forged)), None, "{forged}");
            let cut = format!("{}@h;gr", &one[..place]);
            assert_eq!(keeper.open(&uri(&cut)), None, "{cut}");
        }
        // Names of nearly any length look the same.
        let of = |user: &str| keeper.temporary(&uri(aor), &Held { user: user.into(), ..held.clone() }, 1);
        assert_eq!(of("a").map(|it| it.len()), of("abcdefghijkl").map(|it| it.len()));
        let long = "x".repeat(200);
        let made = of(&long).unwrap();
        assert_eq!(keeper.open(&uri(&made)).map(|it| it.user), Some(long));
        assert_eq!(
            keeper.short(INSTANCE),
            keeper.short(&INSTANCE[1..INSTANCE.len() - 1].to_ascii_uppercase())
        );
    }
}
