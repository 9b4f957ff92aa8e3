//! Lists of revoked certificates (RFC 5280 §5 and §6.3, RFC 8226 §10): read, and held against a chain.
//!
//! A list is its authority's own, or an *indirect* one that somebody keeps for several authorities, as SHAKEN has it
//! (ATIS-1000080): that one has to be signed by a certificate that was named for it.

use crate::certificate::ALGORITHMS;
use crate::url;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::collections::HashSet;
use std::sync::Arc;
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

/// Most addresses of lists that a chain may name.
const ADDRESSES_MAX: usize = 8;

/// What is asked of lists of revoked certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    /// They are not looked at.
    Off,
    /// A certificate that is on its list is refused; one whose list cannot be had passes.
    #[default]
    Prefer,
    /// A certificate passes only while a current list says that it is not revoked, and so all above it but the root.
    Require,
}

/// Certificates of those who keep lists for others.
#[derive(Clone, Debug, Default)]
pub struct ListIssuers(Vec<CertificateDer<'static>>);

impl ListIssuers {
    /// Those of a PEM file; `None` if it holds none, or one that cannot be read or may not sign lists.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
        let may_sign = |der: &CertificateDer<'_>| {
            let (_, it) = X509Certificate::from_der(der).ok()?;
            Some(it.key_usage().ok()?.is_none_or(|usage| usage.value.crl_sign()))
        };
        (!all.is_empty() && all.iter().all(|it| may_sign(it) == Some(true))).then_some(Self(all))
    }

    /// The one that made a signature in somebody's name, and until when it is valid.
    fn signed(&self, name: &[u8], message: &[u8], signature: &[u8]) -> Option<(u64, u64)> {
        self.0.iter().find_map(|der| {
            let (_, it) = X509Certificate::from_der(der).ok()?;
            let key = EndEntityCert::try_from(der).ok()?;
            let made_it = |algorithm| key.verify_signature(algorithm, message, signature).is_ok();
            let is_it =
                it.subject().as_raw() == name && ALGORITHMS.iter().any(|algorithm| made_it(*algorithm));
            is_it.then(|| crate::certificate::times(&it))
        })
    }
}

/// A list of revoked certificates.
#[derive(Debug)]
pub struct RevocationList {
    content: Content,
    /// From when until when it counts, in seconds since 1970.
    current: (u64, u64),
}

#[derive(Debug)]
enum Content {
    Own(CertRevocationList<'static>),
    Indirect(Indirect),
}

impl RevocationList {
    /// Reads a list in PEM or DER form.
    ///
    /// # Errors
    /// In words: it cannot be read, is none that this reader could hold a certificate against (a delta, one of some
    /// reasons only), or is an indirect one that none of `issuers` signed.
    pub fn read(bytes: &[u8], issuers: &ListIssuers) -> Result<Self, String> {
        let der = der(bytes).ok_or("holds no list of revoked certificates")?;
        let (rest, list) =
            CertificateRevocationList::from_der(&der).map_err(|_| "is no list of revoked certificates")?;
        if !rest.is_empty() {
            return Err("has something behind the list".into());
        }
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        // RFC 5280 §5.1.2.5: it must be there.
        let next = list.next_update().ok_or("does not say when the next list comes")?;
        let mut current = (seconds(list.last_update().timestamp()), seconds(next.timestamp()));
        let content = if is_indirect(&list) {
            let signed = list.tbs_cert_list.as_ref();
            let signature = list.signature_value.data.as_ref();
            let valid = issuers
                .signed(list.issuer().as_raw(), signed, signature)
                .ok_or("is kept for others by somebody who is not named for it")?;
            current = (current.0.max(valid.0), current.1.min(valid.1));
            Content::Indirect(Indirect::read(&list).ok_or("says something that is not understood")?)
        } else {
            let own =
                OwnedCertRevocationList::from_der(&der).map_err(|error| format!("is no good: {error:?}"))?;
            Content::Own(own.into())
        };
        Ok(Self { content, current })
    }

    /// Until when it counts, in seconds since 1970.
    pub const fn valid_until(&self) -> u64 {
        self.current.1
    }

    const fn is_current(&self, now: u64) -> bool {
        self.current.0 <= now && now <= self.current.1
    }
}

/// The lists at hand, and what is asked of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// What is asked.
    pub policy: Revocation,
    /// Those at hand, of whatever authority and age.
    pub all: &'a [Arc<RevocationList>],
}

impl<'a> Lists<'a> {
    /// The authorities' own lists that count now, the youngest first.
    pub(crate) fn own(&self, now: u64) -> Vec<&'a CertRevocationList<'static>> {
        let mut current: Vec<_> = self.current(now).collect();
        current.sort_by_key(|list| core::cmp::Reverse(list.current.0));
        let own = |list: &'a RevocationList| match &list.content {
            Content::Own(own) => Some(own),
            Content::Indirect(_) => None,
        };
        current.into_iter().filter_map(own).collect()
    }

    /// What lists kept for others say of a certificate that names them: whether it is revoked; `None` if they say nothing.
    pub(crate) fn indirect(&self, certificate: &X509Certificate<'_>, now: u64) -> Option<bool> {
        let said = self.current(now).filter_map(|list| match &list.content {
            Content::Indirect(list) => list.revokes(certificate),
            Content::Own(_) => None,
        });
        said.reduce(|one, other| one || other)
    }

    fn current(&self, now: u64) -> impl Iterator<Item = &'a RevocationList> + use<'a> {
        self.all.iter().map(AsRef::as_ref).filter(move |list: &&RevocationList| list.is_current(now))
    }
}

/// A list that is kept for several authorities (RFC 5280 §5.2.5, §5.3.3).
#[derive(Debug)]
struct Indirect {
    issuer: Vec<u8>,
    /// Where it says that it is; empty: wherever it is named.
    places: Vec<String>,
    of_users: bool,
    of_authorities: bool,
    /// Issuer and serial number.
    revoked: HashSet<(Vec<u8>, Vec<u8>)>,
}

impl Indirect {
    /// `None` if it holds anything that would have to be understood (RFC 5280 §5.2, §5.3).
    fn read(list: &CertificateRevocationList<'_>) -> Option<Self> {
        let issuer = list.issuer().as_raw().to_vec();
        let mut it = Self {
            issuer: issuer.clone(),
            places: Vec::new(),
            of_users: true,
            of_authorities: true,
            revoked: HashSet::new(),
        };
        for extension in list.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::IssuingDistributionPoint(scope) => {
                    if scope.only_some_reasons.is_some() || scope.only_contains_attribute_certs {
                        return None;
                    }
                    it.of_users = !scope.only_contains_ca_certs;
                    it.of_authorities = !scope.only_contains_user_certs;
                    it.places = scope.distribution_point.as_ref().map_or_else(Vec::new, places);
                }
                // §5.2.4: a delta says what has changed only.
                _ if extension.oid == oid!(2.5.29.27)
                    || is_beyond(extension.critical, extension.parsed_extension()) =>
                {
                    return None;
                }
                _ => {}
            }
        }
        let mut of = issuer;
        for entry in list.iter_revoked_certificates() {
            if let Some(other) = issuer_of(entry)? {
                of = other;
            }
            it.revoked.insert((of.clone(), entry.raw_serial().to_vec()));
        }
        Some(it)
    }

    /// Whether a certificate is on it; `None` if it does not say anything about that one (RFC 5280 §6.3.3 (b)).
    fn revokes(&self, certificate: &X509Certificate<'_>) -> Option<bool> {
        let is_authority = certificate.is_ca();
        if !(if is_authority { self.of_authorities } else { self.of_users }) {
            return None;
        }
        let names_it = points(certificate).iter().any(|(at, issuer)| {
            issuer.as_deref() == Some(&*self.issuer)
                && (self.places.is_empty() || at.iter().any(|place| self.places.contains(place)))
        });
        let mark = (certificate.issuer().as_raw().to_vec(), certificate.raw_serial().to_vec());
        names_it.then(|| self.revoked.contains(&mark))
    }
}

/// Whether something must be understood that is not.
const fn is_beyond(critical: bool, extension: &ParsedExtension<'_>) -> bool {
    critical
        && !matches!(extension, ParsedExtension::CRLNumber(_) | ParsedExtension::AuthorityKeyIdentifier(_))
}

/// Of which authority an entry and those after it are, if it says so (RFC 5280 §5.3.3); `None` if it cannot be read.
fn issuer_of(entry: &RevokedCertificate<'_>) -> Option<Option<Vec<u8>>> {
    let mut issuer = None;
    for extension in entry.extensions() {
        if extension.oid == oid!(2.5.29.29) {
            let (_, names) =
                Any::from_der(extension.value).ok().filter(|(_, it)| it.tag() == Tag::Sequence)?;
            let (_, name) = Any::from_der(names.data).ok()?;
            // directoryName [4], tagged explicitly since it is a CHOICE.
            let is_name = name.class() == Class::ContextSpecific && name.tag().0 == 4;
            issuer = Some(is_name.then(|| name.data.to_vec())?);
        } else if extension.critical && extension.oid != oid!(2.5.29.21) {
            return None;
        }
    }
    Some(issuer)
}

fn is_indirect(list: &CertificateRevocationList<'_>) -> bool {
    list.extensions()
        .iter()
        .any(|it| matches!(it.parsed_extension(), ParsedExtension::IssuingDistributionPoint(scope) if scope.indirect_crl))
}

/// The URIs of a name.
fn places(name: &DistributionPointName<'_>) -> Vec<String> {
    let DistributionPointName::FullName(names) = name else { return Vec::new() };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.iter().filter_map(uri).collect()
}

/// Where a certificate says that its lists are, and who keeps each if that is not its own authority (RFC 5280 §4.2.1.13).
fn points(certificate: &X509Certificate<'_>) -> Vec<(Vec<String>, Option<Vec<u8>>)> {
    let of = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
        _ => None,
    });
    let issuer = |names: &Vec<GeneralName<'_>>| {
        names.iter().find_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name.as_raw().to_vec()),
            _ => None,
        })
    };
    of.flatten()
        .map(|point| {
            (
                point.distribution_point.as_ref().map_or_else(Vec::new, places),
                point.crl_issuer.as_ref().and_then(issuer),
            )
        })
        .collect()
}

/// Where the lists are that the certificates of a PEM or DER file name: of each the first address that may be fetched from.
pub fn list_addresses(bytes: &[u8]) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for der in crate::certificate::chain(bytes).unwrap_or_default() {
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else { continue };
        for (places, _) in points(&certificate) {
            let place = places.into_iter().find(|place| url::is_list_fetchable(place));
            if let Some(place) =
                place.filter(|place| !addresses.contains(place) && addresses.len() < ADDRESSES_MAX)
            {
                addresses.push(place);
            }
        }
    }
    addresses
}

/// The list of a file: the first of a PEM file, or all that there is.
fn der(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Some(bytes.to_vec());
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes)
        .find_map(|section| section.ok().filter(|(kind, _)| *kind == SectionKind::Crl).map(|(_, der)| der))
}
