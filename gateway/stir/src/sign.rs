//! Signing: a private key, where its certificate is, and the Identity field it makes (RFC 8224 §6.1).

use crate::identity::Identity;
use crate::passport::{Claims, Passport};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use core::fmt;
use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// A source of randomness, given by who may have one.
type Randomness = Box<dyn SecureRandom + Send + Sync>;

/// What is wrong with a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is no private key in PEM form.
    Missing,
    /// It is encrypted.
    Encrypted,
    /// It is none of P-256, or does not have its public half with it.
    Unfit,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "holds no private key in PEM form",
            Self::Encrypted => "is encrypted; decrypt it with `openssl pkcs8 -in FILE -out NEW`",
            Self::Unfit => {
                "holds no key that can sign ES256; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            }
        })
    }
}

impl core::error::Error for KeyError {}

/// Signs tokens with one key.
pub struct Signer {
    key: EcdsaKeyPair,
    random: Randomness,
    x5u: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("x5u", &self.x5u).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with the key of a PEM file (PKCS #8, or SEC 1 as `openssl ecparam` writes it), whose certificate is at `x5u`.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(pem: &[u8], x5u: &str, random: Randomness) -> Result<Self, KeyError> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| KeyError::Missing)?;
            let key = match kind {
                SectionKind::PrivateKey => {
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &*random).ok()
                }
                SectionKind::EcPrivateKey => sec1(&der, &*random),
                SectionKind::RsaPrivateKey => None,
                _ => continue,
            };
            return Ok(Self { key: key.ok_or(KeyError::Unfit)?, random, x5u: x5u.to_owned() });
        }
        let encrypted = b"ENCRYPTED PRIVATE KEY";
        let is_encrypted = pem.windows(encrypted.len()).any(|window| window == encrypted);
        Err(if is_encrypted { KeyError::Encrypted } else { KeyError::Missing })
    }

    /// Its public key, an uncompressed point.
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// Where its certificate is.
    pub fn x5u(&self) -> &str {
        &self.x5u
    }

    /// The value of an Identity field with a token in full form, of the type SHAKEN if it attests anything. `None` if the
    /// source of randomness has failed.
    pub fn sign(&self, claims: Claims) -> Option<String> {
        let ppt = claims.attest.is_some().then_some(crate::SHAKEN);
        self.sign_as(ppt, claims)
    }

    /// The same with a token of another type: one of a diversion, or of a message.
    pub fn sign_as(&self, ppt: Option<&str>, claims: Claims) -> Option<String> {
        let passport = Passport { x5u: self.x5u.clone(), ppt: ppt.map(str::to_owned), claims };
        let token = self.token(&passport)?;
        let (info, ppt) = (self.x5u.as_str(), passport.ppt.as_deref());
        Some(Identity { token: &token, info, alg: Some("ES256"), ppt }.write())
    }

    /// The same with a token that has the one of before nested in it (RFC 8946 §5), given as an Identity field's value. `None`
    /// also if that has none in full form.
    pub fn nest(&self, claims: Claims, before: &str) -> Option<String> {
        let identity = Identity::parse(before.as_bytes()).ok().filter(|it| !it.token.starts_with('.'))?;
        self.sign_as(Some(crate::DIV_O), Claims { opt: Some(identity.token.to_owned()), ..claims })
    }

    /// The compact form of a token: the signature alone, for who can reconstruct the rest from the INVITE, its Date field
    /// included (RFC 8225 §7). `None` if the source of randomness has failed.
    pub fn compact(&self, claims: Claims) -> Option<String> {
        let passport = Passport { x5u: self.x5u.clone(), ppt: None, claims };
        let token = self.token(&passport)?;
        let (_, signature) = token.rsplit_once('.')?;
        let token = format!("..{signature}");
        Some(Identity { token: &token, info: &self.x5u, alg: Some("ES256"), ppt: None }.write())
    }

    fn token(&self, passport: &Passport) -> Option<String> {
        let mut token = passport.signing_input();
        let signature = self.key.sign(&*self.random, token.as_bytes()).ok()?;
        token.push('.');
        BASE64URL.encode_string(signature.as_ref(), &mut token);
        Some(token)
    }
}

/// A name for where calls come in, always the same for the same parts: a UUID of version 8 (RFC 9562 §5.8; RFC 8588 §5).
pub fn origination_of(parts: &[&str]) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let number = digest.as_ref().iter().take(16).fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
    let number = number & !(0xf << 76) & !(0b11 << 62) | 0x8 << 76 | 0b10 << 62;
    let text = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// ECPrivateKey ::= SEQUENCE { version INTEGER, privateKey OCTET STRING, parameters [0] OPTIONAL, publicKey [1] BIT
/// STRING OPTIONAL } (RFC 5915 §3)
fn sec1(der: &[u8], random: &dyn SecureRandom) -> Option<EcdsaKeyPair> {
    let (_, key) = Any::from_der(der).ok().filter(|(_, any)| any.tag() == Tag::Sequence)?;
    let (rest, _version) = Any::from_der(key.data).ok()?;
    let (mut rest, private) = Any::from_der(rest).ok()?;
    while !rest.is_empty() {
        let (next, part) = Any::from_der(rest).ok()?;
        if part.class() == Class::ContextSpecific && part.tag().0 == 1 {
            let (_, bits) = Any::from_der(part.data).ok().filter(|(_, any)| any.tag() == Tag::BitString)?;
            let public = bits.data.strip_prefix(&[0])?;
            return EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                private.data,
                public,
                random,
            )
            .ok();
        }
        rest = next;
    }
    None
}
