//! The gateway under test: `trunkline serve` on free ports, asked for its records over HTTP.

use crate::place::{PATIENCE, Running, Scene, own_address};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Gateway {
    _process: Running,
    pub(crate) sip: SocketAddr,
    http: SocketAddr,
}

impl Gateway {
    /// Starts it with these trunks (as for `--trunk`) and the lines of a configuration file.
    pub(crate) fn start(scene: &Scene, trunks: &[String], config: &str) -> Self {
        Self::start_at(own_address(), scene, trunks, config)
    }

    /// Starts it with these users (as for `--user`), and lines of a configuration file that say nothing of how phones are asked.
    pub(crate) fn start_for(scene: &Scene, users: &[&str], config: &str) -> Self {
        Self::run(own_address(), scene, &[], users, config)
    }

    pub(crate) fn start_at(sip: SocketAddr, scene: &Scene, trunks: &[String], config: &str) -> Self {
        Self::run(sip, scene, trunks, &[], config)
    }

    fn run(sip: SocketAddr, scene: &Scene, trunks: &[String], users: &[&str], config: &str) -> Self {
        let file = scene.file("gateway.toml", config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command
            .args(["serve", "--io", scene.io, "--workers", "2", "--http", "127.0.0.1:0"])
            .args(["--probe-interval", "0s", "--listen", &sip.to_string()])
            .arg("--config")
            .arg(file)
            .arg("--data")
            .arg(scene.dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        for trunk in trunks {
            command.args(["--trunk", trunk]);
        }
        for user in users {
            command.args(["--user", user]);
        }
        let mut process = Running::spawn(&mut command, "(cargo builds it)");
        let mut lines = BufReader::new(process.child().stderr.take().unwrap());
        let mut said = String::new();
        let http = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the gateway did not start: {said}");
            said.push_str(&line);
            if let Some(rest) = line.split("http ").nth(1).filter(|_| line.contains("ready:")) {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self { _process: process, sip, http }
    }

    /// The JSON that a path of the API answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        let body = self.text(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    fn text(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Waits for so many records of calls that are over; the oldest first.
    pub(crate) fn cdrs(&self, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let mut cdrs = self.get("/api/v1/cdrs?limit=100")["cdrs"].as_array().cloned().unwrap_or_default();
            if cdrs.len() >= count {
                assert_eq!(cdrs.len(), count, "records: {cdrs:?}");
                cdrs.reverse();
                return cdrs;
            }
            assert!(begun.elapsed() < PATIENCE, "{count} records awaited: {cdrs:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The one record there is, with its final status checked.
    pub(crate) fn cdr(&self, status: u16) -> Value {
        let cdr = self.cdrs(1).remove(0);
        assert_eq!(cdr["status"], status, "{cdr}");
        cdr
    }

    /// The records of all calls once they are over, at least so many.
    pub(crate) fn all_cdrs(&self, least: usize) -> Vec<Value> {
        self.wait_calls(0);
        let mut cdrs = Vec::new();
        crate::place::wait_until(&format!("{least} records"), || {
            cdrs = self.get("/api/v1/cdrs?limit=100")["cdrs"].as_array().cloned().unwrap_or_default();
            cdrs.len() >= least
        });
        cdrs
    }

    /// Waits until so many transfers were carried out.
    pub(crate) fn wait_transferred(&self, count: u64) {
        crate::place::wait_until(&format!("{count} transfers"), || {
            let executed = self
                .text("/metrics")
                .lines()
                .filter(|line| line.starts_with("trunkline_transfers_executed_total"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
            executed >= count as f64
        });
    }

    /// Waits until so many calls stand.
    pub(crate) fn wait_calls(&self, count: usize) {
        crate::place::wait_until(&format!("{count} calls"), || {
            self.get("/api/v1/calls")["calls"].as_array().is_some_and(|calls| calls.len() == count)
        });
    }
}

/// Packets that a record says were received from each side, caller's first.
pub(crate) fn packets(cdr: &Value) -> [u64; 2] {
    ["caller", "callee"].map(|leg| cdr["media"][leg]["received"]["packets"].as_u64().unwrap_or(0))
}
