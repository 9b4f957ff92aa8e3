//! TCP on both back-ends: accept, connect, echo, large writes, stalls, orderly and other ends.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use driver::mailbox::mailbox;
use driver::{Options, sockets};
use rig::{PATIENCE, Rig, Seen, loopback, on_both, until};
use sansio::{IoError, SocketId, StreamEnd, StreamId};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A rig that listens as socket 0.
fn listening(options: Options) -> (Rig, SocketAddr) {
    listening_on(options, loopback(false))
}

fn listening_on(options: Options, local: SocketAddr) -> (Rig, SocketAddr) {
    let listener = sockets::open_listener(local, sockets::Share::Alone).unwrap();
    let local = listener.local_addr().unwrap();
    let (mail, receiver) = mailbox(1024).unwrap();
    (Rig::start_adopting(options, mail, receiver, listener), local)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn accepted_streams_echo() {
    on_both(|options| {
        for v6 in [false, true] {
            let (rig, local) = listening_on(options.clone(), loopback(v6));
            let mut peers = Vec::new();
            for n in 0..20 {
                let peer = connect(local);
                let Seen::Accepted(stream, SocketId(0), ours, theirs) = rig.next() else { panic!() };
                assert_eq!(stream.0, StreamId::ACCEPTED + n);
                assert_eq!((ours, theirs), (local, peer.local_addr().unwrap()));
                peers.push(peer);
            }
            rig.echo(true);
            for (n, peer) in peers.iter_mut().enumerate() {
                peer.write_all(&[n as u8; 100]).unwrap();
            }
            for (n, peer) in peers.iter_mut().enumerate() {
                let mut buffer = [0; 100];
                peer.read_exact(&mut buffer).unwrap();
                assert_eq!(buffer, [n as u8; 100]);
            }
            drop(peers);
            for _ in 0..20 {
                assert!(matches!(rig.next(), Seen::Closed(_, StreamEnd::Peer)));
            }
            until("gone", || rig.gauges.read().streams_open == 0);
            assert_eq!(rig.stop().streams_accepted, 20);
        }
    });
}

#[test]
fn connected_streams_write_what_was_given_before() {
    on_both(|options| {
        let rig = Rig::start(options);
        let listener = TcpListener::bind(loopback(false)).unwrap();
        let to = listener.local_addr().unwrap();
        let from: SocketAddr = "127.0.0.2:0".parse().unwrap();
        rig.order(move |_, out| {
            out.connect(StreamId(5), Some(from), to);
            out.write(StreamId(5), b"early ");
            out.write(StreamId(5), b"bird");
        });
        let (mut peer, remote) = listener.accept().unwrap();
        assert_eq!(remote.ip(), from.ip());
        assert_eq!(rig.next(), Seen::Connected(StreamId(5), remote));
        let mut buffer = [0; 10];
        peer.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"early bird");
        peer.write_all(b"worm").unwrap();
        assert_eq!(rig.next(), Seen::Data(StreamId(5), b"worm".to_vec()));
        // Shut: all that was written arrives, then the end; no event, and the number is free at once.
        rig.order(move |_, out| {
            out.write(StreamId(5), &[9; 100_000]);
            out.shut(StreamId(5));
            out.connect(StreamId(5), None, to);
        });
        let (_second, _) = listener.accept().unwrap();
        assert!(matches!(rig.next(), Seen::Connected(StreamId(5), _)));
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 100_000);
        drop(peer);
        rig.quiet(20);
        until("gone", || rig.gauges.read().streams_open == 1);
        rig.stop();
    });
}

#[test]
fn refused_and_doubled_connections_end_at_once() {
    on_both(|options| {
        let rig = Rig::start(options);
        let gone = TcpListener::bind(loopback(false)).unwrap().local_addr().unwrap();
        for _ in 0..3 {
            rig.order(move |_, out| out.connect(StreamId(1), None, gone));
            assert_eq!(rig.next(), Seen::Closed(StreamId(1), StreamEnd::Refused(IoError::Refused)));
        }
        let absent = "192.0.2.1:0".parse().unwrap();
        rig.order(move |_, out| out.connect(StreamId(1), Some(absent), gone));
        let end = StreamEnd::Refused(IoError::AddressNotAvailable);
        assert_eq!(rig.next(), Seen::Closed(StreamId(1), end));
        until("no slot is left", || rig.gauges.read().streams_open == 0);
        rig.stop();
    });
}

#[test]
fn large_writes_arrive_whole() {
    on_both(|options| {
        let (rig, local) = listening(Options { write_buffer: 64 << 20, ..options });
        let mut peer = connect(local);
        let Seen::Accepted(stream, ..) = rig.next() else { panic!() };
        let sent: Vec<u8> = (0..20_000_000u32).map(|n| (n >> 8) as u8 ^ n as u8).collect();
        let pieces = sent.clone();
        rig.order(move |_, out| pieces.chunks(70_001).for_each(|piece| out.write(stream, piece)));
        let mut got = vec![0; sent.len()];
        peer.read_exact(&mut got).unwrap();
        assert!(got == sent);
        // And the other way.
        let reader = std::thread::spawn(move || {
            peer.write_all(&sent).unwrap();
            (peer, sent)
        });
        let mut got = Vec::new();
        while got.len() < 20_000_000 {
            let Seen::Data(from, bytes) = rig.next() else { panic!() };
            assert_eq!(from, stream);
            got.extend(bytes);
        }
        let (peer, sent) = reader.join().unwrap();
        assert!(got == sent);
        drop(peer);
        assert_eq!(rig.next(), Seen::Closed(stream, StreamEnd::Peer));
        rig.stop();
    });
}

#[test]
fn a_peer_that_does_not_read_is_a_stall_and_harms_no_other() {
    on_both(|options| {
        let (rig, local) = listening(Options { write_buffer: 100_000, ..options });
        let _deaf = connect(local);
        let Seen::Accepted(stalled, ..) = rig.next() else { panic!() };
        let mut other = connect(local);
        let Seen::Accepted(alive, ..) = rig.next() else { panic!() };
        let mut ended = false;
        for _ in 0..2000 {
            rig.order(move |_, out| out.write(stalled, &[0; 50_000]));
            if let Ok(seen) = rig.seen.try_recv() {
                assert_eq!(seen, Seen::Closed(stalled, StreamEnd::Stalled));
                ended = true;
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(ended || rig.next() == Seen::Closed(stalled, StreamEnd::Stalled));
        rig.order(move |_, out| out.write(alive, b"still here"));
        let mut buffer = [0; 10];
        other.read_exact(&mut buffer).unwrap();
        until("only the other is left", || rig.gauges.read().streams_open == 1);
        assert_eq!(rig.stop().streams_stalled, 1);
    });
}

#[test]
fn a_shut_stream_whose_peer_never_reads_is_given_up() {
    on_both(|options| {
        let linger = Duration::from_millis(300);
        let (rig, local) = listening(Options { write_buffer: 64 << 20, linger, ..options });
        let _deaf = connect(local);
        let Seen::Accepted(stream, ..) = rig.next() else { panic!() };
        rig.order(move |_, out| {
            out.write(stream, &vec![0; 30_000_000]);
            out.shut(stream);
        });
        until("it is still closing", || rig.gauges.read().streams_open == 1);
        until("given up", || rig.gauges.read().streams_open == 0);
        rig.quiet(20);
        rig.stop();
    });
}

#[test]
fn a_reset_is_told_as_such() {
    on_both(|options| {
        let (rig, local) = listening(options);
        let peer = connect(local);
        let Seen::Accepted(stream, ..) = rig.next() else { panic!() };
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        assert_eq!(rig.next(), Seen::Closed(stream, StreamEnd::Broken(IoError::Reset)));
        rig.stop();
    });
}

#[test]
fn half_closed_peers_still_get_what_is_owed() {
    on_both(|options| {
        let (rig, local) = listening(options);
        rig.echo(true);
        let mut peer = connect(local);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        peer.write_all(&[5; 50_000]).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 50_000);
        assert!(matches!(rig.next(), Seen::Closed(_, StreamEnd::Peer)));
        until("gone", || rig.gauges.read().streams_open == 0);
        rig.stop();
    });
}

#[test]
fn streams_beyond_the_limit_are_closed_at_once() {
    on_both(|options| {
        let (rig, local) = listening(Options { streams_max: 2, ..options });
        let first = connect(local);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        let _second = connect(local);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        let mut third = connect(local);
        assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0, "closed by the other side");
        drop(first);
        assert!(matches!(rig.next(), Seen::Closed(_, StreamEnd::Peer)));
        until("there is room", || rig.gauges.read().streams_open == 1);
        let _fourth = connect(local);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        assert_eq!(rig.stop().streams_refused, 1);
    });
}

#[test]
fn a_closed_listener_takes_no_more() {
    on_both(|options| {
        let (rig, local) = listening(options);
        let _first = connect(local);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        rig.order(|_, out| out.close(SocketId(0)));
        until("closed", || rig.gauges.read().sockets_open == 0);
        until("refused", || TcpStream::connect(local).is_err());
        rig.stop();
    });
}

#[test]
fn last_words_are_written_before_the_thread_ends() {
    on_both(|options| {
        let (mut rig, local) = listening(Options { write_buffer: 64 << 20, ..options });
        let mut peer = connect(local);
        let Seen::Accepted(stream, ..) = rig.next() else { panic!() };
        rig.order(move |_, out| {
            out.write(stream, &vec![1; 3_000_000]);
            out.stop();
        });
        let mut got = vec![0; 3_000_000];
        peer.read_exact(&mut got).unwrap();
        rig.join();
    });
}
