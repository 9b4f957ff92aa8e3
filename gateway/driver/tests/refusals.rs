//! What happens when the host says no: io_uring forbidden, no descriptors left. Each in its own process, since limits and filters stay.
#![allow(unsafe_code, reason = "setrlimit and seccomp filters have no safe form")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use driver::{Choice, Driver, DriverError, Io, Options};
use rig::{Rig, Seen, loopback, on_both, until};
use sansio::{IoError, SocketEvent, SocketId, SocketOptions, StreamEnd, StreamId};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// Runs the named test of this binary again, in a child that knows it is one; true in the child.
fn in_child(test: &str) -> bool {
    if std::env::var_os("DRIVER_TEST_CHILD").is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("DRIVER_TEST_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    false
}

/// Makes `call` fail with `code` for this thread and those it starts.
fn forbid(call: libc::c_long, code: i32) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the number of the call
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | code as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives on this frame, during the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, std::ptr::from_ref(&filter), 0, 0), 0);
    }
}

fn refused_by(code: i32) {
    forbid(libc::SYS_io_uring_setup, code);
    let refusal = driver::probe().unwrap_err();
    assert!(refusal.to_string().contains("seccomp"), "{refusal}");
    let (_mail, receiver) = driver::mailbox::mailbox::<()>(1).unwrap();
    let auto = Driver::new(Options::default(), receiver, Vec::new()).unwrap();
    assert_eq!((auto.io(), auto.io().name()), (Io::Fallback, "epoll"));
    assert_eq!(auto.refusal(), Some(&refusal));
    let (_mail, receiver) = driver::mailbox::mailbox::<()>(1).unwrap();
    let demanded = Driver::new(Options { io: Choice::Uring, ..Options::default() }, receiver, Vec::new());
    assert!(matches!(demanded, Err(DriverError::Refused(_))));
    let rig = Rig::start(Options::default());
    rig.open(0, loopback(false), SocketOptions::default());
    rig.stop();
}

#[test]
fn seccomp_eperm() {
    if in_child("seccomp_eperm") {
        refused_by(libc::EPERM);
    }
}

#[test]
fn seccomp_enosys() {
    if in_child("seccomp_enosys") {
        refused_by(libc::ENOSYS);
    }
}

#[test]
fn without_precise_waits_the_fallback_still_works() {
    if in_child("without_precise_waits_the_fallback_still_works") {
        forbid(libc::SYS_epoll_pwait2, libc::ENOSYS);
        let rig = Rig::start(Options { io: Choice::Fallback, ..Options::default() });
        let due = std::time::Duration::from_millis(3);
        rig.order(move |stage, _| stage.deadline = Some(driver::clock::now() + due));
        assert!(matches!(rig.next(), Seen::Timeout { .. }));
        rig.stop();
    }
}

/// Takes all descriptors this process may have; dropping them gives them back.
fn take_all_descriptors() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

#[test]
fn no_descriptors_left() {
    if !in_child("no_descriptors_left") {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
    // SAFETY: the kernel reads `limit` from this frame.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    on_both(|options| {
        let listener = TcpListener::bind(loopback(false)).unwrap();
        let local = listener.local_addr().unwrap();
        let (mail, receiver) = driver::mailbox::mailbox(64).unwrap();
        let rig = Rig::start_adopting(options, mail, receiver, listener);
        let first = TcpStream::connect(local).unwrap();
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        let waiting = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let taken = take_all_descriptors();
        rig.order(|_, out| out.open(SocketId(9), loopback(false), SocketOptions::default()));
        let failed = SocketEvent::Failed(IoError::TooManyFiles);
        assert_eq!(rig.next(), Seen::Socket(SocketId(9), failed));
        rig.order(move |_, out| out.connect(StreamId(9), None, local));
        assert_eq!(rig.next(), Seen::Closed(StreamId(9), StreamEnd::Refused(IoError::TooManyFiles)));
        waiting.connect(&local.into()).unwrap();
        until("the accept failed", || rig.gauges.read().accept_errors > 0);
        let before = rig.gauges.read();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let after = rig.gauges.read();
        assert!(after.accept_errors - before.accept_errors < 20, "no busy loop: {after:?}");
        // Once there is room the one that waited is served.
        drop(taken);
        assert!(matches!(rig.next(), Seen::Accepted(..)));
        drop(first);
        assert!(matches!(rig.next(), Seen::Closed(_, StreamEnd::Peer)));
        rig.stop();
    });
}
