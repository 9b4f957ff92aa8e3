//! SIPp as caller or callee, by scripts (see `scenario.rs`) or by scenario files of its own.

use crate::place::{PATIENCE, Running, Scene, is_bound, own_address, wait_until};
use crate::scenario::scenario;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Sipp {
    process: Running,
    at: SocketAddr,
    tcp: bool,
    dir: PathBuf,
    name: String,
}

impl Sipp {
    /// A callee that plays a script; it is there when this returns.
    pub(crate) fn callee(scene: &Scene, name: &str, script: &str) -> Self {
        Self::callee_at(scene, name, own_address(), script, &[])
    }

    pub(crate) fn callee_at(scene: &Scene, name: &str, at: SocketAddr, script: &str, more: &[&str]) -> Self {
        let file = scene.file(&format!("{name}.xml"), &scenario(name, script));
        let mut callee = Self::start(&scene.dir, &file, at, 1, more);
        callee.wait_bound();
        callee
    }

    /// A caller that plays a script towards `target`, dialling `number`.
    pub(crate) fn caller(scene: &Scene, name: &str, number: &str, target: SocketAddr, script: &str) -> Self {
        Self::caller_at(scene, name, own_address(), number, target, script, &[])
    }

    pub(crate) fn caller_at(
        scene: &Scene,
        name: &str,
        at: SocketAddr,
        number: &str,
        target: SocketAddr,
        script: &str,
        more: &[&str],
    ) -> Self {
        let file = scene.file(&format!("{name}.xml"), &scenario(name, script));
        if script.lines().any(|line| line.trim() == "play") {
            write_speech(&scene.dir);
        }
        let target = target.to_string();
        Self::start(&scene.dir, &file, at, 1, &[&["-s", number, &target], more].concat())
    }

    /// SIPp with a scenario file, for so many calls.
    pub(crate) fn start(dir: &Path, file: &Path, at: SocketAddr, calls: u32, more: &[&str]) -> Self {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (ip, port, media) = (at.ip().to_string(), at.port().to_string(), (at.port() + 2).to_string());
        let mut command = Command::new("sipp");
        command
            .arg("-sf")
            .arg(file)
            .args(["-i", &ip, "-mi", &ip, "-p", &port, "-mp", &media])
            .args(["-m", &calls.to_string(), "-nostdin", "-timeout", "60", "-timeout_error"])
            .arg("-trace_err")
            .arg("-error_file")
            .arg(dir.join(format!("{name}.errors")))
            .arg("-trace_msg")
            .arg("-message_file")
            .arg(dir.join(format!("{name}.messages")))
            .args(["-trace_stat", "-fd", "1"])
            .arg("-stf")
            .arg(dir.join(format!("{name}.csv")))
            .args(more)
            .current_dir(dir);
        let process = Running::start(&mut command, &dir.join(format!("{name}.screen")), "sip-tester");
        Self { process, at, tcp: more.contains(&"t1"), dir: dir.to_owned(), name }
    }

    pub(crate) const fn at(&self) -> SocketAddr {
        self.at
    }

    /// What it has sent and received so far, as it wrote it down.
    pub(crate) fn messages(&self) -> String {
        fs::read_to_string(self.dir.join(format!("{}.messages", self.name))).unwrap_or_default()
    }

    /// Waits until it hears.
    pub(crate) fn wait_bound(&mut self) {
        let (at, transport) = (self.at, if self.tcp { "tcp" } else { "udp" });
        let (process, name) = (&mut self.process, &self.name);
        wait_until(&format!("{name} to listen"), || is_bound(at, transport) || !process.is_running());
    }

    /// Waits for the end and holds SIPp to its own account: all calls successful, nothing unexpected.
    pub(crate) fn finish(mut self, calls: u32) {
        let status = self.process.wait(PATIENCE + PATIENCE);
        let read = |what: &str| {
            fs::read_to_string(self.dir.join(format!("{}.{what}", self.name))).unwrap_or_default()
        };
        let errors = read("errors");
        if status.is_none_or(|status| !status.success()) {
            panic!("{}: {status:?}; {errors}\n{}\n{}", self.name, read("messages"), read("screen"));
        }
        let unexpected = errors.lines().find(|line| line.contains("nexpected"));
        assert_eq!(unexpected, None, "{}", self.name);
        let csv = read("csv");
        let (head, last) = (csv.lines().next().unwrap(), csv.lines().last().unwrap());
        let value = |column: &str| -> u32 {
            let at = head.split(';').position(|name| name == column).unwrap();
            last.split(';').nth(at).unwrap().parse().unwrap()
        };
        assert_eq!((value("SuccessfulCall(C)"), value("FailedCall(C)")), (calls, 0), "{}", self.name);
    }
}

/// Two seconds of A-law for SIPp to send.
pub(crate) fn write_speech(dir: &Path) {
    let samples: Vec<u8> = (0..16_000u32).map(|n| 0x55 ^ (n % 64) as u8).collect();
    fs::write(dir.join("speech.al"), samples).unwrap();
}
