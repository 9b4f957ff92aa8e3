//! `trunkline serve` as a child process: started on free ports, read, asked over HTTP, signalled, and killed in the end.

use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything that should happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds; fails after [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of its own for each call, below the target directory.
pub(crate) fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// RTP ports are given out by so many.
const SLOT: u16 = 80;
/// Below the range from which the kernel gives out ports, and below the default range, where a gateway or a drill of
/// somebody else on this host takes its ports.
const SLOTS: (u16, u16) = (2200, 170);

thread_local! {
    /// What this test has been given: a TCP port each, which nobody else can bind, the RTP ports being UDP.
    static HELD: RefCell<Vec<TcpListener>> = const { RefCell::new(Vec::new()) };
}

/// A range of `count` RTP ports that no other test uses, of this run or of another on this host, until this one is over.
pub(crate) fn rtp_ports(count: u16) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (first, slots) = SLOTS;
    let wanted = count.div_ceil(SLOT);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let start =
            std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) * 7);
        let start = (start % u32::from(slots - wanted)) as u16;
        let ports = (start..start + wanted).map(|slot| first + slot * SLOT);
        if let Ok(held) =
            ports.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>()
        {
            HELD.with_borrow_mut(|all| all.extend(held));
            let low = first + start * SLOT;
            return format!("{low}-{}", low + count - 1);
        }
    }
    panic!("no {count} ports in a row below {}", first + slots * SLOT);
}

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    finish(binary().args(arguments))
}

/// Runs a command to its end within [`PATIENCE`]; kills it and fails beyond.
pub(crate) fn finish(command: &mut Command) -> (i32, String, String) {
    finish_within(command, PATIENCE)
}

pub(crate) fn finish_within(command: &mut Command, patience: Duration) -> (i32, String, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} does not end\n{out}\n{err}"));
    let code = status.code().unwrap_or_else(|| panic!("{command:?} ended by {status}\n{out}\n{err}"));
    assert!(!err.contains("panicked"), "{command:?}: {err}");
    (code, out, err)
}

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) sip: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) data: PathBuf,
    /// From the start of the process to "ready".
    pub(crate) start_time: Duration,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts one on free ports of 127.0.0.1 and waits until it is ready.
    pub(crate) fn start(io: &str, arguments: &[&str]) -> Self {
        Self::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", folder("gateway"), arguments)
    }

    /// Starts one on addresses and with a data folder as given. RTP ports are its own unless an argument names them.
    pub(crate) fn start_at(io: &str, listen: &[&str], http: &str, data: PathBuf, arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(["serve", "--io", io, "--http", http, "--data"]).arg(&data);
        for address in listen {
            command.args(["--listen", address]);
        }
        if !arguments.iter().any(|argument| *argument == "--rtp-ports" || *argument == "--config") {
            command.args(["--rtp-ports", &rtp_ports(240)]);
        }
        command.args(arguments);
        Self::spawn(command, data)
    }

    /// Starts a command that is a gateway.
    pub(crate) fn spawn(mut command: Command, data: PathBuf) -> Self {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gateway = Self { child, sip: unknown, http: unknown, data, start_time: Duration::ZERO, log };
        let ready = loop {
            if let Some(line) = gateway.logged("ready: ") {
                break line;
            }
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}\n{}", gateway.log());
            assert!(begun.elapsed() < PATIENCE, "{command:?} is not ready\n{}", gateway.log());
            std::thread::sleep(Duration::from_millis(2));
        };
        gateway.start_time = begun.elapsed();
        let after = |word: &str| ready.split(word).nth(1).and_then(|rest| rest.split([' ', ',']).next());
        gateway.sip = after("sip ").unwrap().parse().unwrap();
        gateway.http = after("http ").unwrap().parse().unwrap_or(unknown);
        gateway
    }

    /// All that it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The address that the ready line names for a transport other than UDP and TCP.
    pub(crate) fn address(&self, transport: &str) -> SocketAddr {
        let ready = self.logged("ready: ").unwrap();
        let named = ready.split(&format!(", {transport} ")).nth(1).and_then(|rest| rest.split(',').next());
        named.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {transport} in: {ready}"))
    }

    /// The first line written that contains a text.
    pub(crate) fn logged(&self, text: &str) -> Option<String> {
        self.log.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the gateway does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// GET: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    /// A request without a body: status and body of the answer.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        (status.unwrap(), body.to_owned())
    }

    /// POST of JSON: status and body of the answer.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.http,
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap(), body.to_owned())
    }

    /// GET of JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert!(status == 200 || status == 503, "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// One figure of `/metrics`, added up over its labels. Right after the start it may take a moment to be there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut values: Vec<f64> = Vec::new();
        wait_until(&format!("the figure {name}"), || {
            let (_, page) = self.get("/metrics");
            let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            values = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            !values.is_empty()
        });
        values.iter().sum()
    }

    /// A trunk of `/api/v1/trunks`, which a gateway that just became ready may still be told of.
    pub(crate) fn trunk(&self, name: &str) -> Value {
        let mut found = None;
        wait_until(&format!("a trunk {name}"), || {
            let trunks = self.json("/api/v1/trunks");
            found = trunks["trunks"].as_array().unwrap().iter().find(|trunk| trunk["name"] == name).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.json("/api/v1/calls")["count"].as_u64().unwrap()
    }

    pub(crate) fn wait_calls(&self, count: u64) {
        wait_until(&format!("{count} calls up"), || self.calls() == count);
    }

    /// How many calls ended for which cause.
    pub(crate) fn causes(&self) -> BTreeMap<String, usize> {
        let mut causes = BTreeMap::new();
        for cdr in self.json("/api/v1/cdrs?limit=1000")["cdrs"].as_array().unwrap() {
            *causes.entry(cdr["cause"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        causes
    }

    /// Waits until at least so many records are to be read, and tells them.
    pub(crate) fn wait_cdrs(&self, count: usize) -> Vec<Value> {
        let mut cdrs = Vec::new();
        wait_until(&format!("{count} call records"), || {
            cdrs = self.json("/api/v1/cdrs?limit=1000")["cdrs"].as_array().unwrap().clone();
            cdrs.len() >= count
        });
        assert_eq!(cdrs.len(), count, "{cdrs:?}");
        cdrs
    }
}

impl Gateway {
    /// What it has refused and why, as far as it still answers: for a test that failed.
    fn tell_refusals(&self) {
        let Ok(mut stream) = TcpStream::connect(self.http) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        let mut page = String::new();
        let _ = stream.read_to_string(&mut page);
        let words = ["refused", "full", "down", "failed", "dropped", "unanswered", "taken", "elsewhere"];
        let telling = page.lines().filter(|line| {
            !line.starts_with('#') && !line.ends_with(" 0") && words.iter().any(|word| line.contains(word))
        });
        eprintln!("--- the gateway counted:\n{}", telling.collect::<Vec<_>>().join("\n"));
        let Ok(mut stream) = TcpStream::connect(self.http) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream
            .write_all(b"GET /api/v1/cdrs?limit=3 HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        let mut records = String::new();
        let _ = stream.read_to_string(&mut records);
        eprintln!("--- its last records: {}", records.rsplit("\r\n\r\n").next().unwrap_or_default());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_refusals();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{log}");
        } else {
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}
