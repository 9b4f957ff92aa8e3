//! Who is registered, as the shards told last: kept for the API, and for shards that start anew.

use link::{Registration, UnixMicros};
use std::collections::BTreeMap;

/// Users remembered at most.
const USERS: usize = 100_000;

/// The registrations by user.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    users: BTreeMap<String, Registration>,
    /// Those not kept since there were too many users.
    pub(crate) refused: u64,
}

impl Registrations {
    /// Takes what is said of a user; `false` if something later was said already: shards speak at the same time.
    pub(crate) fn take(&mut self, registration: Registration) -> bool {
        let room = self.users.len() < USERS;
        match self.users.get_mut(&registration.user) {
            Some(known) if known.revision >= registration.revision => false,
            Some(known) => {
                *known = registration;
                true
            }
            None if room => {
                self.users.insert(registration.user.clone(), registration);
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
        self.users.values().filter(|it| !it.bindings.is_empty()).cloned().collect()
    }

    /// How many have bindings, expired or not.
    pub(crate) fn users(&self) -> usize {
        self.users.values().filter(|it| !it.bindings.is_empty()).count()
    }

    /// All that have bindings now, and those alone.
    pub(crate) fn current(&self, now: UnixMicros) -> Vec<Registration> {
        let mut all = self.all();
        for registration in &mut all {
            registration.bindings.retain(|binding| binding.expires > now);
        }
        all.retain(|it| !it.bindings.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::Binding;

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
            source: "192.0.2.1:5060".parse().unwrap(),
            target: "192.0.2.1:5060".parse().unwrap(),
            local: "192.0.2.9:5060".parse().unwrap(),
            user_agent: String::new(),
        };
        Registration { user: user.into(), revision, bindings: expires.iter().map(binding).collect() }
    }

    #[test]
    fn what_was_said_later_counts_in_whatever_order_it_comes() {
        let mut it = Registrations::default();
        assert!(it.take(registration("a", 2, &[])));
        assert!(!it.take(registration("a", 1, &[10])));
        assert!(it.all().is_empty());
        assert!(it.take(registration("a", 3, &[10, 20])));
        assert_eq!(it.current(UnixMicros(10))[0].bindings.len(), 1);
        assert!(it.current(UnixMicros(20)).is_empty());
        assert_eq!(it.all()[0].bindings.len(), 2);
    }
}
