//! An INVITE comes in: whether it becomes a call, and where it is to go.

use crate::admission::trusted;
use crate::authenticate::Admission;
use crate::call::{Call, Draft, LegSlot};
use crate::ends::{self, Ends};
use crate::guard::Standing;
use crate::mail::Mail;
use crate::privacy::{self, Privacy};
use crate::session::{self, Described};
use crate::shard::{Service, Shard, Timer};
use crate::status::Refusal;
use crate::transfer::{Admitted, Joining, Seat, Transferring};
use crate::trunk::Hunt;
use core::net::IpAddr;
use core::time::Duration;
use link::{CallRecord, Decision, Event, Phase, RouteAsked, ShardId, Side};
use sansio::{Key, Outbox, Time};
use sip::{Body, Flow, LegId, Received};

/// How long a call waits for RTP ports that are being opened, as at the start and in a burst, and how often it looks. They
/// are there within milliseconds unless the host is too busy to let the shard open them; then late is better than refused.
const PORTS_AWAITED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(5));
/// How long control may think about where a call goes.
const ROUTE_ASKED: Duration = Duration::from_millis(500);

/// What is read from an INVITE before it is a call.
pub(crate) struct Asked {
    pub(crate) sip_call_id: String,
    pub(crate) from: String,
    pub(crate) dialled: String,
    /// The one phone of that user that is meant (RFC 5627).
    pub(crate) aimed: Option<Box<str>>,
    /// The number that a user of ours is asserted with.
    pub(crate) asserted: Option<String>,
    pub(crate) privacy: Privacy,
    pub(crate) diversions: u32,
}

impl Shard {
    pub(crate) fn on_invite(
        &mut self,
        now: Time,
        leg: LegId,
        invite: Received,
        flow: Flow,
        out: &mut Outbox<Mail>,
    ) {
        self.judge_nat(leg, &flow);
        if self.is_tied(&flow) {
            if !self.replaces(now, leg, &invite, &flow, out) {
                self.refuse_tied(now, leg);
            }
            return;
        }
        // Refused before any state is made for it.
        let Admission::Taken(user) = self.admits(now, leg, &invite, &flow, out) else { return };
        if self.service != Service::Open {
            self.stats.calls_draining_refused += 1;
            return self.refuse(now, leg, &Refusal::draining());
        }
        if self.replaces(now, leg, &invite, &flow, out) {
            return;
        }
        let admitted = (leg, invite, flow, user);
        match self.joins(now, &admitted, out) {
            Joining::No => self.take_call(now, admitted, None, out),
            Joining::At(seat) => self.take_call(now, admitted, Some(seat), out),
            Joining::Told => {}
        }
    }

    /// Makes a call of an INVITE that was admitted, and sends it on its way: to whoever sits there, if it is to join a call.
    pub(crate) fn take_call(
        &mut self,
        now: Time,
        (leg, invite, flow, user): Admitted,
        seat: Option<Box<Seat>>,
        out: &mut Outbox<Mail>,
    ) {
        if self.calls.len() >= self.calls.capacity().min(self.config.calls_max as usize) {
            self.stats.calls_limit_refused += 1;
            return self.refuse(now, leg, &Refusal::calls_limit());
        }
        let mut asked = match self.read(now, &invite, user.as_deref()) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse(now, leg, &refusal),
        };
        if self.own_call_ids.get(asked.sip_call_id.as_str()).is_some_and(|number| **number == *asked.dialled)
        {
            self.stats.calls_looped += 1;
            return self.refuse(now, leg, &Refusal::looped());
        }
        if asked.diversions > self.config.diversions_max {
            self.stats.calls_diverted_refused += 1;
            return self.refuse(now, leg, &Refusal::diverted());
        }
        if asked.privacy.is_beyond_us() {
            self.stats.calls_privacy_refused += 1;
            return self.refuse(now, leg, &Refusal::privacy());
        }
        if let Some(trunk) = self.trunk_called_at(now, &flow, &asked.dialled) {
            self.stats.calls_to_contacts += 1;
            trunk.count_call_in();
            let in_to = trunk.config.register.as_ref().is_some_and(|it| it.called_in_to);
            if let Some(number) = in_to.then(|| called_in_to(&invite)).flatten() {
                asked.dialled = number;
            }
        }
        if let Some(seat) = &seat {
            // Whom it is for is who sits there: the rules for calls to him hold.
            asked.dialled.clone_from(&seat.number);
            asked.aimed = None;
        }
        let offer = match invite.body() {
            [] => Ok(None),
            body => Described::read(body).map(Some),
        };
        let offer = offer.and_then(|offer| {
            let security = offer.as_ref().map(|offer| self.security_of(now, &flow).admits(offer.security()));
            security.unwrap_or(Ok(())).map(|()| offer)
        });
        let Some(call) = self.open(now, leg, invite, flow, asked, out) else {
            self.stats.calls_limit_refused += 1;
            return self.refuse(now, leg, &Refusal::calls_limit());
        };
        match offer {
            Ok(offer) => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.offer = offer;
                    call.user = user;
                    call.transferring.seat = seat;
                }
                self.note_elsewhere(call);
                match self.take_tolls(now, call, out) {
                    Ok(()) => self.verify_identity(now, call, out),
                    Err(refusal) => self.end_refused(now, call, &refusal, out),
                }
            }
            Err(refusal) => {
                self.stats.calls_sdp_refused += 1;
                self.end_refused(now, call, &refusal, out);
            }
        }
    }

    /// The number dialled and the caller's, from the user parts of Request-URI and From; and what there is about identity.
    fn read(&mut self, now: Time, invite: &Received, user: Option<&str>) -> Result<Asked, Refusal> {
        let unread = |_| Refusal::internal("INVITE could not be read again");
        let message = invite.parse().map_err(unread)?;
        let Some(aim) = self.aim(now, message.request_uri()) else {
            self.stats.gruus_void += 1;
            return Err(Refusal::void());
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Asked {
            sip_call_id: text(message.call_id()),
            from: message.from().map_or_else(String::new, |from| session::user_of(from.uri)),
            dialled: aim.number,
            aimed: aim.phone,
            asserted: user.map(|name| privacy::asserted(&message, name, self.config.users.numbers_of(name))),
            privacy: Privacy::of(&message),
            diversions: privacy::diversions(&message),
        })
    }

    /// Whether calls are taken from there: an allowed network, or a trunk's peer.
    pub(crate) fn allowed(&self, source: IpAddr) -> bool {
        self.known.standing(source) == Standing::Allowed
    }

    /// Whether who calls is believed from there: a trusted network, or a peer of a trusted trunk (RFC 3325 §5).
    pub(crate) fn trusted(&self, source: IpAddr) -> bool {
        let trunks = self.table.trunks().iter().map(|trunk| &trunk.config);
        trusted(&self.config, trunks, source)
    }

    /// Answers an INVITE that did not become a call.
    pub(crate) fn refuse(&mut self, now: Time, leg: LegId, refusal: &Refusal) {
        let retry = self.config.retry_after.to_string();
        let retry = refusal.retry.then_some(("Retry-After", retry.as_str()));
        let reason = refusal.reason_field.as_deref().map(|reason| ("Reason", reason));
        let more = refusal.more.as_deref();
        let fields = more.into_iter().flat_map(|more| &more.fields);
        let fields = fields.map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = retry.into_iter().chain(reason).chain(fields).collect();
        let body = more.and_then(|more| more.body.as_ref());
        let body = body.map(|(content_type, bytes)| Body { content_type, bytes });
        let words = refusal.reason.as_deref();
        // The leg may have been cancelled in the meantime: then there is nobody to tell.
        let _ = self.endpoint.reject_with(now, leg, refusal.status, words, &headers, body);
    }

    /// Makes a call of what was asked; its caller's leg may be [`LegId::NONE`].
    pub(crate) fn open(
        &mut self,
        now: Time,
        leg: LegId,
        invite: Received,
        flow: Flow,
        asked: Asked,
        out: &mut Outbox<Mail>,
    ) -> Option<Key> {
        let id = self.call_ids.draw();
        // Who calls in a user's name has shown that he is the user, or he would not have been admitted.
        let user = self.config.users.has(&asked.from) && !self.is_peer(&flow);
        let started_wall = self.wall(now);
        let record = CallRecord {
            call: id,
            shard: ShardId(self.shards.me as u8),
            started: started_wall,
            sip_call_id: asked.sip_call_id.clone(),
            from: asked.from.clone(),
            dialled: asked.dialled.clone(),
            source: flow.remote,
        };
        let draft = Draft {
            sip_call_id: asked.sip_call_id,
            from: asked.from,
            dialled: asked.dialled,
            routed: None,
            source: flow.remote,
            started: now,
            started_wall,
            ringing: None,
            answered: None,
            attempts: Vec::new(),
            callee_sip_call_id: None,
            trunk: None,
            peer: None,
            transfer: None,
            media: None,
        };
        let hides_keys = self.trunk_behind(now, &flow).is_some_and(|trunk| trunk.config.profile.dtmf_hidden);
        self.hiding |= hides_keys;
        let listener = self.listener_of(&flow);
        let late_offer = invite.body().is_empty();
        let ends = Ends::new(ends::said(&invite), &mut self.names);
        let call = self
            .calls
            .insert(Call {
                id,
                caller: leg,
                asserted: asked.asserted,
                aimed: asked.aimed,
                privacy: asked.privacy,
                callee: None,
                phase: Phase::Trying,
                invite,
                flow,
                listener,
                table: self.table.clone(),
                hunt: None,
                contacts: None,
                phone: None,
                redirected: None,
                offer: None,
                late_offer,
                offer_ours: false,
                offer_demanded: false,
                shown: None,
                unheard: None,
                agreed: false,
                told: false,
                trying: None,
                last_failure: None,
                timer: None,
                hides_keys,
                bridge_timer: None,
                media_timer: None,
                watch: None,
                watch_timer: None,
                media: None,
                reinvite: None,
                answer_awaited: None,
                resync: None,
                user: None,
                tolls: Vec::new(),
                trunk_tolls: Vec::new(),
                identity: crate::identity::Standing::new(user),
                ends,
                shows_ends: true,
                transferring: Transferring::default(),
                draft,
            })
            .ok()?;
        self.stats.calls_started += 1;
        self.setups += 1;
        self.ids.insert(id, call);
        if leg != LegId::NONE {
            self.put_slot(LegSlot { leg, call, side: Side::Caller, seizure: None });
            self.bind_caller(call);
            self.tell_ends(call);
        }
        self.tell(Event::CallStarted(Box::new(record)), out);
        Some(call)
    }

    /// Finds where the call goes: by the snapshot, or by asking control.
    pub(crate) fn route(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let (limit, pause) = PORTS_AWAITED;
        if now.since(call.draft.started) < limit && self.ports_opening() {
            let timer = self.set_timer(now + pause, Timer::NoPorts(key));
            if let Some(call) = self.calls.get_mut(key) {
                call.timer = timer;
            }
            return;
        }
        if let Some(owner) = call.transferring.replaces.as_ref().and_then(|replaces| self.elsewhere(replaces))
        {
            return self.route_elsewhere(now, key, owner, out);
        }
        if let Some(seat) = call.transferring.seat.clone().filter(|_| call.redirected.is_none()) {
            self.stats.joins_passed += 1;
            return self.route_to_seat(now, key, &seat, out);
        }
        if self.config.users.has(call.number()) {
            return self.route_to_user(now, key, out);
        }
        let Some(routed) = self.routes.lookup(call.number()) else {
            self.stats.calls_unrouted += 1;
            return self.give_up(now, key, &Refusal::unrouted(), out);
        };
        if routed.entry.ask {
            let asked = RouteAsked {
                call: call.id,
                number: call.number().to_owned(),
                from: call.draft.from.clone(),
                source: call.draft.source,
            };
            self.tell(Event::RouteAsked(Box::new(asked)), out);
            let timer = self.set_timer(now + ROUTE_ASKED, Timer::NoRoute(key));
            if let Some(call) = self.calls.get_mut(key) {
                call.timer = timer;
            }
            return;
        }
        self.route_by_snapshot(now, key, out);
    }

    /// The ports that a call waited for may be open now.
    pub(crate) fn ports_opened(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        self.route(now, key, out);
    }

    fn route_by_snapshot(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(routed) = self.routes.lookup(call.number()) else {
            self.stats.calls_unrouted += 1;
            return self.give_up(now, key, &Refusal::unrouted(), out);
        };
        let number = routed.entry.rewrite(call.number());
        let groups: Vec<usize> =
            routed.entry.groups.iter().filter_map(|group| self.table.group(group.as_str())).collect();
        self.hunt(now, key, number, &groups, out);
    }

    fn hunt(&mut self, now: Time, key: Key, number: String, groups: &[usize], out: &mut Outbox<Mail>) {
        let attempts_max = self.config.attempts_max;
        // Chance has a say only where a name stands for several addresses.
        let seed = if self.table.has_names() { self.random.u64() } else { 0 };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.table = self.table.clone();
        call.hunt = Some(Hunt::new(&call.draft.from, groups, attempts_max).seeded(seed));
        call.draft.routed = Some(number);
        self.try_next(now, key, out);
    }

    /// Control did not say in time where the call goes: the entry's own groups are the default.
    pub(crate) fn no_route(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        self.stats.routes_unanswered += 1;
        self.route_by_snapshot(now, key, out);
    }

    /// Control's answer.
    pub(crate) fn route_decided(&mut self, now: Time, key: Key, decision: Decision, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.hunt.is_some() {
            return; // The default was taken already.
        }
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        match decision {
            Decision::Groups { groups, number } => {
                let groups: Vec<usize> =
                    groups.iter().filter_map(|group| self.table.group(group.as_str())).collect();
                self.hunt(now, key, number, &groups, out);
            }
            Decision::Refuse { status, reason } => {
                self.give_up(now, key, &Refusal::control(status, &reason), out);
            }
        }
    }
}

/// The number in To, if there is one: a carrier that calls a registered contact has the number dialled there.
fn called_in_to(invite: &Received) -> Option<String> {
    let number = session::user_of(invite.parse().ok()?.to()?.uri);
    (!number.is_empty()).then_some(number)
}
