//! What happens on one leg of a call and what follows from it on the other.

use crate::call::{Call, Change};
use crate::early::P_EARLY_MEDIA;
use crate::extensions;
use crate::mail::Mail;
use crate::relay;
use crate::session::{self, Described};
use crate::shard::Shard;
use crate::status::Refusal;
use crate::trunk::Evidence;
use link::{CallAnswered, End, Event as LinkEvent, Phase, Reason, Side};
use sansio::{Key, Mailbox, Outbox, Time};
use sip::message::{Method, Name};
use sip::{Body, Event, LegId, LostCause, Received};

impl Shard {
    pub(crate) fn on_event(&mut self, now: Time, event: Event, out: &mut Outbox<Mail>) {
        match event {
            Event::Invite { leg, request, flow } => self.on_invite(now, leg, request, flow, out),
            Event::Request { id, method: Method::Register, message, flow, .. } => {
                self.on_register(now, id, &message, &flow, out);
            }
            Event::Request { id, method: Method::Refer, leg, message, .. } => {
                self.on_refer(now, id, leg, &message, out);
            }
            Event::Request { id, method, leg: None, message, flow } => {
                self.on_outside(now, (id, None), method, &message, &flow, out);
            }
            Event::InUsage { usage, id, method: Method::Refer, begins: true, message, flow } => {
                self.on_refer_outside(now, (id, usage), &message, &flow, out);
            }
            Event::InUsage { usage, id, method, begins: true, message, flow } => {
                self.on_outside(now, (id, Some(usage)), method, &message, &flow, out);
            }
            Event::InUsage { usage, id, method, message, .. } => {
                self.on_in_usage(now, usage, id, method, &message);
            }
            Event::Request { id, method: Method::Notify, leg: Some(leg), message, .. }
                if is_of_transfer(&message) =>
            {
                self.on_notify(now, id, leg, &message);
            }
            Event::Request { id, method, leg: Some(leg), message, .. } => {
                self.on_request(now, id, method, leg, &message, out)
            }
            Event::Response { id, message, .. } if self.registrants.asked(id) => {
                self.on_registrar_answer(now, id, &message, out);
            }
            Event::RequestFailed { id, cause } if self.registrants.asked(id) => {
                self.on_registrar_silence(now, id, &cause, out);
            }
            Event::Response { id, .. } if self.pings.awaits(id) => self.on_ping_answer(now, id, out),
            Event::RequestFailed { id, .. } if self.pings.awaits(id) => {
                self.on_ping_silence(now, id, out);
            }
            Event::KeptLost { stream } => self.on_kept_lost(now, stream, out),
            Event::Response { id, status, .. } if self.key_infos.contains_key(&id) => {
                self.info_answered(now, id, Some(status), out);
            }
            Event::RequestFailed { id, .. } if self.key_infos.contains_key(&id) => {
                self.info_answered(now, id, None, out);
            }
            Event::Response { id, status, message } => {
                if !self.on_relayed(now, id, Some(&message))
                    && !self.on_outside_answer(now, id, &message, out)
                {
                    self.on_probe_answer(now, id, Some(status), out);
                }
            }
            Event::RequestFailed { id, cause } => {
                if !self.on_relayed(now, id, None) && !self.on_outside_silence(now, id, &cause, out) {
                    self.on_probe_failure(now, id, &cause, out);
                }
            }
            Event::ByeDone { leg, status } => self.on_bye_done(now, leg, status),
            Event::Gone { leg } => self.on_gone(now, leg),
            Event::Foreign { owner, stream, transport, local, remote, bytes } => {
                self.stats.handovers_out += 1;
                let mail = Mail::Foreign { holder: self.shards.me, stream, transport, local, remote, bytes };
                out.mail(Mailbox(owner), mail);
            }
            Event::ForeignClosed { stream } => {
                let holder = self.shards.me;
                for shard in (0..self.shards.count).filter(|shard| *shard != holder) {
                    out.mail(Mailbox(shard), Mail::ForeignClosed { holder, stream });
                }
            }
            Event::AcceptedLost { stream } => self.on_flow_lost(now, stream, out),
            Event::Progress { leg, .. }
            | Event::Answered { leg, .. }
            | Event::Failed { leg, .. }
            | Event::Acked { leg, .. }
            | Event::Cancelled { leg, .. }
            | Event::Bye { leg, .. }
            | Event::Lost { leg, .. }
            | Event::Pracked { leg, .. }
            | Event::Update { leg, .. }
            | Event::UpdateDone { leg, .. }
            | Event::RefreshDue { leg }
            | Event::Reinvite { leg, .. }
            | Event::ReinviteDone { leg, .. } => self.on_leg(now, leg, event, out),
        }
    }

    fn on_leg(&mut self, now: Time, leg: LegId, event: Event, out: &mut Outbox<Mail>) {
        let Some((key, side)) = self.slot(leg).map(|slot| (slot.call, slot.side)) else { return };
        // A leg that was given up may still speak; its call listens to another one now, or is over.
        if !self.is_current(key, side, leg) {
            return;
        }
        self.hear_end(key, side, &event);
        match event {
            Event::Progress { status: 100, .. } => self.on_trying(now, key),
            Event::Progress { status, fork, reliable, message, .. } => {
                self.on_progress(now, key, (status, fork, reliable), &message, out);
            }
            Event::Pracked { body, .. } => self.on_pracked(now, key, &body, out),
            Event::Answered { message, .. } => self.on_answered(now, key, leg, &message, out),
            Event::Failed { cause, message, .. } => self.on_failed(now, key, cause, message.as_ref(), out),
            Event::Acked { body, .. } => self.on_acked(now, key, side, &body, out),
            Event::Cancelled { reason, .. } => {
                let cause = reason.as_deref().and_then(relay::q850).unwrap_or(16);
                let end = self.end(Side::Caller, 487, cause, "caller gave up");
                let headers: Vec<(&str, &str)> = reason.iter().map(|text| ("Reason", &**text)).collect();
                self.answer_unheard(key);
                self.finish(now, key, end, &headers, out);
            }
            Event::Bye { message, .. } => self.on_bye(now, key, side, &message, out),
            Event::Lost { why, .. } => self.on_lost(now, key, side, why, out),
            Event::Reinvite { message, .. } => {
                self.ensure_streams(now, key, message.body(), out);
                self.on_change(now, key, side, Change::Reinvite, &message);
            }
            Event::Update { message, .. } => {
                self.ensure_streams(now, key, message.body(), out);
                self.on_change(now, key, side, Change::Update, &message);
            }
            Event::ReinviteDone { status, message, .. } | Event::UpdateDone { status, message, .. } => {
                if !self.mended(now, key, side, status, message.as_ref(), out) {
                    self.on_change_done(now, key, side, status, message.as_ref());
                    self.review_hold(now, key, out);
                }
            }
            Event::RefreshDue { .. } => self.on_refresh_due(now, key, side, leg),
            Event::Invite { .. }
            | Event::ByeDone { .. }
            | Event::Gone { .. }
            | Event::Request { .. }
            | Event::InUsage { .. }
            | Event::Response { .. }
            | Event::RequestFailed { .. }
            | Event::Foreign { .. }
            | Event::ForeignClosed { .. }
            | Event::AcceptedLost { .. }
            | Event::KeptLost { .. } => {}
        }
    }

    fn on_progress(
        &mut self,
        now: Time,
        key: Key,
        (status, fork, reliable): (u16, u8, bool),
        message: &Received,
        out: &mut Outbox<Mail>,
    ) {
        self.target_rings(now, key, status, out);
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, Side::Callee)) else { return };
        let authorised = self.calls.get(key).and_then(|call| self.authorisation(call, message));
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        self.setups -= u32::from(call.phase == Phase::Trying);
        call.phase = Phase::Ringing;
        let early = call.trying.as_ref().is_none_or(|trying| trying.early_media);
        // Without its media, progress would leave the caller in silence; ringing lets the phone make the tone.
        let status = if early || status != 183 { status } else { 180 };
        call.draft.ringing.get_or_insert(now);
        // An offer in a provisional response is worth something only if it came reliably (RFC 3262 §5).
        let offered = call.late_offer && !call.offer_ours;
        let mut described = !message.body().is_empty() && (reliable || !offered);
        if let Some(trying) = &mut call.trying {
            trying.heard.get_or_insert(now);
            // An offer has to be answered, whoever makes it.
            described &= offered || !described || trying.early.admits(trying.early_dialogs, fork, message);
        }
        let (caller, reason) = (call.caller, call.identity.take_reason());
        let reason = reason.iter().map(|text| ("Reason", text.as_str()));
        let authorised = authorised.iter().map(|text| (P_EARLY_MEDIA, text.as_str()));
        let headers: Vec<(&str, &str)> =
            reason.chain(extensions::required(message)).chain(authorised).collect();
        // What answers our own offer is an offer for the caller, which can be told reliably only.
        let tellable = !call.offer_ours || (reliable && self.endpoint.sends_reliably(caller));
        // Early media: an answer in a provisional response (RFC 3261 §13.2.1; RFC 3960). An offer in one counts only if
        // it came reliably, and only then the caller can answer it, in its PRACK (RFC 3262 §5).
        let body = match &mut call.media {
            Some(media) if described && !call.told => {
                session::answer(now, message.body(), media, Side::Callee, origin).ok()
            }
            Some(media) if described => {
                // The caller has its answer, and is told no other; the callee's media is where it says all the same.
                if let Ok(described) = Described::read(message.body()) {
                    session::apply(now, media, Side::Callee, &described, origin);
                }
                None
            }
            _ => None,
        };
        call.agreed |= reliable && described && !offered;
        if call.transferring.target_of.is_some() {
            // It has no caller who rings: who is to be put through has his session.
            return self.hear_target(now, key, out);
        }
        // An answer that is held back is told when the call is answered; an offer needs its answer now.
        let body = body.filter(|_| tellable && (early || offered));
        let sdp = body.as_deref().map(Body::sdp);
        if let (Some(media), Some(_)) = (&call.media, sdp) {
            call.shown.get_or_insert_with(|| media.sessions[1].codec_names());
        }
        // What the callee may still change is not told as the last word, unless the caller takes nothing else.
        if sdp.is_some() && !reliable {
            call.told |= self.endpoint.only_reliably(caller);
            let _ = self.endpoint.provisional_preview(now, caller, status, &headers, sdp);
        } else {
            call.told |= sdp.is_some() && self.endpoint.sends_reliably(caller);
            let _ = self.endpoint.provisional(now, caller, status, &headers, sdp);
        }
    }

    /// What the callee's network says of early media, for a caller in our trust domain that asked (RFC 5009 §4, §5).
    fn authorisation(&self, call: &Call, message: &Received) -> Option<String> {
        let invite = call.invite.parse().ok()?;
        invite.header_by_name(P_EARLY_MEDIA)?;
        let response = message.parse().ok()?;
        let said = response.header_by_name(P_EARLY_MEDIA).map(session::text)?;
        self.trusted(call.flow.remote.ip()).then_some(said)
    }

    /// The caller answered, in its PRACK, the offer that the callee made in a provisional response.
    fn on_pracked(&mut self, now: Time, key: Key, body: &[u8], out: &mut Outbox<Mail>) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, Side::Caller)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let (Some(media), Some(callee)) = (call.media.as_mut(), call.callee) else { return };
        match session::answer(now, body, media, Side::Caller, origin) {
            Ok(answer) => {
                call.late_offer = false;
                // The callee may have refused in the meantime: that is on its way. It waits for nothing if the offer was ours.
                if !core::mem::take(&mut call.offer_ours) {
                    let _ = self.endpoint.prack(now, callee, Body::sdp(&answer));
                }
            }
            Err(refusal) => {
                self.stats.calls_sdp_refused += 1;
                self.end_refused(now, key, &refusal, out);
            }
        }
    }

    fn on_answered(&mut self, now: Time, key: Key, leg: LegId, message: &Received, out: &mut Outbox<Mail>) {
        let mut heard_us = None;
        if let Some(trying) = self.calls.get_mut(key).and_then(|call| call.trying.as_mut()) {
            let heard = *trying.heard.get_or_insert(now);
            heard_us = Some(heard.since(trying.started).as_micros() as u64);
            let trunk = trying.trunk.clone();
            self.session_begins(now, leg, trunk);
        }
        let answered = (Reason::Answered, "answered");
        self.close_attempt(now, key, Some(200), answered, Evidence::CallServed, out);
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, Side::Callee)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        let told = call.told;
        let offered = call.late_offer && !call.offer_ours;
        let body = match call.media.as_mut() {
            // The caller has its session: what the callee says now is heard, and not passed on (RFC 3261 §13.2.1).
            Some(media) if told => {
                if let Ok(described) = Described::read(message.body()) {
                    session::apply(now, media, Side::Callee, &described, origin);
                }
                if offered {
                    // Another fork's offer, of which the caller never heard.
                    let _ = self.endpoint.ack(now, leg, None);
                }
                Ok(None)
            }
            // Offer or answer (a late offer makes it the former): either goes through the same way.
            Some(media) if !message.body().is_empty() => {
                session::answer(now, message.body(), media, Side::Callee, origin).map(Some)
            }
            // The answer came with a reliable provisional response (RFC 3262 §5).
            Some(media) if call.agreed => Ok(Some(media.sessions[0].last())),
            _ => Err(Refusal::sdp("the answer to the call has none")),
        };
        let body = match body {
            Ok(body) => body,
            Err(refusal) => {
                self.stats.calls_sdp_refused += 1;
                if offered {
                    let _ = self.endpoint.ack(now, leg, None);
                }
                return self.end_refused(now, key, &refusal, out);
            }
        };
        // What the caller was shown first may have been another branch's: it does not heed what is said now.
        if let (Some(shown), Some(media)) = (call.shown.take(), call.media.as_mut())
            && !media.bridge.translates()
        {
            let agreed = media.sessions[1].codec_names();
            if !agreed.iter().all(|name| shown.iter().any(|other| other.eq_ignore_ascii_case(name))) {
                call.unheard = match &body {
                    Some(body) => Some(body.clone()),
                    None => session::anchor(message.body(), media, Side::Caller, &[]).ok(),
                };
            }
        }
        self.setups -= u32::from(call.phase == Phase::Trying);
        call.phase = Phase::Answered;
        call.draft.answered = Some(now);
        call.draft.ringing.get_or_insert(now);
        let (id, caller, reason) = (call.id, call.caller, call.identity.take_reason());
        self.stats.calls_answered += 1;
        if let (Some(trunk), Some(peer)) = (call.draft.trunk.clone(), call.draft.peer) {
            let answered = CallAnswered { call: id, at: self.wall(now), trunk, peer, heard_us };
            self.tell(LinkEvent::CallAnswered(answered), out);
        }
        if self.target_answered(now, key, out) || self.dialled_answered(now, key, out) {
            return;
        }
        // The caller may have cancelled in this very instant: its Cancelled event is on its way then.
        let reason = reason.iter().map(|text| ("Reason", text.as_str()));
        let headers: Vec<(&str, &str)> = reason.chain(extensions::required(message)).collect();
        let _ = self.endpoint.answer(now, caller, &headers, body.as_deref().map(Body::sdp));
        self.start_media_check(now, key);
    }

    /// An ACK: after a late offer it carries the caller's answer, which the callee waits for.
    fn on_acked(&mut self, now: Time, key: Key, side: Side, body: &[u8], out: &mut Outbox<Mail>) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, side)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.answer_awaited == Some(side) {
            self.on_offer_answered(now, key, side, body);
            return self.review_hold(now, key, out);
        }
        if call.transferring.offered == Some(side) {
            return self.replacement_answered(now, key, side, body, out);
        }
        if call.late_offer && call.offer_ours && side == Side::Caller {
            return self.on_own_offer_answered(now, key, body, out);
        }
        let Some(media) = call.media.as_mut() else { return };
        if call.late_offer && side == Side::Caller {
            call.late_offer = false;
            let answer = match body {
                [] => None,
                body => session::answer(now, body, media, Side::Caller, origin).ok(),
            };
            if let Some(callee) = call.callee {
                let _ = self.endpoint.ack(now, callee, answer.as_deref().map(Body::sdp));
            }
        } else if !body.is_empty()
            && let Ok(described) = Described::read(body)
        {
            // The answer to a session we offered ourselves, after a re-INVITE without offer.
            session::apply(now, media, side, &described, origin);
        }
        if side == Side::Caller {
            self.on_settled(now, key);
        }
    }

    fn on_bye(&mut self, now: Time, key: Key, side: Side, message: &Received, out: &mut Outbox<Mail>) {
        let (reasons, cause) = message.parse().map(|bye| relay::reasons(&bye)).unwrap_or_default();
        let headers: Vec<(&str, &str)> = reasons.iter().map(|text| ("Reason", text.as_str())).collect();
        if self.referrer_left(now, key, side, out) {
            return;
        }
        let status = self.status_so_far(key);
        self.finish(now, key, self.end(side, status, cause.unwrap_or(16), "normal"), &headers, out);
    }

    fn on_lost(&mut self, now: Time, key: Key, side: Side, why: LostCause, out: &mut Outbox<Mail>) {
        if self.referrer_left(now, key, side, out) {
            return;
        }
        let who = name(side);
        let (q850, cause) = match why {
            LostCause::NoAck => (102, format!("{who} sent no ACK")),
            LostCause::DialogGone => (41, format!("{who} does not know the call any more")),
            LostCause::Unanswered => (102, String::from("not answered in time")),
            LostCause::NoPrack => (102, format!("{who} sent no PRACK")),
            LostCause::SessionExpired => {
                (102, format!("session expired: no refresh on the side of the {who}"))
            }
        };
        let reason = [("Reason", "Q.850;cause=102;text=\"session expired\"")];
        let headers: &[_] = if why == LostCause::SessionExpired { &reason } else { &[] };
        let status = match why {
            // What the endpoint has answered the caller.
            LostCause::NoPrack => 504,
            LostCause::Unanswered => 480,
            _ => self.status_so_far(key),
        };
        if matches!(why, LostCause::NoPrack | LostCause::Unanswered) {
            self.answer_unheard(key);
        }
        let end = End { side: Side::Gateway, status, q850: Some(q850), cause: cause.into() };
        self.finish(now, key, end, headers, out);
    }

    /// The leg is over for the endpoint: its place on the trunk is free.
    fn on_gone(&mut self, now: Time, leg: LegId) {
        self.session_gone(now, leg);
        if let Some(place) = self.legs.get_mut(leg.index())
            && place.as_ref().is_some_and(|slot| slot.leg == leg)
        {
            *place = None;
        }
    }

    fn status_so_far(&self, key: Key) -> u16 {
        self.calls.get(key).map_or(0, |call| match (call.draft.answered, call.transferring.target_of) {
            (Some(_), _) => 200,
            // Who was to be put through, and heard the target already, hung up before it answered.
            (None, Some(_)) => 487,
            (None, None) => 0,
        })
    }

    pub(crate) fn end(&self, side: Side, status: u16, q850: u8, cause: &str) -> End {
        End { side, status, q850: Some(q850), cause: cause.to_owned().into() }
    }
}

/// The side in words.
pub(crate) const fn name(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "carrier",
        Side::Gateway => "gateway",
        Side::Operator => "operator",
    }
}

/// Whether a NOTIFY is about a REFER (RFC 3515 §2.4.4): a package of its own among those that calls may carry.
fn is_of_transfer(message: &Received) -> bool {
    let Ok(notify) = message.parse() else { return false };
    let package = notify.header(Name::Event).and_then(|event| event.split(|byte| *byte == b';').next());
    package.is_some_and(|package| package.trim_ascii().eq_ignore_ascii_case(b"refer"))
}
