//! Threads on both back-ends: mail, time, stopping, what idling costs, pacing under load.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use driver::mailbox::mailbox;
use driver::{Options, clock};
use rig::{Order, PATIENCE, Rig, Seen, loopback, on_both, until};
use sansio::{Mailbox, SocketId, SocketOptions};
use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn two_threads_write_to_each_other() {
    on_both(|options| {
        let (to_a, at_a) = mailbox(64).unwrap();
        let (to_b, at_b) = mailbox(64).unwrap();
        let posts = vec![Some(to_a.clone()), Some(to_b.clone()), None];
        let a = Rig::start_with(options.clone(), to_a, at_a, posts.clone());
        let b = Rig::start_with(options, to_b, at_b, posts);
        let (done, finished) = mpsc::channel();
        fn volley(left: u32, done: mpsc::Sender<()>) -> Order {
            Order(Box::new(move |_, out| match left {
                0 => done.send(()).unwrap(),
                _ => out.mail(Mailbox((left as u16 + 1) % 2), volley(left - 1, done)),
            }))
        }
        a.mail.send(volley(2000, done)).unwrap();
        finished.recv_timeout(PATIENCE).expect("the ball came back");
        a.order(|_, out| {
            for to in [2, 77] {
                out.mail(Mailbox(to), Order(Box::new(|_, _| ())));
            }
        });
        let stats = a.stop();
        b.stop();
        assert_eq!((stats.mail_out, stats.mail_full), (1000, 2));
    });
}

#[test]
fn a_full_mailbox_loses_and_counts() {
    on_both(|options| {
        let (to_a, at_a) = mailbox(64).unwrap();
        let (to_b, _at_b) = mailbox(10).unwrap();
        let a = Rig::start_with(options, to_a, at_a, vec![None, Some(to_b.clone())]);
        a.order(|_, out| (0..25).for_each(|_| out.mail(Mailbox(1), Order(Box::new(|_, _| ())))));
        let stats = a.stop();
        assert_eq!((stats.mail_out, stats.mail_full, to_b.full()), (10, 15, 15));
    });
}

#[test]
fn timeouts_come_in_time_and_never_early() {
    on_both(|options| {
        let rig = Rig::start(options);
        for micros in [0, 1, 300, 1500, 20_000, 150_000] {
            rig.order(move |stage, _| stage.deadline = Some(clock::now() + Duration::from_micros(micros)));
            let Seen::Timeout { due, now } = rig.next() else { panic!() };
            // A crowded machine may be late; what matters here is that nobody has to be woken.
            assert!(now.since(due) < Duration::from_millis(500), "{:?}", now.since(due));
        }
        assert_eq!(rig.stop().timeouts, 6);
    });
}

#[test]
fn an_idle_thread_hardly_runs() {
    on_both(|options| {
        let rig = Rig::start(options);
        rig.open(0, loopback(false), SocketOptions::default());
        until("published", || rig.gauges.read().elapsed_nanos > 0);
        let before = rig.gauges.read();
        std::thread::sleep(Duration::from_millis(600));
        let after = rig.gauges.read();
        assert!(after.elapsed_nanos > before.elapsed_nanos, "published while idle");
        assert!(after.busy_since(&before) < 0.05, "{}", after.busy_since(&before));
        assert!(after.wakes - before.wakes < 30, "{}", after.wakes - before.wakes);
        rig.stop();
    });
}

#[test]
fn under_load_wakes_are_shared_and_none_is_lost() {
    on_both(|options| {
        let rig = Rig::start(Options { coalesce: Duration::from_millis(2), ..options });
        let receive = SocketOptions { receive_buffer: 1 << 20, ..Default::default() };
        let ports: Vec<_> = (0..50).map(|number| rig.open(number, loopback(false), receive)).collect();
        rig.echo(true);
        let peer = UdpSocket::bind(loopback(false)).unwrap();
        socket2::SockRef::from(&peer).set_recv_buffer_size(1 << 22).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 100];
        // 10 000 a second for a second, in ticks of a millisecond.
        let start = clock::now();
        for tick in 0..1000u32 {
            clock::sleep_until(start + Duration::from_millis(1) * tick);
            for n in 0..10 {
                peer.send_to(&[0; 100], ports[((tick * 10 + n) % 50) as usize]).unwrap();
            }
        }
        for _ in 0..10_000 {
            peer.recv(&mut buffer).unwrap();
        }
        // A mailbox is served and a timer fires in between.
        rig.order(|stage, _| stage.deadline = Some(clock::now() + Duration::from_millis(1)));
        assert!(matches!(rig.next(), Seen::Timeout { .. }));
        let stats = rig.stop();
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (10_000, 10_000));
        assert!(stats.waits_shared > 50, "{stats:?}");
        assert!(stats.wakes < 3000, "shared: {stats:?}");
    });
}

#[test]
fn what_was_written_before_stop_is_sent() {
    on_both(|options| {
        let mut rig = Rig::start(options);
        rig.open(0, loopback(false), SocketOptions::default());
        let peer = UdpSocket::bind(loopback(false)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = peer.local_addr().unwrap();
        rig.order(move |_, out| {
            out.stop();
            (0..10).for_each(|_| out.send(SocketId(0), to, b"bye"));
        });
        assert_eq!(rig.join().datagrams_out, 10);
        let mut buffer = [0; 10];
        (0..10).for_each(|_| assert_eq!(peer.recv(&mut buffer).unwrap(), 3));
    });
}
