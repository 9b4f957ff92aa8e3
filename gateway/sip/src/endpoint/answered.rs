//! Registrations that were answered over UDP, whose server transactions wait for repetitions alone (RFC 3261 §17.2.2,
//! Completed).
//!
//! Each phone leaves one for 64 × T1, so little is kept of it: what a repetition is known by, and of the response what does
//! not follow from the request, which is there again when it is repeated.

use super::servers::{self, Head};
use super::timers::Timer;
use super::{Endpoint, compose};
use crate::error::LegError;
use crate::event::{Flow, Link, RequestId};
use crate::message::Method;
use crate::transaction::key::{Arrived, HashedMap};
use sansio::{Key, Time};
use std::collections::VecDeque;

/// What is left of a transaction.
#[derive(Debug)]
struct Entry {
    key: u64,
    merge: u64,
    /// Where the response went, hashed: a copy that came from elsewhere is not answered.
    to: u64,
    until: Time,
    status: u16,
    /// The response behind what it takes over from the request.
    rest: Box<[u8]>,
}

/// The transactions, in the order in which they end.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    entries: VecDeque<Entry>,
    /// Which number the first of them has.
    first: u64,
    /// By what §17.2.3 compares: the number.
    by_key: HashedMap<u64>,
    /// By what §8.2.2.2 compares.
    by_merge: HashedMap<u64>,
}

impl Answered {
    /// Transactions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a request is one of these, come by another way.
    pub(crate) fn is_merged(&self, merge: u64) -> bool {
        self.by_merge.contains_key(&merge)
    }

    fn find(&self, key: u64) -> Option<&Entry> {
        let number = self.by_key.get(&key)?;
        self.entries.get(usize::try_from(number - self.first).ok()?)
    }

    fn push(&mut self, entry: Entry) {
        let number = self.first + self.entries.len() as u64;
        self.by_key.insert(entry.key, number);
        self.by_merge.insert(entry.merge, number);
        self.entries.push_back(entry);
    }

    /// Takes out the first if its time is over.
    fn pop(&mut self, now: Time) -> Option<Entry> {
        if self.entries.front()?.until > now {
            return None;
        }
        let entry = self.entries.pop_front()?;
        for (table, hash) in [(&mut self.by_key, entry.key), (&mut self.by_merge, entry.merge)] {
            if table.get(&hash) == Some(&self.first) {
                table.remove(&hash);
            }
        }
        self.first += 1;
        // What all phones at once needed is given back.
        if self.entries.capacity() > 1024 && self.entries.len() < self.entries.capacity() / 4 {
            let room = self.entries.len() * 2;
            self.entries.shrink_to(room);
            self.by_key.shrink_to(room);
            self.by_merge.shrink_to(room);
        }
        Some(entry)
    }
}

impl Endpoint {
    /// Answers a request that came as [`crate::Event::Request`] finally and keeps nothing of it: RFC 3261 §8.2.7 for those that
    /// are challenged, so that whoever knows no password leaves no state here. One that comes again is a new request.
    ///
    /// # Errors
    /// As [`Self::respond`].
    pub fn respond_and_forget(
        &mut self,
        now: Time,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<(), LegError> {
        self.respond_briefly(now, request, status, headers, false)
    }

    /// Answers a REGISTER finally. Over UDP little of it is kept until it cannot be repeated any more.
    ///
    /// # Errors
    /// As [`Self::respond`].
    pub fn respond_register(
        &mut self,
        now: Time,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<(), LegError> {
        self.respond_briefly(now, request, status, headers, true)
    }

    fn respond_briefly(
        &mut self,
        now: Time,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
        kept: bool,
    ) -> Result<(), LegError> {
        let server = self.servers.get(request.0).ok_or(LegError::Unknown)?;
        if server.owner != servers::Owner::Request || !(200..700).contains(&status) {
            return Err(LegError::WrongState);
        }
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if !self.server_begin(&mut out, request.0, status, None) {
            self.scratch = out;
            return Err(LegError::WrongState);
        }
        let rest = out.len();
        out.extend_from_slice(&self.identity.server);
        let fits = compose::headers(&mut out, headers) && compose::end(&mut out, None);
        if fits {
            self.server_close(now, request.0, status, &out, kept.then_some(rest));
        }
        self.scratch = out;
        if fits { Ok(()) } else { Err(LegError::BadText) }
    }

    /// Sends the final response of a transaction and takes it out; what comes behind `rest` is kept, if there is one.
    fn server_close(&mut self, now: Time, key: Key, status: u16, response: &[u8], rest: Option<usize>) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if matches!(server.flow.link, Link::Stream(_)) {
            // Nothing of it stays, unless the connection is gone and has to be made anew.
            server.owner = servers::Owner::Nobody;
            return self.server_send(now, key, status, response);
        }
        let (link, reply_to) = (server.flow.link, server.reply_to);
        let (hash, merge) = (server.hash(), server.merge().unwrap_or_default());
        self.transmit(link, reply_to, response);
        self.server_remove(key);
        let Some(rest) = rest.and_then(|rest| response.get(rest..)) else { return };
        self.held += rest.len() as u64;
        let (until, to) = (now + self.config.timers.t1_64(), self.hasher.address(reply_to));
        if self.answered.len() == 0 {
            self.set_timer(until, Timer::Answered);
        }
        self.answered.push(Entry { key: hash, merge, to, until, status, rest: rest.into() });
    }

    /// Answers a request again that was answered before; `false` if it was not.
    pub(super) fn answer_again(&mut self, flow: Flow, request: &Arrived<'_, '_>, hash: u64) -> bool {
        let Some(entry) = self.answered.find(hash) else { return false };
        self.stats.retransmissions_absorbed += 1;
        let reply_to = self.reply_to(&request.via, flow);
        if entry.to != self.hasher.address(reply_to) {
            return true;
        }
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let tag = self.tag_of(hash);
        let head = Head::write(&mut out, request, flow.remote, Some(&tag));
        let lines = out.clone();
        out.clear();
        compose::status_line(&mut out, entry.status, None);
        head.compose(&mut out, &lines, entry.status, self.config.keep);
        out.extend_from_slice(&entry.rest);
        self.transmit(flow.link, reply_to, &out);
        self.stats.retransmissions_sent += 1;
        self.scratch = out;
        true
    }

    /// Lets go of those that cannot be repeated any more.
    pub(super) fn answered_timer(&mut self, now: Time) {
        while let Some(entry) = self.answered.pop(now) {
            self.held -= entry.rest.len() as u64;
        }
        if let Some(next) = self.answered.entries.front().map(|entry| entry.until) {
            self.set_timer(next, Timer::Answered);
        }
    }

    /// Our tag in the answers to a request outside of dialogs, the same for each copy of it (RFC 3261 §8.2.7).
    pub(super) fn tag_of(&self, hash: u64) -> [u8; 16] {
        self.hasher.tag(hash)
    }

    /// Whether its registrations are answered: a request of another method is kept whole.
    pub(super) fn is_merged(&self, request: &Arrived<'_, '_>) -> bool {
        let merge = self.hasher.merge(request);
        self.by_merge.contains_key(&merge)
            || request.method() == Method::Register && self.answered.is_merged(merge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phones leave one each for 64 × T1, by the ten thousand.
    #[test]
    fn what_is_kept_is_small_and_goes_in_its_turn() {
        assert!(size_of::<Entry>() <= 56);
        let mut it = Answered::default();
        for number in 0..5000u64 {
            // Every other one is a request that came twice, under another branch.
            let (key, merge, until) = (number, number / 2, Time::from_millis(number));
            it.push(Entry { key, merge, to: 0, until, status: 200, rest: Box::default() });
        }
        assert!(
            it.pop(Time::ZERO).is_some() && it.pop(Time::ZERO).is_none(),
            "the first is due, the second is not"
        );
        assert!(it.find(0).is_none() && it.find(1).is_some() && it.is_merged(0), "its copy is there still");
        assert!((1..5000).all(|number| it.find(number).is_some_and(|entry| entry.key == number)));
        while it.pop(Time::from_millis(4998)).is_some() {}
        assert!(it.len() == 1 && it.find(4999).is_some() && it.is_merged(2499) && !it.is_merged(2498));
        assert!(
            it.entries.capacity() < 1100 && it.by_key.capacity() < 2500,
            "what all needed at once is given back"
        );
        it.push(Entry {
            key: 1,
            merge: 1,
            to: 0,
            until: Time::from_millis(5000),
            status: 200,
            rest: Box::default(),
        });
        while it.pop(Time::from_millis(5000)).is_some() {}
        assert!(it.len() == 0 && it.by_key.is_empty() && it.by_merge.is_empty());
    }
}
