//! GRUUs (RFC 5627): what a phone is given with its registration, and whom a URI means that has one.
//!
//! None is kept: the public one is made of user and phone, and a temporary one says itself what it stands for, to those
//! who have the key ([`Keeper`]). Since when a phone has been there stands with its bindings, so that a temporary one is void once the
//! phone was gone, or has asked for that with another Call-ID.

use super::Registrar;
use crate::session;
use crate::shard::Shard;
use crate::users::Users;
use link::{Binding, UnixMicros};
use sansio::Time;
use sip::gruu::{self, Gruu, Held, Keeper, is_same_instance};
use sip::message::Uri;

/// Whom a URI is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aim {
    /// The number, or the user's name.
    pub(crate) number: String,
    /// That one of the user's phones alone (its `+sip.instance`).
    pub(crate) phone: Option<Box<str>>,
}

impl Registrar {
    /// Who makes temporary GRUUs: with the secret that is configured, or else with one of this run.
    fn keeper(&self, users: &Users) -> Keeper {
        users.gruu_key.as_ref().map_or_else(|| self.keeper.clone(), |it| Keeper::new(it.as_bytes()))
    }

    /// The GRUUs of a binding's phone, public and temporary, if it has said which phone it is (RFC 5627 §5.2). `chance` is
    /// a random number, another for each.
    pub(crate) fn gruus(
        &self,
        users: &Users,
        aor: &Uri<'_>,
        (user, binding): (&str, &Binding),
        chance: u64,
    ) -> Option<(String, String)> {
        let phone = binding.flow.as_deref()?;
        let keeper = self.keeper(users);
        let held = Held { user: user.to_owned(), phone: keeper.short(&phone.instance), since: phone.since };
        Some((gruu::public(aor, &phone.instance)?, keeper.temporary(aor, &held, chance)?))
    }

    /// Whom a URI means; `None` for a temporary GRUU that is none of ours, or void (RFC 5627 §5.3).
    pub(crate) fn aim(&self, now: UnixMicros, users: &Users, uri: &[u8]) -> Option<Aim> {
        let plain = |phone| Some(Aim { number: session::user_of(uri), phone });
        let Some(parsed) = Uri::parse(uri) else { return plain(None) };
        match gruu::gruu(&parsed) {
            // Text of nobody's phone, if it is none: who asks for that is told that there is no such phone there.
            Some(Gruu::Public(instance)) => plain(Some(String::from_utf8_lossy(&instance).into())),
            Some(Gruu::Temporary) => {
                let keeper = self.keeper(users);
                let held = keeper.open(&parsed).filter(|held| users.has(&held.user))?;
                let state = self.state();
                let there = state.bindings_of(&held.user).iter().filter(|it| it.expires > now);
                let mut phones = there.filter_map(|it| it.flow.as_deref());
                let phone =
                    phones.find(|it| it.since == held.since && keeper.short(&it.instance) == held.phone)?;
                let instance = phone.instance.as_str().into();
                Some(Aim { number: held.user, phone: Some(instance) })
            }
            None => plain(None),
        }
    }
}

impl Shard {
    /// Whom a URI means; `None` for a temporary GRUU that is none of ours, or void.
    pub(crate) fn aim(&self, now: Time, uri: &[u8]) -> Option<Aim> {
        self.registrar.aim(self.wall(now), &self.config.users, uri)
    }
}

/// What makes a URI a GRUU, to be put behind another one's host: `;gr`, `;gr=` with the phone, or nothing.
pub(crate) fn gr_of(uri: &Uri<'_>) -> String {
    match uri.params.get("gr").filter(|_| gruu::gruu(uri).is_some()) {
        Some(Some(phone)) => format!(";gr={}", session::text(phone)),
        Some(None) => String::from(";gr"),
        None => String::new(),
    }
}

/// Leaves the contacts of one phone: all its flows (RFC 5626 §5.3), or, if it does not speak of flows, the one that it
/// registered last (RFC 5627 §5.3).
pub(super) fn only(contacts: &mut Vec<Binding>, phone: &str) {
    contacts.retain(|it| {
        it.flow.as_ref().is_some_and(|flow| is_same_instance(flow.instance.as_bytes(), phone.as_bytes()))
    });
    if contacts.iter().any(|it| it.by_flow().is_some()) {
        contacts.retain(|it| it.by_flow().is_some());
    } else if let Some(last) = contacts.iter().map(|it| it.registered).max() {
        contacts.retain(|it| it.registered == last);
        contacts.truncate(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bindings::tests::wish;
    use super::super::{Limits, Wanted, Wish};
    use super::*;
    use link::FlowName;
    use std::sync::Arc;

    const PHONE: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";
    const AOR: &str = "sip:a@example.com";

    fn users(secret: Option<&str>) -> Users {
        let accounts = Arc::new([("a".to_owned(), "pw".to_owned())].into());
        Users { accounts, gruu_key: secret.map(Into::into), ..Users::default() }
    }

    fn named(uri: &str, (instance, reg_id): (&str, u32), (call_id, cseq): (&str, u32), expires: u32) -> Wish {
        let mut wish = wish(uri, expires, call_id, cseq);
        let Wanted::Contacts(contacts) = &mut wish.wanted else { unreachable!() };
        contacts[0].flow = Some(Box::new(FlowName { instance: instance.into(), reg_id, since: 0 }));
        wish
    }

    struct Bench {
        registrar: Registrar,
        users: Users,
        now: u64,
    }

    impl Bench {
        fn new(secret: Option<&str>) -> Self {
            Self { registrar: Registrar::new(&[7; 32]), users: users(secret), now: 1 }
        }

        /// Registers, and gives the temporary GRUU of the last contact.
        fn register(&mut self, wish: &Wish) -> String {
            self.now += 1000;
            let (it, _) = self.registrar.register(UnixMicros(self.now), wish, &Limits::default()).unwrap();
            let Some(last) = it.bindings.last() else { return String::new() };
            let aor = Uri::parse(AOR.as_bytes()).unwrap();
            let gruus = self.registrar.gruus(&self.users, &aor, ("a", last), self.now);
            gruus.map_or_else(String::new, |(_, temporary)| temporary)
        }

        fn aim(&self, uri: &str) -> Option<(String, String)> {
            let it = self.registrar.aim(UnixMicros(self.now), &self.users, uri.as_bytes())?;
            Some((it.number, it.phone.map(String::from).unwrap_or_default()))
        }
    }

    /// RFC 5627 §3.1.2, §5.1 and §5.3.
    #[test]
    fn a_temporary_one_is_good_until_the_phone_is_gone_or_wants_it_void() {
        let mut it = Bench::new(None);
        let good = Some(("a".to_owned(), PHONE.to_owned()));
        let first = it.register(&named("sip:a@10.0.0.1", (PHONE, 0), ("i", 1), 600));
        let second = it.register(&named("sip:a@10.0.0.1", (PHONE, 0), ("i", 2), 600));
        assert_ne!(first, second);
        assert_eq!((it.aim(&first), it.aim(&second)), (good.clone(), good.clone()), "a refresh leaves them");
        let third = it.register(&named("sip:a@10.0.0.1", (PHONE, 0), ("j", 3), 600));
        assert_eq!((it.aim(&first), it.aim(&second)), (None, None), "another Call-ID makes them void");
        assert_eq!(it.aim(&third), good);
        it.register(&named("sip:a@10.0.0.1", (PHONE, 0), ("j", 4), 0));
        assert_eq!(it.aim(&third), None, "nobody is there");
        let again = it.register(&named("sip:a@10.0.0.1", (PHONE, 0), ("j", 5), 600));
        assert_eq!((it.aim(&third), it.aim(&again)), (None, good), "what was void stays void");
        it.now += 601_000_000;
        assert_eq!(it.aim(&again), None, "expired");
        let there = ("a".to_owned(), "urn:x".to_owned());
        assert_eq!(it.aim("sip:a@example.com;gr=urn:x"), Some(there), "a public one is always somebody's");
        assert_eq!(it.aim("sip:tgruu.AAAA@example.com;gr"), None);
        assert_eq!(it.aim("sip:4930@example.com;gr"), Some(("4930".into(), String::new())));
    }

    /// The flows of a phone have one life (RFC 5627 §5.1 with RFC 5626 §6).
    #[test]
    fn one_of_a_phone_with_flows_is_good_as_long_as_any_flow_is_there() {
        let mut it = Bench::new(None);
        let one = it.register(&named("sip:a@10.0.0.1", (PHONE, 1), ("i", 1), 600));
        let two = it.register(&named("sip:a@10.0.0.1", (PHONE, 2), ("j", 1), 600));
        it.register(&named("sip:a@10.0.0.1", (PHONE, 1), ("i", 2), 0));
        assert!(it.aim(&one).is_some() && it.aim(&two).is_some());
        it.register(&named("sip:b@10.0.0.9", ("<urn:other>", 1), ("o", 1), 600));
        let three = it.register(&named("sip:a@10.0.0.1", (PHONE, 2), ("k", 1), 600));
        assert!(it.aim(&one).is_none() && it.aim(&two).is_none() && it.aim(&three).is_some());
    }

    #[test]
    fn with_a_secret_of_the_configuration_they_outlive_a_restart() {
        let mut it = Bench::new(Some("correct horse battery staple"));
        let one = it.register(&named("sip:a@10.0.0.1", (PHONE, 1), ("i", 1), 600));
        let mut after = Bench::new(Some("correct horse battery staple"));
        (after.registrar, after.now) = (Registrar::new(&[8; 32]), it.now);
        let bindings = it.registrar.contacts(UnixMicros(it.now), "a").into();
        let known = link::Registration { user: "a".into(), revision: 1, bindings };
        after.registrar.load(UnixMicros(it.now), &after.users, vec![known]);
        assert!(after.aim(&one).is_some());
        after.users = users(None);
        assert!(after.aim(&one).is_none());
    }

    #[test]
    fn of_a_phone_all_flows_are_called_or_else_the_newest_contact() {
        let mut it = Bench::new(None);
        it.register(&named("sip:a@10.0.0.1", (PHONE, 1), ("i", 1), 600));
        it.register(&named("sip:a@10.0.0.2", (PHONE, 2), ("j", 1), 600));
        it.register(&named("sip:a@10.0.0.3", ("<urn:other>", 0), ("k", 1), 600));
        it.register(&named("sip:a@10.0.0.4", ("<urn:other>", 0), ("l", 1), 600));
        it.register(&wish("sip:a@10.0.0.5", 600, "m", 1));
        let of = |phone: &str| {
            let mut contacts = it.registrar.contacts(UnixMicros(it.now), "a");
            only(&mut contacts, phone);
            let mut uris: Vec<String> = contacts.iter().map(|it| it.contact.to_string()).collect();
            uris.sort();
            uris.join(" ")
        };
        assert_eq!(of(&PHONE[1..PHONE.len() - 1].to_lowercase()), "sip:a@10.0.0.1 sip:a@10.0.0.2");
        assert_eq!((of("urn:other"), of("urn:nobody")), ("sip:a@10.0.0.4".into(), String::new()));
    }
}
