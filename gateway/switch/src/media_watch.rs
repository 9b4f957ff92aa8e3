//! What is done for the media of an answered call now and then: its second is judged, its reports are sent, and a side that is not heard is told of.

use crate::bridge::Side;
use crate::call::Call;
use crate::door::QUIET;
use crate::leg_quality::Trouble;
use crate::leg_reports::Reporting;
use crate::mail::Mail;
use crate::shard::{Shard, Timer};
use core::time::Duration;
use link::{Alarm, AlarmKind, Event};
use sansio::{Key, Outbox, Time};
use sip::Flow;

/// How often quality is judged.
const SECOND: Duration = Duration::from_secs(1);
/// Seconds of a call that its trunk is told of at a time.
const PIECE: u32 = 10;
/// Seconds between the Unix epoch and that of NTP (RFC 5905 figure 4).
const NTP_EPOCH: u64 = 2_208_988_800;

/// When a call's media is looked at next, and when its second is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MediaWatch {
    second: Time,
    /// Seconds so far.
    seconds: u32,
}

/// Tells the callee's trunk what was heard of it; whether that was too much, or it is good again.
fn charge(now: Time, call: &mut Call) -> Option<bool> {
    let name = call.draft.trunk.as_ref()?;
    let trunk = call.table.trunk(name.as_str())?.clone();
    let piece = call.media.as_mut()?.bridge.piece(Side::Callee)?;
    trunk.quality().learn(now, &piece, trunk.config.quality)
}

impl Shard {
    /// The wall-clock time as an NTP timestamp: seconds since 1900 and their fraction.
    pub(crate) fn ntp(&self, now: Time) -> u64 {
        let micros = self.wall(now).0;
        let (seconds, rest) = (micros / 1_000_000 + NTP_EPOCH, micros % 1_000_000);
        (seconds << 32) | ((rest << 32) / 1_000_000)
    }

    /// What is reported on the leg of who is behind a flow: by the profile of his trunk, or as to phones.
    pub(crate) fn reporting_of(&self, now: Time, flow: &Flow) -> Reporting {
        if self.is_tied(flow) {
            return Reporting::PASSED;
        }
        let trunk = self.trunk_behind(now, flow);
        trunk.and_then(|trunk| trunk.config.profile.reporting).unwrap_or(self.config.reporting)
    }

    /// Begins to look after the media of a call that was answered.
    pub(crate) fn start_watch(&mut self, now: Time, key: Key) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.media.is_some()) else { return };
        let watched = call.watch.replace(MediaWatch { second: now + SECOND, seconds: 0 }).is_some();
        if !watched {
            self.set_watch(key, now);
        }
    }

    fn set_watch(&mut self, key: Key, at: Time) {
        let timer = self.set_timer(at, Timer::Watch(key));
        if let Some(call) = self.calls.get_mut(key) {
            call.watch_timer = timer;
        }
    }

    /// Looks after it.
    pub(crate) fn watch_media(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let (ntp, limit) = (self.ntp(now), self.config.one_way_after);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.watch_timer = None;
        let (Some(media), Some(watch)) = (call.media.as_mut(), call.watch.as_mut()) else {
            call.watch = None;
            return;
        };
        let (mut trouble, mut charge) = (None, false);
        if now >= watch.second {
            watch.second = now + SECOND;
            media.bridge.judge(now);
            trouble = media.bridge.trouble(now, limit);
            watch.seconds += 1;
            charge = watch.seconds.is_multiple_of(PIECE);
        }
        let due = media.bridge.report((now, ntp), &mut self.reports, &mut self.report_secrets, out);
        let next = due.map_or(watch.second, |due| due.min(watch.second));
        self.set_watch(key, next);
        if charge {
            self.charge_trunk(now, key);
        }
        if let Some(trouble) = trouble {
            self.tell_trouble(now, key, trouble, out);
        }
    }

    /// Adds what was heard of the callee since the last time to what is known of its trunk.
    fn charge_trunk(&mut self, now: Time, key: Key) {
        let changed = self.calls.get_mut(key).and_then(|call| charge(now, call));
        match changed {
            Some(true) => self.stats.trunks_avoided += 1,
            Some(false) => self.stats.trunks_sound_again += 1,
            None => {}
        }
    }

    /// The same at the call's end.
    pub(crate) fn charge_trunk_at_end(&mut self, now: Time, call: &mut Call) {
        if call.watch.is_some() && charge(now, call) == Some(true) {
            self.stats.trunks_avoided += 1;
        }
    }

    fn tell_trouble(&mut self, now: Time, key: Key, trouble: Trouble, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get(key) else { return };
        let seconds = self.config.one_way_after.as_secs_f64();
        let what = match trouble {
            Trouble::OneWay(side) => {
                self.stats.calls_one_way += 1;
                format!(
                    "the {} sent no RTP for {seconds} s, the other side did",
                    crate::b2bua::name(side.into())
                )
            }
            Trouble::NoAudio => {
                self.stats.calls_no_audio += 1;
                format!("neither side sent RTP for {seconds} s")
            }
        };
        if self.trouble_told.is_some_and(|told| now.since(told) < QUIET) {
            return;
        }
        self.trouble_told = Some(now);
        let trunk = call.draft.trunk.as_ref();
        let alarm = Alarm {
            at: self.wall(now),
            kind: AlarmKind::OneWay,
            rule: "".into(),
            who: trunk.map_or_else(|| "phones".into(), |name| format!("trunk {}", name.as_str())).into(),
            what: format!("call {}: {what}", call.id).into(),
            refused: false,
            session_id: Some(call.ends.record()),
        };
        self.tell(Event::Alarm(Box::new(alarm)), out);
    }
}
