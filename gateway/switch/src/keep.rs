//! Ways through NATs, kept open from our side: to registered phones, and to carriers that a trunk is registered with.
//!
//! A NAT forgets a way over UDP after half a minute or so without traffic (RFC 4787 §4.3), and then nobody can call. Phones
//! behind one are sent OPTIONS now and then, a few at a time; one that leaves several unanswered is not called any more until it
//! answers or registers again.

use crate::mail::Mail;
use crate::nat::KeepAlive;
use crate::registrar::Way;
use crate::session;
use crate::shard::{Service, Shard, Timer};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Binding, Event, Registration};
use sansio::{Outbox, StreamId, Time};
use sip::{Destination, Held, Request, RequestId, StartError, Transport};
use std::collections::BTreeMap;

/// How often it is looked for ways that are due, so that they are not all seen to at once.
const LOOK: Duration = Duration::from_millis(100);
/// How long a phone may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// OPTIONS that await their answer at most; beyond, line ends are sent in their place.
const PINGS_MAX: usize = 4096;

/// OPTIONS under way to phones.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    awaited: BTreeMap<RequestId, Way>,
    /// Whether the next look is due by a timer.
    looking: bool,
}

impl Pings {
    /// Whether a request is one of these.
    pub(crate) fn awaits(&self, id: RequestId) -> bool {
        self.awaited.contains_key(&id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.awaited.len()
    }
}

impl Shard {
    /// Begins to keep ways open once there are some.
    pub(crate) fn begin_to_keep_ways(&mut self, now: Time) {
        let wanted = self.config.nat.keepalive != KeepAlive::Off && self.service == Service::Open;
        if wanted && !self.pings.looking && self.registrar.has_ways() {
            self.pings.looking = self.set_timer(now + LOOK, Timer::KeepWays).is_some();
        }
    }

    /// Sees to the ways that are due now, as many as may be at a time.
    pub(crate) fn keep_ways(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.pings.looking = false;
        let nat = self.config.nat;
        if nat.keepalive == KeepAlive::Off || self.service != Service::Open {
            return;
        }
        let most = (nat.rate as usize).div_ceil(10).max(1);
        for (way, binding) in self.registrar.ways_due(self.wall(now), self.shards, most, nat.interval) {
            self.keep_phone(now, way, &binding, out);
        }
        self.begin_to_keep_ways(now);
    }

    fn keep_phone(&mut self, now: Time, way: Way, binding: &Binding, out: &mut Outbox<Mail>) {
        let Some((destination, local)) = self.destination_of(binding) else { return };
        let ask = self.config.nat.keepalive == KeepAlive::Options;
        if !ask || self.pings.len() >= PINGS_MAX {
            self.stats.phones_pings_full += u64::from(ask);
            self.endpoint.keep_way(now, &destination);
            return;
        }
        let host = session::host(local.ip());
        let call_id = self.shards.draw_call_id(&mut self.random);
        let request = Request {
            method: "OPTIONS",
            call_id: &call_id,
            request_uri: &binding.contact,
            from: &format!("<sip:keepalive@{host}>"),
            to: &format!("<sip:{}@{host}>", way.user),
            destination,
            headers: &[],
            body: None,
            timeout: ANSWER_WITHIN,
        };
        match self.endpoint.request(now, &request) {
            Ok(id) => {
                self.stats.phones_pinged += 1;
                self.pings.awaited.insert(id, way);
            }
            // The phone's connection is gone, and there is no other way to it.
            Err(StartError::ConnectionGone) => {
                let changed = self.registrar.way_missed(self.wall(now), &way, 1);
                self.tell_silence(changed, true, out);
            }
            // Our tables are full: the phone is not to blame.
            Err(_) => {}
        }
    }

    /// How a phone is reached, and what we are called there.
    fn destination_of(&self, binding: &Binding) -> Option<(Destination, SocketAddr)> {
        let transport = Transport::ALL.into_iter().find(|it| it.name() == &*binding.transport)?;
        let same = self.listener_called(binding.local);
        let listener = same.or_else(|| self.listener_towards(binding.target, None).ok())?;
        // A connection of an earlier run cannot be used, and such a phone not be connected to.
        let over = match (transport, binding.connection) {
            (Transport::Udp, _) => None,
            (_, Some(it)) => Some((Held { holder: it.shard, stream: StreamId(it.stream) }, binding.local)),
            (_, None) => return None,
        };
        let socket = self.listeners[listener].udp;
        Some((Destination { transport, remote: binding.target, socket, over }, binding.local))
    }

    /// A phone has answered, whatever it said.
    pub(crate) fn on_ping_answer(&mut self, now: Time, id: RequestId, out: &mut Outbox<Mail>) {
        let Some(way) = self.pings.awaited.remove(&id) else { return };
        let changed = self.registrar.way_answers(self.wall(now), &way);
        self.tell_silence(changed, false, out);
    }

    /// A phone has not answered.
    pub(crate) fn on_ping_silence(&mut self, now: Time, id: RequestId, out: &mut Outbox<Mail>) {
        let Some(way) = self.pings.awaited.remove(&id) else { return };
        self.stats.phones_ping_missed += 1;
        let changed = self.registrar.way_missed(self.wall(now), &way, self.config.nat.misses);
        self.tell_silence(changed, true, out);
    }

    fn tell_silence(&mut self, changed: Option<Registration>, silent: bool, out: &mut Outbox<Mail>) {
        if let Some(registration) = changed {
            let counter = if silent { &mut self.stats.phones_silent } else { &mut self.stats.phones_back };
            *counter += 1;
            self.tell(Event::Registered(Box::new(registration)), out);
        }
    }
}
