//! What a call over TLS costs the system in the middle: callers of our own over TLS, two SIPp carriers over UDP behind it.

use crate::Bench;
use crate::middle::{Kind, Middle, Setting};
use crate::process::{Outcome, free_port, pause};
use crate::record::rounded;
use crate::sipp::Carrier;
use crate::talk::{self, Place};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Callers at once, each with a connection.
const CALLERS: u32 = 16;

/// Each system with calls over connections that stand, and with a connection and a handshake for each call.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let client = papers(&bench.folder)?;
    let mut rows = Vec::new();
    for kind in [Kind::Kamailio, Kind::Uring, Kind::Fallback] {
        let carriers =
            [Carrier::start("carrier-a", &bench.folder)?, Carrier::start("carrier-b", &bench.folder)?];
        let port = free_port()?;
        let folder = bench.folder.display();
        let setting = Setting {
            gateway: vec![
                format!("--tls=127.0.0.1:{port}"),
                format!("--cert={folder}/middle.pem"),
                format!("--key={folder}/middle.key.pem"),
            ],
            kamailio: include_str!("kamailio-tls.cfg").replace("TLS_PORT", &port.to_string()),
            ..Setting::default()
        };
        let ports = [carriers[0].port, carriers[1].port];
        let middle = Middle::start_as(kind, &bench.trunkline, ports, &bench.folder, &setting)?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // The first calls pay for memory that later ones find.
        call(&client, to, 50, false)?;
        for (mode, each) in [("standing connections", false), ("a connection a call", true)] {
            pause(0.5);
            let calls = bench.extent.tls_calls / if each { 4 } else { 1 };
            let before = middle.usage();
            let start = Instant::now();
            let completed = call(&client, to, calls, each)?;
            let seconds = start.elapsed().as_secs_f64();
            // Call records are written behind the calls.
            pause(1.3);
            let used = middle.usage().since(&before);
            let per_second = rounded(f64::from(completed) / used.total.max(1e-9));
            println!(
                "tls         {:<22} {mode:<20} {per_second:>8.0} calls a CPU-second, {:>6.0} calls/s  {} failed",
                kind.name(),
                f64::from(completed) / seconds,
                calls - completed
            );
            rows.push(json!({
                "system": kind.name(),
                "mode": mode,
                "calls": calls,
                "completed": completed,
                "seconds": rounded(seconds),
                "cpu_s": rounded(used.total),
                "calls_per_cpu_s": per_second,
            }));
        }
    }
    Ok(rows)
}

/// Writes a certificate for the system in the middle and its key; gives a client that trusts it.
fn papers(folder: &Path) -> Outcome<Arc<ClientConfig>> {
    let wrong = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(wrong)?;
    let mut root = CertificateParams::new(Vec::new()).map_err(wrong)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = root.self_signed(&key).map_err(wrong)?.pem();
    let issuer = Issuer::new(root, key);
    let own = KeyPair::generate().map_err(wrong)?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).map_err(wrong)?;
    let certificate = certificate.signed_by(&own, &issuer).map_err(wrong)?.pem();
    for (name, text) in [("middle.pem", certificate), ("middle.key.pem", own.serialize_pem())] {
        fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
    }
    let mut roots = RootCertStore::empty();
    let authority =
        CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|error| error.to_string())?;
    roots.add(authority).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A handshake that is counted is a whole one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Places `calls` calls over [`CALLERS`] connections at a time, one after the other on each; how many completed.
fn call(client: &Arc<ClientConfig>, to: SocketAddr, calls: u32, each: bool) -> Outcome<u32> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let share = calls / CALLERS + u32::from(caller < calls % CALLERS);
                scope.spawn(move || some(client, to, caller, share, each))
            })
            .collect();
        let mut completed = 0;
        for caller in callers {
            completed += caller.join().map_err(|_| "a caller broke off".to_owned())??;
        }
        Ok(completed)
    })
}

/// A TLS connection with messages on it.
struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
    place: Place,
    got: Vec<u8>,
}

impl Line {
    fn open(client: &Arc<ClientConfig>, to: SocketAddr) -> Outcome<Self> {
        let text = |error: std::io::Error| format!("TLS to {to}: {error}");
        let socket = TcpStream::connect(to).map_err(text)?;
        socket.set_nodelay(true).map_err(text)?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
        let own = socket.local_addr().map_err(text)?;
        let name = to.ip().into();
        let session = ClientConnection::new(client.clone(), name).map_err(|error| error.to_string())?;
        let place = Place { transport: "TLS", own, to };
        Ok(Self { stream: StreamOwned::new(session, socket), place, got: Vec::new() })
    }

    fn say(&mut self, text: &str) -> Outcome<()> {
        self.stream.write_all(text.as_bytes()).map_err(|error| format!("write: {error}"))
    }

    /// The next final response to a request of this method.
    fn answer(&mut self, method: &str) -> Outcome<String> {
        loop {
            while let Some(message) = talk::framed(&mut self.got) {
                let fits = talk::field(&message, "CSeq").ends_with(method);
                if fits && talk::status(&message).is_some_and(|status| status >= 200) {
                    return Ok(message);
                }
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(count) => self.got.extend_from_slice(&bytes[..count]),
                Err(error) => return Err(format!("{method}: {error}")),
            }
        }
    }

    /// One call: whether it was answered and ended as it should.
    fn call(&mut self, id: &str) -> Outcome<bool> {
        let number = "4930123456";
        self.say(&self.place.invite(number, id))?;
        let answer = self.answer("INVITE")?;
        if talk::status(&answer) != Some(200) {
            self.say(&self.place.ack_refusal(number, id, &answer))?;
            return Ok(false);
        }
        let both = self.place.inside("ACK", 1, id, &answer) + &self.place.inside("BYE", 2, id, &answer);
        self.say(&both)?;
        Ok(talk::status(&self.answer("BYE")?) == Some(200))
    }
}

fn some(client: &Arc<ClientConfig>, to: SocketAddr, caller: u32, calls: u32, each: bool) -> Outcome<u32> {
    let mut completed = 0;
    let mut line = None;
    for call in 0..calls {
        if each {
            line = None;
        }
        let open = match line.take() {
            Some(open) => open,
            None => Line::open(client, to)?,
        };
        let open = line.insert(open);
        let id = format!("t{}x{caller}x{call}", open.place.own.port());
        match open.call(&id) {
            Ok(done) => completed += u32::from(done),
            // A connection that broke costs its call, not those behind it.
            Err(_) => line = None,
        }
    }
    Ok(completed)
}
