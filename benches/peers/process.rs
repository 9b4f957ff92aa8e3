//! Processes of a measurement: started on chosen cores, read through /proc, ended by their own id.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Linux reports process times in hundredths of a second to every process, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// What goes wrong, in words.
pub type Outcome<T> = Result<T, String>;

/// Where a process may run.
#[derive(Clone, Copy, PartialEq)]
pub enum Cores {
    /// The last core, which the system in the middle has for itself.
    Middle,
    /// All but the last.
    Load,
    /// Every core.
    All,
}

impl Cores {
    /// As `taskset -c` wants it.
    fn list(self) -> String {
        let last = std::thread::available_parallelism().map_or(1, |n| n.get()) - 1;
        match self {
            Self::Middle => last.to_string(),
            Self::Load if last > 0 => format!("0-{}", last - 1),
            Self::Load | Self::All => format!("0-{last}"),
        }
    }
}

/// A process that ends with this value, and with this program if that is killed.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts `program` on `cores`; what it prints goes to `folder/NAME.log`.
    pub fn start(
        name: &str,
        program: &str,
        arguments: &[String],
        cores: Cores,
        folder: &Path,
    ) -> Outcome<Self> {
        let log = fs::File::create(folder.join(format!("{name}.log"))).map_err(|e| format!("{name}: {e}"))?;
        let errors = log.try_clone().map_err(|e| format!("{name}: {e}"))?;
        let child = Command::new("taskset")
            .args(["-c", &cores.list(), "setpriv", "--pdeathsig", "TERM", program])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("{name}: cannot start {program} through taskset: {error}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself; false when it took longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while !self.is_over() {
            if start.elapsed() > limit {
                return false;
            }
            pause(0.02);
        }
        true
    }

    /// Waits until somebody listens at this UDP port.
    pub fn wait_for_port(&mut self, port: u16, folder: &Path) -> Outcome<()> {
        let wanted = format!(":{port:04X} 00000000:0000 ");
        for _ in 0..500 {
            if fs::read_to_string("/proc/net/udp").is_ok_and(|table| table.contains(&wanted)) {
                return Ok(());
            }
            if self.is_over() {
                break;
            }
            pause(0.02);
        }
        let log = fs::read_to_string(folder.join(format!("{}.log", self.name))).unwrap_or_default();
        Err(format!("{} did not open port {port}:\n{log}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if !self.wait(Duration::from_secs(4)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What processes and their descendants have used since they started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds in user code, in hundredths.
    pub user: f64,
    /// Seconds in the kernel, in hundredths.
    pub system: f64,
    /// Both together, from the scheduler's count of nanoseconds.
    pub total: f64,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Usage {
    /// Sums up what `roots` and all their descendants used.
    pub fn of(roots: &[u32]) -> Self {
        let mut parents = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            if let Some(fields) = stat(pid) {
                parents.insert(pid, fields);
            }
        }
        let mut family: BTreeSet<u32> = roots.iter().copied().collect();
        loop {
            let more: Vec<u32> = parents
                .iter()
                .filter(|(pid, fields)| !family.contains(pid) && family.contains(&(fields[1] as u32)))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            family.extend(more);
        }
        let mut sum = Self::default();
        for pid in family {
            let Some(fields) = parents.get(&pid) else { continue };
            sum.user += fields[11] as f64 / TICKS_PER_SECOND;
            sum.system += fields[12] as f64 / TICKS_PER_SECOND;
            sum.memory += fields[21] * 4096;
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
                sum.total += nanoseconds / 1e9;
            }
        }
        sum
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
            total: self.total - earlier.total,
            memory: self.memory,
        }
    }
}

/// The fields of /proc/PID/stat from the third on: state (as 0), parent, ...
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<u64> =
        text.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    (fields.len() > 21).then_some(fields)
}

/// Waits.
pub fn pause(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

/// A port of loopback free for UDP and TCP now, as the five after it are, below what media uses.
pub fn free_port() -> Outcome<u16> {
    let seed = (std::process::id() % 300) as u16;
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    for _ in 0..400 {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 5200 + ((seed + step) % 300) * 8;
        let free = |port| {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
                && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        if (port..port + 6).all(free) {
            return Ok(port);
        }
    }
    Err("no free port between 5200 and 7600".to_owned())
}
