//! Who is registered where, and which credentials were used: what all shards of a process share of their phones.
//!
//! A phone's REGISTER comes to whichever shard its Call-ID hashes to, and a call to it starts on any. So this is one
//! table behind one lock, held for microseconds once per REGISTER and per call to or from a phone, never per packet.

mod asking;
mod bindings;
mod gruu;
pub(crate) mod path;
mod proxies;
mod watch;

pub use asking::Offer;
pub(crate) use bindings::{Contact, Wanted, Wish};
pub use bindings::{Limits, Refused};
pub(crate) use gruu::{Aim, gr_of};
pub(crate) use proxies::Reach;
pub(crate) use watch::Way;

use crate::users::Users;
use asking::Asked;
use core::time::Duration;
use link::{Binding, Connection, Registration, UnixMicros};
use proxies::Proxies;
use sip::auth::{Algorithm, Authority, Presented, Verdict};
use sip::gruu::Keeper;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use watch::Watch;

/// How long a nonce is good: a phone that refreshes more seldom than this is asked twice.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Nonces in use that are remembered against replay, about 60 bytes each.
const NONCES: usize = 1 << 16;
/// Bindings of all users together at most; about 500 bytes each.
const BINDINGS: usize = 100_000;
/// Users looked at in one go when bindings end; the others have their turn soon after.
const ENDED_AT_ONCE: usize = 1000;
/// Names of phones (User-Agent) that are kept once for all who have them.
const AGENTS: usize = 256;

/// The shared table.
#[derive(Debug)]
pub struct Registrar {
    state: Mutex<State>,
    authority: Mutex<Authority>,
    asked: Mutex<Asked>,
    /// Who makes temporary GRUUs where no secret for them is configured.
    keeper: Keeper,
}

#[derive(Debug)]
struct State {
    /// By name; a user without bindings stays, so that what an old run left behind does not come back.
    users: BTreeMap<Arc<str>, User>,
    /// When whose bindings are to be looked at: no later than the first of them ends.
    due: BTreeSet<(UnixMicros, Arc<str>)>,
    /// Whose bindings end with which connection.
    flows: BTreeSet<(Connection, Arc<str>)>,
    agents: BTreeSet<Arc<str>>,
    total: usize,
    revision: u64,
    /// The users are others than when they were looked at.
    anew: bool,
    /// Whose ways are kept open, and when.
    watch: Watch,
    /// The proxies before phones that are known by name.
    proxies: Proxies,
}

/// What is known of a user.
#[derive(Debug)]
struct User {
    /// Shared with control, as long as it is the same.
    bindings: Arc<[Binding]>,
    /// The time in [`State::due`].
    due: Option<UnixMicros>,
}

/// What was judged, and what there is to count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) replayed: bool,
    pub(crate) full: bool,
}

impl Registrar {
    /// An empty one whose nonces and temporary GRUUs are made with `secret`, which nobody else may know.
    pub fn new(secret: &[u8; 32]) -> Self {
        let state = State {
            users: BTreeMap::new(),
            due: BTreeSet::new(),
            flows: BTreeSet::new(),
            agents: BTreeSet::new(),
            total: 0,
            revision: 0,
            anew: false,
            watch: Watch::default(),
            proxies: Proxies::default(),
        };
        let authority = Authority::new(secret, NONCE_LIFETIME, NONCES);
        Self {
            state: Mutex::new(state),
            authority: Mutex::new(authority),
            asked: Mutex::default(),
            keeper: Keeper::new(secret),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authority(&self) -> MutexGuard<'_, Authority> {
        self.authority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bindings of all users.
    pub fn bindings(&self) -> usize {
        self.state().total
    }

    /// Challenges for these algorithms, the first preferred.
    pub(crate) fn challenges(
        &self,
        now: UnixMicros,
        realm: &str,
        algorithms: &[Algorithm],
        stale: bool,
        chance: impl FnMut() -> u64,
    ) -> Vec<String> {
        self.authority().challenges(now.0 / 1000, realm.as_bytes(), algorithms, stale, chance)
    }

    /// A phone, known by this hash, is asked for its password; how often it was before and gave no answer.
    pub(crate) fn asks(&self, now: UnixMicros, phone: u64) -> u8 {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).ask(now, phone)
    }

    /// It has answered.
    pub(crate) fn has_answered(&self, phone: u64) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).answered(phone);
    }

    pub(crate) fn judge(&self, now: UnixMicros, presented: &Presented<'_>) -> Judged {
        let mut authority = self.authority();
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
        let known = state.users.get_key_value(&*wish.user);
        let user = known.map_or_else(|| Arc::from(&*wish.user), |(name, _)| name.clone());
        let old = state.bindings_of(&user);
        let held = old.len();
        let mut bindings: Vec<Binding> = old.iter().filter(|it| it.expires > now).cloned().collect();
        let agent = state.agent(&wish.user_agent);
        if !bindings::apply(&mut bindings, now, wish, &agent, limits)? {
            let revision = state.revision;
            return Ok((Registration { user, revision, bindings: bindings.into() }, false));
        }
        if state.total - held + bindings.len() > BINDINGS {
            return Err(Refused::Full);
        }
        let revision = state.advance(now);
        Ok((state.put(&user, revision, bindings), true))
    }

    /// Where a user can be called now: preferred contacts first, of equals the one registered last.
    pub(crate) fn contacts(&self, now: UnixMicros, user: &str) -> Vec<Binding> {
        let state = self.state();
        let is_there = |it: &&Binding| it.expires > now && !it.silent;
        let mut contacts: Vec<Binding> = state.bindings_of(user).iter().filter(is_there).cloned().collect();
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
            let there = registration.bindings.iter().filter(|it| it.expires > now);
            let mut bindings: Vec<Binding> = there.cloned().collect();
            for binding in &mut bindings {
                binding.user_agent = state.agent(&binding.user_agent);
            }
            if state.total + bindings.len() <= BINDINGS {
                state.put(&registration.user, registration.revision, bindings);
            }
        }
    }

    /// Takes out what has expired or belongs to users that are no more; gives who changed, some at a time.
    pub(crate) fn expire(&self, now: UnixMicros, users: &Users) -> Vec<Registration> {
        let mut state = self.state();
        let anew = core::mem::take(&mut state.anew);
        let due: Vec<Arc<str>> = if anew {
            state.users.keys().cloned().collect()
        } else {
            let due = state.due.iter().take_while(|(at, _)| *at <= now);
            due.take(ENDED_AT_ONCE).map(|(_, user)| user.clone()).collect()
        };
        let mut changed = Vec::new();
        for user in due {
            let is_gone = !users.has(&user);
            let old = state.bindings_of(&user);
            let there = old.iter().filter(|it| it.expires > now && !is_gone);
            let bindings: Vec<Binding> = there.cloned().collect();
            if bindings.len() < old.len() {
                let revision = state.advance(now);
                changed.push(state.put(&user, revision, bindings));
            }
            // Otherwise they were refreshed since.
            state.place(&user, true);
        }
        if anew {
            state.users.retain(|name, user| users.has(name) || !user.bindings.is_empty());
        }
        changed
    }

    /// Takes out what is reached over a connection alone that is no more; gives who changed.
    pub(crate) fn lose(&self, now: UnixMicros, connection: Connection) -> Vec<Registration> {
        let mut state = self.state();
        let from = (connection, Arc::from(""));
        let of_it = state.flows.range(from..).take_while(|(it, _)| *it == connection);
        let users: Vec<Arc<str>> = of_it.map(|(_, user)| user.clone()).collect();
        let mut changed = Vec::new();
        for user in users {
            let there = state.bindings_of(&user).iter().filter(|it| flow_of(it) != Some(connection));
            let bindings: Vec<Binding> = there.cloned().collect();
            let revision = state.advance(now);
            changed.push(state.put(&user, revision, bindings));
        }
        changed
    }

    /// Has [`Self::expire`] look at everything: the users are others now.
    pub(crate) fn look_anew(&self) {
        self.state().anew = true;
    }
}

impl State {
    /// The next revision: the time, or one more than the last.
    fn advance(&mut self, now: UnixMicros) -> u64 {
        self.revision = now.0.max(self.revision + 1);
        self.revision
    }

    fn bindings_of(&self, user: &str) -> &[Binding] {
        self.users.get(user).map_or(&[][..], |user| &user.bindings)
    }

    /// A phone's name, kept once for all who have it.
    fn agent(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.agents.get(name) {
            return known.clone();
        }
        if self.agents.len() >= AGENTS {
            // Rather than to find out which of them nobody has any more.
            self.agents.clear();
        }
        let agent: Arc<str> = name.into();
        self.agents.insert(agent.clone());
        agent
    }

    fn put(&mut self, user: &Arc<str>, revision: u64, bindings: Vec<Binding>) -> Registration {
        self.watch.look(user, &bindings);
        let old = self.users.get(user).map(|known| known.bindings.clone());
        for connection in old.iter().flat_map(|old| old.iter()).filter_map(flow_of) {
            self.flows.remove(&(connection, user.clone()));
        }
        // The new ones first: names that both have are not looked for anew.
        bindings.iter().for_each(|it| self.proxies.take(it));
        old.iter().flat_map(|old| old.iter()).for_each(|it| self.proxies.leave(it));
        self.flows.extend(bindings.iter().filter_map(flow_of).map(|connection| (connection, user.clone())));
        let bindings: Arc<[Binding]> = bindings.into();
        self.total += bindings.len();
        match self.users.get_mut(user) {
            Some(known) => {
                self.total -= known.bindings.len();
                known.bindings = bindings.clone();
            }
            None => {
                self.users.insert(user.clone(), User { bindings: bindings.clone(), due: None });
            }
        }
        self.place(user, false);
        Registration { user: user.clone(), revision, bindings }
    }

    /// Sees to it that a user is looked at when his first binding ends. Where that is later than it was, the old time may
    /// stand until it has come: a refresh changes nothing here.
    fn place(&mut self, user: &Arc<str>, exactly: bool) {
        let Some(known) = self.users.get_mut(user) else { return };
        let first = known.bindings.iter().map(|it| it.expires).min();
        let is_before = matches!((known.due, first), (Some(due), Some(first)) if due <= first);
        if known.due == first || is_before && !exactly {
            return;
        }
        if let Some(due) = core::mem::replace(&mut known.due, first) {
            self.due.remove(&(due, user.clone()));
        }
        if let Some(first) = first {
            self.due.insert((first, user.clone()));
        }
    }
}

/// The connection without which a binding is of no use: that of a flow (RFC 5626), or of a phone that nobody can connect to
/// (RFC 7118). One behind proxies is reached by other connections, too.
fn flow_of(it: &Binding) -> Option<Connection> {
    let alone = it.by_flow().is_some() || matches!(&*it.transport, "ws" | "wss");
    it.connection.filter(|_| alone && it.path.is_empty())
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

    /// RFC 5626 §5.3: what is known to be gone is not tried.
    #[test]
    fn flows_go_with_their_connection_and_others_stay() {
        let (it, limits, now) = (Registrar::new(&[0; 32]), Limits::default(), UnixMicros(1));
        let register = |stream: Option<u32>, reg_id: u32, transport: &'static str, path: &str| {
            let mut wish = wish(600, reg_id);
            (wish.path, wish.transport) = (path.into(), transport.into());
            wish.connection = stream.map(|stream| Connection { shard: 1, stream });
            let Wanted::Contacts(contacts) = &mut wish.wanted else { unreachable!() };
            contacts[0].uri = format!("sip:{reg_id}@h").into();
            let name = link::FlowName { instance: "<urn:1>".into(), reg_id, since: 0 };
            contacts[0].flow = (reg_id < 3).then(|| Box::new(name));
            it.register(now, &wish, &limits).unwrap();
        };
        register(Some(7), 1, "tcp", "");
        register(Some(8), 2, "tcp", "");
        register(Some(7), 3, "tcp", "");
        register(Some(7), 4, "ws", "");
        register(Some(7), 5, "ws", "<sip:edge;lr>");
        let lose = |shard: u16, stream: u32| it.lose(UnixMicros(2), Connection { shard, stream });
        assert!(lose(0, 7).is_empty() && lose(1, 9).is_empty());
        let left = lose(1, 7);
        let uris: Vec<&str> = left[0].bindings.iter().map(|it| &*it.contact).collect();
        assert_eq!(uris, ["sip:2@h", "sip:3@h", "sip:5@h"]);
        assert!(lose(1, 7).is_empty(), "once");
        assert_eq!((lose(1, 8)[0].bindings.len(), it.bindings()), (2, 2));
        assert!(it.state().flows.is_empty());
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
