//! Fixed places for packets that wait, found by sequence number.

use super::Content;
use crate::Header;

/// What waits in a place, without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// The extended sequence number; 0 if the place is free.
    pub(super) sequence: u64,
    /// Media time of the first sample, in ticks.
    pub(super) at: i64,
    /// Transit time in nanoseconds.
    pub(super) transit: i64,
    pub(super) content: Content,
    pub(super) header: Header,
    octets: u16,
}

const FREE: Slot = Slot {
    sequence: 0,
    at: 0,
    transit: 0,
    content: Content::Other,
    header: Header { payload_type: 0, marker: false, sequence: 0, timestamp: 0, ssrc: 0 },
    octets: 0,
};

/// A row of places, as many as packets may wait.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    payloads: Box<[u8]>,
    /// Octets of a place.
    room: usize,
    used: usize,
}

impl Slots {
    /// `count` is a power of two.
    pub(super) fn new(count: usize, room: usize) -> Self {
        Self {
            slots: vec![FREE; count].into_boxed_slice(),
            payloads: vec![0; count * room].into_boxed_slice(),
            room,
            used: 0,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Packets that wait.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    const fn place(&self, sequence: u64) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }

    /// Keeps a packet; its place has to be free and its payload no larger than a place.
    pub(super) fn put(&mut self, slot: Slot, payload: &[u8]) {
        let place = self.place(slot.sequence);
        let octets = payload.len().min(self.room);
        self.payloads[place * self.room..][..octets].copy_from_slice(&payload[..octets]);
        self.slots[place] = Slot { octets: octets as u16, ..slot };
        self.used += 1;
    }

    /// The packet of a sequence number, if it waits.
    pub(super) fn get(&self, sequence: u64) -> Option<&Slot> {
        let slot = &self.slots[self.place(sequence)];
        (slot.sequence == sequence).then_some(slot)
    }

    /// Frees the place of a packet; true if it was there. Its payload can be read until the place is used again.
    pub(super) fn free(&mut self, sequence: u64) -> bool {
        let place = self.place(sequence);
        let there = self.slots[place].sequence == sequence;
        if there {
            self.slots[place].sequence = 0;
            self.used -= 1;
        }
        there
    }

    /// The payload last kept in the place of a sequence number.
    pub(super) fn payload(&self, sequence: u64) -> &[u8] {
        let place = self.place(sequence);
        &self.payloads[place * self.room..][..usize::from(self.slots[place].octets)]
    }

    /// Frees all; returns how many waited.
    pub(super) fn clear(&mut self) -> usize {
        self.slots.iter_mut().for_each(|slot| slot.sequence = 0);
        core::mem::take(&mut self.used)
    }
}

impl Slot {
    pub(super) const fn new(sequence: u64, at: i64, transit: i64, content: Content, header: Header) -> Self {
        Self { sequence, at, transit, content, header, octets: 0 }
    }
}
