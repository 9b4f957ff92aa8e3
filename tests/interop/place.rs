//! Where a flow plays: addresses and folders of its own, processes that do not outlive it, and waiting by condition.

use rustix::process::{Pid, Signal};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Both drivers, by the names of `--io`.
pub(crate) const DRIVERS: [&str; 2] = ["uring", "fallback"];

/// One run of one flow: under which driver, and the folder that is its own.
pub(crate) struct Scene {
    pub(crate) io: &'static str,
    pub(crate) dir: PathBuf,
}

impl Scene {
    pub(crate) fn new(name: &str, io: &'static str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop").join(format!("{name}-{io}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self { io, dir }
    }

    /// Writes a file into the folder; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A loopback address that nobody else uses, one for each process started, and on it a port with room above for media.
///
/// The ports lie below the range from which the kernel gives out ports: what a process binds to all addresses without
/// choosing a port cannot take them between now and their use.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const ROOM: u16 = 10;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) as u16;
        let [high, low] = number.to_be_bytes();
        let ip = Ipv4Addr::new(127, 1 + (std::process::id() % 250) as u8, high, low.max(1));
        let port = 10_000 + number % 2000 * ROOM;
        let is_free =
            |port: u16| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok();
        if (port..port + ROOM).all(is_free) {
            return SocketAddr::from((ip, port));
        }
    }
}

/// Waits until something holds; fails, saying what, if it does not within [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether somebody has bound this address: a UDP socket, or a TCP socket that listens.
pub(crate) fn is_bound(at: SocketAddr, transport: &str) -> bool {
    let SocketAddr::V4(at) = at else { return false };
    let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(at.ip().octets()), at.port());
    let table = fs::read_to_string(format!("/proc/net/{transport}")).unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next();
        let state = fields.nth(1);
        local == Some(&wanted) && (transport == "udp" || state == Some("0A"))
    })
}

/// A process, with those that it starts itself, which does not outlive its flow.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a command in a process group of its own, its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path, package: &str) -> Self {
        let log = fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self::spawn(command, package)
    }

    /// Starts a command whose standard streams are set already.
    pub(crate) fn spawn(command: &mut Command, package: &str) -> Self {
        let child = command.process_group(0).spawn().unwrap_or_else(|error| {
            let program = command.get_program().to_string_lossy();
            panic!("{program}: {error}. Install the package {package}, or run tests/run")
        });
        Self { child }
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the end; `None` if it does not come within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if begun.elapsed() > patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.child.id().cast_signed()) else { return };
        if matches!(self.child.try_wait(), Ok(None)) {
            // Some take leave of their children only when asked to go.
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            if self.wait(Duration::from_secs(3)).is_none() {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                let _ = self.child.wait();
            }
        }
    }
}
