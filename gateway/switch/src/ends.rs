//! The two ends of a call as Session-ID names them (RFC 7989): each side's own UUID where it has one, one of ours in its
//! place where it has not; the same on both legs, whatever becomes of Call-IDs.

use crate::shard::Shard;
use link::{CallId, Side};
use sansio::{Key, Random, Time};
use sip::message::Message;
use sip::session_id::{SessionId, Uuid};
use sip::{Event, LegId, Received};
use std::collections::VecDeque;

/// Calls that are over whose ends are still known, so that a call is found by Session-ID while its messages are kept.
const REMEMBERED: usize = 8192;
/// How many of them are looked at for one that ended just now.
const LATELY: usize = 512;

/// The UUIDs of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    caller: Uuid,
    /// Nil until the callee has spoken.
    callee: Uuid,
    /// What stands for a callee that has no UUID of its own, and for the gateway where it answers in its place.
    ours: Uuid,
}

/// The ends of calls that are over, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct PastEnds(VecDeque<(Uuid, Uuid, CallId, bool)>);

impl PastEnds {
    pub(crate) fn remember(&mut self, ends: &Ends, call: CallId, hides_keys: bool) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((ends.caller, ends.callee, call, hides_keys));
    }

    /// Session-ID of a call, as its record has it; it is looked for among the last ones only.
    pub(crate) fn session_of(&self, call: CallId) -> Option<String> {
        let found = self.0.iter().rev().take(LATELY).find(|it| it.2 == call)?;
        Some(SessionId { local: found.0, remote: Some(found.1) }.to_string())
    }

    /// Whether the keys of a call are hidden; `None`: it is not known any more.
    pub(crate) fn hides_keys(&self, call: CallId) -> Option<bool> {
        self.0.iter().rev().find(|it| it.2 == call).map(|it| it.3)
    }

    /// The latest call with that end, or with both.
    pub(crate) fn call_of(&self, ends: SessionId) -> Option<CallId> {
        let is_it = |it: &&(Uuid, Uuid, CallId, bool)| are(ends, it.0, it.1);
        self.0.iter().rev().find(is_it).map(|it| it.2)
    }
}

impl Ends {
    /// Those of a call that begins with this INVITE. A caller that has none, or one that cannot be read, is given one
    /// (RFC 7989 §7).
    pub(crate) fn new(invite: Option<SessionId>, random: &mut Random) -> Self {
        let mut draw = || Uuid::random(random.u64(), random.u64());
        let (caller, ours) = (draw(), draw());
        let said = invite.filter(|said| !said.local.is_nil());
        Self {
            caller: said.map_or(caller, |said| said.local),
            callee: said.and_then(|said| said.remote).unwrap_or(Uuid::NIL),
            ours,
        }
    }

    /// Takes in what a message of a side says; a callee that says nothing is given ours.
    fn learn(&mut self, side: Side, said: Option<SessionId>) {
        let (own, other) = match side {
            Side::Caller => (&mut self.caller, self.callee),
            _ => (&mut self.callee, self.caller),
        };
        // RFC 7989 §11: a peer of the old kind gives our own UUID back.
        let said = said.filter(|said| !(said.local.is_nil() || said.remote.is_none() && said.local == other));
        match said {
            Some(said) => *own = said.local,
            None if own.is_nil() => *own = self.ours,
            None => {}
        }
    }

    /// What a message to the callee says of the two.
    pub(crate) const fn to_callee(self) -> SessionId {
        SessionId { local: self.caller, remote: Some(self.callee) }
    }

    /// What a message to the caller says.
    fn to_caller(self) -> SessionId {
        let callee = if self.callee.is_nil() { self.ours } else { self.callee };
        SessionId { local: callee, remote: Some(self.caller) }
    }

    /// Another callee is asked: what is known of the last one is void.
    pub(crate) const fn forget_callee(&mut self) {
        self.callee = Uuid::NIL;
    }

    /// The UUID of a side.
    const fn of(&self, side: Side) -> Uuid {
        match side {
            Side::Caller => self.caller,
            _ => self.callee,
        }
    }

    /// Somebody else is on a side now, with this UUID; with one of ours where he has none.
    pub(crate) fn seat(&mut self, side: Side, uuid: Option<Uuid>, random: &mut Random) {
        let known = uuid.filter(|uuid| !uuid.is_nil());
        let uuid = known.unwrap_or_else(|| Uuid::random(random.u64(), random.u64()));
        match side {
            Side::Caller => self.caller = uuid,
            _ => self.callee = uuid,
        }
    }

    /// As the call's record says it, from the caller's side.
    pub(crate) fn record(&self) -> String {
        self.to_callee().to_string()
    }

    pub(crate) fn has(&self, ends: SessionId) -> bool {
        are(ends, self.caller, self.callee)
    }
}

/// Whether a Session-ID is that of these ends, from whichever side; one with one UUID alone has to be one of them.
fn are(said: SessionId, caller: Uuid, callee: Uuid) -> bool {
    match said.remote.filter(|remote| !remote.is_nil()) {
        Some(remote) => [(caller, callee), (callee, caller)].contains(&(said.local, remote)),
        None => [caller, callee].contains(&said.local),
    }
}

impl Shard {
    /// Has both legs of a call say what is known of its ends.
    pub(crate) fn tell_ends(&mut self, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        let says = |leg: Option<LegId>, said: SessionId| Some((leg?, said));
        let callee = call.callee.filter(|_| call.shows_ends);
        for (leg, said) in
            [says(Some(call.caller), call.ends.to_caller()), says(callee, call.ends.to_callee())]
                .into_iter()
                .flatten()
        {
            self.endpoint.set_session_id(leg, said.local, said.remote.unwrap_or(Uuid::NIL));
        }
    }

    /// A leg has come from one call into another: so has its end, and both sides say so from now on (RFC 7989 §7).
    pub(crate) fn end_moved(&mut self, (from, side): (Key, Side), (to, place): (Key, Side)) {
        let Some(uuid) = self.calls.get(from).map(|call| call.ends.of(side)) else { return };
        if let Some(call) = self.calls.get_mut(to) {
            call.ends.seat(place, Some(uuid), &mut self.names);
            call.shows_ends |= place == Side::Callee;
        }
        self.tell_ends(to);
    }

    /// Somebody has taken a side's place by an INVITE: his end takes that side's.
    pub(crate) fn end_replaced(&mut self, key: Key, side: Side, invite: &Message<'_>) {
        let said = SessionId::of(invite).map(|said| said.local);
        if let Some(call) = self.calls.get_mut(key) {
            call.ends.seat(side, said, &mut self.names);
            call.shows_ends |= side == Side::Callee;
        }
        self.tell_ends(key);
    }

    /// Has those sides that take UPDATE, and have no reason to be asked for another session, hear of their new end at once
    /// (RFC 7989 §7); others hear of it with the next message.
    pub(crate) fn announce_ends(&mut self, now: Time, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        for leg in [call.leg(Side::Caller), call.leg(Side::Callee)].into_iter().flatten() {
            if self.endpoint.takes_update(leg) {
                // One that is busy with its session hears of it in the course of that.
                let _ = self.endpoint.update(now, leg, None);
            }
        }
    }

    /// Takes in what a message of a leg says of its end.
    pub(crate) fn hear_end(&mut self, key: Key, side: Side, event: &Event) {
        let Some(message) = spoken(event) else { return };
        let said = message.parse().ok().as_ref().and_then(SessionId::of);
        let Some(call) = self.calls.get_mut(key) else { return };
        let before = call.ends.to_callee();
        call.ends.learn(side, said);
        if call.ends.to_callee() != before {
            self.tell_ends(key);
        }
    }

    /// The call with that Session-ID, or with that UUID at one of its ends: one that stands, or one that ended lately.
    pub(crate) fn call_with_end(&self, text: &str) -> Option<CallId> {
        let ends = SessionId::parse(text.replace('-', "").as_bytes()).filter(|ends| !ends.local.is_nil())?;
        let live = self.calls.iter().find(|(_, call)| call.ends.has(ends)).map(|(_, call)| call.id);
        live.or_else(|| self.past_ends.call_of(ends))
    }

    /// Session-ID of a call that stands, or that ended lately.
    pub(crate) fn session_of(&self, id: CallId) -> Option<String> {
        let live = self.ids.get(&id).and_then(|key| self.calls.get(*key)).map(|call| call.ends.record());
        live.or_else(|| self.past_ends.session_of(id))
    }
}

/// What an INVITE says.
pub(crate) fn said(invite: &Received) -> Option<SessionId> {
    invite.parse().ok().as_ref().and_then(|message: &Message<'_>| SessionId::of(message))
}

/// The message of the peer's that an event is about, if it could have said something of its end: 100 comes from the next
/// hop.
const fn spoken(event: &Event) -> Option<&Received> {
    match event {
        Event::Progress { status: 100, .. } => None,
        Event::Progress { message, .. }
        | Event::Answered { message, .. }
        | Event::Bye { message, .. }
        | Event::Reinvite { message, .. }
        | Event::Update { message, .. } => Some(message),
        Event::ReinviteDone { message, .. } | Event::UpdateDone { message, .. } => message.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(digit: u8) -> Uuid {
        Uuid::parse(&[digit; 32]).unwrap()
    }

    fn said(local: u8, remote: Option<u8>) -> Option<SessionId> {
        Some(SessionId { local: uuid(local), remote: remote.map(uuid) })
    }

    /// RFC 7989 §7 and §11.
    #[test]
    fn each_end_keeps_its_own_and_is_given_one_where_it_has_none() {
        let mut random = Random::new(1);
        let mut ends = Ends::new(said(b'a', Some(b'0')), &mut random);
        assert_eq!(Some(ends.to_callee()), said(b'a', Some(b'0')));
        let ours = ends.to_caller().local;
        assert!(!ours.is_nil(), "a refusal of ours has an end of its own");
        ends.learn(Side::Callee, said(b'b', Some(b'a')));
        assert_eq!(
            (Some(ends.to_callee()), Some(ends.to_caller())),
            (said(b'a', Some(b'b')), said(b'b', Some(b'a')))
        );
        ends.learn(Side::Callee, None);
        assert_eq!(ends.to_caller().local, uuid(b'b'), "silence changes nothing");
        ends.learn(Side::Caller, said(b'c', Some(b'b')));
        assert_eq!(Some(ends.to_callee()), said(b'c', Some(b'b')), "the caller was replaced");
        ends.forget_callee();
        ends.learn(Side::Callee, None);
        assert_eq!(ends.to_caller().local, ours);
    }

    #[test]
    fn peers_of_the_old_kind_and_without_any_are_stood_in_for() {
        let mut random = Random::new(2);
        let mut ends = Ends::new(said(b'a', None), &mut random);
        assert_eq!(Some(ends.to_callee()), said(b'a', Some(b'0')));
        ends.learn(Side::Callee, said(b'a', None));
        assert!(ends.to_caller().local != uuid(b'a'), "its echo of the caller is no end of its own");
        let mut ends = Ends::new(None, &mut random);
        let caller = ends.to_callee().local;
        assert!(!caller.is_nil() && Ends::new(said(b'0', None), &mut random).to_callee().local != uuid(b'0'));
        ends.learn(Side::Caller, None);
        assert_eq!(ends.to_callee().local, caller);
    }

    #[test]
    fn calls_that_are_over_are_found_as_long_as_they_are_remembered() {
        let mut past = PastEnds::default();
        let mut random = Random::new(3);
        let first = Ends::new(said(b'a', Some(b'b')), &mut random);
        past.remember(&first, CallId(1), true);
        assert_eq!((past.hides_keys(CallId(1)), past.hides_keys(CallId(2))), (Some(true), None));
        let both = |one, other| past.call_of(said(one, Some(other)).unwrap());
        assert_eq!((both(b'a', b'b'), both(b'b', b'a')), (Some(CallId(1)), Some(CallId(1))));
        assert_eq!((both(b'a', b'c'), both(b'a', b'0')), (None, Some(CallId(1))));
        assert_eq!(past.session_of(CallId(1)).unwrap(), said(b'a', Some(b'b')).unwrap().to_string());
        assert_eq!(past.session_of(CallId(2)), None);
        assert_eq!(
            (past.call_of(said(b'b', None).unwrap()), past.call_of(said(b'c', None).unwrap())),
            (Some(CallId(1)), None)
        );
        for number in 0..REMEMBERED {
            past.remember(&Ends::new(None, &mut random), CallId(number as u64), false);
        }
        assert_eq!(past.call_of(said(b'a', None).unwrap()), None);
    }
}
