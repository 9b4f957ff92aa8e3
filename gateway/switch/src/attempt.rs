//! The outgoing half of a call: one peer after the other is asked until one takes it.

use crate::call::{CallMedia, Draft, LegSlot, Trying};
use crate::config::Config;
use crate::early::Heard;
use crate::extensions;
use crate::history;
use crate::identity::{Departure, TrunkIdentity, depart};
use crate::keys::Dtmf;
use crate::leg_reports::Reporting;
use crate::mail::Mail;
use crate::offer::own_offer;
use crate::profile::{LateOffers, Outgoing, Profile};
use crate::redirect::Redirection;
use crate::security::LegSecurity;
use crate::session;
use crate::shard::{Shard, Timer};
use crate::status::{More, Refusal};
use crate::streams::{self, Allowed};
use crate::transfer::{TIE, joining};
use crate::trunk::{
    Attempt, Dry, Evidence, HealthState, Hunt, Peer, Seizure, Transition, Trunk, TrunkConfig,
};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Event, Phase, Reason, Side, TrunkChange, TrunkName};
use sansio::{Key, Outbox, Time};
use sip::auth::Account;
use sip::message::Name;
use sip::{Body, Destination, Failure, Held, Invite, LegId, Nat, Received, Transport};
use std::sync::Arc;

/// The media type of session descriptions.
const SDP: &str = "application/sdp";

/// Where the INVITE of one attempt goes.
pub(crate) struct Way {
    /// The trunk's name, or the user's behind [`link::USER_PREFIX`].
    pub(crate) name: TrunkName,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// The connection the callee has opened, and what we are called on it.
    pub(crate) over: Option<(Held, SocketAddr)>,
    pub(crate) listener: usize,
    pub(crate) request_uri: String,
    pub(crate) to: String,
    /// The user part of the Request-URI, by which a call that comes back is known.
    pub(crate) number: String,
    /// How long nothing at all may be said.
    pub(crate) patience: Duration,
    /// How the callee likes its INVITEs.
    pub(crate) profile: Arc<Profile>,
    /// Route of the INVITE: the carrier's service route (RFC 3608 §5).
    pub(crate) route: Option<String>,
    /// What answers the callee's challenges.
    pub(crate) account: Option<Arc<Account>>,
    /// Where requests inside the call go if the callee is behind a NAT, and whether it is known to be.
    pub(crate) nat: (Nat, bool),
    /// How the callee's side deals with identities.
    pub(crate) identity: TrunkIdentity,
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) seizure: Option<Seizure>,
}

impl Way {
    /// A way to who is no trunk's peer, of whom nothing is known but where he is.
    pub(crate) fn beside_trunks(
        name: TrunkName,
        address: SocketAddr,
        transport: Transport,
        listener: usize,
    ) -> Self {
        Self {
            name,
            address,
            transport,
            over: None,
            listener,
            request_uri: String::new(),
            to: String::new(),
            number: String::new(),
            patience: Duration::ZERO,
            profile: Arc::default(),
            route: None,
            account: None,
            nat: (Nat::Never, false),
            identity: TrunkIdentity::default(),
            peer: None,
            seizure: None,
        }
    }
}

/// What a 580 says of the preconditions that cannot be met (RFC 3312 §8), with our addresses in it.
fn unmet(response: Option<&Received>, media: &mut CallMedia) -> Option<Box<More>> {
    let message = response?.parse().ok().filter(|it| it.is_content(SDP))?;
    let body = session::anchor(message.body(), media, Side::Caller, &[]).ok()?;
    Some(Box::new(More { body: Some((SDP.to_owned(), body)), ..More::default() }))
}

/// How much longer the last peer that can be asked may say nothing: by then the INVITE was sent four times (RFC 3261 §17.1.1.2).
const LAST_PEER_PATIENCE: u32 = 4;

impl Shard {
    /// Asks the next peer, or gives the call up.
    pub(crate) fn try_next(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        loop {
            let Some(call) = self.calls.get_mut(key) else { return };
            if call.contacts.is_some() {
                return self.try_contact(now, key, out);
            }
            let Some(hunt) = call.hunt.as_mut() else { return };
            let attempt = match hunt.next(now, &call.table) {
                Ok(attempt) => attempt,
                Err(dry) => {
                    match dry {
                        Dry::Full => self.stats.calls_trunks_full += 1,
                        Dry::Down => self.stats.calls_trunks_down += 1,
                        Dry::Unlocated => self.stats.calls_trunks_unlocated += 1,
                        Dry::Tried => self.stats.calls_attempts_failed += 1,
                    }
                    let refusal = Refusal::dry(dry, call.last_failure.as_ref());
                    return self.give_up(now, key, &refusal, out);
                }
            };
            let further = hunt.attempts() > 1;
            let name = attempt.seizure.trunk().config.name.clone();
            if let Err(refusal) = self.take_trunk_tolls(now, key, &name, out) {
                attempt.seizure.unused();
                if let Some(call) = self.calls.get_mut(key) {
                    call.last_failure = Some(refusal.as_failure());
                }
                continue;
            }
            self.stats.attempts += 1;
            self.stats.failovers += u64::from(further);
            match self.ask(now, key, attempt, out) {
                Ok(()) => return,
                Err(refusal) if refusal.status == 488 => {
                    // This trunk's codecs do not fit; another's may.
                    if let Some(call) = self.calls.get_mut(key) {
                        call.last_failure = Some(Failure::Status {
                            status: refusal.status,
                            reason: "Not Acceptable Here".into(),
                            retry_after: None,
                        });
                    }
                }
                Err(refusal) => return self.end_refused(now, key, &refusal, out),
            }
        }
    }

    /// Sends the INVITE of one attempt on a trunk.
    fn ask(&mut self, now: Time, key: Key, attempt: Attempt, out: &mut Outbox<Mail>) -> Result<(), Refusal> {
        let trunk = attempt.seizure.trunk().clone();
        let peer = attempt.peer;
        let (address, transport) = (peer.config.address, peer.config.transport);
        let listener = self.listener_towards(address, trunk.config.realm.as_deref())?;
        let Some(call) = self.calls.get(key) else { return Err(Refusal::internal("call is gone")) };
        let profile = trunk.config.profile.clone();
        let number = profile.called(call.draft.routed.as_deref().unwrap_or_default());
        let params = call.redirected.as_ref().map_or("", |redirected| redirected.params()).to_owned();
        let (uri_host, to_host) = trunk.host_of(&peer);
        let suspect = peer.health.load().state() != HealthState::Up;
        let more = call.hunt.as_ref().is_some_and(Hunt::has_more);
        let patience = patience(&self.config, &profile, more, suspect);
        let way = Way {
            name: trunk.config.name.as_str().into(),
            address,
            transport,
            over: None,
            listener,
            request_uri: format!("sip:{number}{params}@{uri_host}"),
            to: format!("<sip:{number}@{to_host}>"),
            number,
            patience,
            nat: (profile.nat.unwrap_or_else(|| self.nat_at(listener)), false),
            profile,
            route: trunk.registration().and_then(|registration| registration.route()),
            account: trunk.config.account.clone(),
            identity: trunk.config.identity,
            peer: Some(peer),
            seizure: Some(attempt.seizure),
        };
        self.send_invite(now, key, way, &trunk.config.codecs, out)
    }

    /// Sends the INVITE of one attempt.
    pub(crate) fn send_invite(
        &mut self,
        now: Time,
        key: Key,
        way: Way,
        codecs: &[String],
        out: &mut Outbox<Mail>,
    ) -> Result<(), Refusal> {
        let advertised = self.listeners[way.listener].advertised;
        if self.calls.get(key).is_some_and(|call| call.told || call.transferring.moved)
            && !self.keeps_media(key, way.listener)
        {
            return Err(Refusal::sdp("the caller was told of ports on another address"));
        }
        self.ensure_media(now, key, way.listener, out)?;
        let sip_call_id = self.shards.draw_call_id(&mut self.random);
        let tied = way.over.is_some_and(|(held, _)| held.stream == TIE);
        let secrets = self.secrets.fork();
        let security = if tied {
            LegSecurity::off(secrets)
        } else {
            let config = way.profile.security.as_ref().unwrap_or(&self.config.security);
            let print = self.config.dtls.as_deref().map(rtp::dtls::Ends::fingerprint);
            LegSecurity::new(config, way.transport, print, secrets)
        };
        let dtmf = if tied { Dtmf::Pass } else { way.profile.dtmf.unwrap_or(self.config.dtmf) };
        let local = self.listeners[way.listener].local.ip();
        // A phone speaks for its own numbers alone, wherever it is.
        let caller_trusted = self
            .calls
            .get(key)
            .is_some_and(|call| call.asserted.is_none() && self.trusted(call.flow.remote.ip()));
        let unix = self.unix(now);
        let Some(call) = self.calls.get_mut(key) else { return Err(Refusal::internal("call is gone")) };
        call.agreed = false;
        call.hides_keys |= way.profile.dtmf_hidden;
        self.hiding |= call.hides_keys;
        let demanded = call.offer_demanded || way.profile.late_offer == LateOffers::Offer;
        call.offer_ours = call.late_offer && demanded;
        if let Some(media) = call.media.as_mut() {
            // Each callee has keys of its own.
            media.sessions[1].security = security;
            media.sessions[1].dtmf = dtmf;
            let reporting = way.profile.reporting.unwrap_or(self.config.reporting);
            media.sessions[1].reporting = if tied { Reporting::PASSED } else { reporting };
            media.sessions[1].allowed = if tied { Allowed::default() } else { way.profile.allowed };
            if tied {
                // Between shards, RTP stays on this host.
                media.sessions[1].name_address(local);
            }
        }
        let (body, offered) = (call.invite.body().to_vec(), call.offer.clone());
        self.ensure_streams(now, key, &body, out);
        let origin = self.calls.get(key).map(|call| self.origin_of(call, Side::Caller));
        let Some(call) = self.calls.get_mut(key) else { return Err(Refusal::internal("call is gone")) };
        if let (Some(media), Some(offer), Some(origin)) = (call.media.as_mut(), &offered, origin) {
            streams::apply(now, media, Side::Caller, offer.streams(), origin);
        }
        let offer = match call.media.as_mut() {
            Some(media) if !call.late_offer => {
                // The caller may have been told of a session already: only its codecs are left to choose from.
                let told = if call.told { media.sessions[1].codec_names() } else { Vec::new() };
                let codecs = session::common(codecs, told)?;
                media.translates = way.profile.transcode;
                Some(session::offer(call.invite.body(), media, Side::Callee, &codecs)?)
            }
            Some(media) if call.offer_ours => Some(own_offer(media, codecs)?),
            _ => None,
        };
        let message = call.invite.parse().map_err(|_| Refusal::internal("INVITE could not be read again"))?;
        let mut from = session::from_of(&message, advertised, &way.profile);
        let calling = way.profile.calling(&call.draft.from);
        let mut written = way.profile.write(&Outgoing {
            invite: &message,
            caller_trusted,
            trunk: way.name.as_str(),
            called: &way.number,
            calling: &calling,
            dialled: &call.draft.dialled,
            source: call.flow.remote.ip(),
            peer: way.address,
            local: advertised.ip(),
        });
        self.stats.headers_dropped += written.dropped;
        const ASSERTED: &str = "P-Asserted-Identity";
        let is_asserted = written.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(ASSERTED));
        if let Some(number) =
            call.asserted.as_deref().filter(|_| way.profile.passes(ASSERTED) && !is_asserted)
        {
            // RFC 3325 §5: what a user of ours said of itself, as far as we know it to be true.
            let (number, host) = (way.profile.calling(number), session::host(advertised.ip()));
            written.fields.push((ASSERTED.to_owned(), format!("<sip:{number}@{host}>")));
        }
        let steps = steps(&call.draft, &way.number);
        let host = session::host(advertised.ip());
        let (trusted, dialled) = (way.profile.trusted, call.draft.dialled.as_str());
        let known = history::Known { dialled, host: &host, steps: &steps, trusted };
        self.stats.headers_dropped +=
            history::tell(&mut written.fields, &message, way.profile.diversions, &known);
        if !way.profile.trusted {
            from = call.privacy.hide(&mut written.fields).unwrap_or(from);
        }
        if let Some(number) = call.transferring.referred_by.as_deref() {
            // RFC 3892: who refers, as we know him.
            let (number, host) = (way.profile.calling(number), session::host(advertised.ip()));
            written.fields.push(("Referred-By".to_owned(), format!("<sip:{number}@{host}>")));
        }
        if let Some(replaces) = call.transferring.replaces.as_ref().filter(|_| tied) {
            written.fields.push(("Replaces".to_owned(), replaces.to_string()));
        }
        if let Some(seat) = &call.transferring.seat {
            written.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("Join"));
            written.fields.extend(joining::fields(seat, &message));
        }
        let departure = Departure {
            config: &self.config.identity,
            table: &self.table,
            trunk: way.identity,
            invite: &message,
            source: call.flow.remote,
            user: call.identity.user.then_some(&*calling),
            to: &way.to,
            sent_on: call.redirected.as_ref().is_some_and(|it| it.number().is_some()),
            message: None,
            now: unix,
        };
        depart(&departure, &mut call.identity, &mut from, &mut written.fields, &mut self.stats);
        call.ends.forget_callee();
        call.shows_ends = way.profile.session_id;
        if call.shows_ends {
            written.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("Session-ID"));
            written.fields.push(("Session-ID".to_owned(), call.ends.to_callee().to_string()));
        }
        let route = way.route.iter().map(|route| ("Route", route.as_str()));
        let fields = written.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut headers: Vec<(&str, &str)> = route.chain(fields).collect();
        let passed = extensions::passed(&message);
        headers.extend(passed.iter().map(|name| (name.as_str(), extensions::TAG)));
        if offer.is_none()
            && [Name::Supported, Name::Require].iter().any(|name| message.lists(*name, "100rel"))
        {
            // The caller can answer an offer that comes before the call is answered.
            headers.push(("Supported", "100rel"));
        }
        let invite = Invite {
            call_id: &sip_call_id,
            request_uri: &way.request_uri,
            from: &from,
            to: &way.to,
            destination: Destination {
                transport: way.transport,
                remote: way.address,
                socket: self.listeners[way.listener].udp,
                over: way.over,
            },
            contact_user: "",
            headers: &headers,
            body: offer.as_deref().map(Body::sdp),
            // The endpoint has refused 0 already (RFC 3261 §16.3; RFC 7332 for a B2BUA).
            max_forwards: message.max_forwards().unwrap_or(70).saturating_sub(1),
            no_response: way.patience,
            no_answer: way.profile.no_answer.unwrap_or(self.config.no_answer),
        };
        let leg = self
            .endpoint
            .invite(now, &invite)
            .map_err(|error| Refusal::internal(&format!("INVITE could not be sent: {error}")))?;
        self.endpoint.set_nat(leg, way.nat.0, way.nat.1);
        if let Some(account) = way.account {
            // The leg was made just now, and is unanswered.
            let _ = self.endpoint.authenticate_as(leg, account);
        }
        self.own_call_ids.insert(sip_call_id.clone().into(), way.number.into());
        self.stats.offers_made += u64::from(call.offer_ours);
        call.callee = Some(leg);
        call.draft.trunk = Some(way.name.clone());
        call.draft.peer = Some(way.address);
        call.draft.callee_sip_call_id = Some(sip_call_id.clone());
        call.trying = Some(Trying {
            trunk: way.name,
            peer: way.peer,
            address: way.address,
            started: now,
            patience: way.patience,
            sip_call_id,
            early_media: way.profile.early_media,
            early_dialogs: way.profile.early_dialogs,
            early: Heard::default(),
            redirects: way.profile.redirects,
            heard: None,
        });
        self.put_slot(LegSlot { leg, call: key, side: Side::Callee, seizure: way.seizure });
        self.bind_callee(key);
        self.tell_ends(key);
        Ok(())
    }

    /// The peer took the INVITE (100): from now on it has to show progress.
    pub(crate) fn on_trying(&mut self, now: Time, key: Key) {
        let no_progress = self.config.no_progress;
        if self.calls.get(key).is_some_and(|call| call.phase == Phase::Trying && call.timer.is_none()) {
            let timer = self.set_timer(now + no_progress, Timer::NoProgress(key));
            if let Some(call) = self.calls.get_mut(key) {
                call.timer = timer;
            }
        }
    }

    /// The peer tried stayed at 100 for too long: it is cancelled and the next is asked.
    pub(crate) fn no_progress(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let no_progress = self.config.no_progress;
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        let Some(leg) = call.callee.take() else { return };
        let _ = self.endpoint.cancel(now, leg, None);
        let cause = format!("no progress beyond 100 in {}", seconds(no_progress));
        self.close_attempt(now, key, None, (Reason::TimedOut, &cause), Evidence::CallFailed, out);
        if let Some(call) = self.calls.get_mut(key) {
            call.last_failure = Some(Failure::TimedOut);
        }
        self.try_next(now, key, out);
    }

    /// An attempt failed: the next peer is asked, or the caller is told.
    pub(crate) fn on_failed(
        &mut self,
        now: Time,
        key: Key,
        failure: Failure,
        response: Option<&Received>,
        out: &mut Outbox<Mail>,
    ) {
        let redirection = self.redirection(now, key, &failure, response);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.callee = None;
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        let trunk = call.trying.as_ref().and_then(|trying| self.table.trunk(trying.trunk.as_str()));
        let (evidence, mut next) = judge(&failure, trunk.map(|trunk| &trunk.config));
        if call.contacts.is_some() {
            next = !is_global(&failure);
            self.leave_phone(key, &failure);
        }
        let Some(call) = self.calls.get(key) else { return };
        // Another callee would make another offer, and the caller has answered this one's.
        let next = next && !(call.told && call.offer.is_none());
        let patience = call.trying.as_ref().map_or(Duration::ZERO, |trying| trying.patience);
        let (status, cause) = describe(&failure, patience);
        self.close_attempt(now, key, status, (reason(&failure), &cause), evidence, out);
        let Some(call) = self.calls.get_mut(key) else { return };
        let mut refusal = Refusal::callee(&failure).explained_by(response);
        if let (580, Some(media)) = (refusal.status, call.media.as_mut()) {
            refusal.more = refusal.more.or_else(|| unmet(response, media));
        }
        let is_global = is_global(&failure);
        call.last_failure = Some(failure);
        if let (Some(redirection), Some(attempt)) = (&redirection, call.draft.attempts.last_mut()) {
            attempt.redirected = Some(redirection.text().to_owned().into());
        }
        match redirection {
            Some(Redirection::Relay(_, told)) => self.end_refused(now, key, &told, out),
            Some(Redirection::Follow(_)) => self.give_up(now, key, &refusal, out),
            None if self.demands_offer(key, response) => self.try_next(now, key, out),
            None if next => self.try_next(now, key, out),
            // RFC 3261 §16.7 step 5: a 6xx speaks for all targets.
            None if is_global => self.end_refused(now, key, &refusal, out),
            None => self.give_up(now, key, &refusal, out),
        }
    }

    /// Notes how an attempt went, in the call's record and in the peer's health.
    pub(crate) fn close_attempt(
        &mut self,
        now: Time,
        key: Key,
        status: Option<u16>,
        (reason, cause): (Reason, &str),
        evidence: Evidence,
        out: &mut Outbox<Mail>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(trying) = call.trying.take() else { return };
        call.draft.attempts.push(link::Attempt {
            trunk: trying.trunk.clone(),
            peer: trying.address,
            status,
            cause: cause.to_owned().into(),
            spent_us: now.since(trying.started).as_micros() as u64,
            heard_us: trying.heard.map(|at| at.since(trying.started).as_micros() as u64),
            reason,
            redirected: None,
        });
        if evidence != Evidence::CallServed {
            self.own_call_ids.remove(trying.sip_call_id.as_str());
        }
        let table = self.table.clone();
        if let (Some(trunk), Some(peer)) = (table.trunk(trying.trunk.as_str()), &trying.peer) {
            self.learn(now, trunk, peer, evidence, cause, out);
        }
    }

    /// Feeds a peer's health and tells control when it goes into or out of service.
    pub(crate) fn learn(
        &self,
        now: Time,
        trunk: &Trunk,
        peer: &Peer,
        evidence: Evidence,
        why: &str,
        out: &mut Outbox<Mail>,
    ) {
        let Some(transition) = peer.learn(now, evidence, &trunk.config.health) else { return };
        let state = match transition {
            Transition::WentDown => link::TrunkState::Down,
            Transition::CameUp => link::TrunkState::Up,
        };
        let change = TrunkChange {
            trunk: trunk.config.name.as_str().into(),
            peer: peer.config.address,
            state,
            why: why.to_owned().into(),
            at: self.wall(now),
        };
        self.tell(Event::TrunkState(change), out);
    }

    /// The current callee leg of a call, if `leg` is it.
    pub(crate) fn is_current(&self, key: Key, side: Side, leg: LegId) -> bool {
        self.calls.get(key).is_some_and(|call| match side {
            Side::Caller => call.caller == leg,
            _ => call.callee == Some(leg),
        })
    }

    pub(crate) fn forget_own_call_id(&mut self, key: Key) {
        if let Some(id) = self.calls.get(key).and_then(|call| call.draft.callee_sip_call_id.as_deref()) {
            self.own_call_ids.remove(id);
        }
    }
}

/// How long a peer may say nothing at all: haste serves the next peer; where there is none (`more` is false), an INVITE
/// that a bad line swallowed is sent again in time.
pub(crate) fn patience(config: &Config, profile: &Profile, more: bool, suspect: bool) -> Duration {
    let usual = profile.no_response.unwrap_or(config.no_response);
    match (more, suspect) {
        (true, true) => config.no_response_suspect.min(usual),
        (true, false) => usual,
        (false, _) => usual.saturating_mul(LAST_PEER_PATIENCE),
    }
}

/// What a failure says of the peer, and whether another peer shall be asked.
pub(crate) fn judge(failure: &Failure, trunk: Option<&TrunkConfig>) -> (Evidence, bool) {
    match failure {
        Failure::Status { status, .. } => {
            if trunk.is_some_and(|trunk| trunk.failover_statuses.contains(status)) {
                (Evidence::CallFailed, true)
            } else {
                (Evidence::CallServed, false)
            }
        }
        Failure::NoResponse | Failure::TimedOut => (Evidence::CallFailed, true),
        Failure::Refused | Failure::ConnectFailed => (Evidence::Refused, true),
        Failure::NoAnswer | Failure::AnsweredLate => (Evidence::CallServed, false),
    }
}

/// What the gateway has tried for a call so far, and what it tries now. Before a redirection it was for another number.
fn steps(draft: &Draft, number: &str) -> Vec<history::Step> {
    let status = |attempt: &link::Attempt| match (attempt.status, attempt.reason) {
        (Some(status), _) => status,
        (None, Reason::Refused | Reason::ConnectFailed) => 503,
        (None, _) => 408,
    };
    let redirected = |attempt: &link::Attempt| attempt.redirected.is_some();
    let last = draft.attempts.iter().rposition(redirected);
    let (mut steps, mut sent_on, mut at) = (Vec::new(), false, draft.dialled.clone());
    for (n, attempt) in draft.attempts.iter().enumerate() {
        let target = if last.is_none_or(|last| n > last) { number } else { &at };
        steps.push(history::Step { number: target.to_owned(), status: status(attempt), sent_on });
        sent_on = redirected(attempt);
        if let Some(targets) = &attempt.redirected {
            at = targets.split([',', ';', '@']).next().unwrap_or_default().trim().to_owned();
        }
    }
    steps.push(history::Step { number: number.to_owned(), status: 0, sent_on });
    steps
}

/// Whether a failure speaks for all phones of a user (RFC 3261 §16.7 step 5).
const fn is_global(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { status: 600.., .. } | Failure::AnsweredLate)
}

/// The same in one word.
const fn reason(failure: &Failure) -> Reason {
    match failure {
        Failure::Status { .. } => Reason::Status,
        Failure::NoResponse => Reason::NoResponse,
        Failure::NoAnswer => Reason::NoAnswer,
        Failure::Refused => Reason::Refused,
        Failure::ConnectFailed => Reason::ConnectFailed,
        Failure::TimedOut => Reason::TimedOut,
        Failure::AnsweredLate => Reason::AnsweredLate,
    }
}

/// Status and words for the record.
fn describe(failure: &Failure, no_response: Duration) -> (Option<u16>, String) {
    match failure {
        Failure::Status { status, reason, .. } => (Some(*status), format!("{status} {reason}")),
        Failure::NoResponse => (None, format!("no response within {}", seconds(no_response))),
        Failure::NoAnswer => (None, "not answered in time".into()),
        Failure::Refused => (None, "refused (ICMP or connection lost)".into()),
        Failure::ConnectFailed => (None, "could not be connected".into()),
        Failure::TimedOut => (None, "no final response".into()),
        Failure::AnsweredLate => (Some(200), "answered too late".into()),
    }
}

/// A time for people: `1.5 s`.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{} s", span.as_millis() as f64 / 1000.0)
}
