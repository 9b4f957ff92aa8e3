//! The flows: one row each. A new one needs a name, the clause that describes it, what it changes on the stage, and what its
//! calls come to; and, where that is not all, what else has to be seen of it.

mod calls;
mod carriers;
mod inside;
mod outside;
mod phones;
mod streams;
mod transfers;

use super::{Seen, Stage};
use crate::mix::Expect;
use crate::peer::{Behaviour, Login, Role, Skills, Verdict};
use std::time::Duration;

/// A call flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its name, unique.
    pub name: &'static str,
    /// The clause that describes it.
    pub section: &'static str,
    /// What it changes in the plain call.
    pub set: fn(&mut Stage),
    /// What its first call comes to, unless messages are kept from arriving at all.
    pub comes_to: Expect,
    /// What the others come to, if that is something else.
    pub others: Option<Expect>,
    /// What else is to be seen of it, unless a message did not arrive in time: what is wrong with it.
    pub check: Option<fn(&Seen<'_>) -> Option<String>>,
}

/// Every flow of the table.
pub fn flows() -> impl Iterator<Item = &'static Flow> {
    let groups = [
        calls::FLOWS,
        inside::FLOWS,
        transfers::FLOWS,
        outside::FLOWS,
        phones::FLOWS,
        carriers::FLOWS,
        streams::FLOWS,
    ];
    groups.into_iter().flatten()
}

const fn row(name: &'static str, section: &'static str, comes_to: Expect, set: fn(&mut Stage)) -> Flow {
    Flow { name, section, set, comes_to, others: None, check: None }
}

const ANN: Login = Login { user: "phone0000001", password: "wonder" };
const LINE: Login = Login { user: "line1", password: "land" };
const OK: Expect = Expect::Answered;
const GONE: Expect = Expect::Status(487);
const RACE: Expect = Expect::Either(487);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ring_on(s: &mut Stage, cancel: u64) {
    s.answer().verdict = Verdict::RingOn;
    s.call().cancel = Some(ms(cancel));
}

fn reliable(s: &mut Stage) {
    let skills = Skills { reliable: true, ..Skills::NONE };
    (s.call().skills, s.answer().skills) = (skills, skills);
}

fn timers(s: &mut Stage, caller: Skills, callee: Skills) {
    (s.call().skills, s.answer().skills) = (caller, callee);
    s.call().hang_up = Some(ms(200_000));
    s.lasts = ms(240_000);
}

/// A side that keeps the session alive with re-INVITE, or with UPDATE.
const fn refresher(update: bool) -> Skills {
    Skills { session: Some(90), refreshes: true, update, ..Skills::NONE }
}

const WATCHER: Skills = Skills { session: Some(90), update: true, ..Skills::NONE };

fn backup(s: &mut Stage, first: Behaviour) {
    *s.answer() = Behaviour { rtp: None, ..first };
    s.add_carrier(Behaviour::plain());
}

/// Demands that something holds; says so if it does not.
fn demand(holds: bool, what: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(what)
}
