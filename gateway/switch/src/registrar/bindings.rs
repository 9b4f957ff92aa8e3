//! What a REGISTER does to the bindings of its user (RFC 3261 §10.3): all of it, or nothing.

use core::net::SocketAddr;
use link::{Binding, Connection, FlowName, Text, UnixMicros};
use sip::gruu::is_same_instance;
use sip::message::{Host, Uri};
use std::sync::Arc;

/// Bounds of registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shortest time a binding may be asked for, in seconds; less is answered 423.
    pub min_expires: u32,
    /// Longest time a binding is given, in seconds; more is cut to it.
    pub max_expires: u32,
    /// Most contacts of one user.
    pub contacts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_expires: 60, max_expires: 7200, contacts_max: 10 }
    }
}

/// What a phone is given that asks for no time (RFC 3261 §10.2.1.1 leaves it to the registrar).
const USUAL_EXPIRES: u32 = 3600;

/// Why a REGISTER was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A time below the least (423).
    TooBrief,
    /// A binding was changed by a later request of the same Call-ID (500, RFC 3261 §10.3 step 7).
    OutOfOrder,
    /// More contacts than a user may have (403).
    TooMany,
    /// The table is full (503).
    Full,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) user: String,
    pub(crate) wanted: Wanted,
    pub(crate) call_id: Box<str>,
    pub(crate) cseq: u32,
    pub(crate) transport: Text,
    pub(crate) connection: Option<Connection>,
    pub(crate) source: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) behind_nat: bool,
    /// The proxies on the way, as Route has them (RFC 3327 §5.3).
    pub(crate) path: Box<str>,
    pub(crate) user_agent: String,
}

impl Wish {
    /// Whether any contact names a flow.
    pub(crate) fn is_by_flow(&self) -> bool {
        matches!(&self.wanted, Wanted::Contacts(all) if all.iter().any(|it| flow(&it.flow).is_some()))
    }
}

/// Its contacts.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// None: it only asks what there is.
    Nothing,
    /// `*`: all are to be removed.
    RemoveAll,
    /// These.
    Contacts(Vec<Contact>),
}

/// One contact asked for.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) uri: Box<str>,
    pub(crate) q: u16,
    /// Seconds asked for; 0 removes.
    pub(crate) expires: Option<u32>,
    pub(crate) target: SocketAddr,
    /// The phone, if it is to be known, and the flow, if it registers by flows (RFC 5626).
    pub(crate) flow: Option<Box<FlowName>>,
}

/// Carries a wish out on a user's bindings; whether anything changed. After an error they are not to be used.
pub(crate) fn apply(
    bindings: &mut Vec<Binding>,
    now: UnixMicros,
    wish: &Wish,
    user_agent: &Arc<str>,
    limits: &Limits,
) -> Result<bool, Refused> {
    let is_late = |known: &Binding| known.call_id == wish.call_id && wish.cseq <= known.cseq;
    let contacts = match &wish.wanted {
        Wanted::Nothing => return Ok(false),
        Wanted::RemoveAll => {
            if bindings.iter().any(is_late) {
                return Err(Refused::OutOfOrder);
            }
            let some = !bindings.is_empty();
            bindings.clear();
            return Ok(some);
        }
        Wanted::Contacts(contacts) => contacts,
    };
    let mut changed = false;
    // Bindings that this very request made or changed are not late to it.
    let mut touched: Vec<(&str, Option<(&str, u32)>)> = Vec::new();
    for contact in contacts {
        let seconds = contact.expires.unwrap_or_else(|| USUAL_EXPIRES.max(limits.min_expires));
        if seconds > 0 && seconds < limits.min_expires {
            return Err(Refused::TooBrief);
        }
        // RFC 5626 §6: a flow is known by phone and number, and replaces no other of that phone; any other contact by its URI.
        let is_same = |known: &Binding| match (flow(&known.flow), flow(&contact.flow)) {
            (None, None) => is_same_contact(&known.contact, &contact.uri),
            (known, flow) => known == flow,
        };
        let place = bindings.iter().position(is_same);
        if let Some(place) = place
            && is_late(&bindings[place])
            && !touched.contains(&(&*bindings[place].contact, flow(&bindings[place].flow)))
        {
            return Err(Refused::OutOfOrder);
        }
        let name = contact.flow.clone().map(|name| life(bindings, now, wish, name));
        let new = (seconds > 0).then(|| Binding {
            contact: contact.uri.clone(),
            q: contact.q,
            expires: UnixMicros(now.0 + u64::from(seconds.min(limits.max_expires)) * 1_000_000),
            registered: now,
            call_id: wish.call_id.clone(),
            cseq: wish.cseq,
            transport: wish.transport.clone(),
            connection: wish.connection,
            source: wish.source,
            target: contact.target,
            behind_nat: wish.behind_nat,
            silent: false,
            flow: name,
            path: wish.path.clone(),
            local: wish.local,
            user_agent: user_agent.clone(),
        });
        touched.push((&contact.uri, flow(&contact.flow)));
        match (place, new) {
            (Some(place), Some(new)) => bindings[place] = new,
            (Some(place), None) => drop(bindings.remove(place)),
            (None, Some(new)) => bindings.push(new),
            (None, None) => continue,
        }
        changed = true;
    }
    if bindings.len() > limits.contacts_max as usize {
        return Err(Refused::TooMany);
    }
    Ok(changed)
}

/// What tells a flow from others, if there is one.
fn flow(name: &Option<Box<FlowName>>) -> Option<(&str, u32)> {
    name.as_ref().filter(|name| name.reg_id > 0).map(|name| (name.instance.as_str(), name.reg_id))
}

/// The name of a phone with its age: that of its other bindings, unless it comes with another Call-ID for the same flow, and
/// with that wants its temporary GRUUs void (RFC 5627 §5.1); then all its bindings are as young.
fn life(bindings: &mut [Binding], now: UnixMicros, wish: &Wish, mut name: Box<FlowName>) -> Box<FlowName> {
    let is_its = |it: &&mut FlowName| is_same_instance(it.instance.as_bytes(), name.instance.as_bytes());
    let anew = bindings.iter().any(|it| {
        let same = it.flow.as_ref().is_some_and(|known| {
            known.reg_id == name.reg_id
                && is_same_instance(known.instance.as_bytes(), name.instance.as_bytes())
        });
        same && it.call_id != wish.call_id
    });
    let mut its: Vec<&mut FlowName> =
        bindings.iter_mut().filter_map(|it| it.flow.as_deref_mut()).filter(is_its).collect();
    // What is left of the time tells lives apart that follow each other; 0 is for those that have no age.
    let young = (now.0 as u32).max(1);
    let since = its.first().map(|it| it.since).filter(|since| !anew && *since > 0).unwrap_or(young);
    for known in &mut its {
        known.since = since;
    }
    name.since = since;
    name
}

/// Whether two contacts are one (RFC 3261 §19.1.4): user with regard to case, host without, and no parameter in both
/// that differs, nor one of those that must not be in one alone, of which `gr` is one (RFC 5627 §4.2).
pub(crate) fn is_same_contact(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) else { return false };
    let host = |a: Host<'_>, b: Host<'_>| match (a, b) {
        (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    };
    let place = match (a.host_port, b.host_port) {
        (Some(a), Some(b)) => a.port == b.port && host(a.host, b.host),
        _ => false,
    };
    let user = |uri: &Uri<'_>| {
        let mut user = Vec::new();
        uri.user_unescaped(&mut user);
        (uri.user.is_some(), user)
    };
    let value = |uri: &Uri<'_>, name: &str| {
        uri.params.get(name).map(|value| value.unwrap_or_default().to_ascii_lowercase())
    };
    let decisive = ["transport", "user", "ttl", "method", "maddr", "gr"];
    let names = a.params.iter().filter_map(|(name, _)| core::str::from_utf8(name).ok());
    a.scheme == b.scheme
        && place
        && user(&a) == user(&b)
        && a.password == b.password
        && decisive.iter().all(|name| value(&a, name) == value(&b, name))
        && names.into_iter().all(|name| b.params.get(name).is_none() || value(&a, name) == value(&b, name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn wish(uri: &str, expires: u32, call_id: &str, cseq: u32) -> Wish {
        let target = "192.0.2.1:5060".parse().unwrap();
        let contact = Contact { uri: uri.into(), q: 1000, expires: Some(expires), target, flow: None };
        Wish {
            user: "a".into(),
            wanted: Wanted::Contacts(vec![contact]),
            call_id: call_id.into(),
            cseq,
            transport: "udp".into(),
            connection: None,
            source: target,
            local: target,
            behind_nat: false,
            path: "".into(),
            user_agent: String::new(),
        }
    }

    fn uris(bindings: &[Binding]) -> Vec<&str> {
        bindings.iter().map(|it| &*it.contact).collect()
    }

    /// RFC 3261 §10.3 step 7, case by case.
    #[test]
    fn contacts_are_added_refreshed_and_removed() {
        let (mut all, limits) = (Vec::new(), Limits::default());
        let mut apply = |wish: &Wish| {
            let mut changed = all.clone();
            let outcome = apply(&mut changed, UnixMicros(0), wish, &"".into(), &limits);
            if outcome.is_ok() {
                all = changed;
            }
            (outcome, uris(&all).join(" "))
        };
        let two = "sip:a@192.0.2.1 sip:b@192.0.2.1";
        assert_eq!(apply(&wish("sip:a@192.0.2.1", 60, "i", 1)), (Ok(true), "sip:a@192.0.2.1".into()));
        assert_eq!(apply(&wish("sip:b@192.0.2.1", 60, "j", 1)), (Ok(true), two.into()));
        assert_eq!(apply(&wish("sip:a@192.0.2.1", 600, "i", 1)), (Err(Refused::OutOfOrder), two.into()));
        assert_eq!(apply(&wish("sip:a@192.0.2.1", 600, "i", 2)), (Ok(true), two.into()));
        assert_eq!(apply(&wish("sip:a@192.0.2.1", 59, "i", 3)), (Err(Refused::TooBrief), two.into()));
        let mut ask = wish("", 60, "i", 4);
        ask.wanted = Wanted::Nothing;
        assert_eq!(apply(&ask), (Ok(false), two.into()));
        assert_eq!(apply(&wish("sip:a@192.0.2.1", 0, "k", 1)), (Ok(true), "sip:b@192.0.2.1".into()));
        let mut star = wish("", 0, "j", 1);
        star.wanted = Wanted::RemoveAll;
        assert_eq!(apply(&star).0, Err(Refused::OutOfOrder));
        star.cseq = 2;
        assert_eq!(apply(&star), (Ok(true), String::new()));
    }

    /// RFC 5626 §6: a REGISTER replaces the binding of its own flow alone.
    #[test]
    fn flows_of_a_phone_stand_beside_each_other() {
        let (mut all, limits) = (Vec::new(), Limits::default());
        let mut register = |uri: &str, instance: &str, reg_id: u32, expires: u32, call_id: &str| {
            let mut wish = wish(uri, expires, call_id, 1);
            let Wanted::Contacts(contacts) = &mut wish.wanted else { unreachable!() };
            contacts[0].flow =
                (reg_id > 0).then(|| Box::new(FlowName { instance: instance.into(), reg_id, since: 0 }));
            apply(&mut all, UnixMicros(0), &wish, &"".into(), &limits).unwrap();
            let name =
                |it: &Binding| (it.contact.to_string(), it.flow.as_ref().map_or(0, |flow| flow.reg_id));
            all.iter().map(name).collect::<Vec<_>>()
        };
        let at = |uri: &str, reg_id: u32| (uri.to_owned(), reg_id);
        register("sip:a@10.0.0.1", "<urn:1>", 1, 60, "i");
        register("sip:a@10.0.0.1", "<urn:1>", 2, 60, "j");
        let two = register("sip:a@10.0.0.9", "<urn:1>", 1, 60, "k");
        assert_eq!(
            two,
            [at("sip:a@10.0.0.9", 1), at("sip:a@10.0.0.1", 2)],
            "by another address after a restart"
        );
        assert_eq!(register("sip:a@10.0.0.1", "<urn:2>", 1, 60, "l").len(), 3, "another phone");
        assert_eq!(register("sip:a@10.0.0.1", "", 0, 60, "m").len(), 4, "one that does not speak of flows");
        assert_eq!(register("sip:a@10.0.0.1", "", 0, 0, "n").len(), 3, "takes out its own alone");
        assert_eq!(register("sip:elsewhere@h", "<urn:1>", 2, 0, "o").len(), 2);
    }

    #[test]
    fn times_are_cut_and_contacts_counted() {
        let limits = Limits { contacts_max: 2, ..Limits::default() };
        let mut all = Vec::new();
        apply(&mut all, UnixMicros(5), &wish("sip:a@h", 1_000_000, "i", 1), &"".into(), &limits).unwrap();
        assert_eq!(all[0].expires, UnixMicros(5 + 7200 * 1_000_000));
        apply(&mut all, UnixMicros(5), &wish("sip:b@h", 60, "i", 2), &"".into(), &limits).unwrap();
        let third = apply(&mut all, UnixMicros(5), &wish("sip:c@h", 60, "i", 3), &"".into(), &limits);
        assert_eq!(third, Err(Refused::TooMany));
    }

    /// RFC 3261 §19.1.4, from its examples.
    #[test]
    fn contacts_compare_as_uris_do() {
        for (a, b, same) in [
            ("sip:%61lice@atlanta.com", "sip:alice@AtLanTa.CoM", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
            ("SIP:ALICE@AtLanTa.CoM", "sip:alice@AtLanTa.CoM", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
            ("sip:a@192.0.2.1;transport=TCP", "sip:a@192.0.2.1;transport=tcp;x=1", true),
            ("sip:192.0.2.1", "sip:a@192.0.2.1", false),
            ("sip:a@h;gr=urn:1", "sip:a@h", false),
            ("sip:a@h;gr=urn:1", "sip:a@h;gr=urn:2", false),
            ("sip:a@h;gr=urn:1", "sip:a@h;x;gr=urn:1", true),
        ] {
            assert_eq!((is_same_contact(a, b), is_same_contact(b, a)), (same, same), "{a} {b}");
        }
    }
}
