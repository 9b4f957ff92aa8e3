//! What phones cost their registrar: each registers with digest, asked for its password every time; and its place in memory.

use crate::Bench;
use crate::middle::{Kind, Middle, Setting};
use crate::process::{Outcome, pause};
use crate::record::rounded;
use crate::talk::{self, Place};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Phones that register at the same time.
const AT_ONCE: u32 = 16;
/// How often each registers again for the rate.
const ROUNDS: u32 = 3;
/// The password of all.
const PASSWORD: &str = "secret";

fn user(number: u32) -> String {
    format!("phone{number:05}")
}

/// Each system: all phones register for the first time, and then again.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let phones = bench.extent.phones;
    let mut users = String::new();
    for number in 0..phones {
        let _ = write!(users, "[[user]]\nname = \"{}\"\npassword = \"{PASSWORD}\"\n", user(number));
    }
    let config = bench.folder.join("users.toml");
    fs::write(&config, users).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for kind in [Kind::Kamailio, Kind::Uring, Kind::Fallback] {
        let setting = Setting {
            gateway: vec![format!("--config={}", config.display())],
            kamailio: include_str!("kamailio-registrar.cfg").to_owned(),
            ..Setting::default()
        };
        // Nobody is called: the carriers' ports are never used.
        let middle = Middle::start_as(kind, &bench.trunkline, [9, 9], &bench.folder, &setting)?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, middle.port));
        // One phone first: what the first of all needs is not the phones'.
        round(to, 1, 0)?;
        pause(1.0);
        let empty = middle.usage();
        let first = round(to, phones, 1)?;
        pause(2.0);
        let full = middle.usage();
        let start = Instant::now();
        let mut registered = 0;
        for again in 0..ROUNDS {
            registered += round(to, phones, 2 + again)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        pause(2.0);
        let used = middle.usage().since(&full);
        let rate = f64::from(registered) / seconds;
        let memory = full.memory.saturating_sub(empty.memory);
        println!(
            "registrar   {:<22} {phones} phones  {rate:.0} registrations/s  {:.0} a CPU-second  {:.0} bytes a phone  {} failed",
            kind.name(),
            f64::from(registered) / used.total.max(1e-9),
            memory as f64 / f64::from(phones),
            phones * (1 + ROUNDS) - first - registered,
        );
        rows.push(json!({
            "system": kind.name(),
            "phones": phones,
            "registered_first": first,
            "registered_again": registered,
            "asked_again": phones * ROUNDS,
            "seconds": rounded(seconds),
            "registrations_per_s": rounded(rate),
            "cpu_s": rounded(used.total),
            "registrations_per_cpu_s": rounded(f64::from(registered) / used.total.max(1e-9)),
            "memory_before_bytes": empty.memory,
            "memory_after_bytes": full.memory,
            "memory_per_phone_bytes": rounded(memory as f64 / f64::from(phones)),
        }));
    }
    Ok(rows)
}

/// Has every phone register once, a few at a time; how many were.
fn round(to: SocketAddr, phones: u32, round: u32) -> Outcome<u32> {
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..AT_ONCE).map(|worker| scope.spawn(move || some(to, worker, phones, round))).collect();
        let mut registered = 0;
        for worker in workers {
            registered += worker.join().map_err(|_| "a phone broke off".to_owned())??;
        }
        Ok(registered)
    })
}

fn some(to: SocketAddr, worker: u32, phones: u32, round: u32) -> Outcome<u32> {
    let text = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    socket.connect(to).map_err(text)?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).map_err(text)?;
    let place = Place { transport: "UDP", own: socket.local_addr().map_err(text)?, to };
    let uri = format!("sip:{to}");
    let mut registered = 0;
    for number in (worker..phones).step_by(AT_ONCE as usize) {
        let (user, call) = (user(number), format!("reg{round}x{number}"));
        let Some(challenge) = ask(&socket, &place.register(&user, &call, 1, ""), &call, 1) else { continue };
        let Some(credentials) = talk::credentials(&user, PASSWORD, &uri, &challenge) else { continue };
        let answer = ask(&socket, &place.register(&user, &call, 2, &credentials), &call, 2);
        registered += u32::from(answer.as_deref().and_then(talk::status) == Some(200));
    }
    Ok(registered)
}

/// Sends a request until its final response comes, three times at most.
fn ask(socket: &UdpSocket, request: &str, call: &str, cseq: u32) -> Option<String> {
    let mut bytes = [0; 4096];
    for _ in 0..3 {
        socket.send(request.as_bytes()).ok()?;
        while let Ok(count) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]);
            let fits = talk::field(&text, "Call-ID") == call
                && talk::field(&text, "CSeq") == format!("{cseq} REGISTER");
            if fits && talk::status(&text).is_some_and(|status| status >= 200) {
                return Some(text.into_owned());
            }
        }
    }
    None
}
