//! Requests too large for a datagram (RFC 3261 §18.1.1): sent over TCP, and over UDP after all where there is no connection
//! to be had.

use super::Endpoint;
use super::timers::Timer;
use crate::event::{Flow, Link, Transport};
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Key, Time};

/// How long a place where nobody took a connection is not tried again.
const CLOSED_FOR: Duration = Duration::from_secs(300);
/// Most such places remembered.
const CLOSED_MOST: usize = 1024;
/// How the Via that we write begins in a request over UDP.
const VIA_UDP: &[u8] = b"\r\nVia: SIP/2.0/UDP ";

/// How a request goes if no connection comes about.
#[derive(Debug)]
pub(crate) struct Fallback {
    flow: Flow,
    request: Box<[u8]>,
}

impl Endpoint {
    /// These are never asked over TCP for the size of a request, from now on and in place of those named before.
    pub fn set_udp_only(&mut self, places: impl IntoIterator<Item = SocketAddr>) {
        self.udp_only = places.into_iter().collect();
    }

    /// The same request for a connection, if it is too large for the datagram that it would be; the transaction goes that
    /// way then.
    pub(crate) fn client_by_stream(&mut self, now: Time, key: Key, request: &[u8]) -> Option<Vec<u8>> {
        let most = self.config.datagram_max;
        let flow = self.clients.get(key)?.flow;
        if most == 0 || request.len() <= most || flow.transport != Transport::Udp {
            return None;
        }
        let closed = self.closed.get(&flow.remote).is_some_and(|until| now < *until);
        // Via names an address at which we are heard over TCP as well.
        let heard = self.heard_at(Some(Transport::Tcp), flow.remote).is_some();
        let way = (!closed && heard && !self.udp_only.contains(&flow.remote))
            .then(|| {
                Some((by_tcp(request)?, self.stream_to(now, Transport::Tcp, flow.remote, Some(flow.local))?))
            })
            .flatten();
        let Some((bytes, stream)) = way else {
            self.stats.large_over_udp += 1;
            return None;
        };
        self.stats.large_over_tcp += 1;
        let open = self.is_open(stream.link);
        let client = self.clients.get_mut(key)?;
        client.flow = stream;
        if !open {
            client.fallback = Some(Box::new(Fallback { flow, request: request.into() }));
            self.held += request.len() as u64;
        }
        Some(bytes)
    }

    /// How an ACK of ours goes that would go this way: a large one over TCP, its Via changed (RFC 3261 §18.1.1).
    pub(crate) fn ack_way(&mut self, now: Time, flow: Flow, ack: &[u8]) -> (Flow, Option<Vec<u8>>) {
        let most = self.config.datagram_max;
        if most == 0 || ack.len() <= most || flow.transport != Transport::Udp {
            return (flow, None);
        }
        let closed = self.closed.get(&flow.remote).is_some_and(|until| now < *until);
        let heard = self.heard_at(Some(Transport::Tcp), flow.remote).is_some();
        let way = (!closed && heard && !self.udp_only.contains(&flow.remote))
            .then(|| {
                Some((self.stream_to(now, Transport::Tcp, flow.remote, Some(flow.local))?, by_tcp(ack)?))
            })
            .flatten();
        match way {
            Some((stream, bytes)) => {
                self.stats.large_over_tcp += 1;
                (stream, Some(bytes))
            }
            None => {
                self.stats.large_over_udp += 1;
                (flow, None)
            }
        }
    }

    /// Keeps an ACK that went over a connection as it would go over UDP: nobody tells whether it arrived but the 2xx, which
    /// comes again if it did not.
    pub(crate) fn ack_may_fall_back(&mut self, key: Key, flow: Flow, ack: &[u8]) {
        self.fallback_forget(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.fallback = Some(Box::new(Fallback { flow, request: ack.into() }));
            self.held += ack.len() as u64;
        }
    }

    /// A 2xx came again: so does its ACK, over UDP if the connection did not come about.
    pub(crate) fn ack_again(&mut self, now: Time, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        if client.fallback.is_some() && !self.is_open(client.flow.link) {
            let Some(client) = self.clients.get_mut(key) else { return };
            let Some(fallback) = client.fallback.take() else { return };
            self.held -= client.bytes.len() as u64;
            (client.bytes, client.flow) = (fallback.request, fallback.flow);
            let remote = client.flow.remote;
            self.stats.large_back_to_udp += 1;
            self.close(now, remote);
        }
        let Some(client) = self.clients.get(key) else { return };
        if !self.wire.send(client.flow.link, client.flow.remote, &client.bytes) {
            self.wire.unsendable += 1;
        }
    }

    fn is_open(&self, link: Link) -> bool {
        matches!(link, Link::Stream(stream) if self.wire.connections.get(stream).is_some_and(|it| it.open))
    }

    /// The time that a connection had for a large request is over: whether this was about one.
    pub(crate) fn connection_awaited(&mut self, now: Time, key: Key) -> bool {
        let Some(client) = self.clients.get(key).filter(|client| client.fallback.is_some()) else {
            return false;
        };
        let (link, remote) = (client.flow.link, client.flow.remote);
        if self.is_open(link) {
            self.fallback_forget(key);
            return true;
        }
        let waiting = self.pending.get(&(link, remote)).map_or(&[][..], Vec::as_slice);
        let is_ours = |key: &Key| self.clients.get(*key).is_some_and(|client| client.fallback.is_some());
        match link {
            // Nobody else waits for it: it would bring the request a second time.
            Link::Stream(stream) if waiting.iter().all(is_ours) => self.disconnect(now, stream),
            _ => drop(self.client_fall_back(now, key)),
        }
        true
    }

    /// A connection took too long or was refused: the request goes over UDP. `false` if it cannot.
    pub(crate) fn client_fall_back(&mut self, now: Time, key: Key) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        if client.fallback.is_none() || self.is_open(client.flow.link) {
            return false;
        }
        self.client_unlist(key);
        let Some(client) = self.clients.get_mut(key) else { return false };
        let Some(fallback) = client.fallback.take() else { return false };
        self.held -= client.bytes.len() as u64;
        (client.bytes, client.flow) = (fallback.request, fallback.flow);
        let (retransmit, remote) = (client.retransmit.take(), client.flow.remote);
        self.stop_timer(retransmit);
        self.stats.large_back_to_udp += 1;
        self.close(now, remote);
        self.client_send(now, key);
        true
    }

    /// Forgets how a request would have gone over UDP.
    pub(crate) fn fallback_forget(&mut self, key: Key) {
        let fallback = self.clients.get_mut(key).and_then(|client| client.fallback.take());
        self.held -= fallback.map_or(0, |fallback| fallback.request.len()) as u64;
    }

    /// Nobody takes connections there.
    fn close(&mut self, now: Time, remote: SocketAddr) {
        if self.closed.len() >= CLOSED_MOST {
            self.closed.retain(|_, until| now < *until);
        }
        if self.closed.len() < CLOSED_MOST {
            self.closed.insert(remote, now + CLOSED_FOR);
        } else {
            self.stats.large_places_full += 1;
        }
    }

    /// Sends a client's request, and again until a response comes.
    pub(crate) fn client_send(&mut self, now: Time, key: Key) {
        let t1 = self.config.timers.t1;
        let Some(client) = self.clients.get(key) else { return };
        let (link, remote) = (client.flow.link, client.flow.remote);
        // Over a connection there is nothing to be repeated; but one that does not come about is not waited for.
        let timed = !client.is_reliable() || client.fallback.is_some();
        if !self.wire.send(link, remote, &client.bytes) {
            self.wire.unsendable += 1;
        }
        let retransmit = if timed { self.set_timer(now + t1, Timer::ClientRetransmit(key)) } else { None };
        let list = self.pending.entry((link, remote)).or_default();
        let place = list.len() as u32; // bounded by the table
        list.push(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.retransmit = retransmit;
            client.pending = Some(place);
        }
    }
}

/// A request of ours with TCP in its Via.
fn by_tcp(request: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(request, VIA_UDP)?;
    let mut bytes = request.to_vec();
    let end = at + VIA_UDP.len();
    bytes[end - 4..end - 1].copy_from_slice(b"TCP"); // within what was found
    Some(bytes)
}
