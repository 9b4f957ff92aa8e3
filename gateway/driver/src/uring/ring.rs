//! The ring itself: queueing operations, entering the kernel, taking completions out.
#![allow(unsafe_code, reason = "queueing an operation hands the kernel pointers")]

use super::probe::explain;
use crate::clock;
use crate::error::Refusal;
use io_uring::{IoUring, cqueue, squeue, types};
use std::collections::VecDeque;
use std::io;

/// Operations that fit between two submissions; more are submitted in between.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit; beyond it the kernel keeps them on the side and ends multishots.
const COMPLETIONS: u32 = 16_384;
/// Bits of io_uring_enter(2).
const GETEVENTS: u32 = 1;
const EXT_ARG: u32 = 1 << 3;
const NO_IOWAIT: u32 = 1 << 7;

/// A completion, copied out of the ring before anything is done about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) bits: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the operation goes on and will complete again.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer it used.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The error number, 0 if there is none.
    pub(super) const fn error(&self) -> i32 {
        if self.result < 0 { -self.result } else { 0 }
    }
}

pub(super) struct Ring {
    ring: IoUring,
    min_wait: bool,
    flags: u32,
    /// Operations the kernel has not ended.
    pub(super) outstanding: u64,
    /// io_uring_enter calls since somebody took the count.
    pub(super) enters: u64,
    completions: VecDeque<Completion>,
}

impl Ring {
    pub(super) fn new() -> Result<Self, Refusal> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS);
        let ring: IoUring = builder.build(SUBMISSIONS).map_err(|error| explain("io_uring_setup", &error))?;
        if !ring.params().is_feature_ext_arg() {
            return Err(explain("waiting with a timeout", &io::Error::from_raw_os_error(libc::EINVAL)));
        }
        let min_wait = ring.params().is_feature_min_timeout();
        let no_iowait = if ring.params().is_feature_no_iowait() { NO_IOWAIT } else { 0 };
        Ok(Self {
            ring,
            min_wait,
            flags: GETEVENTS | EXT_ARG | no_iowait,
            outstanding: 0,
            enters: 0,
            completions: VecDeque::with_capacity(1024),
        })
    }

    pub(super) const fn has_min_wait(&self) -> bool {
        self.min_wait
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an operation; false if the kernel will not take more now.
    ///
    /// # Safety
    /// Everything `entry` points to must stay in place, and what the kernel writes must not be
    /// touched, until the completion without [`Completion::more`] was taken out.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        for _ in 0..4 {
            // SAFETY: the caller keeps what the entry points to.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.outstanding += 1;
                return true;
            }
            self.submit();
            // The kernel refuses to submit while completions pile up: make room.
            self.collect();
        }
        false
    }

    /// Whether operations are queued that the kernel has not seen.
    pub(super) fn unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Submits what is queued without waiting.
    pub(super) fn submit(&mut self) {
        let queued = self.ring.submission().len() as u32;
        self.enters += 1;
        // SAFETY: no argument structure; the queued entries were pushed under `push`'s conditions.
        // An error (busy, interrupted) leaves them queued.
        let _ = unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, 0, None) };
    }

    /// Submits what is queued and waits for `want` completions (those not taken out yet count), at most
    /// `timeout` nanoseconds; once `gather` microseconds have passed one is enough.
    pub(super) fn wait(&mut self, want: u32, gather: u32, timeout: u64) {
        let queued = self.ring.submission().len() as u32;
        let timespec = clock::timespec(timeout);
        let timespec = types::Timespec::new().sec(timespec.tv_sec as u64).nsec(timespec.tv_nsec as u32);
        let args = types::SubmitArgs::new().timespec(&timespec).min_wait_usec(gather);
        self.enters += 1;
        // SAFETY: the argument structure and its timespec live on this frame until the call
        // returns; the queued entries were pushed under `push`'s conditions. Errors (timeout,
        // interrupted) mean that there is nothing to take out.
        let _ = unsafe { self.ring.submitter().enter(queued, want, self.flags, Some(&args)) };
    }

    /// Copies completions out of the ring.
    pub(super) fn collect(&mut self) {
        let completions = &mut self.completions;
        let mut ended = 0;
        for entry in self.ring.completion() {
            let completion =
                Completion { bits: entry.user_data(), result: entry.result(), flags: entry.flags() };
            ended += u64::from(!completion.more());
            completions.push_back(completion);
        }
        self.outstanding = self.outstanding.saturating_sub(ended);
    }

    /// The next completion copied out.
    pub(super) fn next(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Whether completions were copied out and not taken yet.
    pub(super) fn has_next(&self) -> bool {
        !self.completions.is_empty()
    }
}
