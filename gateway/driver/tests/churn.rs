//! Sockets and streams opened, used and closed at random: nothing is lost, mixed up or left behind.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use driver::mailbox::mailbox;
use driver::{Driver, Options, clock, sockets};
use rig::{loopback, on_both};
use sansio::{
    Input, Machine, Outbox, Random, SocketEvent, SocketId, SocketOptions, StreamEvent, StreamId, Time,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const SOCKETS: u64 = 40;
const STREAMS: u64 = 20;
const LISTENER: SocketId = SocketId(1000);

struct Churn {
    random: Random,
    steps: u32,
    deadline: Option<Time>,
    listener: SocketAddr,
    /// Open sockets and where; `None` while opening.
    sockets: BTreeMap<u32, Option<SocketAddr>>,
    /// Streams of both ends.
    streams: BTreeSet<StreamId>,
    datagrams: u32,
    bytes: usize,
}

impl Churn {
    fn step(&mut self, out: &mut Outbox<()>) {
        let number = self.random.below(SOCKETS) as u32;
        let stream = StreamId(self.random.below(STREAMS) as u32);
        match self.random.below(10) {
            0 | 1 if !self.sockets.contains_key(&number) => {
                let options = SocketOptions {
                    icmp_errors: self.random.chance(0.3),
                    timestamps: self.random.chance(0.3),
                    receive_buffer: 0,
                };
                out.open(SocketId(number), loopback(self.random.chance(0.5)), options);
                self.sockets.insert(number, None);
            }
            2 if self.sockets.get(&number).is_some_and(Option::is_some) => {
                self.sockets.remove(&number);
                out.close(SocketId(number));
            }
            3 if self.streams.insert(stream) => {
                out.connect(stream, None, self.listener);
                out.write(stream, &vec![1; self.random.below(5000) as usize]);
            }
            4 => {
                let nth = self.random.below(self.streams.len().max(1) as u64) as usize;
                if let Some(&stream) = self.streams.iter().nth(nth) {
                    self.streams.remove(&stream);
                    out.shut(stream);
                }
            }
            5 => {
                if let Some(&stream) = self.streams.iter().next_back() {
                    out.write(stream, &vec![2; self.random.below(20_000) as usize]);
                }
            }
            _ => {
                let all: Vec<_> = self.sockets.values().flatten().copied().collect();
                for _ in 0..self.random.below(20) {
                    let Some(to) = all.get(self.random.below(all.len().max(1) as u64) as usize) else {
                        break;
                    };
                    let from = SocketId(self.random.below(SOCKETS) as u32);
                    out.send(from, *to, &vec![3; self.random.below(1400) as usize]);
                }
            }
        }
    }
}

impl Machine for Churn {
    type Mail = ();

    fn handle(&mut self, now: Time, input: Input<'_, ()>, out: &mut Outbox<()>) {
        match input {
            Input::Timeout => {
                for _ in 0..3 {
                    self.step(out);
                }
                self.steps -= 1;
                self.deadline = Some(now + Duration::from_micros(100));
                if self.steps == 0 {
                    self.deadline = None;
                    out.stop();
                }
            }
            Input::Datagram(datagram) => {
                let known = self.sockets.get(&datagram.socket.0);
                assert!(known.is_some_and(Option::is_some), "from a socket that is not open");
                assert!(datagram.payload.iter().all(|&byte| byte == 3));
                assert!(datagram.received <= now);
                self.datagrams += 1;
                if self.random.chance(0.01) {
                    self.sockets.remove(&datagram.socket.0);
                    out.close(datagram.socket);
                }
            }
            Input::Socket(socket, event) => {
                let SocketEvent::Opened(local) = event else { panic!("{event:?}") };
                assert_eq!(self.sockets.insert(socket.0, Some(local)), Some(None));
            }
            Input::Unreachable { socket, .. } => assert!(self.sockets.contains_key(&socket.0)),
            Input::Stream(stream, StreamEvent::Accepted { listener, .. }) => {
                assert_eq!(listener, LISTENER);
                assert!(stream.is_accepted() && self.streams.insert(stream));
            }
            Input::Stream(stream, StreamEvent::Closed(_)) => assert!(self.streams.remove(&stream)),
            Input::Stream(stream, StreamEvent::Connected { .. }) => assert!(self.streams.contains(&stream)),
            Input::Stream(stream, StreamEvent::Data(bytes)) => {
                assert!(self.streams.contains(&stream), "a stream that is over is silent");
                assert!(bytes.iter().all(|&byte| byte == 1 || byte == 2));
                self.bytes += bytes.len();
                if self.random.chance(0.05) {
                    self.streams.remove(&stream);
                    out.shut(stream);
                    if !stream.is_accepted() && self.random.chance(0.5) {
                        self.streams.insert(stream);
                        out.connect(stream, None, self.listener);
                    }
                }
            }
            Input::Mail(()) => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn nothing_is_mixed_up_or_left_behind() {
    let seed = clock::now().as_nanos();
    on_both(|options| {
        for seed in seed..seed + 4 {
            eprintln!("{} seed {seed}", options.io);
            let before = descriptors();
            let (mail, receiver) = mailbox(1).unwrap();
            let listener = sockets::open_listener(loopback(false), sockets::Share::Alone).unwrap();
            let mut churn = Churn {
                random: Random::new(seed),
                steps: 3000,
                deadline: Some(Time::ZERO),
                listener: listener.local_addr().unwrap(),
                sockets: BTreeMap::new(),
                streams: BTreeSet::new(),
                datagrams: 0,
                bytes: 0,
            };
            let options = Options { small_buffers: 16, large_buffers: 4, ..options.clone() };
            let mut driver = Driver::new(options, receiver, Vec::new()).unwrap();
            driver.adopt_listener(LISTENER, listener).unwrap();
            let stats = driver.run(&mut churn);
            drop(mail);
            assert!(churn.datagrams > 1000 && churn.bytes > 100_000, "{} {}", churn.datagrams, churn.bytes);
            assert_eq!(stats.packets_taken, 0, "{stats:?}");
            assert_eq!((stats.send_errors > 0, stats.sends_unknown > 0), (true, true), "v4 to v6, closed");
            assert_eq!((stats.sockets_open, stats.streams_open), (0, 0));
            rig::until("descriptors are given back", || descriptors() == before);
        }
    });
}
