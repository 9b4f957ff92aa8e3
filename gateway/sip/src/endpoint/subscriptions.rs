//! REFER accepted, and its implicit subscription carried out: NOTIFY sent, answered, run out (RFC 3515 §2.4, RFC 6665).
//!
//! A subscription shares the dialog of the leg that referred, and outlives the leg: then it has the dialog to itself.

use super::clients::Owner;
use super::timers::Timer;
use super::{Endpoint, compose, servers};
use crate::dialog::Dialog;
use crate::dialog::subscription::{Subscription, left};
use crate::error::LegError;
use crate::event::{Body, Flow, LegId, LegState, RequestId, SubscriptionId, UsageId};
use crate::message::{Message, Method, Name, Params};
use crate::transaction::key::{Arrived, OwnToken};
use crate::transfer::{FRAGMENT, Replaces, fragment};
use core::time::Duration;
use sansio::{Key, Time};

/// How long a subscriber may have a subscription last at most.
const LONGEST: Duration = Duration::from_secs(3600);

impl Endpoint {
    /// Accepts a REFER that came as [`crate::Event::Request`] inside a leg's dialog: 202. If it `subscribes`, NOTIFYs
    /// follow, the first with 100 at once; each [`Self::notify`] is told by another, until one was the last or `lasting`
    /// is over. Without, the answer says `Refer-Sub: false` (RFC 4488 §4).
    ///
    /// # Errors
    /// The leg or the request is unknown or was answered; the tables are full: nothing was answered then.
    pub fn accept_refer(
        &mut self,
        now: Time,
        request: RequestId,
        leg: LegId,
        id: u32,
        subscribes: bool,
        lasting: Duration,
    ) -> Result<Option<SubscriptionId>, LegError> {
        let server = self.servers.get(request.0).ok_or(LegError::Unknown)?;
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        if server.owner != servers::Owner::Request {
            return Err(LegError::WrongState);
        }
        let flow = state.flow;
        let mut contact = Vec::new();
        compose::contact(&mut contact, state.dialog.parts().user, &flow);
        let until = now + lasting.min(LONGEST);
        let subscription = subscribes.then(|| Subscription::new(Some(leg.0), flow, id, until));
        self.refer_accepted(now, request, &contact, subscription)
    }

    /// The same for a REFER outside of calls, which came as [`crate::Event::InUsage`] (RFC 3515 §2.4.4): its dialog is the
    /// subscription's from now on, or closed if there is none.
    ///
    /// # Errors
    /// As there; the dialog is still the owner's to close then.
    pub fn accept_refer_outside(
        &mut self,
        now: Time,
        request: RequestId,
        usage: UsageId,
        id: u32,
        subscribes: bool,
        lasting: Duration,
    ) -> Result<Option<SubscriptionId>, LegError> {
        let server = self.servers.get(request.0).ok_or(LegError::Unknown)?;
        let state = self.usages.get(usage.0).ok_or(LegError::Unknown)?;
        if server.owner != servers::Owner::Request || state.outgoing {
            return Err(LegError::WrongState);
        }
        let mut contact = Vec::new();
        compose::contact(&mut contact, state.dialog.parts().user, &state.flow);
        let until = now + lasting.min(LONGEST);
        let mut held = 0;
        let subscription = subscribes.then(|| {
            held = state.dialog.len() as u64;
            let mut subscription = Subscription::new(None, state.flow, id, until);
            subscription.dialog = Some(state.dialog.clone());
            subscription.keeps_way = self.config.nat.applies(state.shows_nat);
            subscription
        });
        // What it holds of the dialog is given back with it, should it not come to stand.
        self.held += held;
        let accepted = self.refer_accepted(now, request, &contact, subscription);
        match accepted {
            Ok(_) => self.usage_close(usage),
            Err(LegError::Full) => self.held -= held,
            Err(_) => {}
        }
        accepted
    }

    /// Answers a REFER with 202, and begins its subscription.
    fn refer_accepted(
        &mut self,
        now: Time,
        request: RequestId,
        contact: &[u8],
        subscription: Option<Subscription>,
    ) -> Result<Option<SubscriptionId>, LegError> {
        let subscribes = subscription.is_some();
        let subscription = match subscription {
            Some(subscription) => Some(self.subscriptions.insert(subscription).map_err(|_| {
                self.stats.own_full += 1;
                LegError::Full
            })?),
            None => None,
        };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let begun = self.server_begin(&mut out, request.0, 202, None);
        if begun {
            out.extend_from_slice(contact);
            let line: &[u8] = if subscribes { b"" } else { b"Refer-Sub: false\r\n" };
            compose::parts(
                &mut out,
                &[&self.identity.allow, &self.identity.supported, &self.identity.server, line],
            );
            let _ = compose::end(&mut out, None); // no body, so it fits
            if let Some(server) = self.servers.get_mut(request.0) {
                server.owner = servers::Owner::Nobody;
            }
            self.server_send(now, request.0, 202, &out);
        }
        self.scratch = out;
        let Some(key) = subscription else {
            return if begun { Ok(None) } else { Err(LegError::WrongState) };
        };
        if !begun {
            self.subscription_remove(key);
            return Err(LegError::WrongState);
        }
        self.subscription_arm(now, key);
        self.subscription_tell(now, key);
        Ok(Some(SubscriptionId(key)))
    }

    /// Tells the subscriber how its transfer goes; `last` if nothing follows. A subscription that is over, or whose
    /// subscriber takes no NOTIFY any more, is told nothing.
    pub fn notify(&mut self, now: Time, subscription: SubscriptionId, status: u16, last: bool) {
        let Some(state) = self.subscriptions.get_mut(subscription.0) else { return };
        state.say(status, last);
        self.subscription_tell(now, subscription.0);
    }

    /// Sends the NOTIFY that is due, if one is.
    fn subscription_tell(&mut self, now: Time, key: Key) {
        let Some(state) = self.subscriptions.get(key).filter(|state| state.is_due()) else { return };
        let (headers, body) = (
            [("Event", format!("refer;id={}", state.id)), ("Subscription-State", state.state(now))],
            fragment(state.status()),
        );
        let (over, leg, flow) = (state.is_over(), state.leg, state.flow);
        let dialog = match leg {
            Some(leg) => self.legs.get(leg).map(|leg| (leg.dialog.clone(), leg.keeps_way())),
            None => state.dialog.clone().map(|dialog| (dialog, state.keeps_way)),
        };
        let Some((mut dialog, keeps_way)) = dialog else { return self.subscription_remove(key) };
        let flow = self.inside_flow(now, &dialog, flow, keeps_way);
        let cseq = dialog.next_cseq();
        let Some((client, token)) = self.client_insert(Method::Notify, Owner::Notify(key), flow, cseq) else {
            // Told with the next change, or when it runs out; the last word is not worth a wait.
            if over {
                self.subscription_remove(key);
            }
            return;
        };
        match leg {
            Some(leg) => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.dialog.local_cseq = cseq;
                }
            }
            None => {
                if let Some(kept) = self.subscriptions.get_mut(key).and_then(|state| state.dialog.as_mut()) {
                    kept.local_cseq = cseq;
                }
            }
        }
        if let Some(state) = self.subscriptions.get_mut(key) {
            state.begin(client);
            state.flow = flow;
        }
        self.stats.notifies_sent += 1;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        compose::begin_inside(&mut out, &dialog, &flow, b"NOTIFY", cseq, &[&token.branch()]);
        compose::contact(&mut out, dialog.parts().user, &flow);
        compose::parts(
            &mut out,
            &[&self.identity.allow, &self.identity.supported, &self.identity.user_agent],
        );
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        // Our own texts, without a line break in them.
        let body = Body { content_type: FRAGMENT, bytes: body.as_bytes() };
        let _ = compose::headers(&mut out, &headers) && compose::end(&mut out, Some(body));
        self.client_start(now, client, &out);
        self.scratch = out;
    }

    /// A NOTIFY has its final answer, or gets none.
    pub(crate) fn notify_answered(&mut self, now: Time, key: Key, client: Key, taken: bool) {
        let Some(state) = self.subscriptions.get_mut(key).filter(|it| it.notifying == Some(client)) else {
            return;
        };
        self.stats.notifies_refused += u64::from(!taken);
        if state.is_gone_after(taken) {
            return self.subscription_remove(key);
        }
        self.subscription_tell(now, key);
    }

    fn subscription_arm(&mut self, now: Time, key: Key) {
        let Some(until) = self.subscriptions.get(key).map(|state| state.until) else { return };
        let timer = self.set_timer(until.max(now), Timer::Subscription(key));
        if let Some(state) = self.subscriptions.get_mut(key) {
            let old = core::mem::replace(&mut state.timer, timer);
            self.stop_timer(old);
        }
    }

    /// A subscription has run out.
    pub(crate) fn subscription_timer(&mut self, now: Time, key: Key) {
        let Some(state) = self.subscriptions.get_mut(key) else { return };
        state.timer = None;
        state.expire();
        self.subscription_tell(now, key);
    }

    fn subscription_remove(&mut self, key: Key) {
        let Some(state) = self.subscriptions.remove(key) else { return };
        self.stop_timer(state.timer);
        self.held -= state.dialog.map_or(0, |dialog| dialog.len()) as u64;
    }

    /// A leg is going: the subscriptions in its dialog have that to themselves from now on.
    pub(crate) fn subscriptions_keep(&mut self, leg: Key) {
        if self.subscriptions.is_empty() {
            return;
        }
        let Some((dialog, keeps_way)) = self.legs.get(leg).map(|leg| (&leg.dialog, leg.keeps_way())) else {
            return;
        };
        for (_, state) in self.subscriptions.iter_mut().filter(|(_, state)| state.leg == Some(leg)) {
            state.leg = None;
            self.held += dialog.len() as u64;
            state.dialog = Some(dialog.clone());
            state.keeps_way = keeps_way;
        }
    }

    /// SUBSCRIBE for a subscription that a REFER in the same dialog made: lengthens it, or ends it with `Expires: 0`
    /// (RFC 3515 §2.4.4). Without `leg` the subscription has the dialog to itself. `false` if there is no such subscription.
    pub(crate) fn refresh_transfer(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        leg: Option<Key>,
    ) -> bool {
        let Some(id) = refer_event(request) else { return false };
        let found = self.subscriptions.iter().find(|(_, state)| {
            let here = match (leg, &state.dialog) {
                (Some(_), _) => state.leg == leg,
                (None, Some(dialog)) => is_of(dialog, request),
                (None, None) => false,
            };
            here && !state.is_over() && id.is_none_or(|id| id == state.id)
        });
        let Some((key, _)) = found else { return false };
        if let Some(dialog) = self.subscriptions.get_mut(key).and_then(|state| state.dialog.as_mut())
            && !dialog.takes(request.cseq)
        {
            self.refuse_counted(flow, request, 500);
            return true;
        }
        let Some(server) = self.server_insert(request, hash, flow, servers::Owner::Nobody, None) else {
            self.stats.transactions_full += 1;
            self.refuse_busy(flow, request);
            return true;
        };
        match leg {
            Some(leg) => self.leg_refresh(leg, request),
            None => self.subscription_retarget(key, request),
        }
        let asked =
            request.seconds(Name::Expires).map_or(LONGEST, |seconds| Duration::from_secs(seconds.into()));
        let lasting = asked.min(LONGEST);
        let mut lines = Vec::new();
        let leg = leg.and_then(|leg| self.legs.get(leg)).map(|leg| (&leg.dialog, leg.flow));
        let state = self.subscriptions.get(key);
        if let Some((dialog, flow)) =
            leg.or_else(|| state.and_then(|it| Some((it.dialog.as_ref()?, it.flow))))
        {
            compose::contact(&mut lines, dialog.parts().user, &flow);
        }
        let seconds = if lasting.is_zero() { 0 } else { left(lasting) };
        lines.extend_from_slice(format!("Expires: {seconds}\r\n").as_bytes());
        self.server_answer_with(now, server, 200, None, &lines);
        if let Some(state) = self.subscriptions.get_mut(key) {
            if lasting.is_zero() {
                state.expire();
            } else {
                state.refresh(now + lasting);
            }
        }
        self.subscription_arm(now, key);
        self.subscription_tell(now, key);
        true
    }

    /// Takes over the Contact of a message in the dialog of a subscription that has it to itself.
    fn subscription_retarget(&mut self, key: Key, message: &Message<'_>) {
        if let Some(dialog) = self.subscriptions.get_mut(key).and_then(|state| state.dialog.as_mut()) {
            self.held -= dialog.len() as u64;
            dialog.refresh(message);
            self.held += dialog.len() as u64;
        }
    }

    /// The leg that a Replaces names (RFC 3891 §3): Call-ID, our tag and the peer's are to agree. Of a leg that is gone
    /// nothing is known.
    pub fn replaced_leg(&self, replaces: &Replaces) -> Option<LegId> {
        let token = OwnToken::parse(replaces.to_tag.as_bytes())?;
        let leg = self.legs.get(token.key).filter(|leg| leg.nonce == token.nonce)?;
        let parts = leg.dialog.parts();
        let theirs = replaces.from_tag.as_bytes();
        let same = if parts.remote_tag.is_empty() {
            // Early dialogs of an INVITE of ours are known by what their tags hash to.
            theirs == b"0" || leg.forks.contains(&self.hasher.text(theirs))
        } else {
            parts.remote_tag == theirs
        };
        (same && parts.call_id == replaces.call_id.as_bytes()).then_some(LegId(token.key))
    }

    /// The same for a Replaces as it would be sent to the peer of one of our legs: the tags change places.
    pub fn replaced_leg_from_afar(&self, replaces: &Replaces) -> Option<LegId> {
        let seen = Replaces {
            to_tag: replaces.from_tag.clone(),
            from_tag: replaces.to_tag.clone(),
            ..replaces.clone()
        };
        self.replaced_leg(&seen)
    }

    /// How a leg's peer would have to be told to replace its dialog with us; `None` unless it stands.
    pub fn replaces_of(&self, leg: LegId) -> Option<Replaces> {
        self.dialog_of(leg).filter(|_| self.leg(leg).is_some_and(|it| it.state == LegState::Confirmed))
    }

    /// How a leg's peer would have to be told of its dialog with us, whether that is early or stands; `None` before the peer
    /// has a tag.
    pub fn dialog_of(&self, leg: LegId) -> Option<Replaces> {
        let facts = self.leg(leg)?;
        (!facts.remote_tag.is_empty()).then(|| Replaces {
            call_id: facts.call_id.to_owned(),
            to_tag: facts.remote_tag.to_owned(),
            from_tag: facts.local_tag.to_owned(),
            early_only: false,
        })
    }
}

/// Whether a request came in this dialog (RFC 3261 §12.2.2).
fn is_of(dialog: &Dialog, request: &Arrived<'_, '_>) -> bool {
    let parts = dialog.parts();
    let ours = request.to_tag.unwrap_or_default();
    let local = parts.local.len().checked_sub(ours.len()).map(|at| parts.local.split_at(at));
    parts.call_id == request.call_id()
        && parts.remote_tag == request.from_tag
        && local.is_some_and(|(before, tag)| tag == ours && before.ends_with(b";tag="))
}

/// The `id` of an Event field of package `refer`, if it has one; `None` if it is of another package (RFC 6665 §8.2.1).
fn refer_event(request: &Message<'_>) -> Option<Option<u32>> {
    let value = request.header(Name::Event)?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    if !value[..end].trim_ascii().eq_ignore_ascii_case(b"refer") {
        return None;
    }
    let id = Params::new(&value[end..]).value("id");
    Some(id.and_then(|id| core::str::from_utf8(id).ok()?.parse().ok()))
}
