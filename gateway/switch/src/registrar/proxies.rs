//! Proxies that stand first in a Path by name (RFC 3327 §5.3): which names are wanted, and where they were found (RFC 3263).
//!
//! The first shard locates them beside the names of peers, and puts what it finds in here, where all shards read it. A name
//! that is not found, or not yet, is spoken to where the REGISTER came from, which is a proxy on the same way.

use super::path;
use super::{Registrar, State};
use link::{Binding, UnixMicros};
use locate::{Place, Target};
use sansio::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most names of proxies that are located; those of phones that come later are not.
const NAMES_MAX: usize = 128;

/// The names.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    known: BTreeMap<Target, Proxy>,
    /// Grows with each change in which names are wanted.
    revision: u64,
    /// Names that there was no room for.
    beyond: u64,
}

#[derive(Debug, Default)]
struct Proxy {
    /// How many bindings lead by it.
    bindings: u32,
    /// Where it was found; nothing: not, or not yet.
    places: Arc<[Place]>,
}

impl Proxies {
    pub(super) fn take(&mut self, binding: &Binding) {
        let Some(target) = path::name(binding) else { return };
        let room = self.known.len() < NAMES_MAX;
        match self.known.get_mut(&target) {
            Some(proxy) => proxy.bindings += 1,
            None if room => {
                self.known.insert(target, Proxy { bindings: 1, places: Arc::default() });
                self.revision += 1;
            }
            None => self.beyond += 1,
        }
    }

    pub(super) fn leave(&mut self, binding: &Binding) {
        let Some(target) = path::name(binding) else { return };
        if let Some(proxy) = self.known.get_mut(&target) {
            proxy.bindings = proxy.bindings.saturating_sub(1);
            if proxy.bindings == 0 {
                self.known.remove(&target);
                self.revision += 1;
            }
        }
    }
}

/// The ways to a user's phones.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Preferred ones first. One behind a proxy that was found at several places stands here once for each.
    pub(crate) contacts: Vec<Binding>,
    /// Those behind a proxy whose name was not found.
    pub(crate) unlocated: u64,
}

impl Registrar {
    /// The names of proxies that are wanted, if they are others than at `revision`, with what is to be given next time.
    pub(crate) fn proxies_since(&self, revision: u64) -> Option<(u64, Vec<Target>)> {
        let state = self.state();
        let proxies = &state.proxies;
        (proxies.revision != revision).then(|| (proxies.revision, proxies.known.keys().cloned().collect()))
    }

    /// Names that there was no room for since this was last asked.
    pub(crate) fn take_proxies_beyond(&self) -> u64 {
        core::mem::take(&mut self.state().proxies.beyond)
    }

    /// Where a proxy was found; nowhere, if there are no places.
    pub(crate) fn proxy_found(&self, target: &Target, places: &[Place]) {
        if let Some(proxy) = self.state().proxies.known.get_mut(target)
            && *proxy.places != *places
        {
            proxy.places = places.into();
        }
    }

    /// Where a user can be called now, or one of his phones: preferred contacts first, of equals the one registered last, each by the
    /// places of the proxy before it in the order of RFC 3263 §4.2 and RFC 2782. `chance` is a random number, asked for if
    /// there are several.
    pub(crate) fn reach(
        &self,
        now: UnixMicros,
        user: &str,
        phone: Option<&str>,
        chance: impl FnOnce() -> u64,
    ) -> Reach {
        let mut contacts = self.contacts(now, user);
        if let Some(phone) = phone {
            super::gruu::only(&mut contacts, phone);
        }
        if contacts.iter().all(|it| path::name(it).is_none()) {
            return Reach { contacts, unlocated: 0 };
        }
        let mut random = Random::new(chance());
        let (state, mut reach) = (self.state(), Reach::default());
        for binding in contacts {
            let places = path::name(&binding).map(|target| state.places(&target));
            match places {
                None => reach.contacts.push(binding),
                Some(places) if places.is_empty() => {
                    reach.unlocated += 1;
                    reach.contacts.push(binding);
                }
                Some(places) => {
                    let at = locate::order(&places, &mut random).into_iter().map(|at| places[at]);
                    reach.contacts.extend(at.map(|place| Binding {
                        target: place.address,
                        transport: place.transport.as_str().into(),
                        // What it opened to us is not to a place of our choice.
                        connection: None,
                        ..binding.clone()
                    }));
                }
            }
        }
        reach
    }
}

impl State {
    fn places(&self, target: &Target) -> Arc<[Place]> {
        self.proxies.known.get(target).map(|proxy| proxy.places.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bindings::tests::wish;
    use super::super::{Limits, Registrar, Wanted};
    use super::*;

    fn register(it: &Registrar, uri: &str, path: &str, expires: u32, cseq: u32) {
        let mut wish = wish(uri, expires, "i", cseq);
        wish.path = path.into();
        if expires == 0 {
            wish.wanted = Wanted::RemoveAll;
        }
        it.register(UnixMicros(u64::from(cseq)), &wish, &Limits::default()).unwrap();
    }

    fn reached(it: &Registrar) -> (Vec<String>, u64) {
        let reach = it.reach(UnixMicros(9), "a", None, || 7);
        let text = |it: &Binding| format!("{} {}/{}", it.contact, it.target, it.transport);
        (reach.contacts.iter().map(text).collect(), reach.unlocated)
    }

    fn place(tier: u16, last: u8) -> Place {
        let address = core::net::SocketAddr::from(([192, 0, 2, last], 5070));
        Place { tier, record: 0, weight: 0, family: 0, address, transport: locate::Transport::Tcp }
    }

    /// RFC 3327 §5.3 with RFC 3263 §4.2 and §4.3.
    #[test]
    fn a_phone_is_reached_by_each_place_of_its_proxy() {
        let it = Registrar::new(&[0; 32]);
        assert_eq!(it.proxies_since(0), None);
        register(&it, "sip:a@10.0.0.1", "<sip:Edge.example.;lr>, <sip:core.example;lr>", 600, 1);
        register(&it, "sip:b@10.0.0.1", "<sip:192.0.2.99;lr>", 600, 2);
        let (revision, names) = it.proxies_since(0).unwrap();
        let edge: Target = "edge.example".parse().unwrap();
        assert_eq!(names, core::slice::from_ref(&edge));
        assert_eq!(it.proxies_since(revision), None);
        let source = "sip:a@10.0.0.1 192.0.2.1:5060/udp".to_owned();
        let other = "sip:b@10.0.0.1 192.0.2.1:5060/udp".to_owned();
        assert_eq!(reached(&it), (vec![other.clone(), source.clone()], 1), "as long as it is not found");
        it.proxy_found(&edge, &[place(0, 11), place(1, 12)]);
        let found = [11, 12].map(|last| format!("sip:a@10.0.0.1 192.0.2.{last}:5070/tcp"));
        assert_eq!(reached(&it), ([vec![other.clone()], found.to_vec()].concat(), 0));
        it.proxy_found(&edge, &[]);
        assert_eq!(reached(&it), (vec![other, source], 1), "no more");
        register(&it, "", "", 0, 3);
        assert!(it.proxies_since(revision).unwrap().1.is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let it = Registrar::new(&[0; 32]);
        let limits = Limits { contacts_max: 1000, ..Limits::default() };
        for number in 0..NAMES_MAX as u32 + 3 {
            let mut wish = wish(&format!("sip:a{number}@h"), 600, "i", number);
            wish.path = format!("<sip:p{number}.example;lr>").into();
            it.register(UnixMicros(1), &wish, &limits).unwrap();
        }
        assert_eq!(it.proxies_since(0).unwrap().1.len(), NAMES_MAX);
        assert!(it.take_proxies_beyond() > 0);
        assert_eq!(it.take_proxies_beyond(), 0);
    }
}
