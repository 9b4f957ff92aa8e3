//! Symmetric RTP (RFC 4961) with a lock: which source addresses a port listens to.
//!
//! Media goes to and is accepted from the address that the peer's SDP names. Behind a NAT that address is wrong, and the
//! gateway has to learn the right one from the packets themselves; that is where media is stolen or injected.
//! The rules, strictest first:
//!
//! 1. A packet from exactly the SDP's address is accepted, at any moment, and takes the lock from whoever has it.
//! 2. Under [`Policy::Strict`] nothing else is.
//! 3. Under [`Policy::SameIp`] (same address, other port), [`Policy::Also`] (one other address) or [`Policy::Any`], a stranger becomes a candidate. It gets the
//!    lock after [`LatchConfig::consecutive`] packets in a row with one SSRC, successive sequence numbers and
//!    negotiated payload types, with no other candidate speaking in between. Until then its packets are dropped:
//!    what was never locked never passes.
//! 4. The lock moves to another candidate only after its holder has been silent for [`LatchConfig::relatch_after`].
//!
//! Everything not accepted is counted.

use crate::Header;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use sansio::Time;

/// From where, other than the SDP's address, media may be latched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// From nowhere: peers without NAT.
    #[default]
    Strict,
    /// From another port of the expected IP address.
    SameIp,
    /// From this address as well: where signalling comes from another address than the one that SDP names.
    Also(IpAddr),
    /// From anywhere: peers behind a NAT whose public address is not known.
    Any,
}

/// The limits of a [`Latch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatchConfig {
    /// From where other than the SDP's address media may come.
    pub policy: Policy,
    /// Packets in a row that make a candidate the holder of the lock; dropped until then.
    pub consecutive: u8,
    /// Silence of the lock's holder after which another candidate may take it.
    pub relatch_after: Duration,
}

impl Default for LatchConfig {
    fn default() -> Self {
        Self { policy: Policy::Strict, consecutive: 3, relatch_after: Duration::from_secs(2) }
    }
}

/// What a latch says of a packet's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds the lock.
    Accepted,
    /// It just took the lock; media for this peer goes there from now on.
    Latched,
    /// Drop the packet.
    Stranger,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    count: u8,
}

/// Decides from where one leg's RTP is accepted.
#[derive(Clone, Debug)]
pub struct Latch {
    locked: Option<SocketAddr>,
    last: Time,
    expected: Option<SocketAddr>,
    config: LatchConfig,
    candidate: Option<Candidate>,
    strangers: u64,
    early: u64,
    relatched: u32,
}

impl Latch {
    /// A latch that accepts nothing until [`Self::expect`].
    pub const fn new(config: LatchConfig) -> Self {
        Self {
            locked: None,
            last: Time::ZERO,
            expected: None,
            config,
            candidate: None,
            strangers: 0,
            early: 0,
            relatched: 0,
        }
    }

    /// The peer's SDP named this address (`None`: it takes no part); media from elsewhere is subject to `policy`. If either
    /// differs from before, the lock is released: the peer said itself that it moved.
    pub fn expect(&mut self, expected: Option<SocketAddr>, policy: Policy) {
        if self.expected != expected || self.config.policy != policy {
            self.expected = expected;
            self.config.policy = policy;
            self.locked = None;
            self.candidate = None;
        }
    }

    /// The address that SDP named.
    pub const fn expected(&self) -> Option<SocketAddr> {
        self.expected
    }

    /// Judges the source of an RTP packet; `negotiated` says whether its payload type was agreed upon.
    pub fn check(&mut self, now: Time, source: SocketAddr, header: &Header, negotiated: bool) -> Verdict {
        if self.locked == Some(source) {
            self.last = now;
            // Whoever tried to take over while the holder speaks begins anew.
            self.candidate = None;
            return Verdict::Accepted;
        }
        if self.expected == Some(source) {
            return self.lock(now, source);
        }
        if self.may_take_over(now, source) && negotiated && self.is_consistent(source, header) {
            return self.lock(now, source);
        }
        match self.expected {
            Some(_) => self.strangers += 1,
            None => self.early += 1,
        }
        Verdict::Stranger
    }

    /// Whether media from here would be taken, or could be once it holds together.
    pub fn permits(&self, source: SocketAddr) -> bool {
        let Some(expected) = self.expected else { return false };
        expected == source
            || self.locked == Some(source)
            || match self.config.policy {
                Policy::Strict => false,
                Policy::SameIp => source.ip() == expected.ip(),
                Policy::Also(address) => source.ip() == address,
                Policy::Any => true,
            }
    }

    fn lock(&mut self, now: Time, source: SocketAddr) -> Verdict {
        self.relatched += u32::from(self.locked.is_some());
        self.locked = Some(source);
        self.last = now;
        self.candidate = None;
        Verdict::Latched
    }

    fn may_take_over(&self, now: Time, source: SocketAddr) -> bool {
        let Some(expected) = self.expected else { return false };
        let permitted = match self.config.policy {
            Policy::Strict => false,
            Policy::SameIp => source.ip() == expected.ip(),
            Policy::Also(address) => source.ip() == address,
            Policy::Any => true,
        };
        permitted && (self.locked.is_none() || now.since(self.last) >= self.config.relatch_after)
    }

    /// Whether this packet completes a candidate's run.
    fn is_consistent(&mut self, source: SocketAddr, header: &Header) -> bool {
        let count = match self.candidate {
            Some(candidate)
                if candidate.source == source
                    && candidate.ssrc == header.ssrc
                    && header.sequence == candidate.sequence.wrapping_add(1) =>
            {
                candidate.count + 1
            }
            _ => 1,
        };
        let candidate = Candidate { source, ssrc: header.ssrc, sequence: header.sequence, count };
        self.candidate = Some(candidate);
        count >= self.config.consecutive
    }

    /// Whether `source` holds the lock or is the address that SDP named.
    pub fn knows(&self, source: SocketAddr) -> bool {
        self.locked == Some(source) || self.expected == Some(source)
    }

    /// Where media for this peer goes: to the lock's holder (RFC 4961 §4), else where SDP says.
    pub fn target(&self) -> Option<SocketAddr> {
        self.locked.or(self.expected)
    }

    /// The lock's holder.
    pub const fn locked(&self) -> Option<SocketAddr> {
        self.locked
    }

    /// The policy in force.
    pub const fn policy(&self) -> Policy {
        self.config.policy
    }

    /// Packets dropped since their source was not accepted.
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Packets dropped since no SDP had named an address yet (or it named none): perhaps the peer's own, ahead of its answer.
    pub const fn early(&self) -> u64 {
        self.early
    }

    /// Times the lock moved from one source to another.
    pub const fn relatched(&self) -> u32 {
        self.relatched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn header(ssrc: u32, sequence: u16) -> Header {
        Header { ssrc, sequence, ..Header::default() }
    }

    fn latch(policy: Policy) -> Latch {
        let mut latch = Latch::new(LatchConfig::default());
        latch.expect(Some(address("192.0.2.1:4000")), policy);
        latch
    }

    fn feed(
        latch: &mut Latch,
        at: u64,
        source: &str,
        ssrc: u32,
        numbers: core::ops::Range<u16>,
    ) -> Vec<Verdict> {
        let check = |n| latch.check(Time::from_millis(at), address(source), &header(ssrc, n), true);
        numbers.map(check).collect()
    }

    #[test]
    fn the_address_of_the_sdp_is_accepted_at_once_and_nobody_else_ever_when_strict() {
        let mut latch = latch(Policy::Strict);
        assert_eq!(feed(&mut latch, 0, "192.0.2.1:4002", 1, 0..50), [Verdict::Stranger; 50]);
        assert_eq!(latch.target(), Some(address("192.0.2.1:4000")));
        assert_eq!(feed(&mut latch, 1, "192.0.2.1:4000", 2, 0..2), [Verdict::Latched, Verdict::Accepted]);
        assert_eq!(feed(&mut latch, 99_000, "192.0.2.1:4002", 1, 50..100), [Verdict::Stranger; 50]);
        assert_eq!((latch.strangers(), latch.relatched()), (100, 0));
    }

    #[test]
    fn before_any_sdp_nothing_is_accepted() {
        for policy in [Policy::Strict, Policy::SameIp, Policy::Any] {
            let mut latch = Latch::new(LatchConfig { policy, ..LatchConfig::default() });
            assert_eq!(feed(&mut latch, 0, "192.0.2.1:4000", 1, 0..10), [Verdict::Stranger; 10]);
            assert_eq!(latch.target(), None);
            assert_eq!((latch.early(), latch.strangers()), (10, 0), "it may have been the peer");
        }
    }

    #[test]
    fn behind_a_nat_three_consecutive_packets_take_the_lock() {
        let mut latch = latch(Policy::SameIp);
        let verdicts = feed(&mut latch, 0, "192.0.2.1:5000", 1, 7..11);
        use Verdict::{Accepted, Latched, Stranger};
        assert_eq!(verdicts, [Stranger, Stranger, Latched, Accepted]);
        assert_eq!(latch.target(), Some(address("192.0.2.1:5000")));
        assert_eq!(feed(&mut latch, 0, "198.51.100.9:5000", 1, 0..9), [Stranger; 9], "another address");
        assert_eq!(feed(&mut latch, 5000, "198.51.100.9:5000", 1, 0..9), [Stranger; 9], "however long");
    }

    #[test]
    fn one_other_address_may_take_the_lock_and_no_third() {
        use Verdict::{Accepted, Latched, Stranger};
        let mut latch = latch(Policy::Also(address("198.51.100.9:1").ip()));
        assert_eq!(feed(&mut latch, 0, "203.0.113.5:5000", 1, 0..9), [Stranger; 9]);
        assert_eq!(feed(&mut latch, 0, "192.0.2.1:5000", 1, 0..9), [Stranger; 9], "nor another port");
        assert_eq!(
            feed(&mut latch, 0, "198.51.100.9:5000", 1, 0..4),
            [Stranger, Stranger, Latched, Accepted]
        );
        assert_eq!(feed(&mut latch, 0, "192.0.2.1:4000", 2, 0..2), [Latched, Accepted], "SDP outranks it");
    }

    #[test]
    fn guesses_that_do_not_hang_together_never_take_the_lock() {
        let guesses: [fn(u16) -> (Header, bool); 4] = [
            |n| (header(u32::from(n), n), true), // another SSRC each time
            |_| (header(1, 5), true),            // one number again and again
            |n| (header(1, 2 * n), true),        // gaps
            |n| (header(1, n), false),           // payload types nobody agreed upon
        ];
        for guess in guesses {
            let mut latch = latch(Policy::Any);
            for n in 0..100 {
                let (header, negotiated) = guess(n);
                let verdict = latch.check(Time::ZERO, address("198.51.100.1:1"), &header, negotiated);
                assert_eq!(verdict, Verdict::Stranger);
            }
            assert_eq!((latch.locked(), latch.strangers()), (None, 100));
        }
    }

    #[test]
    fn a_holder_that_speaks_again_makes_the_candidate_begin_anew() {
        let mut latch = latch(Policy::Any);
        feed(&mut latch, 0, "192.0.2.9:9", 9, 0..3);
        assert_eq!(feed(&mut latch, 2000, "198.51.100.1:1", 1, 0..2), [Verdict::Stranger; 2]);
        assert_eq!(feed(&mut latch, 2001, "192.0.2.9:9", 9, 3..4), [Verdict::Accepted]);
        assert_eq!(feed(&mut latch, 4001, "198.51.100.1:1", 1, 2..4), [Verdict::Stranger; 2]);
        assert_eq!(feed(&mut latch, 4001, "198.51.100.1:1", 1, 4..5), [Verdict::Latched]);
    }

    #[test]
    fn two_that_speak_at_once_block_each_other_until_the_sdps_own_address_speaks() {
        let mut latch = latch(Policy::Any);
        for n in 0..50 {
            assert_eq!(feed(&mut latch, 0, "198.51.100.1:1", 1, n..n + 1), [Verdict::Stranger]);
            assert_eq!(feed(&mut latch, 0, "198.51.100.2:1", 2, n..n + 1), [Verdict::Stranger]);
        }
        assert_eq!(feed(&mut latch, 0, "192.0.2.1:4000", 3, 0..1), [Verdict::Latched]);
    }

    #[test]
    fn the_lock_moves_only_after_its_holder_fell_silent() {
        let mut latch = latch(Policy::SameIp);
        feed(&mut latch, 0, "192.0.2.1:5000", 1, 0..3);
        assert_eq!(feed(&mut latch, 1999, "192.0.2.1:6000", 2, 0..9), [Verdict::Stranger; 9]);
        assert_eq!(feed(&mut latch, 2001, "192.0.2.1:6000", 2, 9..12)[2], Verdict::Latched);
        assert_eq!(latch.relatched(), 1);
        assert_eq!(feed(&mut latch, 2002, "192.0.2.1:5000", 1, 3..9), [Verdict::Stranger; 6], "and not back");
        assert_eq!(feed(&mut latch, 2003, "192.0.2.1:4000", 4, 0..1), [Verdict::Latched], "SDP outranks it");
    }

    #[test]
    fn a_new_address_in_sdp_releases_the_lock_the_same_one_does_not() {
        let mut latch = latch(Policy::SameIp);
        feed(&mut latch, 0, "192.0.2.1:5000", 1, 0..3);
        latch.expect(Some(address("192.0.2.1:4000")), Policy::SameIp);
        assert_eq!(latch.target(), Some(address("192.0.2.1:5000")), "a session refresh moves nothing");
        latch.expect(Some(address("192.0.2.7:4000")), Policy::SameIp);
        assert_eq!(latch.target(), Some(address("192.0.2.7:4000")));
        assert_eq!(feed(&mut latch, 10, "192.0.2.1:5000", 1, 3..9), [Verdict::Stranger; 6]);
    }

    proptest! {
        /// Whatever strangers do, under Strict only the SDP's address passes, and always does.
        #[test]
        fn strict_admits_exactly_the_expected(packets in proptest::collection::vec((0u16..4, any::<u16>(), 0u64..10_000), 0..200)) {
            let mut latch = latch(Policy::Strict);
            for (port, sequence, at) in packets {
                let source = SocketAddr::new(address("192.0.2.1:1").ip(), 4000 + port);
                let verdict = latch.check(Time::from_millis(at), source, &header(1, sequence), true);
                prop_assert_eq!(verdict == Verdict::Stranger, port != 0);
            }
        }

        /// While the holder speaks at least every two seconds, nobody but the SDP's address takes the lock.
        #[test]
        fn a_speaking_holder_keeps_the_lock(gaps in proptest::collection::vec((1u64..1999, 0u16..6), 1..100)) {
            let mut latch = latch(Policy::Any);
            feed(&mut latch, 0, "192.0.2.9:9", 9, 0..3);
            let mut at = 0;
            for (n, (gap, attempts)) in gaps.into_iter().enumerate() {
                let verdicts = feed(&mut latch, at + gap, "198.51.100.1:1", 1, 0..attempts);
                prop_assert!(verdicts.iter().all(|v| *v == Verdict::Stranger));
                at += gap;
                prop_assert_eq!(feed(&mut latch, at, "192.0.2.9:9", 9, n as u16..n as u16 + 1), [Verdict::Accepted]);
            }
        }
    }
}
