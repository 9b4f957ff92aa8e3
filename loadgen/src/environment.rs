//! The host a run takes place on, for its record.

use reports::result::Environment;
use std::fs;

/// What this host says of itself.
pub(crate) fn describe() -> Environment {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let mut environment = Environment {
        host: read("/proc/sys/kernel/hostname"),
        kernel: read("/proc/sys/kernel/osrelease"),
        cores: std::thread::available_parallelism().ok().map(|cores| cores.get() as u32),
        placement: Some("one host, loopback".to_owned()),
        ..Environment::default()
    };
    environment.os = read("/etc/os-release").and_then(|text| {
        let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(name.trim_matches('"').to_owned())
    });
    environment.cpu = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    environment.memory_bytes = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    });
    environment.governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    for (name, path) in [
        ("net.core.rmem_max", "/proc/sys/net/core/rmem_max"),
        ("net.core.rmem_default", "/proc/sys/net/core/rmem_default"),
        ("net.core.wmem_max", "/proc/sys/net/core/wmem_max"),
        ("net.core.netdev_max_backlog", "/proc/sys/net/core/netdev_max_backlog"),
        ("net.ipv4.ip_local_port_range", "/proc/sys/net/ipv4/ip_local_port_range"),
        ("kernel.io_uring_disabled", "/proc/sys/kernel/io_uring_disabled"),
    ] {
        if let Some(value) = read(path) {
            environment.sysctls.insert(name.to_owned(), value);
        }
    }
    if let Some(limit) = crate::observe::descriptor_limit() {
        environment.limits.insert("nofile".to_owned(), limit.to_string());
    }
    environment
}
