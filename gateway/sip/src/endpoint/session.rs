//! Session timers carried out (RFC 4028): asking, granting, refreshing, and ending what nobody refreshed.

use super::timers::Timer;
use super::{Endpoint, clients, compose};
use crate::dialog::invite::Leg;
use crate::dialog::session::{self, Grant, Session, TooSmall};
use crate::error::LegError;
use crate::event::{Body, Event, Flow, LegId, LegState, LostCause};
use crate::message::{Message, Method, Name};
use crate::transaction::key::Arrived;
use core::time::Duration;
use sansio::{Key, Random, Time};

/// How often one request is sent again with a longer interval; each 422 has to name a longer one than before.
const RAISED_MOST: u8 = 3;
/// How long a 500 or 503 to a refresh is waited out if it does not say.
const PAUSE: Duration = Duration::from_secs(5);

/// How long to wait after a 491 (RFC 3261 §14.1): 2.1 to 4 s for the side that chose the Call-ID, up to 2 s for the
/// other, in steps of 10 ms.
pub fn glare_pause(random: &mut Random, owns_call_id: bool) -> Duration {
    let (low, steps) = if owns_call_id { (2100, 191) } else { (0, 201) };
    Duration::from_millis(low + 10 * random.below(steps))
}

impl Endpoint {
    /// Appends what an INVITE or UPDATE of ours says of session timers.
    pub(crate) fn session_lines(&self, out: &mut Vec<u8>, leg: Option<&Leg>) {
        let Some(timers) = self.config.session else { return };
        let (min_se, grant) =
            leg.map_or((0, None), |leg| (leg.min_se, leg.session.map(|session| session.grant)));
        out.extend_from_slice(session::request_lines(timers, min_se, grant).as_bytes());
    }

    /// What is granted to a request.
    pub(crate) fn grant_to(&self, request: &Message<'_>) -> Result<Option<Grant>, TooSmall> {
        self.config.session.map_or(Ok(None), |timers| session::grant(timers, request))
    }

    /// 422 with our least interval (RFC 4028 §9).
    pub(crate) fn refuse_interval(&mut self, flow: Flow, request: &Arrived<'_, '_>) {
        let least = self.config.session.map_or(0, |timers| timers.min_se);
        self.stats.intervals_refused += 1;
        self.refuse(request, flow, 422, None, format!("Min-SE: {least}\r\n").as_bytes());
    }

    /// A session begins, or begins anew, with what was agreed; without anything it does not run out.
    pub(crate) fn session_start(&mut self, now: Time, leg_key: Key, grant: Option<Grant>) {
        self.session_stop(leg_key);
        let Some(grant) = grant.filter(|_| self.config.session.is_some()) else { return };
        let mut session = Session::new(now, grant);
        session.timer = self.set_timer(session.due(now), Timer::Session(leg_key));
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.session = Some(session);
            leg.raised = 0;
        }
    }

    /// Our 2xx went out: what it granted holds from now on.
    pub(crate) fn session_granted(&mut self, now: Time, leg_key: Key, server: Key) {
        let grant = self.servers.get(server).and_then(|server| server.grant);
        if self.legs.get(leg_key).is_some_and(|leg| leg.session.is_some()) && grant.is_some() {
            self.stats.sessions_refreshed += 1;
        }
        self.session_start(now, leg_key, grant);
    }

    /// A session does not run out any more.
    pub(crate) fn session_stop(&mut self, leg_key: Key) {
        let session = self.legs.get_mut(leg_key).and_then(|leg| leg.session.take());
        self.stop_timer(session.and_then(|session| session.timer));
    }

    /// A session is to be refreshed, or has run out.
    pub(crate) fn session_timer(&mut self, now: Time, leg_key: Key) {
        let Some(session) = self.legs.get_mut(leg_key).and_then(|leg| leg.session.as_mut()) else { return };
        session.timer = None;
        if !session.grant.ours || session.asked || now >= session.ends {
            self.stats.sessions_expired += 1;
            return self.leg_lost(now, leg_key, LostCause::SessionExpired);
        }
        self.refresh_ask(now, leg_key);
    }

    /// Asks the owner for a refresh; the session's end is what is waited for from now on.
    fn refresh_ask(&mut self, now: Time, leg_key: Key) {
        let Some(session) = self.legs.get_mut(leg_key).and_then(|leg| leg.session.as_mut()) else { return };
        session.asked = true;
        let (due, old) = (session.due(now), session.timer.take());
        self.stop_timer(old);
        let timer = self.set_timer(due, Timer::Session(leg_key));
        if let Some(session) = self.legs.get_mut(leg_key).and_then(|leg| leg.session.as_mut()) {
            session.timer = timer;
        }
        self.events.push_back(Event::RefreshDue { leg: LegId(leg_key) });
    }

    /// Tries the refresh again after a while, if the session lasts so long.
    fn refresh_later(&mut self, now: Time, leg_key: Key, wait: Duration) {
        let Some(session) = self.legs.get_mut(leg_key).and_then(|leg| leg.session.as_mut()) else { return };
        session.asked = false;
        let (due, old) = ((now + wait).min(session.ends), session.timer.take());
        self.stop_timer(old);
        let timer = self.set_timer(due, Timer::Session(leg_key));
        if let Some(session) = self.legs.get_mut(leg_key).and_then(|leg| leg.session.as_mut()) {
            session.timer = timer;
        }
    }

    /// Refreshes a session as [`Event::RefreshDue`] asks: by UPDATE without body if the peer takes that, else by a
    /// re-INVITE with `offer`, which is what was said last. While something else changes the session, it is asked
    /// for again a little later. A refresh by re-INVITE ends in `ReinviteDone`, as any.
    ///
    /// # Errors
    /// The leg is unknown or does not stand; tables are full.
    pub fn refresh(&mut self, now: Time, leg: LegId, offer: Body<'_>) -> Result<(), LegError> {
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        if state.state != LegState::Confirmed || state.bye_wanted.is_some() || state.session.is_none() {
            return Err(LegError::WrongState);
        }
        if state.is_changing() {
            let wait = glare_pause(&mut self.random, state.outgoing);
            self.refresh_later(now, leg.0, wait);
            return Ok(());
        }
        if state.abilities.update {
            self.update(now, leg, None)?;
        } else {
            self.reinvite(now, leg, Some(offer))?;
        }
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.refreshing = true;
        }
        Ok(())
    }

    /// A final response to a re-INVITE or UPDATE of ours: it refreshes the session, or says what hinders it
    /// (RFC 4028 §7.2, §7.3, §10).
    pub(crate) fn refresh_done(&mut self, now: Time, leg_key: Key, response: &Message<'_>) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let refreshing = core::mem::take(&mut leg.refreshing);
        let status = response.status();
        if status < 300 {
            self.stats.sessions_refreshed += u64::from(leg.session.is_some());
            return self.session_start(now, leg_key, session::granted(response));
        }
        if status == 422 {
            leg.min_se = leg.min_se.max(response.seconds(Name::MinSe).unwrap_or(0));
        }
        if !refreshing {
            return;
        }
        match status {
            422 if leg.raised < RAISED_MOST => {
                leg.raised += 1;
                if let Some(session) = leg.session.as_mut() {
                    session.grant.interval = session.grant.interval.max(leg.min_se);
                }
                self.stats.intervals_raised += 1;
                self.refresh_ask(now, leg_key);
            }
            491 => {
                let wait = glare_pause(&mut self.random, leg.outgoing);
                self.refresh_later(now, leg_key, wait);
            }
            500 | 503 => {
                let wait =
                    response.seconds(Name::RetryAfter).map_or(PAUSE, |s| Duration::from_secs(s.into()));
                self.refresh_later(now, leg_key, wait);
            }
            405 | 501 if response.method() == Method::Update => {
                leg.abilities.update = false;
                self.refresh_ask(now, leg_key);
            }
            // Anything else: the session runs to its end, which ends the call.
            _ => {}
        }
    }

    /// Sends an INVITE anew that was refused with 422, with the interval that asks for (RFC 4028 §7.3): same
    /// Call-ID, From and body, next CSeq. `false` if that is not so or cannot be.
    pub(crate) fn invite_longer(
        &mut self,
        now: Time,
        key: Key,
        leg_key: Key,
        response: &Message<'_>,
        sent: Option<&[u8]>,
    ) -> bool {
        let (Some(timers), Some(sent), Some(least)) =
            (self.config.session, sent, response.seconds(Name::MinSe).filter(|_| response.status() == 422))
        else {
            return false;
        };
        let Ok(old) = Message::parse(sent) else { return false };
        let Some(leg) = self.legs.get_mut(leg_key) else { return false };
        if leg.state == LegState::Cancelling
            || leg.raised >= RAISED_MOST
            || least <= leg.min_se.max(timers.min_se)
        {
            return false;
        }
        leg.min_se = least;
        leg.raised += 1;
        leg.heard = true;
        let (flow, cseq) = (leg.flow, leg.dialog.next_cseq());
        let Some((new, token)) =
            self.client_insert(Method::Invite, clients::Owner::Invite(leg_key), flow, cseq)
        else {
            return false;
        };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let lines = session::request_lines(timers, least, None);
        compose::again(&mut out, &old, &flow, &token.branch(), cseq, lines.as_bytes());
        let late_offer = self.clients.get(key).is_some_and(|client| client.late_offer);
        if let Some(client) = self.clients.get_mut(new) {
            client.late_offer = late_offer;
        }
        self.client_start(now, new, &out);
        self.scratch = out;
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.invite = Some(new);
        }
        self.stats.intervals_raised += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_glare_the_owner_of_the_call_id_waits_longer_as_rfc_3261_14_1_has_it() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            let owner = glare_pause(&mut random, true).as_millis();
            let other = glare_pause(&mut random, false).as_millis();
            assert!((2100..=4000).contains(&owner) && owner.is_multiple_of(10), "{owner}");
            assert!(other <= 2000 && other.is_multiple_of(10), "{other}");
        }
    }
}
