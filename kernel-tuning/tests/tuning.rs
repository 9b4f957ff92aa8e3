//! Check, apply and restore on a made-up machine, and the read-only parts on the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

use kernel_tuning::{
    Consent, Options, Outcome, Profile, Restored, Root, Ticks, TuneError, Verdict, apply, check, fingerprint,
    fingerprint_of, restore,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A machine of files: two CPUs, one network card with one queue, several settings off.
struct Machine {
    dir: PathBuf,
}

const FILES: &[(&str, &str)] = &[
    ("proc/sys/kernel/io_uring_disabled", "2\n"),
    ("proc/sys/kernel/hostname", "made-up\n"),
    ("proc/sys/kernel/osrelease", "6.18.0\n"),
    ("proc/sys/kernel/random/boot_id", "boot-one\n"),
    ("proc/sys/net/core/rmem_max", "212992\n"),
    ("proc/sys/net/core/rmem_default", "212992\n"),
    ("proc/sys/net/core/wmem_max", "16777216\n"),
    ("proc/sys/net/core/netdev_max_backlog", "1000\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/udp_mem", "18768\t25026\t1000000\n"),
    ("proc/sys/net/ipv4/udp_rmem_min", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "20000\t60999\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "8080\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/irq/default_smp_affinity", "3\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 20000                files     \nMax locked memory         unlimited            unlimited            bytes     \n",
    ),
    ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1\n"),
    ("proc/cpuinfo", "model name\t: Made-up CPU\nflags\t\t: fpu hypervisor\n"),
    ("proc/meminfo", "MemTotal:        8000000 kB\n"),
    ("proc/stat", "cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 1 1 1 1\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpufreq/boost", "1\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "1\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/disable", "0\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state3/latency", "133\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state3/disable", "0\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ("sys/class/net/eth0/device/vendor", "0x1af4\n"),
    ("sys/class/net/eth0/mtu", "1500\n"),
    ("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
];

impl Machine {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        for (path, text) in FILES {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { dir }
    }

    fn root(&self) -> Root {
        Root::at(&self.dir)
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state/tune.toml")
    }

    fn set(&self, path: &str, text: &str) {
        fs::write(self.dir.join(path), text).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.dir.join(path)).unwrap().trim().to_owned()
    }

    /// Every file as the kernel would show it, blanks made equal.
    fn all(&self) -> BTreeMap<String, String> {
        FILES
            .iter()
            .map(|(path, _)| {
                let words: Vec<String> = self.get(path).split_whitespace().map(str::to_owned).collect();
                ((*path).to_owned(), words.join(" "))
            })
            .collect()
    }
}

fn gateway() -> Profile {
    Profile::built_in("media-gateway").unwrap()
}

fn found(machine: &Machine, profile: &str) -> BTreeMap<String, Verdict> {
    let profile = Profile::built_in(profile).unwrap();
    check(&machine.root(), &profile, Options::default())
        .findings
        .into_iter()
        .map(|finding| (finding.id, finding.verdict))
        .collect()
}

#[test]
fn check_tells_good_from_off_and_absent() {
    let machine = Machine::new("check");
    let found = found(&machine, "media-gateway");
    for off in [
        "kernel.io_uring_disabled",
        "net.core.rmem_max",
        "net.core.netdev_max_backlog",
        "net.ipv4.udp_mem",
        "nofile",
        "net.ipv4.ip_local_reserved_ports",
        "vm.swappiness",
        "transparent-huge-pages",
        "cpu-governor",
        "receive-packet-steering",
    ] {
        assert_eq!(found[off], Verdict::Off, "{off}");
    }
    for good in ["net.core.wmem_max", "net.core.somaxconn", "fs.nr_open", "memlock", "irq-affinity"] {
        assert_eq!(found[good], Verdict::Good, "{good}");
    }
    fs::remove_dir_all(machine.dir.join("sys/devices/system/cpu/cpu0/cpufreq")).unwrap();
    fs::remove_dir_all(machine.dir.join("sys/devices/system/cpu/cpu1/cpufreq")).unwrap();
    assert_eq!(self::found(&machine, "media-gateway")["cpu-governor"], Verdict::Absent);
    machine.set("proc/sys/vm/swappiness", "many\n");
    assert_eq!(self::found(&machine, "media-gateway")["vm.swappiness"], Verdict::Unreadable);
}

#[test]
fn the_table_says_why_and_how_to_undo() {
    let machine = Machine::new("table");
    let report = check(&machine.root(), &gateway(), Options::default());
    let text = report.to_string();
    for words in [
        "OFF",
        "net.core.rmem_max",
        "212992",
        "at least 8388608",
        "why ",
        "mis-set",
        "effect",
        "undo",
        "Nothing was changed",
    ] {
        assert!(text.contains(words), "{words} missing in:\n{text}");
    }
    assert!(report.summary().starts_with("media-gateway: "));
}

#[test]
fn only_deep_idle_states_and_real_cards_count() {
    let machine = Machine::new("conditions");
    let profile = Profile::built_in("load-generator").unwrap();
    let report = check(&machine.root(), &profile, Options::default());
    let idle = report.findings.iter().find(|finding| finding.id == "deep-idle-states").unwrap();
    assert_eq!(idle.files, 1, "state0 wakes at once");
    assert!(idle.off[0].0.contains("state3"));
    let report = check(&machine.root(), &gateway(), Options::default());
    let steering = report.findings.iter().find(|finding| finding.id == "receive-packet-steering").unwrap();
    assert_eq!(steering.off, vec![("sys/class/net/eth0/queues/rx-0/rps_cpus".to_owned(), "3".to_owned())]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let machine = Machine::new("dry");
    let before = machine.all();
    let report =
        apply(&machine.root(), &gateway(), Options::default(), Consent::DryRun, &machine.state()).unwrap();
    assert!(report.changes.len() > 8);
    assert!(report.changes.iter().all(|change| change.outcome == Outcome::Planned));
    assert!(report.by_hand.iter().any(|(id, _)| id == "nofile"));
    assert!(report.to_string().contains("dry run"));
    assert_eq!(machine.all(), before);
    assert!(!machine.state().exists());
}

#[test]
fn apply_sets_and_restore_undoes_exactly() {
    let machine = Machine::new("apply");
    let before = machine.all();
    let report =
        apply(&machine.root(), &gateway(), Options::default(), Consent::Change, &machine.state()).unwrap();
    assert!(report.changes.iter().all(|change| change.outcome == Outcome::Set), "{report}");
    assert_eq!(machine.get("proc/sys/net/core/rmem_max"), "8388608");
    assert_eq!(machine.get("proc/sys/net/ipv4/udp_mem"), "65536 131072 1000000", "what is larger is kept");
    assert_eq!(machine.get("proc/sys/net/ipv4/ip_local_reserved_ports"), "8080,16384-32767");
    assert_eq!(machine.get("sys/class/net/lo/queues/rx-0/rps_cpus"), "0");
    let after = found(&machine, "media-gateway");
    assert!(after.iter().all(|(id, verdict)| *verdict != Verdict::Off || id == "nofile"), "{after:?}");

    let again = apply(
        &machine.root(),
        &Profile::built_in("load-generator").unwrap(),
        Options::default(),
        Consent::Change,
        &machine.state(),
    );
    assert!(
        matches!(again, Err(TuneError::StateExists { .. })),
        "the first values must not be lost: {again:?}"
    );

    let planned = restore(&machine.root(), Consent::DryRun, &machine.state()).unwrap();
    assert!(planned.values.iter().all(|(_, _, outcome)| *outcome == Restored::Planned), "{planned}");
    assert_eq!(machine.get("proc/sys/net/core/rmem_max"), "8388608", "a dry run puts nothing back");

    let undone = restore(&machine.root(), Consent::Change, &machine.state()).unwrap();
    assert!(undone.values.iter().all(|(_, _, outcome)| *outcome == Restored::Back), "{undone}");
    // The made-up file of choices holds the bare word where the kernel would show brackets.
    let mut now = machine.all();
    assert_eq!(
        now.insert("sys/kernel/mm/transparent_hugepage/enabled".into(), "[always] madvise never".into()),
        Some("always".into())
    );
    assert_eq!(now, before);
    assert!(!machine.state().exists());
    assert!(matches!(
        restore(&machine.root(), Consent::Change, &machine.state()),
        Err(TuneError::NoState { .. })
    ));
}

#[test]
fn restore_leaves_what_somebody_else_changed_since() {
    let machine = Machine::new("since");
    apply(&machine.root(), &gateway(), Options::default(), Consent::Change, &machine.state()).unwrap();
    machine.set("proc/sys/vm/swappiness", "33\n");
    let report = restore(&machine.root(), Consent::Change, &machine.state()).unwrap();
    let swap = report.values.iter().find(|(path, ..)| path.ends_with("swappiness")).unwrap();
    assert_eq!(swap.2, Restored::ChangedSince("33".into()));
    assert_eq!(machine.get("proc/sys/vm/swappiness"), "33");
    assert_eq!(machine.get("proc/sys/net/core/rmem_max"), "212992");
}

#[test]
fn after_a_reboot_nothing_is_written() {
    let machine = Machine::new("reboot");
    apply(&machine.root(), &gateway(), Options::default(), Consent::Change, &machine.state()).unwrap();
    machine.set("proc/sys/kernel/random/boot_id", "boot-two\n");
    machine.set("proc/sys/net/core/rmem_max", "8388608\n");
    let report = restore(&machine.root(), Consent::Change, &machine.state()).unwrap();
    assert!(report.rebooted);
    assert_eq!(machine.get("proc/sys/net/core/rmem_max"), "8388608");
    assert!(!machine.state().exists());
}

#[test]
fn a_state_file_cannot_name_other_files() {
    let machine = Machine::new("foreign");
    fs::create_dir_all(machine.state().parent().unwrap()).unwrap();
    for path in ["etc/passwd", "proc/sys/../../etc/passwd"] {
        let text = format!(
            "schema = \"trunkline.tune/1\"\nprofile = \"x\"\nboot = \"boot-one\"\n[[change]]\npath = \"{path}\"\nbefore = \"a\"\nafter = \"b\"\n"
        );
        fs::write(machine.state(), text).unwrap();
        let error = restore(&machine.root(), Consent::Change, &machine.state()).unwrap_err().to_string();
        assert!(error.contains("not a kernel setting"), "{error}");
    }
    fs::write(machine.state(), "schema = 1").unwrap();
    assert!(matches!(
        restore(&machine.root(), Consent::Change, &machine.state()),
        Err(TuneError::Content { .. })
    ));
}

#[test]
fn without_permission_nothing_is_changed() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new("permission");
    let path = machine.dir.join("proc/sys/net/core/rmem_max");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        // Root may write anything: permission bits cannot stop it, so there is nothing to see here.
        return;
    }
    let before = machine.all();
    let error = apply(&machine.root(), &gateway(), Options::default(), Consent::Change, &machine.state())
        .unwrap_err();
    assert!(error.to_string().contains("as root"), "{error}");
    assert_eq!(machine.all(), before);
    assert!(!machine.state().exists());
}

#[test]
fn the_made_up_machine_has_its_fingerprint() {
    let machine = Machine::new("fingerprint");
    let facts = fingerprint_of(&machine.root());
    assert_eq!(facts.host.as_deref(), Some("made-up"));
    assert_eq!(facts.cpu.as_deref(), Some("Made-up CPU"));
    assert_eq!((facts.cpus, facts.usable_cpus), (2, 2));
    assert_eq!(facts.memory_bytes, Some(8_000_000 * 1024));
    assert_eq!(facts.virtual_machine.as_deref(), Some("virtual machine of unknown kind"));
    assert_eq!(facts.huge_pages.as_deref(), Some("always"));
    assert_eq!(facts.limits["nofile"], "1024");
    assert_eq!(facts.interfaces.len(), 1);
    assert_eq!(facts.ticks, Some(Ticks { total: 1000, steal: 40, idle: 810 }));
    let later = Ticks { total: 1100, steal: 45, idle: 830 };
    assert_eq!(later.stolen_since(facts.ticks.unwrap()), Some(0.05));
    assert_eq!(facts.ticks.unwrap().stolen_since(facts.ticks.unwrap()), None);
    assert_eq!(serde_json::from_str::<kernel_tuning::Fingerprint>(&facts.to_json()).unwrap(), facts);
}

#[test]
fn the_real_machine_can_be_read() {
    let facts = fingerprint();
    assert!(facts.kernel.is_some() && facts.cpus >= 1 && facts.usable_cpus >= 1, "{}", facts.to_json());
    for name in Profile::names() {
        let report = check(&Root::host(), &Profile::built_in(name).unwrap(), Options::default());
        assert!(!report.findings.is_empty());
        assert!(!report.to_string().is_empty());
    }
}

#[test]
fn an_empty_machine_is_no_panic() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nothing-here");
    let root = Root::at(&dir);
    let report = check(&root, &gateway(), Options::default());
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Absent));
    assert_eq!(fingerprint_of(&root).kernel, None);
}
