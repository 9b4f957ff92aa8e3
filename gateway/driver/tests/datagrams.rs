//! Datagram sockets on both back-ends: echo, many sockets, ports, ICMP, bursts, limits.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use rig::{PATIENCE, Rig, Seen, loopback, on_both, until};
use sansio::{IoError, SocketEvent, SocketId, SocketOptions};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

fn peer(v6: bool) -> UdpSocket {
    let socket = UdpSocket::bind(loopback(v6)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn echo_over_both_families() {
    on_both(|options| {
        let rig = Rig::start(options);
        for (number, v6) in [(0, false), (7, true)] {
            let local = rig.open(number, loopback(v6), SocketOptions::default());
            rig.echo(true);
            let peer = peer(v6);
            let mut buffer = [0; 2000];
            for len in [0, 1, 172, 1400] {
                peer.send_to(&vec![len as u8; len], local).unwrap();
                let (got, source) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!((got, source), (len, local));
                assert!(buffer[..got].iter().all(|&byte| byte == len as u8));
            }
            rig.echo(false);
        }
        let stats = rig.stop();
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (8, 8));
        assert_eq!(stats.send_errors + stats.sends_dropped + stats.sends_unknown, 0);
    });
}

#[test]
fn a_thousand_sockets_are_told_apart() {
    on_both(|options| {
        let rig = Rig::start(options);
        let options = SocketOptions::default();
        let ports: Vec<_> = (0..1000).map(|number| rig.open(number, loopback(false), options)).collect();
        let peer = peer(false);
        for round in 0..3u8 {
            for local in &ports {
                peer.send_to(&[round], local).unwrap();
            }
            let mut hit = vec![false; ports.len()];
            for _ in 0..ports.len() {
                let Seen::Datagram { socket, source, payload, .. } = rig.next() else { panic!() };
                assert_eq!((source, payload.as_slice()), (peer.local_addr().unwrap(), [round].as_slice()));
                assert!(!std::mem::replace(&mut hit[socket.0 as usize], true));
            }
        }
        until("published", || rig.gauges.read().sockets_open == 1000);
        rig.order(|_, out| (0..500).for_each(|number| out.close(SocketId(number))));
        until("closed", || rig.gauges.read().sockets_open == 500);
        peer.send_to(b"x", ports[999]).unwrap();
        peer.send_to(b"y", ports[0]).unwrap();
        assert!(matches!(rig.next(), Seen::Datagram { socket: SocketId(999), .. }));
        rig.quiet(50);
        rig.stop();
    });
}

#[test]
fn one_thread_holds_as_many_sockets_as_the_host_allows() {
    let limit = driver::sockets::raise_descriptor_limit().unwrap();
    let count = limit.saturating_sub(4000).clamp(100, 15_000) as u32;
    on_both(|options| {
        let rig = Rig::start(options);
        rig.order(move |_, out| {
            for n in 0..count {
                // Several addresses, since one has ports for fewer than that when others run beside us.
                let local = SocketAddr::from(([127, 0, 1, (n % 50) as u8 + 1], 0));
                out.open(SocketId(n), local, SocketOptions::default());
            }
        });
        let ports: Vec<_> = (0..count)
            .map(|n| match rig.next() {
                Seen::Socket(SocketId(number), SocketEvent::Opened(local)) if number == n => local,
                other => panic!("{other:?}"),
            })
            .collect();
        let peer = peer(false);
        let mut sum = 0;
        for chunk in ports.chunks(500) {
            for local in chunk {
                peer.send_to(b"x", local).unwrap();
            }
            for _ in chunk {
                let Seen::Datagram { socket, .. } = rig.next() else { panic!() };
                sum += u64::from(socket.0);
            }
        }
        let count = u64::from(count);
        assert_eq!(sum, count * (count - 1) / 2, "each once");
        assert_eq!(rig.stop().datagrams_in, count);
        assert!(UdpSocket::bind(ports[0]).is_ok());
    });
}

#[test]
fn a_taken_port_is_said_and_a_closed_one_is_free_at_once() {
    on_both(|options| {
        let rig = Rig::start(options);
        let taken = peer(false);
        let address = taken.local_addr().unwrap();
        rig.order(move |_, out| out.open(SocketId(1), address, SocketOptions::default()));
        let failed = SocketEvent::Failed(IoError::AddressInUse);
        assert_eq!(rig.next(), Seen::Socket(SocketId(1), failed));
        let absent = "192.0.2.1:0".parse().unwrap();
        rig.order(move |_, out| out.open(SocketId(1), absent, SocketOptions::default()));
        let failed = SocketEvent::Failed(IoError::AddressNotAvailable);
        assert_eq!(rig.next(), Seen::Socket(SocketId(1), failed));

        let local = rig.open(1, loopback(false), SocketOptions::default());
        for _ in 0..50 {
            rig.order(move |_, out| {
                out.close(SocketId(1));
                out.open(SocketId(1), local, SocketOptions::default());
            });
            assert_eq!(rig.next(), Seen::Socket(SocketId(1), SocketEvent::Opened(local)));
            taken.send_to(b"again", local).unwrap();
            assert!(matches!(rig.next(), Seen::Datagram { socket: SocketId(1), .. }));
        }
        rig.order(move |_, out| out.open(SocketId(1), loopback(false), SocketOptions::default()));
        assert!(matches!(rig.next(), Seen::Socket(SocketId(1), SocketEvent::Failed(IoError::Other(_)))));
        rig.stop();
        assert!(UdpSocket::bind(local).is_ok(), "a stopped driver leaves no port behind");
    });
}

#[test]
fn refusals_by_icmp_name_the_destination() {
    on_both(|options| {
        for v6 in [false, true] {
            let rig = Rig::start(options.clone());
            let options = SocketOptions { icmp_errors: true, ..Default::default() };
            let local = rig.open(3, loopback(v6), options);
            let gone = peer(v6).local_addr().unwrap();
            let alive = peer(v6);
            for _ in 0..5 {
                rig.send(3, gone, b"anybody?");
                assert_eq!(rig.next(), Seen::Unreachable(SocketId(3), gone));
                rig.send(3, alive.local_addr().unwrap(), b"hello");
                let mut buffer = [0; 10];
                assert_eq!(alive.recv_from(&mut buffer).unwrap(), (5, local));
                alive.send_to(b"hi", local).unwrap();
                assert!(matches!(rig.next(), Seen::Datagram { socket: SocketId(3), .. }));
            }
            // Many at once: none is lost between refusals of others.
            let to = alive.local_addr().unwrap();
            rig.order(move |_, out| {
                for n in 0..20u8 {
                    out.send(SocketId(3), gone, b"anybody?");
                    out.send(SocketId(3), to, &[n]);
                }
            });
            let mut buffer = [0; 10];
            let mut got: Vec<u8> = (0..20)
                .map(|_| {
                    alive.recv_from(&mut buffer).unwrap();
                    buffer[0]
                })
                .collect();
            got.sort_unstable();
            assert_eq!(got, (0..20).collect::<Vec<_>>());
            assert_eq!(rig.next(), Seen::Unreachable(SocketId(3), gone));
            let stats = rig.stop();
            assert_eq!(stats.send_errors, 0);
            assert!(stats.unreachable_in >= 6);
        }
    });
}

#[test]
fn without_icmp_errors_refusals_are_silent() {
    on_both(|options| {
        let rig = Rig::start(options);
        rig.open(0, loopback(false), SocketOptions::default());
        let gone = peer(false).local_addr().unwrap();
        for _ in 0..3 {
            rig.send(0, gone, b"anybody?");
        }
        rig.quiet(50);
        assert_eq!(rig.stop().datagrams_out, 3);
    });
}

#[test]
fn large_datagrams_pass_where_signalling_does() {
    on_both(|options| {
        let rig = Rig::start(options);
        let signalling = SocketOptions { icmp_errors: true, ..Default::default() };
        let sip = rig.open(0, loopback(false), signalling);
        let rtp = rig.open(1, loopback(false), SocketOptions::default());
        let peer = peer(false);
        let large = vec![7u8; 65_507];
        peer.send_to(&large, sip).unwrap();
        assert!(matches!(rig.next(), Seen::Datagram { payload, .. } if payload == large));
        peer.send_to(&large[..4000], rtp).unwrap();
        peer.send_to(&large[..1500], rtp).unwrap();
        assert!(matches!(rig.next(), Seen::Datagram { payload, .. } if payload.len() == 1500));
        let to = peer.local_addr().unwrap();
        rig.order(move |_, out| {
            out.send(SocketId(0), to, &[1; 65_507]);
            out.send(SocketId(0), to, &[1; 65_508]);
            out.send(SocketId(99), to, b"nowhere");
        });
        let mut buffer = vec![0; 65_536];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (65_507, sip));
        let stats = rig.stop();
        assert_eq!(stats.datagrams_truncated, 1);
        assert_eq!((stats.datagrams_oversize, stats.sends_unknown), (1, 1));
    });
}

#[test]
fn a_burst_beyond_the_buffer_ring_wedges_nothing() {
    on_both(|options| {
        let uring = options.io == driver::Choice::Uring;
        let rig = Rig::start(driver::Options { small_buffers: 4, ..options });
        let receive = SocketOptions { receive_buffer: 1 << 20, ..Default::default() };
        let ports: Vec<_> = (0..20).map(|number| rig.open(number, loopback(false), receive)).collect();
        let peer = peer(false);
        // The machine is held, so that all are there at once.
        rig.order(|_, _| std::thread::sleep(Duration::from_millis(100)));
        for n in 0..400usize {
            peer.send_to(&n.to_be_bytes(), ports[n % ports.len()]).unwrap();
        }
        let mut got: Vec<_> = (0..400)
            .map(|_| match rig.next() {
                Seen::Datagram { payload, .. } => usize::from_be_bytes(payload.try_into().unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..400).collect::<Vec<_>>());
        for local in &ports {
            peer.send_to(b"still there?", local).unwrap();
            assert!(matches!(rig.next(), Seen::Datagram { .. }));
        }
        let stats = rig.stop();
        assert_eq!(stats.buffers_exhausted > 0, uring, "{stats:?}");
        assert!(stats.rearms >= stats.buffers_exhausted);
    });
}

#[test]
fn the_kernels_time_of_receipt_is_on_our_clock() {
    on_both(|options| {
        let rig = Rig::start(options);
        let stamped = SocketOptions { timestamps: true, ..Default::default() };
        let local = rig.open(0, loopback(false), stamped);
        let peer = peer(false);
        rig.order(|_, _| std::thread::sleep(Duration::from_millis(200)));
        std::thread::sleep(Duration::from_millis(50)); // the machine is in its order now
        let before = driver::clock::now();
        peer.send_to(b"tick", local).unwrap();
        let after = driver::clock::now();
        let Seen::Datagram { received, now, .. } = rig.next() else { panic!() };
        let slack = Duration::from_millis(2);
        assert!(received + slack >= before && received <= after + slack, "{before} {received} {after}");
        assert!(received < now, "it waited in the socket");
        rig.stop();
    });
}

#[test]
fn packets_overflowing_a_socket_are_counted() {
    on_both(|options| {
        let rig = Rig::start(options);
        let small = SocketOptions { receive_buffer: 4096, ..Default::default() };
        let local = rig.open(0, loopback(false), small);
        let peer = peer(false);
        rig.order(|_, _| std::thread::sleep(Duration::from_millis(100)));
        for _ in 0..100 {
            peer.send_to(&[0; 1000], local).unwrap();
        }
        until("drops are seen", || rig.gauges.read().socket_drops > 0);
        let stats = rig.stop();
        assert_eq!(stats.datagrams_in + stats.socket_drops, 100);
    });
}

#[test]
fn datagrams_beyond_the_pool_are_counted() {
    on_both(|options| {
        let rig = Rig::start(driver::Options { small_packets: 16, large_packets: 0, ..options });
        rig.open(0, loopback(false), SocketOptions::default());
        let peer = peer(false);
        let to = peer.local_addr().unwrap();
        for _ in 0..3 {
            rig.order(move |_, out| (0..20).for_each(|_| out.send(SocketId(0), to, b"x")));
            let mut buffer = [0; 10];
            (0..16).for_each(|_| assert_eq!(peer.recv(&mut buffer).unwrap(), 1));
        }
        assert_eq!(rig.stop().packets_exhausted, 12);
    });
}

#[test]
fn sockets_of_others_are_taken_in() {
    on_both(|options| {
        let (mail, receiver) = driver::mailbox::mailbox::<()>(1).unwrap();
        let mut driver = driver::Driver::new(options, receiver, Vec::new()).unwrap();
        let socket = peer(false);
        let options = SocketOptions::default();
        driver.adopt_udp(SocketId(4), socket.try_clone().unwrap(), options).unwrap();
        assert!(driver.adopt_udp(SocketId(4), socket, options).is_err(), "the number is taken");
        drop((mail, driver)); // made and never run
    });
}
