//! An INVITE that takes the place of a leg (Replaces, RFC 3891): of one that talks, as at the end of an attended transfer
//! or when a parked call is taken up again; or of a phone that rings (call pickup).

use super::sessions::{common, open};
use crate::call::{Call, LegSlot, across, at};
use crate::mail::Mail;
use crate::session::{self, Described, LegSession, Origin};
use crate::shard::Shard;
use crate::status::Refusal;
use link::{CallAnswered, End, Event, Part, Phase, Reason, Side};
use sansio::{Key, Outbox, Time};
use sip::message::{Message, Name};
use sip::transfer::Replaces;
use sip::{Body, Flow, LegId, LegState, Received, shows_nat};

/// Reason of the CANCEL to a phone that rings while another one took the call (RFC 3326 §2).
pub(super) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

impl Shard {
    /// An INVITE came in, and was admitted. Whether it asked to replace a leg: then it was answered.
    pub(crate) fn replaces(
        &mut self,
        now: Time,
        leg: LegId,
        invite: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) -> bool {
        let Ok(message) = invite.parse() else { return false };
        let replaces = match Replaces::of(&message) {
            Ok(None) => return false,
            // Another shard is asked, when the call is routed.
            Ok(Some(replaces)) if self.elsewhere(&replaces).is_some() => return false,
            Ok(Some(replaces)) => Ok(replaces),
            Err(reject) => Err(Refusal::dialog(reject.status, reject.reason)),
        };
        self.stats.replaces_asked += 1;
        let done = replaces.and_then(|replaces| self.replace(now, leg, (&message, flow), &replaces, out));
        match done {
            Ok(()) => self.stats.replaces_done += 1,
            Err(refusal) => {
                self.stats.replaces_refused += 1;
                self.refuse(now, leg, &refusal);
            }
        }
        true
    }

    /// Which leg is meant, and whether it may be replaced (RFC 3891 §3).
    fn replace(
        &mut self,
        now: Time,
        leg: LegId,
        invite: (&Message<'_>, &Flow),
        replaces: &Replaces,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Refusal> {
        let unknown = Refusal::dialog(481, "no such dialog");
        let over = |leg| {
            let state = self.endpoint.leg(leg).map(|facts| facts.state);
            matches!(state, Some(LegState::Ending | LegState::Cancelling))
        };
        if self.endpoint.replaced_leg(replaces).is_some_and(over) {
            return Err(Refusal::dialog(603, "the dialog is over"));
        }
        let (key, side) = self.place_named(replaces, None).map_err(|status| match status {
            481 => unknown.clone(),
            status => Refusal::dialog(status, "the call is being changed"),
        })?;
        let named = self.calls.get(key).and_then(|call| call.leg(side));
        let state = named.and_then(|named| self.endpoint.leg(named));
        let early = state.is_some_and(|facts| matches!(facts.state, LegState::Started | LegState::Early));
        if early && state.is_some_and(|facts| !facts.outgoing) {
            // RFC 3891 §3: an early dialog can be replaced only by who is called in it; a shard that executes a REFER gives
            // the call of who referred away, as it would be done here.
            let refers = self.is_tied(invite.1) && invite.0.header(Name::ReferredBy).is_some();
            return if refers { self.give_away(now, leg, key, invite) } else { Err(unknown) };
        }
        if replaces.early_only && !early {
            return Err(Refusal::dialog(486, "the call was answered"));
        }
        let offer = match invite.0.body() {
            // Who makes no offer is made one (RFC 3261 §13.2.1): what the other side described.
            [] => None,
            body => Some(Described::read(body)?),
        };
        let told = if early {
            self.pick_up(now, key, offer.as_ref(), invite)?
        } else {
            self.take_over(now, (key, side), offer.as_ref(), invite)?
        };
        self.replaced(now, leg, (key, side), invite, out);
        // The caller may have cancelled in this very instant: its Cancelled event is on its way then.
        let _ = self.endpoint.answer(now, leg, &[], Some(Body::sdp(&told)));
        if offer.is_none() {
            self.replacement_asked(key, side);
        } else if early {
            self.picked_up(now, key, out);
        } else {
            self.settle_sessions(now, key, across(side), out);
        }
        Ok(())
    }

    /// A call that rings goes on for who is put through from another shard: his leg is its caller from now on.
    fn give_away(
        &mut self,
        now: Time,
        leg: LegId,
        key: Key,
        (message, flow): (&Message<'_>, &Flow),
    ) -> Result<(), Refusal> {
        let offer = Described::read(message.body())?;
        let call = self.calls.get(key).ok_or_else(|| Refusal::dialog(481, "no such dialog"))?;
        let before = offer_to_be_answered(call)?;
        // The callee answers the offer that it has: by the numbers of that.
        if !before.codecs().iter().all(|codec| offer.codecs().contains(codec)) {
            return Err(Refusal::sdp("the call was offered with other codecs"));
        }
        let rings = call.phase == Phase::Ringing;
        let displaced = call.caller;
        let codecs = common(before, &offer);
        self.seat(now, (key, Side::Caller), Some(&offer), (message, flow), &codecs)?;
        let by = message.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let to = self.number_at(key, Side::Callee);
        self.note_transfer(key, link::Transfer { part: Part::Replaced, by, to, status: 200, call: None });
        let _ = self.endpoint.reject(now, displaced, 487, None, &[("Reason", ELSEWHERE)]);
        let sip_call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        let Some(call) = self.calls.get_mut(key) else { return Err(Refusal::internal("call is gone")) };
        call.set_leg(Side::Caller, leg);
        call.transferring.moved = true;
        (call.offer, call.flow) = (Some(offer), *flow);
        let id = call.id.0;
        if let Some(recorder) = self.endpoint.recorder_mut() {
            recorder.bind(sip_call_id.as_bytes(), id, 0, "replaces");
        }
        self.put_slot(LegSlot { leg, call: key, side: Side::Caller, seizure: None });
        self.end_replaced(key, Side::Caller, message);
        if rings {
            let _ = self.endpoint.provisional(now, leg, 180, &[], None);
        }
        Ok(())
    }

    /// The session of who takes the place of a leg that talks: of his codecs those that the other side speaks.
    fn take_over(
        &mut self,
        now: Time,
        (key, side): (Key, Side),
        offer: Option<&Described>,
        invite: (&Message<'_>, &Flow),
    ) -> Result<Vec<u8>, Refusal> {
        let call = self.calls.get(key).ok_or_else(|| Refusal::dialog(481, "no such dialog"))?;
        let stands =
            call.phase == Phase::Answered && call.other(side).is_some_and(|other| other != LegId::NONE);
        let media =
            call.media.as_ref().filter(|_| stands).ok_or_else(|| Refusal::dialog(481, "nobody is there"))?;
        let there = Described::read(media.sessions[at(across(side))].said())?;
        let codecs = offer.map_or_else(Vec::new, |offer| common(offer, &there));
        self.seat(now, (key, side), offer, invite, &codecs)
    }

    /// The sessions of who takes a ringing phone's place and of the caller: each has its own offer answered.
    fn pick_up(
        &mut self,
        now: Time,
        key: Key,
        offer: Option<&Described>,
        invite: (&Message<'_>, &Flow),
    ) -> Result<Vec<u8>, Refusal> {
        let call = self.calls.get(key).ok_or_else(|| Refusal::dialog(481, "no such dialog"))?;
        let callers = offer_to_be_answered(call)?;
        let codecs = offer.map_or_else(Vec::new, |offer| common(callers, offer));
        self.seat(now, (key, Side::Callee), offer, invite, &codecs)
    }

    /// Gives the session of a side to who takes its place; what to answer him.
    fn seat(
        &mut self,
        now: Time,
        (key, side): (Key, Side),
        offer: Option<&Described>,
        (message, flow): (&Message<'_>, &Flow),
        codecs: &[String],
    ) -> Result<Vec<u8>, Refusal> {
        if codecs.is_empty() && offer.is_some() {
            return Err(Refusal::sdp("no codec that the other side speaks"));
        }
        let listener = self.listener_of(flow);
        let here =
            self.calls.get(key).and_then(|call| call.media.as_ref()).map(|media| media.pairs[at(side)]);
        let (Some(here), tied) = (here, self.is_tied(flow)) else {
            return Err(Refusal::internal("call is gone"));
        };
        if !tied && here.pool() != self.pool_of[listener] {
            return Err(Refusal::sdp("it came to another address than the call has its media on"));
        }
        // Between shards, RTP stays on this host.
        let local = self.pools[here.pool()].address();
        let address = if tied { local } else { self.places[listener].media.advertised };
        let mut fresh = LegSession::new(self.random.u64() >> 16, address, self.security_of(now, flow));
        fresh.reporting = self.reporting_of(now, flow);
        (fresh.dtmf, fresh.allowed) = (self.dtmf_of(now, flow), self.allowed_of(now, flow));
        if let Some(offer) = offer {
            fresh.security.hear_offer(offer.security())?;
        }
        let signalling = if tied { local } else { flow.remote.ip() };
        let behind_nat = !tied && self.nat_of(flow).applies(shows_nat(message, flow));
        let origin = Origin { signalling, behind_nat, latch: self.config.latch };
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else {
            return Err(Refusal::internal("call is gone"));
        };
        let before = core::mem::replace(&mut media.sessions[at(side)], fresh);
        let told = match offer {
            Some(_) => session::mirror(message.body(), media, side, codecs),
            None => {
                let there = open(media.sessions[at(across(side))].said());
                session::anchor(&there, media, side, &[])
            }
        };
        match told {
            Ok(told) => {
                media.bridge.forget_remote(now, side.into());
                media.streams.iter_mut().for_each(|stream| stream.forget_remote(now, side));
                if let Some(offer) = offer {
                    session::apply(now, media, side, offer, origin);
                }
                Ok(told)
            }
            Err(refusal) => {
                media.sessions[at(side)] = before;
                Err(refusal)
            }
        }
    }

    /// Who replaces a leg has its place in the call; the leg is ended.
    fn replaced(
        &mut self,
        now: Time,
        leg: LegId,
        (key, side): (Key, Side),
        (message, flow): (&Message<'_>, &Flow),
        out: &mut Outbox<Mail>,
    ) {
        let by = message.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let to = self.number_at(key, across(side));
        self.note_transfer(key, link::Transfer { part: Part::Replaced, by, to, status: 200, call: None });
        let displaced = self.calls.get(key).and_then(|call| call.leg(side));
        if self.calls.get(key).is_some_and(|call| call.trying.is_some()) {
            let cause = (Reason::GivenUp, "another phone took the call");
            self.close_attempt(now, key, None, cause, crate::trunk::Evidence::CallServed, out);
            self.forget_own_call_id(key);
        }
        if let Some(displaced) = displaced {
            self.session_of_leg_ends(now, displaced, false);
            let _ = self.endpoint.bye(now, displaced, &[("Reason", ELSEWHERE)]);
        }
        let sip_call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        let Some(call) = self.calls.get_mut(key) else { return };
        call.set_leg(side, leg);
        call.transferring.moved = true;
        if side == Side::Caller {
            call.flow = *flow;
        } else {
            call.draft.peer = Some(flow.remote);
            call.draft.callee_sip_call_id = Some(sip_call_id.clone());
        }
        let (id, number) =
            (call.id.0, if side == Side::Caller { 0 } else { call.draft.attempts.len() as u16 + 1 });
        if let Some(recorder) = self.endpoint.recorder_mut() {
            recorder.bind(sip_call_id.as_bytes(), id, number, "replaces");
        }
        self.put_slot(LegSlot { leg, call: key, side, seizure: None });
        self.end_replaced(key, side, message);
    }

    /// Who takes a leg's place was made an offer: his ACK is awaited before anybody else is told.
    fn replacement_asked(&mut self, key: Key, side: Side) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.transferring.offered = Some(side);
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        if call.phase == Phase::Trying {
            // The phone that it was for is not waited for any more.
            self.setups -= 1;
            call.phase = Phase::Ringing;
        }
    }

    /// Who takes a leg's place has answered our offer, in his ACK.
    pub(crate) fn replacement_answered(
        &mut self,
        now: Time,
        key: Key,
        side: Side,
        body: &[u8],
        out: &mut Outbox<Mail>,
    ) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, side)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.transferring.offered = None;
        let (Ok(described), Some(media)) = (Described::read(body), call.media.as_mut()) else {
            // RFC 3261 §13.2.2.4: an answer that is none ends the call.
            self.stats.calls_sdp_refused += 1;
            let status = if call.phase == Phase::Answered { 200 } else { 488 };
            let cause = "who took a leg's place answered the offer with nothing that can be used".into();
            let end = End { side: Side::Gateway, status, q850: Some(88), cause };
            return self.finish(
                now,
                key,
                end,
                &[("Reason", "SIP;cause=488;text=\"Not Acceptable Here\"")],
                out,
            );
        };
        session::apply(now, media, side, &described, origin);
        if call.phase == Phase::Answered {
            self.settle_sessions(now, key, across(side), out);
        } else {
            self.picked_up(now, key, out);
        }
    }

    /// A call that rang was taken by another phone: the caller is answered.
    pub(super) fn picked_up(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        self.setups -= u32::from(call.phase == Phase::Trying);
        call.phase = Phase::Answered;
        call.draft.answered = Some(now);
        call.draft.ringing.get_or_insert(now);
        let (id, caller) = (call.id, call.caller);
        let answer = answer_to_caller(call);
        self.stats.calls_answered += 1;
        if let (Some(trunk), Some(peer)) = (call.draft.trunk.clone(), call.draft.peer) {
            self.tell(
                Event::CallAnswered(CallAnswered {
                    call: id,
                    at: self.wall(now),
                    trunk,
                    peer,
                    heard_us: None,
                }),
                out,
            );
        }
        if self.target_answered(now, key, out) {
            return;
        }
        let _ = self.endpoint.answer(now, caller, &[], answer.as_deref().map(Body::sdp));
        self.start_media_check(now, key);
        self.settle_sessions(now, key, Side::Caller, out);
    }
}

/// The offer of a caller whose call rings, if it is still to be answered.
pub(super) fn offer_to_be_answered(call: &Call) -> Result<&Described, Refusal> {
    let offer = call.offer.as_ref().filter(|_| !call.late_offer && !call.told && call.media.is_some());
    offer.ok_or_else(|| Refusal::sdp("the caller's session is not settled"))
}

/// The answer to a caller's offer when a phone took the call that had an offer of its own.
fn answer_to_caller(call: &mut Call) -> Option<Vec<u8>> {
    let (media, offer) = (call.media.as_mut()?, call.offer.as_ref()?);
    let there = Described::read(media.sessions[at(Side::Callee)].said()).ok()?;
    session::mirror(call.invite.body(), media, Side::Caller, &common(offer, &there)).ok()
}
