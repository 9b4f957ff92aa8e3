//! Responses repeated until the peer has them, over any transport: the 2xx until its ACK comes (RFC 3261 §13.3.1.4), the
//! reliable provisional response until its PRACK does (RFC 3262 §3).

use crate::config::Timers;
use crate::event::Link;
use crate::transaction::timing;
use core::net::SocketAddr;
use sansio::{Time, TimerId};
use std::collections::VecDeque;

/// A 2xx on its way.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// The response.
    pub(crate) response: Box<[u8]>,
    /// What carries it.
    pub(crate) link: Link,
    /// Where it goes.
    pub(crate) to: SocketAddr,
    /// CSeq of the INVITE, and so of the ACK.
    pub(crate) cseq: u32,
    /// Whether it answers a re-INVITE.
    pub(crate) again: bool,
    /// The timer for the next repetition.
    pub(crate) timer: Option<TimerId>,
    count: u8,
    until: Time,
}

impl Repeated {
    /// A 2xx sent at `now`.
    pub(crate) fn new(
        now: Time,
        timers: &Timers,
        response: Box<[u8]>,
        link: Link,
        to: SocketAddr,
        cseq: u32,
    ) -> Self {
        Self { response, link, to, cseq, again: false, timer: None, count: 0, until: now + timers.t1_64() }
    }

    /// When it is to be sent again, or given up.
    pub(crate) fn due(&self, now: Time, timers: &Timers) -> Time {
        (now + timing::interval_capped(timers, self.count)).min(self.until)
    }

    /// When a provisional response is to be sent again, or given up: at doubling intervals without bound (RFC 3262 §3).
    pub(crate) fn due_doubling(&self, now: Time, timers: &Timers) -> Time {
        (now + timing::interval_a(timers, self.count)).min(self.until)
    }

    /// The timer fired: whether to send it again; `false` if 64 × T1 are over.
    pub(crate) fn again(&mut self, now: Time) -> bool {
        self.count = self.count.saturating_add(1);
        now < self.until
    }
}

/// A response made and not yet sent.
#[derive(Debug)]
pub(crate) struct Composed {
    /// Its status.
    pub(crate) status: u16,
    /// Its bytes.
    pub(crate) bytes: Box<[u8]>,
    /// Its RSeq.
    pub(crate) rseq: u32,
    /// Whether it describes a session.
    pub(crate) has_body: bool,
}

/// The reliable provisional response that awaits its PRACK.
#[derive(Debug)]
pub(crate) struct Open {
    /// The response.
    pub(crate) repeated: Repeated,
    /// Its RSeq.
    pub(crate) rseq: u32,
    /// Whether it describes a session.
    pub(crate) has_body: bool,
}

/// Reliable provisional responses of a leg that was called, one after the other (RFC 3262 §3).
#[derive(Debug)]
pub(crate) struct Provisionals {
    /// RSeq of the last one made.
    pub(crate) rseq: u32,
    /// The one that awaits its PRACK.
    pub(crate) open: Option<Open>,
    /// Those that wait for it, in order.
    pub(crate) waiting: VecDeque<Composed>,
    /// The 2xx that waits for all of them.
    pub(crate) answer: Option<Box<[u8]>>,
}

impl Provisionals {
    /// None yet; the first one's number is the next after `rseq`.
    pub(crate) const fn new(rseq: u32) -> Self {
        Self { rseq, open: None, waiting: VecDeque::new(), answer: None }
    }

    /// Whether a 2xx has to wait: a session description is not acknowledged (RFC 3262 §3).
    pub(crate) fn holds_answer(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.has_body && open.repeated.timer.is_some())
            || self.waiting.iter().any(|composed| composed.has_body)
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.repeated.response.len())
            + self.waiting.iter().map(|composed| composed.bytes.len()).sum::<usize>()
            + self.answer.as_ref().map_or(0, |answer| answer.len())
    }
}

/// What a calling leg knows of an early dialog: where its reliable provisional responses and its requests stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    /// Hash of the peer's tag.
    pub(crate) tag: u64,
    /// RSeq of the last one received in order.
    pub(crate) rseq: u32,
    /// CSeq of our last request in it.
    pub(crate) local_cseq: u32,
    /// CSeq of the peer's last request in it.
    pub(crate) remote_cseq: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::SocketId;

    #[test]
    fn a_2xx_is_repeated_at_doubling_intervals_for_64_t1() {
        let timers = Timers::default();
        let mut now = Time::ZERO;
        let link = Link::Socket(SocketId(0));
        let to = "192.0.2.1:5060".parse().unwrap();
        let mut repeated = Repeated::new(now, &timers, Box::default(), link, to, 1);
        let mut sent = Vec::new();
        loop {
            now = repeated.due(now, &timers);
            if !repeated.again(now) {
                break;
            }
            sent.push(now.as_nanos() / 1_000_000);
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(now, Time::from_millis(32_000));
    }

    #[test]
    fn a_provisional_response_is_repeated_at_intervals_that_double_without_bound() {
        let timers = Timers::default();
        let mut now = Time::ZERO;
        let link = Link::Socket(SocketId(0));
        let to = "192.0.2.1:5060".parse().unwrap();
        let mut repeated = Repeated::new(now, &timers, Box::default(), link, to, 1);
        let mut sent = Vec::new();
        loop {
            now = repeated.due_doubling(now, &timers);
            if !repeated.again(now) {
                break;
            }
            sent.push(now.as_nanos() / 1_000_000);
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500], "RFC 3262 §3");
        assert_eq!(now.as_nanos() / 1_000_000, 32_000);
    }
}
