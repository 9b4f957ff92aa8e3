//! Trunks registered with their carriers (RFC 3261 §10.2): each by the one shard that its name hashes to, whatever else
//! the configuration holds, so that a reload never moves one.

use crate::mail::Mail;
use crate::shard::{Service, Shard, Timer};
use crate::trunk::{Counts, RegistrationConfig, RegistrationNews, Trunk};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Event, RegistrationChange, RegistrationState};
use sansio::{Outbox, StreamId, Time, TimerId};
use sip::message::Message;
use sip::registration::{Registration, Standing};
use sip::{Destination, Failure, Flow, Link, Received, Register, RequestId, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first REGISTERs of a shard are spread over so much time for each trunk it has, at most over [`SPREAD_MAX`].
const SPREAD: Duration = Duration::from_millis(20);
/// See [`SPREAD`].
const SPREAD_MAX: Duration = Duration::from_secs(10);
/// How long the removal of a binding may take: a drain waits for it.
const LEAVE_WITHIN: Duration = Duration::from_secs(4);

/// One trunk that this shard registers.
#[derive(Debug)]
pub(crate) struct Registrant {
    trunk: Arc<Trunk>,
    config: RegistrationConfig,
    core: Registration,
    timer: Option<TimerId>,
    /// The REGISTER under way, and the URI of its Contact.
    asked: Option<(RequestId, String, Flow)>,
    /// Where the way through our NAT is kept open to, and when next: we registered over UDP and are not where we said.
    through_nat: Option<(Destination, Option<TimerId>)>,
    /// The connection that is kept open for the carrier's calls, and where to.
    kept: Option<(StreamId, (Transport, SocketAddr))>,
    /// Attempts that were granted and that failed, as far as they are counted.
    counted: (u64, u64),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Registrants {
    all: BTreeMap<u32, Registrant>,
    /// By the REGISTER under way.
    asked: BTreeMap<RequestId, u32>,
    next: u32,
}

impl Registrants {
    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a request is one of theirs.
    pub(crate) fn asked(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id)
    }

    fn keeps(&self, stream: StreamId) -> bool {
        self.all.values().any(|it| it.kept.is_some_and(|(kept, _)| kept == stream))
    }

    fn of(&self, name: &str) -> Option<u32> {
        self.all.iter().find(|(_, it)| it.trunk.config.name == name).map(|(number, _)| *number)
    }
}

impl Shard {
    /// Begins to register those trunks that are this shard's to register and are not registered yet.
    pub(crate) fn start_registrants(&mut self, now: Time) {
        if self.service != Service::Open {
            return;
        }
        let table = self.table.clone();
        let (me, count) = (u64::from(self.shards.me), u64::from(self.shards.count.max(1)));
        let own = |trunk: &&Arc<Trunk>| trunk.config.register.is_some() && trunk.identity() % count == me;
        let due: Vec<&Arc<Trunk>> = table
            .trunks()
            .iter()
            .filter(own)
            .filter(|trunk| self.registrants.of(&trunk.config.name).is_none())
            .collect();
        let spread = SPREAD.saturating_mul(due.len() as u32).min(SPREAD_MAX);
        for trunk in due {
            let Some(config) = trunk.config.register.clone() else { continue };
            let first = now + spread.mul_f64(self.random.unit());
            let mut tag = [0; 12];
            self.random.token(&mut tag);
            let tag = tag.iter().map(|byte| char::from(*byte)).collect();
            let call_id = self.shards.draw_call_id(&mut self.random);
            let terms = config.terms(trunk.config.account.clone());
            let core = Registration::new(terms, call_id, tag, first);
            let number = self.registrants.next;
            self.registrants.next = number.wrapping_add(1);
            let (trunk, counted) = (trunk.clone(), (0, 0));
            let registrant = Registrant {
                trunk,
                config,
                core,
                timer: None,
                asked: None,
                through_nat: None,
                kept: None,
                counted,
            };
            self.registrants.all.insert(number, registrant);
            self.arm_registrant(number);
        }
    }

    /// After a reload: those that are configured no more, or otherwise, are given up; the rest goes on.
    pub(crate) fn review_registrants(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let table = self.table.clone();
        let numbers: Vec<u32> = self.registrants.all.keys().copied().collect();
        for number in numbers {
            let Some(it) = self.registrants.all.get_mut(&number) else { continue };
            let now_is = table.trunk(&it.trunk.config.name).filter(|trunk| trunk.config.register.is_some());
            match now_is.and_then(|trunk| Some((trunk, trunk.config.register.as_ref()?))) {
                Some((trunk, config)) if config.is_same_binding(&it.config) && !it.core.is_leaving() => {
                    let terms = config.terms(trunk.config.account.clone());
                    it.trunk = trunk.clone();
                    it.config = config.clone();
                    if terms != *it.core.terms() {
                        it.core.change(now, terms);
                    }
                }
                _ => it.core.leave(now),
            }
            self.follow_registrant(now, number, out);
        }
        self.start_registrants(now);
    }

    /// Gives all up: the shard takes no more calls.
    pub(crate) fn leave_registrars(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let numbers: Vec<u32> = self.registrants.all.keys().copied().collect();
        for number in numbers {
            if let Some(it) = self.registrants.all.get_mut(&number) {
                it.core.leave(now);
            }
            self.follow_registrant(now, number, out);
        }
    }

    /// A registrant's time has come.
    pub(crate) fn registrant_due(&mut self, now: Time, number: u32, out: &mut Outbox<Mail>) {
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        it.timer = None;
        if it.core.on_time(now) {
            self.send_register(now, number);
        }
        self.follow_registrant(now, number, out);
    }

    fn send_register(&mut self, now: Time, number: u32) {
        let chance = self.random.u64();
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let ask = it.core.compose(now, chance);
        let (transport, remote) = ask.to.unwrap_or((it.config.to.transport, it.config.to.address));
        let realm = it.trunk.config.realm.clone();
        let listener = self.listener_towards(remote, realm.as_deref()).ok();
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let Some(listener) = listener.map(|at| &self.listeners[at]) else {
            return it.core.on_unsent(now, "no listen address of the registrar's family", &mut self.random);
        };
        let fields: Vec<(&str, &str)> =
            ask.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let register = Register {
            call_id: it.core.call_id(),
            cseq: ask.cseq,
            request_uri: &ask.request_uri,
            aor: &it.config.aor,
            tag: it.core.tag(),
            contact_user: &it.config.contact_user,
            expires: ask.expires,
            destination: Destination { transport, remote, socket: listener.udp, over: None },
            headers: &fields,
            timeout: if ask.expires == 0 { LEAVE_WITHIN } else { self.config.t1.saturating_mul(64) },
        };
        match self.endpoint.register(now, &register) {
            Ok(made) => {
                if let Some(shared) = it.trunk.registration() {
                    Counts::add(&shared.counts.sent, 1);
                }
                self.registrants.asked.insert(made.id, number);
                it.asked = Some((made.id, made.contact, made.flow));
            }
            Err(error) => it.core.on_unsent(now, &error.to_string(), &mut self.random),
        }
    }

    /// A registrar answered.
    pub(crate) fn on_registrar_answer(
        &mut self,
        now: Time,
        id: RequestId,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) {
        let Some(number) = self.registrants.asked.remove(&id) else { return };
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let Some((_, contact, flow)) = it.asked.take_if(|asked| asked.0 == id) else { return };
        match message.parse() {
            Ok(response) => {
                it.core.on_response(now, &response, &contact, &mut self.random);
                if response.status() / 100 == 2 && !it.core.is_over() {
                    self.registered_over(now, number, &response, &flow);
                    self.registered_through(now, number, &response, &flow);
                }
            }
            // It was parsed before; should it not be readable again, it is as if it had not come.
            Err(_) => it.core.on_failure(now, &Failure::NoResponse, &mut self.random),
        }
        self.follow_registrant(now, number, out);
    }

    /// A registrar did not answer.
    pub(crate) fn on_registrar_silence(
        &mut self,
        now: Time,
        id: RequestId,
        cause: &Failure,
        out: &mut Outbox<Mail>,
    ) {
        let Some(number) = self.registrants.asked.remove(&id) else { return };
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        it.asked = None;
        it.core.on_failure(now, cause, &mut self.random);
        self.follow_registrant(now, number, out);
    }

    /// A connection that was kept for a carrier's calls is over.
    pub(crate) fn on_kept_lost(&mut self, now: Time, stream: StreamId, out: &mut Outbox<Mail>) {
        let is_over = |it: &Registrant| it.kept.is_some_and(|(kept, _)| kept == stream);
        let all = self.registrants.all.iter();
        let numbers: Vec<u32> = all.filter(|(_, it)| is_over(it)).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(it) = self.registrants.all.get_mut(&number) {
                it.kept = None;
                it.core.on_flow_lost(now, &mut self.random);
            }
            self.follow_registrant(now, number, out);
        }
    }

    /// Whether the carrier saw our REGISTER come from elsewhere than we say we are (RFC 3581 §4): then a NAT has to be kept
    /// from forgetting us.
    fn registered_through(&mut self, now: Time, number: u32, response: &Message<'_>, flow: &Flow) {
        let via = response.top_via();
        let elsewhere = via.is_some_and(|via| {
            let address = via.received().map(|ip| ip.to_canonical());
            address.is_some_and(|ip| ip != flow.local.ip().to_canonical())
                || via.rport().flatten().is_some_and(|port| port != flow.local.port())
        });
        let interval = self.config.nat.trunk_interval;
        let Link::Socket(socket) = flow.link else { return };
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let old = it.through_nat.take().and_then(|(_, timer)| timer);
        if let Some(old) = old {
            self.wheel.cancel(old);
        }
        if elsewhere && !interval.is_zero() {
            let to = Destination { transport: flow.transport, remote: flow.remote, socket, over: None };
            let timer = self.set_timer(now + interval, Timer::KeepTrunk(number));
            if let Some(it) = self.registrants.all.get_mut(&number) {
                it.through_nat = Some((to, timer));
            }
        }
    }

    /// The way to a carrier through our NAT is to be used again.
    pub(crate) fn keep_trunk(&mut self, now: Time, number: u32) {
        let interval = self.config.nat.trunk_interval;
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let Some((to, _)) = it.through_nat.take().filter(|_| !interval.is_zero()) else { return };
        self.endpoint.keep_way(now, &to);
        let timer = self.set_timer(now + interval, Timer::KeepTrunk(number));
        if let Some(it) = self.registrants.all.get_mut(&number) {
            it.through_nat = Some((to, timer));
        }
    }

    /// The way that a binding was made over is kept open: the carrier's calls come over it.
    fn registered_over(&mut self, now: Time, number: u32, response: &Message<'_>, flow: &Flow) {
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let old = it.kept.take();
        if let Some(stream) = flow.stream() {
            // RFC 6223 §4.3: what the next hop says in our Via.
            let via = response.top_via();
            let every =
                via.and_then(|via| core::str::from_utf8(via.params.value("keep")?).ok()?.parse().ok());
            let every = every.filter(|seconds| *seconds <= 86_400).map(Duration::from_secs);
            let place = (stream, (flow.transport, flow.remote));
            it.kept = self.endpoint.keep_open(now, stream, every).then_some(place);
        }
        if let Some((old, _)) = old
            && !self.registrants.keeps(old)
        {
            self.endpoint.let_go(now, old);
        }
    }

    /// What follows from whatever happened to a registrant: the others are told, its timer is set, its end is seen to.
    fn follow_registrant(&mut self, now: Time, number: u32, out: &mut Outbox<Mail>) {
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let counted = core::mem::replace(&mut it.counted, it.core.tally());
        let Some(it) = self.registrants.all.get(&number) else { return };
        let (core, over) = (&it.core, it.core.is_over());
        let news = RegistrationNews {
            standing: core.standing(),
            word: core.word().clone(),
            since: now,
            next: core.next(),
            given: core.given().clone(),
            over: it.kept.map(|(_, place)| place),
        };
        let dropped = news.given.service_route_dropped;
        let change = RegistrationChange {
            trunk: it.trunk.config.name.as_str().into(),
            state: state(news.standing),
            until: core.until().map(|at| self.wall(at)),
            next: core.next().map(|at| self.wall(at)),
            status: news.word.status,
            reason: news.word.reason.clone(),
            at: self.wall(now),
        };
        let changed = it.trunk.registration().is_some_and(|shared| {
            Counts::add(&shared.counts.granted, it.counted.0 - counted.0);
            Counts::add(&shared.counts.failed, it.counted.1 - counted.1);
            shared.tell(core.until(), news)
        });
        if changed {
            self.stats.service_routes_dropped += u64::from(dropped);
            self.tell(Event::Registration(Box::new(change)), out);
        }
        if over {
            self.forget_registrant(now, number);
        } else {
            self.arm_registrant(number);
        }
    }

    fn arm_registrant(&mut self, number: u32) {
        let Some(it) = self.registrants.all.get_mut(&number) else { return };
        let (old, at) = (it.timer.take(), it.core.deadline());
        if let Some(old) = old {
            self.wheel.cancel(old);
        }
        let timer = at.and_then(|at| self.set_timer(at, Timer::Registrant(number)));
        if let Some(it) = self.registrants.all.get_mut(&number) {
            it.timer = timer;
        }
    }

    fn forget_registrant(&mut self, now: Time, number: u32) {
        let Some(it) = self.registrants.all.remove(&number) else { return };
        for timer in [it.timer, it.through_nat.and_then(|(_, timer)| timer)].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        if let Some((stream, _)) = it.kept
            && !self.registrants.keeps(stream)
        {
            self.endpoint.let_go(now, stream);
        }
        // The trunk may have come back meanwhile, to be registered in other words.
        self.start_registrants(now);
    }

    /// Whether a request came over a connection that a trunk is registered over: it is from that trunk's carrier then,
    /// whatever addresses its peers have.
    pub(crate) fn is_over_registration(&self, now: Time, flow: &Flow) -> bool {
        flow.transport != Transport::Udp
            && self.table.trunks().iter().any(|trunk| is_registered_over(trunk, now, flow))
    }

    /// The trunk that a call is of which a carrier sent to our registered contact: it came over the connection of the
    /// registration, or from a peer's address. From anywhere else the contact's name says nothing: anybody can guess it.
    pub(crate) fn trunk_called_at(&self, now: Time, flow: &Flow, contact_user: &str) -> Option<Arc<Trunk>> {
        let source = flow.remote.ip().to_canonical();
        let is_called = |trunk: &&Arc<Trunk>| {
            let named = trunk.config.register.as_ref().is_some_and(|it| it.contact_user == contact_user);
            named
                && trunk.registration().is_some_and(|shared| shared.is_registered(now))
                && (is_registered_over(trunk, now, flow)
                    || trunk.peers.iter().any(|peer| peer.config.address.ip().to_canonical() == source))
        };
        self.table.trunks().iter().find(is_called).cloned()
    }
}

fn is_registered_over(trunk: &Trunk, now: Time, flow: &Flow) -> bool {
    trunk.registration().is_some_and(|shared| shared.is_over(now, flow.transport, flow.remote))
}

/// A state as the outside names it.
pub(crate) const fn state(standing: Standing) -> RegistrationState {
    match standing {
        Standing::Trying => RegistrationState::Trying,
        Standing::Registered => RegistrationState::Registered,
        Standing::Failing => RegistrationState::Failing,
        Standing::Refused => RegistrationState::Refused,
        Standing::Left => RegistrationState::Left,
    }
}
