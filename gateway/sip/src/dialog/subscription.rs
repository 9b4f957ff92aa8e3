//! The subscription that a REFER makes (RFC 3515 §2.4.4): what its subscriber is to be told, and until when.

use super::Dialog;
use crate::event::Flow;
use core::time::Duration;
use sansio::{Key, Time, TimerId};

/// Why a subscription is over (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing more can be told.
    NoResource,
    /// It ran out, or its subscriber ended it.
    Timeout,
}

/// An implicit subscription, at the side of whoever tells (the notifier).
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The leg in whose dialog it lives, while that stands.
    pub(crate) leg: Option<Key>,
    /// The dialog, once the leg is gone: the subscription outlives the call (RFC 5057 §4.1); or if there was no call.
    pub(crate) dialog: Option<Dialog>,
    /// Whether NOTIFY goes where the subscriber was heard from, and not to its Contact, once the leg is gone.
    pub(crate) keeps_way: bool,
    /// How the subscriber was reached last.
    pub(crate) flow: Flow,
    /// CSeq of the REFER, by which Event tells several apart (RFC 3515 §2.4.6).
    pub(crate) id: u32,
    /// When it runs out.
    pub(crate) until: Time,
    pub(crate) timer: Option<TimerId>,
    /// The NOTIFY under way: the next waits for its answer, so that the last one told is the last one heard.
    pub(crate) notifying: Option<Key>,
    status: u16,
    waiting: bool,
    over: Option<Over>,
}

impl Subscription {
    /// One that begins, with 100 to be told (RFC 3515 §2.4.5).
    pub(crate) const fn new(leg: Option<Key>, flow: Flow, id: u32, until: Time) -> Self {
        Self {
            leg,
            dialog: None,
            keeps_way: false,
            flow,
            id,
            until,
            timer: None,
            notifying: None,
            status: 100,
            waiting: true,
            over: None,
        }
    }

    /// The transfer has come to this status; nothing follows if it is the `last`. What was not told yet is not told any
    /// more.
    pub(crate) const fn say(&mut self, status: u16, last: bool) {
        if self.over.is_none() {
            self.status = status;
            self.waiting = true;
            if last {
                self.over = Some(Over::NoResource);
            }
        }
    }

    /// It ran out, or is ended by its subscriber, who is told where things stand (RFC 6665 §4.2.1.4).
    pub(crate) const fn expire(&mut self) {
        if self.over.is_none() {
            self.over = Some(Over::Timeout);
            self.waiting = true;
        }
    }

    /// Its subscriber wants it to last until then, and is told where things stand.
    pub(crate) const fn refresh(&mut self, until: Time) {
        self.until = until;
        self.waiting = true;
    }

    /// Whether a NOTIFY is to be sent now.
    pub(crate) const fn is_due(&self) -> bool {
        self.waiting && self.notifying.is_none()
    }

    /// A NOTIFY goes out in this transaction.
    pub(crate) const fn begin(&mut self, client: Key) {
        self.waiting = false;
        self.notifying = Some(client);
    }

    /// The NOTIFY was answered; whether the subscription is gone: told the last, or not wanted (RFC 6665 §4.2.2).
    pub(crate) const fn is_gone_after(&mut self, taken: bool) -> bool {
        self.notifying = None;
        !taken || (self.over.is_some() && !self.waiting)
    }

    /// Whether its end is to be told, or was.
    pub(crate) const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// The status to be told.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    /// The value of Subscription-State (RFC 6665 §8.2.3).
    pub(crate) fn state(&self, now: Time) -> String {
        match self.over {
            None => format!("active;expires={}", left(self.until.since(now))),
            Some(Over::NoResource) => String::from("terminated;reason=noresource"),
            Some(Over::Timeout) => String::from("terminated;reason=timeout"),
        }
    }
}

/// Whole seconds left, at least one.
pub(crate) const fn left(span: Duration) -> u64 {
    let seconds = span.as_millis().div_ceil(1000) as u64;
    if seconds == 0 { 1 } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Link, Transport};
    use sansio::SocketId;

    fn subscription() -> Subscription {
        let local = "192.0.2.1:5060".parse().unwrap();
        let link = Link::Socket(SocketId(0));
        let flow = Flow { transport: Transport::Udp, link, local, remote: local };
        Subscription::new(Some(Key::from_bits(1)), flow, 7, Time::from_millis(60_000))
    }

    #[test]
    fn one_notify_at_a_time_and_the_last_word_is_told() {
        let mut it = subscription();
        assert!(it.is_due());
        assert_eq!((it.status(), it.state(Time::from_millis(1500)).as_str()), (100, "active;expires=59"));
        it.begin(Key::from_bits(2));
        it.say(180, false);
        it.say(200, true);
        assert!(!it.is_due(), "the first is not answered yet");
        assert!(!it.is_gone_after(true));
        assert!(it.is_due());
        assert_eq!((it.status(), it.state(Time::ZERO).as_str()), (200, "terminated;reason=noresource"));
        it.begin(Key::from_bits(3));
        it.say(486, true);
        assert_eq!(it.status(), 200, "nothing follows the last word");
        assert!(it.is_gone_after(true));
    }

    #[test]
    fn who_does_not_take_a_notify_is_told_nothing_more() {
        let mut it = subscription();
        it.begin(Key::from_bits(2));
        it.say(180, false);
        assert!(it.is_gone_after(false));
    }

    #[test]
    fn it_runs_out_and_says_so() {
        let mut it = subscription();
        it.begin(Key::from_bits(2));
        assert!(!it.is_gone_after(true));
        it.refresh(Time::from_millis(90_000));
        assert!(it.is_due() && !it.is_over());
        assert_eq!(it.state(Time::from_millis(60_000)), "active;expires=30");
        it.expire();
        it.say(200, true);
        assert_eq!((it.status(), it.state(Time::ZERO).as_str()), (100, "terminated;reason=timeout"));
        it.begin(Key::from_bits(3));
        assert!(it.is_gone_after(true));
    }
}
