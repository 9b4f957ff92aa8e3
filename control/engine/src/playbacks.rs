//! What is played in calls: orders whose answers are awaited, and what was heard of each lately.

use core::time::Duration;
use link::{CallId, MediaAnswer, MediaRefusal, Playback, Ticket};
use sansio::Time;
use std::collections::{BTreeMap, VecDeque};

/// Most of what is played that is remembered.
const KEPT: usize = 1024;

/// Orders under way and what is played. All orders have the same time, so the oldest is the first to be due.
#[derive(Debug)]
pub(crate) struct Playbacks {
    next: u64,
    /// Who asked, and until when an answer is waited for.
    open: BTreeMap<Ticket, (Ticket, Time)>,
    limit: usize,
    patience: Duration,
    /// Orders refused since too many were under way.
    pub(crate) refused: u64,
    recent: VecDeque<Playback>,
}

/// An answer: whose order it was, and what came of it; `None` if the shard did not answer in time.
pub(crate) type Answered = (Ticket, Option<Result<u64, MediaRefusal>>);

impl Playbacks {
    pub(crate) const fn new(limit: usize, patience: Duration) -> Self {
        Self { next: 1, open: BTreeMap::new(), limit, patience, refused: 0, recent: VecDeque::new() }
    }

    /// Opens an order; `None` if too many are under way.
    pub(crate) fn open(&mut self, now: Time, asker: Ticket) -> Option<Ticket> {
        if self.open.len() >= self.limit {
            self.refused += 1;
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.open.insert(ticket, (asker, now + self.patience));
        Some(ticket)
    }

    /// A shard answers. What comes late or was not asked for is dropped.
    pub(crate) fn answer(&mut self, answer: MediaAnswer) -> Option<Answered> {
        let (asker, _) = self.open.remove(&answer.ticket)?;
        Some((asker, Some(answer.result)))
    }

    /// Gives an order whose time is up.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Answered> {
        let (ticket, (asker, deadline)) = self.open.first_key_value()?;
        if *deadline > now {
            return None;
        }
        let (ticket, asker) = (*ticket, *asker);
        self.open.remove(&ticket);
        Some((asker, None))
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.open.first_key_value().map(|(_, (_, deadline))| *deadline)
    }

    /// Something is played, or is not any more.
    pub(crate) fn take(&mut self, playback: Playback) {
        let same = |it: &&mut Playback| {
            it.call.shard() == playback.call.shard()
                && it.playback == playback.playback
                && it.call == playback.call
        };
        if let Some(known) = self.recent.iter_mut().rev().find(same) {
            *known = playback;
            return;
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(playback);
    }

    /// What is played or was lately, newest first, of one call or of all.
    pub(crate) fn recent(&self, call: Option<CallId>) -> Vec<Playback> {
        let wanted = |it: &&Playback| call.is_none_or(|call| it.call == call);
        self.recent.iter().rev().filter(wanted).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::{PlaybackState, Side, UnixMicros};

    fn playback(call: u64, playback: u64, state: PlaybackState) -> Playback {
        let (call, at, what) = (CallId(call), UnixMicros(playback), String::from("a.wav"));
        Playback { call, playback, side: Side::Caller, what, hold: false, state, at }
    }

    #[test]
    fn an_order_is_answered_once_and_in_time() {
        let mut all = Playbacks::new(1, Duration::from_secs(1));
        let ticket = all.open(Time::ZERO, Ticket(7)).unwrap();
        assert!(all.open(Time::ZERO, Ticket(8)).is_none(), "bounded");
        assert_eq!((all.refused, all.deadline()), (1, Some(Time::from_millis(1000))));
        let answer = MediaAnswer { ticket, result: Ok(3) };
        assert_eq!(all.answer(answer.clone()), Some((Ticket(7), Some(Ok(3)))));
        assert_eq!(all.answer(answer), None);
        all.open(Time::ZERO, Ticket(9)).unwrap();
        assert_eq!(all.expire(Time::from_millis(999)), None);
        assert_eq!(all.expire(Time::from_millis(1000)), Some((Ticket(9), None)));
        assert_eq!(all.deadline(), None);
    }

    #[test]
    fn the_last_word_of_each_is_kept_and_the_oldest_forgotten() {
        let mut all = Playbacks::new(1, Duration::from_secs(1));
        for n in 0..=KEPT as u64 {
            all.take(playback(n % 2, n, PlaybackState::Playing));
        }
        all.take(playback(1, 5, PlaybackState::Finished));
        assert_eq!(all.recent(None).len(), KEPT);
        assert_eq!(all.recent(None)[0].playback, KEPT as u64, "newest first");
        let of_one = all.recent(Some(CallId(1)));
        assert!(of_one.iter().all(|it| it.call == CallId(1)));
        let told = of_one.iter().find(|it| it.playback == 5).unwrap();
        assert_eq!(told.state, PlaybackState::Finished);
    }
}
