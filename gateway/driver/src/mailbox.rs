//! Bounded mailboxes between threads: many senders, one receiver that can sleep on a file descriptor.
//!
//! A receiver that is awake costs its senders no system call: they write to the event descriptor only
//! if the receiver said that it sleeps ([`Receiver::arm`]).
#![allow(unsafe_code, reason = "eventfd has no safe form in the standard library")]

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crossbeam_queue::ArrayQueue;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The mailbox held as many messages as it may, or nobody reads it any more; the message was dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailbox full")
    }
}

impl core::error::Error for Full {}

struct Shared<M> {
    queue: ArrayQueue<M>,
    event: OwnedFd,
    /// The receiver waits on `event`, or is about to: whoever sets this to false has to write to it.
    sleeping: AtomicBool,
    closed: AtomicBool,
    full: AtomicU64,
}

/// Makes a mailbox for at most `capacity` messages (at least one).
///
/// # Errors
/// The operating system's when no file descriptor is left.
pub fn mailbox<M>(capacity: usize) -> io::Result<(Sender<M>, Receiver<M>)> {
    // SAFETY: eventfd takes two numbers and touches no memory of ours.
    let event = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let event = unsafe { OwnedFd::from_raw_fd(event) };
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity.max(1)),
        event,
        sleeping: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        full: AtomicU64::new(0),
    });
    Ok((Sender { shared: Arc::clone(&shared) }, Receiver { shared }))
}

/// The sending end; clone it for each thread.
pub struct Sender<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Sender<M> {
    /// Puts a message in, and wakes the receiver if it sleeps. Never blocks.
    ///
    /// # Errors
    /// [`Full`]: the message is dropped; see [`Self::full`].
    pub fn send(&self, mail: M) -> Result<(), Full> {
        if self.shared.closed.load(Ordering::Relaxed) || self.shared.queue.push(mail).is_err() {
            self.shared.full.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        }
        // Pairs with the fence in `arm`: either we see the receiver asleep or it sees the message.
        fence(Ordering::SeqCst);
        if self.shared.sleeping.load(Ordering::Relaxed) && self.shared.sleeping.swap(false, Ordering::AcqRel)
        {
            self.wake();
        }
        Ok(())
    }

    /// Whether the mailbox holds as many messages as it may just now.
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Messages dropped since the mailbox was full, by all its senders.
    pub fn full(&self) -> u64 {
        self.shared.full.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the kernel reads eight bytes from `one`, which lives on this frame. A full
        // counter (EAGAIN) means that the receiver is being woken already.
        unsafe { libc::write(self.shared.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("waiting", &self.shared.queue.len()).finish_non_exhaustive()
    }
}

/// The receiving end, for one thread.
///
/// To sleep until mail comes, from any kind of event loop (`fd` becomes readable when mail comes after `arm`):
///
/// ```text
/// loop {
///     while let Some(mail) = receiver.try_recv() { ... }
///     if receiver.arm() { wait until the descriptor is readable }
///     receiver.disarm();
/// }
/// ```
pub struct Receiver<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Receiver<M> {
    /// The oldest message, if there is one. Never blocks.
    pub fn try_recv(&mut self) -> Option<M> {
        self.shared.queue.pop()
    }

    /// Says that the receiver is about to sleep on its descriptor; false if it must not, since mail is there.
    #[must_use = "with mail waiting nobody will wake the sleeper"]
    pub fn arm(&self) -> bool {
        self.shared.sleeping.store(true, Ordering::Relaxed);
        // Pairs with the fence in `send`.
        fence(Ordering::SeqCst);
        if self.shared.queue.is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// Says that the receiver is awake, and makes the descriptor unreadable again.
    pub fn disarm(&self) {
        self.awake();
        let mut count = [0u8; 8];
        // SAFETY: the kernel writes eight bytes into `count`, which lives on this frame; the
        // descriptor does not block.
        unsafe { libc::read(self.shared.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Says that the receiver is awake, leaving the descriptor to whoever reads it.
    pub(crate) fn awake(&self) {
        self.shared.sleeping.store(false, Ordering::Relaxed);
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Messages dropped since the mailbox was full.
    pub fn full(&self) -> u64 {
        self.shared.full.load(Ordering::Relaxed)
    }
}

impl<M> Drop for Receiver<M> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        while self.shared.queue.pop().is_some() {}
    }
}

impl<M> AsRawFd for Receiver<M> {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

impl<M> AsFd for Receiver<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl<M> fmt::Debug for Receiver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("waiting", &self.shared.queue.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: RawFd, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd on this frame.
        unsafe { libc::poll(&mut poll, 1, timeout_ms) == 1 }
    }

    #[test]
    fn a_full_mailbox_drops_and_counts() {
        let (sender, mut receiver) = mailbox(2).unwrap();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(sender.send(3), Err(Full));
        assert_eq!((sender.full(), receiver.full(), receiver.len()), (1, 1, 2));
        assert_eq!(receiver.try_recv(), Some(1));
        drop(receiver);
        assert_eq!(sender.send(4), Err(Full), "nobody reads any more");
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let (sender, mut receiver) = mailbox(8).unwrap();
        sender.send(1).unwrap();
        assert!(!readable(receiver.as_raw_fd(), 0), "awake: no event");
        assert!(!receiver.arm(), "mail is there");
        assert_eq!(receiver.try_recv(), Some(1));
        assert!(receiver.arm());
        sender.send(2).unwrap();
        sender.send(3).unwrap();
        assert!(readable(receiver.as_raw_fd(), 1000));
        receiver.disarm();
        assert!(!readable(receiver.as_raw_fd(), 0));
    }

    #[test]
    fn no_message_is_slept_through() {
        let (sender, mut receiver) = mailbox(64).unwrap();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let sender = sender.clone();
                crate::spawn("sender", None, move || {
                    for n in 0..20_000u32 {
                        while sender.send(n).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
                .unwrap()
            })
            .collect();
        let mut seen = 0;
        while seen < 40_000 {
            while receiver.try_recv().is_some() {
                seen += 1;
            }
            if seen < 40_000 && receiver.arm() {
                assert!(readable(receiver.as_raw_fd(), 10_000), "woken for what was sent");
            }
            receiver.disarm();
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }
}
