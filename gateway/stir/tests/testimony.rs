//! Tokens that belong together: chains of diversions, entitlements to Resource-Priority, and messages.
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, date_time_ymd};
use ring::rand::SystemRandom;
use std::collections::BTreeMap;
use std::sync::Arc;
use stir::{
    Attestation, Caller, Claims, Class, Credential, DIV, Destinations, Diverted, Failure, MSG, Party, Policy,
    Priority, RPH, Request, Roots, Signer, Testimony, Verified, integrity,
};

/// 2026-06-01
const NOW: u64 = 1_780_272_000;
/// The caller, and callees one after the other.
const A: &str = "12155551210";
const B: &str = "12155551211";
const C: &str = "12155551212";
const D: &str = "12155551213";

fn number(text: &str) -> Party {
    Party::Number(text.into())
}

/// Signers by name, each with a certificate at an address of its own.
struct World {
    signers: BTreeMap<&'static str, Signer>,
    credentials: BTreeMap<String, Arc<Credential>>,
}

impl World {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let roots = Roots::read(parameters.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        let issuer = Issuer::new(parameters, key);
        let mut it = Self { signers: BTreeMap::new(), credentials: BTreeMap::new() };
        // The last one may speak for D alone: TNEntry one [2].
        let one = [&[0x30, 0x0f, 0xa2, 0x0d, 0x16, 0x0b][..], D.as_bytes()].concat();
        for (name, list) in [("first", None), ("second", None), ("of-d", Some(one))] {
            let mut parameters = CertificateParams::new(Vec::new()).unwrap();
            parameters.not_before = date_time_ymd(2026, 1, 1);
            parameters.not_after = date_time_ymd(2027, 1, 1);
            let list = list.map(|der| CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 26], der));
            parameters.custom_extensions.extend(list);
            let key = KeyPair::generate().unwrap();
            let chain = parameters.signed_by(&key, &issuer).unwrap().pem();
            let url = format!("https://cert.example.org/{name}.pem");
            let credential = Credential::read(chain.as_bytes(), &roots, NOW).unwrap();
            it.credentials.insert(url.clone(), Arc::new(credential));
            let random = Box::new(SystemRandom::new());
            it.signers.insert(name, Signer::new(key.serialize_pem().as_bytes(), &url, random).unwrap());
        }
        it
    }

    fn call(&self, dest: &str, iat: u64) -> String {
        let claims = Claims {
            attest: Some(Attestation::A),
            origid: Some("x".into()),
            ..Claims::new(number(A), Destinations::of(number(dest)), iat)
        };
        self.signers["first"].sign(claims).unwrap()
    }

    fn div(&self, signer: &str, from: &str, to: &str, iat: u64) -> String {
        let div = Some(Diverted { party: number(from) });
        let claims = Claims { div, ..Claims::new(number(A), Destinations::of(number(to)), iat) };
        self.signers[signer].sign_as(Some(DIV), claims).unwrap()
    }

    fn rph(&self, orig: &str, auth: &[&str], iat: u64) -> String {
        let auth = auth.iter().map(|it| (*it).to_owned()).collect();
        let claims = Claims {
            rph: Some(Priority { auth }),
            ..Claims::new(number(orig), Destinations::of(number(B)), iat)
        };
        self.signers["second"].sign_as(Some(RPH), claims).unwrap()
    }

    fn msg(&self, body: Option<&[u8]>) -> String {
        let msgi = body.map(integrity);
        let claims = Claims { msgi, ..Claims::new(number(A), Destinations::of(number(B)), NOW) };
        self.signers["first"].sign_as(Some(MSG), claims).unwrap()
    }

    /// Of a call from A with that in To and that in the Request-URI.
    fn verify(&self, (to, target): (&str, &str), fields: &[&str]) -> Result<Verified, Failure> {
        self.verify_request((to, target), &[], None, fields)
    }

    fn verify_request(
        &self,
        (to, target): (&str, &str),
        priority: &[&str],
        message: Option<&[u8]>,
        fields: &[&str],
    ) -> Result<Verified, Failure> {
        let (orig, dest, target) = ([number(A)], number(to), number(target));
        let priority: Vec<String> = priority.iter().map(|it| (*it).to_owned()).collect();
        let caller = Caller { orig: &orig, dest: &dest, date: None };
        let request = Request { caller, target: &target, priority: &priority, message };
        let policy = Policy::default();
        let fields = fields.iter().map(|field| field.as_bytes());
        let testimony = Testimony::read(fields, &request, &policy, NOW)?;
        let credential = |url: &str| {
            self.credentials.get(url).cloned().ok_or_else(|| Failure::new(Class::NoCertificate, "none"))
        };
        testimony.check(credential, &policy, NOW)
    }
}

fn status(result: Result<Verified, Failure>) -> u16 {
    result.map_or_else(|failure| failure.class.status(), |_| 200)
}

/// RFC 8946 §4.2
#[test]
fn a_chain_leads_from_the_first_callee_to_the_last() {
    let world = World::new();
    let (first, one) = (world.call(B, NOW - 90), world.div("second", B, C, NOW - 80));
    let two = world.div("first", C, D, NOW - 5);
    // In whatever order they stand, and whichever field names the callee now.
    for fields in [[&*first, &*one, &*two], [&*two, &*first, &*one]] {
        for callee in [(D, D), ("12155550000", D), (D, "12155550000")] {
            let verified = world.verify(callee, &fields).unwrap();
            assert_eq!(verified.diverted, [number(B), number(C)]);
            assert_eq!((verified.reached, verified.claims.attest), (Some(number(D)), Some(Attestation::A)));
        }
    }
    // Once, and by the one who sent it on last: the same first token comes with each diversion of a call.
    let alone = world.verify((C, C), &[&world.call(B, NOW), &world.div("second", B, C, NOW)]).unwrap();
    let whole = world.verify((D, D), &[&first, &one, &two]).unwrap();
    assert_ne!(alone.fingerprint, whole.fingerprint);
    // A call whose To still has the first callee needs none; what came with it does not matter.
    let direct = world.verify((B, D), &[&world.call(B, NOW), &one]).unwrap();
    assert_eq!((direct.diverted.len(), direct.reached), (0, Some(number(B))));
}

#[test]
fn a_chain_with_a_gap_or_a_forgery_is_none() {
    let world = World::new();
    let first = world.call(B, NOW);
    let div = |from, to| world.div("second", from, to, NOW);
    let verify = |fields: &[&str]| status(world.verify((D, D), fields));
    assert_eq!(verify(&[&first]), 438);
    assert_eq!(verify(&[&first, &div(C, D)]), 438, "nobody sent it from B to C");
    assert_eq!(verify(&[&first, &div(B, C)]), 438, "nobody sent it from C to D");
    assert_eq!(verify(&[&div(B, D)]), 428, "nobody says who calls");
    assert_eq!(verify(&[&first, &div(D, D), &div(C, C)]), 438, "a circle leads nowhere");
    assert_eq!(verify(&[&first, &div(B, D)]), 200);
    // Another caller's diversion.
    let other = Claims {
        div: Some(Diverted { party: number(B) }),
        ..Claims::new(number(C), Destinations::of(number(D)), NOW)
    };
    assert_eq!(verify(&[&first, &world.signers["second"].sign_as(Some(DIV), other).unwrap()]), 438);
    // Whoever may speak for D alone cannot send on calls for B (RFC 8946 §4.1).
    assert_eq!(verify(&[&first, &world.div("of-d", B, D, NOW)]), 437);
    let mut forged = div(B, D);
    let at = forged.find(";info").unwrap() - 20;
    let letter = if &forged[at..=at] == "A" { "B" } else { "A" };
    forged.replace_range(at..=at, letter);
    assert_eq!(verify(&[&first, &forged]), 438);
}

#[test]
fn the_last_diversion_is_fresh_and_the_first_token_as_old_as_phones_ring() {
    let world = World::new();
    let verify = |call: u64, div: u64| {
        status(world.verify((C, C), &[&world.call(B, call), &world.div("second", B, C, div)]))
    };
    assert_eq!((verify(NOW - 200, NOW - 10), verify(NOW - 10, NOW - 70)), (200, 403));
    assert_eq!((verify(NOW - 700, NOW), verify(NOW, NOW + 70)), (403, 403));
    assert_eq!((verify(NOW + 60, NOW - 10), verify(NOW, u64::MAX)), (438, 403));
    assert_eq!(status(world.verify((B, B), &[&world.call(B, NOW - 61)])), 403, "without any it is as ever");
}

/// RFC 8443 §4
#[test]
fn a_priority_is_told_and_does_not_decide() {
    let world = World::new();
    let call = world.call(B, NOW);
    let verify = |asked: &[&str], field: &str| {
        let verified = world.verify_request((B, B), asked, None, &[&call, field]).unwrap();
        verified.priority.map(|it| it.map_err(|failure| failure.class.status()))
    };
    let rph = world.rph(A, &["ets.0", "wps.0"], NOW);
    let whole = Some(Ok(vec!["ets.0".to_owned(), "wps.0".to_owned()]));
    assert_eq!((verify(&["ETS.0"], &rph), verify(&["wps.0", "ets.0"], &rph)), (whole.clone(), whole));
    assert_eq!(verify(&[], &rph), None, "the request asks for none");
    assert_eq!(verify(&["ets.1"], &rph), Some(Err(438)));
    assert_eq!(verify(&["ets.0"], &world.rph(C, &["ets.0"], NOW)), Some(Err(438)));
    assert_eq!(verify(&["ets.0"], &world.rph(A, &["ets.0"], NOW - 61)), Some(Err(403)));
    let at = rph.find(";info").unwrap() - 20;
    let forged = format!("{}{}", &rph[..at], rph[at..].replacen(char::is_alphanumeric, "_", 1));
    assert_eq!(verify(&["ets.0"], &forged), Some(Err(438)));
    assert_eq!(verify(&["ets.0"], "a.b.c;info=<https://a.example/>;ppt=rph"), Some(Err(438)));
}

/// RFC 9475 §3.2
#[test]
fn a_message_has_a_token_of_its_own() {
    let world = World::new();
    let verify =
        |message: Option<&[u8]>, field: &str| status(world.verify_request((B, B), &[], message, &[field]));
    let (whole, bare) = (world.msg(Some(b"hello")), world.msg(None));
    assert_eq!((verify(Some(b"hello"), &whole), verify(Some(b"hell"), &whole)), (200, 438));
    assert_eq!((verify(Some(b"hello"), &bare), verify(Some(b""), &whole)), (200, 438));
    assert_eq!(verify(None, &whole), 428, "a call is not signed as a message");
    assert_eq!(verify(Some(b"hello"), &world.call(B, NOW)), 200, "a message may be signed as a call");
    // The type counts that is signed, not the one beside it.
    let disguised = whole.replace(";ppt=msg", "");
    assert_eq!((verify(None, &disguised), verify(Some(b"hell"), &disguised)), (438, 438));
    let sha = |text: &str| {
        let claims =
            Claims { msgi: Some(text.into()), ..Claims::new(number(A), Destinations::of(number(B)), NOW) };
        verify(Some(b"hello"), &world.signers["first"].sign_as(Some(MSG), claims).unwrap())
    };
    assert_eq!(integrity(b"hello"), "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    for other in [
        "",
        "sha256",
        "md5-XUFAKrxLKna5cZ2REBfFkg==",
        "sha256-!",
        "sha512-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    ] {
        assert_eq!(sha(other), 438, "{other}");
    }
}

#[test]
fn what_was_malformed_is_told_where_nothing_else_is_there() {
    let world = World::new();
    assert_eq!(status(world.verify((B, B), &[])), 428);
    assert_eq!(status(world.verify((B, B), &["nonsense"])), 438);
    assert_eq!(status(world.verify((B, B), &["nonsense", &world.call(B, NOW)])), 200);
    let other = "a.b.c;info=<https://a.example/x>;ppt=other";
    assert_eq!(status(world.verify((B, B), &[other])), 428);
    assert_eq!(status(world.verify((B, B), &[other, &world.call(B, NOW)])), 200);
}

/// RFC 8946 §5: one field for the whole chain.
#[test]
fn what_is_nested_is_as_good_as_what_came_beside() {
    let world = World::new();
    let nest = |signer: &str, (from, to): (&str, &str), iat: u64, before: &str| {
        let div = Some(Diverted { party: number(from) });
        let claims = Claims { div, ..Claims::new(number(A), Destinations::of(number(to)), iat) };
        world.signers[signer].nest(claims, before).unwrap()
    };
    let first = world.call(B, NOW - 90);
    let one = nest("second", (B, C), NOW - 80, &first);
    let two = nest("first", (C, D), NOW - 5, &one);
    assert!(two.contains(";ppt=div-o"), "{two}");
    let verified = world.verify((D, D), &[&two]).unwrap();
    assert_eq!(verified.diverted, [number(B), number(C)]);
    assert_eq!((verified.reached, verified.claims.attest), (Some(number(D)), Some(Attestation::A)));
    // Beside others, of either type.
    let div = world.div("first", C, D, NOW - 5);
    assert_eq!(world.verify((D, D), &[&one, &div]).unwrap().diverted, [number(B), number(C)]);
    assert_eq!(world.verify((D, D), &[&first, &two]).unwrap().diverted, [number(B), number(C)]);
    let verify = |callee: &str, fields: &[&str]| status(world.verify((callee, callee), fields));
    assert_eq!((verify(D, &[&one]), verify(C, &[&two])), (438, 403), "the first is too old for C");
    // Each is held to what it would be held to alone.
    assert_eq!(verify(C, &[&nest("second", (B, C), NOW - 70, &first)]), 403);
    assert_eq!(verify(C, &[&nest("of-d", (B, C), NOW, &first)]), 437);
    assert_eq!(verify(D, &[&nest("second", (B, D), NOW, &world.call(C, NOW))]), 438, "it was not for B");
    assert_eq!(verify(D, &[&nest("second", (B, D), NOW, &div)]), 428, "nobody says who calls");
    // The nested one is as hard to forge.
    let token = first.split(';').next().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut other: String = signature.chars().rev().collect();
    other.truncate(signature.len());
    let forged = first.replace(token, &format!("{signed}.{}{}", &other[..85], "A"));
    assert_eq!(verify(C, &[&nest("second", (B, C), NOW, &forged)]), 438);
    let compact = Claims::new(number(A), Destinations::of(number(B)), NOW);
    let compact = world.signers["first"].compact(compact).unwrap();
    let claims = || Claims {
        div: Some(Diverted { party: number(B) }),
        ..Claims::new(number(A), Destinations::of(number(C)), NOW)
    };
    assert_eq!(world.signers["second"].nest(claims(), &compact), None, "nobody could reconstruct it");
    for opt in ["", "a.b", "a.b.c", "..c", &compact[..compact.find(';').unwrap()]] {
        let claims = Claims { opt: Some(opt.into()), ..claims() };
        let field = world.signers["second"].sign_as(Some("div-o"), claims).unwrap();
        assert_eq!(verify(C, &[&field]), 438, "{opt}");
    }
    let bare = world.signers["second"].sign_as(Some("div-o"), claims()).unwrap();
    assert_eq!(verify(C, &[&bare]), 438);
}
