//! RTP sockets of one shard: opened before they are needed, used one call at a time, rested before the next.

use crate::plan::PortRange;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use sansio::{IoError, Key, Outbox, SocketEvent, SocketId, SocketOptions, Time};
use std::collections::VecDeque;

/// The first number of an RTP socket; SIP sockets are below.
pub(crate) const FIRST_SOCKET: u32 = 16;

/// How long a port rests after a call, so that its stragglers do not meet the next one.
const REST: Duration = Duration::from_secs(2);

/// How many free ports there shall be at least, and how many are opened at a time.
const SPARE: u32 = 32;

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    open: bool,
    user: Option<Key>,
}

/// The ports of one shard.
#[derive(Debug)]
pub(crate) struct Ports {
    ip: IpAddr,
    range: PortRange,
    /// Ports are tried from a random one on, so that several generators on a host seldom meet.
    cursor: u32,
    /// Tries left before the range counts as used up.
    tries: u32,
    ports: Vec<Port>,
    free: VecDeque<(u32, Time)>,
    open: u32,
    opening: u32,
    most: u32,
    refusal: Option<IoError>,
}

impl Ports {
    /// At most `most` ports of `range` at `ip`, beginning at the pair that `start` falls on.
    pub(crate) fn new(ip: IpAddr, range: PortRange, most: u32, start: u32) -> Self {
        let pairs = range.pairs().max(1);
        Self {
            ip,
            range,
            cursor: start % pairs,
            tries: pairs,
            ports: Vec::new(),
            free: VecDeque::new(),
            open: 0,
            opening: 0,
            most: most.min(pairs),
            refusal: None,
        }
    }

    /// Asks for so many ports in all.
    pub(crate) fn want<M>(&mut self, count: u32, out: &mut Outbox<M>) {
        while self.refusal.is_none() && self.open + self.opening < count.min(self.most) {
            let socket = SocketId(FIRST_SOCKET + self.ports.len() as u32);
            let Some(address) = self.next_address() else {
                self.refusal = Some(IoError::AddressInUse);
                return;
            };
            self.ports.push(Port { address, open: false, user: None });
            self.ask(socket, address, out);
        }
    }

    fn next_address(&mut self) -> Option<SocketAddr> {
        self.tries = self.tries.checked_sub(1)?;
        let first_even = u32::from(self.range.low).next_multiple_of(2);
        let port = first_even + 2 * self.cursor;
        self.cursor = (self.cursor + 1) % self.range.pairs().max(1);
        // `cursor` is below the number of pairs, so the port is within the range.
        Some(SocketAddr::new(
            self.ip,
            u16::try_from(port).ok().filter(|&p| p <= self.range.high).unwrap_or(self.range.high & !1),
        ))
    }

    fn ask<M>(&mut self, socket: SocketId, address: SocketAddr, out: &mut Outbox<M>) {
        self.opening += 1;
        let options = SocketOptions { icmp_errors: false, timestamps: true, receive_buffer: 0 };
        out.open(socket, address, options);
    }

    /// Takes what became of an opening.
    pub(crate) fn opened<M>(&mut self, socket: SocketId, event: SocketEvent, out: &mut Outbox<M>) {
        let Some(index) = socket.0.checked_sub(FIRST_SOCKET) else { return };
        if index as usize >= self.ports.len() {
            return;
        }
        self.opening = self.opening.saturating_sub(1);
        match event {
            SocketEvent::Opened(address) => {
                let port = &mut self.ports[index as usize];
                port.address = address;
                port.open = true;
                self.open += 1;
                self.free.push_front((index, Time::ZERO));
            }
            SocketEvent::Failed(IoError::AddressInUse) => match self.next_address() {
                Some(address) => {
                    self.ports[index as usize].address = address;
                    self.ask(socket, address, out);
                }
                None => self.refusal = Some(IoError::AddressInUse),
            },
            SocketEvent::Failed(error) => self.refusal = Some(error),
        }
    }

    /// Whether all that was asked for is there, or was refused.
    pub(crate) fn settled(&self) -> bool {
        self.opening == 0
    }

    /// Ports open.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Why no more can be opened.
    pub(crate) fn refusal(&self) -> Option<IoError> {
        self.refusal
    }

    /// A port for a call; one that has rested, if there is any choice.
    pub(crate) fn take<M>(&mut self, now: Time, out: &mut Outbox<M>) -> Option<(SocketId, SocketAddr)> {
        let rested = self.free.front().is_some_and(|&(_, freed)| freed == Time::ZERO || freed + REST <= now);
        if !rested || self.free.len() < SPARE as usize {
            self.want(self.open + SPARE, out);
        }
        let (index, _) = self.free.pop_front()?;
        Some((SocketId(FIRST_SOCKET + index), self.ports[index as usize].address))
    }

    /// Says which call uses a port.
    pub(crate) fn assign(&mut self, socket: SocketId, call: Key) {
        if let Some(port) = self.port_mut(socket) {
            port.user = Some(call);
        }
    }

    /// Takes a port back.
    pub(crate) fn give_back(&mut self, socket: SocketId, now: Time) {
        if let Some(port) = self.port_mut(socket) {
            port.user = None;
            self.free.push_back((socket.0 - FIRST_SOCKET, now));
        }
    }

    fn port_mut(&mut self, socket: SocketId) -> Option<&mut Port> {
        self.ports.get_mut(socket.0.checked_sub(FIRST_SOCKET)? as usize)
    }

    /// The call that uses a port.
    pub(crate) fn user(&self, socket: SocketId) -> Option<Key> {
        self.ports.get(socket.0.checked_sub(FIRST_SOCKET)? as usize)?.user
    }

    /// Closes every port.
    pub(crate) fn close<M>(&mut self, out: &mut Outbox<M>) {
        for (index, port) in self.ports.iter_mut().enumerate().filter(|(_, port)| port.open) {
            port.open = false;
            out.close(SocketId(FIRST_SOCKET + index as u32));
        }
        self.free.clear();
        self.open = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::Action;

    const RANGE: PortRange = PortRange { low: 20_001, high: 20_099 };

    fn open_all(ports: &mut Ports, out: &mut Outbox<()>, in_use: &[u16]) -> Vec<u16> {
        let mut opened = Vec::new();
        while let Some(action) = out.next_action() {
            let Action::Open { socket, local, .. } = action else { continue };
            if in_use.contains(&local.port()) {
                ports.opened(socket, SocketEvent::Failed(IoError::AddressInUse), out);
            } else {
                opened.push(local.port());
                ports.opened(socket, SocketEvent::Opened(local), out);
            }
        }
        opened
    }

    #[test]
    fn even_ports_are_opened_and_taken_ones_stepped_over() {
        let mut out = Outbox::new(1, 0);
        let mut ports = Ports::new([127, 0, 0, 1].into(), RANGE, 10, 0);
        ports.want(4, &mut out);
        let opened = open_all(&mut ports, &mut out, &[20_004]);
        assert_eq!(opened, [20_002, 20_006, 20_008, 20_010]);
        assert!(ports.settled() && ports.open() == 4 && ports.refusal().is_none());
    }

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let mut out = Outbox::new(1, 0);
        let mut ports = Ports::new([127, 0, 0, 1].into(), RANGE, 3, 7);
        ports.want(2, &mut out);
        open_all(&mut ports, &mut out, &[]);
        let now = Time::from_millis(5000);
        let first = ports.take(now, &mut out).unwrap();
        open_all(&mut ports, &mut out, &[]);
        ports.give_back(first.0, now);
        assert_ne!(ports.take(now, &mut out).unwrap(), first);
        assert_ne!(ports.take(now, &mut out).unwrap(), first);
        assert_eq!(ports.take(now, &mut out), Some(first), "the limit is reached: the oldest goes out again");
        assert_eq!(ports.take(now, &mut out), None);
    }

    #[test]
    fn a_range_that_is_used_up_is_said() {
        let mut out = Outbox::new(1, 0);
        let mut ports = Ports::new([127, 0, 0, 1].into(), PortRange { low: 20_000, high: 20_003 }, 10, 0);
        ports.want(2, &mut out);
        assert!(open_all(&mut ports, &mut out, &[20_000, 20_002]).is_empty());
        assert_eq!(ports.refusal(), Some(IoError::AddressInUse));
        assert!(ports.settled());
    }
}
