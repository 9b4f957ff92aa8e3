//! Who is registered where, and which credentials were used: what all shards of a process share of their phones.
//!
//! A phone's REGISTER comes to whichever shard its Call-ID hashes to, and a call to it starts on any. So this is one
//! table behind one lock, held for microseconds once per REGISTER and per call to or from a phone, never per packet.

mod bindings;
mod watch;

pub(crate) use bindings::{Contact, Wanted, Wish};
pub use bindings::{Limits, Refused};
pub(crate) use watch::Way;

use crate::users::Users;
use core::time::Duration;
use link::{Binding, Registration, UnixMicros};
use sip::auth::{Authority, Presented, Verdict};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use watch::Watch;

/// How long a nonce is good: a phone that refreshes more seldom than this is asked twice.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Nonces in use that are remembered against replay, about 100 bytes each.
const NONCES: usize = 1 << 16;
/// Bindings of all users together at most; about 400 bytes each.
const BINDINGS: usize = 100_000;

/// The shared table.
#[derive(Debug)]
pub struct Registrar {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    authority: Authority,
    /// By user; a user without bindings stays, so that what an old run left behind does not come back.
    users: BTreeMap<String, Vec<Binding>>,
    total: usize,
    revision: u64,
    /// When the next binding ends, at the earliest.
    next: UnixMicros,
    /// Whose ways are kept open, and when.
    watch: Watch,
}

/// What was judged, and what there is to count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) replayed: bool,
    pub(crate) full: bool,
}

impl Registrar {
    /// An empty one whose nonces are made with `secret`, which nobody else may know.
    pub fn new(secret: &[u8; 32]) -> Self {
        let state = State {
            authority: Authority::new(secret, NONCE_LIFETIME, NONCES),
            users: BTreeMap::new(),
            total: 0,
            revision: 0,
            next: UnixMicros(u64::MAX),
            watch: Watch::default(),
        };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bindings of all users.
    pub fn bindings(&self) -> usize {
        self.state().total
    }

    /// Challenges for the users' algorithms, the first preferred.
    pub(crate) fn challenges(
        &self,
        now: UnixMicros,
        users: &Users,
        stale: bool,
        chance: impl FnMut() -> u64,
    ) -> Vec<String> {
        let realm = users.realm.as_bytes();
        self.state().authority.challenges(now.0 / 1000, realm, &users.algorithms, stale, chance)
    }

    pub(crate) fn judge(&self, now: UnixMicros, presented: &Presented<'_>) -> Judged {
        let authority = &mut self.state().authority;
        let before = (authority.replays, authority.full);
        let verdict = authority.judge(now.0 / 1000, presented);
        Judged { verdict, replayed: authority.replays > before.0, full: authority.full > before.1 }
    }

    /// Carries out a REGISTER, all of it or nothing; gives the bindings there are then, and whether they changed.
    pub(crate) fn register(
        &self,
        now: UnixMicros,
        wish: &Wish,
        limits: &Limits,
    ) -> Result<(Registration, bool), Refused> {
        let mut state = self.state();
        let old = state.users.get(&wish.user).map_or(&[][..], Vec::as_slice);
        let held = old.len();
        let mut bindings: Vec<Binding> = old.iter().filter(|it| it.expires > now).cloned().collect();
        let changed = bindings::apply(&mut bindings, now, wish, limits)?;
        if state.total - held + bindings.len() > BINDINGS {
            return Err(Refused::Full);
        }
        let revision = if changed { state.advance(now) } else { state.revision };
        state.put(&wish.user, bindings.clone());
        Ok((Registration { user: wish.user.clone(), revision, bindings }, changed))
    }

    /// Where a user can be called now: preferred contacts first, of equals the one registered last.
    pub(crate) fn contacts(&self, now: UnixMicros, user: &str) -> Vec<Binding> {
        let state = self.state();
        let all = state.users.get(user).map_or(&[][..], Vec::as_slice);
        let is_there = |it: &&Binding| it.expires > now && !it.silent;
        let mut contacts: Vec<Binding> = all.iter().filter(is_there).cloned().collect();
        contacts.sort_by_key(|it| core::cmp::Reverse((it.q, it.registered)));
        contacts
    }

    /// Takes in what an earlier run knew, of users that are known and of whom nothing was heard since.
    pub(crate) fn load(&self, now: UnixMicros, users: &Users, known: Vec<Registration>) {
        let mut state = self.state();
        for registration in known {
            state.revision = state.revision.max(registration.revision);
            if !users.has(&registration.user) || state.users.contains_key(&registration.user) {
                continue;
            }
            let mut bindings = registration.bindings;
            bindings.retain(|it| it.expires > now);
            if state.total + bindings.len() <= BINDINGS {
                state.put(&registration.user, bindings);
            }
        }
    }

    /// Takes out what has expired or belongs to users that are no more; gives who changed.
    pub(crate) fn expire(&self, now: UnixMicros, users: &Users) -> Vec<Registration> {
        let mut state = self.state();
        if now < state.next {
            return Vec::new();
        }
        let gone = |user: &str, it: &Binding| it.expires <= now || !users.has(user);
        let due = state.users.iter().filter(|(user, all)| all.iter().any(|it| gone(user, it)));
        let due: Vec<String> = due.map(|(user, _)| user.clone()).collect();
        let mut changed = Vec::new();
        for user in due {
            let Some(mut bindings) = state.users.get(&user).cloned() else { continue };
            bindings.retain(|it| !gone(&user, it));
            let revision = state.advance(now);
            state.put(&user, bindings.clone());
            changed.push(Registration { user, revision, bindings });
        }
        let all = state.users.values().flatten();
        state.next = all.map(|it| it.expires).min().unwrap_or(UnixMicros(u64::MAX));
        changed
    }

    /// Has [`Self::expire`] look at everything: the users are others now.
    pub(crate) fn look_anew(&self) {
        self.state().next = UnixMicros(0);
    }
}

impl State {
    /// The next revision: the time, or one more than the last.
    fn advance(&mut self, now: UnixMicros) -> u64 {
        self.revision = now.0.max(self.revision + 1);
        self.revision
    }

    fn put(&mut self, user: &str, bindings: Vec<Binding>) {
        for binding in &bindings {
            self.next = self.next.min(binding.expires);
        }
        self.watch.look(user, &bindings);
        self.total += bindings.len();
        if let Some(old) = self.users.insert(user.to_owned(), bindings) {
            self.total -= old.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn users() -> Users {
        Users { accounts: Arc::new([("a".to_owned(), "pw".to_owned())].into()), ..Users::default() }
    }

    fn wish(seconds: u32, cseq: u32) -> Wish {
        bindings::tests::wish("sip:a@192.0.2.1", seconds, "i", cseq)
    }

    #[test]
    fn bindings_expire_and_say_so_once() {
        let (it, users, limits) = (Registrar::new(&[0; 32]), users(), Limits::default());
        let (first, changed) = it.register(UnixMicros(0), &wish(60, 1), &limits).unwrap();
        assert!(changed && first.bindings.len() == 1);
        assert_eq!(it.contacts(UnixMicros(59_999_999), "a").len(), 1);
        assert!(it.expire(UnixMicros(59_999_999), &users).is_empty());
        assert!(it.contacts(UnixMicros(60_000_000), "a").is_empty(), "over even before it is taken out");
        let gone = it.expire(UnixMicros(60_000_000), &users);
        assert!(gone[0].bindings.is_empty() && gone[0].revision > first.revision);
        assert!(it.expire(UnixMicros(70_000_000), &users).is_empty());
        assert_eq!(it.bindings(), 0);
    }

    #[test]
    fn what_an_earlier_run_knew_comes_back_unless_something_newer_is_known() {
        let (it, limits) = (Registrar::new(&[0; 32]), Limits::default());
        let (old, _) = it.register(UnixMicros(0), &wish(600, 1), &limits).unwrap();
        let (after, known) = (Registrar::new(&[0; 32]), vec![old]);
        after.load(UnixMicros(1), &Users::default(), known.clone());
        assert_eq!(after.bindings(), 0, "no such user any more");
        after.load(UnixMicros(1), &users(), known.clone());
        after.load(UnixMicros(1), &users(), known.clone());
        assert_eq!(after.bindings(), 1);
        after.register(UnixMicros(2), &wish(0, 2), &limits).unwrap();
        after.load(UnixMicros(3), &users(), known);
        assert!(after.contacts(UnixMicros(3), "a").is_empty(), "it was removed since");
    }

    #[test]
    fn users_that_are_taken_out_of_the_configuration_are_forgotten() {
        let it = Registrar::new(&[0; 32]);
        it.register(UnixMicros(0), &wish(600, 1), &Limits::default()).unwrap();
        it.look_anew();
        assert_eq!(it.expire(UnixMicros(1), &Users::default()).len(), 1);
        assert_eq!(it.bindings(), 0);
    }
}
