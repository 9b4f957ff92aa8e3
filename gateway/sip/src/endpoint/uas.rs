//! Incoming calls: INVITE, the responses their owner gives, the repeated 2xx, ACK (RFC 3261 §13.3).

use super::servers::Owner;
use super::timers::Timer;
use super::{Endpoint, compose};
use crate::dialog::Dialog;
use crate::dialog::invite::Leg;
use crate::dialog::reliable::Repeated;
use crate::dialog::session::response_lines;
use crate::error::LegError;
use crate::event::{Body, Event, Flow, LegId, LegState, LostCause, Received};
use crate::message::{Name, unfold};
use crate::nat::shows_nat;
use crate::transaction::key::{Arrived, OwnToken};
use sansio::{Key, Time};

impl Endpoint {
    /// An INVITE that begins a call.
    pub(crate) fn receive_invite(&mut self, now: Time, flow: Flow, request: &Arrived<'_, '_>, hash: u64) {
        if self.legs.len() >= self.legs.capacity() {
            self.stats.legs_full += 1;
            return self.refuse_busy(flow, request);
        }
        let nonce = self.random.u64();
        // The tag needs the leg's place, and the dialog needs the tag: the dialog is put in after.
        let empty = Dialog::new(&crate::dialog::Parts::default(), 0, None);
        let answer_by = now + self.config.timers.ringing;
        let mut leg = Leg::new(nonce, false, flow, empty, answer_by);
        (leg.nat, leg.shows_nat) = (self.config.nat, shows_nat(request, &flow));
        let Some(leg_key) = self.leg_insert(leg) else { return };
        let tag = OwnToken { key: leg_key, nonce }.text();
        let to = request.header(Name::To).map(unfold).unwrap_or_default();
        let to = [&*to, b";tag=", &tag].concat();
        let server = self.server_insert(request, hash, flow, Owner::Invite(leg_key), Some(&tag));
        let (Some(dialog), Some(server)) = (Dialog::of_request(request, &to), server) else {
            self.leg_remove(leg_key);
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        self.leg_dialog(leg_key, dialog);
        let grant = self.grant_to(request).ok().flatten();
        if let Some(server) = self.servers.get_mut(server) {
            server.grant = grant;
        }
        let timer = self.set_timer(answer_by.min(now + self.config.timers.refresh), Timer::Leg(leg_key));
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.invite = Some(server);
            leg.timer = timer;
            leg.abilities.learn(request);
            leg.offered = !request.body().is_empty();
        }
        if self.config.trying {
            self.server_trying(now, server, request);
        }
        self.stats.invites_received += 1;
        self.events.push_back(Event::Invite { leg: LegId(leg_key), request: Received::of(request), flow });
    }

    /// The transaction of an incoming call without final response.
    fn unanswered(&self, leg: LegId) -> Result<Key, LegError> {
        let leg = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        leg.invite.filter(|_| !leg.outgoing).ok_or(LegError::WrongState)
    }

    /// Sends a provisional response (101 to 199) to an incoming call: reliably, one after the other, if the caller knows
    /// of that and `Config::extensions` has `100rel` (RFC 3262).
    ///
    /// # Errors
    /// The leg is unknown or already has its final response, or the status is another.
    pub fn provisional(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let server = self.unanswered(leg)?;
        if !(101..200).contains(&status) {
            return Err(LegError::WrongState);
        }
        if self.sends_reliably(leg) {
            return self.provisional_reliable(now, leg.0, server, status, headers, body);
        }
        self.send_provisional(now, leg, server, status, headers, body)
    }

    /// As [`Self::provisional`], but reliably only if the caller requires that: for a session description that may not be
    /// the last word.
    ///
    /// # Errors
    /// As there.
    pub fn provisional_preview(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let server = self.unanswered(leg)?;
        if !(101..200).contains(&status) {
            return Err(LegError::WrongState);
        }
        if self.only_reliably(leg) {
            return self.provisional_reliable(now, leg.0, server, status, headers, body);
        }
        self.send_provisional(now, leg, server, status, headers, body)
    }

    fn send_provisional(
        &mut self,
        now: Time,
        leg: LegId,
        server: Key,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let out = self.session_response(leg.0, server, status, headers, body)?;
        self.server_send(now, server, status, &out);
        self.scratch = out;
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.state = LegState::Early;
        }
        Ok(())
    }

    /// Answers an incoming call with 200, repeated until the ACK comes (RFC 3261 §13.3.1.4): `Acked`, or `Lost`. It waits
    /// for the PRACK of a provisional response that described a session (RFC 3262 §3).
    ///
    /// # Errors
    /// The leg is unknown or already has its final response.
    pub fn answer(
        &mut self,
        now: Time,
        leg: LegId,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let server = self.unanswered(leg)?;
        let out = self.session_response(leg.0, server, 200, headers, body)?;
        if !self.answer_held(leg.0, &out) {
            self.send_answer(now, leg.0, server, &out);
        }
        self.scratch = out;
        Ok(())
    }

    /// Sends the 2xx of a call, and repeats it.
    pub(crate) fn send_answer(&mut self, now: Time, leg_key: Key, server: Key, answer: &[u8]) {
        self.provisionals_quiet(leg_key);
        self.server_send(now, server, 200, answer);
        self.repeat_until_acked(now, leg_key, server, answer, false);
        self.session_granted(now, leg_key, server);
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.state = LegState::Answered;
            leg.settled = true;
            leg.invite = None;
            let timer = leg.timer.take();
            self.stop_timer(timer);
        }
    }

    /// A response that makes or changes a session, in the scratch buffer, which the caller gives back.
    pub(crate) fn session_response(
        &mut self,
        leg: Key,
        server: Key,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<Vec<u8>, LegError> {
        let leg = self.legs.get(leg).ok_or(LegError::Unknown)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if !self.server_begin(&mut out, server, status, None) {
            self.scratch = out;
            return Err(LegError::WrongState);
        }
        compose::contact(&mut out, leg.dialog.parts().user, &leg.flow);
        compose::parts(&mut out, &[&self.identity.allow, &self.identity.supported, &self.identity.server]);
        if let (200..300, Some(grant)) = (status, self.servers.get(server).and_then(|server| server.grant)) {
            out.extend_from_slice(response_lines(grant).as_bytes());
        }
        if compose::headers(&mut out, headers) && compose::end(&mut out, body) {
            Ok(out)
        } else {
            self.scratch = out;
            Err(LegError::BadText)
        }
    }

    /// Repeats a 2xx that was sent just now until its ACK comes.
    pub(crate) fn repeat_until_acked(
        &mut self,
        now: Time,
        leg_key: Key,
        server: Key,
        response: &[u8],
        again: bool,
    ) {
        let Some(server) = self.servers.get(server) else { return };
        let (link, to, cseq) = (server.flow.link, server.reply_to, server.cseq);
        let mut repeated = Repeated::new(now, &self.config.timers, response.into(), link, to, cseq);
        repeated.again = again;
        repeated.timer = self.set_timer(repeated.due(now, &self.config.timers), Timer::Repeat(leg_key));
        self.held += response.len() as u64;
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.repeated = Some(repeated);
        }
    }

    /// The timer of a 2xx without ACK fired.
    pub(crate) fn repeat(&mut self, now: Time, leg_key: Key) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let Some(repeated) = &mut leg.repeated else { return };
        repeated.timer = None;
        if repeated.again(now) {
            self.stats.retransmissions_sent += 1;
            if !self.wire.send(repeated.link, repeated.to, &repeated.response) {
                self.wire.unsendable += 1;
            }
            let due = repeated.due(now, &self.config.timers);
            let timer = self.set_timer(due, Timer::Repeat(leg_key));
            if let Some(repeated) = self.legs.get_mut(leg_key).and_then(|leg| leg.repeated.as_mut()) {
                repeated.timer = timer;
            }
            return;
        }
        self.stats.acks_missing += 1;
        self.stop_repeating(leg_key);
        let ending = self.legs.get_mut(leg_key).and_then(|leg| leg.bye_wanted.take());
        match ending {
            Some(lines) => self.send_leg_bye(now, leg_key, &lines),
            None => self.leg_lost(now, leg_key, LostCause::NoAck),
        }
    }

    /// Forgets the 2xx that was being repeated; whether there was one.
    pub(crate) fn stop_repeating(&mut self, leg: Key) -> bool {
        let Some(repeated) = self.legs.get_mut(leg).and_then(|leg| leg.repeated.take()) else { return false };
        self.held -= repeated.response.len() as u64;
        self.stop_timer(repeated.timer);
        true
    }

    /// An ACK came inside a leg's dialog.
    pub(crate) fn leg_acked(&mut self, now: Time, leg_key: Key, cseq: u32, body: &[u8]) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        if leg.repeated.as_ref().is_none_or(|repeated| repeated.cseq != cseq) {
            self.stats.retransmissions_absorbed += 1;
            return;
        }
        if leg.state == LegState::Answered {
            leg.state = LegState::Confirmed;
        }
        let ending = leg.bye_wanted.take();
        self.stop_repeating(leg_key);
        self.events.push_back(Event::Acked { leg: LegId(leg_key), body: body.into() });
        if let Some(lines) = ending {
            self.send_leg_bye(now, leg_key, &lines);
        }
    }

    /// Refuses an incoming call with 300 to 699; `Gone` follows. `reason` replaces the usual phrase.
    ///
    /// # Errors
    /// The leg is unknown or already has its final response, or the status is another.
    pub fn reject(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        reason: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(), LegError> {
        self.reject_with(now, leg, status, reason, headers, None)
    }

    /// As [`Self::reject`], with a body: what a 380 offers instead (RFC 3261 §21.3.5), what a 580 asks for.
    ///
    /// # Errors
    /// As there.
    pub fn reject_with(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        reason: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let server = self.unanswered(leg)?;
        if !(300..700).contains(&status) {
            return Err(LegError::WrongState);
        }
        let mut lines = Vec::new();
        let is_line = reason.is_none_or(|reason| compose::is_line(reason.as_bytes()));
        let is_type = body.is_none_or(|body| compose::is_line(body.content_type.as_bytes()));
        if !is_line || !is_type || !compose::headers(&mut lines, headers) {
            return Err(LegError::BadText);
        }
        self.server_answer_whole(now, server, status, reason, &lines, body);
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.invite = None;
        }
        self.leg_finish(now, leg.0);
        Ok(())
    }

    /// The caller cancelled; 487 was sent.
    pub(crate) fn leg_cancelled(&mut self, now: Time, leg_key: Key, reason: Option<Box<str>>) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        leg.invite = None;
        self.events.push_back(Event::Cancelled { leg: LegId(leg_key), reason });
        self.leg_finish(now, leg_key);
    }
}
