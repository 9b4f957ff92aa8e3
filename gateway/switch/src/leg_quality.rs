//! The quality of a call second by second, and whether both sides hear each other.

use crate::bridge::{Bridge, Side};
use crate::leg_media::LegMedia;
use crate::media_stats::delay;
use crate::trunk::Heard;
use core::time::Duration;
use rtp::quality::{self, Score};
use sansio::Time;

/// Conversational quality below this leaves many users dissatisfied (ITU-T G.109: R of 70).
pub const POOR: f64 = 3.6;
/// What a peer last reported holds for so long.
const REPORT_HOLDS: Duration = Duration::from_secs(15);

/// One direction's seconds. A second without a packet has no quality; silence is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// Seconds judged.
    pub seconds: u32,
    /// Those of them below [`POOR`].
    pub poor: u32,
    /// The least R.
    pub r_min: f64,
    /// The least mean opinion score.
    pub mos_min: f64,
    r_sum: f64,
    mos_sum: f64,
}

impl Course {
    fn note(&mut self, score: Score) {
        if self.seconds == 0 {
            (self.r_min, self.mos_min) = (score.r, score.mos);
        }
        self.seconds += 1;
        self.poor += u32::from(score.mos < POOR);
        self.r_min = self.r_min.min(score.r);
        self.mos_min = self.mos_min.min(score.mos);
        self.r_sum += score.r;
        self.mos_sum += score.mos;
    }

    /// Mean R and score; `None` before a second was judged.
    pub fn mean(&self) -> Option<(f64, f64)> {
        let seconds = f64::from(self.seconds);
        (self.seconds > 0).then(|| (self.r_sum / seconds, self.mos_sum / seconds))
    }
}

/// What a leg keeps to be judged by the second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    /// What came from the peer, and what its reports say of what went there.
    pub(crate) received: Course,
    pub(crate) sent: Course,
    /// Expected and lost when last looked at.
    before: (u64, u64),
    /// What of it the trunk was charged with.
    told: (Course, u64, u64),
}

/// What is wrong with a call's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// One side hears nothing: this one sends nothing.
    OneWay(Side),
    /// Neither sends anything.
    NoAudio,
}

/// What was noticed of both sides of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// The delay last, and what it takes from R.
    delay: (Duration, f64),
    /// What was told: each kind once.
    one_way: Option<Side>,
    no_audio: bool,
    /// Whether the trunk was told of it.
    one_way_charged: bool,
}

impl LegMedia {
    /// Judges what came since the last time, `impairment` being what delay takes from R.
    fn judge(&mut self, now: Time, impairment: f64) {
        let (expected, lost) = (self.receiver.expected(), self.receiver.counts().lost);
        let (expected_before, lost_before) = core::mem::replace(&mut self.judged.before, (expected, lost));
        let Some(codec) = self.codec else { return };
        // Within a second there is no telling how losses are spread.
        let score = |loss: f64| Score::impaired(codec, loss, 1.0, impairment);
        let span = expected.saturating_sub(expected_before);
        if span > 0 {
            let lost = lost.saturating_sub(lost_before).min(span);
            self.judged.received.note(score(lost as f64 / span as f64));
        }
        if let Some((block, at)) = self.rtcp.reported.zip(self.rtcp.reported_at)
            && now.since(at) <= REPORT_HOLDS
        {
            self.judged.sent.note(score(f64::from(block.fraction_lost) / 256.0));
        }
    }
}

impl Bridge {
    /// Judges the second that is over.
    pub fn judge(&mut self, now: Time) {
        let delay = delay(self.leg(Side::Caller), self.leg(Side::Callee));
        if self.watch.delay.0 != delay {
            self.watch.delay = (delay, quality::delay_impairment(delay));
        }
        let impairment = self.watch.delay.1;
        for side in [Side::Caller, Side::Callee] {
            self.legs(side).0.judge(now, impairment);
        }
    }

    /// What of a side was not told before, if anything was judged: a piece of what is known of its trunk.
    pub(crate) fn piece(&mut self, side: Side) -> Option<Heard> {
        let one_way =
            self.watch.one_way.is_some() && !core::mem::replace(&mut self.watch.one_way_charged, true);
        let leg = self.legs(side).0;
        let (expected, lost) = (leg.receiver.expected(), leg.receiver.counts().lost);
        let course = leg.judged.received;
        let (before, expected_before, lost_before) =
            core::mem::replace(&mut leg.judged.told, (course, expected, lost));
        let seconds = course.seconds - before.seconds;
        if seconds == 0 && !one_way {
            return None;
        }
        let round_trip = leg.rtcp.round_trip.map(|trip| trip.as_secs_f64() * 1000.0);
        Some(Heard {
            seconds: seconds.into(),
            poor: (course.poor - before.poor).into(),
            r: course.r_sum - before.r_sum,
            mos: course.mos_sum - before.mos_sum,
            expected: expected.saturating_sub(expected_before),
            lost: lost.saturating_sub(lost_before),
            jitter_ms: leg.receiver.jitter().as_secs_f64() * 1000.0,
            pieces: 1,
            round_trip_ms: round_trip.unwrap_or_default(),
            round_trips: round_trip.is_some().into(),
            one_way: one_way.into(),
        })
    }

    /// Since when a side that should send has sent no RTP; `None` if it need not.
    fn mute_for(&self, now: Time, side: Side) -> Option<Duration> {
        let leg = self.leg(side);
        let expected = leg.expected_since?;
        Some(now.since(leg.receiver.last().map_or(expected, |last| last.max(expected))))
    }

    /// What is wrong with the audio, each kind told once: a side that should send has sent nothing for `limit` and the other has, or neither
    /// has. A `limit` of zero: nothing is ever wrong.
    pub fn trouble(&mut self, now: Time, limit: Duration) -> Option<Trouble> {
        if limit.is_zero() {
            return None;
        }
        let mute = [Side::Caller, Side::Callee].map(|side| (side, self.mute_for(now, side)));
        let is_mute = |span: Option<Duration>| span.is_some_and(|span| span >= limit);
        let all = mute.iter().all(|(_, span)| is_mute(*span));
        if all && !self.watch.no_audio {
            self.watch.no_audio = true;
            return Some(Trouble::NoAudio);
        }
        let (side, _) = *mute.iter().find(|(_, span)| is_mute(*span)).filter(|_| !all)?;
        let (_, other) = mute[side.other() as usize];
        // The other may be falling silent as well: half the time tells.
        let talks = other.is_some_and(|span| span < limit / 2);
        if !talks || self.watch.one_way.is_some() {
            return None;
        }
        self.watch.one_way = Some(side);
        Some(Trouble::OneWay(side))
    }

    /// The side that sent nothing while the other did, if there was one, and whether there was a time when neither did.
    pub const fn troubles(&self) -> (Option<Side>, bool) {
        (self.watch.one_way, self.watch.no_audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_knows_its_worst_second_and_its_mean() {
        let mut course = Course::default();
        assert_eq!(course.mean(), None);
        for (r, mos) in [(90.0, 4.3), (60.0, 3.1), (93.0, 4.4)] {
            course.note(Score { r, mos });
        }
        assert_eq!((course.seconds, course.poor, course.r_min, course.mos_min), (3, 1, 60.0, 3.1));
        let (r, mos) = course.mean().unwrap();
        assert!((r - 81.0).abs() < 1e-9 && (mos - 11.8 / 3.0).abs() < 1e-9);
    }
}
