//! Whose ways through NATs are kept open, and when; who has stopped to answer.
//!
//! Users are spread over slots by their name, and slots over shards, so that each user is one shard's to see to.

use super::Registrar;
use core::hash::{Hash as _, Hasher as _};
use core::time::Duration;
use link::{Binding, FlowName, Registration, UnixMicros};
use sip::Shards;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Slots: as many as a process has shards at most.
const SLOTS: u16 = 64;

/// A way to a phone: what tells a user's binding from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub(crate) user: Arc<str>,
    contact: Box<str>,
    flow: Option<Box<FlowName>>,
    /// When it was registered last: what is heard of an older one says nothing of it.
    registered: UnixMicros,
}

impl Way {
    fn of(user: Arc<str>, it: &Binding) -> Self {
        let (contact, flow) = (it.contact.clone(), it.flow.clone());
        Self { user, contact, flow, registered: it.registered }
    }

    fn is_of(&self, it: &Binding) -> bool {
        (&self.contact, &self.flow, self.registered) == (&it.contact, &it.flow, it.registered)
    }
}

/// The times, and what was missed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By slot: when which user's ways are due.
    due: BTreeSet<(u16, UnixMicros, Arc<str>)>,
    /// Where each user stands in there.
    placed: BTreeMap<Arc<str>, (u16, UnixMicros)>,
    /// Pings in a row that were not answered, where there are any.
    missed: BTreeMap<Way, u8>,
}

/// Whether a way is kept open from our side.
const fn is_watched(it: &Binding) -> bool {
    it.behind_nat
}

fn hash(user: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    hasher.finish()
}

impl Watch {
    /// These are a user's bindings now.
    pub(super) fn look(&mut self, user: &Arc<str>, bindings: &[Binding]) {
        if !self.missed.is_empty() {
            let from = Way { user: user.clone(), contact: "".into(), flow: None, registered: UnixMicros(0) };
            let of_user = self.missed.range(from..).map(|(way, _)| way).take_while(|way| way.user == *user);
            let gone = of_user.filter(|way| !bindings.iter().any(|it| way.is_of(it))).cloned();
            for way in gone.collect::<Vec<_>>() {
                self.missed.remove(&way);
            }
        }
        let first = bindings.iter().filter(|it| is_watched(it)).map(|it| it.registered).min();
        match (first, self.placed.contains_key(user)) {
            (Some(first), false) => self.place(user, first),
            (None, true) => self.forget(user),
            _ => {}
        }
    }

    fn place(&mut self, user: &Arc<str>, at: UnixMicros) {
        let slot = (hash(user) % u64::from(SLOTS)) as u16; // below SLOTS
        self.placed.insert(user.clone(), (slot, at));
        self.due.insert((slot, at, user.clone()));
    }

    fn forget(&mut self, user: &Arc<str>) {
        if let Some((slot, at)) = self.placed.remove(user) {
            self.due.remove(&(slot, at, user.clone()));
        }
    }

    /// The first users whose turn it is, `most` of them, in the slots of a shard; their next turn is `interval` later. Who is
    /// new is due at once: a phone that cannot be reached shows it soon.
    fn take_due(&mut self, now: UnixMicros, me: Shards, most: usize, interval: Duration) -> Vec<Arc<str>> {
        let mut users = Vec::new();
        let interval = interval.as_micros() as u64;
        let nobody: Arc<str> = "".into();
        for slot in (0..SLOTS).filter(|slot| slot % me.count.max(1) == me.me) {
            while users.len() < most {
                let Some((_, at, user)) = self
                    .due
                    .range((slot, UnixMicros(0), nobody.clone())..)
                    .next()
                    .filter(|it| it.0 == slot)
                    .cloned()
                else {
                    break;
                };
                if at > now {
                    break;
                }
                self.forget(&user);
                self.place(&user, UnixMicros(now.0 + interval));
                users.push(user);
            }
        }
        users
    }
}

impl Registrar {
    /// Whether there are ways to be kept open, whichever shard's.
    pub(crate) fn has_ways(&self) -> bool {
        !self.state().watch.placed.is_empty()
    }

    /// The ways that this shard is to keep open now: of `most` users, each again after `interval`.
    pub(crate) fn ways_due(
        &self,
        now: UnixMicros,
        me: Shards,
        most: usize,
        interval: Duration,
    ) -> Vec<(Way, Binding)> {
        let mut state = self.state();
        let users = state.watch.take_due(now, me, most, interval);
        let mut ways = Vec::new();
        for user in users {
            let due = state.bindings_of(&user).iter().filter(|it| is_watched(it) && it.expires > now);
            ways.extend(due.map(|it| (Way::of(user.clone(), it), it.clone())));
        }
        ways
    }

    /// A phone has answered; tells what changed if it had been given up.
    pub(crate) fn way_answers(&self, now: UnixMicros, way: &Way) -> Option<Registration> {
        let mut state = self.state();
        state.watch.missed.remove(way);
        state.set_silent(now, way, false)
    }

    /// A phone has not answered, for the `most`-th time in a row if it is given up now: then what changed.
    pub(crate) fn way_missed(&self, now: UnixMicros, way: &Way, most: u8) -> Option<Registration> {
        let mut state = self.state();
        if !state.bindings_of(&way.user).iter().any(|it| way.is_of(it)) {
            return None;
        }
        let missed = state.watch.missed.entry(way.clone()).or_default();
        *missed = missed.saturating_add(1);
        if *missed < most {
            return None;
        }
        state.set_silent(now, way, true)
    }
}

impl super::State {
    fn set_silent(&mut self, now: UnixMicros, way: &Way, silent: bool) -> Option<Registration> {
        let bindings = self.bindings_of(&way.user);
        let at = bindings.iter().position(|it| way.is_of(it) && it.silent != silent)?;
        let mut bindings = bindings.to_vec();
        bindings[at].silent = silent;
        let revision = self.advance(now);
        Some(self.put(&way.user, revision, bindings))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bindings::tests::wish;
    use super::super::{Limits, Registrar};
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);

    fn registered(users: u32) -> Registrar {
        let it = Registrar::new(&[0; 32]);
        for number in 0..users {
            let mut wish = wish("sip:a@10.0.0.1", 600, "i", 1);
            (wish.user, wish.behind_nat) = (format!("user{number}"), number % 4 != 3);
            it.register(UnixMicros(1), &wish, &Limits::default()).unwrap();
        }
        it
    }

    #[test]
    fn each_way_through_a_nat_is_one_shards_and_comes_again() {
        let it = registered(400);
        let due = |now: u64, me: u16, most: usize| {
            let ways = it.ways_due(UnixMicros(now), Shards { count: 3, me }, most, INTERVAL);
            ways.into_iter().map(|(way, _)| way.user.to_string()).collect::<Vec<_>>()
        };
        assert!(due(0, 0, 1000).is_empty() && it.has_ways());
        let mut all: Vec<String> = (0..3).flat_map(|me| due(2, me, 40)).collect();
        assert_eq!(all.len(), 120, "paced");
        all.extend((0..3).flat_map(|me| due(2, me, 1000)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 300, "each once, and those without NAT not at all");
        assert!((0..3).all(|me| due(25_000_001, me, 1000).is_empty()));
        assert_eq!((0..3).flat_map(|me| due(25_000_002, me, 1000)).count(), 300);
    }

    #[test]
    fn who_stops_to_answer_is_not_called_until_heard_again() {
        let it = registered(1);
        let now = UnixMicros(5);
        let (way, _) = it.ways_due(now, Shards::ALONE, 1, INTERVAL).remove(0);
        assert_eq!((it.way_missed(now, &way, 3), it.way_missed(now, &way, 3)), (None, None));
        assert_eq!(it.contacts(now, "user0").len(), 1);
        assert!(it.way_missed(now, &way, 3).unwrap().bindings[0].silent);
        assert!(it.contacts(now, "user0").is_empty());
        assert_eq!(it.way_missed(now, &way, 3), None, "told once");
        assert!(!it.way_answers(now, &way).unwrap().bindings[0].silent);
        assert_eq!((it.way_answers(now, &way), it.contacts(now, "user0").len()), (None, 1));
        assert_eq!(it.way_missed(now, &way, 3), None, "counted anew");
        // A new REGISTER is as good as an answer, and what was asked before it says nothing of it.
        let mut wish = wish("sip:a@10.0.0.1", 600, "i", 2);
        (wish.user, wish.behind_nat) = ("user0".into(), true);
        it.register(UnixMicros(9), &wish, &Limits::default()).unwrap();
        assert!((0..9).all(|_| it.way_missed(UnixMicros(9), &way, 3).is_none()));
        let mut gone = wish;
        (gone.cseq, gone.wanted) = (3, super::super::Wanted::RemoveAll);
        it.register(UnixMicros(10), &gone, &Limits::default()).unwrap();
        assert!(!it.has_ways() && it.state().watch.due.is_empty() && it.state().watch.missed.is_empty());
    }
}
