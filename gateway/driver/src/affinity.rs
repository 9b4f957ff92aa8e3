//! Cores, threads and pages: which cores this process may use, pinning, real-time priority, pages of the usual size, and
//! starting a named, pinned thread.
#![allow(
    unsafe_code,
    reason = "sched_setaffinity, sched_getaffinity, sched_setscheduler and prctl have no safe form"
)]

use std::io;
use std::thread::{Builder, JoinHandle};

/// The cores this process may run on, ascending; empty if the host will not say.
pub fn available() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain bits, for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given into `set`, which lives on this frame.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: CPU_ISSET reads one bit of `set`; the numbers stay below its size.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Pins the calling thread to one core.
///
/// # Errors
/// The operating system's, for instance when the core is not [`available`].
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: cpu_set_t is plain bits, for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, so the bit is inside `set`.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel only reads `set`, which lives on this frame.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel run the calling thread before all normal ones, at the lowest real-time priority; threads and processes
/// that it starts are normal again.
///
/// # Errors
/// The operating system's: it takes CAP_SYS_NICE, or an RLIMIT_RTPRIO of at least 1.
pub fn realtime() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel only reads `priority`, which lives on this frame.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel give this process and its children pages of the usual size only. To make a huge page it may have to compact
/// memory in the middle of a packet, or hold the lock that page faults need from a thread of the lowest priority; with
/// huge pages some drills stood still for 45 to 80 ms once, without them none did so far.
///
/// # Errors
/// The operating system's: a kernel without huge pages, where nothing is lost.
pub fn plain_pages() -> io::Result<()> {
    // SAFETY: PR_SET_THP_DISABLE takes numbers and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the calling thread's timers fire within a few microseconds (the kernel's default slack is 50 µs).
pub(crate) fn sharpen_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes a number and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 5_000, 0, 0, 0) };
}

/// Starts a thread called `name` (the kernel keeps 15 bytes), pinned to `cpu` if given; `body` makes its driver and runs it.
///
/// A core that cannot be had is not an error: the thread then runs where the scheduler puts it.
///
/// # Errors
/// The operating system's when no thread can be started.
pub fn spawn<T: Send + 'static>(
    name: &str,
    cpu: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(cpu) = cpu {
            let _ = pin(cpu);
        }
        body()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_where_it_was_put() {
        let cores = available();
        let last = *cores.last().unwrap();
        let thread = spawn("pinned", Some(last), available).unwrap();
        assert_eq!(thread.join().unwrap(), [last]);
        assert_eq!(available(), cores, "only the new thread was pinned");
        assert!(pin(usize::MAX).is_err());
    }
}
