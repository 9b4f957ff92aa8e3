//! The 2xx that is repeated until its ACK comes (RFC 3261 §13.3.1.4), over any transport.

use crate::config::Timers;
use crate::event::Link;
use crate::transaction::timing;
use core::net::SocketAddr;
use sansio::{Time, TimerId};

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

    /// The timer fired: whether to send it again; `false` if 64 × T1 are over.
    pub(crate) fn again(&mut self, now: Time) -> bool {
        self.count = self.count.saturating_add(1);
        now < self.until
    }
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
}
