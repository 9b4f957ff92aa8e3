//! Provided buffers: a ring of equal buffers from which the kernel takes one per datagram.
#![allow(unsafe_code, reason = "the kernel reads the ring and writes the buffers while we look at others")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::io;

/// A private anonymous mapping: page aligned, zero, touched only as it is used.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// The kernel may still write to it: never given back.
    leaked: bool,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len, leaked: false })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: the mapping is ours and whole; its owner drops it after the ring is gone.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

/// One group of provided buffers. A buffer belongs to the kernel from [`Self::give_back`] until a completion names it.
pub(super) struct Buffers {
    entries: Mapping,
    memory: Mapping,
    group: u16,
    count: u16,
    size: usize,
    tail: u16,
}

impl Buffers {
    /// Maps `count` (rounded up to a power of two) buffers of `size` bytes and registers them as `group`.
    pub(super) fn new(submitter: &Submitter<'_>, group: u16, count: u16, size: usize) -> io::Result<Self> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * size)?;
        // SAFETY: the ring's memory is page aligned, large enough, and outlives the io_uring, which
        // the back-end drops first.
        unsafe {
            submitter.register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, group, 0)?;
        }
        let mut buffers = Self { entries, memory, group, count, size, tail: 0 };
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    pub(super) const fn group(&self) -> u16 {
        self.group
    }

    /// The first `len` bytes of buffer `id`, which a completion named and which was not given back yet.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        let id = usize::from(id & (self.count - 1));
        // SAFETY: inside the mapping; the kernel does not write to a buffer between the completion
        // that named it and `give_back`, which needs `&mut self`.
        unsafe {
            core::slice::from_raw_parts(self.memory.start.as_ptr().add(id * self.size), len.min(self.size))
        }
    }

    /// Gives buffer `id` to the kernel.
    pub(super) fn give_back(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `place` is inside the entries' mapping; the kernel reads an entry only once the
        // tail, stored last, says so. The tail lies in the first entry's unused field.
        unsafe {
            let entry = &mut *base.add(place);
            entry.set_addr(self.memory.start.as_ptr().add(usize::from(id) * self.size) as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// The kernel did not end all operations: the memory must stay.
    pub(super) fn leak(&mut self) {
        self.entries.leaked = true;
        self.memory.leaked = true;
    }
}
