//! Chains held against lists of revoked certificates: authorities' own, and one that is kept for others (RFC 5280 §6.3).
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SerialNumber, SigningKey, date_time_ymd,
};
use std::sync::Arc;
use stir::{Class, Credential, ListIssuers, Lists, Revocation, RevocationList, Roots, list_addresses};
use x509_parser::prelude::{FromDer, X509Certificate};

/// 2026-06-01
const NOW: u64 = 1_780_272_000;
const DAY: u64 = 86_400;
const LAST_WEEK: &str = "260525000000Z";
const NEXT_WEEK: &str = "260608000000Z";
const PLACE: &str = "http://crl.example.org/all.crl";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn parameters(name: &str, serial: u8) -> CertificateParams {
    let mut it = CertificateParams::new(Vec::new()).unwrap();
    it.distinguished_name.push(DnType::CommonName, name);
    it.serial_number = Some(SerialNumber::from_slice(&[serial]));
    (it.not_before, it.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    it
}

fn ca(name: &str, serial: u8) -> CertificateParams {
    let mut it = parameters(name, serial);
    it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    it.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    it
}

fn alone(name: &str) -> Authority {
    CertifiedIssuer::self_signed(ca(name, 1), KeyPair::generate().unwrap()).unwrap()
}

fn name_of(authority: &Authority) -> Vec<u8> {
    X509Certificate::from_der(authority.der()).unwrap().1.subject().as_raw().to_vec()
}

/// A root, an authority below it, and a signer below that.
struct World {
    root: Authority,
    middle: Authority,
    chain: String,
}

const MIDDLE: u8 = 20;
const SIGNER: u8 = 30;

impl World {
    /// The two below the root say that their lists are there, where that is given.
    fn new(points: Option<Vec<u8>>) -> Self {
        let with = |mut it: CertificateParams| {
            let points = points.clone();
            it.custom_extensions
                .extend(points.map(|der| CustomExtension::from_oid_content(&[2, 5, 29, 31], der)));
            it
        };
        let root = alone("root");
        let key = || KeyPair::generate().unwrap();
        let middle = CertifiedIssuer::signed_by(with(ca("middle", MIDDLE)), key(), &root).unwrap();
        let signer = with(parameters("signer", SIGNER)).signed_by(&key(), &middle).unwrap();
        let chain = signer.pem() + &middle.pem();
        Self { root, middle, chain }
    }

    fn read(
        &self,
        policy: Revocation,
        lists: &[&Vec<u8>],
        issuers: &ListIssuers,
        now: u64,
    ) -> Result<(), String> {
        let roots = Roots::read(self.root.pem().as_bytes()).unwrap();
        let all: Vec<_> =
            lists.iter().filter_map(|list| RevocationList::read(list, issuers).ok()).map(Arc::new).collect();
        match Credential::read_with(self.chain.as_bytes(), &roots, &Lists { policy, all: &all }, now) {
            Ok(_) => Ok(()),
            Err(failure) => {
                assert_eq!(failure.class, Class::Unsupported);
                Err(failure.why)
            }
        }
    }

    fn own(&self, policy: Revocation, lists: &[&Vec<u8>]) -> Result<(), String> {
        self.read(policy, lists, &ListIssuers::default(), NOW)
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let head = match content.len() {
        length @ ..128 => vec![tag, length as u8],
        length @ ..256 => vec![tag, 0x81, length as u8],
        length => [&[tag, 0x82][..], &(length as u16).to_be_bytes()].concat(),
    };
    [head, content.to_vec()].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// An extension below 2.5.29.
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    sequence(&[tlv(6, &[0x55, 0x1d, last]), critical, tlv(4, value)])
}

/// A list, DER, of these entries: serial number, and what stands beside it.
struct Written<'a> {
    authority: &'a Authority,
    next: &'a str,
    entries: Vec<(u8, Vec<u8>)>,
    extensions: Vec<Vec<u8>>,
}

impl<'a> Written<'a> {
    fn new(authority: &'a Authority, revoked: &[u8]) -> Self {
        let entries = revoked.iter().map(|serial| (*serial, Vec::new())).collect();
        Self { authority, next: NEXT_WEEK, entries, extensions: vec![extension(20, false, &tlv(2, &[7]))] }
    }

    /// One that is kept for others at a place.
    fn for_others(authority: &'a Authority, entries: Vec<(u8, Vec<u8>)>) -> Self {
        let place = tlv(0xa0, &tlv(0xa0, &tlv(0x86, PLACE.as_bytes())));
        let scope = sequence(&[place, tlv(0x84, &[0xff])]);
        let mut it = Self { entries, ..Self::new(authority, &[]) };
        it.extensions.push(extension(28, true, &scope));
        it
    }

    fn der(&self) -> Vec<u8> {
        // ecdsa-with-SHA256
        let algorithm = sequence(&[tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]);
        let entry = |(serial, more): &(u8, Vec<u8>)| {
            let more = if more.is_empty() { Vec::new() } else { sequence(std::slice::from_ref(more)) };
            sequence(&[tlv(2, &[*serial]), tlv(0x17, LAST_WEEK.as_bytes()), more])
        };
        let entries: Vec<_> = self.entries.iter().map(entry).collect();
        let tbs = sequence(&[
            tlv(2, &[1]),
            algorithm.clone(),
            name_of(self.authority),
            tlv(0x17, LAST_WEEK.as_bytes()),
            if self.next.is_empty() { Vec::new() } else { tlv(0x17, self.next.as_bytes()) },
            if entries.is_empty() { Vec::new() } else { sequence(&entries) },
            tlv(0xa0, &sequence(&self.extensions)),
        ]);
        let signature = [vec![0], self.authority.key().sign(&tbs).unwrap()].concat();
        sequence(&[tbs, algorithm, tlv(3, &signature)])
    }
}

/// CRLDistributionPoints: a place, and who keeps the list there if that is somebody else.
fn points(place: &str, keeper: Option<&Authority>) -> Vec<u8> {
    let place = tlv(0xa0, &tlv(0xa0, &tlv(0x86, place.as_bytes())));
    let keeper = keeper.map_or_else(Vec::new, |keeper| tlv(0xa2, &tlv(0xa4, &name_of(keeper))));
    sequence(&[sequence(&[place, keeper])])
}

fn of(authority: &Authority) -> Vec<u8> {
    extension(29, true, &sequence(&[tlv(0xa4, &name_of(authority))]))
}

/// RFC 5280 §6.3.3
#[test]
fn who_is_on_the_list_is_refused_and_so_is_all_below() {
    let world = World::new(None);
    let (root, middle) = (Written::new(&world.root, &[]).der(), Written::new(&world.middle, &[7, 8]).der());
    let (of_middle, of_signer) =
        (Written::new(&world.root, &[3, MIDDLE]).der(), Written::new(&world.middle, &[SIGNER]).der());
    for policy in [Revocation::Prefer, Revocation::Require] {
        assert_eq!(world.own(policy, &[&root, &middle]), Ok(()));
        for lists in [[&root, &of_signer], [&of_middle, &middle], [&of_middle, &of_signer]] {
            assert!(world.own(policy, &lists).unwrap_err().contains("has been revoked"), "{policy:?}");
        }
    }
    assert_eq!(world.own(Revocation::Off, &[&of_middle, &of_signer]), Ok(()));
}

#[test]
fn what_is_not_known_passes_or_not_as_is_asked() {
    let world = World::new(None);
    let (root, middle) = (Written::new(&world.root, &[]).der(), Written::new(&world.middle, &[]).der());
    let mut old = Written::new(&world.middle, &[]);
    old.next = "260531000000Z";
    let (other, old) = (alone("other"), old.der());
    let foreign = Written::new(&other, &[SIGNER]).der();
    for lists in [vec![], vec![&root], vec![&middle], vec![&root, &foreign], vec![&root, &old]] {
        assert_eq!(world.own(Revocation::Prefer, &lists), Ok(()));
        assert!(world.own(Revocation::Require, &lists).unwrap_err().contains("no current list"));
    }
    // Before and after its time a list says nothing.
    let at = |now| world.read(Revocation::Require, &[&root, &middle], &ListIssuers::default(), now);
    assert_eq!(
        (at(NOW - 8 * DAY).is_err(), at(NOW + 6 * DAY), at(NOW + 8 * DAY).is_err()),
        (true, Ok(()), true)
    );
}

/// Lists come without TLS: whoever stands in between can put another one in their place.
#[test]
fn a_forged_list_neither_revokes_nor_clears() {
    let world = World::new(None);
    let (root, middle) = (Written::new(&world.root, &[]).der(), Written::new(&world.middle, &[]).der());
    let impostor = alone("middle");
    let (accusing, clearing) = (Written::new(&impostor, &[SIGNER]).der(), Written::new(&impostor, &[]).der());
    assert_eq!(world.own(Revocation::Prefer, &[&accusing, &root]), Ok(()));
    assert_eq!(world.own(Revocation::Require, &[&accusing, &root, &middle]), Ok(()));
    assert!(world.own(Revocation::Require, &[&clearing, &root]).is_err());
    let honest = Written::new(&world.middle, &[SIGNER]).der();
    assert!(world.own(Revocation::Prefer, &[&clearing, &honest]).is_err());
}

/// ATIS-1000080; RFC 5280 §5.2.5 and §5.3.3
#[test]
fn a_list_kept_for_others_counts_if_it_is_named_and_signed_for() {
    let (keeper, stranger) = (alone("keeper"), alone("keeper"));
    let issuers = ListIssuers::read(keeper.pem().as_bytes()).unwrap();
    let world = World::new(Some(points(PLACE, Some(&keeper))));
    assert_eq!(list_addresses(world.chain.as_bytes()), [PLACE]);
    let list = |by: &Authority, entries: Vec<(u8, Vec<u8>)>| Written::for_others(by, entries).der();
    let read = |policy, list: &Vec<u8>| world.read(policy, &[list], &issuers, NOW);
    let empty = list(&keeper, Vec::new());
    assert_eq!(read(Revocation::Require, &empty), Ok(()));
    // Entries are of the authority named last.
    let on_it = list(&keeper, vec![(9, of(&world.root)), (8, of(&world.middle)), (SIGNER, Vec::new())]);
    assert!(read(Revocation::Prefer, &on_it).unwrap_err().contains("has been revoked"));
    let elsewhere =
        list(&keeper, vec![(SIGNER, of(&world.root)), (MIDDLE, of(&world.middle)), (MIDDLE, Vec::new())]);
    assert_eq!(read(Revocation::Require, &elsewhere), Ok(()));
    let above = list(&keeper, vec![(MIDDLE, of(&world.root))]);
    assert!(read(Revocation::Prefer, &above).is_err());
    assert!(RevocationList::read(&list(&stranger, Vec::new()), &issuers).is_err());
    assert!(RevocationList::read(&empty, &ListIssuers::default()).is_err());
    // A certificate that names nobody else is not on it.
    let other = World::new(Some(points(PLACE, None)));
    assert_eq!(other.read(Revocation::Prefer, &[&on_it], &issuers, NOW), Ok(()));
    assert!(other.read(Revocation::Require, &[&empty], &issuers, NOW).is_err());
    let elsewhere = World::new(Some(points("http://crl.example.org/other.crl", Some(&keeper))));
    assert!(elsewhere.read(Revocation::Require, &[&empty], &issuers, NOW).is_err());
}

#[test]
fn what_cannot_be_understood_is_no_list() {
    let authority = alone("root");
    let issuers = ListIssuers::read(authority.pem().as_bytes()).unwrap();
    let read =
        |list: &Written<'_>| RevocationList::read(&list.der(), &issuers).map(|list| list.valid_until());
    assert_eq!(read(&Written::new(&authority, &[1])), Ok(NOW + 7 * DAY));
    let mut endless = Written::new(&authority, &[]);
    endless.next = "";
    assert!(read(&endless).is_err(), "RFC 5280 §5.1.2.5");
    // A delta (§5.2.4), a critical extension that is not known (§5.2), for both kinds; an entry's (§5.3) for one.
    for more in [extension(27, true, &tlv(2, &[1])), extension(99, true, &[5, 0])] {
        for mut list in [Written::new(&authority, &[]), Written::for_others(&authority, Vec::new())] {
            assert!(read(&list).is_ok());
            list.extensions.push(more.clone());
            assert!(read(&list).is_err());
        }
    }
    assert!(read(&Written::for_others(&authority, vec![(1, extension(99, true, &[5, 0]))])).is_err());
    assert!(read(&Written::for_others(&authority, vec![(1, extension(29, true, &[5, 0]))])).is_err());
    let whole = Written::new(&authority, &[1]).der();
    for bytes in [&whole[..whole.len() - 1], b"", b"-----BEGIN X509 CRL-----\nxx\n-----END X509 CRL-----\n"] {
        assert!(RevocationList::read(bytes, &issuers).is_err());
    }
    assert!(RevocationList::read(&[&whole[..], &[0]].concat(), &issuers).is_err());
    assert!(ListIssuers::read(b"").is_none());
    let mut may_not = ca("root", 1);
    may_not.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let may_not = CertifiedIssuer::self_signed(may_not, KeyPair::generate().unwrap()).unwrap();
    assert!(ListIssuers::read(may_not.pem().as_bytes()).is_none());
}
