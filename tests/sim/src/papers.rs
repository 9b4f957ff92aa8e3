//! A signer of callers' identities and its certificate (RFC 8224), for calls that are to be verified.
//!
//! Signatures are not seeded: their bytes differ from run to run, their length and what comes of them do not.

use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use stir::{Attestation, Claims, Destinations, Party, Roots, Signer};

/// The key of the signer.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEGPwIks/oyqG8B1t\n\
    Uo0VC6GDXPzCQkm/oQYcV4dksEKhRANCAAQ6q/Mu1GWNKF44ev+rjCLYDbHIjSwI\n\
    ZGfrrqZ3KBRo+JRYprAmZ9QBQ2micVQCkj/oAOS46jipbi7Ij4YGRO5X\n\
    -----END PRIVATE KEY-----\n";
/// Where its certificate stands.
const URL: &str = "https://papers.example/shaken.pem";

/// The certificate of the signer, PEM; it is its own root. `None` if it cannot be made.
pub fn certificate() -> Option<String> {
    let key = KeyPair::from_pem(KEY).ok()?;
    Some(CertificateParams::new(Vec::new()).ok()?.self_signed(&key).ok()?.pem())
}

/// Those who believe the signer.
pub fn roots() -> Roots {
    certificate().and_then(|pem| Roots::read(pem.as_bytes()).ok()).unwrap_or_default()
}

/// The Identity field of a call, signed at `unix` in seconds since 1970; empty if it cannot be signed.
pub fn identity(from: &str, to: &str, unix: u64) -> String {
    let signer = Signer::new(KEY.as_bytes(), URL, Box::new(SystemRandom::new()));
    let claims = Claims {
        attest: Some(Attestation::A),
        origid: Some(String::from("f5f2f2a0-4f2c-4b0c-8f0e-3a3a5b1c2d3e")),
        ..Claims::new(Party::of_uri(from), Destinations::of(Party::of_uri(to)), unix)
    };
    let field = signer.ok().and_then(|signer| signer.sign(claims));
    field.map_or_else(String::new, |field| format!("Identity: {field}\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_signed() {
        assert!(certificate().is_some() && !roots().is_empty());
        let field = identity("sip:4001@10.1.0.1", "sip:00490000001@10.5.0.1", 1_700_000_000);
        assert!(field.starts_with("Identity: ") && field.contains("ppt=shaken"), "{field}");
    }
}
