//! What one whole call costs two SIP endpoints without the kernel: INVITE, 180, 200, ACK, BYE, 200 through memory.
//!
//! A call through the gateway is two such pairs of ends, one of each in the gateway. `cargo bench --bench endpoint`;
//! `cargo test --benches` runs it once.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sansio::{Outbox, Random, SocketId, Time};
use sip::{Body, Config, Destination, Endpoint, Event, Invite, Transport};
use std::net::SocketAddr;
use std::time::Duration;

const UDP: SocketId = SocketId(0);
const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
m=audio 49170 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

struct Side {
    endpoint: Endpoint,
    address: SocketAddr,
    out: Outbox<()>,
}

impl Side {
    fn new(address: &str, seed: u64) -> Self {
        let address = address.parse().unwrap();
        let mut endpoint = Endpoint::new(Config::default(), Random::new(seed), Time::ZERO);
        endpoint.add_udp(UDP, address);
        Self { endpoint, address, out: Outbox::new(64, 1) }
    }

    /// Hands what this side has to say to the other; the number of datagrams.
    fn deliver(&mut self, now: Time, other: &mut Self) -> usize {
        let mut count = 0;
        self.endpoint.flush(&mut self.out);
        while self.out.next_action().is_some() {}
        while let Some(send) = self.out.next_send() {
            other.endpoint.handle_datagram(now, UDP, self.address, self.out.pool().bytes(&send.packet));
            self.out.pool().release(send.packet);
            count += 1;
        }
        count
    }
}

/// Two ends, and virtual time.
struct Pair {
    caller: Side,
    callee: Side,
    now: Time,
    calls: u64,
}

impl Pair {
    /// Passes datagrams until both are silent.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        loop {
            let step = self.caller.deliver(self.now, &mut self.callee)
                + self.callee.deliver(self.now, &mut self.caller);
            if step == 0 {
                return count;
            }
            count += step;
        }
    }

    /// One call from INVITE to the answer of BYE; the number of datagrams.
    fn call(&mut self) -> usize {
        self.calls += 1;
        // A thousand calls a second: timers of earlier calls run out beside this one, as in life.
        self.now += Duration::from_millis(1);
        for side in [&mut self.caller, &mut self.callee] {
            if side.endpoint.deadline().is_some_and(|deadline| deadline <= self.now) {
                side.endpoint.handle_timeout(self.now);
            }
        }
        let id = format!("{:016x}@192.0.2.1", self.calls);
        let leg = self
            .caller
            .endpoint
            .invite(
                self.now,
                &Invite {
                    call_id: &id,
                    request_uri: "sip:+4930123456@192.0.2.2",
                    from: "<sip:+86755123456@192.0.2.1>",
                    to: "<sip:+4930123456@192.0.2.2>",
                    destination: Destination {
                        transport: Transport::Udp,
                        remote: self.callee.address,
                        socket: UDP,
                        over: None,
                    },
                    contact_user: "caller",
                    headers: &[],
                    body: Some(Body::sdp(SDP)),
                    max_forwards: 70,
                    no_response: Duration::from_secs(5),
                    no_answer: Duration::from_secs(60),
                },
            )
            .unwrap();
        let mut count = self.settle();
        while let Some(event) = self.callee.endpoint.poll_event() {
            if let Event::Invite { leg, .. } = event {
                self.callee.endpoint.provisional(self.now, leg, 180, &[], None).unwrap();
                self.callee.endpoint.answer(self.now, leg, &[], Some(Body::sdp(SDP))).unwrap();
            }
        }
        count += self.settle();
        let mut answered = false;
        while let Some(event) = self.caller.endpoint.poll_event() {
            answered |= matches!(event, Event::Answered { .. });
        }
        assert!(answered);
        self.caller.endpoint.bye(self.now, leg, &[]).unwrap();
        count += self.settle();
        while self.caller.endpoint.poll_event().is_some() {}
        while self.callee.endpoint.poll_event().is_some() {}
        count
    }
}

fn call(c: &mut Criterion) {
    let mut pair = Pair {
        caller: Side::new("192.0.2.1:5060", 1),
        callee: Side::new("192.0.2.2:5060", 2),
        now: Time::from_millis(1000),
        calls: 0,
    };
    let datagrams = pair.call();
    assert!((6..=7).contains(&datagrams), "{datagrams} datagrams for a call");
    let mut group = c.benchmark_group("endpoint");
    group.throughput(Throughput::Elements(1));
    group.bench_function("whole_call_both_ends", |b| b.iter(|| pair.call()));
    group.finish();
}

criterion_group!(benches, call);
criterion_main!(benches);
