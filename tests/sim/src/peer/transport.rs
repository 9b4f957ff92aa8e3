//! How a scripted peer's messages travel: datagrams, and streams that it frames itself.

use super::web::{self, Web};
use super::{Peer, SIGNALLING, text};
use sansio::{Outbox, SocketId, SocketOptions, StreamEvent, StreamId};
use std::net::SocketAddr;

/// Over what, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp(SocketAddr),
    Tcp(StreamId, SocketAddr),
}

impl Way {
    pub(super) const fn is_udp(self) -> bool {
        matches!(self, Self::Udp(_))
    }
}

/// A stream of the peer.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) remote: SocketAddr,
    pub(super) buffer: Vec<u8>,
    pub(super) web: Web,
}

/// What shall be put into the outbox.
#[derive(Debug)]
pub(super) enum Effect {
    Open(SocketId, SocketAddr),
    Close(SocketId),
    Send(SocketId, SocketAddr, Vec<u8>),
    Connect(StreamId, SocketAddr),
    Write(StreamId, Vec<u8>),
}

impl Peer {
    pub(super) fn flush<M>(&mut self, out: &mut Outbox<M>) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Open(socket, address) => out.open(socket, address, SocketOptions::default()),
                Effect::Close(socket) => out.close(socket),
                Effect::Send(socket, to, bytes) => out.send(socket, to, &bytes),
                Effect::Connect(stream, remote) => out.connect(stream, None, remote),
                Effect::Write(stream, bytes) => out.write(stream, &bytes),
            }
        }
    }

    pub(super) fn send(&mut self, way: Way, bytes: &[u8]) {
        match way {
            Way::Udp(to) => self.effects.push(Effect::Send(SIGNALLING, to, bytes.to_vec())),
            Way::Tcp(id, _) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                if let Some(bytes) = stream.web.wrap(bytes) {
                    self.effects.push(Effect::Write(id, bytes));
                }
            }
        }
    }

    /// The way to an address: over TCP the stream that stands already, or a new one.
    pub(super) fn way(&mut self, to: SocketAddr, tcp: bool) -> Way {
        if !tcp {
            return Way::Udp(to);
        }
        if let Some((stream, _)) = self.streams.iter().find(|(_, stream)| stream.remote == to) {
            return Way::Tcp(*stream, to);
        }
        // Whoever speaks TLS is told so by the number.
        let stream = StreamId(self.next_stream + if self.tls { StreamId::SECURED } else { 0 });
        self.next_stream += 1;
        let web = if self.web { Web::Asking(Vec::new()) } else { Web::Not };
        self.streams.insert(stream, Stream { remote: to, buffer: Vec::new(), web });
        self.effects.push(Effect::Connect(stream, to));
        Way::Tcp(stream, to)
    }

    pub(super) fn stream(&mut self, id: StreamId, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Accepted { remote, .. } => {
                self.streams.insert(id, Stream { remote, buffer: Vec::new(), web: Web::Not });
            }
            StreamEvent::Connected { .. } => {
                if self.streams.get(&id).is_some_and(|stream| matches!(stream.web, Web::Asking(_))) {
                    let request = web::upgrade(self.address);
                    self.effects.push(Effect::Write(id, request));
                }
            }
            StreamEvent::Data(bytes) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                let remote = stream.remote;
                stream.buffer.extend_from_slice(bytes);
                let effects = &mut self.effects;
                if let Err(why) = stream.web.open(&mut stream.buffer, |bytes| {
                    effects.push(Effect::Write(id, bytes));
                }) {
                    self.fault(&why, bytes);
                }
                while let Some(framed) = self.streams.get_mut(&id).and_then(|stream| match stream.web {
                    Web::Not => text::frame(&mut stream.buffer),
                    Web::Asking(_) => None,
                    Web::Open => web::frame(&mut stream.buffer),
                }) {
                    match framed {
                        Ok(message) => self.message(Way::Tcp(id, remote), &message),
                        Err(why) => self.fault(&why, bytes),
                    }
                }
            }
            StreamEvent::Closed(_) => {
                self.streams.remove(&id);
                self.flow_lost(id);
                self.cut_off(|way| matches!(way, Way::Tcp(stream, _) if stream == id));
            }
        }
    }
}
