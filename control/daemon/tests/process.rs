//! Starting, stopping, reloading, and being killed.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod stand;

use link::Command;
use stand::{Folder, Gateway, acknowledged, config, ended, get, routing, running, started};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

const CHILD: &str = "TRUNKLINE_CONTROLD_CHILD";
const T: u64 = 1_795_247_266_000_000;

#[test]
fn a_port_in_use_is_named_with_the_cure() {
    let folder = Folder::new("port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_gateway, links) = Gateway::new();
    let error =
        controld::start(controld::Config { http: Some(address), ..config(&folder) }, links).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("--http {address}")) && text.contains("in use"), "{text}");
}

#[test]
fn a_folder_in_use_is_named_with_the_cure() {
    let folder = Folder::new("folder");
    let (_gateway, handle) = running(&folder);
    let (_other, links) = Gateway::new();
    let text = controld::start(config(&folder), links).unwrap_err().to_string();
    assert!(text.contains("--data") && text.contains(&folder.0.display().to_string()), "{text}");
    assert_eq!(handle.stop().lost, None);
    let (_again, links) = Gateway::new();
    controld::start(config(&folder), links).expect("free again");
}

#[test]
fn what_was_said_before_the_stop_is_written() {
    let folder = Folder::new("stop");
    let (gateway, handle) = running(&folder);
    for call in 0..3000 {
        gateway.say(ended(T + call, 200));
    }
    let stopped = handle.stop();
    assert_eq!((stopped.lost, stopped.written), (None, 3001), "with the hello");
    let (_gateway, handle) = running(&folder);
    let last = get(&handle, "/api/v1/cdrs?limit=1").json();
    assert_eq!(last["cdrs"][0]["id"], link::CallId(T + 2999).to_string());
}

#[test]
fn a_reload_and_a_drain_reach_the_shards_even_if_their_mailbox_was_full() {
    let folder = Folder::new("reload");
    let (gateway, handle) = running(&folder);
    gateway.shared.lock().unwrap().full = true;
    assert!(handle.reload(routing(2)));
    assert!(handle.drain());
    // Wait until both are with the control thread.
    let early = get(&handle, "/healthz").json();
    assert_eq!(early["routing"], 2);
    gateway.shared.lock().unwrap().full = false;
    gateway.until_told(|told| match told {
        [.., Command::Snapshot(it), Command::Drain] if it.version == 2 => Some(()),
        _ => None,
    });
    assert_eq!(get(&handle, "/healthz").json()["status"], "draining");
}

#[test]
fn trouble_is_logged_once() {
    let folder = Folder::new("log");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let (gateway, links) = Gateway::new();
    let taken = controld::Config {
        log: Box::new(move |line| log.lock().unwrap().push(line.to_owned())),
        ..config(&folder)
    };
    let handle = controld::start(taken, links).unwrap();
    gateway.say(started(T));
    gateway.say(link::Event::TrunkState(link::TrunkChange {
        trunk: "alpha".into(),
        peer: stand::peer(),
        state: link::TrunkState::Down,
        why: "no answer to OPTIONS".into(),
        at: link::UnixMicros(T),
    }));
    handle.stop();
    let (_gateway, links) = Gateway::new();
    let log = Arc::clone(&lines);
    let again = controld::Config {
        log: Box::new(move |line| log.lock().unwrap().push(line.to_owned())),
        ..config(&folder)
    };
    controld::start(again, links).unwrap().stop();
    let lines = lines.lock().unwrap();
    assert_eq!(lines[0], "trunk alpha peer 127.0.0.1:5070: down (no answer to OPTIONS)");
    assert!(lines[1].starts_with("1 calls of an earlier run"), "{lines:?}");
}

/// In place of the tests: a control plane that is fed calls for ever and says which of them are acknowledged.
fn run_until_killed(folder: Folder) {
    let (gateway, handle) = running(&folder);
    let mut said = 0;
    for call in 1_u64.. {
        gateway.say(started(T + call));
        if call % 10 != 0 {
            gateway.say(ended(T + call, 200));
        }
        if call % 50 == 0 {
            gateway.until_told(|told| (acknowledged(told).len() + 2000 > call as usize).then_some(()));
            let done = acknowledged(&gateway.shared.lock().unwrap().told);
            for call in &done[said..] {
                let _ = writeln!(std::io::stderr(), "stored {call}");
            }
            said = done.len();
        }
    }
    drop(handle);
}

#[test]
fn acknowledged_calls_survive_sigkill() {
    if let Some(path) = std::env::var_os(CHILD) {
        return run_until_killed(Folder(path.into()));
    }
    let folder = Folder::new("kill");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_calls_survive_sigkill", "--nocapture"])
        .env(CHILD, &folder.0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stored = Vec::new();
    let mut killed = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        // The kill may have torn the last line.
        if let Some(call) = line.unwrap().strip_prefix("stored ").filter(|call| call.len() == 16) {
            stored.push(call.to_owned());
        }
        if stored.len() > 1500 && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed);
    let (_gateway, handle) = running(&folder);
    for call in &stored {
        let it = get(&handle, &format!("/api/v1/cdrs/{call}"));
        assert_eq!((it.status, it.json()["cause"].as_str()), (200, Some("normal")), "{call}");
    }
    let cut = get(&handle, &format!("/api/v1/cdrs/{}", link::CallId(T + 10))).json();
    assert_eq!(cut["cause"], "gateway restarted");
}
