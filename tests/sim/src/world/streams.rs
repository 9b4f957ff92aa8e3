//! How the world carries streams: connecting, delivering in pieces, closing, resetting.

use super::{Arriving, Event, World, pick};
use crate::NodeId;
use crate::log::Shown;
use crate::node::Arrival;
use crate::stream::{Connection, ConnectionId, End, Step};
use sansio::{IoError, Machine, StreamEnd, StreamId};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes one end of a stream may have written and not delivered, before it counts as stalled.
const STREAM_BUFFER: usize = 1 << 20;
/// How long a stream lives while nothing gets through.
const STREAM_PATIENCE: Duration = Duration::from_secs(20);

impl<A: Machine> World<A>
where
    A::Mail: Debug,
{
    pub(super) fn end_mut(&mut self, id: ConnectionId, side: usize, change: impl FnOnce(&mut End)) {
        if let Some(connection) = self.connections.get_mut(&id) {
            change(&mut connection.ends[side]);
        }
    }

    pub(super) fn connect(
        &mut self,
        node: NodeId,
        stream: StreamId,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) {
        if stream.is_accepted() || self.by_stream.contains_key(&(node, stream)) {
            self.violate(node, format!("connects stream {} which is not its own or in use", stream.0));
            return;
        }
        let home = self.nodes[node.0].sockets.values().next().map(|bound| bound.address);
        let Some(mut address) = local.or(home) else {
            self.violate(node, format!("connects stream {} from nowhere", stream.0));
            return;
        };
        address.set_port(self.port());
        let id = self.next_connection;
        self.next_connection += 1;
        // The far end's node is known when it accepts.
        let ends = [End::new(node, Some(stream), address), End::new(NodeId(usize::MAX), None, remote)];
        self.connections.insert(id, Connection { ends, established: false });
        self.by_stream.insert((node, stream), (id, 0));
        self.nodes[node.0].streams.insert(stream);
        self.log.line(
            self.now,
            &self.nodes[node.0].name,
            format_args!("connects to {remote} from {address}"),
        );
        let delay = self.network.step(address.ip(), remote.ip());
        self.push(self.now + delay, Event::Stream(id, Step::Syn { attempt: 0 }));
    }

    pub(super) fn write(&mut self, node: NodeId, stream: StreamId, bytes: &[u8]) {
        let Some(&(id, side)) = self.by_stream.get(&(node, stream)) else {
            // What was written before the machine heard of the close, in the same batch, is lost.
            let it = &self.nodes[node.0];
            if !it.streams.contains(&stream) && !it.shut.contains(&stream) {
                self.violate(node, format!("writes to stream {} which is closed", stream.0));
            }
            return;
        };
        self.log.line(
            self.now,
            &self.nodes[node.0].name,
            format_args!("writes {} {}", stream.0, Shown(bytes)),
        );
        let number = self.writes;
        self.writes += 1;
        let breaks = self.breaks.filter(|breaks| breaks.0 == number);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let established = connection.established;
        if let Some((_, arriving)) = breaks {
            return self.snap(id, side, bytes, arriving);
        }
        let end = &mut connection.ends[side];
        end.crumbs |= self.crumbles == Some(number);
        end.out.extend(bytes);
        if end.out.len() > STREAM_BUFFER {
            self.finish(id, side, StreamEnd::Stalled);
            self.push(self.now, Event::Stream(id, Step::Reset { end: 1 - side }));
        } else if established {
            self.pump(id, side);
        }
    }

    /// Breaks a connection for both its ends; of the `bytes` that `side` wrote last so many arrive before.
    fn snap(&mut self, id: ConnectionId, side: usize, bytes: &[u8], arriving: Arriving) {
        self.log.line(self.now, "network", format_args!("breaks the connection"));
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let other = &connection.ends[1 - side];
        let (node, stream) = (other.node, other.stream);
        if let Some(stream) = stream.filter(|_| arriving != Arriving::Nothing) {
            let mut all: Vec<u8> = connection.ends[side].out.drain(..).collect();
            all.extend_from_slice(if arriving == Arriving::All { bytes } else { &bytes[..bytes.len() / 2] });
            self.arrive(node, Arrival::Data(stream, all));
        }
        for end in 0..2 {
            self.finish(id, end, StreamEnd::Broken(IoError::Reset));
        }
        self.connections.remove(&id);
    }

    pub(super) fn shut(&mut self, node: NodeId, stream: StreamId) {
        let Some((id, side)) = self.by_stream.remove(&(node, stream)) else {
            let it = &self.nodes[node.0];
            if !it.streams.contains(&stream) && !it.shut.contains(&stream) {
                self.violate(node, format!("shuts stream {} which is closed", stream.0));
            }
            return;
        };
        self.log.line(self.now, &self.nodes[node.0].name, format_args!("shuts {}", stream.0));
        let it = &mut self.nodes[node.0];
        it.streams.remove(&stream);
        it.shut.insert(stream);
        it.inbox.retain(|arrival| arrival.stream() != Some(stream));
        self.end_mut(id, side, |end| {
            end.stream = None;
            end.fin = true;
        });
        if self.connections.get(&id).is_some_and(|connection| connection.established) {
            self.pump(id, side);
        }
    }

    /// Sees that what `side` wrote is on its way.
    fn pump(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ends[side].pumping {
            return;
        }
        connection.ends[side].pumping = true;
        let (from, to) = (connection.ends[side].address.ip(), connection.ends[1 - side].address.ip());
        let delay = self.network.step(from, to);
        self.push(self.now + delay, Event::Stream(id, Step::Pump { from: side }));
    }

    /// Tells one end that it is over, if it does not know yet.
    fn finish(&mut self, id: ConnectionId, side: usize, why: StreamEnd) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[side];
        let node = end.node;
        let stream = end.stream.take();
        end.out.clear();
        let over = connection.ends.iter().all(|end| end.stream.is_none() && end.out.is_empty());
        if over && why != StreamEnd::Peer {
            self.connections.remove(&id);
        }
        if let Some(stream) = stream {
            self.by_stream.remove(&(node, stream));
            self.arrive(node, Arrival::Closed(stream, why));
        }
    }

    pub(super) fn step(&mut self, id: ConnectionId, step: Step) {
        let Some(connection) = self.connections.get(&id) else { return };
        let addresses = [connection.ends[0].address, connection.ends[1].address];
        match step {
            Step::Syn { attempt } => self.syn(id, addresses, attempt),
            Step::SynAck => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                connection.established = true;
                let (node, stream) = (connection.ends[0].node, connection.ends[0].stream);
                if let Some(stream) = stream {
                    self.arrive(node, Arrival::Connected { stream, local: addresses[0] });
                }
                for side in 0..2 {
                    self.pump_if_waiting(id, side);
                }
            }
            Step::Refuse => {
                self.finish(id, 0, StreamEnd::Refused(IoError::Refused));
                self.connections.remove(&id);
            }
            Step::Pump { from } => self.deliver(id, addresses, from),
            Step::Reset { end } => {
                if self.network.is_cut(addresses[1 - end].ip(), addresses[end].ip()) {
                    self.push(self.now + Duration::from_secs(1), Event::Stream(id, Step::Reset { end }));
                } else {
                    self.finish(id, end, StreamEnd::Broken(IoError::Reset));
                    self.connections.remove(&id);
                }
            }
        }
    }

    fn pump_if_waiting(&mut self, id: ConnectionId, side: usize) {
        let waiting = self
            .connections
            .get(&id)
            .is_some_and(|connection| !connection.ends[side].out.is_empty() || connection.ends[side].fin);
        if waiting {
            self.pump(id, side);
        }
    }

    fn syn(&mut self, id: ConnectionId, addresses: [SocketAddr; 2], attempt: u32) {
        let [from, to] = addresses;
        if self.network.is_cut(from.ip(), to.ip()) || self.network.is_cut(to.ip(), from.ip()) {
            if attempt == 4 {
                self.finish(id, 0, StreamEnd::Refused(IoError::TimedOut));
                self.connections.remove(&id);
            } else {
                let wait = Duration::from_secs(1 << attempt);
                self.push(self.now + wait, Event::Stream(id, Step::Syn { attempt: attempt + 1 }));
            }
            return;
        }
        let back = self.network.step(to.ip(), from.ip());
        let owners = self.listening.get(&to).map_or(&[][..], Vec::as_slice);
        let Some(&(node, listener)) = pick(owners, from, to) else {
            self.push(self.now + back, Event::Stream(id, Step::Refuse));
            return;
        };
        let stream = StreamId(self.nodes[node.0].next_accepted);
        self.nodes[node.0].next_accepted += 1;
        self.end_mut(id, 1, |end| {
            end.node = node;
            end.stream = Some(stream);
        });
        self.by_stream.insert((node, stream), (id, 1));
        self.arrive(node, Arrival::Accepted { stream, listener, local: to, remote: from });
        self.push(self.now + back, Event::Stream(id, Step::SynAck));
    }

    /// Some of the bytes that `from` wrote arrive at the other end: all, or up to a random cut.
    fn deliver(&mut self, id: ConnectionId, addresses: [SocketAddr; 2], from: usize) {
        let now = self.now;
        let cut = self.network.is_cut(addresses[from].ip(), addresses[1 - from].ip());
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (node, stream) = (connection.ends[1 - from].node, connection.ends[1 - from].stream);
        let end = &mut connection.ends[from];
        if cut {
            let since = *end.blocked.get_or_insert(now);
            if now.since(since) > STREAM_PATIENCE {
                self.finish(id, from, StreamEnd::Broken(IoError::TimedOut));
                self.push(now, Event::Stream(id, Step::Reset { end: 1 - from }));
            } else {
                self.push(now + Duration::from_millis(300), Event::Stream(id, Step::Pump { from }));
            }
            return;
        }
        end.blocked = None;
        let waiting = end.out.len();
        if waiting > 0 {
            let random = self.network.random();
            let take = match random.below(4) {
                0 => 1 + random.below(waiting as u64) as usize,
                1 => 1 + random.below(waiting.min(16) as u64) as usize,
                _ => waiting,
            };
            let take = if end.crumbs { 1 } else { take };
            let bytes: Vec<u8> = end.out.drain(..take).collect();
            match stream {
                Some(stream) => self.arrive(node, Arrival::Data(stream, bytes)),
                None => {
                    // The other end is closed: what is sent to it comes back as a reset.
                    self.push(now, Event::Stream(id, Step::Reset { end: from }));
                    return;
                }
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[from];
        end.pumping = false;
        end.crumbs &= !end.out.is_empty();
        if !end.out.is_empty() {
            self.pump(id, from);
        } else if end.fin {
            self.finish(id, 1 - from, StreamEnd::Peer);
            self.connections.remove(&id);
        }
    }
}
