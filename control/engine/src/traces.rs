//! Questions for the messages of one call: to the shard that has it, or to all where only a Call-ID is known.

use core::time::Duration;
use link::{ShardId, Ticket, Trace};
use sansio::Time;
use std::collections::{BTreeMap, BTreeSet};

/// One question under way.
#[derive(Debug)]
struct Open {
    /// Whose question.
    asker: Ticket,
    waiting: BTreeSet<ShardId>,
    /// The best of what came in.
    best: Option<Box<Trace>>,
    deadline: Time,
}

/// An answer: whose question it was, and the trace, if a shard answered at all.
pub(crate) type Answered = (Ticket, Option<Box<Trace>>);

/// All questions under way. All have the same time, so the oldest is the first to be due.
#[derive(Debug)]
pub(crate) struct Traces {
    next: u64,
    open: BTreeMap<Ticket, Open>,
    limit: usize,
    patience: Duration,
    /// Questions refused since too many were open.
    pub(crate) refused: u64,
}

impl Traces {
    pub(crate) const fn new(limit: usize, patience: Duration) -> Self {
        Self { next: 1, open: BTreeMap::new(), limit, patience, refused: 0 }
    }

    /// Opens a question to `shards`; `None` if too many are open.
    pub(crate) fn open(
        &mut self,
        now: Time,
        asker: Ticket,
        shards: impl Iterator<Item = ShardId>,
    ) -> Option<Ticket> {
        if self.open.len() >= self.limit {
            self.refused += 1;
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let deadline = now + self.patience;
        self.open.insert(ticket, Open { asker, waiting: shards.collect(), best: None, deadline });
        Some(ticket)
    }

    /// Takes in what a shard tells; gives the answer once it is found or nobody is left to find it. What comes late or
    /// was not asked for is dropped.
    pub(crate) fn take(&mut self, trace: Box<Trace>) -> Option<Answered> {
        let ticket = trace.ticket;
        let open = self.open.get_mut(&ticket)?;
        if !open.waiting.remove(&trace.shard) {
            return None;
        }
        // Messages of one Call-ID are at one shard; one that has none at all may have it on record that it has none.
        let rank = |it: &Trace| (it.messages.len(), it.recording);
        if open.best.as_deref().is_none_or(|best| rank(&trace) > rank(best)) {
            open.best = Some(trace);
        }
        let found = open.best.as_ref().is_some_and(|best| !best.messages.is_empty());
        if found || open.waiting.is_empty() { self.close(ticket) } else { None }
    }

    /// Gives a question that nobody is left to answer.
    pub(crate) fn take_complete(&mut self, ticket: Ticket) -> Option<Answered> {
        if self.open.get(&ticket)?.waiting.is_empty() { self.close(ticket) } else { None }
    }

    /// Gives a question whose time is up.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Answered> {
        let (ticket, open) = self.open.first_key_value()?;
        if open.deadline > now {
            return None;
        }
        let ticket = *ticket;
        self.close(ticket)
    }

    fn close(&mut self, ticket: Ticket) -> Option<Answered> {
        let open = self.open.remove(&ticket)?;
        Some((open.asker, open.best))
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.open.first_key_value().map(|(_, open)| open.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::{TraceMessage, UnixMicros};

    fn trace(ticket: Ticket, shard: u8, messages: usize) -> Box<Trace> {
        let message = TraceMessage {
            at: UnixMicros(1),
            leg: 0,
            sent: false,
            transport: "udp".into(),
            local: "10.0.0.1:1".parse().unwrap(),
            remote: "10.0.0.2:2".parse().unwrap(),
            bytes: Vec::new(),
        };
        Box::new(Trace {
            ticket,
            shard: ShardId(shard),
            recording: true,
            messages: vec![message; messages],
            ..Trace::default()
        })
    }

    #[test]
    fn the_first_shard_that_has_messages_answers() {
        let mut traces = Traces::new(1, Duration::from_secs(1));
        let ticket = traces.open(Time::ZERO, Ticket(9), [ShardId(0), ShardId(1)].into_iter()).unwrap();
        assert!(traces.open(Time::ZERO, Ticket(8), core::iter::empty()).is_none(), "bounded");
        assert_eq!(traces.take(trace(ticket, 0, 0)), None);
        assert_eq!(traces.take(trace(ticket, 0, 5)), None, "each shard speaks once");
        let (asker, best) = traces.take(trace(ticket, 1, 2)).unwrap();
        assert_eq!((asker, best.unwrap().messages.len()), (Ticket(9), 2));
        assert_eq!(traces.take(trace(ticket, 1, 2)), None);
        assert_eq!((traces.refused, traces.deadline()), (1, None));
    }

    #[test]
    fn silence_is_answered_in_time() {
        let mut traces = Traces::new(4, Duration::from_secs(1));
        let ticket = traces.open(Time::ZERO, Ticket(1), [ShardId(0), ShardId(1)].into_iter()).unwrap();
        traces.take(trace(ticket, 0, 0));
        assert_eq!(traces.expire(Time::from_millis(999)), None);
        let (asker, best) = traces.expire(Time::from_millis(1000)).unwrap();
        assert!(asker == Ticket(1) && best.unwrap().recording);
        let nobody = traces.open(Time::ZERO, Ticket(2), core::iter::empty()).unwrap();
        assert_eq!(traces.take_complete(nobody), Some((Ticket(2), None)));
    }
}
