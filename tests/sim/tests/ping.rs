//! The smallest machine under the simulator: it pings until it is answered, over datagrams, streams and mail.
#![allow(clippy::unwrap_used, reason = "a test")]

use sansio::{Input, Machine, Mailbox, Outbox, SocketId, StreamEvent, StreamId, Time};
use sim::{Ended, Link, NodeId, Pace, World};
use std::net::SocketAddr;
use std::time::Duration;

/// Pings `to` until it has `wanted` answers; answers pings of others.
#[derive(Debug)]
struct Ping {
    to: Option<SocketAddr>,
    wanted: u32,
    sent: u32,
    answers: u32,
    refusals: u32,
    letters: u32,
    closed: u32,
    read: Vec<u8>,
    next: Option<Time>,
}

impl Ping {
    fn new(to: Option<SocketAddr>, wanted: u32) -> Self {
        let next = to.map(|_| Time::ZERO);
        Self { to, wanted, sent: 0, answers: 0, refusals: 0, letters: 0, closed: 0, read: Vec::new(), next }
    }
}

impl Machine for Ping {
    type Mail = u32;

    fn handle(&mut self, now: Time, input: Input<'_, u32>, out: &mut Outbox<u32>) {
        match input {
            Input::Datagram(datagram) if datagram.payload.starts_with(b"ping") => {
                out.send(datagram.socket, datagram.source, &[b"pong", &datagram.payload[4..]].concat());
            }
            Input::Datagram(_) => {
                self.answers += 1;
                if self.answers == self.wanted {
                    self.next = None;
                    out.mail(Mailbox(1), self.answers);
                    if let Some(to) = self.to {
                        out.connect(StreamId(0), None, to);
                        out.write(StreamId(0), b"over the stream");
                    }
                }
            }
            Input::Unreachable { .. } => {
                self.refusals += 1;
                self.next = None;
            }
            Input::Mail(count) => self.letters += count,
            Input::Stream(stream, StreamEvent::Data(bytes)) => {
                self.read.extend_from_slice(bytes);
                if stream.is_accepted() {
                    out.write(stream, bytes);
                } else if self.read.len() == 15 {
                    out.shut(stream);
                }
            }
            Input::Stream(_, StreamEvent::Closed(_)) => self.closed += 1,
            Input::Stream(..) | Input::Socket(..) => {}
            Input::Timeout => {
                if let Some(to) = self.to {
                    self.sent += 1;
                    out.send(SocketId(0), to, format!("ping {}", self.sent).as_bytes());
                    self.next = Some(now + Duration::from_millis(100));
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.next
    }
}

fn run(seed: u64, link: Link) -> (World<Ping>, NodeId, NodeId) {
    let mut world = World::new(seed, link, true);
    let (a, b): (SocketAddr, SocketAddr) =
        ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:2000".parse().unwrap());
    let pinger = world.add("pinger", 0, Ping::new(Some(b), 20), Pace::default());
    let answerer = world.add("answerer", 0, Ping::new(None, 0), Pace::default());
    world.bind(pinger, SocketId(0), a);
    world.bind(answerer, SocketId(0), b);
    world.listen(answerer, SocketId(1), b);
    world.assign(Mailbox(1), answerer);
    assert_eq!(world.run(Time::from_millis(600_000)), Ended::Quiet);
    assert_eq!(world.violations, Vec::<String>::new());
    (world, pinger, answerer)
}

#[test]
fn pings_arrive_over_a_bad_line_and_the_stream_keeps_every_byte() {
    for seed in 0..50 {
        let link = Link { loss: 0.3, duplicate: 0.1, reorder: 0.2, ..Link::default() };
        let (world, pinger, answerer) = run(seed, link);
        let pinger = &world.node(pinger).machine;
        assert!(pinger.answers >= 20 && pinger.sent > 15);
        assert_eq!(pinger.read, b"over the stream");
        let answerer = &world.node(answerer).machine;
        assert_eq!((answerer.letters, answerer.closed), (20, 1));
        assert_eq!(answerer.read, b"over the stream");
    }
}

#[test]
fn the_same_seed_gives_the_same_log_byte_for_byte_and_another_seed_another() {
    let link =
        Link { loss: 0.2, duplicate: 0.1, reorder: 0.2, jitter: Duration::from_millis(3), ..Link::default() };
    let (first, ..) = run(11, link);
    let (again, ..) = run(11, link);
    assert!(first.log.lines() > 50);
    assert_eq!(first.log.text(), again.log.text());
    assert_eq!(first.log.hash(), again.log.hash());
    assert_ne!(run(12, link).0.log.hash(), first.log.hash());
}

#[test]
fn a_dead_port_refuses_and_a_partition_is_silent() {
    let mut world = World::new(1, Link::default(), true);
    let (a, b): (SocketAddr, SocketAddr) =
        ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:2000".parse().unwrap());
    let pinger = world.add("pinger", 0, Ping::new(Some(b), 20), Pace::default());
    let answerer = world.add("answerer", 0, Ping::new(None, 0), Pace::default());
    world.bind(pinger, SocketId(0), a);
    world.bind(answerer, SocketId(0), b);
    world.at(Time::from_millis(150), move |world| world.network.part(a.ip(), b.ip()));
    world.at(Time::from_millis(450), move |world| world.network.heal(a.ip(), b.ip()));
    world.at(Time::from_millis(950), move |world| world.kill(answerer));
    assert_eq!(world.run(Time::from_millis(60_000)), Ended::Quiet);
    let machine = &world.node(pinger).machine;
    assert_eq!((machine.sent, machine.answers, machine.refusals), (11, 7, 1), "{}", world.log.text());
}
