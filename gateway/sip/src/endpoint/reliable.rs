//! Reliable provisional responses (RFC 3262): sent and repeated until their PRACK comes, received in order and acknowledged.

use super::servers::Owner;
use super::timers::Timer;
use super::{Endpoint, clients};
use crate::dialog::Dialog;
use crate::dialog::reliable::{Composed, Early, Open, Provisionals, Repeated};
use crate::error::LegError;
use crate::event::{Body, Event, Flow, LegId, LegState, LostCause};
use crate::message::{Message, Method, Name};
use crate::transaction::key::Arrived;
use sansio::{Key, Time};

/// Most provisional responses of one call that wait for the PRACK of another.
const WAITING_MOST: usize = 8;

impl Endpoint {
    /// Whether the caller takes reliable provisional responses.
    pub fn sends_reliably(&self, leg: LegId) -> bool {
        self.reliable && self.legs.get(leg.0).is_some_and(|leg| leg.abilities.reliable)
    }

    /// Whether the caller takes no others.
    pub fn only_reliably(&self, leg: LegId) -> bool {
        self.reliable && self.legs.get(leg.0).is_some_and(|leg| leg.abilities.only_reliable)
    }

    /// Whether the caller was answered, and the answer waits for the PRACK of a session description (RFC 3262 §3).
    pub fn keeps_answer(&self, leg: LegId) -> bool {
        let provisionals = self.legs.get(leg.0).and_then(|leg| leg.provisionals.as_ref());
        provisionals.is_some_and(|provisionals| provisionals.answer.is_some())
    }

    /// Sends a provisional response reliably, after those that are not acknowledged yet.
    pub(crate) fn provisional_reliable(
        &mut self,
        now: Time,
        leg_key: Key,
        server: Key,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        // RFC 3262 §3: the first number is drawn from 1 to 2³¹ - 1.
        let first = self.random.below((1 << 31) - 1) as u32;
        let leg = self.legs.get_mut(leg_key).ok_or(LegError::Unknown)?;
        let provisionals = leg.provisionals.get_or_insert_with(|| Box::new(Provisionals::new(first)));
        if provisionals.answer.is_some() {
            return Err(LegError::WrongState);
        }
        if provisionals.waiting.len() >= WAITING_MOST {
            self.stats.provisionals_dropped += 1;
            return Ok(());
        }
        let rseq = provisionals.rseq + 1;
        let number = rseq.to_string();
        let lines: Vec<(&str, &str)> =
            headers.iter().copied().chain([("Require", "100rel"), ("RSeq", number.as_str())]).collect();
        let out = self.session_response(leg_key, server, status, &lines, body)?;
        let composed = Composed { status, bytes: out.as_slice().into(), rseq, has_body: body.is_some() };
        self.scratch = out;
        self.held += composed.bytes.len() as u64;
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.settled |= body.is_some() && leg.offered;
            if let Some(provisionals) = leg.provisionals.as_mut() {
                provisionals.rseq = rseq;
                provisionals.waiting.push_back(composed);
            }
        }
        self.provisional_next(now, leg_key);
        Ok(())
    }

    /// Sends the next reliable provisional response, or the 2xx that waited, if nothing awaits its PRACK.
    fn provisional_next(&mut self, now: Time, leg_key: Key) {
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let (Some(server), Some(provisionals)) = (leg.invite, leg.provisionals.as_mut()) else { return };
        if provisionals.open.is_some() {
            return;
        }
        let Some(composed) = provisionals.waiting.pop_front() else {
            if let Some(answer) = provisionals.answer.take() {
                self.held -= answer.len() as u64;
                self.send_answer(now, leg_key, server, &answer);
            }
            return;
        };
        leg.state = LegState::Early;
        self.server_send(now, server, composed.status, &composed.bytes);
        let Some(transaction) = self.servers.get(server) else { return };
        let (link, to, cseq) = (transaction.flow.link, transaction.reply_to, transaction.cseq);
        let timers = self.config.timers;
        let mut repeated = Repeated::new(now, &timers, composed.bytes, link, to, cseq);
        repeated.timer = self.set_timer(repeated.due_doubling(now, &timers), Timer::Provisional(leg_key));
        if let Some(provisionals) = self.legs.get_mut(leg_key).and_then(|leg| leg.provisionals.as_mut()) {
            provisionals.open = Some(Open { repeated, rseq: composed.rseq, has_body: composed.has_body });
        }
    }

    /// The timer of a provisional response without PRACK fired (RFC 3262 §3).
    pub(crate) fn provisional_repeat(&mut self, now: Time, leg_key: Key) {
        let timers = self.config.timers;
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let Some(open) = leg.provisionals.as_mut().and_then(|provisionals| provisionals.open.as_mut()) else {
            return;
        };
        let repeated = &mut open.repeated;
        repeated.timer = None;
        if repeated.again(now) {
            self.stats.retransmissions_sent += 1;
            if !self.wire.send(repeated.link, repeated.to, &repeated.response) {
                self.wire.unsendable += 1;
            }
            let due = repeated.due_doubling(now, &timers);
            let timer = self.set_timer(due, Timer::Provisional(leg_key));
            let provisionals = self.legs.get_mut(leg_key).and_then(|leg| leg.provisionals.as_mut());
            if let Some(open) = provisionals.and_then(|provisionals| provisionals.open.as_mut()) {
                open.repeated.timer = timer;
            }
            return;
        }
        self.stats.pracks_missing += 1;
        if let Some(server) = leg.invite.take() {
            self.server_answer(now, server, 504, None);
        }
        self.events.push_back(Event::Lost { leg: LegId(leg_key), why: LostCause::NoPrack });
        self.leg_finish(now, leg_key);
    }

    /// Keeps a 2xx back while a session description is not acknowledged (RFC 3262 §3); `false` if it may go.
    pub(crate) fn answer_held(&mut self, leg_key: Key, answer: &[u8]) -> bool {
        let Some(provisionals) = self.legs.get_mut(leg_key).and_then(|leg| leg.provisionals.as_mut()) else {
            return false;
        };
        if !provisionals.holds_answer() {
            return false;
        }
        if provisionals.answer.is_none() {
            self.held += answer.len() as u64;
            provisionals.answer = Some(answer.into());
        }
        true
    }

    /// The final response goes out: nothing provisional is sent any more, but a PRACK that still comes is understood.
    pub(crate) fn provisionals_quiet(&mut self, leg_key: Key) {
        let Some(provisionals) = self.legs.get_mut(leg_key).and_then(|leg| leg.provisionals.as_mut()) else {
            return;
        };
        for composed in provisionals.waiting.drain(..) {
            self.held -= composed.bytes.len() as u64;
        }
        let timer = provisionals.open.as_mut().and_then(|open| open.repeated.timer.take());
        self.stop_timer(timer);
    }

    /// Forgets a leg's provisional responses.
    pub(crate) fn provisionals_stop(&mut self, leg_key: Key) {
        let Some(provisionals) = self.legs.get_mut(leg_key).and_then(|leg| leg.provisionals.take()) else {
            return;
        };
        self.held -= provisionals.len() as u64;
        self.stop_timer(provisionals.open.and_then(|open| open.repeated.timer));
    }

    /// PRACK (RFC 3262 §3): answered at once. It may answer an offer of ours; an offer in it is refused with 488, the
    /// provisional response counts as acknowledged all the same.
    pub(crate) fn receive_prack(
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
        let acknowledged = rack(request);
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        let provisionals = leg.provisionals.as_mut();
        let open = provisionals.and_then(|provisionals| {
            provisionals.open.take_if(|open| acknowledged == Some((open.rseq, open.repeated.cseq)))
        });
        let Some(open) = open else { return self.refuse_counted(flow, request, 481) };
        self.held -= open.repeated.response.len() as u64;
        let body = request.body();
        let answers = !body.is_empty() && !leg.offered && !leg.settled && open.has_body;
        leg.settled |= answers;
        self.stop_timer(open.repeated.timer);
        let status = if body.is_empty() || answers { 200 } else { 488 };
        match self.server_insert(request, hash, flow, Owner::Nobody, None) {
            Some(server) => self.server_answer(now, server, status, None),
            None => self.refuse(request, flow, status, None, b""),
        }
        if answers {
            self.events.push_back(Event::Pracked { leg: LegId(leg_key), body: body.into() });
        }
        self.provisional_next(now, leg_key);
    }

    /// A reliable provisional response to our INVITE (RFC 3262 §4): whether it is the next one in order, which is
    /// acknowledged, unless its offer waits for the owner's answer.
    pub(crate) fn reliable_response(
        &mut self,
        now: Time,
        key: Key,
        leg_key: Key,
        response: &Message<'_>,
    ) -> bool {
        let Some(rseq) = response.seconds(Name::RSeq).filter(|rseq| *rseq > 0) else { return false };
        let Some(cseq) = self.clients.get(key).map(|client| client.cseq) else { return false };
        let remote_tag = response.to().and_then(|to| to.tag()).unwrap_or_default();
        let tag = self.hasher.text(remote_tag);
        let most = usize::from(self.config.limits.forks);
        let Some(leg) = self.legs.get_mut(leg_key) else { return false };
        let full = leg.earlies.len() >= most;
        match leg.earlies.iter_mut().find(|early| early.tag == tag) {
            Some(early) if rseq <= early.rseq => {
                self.stats.retransmissions_absorbed += 1;
                return false;
            }
            Some(early) if rseq > early.rseq + 1 => {
                self.stats.provisionals_early += 1;
                return false;
            }
            Some(early) => early.rseq = rseq,
            None if full => {
                self.stats.forks_beyond += 1;
                return false;
            }
            None => leg.earlies.push(Early { tag, rseq, local_cseq: cseq, remote_cseq: None }),
        }
        if leg.dialog.parts().remote_tag == remote_tag {
            self.leg_refresh(leg_key, response);
        } else {
            let old = self.hasher.text(leg.dialog.parts().remote_tag);
            if let Some(early) = leg.earlies.iter_mut().find(|early| early.tag == old) {
                (early.local_cseq, early.remote_cseq) = (leg.dialog.local_cseq, leg.dialog.remote_cseq);
            }
            let dialog = Dialog::of_response(response, leg.dialog.parts().user);
            if let Some(dialog) = self.continue_early(leg_key, dialog) {
                self.leg_dialog(leg_key, dialog);
            }
        }
        let Some(leg) = self.legs.get_mut(leg_key) else { return false };
        let describes = !response.body().is_empty();
        if describes && !leg.offered && !leg.settled {
            leg.prack_wanted = Some((rseq, cseq));
        } else {
            leg.settled |= describes;
            // If the tables are full the response comes again, and is passed over: the peer gives the call up.
            let _ = self.send_prack(now, leg_key, rseq, cseq, None);
        }
        true
    }

    /// A dialog made by a response of a call in which requests were exchanged before: their numbers go on.
    pub(crate) fn continue_early(&self, leg_key: Key, dialog: Option<Dialog>) -> Option<Dialog> {
        let (mut dialog, leg) = (dialog?, self.legs.get(leg_key)?);
        let numbers = if dialog.parts().remote_tag == leg.dialog.parts().remote_tag {
            Some((leg.dialog.local_cseq, leg.dialog.remote_cseq))
        } else {
            let tag = self.hasher.text(dialog.parts().remote_tag);
            let early = leg.earlies.iter().find(|early| early.tag == tag);
            early.map(|early| (early.local_cseq, early.remote_cseq))
        };
        if let Some((local, remote)) = numbers {
            dialog.local_cseq = dialog.local_cseq.max(local);
            dialog.remote_cseq = remote;
        }
        Some(dialog)
    }

    fn send_prack(
        &mut self,
        now: Time,
        leg_key: Key,
        rseq: u32,
        cseq: u32,
        body: Option<Body<'_>>,
    ) -> Result<Key, LegError> {
        let rack = format!("{rseq} {cseq} INVITE");
        let headers = [("RAck", rack.as_str())];
        // Whatever becomes of it, the call goes its way by the INVITE's own responses.
        let owner = clients::Owner::Nobody { bye: false };
        self.inside_request(now, leg_key, Method::Prack, owner, &headers, body)
    }

    /// Acknowledges the reliable provisional response that made an offer, with the answer to it (RFC 3262 §5).
    ///
    /// # Errors
    /// The leg is unknown, or none waits for this; tables are full.
    pub fn prack(&mut self, now: Time, leg: LegId, answer: Body<'_>) -> Result<(), LegError> {
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        let (rseq, cseq) = state.prack_wanted.ok_or(LegError::WrongState)?;
        let client = state.invite.ok_or(LegError::WrongState)?;
        self.send_prack(now, leg.0, rseq, cseq, Some(answer))?;
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.prack_wanted = None;
            leg.settled = true;
        }
        if let Some(client) = self.clients.get_mut(client) {
            // What was agreed stands: the ACK need not carry anything.
            client.late_offer = false;
        }
        Ok(())
    }
}

/// RSeq and CSeq of the INVITE's response that a PRACK acknowledges (RFC 3262 §7.2).
fn rack(request: &Message<'_>) -> Option<(u32, u32)> {
    let text = core::str::from_utf8(request.header(Name::RAck)?).ok()?;
    let mut words = text.split_ascii_whitespace();
    let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next() == Some("INVITE") && words.next().is_none()).then_some(numbers)
}
