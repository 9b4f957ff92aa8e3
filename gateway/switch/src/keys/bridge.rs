//! The packets of a bridge in which keys are translated, and those that say keys.

use super::mode::Form;
use super::{Plan, Speaker, Way};
use crate::bridge::{Bridge, Side};
use crate::leg_media::LegMedia;
use core::net::SocketAddr;
use core::time::Duration;
use rtp::Packet;
use sansio::{Outbox, Time};

/// The keys that come from a side: what is to be done with them, and what is being done.
#[derive(Debug, Default)]
pub(crate) struct LegKeys {
    /// What is to be done with them once there are any.
    plan: Option<Box<Plan>>,
    /// What is done with them.
    pub(crate) way: Option<Box<Way>>,
}

impl Bridge {
    /// How both sides speak; `seed` is what streams are numbered from that have no packets but ours.
    pub fn set_speakers(&mut self, caller: &Speaker, callee: &Speaker, seed: u32) {
        for (side, from, to) in [(Side::Caller, caller, callee), (Side::Callee, callee, caller)] {
            let plan = Plan::new(from, to);
            let leg = self.legs(side).0;
            if leg.keys.way.as_ref().is_some_and(|way| Some(way.plan()) == plan.as_ref()) {
                continue;
            }
            leg.end_keys();
            match plan {
                Some(plan) if plan.is_always_on() => {
                    leg.keys.way = Some(Box::new(Way::new(plan, seed ^ side as u32)));
                }
                plan => leg.keys.plan = plan.map(Box::new),
            }
        }
    }

    /// Whether INFO from a side is taken, to go on as something else.
    pub(crate) fn takes_info(&self, side: Side) -> bool {
        let keys = &self.leg(side).keys;
        keys.way.as_ref().map(|way| way.plan()).or(keys.plan.as_deref()).is_some_and(|plan| plan.info)
    }

    /// Takes a key that a side said in INFO. False if it is dropped.
    pub fn press(&mut self, now: Time, side: Side, event: u8, length: Duration, seed: u32) -> bool {
        let (from, to) = self.legs(side);
        if !to.direction.receives || to.target().is_none() {
            from.keys_account.dropped += 1;
            return false;
        }
        if let Some(plan) = from.keys.plan.take() {
            from.keys.way = Some(Box::new(Way::new(*plan, seed ^ side as u32)));
        }
        let taken = from.keys.way.as_mut().is_some_and(|way| way.press(now, event, length));
        self.tends = true;
        taken
    }

    /// Whether a side's keys are said to the other one as `application/dtmf`.
    pub(crate) fn says_plain_info(&self, side: Side) -> bool {
        let way = self.leg(side).keys.way.as_ref();
        way.is_some_and(|way| way.plan().form == Form::Info { plain: true })
    }

    /// Whether keys of either side are translated, or would be.
    pub(crate) fn has_keys(&self) -> bool {
        self.both().any(|leg| leg.keys.way.is_some() || leg.keys.plan.is_some())
    }

    fn both(&self) -> impl Iterator<Item = &LegMedia> {
        [Side::Caller, Side::Callee].into_iter().map(|side| self.leg(side))
    }

    /// The next key of a side to be said in INFO: its event and how long it lasted.
    pub(crate) fn next_info(&mut self, side: Side) -> Option<(u8, Duration)> {
        self.legs(side).0.keys.way.as_mut()?.info()
    }

    /// When [`Self::tend`] is to be called.
    pub fn deadline(&self) -> Option<Time> {
        let keys = self.both().filter_map(|leg| leg.keys.way.as_ref()?.deadline());
        keys.chain(self.both().filter_map(|leg| leg.noise_due)).min()
    }

    /// Sends what is due of keys, and of noise in the place of what is not sent.
    pub fn tend<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        self.tends = false;
        for side in [Side::Caller, Side::Callee] {
            self.make_noise(side, now, out);
            let (from, to) = self.legs(side);
            if let Some(way) = &mut from.keys.way {
                say(way, to, now, out);
            }
        }
        self.due_at = self.deadline();
    }

    /// Passes on what is to pass of a packet from a side whose keys are translated.
    #[cold]
    pub(crate) fn relay_with_keys<M>(
        &mut self,
        side: Side,
        now: Time,
        packet: &Packet<'_>,
        target: SocketAddr,
        out: &mut Outbox<M>,
    ) {
        let (from, to) = self.legs(side);
        let Some(mut way) = from.keys.way.take() else { return };
        let header = *packet.header();
        to.note_made(now);
        let mut room = [0; crate::translator::PAYLOAD_MAX];
        if let Some(payload) = way.take(now, packet, &mut room).and_then(|length| room.get(..length)) {
            match &mut from.translator {
                Some(translator) => {
                    let taken = translator.translate_payload(header, payload, |header, payload| {
                        if let Some(header) = way.pass(now, header) {
                            to.send_on(now, target, header, payload, out);
                        }
                    });
                    from.translated += u64::from(taken);
                    from.untranslated += u64::from(!taken);
                }
                None => {
                    let payload_type = from.payload_map.of(header.payload_type);
                    if let Some(header) = way.pass(now, rtp::Header { payload_type, ..header }) {
                        to.send_on(now, target, header, payload, out);
                    }
                }
            }
        }
        say(&mut way, to, now, out);
        let quiet = from.translator.as_ref().is_some_and(|it| it.is_quiet());
        let due = way.deadline();
        let waits = way.has_info() || due.is_some_and(|due| self.due_at.is_none_or(|at| due < at));
        self.legs(side).0.keys.way = Some(way);
        self.tends |= waits;
        self.expect_noise(side, now, quiet);
    }
}

fn say<M>(way: &mut Way, to: &mut LegMedia, now: Time, out: &mut Outbox<M>) {
    let target = to.target().filter(|_| to.direction.receives);
    way.tick(now, |header, payload| {
        if let Some(target) = target {
            to.send_on(now, target, header, payload, out);
        }
    });
}

impl LegMedia {
    /// Keys from this side are no longer translated; what was counted stays.
    pub(crate) fn end_keys(&mut self) {
        if let Some(mut way) = self.keys.way.take() {
            self.keys_account.add(&way.drop_all());
        }
        self.keys.plan = None;
    }

    /// What became of keys from this side.
    pub fn keys_account(&self) -> super::KeysAccount {
        let mut account = self.keys_account;
        if let Some(way) = &self.keys.way {
            account.add(&way.account);
        }
        account
    }
}
