//! Certificates: from the bytes that stood at an address to a key that may be believed for a while (RFC 8226).

use crate::authority::Authority;
use crate::constraints::Constraints;
use crate::failure::Failure;
use crate::passport::Party;
use crate::revocation::{Lists, Revocation};
use core::fmt;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most certificates of one file.
const CHAIN_MAX: usize = 8;

/// Signatures of certificates: ECDSA alone, as SHAKEN has it (ATIS-1000080).
pub(crate) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
];

/// Who may sign certificates.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
}

/// What is wrong with a file of roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootsError {
    /// There is no certificate in it.
    Empty,
    /// The certificate of that number, from 1, cannot be read.
    Malformed(usize),
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("holds no certificate in PEM form"),
            Self::Malformed(number) => write!(f, "certificate {number} in it cannot be read"),
        }
    }
}

impl core::error::Error for RootsError {}

impl Roots {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn read(pem: &[u8]) -> Result<Self, RootsError> {
        let mut anchors = Vec::new();
        for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let malformed = RootsError::Malformed(at + 1);
            let certificate = certificate.map_err(|_| malformed.clone())?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| malformed)?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() { Err(RootsError::Empty) } else { Ok(Self { anchors }) }
    }

    /// Whether there are none: then nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }
}

/// A signer whose certificate was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its public key, an uncompressed point of P-256.
    point: [u8; 65],
    /// From when until when, in seconds since 1970, all certificates up to the root are valid.
    valid: (u64, u64),
    /// What the certificates up to the root say of numbers and providers.
    authorities: Vec<Authority>,
    /// What they say of claims.
    constraints: Vec<Constraints>,
}

impl Credential {
    /// Verifies a chain at `now`, in seconds since 1970: PEM or DER, the signer's certificate first (RFC 8226 §10, ATIS-1000074).
    ///
    /// # Errors
    /// A failure of the class [`Unsupported`](crate::Class::Unsupported): it cannot be read, is not valid now, leads to
    /// no root, or has not a key for ES256.
    pub fn read(bytes: &[u8], roots: &Roots, now: u64) -> Result<Self, Failure> {
        Self::read_with(bytes, roots, &Lists { policy: Revocation::Off, all: &[] }, now)
    }

    /// The same, and holds each certificate below the root against the lists of revoked ones (RFC 5280 §6.3, RFC 8226 §10).
    ///
    /// # Errors
    /// As [`read`](Self::read); or one of them is revoked, or not known not to be where that is asked for.
    pub fn read_with(bytes: &[u8], roots: &Roots, lists: &Lists<'_>, now: u64) -> Result<Self, Failure> {
        let chain = chain(bytes)?;
        let (first, others) =
            chain.split_first().ok_or_else(|| Failure::unsupported("there is no certificate in the file"))?;
        let malformed = |_| Failure::unsupported("the certificate cannot be read");
        let end = EndEntityCert::try_from(first).map_err(malformed)?;
        let time = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now));
        let verify = |lists: &[&CertRevocationList<'_>], unknown| {
            let revocation = RevocationOptionsBuilder::new(lists).ok();
            let revocation = revocation.map(|it| it.with_status_policy(unknown).build());
            end.verify_for_usage(ALGORITHMS, &roots.anchors, others, time, AnyUsage, revocation, None)
        };
        let path =
            verify(&[], UnknownStatusPolicy::Allow).map_err(|error| Failure::unsupported(words(&error)))?;
        if lists.policy != Revocation::Off {
            unrevoked(first, &path, lists, now, verify)?;
        }
        let mut it =
            Self { point: [0; 65], valid: (0, u64::MAX), authorities: Vec::new(), constraints: Vec::new() };
        let (_, signer) = X509Certificate::from_der(first)
            .map_err(|_| Failure::unsupported("the certificate cannot be read"))?;
        it.point =
            point(&signer).ok_or_else(|| Failure::unsupported("the certificate's key is none for ES256"))?;
        let usage = signer.key_usage().map_err(|_| Failure::unsupported("the certificate cannot be read"))?;
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(Failure::unsupported("the certificate's key is not for signatures"));
        }
        it.take_in(&signer)?;
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let (_, issuer) = X509Certificate::from_der(&der)
                .map_err(|_| Failure::unsupported("the chain cannot be read"))?;
            it.take_in(&issuer)?;
        }
        Ok(it)
    }

    /// A certificate is valid no longer than those above it, and has a say over no more numbers than they.
    fn take_in(&mut self, certificate: &X509Certificate<'_>) -> Result<(), Failure> {
        let (from, until) = times(certificate);
        self.valid = (self.valid.0.max(from), self.valid.1.min(until));
        // id-pe-TNAuthList
        let list = certificate
            .get_extension_unique(&oid!(1.3.6.1.5.5.7.1.26))
            .map_err(|_| Failure::unsupported("the certificate has two TN authorisation lists"))?;
        if let Some(list) = list {
            let authority = Authority::read(list.value).ok_or_else(|| {
                Failure::unsupported("the certificate's TN authorisation list cannot be read")
            })?;
            self.authorities.push(authority);
        }
        // id-pe-JWTClaimConstraints, id-pe-eJWTClaimConstraints
        for oid in [oid!(1.3.6.1.5.5.7.1.27), oid!(1.3.6.1.5.5.7.1.33)] {
            let unread = || Failure::unsupported("the certificate's constraints on claims cannot be read");
            let constraints = certificate.get_extension_unique(&oid).map_err(|_| unread())?;
            if let Some(constraints) = constraints {
                self.constraints.push(Constraints::read(constraints.value).ok_or_else(unread)?);
            }
        }
        Ok(())
    }

    /// Whether its holder may claim all that (RFC 8226 §8, RFC 9118 §4).
    pub(crate) fn admits(&self, claims: &serde_json::Map<String, serde_json::Value>) -> Result<(), Failure> {
        let admitted = self.constraints.iter().try_for_each(|it| it.admit(claims));
        admitted.map_err(|why| Failure::unsupported(format!("the certificate has constraints: {why}")))
    }

    /// Whether it is valid at a time.
    pub(crate) fn valid_at(&self, at: u64) -> Result<(), Failure> {
        let (from, until) = self.valid;
        match at {
            _ if at < from => Err(Failure::unsupported("the certificate is not valid yet")),
            _ if at > until => Err(Failure::unsupported("the certificate has expired")),
            _ => Ok(()),
        }
    }

    /// Whether it may speak for somebody (RFC 8224 §6.2 step 2, RFC 8226 §9).
    pub(crate) fn authorises(&self, orig: &Party, required: bool) -> Result<(), Failure> {
        if self.authorities.is_empty() && required {
            return Err(Failure::unsupported("the certificate has no TN authorisation list"));
        }
        let number = match orig {
            Party::Number(number) => crate::canonical(number).unwrap_or_default(),
            // The lists are for numbers only.
            Party::Uri(_) => return Ok(()),
        };
        if self.authorities.iter().all(|authority| authority.covers(&number)) {
            Ok(())
        } else {
            Err(Failure::unsupported("the certificate is for other numbers"))
        }
    }

    /// Whether it made this signature.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify(message, signature).is_ok()
    }

    /// Until when, in seconds since 1970, it is valid.
    pub const fn valid_until(&self) -> u64 {
        self.valid.1
    }

    /// Codes of the providers that the certificates name.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.authorities.iter().flat_map(|authority| &authority.providers).map(String::as_str)
    }

    /// Its public key, an uncompressed point of P-256.
    pub const fn public_key(&self) -> &[u8; 65] {
        &self.point
    }
}

/// Holds a chain against lists of revoked certificates, by verifying it anew with them.
fn unrevoked<'p>(
    first: &CertificateDer<'_>,
    path: &VerifiedPath<'_>,
    lists: &Lists<'_>,
    now: u64,
    verify: impl Fn(&[&CertRevocationList<'_>], UnknownStatusPolicy) -> Result<VerifiedPath<'p>, webpki::Error>,
) -> Result<(), Failure> {
    let revoked = || Failure::unsupported("the certificate, or one above it, has been revoked");
    let mut usable = Vec::new();
    for list in lists.own(now) {
        // Each on its own: one with a wrong signature, which anybody can make, must not hide what another says.
        match verify(&[list], UnknownStatusPolicy::Allow) {
            Ok(_) => usable.push(list),
            Err(webpki::Error::CertRevoked) => return Err(revoked()),
            Err(_) => {}
        }
    }
    let mut all_known = true;
    let above = path.intermediate_certificates().map(|it| it.der());
    for der in core::iter::once(first.clone()).chain(above) {
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|_| Failure::unsupported("the certificate cannot be read"))?;
        match lists.indirect(&certificate, now) {
            Some(true) => return Err(revoked()),
            known => all_known &= known.is_some(),
        }
    }
    let known = || !usable.is_empty() && verify(&usable, UnknownStatusPolicy::Deny).is_ok();
    if lists.policy == Revocation::Require && !all_known && !known() {
        return Err(Failure::unsupported("no current list says that the certificate is not revoked"));
    }
    Ok(())
}

/// The public key, and from when until when the first certificate of a PEM or DER file is valid, in seconds since 1970; who
/// signed it is not looked at. `None` if it cannot be read or has no key for ES256.
pub fn validity(bytes: &[u8]) -> Option<([u8; 65], u64, u64)> {
    let chain = chain(bytes).ok()?;
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    let (from, until) = times(&certificate);
    Some((point(&certificate)?, from, until))
}

/// The certificates of a file, in their order.
pub(crate) fn chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let is_pem = bytes.windows(11).any(|window| window == b"-----BEGIN ");
    if !is_pem {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_| Failure::unsupported("the certificate is no proper PEM"))?;
        if kind != SectionKind::Certificate {
            continue;
        }
        if chain.len() == CHAIN_MAX {
            return Err(Failure::unsupported("the chain of certificates is too long"));
        }
        chain.push(CertificateDer::from(der));
    }
    Ok(chain)
}

pub(crate) fn times(certificate: &X509Certificate<'_>) -> (u64, u64) {
    let validity = certificate.validity();
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()))
}

/// The public key, if it is one of P-256.
fn point(certificate: &X509Certificate<'_>) -> Option<[u8; 65]> {
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_p256 = key.algorithm.algorithm == oid!(1.2.840.10045.2.1) && curve == oid!(1.2.840.10045.3.1.7);
    let point: [u8; 65] = key.subject_public_key.data.as_ref().try_into().ok()?;
    (is_p256 && point[0] == 4).then_some(point)
}

/// Certificates of signers are for no other use: what they name, if anything, does not matter (RFC 8226 §5).
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "the certificate has expired".into(),
        webpki::Error::CertNotValidYet { .. } => "the certificate is not valid yet".into(),
        webpki::Error::UnknownIssuer => "the certificate leads to no trusted root".into(),
        other => format!("the certificate is not good: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

    /// RFC 8225 §A.2 has the key; the signature is of draft-ietf-stir-passport-11, whose claims no reader takes any more.
    #[test]
    fn a_signature_that_others_made_is_verified() {
        let point = "BPBzW0Hf05rwisDyh5DBfX0nGrxnh-_GE1PKi0vCORyx0kppQEy3LJUDITQvzoZVgWAutupyJaO13nm2Eu0m9-4";
        let signed = "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9j\
            ZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9.\
            eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI\
            6IjE0NDMyMDgzNDUiLCJvcmlnIjp7InRuIjoiMTIxNTU1NTEyMTIifX0";
        let signature =
            "rq3pjT1hoRwakEGjHCnWSwUnshd0-zJ6F1VOgFWSjHBr8Qjpjlk-cpFYpFYsojNCpTzO3QfPOlckGaS6hEck7w";
        let bytes = |text: &str| BASE64URL.decode(text).unwrap();
        let point = bytes(point).try_into().unwrap();
        let credential =
            Credential { point, valid: (0, u64::MAX), authorities: Vec::new(), constraints: Vec::new() };
        let mut signature: [u8; 64] = bytes(signature).try_into().unwrap();
        assert!(credential.signed(signed.as_bytes(), &signature));
        assert!(!credential.signed(&signed.as_bytes()[1..], &signature));
        signature[63] ^= 1;
        assert!(!credential.signed(signed.as_bytes(), &signature));
    }
}
