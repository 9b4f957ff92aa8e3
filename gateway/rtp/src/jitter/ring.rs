//! Carries received packets to one reader on another thread: fixed slots, no lock, no unsafe code, nobody ever waits.
//!
//! One writer, one reader. A slot is a row of atomic words that belongs to the writer while it is free and to the reader while it is full;
//! two counters say which it is. The words are written and read relaxed, which costs what plain memory costs; the counters are
//! released and acquired, which orders the words. A full ring drops the new packet and counts it: the receiver has calls
//! to serve, and what the reader cannot keep up with is old anyway.

use super::Header;
use super::atomic::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering};
use sansio::Time;

/// Words before the payload: time of arrival; SSRC and timestamp; sequence, payload type, marker and length.
const HEAD: usize = 3;

/// A counter in a cache line of its own, so that its owner's stores do not slow down the other side.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    words: Box<[AtomicU64]>,
    /// Packets ever written.
    written: Line<AtomicUsize>,
    /// Packets ever read.
    read: Line<AtomicUsize>,
    writer_gone: AtomicBool,
    reader_gone: AtomicBool,
}

/// The receiver's end.
pub struct Writer {
    shared: Arc<Shared>,
    layout: Layout,
    written: usize,
    /// `read` as it was last seen.
    read: usize,
    dropped: u64,
}

/// The end of whoever plays, records or mixes.
pub struct Reader {
    shared: Arc<Shared>,
    layout: Layout,
    read: usize,
    /// `written` as it was last seen.
    written: usize,
}

#[derive(Clone, Copy)]
struct Layout {
    slots: usize,
    /// Words of a slot.
    stride: usize,
    octets: usize,
}

impl Layout {
    /// Where the words of the `count`th packet begin.
    const fn slot(self, count: usize) -> usize {
        (count & (self.slots - 1)) * self.stride
    }
}

/// A packet as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it came.
    pub arrival: Time,
    /// Its header.
    pub header: Header,
    /// Octets of its payload.
    pub octets: usize,
}

/// A ring of `slots` packets (rounded up to a power of two, 1 to 4096) of at most `octets` of payload each (at most 65 535).
/// Allocates here and never again: `slots * (octets + 32)` bytes about.
pub fn ring(slots: usize, octets: usize) -> (Writer, Reader) {
    let slots = slots.clamp(1, 4096).next_power_of_two();
    let octets = octets.min(usize::from(u16::MAX));
    let layout = Layout { slots, stride: HEAD + octets.div_ceil(8), octets };
    let shared = Arc::new(Shared {
        words: (0..slots * layout.stride).map(|_| AtomicU64::new(0)).collect(),
        written: Line(AtomicUsize::new(0)),
        read: Line(AtomicUsize::new(0)),
        writer_gone: AtomicBool::new(false),
        reader_gone: AtomicBool::new(false),
    });
    let writer = Writer { shared: Arc::clone(&shared), layout, written: 0, read: 0, dropped: 0 };
    (writer, Reader { shared, layout, read: 0, written: 0 })
}

impl Writer {
    /// Hands a packet over. False, and counted, if the ring is full or the payload larger than its slots.
    pub fn push(&mut self, arrival: Time, header: &Header, payload: &[u8]) -> bool {
        let shared = &*self.shared;
        if self.written.wrapping_sub(self.read) == self.layout.slots {
            self.read = shared.read.0.load(Ordering::Acquire);
        }
        let full = self.written.wrapping_sub(self.read) == self.layout.slots;
        if full || payload.len() > self.layout.octets {
            self.dropped += 1;
            return false;
        }
        let at = self.layout.slot(self.written);
        let words = &shared.words[at..at + self.layout.stride];
        let put = |n: usize, word: u64| words[n].store(word, Ordering::Relaxed);
        put(0, arrival.as_nanos());
        put(1, u64::from(header.ssrc) << 32 | u64::from(header.timestamp));
        let flags = u64::from(header.payload_type) << 8 | u64::from(header.marker);
        put(2, u64::from(header.sequence) << 48 | flags << 16 | payload.len() as u64);
        let (whole, rest) = payload.as_chunks::<8>();
        for (word, octets) in words[HEAD..].iter().zip(whole) {
            word.store(u64::from_le_bytes(*octets), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            put(HEAD + whole.len(), u64::from_le_bytes(last));
        }
        self.written = self.written.wrapping_add(1);
        shared.written.0.store(self.written, Ordering::Release);
        true
    }

    /// Packets that were not handed over.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.shared.reader_gone.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// The next packet; its payload is copied to the beginning of `payload`, as much as that has room for.
    pub fn pop(&mut self, payload: &mut [u8]) -> Option<Received> {
        let shared = &*self.shared;
        if self.read == self.written {
            self.written = shared.written.0.load(Ordering::Acquire);
            if self.read == self.written {
                return None;
            }
        }
        let at = self.layout.slot(self.read);
        let words = &shared.words[at..at + self.layout.stride];
        let get = |n: usize| words[n].load(Ordering::Relaxed);
        let (arrival, source, rest) = (get(0), get(1), get(2));
        let header = Header {
            payload_type: (rest >> 24) as u8,
            marker: rest >> 16 & 1 == 1,
            sequence: (rest >> 48) as u16,
            timestamp: source as u32,
            ssrc: (source >> 32) as u32,
        };
        let octets = usize::from(rest as u16).min(payload.len());
        for (octets, word) in payload[..octets].chunks_mut(8).zip(&words[HEAD..]) {
            let word = word.load(Ordering::Relaxed).to_le_bytes();
            octets.copy_from_slice(&word[..octets.len()]);
        }
        self.read = self.read.wrapping_add(1);
        // Released: the words have been read before the writer may use the slot again. (The model checking runs loads in order and cannot miss this.)
        shared.read.0.store(self.read, Ordering::Release);
        Some(Received { arrival: Time::from_nanos(arrival), header, octets })
    }

    /// Whether the writer is gone; what it wrote before may still be read.
    pub fn is_ended(&self) -> bool {
        self.shared.writer_gone.load(Ordering::Acquire)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.writer_gone.store(true, Ordering::Release);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.reader_gone.store(true, Ordering::Relaxed);
    }
}

impl core::fmt::Debug for Writer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).field("dropped", &self.dropped).finish()
    }
}

impl core::fmt::Debug for Reader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reader").field("read", &self.read).finish()
    }
}
