//! SIPp, which shares no code with us, as caller and as carrier around the real gateway, on both drivers: no failed call
//! and no unexpected message on either side; dnsmasq as the DNS server that knows where the carrier is. Scenarios stand in `tests/interop/`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that starts processes"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A loopback address that nobody else uses, so that ports found free on it stay free: one for each process started.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [high, low] = (NEXT.fetch_add(1, Ordering::Relaxed) as u16).to_be_bytes();
    let ip = Ipv4Addr::new(127, 1 + (std::process::id() % 250) as u8, high, low.max(1));
    loop {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        // Even, with room above for media.
        if port.is_multiple_of(2) && port < 60_000 && TcpListener::bind((ip, port)).is_ok() {
            return SocketAddr::from((ip, port));
        }
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// The gateway, on free ports.
struct Gateway {
    _process: Running,
    sip: SocketAddr,
    http: SocketAddr,
}

impl Gateway {
    fn start(dir: &Path, io: &str, trunks: &[String], more: &[&str]) -> Self {
        let sip = own_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command
            .args(["serve", "--io", io, "--workers", "2", "--http", "127.0.0.1:0"])
            .args(["--listen", &sip.to_string()])
            .arg("--data")
            .arg(dir.join("data"))
            .args(more)
            .stderr(Stdio::piped());
        for trunk in trunks {
            command.args(["--trunk", trunk]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
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
        Self { _process: Running(child), sip, http }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn cdrs(&self, at_least: usize) -> Vec<serde_json::Value> {
        let start = Instant::now();
        loop {
            let body = self.get("/api/v1/cdrs?limit=500");
            let json = body.find('{').map_or(body.as_str(), |at| &body[at..=body.rfind('}').unwrap()]);
            let parsed: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            let cdrs = parsed["cdrs"].as_array().cloned().unwrap_or_default();
            if cdrs.len() >= at_least || start.elapsed() > Duration::from_secs(5) {
                return cdrs;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// SIPp with a scenario.
struct Sipp {
    process: Running,
    dir: PathBuf,
    name: String,
}

impl Sipp {
    fn start(dir: &Path, file: &Path, at: SocketAddr, calls: u32, more: &[&str]) -> Self {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (ip, port, media) = (at.ip().to_string(), at.port().to_string(), (at.port() + 2).to_string());
        let process = Command::new("sipp")
            .arg("-sf")
            .arg(file)
            .args(["-i", &ip, "-mi", &ip, "-p", &port, "-mp", &media])
            .args(["-m", &calls.to_string(), "-nostdin", "-timeout", "60", "-timeout_error"])
            .arg("-trace_err")
            .arg("-error_file")
            .arg(dir.join(format!("{name}.errors")))
            .args(["-trace_stat", "-fd", "1"])
            .arg("-stf")
            .arg(dir.join(format!("{name}.csv")))
            .args(more)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .expect("sipp is needed: install the package sip-tester, or run tests/run");
        Self { process: Running(process), dir: dir.to_owned(), name }
    }

    /// Waits for the end and holds SIPp to its own account: all calls successful, nothing unexpected.
    fn finish(mut self, calls: u32) {
        let status = self.process.0.wait().unwrap();
        let errors = fs::read_to_string(self.dir.join(format!("{}.errors", self.name))).unwrap_or_default();
        assert!(status.success(), "{}: {status}; {errors}", self.name);
        let unexpected = errors.lines().find(|line| line.contains("nexpected"));
        assert_eq!(unexpected, None, "{}", self.name);
        let csv = fs::read_to_string(self.dir.join(format!("{}.csv", self.name))).unwrap();
        let (head, last) = (csv.lines().next().unwrap(), csv.lines().last().unwrap());
        let value = |column: &str| -> u32 {
            let at = head.split(';').position(|name| name == column).unwrap();
            last.split(';').nth(at).unwrap().parse().unwrap()
        };
        assert_eq!((value("SuccessfulCall(C)"), value("FailedCall(C)")), (calls, 0), "{}", self.name);
    }
}

/// One test: a gateway with one trunk, a caller's and a carrier's scenario, so many calls.
fn meet(name: &str, caller: &str, carrier: &str, calls: u32, more: &[&str]) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    for io in ["uring", "fallback"] {
        let dir = scratch(&format!("{name}-{io}"));
        let (caller_at, carrier_at) = (own_address(), own_address());
        write_speech(&dir);
        let trunk = format!("carrier={carrier_at},max_calls=500");
        let gateway = Gateway::start(&dir, io, &[trunk], &["--probe-interval", "0s"]);
        let echo: &[&str] = if caller.contains("rtp") { &["-rtp_echo"] } else { &[] };
        let carrier = Sipp::start(&dir, &scenario(carrier), carrier_at, calls, &[more, echo].concat());
        std::thread::sleep(Duration::from_millis(300));
        let target = gateway.sip.to_string();
        let options = [&["-s", "8613800138000", "-r", "20", &target], more].concat();
        Sipp::start(&dir, &scenario(caller), caller_at, calls, &options).finish(calls);
        carrier.finish(calls);
        let cdrs = gateway.cdrs(calls as usize);
        assert_eq!(cdrs.len(), calls as usize, "{io}: records");
        all.extend(cdrs);
    }
    all
}

/// Two seconds of A-law for SIPp to send.
fn write_speech(dir: &Path) {
    let samples: Vec<u8> = (0..16_000u32).map(|n| 0x55 ^ (n % 64) as u8).collect();
    fs::write(dir.join("speech.al"), samples).unwrap();
}

#[test]
fn plain_calls() {
    let cdrs = meet("basic", "caller_basic.xml", "carrier_answer.xml", 40, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn plain_calls_over_tcp_callers() {
    // SIPp speaks TCP to the gateway, one connection for all calls; the trunk is UDP.
    for io in ["uring", "fallback"] {
        let dir = scratch(&format!("tcp-{io}"));
        let (caller_at, carrier_at) = (own_address(), own_address());
        let trunk = format!("carrier={carrier_at},max_calls=500");
        let gateway = Gateway::start(&dir, io, &[trunk], &["--probe-interval", "0s"]);
        let carrier = Sipp::start(&dir, &scenario("carrier_answer.xml"), carrier_at, 20, &[]);
        std::thread::sleep(Duration::from_millis(300));
        let target = gateway.sip.to_string();
        let options = ["-t", "t1", "-s", "1000", "-r", "20", &target];
        Sipp::start(&dir, &scenario("caller_basic.xml"), caller_at, 20, &options).finish(20);
        carrier.finish(20);
    }
}

#[test]
fn calls_with_rtp_both_ways() {
    let cdrs = meet("rtp", "caller_rtp.xml", "carrier_answer.xml", 5, &[]);
    for cdr in cdrs {
        for leg in ["caller", "callee"] {
            let packets = cdr["media"][leg]["received"]["packets"].as_u64().unwrap();
            assert!(packets > 40, "{leg}: {packets} packets in {cdr}");
        }
    }
}

#[test]
fn early_media() {
    meet("early", "caller_early_media.xml", "carrier_early_media.xml", 20, &[]);
}

#[test]
fn cancel() {
    let cdrs = meet("cancel", "caller_cancel.xml", "carrier_cancelled.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 487), "{cdrs:?}");
}

#[test]
fn busy() {
    let cdrs = meet("busy", "caller_busy.xml", "carrier_busy.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 486 && cdr["q850"] == 17), "{cdrs:?}");
}

#[test]
fn hold_by_reinvite_of_the_caller() {
    meet("hold", "caller_reinvite.xml", "carrier_reinvited.xml", 20, &[]);
}

#[test]
fn reinvite_of_the_callee() {
    meet("reinvited", "caller_reinvited.xml", "carrier_reinvites.xml", 20, &[]);
}

#[test]
fn reliable_provisional_responses_updates_and_session_timers() {
    let cdrs = meet("extensions", "caller_extensions.xml", "carrier_extensions.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn session_intervals_that_are_too_small_on_either_side() {
    let cdrs = meet("intervals", "caller_422.xml", "carrier_422.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn dtmf_by_info_and_the_reason_of_a_bye() {
    let cdrs = meet("info", "caller_info.xml", "carrier_info.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["q850"] == 31), "{cdrs:?}");
}

#[test]
fn bye_from_the_callee() {
    let cdrs = meet("hangup", "caller_hung_up_on.xml", "carrier_hangs_up.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["ended_by"] == "callee"), "{cdrs:?}");
}

#[test]
fn retransmissions_carry_calls_through_five_percent_loss() {
    let dir = scratch("lossy-scenario");
    // The carrier stays until late retransmissions have been answered.
    let patient = fs::read_to_string(scenario("carrier_answer.xml")).unwrap();
    let patient = patient
        .replace("timewait milliseconds=\"1000\"", "timewait milliseconds=\"9000\"")
        // SIPp does not know every INVITE that is sent again for what it is: it answers it once more.
        .replacen("<send>", "<label id=\"1\" />\n<send>", 1)
        // An ACK that was lost is sent again only when the 200 is, and the BYE may be there before that.
        .replace(
            "<recv request=\"ACK\" />",
            "<recv request=\"INVITE\" optional=\"true\" next=\"1\" />\n<recv request=\"ACK\" optional=\"true\" />",
        );
    fs::write(dir.join("carrier_patient.xml"), patient).unwrap();
    let carrier = dir.join("carrier_patient.xml");
    meet("loss", "caller_basic.xml", carrier.to_str().unwrap(), 60, &["-lost", "5"]);
}

#[test]
fn a_503_and_a_silent_carrier_are_failed_over() {
    for io in ["uring", "fallback"] {
        let dir = scratch(&format!("failover-{io}"));
        let (caller_at, refusing, answering) = (own_address(), own_address(), own_address());
        let silent = UdpSocket::bind(own_address()).unwrap();
        let silent_at = silent.local_addr().unwrap();
        let trunks = [
            format!("refusing={refusing},priority=1"),
            format!("silent={silent_at},priority=2"),
            format!("answering={answering},priority=3"),
        ];
        let gateway =
            Gateway::start(&dir, io, &trunks, &["--probe-interval", "0s", "--no-response", "600ms"]);
        // Five failures in a row take a trunk out of service: then it is not asked any more.
        let first = Sipp::start(&dir, &scenario("carrier_503.xml"), refusing, 5, &[]);
        let last = Sipp::start(&dir, &scenario("carrier_answer.xml"), answering, 8, &[]);
        std::thread::sleep(Duration::from_millis(300));
        let target = gateway.sip.to_string();
        let options = ["-s", "1000", "-r", "1", "-rp", "1200", &target];
        Sipp::start(&dir, &scenario("caller_basic.xml"), caller_at, 8, &options).finish(8);
        first.finish(5);
        last.finish(8);
        let cdrs = gateway.cdrs(8);
        let oldest = cdrs.last().unwrap();
        let causes: Vec<&str> =
            oldest["attempts"].as_array().unwrap().iter().filter_map(|a| a["cause"].as_str()).collect();
        assert_eq!(causes.len(), 3, "{oldest}");
        assert!(causes[0].starts_with("503") && causes[1].contains("no response"), "{causes:?}");
        assert!(cdrs.iter().all(|cdr| cdr["trunk"] == "answering" && cdr["status"] == 200), "{cdrs:?}");
        let newest = cdrs.first().unwrap();
        assert_eq!(
            newest["attempts"].as_array().unwrap().len(),
            1,
            "both dead trunks are out of service: {newest}"
        );
    }
}

/// A phone registers, and another one calls it in its own name: SIPp works out the digests. It knows MD5 alone and reads
/// the first challenge only.
#[test]
fn phones_register_and_call_each_other() {
    for io in ["uring", "fallback"] {
        let dir = scratch(&format!("phones-{io}"));
        let (caller_at, phone_at) = (own_address(), own_address());
        let config = dir.join("gateway.toml");
        let users = ["1001", "1002"]
            .map(|name| format!("[[user]]\nname = \"{name}\"\npassword = \"secret{name}\"\n"))
            .concat();
        fs::write(&config, format!("registrar.algorithms = [\"MD5\"]\n{users}")).unwrap();
        let gateway = Gateway::start(&dir, io, &[], &["--config", config.to_str().unwrap()]);
        let target = gateway.sip.to_string();
        let options = ["-s", "1002", target.as_str()];
        Sipp::start(&dir, &scenario("phone_registers.xml"), phone_at, 1, &options).finish(1);
        let known = gateway.get("/api/v1/registrations");
        assert!(known.contains(&format!("\"target\":\"{phone_at}\"")), "{known}");
        let phone = Sipp::start(&dir, &scenario("carrier_answer.xml"), phone_at, 20, &[]);
        std::thread::sleep(Duration::from_millis(300));
        let options = ["-s", "1002", "-r", "20", &target];
        Sipp::start(&dir, &scenario("caller_authenticated.xml"), caller_at, 20, &options).finish(20);
        phone.finish(20);
        let cdrs = gateway.cdrs(20);
        assert!(cdrs.iter().all(|cdr| cdr["trunk"] == "user:1002" && cdr["status"] == 200), "{cdrs:?}");
    }
}

/// RFC 3263 by a DNS server that shares no code with us: NAPTR leads to SRV, the first server is dead, the second takes
/// all calls (RFC 3263 §4.3).
#[test]
fn a_carrier_by_name_is_located_through_dnsmasq() {
    for io in ["uring", "fallback"] {
        let dir = scratch(&format!("dns-{io}"));
        let (caller_at, carrier_at, dns_at, dead_at) =
            (own_address(), own_address(), own_address(), own_address());
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
            ])
            .args(["--local-ttl=30", "--pid-file="])
            .arg(format!("--listen-address={}", dns_at.ip()))
            .arg(format!("--port={}", dns_at.port()))
            .arg("--naptr-record=carrier.test,10,10,s,SIP+D2U,,_sip._udp.carrier.test")
            .arg(format!("--srv-host=_sip._udp.carrier.test,dead.carrier.test,{},1,10", dead_at.port()))
            .arg(format!("--srv-host=_sip._udp.carrier.test,sbc.carrier.test,{},2,10", carrier_at.port()))
            .arg("--cname=sbc.carrier.test,host.carrier.test")
            .arg(format!("--host-record=dead.carrier.test,{}", dead_at.ip()))
            .arg(format!("--host-record=host.carrier.test,{}", carrier_at.ip()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = command.spawn();
        let _server =
            Running(server.expect("dnsmasq is needed: install the package dnsmasq-base, or run tests/run"));
        let dns = dns_at.to_string();
        let trunk = "carrier=carrier.test,max_calls=500".to_owned();
        let gateway = Gateway::start(&dir, io, &[trunk], &["--probe-interval", "0s", "--dns", &dns]);
        let begun = Instant::now();
        while !gateway.get("/api/v1/trunks").contains(&format!("\"address\":\"{carrier_at}\"")) {
            let shown = gateway.get("/api/v1/trunks");
            assert!(begun.elapsed() < Duration::from_secs(20), "{io}: not located: {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(gateway.get("/api/v1/trunks").contains("\"by\":\"NAPTR\""));
        let carrier = Sipp::start(&dir, &scenario("carrier_answer.xml"), carrier_at, 20, &[]);
        std::thread::sleep(Duration::from_millis(300));
        let target = gateway.sip.to_string();
        let options = ["-s", "1000", "-r", "20", &target];
        Sipp::start(&dir, &scenario("caller_basic.xml"), caller_at, 20, &options).finish(20);
        carrier.finish(20);
        let cdrs = gateway.cdrs(20);
        assert!(
            cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["peer"] == carrier_at.to_string()),
            "{cdrs:?}"
        );
        assert!(cdrs.iter().any(|cdr| cdr["attempts"].as_array().unwrap().len() == 2), "{cdrs:?}");
    }
}
