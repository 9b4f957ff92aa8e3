//! Verifying an INVITE's identity: what can be said without the certificate, and then with it (RFC 8224 §6.2).

use crate::certificate::Credential;
use crate::date;
use crate::failure::{Class, Failure};
use crate::identity::Identity;
use crate::passport::{Claims, Destinations, Party, Passport};
use crate::url;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

/// What an INVITE says of itself, to be compared with the token.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who calls, as P-Asserted-Identity and From say: the token has to name one of them, the first in the compact form.
    pub orig: &'a [Party],
    /// Who is called: the To field's URI.
    pub dest: &'a Party,
    /// The Date field, if there is one.
    pub date: Option<&'a str>,
}

/// What is asked of a token besides that it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How old it may be, and how far in the future, in seconds. RFC 8224 §10.1 recommends 60.
    pub freshness: u64,
    /// Whether the certificate must say for which numbers or which provider it stands (RFC 8226 §9), as SHAKEN's do.
    pub authority_required: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { freshness: 60, authority_required: false }
    }
}

/// A token that agrees with its INVITE, and lacks nothing but that its signature is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    passport: Passport,
    signed: String,
    signature: [u8; 64],
}

/// A verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// A name of the signature, for [`Replays`](crate::Replays); of a diverted call that of the last diversion.
    pub fingerprint: u64,
    /// For whom the call was signed last, as the request names him; `None` if one token alone was looked at.
    pub reached: Option<Party>,
    /// Whom the call was for before it was sent on, the first callee first (RFC 8946).
    pub diverted: Vec<Party>,
    /// Whether the caller is entitled to the Resource-Priority that the request has (RFC 8443); `None` if nobody says so.
    pub priority: Option<Result<Vec<String>, Failure>>,
}

impl Claim {
    /// Reads an Identity field of an INVITE, at `now` in seconds since 1970, and compares the two.
    ///
    /// # Errors
    /// Whatever can be held against it without the certificate.
    pub fn read(field: &[u8], caller: &Caller<'_>, policy: &Policy, now: u64) -> Result<Self, Failure> {
        let identity = Identity::parse(field)?;
        let claim = Self::open(&identity, caller)?;
        if claim.ppt().is_some_and(|ppt| ppt != crate::SHAKEN) {
            return Err(Failure::invalid("the token is of a type that is not known"));
        }
        claim.is_fresh(policy.freshness, now)?;
        is_dated(caller, policy, now)?;
        claim.names_caller(caller)?;
        if !claim.names(caller.dest) {
            return Err(other_callee());
        }
        Ok(claim)
    }

    /// Reads an Identity field, and compares what stands beside the token with the token.
    pub(crate) fn open(identity: &Identity<'_>, caller: &Caller<'_>) -> Result<Self, Failure> {
        let parts = || identity.token.split('.');
        let (Some(header), Some(claims), Some(signature), 3) =
            (parts().next(), parts().nth(1), parts().nth(2), parts().count())
        else {
            return Err(Failure::invalid("the token does not have three parts"));
        };
        if identity.alg.is_some_and(|alg| alg != "ES256") {
            return Err(Failure::unsupported("the Identity field's algorithm is not ES256"));
        }
        let (passport, signed) = if header.is_empty() && claims.is_empty() {
            let passport = reconstruct(identity, caller)?;
            let signed = passport.signing_input();
            (passport, signed)
        } else {
            (Passport::read(header, claims)?, format!("{header}.{claims}"))
        };
        let signature = signature_of(signature)?;
        // RFC 8224 §4.1: what stands beside the token must say the same as the token.
        if passport.x5u != identity.info {
            return Err(Failure::invalid("the token's x5u is not the Identity field's info"));
        }
        if identity.ppt.is_some() && identity.ppt != passport.ppt.as_deref() {
            return Err(Failure::invalid("the token's ppt is not the Identity field's"));
        }
        if !url::is_fetchable(&passport.x5u) {
            return Err(Failure::new(Class::NoCertificate, "the certificate's address is not plain https"));
        }
        Ok(Self { passport, signed, signature })
    }

    /// Reads a token that another one has nested (RFC 8946 §5): it is in full form, and nothing stands beside it.
    pub(crate) fn nested(token: &str) -> Result<Self, Failure> {
        let (signed, signature) =
            token.rsplit_once('.').ok_or_else(|| Failure::invalid("the token nested is none"))?;
        let (header, claims) = signed
            .split_once('.')
            .filter(|(header, claims)| !header.is_empty() && !claims.is_empty())
            .ok_or_else(|| Failure::invalid("the token nested is not in full form"))?;
        let passport = Passport::read(header, claims)?;
        if !url::is_fetchable(&passport.x5u) {
            return Err(Failure::new(Class::NoCertificate, "the certificate's address is not plain https"));
        }
        Ok(Self { passport, signed: signed.to_owned(), signature: signature_of(signature)? })
    }

    /// RFC 8224 §6.2 step 4: not older than that many seconds, nor further in the future.
    pub(crate) fn is_fresh(&self, most: u64, now: u64) -> Result<(), Failure> {
        near("token", self.passport.claims.iat, most, now)
    }

    pub(crate) fn names_caller(&self, caller: &Caller<'_>) -> Result<(), Failure> {
        let orig = self.passport.claims.orig.canonical();
        if !orig.is_some_and(|orig| caller.orig.contains(&orig)) {
            return Err(Failure::invalid("the token is for another caller"));
        }
        Ok(())
    }

    /// Whether it is for that callee.
    pub(crate) fn names(&self, callee: &Party) -> bool {
        self.passport.claims.dest.names(callee)
    }

    /// Its type; none: the basic one.
    pub(crate) fn ppt(&self) -> Option<&str> {
        self.passport.ppt.as_deref()
    }

    /// Where the certificate is.
    pub fn x5u(&self) -> &str {
        &self.passport.x5u
    }

    /// What it says, not verified yet.
    pub const fn claims(&self) -> &Claims {
        &self.passport.claims
    }

    /// Verifies the signature, and that the signer may speak for the number.
    ///
    /// # Errors
    /// The credential is not valid now or was not when the token was signed, has no say over the caller's number, or the
    /// signature is another's.
    pub fn check(self, credential: &Credential, policy: &Policy, now: u64) -> Result<Verified, Failure> {
        self.is_signed(credential, now)?;
        credential.authorises(&self.passport.claims.orig, policy.authority_required)?;
        let fingerprint = self.fingerprint();
        let claims = self.passport.claims;
        Ok(Verified { claims, fingerprint, reached: None, diverted: Vec::new(), priority: None })
    }

    /// Whether it was signed with a credential that is valid, and was then.
    pub(crate) fn is_signed(&self, credential: &Credential, now: u64) -> Result<(), Failure> {
        credential.valid_at(now)?;
        // RFC 8224 §6.2 step 4: a token may not be signed before or after its certificate's time.
        credential.valid_at(self.passport.claims.iat)?;
        if !credential.signed(self.signed.as_bytes(), &self.signature) {
            return Err(Failure::invalid("the signature is wrong"));
        }
        let claims = self.signed.split('.').nth(1).and_then(|text| BASE64URL.decode(text).ok());
        let claims = claims.and_then(|json| serde_json::from_slice(&json).ok());
        credential.admits(&claims.ok_or_else(|| Failure::invalid("the token's claims cannot be read"))?)
    }

    /// Of an ECDSA signature anybody can make a second one that is as good, with another second half: so only the first
    /// half counts, which differs between any two signatures that were made.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&self.signature[..32]);
        context.update(self.signed.as_bytes());
        let digest = context.finish();
        digest.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

fn signature_of(text: &str) -> Result<[u8; 64], Failure> {
    BASE64URL
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
        .ok_or_else(|| Failure::invalid("the token has no ES256 signature"))
}

pub(crate) fn other_callee() -> Failure {
    Failure::invalid("the token is for another callee")
}

/// RFC 8224 §6.2 step 4: the Date field, where there is one.
pub(crate) fn is_dated(caller: &Caller<'_>, policy: &Policy, now: u64) -> Result<(), Failure> {
    let sent = caller.date.and_then(date::read);
    sent.map_or(Ok(()), |sent| near("INVITE", sent, policy.freshness, now))
}

fn near(what: &str, at: u64, most: u64, now: u64) -> Result<(), Failure> {
    if now.abs_diff(at) <= most {
        return Ok(());
    }
    let (seconds, side) = (now.abs_diff(at), if at < now { "old" } else { "in the future" });
    Err(Failure::new(Class::Stale, format!("the {what} is {seconds} s {side}")))
}

/// The token that a compact form stands for (RFC 8224 §4.1.1). SHAKEN has no such form: what it attests could not be known.
fn reconstruct(identity: &Identity<'_>, caller: &Caller<'_>) -> Result<Passport, Failure> {
    if identity.ppt.is_some() {
        return Err(Failure::invalid("a token of this type cannot be in compact form"));
    }
    let orig = caller.orig.first().ok_or_else(|| Failure::invalid("the INVITE names no caller"))?;
    let iat = caller
        .date
        .and_then(date::read)
        .ok_or_else(|| Failure::invalid("a token in compact form needs a Date field"))?;
    let claims = Claims::new(orig.clone(), Destinations::of(caller.dest.clone()), iat);
    Ok(Passport { x5u: identity.info.to_owned(), ppt: None, claims })
}
