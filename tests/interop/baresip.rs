//! Baresip as a phone: driven over its control port, answering by itself or on command, sending a tone.

use crate::place::{PATIENCE, Running, Scene, is_bound, wait_until};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) struct Baresip {
    _process: Running,
    control: TcpStream,
    unread: Vec<u8>,
    /// Events that came and nobody asked for yet.
    events: Vec<Value>,
    /// All that was said on the control port, for a flow that fails.
    heard: String,
    name: String,
    log: std::path::PathBuf,
    pub(crate) at: SocketAddr,
}

impl Baresip {
    /// A phone that speaks as `sip:NAME@HOST`, with account parameters such as `answermode=auto` and lines of its configuration.
    pub(crate) fn start(
        at: SocketAddr,
        scene: &Scene,
        name: &str,
        host: &str,
        account: &str,
        settings: &str,
    ) -> Self {
        let dir = scene.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let control = SocketAddr::new(at.ip(), at.port() + 100);
        // Its RTP sockets are bound to no address, and what leaves them on the loopback comes from 127.0.0.1.
        // What names the phone (+sip.instance) has to be there before the account is read.
        let instance = if account.contains("sipnat=outbound") { "module_tmp uuid.so\n" } else { "" };
        let config = format!(
            "poll_method epoll\nsip_listen {at}\ncall_local_timeout 60\ncall_max_calls 4\n\
             audio_source ausine,440\naudio_player aubridge,ear\naudio_alert aubridge,bell\nausrc_srate 48000\nausrc_channels 2\n\
             rtp_ports 20000-30000\nrtp_stats yes\nrtcp_mux no\nnet_interface 127.0.0.1\nmodule_path {}\nmodule g711.so\nmodule ausine.so\n\
             module aubridge.so\n{instance}module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {control}\n{settings}",
            modules(),
        );
        std::fs::write(dir.join("config"), config).unwrap();
        std::fs::write(dir.join("contacts"), "").unwrap();
        let account = format!("<sip:{name}@{host}>;audio_codecs=PCMA/8000;{account}\n");
        std::fs::write(dir.join("accounts"), account).unwrap();
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&dir).current_dir(&dir).env("HOME", &dir);
        let log = dir.join("log");
        let mut process = Running::start(&mut command, &log, "baresip-core");
        wait_until(&format!("{name} to listen"), || {
            let running = process.is_running();
            assert!(running, "{}", std::fs::read_to_string(&log).unwrap_or_default());
            is_bound(at, "udp") && is_bound(control, "tcp")
        });
        let control = TcpStream::connect(control).unwrap();
        control.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let name = name.to_owned();
        Self {
            _process: process,
            control,
            unread: Vec::new(),
            events: Vec::new(),
            heard: String::new(),
            name,
            log,
            at,
        }
    }

    /// Gives a command such as `dial sip:...` or `hangup`.
    pub(crate) fn order(&mut self, command: &str) {
        let (command, params) = command.split_once(' ').unwrap_or((command, ""));
        let text = json!({ "command": command, "params": params, "token": "t" }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).unwrap();
    }

    /// Waits for an event of this type; it and those before it are gone then.
    pub(crate) fn wait_for(&mut self, kind: &str) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                return self.events.drain(..=at).next_back().unwrap();
            }
            let over = self.events.iter().any(|event| event["type"] == "CALL_CLOSED");
            assert!(
                begun.elapsed() < PATIENCE && !over,
                "{}: {kind} awaited; {}\n{}",
                self.name,
                self.heard,
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
            self.read();
        }
    }

    /// Waits until its log says this: what happens before it is asked comes in no event.
    pub(crate) fn wait_log(&self, what: &str) {
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        wait_until(&format!("{} to say {what}", self.name), || said().contains(what));
    }

    /// Whether its log says this, and how often.
    pub(crate) fn said(&self, what: &str) -> bool {
        self.said_times(what) > 0
    }

    pub(crate) fn said_times(&self, what: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches(what).count()
    }

    /// Takes netstrings off the control port.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.control.read(&mut buffer) {
            Ok(0) => panic!("{} is gone; {}", self.name, self.heard),
            Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{}: {error}", self.name),
        }
        while let Some(colon) = self.unread.iter().position(|byte| *byte == b':') {
            let length: usize = String::from_utf8_lossy(&self.unread[..colon]).parse().unwrap();
            let end = colon + 1 + length;
            if self.unread.len() <= end {
                return;
            }
            let text = String::from_utf8_lossy(&self.unread[colon + 1..end]).into_owned();
            self.unread.drain(..=end);
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            self.heard.push_str(&text);
            self.heard.push('\n');
            if value["event"] == true {
                self.events.push(value);
            }
        }
    }
}

/// Where the package puts the modules: beside the library folders of one machine or of several.
fn modules() -> String {
    let all = ["/usr/lib/baresip/modules".to_owned()]
        .into_iter()
        .chain(["x86_64", "aarch64"].map(|cpu| format!("/usr/lib/{cpu}-linux-gnu/baresip/modules")));
    let found = all.into_iter().find(|path| std::path::Path::new(path).is_dir());
    found.unwrap_or_else(|| {
        panic!("no modules of baresip: install the package baresip-core, or run tests/run")
    })
}
