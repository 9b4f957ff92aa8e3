//! What must hold for any Identity field, token and certificate. Called by the fuzz targets here and, with a bounded
//! number of mutations of good ones, by `gateway/stir/tests/mutation.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use stir::{
    Authority, Caller, Claim, Credential, Identity, ListIssuers, Party, Passport, Policy, Request,
    RevocationList, Roots, Testimony,
};

/// When the seeds were signed.
pub const NOW: u64 = 1_795_392_000;

/// A field's value; and the same bytes as the JSON of a token, header and claims parted by a line.
pub fn identity(bytes: &[u8]) {
    if let Ok(identity) = Identity::parse(bytes) {
        let written = identity.write();
        let again = Identity::parse(written.as_bytes()).expect("what was written can be read");
        assert_eq!(again, identity);
        let _ = (identity.is_supported(), stir::is_fetchable(identity.info));
    }
    let (orig, dest) = ([Party::Number("12155551212".into())], Party::Number("12155551213".into()));
    let date = stir::write_date(NOW);
    let caller = Caller { orig: &orig, dest: &dest, date: Some(&date) };
    let policy = Policy::default();
    if let Ok(claim) = Claim::read(bytes, &caller, &policy, NOW) {
        assert!(stir::is_fetchable(claim.x5u()));
        assert!(claim.claims().iat.abs_diff(NOW) <= policy.freshness);
        assert!(claim.claims().dest.names(&dest));
    }
    let (target, priority) = (Party::Number("12155551214".into()), ["ets.0".to_owned()]);
    let request = Request { caller, target: &target, priority: &priority, message: Some(b"hello") };
    // One field a line.
    let fields = bytes.split(|byte| *byte == b'\n');
    if let Ok(testimony) = Testimony::read(fields, &request, &policy, NOW) {
        assert!(testimony.addresses().count() > 0 && testimony.addresses().all(stir::is_fetchable));
    }
    let (header, claims) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    if let Ok(passport) = Passport::read(&BASE64URL.encode(header), &BASE64URL.encode(claims)) {
        let input = passport.signing_input();
        let (header, claims) = input.split_once('.').expect("two parts");
        assert_eq!(Passport::read(header, claims).as_ref(), Ok(&passport));
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(seconds) = stir::read_date(&text) {
        assert_eq!(stir::read_date(&stir::write_date(seconds)), Some(seconds));
    }
    if let Some(number) = stir::canonical(&text) {
        assert_eq!(stir::canonical(&number).as_ref(), Some(&number));
    }
    if let Party::Uri(uri) = Party::of_uri(&text) {
        let again = Party::of_uri(&uri);
        assert_eq!(Party::of_uri(&uri), again);
    }
}

/// A certificate file, a file of roots, a list of revoked certificates, or a TN authorisation list.
pub fn certificate(bytes: &[u8]) {
    let roots = Roots::read(bytes).unwrap_or_default();
    if let Ok(credential) = Credential::read(bytes, &roots, NOW) {
        assert!(credential.valid_until() >= NOW);
        assert_eq!(stir::validity(bytes).map(|(key, ..)| key).as_ref(), Some(credential.public_key()));
    }
    assert!(stir::list_addresses(bytes).len() <= 8);
    let issuers = ListIssuers::read(bytes).unwrap_or_default();
    if let Ok(list) = RevocationList::read(bytes, &issuers) {
        let _ = list.valid_until();
    }
    if let Some(authority) = Authority::read(bytes) {
        let _ = authority.covers("12155551212");
        assert!(!authority.providers.is_empty() || !authority.ranges.is_empty());
    }
}
