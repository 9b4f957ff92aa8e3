//! A call's identity is verified before the call is sent anywhere; it may have to wait for a certificate.

use super::verstat::Verstat;
use super::{Standing, TrunkIdentity, Verify};
use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use crate::status::Refusal;
use crate::trunk::{Trunk, TrunkTable};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Certificate, Event};
use sansio::{Key, Outbox, Time};
use sip::Received;
use sip::message::{Message, Name, NameAddr, unfold};
use std::sync::Arc;
use stir::{Caller, Claim, Class, Credential, Failure, Identity, Party, Policy, Seen, Verified};

/// Most Identity fields of an INVITE that are looked at.
const FIELDS_MAX: usize = 8;

impl Shard {
    /// Verifies the identity of a call if whoever sent it is to be verified; then the call is routed.
    pub(crate) fn verify_identity(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let verify = match source(&self.table, call.flow.remote) {
            Some(trunk) => trunk.config.identity.verify,
            None => self.config.identity.verify,
        };
        if verify == Verify::Off {
            return self.route(now, key, out);
        }
        let trusted = self.trusted(call.flow.remote.ip());
        let claim = match claim(&call.invite, trusted, &self.config.identity.policy, self.unix(now)) {
            Ok(claim) => claim,
            Err(failure) => return self.identity_found(now, key, verify, Err(failure), out),
        };
        let known = self.certificates.get(now, claim.x5u());
        if let Some(outcome) = known {
            let found = outcome.and_then(|credential| self.judge(now, key, claim, &credential));
            return self.identity_found(now, key, verify, found, out);
        }
        self.await_certificate(now, key, claim, verify, out);
    }

    /// Seconds since 1970.
    pub(crate) fn unix(&self, now: Time) -> u64 {
        self.wall(now).0 / 1_000_000
    }

    fn await_certificate(
        &mut self,
        now: Time,
        key: Key,
        claim: Claim,
        verify: Verify,
        out: &mut Outbox<Mail>,
    ) {
        let url = claim.x5u().to_owned();
        let patience = self.config.identity.patience;
        let timer = self.set_timer(now + patience, Timer::NoCertificate(key));
        let first = timer.and_then(|_| self.certificates.wait(&url, key));
        let (Some(timer), Some(first)) = (timer, first) else {
            if let Some(timer) = timer {
                self.wheel.cancel(timer);
            }
            self.stats.identity_waiting_full += 1;
            let failure = Failure::new(Class::NoCertificate, "too many calls wait for certificates");
            return self.identity_found(now, key, verify, Err(failure), out);
        };
        if first {
            self.tell(Event::CertificateAsked(url), out);
        }
        self.stats.identity_waited += 1;
        if let Some(call) = self.calls.get_mut(key) {
            call.timer = Some(timer);
            call.identity.waiting = Some(Box::new((claim, verify)));
        }
    }

    /// The certificate did not come in time.
    pub(crate) fn no_certificate(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let patience = self.config.identity.patience;
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        let Some(waiting) = call.identity.waiting.take() else { return };
        let (claim, verify) = *waiting;
        self.certificates.forget(claim.x5u(), key);
        let why = format!("the certificate did not come within {}", crate::attempt::seconds(patience));
        self.identity_found(now, key, verify, Err(Failure::new(Class::NoCertificate, why)), out);
    }

    /// Control's answer: the calls that waited for it go on.
    pub(crate) fn certificate_came(&mut self, now: Time, answer: &Certificate, out: &mut Outbox<Mail>) {
        let outcome = match &answer.chain {
            Ok(chain) => {
                Credential::read(&chain.0, &self.config.identity.roots, self.unix(now)).map(Arc::new)
            }
            Err(why) => Err(Failure::new(Class::NoCertificate, why.as_str())),
        };
        let fresh = Duration::from_secs(answer.fresh_s.into());
        self.stats.identity_certificates_evicted +=
            self.certificates.keep(now, &answer.url, outcome.clone(), fresh);
        for key in self.certificates.take_waiting(&answer.url) {
            let Some(call) = self.calls.get_mut(key) else { continue };
            let Some(waiting) = call.identity.waiting.take() else { continue };
            if let Some(timer) = call.timer.take() {
                self.wheel.cancel(timer);
            }
            let (claim, verify) = *waiting;
            let found = outcome.clone().and_then(|credential| self.judge(now, key, claim, &credential));
            self.identity_found(now, key, verify, found, out);
        }
    }

    fn judge(
        &mut self,
        now: Time,
        key: Key,
        claim: Claim,
        credential: &Credential,
    ) -> Result<Verified, Failure> {
        let (policy, now) = (&self.config.identity.policy, self.unix(now));
        let verified = claim.check(credential, policy, now)?;
        let call_id = self.calls.get(key).map_or("", |call| call.draft.sip_call_id.as_str());
        // A token may be as far in the future as in the past.
        let window = policy.freshness.saturating_mul(2);
        match self.config.replays.note(verified.fingerprint, call_id.as_bytes(), now, window) {
            Seen::First | Seen::Again => Ok(verified),
            Seen::Crowded => {
                self.stats.identity_replays_crowded += 1;
                Ok(verified)
            }
            Seen::Elsewhere => {
                self.stats.identity_replayed += 1;
                Err(Failure::new(Class::Invalid, "the token was seen in another call"))
            }
        }
    }

    /// What is found goes into the call's record; then the call is refused or routed.
    fn identity_found(
        &mut self,
        now: Time,
        key: Key,
        verify: Verify,
        found: Result<Verified, Failure>,
        out: &mut Outbox<Mail>,
    ) {
        *match &found {
            Ok(_) => &mut self.stats.identity_passed,
            Err(failure) => match failure.class {
                Class::Stale => &mut self.stats.identity_stale,
                Class::Absent => &mut self.stats.identity_absent,
                Class::NoCertificate => &mut self.stats.identity_no_certificate,
                Class::Unsupported => &mut self.stats.identity_unsupported,
                Class::Invalid => &mut self.stats.identity_invalid,
            },
        } += 1;
        let Some(call) = self.calls.get_mut(key) else { return };
        call.identity = Standing { user: call.identity.user, ..standing(&found) };
        match found {
            Err(failure) if verify == Verify::Reject => {
                self.stats.calls_identity_refused += 1;
                self.end_refused(now, key, &Refusal::identity(&failure), out);
            }
            _ => self.route(now, key, out),
        }
    }
}

fn standing(found: &Result<Verified, Failure>) -> Standing {
    let verstat = match found {
        Ok(_) => Verstat::Passed,
        Err(failure) if failure.class == Class::Absent => Verstat::None,
        Err(_) => Verstat::Failed,
    };
    let claims = found.as_ref().ok().map(|verified| &verified.claims);
    let record = link::Identity {
        verstat: Some(verstat.word().into()),
        attest: claims.and_then(|claims| claims.attest).map(|attest| attest.to_string().into()),
        origid: claims.and_then(|claims| claims.origid.clone()),
        cause: found.as_ref().err().map(ToString::to_string),
        signed: None,
    };
    let verified = claims.map(|claims| match &claims.orig {
        Party::Number(number) => Party::Number(stir::canonical(number).unwrap_or_default()),
        Party::Uri(uri) => Party::of_uri(uri),
    });
    // Who did not sign needs not be told so with each call (RFC 9410 is of errors).
    let reason = found.as_ref().err().filter(|failure| failure.class != Class::Absent).map(Failure::reason);
    Standing { verstat: Some(verstat), verified, reason, record: Some(record), ..Standing::default() }
}

/// The trunk that a call is from: the one with a peer at this address and port, else at this address.
pub(crate) fn source(table: &TrunkTable, from: SocketAddr) -> Option<&Arc<Trunk>> {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let is = |trunk: &Trunk, exactly: bool| {
        trunk.peers.iter().any(|peer| {
            let peer = peer.config.address;
            peer.ip().to_canonical() == from.ip() && (!exactly || peer.port() == from.port())
        })
    };
    let find = |exactly| table.trunks().iter().find(|trunk| is(trunk, exactly));
    find(true).or_else(|| find(false))
}

/// How the trunk that a call is from deals with identities; as if it verified nothing, if it is from none.
pub(super) fn source_identity(table: &TrunkTable, from: SocketAddr) -> TrunkIdentity {
    source(table, from).map(|trunk| trunk.config.identity).unwrap_or_default()
}

/// The claim of an INVITE: of SHAKEN's type if there is one, else of none.
fn claim(invite: &Received, trusted: bool, policy: &Policy, now: u64) -> Result<Claim, Failure> {
    let message =
        invite.parse().map_err(|_| Failure::new(Class::Invalid, "the INVITE could not be read again"))?;
    let fields: Vec<_> = message.headers(Name::Identity).take(FIELDS_MAX).map(unfold).collect();
    let field = select(fields.iter().map(AsRef::as_ref))?;
    let orig: Vec<Party> = callers(&message, trusted).collect();
    let dest = message.to().map(|to| party(to.uri));
    let dest = dest.ok_or_else(|| Failure::new(Class::Invalid, "the INVITE names no callee"))?;
    let date = message.header(Name::Date).map(session::text);
    let caller = Caller { orig: &orig, dest: &dest, date: date.as_deref() };
    Claim::read(field, &caller, policy, now)
}

/// Of several fields the first of SHAKEN's type, else the first of none; those of other types say other things.
fn select<'a>(fields: impl Iterator<Item = &'a [u8]> + Clone) -> Result<&'a [u8], Failure> {
    let parsed = || fields.clone().map(|field| (field, Identity::parse(field)));
    let typed = |ppt: Option<&str>| {
        parsed().find(|(_, it)| it.as_ref().is_ok_and(|it| it.ppt == ppt)).map(|(field, _)| field)
    };
    let malformed = || parsed().find_map(|(_, it)| it.err());
    let absent =
        || malformed().unwrap_or_else(|| Failure::new(Class::Absent, "there is no Identity field to verify"));
    typed(Some(stir::SHAKEN)).or_else(|| typed(None)).ok_or_else(absent)
}

/// Who calls: the identities that were asserted, if who sent them is trusted to (RFC 3325 §5), then From (ATIS-1000074
/// §5.2.1).
fn callers<'a>(message: &'a Message<'a>, trusted: bool) -> impl Iterator<Item = Party> + 'a {
    message
        .values(Name::PAssertedIdentity)
        .filter(move |_| trusted)
        .filter_map(NameAddr::parse)
        .chain(message.from())
        .map(|address| party(address.uri))
}

pub(super) fn party(uri: &[u8]) -> Party {
    Party::of_uri(&String::from_utf8_lossy(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_fields_the_one_of_shakens_type_counts() {
        let field = |ppt: &str| format!("a.b.c;info=<https://a.example/{ppt}>;ppt={ppt}");
        let (div, shaken, plain) = (field("div"), field("shaken"), "a.b.c;info=<https://a/>".to_owned());
        let select = |fields: &[&str]| {
            let found = select(fields.iter().map(|field| field.as_bytes()));
            found.map(|field| String::from_utf8_lossy(field).into_owned()).map_err(|failure| failure.class)
        };
        assert_eq!(select(&[&div, &plain, &shaken]), Ok(shaken.clone()));
        assert_eq!(select(&[&div, &plain]), Ok(plain));
        assert_eq!(select(&["nonsense", &shaken]), Ok(shaken));
        assert_eq!(select(&[&div]), Err(Class::Absent));
        assert_eq!(select(&[]), Err(Class::Absent));
        assert_eq!(select(&[&div, "nonsense"]), Err(Class::Invalid));
    }
}
