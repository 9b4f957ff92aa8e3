//! Where a figure was measured: the facts of the host that change figures.

use crate::check::soft_limit;
use crate::root::Root;
use crate::value::normal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings recorded in every fingerprint.
const SYSCTLS: [&str; 16] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "net.core.netdev_max_backlog",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.udp_mem",
    "net.ipv4.udp_rmem_min",
    "net.ipv4.udp_wmem_min",
    "vm.max_map_count",
    "vm.swappiness",
];

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Driver, where the kernel names one.
    pub driver: Option<String>,
    /// Link speed in Mbit/s, where known.
    pub speed_mbit: Option<u64>,
    /// MTU in bytes.
    pub mtu: Option<u64>,
    /// Receive queues.
    pub receive_queues: usize,
}

/// CPU time of the whole host in clock ticks since boot; the difference of two readings gives the stolen share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    /// All ticks.
    pub total: u64,
    /// Ticks that the hypervisor gave to somebody else.
    pub steal: u64,
    /// Idle ticks, waiting for disks included.
    pub idle: u64,
}

impl Ticks {
    /// Reads `/proc/stat`; `None` where it cannot be read.
    #[must_use]
    pub fn read(root: &Root) -> Option<Self> {
        let stat = root.find("proc/stat")?;
        let numbers: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        // Guest time (fields 9 and 10) is contained in user time.
        Some(Self {
            total: numbers.iter().take(8).sum(),
            steal: numbers.get(7).copied().unwrap_or(0),
            idle: numbers.get(3)? + numbers.get(4).copied().unwrap_or(0),
        })
    }

    /// Share of time stolen between `earlier` and this reading, 0..=1; `None` without progress.
    #[must_use]
    pub fn stolen_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total)?;
        (total > 0).then(|| self.steal.saturating_sub(earlier.steal) as f64 / total as f64)
    }
}

/// The facts of a host. What could not be read is `None`, or missing from the maps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Host name.
    pub host: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// CPU model.
    pub cpu: Option<String>,
    /// Logical CPUs of the host.
    pub cpus: u32,
    /// Logical CPUs this process may use: its affinity, and the control group's quota rounded up.
    pub usable_cpus: u32,
    /// Memory in bytes; the control group's limit where that is lower.
    pub memory_bytes: Option<u64>,
    /// Kind of virtual machine, `none` on bare metal.
    pub virtual_machine: Option<String>,
    /// Kind of container, `none` outside.
    pub container: Option<String>,
    /// CPU frequency governor of the first CPU.
    pub governor: Option<String>,
    /// Idle driver of the CPU.
    pub idle_driver: Option<String>,
    /// Clock source.
    pub clock_source: Option<String>,
    /// Transparent huge pages.
    pub huge_pages: Option<String>,
    /// Simultaneous multithreading: `on`, `off`, `notsupported`.
    pub smt: Option<String>,
    /// Kernel settings by name.
    pub sysctls: BTreeMap<String, String>,
    /// Soft limits of this process by name.
    pub limits: BTreeMap<String, String>,
    /// Interfaces other than loopback that belong to a device.
    pub interfaces: Vec<Interface>,
    /// CPU time since boot at the moment of reading.
    pub ticks: Option<Ticks>,
}

impl Fingerprint {
    /// The facts as JSON text, keys in a fixed order.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
    }
}

/// The facts of this machine.
#[must_use]
pub fn fingerprint() -> Fingerprint {
    fingerprint_of(&Root::host())
}

/// The facts of the machine below `root`.
#[must_use]
pub fn fingerprint_of(root: &Root) -> Fingerprint {
    let cpus = u32::try_from(root.matching("sys/devices/system/cpu/cpu*").len()).unwrap_or(0);
    Fingerprint {
        host: root.find("proc/sys/kernel/hostname"),
        os: os(root),
        kernel: root.find("proc/sys/kernel/osrelease"),
        cpu: cpu(root),
        cpus,
        usable_cpus: usable_cpus(root, cpus),
        memory_bytes: memory(root),
        virtual_machine: virtual_machine(root),
        container: container(root),
        governor: root.find("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        idle_driver: root.find("sys/devices/system/cpu/cpuidle/current_driver"),
        clock_source: root.find("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        huge_pages: root.find("sys/kernel/mm/transparent_hugepage/enabled").map(|text| normal(&text)),
        smt: root.find("sys/devices/system/cpu/smt/control"),
        sysctls: SYSCTLS
            .into_iter()
            .filter_map(|name| {
                let value = root.find(&format!("proc/sys/{}", name.replace('.', "/")))?;
                Some((name.to_owned(), normal(&value)))
            })
            .collect(),
        limits: ["nofile", "memlock", "nproc", "rtprio"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), soft_limit(root, name)?)))
            .collect(),
        interfaces: interfaces(root),
        ticks: Ticks::read(root),
    }
}

fn os(root: &Root) -> Option<String> {
    let release = root.find("etc/os-release").or_else(|| root.find("usr/lib/os-release"))?;
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn cpu(root: &Root) -> Option<String> {
    let info = root.find("proc/cpuinfo")?;
    let model = info.lines().find(|line| line.starts_with("model name"))?;
    Some(model.split_once(':')?.1.trim().to_owned())
}

fn usable_cpus(root: &Root, cpus: u32) -> u32 {
    let allowed = root
        .find("proc/self/status")
        .and_then(|status| {
            let list =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
            list.split(',')
                .map(|part| {
                    let (low, high) = part.split_once('-').unwrap_or((part, part));
                    Some(high.parse::<u32>().ok()?.checked_sub(low.parse().ok()?)? + 1)
                })
                .sum::<Option<u32>>()
        })
        .unwrap_or(cpus);
    let quota = root.find("sys/fs/cgroup/cpu.max").and_then(|text| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?.max(1));
        u32::try_from(quota.div_ceil(period)).ok()
    });
    allowed.min(quota.unwrap_or(u32::MAX)).min(cpus.max(1))
}

fn memory(root: &Root) -> Option<u64> {
    let info = root.find("proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let host = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let limit = root.find("sys/fs/cgroup/memory.max").and_then(|text| text.parse().ok());
    Some(limit.map_or(host, |limit: u64| limit.min(host)))
}

fn virtual_machine(root: &Root) -> Option<String> {
    let info = root.find("proc/cpuinfo")?;
    let flags = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"))?;
    if !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return Some("none".to_owned());
    }
    let vendor = root.find("sys/class/dmi/id/sys_vendor");
    let product = root.find("sys/class/dmi/id/product_name");
    let hypervisor = root.find("sys/hypervisor/type");
    let words = [hypervisor, vendor, product].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(if words.is_empty() { "virtual machine of unknown kind".to_owned() } else { words })
}

fn container(root: &Root) -> Option<String> {
    if root.exists(".dockerenv") {
        return Some("docker".to_owned());
    }
    if root.exists("run/.containerenv") {
        return Some("podman".to_owned());
    }
    let groups = root.find("proc/1/cgroup")?;
    let hint = ["kubepods", "docker", "containerd", "lxc", "machine.slice"]
        .into_iter()
        .find(|name| groups.contains(name));
    Some(hint.unwrap_or("none").to_owned())
}

fn interfaces(root: &Root) -> Vec<Interface> {
    root.matching("sys/class/net/*")
        .into_iter()
        .filter(|path| root.exists(&format!("{path}/device")))
        .map(|path| {
            let number = |file: &str| root.find(&format!("{path}/{file}")).and_then(|text| text.parse().ok());
            let driver = std::fs::read_link(root.path(&format!("{path}/device/driver"))).ok();
            Interface {
                name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
                driver: driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned())),
                speed_mbit: number("speed"),
                mtu: number("mtu"),
                receive_queues: root.matching(&format!("{path}/queues/rx-*")).len(),
            }
        })
        .collect()
}
