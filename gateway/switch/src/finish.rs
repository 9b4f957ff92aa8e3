//! The end of a call: the only place where one is removed, its ports given back and its record written.

use crate::attempt::seconds;
use crate::b2bua::name;
use crate::call::{Call, LegSlot};
use crate::identity::Waiter;
use crate::leg_facts;
use crate::mail::Mail;
use crate::shard::{Service, Shard, Timer};
use crate::status::Refusal;
use core::time::Duration;
use link::{BanReason, Cdr, End, Event, Phase, Reason, ShardId, Side};
use sansio::{Key, Mailbox, Outbox, Time};

/// How often a call's media is looked at.
const MEDIA_CHECK: Duration = Duration::from_secs(1);
/// How long ending legs may take once everything was told to end.
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// A shard that is over says so again after this, lest the mail was lost.
const OVER_AGAIN: Duration = Duration::from_secs(1);

impl Shard {
    /// Ends a call that was never answered, telling the caller why.
    pub(crate) fn end_refused(&mut self, now: Time, key: Key, refusal: &Refusal, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let caller = call.caller;
        match call.identity.take_reason().filter(|_| refusal.reason_field.is_none()) {
            Some(reason) => {
                let refusal = Refusal { reason_field: Some(reason), ..refusal.clone() };
                self.refuse(now, caller, &refusal);
            }
            None => self.refuse(now, caller, refusal),
        }
        if matches!(refusal.status, 403 | 404)
            && let Some(call) = self.calls.get(key).filter(|call| call.draft.attempts.is_empty())
        {
            self.offend(now, call.draft.source.ip(), BanReason::Refused, 1, out);
        }
        let Some(call) = self.calls.get(key) else { return };
        let cause = refusal.cause.clone().into();
        let side = if call.draft.attempts.is_empty() { Side::Gateway } else { Side::Callee };
        let end = End { side, status: refusal.status, q850: Some(refusal.q850), cause };
        self.finish(now, key, end, &[], out);
    }

    /// The callee's answer never got to the caller: to him, and in the record, the call was refused.
    pub(crate) fn answer_unheard(&mut self, key: Key) {
        if let Some(call) = self.calls.get_mut(key) {
            self.stats.calls_answers_unheard += u64::from(call.draft.answered.take().is_some());
        }
    }

    /// Ends a call in whatever state: both legs are told, everything it held is given back, its record goes to control.
    pub(crate) fn finish(
        &mut self,
        now: Time,
        key: Key,
        mut end: End,
        headers: &[(&str, &str)],
        out: &mut Outbox<Mail>,
    ) {
        if self.calls.get(key).is_some_and(|call| self.endpoint.keeps_answer(call.caller)) {
            // Over before the caller acknowledged what rang (RFC 3262 §3): it hears 480 instead of the answer.
            self.answer_unheard(key);
            end.status = 480;
        }
        self.leave_transfer(now, key, out);
        self.end_plays(now, key, out);
        if self.calls.get(key).is_some_and(|call| call.trying.is_some()) {
            // Given up by the caller or by us: that says nothing of the peer.
            self.drop_attempt(now, key, &end);
        }
        self.forget_own_call_id(key);
        let Some(mut call) = self.calls.remove(key) else { return };
        self.setups -= u32::from(call.phase == Phase::Trying);
        for alarm in call.charge_tolls(now) {
            self.tell_fraud(now, alarm, Some(call.ends.record()), out);
        }
        self.ids.remove(&call.id);
        if let Some(url) = call.identity.awaits() {
            self.certificates.forget(url, Waiter::Call(key));
        }
        let resync = call.resync.as_ref().and_then(|resync| resync.timer);
        let timers = [call.timer, call.media_timer, call.bridge_timer, call.watch_timer, resync];
        for timer in timers.into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        for leg in [Some(call.caller), call.callee].into_iter().flatten() {
            // A leg that is over already needs no end; the endpoint knows which.
            let _ = self.endpoint.bye(now, leg, headers);
        }
        self.session_ends(now, &call, end.side);
        let status = end.status;
        if let Some(recorder) = self.endpoint.recorder_mut() {
            Self::bind_again(recorder, &call);
        }
        self.charge_trunk_at_end(now, &mut call);
        let ntp = self.ntp(now);
        if let Some(media) = &mut call.media {
            media.bridge.say_goodbye((now, ntp), &mut self.report_secrets, out);
        }
        let record = self.record(now, &call, end);
        if let Some(media) = &call.media {
            self.release_pairs(now, media);
        }
        self.past_ends.remember(&call.ends, call.id, call.hides_keys);
        let dropped = self.spool.push(now, record.clone());
        self.stats.cdrs_dropped += u64::from(dropped);
        self.tell(Event::CallEnded(record), out);
        if let Some(dial) = call.transferring.dial.take() {
            self.dial_over(now, dial, status);
        }
        if let Some(of) = call.transferring.target_of {
            self.target_failed(now, of, status, out);
        }
    }

    fn drop_attempt(&mut self, now: Time, key: Key, end: &End) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(trying) = call.trying.take() else { return };
        call.draft.attempts.push(link::Attempt {
            trunk: trying.trunk,
            peer: trying.address,
            status: None,
            cause: format!("given up: {}", end.cause).into(),
            spent_us: now.since(trying.started).as_micros() as u64,
            heard_us: trying.heard.map(|at| at.since(trying.started).as_micros() as u64),
            reason: Reason::GivenUp,
            redirected: None,
        });
    }

    fn record(&self, now: Time, call: &Call, end: End) -> Box<Cdr> {
        let draft = &call.draft;
        let since = |at: Time| at.since(draft.started).as_micros() as u64;
        let wall = |at: Time| link::UnixMicros(draft.started_wall.0 + since(at));
        Box::new(Cdr {
            call: call.id,
            shard: ShardId(self.shards.me as u8),
            caller_sip_call_id: draft.sip_call_id.clone(),
            callee_sip_call_id: draft.callee_sip_call_id.clone(),
            from: draft.from.clone(),
            dialled: draft.dialled.clone(),
            routed: draft.routed.clone(),
            source: draft.source,
            trunk: draft.trunk.clone(),
            peer: draft.peer,
            attempts: draft.attempts.clone(),
            started: draft.started_wall,
            answered: draft.answered.map(wall),
            ended: wall(now),
            pdd_us: draft.ringing.map(since),
            setup_us: draft.answered.map(since),
            end,
            media: draft.media.clone().or_else(|| call.media.as_ref().map(leg_facts::summary)),
            identity: call.identity.record.clone(),
            session_id: Some(call.ends.record()),
            transfer: draft.transfer.clone(),
        })
    }

    pub(crate) fn start_media_check(&mut self, now: Time, key: Key) {
        self.start_watch(now, key);
        if let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) {
            media.bridge.start_clock(now);
        }
        if self.config.media_timeout.is_zero() {
            return;
        }
        let timer = self.set_timer(now + MEDIA_CHECK, Timer::Media(key));
        let Some(call) = self.calls.get_mut(key) else { return };
        call.media_timer = timer;
    }

    /// Ends a call in which a side that should send has sent nothing for too long.
    pub(crate) fn check_media(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let limit = self.config.media_timeout;
        let Some(call) = self.calls.get_mut(key) else { return };
        call.media_timer = None;
        let silent = call.media.as_ref().and_then(|media| media.bridge.timed_out(now, limit));
        let Some(silent) = silent else {
            let timer = self.set_timer(now + MEDIA_CHECK.min(limit), Timer::Media(key));
            if let Some(call) = self.calls.get_mut(key) {
                call.media_timer = timer;
            }
            return;
        };
        self.stats.calls_media_timeout += 1;
        let cause = format!("media timeout: {} sent no RTP for {}", name(silent.into()), seconds(limit));
        let end = End { side: Side::Gateway, status: 200, q850: Some(102), cause: cause.into() };
        let reason = [("Reason", "Q.850;cause=102;text=\"media timeout\"")];
        self.finish(now, key, end, &reason, out);
    }

    /// Takes no new calls from now on.
    pub(crate) fn drain(&mut self, now: Time, out: &mut Outbox<Mail>) {
        if self.service == Service::Open {
            self.service = Service::Draining;
            self.deactivate_subscriptions(now);
            self.leave_registrars(now, out);
            self.set_timer(now + self.config.drain_limit, Timer::DrainLimit);
        }
    }

    /// Ends all calls and stops as soon as the legs are gone; at the second time of asking, at once.
    pub(crate) fn quit(&mut self, now: Time, out: &mut Outbox<Mail>) {
        if self.service == Service::Quitting {
            self.service = Service::Stopped;
            self.say_over(now, out);
            self.stop_locating(now, out);
            return out.stop();
        }
        self.service = Service::Quitting;
        self.deactivate_subscriptions(now);
        self.leave_registrars(now, out);
        let calls: Vec<Key> = self.calls.iter().map(|(key, _)| key).collect();
        for key in calls {
            let Some(call) = self.calls.get(key) else { continue };
            let status = if call.phase == Phase::Answered { 200 } else { 503 };
            if status == 503 {
                self.end_refused(now, key, &Refusal::draining(), out);
            } else {
                let end = self.end(Side::Gateway, status, 41, "gateway stopped");
                self.finish(now, key, end, &[], out);
            }
        }
        self.set_timer(now + QUIT_LIMIT, Timer::DrainLimit);
    }

    /// Stops the thread once a drain has nothing left to wait for: no leg, no record that control has not on disk, no
    /// shard that is not over as well.
    pub(crate) fn stop_if_done(&mut self, now: Time, out: &mut Outbox<Mail>) {
        if !self.is_over() {
            return;
        }
        if !self.spool.is_empty() && !self.disk_waited {
            // Only the disk is waited for now, and not for as long as calls would be.
            if self.disk_timer.is_none() {
                self.disk_timer = self.set_timer(now + QUIT_LIMIT, Timer::DiskLimit);
            }
            return;
        }
        // What arrives for the others, on the shared port or over a connection held here, still comes through this one.
        if self.told_over.is_none_or(|told| now.since(told) >= OVER_AGAIN) {
            self.say_over(now, out);
        }
        if self.others_over.len() + 1 >= usize::from(self.shards.count) {
            self.service = Service::Stopped;
            self.tell(Event::Drained, out);
            self.stop_locating(now, out);
            out.stop();
        }
    }

    /// Whether no call, no leg of one and no binding at a registrar is left of those that were to end.
    fn is_over(&self) -> bool {
        matches!(self.service, Service::Draining | Service::Quitting)
            && self.calls.is_empty()
            && self.registrants.is_empty()
            && !self.legs.iter().any(Option::<LegSlot>::is_some)
    }

    /// The disk has not taken the last records in time: the store will find those calls cut off.
    pub(crate) fn disk_limit(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.disk_timer = None;
        self.disk_waited = true;
        self.stop_if_done(now, out);
    }

    fn say_over(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.told_over = Some(now);
        for shard in (0..self.shards.count).filter(|shard| *shard != self.shards.me) {
            out.mail(Mailbox(shard), Mail::Over(self.shards.me));
        }
    }
}
