//! Two recorders: one for what belongs to calls, a small one beside it for registrations, so that phones that refresh
//! theirs by the thousand do not push the calls' messages out.

use super::recorder::{BoundLeg, Header, Recorded, Recorder, RecorderStats};
use sansio::Random;

/// How much smaller the recorder of registrations is.
const SHARE: usize = 16;

/// The last messages of an endpoint.
#[derive(Debug)]
pub struct Records {
    calls: Recorder,
    registrations: Recorder,
}

/// A place in both recorders: what was recorded from there on is told by [`Records::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    calls: u64,
    registrations: u64,
}

impl Records {
    /// Recorders of `bytes` bytes for calls and a sixteenth of that for registrations (see [`Recorder::new`]).
    pub fn new(bytes: usize, random: &mut Random) -> Self {
        let calls = Recorder::new(bytes, random);
        Self { calls, registrations: Recorder::new(bytes / SHARE, random) }
    }

    /// Records a message: one of a REGISTER and its answers, or another.
    pub fn record(&mut self, registers: bool, header: &Header, call_id: &[u8], bytes: &[u8]) {
        let recorder = if registers { &mut self.registrations } else { &mut self.calls };
        recorder.record(header, call_id, bytes);
    }

    /// As [`Recorder::bind`].
    pub fn bind(&mut self, call_id: &[u8], call: u64, leg: u16, label: &str) {
        self.calls.bind(call_id, call, leg, label);
    }

    /// As [`Recorder::call_of`].
    pub fn call_of(&self, call_id: &[u8]) -> Option<u64> {
        self.calls.call_of(call_id)
    }

    /// As [`Recorder::legs`].
    pub fn legs(&self, call: u64) -> Vec<BoundLeg> {
        self.calls.legs(call)
    }

    /// As [`Recorder::messages`]; registrations are told if no call has any of these Call-IDs.
    pub fn messages<'a>(
        &'a self,
        call_ids: impl Iterator<Item = &'a [u8]> + Clone,
        messages: usize,
        bytes: usize,
    ) -> (Vec<Recorded<'a>>, bool) {
        let (found, more) = self.calls.messages(call_ids.clone(), messages, bytes);
        if found.is_empty() && !more {
            self.registrations.messages(call_ids, messages, bytes)
        } else {
            (found, more)
        }
    }

    /// Where the next records will stand.
    pub const fn position(&self) -> Marks {
        Marks { calls: self.calls.position(), registrations: self.registrations.position() }
    }

    /// The messages recorded at or after a place, oldest first, each with the place behind it; those that are overwritten
    /// already are left out.
    pub fn since(&self, from: Marks) -> impl Iterator<Item = (Marks, Recorded<'_>)> {
        let mut calls = self.calls.since(from.calls).peekable();
        let mut registrations = self.registrations.since(from.registrations).peekable();
        let mut marks = from;
        core::iter::from_fn(move || {
            let call_first = match (calls.peek(), registrations.peek()) {
                (Some(call), Some(registration)) => call.header.at <= registration.header.at,
                (call, _) => call.is_some(),
            };
            let next = if call_first { calls.next()? } else { registrations.next()? };
            *(if call_first { &mut marks.calls } else { &mut marks.registrations }) = next.next;
            Some((marks, next))
        })
    }

    /// What both counted.
    pub const fn stats(&self) -> RecorderStats {
        let (a, b) = (self.calls.stats(), self.registrations.stats());
        RecorderStats {
            recorded: a.recorded + b.recorded,
            overwritten: a.overwritten + b.overwritten,
            too_long: a.too_long + b.too_long,
            unfindable: a.unfindable + b.unfindable,
        }
    }

    /// Bytes of both.
    pub const fn capacity(&self) -> usize {
        self.calls.capacity() + self.registrations.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Direction;
    use super::*;
    use crate::event::Transport;
    use sansio::Time;

    fn header(at: u64) -> Header {
        let nobody = "192.0.2.1:5060".parse().unwrap();
        let (direction, transport) = (Direction::In, Transport::Udp);
        Header { at: Time::from_nanos(at), direction, transport, local: nobody, remote: nobody }
    }

    #[test]
    fn registrations_stand_beside_calls_and_push_none_out() {
        let mut it = Records::new(0, &mut Random::new(1));
        let start = it.position();
        it.record(false, &header(1), b"call", b"INVITE");
        for at in 0..100_000 {
            it.record(true, &header(2 + at), b"phone", b"REGISTER");
        }
        it.record(false, &header(200_000), b"call", b"200");
        let found =
            |call_id: &'static [u8]| it.messages([call_id].into_iter(), usize::MAX, usize::MAX).0.len();
        assert_eq!((found(b"call"), found(b"nobody")), (2, 0));
        assert!(found(b"phone") > 1000 && it.stats().overwritten > 0);
        let all: Vec<(Marks, Recorded<'_>)> = it.since(start).collect();
        assert!(all.is_sorted_by_key(|(_, recorded)| recorded.header.at));
        assert_eq!((all[0].1.bytes, all[all.len() - 1].1.bytes), (&b"INVITE"[..], &b"200"[..]));
        assert_eq!(all[all.len() - 1].0, it.position());
        let (half, _) = all[all.len() / 2];
        assert_eq!(it.since(half).count(), all.len() - all.len() / 2 - 1, "goes on where it was left");
    }
}
