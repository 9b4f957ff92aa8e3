//! Questions that all shards must answer, until they have or their time is up.

use crate::View;
use core::time::Duration;
use link::{ShardId, ShardReport, Ticket};
use sansio::Time;
use std::collections::{BTreeMap, BTreeSet};

/// One question under way.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Whose question.
    pub(crate) asker: Ticket,
    /// How many calls it wants listed.
    pub(crate) calls: u32,
    /// What came in so far.
    pub(crate) view: View,
    waiting: BTreeSet<ShardId>,
    deadline: Time,
}

/// All questions under way. All have the same time, so the oldest is the first to be due.
#[derive(Debug)]
pub(crate) struct Gathers {
    next: u64,
    open: BTreeMap<Ticket, Gather>,
    limit: usize,
    patience: Duration,
    /// Questions refused since too many were open.
    pub(crate) refused: u64,
    /// Questions answered without all shards.
    pub(crate) incomplete: u64,
}

impl Gathers {
    pub(crate) const fn new(limit: usize, patience: Duration) -> Self {
        Self { next: 1, open: BTreeMap::new(), limit, patience, refused: 0, incomplete: 0 }
    }

    /// Opens a question to `shards`; `None` if too many are open.
    pub(crate) fn open(
        &mut self,
        now: Time,
        asker: Ticket,
        calls: u32,
        shards: impl Iterator<Item = ShardId>,
    ) -> Option<Ticket> {
        if self.open.len() >= self.limit {
            self.refused += 1;
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let gather = Gather {
            asker,
            calls,
            view: View::default(),
            waiting: shards.collect(),
            deadline: now + self.patience,
        };
        self.open.insert(ticket, gather);
        Some(ticket)
    }

    /// Takes in a report; a late one or one nobody asked for is dropped. Gives the question if it was the last missing.
    pub(crate) fn report(&mut self, shard: ShardId, report: ShardReport) -> Option<Gather> {
        let ticket = report.ticket;
        let gather = self.open.get_mut(&ticket)?;
        if gather.waiting.remove(&shard) {
            gather.view.add(shard, report);
        }
        self.take_complete(ticket)
    }

    /// Gives the question if nobody is left to answer it.
    pub(crate) fn take_complete(&mut self, ticket: Ticket) -> Option<Gather> {
        if self.open.get(&ticket)?.waiting.is_empty() { self.open.remove(&ticket) } else { None }
    }

    /// Gives a question whose time is up, with the missing shards named.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Gather> {
        let entry = self.open.first_entry()?;
        if entry.get().deadline > now {
            return None;
        }
        let mut gather = entry.remove();
        gather.view.missing = gather.waiting.iter().copied().collect();
        self.incomplete += 1;
        Some(gather)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.open.first_key_value().map(|(_, gather)| gather.deadline)
    }
}
