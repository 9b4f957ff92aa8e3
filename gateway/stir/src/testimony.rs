//! All tokens of a request together: who asks, by way of whom (RFC 8946), and with what priority (RFC 8443).
//!
//! A call that was sent on keeps the token it was signed with, which is for its first callee. Whoever sent it on adds one of the
//! type `div`: for the next callee, and in the name of the one before. The chain of them has to lead from the first to this one.

use crate::certificate::Credential;
use crate::claim::{Caller, Claim, Policy, Verified, is_dated, other_callee};
use crate::failure::{Class, Failure};
use crate::identity::Identity;
use crate::passport::Party;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest;

/// Most Identity fields that are looked at.
const FIELDS_MAX: usize = 8;
/// How much older than the last diversion the first token may be, in seconds: as long as a phone rings before the call goes on
/// (RFC 3261 §16.6 step 11 has more than three minutes), and as many diversions as fit.
const RINGING_MAX: u64 = 600;

/// What a request says of itself, to be compared with its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks for whom.
    pub caller: Caller<'a>,
    /// The Request-URI: whom it is for now.
    pub target: &'a Party,
    /// The values of Resource-Priority.
    pub priority: &'a [String],
    /// The body of a MESSAGE; none: it is an INVITE.
    pub message: Option<&'a [u8]>,
}

/// The tokens of a request that agree with it and with each other, and lack nothing but that their signatures are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// The first one, and those of diversions in their order.
    chain: Vec<Claim>,
    /// For whom the last of them is.
    callee: Party,
    /// What came of a token about Resource-Priority.
    priority: Option<Result<Claim, Failure>>,
}

impl Testimony {
    /// Reads the Identity fields of a request, at `now` in seconds since 1970, and compares them with it.
    ///
    /// # Errors
    /// Whatever can be held against them without a certificate; [`Class::Absent`] if there is none that says who asks.
    pub fn read<'f>(
        fields: impl Iterator<Item = &'f [u8]>,
        request: &Request<'_>,
        policy: &Policy,
        now: u64,
    ) -> Result<Self, Failure> {
        let mut malformed = None;
        let mut identities = Vec::new();
        for field in fields.take(FIELDS_MAX) {
            match Identity::parse(field) {
                Ok(identity) => identities.push(identity),
                Err(failure) => malformed = malformed.or(Some(failure)),
            }
        }
        // RFC 8946 §5: what a token has nested is as if it had come beside it.
        let mut nested: Vec<Claim> = Vec::new();
        for identity in identities.iter().filter(|it| it.ppt == Some(crate::DIV_O)) {
            match unnest(identity, &request.caller) {
                Ok(claims) => nested.extend(claims),
                Err(failure) => malformed = malformed.or(Some(failure)),
            }
        }
        let typed = |ppt: Option<&str>| identities.iter().find(|it| it.ppt == ppt);
        // RFC 9475 §3.2: a message has a type of its own; one that was signed as a call is, is better than none.
        let of_message = request.message.and_then(|_| typed(Some(crate::MSG)));
        let beside = of_message.or_else(|| typed(Some(crate::SHAKEN))).or_else(|| typed(None));
        let caller = &request.caller;
        let first = match beside {
            Some(identity) => Claim::open(identity, caller)?,
            None => {
                let first = nested.iter().find(|it| !is_diversion(it.ppt())).cloned();
                first.ok_or_else(|| {
                    malformed.unwrap_or_else(|| {
                        Failure::new(Class::Absent, "there is no Identity field to verify")
                    })
                })?
            }
        };
        if first
            .ppt()
            .is_some_and(|ppt| ppt != crate::SHAKEN && !(ppt == crate::MSG && request.message.is_some()))
        {
            return Err(Failure::invalid("the token is of a type that is not known"));
        }
        is_dated(caller, policy, now)?;
        first.names_caller(caller)?;
        let (mut chain, mut callee) = (vec![first], caller.dest);
        if chain[0].names(caller.dest) {
            chain[0].is_fresh(policy.freshness, now)?;
        } else {
            let diversions: Vec<Claim> = identities
                .iter()
                .filter(|it| it.ppt == Some(crate::DIV))
                .filter_map(|it| Claim::open(it, caller).ok())
                .chain(nested.iter().filter(|it| is_diversion(it.ppt())).cloned())
                .take(FIELDS_MAX)
                .filter(|it| it.claims().orig.canonical() == chain[0].claims().orig.canonical())
                .collect();
            let way_to = |callee| Some((callee, way_to(callee, &chain[0], &diversions, &mut Vec::new())?));
            let (found, way) =
                [caller.dest, request.target].into_iter().find_map(way_to).ok_or_else(other_callee)?;
            callee = found;
            chain.extend(way.into_iter().map(|at| diversions[at].clone()));
            are_in_time(&chain, policy, now)?;
        }
        if let (Some(body), Some(said)) = (request.message, &chain[0].claims().msgi)
            && chain[0].ppt() == Some(crate::MSG)
            && !agrees(said, body)
        {
            return Err(Failure::invalid("the token is for another message"));
        }
        let priority = typed(Some(crate::RPH)).filter(|_| !request.priority.is_empty());
        let priority = priority.map(|it| Self::entitled(it, request, &chain, policy, now));
        Ok(Self { chain, callee: callee.clone(), priority })
    }

    /// RFC 8443 §4: from the same caller, fresh, and for all that the request asks for.
    fn entitled(
        identity: &Identity<'_>,
        request: &Request<'_>,
        chain: &[Claim],
        policy: &Policy,
        now: u64,
    ) -> Result<Claim, Failure> {
        let claim = Claim::open(identity, &request.caller)?;
        claim.names_caller(&request.caller)?;
        // It was made with the first token, and is as old.
        let oldest = if chain.len() > 1 { RINGING_MAX } else { 0 };
        claim.is_fresh(policy.freshness.saturating_add(oldest), now)?;
        let callees = chain.iter().filter_map(|it| Party::of_dest(&it.claims().dest));
        if !callees.chain([request.caller.dest.clone()]).any(|callee| claim.names(&callee)) {
            return Err(other_callee());
        }
        let auth = claim.claims().rph.as_ref().map_or(&[][..], |rph| &rph.auth);
        let has = |value: &String| auth.iter().any(|it| it.eq_ignore_ascii_case(value));
        if !request.priority.iter().all(has) {
            return Err(Failure::invalid("the token is for another Resource-Priority"));
        }
        Ok(claim)
    }

    /// Where the certificates are, the first token's first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let priority = self.priority.as_ref().and_then(|it| it.as_ref().ok());
        self.chain.iter().chain(priority).map(Claim::x5u)
    }

    /// Verifies the signatures, each with the credential from its address, and that each signer may speak for whom it does.
    ///
    /// # Errors
    /// What is wrong with a token or its credential. A wrong token about Resource-Priority is no error but told.
    pub fn check<C: AsRef<Credential>>(
        self,
        credential: impl Fn(&str) -> Result<C, Failure>,
        policy: &Policy,
        now: u64,
    ) -> Result<Verified, Failure> {
        let priority = self.priority.map(|claim| {
            let claim = claim?;
            claim.is_signed(credential(claim.x5u())?.as_ref(), now)?;
            Ok(claim.claims().rph.clone().map(|rph| rph.auth).unwrap_or_default())
        });
        let mut diverted = Vec::new();
        let mut last = None;
        for claim in self.chain.iter().skip(1) {
            let signer = credential(claim.x5u())?;
            let signer = signer.as_ref();
            claim.is_signed(signer, now)?;
            // RFC 8946 §4.1: who sent the call on speaks for the number it was for.
            let from = claim.claims().div.as_ref().and_then(|div| div.party.canonical());
            let from = from.ok_or_else(|| Failure::invalid("the token of a diversion names nobody"))?;
            signer.authorises(&from, policy.authority_required)?;
            diverted.push(from);
            last = Some(claim.fingerprint());
        }
        let mut chain = self.chain.into_iter();
        let first = chain.next().ok_or_else(other_callee)?;
        let signer = credential(first.x5u())?;
        let mut verified = first.check(signer.as_ref(), policy, now)?;
        verified.fingerprint = last.unwrap_or(verified.fingerprint);
        verified.reached = Some(self.callee);
        (verified.diverted, verified.priority) = (diverted, priority);
        Ok(verified)
    }
}

/// Which diversions lead from the first token's callee to this one, in their order (RFC 8946 §4.2).
fn way_to(callee: &Party, first: &Claim, diversions: &[Claim], used: &mut Vec<usize>) -> Option<Vec<usize>> {
    for (at, claim) in diversions.iter().enumerate() {
        if used.contains(&at) || !claim.names(callee) {
            continue;
        }
        let Some(from) = claim.claims().div.as_ref().and_then(|div| div.party.canonical()) else { continue };
        if first.names(&from) {
            return Some(vec![at]);
        }
        used.push(at);
        if let Some(mut way) = way_to(&from, first, diversions, used) {
            way.push(at);
            return Some(way);
        }
        used.pop();
    }
    None
}

fn is_diversion(ppt: Option<&str>) -> bool {
    matches!(ppt, Some(crate::DIV | crate::DIV_O))
}

/// A token with those nested in it, and in those.
fn unnest(identity: &Identity<'_>, caller: &Caller<'_>) -> Result<Vec<Claim>, Failure> {
    let mut claims = vec![Claim::open(identity, caller)?];
    while let Some(opt) = claims.last().and_then(|it| it.claims().opt.clone()) {
        if claims.len() > FIELDS_MAX {
            return Err(Failure::invalid("too many tokens are nested"));
        }
        claims.push(Claim::nested(&opt)?);
    }
    Ok(claims)
}

/// The last diversion has to be as fresh as the token of any call; those before it are older, by as much as phones rang.
fn are_in_time(chain: &[Claim], policy: &Policy, now: u64) -> Result<(), Failure> {
    for (at, claim) in chain.iter().enumerate() {
        let is_last = at + 1 == chain.len();
        claim.is_fresh(policy.freshness.saturating_add(if is_last { 0 } else { RINGING_MAX }), now)?;
        let is_before =
            |next: &Claim| claim.claims().iat <= next.claims().iat.saturating_add(policy.freshness);
        if !chain.get(at + 1).is_none_or(is_before) {
            return Err(Failure::invalid("the call was sent on before it was made"));
        }
    }
    Ok(())
}

/// The digest of a message's body, as a token has it (RFC 9475 §3.2).
pub fn integrity(body: &[u8]) -> String {
    format!("sha256-{}", BASE64.encode(digest::digest(&digest::SHA256, body)))
}

/// Whether a digest is that of this body. One by an algorithm that is not known is of no body.
fn agrees(said: &str, body: &[u8]) -> bool {
    let algorithm = match said.split_once('-') {
        Some(("sha256", _)) => &digest::SHA256,
        Some(("sha384", _)) => &digest::SHA384,
        Some(("sha512", _)) => &digest::SHA512,
        _ => return false,
    };
    let wanted = digest::digest(algorithm, body);
    let found = said.split_once('-').and_then(|(_, text)| BASE64.decode(text).ok());
    found.is_some_and(|found| found == wanted.as_ref())
}
