//! Tokens of the RFCs, and everything a verifier refuses, one by one.
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use ring::rand::SystemRandom;
use stir::{
    Attestation, Caller, Claim, Claims, Class, Credential, Destinations, Failure, Identity, KeyError, Party,
    Passport, Policy, Roots, Signer,
};

/// RFC 8225 §A.1
const RFC_KEY: &str = "-----BEGIN EC PRIVATE KEY-----\n\
    MHcCAQEEIFeZ1R208QCvcu5GuYyMfG4W7sH4m99/7eHSDLpdYllFoAoGCCqGSM49\n\
    AwEHoUQDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcs\n\
    lQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g==\n\
    -----END EC PRIVATE KEY-----\n";
/// Header and claims of RFC 8225 §A. The signature printed there is not by the key printed there; this one was made of it
/// with OpenSSL. (The key's own signature of an earlier text is tested beside the code that verifies signatures.)
const RFC_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9j\
    ZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9.\
    eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI\
    6MTQ3MTM3NTQxOCwib3JpZyI6eyJ0biI6IjEyMTU1NTUxMjEyIn19.\
    1rBHSRSLWr2f9sdcap3UfI3ThTWz6C9hCf6ljk81L6ZHMcbBYl5f_PwH7oS0\
    1CRMt_Q6RfZ7QyXx1pv8AtsFmw";
const RFC_TIME: u64 = 1_471_375_418;

const URL: &str = "https://cert.example.org/passport.cer";
/// 2026-06-01
const NOW: u64 = 1_780_272_000;

fn number(text: &str) -> Party {
    Party::Number(text.into())
}

/// An authority, and a signer whose certificate it made.
struct World {
    roots: Roots,
    issuer: Issuer<'static, KeyPair>,
}

struct Signed {
    signer: Signer,
    chain: String,
}

fn authority(parameters: CertificateParams) -> World {
    let key = KeyPair::generate().unwrap();
    let mut parameters = parameters;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let roots = Roots::read(parameters.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    World { roots, issuer: Issuer::new(parameters, key) }
}

impl World {
    fn new() -> Self {
        authority(CertificateParams::new(Vec::new()).unwrap())
    }

    fn sign(&self, parameters: CertificateParams) -> Signed {
        self.sign_key(parameters, KeyPair::generate().unwrap())
    }

    fn sign_key(&self, parameters: CertificateParams, key: KeyPair) -> Signed {
        let chain = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        let signer = Signer::new(key.serialize_pem().as_bytes(), URL, Box::new(SystemRandom::new())).unwrap();
        Signed { signer, chain }
    }

    fn credential(&self, signed: &Signed, now: u64) -> Result<Credential, Failure> {
        Credential::read(signed.chain.as_bytes(), &self.roots, now)
    }
}

fn parameters() -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.not_before = date_time_ymd(2026, 1, 1);
    parameters.not_after = date_time_ymd(2027, 1, 1);
    parameters
}

fn with_list(der: &[u8]) -> CertificateParams {
    let mut parameters = parameters();
    parameters
        .custom_extensions
        .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 26], der.to_vec()));
    parameters
}

fn claims() -> Claims {
    Claims {
        attest: Some(Attestation::A),
        origid: Some("x".into()),
        ..Claims::new(number("12155551212"), Destinations::of(number("12155551213")), NOW)
    }
}

fn verify(world: &World, signed: &Signed, field: &str, now: u64) -> Result<stir::Verified, Failure> {
    let (orig, dest) = ([number("12155551212")], number("12155551213"));
    let caller = Caller { orig: &orig, dest: &dest, date: None };
    let policy = Policy::default();
    let claim = Claim::read(field.as_bytes(), &caller, &policy, now)?;
    claim.check(&world.credential(signed, now)?, &policy, now)
}

fn class(result: Result<stir::Verified, Failure>) -> Class {
    result.unwrap_err().class
}

/// RFC 8225 §A: the token is what we write, and its signature is good.
#[test]
fn the_token_of_the_rfc() {
    let (header, rest) = RFC_TOKEN.split_once('.').unwrap();
    let (payload, _) = rest.split_once('.').unwrap();
    let passport = Passport::read(header, payload).unwrap();
    let dest = Destinations::of(Party::Uri("sip:alice@example.com".into()));
    let expected = Claims::new(number("12155551212"), dest, RFC_TIME);
    assert_eq!(passport, Passport { x5u: URL.into(), ppt: None, claims: expected.clone() });
    assert_eq!(passport.signing_input(), format!("{header}.{payload}"));

    // The key of the RFC in a certificate of ours.
    let signer = Signer::new(RFC_KEY.as_bytes(), URL, Box::new(SystemRandom::new())).unwrap();
    let mut world_parameters = CertificateParams::new(Vec::new()).unwrap();
    world_parameters.not_before = date_time_ymd(2016, 1, 1);
    let world = authority(world_parameters);
    let mut parameters = parameters();
    parameters.not_before = date_time_ymd(2016, 1, 1);
    let public = RfcKey(signer.public_key().to_vec());
    let chain = parameters.signed_by(&public, &world.issuer).unwrap().pem();
    let credential = Credential::read(chain.as_bytes(), &world.roots, RFC_TIME).unwrap();
    let (orig, dest) = ([number("12155551212")], Party::of_uri("sip:alice@example.com"));
    let caller = Caller { orig: &orig, dest: &dest, date: None };
    let policy = Policy::default();
    let check = |field: &str, caller: &Caller<'_>| {
        Claim::read(field.as_bytes(), caller, &policy, RFC_TIME)?.check(&credential, &policy, RFC_TIME)
    };
    let field = format!("{RFC_TOKEN};info=<{URL}>");
    assert_eq!(check(&field, &caller).unwrap().claims, expected);

    // RFC 8225 §7, RFC 8224 §4.1.1: the compact form of the same, with the time in the Date field.
    let compact = format!("..{};info=<{URL}>", RFC_TOKEN.rsplit('.').next().unwrap());
    let date = stir::write_date(RFC_TIME);
    let dated = Caller { date: Some(&date), ..caller };
    assert_eq!(check(&compact, &dated).unwrap().claims, expected);
    assert_eq!(check(&compact, &caller).unwrap_err().class, Class::Invalid);
    let late = stir::write_date(RFC_TIME + 1);
    assert_eq!(check(&compact, &Caller { date: Some(&late), ..caller }).unwrap_err().class, Class::Invalid);
    let own = signer.compact(expected).unwrap();
    assert!(check(&own, &dated).is_ok());
    assert_eq!(check(&format!("{compact};ppt=shaken"), &dated).unwrap_err().class, Class::Invalid);
}

/// The RFC's public key, for a certificate.
struct RfcKey(Vec<u8>);

impl rcgen::PublicKeyData for RfcKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[test]
fn what_we_sign_we_verify() {
    let world = World::new();
    let signed = world.sign(parameters());
    let field = signed.signer.sign(claims()).unwrap();
    assert!(field.ends_with(&format!(";info=<{URL}>;alg=ES256;ppt=shaken")), "{field}");
    let verified = verify(&world, &signed, &field, NOW + 59).unwrap();
    assert_eq!(verified.claims, claims());
    // Each signature is another, and so is its name.
    let again = signed.signer.sign(claims()).unwrap();
    assert_ne!(verify(&world, &signed, &again, NOW).unwrap().fingerprint, verified.fingerprint);
}

/// RFC 8224 §6.2.2
#[test]
fn each_refusal_has_its_class() {
    let world = World::new();
    let signed = world.sign(parameters());
    let field = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        signed.signer.sign(claims).unwrap()
    };
    let good = field(&|_| {});
    let refused = |field: &str| class(verify(&world, &signed, field, NOW));
    assert_eq!(refused(&field(&|c| c.iat = NOW - 61)), Class::Stale);
    assert_eq!(refused(&field(&|c| c.iat = NOW + 61)), Class::Stale);
    assert_eq!(refused(&field(&|c| c.orig = number("12155551219"))), Class::Invalid);
    assert_eq!(refused(&field(&|c| c.orig = Party::Uri("sip:a@b".into()))), Class::Invalid);
    assert_eq!(refused(&field(&|c| c.dest = Destinations::of(number("12155551219")))), Class::Invalid);
    assert_eq!(refused(&field(&|c| c.origid = None)), Class::Invalid);
    assert_eq!(refused(&good.replace(&format!("<{URL}>"), "<https://other.example/>")), Class::Invalid);
    assert_eq!(refused(&good.replace("ppt=shaken", "ppt=div")), Class::Invalid);
    assert_eq!(refused(&good.replace("alg=ES256", "alg=RS256")), Class::Unsupported);
    // One letter of the claims, and one of the signature.
    let (token, rest) = good.split_once(';').unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let mut other = claims();
    other.attest = Some(Attestation::B);
    let forged = Passport { x5u: URL.into(), ppt: Some("shaken".into()), claims: other }.signing_input();
    assert_eq!(refused(&format!("{forged}.{};{rest}", parts[2])), Class::Invalid);
    let flipped = if parts[2].starts_with('A') { 'B' } else { 'A' };
    assert_eq!(
        refused(&format!("{}.{}.{flipped}{};{rest}", parts[0], parts[1], &parts[2][1..])),
        Class::Invalid
    );
    for token in ["a.b", "a.b.c.d", ".b.c", "a..c", ".."] {
        assert_eq!(refused(&format!("{token};{rest}")), Class::Invalid, "{token}");
    }
    assert_eq!(refused(&format!("{}.{};{rest}", parts[0], parts[1])), Class::Invalid);
    // Somebody else's key.
    let stranger = world.sign(parameters()).signer.sign(claims()).unwrap();
    assert_eq!(refused(&stranger), Class::Invalid);
    assert!(verify(&world, &signed, &good, NOW).is_ok());
}

#[test]
fn an_address_that_is_not_plain_https_is_not_followed() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let pem = key.serialize_pem();
    let signed = world.sign_key(parameters(), key);
    let signer =
        Signer::new(pem.as_bytes(), "http://cert.example.org/a", Box::new(SystemRandom::new())).unwrap();
    let field = signer.sign(claims()).unwrap();
    assert_eq!(class(verify(&world, &signed, &field, NOW)), Class::NoCertificate);
}

#[test]
fn the_date_field_has_to_be_fresh_too() {
    let world = World::new();
    let signed = world.sign(parameters());
    let field = signed.signer.sign(claims()).unwrap();
    let (orig, dest) = ([number("12155551212")], number("12155551213"));
    let read = |date: &str| {
        let caller = Caller { orig: &orig, dest: &dest, date: Some(date) };
        Claim::read(field.as_bytes(), &caller, &Policy::default(), NOW).map_err(|failure| failure.class)
    };
    assert!(read(&stir::write_date(NOW - 60)).is_ok());
    assert_eq!(read(&stir::write_date(NOW - 61)), Err(Class::Stale));
    assert!(read("yesterday").is_ok(), "the full form has its own time");
}

/// RFC 8226 §9, RFC 5280 §6
#[test]
fn certificates_that_are_no_good() {
    let world = World::new();
    let unsupported = |parameters: CertificateParams, now: u64| {
        let signed = world.sign(parameters);
        let mut claims = claims();
        claims.iat = now;
        let field = signed.signer.sign(claims).unwrap();
        let failure = verify(&world, &signed, &field, now).unwrap_err();
        assert_eq!(failure.class, Class::Unsupported, "{failure}");
        failure.why
    };
    // 2027-06-01 and 2025-06-01
    assert!(unsupported(parameters(), 1_811_808_000).contains("expired"));
    assert!(unsupported(parameters(), 1_748_736_000).contains("not valid yet"));
    let one = |text: &str| {
        let inner = [&[0x16, text.len() as u8][..], text.as_bytes()].concat();
        let entry = [&[0xa2, inner.len() as u8][..], &inner].concat();
        [&[0x30, entry.len() as u8][..], &entry].concat()
    };
    assert!(unsupported(with_list(&one("12155551219")), NOW).contains("other numbers"));
    assert!(unsupported(with_list(&[0x30, 0x00]), NOW).contains("cannot be read"));
    let mut usage = parameters();
    usage.key_usages.push(KeyUsagePurpose::KeyAgreement);
    assert!(unsupported(usage, NOW).contains("not for signatures"));

    let signed = world.sign(with_list(&one("12155551212")));
    let field = signed.signer.sign(claims()).unwrap();
    assert!(verify(&world, &signed, &field, NOW).is_ok());
    // Another authority's, none at all, and one that signed itself.
    assert_eq!(class(verify(&World::new(), &signed, &field, NOW)), Class::Unsupported);
    let read = |bytes: &[u8]| Credential::read(bytes, &world.roots, NOW).unwrap_err().class;
    assert_eq!(read(b""), Class::Unsupported);
    assert_eq!(read(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), Class::Unsupported);
    assert_eq!(read(signed.chain.repeat(9).as_bytes()), Class::Unsupported);
    let own = parameters().self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(read(own.der()), Class::Unsupported);
}

#[test]
fn a_certificate_may_be_asked_to_name_its_provider() {
    let world = World::new();
    let policy = Policy { authority_required: true, ..Policy::default() };
    let (orig, dest) = ([number("12155551212")], number("12155551213"));
    let caller = Caller { orig: &orig, dest: &dest, date: None };
    let check = |parameters| {
        let signed = world.sign(parameters);
        let field = signed.signer.sign(claims()).unwrap();
        let credential = world.credential(&signed, NOW).unwrap();
        let claim = Claim::read(field.as_bytes(), &caller, &policy, NOW).unwrap();
        (claim.check(&credential, &policy, NOW).map_err(|failure| failure.class), credential)
    };
    assert_eq!(check(parameters()).0.unwrap_err(), Class::Unsupported);
    let (verified, credential) =
        check(with_list(&[0x30, 0x08, 0xa0, 0x06, 0x16, 0x04, 0x37, 0x30, 0x39, 0x4a]));
    assert!(verified.is_ok());
    assert_eq!(credential.providers().collect::<Vec<_>>(), ["709J"]);
}

#[test]
fn a_chain_over_an_intermediate_is_followed() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let mut middle = parameters();
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    middle.not_after = date_time_ymd(2026, 7, 1);
    let middle_pem = middle.signed_by(&key, &world.issuer).unwrap().pem();
    let under = World { roots: world.roots.clone(), issuer: Issuer::new(middle, key) };
    let mut signed = under.sign(parameters());
    let field = signed.signer.sign(claims()).unwrap();
    assert_eq!(class(verify(&world, &signed, &field, NOW)), Class::Unsupported, "the middle is missing");
    signed.chain.push_str(&middle_pem);
    assert!(verify(&world, &signed, &field, NOW).is_ok());
    // It is valid no longer than what is above it: 2026-07-01.
    let credential = world.credential(&signed, NOW).unwrap();
    assert_eq!(credential.valid_until(), 1_782_864_000);
}

#[test]
fn keys_that_cannot_sign_are_named() {
    let new = |pem: &str| Signer::new(pem.as_bytes(), URL, Box::new(SystemRandom::new())).unwrap_err();
    assert_eq!(new(""), KeyError::Missing);
    let body = "MAA=";
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    assert_eq!(new(&pem("PRIVATE KEY")), KeyError::Unfit);
    assert_eq!(new(&pem("EC PRIVATE KEY")), KeyError::Unfit);
    assert_eq!(new(&pem("RSA PRIVATE KEY")), KeyError::Unfit);
    assert_eq!(new(&pem("ENCRYPTED PRIVATE KEY")), KeyError::Encrypted);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(new(&p384.serialize_pem()), KeyError::Unfit);
    // A file as `openssl ecparam -genkey` writes it has its parameters in front.
    let with_parameters = format!("{}{RFC_KEY}", pem("EC PARAMETERS"));
    assert!(Signer::new(with_parameters.as_bytes(), URL, Box::new(SystemRandom::new())).is_ok());
}

/// RFC 9562 §5.8
#[test]
fn origins_have_names() {
    let name = stir::origination_of(&["https://a/", "carrier"]);
    assert_eq!(name, stir::origination_of(&["https://a/", "carrier"]));
    assert_ne!(name, stir::origination_of(&["https://a/c", "arrier"]));
    let lengths: Vec<usize> = name.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(&name[14..15], "8");
    assert!("89ab".contains(&name[19..20]), "{name}");
}

#[test]
fn fields_of_other_types_are_told_apart() {
    let field = format!("a.b.c;info=<{URL}>;ppt=rph");
    assert!(!Identity::parse(field.as_bytes()).unwrap().is_supported());
}

/// RFC 8226 §8
#[test]
fn a_certificate_may_constrain_what_is_claimed() {
    let world = World::new();
    let of = |last: u64, der: &[u8]| {
        let mut it = parameters();
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, last];
        it.custom_extensions.push(CustomExtension::from_oid_content(&oid, der.to_vec()));
        let signed = world.sign(it);
        let field = signed.signer.sign(claims()).unwrap();
        verify(&world, &signed, &field, NOW)
    };
    // mustInclude: "attest"; then "rcd", which SHAKEN's tokens do not have.
    assert!(of(27, b"\x30\x0c\xa0\x0a\x30\x08\x16\x06attest").is_ok());
    assert_eq!(class(of(27, b"\x30\x09\xa0\x07\x30\x05\x16\x03rcd")), Class::Unsupported);
    // permittedValues: of "attest" none but "B".
    let only_b = b"\x30\x13\xa1\x11\x30\x0f\x30\x0d\x16\x06attest\x30\x03\x0c\x01B";
    assert_eq!(class(of(27, only_b)), Class::Unsupported);
    // RFC 9118 §4, mustExclude: "origid".
    assert_eq!(class(of(33, b"\x30\x0c\xa2\x0a\x30\x08\x16\x06origid")), Class::Unsupported);
    assert_eq!(class(of(27, b"\x30\x00")), Class::Unsupported, "it cannot be read");
}
