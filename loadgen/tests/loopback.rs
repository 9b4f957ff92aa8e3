//! Farms against each other on the loopback, on both drivers, with real threads and sockets.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and asks the host for IPv6"
)]

use driver::{Choice, Scheduling, clock};
use loadgen::farm::{Farm, ShardSpec};
use loadgen::gather::Gather;
use loadgen::plan::Plan;
use loadgen::{Behaviour, CallerConfig, Part, arrival::Arrivals, verdict};
use std::net::SocketAddr;
use std::time::Duration;

fn plan(transport: &str, to: SocketAddr) -> Plan {
    let text = format!(
        r#"
        name = "loopback"
        [target]
        to = "sip:+49{{000-999}}@{to};transport={transport}"
        [arrival]
        law = "constant"
        rate = 20
        seconds = 2
        [hold]
        law = "fixed"
        seconds = 1
        "#
    );
    Plan::parse("loopback", &text).unwrap()
}

fn run(io: Choice, transport: &str, any: &str) {
    let any: SocketAddr = any.parse().unwrap();
    let spec = |farm, part, media| ShardSpec {
        listen: any,
        farm,
        media,
        calls_max: 100,
        ports_ready: 30,
        part,
        seed: 1,
    };
    let media = plan(transport, any).media;
    let behaviour = Behaviour { ring: Duration::from_millis(50), ..Behaviour::default() };
    let mut carriers =
        Farm::start(&[spec(21, Part::Carrier(behaviour), media)], io, Scheduling::Normal).unwrap();
    let plan = plan(transport, carriers.addresses()[0]);
    let (stretches, spacing, most) = plan.arrival.stretches(&plan.hold.0);
    let arrivals = Arrivals::new(stretches, spacing, plan.hold.0, most, plan.seed);
    let caller = |share| {
        Part::Caller(Box::new(CallerConfig {
            to: plan.target.to.clone(),
            caller: plan.target.caller.0.clone(),
            arrivals: arrivals.clone(),
            share,
            shares: 2,
            warm_up: Duration::ZERO,
            drain_after: None,
            no_response: Duration::from_secs(5),
            no_answer: Duration::from_secs(5),
            peer_may_end: false,
        }))
    };
    let mut callers =
        Farm::start(&[spec(23, caller(0), media), spec(25, caller(1), media)], io, Scheduling::Normal)
            .unwrap();
    let expected = if io == Choice::Uring { "io_uring" } else { "epoll" };
    assert_eq!((callers.io().0, carriers.io().0), (expected, expected));
    let start = clock::now() + Duration::from_millis(50);
    carriers.begin(start);
    callers.begin(start);
    let mut gather = Gather::default();
    let give_up = start + Duration::from_secs(20);
    while !callers.is_done() && clock::now() < give_up {
        callers.poll(|shard, part| gather.callers.take(shard, &part));
        carriers.poll(|shard, part| gather.carriers.take(shard, &part));
        clock::sleep_until(clock::now() + Duration::from_millis(10));
    }
    callers.stop(Duration::from_secs(3), |shard, part| gather.callers.take(shard, &part));
    carriers.stop(Duration::from_secs(3), |shard, part| gather.carriers.take(shard, &part));

    let (called, answered) = (&gather.callers.total, &gather.carriers.total);
    assert_eq!((called.attempts, called.completed, called.failed), (40, 40, 0), "{:?}", called.causes);
    assert_eq!(answered.completed, 40);
    let joined = verdict::join(&gather.callers, &gather.carriers);
    assert!(joined.iter().all(|call| call.carrier.is_some_and(|carrier| carrier.peer == call.caller.call)));
    let media = verdict::media(&gather, &joined, |_| false);
    assert_eq!(
        (media.calls, media.one_way_audio, media.no_audio, media.cross_talk_calls),
        (40, Some(0), Some(0), Some(0))
    );
    assert_eq!(media.directions.len(), 2);
    for direction in &media.directions {
        // One second is 50 packets; a busy host may be late with some, but the loopback loses none.
        assert!(direction.received >= 40 * 45, "{}: {}", direction.name, direction.received);
        assert_eq!(direction.lost, 0, "{}", direction.name);
    }
}

#[test]
fn epoll_over_udp() {
    run(Choice::Fallback, "udp", "127.0.0.1:0");
}

#[test]
fn epoll_over_tcp() {
    run(Choice::Fallback, "tcp", "127.0.0.1:0");
}

#[test]
fn io_uring_over_udp() {
    if let Err(refusal) = driver::probe() {
        println!("skipped: {refusal}");
        return;
    }
    run(Choice::Uring, "udp", "127.0.0.1:0");
}

#[test]
fn io_uring_over_tcp() {
    if let Err(refusal) = driver::probe() {
        println!("skipped: {refusal}");
        return;
    }
    run(Choice::Uring, "tcp", "127.0.0.1:0");
}

#[test]
fn epoll_over_ipv6() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this host has no IPv6 loopback");
        return;
    }
    run(Choice::Fallback, "udp", "[::1]:0");
}
