//! Mail between machines: bounded mailboxes, and a random delay on the way since threads race.
//!
//! Letters from one sender to one receiver keep their order (the mailbox is a queue); letters of different
//! senders overtake each other as they like.

use crate::NodeId;
use sansio::{Mailbox, Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Who owns which mailbox, and how long letters take.
#[derive(Debug)]
pub struct PostOffice {
    boxes: BTreeMap<(u16, Mailbox), NodeId>,
    last: BTreeMap<(NodeId, NodeId), Time>,
    waiting: BTreeMap<NodeId, usize>,
    /// Whose mailboxes are full whatever waits in them: their readers stand still.
    pub full: BTreeSet<NodeId>,
    /// The longest a letter takes, drawn evenly from zero.
    pub delay_max: Duration,
    /// The chance that a letter waits far longer (its reader was not scheduled), and for how long at most.
    pub late: (f64, Duration),
    /// Letters that wait for one reader at most; more are dropped and counted.
    pub capacity: usize,
    /// Letters dropped since a mailbox was full.
    pub dropped: u64,
}

impl PostOffice {
    /// An office without mailboxes; letters take up to 100 µs.
    pub const fn new() -> Self {
        Self {
            boxes: BTreeMap::new(),
            last: BTreeMap::new(),
            waiting: BTreeMap::new(),
            full: BTreeSet::new(),
            delay_max: Duration::from_micros(100),
            late: (0.0, Duration::ZERO),
            capacity: 65_536,
            dropped: 0,
        }
    }

    /// Gives `mailbox` of process `process` to `node`.
    pub fn assign(&mut self, process: u16, mailbox: Mailbox, node: NodeId) {
        self.boxes.insert((process, mailbox), node);
    }

    /// Whose mailbox it is.
    pub fn owner(&self, process: u16, mailbox: Mailbox) -> Option<NodeId> {
        self.boxes.get(&(process, mailbox)).copied()
    }

    /// When a letter posted now arrives; `None` if the mailbox is full.
    pub(crate) fn post(&mut self, now: Time, from: NodeId, to: NodeId, random: &mut Random) -> Option<Time> {
        let waiting = self.waiting.entry(to).or_default();
        if *waiting >= self.capacity || self.full.contains(&to) {
            self.dropped += 1;
            return None;
        }
        *waiting += 1;
        let mut delay = random.below(self.delay_max.as_nanos() as u64 + 1);
        if random.chance(self.late.0) {
            delay += random.below(self.late.1.as_nanos() as u64 + 1);
        }
        let last = self.last.entry((from, to)).or_default();
        *last = (*last).max(now + Duration::from_nanos(delay));
        Some(*last)
    }

    /// A letter was taken out of the mailbox.
    pub(crate) fn taken(&mut self, to: NodeId) {
        if let Some(waiting) = self.waiting.get_mut(&to) {
            *waiting = waiting.saturating_sub(1);
        }
    }
}

impl Default for PostOffice {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_between_two_keep_their_order_and_a_full_box_counts() {
        let mut office = PostOffice::new();
        let mut random = Random::new(1);
        office.capacity = 100;
        office.late = (0.1, Duration::from_millis(5));
        let arrivals: Vec<_> =
            (0..100).map(|_| office.post(Time::ZERO, NodeId(0), NodeId(1), &mut random).unwrap()).collect();
        assert!(arrivals.is_sorted());
        assert_eq!(office.post(Time::ZERO, NodeId(2), NodeId(1), &mut random), None);
        assert_eq!(office.dropped, 1);
        office.taken(NodeId(1));
        assert!(office.post(Time::ZERO, NodeId(2), NodeId(1), &mut random).is_some());
        office.full.insert(NodeId(2));
        assert_eq!(office.post(Time::ZERO, NodeId(1), NodeId(2), &mut random), None);
        assert_eq!(office.dropped, 2);
    }
}
