//! Tries everything io_uring has to be able to do, and says in plain words what refused it.
#![allow(unsafe_code, reason = "queueing an operation hands the kernel pointers")]

use super::buffers::Buffers;
use super::ring::{Completion, Ring};
use crate::address::RawAddress;
use crate::error::Refusal;
use core::mem::zeroed;
use core::net::SocketAddr;
use io_uring::{opcode, types};
use sansio::SocketOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// What the kernel's io_uring can do beyond what the driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Wake-ups are shared by the kernel's minimum wait (Linux 6.12), else by a timeout.
    pub min_wait: bool,
}

/// Tries all of io_uring that the driver uses, once per process: a ring of its kind, a provided buffer
/// ring, a multishot receive over loopback, a send with an address, a wait with a timeout.
///
/// # Errors
/// A [`Refusal`] that says what failed and the likely cause.
pub fn probe() -> Result<Probe, Refusal> {
    static FOUND: OnceLock<Result<Probe, Refusal>> = OnceLock::new();
    FOUND.get_or_init(try_all).clone()
}

const ANSWER_WITHIN: u64 = 200_000_000;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

fn try_all() -> Result<Probe, Refusal> {
    let mut ring = Ring::new()?;
    let mut buffers = Buffers::new(&ring.submitter(), 0, 4, 2048)
        .map_err(|error| explain("a provided buffer ring", &error))?;
    let local: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 0));
    let opened = crate::sockets::open_udp(local, SocketOptions::default(), crate::sockets::Share::Alone)
        .map_err(|error| explain("a datagram socket on loopback", &error))?;
    let fd = types::Fd(opened.socket.as_raw_fd());
    // SAFETY: msghdr is plain data, for which zero is valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_namelen = RawAddress::ROOM as libc::socklen_t;
    let receive = opcode::RecvMsgMulti::new(fd, &header, buffers.group()).build().user_data(RECEIVE);
    let mut name = RawAddress::EMPTY;
    let name_len = name.set(opened.local);
    let text = *b"trunkline";
    let send = opcode::Send::new(fd, text.as_ptr(), text.len() as u32)
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(name.as_ptr().cast())
        .dest_addr_len(name_len)
        .build()
        .user_data(SEND);
    // SAFETY: header, name, text and buffers live on this frame until both operations have ended,
    // which `finish` below waits for; if they do not end the buffers are leaked.
    let queued = unsafe { ring.push(&receive) && ring.push(&send) };
    let mut got = None;
    let mut sent = None;
    if queued {
        ring.wait(2, 0, ANSWER_WITHIN);
        ring.collect();
        while let Some(completion) = ring.next() {
            match completion.bits {
                RECEIVE => got = got.or(Some(completion)),
                _ => sent = Some(completion),
            }
        }
    }
    let found = judge(got, sent, ring.has_min_wait());
    if !finish(&mut ring) {
        buffers.leak();
    }
    drop(ring);
    found
}

fn judge(got: Option<Completion>, sent: Option<Completion>, min_wait: bool) -> Result<Probe, Refusal> {
    let failed = |step, code| Err(explain(step, &io::Error::from_raw_os_error(code)));
    match sent {
        Some(sent) if sent.result == 9 => {}
        Some(sent) => return failed("a send with an address", sent.error()),
        None => return failed("a send with an address", libc::ETIMEDOUT),
    }
    match got {
        Some(got) if got.result > 9 && got.more() && got.buffer().is_some() => Ok(Probe { min_wait }),
        Some(got) if got.result >= 0 => failed("a multishot recvmsg", libc::EINVAL),
        Some(got) => failed("a multishot recvmsg", got.error()),
        None => failed("a multishot recvmsg", libc::ETIMEDOUT),
    }
}

/// Cancels everything and waits for the end of it; false if that did not come.
pub(super) fn finish(ring: &mut Ring) -> bool {
    let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
    // SAFETY: a cancellation points to nothing.
    unsafe { ring.push(&cancel) };
    for _ in 0..20 {
        if ring.outstanding == 0 {
            return true;
        }
        ring.wait(1, 0, ANSWER_WITHIN / 10);
        ring.collect();
    }
    ring.outstanding == 0
}

/// Puts an error of the kernel into an operator's words.
pub(super) fn explain(step: &'static str, error: &io::Error) -> Refusal {
    let code = error.raw_os_error().unwrap_or(0);
    let cause = match code {
        libc::EPERM | libc::EACCES | libc::ENOSYS => match disabled() {
            Some(level @ 1..) => format!("kernel.io_uring_disabled={level}"),
            _ if filtered() => "seccomp refused it (container or service profile)".to_owned(),
            _ if code == libc::ENOSYS => "the kernel was built without io_uring".to_owned(),
            _ => "the kernel's security policy refused it".to_owned(),
        },
        libc::ENOMEM => "memlock: RLIMIT_MEMLOCK or the memory limit is too low".to_owned(),
        libc::EMFILE | libc::ENFILE => "no file descriptor left".to_owned(),
        libc::EINVAL if step == "io_uring_setup" => "kernel too old: no DEFER_TASKRUN (Linux 6.1)".to_owned(),
        libc::EINVAL => format!("kernel too old: no {}", step.trim_start_matches("a ")),
        libc::ETIMEDOUT => "the operation did not complete".to_owned(),
        _ => error.to_string(),
    };
    Refusal { step, cause, code }
}

/// The sysctl kernel.io_uring_disabled, where there is one.
fn disabled() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Whether a seccomp filter is on this thread.
fn filtered() -> bool {
    std::fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| {
        status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_in_plain_words() {
        let of = |step, code| explain(step, &io::Error::from_raw_os_error(code)).cause;
        assert!(of("io_uring_setup", libc::EINVAL).starts_with("kernel too old"));
        assert_eq!(of("a multishot recvmsg", libc::EINVAL), "kernel too old: no multishot recvmsg");
        assert!(of("io_uring_setup", libc::ENOMEM).starts_with("memlock"));
    }
}
