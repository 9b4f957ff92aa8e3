//! A stranger: sprays RTP at the gateway's ports and malformed SIP at its SIP port. Nobody may ever hear it.

use sansio::{Input, Outbox, Random, SocketId, Time};
use std::net::SocketAddr;
use std::time::Duration;

/// Someone who was not invited.
#[derive(Debug)]
pub struct Stranger {
    random: Random,
    address: SocketAddr,
    target: SocketAddr,
    ports: (u16, u16),
    next: Time,
    until: Time,
    /// Sockets it sends from, each with an address of its own; with more than one it lays siege.
    sockets: u32,
    /// Datagrams that came back.
    pub answers: u64,
}

impl Stranger {
    /// A stranger at `address` who bothers the gateway `target` and its media ports until `until`.
    pub fn new(
        random: Random,
        address: SocketAddr,
        target: SocketAddr,
        ports: (u16, u16),
        until: Time,
    ) -> Self {
        Self { random, address, target, ports, next: Time::from_millis(700), until, sockets: 1, answers: 0 }
    }

    /// The same, who floods the SIP port from so many addresses, now and then in a scanner's name.
    #[must_use]
    pub const fn laying_siege(mut self, sockets: u32) -> Self {
        self.sockets = sockets;
        self
    }

    /// Takes one input; see [`sansio::Machine::handle`].
    pub fn handle<M>(&mut self, now: Time, input: Input<'_, M>, out: &mut Outbox<M>) {
        match input {
            Input::Datagram(_) => self.answers += 1,
            Input::Timeout if self.sockets > 1 => {
                for _ in 0..8 {
                    // Half of it from one address, so that there is a flood as well as a crowd.
                    let socket =
                        if self.random.chance(0.5) { 0 } else { self.random.below(u64::from(self.sockets)) };
                    let mut message = self.rubbish();
                    if self.random.chance(0.02) {
                        message = String::from_utf8_lossy(&message)
                            .replacen("Contact:", "User-Agent: friendly-scanner\r\nContact:", 1)
                            .into_bytes();
                    }
                    out.send(SocketId(socket as u32), self.target, &message);
                }
                self.next = now + Duration::from_micros(1000 + self.random.below(8000));
            }
            Input::Timeout => {
                for _ in 0..4 {
                    let span = u64::from(self.ports.1 - self.ports.0) + 1;
                    let port = self.ports.0 + self.random.below(span) as u16;
                    let mut packet = vec![0x80, 0, 0, self.random.u32() as u8, 0, 0, 0, 0, 1, 2, 3, 4];
                    packet.extend_from_slice(b"stranger at the door");
                    out.send(SocketId(0), SocketAddr::new(self.target.ip(), port), &packet);
                }
                let message = self.rubbish();
                out.send(SocketId(0), self.target, &message);
                self.next = now + Duration::from_millis(50 + self.random.below(400));
            }
            _ => {}
        }
    }

    /// When it bothers next.
    pub fn deadline(&self) -> Option<Time> {
        (self.next < self.until).then_some(self.next)
    }

    /// A message with something wrong in it, or a plain one that is not allowed.
    fn rubbish(&mut self) -> Vec<u8> {
        const METHODS: [&str; 8] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "FOO", "UPDATE"];
        let method = METHODS[self.random.below(METHODS.len() as u64) as usize];
        let (own, to) = (self.address, self.target);
        let number = self.random.u32();
        let tag = if self.random.chance(0.3) { ";tag=x" } else { "" };
        let start = if self.random.chance(0.2) {
            "SIP/2.0 200 OK".to_owned()
        } else {
            format!("{method} sip:00490000001@{to} SIP/2.0")
        };
        let mut message = format!(
            "{start}\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKstranger{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:stranger@{own}>;tag=s{number}\r\nTo: <sip:00490000001@{to}>{tag}\r\n\
             Call-ID: stranger-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:{own}>\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes();
        match self.random.below(4) {
            0 => {
                let keep = self.random.below(message.len() as u64) as usize;
                message.truncate(keep);
            }
            1 => {
                for _ in 0..1 + self.random.below(8) {
                    let at = self.random.below(message.len() as u64) as usize;
                    message[at] = self.random.u32() as u8;
                }
            }
            _ => {}
        }
        message
    }
}
