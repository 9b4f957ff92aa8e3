//! UPDATE (RFC 3311): changing or refreshing a session without INVITE, both ways.

use super::servers::Owner;
use super::{Endpoint, clients, compose};
use crate::error::LegError;
use crate::event::{Body, Event, Flow, LegId, LegState, LostCause, Received};
use crate::message::{Message, Method};
use crate::transaction::key::Arrived;
use sansio::{Key, Time};

impl Endpoint {
    /// An UPDATE in a leg's dialog (RFC 3311 §5.2). Without a body it only refreshes the session, and is answered.
    pub(crate) fn receive_update(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        leg_key: Key,
    ) {
        if !self.accepts(flow, request) {
            return;
        }
        let Ok(grant) = self.grant_to(request) else { return self.refuse_interval(flow, request) };
        let offers = !request.body().is_empty();
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        // An UPDATE whose owner never answered is over with its transaction.
        leg.update_in = leg.update_in.filter(|key| self.servers.get(*key).is_some());
        let unanswered_theirs = !leg.settled && !leg.outgoing;
        let unanswered_ours = !leg.settled && leg.outgoing;
        let refused =
            if leg.update_in.is_some() || (offers && (leg.reinvite_in.is_some() || unanswered_theirs)) {
                Some(500)
            } else if offers
                && (unanswered_ours
                    || leg.reinvite_out.is_some()
                    || leg.update_out.is_some()
                    || leg.ack_wanted.is_some())
            {
                Some(491)
            } else {
                None
            };
        if let Some(status) = refused {
            self.stats.requests_refused += 1;
            // RFC 3311 §5.2: "a randomly chosen value between 0 and 10 seconds".
            let lines = match status {
                500 => format!("Retry-After: {}\r\n", self.random.below(11)),
                _ => String::new(),
            };
            return self.refuse(request, flow, status, None, lines.as_bytes());
        }
        leg.abilities.learn(request);
        let Some(server) = self.server_insert(request, hash, flow, Owner::Update(leg_key), None) else {
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        if let Some(server) = self.servers.get_mut(server) {
            server.grant = grant;
        }
        self.server_bound(now, server);
        self.leg_refresh(leg_key, request);
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.update_in = Some(server);
        }
        if offers {
            self.events.push_back(Event::Update { leg: LegId(leg_key), message: Received::of(request) });
        } else {
            // It fails only if the transaction is gone, which was made just now.
            let _ = self.answer_update(now, LegId(leg_key), 200, None);
        }
    }

    /// Answers the peer's UPDATE.
    ///
    /// # Errors
    /// The leg is unknown or has no UPDATE waiting (it may have been too late).
    pub fn answer_update(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        self.answer_update_with(now, leg, status, &[], body)
    }

    /// As [`Self::answer_update`], with further header fields.
    ///
    /// # Errors
    /// As there, or text that cannot stand in a header.
    pub fn answer_update_with(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let mut lines = Vec::new();
        if !compose::headers(&mut lines, headers) {
            return Err(LegError::BadText);
        }
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        let server = state.update_in.take().ok_or(LegError::WrongState)?;
        let confirmed = !state.is_unanswered();
        match status {
            200..300 => {
                let out = self.session_response(leg.0, server, status, headers, body)?;
                self.server_send(now, server, status, &out);
                self.scratch = out;
                if confirmed {
                    self.session_granted(now, leg.0, server);
                }
            }
            300..700 => self.server_answer_with(now, server, status, None, &lines),
            _ => return Err(LegError::WrongState),
        }
        Ok(())
    }

    /// Whether the peer of a leg takes UPDATE.
    pub fn takes_update(&self, leg: LegId) -> bool {
        self.legs.get(leg.0).is_some_and(|leg| leg.abilities.update)
    }

    /// Sends an UPDATE; `UpdateDone` follows unless it has no body. Allowed in a dialog that stands, and in an early
    /// one once the first offer has its answer (RFC 3311 §5.1).
    ///
    /// # Errors
    /// The leg is unknown, has no dialog, or a change of the session is pending in either direction.
    pub fn update(&mut self, now: Time, leg: LegId, body: Option<Body<'_>>) -> Result<(), LegError> {
        self.update_with(now, leg, &[], body)
    }

    /// As [`Self::update`], with further header fields.
    ///
    /// # Errors
    /// As there, or text that cannot stand in a header.
    pub fn update_with(
        &mut self,
        now: Time,
        leg: LegId,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        let early = state.state == LegState::Early && state.settled && state.abilities.update;
        let stands = state.state == LegState::Confirmed || early;
        if !stands || state.is_changing() || state.bye_wanted.is_some() {
            return Err(LegError::WrongState);
        }
        let key =
            self.inside_request(now, leg.0, Method::Update, clients::Owner::Update(leg.0), headers, body)?;
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.update_out = Some(key);
        }
        Ok(())
    }

    /// A response to our UPDATE.
    pub(crate) fn update_response(&mut self, now: Time, key: Key, leg_key: Key, response: &Message<'_>) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(leg) = self.legs.get_mut(leg_key).filter(|leg| leg.update_out == Some(key)) else { return };
        leg.update_out = None;
        leg.abilities.learn(response);
        let (refreshed, unanswered) = (leg.refreshing, leg.is_unanswered());
        if !unanswered {
            self.refresh_done(now, leg_key, response);
        }
        if status < 300 {
            self.leg_refresh(leg_key, response);
        }
        if !refreshed {
            let message = Some(Received::of(response));
            self.events.push_back(Event::UpdateDone { leg: LegId(leg_key), status, message });
        }
        // RFC 3261 §12.2.1.2: these two say that the dialog is no more.
        if matches!(status, 408 | 481) && !unanswered {
            self.leg_lost(now, leg_key, LostCause::DialogGone);
        }
    }

    /// Our UPDATE got no final response.
    pub(crate) fn update_failed(&mut self, now: Time, key: Key, leg_key: Key, status: u16) {
        let Some(leg) = self.legs.get_mut(leg_key).filter(|leg| leg.update_out == Some(key)) else { return };
        leg.update_out = None;
        let (refreshed, unanswered) = (core::mem::take(&mut leg.refreshing), leg.is_unanswered());
        if !refreshed {
            self.events.push_back(Event::UpdateDone { leg: LegId(leg_key), status, message: None });
        }
        if status == 408 && !unanswered {
            self.leg_lost(now, leg_key, LostCause::DialogGone);
        }
    }

    /// Ends UPDATEs that are pending in a leg: ours goes on without it, the peer's is answered.
    pub(crate) fn updates_stop(&mut self, now: Time, leg_key: Key) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let (out, inward) = (leg.update_out.take(), leg.update_in.take());
        if let Some(client) = out {
            self.client_orphan(now, client, false);
        }
        if let Some(server) = inward {
            self.server_answer(now, server, 481, None);
        }
    }
}
