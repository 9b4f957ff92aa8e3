//! A bridge whose legs are protected or not: what passes, what is refused, and what a change of keys does.

use super::*;
use crate::config::RtpPorts;
use crate::leg_media::{Direction, Remote};
use crate::ports::{Pair, PortPool};
use rtp::srtp::Secrets;
use rtp::{HEADER_LEN, Policy};
use sansio::SocketEvent;

const CALLER: &str = "192.0.2.1:4000";
const CALLEE: &str = "198.51.100.7:6000";
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn above(text: &str) -> SocketAddr {
    let rtp = address(text);
    SocketAddr::new(rtp.ip(), rtp.port() + 1)
}

fn pairs() -> [Pair; 2] {
    let ports = RtpPorts { low: 30_000, high: 30_003 };
    let base = SocketId(crate::shard::MEDIA_SOCKETS);
    let mut pool = PortPool::new("127.0.0.1".parse().unwrap(), ports, base, 1);
    let mut out = Outbox::<()>::new(1, 0);
    pool.refill(Time::ZERO, &mut out);
    for n in 0..4 {
        let opened = SocketEvent::Opened(address("127.0.0.1:30000"));
        pool.handle_socket(Time::ZERO, SocketId(base.0 + n), opened, &mut out);
    }
    [0, 1].map(|_| pool.take(Time::ZERO, &mut out).unwrap())
}

fn key(suite: Suite, byte: u8) -> Keying {
    Keying::draw(suite, &mut Secrets::new([byte; 32]))
}

/// Packets as one peer sends them.
fn packet(sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0xd5; HEADER_LEN + 160];
    let timestamp = u32::from(sequence) * 160;
    let header = Header { payload_type: 8, marker: false, sequence, timestamp, ssrc: 7 };
    header.write(&mut bytes).unwrap();
    bytes
}

struct Bench {
    bridge: Bridge,
    out: Outbox<()>,
}

impl Bench {
    fn new() -> Self {
        let [caller, callee] = pairs();
        let mut bridge = Bridge::new(caller, callee);
        for (side, rtp) in [(Side::Caller, CALLER), (Side::Callee, CALLEE)] {
            let remote = Remote {
                rtp: Some(address(rtp)),
                rtcp: Some(above(rtp)),
                policy: Policy::Strict,
                direction: Direction::SEND_RECV,
                payload_types: 1 << 8,
                formats: Vec::new(),
                event_type: None,
            };
            bridge.set_remote(Time::ZERO, side, &remote);
        }
        Self { bridge, out: Outbox::new(8, 1) }
    }

    /// The gateway's key of a side, and its peer's.
    fn protect(&mut self, side: Side, own: &Keying, peer: &Keying) -> (Sealer, Opener) {
        self.bridge.agree(side, &Agreed::Keys(own, peer, Mki::default()));
        (Sealer::new(peer, Mki::default()), Opener::new(own, Mki::default()))
    }

    fn send(&mut self, side: Side, rtcp: bool, payload: &[u8]) -> Option<Vec<u8>> {
        let source = if side == Side::Caller { CALLER } else { CALLEE };
        let source = if rtcp { above(source) } else { address(source) };
        self.bridge.relay(side, rtcp, Time::from_millis(1000), source, payload, &mut self.out);
        let send = self.out.next_send()?;
        let bytes = self.out.pool().bytes(&send.packet).to_vec();
        self.out.pool().release(send.packet);
        Some(bytes)
    }

    fn account(&self, side: Side) -> CryptoAccount {
        *self.bridge.leg(side).crypto_account()
    }
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let index = sealer.admit(u16::from_be_bytes([plain[2], plain[3]]), 7).unwrap();
    let mut bytes = plain.to_vec();
    bytes.resize(plain.len() + sealer.rtp_overhead(), 0);
    assert!(sealer.seal_rtp(index, &mut bytes));
    bytes
}

fn opened(opener: &mut Opener, mut sealed: Vec<u8>) -> Vec<u8> {
    let len = opener.open_rtp(&mut sealed).unwrap();
    sealed.truncate(len);
    sealed
}

#[test]
fn rtp_and_rtcp_are_opened_at_one_leg_and_sealed_at_the_other() {
    for (near, far) in
        [(Suite::AesCm128Sha1_80, Suite::AeadAes256Gcm), (Suite::AeadAes128Gcm, Suite::AesCm128Sha1_32)]
    {
        let mut bench = Bench::new();
        let (mut sealer, _) = bench.protect(Side::Caller, &key(near, 1), &key(near, 2));
        let (_, mut opener) = bench.protect(Side::Callee, &key(far, 3), &key(far, 4));
        for sequence in [65_534, 65_535, 0, 1] {
            let sealed = seal(&mut sealer, &packet(sequence));
            let relayed = bench.send(Side::Caller, false, &sealed).unwrap();
            assert_eq!(opened(&mut opener, relayed), packet(sequence));
            assert_eq!(bench.send(Side::Caller, false, &sealed), None, "replayed");
        }
        let mut report = REPORT.to_vec();
        report.resize(REPORT.len() + sealer.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut report).unwrap();
        let mut relayed = bench.send(Side::Caller, true, &report).unwrap();
        let len = opener.open_rtcp(&mut relayed).unwrap();
        assert_eq!(relayed[..len], REPORT);
        assert_eq!(bench.send(Side::Caller, true, &report), None);
        assert_eq!(bench.send(Side::Caller, true, &REPORT), None, "in the clear");
        assert_eq!(bench.send(Side::Caller, false, &packet(9)), None, "in the clear");
        assert_eq!(bench.send(Side::Caller, false, b"\r\n"), None);
        let expected = CryptoAccount { forged: 2, replayed: 5, ..CryptoAccount::default() };
        assert_eq!(bench.account(Side::Caller), expected);
        let leg = bench.bridge.leg(Side::Caller);
        assert_eq!((leg.suite(), leg.rtcp().packets), (Some(near), 1));
    }
}

#[test]
fn what_the_clear_leg_doubles_is_sealed_once() {
    let mut bench = Bench::new();
    let suite = Suite::AeadAes128Gcm;
    let (_, mut opener) = bench.protect(Side::Callee, &key(suite, 1), &key(suite, 2));
    let relayed = bench.send(Side::Caller, false, &packet(5)).unwrap();
    let mut other = packet(5);
    other[40] = 0;
    assert_eq!(bench.send(Side::Caller, false, &other), None, "no key stream is used twice");
    assert_eq!(bench.account(Side::Callee).unsealed, 1);
    assert_eq!(opened(&mut opener, relayed), packet(5));
    let relayed = bench.send(Side::Caller, true, &REPORT).unwrap();
    assert_eq!(relayed.len(), REPORT.len() + 20);
}

#[test]
fn packets_on_their_way_under_the_old_key_are_heard_until_the_new_one_is() {
    let mut bench = Bench::new();
    let suite = Suite::AesCm128Sha1_80;
    let (mut old, _) = bench.protect(Side::Caller, &key(suite, 1), &key(suite, 2));
    let late = seal(&mut old, &packet(2));
    let too_late = seal(&mut old, &packet(3));
    let first = seal(&mut old, &packet(1));
    assert!(bench.send(Side::Caller, false, &first).is_some());
    let (mut new, mut opener) = bench.protect(Side::Caller, &key(suite, 5), &key(suite, 6));
    assert!(bench.send(Side::Caller, false, &late).is_some());
    assert!(bench.send(Side::Caller, false, &first).is_none(), "replayed under the old key");
    let next = seal(&mut new, &packet(4));
    assert!(bench.send(Side::Caller, false, &next).is_some());
    assert!(bench.send(Side::Caller, false, &too_late).is_none());
    let expected = CryptoAccount { forged: 1, replayed: 1, ..CryptoAccount::default() };
    assert_eq!(bench.account(Side::Caller), expected);
    let back = bench.send(Side::Callee, false, &packet(1)).unwrap();
    assert_eq!(opened(&mut opener, back), packet(1), "the gateway's key is new too");
    // The same keys once more change nothing: no index is used again.
    bench.protect(Side::Caller, &key(suite, 5), &key(suite, 6));
    assert!(bench.send(Side::Callee, false, &packet(1)).is_none());
    assert_eq!(bench.account(Side::Caller).unsealed, 1);
    bench.bridge.agree(Side::Caller, &Agreed::Clear);
    assert_eq!(bench.send(Side::Callee, false, &packet(1)), Some(packet(1)));
}
