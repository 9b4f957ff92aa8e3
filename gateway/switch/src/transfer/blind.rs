//! Blind transfer (RFC 5589 §6): the target is called as the referrer would call it, and the other side put through to it.

use super::{Seat, open};
use crate::call::{across, at};
use crate::invite::Asked;
use crate::mail::Mail;
use crate::privacy::Privacy;
use crate::registrar::Aim;
use crate::session::{self, Described};
use crate::shard::{Shard, Timer};
use link::{End, Part, Side};
use sansio::{Key, Outbox, Time};
use sip::message::{Name, unfold};
use sip::transfer::Refer;
use sip::{LegId, Received};

impl Shard {
    /// Calls the target of a transfer.
    pub(super) fn put_through_blind(
        &mut self,
        now: Time,
        key: Key,
        refer: &Refer,
        seat: Option<Box<Seat>>,
        out: &mut Outbox<Mail>,
    ) {
        let aim = match &seat {
            Some(seat) => Some(Aim { number: seat.number.clone(), phone: None }),
            None => self.aim(now, refer.target.as_bytes()),
        };
        let target = aim.ok_or(404).and_then(|aim| self.open_target(now, key, aim, out));
        match target {
            Ok(target) => {
                if let Some(call) = self.calls.get_mut(target) {
                    call.transferring.seat = seat;
                }
                if let Some(asked) = self.calls.get_mut(key).and_then(|call| call.transferring.asked.as_mut())
                {
                    asked.target = Some(target);
                }
                if let Some(owner) = refer.replaces.as_ref().and_then(|replaces| self.elsewhere(replaces)) {
                    if let Some(call) = self.calls.get_mut(target) {
                        call.transferring.replaces.clone_from(&refer.replaces);
                    }
                    return self.route_elsewhere(now, target, owner, out);
                }
                // The rules against toll fraud hold for whoever refers as for whoever calls.
                match self.take_tolls(now, target, out) {
                    Ok(()) => self.route(now, target, out),
                    Err(refusal) => self.end_refused(now, target, &refusal, out),
                }
            }
            Err(status) => self.transfer_failed(now, key, status, out),
        }
    }

    /// Makes the call to the target. It has no caller yet: whatever it is told goes to the referrer.
    fn open_target(
        &mut self,
        now: Time,
        key: Key,
        Aim { number, phone: aimed }: Aim,
        out: &mut Outbox<Mail>,
    ) -> Result<Key, u16> {
        if self.calls.len() >= self.calls.capacity().min(self.config.calls_max as usize) {
            self.stats.calls_limit_refused += 1;
            return Err(503);
        }
        if number.is_empty() {
            return Err(484);
        }
        let Some(call) = self.calls.get(key) else { return Err(481) };
        let Some(by) = call.transferring.asked.as_ref().map(|asked| asked.by) else { return Err(481) };
        let (moving, staying) = (across(by), call.leg(by));
        let Some(facts) = call.leg(moving).and_then(|leg| self.endpoint.leg(leg)) else { return Err(481) };
        // Who referred outside of calls has no leg: then it is where the REFER came from.
        let source = match staying {
            Some(referrer) => self.endpoint.leg(referrer).map(|facts| facts.flow).ok_or(481_u16)?,
            None => call.flow,
        };
        let (flow, sip_call_id) = (facts.flow, facts.call_id.to_owned());
        // Who may not call may not have others called.
        let user = match by {
            Side::Caller => call.user.clone(),
            _ => call
                .draft
                .trunk
                .as_ref()
                .and_then(|it| it.as_str().strip_prefix(link::USER_PREFIX))
                .map(str::to_owned),
        };
        if user.is_none() && !self.allowed(source.remote.ip()) {
            return Err(403);
        }
        let media = call.media.as_ref().ok_or(488_u16)?;
        let offer = open(media.sessions[at(moving)].said());
        let described = Described::read(&offer).map_err(|_| 488_u16)?;
        let pool = media.pairs[at(moving)].pool();
        let listener = self.listeners.iter().position(|it| it.local.ip() == self.pools[pool].address());
        let from = self.number_at(key, moving);
        let (shown, privacy, asserted, is_user) = if moving == Side::Caller {
            let shown =
                call.invite.parse().ok().and_then(|it| Some(session::text(&unfold(it.header(Name::From)?))));
            let shown = shown.map(|text| text.split(";tag=").next().unwrap_or_default().to_owned());
            (shown, call.privacy, call.asserted.clone(), call.identity.user)
        } else {
            let is_user = self.config.users.has(&from);
            // Whose phone was rung for him is asserted as if he had called himself (RFC 3325 §5).
            let asserted = (is_user && call.transferring.dial.is_some()).then(|| from.clone());
            (None, Privacy::default(), asserted, is_user)
        };
        let shown = shown.unwrap_or_else(|| format!("<sip:{from}@{}>", session::host(flow.local.ip())));
        let text = format!(
            "INVITE sip:{number}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bKtransfer\r\nMax-Forwards: 70\r\n\
             From: {shown};tag=transfer\r\nTo: <sip:{number}@{host}>\r\nCall-ID: {sip_call_id}\r\nCSeq: 1 INVITE\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            offer.len(),
            host = session::host(flow.local.ip()),
        );
        let invite = Received::written(&text, &offer).ok_or(400_u16)?;
        let (id, referred_by) = (call.id, self.number_at(key, by));
        let dialled = number.clone();
        let asked = Asked { sip_call_id, from, dialled, aimed, asserted, privacy, diversions: 0 };
        let Some(target) = self.open(now, LegId::NONE, invite, source, asked, out) else {
            self.stats.calls_limit_refused += 1;
            return Err(503);
        };
        if let Some(call) = self.calls.get_mut(target) {
            call.flow = flow;
            call.listener = listener.unwrap_or(call.listener);
            call.offer = Some(described);
            call.user = user;
            call.identity = crate::identity::Standing::new(is_user);
            call.transferring.target_of = Some(key);
            call.transferring.referred_by = Some(referred_by.clone());
        }
        let part = Part::Target;
        self.note_transfer(
            target,
            link::Transfer { part, by: referred_by, to: number, status: 0, call: Some(id) },
        );
        Ok(target)
    }

    /// The target rings: the referrer is told.
    pub(crate) fn target_rings(&mut self, now: Time, target: Key, status: u16, out: &mut Outbox<Mail>) {
        let parent = self.calls.get(target).and_then(|call| call.transferring.target_of);
        let asked =
            parent.and_then(|key| self.calls.get(key)).and_then(|call| call.transferring.asked.as_ref());
        if let Some(hearer) = asked.and_then(|asked| asked.hearer) {
            self.tell_referrer(now, hearer, status, false, out);
        }
    }

    /// The target answered: the leg to be put through becomes its caller. `false` if the call is no target.
    pub(crate) fn target_answered(&mut self, now: Time, target: Key, out: &mut Outbox<Mail>) -> bool {
        let Some(call) = self.calls.get_mut(target) else { return false };
        let Some(key) = call.transferring.target_of.take() else { return false };
        if let Some(transfer) = &mut call.draft.transfer {
            transfer.status = 200;
        }
        let by = self.calls.get(key).and_then(|call| call.transferring.asked.as_ref()).map(|asked| asked.by);
        let Some(by) = by else {
            let end = self.end(Side::Gateway, 487, 16, "nobody is left to be put through");
            self.finish(now, target, end, &[], out);
            return true;
        };
        // He may hear the target already.
        let moved = self.calls.get(target).is_some_and(|call| call.leg(Side::Caller).is_some());
        if !moved && !self.move_leg(now, (key, across(by)), (target, Side::Caller), out) {
            let end = self.end(Side::Gateway, 500, 41, "the leg could not be put through");
            self.finish(now, target, end, &[], out);
            self.transfer_failed(now, key, 500, out);
            return true;
        }
        self.bind_caller(target);
        self.put_through(now, key, target, out);
        self.start_media_check(now, target);
        self.settle_sessions(now, target, Side::Caller, out);
        true
    }

    /// The other side was put through: the referrer is told, and has some time to hang up.
    pub(super) fn put_through(&mut self, now: Time, key: Key, target: Key, out: &mut Outbox<Mail>) {
        self.conclude(now, key, 200, Some(target), out);
        let Some(asked) = self.calls.get_mut(key).and_then(|call| call.transferring.asked.as_mut()) else {
            return;
        };
        asked.target = None;
        // Who is told nothing does not know that he is to hang up.
        let (by, waits) = (asked.by, !asked.left && !asked.apart && asked.hearer.is_some());
        if !waits {
            let end = self.end(by, 200, 16, "transferred");
            return self.finish(now, key, end, &[], out);
        }
        let timer = self.set_timer(now + super::HANG_UP, Timer::Referrer(key));
        if let Some(asked) = self.calls.get_mut(key).and_then(|call| call.transferring.asked.as_mut()) {
            asked.timer = timer;
        }
    }

    /// The referrer has not hung up in time.
    pub(crate) fn referrer_stays(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(asked) = self.calls.get_mut(key).and_then(|call| call.transferring.asked.as_mut()) else {
            return;
        };
        asked.timer = None;
        let end = self.end(Side::Gateway, 200, 16, "transferred");
        self.finish(now, key, end, &[], out);
    }

    /// The target call is over without an answer.
    pub(crate) fn target_failed(&mut self, now: Time, key: Key, status: u16, out: &mut Outbox<Mail>) {
        let status = if (300..700).contains(&status) { status } else { 500 };
        self.transfer_failed(now, key, status, out);
    }

    /// A transfer cannot be done: the referrer is told, and the call goes on as it was, if he is still there.
    pub(super) fn transfer_failed(&mut self, now: Time, key: Key, status: u16, out: &mut Outbox<Mail>) {
        self.conclude(now, key, status, None, out);
        let Some(asked) = self.calls.get_mut(key).and_then(|call| call.transferring.asked.take()) else {
            return;
        };
        if asked.left {
            let end = End {
                side: asked.by,
                status: 200,
                q850: Some(16),
                cause: format!("transfer failed with {status}, and who had asked for it had hung up").into(),
            };
            self.finish(now, key, end, &[], out);
        }
    }

    /// A side is over. If it waits for a transfer that it asked for, the call goes on without it.
    pub(crate) fn referrer_left(&mut self, now: Time, key: Key, side: Side, out: &mut Outbox<Mail>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(asked) = call.transferring.asked.as_mut().filter(|it| it.by == side && it.target.is_some())
        else {
            return false;
        };
        asked.left = true;
        let target = asked.target;
        let leg = call.leg(side);
        call.set_leg(side, LegId::NONE);
        if let Some(media) = &mut call.media {
            media.bridge.silence(now, side.into());
        }
        if let Some(leg) = leg {
            self.session_of_leg_ends(now, leg, true);
        }
        if let Some(target) = target {
            self.hear_target(now, target, out);
        }
        true
    }

    /// Who is to be put through hears what the target says before it answers (RFC 3960), once nobody else talks with him and
    /// the target has described its media: his leg moves at once, and both calls end together should it come to nothing.
    pub(crate) fn hear_target(&mut self, now: Time, target: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(target) else { return };
        let speaks = call.trying.as_ref().is_some_and(|trying| trying.early_media)
            && call.media.as_ref().is_some_and(|media| !media.sessions[at(Side::Callee)].said().is_empty());
        let Some(key) = call.transferring.target_of.filter(|_| speaks && call.caller == LegId::NONE) else {
            return;
        };
        let asked = self.calls.get(key).and_then(|call| call.transferring.asked.as_ref());
        let Some(by) = asked.filter(|asked| asked.left).map(|asked| asked.by) else { return };
        if self.move_leg(now, (key, across(by)), (target, Side::Caller), out) {
            self.stats.transfers_heard_early += 1;
            self.bind_caller(target);
        }
    }

    /// A call is about to end: a transfer of one of its sides ends with it.
    pub(crate) fn leave_transfer(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        for timer in call.transferring.timers() {
            self.wheel.cancel(timer);
        }
        call.transferring.mending = None;
        let Some(target) = call.transferring.asked.as_ref().and_then(|asked| asked.target) else {
            call.transferring.asked = None;
            return;
        };
        self.conclude(now, key, 487, None, out);
        if let Some(call) = self.calls.get_mut(key) {
            call.transferring.asked = None;
        }
        if let Some(call) = self.calls.get_mut(target) {
            call.transferring.target_of = None;
        }
        let end = self.end(Side::Gateway, 487, 16, "the call to be transferred ended");
        self.finish(now, target, end, &[], out);
    }
}
