//! Kamailio as a carrier's registrar: a trunk registers there with digest, over UDP and TCP, is called through it, calls
//! through it, and finds it again after its death.

use super::{Gateway, Path, Sipp, own_address, scenario, scratch};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kamailio in the foreground. It has children of its own, which end with it if it is asked to end.
struct Kamailio(Child);

impl Kamailio {
    fn start(dir: &Path, at: SocketAddr, far: SocketAddr) -> Self {
        let folder = dir.display().to_string();
        let config = include_str!("registrar.cfg")
            .replace("ADDRESS", &at.to_string())
            .replace("FAR", &far.to_string())
            .replace("FOLDER", &folder);
        let file = dir.join("registrar.cfg");
        fs::write(&file, config).unwrap();
        let program =
            if Path::new("/usr/sbin/kamailio").exists() { "/usr/sbin/kamailio" } else { "kamailio" };
        let log = fs::File::create(dir.join("kamailio.log")).unwrap();
        let process = Command::new(program)
            .args(["-DD", "-E", "-m", "64", "-f", file.to_str().unwrap(), "-Y", &folder])
            .args(["-P", dir.join("kamailio.pid").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kamailio is needed: install the package kamailio, or run tests/run");
        let it = Self(process);
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            let log = || fs::read_to_string(dir.join("kamailio.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(20), "kamailio does not listen\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        it
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn registration(gateway: &Gateway) -> serde_json::Value {
    let trunks: serde_json::Value = serde_json::from_str(&gateway.get("/api/v1/trunks")).unwrap();
    let all = trunks["trunks"].as_array().unwrap();
    all.iter().find(|trunk| trunk["name"] == "carrier").unwrap()["registration"].clone()
}

fn wait(gateway: &Gateway, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        let now = registration(gateway);
        if holds(&now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {now}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn a_trunk_at_kamailio(io: &str, transport: &str) {
    let dir = scratch(&format!("kamailio-{io}-{transport}"));
    let (kamailio_at, caller_at, far) = (own_address(), own_address(), own_address());
    let near = own_address();
    let config = dir.join("gateway.toml");
    let text = format!(
        "health.probe_interval = \"0s\"\n[[trunk]]\nname = \"carrier\"\npeers = [\"{kamailio_at}/{transport}\"]\n\
         username = \"4711\"\npassword = \"pw7\"\n\
         register = {{ registrar = \"carrier.example\", expires = \"10s\", retry_base = \"500ms\", retry_max = \"2s\" }}\n\
         [[trunk]]\nname = \"near\"\npeers = [\"{near}\"]\nhealth = {{ probe_interval = \"0s\" }}\n\
         [[route]]\nprefix = \"4711\"\nto = [\"near\"]\n[[route]]\nprefix = \"86\"\nto = [\"carrier\"]\n"
    );
    fs::write(&config, text).unwrap();
    let kamailio = Kamailio::start(&dir, kamailio_at, far);
    let gateway = Gateway::start(&dir, io, &[], &["--config", config.to_str().unwrap()]);
    let facts = wait(&gateway, "registered", |it| it["registered"] == true);
    assert_eq!(facts["associated"][0], "sip:+861014711@carrier.example", "{facts}");
    assert!(facts["service_route"][0].as_str().unwrap().contains(";orig"), "{facts}");

    // Called: SIPp calls the address of record at Kamailio.
    let answering = Sipp::start(&dir, &scenario("carrier_answer.xml"), near, 10, &[]);
    std::thread::sleep(Duration::from_millis(300));
    let target = kamailio_at.to_string();
    let options = ["-s", "4711", "-r", "10", target.as_str()];
    Sipp::start(&dir, &scenario("caller_basic.xml"), caller_at, 10, &options).finish(10);
    answering.finish(10);
    assert_eq!(registration(&gateway)["calls_in"], 10);

    // Calling: Kamailio asks for the password again (407), and for the service route.
    let answering = Sipp::start(&dir, &scenario("carrier_answer.xml"), far, 10, &[]);
    std::thread::sleep(Duration::from_millis(300));
    let target = gateway.sip.to_string();
    let options = ["-s", "8613800", "-r", "10", target.as_str()];
    Sipp::start(&dir, &scenario("caller_basic.xml"), own_address(), 10, &options).finish(10);
    answering.finish(10);
    let cdrs = gateway.cdrs(20);
    assert!(cdrs.len() == 20 && cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");

    // Refreshes are granted, though nonces grow old between them.
    wait(&gateway, "refreshed", |it| it["granted"].as_u64() >= Some(3));
    assert_eq!(registration(&gateway)["failed"], 0);

    // Killed and started again: it knows neither us nor its own nonces any more.
    drop(kamailio);
    wait(&gateway, "the death is noticed", |it| it["failed"].as_u64() >= Some(2));
    let _kamailio = Kamailio::start(&dir, kamailio_at, far);
    wait(&gateway, "registered again", |it| it["state"] == "registered" && it["registered"] == true);
    let answering = Sipp::start(&dir, &scenario("carrier_answer.xml"), near, 2, &[]);
    std::thread::sleep(Duration::from_millis(300));
    let target = kamailio_at.to_string();
    let options = ["-s", "4711", target.as_str()];
    Sipp::start(&dir, &scenario("caller_basic.xml"), own_address(), 2, &options).finish(2);
    answering.finish(2);
}

#[test]
fn a_trunk_registers_at_kamailio_over_udp() {
    for io in ["uring", "fallback"] {
        a_trunk_at_kamailio(io, "udp");
    }
}

#[test]
fn a_trunk_registers_at_kamailio_over_tcp() {
    for io in ["uring", "fallback"] {
        a_trunk_at_kamailio(io, "tcp");
    }
}
