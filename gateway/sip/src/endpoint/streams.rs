//! TCP and TLS connections carried out: accepting, opening, cutting into messages, closing (RFC 3261 §18).

use super::timers::Timer;
use super::{Endpoint, Listener};
use crate::connection::{Connection, Cutter};
use crate::event::{Destination, Event, Flow, Held, Link, Transport};
use crate::framing::{Frame, Framer};
use crate::message::Defect;
use crate::websocket::{self, Ending, Session, Step};
use core::net::SocketAddr;
use sansio::{StreamEnd, StreamEvent, StreamId, Time};

impl Endpoint {
    /// Takes what happened on a connection: accepted, connected, data, closed.
    pub fn handle_stream(&mut self, now: Time, stream: StreamId, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Accepted { listener, local, remote } => {
                let known = self.listeners.iter().find(|known| known.socket == listener);
                let (transport, local) =
                    known.map_or((Transport::Tcp, local), |known| (known.transport, known.advertised));
                // A WebSocket stands once its opening handshake is done.
                let stands = !transport.is_websocket();
                if self.wire.connections.insert(stream, transport, remote, local, stands) {
                    self.stats.connections_accepted += 1;
                    let timers = self.config.timers;
                    self.connection_rearm(now, stream, if stands { timers.idle } else { timers.connect });
                } else {
                    self.stats.connections_full += 1;
                    self.wire.shut(stream);
                }
            }
            StreamEvent::Connected { .. } => {
                if let Some(connection) = self.wire.connections.get_mut(stream) {
                    connection.open = true;
                    let remote = connection.remote;
                    self.closed.remove(&remote);
                    self.stats.connections_opened += 1;
                    self.connection_rearm(now, stream, self.config.timers.idle);
                }
            }
            StreamEvent::Data(bytes) => self.stream_data(now, stream, bytes),
            StreamEvent::Closed(end) => {
                if matches!(end, StreamEnd::Refused(_)) {
                    self.stats.connections_failed += 1;
                }
                self.connection_lost(now, stream);
            }
        }
    }

    /// Whether this connection is one of this endpoint.
    pub fn owns_stream(&self, stream: StreamId) -> bool {
        self.wire.connections.get(stream).is_some()
    }

    /// The peer of a connection, if it is one of this endpoint.
    pub fn peer_of(&self, stream: StreamId) -> Option<SocketAddr> {
        self.wire.connections.get(stream).map(|connection| connection.remote)
    }

    /// Closes a connection: what awaits responses over it fails.
    pub fn disconnect(&mut self, now: Time, stream: StreamId) {
        self.wire.shut(stream);
        self.connection_lost(now, stream);
    }

    fn stream_data(&mut self, now: Time, stream: StreamId, bytes: &[u8]) {
        self.kept_heard(now, stream, bytes);
        let Some(connection) = self.wire.connections.get_mut(stream) else { return };
        let flow = connection.flow(stream);
        // Away while its messages are handled, which may change or close the connection.
        let framer = match connection.framer.take() {
            Some(Cutter::Stream(framer)) => framer,
            Some(Cutter::WebSocket(session)) => {
                return self.websocket_data(now, flow, stream, session, bytes);
            }
            None => return,
        };
        self.framed_data(now, flow, stream, framer, bytes);
    }

    fn framed_data(&mut self, now: Time, flow: Flow, stream: StreamId, mut framer: Framer, bytes: &[u8]) {
        let mut input = bytes;
        let mut broken = false;
        while let Some(frame) = framer.next(&mut input) {
            // Only whole frames count as use: who drips bytes does not stay.
            if let Some(connection) = self.wire.connections.get_mut(stream) {
                connection.used = true;
            }
            match frame {
                Frame::Message(message) => self.stream_message(now, flow, stream, message),
                Frame::KeepAlive => {
                    // RFC 5626 §4.4.1: answered with a single CRLF.
                    self.wire.send(flow.link, flow.remote, b"\r\n");
                }
                Frame::Broken(error) => {
                    broken = true;
                    if let Some(request) = error.answerable() {
                        self.stats.malformed_refused += 1;
                        self.refuse(&request, flow, error.status(), Some(error.reason()), b"");
                    } else if error.defect != Defect::Empty {
                        self.stats.malformed_dropped += 1;
                    }
                }
            }
            if broken {
                break;
            }
        }
        if broken {
            self.stats.connections_garbage_closed += 1;
            self.wire.shut(stream);
            self.connection_lost(now, stream);
        } else if let Some(connection) = self.wire.connections.get_mut(stream) {
            connection.framer = Some(Cutter::Stream(framer));
        }
    }

    /// One whole message came over a connection.
    fn stream_message(&mut self, now: Time, flow: Flow, stream: StreamId, message: &[u8]) {
        let owner = self.config.shards.owner(message);
        if owner == self.config.shards.me {
            self.handle_message(now, flow, message);
        } else {
            self.hand_over(owner, stream, flow, message);
        }
    }

    /// Bytes came over a WebSocket (RFC 7118 §5: each message is one frame's or its fragments').
    fn websocket_data(
        &mut self,
        now: Time,
        flow: Flow,
        stream: StreamId,
        mut session: Box<Session>,
        bytes: &[u8],
    ) {
        session.take(bytes);
        while let Some(step) = session.next() {
            if let Some(connection) = self.wire.connections.get_mut(stream) {
                connection.used = true;
            }
            match step {
                Step::Opened(reply) => {
                    self.stats.websockets_opened += 1;
                    self.wire.send_raw(stream, &reply);
                    if let Some(connection) = self.wire.connections.get_mut(stream) {
                        connection.open = true;
                    }
                    self.connection_rearm(now, stream, self.config.timers.idle);
                }
                Step::Message(message) => self.stream_message(now, flow, stream, &message),
                Step::KeepAlive => {
                    self.wire.send(flow.link, flow.remote, b"\r\n");
                }
                Step::Reply(reply) => self.wire.send_raw(stream, &reply),
                Step::Over { reply, why } => {
                    match why {
                        Ending::Closed => {}
                        Ending::Refused => self.stats.websockets_refused += 1,
                        Ending::Broken => self.stats.connections_garbage_closed += 1,
                    }
                    self.wire.send_raw(stream, &reply);
                    self.wire.shut(stream);
                    return self.connection_lost(now, stream);
                }
            }
        }
        if let Some(connection) = self.wire.connections.get_mut(stream) {
            connection.framer = Some(Cutter::WebSocket(session));
        }
    }

    /// Gives a message that came over our connection to the endpoint it belongs to.
    fn hand_over(&mut self, owner: u16, stream: StreamId, flow: Flow, message: &[u8]) {
        if let Some(connection) = self.wire.connections.get_mut(stream) {
            connection.lent = true;
        }
        let Flow { transport, local, remote, .. } = flow;
        self.events.push_back(Event::Foreign {
            owner,
            stream,
            transport,
            local,
            remote,
            bytes: message.into(),
        });
    }

    /// Takes a message that came over a connection of another endpoint, `holder`, which calls it `stream`.
    pub fn handle_foreign(
        &mut self,
        now: Time,
        holder: u16,
        stream: StreamId,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) {
        let known = self.wire.connections.borrowed((holder, stream));
        let Some(stream) = self.wire.connections.borrow((holder, stream), transport, remote, local) else {
            self.stats.connections_full += 1;
            return;
        };
        if known.is_none() {
            self.connection_rearm(now, stream, self.config.timers.idle);
        }
        if let Some(connection) = self.wire.connections.get_mut(stream) {
            connection.used = true;
        }
        self.handle_message(now, Flow { transport, link: Link::Stream(stream), local, remote }, message);
    }

    /// Writes over our connection to `remote` what another endpoint has to say. If that connection is gone,
    /// [`Event::ForeignClosed`] tells so.
    pub fn write_for(&mut self, stream: StreamId, remote: SocketAddr, bytes: &[u8]) {
        // Numbers are used again: another peer's connection may bear it by now.
        let ours = |it: &&mut Connection| it.remote == remote && it.holder.is_none();
        let Some(connection) = self.wire.connections.get_mut(stream).filter(ours) else {
            self.wire.unsendable += 1;
            self.events.push_back(Event::ForeignClosed { stream });
            return;
        };
        connection.lent = true;
        self.wire.pass(Link::Stream(stream), remote, bytes);
    }

    /// The connection that a flow uses, by which any endpoint finds it; `None` over UDP.
    pub fn held(&self, flow: &Flow) -> Option<Held> {
        let Link::Stream(stream) = flow.link else { return None };
        let (holder, stream) = match self.wire.connections.get(stream)?.holder {
            Some(other) => other,
            None => (self.config.shards.me, stream),
        };
        Some(Held { holder, stream })
    }

    /// The way over a connection that is known to stand, or to have stood, here or at another endpoint.
    pub(crate) fn flow_over(
        &mut self,
        now: Time,
        held: Held,
        to: &Destination,
        local: SocketAddr,
    ) -> Option<Flow> {
        if held.holder == self.config.shards.me {
            let connection = self.wire.connections.get(held.stream)?;
            let same = connection.remote == to.remote && connection.transport == to.transport;
            return same.then(|| connection.flow(held.stream));
        }
        let holder = (held.holder, held.stream);
        let known =
            self.wire.connections.borrowed(holder).and_then(|stream| self.wire.connections.get(stream));
        let fits = known.is_none_or(|it| it.remote == to.remote && it.transport == to.transport);
        if held.holder >= self.config.shards.count || !fits {
            return None;
        }
        let is_new = known.is_none();
        let Some(stream) = self.wire.connections.borrow(holder, to.transport, to.remote, local) else {
            self.stats.connections_full += 1;
            return None;
        };
        if is_new {
            self.connection_rearm(now, stream, self.config.timers.idle);
        }
        Some(self.wire.connections.get(stream)?.flow(stream))
    }

    /// A connection of another endpoint is over.
    pub fn handle_foreign_closed(&mut self, now: Time, holder: u16, stream: StreamId) {
        if let Some(stream) = self.wire.connections.borrowed((holder, stream)) {
            self.connection_lost(now, stream);
        }
    }

    /// The way over a connection to a peer, opened if there is none; `None` if the table is full or
    /// we have no address of that family. `local` is what to call ourselves if no listener says.
    pub(crate) fn stream_to(
        &mut self,
        now: Time,
        transport: Transport,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Option<Flow> {
        if let Some(stream) = self.wire.connections.to(transport, remote) {
            return Some(self.wire.connections.get(stream)?.flow(stream));
        }
        // RFC 3261 §26.2.2: what shall be encrypted does not go in clear.
        // RFC 7118 §5.2: WebSockets are opened by clients.
        if transport == Transport::Tls && !self.config.tls || transport.is_websocket() {
            return None;
        }
        let local = self.named_towards(transport, remote, local)?;
        let Some(stream) = self.wire.connections.fresh(transport) else {
            self.stats.connections_full += 1;
            return None;
        };
        self.wire.connections.insert(stream, transport, remote, local, false);
        let bound = self.bound.iter().find(|(advertised, _)| *advertised == local.ip());
        let from = bound.map(|(_, from)| SocketAddr::new(*from, 0));
        self.wire.connect(stream, from.filter(|from| from.is_ipv4() == remote.is_ipv4()), remote);
        self.connection_rearm(now, stream, self.config.timers.connect);
        Some(Flow { transport, link: Link::Stream(stream), local, remote })
    }

    /// What to call ourselves on a connection to be opened: what we are called at `like` over that transport, else what
    /// comes nearest to it.
    fn named_towards(
        &self,
        transport: Transport,
        remote: SocketAddr,
        like: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let same_family = |address: &SocketAddr| address.is_ipv4() == remote.is_ipv4();
        let like = like.filter(same_family);
        let spoken = || self.listeners.iter().filter(|heard| heard.transport == transport);
        let exactly = spoken().find(|heard| Some(heard.advertised) == like);
        let beside = || spoken().find(|heard| like.is_some_and(|like| like.ip() == heard.advertised.ip()));
        // Where networks are kept apart, another one's address will not do.
        let apart = like.filter(|_| !self.bound.is_empty());
        exactly
            .or_else(beside)
            .map(|heard| heard.advertised)
            .or(apart)
            .or_else(|| self.heard_at(Some(transport), remote))
            .or(like)
            .or_else(|| self.heard_at(None, remote))
            .or_else(|| self.sockets.iter().map(|(_, address)| *address).find(same_family))
    }

    /// The address of our first listener of that family, for that transport if one is named.
    pub(crate) fn heard_at(&self, transport: Option<Transport>, like: SocketAddr) -> Option<SocketAddr> {
        let fits = |heard: &&Listener| {
            heard.advertised.is_ipv4() == like.is_ipv4()
                && transport.is_none_or(|transport| heard.transport == transport)
        };
        self.listeners.iter().find(fits).map(|heard| heard.advertised)
    }

    pub(super) fn connection_rearm(&mut self, now: Time, stream: StreamId, span: core::time::Duration) {
        let timer = self.set_timer(now + span, Timer::Connection(stream));
        if let Some(connection) = self.wire.connections.get_mut(stream) {
            let old = core::mem::replace(&mut connection.timer, timer);
            self.stop_timer(old);
        }
    }

    pub(super) fn connection_timer(&mut self, now: Time, stream: StreamId) {
        let Some(connection) = self.wire.connections.get_mut(stream) else { return };
        connection.timer = None;
        // Something sent over it for its size alone awaits its answer, which comes by the same way (RFC 3261 §18.2.2).
        connection.used |= self.pending.contains_key(&(Link::Stream(stream), connection.remote));
        if let Some(kept) = connection.kept.filter(|_| connection.open) {
            if self.kept_timer(now, stream, kept) {
                return;
            }
        } else if !connection.open {
            self.stats.connections_failed += 1;
        } else if connection.used || connection.legs > 0 {
            connection.used = false;
            self.connection_rearm(now, stream, self.config.timers.idle);
            return;
        } else {
            if connection.transport.is_websocket() && connection.holder.is_none() {
                self.wire.send_raw(stream, &websocket::close(websocket::GOING_AWAY));
            }
            self.stats.connections_idle_closed += 1;
        }
        self.wire.shut(stream);
        self.connection_lost(now, stream);
    }

    /// The connection is over: what awaits responses over it fails, and it is forgotten.
    fn connection_lost(&mut self, now: Time, stream: StreamId) {
        let Some(connection) = self.wire.connections.get(stream) else { return };
        let remote = connection.remote;
        // Still in the table, so that failures know whether it ever stood.
        self.clients_unreachable(now, Link::Stream(stream), remote);
        if let Some(connection) = self.wire.connections.remove(stream) {
            self.stop_timer(connection.timer);
            if connection.lent {
                self.events.push_back(Event::ForeignClosed { stream });
            }
            if connection.holder.is_none() && stream.is_accepted() {
                self.events.push_back(Event::AcceptedLost { stream });
            }
            self.kept_lost(stream, connection.kept);
        }
    }
}
