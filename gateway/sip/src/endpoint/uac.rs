//! Outgoing calls: INVITE, its responses, CANCEL, ACK of a 2xx, and the calls that nobody wants any more
//! (RFC 3261 §13.2, §9.1).

use super::clients::{Cancel, Owner};
use super::timers::Timer;
use super::{Endpoint, Silence, compose, session_id};
use crate::dialog::invite::Leg;
use crate::dialog::session::granted;
use crate::dialog::{Dialog, Parts};
use crate::error::{LegError, StartError};
use crate::event::{
    Body, Destination, Event, Failure, Flow, Invite, LegId, LegState, Link, LostCause, Received, Transport,
};
use crate::message::{Message, Method, Name};
use crate::nat::response_shows_nat;
use crate::transaction::key::{COOKIE, OwnToken};
use sansio::{Key, Time};

impl Endpoint {
    /// Calls. Ends in `Answered`, or `Failed` and `Gone`.
    ///
    /// # Errors
    /// Tables full, unknown socket, or text that cannot stand in a header: nothing was sent, no leg exists.
    pub fn invite(&mut self, now: Time, invite: &Invite<'_>) -> Result<LegId, StartError> {
        let texts = [invite.call_id, invite.request_uri, invite.from, invite.to];
        if texts.iter().any(|text| text.is_empty() || !compose::is_line(text.as_bytes()))
            || invite.request_uri.contains(' ')
            || !compose::is_line(invite.contact_user.as_bytes())
        {
            return Err(StartError::BadText);
        }
        if !self.has_room() || self.legs.len() >= self.legs.capacity() {
            self.stats.own_full += 1;
            return Err(StartError::Full);
        }
        let flow = self.flow_to(now, &invite.destination)?;
        let nonce = self.random.u64();
        let empty = Dialog::new(&Parts::default(), 1, None);
        let mut leg = Leg::new(nonce, true, flow, empty, now + invite.no_answer);
        leg.nat = self.config.nat;
        let leg_key = self.leg_insert(leg).ok_or(StartError::Full)?;
        let tag = OwnToken { key: leg_key, nonce }.text();
        let local = [invite.from.as_bytes(), b";tag=", &tag].concat();
        let dialog = Dialog::new(
            &Parts {
                call_id: invite.call_id.as_bytes(),
                local: &local,
                remote: invite.to.as_bytes(),
                target: invite.request_uri.as_bytes(),
                user: invite.contact_user.as_bytes(),
                ..Parts::default()
            },
            1,
            None,
        );
        let Some((key, token)) = self.client_insert(Method::Invite, Owner::Invite(leg_key), flow, 1) else {
            self.leg_remove(leg_key);
            return Err(StartError::Full);
        };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        compose::begin_request(
            &mut out,
            b"INVITE",
            invite.request_uri.as_bytes(),
            &flow,
            &[&token.branch()],
            invite.max_forwards,
        );
        compose::parts(&mut out, &[b"From: ", &local, b"\r\nTo: ", invite.to.as_bytes()]);
        compose::parts(&mut out, &[b"\r\nCall-ID: ", invite.call_id.as_bytes(), b"\r\n"]);
        compose::cseq(&mut out, 1, b"INVITE");
        compose::contact(&mut out, invite.contact_user.as_bytes(), &flow);
        self.session_lines(&mut out, None);
        let identity = &self.identity;
        let supported = if invite.body.is_some() { &identity.supported } else { &identity.supported_late };
        compose::parts(&mut out, &[&identity.allow, supported, &identity.user_agent]);
        let fits = compose::headers(&mut out, invite.headers) && compose::end(&mut out, invite.body);
        if !fits {
            self.client_remove(key);
            self.leg_remove(leg_key);
            self.scratch = out;
            return Err(StartError::BadText);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.late_offer = invite.body.is_none();
        }
        self.client_start(now, key, &out);
        self.scratch = out;
        self.leg_dialog(leg_key, dialog);
        let timer = self.set_timer(now + invite.no_response.min(invite.no_answer), Timer::Leg(leg_key));
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.invite = Some(key);
            leg.timer = timer;
            leg.offered = invite.body.is_some();
        }
        self.stats.invites_sent += 1;
        Ok(LegId(leg_key))
    }

    /// The way to a destination; over TCP a connection is opened if there is none.
    pub(crate) fn flow_to(&mut self, now: Time, to: &Destination) -> Result<Flow, StartError> {
        let remote = to.remote;
        if let Some((held, local)) = to.over {
            if let Some(flow) = self.flow_over(now, held, to, local) {
                return Ok(flow);
            }
            // Nobody listens at the port that a peer connected from.
            if held.stream.is_accepted() {
                return Err(StartError::ConnectionGone);
            }
        }
        match to.transport {
            Transport::Udp => {
                let (_, local) =
                    self.sockets.iter().find(|(id, _)| *id == to.socket).ok_or(StartError::NoSocket)?;
                if local.is_ipv4() != remote.is_ipv4() {
                    return Err(StartError::NoSocket);
                }
                Ok(Flow { transport: Transport::Udp, link: Link::Socket(to.socket), local: *local, remote })
            }
            transport => {
                let listeners = self.listeners.iter().map(|known| (known.socket, known.advertised));
                let mut known = self.sockets.iter().copied().chain(listeners);
                let local = known.find(|(socket, _)| *socket == to.socket).map(|(_, local)| local);
                let mut sockets = self.sockets.iter();
                if self.heard_at(None, remote).is_none()
                    && !sockets.any(|(_, local)| local.is_ipv4() == remote.is_ipv4())
                {
                    return Err(StartError::NoSocket);
                }
                self.stream_to(now, transport, remote, local).ok_or(StartError::Full)
            }
        }
    }

    /// Acknowledges the answer to an INVITE that went out without body; `body` is our SDP answer.
    ///
    /// # Errors
    /// The leg is unknown or waits for no ACK.
    pub fn ack(&mut self, now: Time, leg: LegId, body: Option<Body<'_>>) -> Result<(), LegError> {
        if body.is_some_and(|body| !compose::is_line(body.content_type.as_bytes())) {
            return Err(LegError::BadText);
        }
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        let client = state.ack_wanted.take().ok_or(LegError::WrongState)?;
        state.state = LegState::Confirmed;
        self.send_leg_ack(now, leg.0, client, body, true);
        Ok(())
    }

    /// Cancels an outgoing call that is not answered yet; `reason` becomes a Reason header. `Failed` follows:
    /// with 487 as a rule, with `AnsweredLate` if a 2xx crossed.
    ///
    /// # Errors
    /// The leg is unknown or has its final answer.
    pub fn cancel(&mut self, now: Time, leg: LegId, reason: Option<&str>) -> Result<(), LegError> {
        if reason.is_some_and(|reason| !compose::is_line(reason.as_bytes())) {
            return Err(LegError::BadText);
        }
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        let Some(client) = state.invite.filter(|_| state.outgoing) else { return Err(LegError::WrongState) };
        state.state = LegState::Cancelling;
        let timer = state.timer.take();
        self.stop_timer(timer);
        self.client_cancel(now, client, reason);
        Ok(())
    }

    /// A response reached its INVITE transaction.
    ///
    /// `sent` is the INVITE that was refused, if it may be sent anew.
    pub(crate) fn client_deliver(
        &mut self,
        now: Time,
        key: Key,
        owner: Owner,
        response: &Message<'_>,
        sent: Option<&[u8]>,
    ) {
        let status = response.status();
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.method == Method::Invite {
            if status < 200 && client.cancel == Cancel::Wanted {
                self.client_send_cancel(now, key);
            } else if (200..300).contains(&status) && !self.is_first_answer(now, key, response) {
                return;
            }
        }
        match owner {
            Owner::Invite(leg) if self.invite_longer(now, key, leg, response, sent) => {}
            Owner::Invite(leg) => self.invite_response(now, key, leg, response),
            Owner::Reinvite(leg) => self.reinvite_response(now, key, leg, response),
            Owner::Update(leg) => self.update_response(now, key, leg, response),
            Owner::Bye(leg) => {
                if status >= 200 {
                    self.events.push_back(Event::ByeDone { leg: LegId(leg), status });
                    self.leg_finish(now, leg);
                }
            }
            Owner::Notify(subscription) => {
                if status >= 200 {
                    self.notify_answered(now, subscription, key, status < 300);
                }
            }
            Owner::Request | Owner::Usage(_) => {
                if let Owner::Usage(usage) = owner {
                    self.usage_response(usage, response);
                }
                if status >= 200 {
                    let message = Received::of(response);
                    self.events.push_back(Event::Response { id: crate::RequestId(key), status, message });
                }
            }
            Owner::Nobody { bye } => {
                if (200..300).contains(&status) && response.method() == Method::Invite {
                    self.stats.late_answers += 1;
                    self.acknowledge_and_end(now, key, response, bye);
                }
            }
        }
    }

    /// Whether this is the first 2xx of an INVITE. One that comes again is acknowledged again; one of another fork
    /// makes a second dialog, which is acknowledged and ended (RFC 3261 §13.2.2.4).
    fn is_first_answer(&mut self, now: Time, key: Key, response: &Message<'_>) -> bool {
        let tag = self.hasher.text(response.to().and_then(|to| to.tag()).unwrap_or_default()) | 1;
        let forks = usize::from(self.config.limits.forks);
        let Some(client) = self.clients.get_mut(key) else { return false };
        if client.accepted == 0 {
            client.accepted = tag;
            return true;
        }
        if client.accepted == tag {
            let waits = match client.owner {
                Owner::Invite(leg) | Owner::Reinvite(leg) => {
                    self.legs.get(leg).is_some_and(|leg| leg.ack_wanted == Some(key))
                }
                _ => false,
            };
            if waits {
                return false; // the owner has the answer still to make
            }
            if client.bytes.is_empty() {
                self.acknowledge_and_end(now, key, response, false);
            } else {
                self.ack_again(now, key);
            }
            return false;
        }
        let is_new = !client.ended.contains(&tag);
        if is_new {
            if client.ended.len() >= forks {
                self.stats.forks_beyond += 1;
                return false;
            }
            client.ended.push(tag);
            self.stats.forked_answers += 1;
        }
        self.acknowledge_and_end(now, key, response, is_new);
        false
    }

    /// A response to a leg's first INVITE.
    fn invite_response(&mut self, now: Time, key: Key, leg_key: Key, response: &Message<'_>) {
        let status = response.status();
        let tag = response.to().and_then(|to| to.tag()).map(|tag| self.hasher.text(tag));
        let forks = self.config.limits.forks;
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let id = LegId(leg_key);
        leg.heard = true;
        leg.abilities.learn(response);
        leg.shows_nat |= status > 100 && response_shows_nat(response, &leg.flow);
        let reliable =
            self.reliable && (101..200).contains(&status) && response.lists(Name::Require, "100rel");
        if reliable && !self.reliable_response(now, key, leg_key, response) {
            return;
        }
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        match status {
            ..200 => {
                if status > 100 && leg.state == LegState::Started {
                    leg.state = LegState::Early;
                }
                let fork = match tag {
                    Some(tag) if status > 100 => leg.fork(tag, forks),
                    _ => Some(0),
                };
                match fork {
                    Some(fork) => {
                        let message = Received::of(response);
                        self.events.push_back(Event::Progress { leg: id, status, fork, reliable, message });
                    }
                    None => self.stats.forks_beyond += 1,
                }
            }
            200..300 => self.invite_answered(now, key, leg_key, response),
            401 | 407 if self.answer_challenge(now, key, leg_key, response) => {}
            _ => {
                let Some(leg) = self.legs.get_mut(leg_key) else { return };
                leg.invite = None;
                let cause = Failure::Status {
                    status,
                    reason: String::from_utf8_lossy(response.reason()).into(),
                    retry_after: response.seconds(Name::RetryAfter),
                };
                let message = Some(Received::of(response));
                self.events.push_back(Event::Failed { leg: id, cause, message });
                self.leg_finish(now, leg_key);
            }
        }
    }

    fn invite_answered(&mut self, now: Time, key: Key, leg_key: Key, response: &Message<'_>) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let id = LegId(leg_key);
        leg.invite = None;
        let timer = leg.timer.take();
        if leg.state == LegState::Cancelling {
            self.stop_timer(timer);
            self.stats.late_answers += 1;
            self.acknowledge_and_end(now, key, response, true);
            if let Some(client) = self.clients.get_mut(key) {
                client.owner = Owner::Nobody { bye: true };
            }
            let cause = Failure::AnsweredLate;
            self.events.push_back(Event::Failed { leg: id, cause, message: None });
            return self.leg_finish(now, leg_key);
        }
        leg.state = LegState::Confirmed;
        let dialog = Dialog::of_response(response, leg.dialog.parts().user);
        let dialog = self.continue_early(leg_key, dialog);
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        leg.settled = true;
        self.stop_timer(timer);
        if let Some(dialog) = dialog {
            self.leg_dialog(leg_key, dialog);
        }
        self.session_start(now, leg_key, granted(response));
        if self.clients.get(key).is_some_and(|client| client.late_offer) {
            if let Some(leg) = self.legs.get_mut(leg_key) {
                leg.ack_wanted = Some(key);
                leg.state = LegState::Answered;
            }
        } else {
            self.send_leg_ack(now, leg_key, key, None, false);
        }
        self.events.push_back(Event::Answered { leg: id, message: Received::of(response) });
    }

    /// Sends the ACK of a 2xx inside a leg's dialog (RFC 3261 §13.2.2.4), and keeps it for repetition if `keep`.
    pub(crate) fn send_leg_ack(&mut self, now: Time, leg: Key, key: Key, body: Option<Body<'_>>, keep: bool) {
        let Some(client) = self.clients.get(key) else { return };
        let (cseq, token) = (client.cseq, OwnToken { key, nonce: client.nonce });
        let Some(flow) = self.leg_flow(now, leg) else { return };
        let Some(leg) = self.legs.get(leg) else { return };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        compose::begin_inside(&mut out, &leg.dialog, &flow, b"ACK", cseq, &[COOKIE, &token.text(), b"a"]);
        out.extend_from_slice(&self.identity.user_agent);
        session_id::line(&mut out, leg.session_id.as_deref());
        if compose::end(&mut out, body) {
            let (sent, wide) = self.ack_way(now, flow, &out);
            let bytes = wide.as_deref().unwrap_or(&out);
            self.transmit(sent.link, sent.remote, bytes);
            if keep && let Some(client) = self.clients.get_mut(key) {
                client.flow = sent;
                self.held += bytes.len() as u64;
                self.held -= client.bytes.len() as u64;
                client.bytes = bytes.into();
                if wide.is_some() {
                    self.ack_may_fall_back(key, flow, &out);
                }
            }
        }
        self.scratch = out;
    }

    /// Acknowledges a 2xx that has no leg, from what it says itself; and ends its dialog if `bye`.
    pub(crate) fn acknowledge_and_end(&mut self, now: Time, key: Key, response: &Message<'_>, bye: bool) {
        let Some(client) = self.clients.get(key) else { return };
        let (cseq, token, flow) = (client.cseq, OwnToken { key, nonce: client.nonce }, client.flow);
        let used_cseq = client.used_cseq;
        let Some(mut dialog) = Dialog::of_response(response, b"") else { return };
        dialog.local_cseq = dialog.local_cseq.max(used_cseq);
        let keeps_way = self.config.nat.applies(response_shows_nat(response, &flow));
        let flow = self.inside_flow(now, &dialog, flow, keeps_way);
        // Each dialog has its own ACK, so its tag takes part in the branch.
        let tag = format!("{:016x}", self.hasher.text(dialog.parts().remote_tag));
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let branch: [&[u8]; 4] = [COOKIE, &token.text(), b"a", tag.as_bytes()];
        compose::begin_inside(&mut out, &dialog, &flow, b"ACK", cseq, &branch);
        let _ = compose::end(&mut out, None); // no body, so it fits
        self.transmit(flow.link, flow.remote, &out);
        self.scratch = out;
        if bye {
            self.send_bye_of(now, &mut dialog, flow, Owner::Nobody { bye: false }, b"");
        }
    }

    /// Sends BYE in a dialog; `false` if the tables are full.
    pub(crate) fn send_bye_of(
        &mut self,
        now: Time,
        dialog: &mut Dialog,
        flow: Flow,
        owner: Owner,
        lines: &[u8],
    ) -> bool {
        let cseq = dialog.next_cseq();
        let Some((key, token)) = self.client_insert(Method::Bye, owner, flow, cseq) else { return false };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        compose::begin_inside(&mut out, dialog, &flow, b"BYE", cseq, &[&token.branch()]);
        compose::parts(&mut out, &[&self.identity.user_agent, lines]);
        let _ = compose::end(&mut out, None); // no body, so it fits
        self.client_start(now, key, &out);
        self.scratch = out;
        true
    }

    /// A client transaction ended without final response.
    pub(crate) fn client_failed(&mut self, now: Time, key: Key, owner: Owner, silence: Silence) {
        let connecting = self.clients.get(key).is_some_and(|client| match client.flow.link {
            Link::Stream(stream) => self.wire.connections.get(stream).is_none_or(|stream| !stream.open),
            Link::Socket(_) => false,
        });
        let cause = match silence {
            Silence::Total => Failure::NoResponse,
            Silence::Late => Failure::TimedOut,
            Silence::Unreachable if connecting => Failure::ConnectFailed,
            Silence::Unreachable => Failure::Refused,
        };
        match owner {
            Owner::Invite(leg) => {
                let Some(state) = self.legs.get_mut(leg).filter(|leg| leg.invite == Some(key)) else {
                    return;
                };
                state.invite = None;
                self.events.push_back(Event::Failed { leg: LegId(leg), cause, message: None });
                self.leg_finish(now, leg);
            }
            Owner::Reinvite(leg) => {
                let Some(state) = self.legs.get_mut(leg).filter(|leg| leg.reinvite_out == Some(key)) else {
                    return;
                };
                state.reinvite_out = None;
                let status = if silence == Silence::Unreachable { 503 } else { 408 };
                self.events.push_back(Event::ReinviteDone { leg: LegId(leg), status, message: None });
                if status == 408 {
                    self.leg_lost(now, leg, LostCause::DialogGone);
                }
            }
            Owner::Update(leg) => {
                let status = if silence == Silence::Unreachable { 503 } else { 408 };
                self.update_failed(now, key, leg, status);
            }
            Owner::Bye(leg) => self.leg_finish(now, leg),
            Owner::Notify(subscription) => self.notify_answered(now, subscription, key, false),
            Owner::Request | Owner::Usage(_) => {
                self.events.push_back(Event::RequestFailed { id: crate::RequestId(key), cause });
            }
            Owner::Nobody { .. } => {}
        }
    }
}
