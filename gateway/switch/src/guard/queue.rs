//! Whether the shard keeps up, and the new calls that stand back while it does not.
//!
//! The kernel stamps each datagram, so that the shard knows how long what it handles has waited. While that is longer than
//! [`Overload::target`], new calls stand back behind everything else: answers, calls in progress and refusals are served as
//! they come, and the time that is left goes to the newest of the new calls. So those that are admitted are set up as if
//! there were no queue, and it is the oldest that are refused: after [`Overload::interval`], or when no more can wait.

use core::hash::Hasher;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Datagram, SocketId, Time};
use std::collections::VecDeque;
use std::hash::DefaultHasher;

/// Waits longer than this are a clock that was set, not a queue: no receive buffer holds so much.
const IMPLAUSIBLE: Duration = Duration::from_secs(10);
/// New calls that stand back at most, per shard.
const WAITING_MAX: usize = 4096;
/// Their bytes at most.
const BYTES_MAX: usize = 8 << 20;
/// New calls served in a turn when nothing else is left waiting: a millisecond's work.
const SERVED: u32 = 8;
/// New calls refused in a turn because their time is up.
const REFUSED: u32 = 64;

/// When new calls stand back, and are refused, because the shard does not keep up.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Who waited longer shows that there is a queue; zero: nobody ever stands back.
    pub target: Duration,
    /// How long a new call stands back before it is refused: bursts are shorter. OPTIONS, and new calls that come over
    /// connections, are refused for so long after it.
    pub interval: Duration,
    /// Calls of this shard that the callee has not begun to ring for; more are refused. 0: no limit.
    pub setups_max: u32,
    /// Whether OPTIONS is refused as well.
    pub refuse_options: bool,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(1),
            interval: Duration::from_millis(200),
            setups_max: 10_000,
            refuse_options: true,
        }
    }
}

/// A new call that stands back.
#[derive(Debug)]
pub struct Waiting {
    socket: SocketId,
    source: SocketAddr,
    received: Time,
    bytes: Box<[u8]>,
    /// Its Call-ID, hashed.
    call: u64,
    /// Since when it stands back.
    since: Time,
}

impl Waiting {
    /// As it came.
    pub fn datagram(&self) -> Datagram<'_> {
        let Self { socket, source, received, ref bytes, .. } = *self;
        Datagram { socket, source, received, payload: bytes }
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// It is served.
    Serve(Waiting),
    /// Its time is up: it is refused.
    Refuse(Waiting),
}

/// How many have their turn at once.
#[derive(Debug)]
pub struct Share {
    refused: u32,
    served: u32,
}

/// The queue before the shard: how long messages wait, and the new calls that stand back.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Since the last turns a message came, and the last one had waited longer than the target: more are left in the socket.
    behind: bool,
    /// When the next turns are, while somebody stands back.
    due: Option<Time>,
    /// When somebody was last refused.
    refused_at: Option<Time>,
    /// Smoothed over some 64 messages, for show.
    mean_nanos: u64,
}

impl Backlog {
    /// A message that arrived at `received` is handled at `now`; tells whether a new call would stand back.
    pub fn note(&mut self, now: Time, received: Time, limits: &Overload) -> bool {
        let waited = now.since(received);
        if limits.target.is_zero() || waited >= IMPLAUSIBLE {
            self.behind = false;
            return false;
        }
        self.mean_nanos = self.mean_nanos - self.mean_nanos / 64 + waited.as_nanos() as u64 / 64;
        self.behind = waited > limits.target;
        self.behind || !self.waiting.is_empty()
    }

    /// A new call stands back. Gives the one that has to go if no more can: the oldest, or itself if it is too large.
    #[must_use = "whoever has to go is refused"]
    pub fn stand_back(&mut self, now: Time, call_id: &[u8], datagram: Datagram<'_>) -> Option<Waiting> {
        let Datagram { socket, source, received, payload } = datagram;
        let waiting =
            Waiting { socket, source, received, bytes: payload.into(), call: hash(call_id), since: now };
        let gone = if self.bytes + payload.len() > BYTES_MAX {
            Some(waiting)
        } else {
            let oldest = if self.waiting.len() >= WAITING_MAX { self.take(0) } else { None };
            self.bytes += payload.len();
            self.waiting.push_back(waiting);
            self.due.get_or_insert(now);
            oldest
        };
        if gone.is_some() {
            self.refused_at = Some(now);
        }
        gone
    }

    /// How many have their turn now; `None` before it is time.
    pub fn share(&mut self, now: Time) -> Option<Share> {
        self.due.filter(|due| *due <= now)?;
        // One at least, or what never ends would keep new calls out for ever.
        let served = if core::mem::take(&mut self.behind) { 1 } else { SERVED };
        Some(Share { refused: REFUSED, served })
    }

    /// The next who has its turn: first those whose time is up, then the newest. After `None` the next turns are due once the
    /// sockets were looked at again.
    pub fn turn(&mut self, now: Time, share: &mut Share, limits: &Overload) -> Option<Turn> {
        let is_up = |waiting: &Waiting| now.since(waiting.since) >= limits.interval;
        if share.refused > 0 && self.waiting.front().is_some_and(is_up) {
            share.refused -= 1;
            self.refused_at = Some(now);
            return self.take(0).map(Turn::Refuse);
        }
        if share.served > 0 && !self.waiting.is_empty() {
            share.served -= 1;
            return self.take(self.waiting.len() - 1).map(Turn::Serve);
        }
        self.due = (!self.waiting.is_empty()).then(|| now + Duration::from_nanos(1));
        None
    }

    /// Takes out the call of a Call-ID: its CANCEL must not come before it (RFC 3261 §9.2).
    pub fn call(&mut self, call_id: &[u8]) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        let call = hash(call_id);
        let at = self.waiting.iter().position(|waiting| waiting.call == call)?;
        self.take(at)
    }

    fn take(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(at)?;
        self.bytes -= waiting.bytes.len();
        Some(waiting)
    }

    /// When it is to be asked for its next turns.
    pub const fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// How many stand back.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody stands back.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a new call was refused within the last `span`.
    pub fn was_overloaded(&self, now: Time, span: Duration) -> bool {
        self.refused_at.is_some_and(|at| now.since(at) < span)
    }

    /// The mean wait of late.
    pub const fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_nanos)
    }
}

fn hash(call_id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(call_id);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Overload = Overload {
        target: Duration::from_millis(2),
        interval: Duration::from_millis(200),
        setups_max: 0,
        refuse_options: true,
    };

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn put(backlog: &mut Backlog, now: Time, name: &str) -> Option<Waiting> {
        let source = "192.0.2.1:5060".parse().unwrap();
        let datagram = Datagram { socket: SocketId(0), source, received: now, payload: name.as_bytes() };
        backlog.stand_back(now, name.as_bytes(), datagram)
    }

    /// Who is served and who refused in the turns at `now`.
    fn turns(backlog: &mut Backlog, now: Time) -> (Vec<String>, Vec<String>) {
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        let Some(mut share) = backlog.share(now) else { return (served, refused) };
        let name = |waiting: Waiting| String::from_utf8(waiting.bytes.into()).unwrap();
        while let Some(turn) = backlog.turn(now, &mut share, &LIMITS) {
            match turn {
                Turn::Serve(waiting) => served.push(name(waiting)),
                Turn::Refuse(waiting) => refused.push(name(waiting)),
            }
        }
        (served, refused)
    }

    #[test]
    fn nobody_stands_back_before_there_is_a_queue() {
        let mut backlog = Backlog::default();
        assert!(!backlog.note(ms(1002), ms(1000), &LIMITS));
        assert!(backlog.note(ms(1003), ms(1000), &LIMITS));
        assert!(!backlog.note(ms(1004), ms(1004), &LIMITS), "it is gone");
        assert!(!backlog.note(ms(20_000), ms(1000), &LIMITS), "a clock that was set");
        assert!(!backlog.note(ms(1500), ms(1000), &Overload { target: Duration::ZERO, ..LIMITS }));
        assert_eq!(backlog.deadline(), None);
    }

    #[test]
    fn the_newest_are_served_first_and_the_oldest_refused_when_their_time_is_up() {
        let mut backlog = Backlog::default();
        for number in 0..10 {
            assert!(put(&mut backlog, ms(1000 + number), &number.to_string()).is_none());
        }
        assert_eq!(backlog.deadline(), Some(ms(1000)));
        // Nothing that waited long is left in the socket.
        let (served, refused) = turns(&mut backlog, ms(1010));
        assert_eq!((served.join(" ").as_str(), refused.len()), ("9 8 7 6 5 4 3 2", 0));
        assert!(backlog.share(ms(1010)).is_none(), "first the sockets are looked at again");
        // More is left than there is time for: one at least has its turn.
        for number in 10..13 {
            assert!(backlog.note(ms(1011), ms(1000), &LIMITS));
            assert!(put(&mut backlog, ms(1011), &number.to_string()).is_none());
        }
        assert_eq!(turns(&mut backlog, ms(1011)).0, ["12"]);
        backlog.note(ms(1200), ms(1100), &LIMITS);
        let (served, refused) = turns(&mut backlog, ms(1200));
        assert_eq!((served.join(" ").as_str(), refused.join(" ").as_str()), ("11", "0"));
        assert!(backlog.was_overloaded(ms(1300), LIMITS.interval));
        assert!(!backlog.was_overloaded(ms(1500), LIMITS.interval));
        // Nothing came since: there is time for all.
        assert_eq!(turns(&mut backlog, ms(1201)), (vec!["10".into()], vec!["1".into()]));
        assert_eq!((backlog.len(), backlog.bytes, backlog.deadline()), (0, 0, None));
    }

    #[test]
    fn a_call_is_fetched_before_its_cancel() {
        let mut backlog = Backlog::default();
        for name in ["a", "b", "c"] {
            assert!(put(&mut backlog, ms(1000), name).is_none());
        }
        assert_eq!(&*backlog.call(b"b").unwrap().bytes, b"b");
        assert!(backlog.call(b"b").is_none());
        assert_eq!(turns(&mut backlog, ms(1000)).0, ["c", "a"]);
    }

    #[test]
    fn the_oldest_gives_way_when_no_more_can_wait() {
        let mut backlog = Backlog::default();
        for number in 0..WAITING_MAX {
            assert!(put(&mut backlog, ms(1000), &number.to_string()).is_none());
        }
        assert_eq!(&*put(&mut backlog, ms(1000), "one more").unwrap().bytes, b"0");
        assert_eq!(backlog.len(), WAITING_MAX);
        let large = "x".repeat(BYTES_MAX / 100);
        let gone: Vec<Waiting> = (0..200).filter_map(|_| put(&mut backlog, ms(1000), &large)).collect();
        assert!(backlog.bytes <= BYTES_MAX && backlog.len() == WAITING_MAX, "{}", backlog.bytes);
        assert_eq!(gone.iter().filter(|waiting| waiting.bytes.len() < 10).count(), 200 - 101);
    }
}
