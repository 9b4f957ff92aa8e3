//! The drill's other processes: the gateway and the carriers, started from the same binary, ended by their ids.

use crate::options::LoadError;
use crate::run::system;
use core::net::SocketAddr;
use core::time::Duration;
use driver::clock;
use driver::sockets::{Share, open_listener, open_udp};
use sansio::{SocketOptions, Time};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process of the drill; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    child: Child,
    log: PathBuf,
    over: bool,
}

impl Running {
    /// Starts `binary` with `arguments`; what it says goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        name: &str,
        binary: &Path,
        arguments: &[String],
        log: PathBuf,
    ) -> Result<Self, LoadError> {
        let file = File::options().create(true).append(true).open(&log).map_err(system("writing a log"))?;
        let errors = file.try_clone().map_err(system("writing a log"))?;
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // A group of its own: Ctrl-C at the terminal is the drill's to handle, in its order.
            .process_group(0)
            .spawn()
            .map_err(|error| LoadError::System(format!("starting {} for {name}", binary.display()), error))?;
        Ok(Self { name: name.to_owned(), child, log, over: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        if !self.over {
            self.over = matches!(self.child.try_wait(), Ok(Some(_)));
        }
        self.over
    }

    /// SIGKILL; the instant before and the one after.
    pub(crate) fn kill(&mut self) -> (Time, Time) {
        let before = clock::now();
        // It may be dead already, which is what is wanted.
        let _ = self.child.kill();
        let after = clock::now();
        let _ = self.child.wait();
        self.over = true;
        (before, after)
    }

    /// SIGTERM, and SIGKILL if that does not help in time.
    pub(crate) fn end(&mut self, patience: Duration) {
        if self.has_ended() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let give_up = clock::now() + patience;
        while !self.has_ended() && clock::now() < give_up {
            clock::sleep_until(clock::now() + Duration::from_millis(10));
        }
        if !self.has_ended() {
            self.kill();
        }
    }

    /// The last lines it said.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.kill();
        }
    }
}

/// So many ports of 127.0.0.1 that are free for UDP and TCP at this instant.
pub(crate) fn free_ports(count: usize) -> Result<Vec<SocketAddr>, LoadError> {
    let mut held = Vec::new();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut tries = 0;
    while held.len() < count {
        let udp =
            open_udp(any, SocketOptions::default(), Share::Alone).map_err(system("finding a free port"))?;
        match open_listener(udp.local, Share::Alone) {
            Ok(tcp) => held.push((udp.local, udp.socket, tcp)),
            Err(error) if tries > 50 => {
                return Err(LoadError::System("finding a free port".to_owned(), error));
            }
            Err(_) => tries += 1,
        }
    }
    Ok(held.into_iter().map(|(address, ..)| address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ended_by_its_id_and_its_words_are_kept() {
        let log = std::env::temp_dir().join(format!("loadgen-log-{}", std::process::id()));
        let script = ["-c".to_owned(), "echo one; echo two; exec sleep 60".to_owned()];
        let mut running = Running::start("sleeper", Path::new("/bin/sh"), &script, log.clone()).unwrap();
        assert!(!running.has_ended());
        let give_up = clock::now() + Duration::from_secs(5);
        while running.last_words() != "one\ntwo" && clock::now() < give_up {
            clock::sleep_until(clock::now() + Duration::from_millis(5));
        }
        assert_eq!(running.last_words(), "one\ntwo");
        running.end(Duration::from_secs(5));
        assert!(running.has_ended());
        fs::remove_file(log).unwrap();
        let missing =
            Running::start("x", Path::new("/nonexistent"), &[], std::env::temp_dir().join("loadgen-none"));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn free_ports_differ() {
        let ports = free_ports(4).unwrap();
        let mut unique = ports.clone();
        unique.dedup();
        assert_eq!((unique.len(), ports.iter().all(|port| port.port() > 0)), (4, true));
    }
}
