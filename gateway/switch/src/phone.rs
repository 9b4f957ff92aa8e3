//! A call to a user: the phones registered under that name are asked one after the other (RFC 3261 §16.6 and §16.7).

use crate::attempt::Way;
use crate::mail::Mail;
use crate::registrar::{Reach, path};
use crate::shard::Shard;
use crate::status::Refusal;
use core::net::SocketAddr;
use link::Binding;
use sansio::{Key, Outbox, StreamId, Time};
use sip::message::Uri;
use sip::{Failure, Held, Transport, is_private};

impl Shard {
    /// Sends a call to the phones of the user it is for.
    pub(crate) fn route_to_user(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let user = call.number().to_owned();
        let now_wall = link::UnixMicros(self.wall_at_zero.0 + now.as_nanos() / 1000);
        let phone = call.phone_meant();
        self.stats.calls_to_gruus += u64::from(phone.is_some());
        let Reach { mut contacts, unlocated } =
            self.registrar.reach(now_wall, &user, phone, || self.random.u64());
        self.stats.paths_unlocated += unlocated;
        contacts.truncate(usize::from(self.config.attempts_max));
        // Where a connection is gone, the address that the contact names may be open.
        let mut contacts: Vec<Binding> =
            contacts.into_iter().flat_map(|it| [Some(it.clone()), elsewhere(it)]).flatten().collect();
        contacts.reverse();
        self.stats.calls_to_users += 1;
        if contacts.is_empty() {
            self.stats.calls_user_unavailable += 1;
            return self.give_up(now, key, &Refusal::unregistered(), out);
        }
        call.draft.routed = Some(user);
        call.contacts = Some(contacts);
        self.try_next(now, key, out);
    }

    /// Asks the user's next phone, or gives the call up.
    pub(crate) fn try_contact(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        loop {
            let Some(call) = self.calls.get_mut(key) else { return };
            let Some(binding) = call.contacts.as_mut().and_then(Vec::pop) else {
                self.stats.calls_attempts_failed += 1;
                let refusal = match &call.last_failure {
                    // RFC 5626 §11.5: "Endpoints should never receive" it.
                    Some(Failure::Status { status: 430, .. }) => Refusal::unregistered(),
                    None | Some(Failure::NoResponse | Failure::Refused | Failure::ConnectFailed) => {
                        Refusal::unregistered()
                    }
                    Some(failure) => Refusal::callee(failure),
                };
                return self.give_up(now, key, &refusal, out);
            };
            call.phone = Some(Tried::of(&binding));
            let tried = !call.draft.attempts.is_empty();
            self.stats.attempts += 1;
            self.stats.failovers += u64::from(tried);
            let sent = self.way_to(key, &binding).and_then(|way| self.send_invite(now, key, way, &[], out));
            match sent {
                Ok(()) => return,
                Err(refusal) if refusal.status == 488 => {
                    return self.end_refused(now, key, &refusal, out);
                }
                // The phone's address is of no use; another one's may be.
                Err(_) => {}
            }
        }
    }

    /// A phone has answered, or let it ring: its other flows are the same phone, which is not asked again (RFC 5626 §5.3). One
    /// whose flow failed is reached by the next.
    pub(crate) fn leave_phone(&mut self, key: Key, failure: &Failure) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let status = match failure {
            Failure::Status { status, .. } => *status,
            Failure::NoResponse | Failure::Refused | Failure::ConnectFailed => 408,
            Failure::NoAnswer | Failure::TimedOut | Failure::AnsweredLate => 480,
        };
        if let (Some(phone), Some(contacts)) = (&call.phone, &mut call.contacts) {
            phone.leave(status, contacts);
        }
    }

    fn way_to(&self, key: Key, binding: &Binding) -> Result<Way, Refusal> {
        let user = self.calls.get(key).map(|call| call.number().to_owned()).unwrap_or_default();
        self.way_to_phone(&user, binding)
    }

    /// The way to one phone of a user.
    pub(crate) fn way_to_phone(&self, user: &str, binding: &Binding) -> Result<Way, Refusal> {
        let listener = match self.listener_called(binding.local) {
            Some(listener) => listener,
            None => self.listener_towards(binding.target, None)?,
        };
        let advertised = self.listeners[listener].advertised;
        let course = path::course(binding);
        let proxy = course.as_ref().and_then(|course| course.first);
        let (request_uri, route) = match course {
            // RFC 3327 §5.3: by the proxies that its REGISTER came through.
            Some(course) => (course.request_uri, course.route),
            // RFC 3261 §16.6 step 2: the contact as it was registered.
            None => (binding.contact.to_string(), None),
        };
        let transport = proxy.map(|(transport, _)| transport).or_else(|| transport_of(binding));
        let transport = transport.ok_or_else(|| Refusal::internal("binding of no transport"))?;
        let name = format!("{}{user}", link::USER_PREFIX).into();
        Ok(Way {
            // A proxy takes connections where its URI says.
            over: binding
                .connection
                .filter(|_| proxy.is_none())
                .map(|it| (Held { holder: it.shard, stream: StreamId(it.stream) }, binding.local)),
            request_uri,
            to: format!("<sip:{user}@{}>", crate::session::host(advertised.ip())),
            number: crate::session::user_of(binding.contact.as_bytes()),
            patience: self.config.no_response.saturating_mul(4),
            nat: (self.nat_at(listener), binding.behind_nat),
            route,
            ..Way::beside_trunks(name, binding.target, transport, listener)
        })
    }
}

/// Which phone was asked, and by which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// The phone, if it has several flows.
    phone: Option<String>,
    /// Its contact and the proxies before it, if there are any.
    way: Option<(Box<str>, Box<str>)>,
}

impl Tried {
    pub(crate) fn of(binding: &Binding) -> Self {
        Self {
            phone: binding.by_flow().map(|flow| flow.instance.clone()),
            way: (!binding.path.is_empty()).then(|| (binding.contact.clone(), binding.path.clone())),
        }
    }

    /// Takes out what need not be asked any more once it has answered with that status: its other flows, and the other places of its
    /// proxy.
    pub(crate) fn leave(&self, status: u16, contacts: &mut Vec<Binding>) {
        if let Some(phone) = self.phone.as_ref().filter(|_| !is_of_flow(status)) {
            contacts.retain(|it| it.by_flow().is_none_or(|flow| flow.instance != *phone));
        }
        // RFC 3263 §4.3: what asks for the next place of a server is silence, or a 503.
        if let Some((contact, path)) = self.way.as_ref().filter(|_| !is_of_flow(status) && status != 503) {
            contacts.retain(|it| (&it.contact, &it.path) != (contact, path));
        }
    }
}

/// Whether a refusal says nothing of the phone but of one of its flows (RFC 5626 §7).
pub(crate) const fn is_of_flow(status: u16) -> bool {
    matches!(status, 408 | 430)
}

fn transport_of(binding: &Binding) -> Option<Transport> {
    Transport::ALL.into_iter().find(|transport| transport.name() == &*binding.transport)
}

/// A phone on TCP or TLS at the address that its contact names, if that is another way than the one it registered by. A private
/// address behind a NAT is none: somebody else may have it here. Nor is there one for a flow (RFC 5626 §5.3).
fn elsewhere(binding: Binding) -> Option<Binding> {
    let transport = transport_of(&binding).filter(|it| matches!(it, Transport::Tcp | Transport::Tls))?;
    let uri = Uri::parse(binding.contact.as_bytes())?;
    let place = uri.host_port?;
    let named =
        SocketAddr::new(place.host.address()?, place.port.unwrap_or_else(|| transport.default_port()));
    let hidden = binding.behind_nat && is_private(named.ip());
    let another = named != binding.target || binding.connection.is_some();
    (another && !hidden && binding.by_flow().is_none() && binding.path.is_empty()).then(|| Binding {
        target: named,
        connection: None,
        ..binding.clone()
    })
}
