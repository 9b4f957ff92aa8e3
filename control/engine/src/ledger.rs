//! Which writes are on their way to the store, and whom to tell once they are on disk.

use crate::{Record, Stored, Write};
use link::{CallId, ShardId};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Writes under way, oldest first; never more than its limit.
#[derive(Debug)]
pub(crate) struct Ledger {
    next: u64,
    /// Per write under way: the call record to acknowledge, if it is one.
    waiting: VecDeque<Option<CallId>>,
    /// The calls among them.
    calls: HashSet<CallId>,
    limit: usize,
    /// Call records stored.
    pub(crate) stored: u64,
    /// Starts, answers and signs of life not written since the store lags.
    pub(crate) skipped: u64,
    /// Call records neither written nor acknowledged since the store lags even more.
    pub(crate) refused: u64,
}

impl Ledger {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            next: 1,
            waiting: VecDeque::new(),
            calls: HashSet::new(),
            limit: limit.max(2),
            stored: 0,
            skipped: 0,
            refused: 0,
        }
    }

    /// Numbers a record, unless there is no room. The second half of the room is for finished calls alone.
    pub(crate) fn enter(&mut self, record: Record) -> Option<Write> {
        let call = match &record {
            Record::Ended(cdr) => Some(cdr.call),
            _ => None,
        };
        let limit = if call.is_some() { self.limit } else { self.limit / 2 };
        if self.waiting.len() >= limit {
            let counter = if call.is_some() { &mut self.refused } else { &mut self.skipped };
            *counter += 1;
            return None;
        }
        self.calls.extend(call);
        self.waiting.push_back(call);
        let seq = self.next;
        self.next += 1;
        Some(Write { seq, record })
    }

    /// Takes off what is on disk; gives the calls to acknowledge per shard.
    pub(crate) fn settle(&mut self, stored: Stored) -> BTreeMap<ShardId, Vec<CallId>> {
        let mut calls: BTreeMap<ShardId, Vec<CallId>> = BTreeMap::new();
        let first = self.next - self.waiting.len() as u64;
        for _ in first..=stored.through {
            let Some(entry) = self.waiting.pop_front() else { break };
            if let Some(call) = entry {
                self.stored += 1;
                self.calls.remove(&call);
                calls.entry(call.shard()).or_default().push(call);
            }
        }
        calls
    }

    /// Whether this call's record is under way.
    pub(crate) fn holds(&self, call: CallId) -> bool {
        self.calls.contains(&call)
    }

    /// Writes under way.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The last calls that ended, so that a record said again is not counted again.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    calls: HashSet<CallId>,
    order: VecDeque<CallId>,
}

impl Recent {
    /// As many as a shard may have to repeat, for some shards.
    const LIMIT: usize = 1 << 18;

    /// Remembers a call; false if it was known.
    pub(crate) fn insert(&mut self, call: CallId) -> bool {
        if !self.calls.insert(call) {
            return false;
        }
        if self.order.len() == Self::LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
        self.order.push_back(call);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::UnixMicros;

    #[test]
    fn settling_twice_or_too_far_does_no_harm() {
        let mut ledger = Ledger::new(8);
        for _ in 0..3 {
            ledger.enter(Record::Alive(UnixMicros(1))).unwrap();
        }
        assert!(ledger.settle(Stored { through: 2 }).is_empty());
        assert_eq!(ledger.waiting(), 1);
        ledger.settle(Stored { through: 2 });
        assert_eq!(ledger.waiting(), 1);
        ledger.settle(Stored { through: 99 });
        assert_eq!(ledger.waiting(), 0);
        assert_eq!(ledger.enter(Record::Alive(UnixMicros(1))).unwrap().seq, 4);
    }
}
