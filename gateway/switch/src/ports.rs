//! The RTP ports of one shard on one address: pairs opened ahead, lent to calls, rested before they are lent again.
//!
//! Opening a socket costs more than a call may wait for and a receive must be armed on it, so pairs are opened ahead of
//! demand: [`WARM`] of them are kept ready, refilled by batches of [`BATCH`]. A pair that a call gave back rests for
//! [`QUARANTINE`], so that packets still under way to the old call reach nobody; when no other is left, [`REST_LEAST`]
//! must do. The kernel's sockets stay open.
//!
//! ```text
//! closed ──► opening ──► ready ──► in use ──► resting ──► ready
//!    ▲          └──► failed (port taken; tried again after RETRY)
//!    └───────── no file descriptors: nothing is opened for RETRY
//! ```

use crate::config::RtpPorts;
use crate::shard::{MEDIA_SOCKETS, MEDIA_SPAN};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use sansio::{IoError, Outbox, SocketEvent, SocketId, SocketOptions, Time};
use std::collections::VecDeque;

/// Pairs kept open and free.
pub const WARM: usize = 256;
/// Most pairs being opened at a time.
pub const BATCH: usize = 64;
/// How long a pair rests between two calls: longer than a packet lives in the network's queues.
pub const QUARANTINE: Duration = Duration::from_secs(2);
/// How long it rests at least when no other pair is left: a call refused is worse than a straggler, which the latch of the
/// new call keeps out unless it comes from the same source.
pub const REST_LEAST: Duration = Duration::from_millis(200);
/// Bytes that the kernel is asked to hold for a port, of which it grants the double: some 40 packets of voice, 0.8 s. What
/// waited for longer is of no use to anybody, and with the usual buffer a gateway without processor time would
/// relay voice five seconds late.
pub const RECEIVE_BUFFER: u32 = 16 * 1024;
/// After how long a port that was taken, or the limit of file descriptors, is tried again.
pub const RETRY: Duration = Duration::from_secs(2);

/// A pair lent to a call; of no use once it was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId {
    pool: u8,
    index: u16,
    generation: u32,
}

impl PairId {
    /// Which of the shard's pools it is of.
    pub const fn pool(self) -> usize {
        self.pool as usize
    }

    /// Its place in that pool.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A pair of ports, RTP on the even one, RTCP on the next (RFC 3550 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// To give it back.
    pub id: PairId,
    /// The socket of the RTP port.
    pub rtp_socket: SocketId,
    /// The socket of the RTCP port.
    pub rtcp_socket: SocketId,
    /// The RTP port; RTCP is one above.
    pub rtp_port: u16,
}

impl Pair {
    /// The RTCP port.
    pub const fn rtcp_port(&self) -> u16 {
        self.rtp_port + 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// What became of RTP and RTCP, as far as known.
    Opening([Option<Opened>; 2]),
    Ready,
    InUse,
    Resting,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    Yes,
    Taken,
    NoFiles,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    state: State,
    generation: u32,
}

/// How many pairs are in which state; `opening` and `in_use` are 0 when the shard is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCensus {
    /// Never opened, or closed again.
    pub closed: usize,
    /// Being opened.
    pub opening: usize,
    /// Open and free.
    pub ready: usize,
    /// Lent to calls.
    pub in_use: usize,
    /// Open, given back a short while ago.
    pub resting: usize,
    /// Taken by somebody else.
    pub failed: usize,
}

/// Counters of a pool since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Pairs lent.
    pub taken: u64,
    /// Times that no pair was free (the call is refused with 503).
    pub exhausted: u64,
    /// Pairs lent before they had rested in full, since no other was left.
    pub hurried: u64,
    /// Pairs opened.
    pub opened: u64,
    /// Pairs not opened because a port was taken.
    pub in_use_elsewhere: u64,
    /// Pairs not opened because the process has no file descriptors left.
    pub no_files: u64,
    /// Pairs not opened for another reason (address, permission).
    pub refused: u64,
    /// Pairs given back twice or under a wrong name: a defect.
    pub misreturned: u64,
}

/// The pairs of ports of one shard on one address.
#[derive(Debug)]
pub struct PortPool {
    pool: u8,
    address: IpAddr,
    first_port: u16,
    base: u32,
    places: Vec<Place>,
    warm: usize,
    /// Open and rested, in the order in which they became so.
    ready: VecDeque<u16>,
    /// Given back, with the time from which they may be lent again; in order of time.
    resting: VecDeque<(Time, u16)>,
    /// The next that was never opened.
    unopened: usize,
    /// Failed ones, with the time from which they are tried again; in order of time.
    failed: VecDeque<(Time, u16)>,
    opening: usize,
    in_use: usize,
    /// Nothing is opened before this: the process has no file descriptors left.
    blocked_until: Option<Time>,
    last_error: Option<IoError>,
    stats: PortStats,
}

impl PortPool {
    /// The pool of `ports` on `address`, none of them open yet; sockets are numbered from `base`, RTP even, RTCP odd. Not
    /// more pairs are kept ready than `calls_max` calls could use.
    pub fn new(address: IpAddr, ports: RtpPorts, base: SocketId, calls_max: u32) -> Self {
        // At most 32768 pairs: half of the ports there are.
        let pairs = ports.pairs() as usize;
        let most = (calls_max as usize).saturating_mul(2);
        Self {
            pool: (base.0.saturating_sub(MEDIA_SOCKETS) / MEDIA_SPAN) as u8,
            address,
            first_port: ports.low,
            base: base.0,
            places: vec![Place { state: State::Closed, generation: 0 }; pairs],
            warm: WARM.min(most).min(pairs),
            ready: VecDeque::new(),
            resting: VecDeque::new(),
            unopened: 0,
            failed: VecDeque::new(),
            opening: 0,
            in_use: 0,
            blocked_until: None,
            last_error: None,
            stats: PortStats::default(),
        }
    }

    /// Lends a pair; `None`, counted, when none is free now.
    pub fn take<M>(&mut self, now: Time, out: &mut Outbox<M>) -> Option<Pair> {
        self.wake(now);
        let Some(index) = self.ready.pop_front().or_else(|| self.least_rested(now)) else {
            self.stats.exhausted += 1;
            self.refill(now, out);
            return None;
        };
        let place = &mut self.places[usize::from(index)];
        place.state = State::InUse;
        self.in_use += 1;
        self.stats.taken += 1;
        let id = PairId { pool: self.pool, index, generation: place.generation };
        // A few at a time, well before the last.
        if self.ready.len() + self.opening < self.warm {
            self.refill(now, out);
        }
        Some(Pair {
            id,
            rtp_socket: SocketId(self.base + 2 * u32::from(index)),
            rtcp_socket: SocketId(self.base + 2 * u32::from(index) + 1),
            rtp_port: self.port(index),
        })
    }

    /// Takes a pair back; it rests before it is lent again. False, and counted, if it is not lent under this name.
    pub fn release(&mut self, now: Time, pair: PairId) -> bool {
        let place = self.places.get_mut(pair.index());
        let Some(place) = place.filter(|place| {
            pair.pool == self.pool && place.generation == pair.generation && place.state == State::InUse
        }) else {
            self.stats.misreturned += 1;
            return false;
        };
        place.state = State::Resting;
        place.generation = place.generation.wrapping_add(1);
        self.in_use -= 1;
        self.resting.push_back((now + QUARANTINE, pair.index));
        true
    }

    /// Opens pairs until as many are ready as shall be, a batch at a time; to be called now and then, and soon again while
    /// [`Self::is_filling`].
    pub fn refill<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        self.wake(now);
        if self.blocked_until.is_some_and(|until| now < until) {
            return;
        }
        self.blocked_until = None;
        while self.ready.len() + self.opening < self.warm && self.opening < BATCH {
            let Some(index) = self.next_to_open(now) else { break };
            self.places[usize::from(index)].state = State::Opening([None; 2]);
            self.opening += 1;
            for (socket, port) in [(0, self.port(index)), (1, self.port(index) + 1)] {
                let id = SocketId(self.base + 2 * u32::from(index) + socket);
                let options = SocketOptions { receive_buffer: RECEIVE_BUFFER, ..SocketOptions::default() };
                out.open(id, SocketAddr::new(self.address, port), options);
            }
        }
    }

    /// Those that have rested become ready.
    fn wake(&mut self, now: Time) {
        while let Some(&(until, index)) = self.resting.front() {
            if now < until {
                break;
            }
            self.resting.pop_front();
            self.places[usize::from(index)].state = State::Ready;
            self.ready.push_back(index);
        }
    }

    /// The pair that has rested for longest, if that is enough for want of a better one.
    fn least_rested(&mut self, now: Time) -> Option<u16> {
        let &(until, index) = self.resting.front()?;
        if now + (QUARANTINE - REST_LEAST) < until {
            return None;
        }
        self.resting.pop_front();
        self.stats.hurried += 1;
        Some(index)
    }

    fn next_to_open(&mut self, now: Time) -> Option<u16> {
        // Ports never tried come first; those that were closed for want of file descriptors keep their place.
        while let Some(place) = self.places.get(self.unopened) {
            if place.state == State::Closed {
                return Some(self.unopened as u16); // below 32768
            }
            self.unopened += 1;
        }
        let &(from, index) = self.failed.front()?;
        if now < from {
            return None;
        }
        self.failed.pop_front();
        Some(index)
    }

    /// A socket of this pool was opened or not.
    pub fn handle_socket<M>(&mut self, now: Time, socket: SocketId, event: SocketEvent, out: &mut Outbox<M>) {
        let Some(number) = socket.0.checked_sub(self.base) else { return };
        let (index, half) = ((number / 2) as usize, (number % 2) as usize);
        let Some(State::Opening(halves)) = self.places.get_mut(index).map(|place| &mut place.state) else {
            return;
        };
        halves[half] = Some(match event {
            SocketEvent::Opened(_) => Opened::Yes,
            SocketEvent::Failed(error) => {
                self.last_error = Some(error);
                match error {
                    IoError::AddressInUse => Opened::Taken,
                    IoError::TooManyFiles => Opened::NoFiles,
                    _ => Opened::Refused,
                }
            }
        });
        let &mut [Some(rtp), Some(rtcp)] = halves else { return };
        self.settle(now, index as u16, [rtp, rtcp], out); // below 32768
        self.refill(now, out);
    }

    /// Both halves of a pair have answered.
    fn settle<M>(&mut self, now: Time, index: u16, halves: [Opened; 2], out: &mut Outbox<M>) {
        self.opening -= 1;
        if halves == [Opened::Yes; 2] {
            self.stats.opened += 1;
            self.places[usize::from(index)].state = State::Ready;
            self.ready.push_back(index);
            return;
        }
        for (half, opened) in halves.into_iter().enumerate() {
            if opened == Opened::Yes {
                out.close(SocketId(self.base + 2 * u32::from(index) + half as u32));
            }
        }
        if halves.contains(&Opened::NoFiles) {
            // The port is as good as any: it is the process that is at its limit.
            self.stats.no_files += 1;
            self.places[usize::from(index)].state = State::Closed;
            self.unopened = self.unopened.min(usize::from(index));
            self.blocked_until = Some(now + RETRY);
            return;
        }
        if halves.contains(&Opened::Refused) {
            self.stats.refused += 1;
        } else {
            self.stats.in_use_elsewhere += 1;
        }
        self.places[usize::from(index)].state = State::Failed;
        self.failed.push_back((now + RETRY, index));
    }

    const fn port(&self, index: u16) -> u16 {
        // Within the range that `ports.pairs()` was counted from.
        self.first_port + 2 * index
    }

    /// The address that the ports are bound to.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Pairs in the pool's range.
    pub const fn pairs(&self) -> u32 {
        self.places.len() as u32
    }

    /// Pairs open and free now; those at rest are not.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Pairs lent to calls.
    pub const fn in_use(&self) -> usize {
        self.in_use
    }

    /// Whether pairs are being opened: more will be ready soon.
    pub const fn is_filling(&self) -> bool {
        self.opening > 0
    }

    /// Whether as many pairs are ready as shall be, or no more can be had.
    pub fn is_warm(&self) -> bool {
        self.opening == 0 && (self.ready.len() >= self.warm || self.unopened == self.places.len())
    }

    /// Why a socket last failed to open, for the log; `None` if none did.
    pub const fn last_error(&self) -> Option<IoError> {
        self.last_error
    }

    /// Whether the process ran out of file descriptors and opening is put off.
    pub const fn is_out_of_files(&self) -> bool {
        self.blocked_until.is_some()
    }

    /// Counters since the start.
    pub const fn stats(&self) -> &PortStats {
        &self.stats
    }

    /// How many pairs are in which state.
    pub fn census(&self) -> PortCensus {
        let mut census = PortCensus::default();
        for place in &self.places {
            *match place.state {
                State::Closed => &mut census.closed,
                State::Opening(_) => &mut census.opening,
                State::Ready => &mut census.ready,
                State::InUse => &mut census.in_use,
                State::Resting => &mut census.resting,
                State::Failed => &mut census.failed,
            } += 1;
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::Action;

    const BASE: SocketId = SocketId(MEDIA_SOCKETS);

    fn pool(pairs: u16) -> PortPool {
        let ports = RtpPorts { low: 20_000, high: 20_000 + 2 * pairs - 1 };
        PortPool::new("192.0.2.1".parse().unwrap(), ports, BASE, 1000)
    }

    /// Opens what the pool asks for; `verdict` says what becomes of each port. Returns the sockets closed.
    fn open(
        pool: &mut PortPool,
        now: Time,
        out: &mut Outbox<()>,
        verdict: impl Fn(u16) -> Result<(), IoError>,
    ) -> Vec<SocketId> {
        let mut closed = Vec::new();
        while let Some(action) = out.next_action() {
            match action {
                Action::Open { socket, local, .. } => {
                    let event = match verdict(local.port()) {
                        Ok(()) => SocketEvent::Opened(local),
                        Err(error) => SocketEvent::Failed(error),
                    };
                    pool.handle_socket(now, socket, event, out);
                }
                Action::Close(socket) => closed.push(socket),
                other => panic!("{other:?}"),
            }
        }
        closed
    }

    fn warm(pairs: u16) -> (PortPool, Outbox<()>) {
        let (mut pool, mut out) = (pool(pairs), Outbox::new(1, 0));
        pool.refill(Time::ZERO, &mut out);
        open(&mut pool, Time::ZERO, &mut out, |_| Ok(()));
        assert!(pool.is_warm());
        (pool, out)
    }

    #[test]
    fn opens_ahead_in_batches_and_no_more_than_wanted() {
        let (mut pool, mut out) = (pool(1000), Outbox::<()>::new(1, 0));
        pool.refill(Time::ZERO, &mut out);
        assert_eq!(pool.census().opening, BATCH);
        assert!(pool.is_filling() && !pool.is_warm());
        open(&mut pool, Time::ZERO, &mut out, |_| Ok(()));
        let census = pool.census();
        assert_eq!((census.ready, census.opening, census.closed), (WARM, 0, 1000 - WARM));
        assert!(pool.is_warm());
    }

    #[test]
    fn ports_are_even_and_odd_and_sockets_follow_the_index() {
        let (mut pool, mut out) = warm(4);
        let ports: Vec<_> = (0..4).map(|_| pool.take(Time::ZERO, &mut out).unwrap()).collect();
        assert_eq!(ports.iter().map(|p| p.rtp_port).collect::<Vec<_>>(), [20_000, 20_002, 20_004, 20_006]);
        assert_eq!(ports[3].rtcp_port(), 20_007);
        assert_eq!((ports[3].rtp_socket.0, ports[3].rtcp_socket.0), (BASE.0 + 6, BASE.0 + 7));
        assert_eq!((ports[3].id.pool(), ports[3].id.index()), (0, 3));
    }

    #[test]
    fn the_highest_ports_there_are_work() {
        let ports = RtpPorts { low: 65_532, high: 65_535 };
        let mut pool = PortPool::new("::1".parse().unwrap(), ports, SocketId(BASE.0 + MEDIA_SPAN), 10);
        let mut out = Outbox::<()>::new(1, 0);
        pool.refill(Time::ZERO, &mut out);
        open(&mut pool, Time::ZERO, &mut out, |_| Ok(()));
        pool.take(Time::ZERO, &mut out).unwrap();
        let last = pool.take(Time::ZERO, &mut out).unwrap();
        assert_eq!((last.rtcp_port(), last.id.pool()), (65_535, 1));
    }

    #[test]
    fn exhaustion_is_counted_and_passes() {
        let (mut pool, mut out) = warm(2);
        let first = pool.take(Time::ZERO, &mut out).unwrap();
        pool.take(Time::ZERO, &mut out).unwrap();
        assert_eq!(pool.take(Time::ZERO, &mut out), None);
        assert_eq!((pool.stats().exhausted, pool.in_use()), (1, 2));
        assert!(pool.release(Time::ZERO, first.id));
        assert_eq!(pool.take(Time::ZERO + REST_LEAST - Duration::from_nanos(1), &mut out), None, "it rests");
        let again = pool.take(Time::ZERO + REST_LEAST, &mut out).unwrap();
        assert_eq!(again.rtp_port, first.rtp_port);
        assert_ne!(again.id, first.id, "of another time");
        assert_eq!(pool.stats().hurried, 1);
    }

    #[test]
    fn a_pair_rests_in_full_while_there_is_another() {
        let (mut pool, mut out) = warm(2);
        let first = pool.take(Time::ZERO, &mut out).unwrap();
        assert!(pool.release(Time::ZERO, first.id));
        let other = pool.take(Time::ZERO + REST_LEAST, &mut out).unwrap();
        assert_ne!(other.rtp_port, first.rtp_port);
        assert!(pool.release(Time::ZERO + REST_LEAST, other.id));
        let again = pool.take(Time::ZERO + QUARANTINE, &mut out).unwrap();
        assert_eq!((again.rtp_port, pool.stats().hurried), (first.rtp_port, 0));
    }

    #[test]
    fn a_pair_given_back_twice_or_late_harms_nobody() {
        let (mut pool, mut out) = warm(1);
        let old = pool.take(Time::ZERO, &mut out).unwrap();
        assert!(pool.release(Time::ZERO, old.id));
        assert!(!pool.release(Time::ZERO, old.id));
        let new = pool.take(Time::from_millis(3000), &mut out).unwrap();
        assert!(!pool.release(Time::from_millis(3000), old.id));
        assert_eq!(pool.in_use(), 1);
        assert!(pool.release(Time::from_millis(3000), new.id));
        assert_eq!((pool.in_use(), pool.stats().misreturned), (0, 2));
    }

    #[test]
    fn those_given_back_first_are_lent_first() {
        let (mut pool, mut out) = warm(3);
        let pairs: Vec<_> = (0..3).map(|_| pool.take(Time::ZERO, &mut out).unwrap()).collect();
        for n in [1, 2, 0] {
            pool.release(Time::from_millis(n as u64), pairs[n].id);
        }
        let later = Time::from_millis(5000);
        let order: Vec<_> = (0..3).map(|_| pool.take(later, &mut out).unwrap().rtp_port).collect();
        assert_eq!(order, [20_002, 20_004, 20_000]);
    }

    #[test]
    fn ports_of_others_are_skipped_closed_in_half_and_tried_again() {
        let (mut pool, mut out) = (pool(6), Outbox::<()>::new(1, 0));
        pool.refill(Time::ZERO, &mut out);
        // An RTP port taken, an RTCP port taken.
        let taken = |port| if port == 20_002 || port == 20_007 { Err(IoError::AddressInUse) } else { Ok(()) };
        let closed = open(&mut pool, Time::ZERO, &mut out, taken);
        assert_eq!(closed, [SocketId(BASE.0 + 3), SocketId(BASE.0 + 6)], "the halves that were opened");
        let census = pool.census();
        assert_eq!((census.ready, census.failed, census.opening), (4, 2, 0));
        assert_eq!(pool.stats().in_use_elsewhere, 2);
        pool.refill(Time::from_millis(1999), &mut out);
        assert!(!pool.is_filling());
        pool.refill(Time::ZERO + RETRY, &mut out);
        open(&mut pool, Time::ZERO + RETRY, &mut out, |_| Ok(()));
        assert_eq!(pool.census().ready, 6);
    }

    #[test]
    fn out_of_file_descriptors_stops_opening_for_a_while_and_is_told() {
        let (mut pool, mut out) = (pool(200), Outbox::<()>::new(1, 0));
        pool.refill(Time::ZERO, &mut out);
        let full = |port| if port >= 20_021 { Err(IoError::TooManyFiles) } else { Ok(()) };
        let closed = open(&mut pool, Time::ZERO, &mut out, full);
        assert_eq!(closed.len(), 1);
        assert_eq!((pool.ready(), pool.census().closed), (10, 190));
        assert!(pool.is_out_of_files() && !pool.is_filling());
        assert_eq!(pool.last_error(), Some(IoError::TooManyFiles));
        assert_eq!(pool.stats().no_files, BATCH as u64, "those under way, no more");
        pool.refill(Time::from_millis(1000), &mut out);
        assert!(out.is_empty(), "no attempt before the time");
        pool.refill(Time::ZERO + RETRY, &mut out);
        open(&mut pool, Time::ZERO + RETRY, &mut out, |_| Ok(()));
        assert_eq!(pool.ready(), 200);
        assert!(!pool.is_out_of_files());
    }

    #[test]
    fn demand_opens_more_than_was_warm() {
        let (mut pool, mut out) = warm(1000);
        for n in 0..1000 {
            assert!(pool.take(Time::ZERO, &mut out).is_some(), "call {n}");
            open(&mut pool, Time::ZERO, &mut out, |_| Ok(()));
        }
        assert_eq!(pool.take(Time::ZERO, &mut out), None);
        assert_eq!(pool.stats().opened, 1000);
    }

    #[test]
    fn events_for_pairs_that_are_not_being_opened_are_ignored() {
        let (mut pool, mut out) = warm(2);
        for socket in [BASE.0, BASE.0 + 1, BASE.0 + 400, 0] {
            pool.handle_socket(Time::ZERO, SocketId(socket), SocketEvent::Failed(IoError::Reset), &mut out);
        }
        assert_eq!(pool.ready(), 2);
    }
}
