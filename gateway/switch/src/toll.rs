//! Alarms, and toll fraud: what the rules say to a call when it comes in, when it is offered to a trunk, and while it lasts.

use crate::fraud::{Caller, Exceeded, Judged};
use crate::guard::Source;
use crate::mail::Mail;
use crate::shard::Shard;
use crate::status::Refusal;
use core::net::IpAddr;
use link::{Alarm, AlarmKind, Event, Side};
use sansio::{Key, Outbox, Time};
use sip::LegId;

impl Shard {
    /// Holds a call that was just opened, or sent on to another number, against the rules; it keeps the places it takes
    /// until it is over. Who sends calls on with his own phone answers for them.
    ///
    /// # Errors
    /// What to tell the caller.
    pub(crate) fn take_tolls(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) -> Result<(), Refusal> {
        let Some(call) = self.calls.get_mut(key) else { return Ok(()) };
        // Those of where it was sent on from.
        call.tolls.clear();
        call.trunk_tolls.clear();
        let address = call.draft.source.ip();
        let dialled = call.number();
        let forwarder = call.redirected.as_ref().and_then(|redirected| redirected.user());
        let routed = self.routes.lookup(dialled).map(|routed| routed.entry.rewrite(dialled));
        let caller = Caller {
            source: (!self.known.is_trusted(address)).then(|| Source::of(address)),
            user: forwarder.or(call.user.as_deref()),
            numbers: [dialled, routed.as_deref().unwrap_or(dialled)],
        };
        let judged = self.config.fraud.judge(now, &caller);
        let session = call.ends.record();
        let held = self.keep_tolls(now, judged, session, out)?;
        if let Some(call) = self.calls.get_mut(key) {
            call.tolls = held;
        }
        Ok(())
    }

    /// Holds a call against the rules of the trunk it is about to be offered to.
    ///
    /// # Errors
    /// What to tell the caller if no other trunk takes the call.
    pub(crate) fn take_trunk_tolls(
        &mut self,
        now: Time,
        key: Key,
        trunk: &str,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Refusal> {
        let Some(call) = self.calls.get_mut(key) else { return Ok(()) };
        // Those of the trunk tried before.
        call.trunk_tolls.clear();
        let dialled = call.number();
        let numbers = [dialled, call.draft.routed.as_deref().unwrap_or(dialled)];
        let judged = self.config.fraud.judge_trunk(now, trunk, numbers);
        let session = call.ends.record();
        let held = self.keep_tolls(now, judged, session, out)?;
        if let Some(call) = self.calls.get_mut(key) {
            call.trunk_tolls = held;
        }
        Ok(())
    }

    /// Holds a message against the rules; where they refuse it, with this status.
    pub(crate) fn take_message_tolls(
        &mut self,
        now: Time,
        source: IpAddr,
        user: Option<&str>,
        numbers: [&str; 2],
        session: Option<&str>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let source = (!self.known.is_trusted(source)).then(|| Source::of(source));
        let judged = self.config.fraud.judge_message(now, &Caller { source, user, numbers });
        self.told_of_message(now, judged, session, out)
    }

    /// The same against the rules of the trunk it is about to be sent to.
    pub(crate) fn take_trunk_message_tolls(
        &mut self,
        now: Time,
        trunk: &str,
        numbers: [&str; 2],
        session: Option<&str>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let judged = self.config.fraud.judge_trunk_message(now, trunk, numbers);
        self.told_of_message(now, judged, session, out)
    }

    /// Holds a MESSAGE inside a call, from the peer of a leg, against the rules, as one outside of calls: whoever sends it, and
    /// the number of the other side.
    pub(crate) fn take_inside_message_tolls(
        &mut self,
        now: Time,
        leg: LegId,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let Some((key, side)) = self.slot(leg).map(|slot| (slot.call, slot.side)) else { return Ok(()) };
        let Some(call) = self.calls.get(key) else { return Ok(()) };
        let Some(flow) = self.endpoint.leg(leg).map(|facts| facts.flow) else { return Ok(()) };
        let (session, draft) = (call.ends.record(), &call.draft);
        let trunk = draft.trunk.as_ref().map(|it| it.as_str().to_owned());
        let is_trunk =
            |name: &String| [link::USER_PREFIX, link::WORKER_PREFIX].iter().all(|it| !name.starts_with(it));
        let (user, numbers, trunk) = match side {
            Side::Caller => {
                let number = call.number().to_owned();
                let routed = draft.routed.clone().unwrap_or_else(|| number.clone());
                (call.user.clone(), [number, routed], trunk.filter(is_trunk))
            }
            _ => {
                let user =
                    trunk.as_ref().and_then(|it| it.strip_prefix(link::USER_PREFIX)).map(str::to_owned);
                let from = draft.from.clone();
                let trunk = self.trunk_behind(now, &call.flow).map(|it| it.config.name.clone());
                (user, [from.clone(), from], trunk)
            }
        };
        let (numbers, session) = ([numbers[0].as_str(), numbers[1].as_str()], Some(session.as_str()));
        // What comes from another worker was counted there.
        if !self.is_tied(&flow) {
            self.take_message_tolls(now, flow.remote.ip(), user.as_deref(), numbers, session, out)?;
        }
        trunk.map_or(Ok(()), |trunk| self.take_trunk_message_tolls(now, &trunk, numbers, session, out))
    }

    fn told_of_message(
        &mut self,
        now: Time,
        judged: Judged,
        session: Option<&str>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        self.stats.fraud_exceeded += judged.exceeded;
        for alarm in judged.alarms {
            self.tell_fraud(now, alarm, session.map(str::to_owned), out);
        }
        self.stats.messages_fraud_refused += u64::from(judged.refused.is_some());
        judged.refused.map_or(Ok(()), Err)
    }

    fn keep_tolls(
        &mut self,
        now: Time,
        judged: Judged,
        session: String,
        out: &mut Outbox<Mail>,
    ) -> Result<Vec<crate::fraud::Held>, Refusal> {
        self.stats.fraud_exceeded += judged.exceeded;
        for alarm in judged.alarms {
            self.tell_fraud(now, alarm, Some(session.clone()), out);
        }
        match judged.refused {
            None => Ok(judged.held),
            Some(status) => {
                self.stats.calls_fraud_refused += 1;
                Err(Refusal::fraud(status))
            }
        }
    }

    /// Charges the minutes of all answered calls.
    pub(crate) fn charge_tolls(&mut self, now: Time, out: &mut Outbox<Mail>) {
        if !self.config.fraud.counts_minutes() {
            return;
        }
        let mut alarms = Vec::new();
        for (_, call) in self.calls.iter_mut() {
            let told = call.charge_tolls(now);
            alarms.extend(told.into_iter().map(|alarm| (alarm, call.ends.record())));
        }
        for (alarm, session) in alarms {
            self.tell_fraud(now, alarm, Some(session), out);
        }
    }

    /// Raises an alarm about this worker itself, which refuses calls.
    pub(crate) fn tell_alarm(&self, now: Time, kind: AlarmKind, what: String, out: &mut Outbox<Mail>) {
        let alarm = Alarm {
            at: self.wall(now),
            kind,
            rule: "".into(),
            who: format!("worker {}", self.shards.me).into(),
            what: what.into(),
            refused: true,
            session_id: None,
        };
        self.tell(Event::Alarm(Box::new(alarm)), out);
    }

    /// Raises an alarm; `session` is the Session-ID of the call or message that was too much.
    pub(crate) fn tell_fraud(
        &mut self,
        now: Time,
        exceeded: Exceeded,
        session: Option<String>,
        out: &mut Outbox<Mail>,
    ) {
        self.stats.fraud_alarms += 1;
        let Exceeded { rule, who, what, refused } = exceeded;
        let alarm = Alarm {
            at: self.wall(now),
            kind: AlarmKind::Fraud,
            rule: rule.into(),
            who: who.into(),
            what: what.into(),
            refused,
            session_id: session,
        };
        self.tell(Event::Alarm(Box::new(alarm)), out);
    }
}
