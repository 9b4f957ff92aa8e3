//! Redirections (RFC 3261 §8.1.3.4, §21.3): a callee's 3xx followed within our own routing, told to the caller, or refused.
//!
//! A contact is followed only where a call of ours could go as well: to a number at one of our own names, which is routed
//! like a number dialled, or to a peer of a trunk, which is asked for a number that has a route. Each target is held
//! against the rules against toll fraud and takes a place on its trunk, and none is tried twice for one call.

use crate::call::Call;
use crate::mail::Mail;
use crate::profile::Redirects;
use crate::registrar;
use crate::session;
use crate::shard::Shard;
use crate::status::Refusal;
use crate::trunk::{Hunt, Trunk};
use core::cmp::Reverse;
use core::net::SocketAddr;
use sansio::{Key, Outbox, Time};
use sip::message::{Host, Message, Name, NameAddr, Scheme, Uri};
use sip::{Failure, Received, Transport};
use std::sync::Arc;

/// Most contacts of one redirection that are looked at.
const CONTACTS_MAX: usize = 10;
/// Most bytes of a number's parameters that go along with it.
const PARAMS_MAX: usize = 200;
/// Most bytes of a 380's body that go on to the caller.
const BODY_MAX: usize = 8192;

/// Where a call may be sent on to.
#[derive(Clone, Debug)]
struct Target {
    number: String,
    /// What stands behind the number in the user part, semicolon included: routing numbers and the like (RFC 4694).
    params: String,
    /// The one phone of the user of that name that is meant (RFC 5627).
    phone: Option<Box<str>>,
    /// The trunk and the peer of it that the contact names; none: wherever the number is routed.
    peer: Option<(Arc<Trunk>, usize)>,
}

impl Target {
    fn address(&self) -> Option<SocketAddr> {
        self.peer.as_ref().and_then(|(trunk, peer)| Some(trunk.peers.get(*peer)?.config.address))
    }

    /// As the record has it.
    fn text(&self) -> String {
        match self.address() {
            Some(address) => format!("{}{}@{address}", self.number, self.params),
            None => format!("{}{}", self.number, self.params),
        }
    }
}

/// What tells a target from others: its number, its phone, where it is.
type Mark = (String, Option<Box<str>>, Option<SocketAddr>);

/// The redirections of one call.
#[derive(Debug, Default)]
pub(crate) struct Redirected {
    /// Targets not tried yet, the next last.
    waiting: Vec<Target>,
    /// All targets that there were, and where the call was before: none is tried again.
    seen: Vec<Mark>,
    /// The target tried now.
    now: Option<Target>,
    /// The user whose phone sent the call on last.
    user: Option<String>,
    followed: u8,
}

impl Redirected {
    /// The number that the call is for now; none before the first target is tried.
    pub(crate) fn number(&self) -> Option<&str> {
        self.now.as_ref().map(|target| target.number.as_str())
    }

    /// What goes behind the number in the Request-URI.
    pub(crate) fn params(&self) -> &str {
        self.now.as_ref().map_or("", |target| &target.params)
    }

    /// The one phone that is meant, if it is one.
    pub(crate) fn phone(&self) -> Option<&str> {
        self.now.as_ref().and_then(|target| target.phone.as_deref())
    }

    /// The user whose phone sent the call on last, if it was one's: whose call it is from there on.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|_| self.now.is_some())
    }

    /// Takes targets, the best first: they are tried before those that wait, as they take the place of the one that named
    /// them. Those seen before are passed over; what is left of them is told.
    fn take(&mut self, targets: Vec<Target>) -> Vec<String> {
        let mut fresh = Vec::new();
        for target in targets {
            let mark = (target.number.clone(), target.phone.clone(), target.address());
            if !self.seen.contains(&mark) {
                self.seen.push(mark);
                fresh.push(target);
            }
        }
        let texts = fresh.iter().map(Target::text).collect();
        self.waiting.extend(fresh.into_iter().rev());
        texts
    }
}

/// What is done about a redirection.
#[derive(Debug)]
pub(crate) enum Redirection {
    /// The call goes on to these targets, which wait with it.
    Follow(String),
    /// The caller is told.
    Relay(String, Refusal),
}

impl Redirection {
    /// Where it leads, for the record.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Follow(text) | Self::Relay(text, _) => text,
        }
    }
}

impl Shard {
    /// What is to be done about how the present attempt failed, if it was redirected and that leads anywhere.
    pub(crate) fn redirection(
        &mut self,
        now: Time,
        key: Key,
        failure: &Failure,
        response: Option<&Received>,
    ) -> Option<Redirection> {
        let Failure::Status { status: status @ 300..=399, reason, .. } = failure else { return None };
        let call = self.calls.get(key)?;
        let trying = call.trying.as_ref()?;
        let trunk = self.table.trunk(trying.trunk.as_str()).cloned();
        if trunk.as_ref().is_some_and(|trunk| trunk.config.failover_statuses.contains(status)) {
            return None; // configured to mean that the peer failed
        }
        let message = response?.parse().ok()?;
        let found = match trying.redirects {
            Redirects::Refuse => None,
            Redirects::Follow => self.follow(now, key, *status, &message, trunk.as_ref()),
            Redirects::Relay => self.tell_redirection(now, call, *status, reason, &message),
        };
        match &found {
            None => self.stats.redirects_refused += 1,
            Some(Redirection::Follow(_)) => {}
            Some(Redirection::Relay(..)) => self.stats.redirects_relayed += 1,
        }
        found
    }

    /// Lets the targets of a redirection wait with the call.
    fn follow(
        &mut self,
        now: Time,
        key: Key,
        status: u16,
        message: &Message<'_>,
        by: Option<&Arc<Trunk>>,
    ) -> Option<Redirection> {
        let call = self.calls.get(key)?;
        if call.told && call.offer.is_none() {
            return None; // another callee would make another offer, and the caller has answered one
        }
        let sent = call.draft.routed.clone().unwrap_or_default();
        let contacts = contacts(message);
        let beyond = contacts.len().saturating_sub(CONTACTS_MAX);
        let targets: Vec<Target> = contacts
            .iter()
            .take(CONTACTS_MAX)
            .filter_map(|contact| self.target(now, contact, by))
            .filter_map(|target| match status {
                // RFC 3261 §21.3.4: the same resource, by way of this proxy.
                305 => target.peer.is_some().then(|| Target {
                    number: sent.clone(),
                    params: String::new(),
                    ..target
                }),
                // §21.3.5: what there is instead stands in the body, in no form that we know.
                380 => None,
                _ => (!target.number.is_empty()).then_some(target),
            })
            .collect();
        self.stats.redirects_beyond += beyond as u64;
        let call = self.calls.get_mut(key)?;
        let aimed: Option<Box<str>> = call.phone_meant().map(Into::into);
        let (dialled, here) = (call.draft.dialled.clone(), call.trying.as_ref().map(|it| it.address));
        let user = call.trying.as_ref().and_then(|it| it.trunk.as_str().strip_prefix(link::USER_PREFIX));
        let user = user.map(str::to_owned);
        let redirected = call.redirected.get_or_insert_with(|| {
            Box::new(Redirected { seen: vec![(dialled, aimed.clone(), None)], ..Redirected::default() })
        });
        redirected.seen.push((sent, aimed, here));
        let texts = redirected.take(targets);
        if user.is_some() {
            redirected.user = user;
        }
        (!texts.is_empty()).then(|| Redirection::Follow(texts.join(", ")))
    }

    /// A redirection as the caller may see it: numbers at the gateway's own address, so that it calls them by way of the
    /// gateway. Contacts elsewhere would lead around it, or name what is none of the caller's business: they are left out.
    fn tell_redirection(
        &self,
        now: Time,
        call: &Call,
        status: u16,
        reason: &str,
        message: &Message<'_>,
    ) -> Option<Redirection> {
        if status == 380 {
            let mut refusal = Refusal::redirection(status, reason, &[]);
            let content_type = message.content_type().map(session::text);
            refusal.more().body = content_type
                .filter(|_| !message.body().is_empty() && message.body().len() <= BODY_MAX)
                .map(|content_type| (content_type, message.body().to_vec()));
            return Some(Redirection::Relay(String::from("an alternative service"), refusal));
        }
        if status == 305 {
            return None; // a proxy behind us is nothing for who is before us
        }
        let here = call.flow.local;
        let transport = call.flow.transport.uri_parameter();
        let mut told: Vec<String> = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for contact in contacts(message).iter().take(CONTACTS_MAX) {
            let uri = match contact.uri.scheme {
                Scheme::Tel => session::text(contact.uri.bytes),
                _ => match self.target(now, contact, None) {
                    Some(target) if !target.number.is_empty() => {
                        // As it stands, since a temporary GRUU is not to say whose it is.
                        let number = session::user_of(contact.uri.bytes);
                        let gr = registrar::gr_of(&contact.uri);
                        format!("sip:{number}{}@{here}{transport}{gr}", target.params)
                    }
                    _ => continue,
                },
            };
            let value = match contact.q {
                1000 => format!("<{uri}>"),
                q => format!("<{uri}>;q=0.{q:03}"),
            };
            if !told.contains(&value) {
                told.push(value);
                texts.push(session::user_of(contact.uri.bytes));
            }
        }
        let refusal = Refusal::redirection(status, reason, &told);
        (!told.is_empty()).then(|| Redirection::Relay(texts.join(", "), refusal))
    }

    /// Where a contact leads, if a call of ours may go there.
    fn target(&self, now: Time, contact: &Contact<'_>, by: Option<&Arc<Trunk>>) -> Option<Target> {
        let uri = &contact.uri;
        let (number, params) = (session::user_of(uri.bytes), params_of(uri));
        let secured = match uri.scheme {
            Scheme::Tel => return Some(Target { number, params, phone: None, peer: None }),
            Scheme::Sip => false,
            // RFC 3261 §26.2.2: over TLS or not at all, so only to a peer that is reached so.
            Scheme::Sips => true,
            Scheme::Other => return None,
        };
        if uri.params.has("maddr") {
            return None;
        }
        if !secured && self.is_our_place(uri) {
            let aim = self.aim(now, uri.bytes)?;
            return Some(Target { number: aim.number, params, phone: aim.phone, peer: None });
        }
        // The trunk that redirects first: an address may be that of several.
        let trunks = by.into_iter().chain(self.table.trunks());
        trunks.cloned().find_map(|trunk| {
            let peer = trunk.peers.iter().position(|peer| {
                let transport = peer.config.transport;
                (!secured || transport == Transport::Tls)
                    && is_place(uri, peer.config.address, transport, &trunk.host_of(peer).0)
            })?;
            let (number, params) = (number.clone(), params.clone());
            Some(Target { number, params, phone: None, peer: Some((trunk, peer)) })
        })
    }

    /// Whether a URI's host is one of our own addresses, the registrar's domain, or configured as ours.
    fn is_our_place(&self, uri: &Uri<'_>) -> bool {
        let Some(place) = uri.host_port else { return false };
        match place.host {
            Host::Name(name) => {
                let names = self.config.redirect_hosts.iter().chain([&self.config.users.realm]);
                names.into_iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
            }
            Host::Address(ip) => {
                let at = SocketAddr::new(ip, place.port.unwrap_or(5060));
                self.listeners.iter().any(|listener| listener.advertised == at || listener.local == at)
                    || self.config.redirect_hosts.iter().any(|ours| *ours == ip.to_string())
            }
        }
    }

    /// Gives an attempt up for good: the call goes on to the next target of a redirection, or ends.
    pub(crate) fn give_up(&mut self, now: Time, key: Key, refusal: &Refusal, out: &mut Outbox<Mail>) {
        let mut last = None;
        while let Some(target) = self.next_target(key) {
            if let Err(refusal) = self.take_tolls(now, key, out) {
                last = Some(refusal);
                continue;
            }
            let Some((trunk, peer)) = target.peer else {
                self.stats.redirects_followed += 1;
                return self.route(now, key, out);
            };
            if self.routes.lookup(&target.number).is_none() {
                self.stats.calls_unrouted += 1;
                last = Some(Refusal::unrouted());
                continue;
            }
            let table = self.table.clone();
            let Some(call) = self.calls.get_mut(key) else { return };
            call.table = table;
            call.hunt = Some(Hunt::only(&call.draft.from, trunk, peer));
            call.draft.routed = Some(target.number);
            self.stats.redirects_followed += 1;
            return self.try_next(now, key, out);
        }
        self.end_refused(now, key, last.as_ref().unwrap_or(refusal), out);
    }

    /// The next target that a call was sent on to, if it may still go anywhere; the call is for that from now on.
    fn next_target(&mut self, key: Key) -> Option<Target> {
        let most = self.config.redirects_max;
        let call = self.calls.get_mut(key)?;
        let redirected = call.redirected.as_mut()?;
        if redirected.followed >= most {
            self.stats.redirects_beyond += redirected.waiting.drain(..).count() as u64;
        }
        let target = redirected.waiting.pop()?;
        redirected.followed += 1;
        redirected.now = Some(target.clone());
        (call.hunt, call.contacts, call.draft.routed) = (None, None, None);
        Some(target)
    }
}

/// A contact of a redirection.
struct Contact<'a> {
    uri: Uri<'a>,
    /// Its q in thousandths.
    q: u16,
}

/// The contacts of a redirection, the most wanted first, those without q as if it were 1; others as they stand
/// (RFC 3261 §20.10, §8.1.3.4). What is no URI, or has a q that is none, is left out.
fn contacts<'a>(message: &Message<'a>) -> Vec<Contact<'a>> {
    let mut found: Vec<Contact<'a>> = message
        .values(Name::Contact)
        .filter_map(|value| {
            let address = NameAddr::parse(value)?;
            let q = match address.params.value("q") {
                None => 1000,
                Some(text) => thousandths(text)?,
            };
            Some(Contact { uri: address.parsed_uri()?, q })
        })
        .collect();
    found.sort_by_key(|contact| Reverse(contact.q));
    found
}

/// The parameters of a telephone number in a tel URI or in the user part of another (RFC 3261 §19.1.6), in bounds.
fn params_of(uri: &Uri<'_>) -> String {
    let params = match (uri.scheme, uri.user) {
        (Scheme::Tel, _) => uri.params.bytes(),
        (_, Some(user)) => user.iter().position(|byte| *byte == b';').map_or(&b""[..], |at| &user[at..]),
        (_, None) => b"",
    };
    let is_plain = params.iter().all(|byte| byte.is_ascii_graphic() && !b"<>\"@".contains(byte));
    if !is_plain || params.len() > PARAMS_MAX {
        return String::new();
    }
    String::from_utf8_lossy(params).into_owned()
}

/// A `qvalue` (RFC 3261 §25.1) in thousandths.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_at_checked(1)?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut value = match whole {
        b"0" => 0,
        b"1" => 1000,
        _ => return None,
    };
    for (digit, weight) in digits.iter().zip([100, 10, 1]) {
        value += u16::from(digit.is_ascii_digit().then(|| digit - b'0')?) * weight;
    }
    (value <= 1000).then_some(value)
}

/// Whether a URI names this peer: its address, or the name by which it was configured.
fn is_place(uri: &Uri<'_>, address: SocketAddr, transport: Transport, host: &str) -> bool {
    let Some(place) = uri.host_port else { return false };
    let named = uri.params.value("transport").map(Transport::named);
    if named.is_some_and(|named| named != Some(transport)) {
        return false;
    }
    let port = place.port.unwrap_or_else(|| transport.default_port());
    match place.host {
        Host::Address(ip) => SocketAddr::new(ip, port) == address,
        Host::Name(name) => {
            let (ours, rest) = host.split_once([':', ';']).unwrap_or((host, ""));
            let port_given = rest.split(';').next().and_then(|port| port.parse::<u16>().ok());
            name.eq_ignore_ascii_case(ours.as_bytes()) && (place.port == port_given || port == address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q_is_read_as_rfc_3261_25_1_writes_it() {
        for (text, value) in
            [("1", 1000), ("1.000", 1000), ("0", 0), ("0.", 0), ("0.5", 500), ("0.07", 70), ("0.123", 123)]
        {
            assert_eq!(thousandths(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "2", "1.1", "0.1234", ".5", "0.x", "-1", "NaN"] {
            assert_eq!(thousandths(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn contacts_are_tried_by_their_q_and_else_in_their_order() {
        let text = "SIP/2.0 300 Multiple Choices\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
            To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:low@h>;q=0.1, <sip:first@h>\r\n\
            Contact: <sip:second@h>;q=1.0, <sip:none@h>;q=7, nonsense, <sip:mid@h>;q=0.5\r\n\r\n";
        let message = Message::parse(text.as_bytes()).unwrap();
        let users: Vec<String> =
            contacts(&message).iter().map(|contact| session::user_of(contact.uri.bytes)).collect();
        assert_eq!(users, ["first", "second", "mid", "low"]);
    }

    #[test]
    fn a_place_is_known_by_address_or_name() {
        let at = |uri: &str, address: &str, transport, host| {
            is_place(&Uri::parse(uri.as_bytes()).unwrap(), address.parse().unwrap(), transport, host)
        };
        assert!(at("sip:1@192.0.2.1", "192.0.2.1:5060", Transport::Udp, "192.0.2.1"));
        assert!(!at("sip:1@192.0.2.1:5070", "192.0.2.1:5060", Transport::Udp, "192.0.2.1"));
        assert!(at("sips:1@192.0.2.1", "192.0.2.1:5061", Transport::Tls, "192.0.2.1"));
        assert!(!at("sip:1@192.0.2.1;transport=tcp", "192.0.2.1:5060", Transport::Udp, "192.0.2.1"));
        assert!(!at("sip:1@192.0.2.1;transport=sctp", "192.0.2.1:5060", Transport::Udp, "192.0.2.1"));
        assert!(at("sip:1@SIP.example", "192.0.2.1:5060", Transport::Udp, "sip.example"));
        assert!(!at("sip:1@sip.example:5070", "192.0.2.1:5060", Transport::Udp, "sip.example"));
        assert!(!at("sip:1@other.example", "192.0.2.1:5060", Transport::Udp, "sip.example"));
    }

    #[test]
    fn no_target_is_tried_twice_and_newer_ones_come_first() {
        let target = |number: &str| Target {
            number: number.to_owned(),
            params: String::new(),
            phone: None,
            peer: None,
        };
        let mut redirected = Redirected::default();
        assert_eq!(redirected.take(vec![target("1"), target("2")]), ["1", "2"]);
        assert_eq!(redirected.waiting.pop().unwrap().number, "1");
        assert_eq!(redirected.take(vec![target("3"), target("1"), target("3")]), ["3"]);
        let order: Vec<String> = redirected.waiting.iter().rev().map(Target::text).collect();
        assert_eq!(order, ["3", "2"]);
    }
}
