//! More calls than the gateway can take: what becomes of those admitted, of those refused, and of the voice of calls that are up.

use crate::Bench;
use crate::middle::{Kind, Middle, Setting};
use crate::process::{Cores, Outcome, Running, free_port, pause};
use crate::record::rounded;
use crate::sipp::Carrier;
use crate::talk::{self, Place};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// RFC 3261 T1.
const T1: Duration = Duration::from_millis(500);
/// INVITEs are sent again so often; then the caller gives up.
const AGAIN: u32 = 4;
/// Waiting this long for anything to come, while nothing is due.
const NAP: Duration = Duration::from_micros(100);

/// Each driver at each rate, with voice up beside.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    for kind in [Kind::Uring, Kind::Fallback] {
        for &rate in bench.extent.overload_rates {
            rows.push(step(bench, kind, rate)?);
        }
    }
    Ok(rows)
}

fn step(bench: &Bench, kind: Kind, rate: u32) -> Outcome<Value> {
    let carrier = Carrier::start("carrier-a", &bench.folder)?;
    let voice = free_port()?;
    let setting = Setting {
        gateway: vec!["--route=+4930=b".to_owned(), "--route=55=a".to_owned()],
        ..Setting::default()
    };
    let middle = Middle::start_as(kind, &bench.trunkline, [carrier.port, voice], &bench.folder, &setting)?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, middle.port));
    offer(to, 100, 0.5)?;
    let out = bench.folder.join("overload-result");
    let _ = fs::remove_dir_all(&out);
    let seconds = f64::from(bench.extent.overload_seconds);
    let calls = bench.extent.overload_calls;
    fs::write(bench.folder.join("overload.toml"), plan(calls, seconds, middle.port, voice))
        .map_err(|error| error.to_string())?;
    let arguments = ["load", "run", "overload.toml", "--out", "overload-result"].map(str::to_owned);
    let mut load = Running::start("load-run", &bench.trunkline, &arguments, Cores::Load, &bench.folder)?;
    // All calls with voice are up before more come.
    pause(RAMP + 1.5);
    let (began, before) = (Instant::now(), middle.usage());
    let offered = offer(to, rate, seconds)?;
    let used = middle.usage().since(&before);
    let busy = began.elapsed().as_secs_f64();
    load.wait(Duration::from_secs_f64(seconds + 60.0));
    drop(load);
    let series = fs::read_to_string(out.join("series.jsonl")).unwrap_or_default();
    let heard = crate::media::plateau_of(&series, RAMP + 1.5, RAMP + 1.5 + seconds);
    let row = json!({
        "system": kind.name(),
        "rate": rate,
        "seconds": seconds,
        "offered": offered.sent,
        "offered_per_s": rounded(f64::from(offered.sent) / offered.seconds),
        "admitted": offered.delays.len(),
        "admitted_per_s": rounded(offered.delays.len() as f64 / offered.seconds),
        "refused": offered.refused,
        "refused_per_s": rounded(f64::from(offered.refused) / offered.seconds),
        "refused_without_retry_after": offered.refused - offered.retry_after,
        "failed": offered.failed,
        "invites_again": offered.again,
        "setup_p50_ms": offered.delay(0.5),
        "setup_p99_ms": offered.delay(0.99),
        "cores": rounded(used.total / busy),
        "voice_calls": calls,
        "voice": heard,
    });
    println!(
        "overload    {:<22} {rate:>6} calls/s offered  {} admitted, {} refused, {} failed  set-up p50 {} p99 {} ms  {:.2} cores  voice {} of {} lost",
        kind.name(),
        offered.delays.len(),
        offered.refused,
        offered.failed,
        row["setup_p50_ms"],
        row["setup_p99_ms"],
        used.total / busy,
        row["voice"]["lost"],
        row["voice"]["sent"],
    );
    Ok(row)
}

/// Seconds over which the calls with voice come up.
const RAMP: f64 = 1.0;

fn plan(calls: u32, seconds: f64, to: u16, voice: u16) -> String {
    format!(
        r#"name = "overload"
[target]
to = "sip:+4930{{00000-99999}}@127.0.0.1:{to}"
[[carrier]]
name = "b"
listen = "127.0.0.1:{voice}"
[arrival]
law = "constant"
rate = {:?}
seconds = {RAMP:?}
calls = {calls}
[hold]
law = "fixed"
seconds = {:?}
[media]
rtp = true
codec = "PCMA"
"#,
        f64::from(calls) / RAMP,
        RAMP + seconds + 4.0
    )
}

/// A call on its way.
struct Pending {
    sent: Instant,
    tries: u32,
    /// The BYE, once it was answered.
    bye: Option<String>,
    /// The ACK to its answer, to be sent again.
    ack: String,
}

/// What was offered, and what came of it.
#[derive(Default)]
struct Offered {
    sent: u32,
    refused: u32,
    retry_after: u32,
    failed: u32,
    again: u32,
    seconds: f64,
    /// From the INVITE to the answer of every call admitted.
    delays: Vec<Duration>,
}

impl Offered {
    fn delay(&self, share: f64) -> Option<f64> {
        let mut delays = self.delays.clone();
        delays.sort();
        let at = ((delays.len() as f64 * share) as usize).min(delays.len().checked_sub(1)?);
        Some(rounded(delays[at].as_secs_f64() * 1000.0))
    }
}

/// A socket whose buffer holds what comes while the caller is not scheduled.
fn socket() -> Outcome<UdpSocket> {
    let make = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // The host may allow less.
        let _ = socket.set_recv_buffer_size(8 << 20);
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.set_nonblocking(true)?;
        Ok::<UdpSocket, std::io::Error>(socket.into())
    };
    make().map_err(|error| error.to_string())
}

/// Offers calls at a rate, whatever becomes of those before; each is hung up as soon as it is answered.
fn offer(to: SocketAddr, rate: u32, seconds: f64) -> Outcome<Offered> {
    let socket = socket()?;
    let own = socket.local_addr().map_err(|error| error.to_string())?;
    let place = Place { transport: "UDP", own, to };
    let number = "5512345678";
    let mut offered = Offered::default();
    let mut pending: HashMap<String, Pending> = HashMap::new();
    // What may have to be sent again, in the order of its time: every wait has a queue.
    let mut waits: Vec<VecDeque<(Instant, String)>> = vec![VecDeque::new(); AGAIN as usize];
    let start = Instant::now();
    let total = (f64::from(rate) * seconds) as u32;
    let mut bytes = [0; 8192];
    loop {
        let now = Instant::now();
        let due = ((now - start).as_secs_f64() * f64::from(rate)) as u32;
        while offered.sent < due.min(total) {
            let id = format!("o{}x{}", own.port(), offered.sent);
            // A send buffer that is full is a call that comes a little later.
            let _ = socket.send_to(place.invite(number, &id).as_bytes(), to);
            pending.insert(
                id.clone(),
                Pending { sent: Instant::now(), tries: 0, bye: None, ack: String::new() },
            );
            waits[0].push_back((now + T1, id));
            offered.sent += 1;
        }
        if offered.sent == total && offered.seconds == 0.0 {
            offered.seconds = (now - start).as_secs_f64();
        }
        let mut quiet = true;
        for _ in 0..64 {
            let Ok((count, _)) = socket.recv_from(&mut bytes) else { break };
            quiet = false;
            let text = String::from_utf8_lossy(&bytes[..count]);
            hear(&socket, &place, number, &text, &mut pending, &mut offered);
        }
        for tries in 0..waits.len() {
            while waits[tries].front().is_some_and(|front| front.0 <= now) {
                let Some((_, id)) = waits[tries].pop_front() else { break };
                let Some(call) = pending.get_mut(&id) else { continue };
                let again = call.bye.clone().unwrap_or_else(|| place.invite(number, &id));
                if tries + 1 == waits.len() {
                    // Nobody answered it in 7.5 s.
                    offered.failed += u32::from(call.bye.is_none());
                    pending.remove(&id);
                    continue;
                }
                call.tries += 1;
                offered.again += u32::from(call.bye.is_none());
                let _ = socket.send_to(again.as_bytes(), to);
                waits[tries + 1].push_back((now + T1 * (1 << (tries + 1)), id));
            }
        }
        if offered.sent == total && pending.is_empty() {
            return Ok(offered);
        }
        if quiet {
            std::thread::sleep(NAP);
        }
    }
}

fn hear(
    socket: &UdpSocket,
    place: &Place,
    number: &str,
    text: &str,
    pending: &mut HashMap<String, Pending>,
    offered: &mut Offered,
) {
    let Some(status) = talk::status(text).filter(|status| *status >= 200) else { return };
    let id = talk::field(text, "Call-ID");
    let invite = talk::field(text, "CSeq").ends_with("INVITE");
    if !invite {
        pending.remove(id);
        return;
    }
    if status >= 300 {
        let _ = socket.send_to(place.ack_refusal(number, id, text).as_bytes(), place.to);
        if pending.remove(id).is_some() {
            if status == 503 {
                offered.refused += 1;
                offered.retry_after += u32::from(!talk::field(text, "Retry-After").is_empty());
            } else {
                offered.failed += 1;
            }
        }
        return;
    }
    let Some(call) = pending.get_mut(id) else { return };
    if call.bye.is_none() {
        offered.delays.push(call.sent.elapsed());
        call.ack = place.inside("ACK", 1, id, text);
        let bye = place.inside("BYE", 2, id, text);
        let _ = socket.send_to(call.ack.as_bytes(), place.to);
        let _ = socket.send_to(bye.as_bytes(), place.to);
        call.bye = Some(bye);
    } else {
        let _ = socket.send_to(call.ack.as_bytes(), place.to);
    }
}
