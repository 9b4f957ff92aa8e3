//! REGISTER: who asks, what is asked, what is answered (RFC 3261 §10.3).

use crate::authenticate::Access;
use crate::mail::Mail;
use crate::registrar::path::{self, Path, Unfit};
use crate::registrar::{Contact, Refused, Wanted, Wish};
use crate::session::{text, user_of};
use crate::shard::{Service, Shard};
use core::net::SocketAddr;
use link::{BanReason, Binding, Connection, Event, FlowName, Registration, UnixMicros};
use sansio::{Outbox, StreamId, Time};
use sip::gruu;
use sip::message::{Message, Name, NameAddr, Uri};
use sip::{Flow, Nat, Received, RequestId, Transport, shows_nat};

/// Longest Contact URI that is kept, in bytes.
const CONTACT_MAX: usize = 512;
/// Longest name of a phone (`+sip.instance`) that is kept, in bytes.
const INSTANCE_MAX: usize = 128;
/// The option tag of RFC 5626.
const OUTBOUND: &str = "outbound";
/// Longest User-Agent that is kept, in bytes.
const AGENT_MAX: usize = 128;

/// What a REGISTER is answered with.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    const fn bare(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }
}

impl Shard {
    pub(crate) fn on_register(
        &mut self,
        now: Time,
        id: RequestId,
        message: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) {
        let answer = match message.parse() {
            Ok(message) => self.register(now, &message, flow, out),
            Err(_) => Answer::bare(500),
        };
        let counter = match answer.status {
            200 => &mut self.stats.registers_accepted,
            401 => &mut self.stats.registers_challenged,
            _ => &mut self.stats.registers_refused,
        };
        *counter += 1;
        let headers: Vec<(&str, &str)> =
            answer.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // It may have timed out meanwhile: then nobody waits.
        let _ = match answer.status {
            // RFC 3261 §8.2.7: who knows no password leaves no state.
            401 => self.endpoint.respond_and_forget(now, id, 401, &headers),
            status => self.endpoint.respond_register(now, id, status, &headers),
        };
    }

    fn register(&mut self, now: Time, request: &Message<'_>, flow: &Flow, out: &mut Outbox<Mail>) -> Answer {
        let busy = |retry: u32| Answer { status: 503, headers: vec![("Retry-After", retry.to_string())] };
        if self.service != Service::Open {
            return busy(self.config.retry_after);
        }
        // Steps 3 to 5: who is it, may he, and is the address one of ours: users change their own bindings alone.
        let name = match self.authenticate(now, request) {
            Access::User(name) => name,
            Access::Wrong => {
                self.offend(now, flow.remote.ip(), BanReason::Authentication, 1, out);
                return Answer::bare(403);
            }
            Access::Asked(challenges) => {
                let headers = challenges.into_iter().map(|it| ("WWW-Authenticate", it)).collect();
                return Answer { status: 401, headers };
            }
        };
        if request.to().map(|to| user_of(to.uri)).as_deref() != Some(name.as_str()) {
            return Answer::bare(403);
        }
        let nat = self.nat_of(flow);
        let by_flow = lists_outbound(request);
        let path = match Path::of(request) {
            Ok(path) => path,
            Err(Unfit::Malformed) => return Answer::bare(400),
            Err(Unfit::TooLong) => {
                self.stats.registers_path_refused += 1;
                let why = format!("more than {} Path values or {} bytes", path::HOPS_MAX, path::LENGTH_MAX);
                return Answer { status: 403, headers: vec![("Warning", self.warning(flow, &why))] };
            }
        };
        if !path.route.is_empty() && !lists(request, path::TAG) && !self.config.users.path_from_any {
            // RFC 3327 §5.3, "The recommended policy": the phone finds out that a proxy adds what it does not know of.
            self.stats.registers_path_refused += 1;
            return Answer { status: 420, headers: vec![("Unsupported", path::TAG.to_owned())] };
        }
        let taken = path.route.clone();
        let Some(wish) = read(name, request, flow, self.connection_of(flow), nat, path) else {
            return Answer::bare(400);
        };
        let by_flow = by_flow && wish.is_by_flow();
        if by_flow && !first_hop_knows_flows(request) {
            // RFC 5626 §6: a proxy between us holds the flow, and does not know that it should.
            self.stats.registers_first_hop_refused += 1;
            return Answer::bare(439);
        }
        if self.is_bound_to_gruu(now, &wish) {
            // RFC 5627 §5.1: what goes to it would come back for ever.
            self.stats.registers_gruu_refused += 1;
            return Answer::bare(403);
        }
        let aor = request.to().and_then(|to| Uri::parse(to.uri)).filter(|_| lists(request, gruu::TAG));
        let limits = self.config.users.limits;
        let wall = self.wall(now);
        match self.registrar.register(wall, &wish, &limits) {
            Ok((registration, changed)) => {
                let mut headers: Vec<(&str, String)> = Vec::new();
                for it in registration.bindings.iter() {
                    let mut value = contact(it, wall);
                    if let Some(aor) = &aor {
                        let (of, chance) = ((&*registration.user, it), self.names.u64());
                        let gruus = self.registrar.gruus(&self.config.users, aor, of, chance);
                        if let Some((public, temporary)) = gruus {
                            self.stats.gruus_given += 1;
                            value.push_str(&format!(";pub-gruu=\"{public}\";temp-gruu=\"{temporary}\""));
                        }
                    }
                    headers.push(("Contact", value));
                }
                if by_flow {
                    // RFC 5626 §6: it is done by flows, and how long one may be silent.
                    headers.push(("Require", OUTBOUND.to_owned()));
                    headers.push(("Flow-Timer", self.config.nat.flow_timer.as_secs().to_string()));
                }
                if !taken.is_empty() {
                    // RFC 3327 §5.3: "The registrar copies the Path header field values" into it.
                    headers.push(("Path", taken));
                }
                headers.push(("Supported", format!("{}, {OUTBOUND}, {}", path::TAG, gruu::TAG)));
                if changed {
                    self.tell(Event::Registered(Box::new(registration)), out);
                }
                Answer { status: 200, headers }
            }
            Err(Refused::TooBrief) => {
                Answer { status: 423, headers: vec![("Min-Expires", limits.min_expires.to_string())] }
            }
            Err(Refused::OutOfOrder) => Answer::bare(500),
            Err(Refused::TooMany) => {
                self.stats.registrations_full += 1;
                Answer::bare(403)
            }
            Err(Refused::Full) => {
                self.stats.registrations_full += 1;
                busy(self.config.retry_after)
            }
        }
    }

    /// Whether any contact is a GRUU of the user himself.
    fn is_bound_to_gruu(&self, now: Time, wish: &Wish) -> bool {
        let Wanted::Contacts(contacts) = &wish.wanted else { return false };
        contacts.iter().any(|it| {
            let parsed = Uri::parse(it.uri.as_bytes());
            let is_one = parsed.is_some_and(|uri| gruu::gruu(&uri).is_some());
            is_one && self.aim(now, it.uri.as_bytes()).is_none_or(|aim| aim.number == wish.user)
        })
    }

    /// Takes out the bindings that have expired, and tells control.
    pub(crate) fn expire_registrations(&mut self, now: Time, out: &mut Outbox<Mail>) {
        for registration in self.registrar.expire(self.wall(now), &self.config.users) {
            self.stats.registrations_expired += 1;
            self.tell(Event::Registered(Box::new(registration)), out);
        }
    }

    /// A connection that a peer had opened is over, and with it the flows that phones had registered over it: a phone that is
    /// still there registers again over another (RFC 5626 §4.4.1), and has its other flows until then.
    pub(crate) fn on_flow_lost(&mut self, now: Time, stream: StreamId, out: &mut Outbox<Mail>) {
        let connection = Connection { shard: self.shards.me, stream: stream.0 };
        for registration in self.registrar.lose(self.wall(now), connection) {
            self.stats.registrations_flow_lost += 1;
            self.tell(Event::Registered(Box::new(registration)), out);
        }
    }

    /// What was registered before the gateway started.
    pub(crate) fn load_registrations(&self, now: Time, known: Vec<Registration>) {
        self.registrar.load(self.wall(now), &self.config.users, known);
    }
}

/// A binding as the 200 lists it, with the seconds that are left (RFC 3261 §10.3 step 8).
fn contact(binding: &Binding, now: UnixMicros) -> String {
    let left = binding.expires.since(now).div_ceil(1_000_000);
    let q = match binding.q {
        1000 => String::new(),
        q => format!(";q=0.{q:03}"),
    };
    let flow = binding.by_flow().map_or(String::new(), |flow| format!(";reg-id={}", flow.reg_id));
    let phone = binding.flow.as_ref();
    let phone = phone.map_or(String::new(), |it| format!(";+sip.instance=\"{}\"", it.instance));
    format!("<{}>;expires={left}{q}{flow}{phone}", binding.contact)
}

impl Shard {
    /// A warning in our name (RFC 3261 §20.43).
    fn warning(&self, flow: &Flow, text: &str) -> String {
        let at = self.listeners[self.listener_of(flow)].advertised;
        format!("399 {at} \"{text}\"")
    }

    fn connection_of(&self, flow: &Flow) -> Option<Connection> {
        let held = self.endpoint.held(flow)?;
        Some(Connection { shard: held.holder, stream: held.stream.0 })
    }
}

/// What a REGISTER asks for; `None` if it cannot be understood.
fn read(
    user: String,
    request: &Message<'_>,
    flow: &Flow,
    connection: Option<Connection>,
    nat: Nat,
    path: Path,
) -> Option<Wish> {
    // Behind proxies, a NAT is theirs to see to.
    let behind_nat = path.route.is_empty() && nat.applies(shows_nat(request, flow));
    let first = (!path.route.is_empty()).then(|| path.first.map_or(flow.remote, |(_, at)| at));
    let values: Vec<&[u8]> = request.values(Name::Contact).collect();
    let common = request.header(Name::Expires).map(seconds);
    let wanted = match values.as_slice() {
        [] => Wanted::Nothing,
        // RFC 3261 §10.2.2: alone, and with Expires: 0.
        [b"*"] => (common == Some(Some(0))).then_some(Wanted::RemoveAll)?,
        all => Wanted::Contacts(
            all.iter()
                .map(|value| read_contact(value, common, request, flow, (behind_nat, first)))
                .collect::<Option<_>>()?,
        ),
    };
    let mut user_agent = request.header(Name::UserAgent).map(text).unwrap_or_default();
    while user_agent.len() > AGENT_MAX {
        user_agent.pop();
    }
    Some(Wish {
        user,
        wanted,
        call_id: text(request.call_id()).into(),
        cseq: request.cseq()?.number,
        transport: flow.transport.name().into(),
        connection,
        source: flow.remote,
        local: flow.local,
        behind_nat,
        path: path.route.into(),
        user_agent,
    })
}

/// An expiry time. One that cannot be read is as if it were not there (RFC 3261 §10.2.1.1).
fn seconds(value: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(value).ok()?.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u32::MAX))
}

fn read_contact(
    value: &[u8],
    common: Option<Option<u32>>,
    request: &Message<'_>,
    flow: &Flow,
    (behind_nat, first): (bool, Option<SocketAddr>),
) -> Option<Contact> {
    let address = NameAddr::parse(value)?;
    let uri = Uri::parse(address.uri).filter(|uri| uri.is_sip() && uri.headers.is_none())?;
    let written = core::str::from_utf8(address.uri).ok().filter(|it| it.len() <= CONTACT_MAX)?;
    let q = match address.params.value("q") {
        None => 1000,
        Some(q) => {
            let q: f64 = core::str::from_utf8(q).ok()?.parse().ok()?;
            (0.0..=1.0).contains(&q).then(|| (q * 1000.0).round() as u16)?
        }
    };
    let expires = address.params.value("expires").and_then(seconds).or_else(|| common.flatten());
    let target = if behind_nat { flow.remote } else { target(&uri, request, flow) };
    let target = first.unwrap_or(target);
    let name = phone_name(request, &address);
    Some(Contact { uri: written.into(), q, expires, target, flow: name.map(Box::new) })
}

/// Whether a phone knows of flows (RFC 5626 §4.2).
fn lists_outbound(request: &Message<'_>) -> bool {
    lists(request, OUTBOUND)
}

fn lists(request: &Message<'_>, tag: &str) -> bool {
    [Name::Supported, Name::Require].iter().any(|name| request.lists(*name, tag))
}

/// What a Contact says of the phone (`+sip.instance`), if that is to be known: of its flow, if it registers by flows and says
/// which (`reg-id`, RFC 5626 §6), or else that it is there, if it wants GRUUs (RFC 5627 §5.1).
fn phone_name(request: &Message<'_>, contact: &NameAddr<'_>) -> Option<FlowName> {
    let instance = core::str::from_utf8(contact.params.value("+sip.instance")?).ok()?;
    let instance = instance.trim_matches('"');
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let fits = !instance.is_empty() && instance.len() <= INSTANCE_MAX && instance.bytes().all(plain);
    let reg_id = contact.params.value("reg-id").filter(|_| lists_outbound(request));
    let reg_id = reg_id.and_then(|it| core::str::from_utf8(it).ok()?.parse().ok()).unwrap_or(0);
    let wanted = reg_id > 0 || lists(request, gruu::TAG);
    (fits && wanted).then(|| FlowName { instance: instance.to_owned(), reg_id, since: 0 })
}

/// Whether the phone's flow ends where it is held: here, or at a proxy that says so in its Path (RFC 5626 §6).
fn first_hop_knows_flows(request: &Message<'_>) -> bool {
    let direct = request.values(Name::Via).nth(1).is_none();
    let mut path = request.values(Name::Path);
    // Only the proxy that holds the flow says so (RFC 5626 §5.1).
    let says_so = |value: &[u8]| {
        NameAddr::parse(value).and_then(|it| it.parsed_uri()).is_some_and(|uri| uri.params.has("ob"))
    };
    direct || path.any(says_so)
}

/// Where a phone without NAT is called: there where its REGISTER came from (the idea of RFC 3581). A
/// phone that asks over UDP for no `rport` and names another address may listen there alone: that is taken.
fn target(uri: &Uri<'_>, request: &Message<'_>, flow: &Flow) -> SocketAddr {
    let named =
        uri.host_port.and_then(|it| Some(SocketAddr::new(it.host.address()?, it.port.unwrap_or(5060))));
    let symmetric = request.top_via().is_none_or(|via| via.params.has("rport"));
    match named {
        Some(named) if !symmetric && flow.transport == Transport::Udp => {
            if named.is_ipv4() == flow.remote.is_ipv4() { named } else { flow.remote }
        }
        _ => flow.remote,
    }
}
