//! What an endpoint shows of its messages: counts by method and status, and a record of the last ones.

pub mod recorder;
mod records;
mod tally;

use crate::event::{Flow, Transport};
use crate::message::{Method, dialog, start};
use core::net::SocketAddr;
use recorder::{Direction, Header};
pub use records::{Marks, Records};
use sansio::{SocketId, Time};
pub use tally::Tally;

/// Sees every message of an endpoint, coming and going.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// The present, for messages that go out.
    pub(crate) now: Time,
    /// Counts of messages.
    pub(crate) tally: Box<Tally>,
    /// The last messages, if they are kept.
    pub(crate) recorder: Option<Box<Records>>,
    /// Addresses of the datagram sockets.
    pub(crate) sockets: Vec<(SocketId, SocketAddr)>,
}

impl Tap {
    /// A message came.
    pub(crate) fn received(&mut self, now: Time, flow: Flow, bytes: &[u8]) {
        self.now = now;
        let header = Header {
            at: now,
            direction: Direction::In,
            transport: flow.transport,
            local: flow.local,
            remote: flow.remote,
        };
        self.note(header, bytes);
    }

    /// A message goes out.
    pub(crate) fn sent(&mut self, transport: Transport, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        self.note(Header { at: self.now, direction: Direction::Out, transport, local, remote }, bytes);
    }

    /// Our address at a datagram socket.
    pub(crate) fn address(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.iter().find(|(id, _)| *id == socket).map(|(_, address)| *address)
    }

    fn note(&mut self, header: Header, bytes: &[u8]) {
        // Keep-alives and what is no SIP at all are nothing to count here; other counters have them.
        let Some(recorder) = &mut self.recorder else {
            if let Some(start) = start(bytes) {
                self.tally.count(header.direction, start);
            }
            return;
        };
        if let Some((start, call_id, method)) = dialog(bytes) {
            self.tally.count(header.direction, start);
            recorder.record(method == Some(Method::Register), &header, call_id, bytes);
        }
    }
}
