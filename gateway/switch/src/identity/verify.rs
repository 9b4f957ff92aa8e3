//! A call's identity is verified before the call is sent anywhere; it may have to wait for a certificate.

use super::known::{Outcome, Waiter};
use super::verstat::Verstat;
use super::{Standing, TrunkIdentity, Verify, Waiting};
use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use crate::status::Refusal;
use crate::trunk::{Trunk, TrunkTable};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Certificate, Chain, Event};
use sansio::{Key, Outbox, Time, TimerId};
use sip::Received;
use sip::message::{Message, Name, NameAddr, unfold};
use std::sync::Arc;
use stir::{
    Caller, Class, Credential, Failure, Lists, Party, Policy, Request, Revocation, RevocationList, Seen,
    Testimony, Verified,
};

/// Most Identity fields of an INVITE that are looked at.
const FIELDS_MAX: usize = 8;
/// Most values of Resource-Priority that are compared.
const PRIORITIES_MAX: usize = 8;
/// A certificate of whose lists some cannot be had is looked at anew after this.
const UNLISTED: Duration = Duration::from_secs(30);

impl Shard {
    /// Verifies the identity of a call if whoever sent it is to be verified; then the call is routed.
    pub(crate) fn verify_identity(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let verify = self.verify_from(call.flow.remote);
        if verify == Verify::Off {
            return self.route(now, key, out);
        }
        let trusted = self.trusted(call.flow.remote.ip());
        let read = testimony(&call.invite, false, trusted, &self.config.identity.policy, self.unix(now));
        self.verify_tokens(now, Waiter::Call(key), verify, read, out);
    }

    /// What is done with the identity of who asks from there.
    pub(crate) fn verify_from(&self, source_address: SocketAddr) -> Verify {
        match source(&self.table, source_address) {
            Some(trunk) => trunk.config.identity.verify,
            None => self.config.identity.verify,
        }
    }

    /// Seconds since 1970.
    pub(crate) fn unix(&self, now: Time) -> u64 {
        self.wall(now).0 / 1_000_000
    }

    /// Verifies the tokens of a call or a message, as soon as their certificates are known.
    pub(crate) fn verify_tokens(
        &mut self,
        now: Time,
        waiter: Waiter,
        verify: Verify,
        read: Result<Testimony, Failure>,
        out: &mut Outbox<Mail>,
    ) {
        let testimony = match read {
            Ok(testimony) => testimony,
            Err(failure) => return self.identity_found(now, waiter, verify, Err(failure), out),
        };
        let unknown = self.unknown(now, &testimony);
        if unknown.is_empty() {
            return self.judge(now, waiter, testimony, verify, out);
        }
        let timer = self.set_timer(now + self.config.identity.patience, Timer::NoCertificate(waiter));
        if let Some((_, place)) = self.standing_of(waiter) {
            *place = timer;
        }
        if timer.is_none() || !self.await_certificates(waiter, testimony, verify, &unknown, out) {
            self.stats.identity_waiting_full += 1;
            self.stop_waiting(waiter);
            let failure = Failure::new(Class::NoCertificate, "too many calls wait for certificates");
            return self.identity_found(now, waiter, verify, Err(failure), out);
        }
        self.stats.identity_waited += 1;
    }

    /// The addresses of certificates that are not known.
    fn unknown(&self, now: Time, testimony: &Testimony) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for url in testimony.addresses() {
            if !unknown.iter().any(|other| other == url) && self.certificates.get(now, url).is_none() {
                unknown.push(url.to_owned());
            }
        }
        unknown
    }

    /// Waits for the first of some certificates, and asks for all; `false` if too many wait.
    fn await_certificates(
        &mut self,
        waiter: Waiter,
        testimony: Testimony,
        verify: Verify,
        unknown: &[String],
        out: &mut Outbox<Mail>,
    ) -> bool {
        let Some((url, others)) = unknown.split_first() else { return false };
        // Each is asked for by the first who needs it.
        for other in others {
            if !self.certificates.is_awaited(other) {
                self.tell(Event::CertificateAsked(other.clone()), out);
            }
        }
        match self.certificates.wait(url, waiter) {
            Some(true) => self.tell(Event::CertificateAsked(url.clone()), out),
            Some(false) => {}
            None => return false,
        }
        if let Some((standing, _)) = self.standing_of(waiter) {
            standing.waiting = Some(Box::new(Waiting { testimony, verify, url: url.clone() }));
        }
        true
    }

    /// The identity of what waits, and its timer.
    fn standing_of(&mut self, waiter: Waiter) -> Option<(&mut Standing, &mut Option<TimerId>)> {
        match waiter {
            Waiter::Call(key) => self.calls.get_mut(key).map(|call| (&mut call.identity, &mut call.timer)),
            Waiter::Passage(key) => self.outside.standing_of(key),
        }
    }

    fn stop_waiting(&mut self, waiter: Waiter) -> Option<Box<Waiting>> {
        let (standing, timer) = self.standing_of(waiter)?;
        let (waiting, timer) = (standing.waiting.take(), timer.take());
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        waiting
    }

    /// A certificate did not come in time.
    pub(crate) fn no_certificate(&mut self, now: Time, waiter: Waiter, out: &mut Outbox<Mail>) {
        let Some((standing, timer)) = self.standing_of(waiter) else { return };
        *timer = None;
        let Some(url) = standing.awaits().map(str::to_owned) else { return };
        if self.certificates.revocations.is_pending(&url) {
            // The certificate is there, and its lists are not: what is known of those has to do.
            self.settle_certificate(now, &url, out);
        }
        let Some(waiting) = self.stop_waiting(waiter) else { return };
        self.certificates.forget(&waiting.url, waiter);
        self.judge(now, waiter, waiting.testimony, waiting.verify, out);
    }

    /// Control's answer: the calls that waited for it go on, unless the chain's lists are to be had first.
    pub(crate) fn certificate_came(&mut self, now: Time, answer: &Certificate, out: &mut Outbox<Mail>) {
        let fresh = Duration::from_secs(answer.fresh_s.into());
        let config = Arc::clone(&self.config.identity);
        let outcome = match &answer.chain {
            Ok(chain) => Credential::read(&chain.0, &config.roots, self.unix(now)).map(Arc::new),
            Err(why) => Err(Failure::new(Class::NoCertificate, why.as_str())),
        };
        if let (Ok(chain), Ok(_)) = (&answer.chain, &outcome)
            && config.revocation != Revocation::Off
        {
            // Nobody but those who lead to a root of ours has us look for lists.
            let addresses = stir::list_addresses(&chain.0);
            let (to_ask, missing) = self.certificates.revocations.missing(now, &addresses);
            for url in to_ask {
                self.stats.identity_lists_asked += 1;
                self.tell(Event::RevocationsAsked(url), out);
            }
            let waits = !missing.is_empty();
            let room = self.certificates.revocations.wait(&answer.url, chain.clone(), now + fresh, missing);
            self.stats.identity_waiting_full += u64::from(!room);
            if !room {
                return self.weigh_certificate(now, &answer.url, chain, now + fresh, out);
            }
            if !waits {
                self.settle_certificate(now, &answer.url, out);
            }
            return;
        }
        self.keep_certificate(now, &answer.url, outcome, fresh, out);
    }

    /// Control's answer about a list of revoked certificates.
    pub(crate) fn revocations_came(&mut self, now: Time, answer: &Certificate, out: &mut Outbox<Mail>) {
        let mut fresh = Duration::from_secs(answer.fresh_s.into());
        let (config, unix) = (Arc::clone(&self.config.identity), self.unix(now));
        let read = |chain: &Chain| RevocationList::read(&chain.0, &config.list_issuers).ok();
        let list = answer.chain.as_ref().ok().and_then(read);
        // RFC 5280 §6.3.3 (a): until the next one is due.
        let list = list.filter(|list| list.valid_until() > unix).map(Arc::new);
        match &list {
            Some(list) => fresh = fresh.min(Duration::from_secs(list.valid_until() - unix)),
            None => {
                self.stats.identity_lists_failed += 1;
                fresh = fresh.max(UNLISTED * 2);
            }
        }
        let (ready, evicted) = self.certificates.revocations.take(now, &answer.url, list, fresh);
        self.stats.identity_certificates_evicted += evicted;
        for url in ready {
            self.settle_certificate(now, &url, out);
        }
    }

    /// A chain waits for no more lists.
    fn settle_certificate(&mut self, now: Time, url: &str, out: &mut Outbox<Mail>) {
        if let Some(pending) = self.certificates.revocations.take_pending(url) {
            self.weigh_certificate(now, url, &pending.chain, pending.until, out);
        }
    }

    /// Verifies a chain with the lists that are known.
    fn weigh_certificate(
        &mut self,
        now: Time,
        url: &str,
        chain: &Chain,
        fresh_until: Time,
        out: &mut Outbox<Mail>,
    ) {
        let (config, unix) = (Arc::clone(&self.config.identity), self.unix(now));
        let addresses = stir::list_addresses(&chain.0);
        let (mut all, until) = self.certificates.revocations.at(now, &addresses);
        all.extend(config.lists.iter().cloned());
        let lists = Lists { policy: config.revocation, all: &all };
        let outcome = Credential::read_with(&chain.0, &config.roots, &lists, unix).map(Arc::new);
        if until.is_none() && config.revocation == Revocation::Prefer && outcome.is_ok() {
            self.stats.identity_unlisted += 1;
        }
        // Without all of its lists it is looked at anew soon; with them, when the first of them is out of date.
        let mut until = fresh_until.min(until.unwrap_or(now + UNLISTED));
        for list in all.iter().filter(|list| list.valid_until() > unix) {
            until = until.min(now + Duration::from_secs(list.valid_until() - unix));
        }
        self.keep_certificate(now, url, outcome, until.since(now), out);
    }

    fn keep_certificate(
        &mut self,
        now: Time,
        url: &str,
        outcome: Outcome,
        fresh: Duration,
        out: &mut Outbox<Mail>,
    ) {
        // Who waits for it needs it once at least.
        let fresh = fresh.max(Duration::from_millis(1));
        self.stats.identity_certificates_evicted += self.certificates.keep(now, url, outcome, fresh);
        for waiter in self.certificates.take_waiting(url) {
            let Some((standing, _)) = self.standing_of(waiter) else { continue };
            let Some(waiting) = standing.waiting.take() else { continue };
            let Waiting { testimony, verify, .. } = *waiting;
            let unknown = self.unknown(now, &testimony);
            if !unknown.is_empty() {
                if !self.await_certificates(waiter, testimony.clone(), verify, &unknown, out) {
                    self.stats.identity_waiting_full += 1;
                    self.stop_waiting(waiter);
                    self.judge(now, waiter, testimony, verify, out);
                }
                continue;
            }
            self.stop_waiting(waiter);
            self.judge(now, waiter, testimony, verify, out);
        }
    }

    /// Verifies tokens with the certificates that are known.
    fn judge(
        &mut self,
        now: Time,
        waiter: Waiter,
        testimony: Testimony,
        verify: Verify,
        out: &mut Outbox<Mail>,
    ) {
        let (policy, unix) = (self.config.identity.policy, self.unix(now));
        let patience = self.config.identity.patience;
        let late = || {
            let why = format!("the certificate did not come within {}", crate::attempt::seconds(patience));
            Failure::new(Class::NoCertificate, why)
        };
        let credential = |url: &str| self.certificates.get(now, url).unwrap_or_else(|| Err(late()));
        let found = testimony.check(credential, &policy, unix);
        let found = found.and_then(|verified| self.first_seen(waiter, unix, verified));
        self.identity_found(now, waiter, verify, found, out);
    }

    /// Whether the tokens were not seen in another call.
    fn first_seen(&mut self, waiter: Waiter, unix: u64, verified: Verified) -> Result<Verified, Failure> {
        let call_id = match waiter {
            Waiter::Call(key) => self.calls.get(key).map(|call| call.draft.sip_call_id.clone()),
            Waiter::Passage(key) => Some(self.outside.call_id_of(key)),
        };
        let call_id = call_id.unwrap_or_default();
        // A token may be as far in the future as in the past.
        let window = self.config.identity.policy.freshness.saturating_mul(2);
        match self.config.replays.note(verified.fingerprint, call_id.as_bytes(), unix, window) {
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
        waiter: Waiter,
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
        if let Ok(verified) = &found {
            self.stats.identity_diverted += u64::from(!verified.diverted.is_empty());
            match &verified.priority {
                Some(Ok(_)) => self.stats.identity_priority_passed += 1,
                Some(Err(_)) => self.stats.identity_priority_failed += 1,
                None => {}
            }
        }
        let Some((place, _)) = self.standing_of(waiter) else { return };
        *place = Standing { user: place.user, ..standing(&found) };
        match (waiter, found) {
            (Waiter::Call(key), Err(failure)) if verify == Verify::Reject => {
                self.stats.calls_identity_refused += 1;
                self.end_refused(now, key, &Refusal::identity(&failure), out);
            }
            (Waiter::Call(key), _) => self.route(now, key, out),
            (Waiter::Passage(key), Err(failure)) if verify == Verify::Reject => {
                self.refuse_passage(now, key, &failure);
            }
            (Waiter::Passage(key), _) => self.passage_next(now, key, out),
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
    let diverted = found.as_ref().map_or(&[][..], |verified| &verified.diverted);
    let priority = found.as_ref().ok().and_then(|verified| verified.priority.as_ref());
    let record = link::Identity {
        verstat: Some(verstat.word().into()),
        attest: claims.and_then(|claims| claims.attest).map(|attest| attest.to_string().into()),
        origid: claims.and_then(|claims| claims.origid.clone()),
        cause: found.as_ref().err().map(ToString::to_string),
        signed: None,
        diverted: diverted.iter().map(name).collect(),
        priority: priority.and_then(|it| it.as_ref().ok()).map(|values| values.join(", ")),
    };
    let verified = claims.map(|claims| match &claims.orig {
        Party::Number(number) => Party::Number(stir::canonical(number).unwrap_or_default()),
        Party::Uri(uri) => Party::of_uri(uri),
    });
    let reached = found.as_ref().ok().and_then(|verified| verified.reached.clone());
    let presumes = priority.is_some_and(Result::is_err);
    // Who did not sign needs not be told so with each call (RFC 9410 is of errors).
    let reason = found.as_ref().err().filter(|failure| failure.class != Class::Absent).map(Failure::reason);
    let record = Some(record);
    Standing { verstat: Some(verstat), verified, reached, presumes, reason, record, ..Standing::default() }
}

/// A callee as a record has him: his number, or his URI.
fn name(party: &Party) -> String {
    match party {
        Party::Number(text) | Party::Uri(text) => text.clone(),
    }
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

/// The tokens of a request, compared with it.
pub(crate) fn testimony(
    request: &Received,
    is_message: bool,
    trusted: bool,
    policy: &Policy,
    now: u64,
) -> Result<Testimony, Failure> {
    let message =
        request.parse().map_err(|_| Failure::new(Class::Invalid, "the request could not be read again"))?;
    let fields: Vec<_> = message.headers(Name::Identity).take(FIELDS_MAX).map(unfold).collect();
    let orig: Vec<Party> = callers(&message, trusted).collect();
    let dest = message.to().map(|to| party(to.uri));
    let dest = dest.ok_or_else(|| Failure::new(Class::Invalid, "the request names no callee"))?;
    let (target, priority) = (party(message.request_uri()), priorities(&message));
    let date = message.header(Name::Date).map(session::text);
    let caller = Caller { orig: &orig, dest: &dest, date: date.as_deref() };
    let body = is_message.then(|| message.body());
    let request = Request { caller, target: &target, priority: &priority, message: body };
    Testimony::read(fields.iter().map(AsRef::as_ref), &request, policy, now)
}

/// The values of Resource-Priority (RFC 4412 §3.1).
fn priorities(message: &Message<'_>) -> Vec<String> {
    let of = message.fields().filter(|field| field.spelling.eq_ignore_ascii_case(b"Resource-Priority"));
    let values = of.map(|field| session::text(field.value));
    values
        .flat_map(|value| value.split(',').map(|it| it.trim().to_owned()).collect::<Vec<_>>())
        .filter(|value| !value.is_empty())
        .take(PRIORITIES_MAX)
        .collect()
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
