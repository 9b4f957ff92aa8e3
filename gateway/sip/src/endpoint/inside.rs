//! Requests inside the dialogs of legs: BYE, re-INVITE, and what is the owner's (RFC 3261 §12.2, §14, §15).

use super::clients;
use super::servers::Owner;
use super::timers::Timer;
use super::{Endpoint, compose, session_id};
use crate::error::LegError;
use crate::event::{Body, Event, Failure, Flow, LegId, LegState, LostCause, Received};
use crate::message::{Message, Method};
use crate::transaction::key::Arrived;
use sansio::{Key, Time};

impl Endpoint {
    /// A request with a To tag (RFC 3261 §12.2.2).
    pub(crate) fn receive_inside(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        our_tag: &[u8],
    ) {
        let method = request.method();
        let Some(leg_key) = self.leg_of(request, our_tag) else {
            if let Some(usage) = self.usage_of(request, our_tag) {
                return self.receive_in_usage(now, flow, request, hash, usage);
            }
            if method == Method::Subscribe && self.refresh_transfer(now, flow, request, hash, None) {
                return;
            }
            if !matches!(method, Method::Invite | Method::Bye) && !self.config.methods.contains(&method) {
                return self.refuse_method(flow, request);
            }
            return self.refuse_counted(flow, request, 481);
        };
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let early = matches!(method, Method::Update | Method::Info) && !leg.earlies.is_empty();
        if method == Method::Bye && leg.outgoing && leg.invite.is_some() && leg.forks.len() == 1 {
            return self.receive_early_bye(now, flow, request, hash, leg_key);
        }
        if leg.outgoing && leg.is_unanswered() && !early {
            // The peer may not speak before its answer; its 2xx may have been lost, and will come again.
            return self.refuse_counted(flow, request, 481);
        }
        if !leg.dialog.takes(request.cseq) {
            return self.refuse_counted(flow, request, 500);
        }
        self.leg_heard_over(leg_key, flow);
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        match method {
            Method::Bye => self.receive_bye(now, flow, request, hash, leg_key),
            _ if leg.state == LegState::Ending => self.refuse_counted(flow, request, 481),
            Method::Invite => self.receive_reinvite(now, flow, request, hash, leg_key),
            Method::Prack if self.reliable => self.receive_prack(now, flow, request, hash, leg_key),
            Method::Update if self.config.methods.contains(&method) => {
                self.receive_update(now, flow, request, hash, leg_key);
            }
            Method::Subscribe if self.refresh_transfer(now, flow, request, hash, Some(leg_key)) => {}
            _ if self.config.methods.contains(&method) => {
                if self.accepts(flow, request) {
                    self.receive_for_owner(now, flow, request, hash, Some(leg_key));
                }
            }
            _ => self.refuse_method(flow, request),
        }
    }

    /// BYE of a callee whose answer never came: it has waited 64 × T1 for the ACK (RFC 3261 §13.3.1.4). The call will not be
    /// answered any more; a 2xx that is still on its way is acknowledged and ended.
    fn receive_early_bye(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        leg_key: Key,
    ) {
        match self.server_insert(request, hash, flow, Owner::Nobody, None) {
            Some(key) => self.server_answer(now, key, 200, None),
            None => self.refuse(request, flow, 200, None, b""),
        }
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let Some(client) = leg.invite.take() else { return };
        let cause = match leg.state {
            LegState::Cancelling => Failure::AnsweredLate,
            _ => Failure::Status { status: 480, reason: "Temporarily Unavailable".into(), retry_after: None },
        };
        self.client_cancel(now, client, None);
        self.client_orphan(now, client, true);
        self.events.push_back(Event::Failed { leg: LegId(leg_key), cause, message: None });
        self.leg_finish(now, leg_key);
    }

    /// BYE (RFC 3261 §15.1.2): answered at once, whatever else is pending is answered 487.
    fn receive_bye(&mut self, now: Time, flow: Flow, request: &Arrived<'_, '_>, hash: u64, leg_key: Key) {
        match self.server_insert(request, hash, flow, Owner::Nobody, None) {
            Some(key) => self.server_answer(now, key, 200, None),
            None => self.refuse(request, flow, 200, None, b""),
        }
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let id = LegId(leg_key);
        if leg.state == LegState::Ending {
            return; // our own BYE crossed; its answer ends the leg
        }
        if let Some(server) = leg.invite.take() {
            self.server_answer(now, server, 487, None);
            self.events.push_back(Event::Cancelled { leg: id, reason: None });
        } else {
            self.events.push_back(Event::Bye { leg: id, message: Received::of(request) });
        }
        self.leg_finish(now, leg_key);
    }

    /// A re-INVITE (RFC 3261 §14.2).
    fn receive_reinvite(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        leg_key: Key,
    ) {
        let Ok(grant) = self.grant_to(request) else { return self.refuse_interval(flow, request) };
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let refused = if leg.invite.is_some() || leg.reinvite_in.is_some() || leg.update_in.is_some() {
            Some(500)
        } else if leg.is_changing() {
            Some(491)
        } else {
            None
        };
        let lines = match refused {
            // RFC 3261 §14.2: "a randomly chosen value of between 0 and 10 seconds".
            Some(500) => format!("Retry-After: {}\r\n", self.random.below(11)),
            _ => String::new(),
        };
        if refused.is_none() && !self.accepts(flow, request) {
            return;
        }
        let owner = if refused.is_some() { Owner::Nobody } else { Owner::Reinvite(leg_key) };
        let Some(server) = self.server_insert(request, hash, flow, owner, None) else {
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        if let Some(status) = refused {
            self.stats.requests_refused += 1;
            return self.server_answer_with(now, server, status, None, lines.as_bytes());
        }
        if let Some(server) = self.servers.get_mut(server) {
            server.grant = grant;
        }
        self.server_trying(now, server, request);
        self.leg_refresh(leg_key, request);
        let timer = self.set_timer(now + self.config.timers.reinvite, Timer::Leg(leg_key));
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.reinvite_in = Some(server);
            leg.abilities.learn(request);
            let old = core::mem::replace(&mut leg.timer, timer);
            self.stop_timer(old);
        }
        self.events.push_back(Event::Reinvite { leg: LegId(leg_key), message: Received::of(request) });
    }

    /// Ends a leg in whatever state: BYE when it stands (after the ACK if that is still awaited), CANCEL when it is
    /// outgoing and unanswered (with the Reason among `headers`), 480 when it is incoming and unanswered. `Gone` follows when it is over.
    ///
    /// # Errors
    /// The leg is unknown or ending already.
    pub fn bye(&mut self, now: Time, leg: LegId, headers: &[(&str, &str)]) -> Result<(), LegError> {
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        if matches!(state.state, LegState::Ending | LegState::Cancelling) || state.bye_wanted.is_some() {
            return Err(LegError::WrongState);
        }
        if state.invite.is_some() {
            return if state.outgoing {
                let reason = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Reason"));
                self.cancel(now, leg, reason.map(|(_, value)| *value))
            } else {
                self.reject(now, leg, 480, None, headers)
            };
        }
        let mut lines = Vec::new();
        if !compose::headers(&mut lines, headers) {
            return Err(LegError::BadText);
        }
        if state.repeated.as_ref().is_some_and(|repeated| !repeated.again) {
            // RFC 3261 §15: the called side waits for the ACK.
            state.bye_wanted = Some(lines.into());
            return Ok(());
        }
        if let Some(client) = state.ack_wanted.take() {
            self.send_leg_ack(now, leg.0, client, None, true);
        }
        self.send_leg_bye(now, leg.0, &lines);
        Ok(())
    }

    /// Sends the BYE that ends a leg; what is pending in it ends too.
    pub(crate) fn send_leg_bye(&mut self, now: Time, leg_key: Key, lines: &[u8]) {
        self.leg_stop(now, leg_key);
        if !self.leg_bye(now, leg_key, clients::Owner::Bye(leg_key), lines) {
            self.leg_finish(now, leg_key);
        }
    }

    /// Sends BYE in a leg's dialog; `false` if the tables are full.
    pub(crate) fn leg_bye(&mut self, now: Time, leg_key: Key, owner: clients::Owner, lines: &[u8]) -> bool {
        let Some(flow) = self.leg_flow(now, leg_key) else { return false };
        let Some(leg) = self.legs.get_mut(leg_key) else { return false };
        leg.state = LegState::Ending;
        let mut dialog = leg.dialog.clone();
        let mut all = lines.to_vec();
        session_id::line(&mut all, leg.session_id.as_deref());
        let sent = self.send_bye_of(now, &mut dialog, flow, owner, &all);
        // A subscription may go on in the dialog (RFC 5057 §4.1).
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.dialog.local_cseq = dialog.local_cseq;
        }
        sent
    }

    /// Sends a re-INVITE; `ReinviteDone` follows (status 491: the peer sent one at the same time, RFC 3261 §14.1 says
    /// how long to wait). Without body the peer makes the offer, and `ack` is wanted then.
    ///
    /// # Errors
    /// The leg is unknown, does not stand, or has a re-INVITE pending in either direction.
    pub fn reinvite(&mut self, now: Time, leg: LegId, body: Option<Body<'_>>) -> Result<(), LegError> {
        self.reinvite_with(now, leg, &[], body)
    }

    /// As [`Self::reinvite`], with further header fields.
    ///
    /// # Errors
    /// As there, or text that cannot stand in a header.
    pub fn reinvite_with(
        &mut self,
        now: Time,
        leg: LegId,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        if state.state != LegState::Confirmed || state.is_changing() || state.bye_wanted.is_some() {
            return Err(LegError::WrongState);
        }
        let key =
            self.inside_request(now, leg.0, Method::Invite, clients::Owner::Reinvite(leg.0), headers, body)?;
        if let Some(client) = self.clients.get_mut(key) {
            client.late_offer = body.is_none();
        }
        let timer = self.set_timer(now + self.config.timers.reinvite, Timer::Leg(leg.0));
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.reinvite_out = Some(key);
            let old = core::mem::replace(&mut leg.timer, timer);
            self.stop_timer(old);
        }
        Ok(())
    }

    /// Sends a request inside a leg's dialog.
    pub(crate) fn inside_request(
        &mut self,
        now: Time,
        leg_key: Key,
        method: Method,
        owner: clients::Owner,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<Key, LegError> {
        let flow = self.leg_flow(now, leg_key).ok_or(LegError::Unknown)?;
        let leg = self.legs.get_mut(leg_key).ok_or(LegError::Unknown)?;
        let cseq = leg.dialog.next_cseq();
        let begun = leg.invite.filter(|_| leg.outgoing);
        if let Some(client) = begun.and_then(|key| self.clients.get_mut(key)) {
            client.used_cseq = client.used_cseq.max(cseq);
        }
        let (key, token) = self.client_insert(method, owner, flow, cseq).ok_or(LegError::Full)?;
        let leg = self.legs.get(leg_key).ok_or(LegError::Unknown)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let name = method.as_str().as_bytes();
        compose::begin_inside(&mut out, &leg.dialog, &flow, name, cseq, &[&token.branch()]);
        compose::contact(&mut out, leg.dialog.parts().user, &flow);
        if matches!(method, Method::Invite | Method::Update) {
            self.session_lines(&mut out, Some(leg));
        }
        let identity = &self.identity;
        compose::parts(&mut out, &[&identity.allow, &identity.supported, &identity.user_agent]);
        session_id::line(&mut out, leg.session_id.as_deref());
        let fits = compose::headers(&mut out, headers) && compose::end(&mut out, body);
        if fits {
            self.client_start(now, key, &out);
        } else {
            self.client_remove(key);
        }
        self.scratch = out;
        if fits { Ok(key) } else { Err(LegError::BadText) }
    }

    /// A response to our re-INVITE (RFC 3261 §14.1).
    pub(crate) fn reinvite_response(&mut self, now: Time, key: Key, leg_key: Key, response: &Message<'_>) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        leg.reinvite_out = None;
        leg.abilities.learn(response);
        let timer = leg.timer.take();
        self.stop_timer(timer);
        self.refresh_done(now, leg_key, response);
        if status < 300 {
            self.leg_refresh(leg_key, response);
            if self.clients.get(key).is_some_and(|client| client.late_offer) {
                if let Some(leg) = self.legs.get_mut(leg_key) {
                    leg.ack_wanted = Some(key);
                }
            } else {
                self.send_leg_ack(now, leg_key, key, None, true);
            }
        }
        let message = Some(Received::of(response));
        self.events.push_back(Event::ReinviteDone { leg: LegId(leg_key), status, message });
        // RFC 3261 §12.2.1.2: these two say that the dialog is no more.
        if matches!(status, 408 | 481) {
            self.leg_lost(now, leg_key, LostCause::DialogGone);
        }
    }

    /// Answers the peer's re-INVITE; a 2xx is repeated until its ACK comes (`Acked`).
    ///
    /// # Errors
    /// The leg is unknown or has no re-INVITE waiting (it may have been cancelled).
    pub fn answer_reinvite(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        self.answer_reinvite_with(now, leg, status, &[], body)
    }

    /// As [`Self::answer_reinvite`], with further header fields.
    ///
    /// # Errors
    /// As there, or text that cannot stand in a header.
    pub fn answer_reinvite_with(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        let server = state.reinvite_in.ok_or(LegError::WrongState)?;
        match status {
            200..300 => {
                let out = self.session_response(leg.0, server, status, headers, body)?;
                self.server_send(now, server, status, &out);
                self.repeat_until_acked(now, leg.0, server, &out, true);
                self.scratch = out;
                self.session_granted(now, leg.0, server);
            }
            300..700 => {
                let mut lines = Vec::new();
                if !compose::headers(&mut lines, headers) {
                    return Err(LegError::BadText);
                }
                self.server_answer_with(now, server, status, None, &lines);
            }
            _ => return Err(LegError::WrongState),
        }
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.reinvite_in = None;
            let timer = leg.timer.take();
            self.stop_timer(timer);
        }
        Ok(())
    }
}
