//! A random mix of calls: what callers do, what carriers do, and what must come of it.

use crate::peer::{Behaviour, CallPlan, Inside, Outcome, Verdict};
use sansio::{Random, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What must come of a call, at its caller, on a network that only delays, loses and repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A conversation.
    Answered,
    /// This final status.
    Status(u16),
    /// A conversation or this status: an answer and a CANCEL race.
    Either(u16),
    /// Anything that ends.
    Anything,
}

impl Expect {
    /// Whether an outcome is as expected.
    pub fn admits(self, outcome: Outcome) -> bool {
        match self {
            Self::Answered => outcome == Outcome::Answered,
            Self::Status(status) => outcome == Outcome::Status(status),
            Self::Either(status) => outcome == Outcome::Answered || outcome == Outcome::Status(status),
            Self::Anything => outcome != Outcome::Open,
        }
    }
}

/// What a mix may hold.
#[derive(Clone, Copy, Debug)]
pub struct Menu {
    /// How many calls.
    pub calls: u64,
    /// Within which time they begin.
    pub within: Duration,
    /// Chance of a call over TCP.
    pub tcp: f64,
    /// Chance of a call without SDP in its INVITE.
    pub late_offer: f64,
    /// Chance of session changes, by either side.
    pub reinvite: f64,
    /// Chance that a side holds the other, resumes, changes its codec or sends INFO.
    pub inside: f64,
    /// How often RTP is sent.
    pub rtp: Option<Duration>,
    /// Chance that the call is no plain one: refused, cancelled, raced.
    pub odd: f64,
}

impl Default for Menu {
    fn default() -> Self {
        Self {
            calls: 10,
            within: Duration::from_secs(20),
            tcp: 0.2,
            late_offer: 0.1,
            reinvite: 0.2,
            inside: 0.15,
            rtp: None,
            odd: 0.5,
        }
    }
}

/// What a side may do in the middle of a call.
const DOINGS: [&[(u64, Inside)]; 5] = [
    &[(500, Inside::Hold), (3000, Inside::Resume)],
    &[(2000, Inside::Hold), (2300, Inside::Resume), (2600, Inside::Hold)],
    &[(1000, Inside::Codec), (4000, Inside::Resume)],
    &[(300, Inside::Info), (600, Inside::Message), (900, Inside::Info)],
    &[(800, Inside::Empty)],
];

/// Calls with what is expected of them.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    /// What the callers do.
    pub plans: Vec<CallPlan>,
    /// What the carriers do, by serial.
    pub answers: BTreeMap<u64, Behaviour>,
    /// What must come of it, by serial.
    pub expected: BTreeMap<u64, Expect>,
}

fn millis(random: &mut Random, low: u64, high: u64) -> Duration {
    Duration::from_millis(low + random.below(high - low + 1))
}

impl Mix {
    /// Draws a mix: calls number `first` and up, to `to`.
    pub fn draw(random: &mut Random, menu: &Menu, first: u64, to: SocketAddr) -> Self {
        let mut mix = Self::default();
        // A source of its own, so that seeds from before sides did anything inside calls still mean what they did.
        let mut more = random.clone().fork();
        for serial in first..first + menu.calls {
            let at = Time::ZERO + millis(random, 500, 500 + menu.within.as_millis() as u64);
            let mut plan = CallPlan::plain(at, serial, to);
            let mut answer = Behaviour::plain();
            plan.tcp = random.chance(menu.tcp);
            plan.late_offer = random.chance(menu.late_offer);
            plan.rtp = menu.rtp;
            answer.rtp = menu.rtp;
            answer.trying = random.chance(0.5);
            answer.after = millis(random, 0, 3000);
            answer.ring = random.chance(0.7).then(|| millis(random, 0, 500).min(answer.after));
            answer.early_media = random.chance(0.3).then(|| millis(random, 0, 600).min(answer.after));
            let talk = millis(random, 0, 15_000);
            plan.hang_up = Some(talk);
            if random.chance(0.4) {
                answer.hang_up = Some(talk);
                // Sometimes both at once: their BYEs cross.
                plan.hang_up = Some(if random.chance(0.2) { talk } else { talk + Duration::from_secs(60) });
            }
            plan.reinvite = random.chance(menu.reinvite).then(|| millis(random, 0, 5000));
            answer.reinvite = random.chance(menu.reinvite).then(|| millis(random, 0, 5000));
            for inside in [&mut plan.inside, &mut answer.inside] {
                if more.chance(menu.inside) {
                    *inside = DOINGS[more.below(DOINGS.len() as u64) as usize];
                }
            }
            let mut expect = Expect::Answered;
            if random.chance(menu.odd) {
                expect = make_odd(random, &mut plan, &mut answer);
            }
            mix.plans.push(plan);
            mix.answers.insert(serial, answer);
            mix.expected.insert(serial, expect);
        }
        mix
    }

    /// Compares what came of the calls with what was expected.
    pub fn judge<'a>(
        &'a self,
        outcome: impl Fn(u64) -> Option<Outcome> + 'a,
    ) -> impl Iterator<Item = String> + 'a {
        self.expected.iter().filter_map(move |(serial, expect)| match outcome(*serial) {
            None => Some(format!("call {serial} was never made")),
            Some(outcome) if expect.admits(outcome) => None,
            Some(outcome) => Some(format!("call {serial} came to {outcome:?}, expected {expect:?}")),
        })
    }
}

/// Makes a call refused, cancelled, or raced.
fn make_odd(random: &mut Random, plan: &mut CallPlan, answer: &mut Behaviour) -> Expect {
    const STATUSES: [u16; 6] = [404, 480, 486, 488, 600, 603];
    match random.below(4) {
        0 => {
            let status = STATUSES[random.below(STATUSES.len() as u64) as usize];
            answer.verdict = Verdict::Refuse(status);
            Expect::Status(status)
        }
        1 => {
            answer.verdict = Verdict::RingOn;
            // Without a provisional response nobody may cancel (RFC 3261 §9.1).
            answer.trying = true;
            plan.cancel = Some(millis(random, 0, 5000));
            Expect::Status(487)
        }
        2 => {
            // The CANCEL leaves at about the time of the answer.
            plan.cancel = Some(answer.after.saturating_sub(millis(random, 0, 40)) + millis(random, 0, 60));
            Expect::Either(487)
        }
        _ => {
            answer.verdict = Verdict::RingOn;
            // Without a provisional response nobody may cancel (RFC 3261 §9.1).
            answer.trying = true;
            answer.answer_on_cancel = true;
            plan.cancel = Some(millis(random, 0, 5000));
            Expect::Either(487)
        }
    }
}
