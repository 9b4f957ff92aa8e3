//! What the host says of the processes and of itself: CPU, memory, descriptors, dropped datagrams, stolen time.

use reports::result::Process;
use std::fs;

/// Ticks per second of the times in /proc; Linux shows user space 100 on every architecture.
const TICKS: f64 = 100.0;

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessSample {
    /// CPU seconds in user mode since its start.
    pub user_s: f64,
    /// CPU seconds in the kernel since its start.
    pub system_s: f64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// Open descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u32,
    /// Voluntary context switches of its first thread.
    pub switches_voluntary: u64,
    /// Involuntary ones.
    pub switches_involuntary: u64,
}

impl ProcessSample {
    /// Looks at process `pid`; `None` once it is gone.
    pub fn take(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut sample = Self::from_stat(&stat)?;
        if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
            let field = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            };
            sample.rss = field("VmRSS:") * 1024;
            sample.switches_voluntary = field("voluntary_ctxt_switches:");
            sample.switches_involuntary = field("nonvoluntary_ctxt_switches:");
        }
        sample.fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
        Some(sample)
    }

    fn from_stat(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything; fields are counted from behind its last one.
        let rest = stat.rsplit_once(')')?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks =
            |index: usize| -> Option<f64> { Some(fields.get(index)?.parse::<u64>().ok()? as f64 / TICKS) };
        if *fields.first()? == "Z" {
            return None;
        }
        Some(Self {
            user_s: ticks(11)?,
            system_s: ticks(12)?,
            threads: fields.get(17)?.parse().ok()?,
            ..Self::default()
        })
    }

    /// CPU seconds, both modes.
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// A process under observation.
#[derive(Debug)]
pub struct Watched {
    name: String,
    role: &'static str,
    pid: u32,
    first: ProcessSample,
    last: ProcessSample,
    began: f64,
    ended: f64,
    peak: ProcessSample,
    cores_peak: f64,
}

impl Watched {
    /// Begins to watch at `t` seconds of the run; `role` is `target` or `generator`.
    pub fn new(name: &str, role: &'static str, pid: u32, t: f64) -> Self {
        let first = ProcessSample::take(pid).unwrap_or_default();
        Self {
            name: name.to_owned(),
            role,
            pid,
            first,
            last: first,
            began: t,
            ended: t,
            peak: first,
            cores_peak: 0.0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks again; cores used since the last look, resident memory, descriptors. `None` once it is gone.
    pub fn look(&mut self, t: f64) -> Option<(f64, u64, u64)> {
        let sample = ProcessSample::take(self.pid)?;
        let span = t - self.ended;
        let cores = if span > 0.0 { (sample.cpu_s() - self.last.cpu_s()) / span } else { 0.0 };
        self.cores_peak = self.cores_peak.max(if span > 0.5 { cores } else { 0.0 });
        self.peak.rss = self.peak.rss.max(sample.rss);
        self.peak.fds = self.peak.fds.max(sample.fds);
        self.last = sample;
        self.ended = t;
        Some((cores, sample.rss, sample.fds))
    }

    /// What it cost so far.
    pub fn cost(&self) -> Process {
        Process {
            name: self.name.clone(),
            role: self.role.to_owned(),
            pid: Some(self.pid),
            seconds: self.ended - self.began,
            cpu_user_s: Some(self.last.user_s - self.first.user_s),
            cpu_system_s: Some(self.last.system_s - self.first.system_s),
            cpu_peak_cores: Some(self.cores_peak),
            rss_start: Some(self.first.rss),
            rss_peak: Some(self.peak.rss),
            rss_end: Some(self.last.rss),
            fds_peak: Some(self.peak.fds),
            fds_end: Some(self.last.fds),
            threads: Some(self.last.threads),
            switches_voluntary: Some(
                self.last.switches_voluntary.saturating_sub(self.first.switches_voluntary),
            ),
            switches_involuntary: Some(
                self.last.switches_involuntary.saturating_sub(self.first.switches_involuntary),
            ),
        }
    }
}

/// Host counters that tell whether something was lost below the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostSample {
    /// UDP datagrams dropped since a receive buffer was full, IPv4 and IPv6.
    pub receive_drops: u64,
    /// UDP datagrams that could not be sent since a send buffer was full.
    pub send_drops: u64,
    /// Packets dropped since a core's input queue was full.
    pub softnet_drops: u64,
    /// CPU ticks of all cores.
    pub ticks: u64,
    /// Ticks the hypervisor gave to others.
    pub stolen: u64,
    /// Idle ticks.
    pub idle: u64,
}

impl HostSample {
    /// Looks at the host.
    pub fn take() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (receive4, send4) = udp_drops(&read("/proc/net/snmp"));
        let snmp6 = read("/proc/net/snmp6");
        let six = |name: &str| -> u64 {
            let line = snmp6.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
        };
        let softnet = read("/proc/net/softnet_stat");
        let softnet_drops = softnet
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
            .sum();
        let (ticks, idle, stolen) = cpu_ticks(&read("/proc/stat"));
        Self {
            receive_drops: receive4 + six("Udp6RcvbufErrors"),
            send_drops: send4 + six("Udp6SndbufErrors"),
            softnet_drops,
            ticks,
            stolen,
            idle,
        }
    }

    /// Share of CPU time stolen since `earlier`, 0 to 1.
    pub fn steal_since(&self, earlier: &Self) -> f64 {
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        if ticks == 0 { 0.0 } else { self.stolen.saturating_sub(earlier.stolen) as f64 / ticks as f64 }
    }
}

fn udp_drops(snmp: &str) -> (u64, u64) {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (0, 0) };
    let field = |name: &str| -> u64 {
        let index = names.split_whitespace().position(|n| n == name);
        index.and_then(|index| values.split_whitespace().nth(index)?.parse().ok()).unwrap_or(0)
    };
    (field("RcvbufErrors"), field("SndbufErrors"))
}

fn cpu_ticks(stat: &str) -> (u64, u64, u64) {
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix("cpu ")) else { return (0, 0, 0) };
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal (guest time is inside user)
    let all = fields.iter().take(8).sum();
    (all, fields.get(3).copied().unwrap_or(0), fields.get(7).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_host_can_be_looked_at() {
        let mut watched = Watched::new("self", "generator", std::process::id(), 0.0);
        let mut sum = 0u64;
        for i in 0..60_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i * i));
        }
        let (cores, rss, fds) = watched.look(1.0).unwrap();
        assert!(cores >= 0.0 && rss > 100_000 && fds >= 3, "{cores} {rss} {fds}");
        assert!(watched.cost().threads.unwrap() >= 1);
        let host = HostSample::take();
        assert!(host.ticks > 0 && host.idle <= host.ticks);
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 1 1 0 -1 4194304 5 0 0 0 250 50 0 0 20 0 7 0 100 1 2";
        let sample = ProcessSample::from_stat(stat).unwrap();
        assert_eq!((sample.user_s, sample.system_s, sample.threads), (2.5, 0.5, 7));
        let zombie = stat.replace(") S 1", ") Z 1");
        assert_eq!(ProcessSample::from_stat(&zombie), None);
    }

    #[test]
    fn udp_drops_are_found_by_name() {
        let snmp = "Ip: a b\nIp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 10 2 7 9 5 3\nUdpLite: x\n";
        assert_eq!(udp_drops(snmp), (5, 3));
        assert_eq!(cpu_ticks("cpu  1 2 3 4 5 6 7 8 9 10\n"), (36, 4, 8));
    }
}
