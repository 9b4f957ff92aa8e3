//! The recorder: an endpoint's last messages in one piece of memory, found by Call-ID or by the call they belong to.
//!
//! A ring of bytes holds one record after the other, each behind a header of fixed size; a new record overwrites the oldest.
//! Records of one Call-ID are chained backwards, and an index of fixed size finds the newest of each chain.
//! Everything is allocated at the start: recording a message is one copy of its bytes and of a header.
//!
//! Which call a Call-ID belongs to is told by [`Recorder::bind`]. A binding is itself a record, chained by its call, so that
//! bindings are forgotten as messages are; told again when a call ends, they outlive the call as long as its
//! last messages do.

use crate::event::Transport;
use core::hash::Hasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sansio::{Random, Time};
use std::collections::hash_map::DefaultHasher;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To us.
    In = 0,
    /// From us.
    Out = 1,
}

impl Direction {
    /// Both, in the order of their numbers.
    pub const BOTH: [Self; 2] = [Self::In, Self::Out];

    /// `in` or `out`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What is noted of a message besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it came or was written.
    pub at: Time,
    /// Which way it went.
    pub direction: Direction,
    /// Over what.
    pub transport: Transport,
    /// Our address, as told to others.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// A message of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// Where the record behind it stands: for [`Recorder::since`].
    pub next: u64,
    /// The same for all messages of one Call-ID.
    pub dialog: u64,
    /// What was noted of it.
    pub header: Header,
    /// The call it belongs to, as told by [`Recorder::bind`]; 0 while unknown.
    pub call: u64,
    /// The leg of that call.
    pub leg: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A leg of a call as told by [`Recorder::bind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundLeg {
    /// Its number within the call.
    pub leg: u16,
    /// What it was called: the label given.
    pub label: String,
    /// Its Call-ID.
    pub call_id: String,
    dialog: u64,
}

/// What the recorder counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Messages recorded.
    pub recorded: u64,
    /// Messages overwritten by later ones.
    pub overwritten: u64,
    /// Messages not recorded since they take more than a quarter of the ring.
    pub too_long: u64,
    /// Call-IDs that cannot be found any more though messages of theirs are there: the index was full.
    pub unfindable: u64,
}

/// The last messages of an endpoint.
pub struct Recorder {
    ring: Box<[u8]>,
    /// Where the next record goes and where the oldest stands: both only grow, modulo the ring's length they are places.
    head: u64,
    tail: u64,
    index: Box<[Slot]>,
    seed: DefaultHasher,
    stats: RecorderStats,
}

impl core::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Recorder").field("bytes", &self.ring.len()).field("stats", &self.stats).finish()
    }
}

/// The newest record of a chain, and whose chain it is.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    last: u64,
    call: u64,
    leg: u16,
}

const EMPTY: Slot = Slot { key: 0, last: NOWHERE, call: 0, leg: 0 };
/// The position of no record.
const NOWHERE: u64 = u64::MAX;
/// Slots that one key may stand in.
const WAYS: usize = 4;
/// Bytes of ring for each slot of the index.
const BYTES_PER_SLOT: usize = 512;
/// Bytes before a record's content.
const HEADER: usize = 88;
/// The least that a ring may hold: a longest message four times.
const LEAST: usize = 1 << 18;
/// Most messages of one Call-ID that a binding that comes late still marks.
const MARKED: usize = 64;
/// Most legs of a call that are told.
const LEGS: usize = 64;

/// What a record holds; the rest of a ring's end that is too short for a record is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gap = 0,
    Message = 1,
    Binding = 2,
}

impl Recorder {
    /// A recorder of `bytes` bytes (256 KiB at least) and an index of a sixteenth of that besides; `random` keys the index.
    pub fn new(bytes: usize, random: &mut Random) -> Self {
        let bytes = bytes.max(LEAST).next_multiple_of(8);
        let slots = (bytes / BYTES_PER_SLOT).next_power_of_two();
        let mut seed = DefaultHasher::new();
        seed.write_u64(random.u64());
        seed.write_u64(random.u64());
        Self {
            ring: vec![0; bytes].into_boxed_slice(),
            head: 0,
            tail: 0,
            index: vec![EMPTY; slots].into_boxed_slice(),
            seed,
            stats: RecorderStats::default(),
        }
    }

    /// What it counted.
    pub const fn stats(&self) -> RecorderStats {
        self.stats
    }

    /// Bytes of the ring.
    pub const fn capacity(&self) -> usize {
        self.ring.len()
    }

    /// Where the next record will stand: what is recorded from now on is told by [`Self::since`].
    pub const fn position(&self) -> u64 {
        self.head
    }

    /// Records a message.
    pub fn record(&mut self, header: &Header, call_id: &[u8], bytes: &[u8]) {
        if bytes.len() > self.ring.len() / 4 - HEADER {
            self.stats.too_long += 1;
            return;
        }
        let key = self.dialog_key(call_id);
        let slot = self.find(key).map_or(EMPTY, |at| self.index[at]);
        let raw = Raw {
            kind: Kind::Message,
            header: *header,
            previous: slot.last,
            key,
            call: slot.call,
            leg: slot.leg,
        };
        let at = self.append(&raw, &[bytes]);
        self.stats.recorded += 1;
        self.keep(Slot { key, last: at, call: slot.call, leg: slot.leg });
    }

    /// Tells that a Call-ID is that of leg `leg` of `call`, which is not 0; `label` is what a reader shall call that leg.
    /// Messages of it that are there already are marked with it as well.
    pub fn bind(&mut self, call_id: &[u8], call: u64, leg: u16, label: &str) {
        let (dialog, chain) = (self.dialog_key(call_id), self.call_key(call));
        let label = &label.as_bytes()[..label.len().min(255)];
        let call_id = &call_id[..call_id.len().min(1024)];
        let previous = self.find(chain).map_or(NOWHERE, |at| self.index[at].last);
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), label.len() as u16);
        let header = Header {
            at: Time::ZERO,
            direction: Direction::In,
            transport: Transport::Udp,
            local: nobody,
            remote: nobody,
        };
        let raw = Raw { kind: Kind::Binding, header, previous, key: chain, call: dialog, leg };
        let at = self.append(&raw, &[label, call_id]);
        self.keep(Slot { key: chain, last: at, call, leg });
        let last = self.find(dialog).map_or(NOWHERE, |at| self.index[at].last);
        self.keep(Slot { key: dialog, last, call, leg });
        let mut position = last;
        for _ in 0..MARKED {
            let Some(raw) = self.raw(position).filter(|raw| raw.key == dialog) else { break };
            if raw.call == call {
                break;
            }
            let place = self.place(position);
            self.ring[place + 24..place + 32].copy_from_slice(&call.to_le_bytes());
            self.ring[place + 40..place + 42].copy_from_slice(&leg.to_le_bytes());
            position = raw.previous;
        }
    }

    /// The call that a Call-ID belongs to, as far as that is still known.
    pub fn call_of(&self, call_id: &[u8]) -> Option<u64> {
        let at = self.find(self.dialog_key(call_id))?;
        Some(self.index[at].call).filter(|call| *call != 0)
    }

    /// The legs of a call that are still known, by number.
    pub fn legs(&self, call: u64) -> Vec<BoundLeg> {
        let key = self.call_key(call);
        let mut legs: Vec<BoundLeg> = Vec::new();
        let mut position = self.find(key).map_or(NOWHERE, |at| self.index[at].last);
        while let Some(raw) = self.raw(position).filter(|raw| raw.kind == Kind::Binding && raw.key == key) {
            if legs.len() >= LEGS {
                break;
            }
            if !legs.iter().any(|leg| leg.dialog == raw.call) {
                let content = self.content(position);
                let label = usize::from(raw.header.local.port()).min(content.len());
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                legs.push(BoundLeg {
                    leg: raw.leg,
                    label: text(&content[..label]),
                    call_id: text(&content[label..]),
                    dialog: raw.call,
                });
            }
            position = raw.previous;
        }
        legs.sort_by_key(|leg| leg.leg);
        legs
    }

    /// The newest messages of these Call-IDs, oldest first: at most `messages` of them with at most `bytes` bytes in all.
    /// Tells also whether there were more.
    pub fn messages<'a>(
        &'a self,
        call_ids: impl Iterator<Item = &'a [u8]>,
        messages: usize,
        bytes: usize,
    ) -> (Vec<Recorded<'a>>, bool) {
        let mut ends: Vec<u64> = call_ids
            .filter_map(|call_id| self.find(self.dialog_key(call_id)))
            .map(|at| self.index[at].last)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let (mut found, mut room) = (Vec::new(), bytes);
        // Each chain runs from new to old: the newest of all ends is taken each time.
        while let Some((at, position)) =
            ends.iter().copied().enumerate().max_by_key(|(_, position)| *position)
        {
            let Some(raw) = self.raw(position).filter(|raw| raw.kind == Kind::Message) else {
                ends.swap_remove(at);
                continue;
            };
            let recorded = self.recorded(position, &raw);
            if found.len() >= messages || recorded.bytes.len() > room {
                found.reverse();
                return (found, true);
            }
            room -= recorded.bytes.len();
            ends[at] = raw.previous;
            found.push(recorded);
        }
        found.reverse();
        (found, false)
    }

    /// The messages recorded at or after a position (0, [`Self::position`] or [`Recorded::next`]), oldest first; those that are overwritten already are left out.
    pub fn since(&self, position: u64) -> impl Iterator<Item = Recorded<'_>> {
        let mut at = position.max(self.tail);
        core::iter::from_fn(move || {
            while at < self.head {
                let position = at;
                let raw = self.raw(position)?;
                at += self.length(position) as u64;
                if raw.kind == Kind::Message {
                    return Some(self.recorded(position, &raw));
                }
            }
            None
        })
    }

    fn dialog_key(&self, call_id: &[u8]) -> u64 {
        let mut hasher = self.seed.clone();
        hasher.write(call_id);
        hasher.write_u8(1);
        hasher.finish()
    }

    fn call_key(&self, call: u64) -> u64 {
        let mut hasher = self.seed.clone();
        hasher.write_u64(call);
        hasher.write_u8(2);
        hasher.finish()
    }

    /// The slots in which a key may stand.
    fn bucket(&self, key: u64) -> core::ops::Range<usize> {
        // The index has a power of two of slots, and WAYS divides it.
        let first = (key as usize).wrapping_mul(WAYS) & (self.index.len() - 1);
        first..first + WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.bucket(key).find(|at| self.index[*at].key == key)
    }

    /// Puts a slot into the index: in its own place, an empty one, or that of the chain longest silent.
    fn keep(&mut self, slot: Slot) {
        let age = |it: &Slot| if it.last == NOWHERE { 0 } else { it.last + 1 };
        let at = self.find(slot.key).or_else(|| self.bucket(slot.key).min_by_key(|at| age(&self.index[*at])));
        let Some(at) = at else { return };
        let old = self.index[at];
        if old.key != slot.key && old.last != NOWHERE && old.last >= self.tail {
            self.stats.unfindable += 1;
        }
        self.index[at] = slot;
    }

    const fn place(&self, position: u64) -> usize {
        (position % self.ring.len() as u64) as usize
    }

    fn number<const N: usize>(&self, place: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.ring[place..place + N]);
        bytes
    }

    /// Bytes that a record takes, its header included.
    fn length(&self, position: u64) -> usize {
        u32::from_le_bytes(self.number(self.place(position))) as usize
    }

    fn content(&self, position: u64) -> &[u8] {
        let place = self.place(position);
        let length = u32::from_le_bytes(self.number(place + 48)) as usize;
        &self.ring[place + HEADER..place + HEADER + length]
    }

    fn recorded(&self, position: u64, raw: &Raw) -> Recorded<'_> {
        Recorded {
            next: position + self.length(position) as u64,
            dialog: raw.key,
            header: raw.header,
            call: raw.call,
            leg: raw.leg,
            bytes: self.content(position),
        }
    }

    /// The header of the record at a position that still stands.
    fn raw(&self, position: u64) -> Option<Raw> {
        if position == NOWHERE || position < self.tail || position >= self.head {
            return None;
        }
        let place = self.place(position);
        let kind = match self.ring[place + 4] {
            1 => Kind::Message,
            2 => Kind::Binding,
            _ => Kind::Gap,
        };
        if kind == Kind::Gap {
            // It may be shorter than a header.
            return Some(Raw::NOTHING);
        }
        let flags = self.ring[place + 7];
        let address = |v6: bool, at: usize, port: usize| {
            let bytes: [u8; 16] = self.number(place + at);
            let ip = if v6 {
                IpAddr::V6(Ipv6Addr::from(bytes))
            } else {
                IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
            };
            SocketAddr::new(ip, u16::from_le_bytes(self.number(place + port)))
        };
        let header = Header {
            at: Time::from_nanos(u64::from_le_bytes(self.number(place + 32))),
            direction: if self.ring[place + 5] == 0 { Direction::In } else { Direction::Out },
            transport: Transport::ALL
                .get(usize::from(self.ring[place + 6]))
                .copied()
                .unwrap_or(Transport::Udp),
            local: address(flags & 1 != 0, 52, 42),
            remote: address(flags & 2 != 0, 68, 44),
        };
        Some(Raw {
            kind,
            header,
            previous: u64::from_le_bytes(self.number(place + 8)),
            key: u64::from_le_bytes(self.number(place + 16)),
            call: u64::from_le_bytes(self.number(place + 24)),
            leg: u16::from_le_bytes(self.number(place + 40)),
        })
    }

    /// Writes a record at the head, over the oldest ones; gives its position. It fits: callers bound its parts.
    fn append(&mut self, raw: &Raw, parts: &[&[u8]]) -> u64 {
        let content: usize = parts.iter().map(|part| part.len()).sum();
        let length = (HEADER + content).next_multiple_of(8);
        let rest = self.ring.len() - self.place(self.head);
        if rest < length {
            self.make_room(rest);
            let place = self.place(self.head);
            self.ring[place..place + 4].copy_from_slice(&(rest as u32).to_le_bytes());
            self.ring[place + 4] = Kind::Gap as u8;
            self.head += rest as u64;
        }
        self.make_room(length);
        let position = self.head;
        let place = self.place(position);
        self.ring[place..place + HEADER].copy_from_slice(&raw.bytes(length, content));
        let mut at = place + HEADER;
        for part in parts {
            self.ring[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.head += length as u64;
        position
    }

    /// Gives up the oldest records until `length` more bytes fit.
    fn make_room(&mut self, length: usize) {
        while self.head + length as u64 - self.tail > self.ring.len() as u64 {
            let place = self.place(self.tail);
            self.stats.overwritten += u64::from(self.ring[place + 4] == Kind::Message as u8);
            // Every record is at least 8 bytes, so this ends.
            self.tail += self.length(self.tail).max(8) as u64;
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug)]
struct Raw {
    kind: Kind,
    header: Header,
    /// The record before in the same chain.
    previous: u64,
    /// Whose chain it is in.
    key: u64,
    /// Of a message: its call. Of a binding: the key of its Call-ID.
    call: u64,
    leg: u16,
}

impl Raw {
    const NOTHING: Self = Self {
        kind: Kind::Gap,
        header: Header {
            at: Time::ZERO,
            direction: Direction::In,
            transport: Transport::Udp,
            local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        },
        previous: NOWHERE,
        key: 0,
        call: 0,
        leg: 0,
    };

    fn bytes(&self, length: usize, content: usize) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let Header { at, direction, transport, local, remote } = self.header;
        out[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        out[4] = self.kind as u8;
        out[5] = direction as u8;
        out[6] = Transport::ALL.iter().position(|it| *it == transport).unwrap_or(0) as u8;
        out[7] = u8::from(local.is_ipv6()) | (u8::from(remote.is_ipv6()) << 1);
        out[8..16].copy_from_slice(&self.previous.to_le_bytes());
        out[16..24].copy_from_slice(&self.key.to_le_bytes());
        out[24..32].copy_from_slice(&self.call.to_le_bytes());
        out[32..40].copy_from_slice(&at.as_nanos().to_le_bytes());
        out[40..42].copy_from_slice(&self.leg.to_le_bytes());
        out[42..44].copy_from_slice(&local.port().to_le_bytes());
        out[44..46].copy_from_slice(&remote.port().to_le_bytes());
        out[48..52].copy_from_slice(&(content as u32).to_le_bytes());
        for (address, place) in [(local, 52), (remote, 68)] {
            match address.ip() {
                IpAddr::V4(ip) => out[place..place + 4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out[place..place + 16].copy_from_slice(&ip.octets()),
            }
        }
        out
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
