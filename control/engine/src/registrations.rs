//! Who is registered, as the shards told last: kept for the API, and for shards that start anew.

use link::{Binding, Registration, UnixMicros};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Users remembered at most.
const USERS: usize = 100_000;

/// The registrations by user; what is in them is shared with the shards' registrar, if that is in this process.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    users: BTreeMap<Arc<str>, (u64, Arc<[Binding]>)>,
    /// Those not kept since there were too many users.
    pub(crate) refused: u64,
}

impl Registrations {
    /// Takes what is said of a user; `false` if something later was said already: shards speak at the same time.
    pub(crate) fn take(&mut self, registration: &Registration) -> bool {
        let room = self.users.len() < USERS;
        let said = (registration.revision, registration.bindings.clone());
        match self.users.get_mut(&registration.user) {
            Some(known) if known.0 >= registration.revision => false,
            Some(known) => {
                *known = said;
                true
            }
            None if room => {
                self.users.insert(registration.user.clone(), said);
                true
            }
            None => {
                self.refused += 1;
                false
            }
        }
    }

    /// All that have bindings, expired or not.
    pub(crate) fn all(&self) -> Vec<Registration> {
        let some = self.users.iter().filter(|(_, (_, bindings))| !bindings.is_empty());
        let told = some.map(|(user, (revision, bindings))| Registration {
            user: user.clone(),
            revision: *revision,
            bindings: bindings.clone(),
        });
        told.collect()
    }

    /// How many have bindings, expired or not.
    pub(crate) fn users(&self) -> usize {
        self.users.values().filter(|(_, bindings)| !bindings.is_empty()).count()
    }

    /// All that have bindings now, and those alone.
    pub(crate) fn current(&self, now: UnixMicros) -> Vec<Registration> {
        let mut all = self.all();
        for registration in &mut all {
            if registration.bindings.iter().any(|binding| binding.expires <= now) {
                let left = registration.bindings.iter().filter(|binding| binding.expires > now);
                registration.bindings = left.cloned().collect();
            }
        }
        all.retain(|it| !it.bindings.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(user: &str, revision: u64, expires: &[u64]) -> Registration {
        let binding = |expires: &u64| Binding {
            contact: "sip:a@192.0.2.1".into(),
            q: 1000,
            expires: UnixMicros(*expires),
            registered: UnixMicros(0),
            call_id: "i".into(),
            cseq: 1,
            connection: None,
            transport: "udp".into(),
            behind_nat: false,
            silent: false,
            flow: None,
            path: "".into(),
            source: "192.0.2.1:5060".parse().unwrap(),
            target: "192.0.2.1:5060".parse().unwrap(),
            local: "192.0.2.9:5060".parse().unwrap(),
            user_agent: "".into(),
        };
        Registration { user: user.into(), revision, bindings: expires.iter().map(binding).collect() }
    }

    #[test]
    fn what_was_said_later_counts_in_whatever_order_it_comes() {
        let mut it = Registrations::default();
        assert!(it.take(&registration("a", 2, &[])));
        assert!(!it.take(&registration("a", 1, &[10])));
        assert!(it.all().is_empty());
        assert!(it.take(&registration("a", 3, &[10, 20])));
        assert_eq!(it.current(UnixMicros(10))[0].bindings.len(), 1);
        assert!(it.current(UnixMicros(20)).is_empty());
        assert_eq!(it.all()[0].bindings.len(), 2);
    }
}
