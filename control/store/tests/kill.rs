//! A process that is killed with SIGKILL while it writes: every record it acknowledged is there afterwards.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod sample;

use link::CallId;
use sample::{Folder, ended, started};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use store::{Filter, Options, Record, Store, Write};

const CHILD: &str = "TRUNKLINE_STORE_CHILD";

/// What the child does, in place of the tests: open calls and end most of them, saying each record's number once stored.
fn write_until_killed(folder: &Path) {
    let stored = Box::new(|seq: u64| {
        // Unbuffered: what the parent reads was on disk before.
        let _ = writeln!(std::io::stderr(), "stored {seq}");
    });
    let store = Store::open(folder, Options { queue: 1000, stored }).unwrap();
    for call in 1_u64.. {
        let start = Record::Started(Box::new(started(call)));
        let end = Record::Ended(Box::new(ended(call)));
        for (seq, record) in [(2 * call - 1, start), (2 * call, end)] {
            // Each tenth call stays open.
            if seq % 20 == 0 {
                continue;
            }
            let write = Write { seq, record };
            while store.submit(write.clone()).is_err() {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn acknowledged_records_survive_sigkill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&folder));
    }
    for round in 0..3_u64 {
        let folder = Folder::new(&format!("kill-{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "acknowledged_records_survive_sigkill", "--nocapture"])
            .env(CHILD, &folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut last = 0;
        let goal = 500 + round * 1700;
        while last < goal {
            let line = lines.next().expect("the child writes").unwrap();
            if let Some(seq) = line.strip_prefix("stored ") {
                last = seq.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            if let Some(Ok(seq)) = line.strip_prefix("stored ").map(str::parse) {
                last = seq;
            }
        }
        check(&folder.0, last);
    }
}

fn check(folder: &Path, last: u64) {
    let store = Store::open(folder, Options { queue: 1, stored: Box::new(|_| ()) }).unwrap();
    let reader = store.reader().unwrap();
    for call in 1..=last / 2 {
        let found =
            reader.cdr(CallId(call)).unwrap().unwrap_or_else(|| panic!("call {call} of {last} is lost"));
        if call % 10 == 0 {
            assert_eq!(found.end.cause, "gateway restarted");
        } else {
            assert_eq!(found, ended(call));
        }
    }
    let all = reader.cdrs(&Filter { limit: u32::MAX, ..Filter::default() }).unwrap().cdrs.len() as u64;
    assert!(all >= last / 2);
    assert!(store.facts().closed_at_start >= last / 20);
}
