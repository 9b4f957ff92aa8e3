//! Keys of SRTP in descriptions (SDES, RFC 4568): `a=crypto` read and written, and the profiles of RTP that they go with.

use super::{Media, attribute, lines, words};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Most `a=crypto` lines of one stream that are looked at.
pub const CRYPTO_MAX: usize = 16;
/// Most octets of key and salt.
const SECRET_MAX: usize = 64;
/// The longest lifetime that there is, in packets (RFC 3711 §9.2).
const LIFETIME_MAX: u64 = 1 << 48;

/// Base64 as it is met: some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an `m=` line says of how RTP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// SRTP (RFC 3711): `SAVP` in place of `AVP`.
    pub secure: bool,
    /// RTCP-based feedback (RFC 4585, RFC 5124): an `F` behind it.
    pub feedback: bool,
    /// Keys by DTLS (RFC 5764): `UDP/TLS/` in front of it.
    pub dtls: bool,
}

impl Profile {
    /// `RTP/AVP`.
    pub const PLAIN: Self = Self { secure: false, feedback: false, dtls: false };

    const ALL: [(Self, &'static str); 6] = [
        (Self::PLAIN, "RTP/AVP"),
        (Self { secure: false, feedback: true, dtls: false }, "RTP/AVPF"),
        (Self { secure: true, feedback: false, dtls: false }, "RTP/SAVP"),
        (Self { secure: true, feedback: true, dtls: false }, "RTP/SAVPF"),
        (Self { secure: true, feedback: false, dtls: true }, "UDP/TLS/RTP/SAVP"),
        (Self { secure: true, feedback: true, dtls: true }, "UDP/TLS/RTP/SAVPF"),
    ];

    /// The profile of a protocol, case aside; `None` if it is another one.
    pub fn of(protocol: &[u8]) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| protocol.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(profile, _)| *profile)
    }

    /// As it stands in an `m=` line. What there is no name for, keys by DTLS without SRTP, is plain RTP.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(profile, _)| *profile == self);
        found.map_or("RTP/AVP", |(_, name)| name)
    }
}

/// A key that a description offers, or answers with: one `a=crypto` line (RFC 4568 §9.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto<'a> {
    /// By which an answer names it, below 10⁹.
    pub tag: u32,
    /// The name of the suite.
    pub suite: &'a [u8],
    /// Master key and salt.
    pub secret: Vec<u8>,
    /// How many packets it is good for, if that is said.
    pub lifetime: Option<u64>,
    /// The identifier that stands in each packet: number, and length in octets.
    pub mki: Option<(u64, usize)>,
}

impl core::fmt::Debug for Crypto<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Crypto({} {})", self.tag, String::from_utf8_lossy(self.suite))
    }
}

impl<'a> Crypto<'a> {
    /// Reads the value of `a=crypto`; `None` if it cannot be read, or asks for what is not done here: several keys, keys that
    /// are derived anew, packets that are not encrypted or not authenticated, error correction (RFC 4568 §6.3). An answerer
    /// passes over such a line (§7.1.2).
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut parts = words(value);
        let tag = super::number(parts.next()?, 999_999_999)? as u32;
        let suite = parts.next()?;
        let key = parts.next()?;
        let head = key.get(..7).filter(|head| head.eq_ignore_ascii_case(b"inline:"))?;
        let mut info = key[head.len()..].split(|byte| *byte == b'|');
        let text = info.next()?;
        // A second key would come behind a semicolon, which base64 has not.
        if text.len() > SECRET_MAX * 2 {
            return None;
        }
        let secret = BASE64.decode(text).ok().filter(|secret| secret.len() <= SECRET_MAX)?;
        let (mut lifetime, mut mki) = (None, None);
        for part in info {
            // RFC 4568 §6.1: the identifier is what has a colon.
            match part.iter().position(|byte| *byte == b':') {
                Some(colon) if mki.is_none() => {
                    let len = super::number(&part[colon + 1..], 128)? as usize;
                    mki = Some((super::number(&part[..colon], u64::MAX)?, len));
                }
                None if lifetime.is_none() && mki.is_none() => lifetime = Some(packets(part)?),
                _ => return None,
            }
        }
        parts.all(is_agreeable).then_some(Self { tag, suite, secret, lifetime, mki })
    }
}

/// A lifetime: `2^n` or a number, above zero (RFC 4568 §6.1).
fn packets(text: &[u8]) -> Option<u64> {
    let count = match text.strip_prefix(b"2^") {
        Some(power) => 1u64.checked_shl(super::number(power, 48)? as u32)?,
        None => super::number(text, LIFETIME_MAX)?,
    };
    (count > 0).then_some(count)
}

/// Whether a session parameter (RFC 4568 §6.3) says nothing that is not done here.
fn is_agreeable(parameter: &[u8]) -> bool {
    let (name, value) = match parameter.iter().position(|byte| *byte == b'=') {
        Some(at) => (&parameter[..at], Some(&parameter[at + 1..])),
        None => (parameter, None),
    };
    match (name, value) {
        // §6.3.1: keys are derived once.
        (b"KDR", Some(b"0")) => true,
        // §6.3.6: what the sender thinks of the receiver's window. Ours is wider than the least.
        (b"WSH", Some(width)) => super::number(width, 1 << 20).is_some_and(|width| width >= 64),
        // §6.3.7: extensions that may be passed over.
        _ => name.first() == Some(&b'-'),
    }
}

/// The value of an `a=crypto` line.
pub fn crypto_value(tag: u32, suite: &str, secret: &[u8]) -> String {
    format!("{tag} {suite} inline:{}", base64::engine::general_purpose::STANDARD.encode(secret))
}

/// Takes out of a description every `a=crypto` line but that of a tag; with none, all of them.
pub fn keep_crypto(description: &[u8], tag: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(description.len());
    for line in description.split_inclusive(|byte| *byte == b'\n') {
        let said = line.strip_prefix(b"a=crypto:").map(|value| {
            words(value).next().and_then(|digits| super::number(digits, 999_999_999)).map(|tag| tag as u32)
        });
        if said.is_none_or(|said| said.is_some() && said == tag) {
            out.extend_from_slice(line);
        }
    }
    out
}

impl<'a> Media<'a> {
    /// The profile, if it is one of RTP's.
    pub fn profile(&self) -> Option<Profile> {
        Profile::of(self.protocol)
    }

    /// The keys that can be agreed to, in the order of preference (RFC 4568 §5.1.1); of equal tags the first.
    pub fn crypto(&self) -> Vec<Crypto<'a>> {
        let values = lines(self.section).filter(|(kind, _)| *kind == b'a').filter_map(|(_, value)| {
            match attribute(value) {
                (b"crypto", Some(value)) => Some(value),
                _ => None,
            }
        });
        let mut found: Vec<Crypto<'a>> = Vec::new();
        for crypto in values.take(CRYPTO_MAX).filter_map(Crypto::parse) {
            if found.iter().all(|other| other.tag != crypto.tag) {
                found.push(crypto);
            }
        }
        found
    }
}

/// Attributes that agree on keys: each leg has its own, and none is another's concern.
pub(super) fn is_keying(name: &[u8]) -> bool {
    matches!(
        name,
        b"crypto" | b"fingerprint" | b"setup" | b"tls-id" | b"dtls-id" | b"key-mgmt" | b"zrtp-hash"
    )
}

#[cfg(test)]
mod tests {
    use super::super::Session;
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    /// Tag, octets of the secret, lifetime, identifier.
    type Read = (u32, usize, Option<u64>, Option<(u64, usize)>);

    fn parse(value: &str) -> Option<Read> {
        let crypto = Crypto::parse(value.as_bytes())?;
        Some((crypto.tag, crypto.secret.len(), crypto.lifetime, crypto.mki))
    }

    /// RFC 4568 §6.1 and its examples.
    #[test]
    fn keys_are_read_with_lifetime_and_identifier() {
        let suite = "AES_CM_128_HMAC_SHA1_80";
        assert_eq!(parse(&format!("1 {suite} inline:{KEY}")), Some((1, 30, None, None)));
        let long = format!("1 {suite} inline:{KEY}|2^20|1:32");
        assert_eq!(parse(&long), Some((1, 30, Some(1 << 20), Some((1, 32)))));
        assert_eq!(parse(&format!("9 {suite} INLINE:{KEY}|1066:4")), Some((9, 30, None, Some((1066, 4)))));
        assert_eq!(parse(&format!("2 {suite} inline:{KEY}|1000000")), Some((2, 30, Some(1_000_000), None)));
        // Without padding, as GCM's 28 octets would have it.
        assert_eq!(
            parse("2 AEAD_AES_128_GCM inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            Some((2, 28, None, None))
        );
    }

    #[test]
    fn session_parameters_are_agreed_to_or_not() {
        let line = |parameters: &str| {
            parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} {parameters}")).is_some()
        };
        for agreed in ["", "KDR=0", "WSH=64", "-anything", "-anything=1 WSH=128"] {
            assert!(line(agreed), "{agreed}");
        }
        for not in [
            "KDR=1",
            "UNENCRYPTED_SRTP",
            "UNENCRYPTED_SRTCP",
            "UNAUTHENTICATED_SRTP",
            "FEC_ORDER=FEC_SRTP",
            "WSH=12",
            "WSH",
            "anything",
            "WSH=64 KDR=3",
        ] {
            assert!(!line(not), "{not}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_key() {
        for bad in [
            "",
            "1",
            "1 S",
            "x S inline:AAAA",
            "1234567890 S inline:AAAA",
            "1 S uri:AAAA",
            "1 S inline:!!!!",
            "1 S inline:AAAA;inline:BBBB",
            "1 S inline:AAAA|2^49",
            "1 S inline:AAAA|0",
            "1 S inline:AAAA|1:1|1:1",
            "1 S inline:AAAA|1:4|2^20",
            "1 S inline:AAAA|1:129",
            "1 S inline:AAAA|",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let long = format!("1 S inline:{}", "A".repeat(200));
        assert_eq!(parse(&long), None);
        assert_eq!(
            format!("{:?}", Crypto::parse(b"1 S inline:AAAA").unwrap()),
            "Crypto(1 S)",
            "no key is printed"
        );
    }

    #[test]
    fn a_stream_has_keys_in_order_and_each_tag_once() {
        let text = format!(
            "v=0\nm=audio 5 RTP/SAVP 0\na=crypto:7 A inline:{KEY}\na=crypto:x\na=crypto:3 B inline:{KEY}\n\
             a=crypto:7 C inline:{KEY}\nm=audio 6 RTP/AVPF 0\n"
        );
        let session = Session::parse(text.as_bytes()).unwrap();
        let tags: Vec<_> =
            session.media[0].crypto().iter().map(|crypto| (crypto.tag, crypto.suite)).collect();
        assert_eq!(tags, [(7, &b"A"[..]), (3, b"B")]);
        assert!(session.media[1].crypto().is_empty());
        let profile = session.media[0].profile().unwrap();
        assert!(profile.secure && !profile.feedback && !profile.dtls);
        assert_eq!(session.media[1].profile().unwrap().as_str(), "RTP/AVPF");
        for (profile, name) in Profile::ALL {
            assert_eq!(
                (Profile::of(name.to_ascii_lowercase().as_bytes()), profile.as_str()),
                (Some(profile), name)
            );
        }
        assert_eq!(Profile::of(b"udptl"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let secret: Vec<u8> = (0..46).collect();
        let value = crypto_value(5, "AES_256_CM_HMAC_SHA1_80", &secret);
        let crypto = Crypto::parse(value.as_bytes()).unwrap();
        assert_eq!((crypto.tag, crypto.suite, crypto.secret), (5, &b"AES_256_CM_HMAC_SHA1_80"[..], secret));
    }

    #[test]
    fn all_keys_but_one_can_be_taken_out() {
        let text = b"v=0\r\nm=audio 5 RTP/SAVP 0\r\na=crypto:1 A inline:AAAA\r\na=crypto:2 B inline:BBBB\r\na=sendrecv\r\n";
        let kept = |tag| String::from_utf8(keep_crypto(text, tag)).unwrap();
        assert_eq!(
            kept(Some(2)),
            "v=0\r\nm=audio 5 RTP/SAVP 0\r\na=crypto:2 B inline:BBBB\r\na=sendrecv\r\n"
        );
        assert_eq!(kept(None), "v=0\r\nm=audio 5 RTP/SAVP 0\r\na=sendrecv\r\n");
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), tail in "[ -~]{0,80}") {
            let _ = Crypto::parse(&bytes);
            let _ = Crypto::parse(format!("1 S inline:{tail}").as_bytes());
            let _ = keep_crypto(&bytes, Some(1));
        }
    }
}
