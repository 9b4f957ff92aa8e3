//! Measures the bare relay: what a core costs and how long a packet takes, by number of calls, back-end and window.
//!
//! A call is two streams of one 172-byte packet per 20 ms; each stream has its own relay socket and leaves
//! through the other one of its pair, as in a gateway. A sender thread paces all streams evenly; a sink thread
//! takes the kernel's time of receipt, so that its own waking does not count. The relay is pinned to the
//! last core, sender and sink to the first.
//!
//! `relay_loop [--calls 10,100,1000] [--io uring,fallback] [--coalesce MICROS,...] [--seconds N] [--buffers N]`
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use driver::mailbox::{Sender, mailbox};
use driver::{Choice, Driver, Options, RunStats, affinity, clock, spawn};
use sansio::{Input, Machine, Outbox, SocketId, SocketOptions, Time};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(20);
const PACKET: usize = 172;
const SINKS: usize = 16;

enum Mail {
    Measure(mpsc::Sender<RunStats>, std::sync::Arc<driver::Gauges>),
    Stop,
}

/// Sends what it gets out of the other socket of the pair.
struct Relay {
    sinks: Vec<SocketAddr>,
}

impl Machine for Relay {
    type Mail = Mail;
    fn handle(&mut self, _: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match input {
            Input::Datagram(datagram) => {
                let to = self.sinks[datagram.socket.0 as usize % SINKS];
                out.send(SocketId(datagram.socket.0 ^ 1), to, datagram.payload);
            }
            Input::Mail(Mail::Stop) => out.stop(),
            _ => {}
        }
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Notes how long each packet was under way, once told to.
struct Sink {
    delays: Vec<u64>,
    measuring: bool,
}

impl Machine for Sink {
    type Mail = Mail;
    fn handle(&mut self, _: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match input {
            Input::Datagram(datagram) if self.measuring => {
                let sent = u64::from_be_bytes(datagram.payload[..8].try_into().unwrap());
                self.delays.push(datagram.received.as_nanos().saturating_sub(sent));
            }
            Input::Mail(Mail::Measure(answer, gauges)) => {
                self.measuring = !self.measuring;
                answer.send(gauges.read()).unwrap();
            }
            Input::Mail(Mail::Stop) => out.stop(),
            _ => {}
        }
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

struct Row {
    core: f64,
    wakes: f64,
    enters: f64,
    delays: Vec<u64>,
    relay: RunStats,
    sent: u64,
}

fn measure(options: Options, calls: usize, seconds: u64) -> Row {
    let cores = affinity::available();
    let (first, last) = (cores[0], *cores.last().unwrap());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let big = SocketOptions { receive_buffer: 4 << 20, timestamps: true, ..Default::default() };

    let (sink_mail, sink_receiver) = mailbox(8).unwrap();
    let (tell, addresses) = mpsc::channel();
    let sink_options = Options {
        io: Choice::Fallback,
        cpu: Some(first),
        coalesce: Duration::from_millis(5),
        ..Options::default()
    };
    let sink = spawn("sink", None, move || {
        let mut driver = Driver::new(sink_options, sink_receiver, Vec::new()).unwrap();
        let mut sinks = Vec::new();
        for n in 0..SINKS {
            let socket = UdpSocket::bind(any).unwrap();
            sinks.push(socket.local_addr().unwrap());
            driver.adopt_udp(SocketId(n as u32), socket, big).unwrap();
        }
        tell.send(sinks).unwrap();
        let mut sink = Sink { delays: Vec::with_capacity(4_000_000), measuring: false };
        driver.run(&mut sink);
        sink.delays
    })
    .unwrap();
    let sinks = addresses.recv().unwrap();

    let (relay_mail, relay_receiver) = mailbox(8).unwrap();
    let (tell, addresses) = mpsc::channel();
    let relay_options = Options { cpu: Some(last), ..options };
    let relay = spawn("relay", None, move || {
        let mut driver = Driver::new(relay_options, relay_receiver, Vec::new()).unwrap();
        let mut ports = Vec::new();
        for n in 0..2 * calls {
            let socket = UdpSocket::bind(any).unwrap();
            ports.push(socket.local_addr().unwrap());
            driver.adopt_udp(SocketId(n as u32), socket, SocketOptions::default()).unwrap();
        }
        tell.send((ports, driver.gauges())).unwrap();
        driver.run(&mut Relay { sinks })
    })
    .unwrap();
    let (ports, gauges) = addresses.recv().unwrap();

    let sender = spawn("pacer", Some(first), move || pace(&ports, Duration::from_secs(seconds + 1))).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let toggle = |mail: &Sender<Mail>| {
        let (answer, stats) = mpsc::channel();
        assert!(mail.send(Mail::Measure(answer, std::sync::Arc::clone(&gauges))).is_ok());
        stats.recv().unwrap()
    };
    let before = toggle(&sink_mail);
    std::thread::sleep(Duration::from_secs(seconds));
    let after = toggle(&sink_mail);
    let sent = sender.join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(relay_mail.send(Mail::Stop).is_ok() && sink_mail.send(Mail::Stop).is_ok());
    let relay = relay.join().unwrap();
    let mut delays = sink.join().unwrap();
    delays.sort_unstable();
    let span = (after.elapsed_nanos - before.elapsed_nanos) as f64 / 1e9;
    Row {
        core: after.busy_since(&before),
        wakes: (after.wakes - before.wakes) as f64 / span,
        enters: (after.enters - before.enters) as f64 / span,
        delays,
        relay,
        sent,
    }
}

/// Sends one packet per port and period, evenly spread, for `span`; returns how many.
fn pace(ports: &[SocketAddr], span: Duration) -> u64 {
    let sockets: Vec<_> = (0..SINKS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    // As sharp as the driver's own threads: making a driver sets the thread's timer slack.
    let (_mail, receiver) = mailbox::<()>(1).unwrap();
    drop(Driver::new(Options { io: Choice::Fallback, ..Options::default() }, receiver, Vec::new()));
    let step = PERIOD.as_nanos() as u64 / ports.len() as u64;
    let start = clock::now();
    let total = span.as_nanos() as u64 / step;
    let mut packet = [0u8; PACKET];
    for n in 0..total {
        let due = start + Duration::from_nanos(n * step);
        let mut now = clock::now();
        if now < due {
            clock::sleep_until(due);
            now = clock::now();
        }
        packet[..8].copy_from_slice(&now.as_nanos().to_be_bytes());
        let at = n as usize % ports.len();
        let _ = sockets[at % SINKS].send_to(&packet, ports[at]);
    }
    total
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').map(|word| word.parse().unwrap_or_else(|_| panic!("not understood: {word}"))).collect()
}

fn main() {
    let mut calls: Vec<usize> = vec![10, 100, 300, 1000, 2000];
    let mut ios = vec![Choice::Uring, Choice::Fallback];
    let mut windows: Vec<u64> = vec![0, 500];
    let mut seconds = 3;
    let mut buffers = Options::default().small_buffers;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { panic!("a value is missing") };
        match name.as_str() {
            "--calls" => calls = list(value),
            "--io" => ios = list(value),
            "--coalesce" => windows = list(value),
            "--seconds" => seconds = value.parse().unwrap(),
            "--buffers" => buffers = value.parse().unwrap(),
            _ => panic!("unknown option {name}"),
        }
    }
    println!(
        "calls io       window_us  core   p50_us  p99_us  p999_us  wakes/s  enters/s  lost  drops  nobuf"
    );
    for &count in &calls {
        for &window in &windows {
            for &io in &ios {
                let coalesce = Duration::from_micros(window);
                let options = Options { io, coalesce, small_buffers: buffers, ..Options::default() };
                let row = measure(options, count, seconds);
                let at = |part: f64| {
                    let index = (row.delays.len() as f64 * part) as usize;
                    row.delays.get(index).map_or(0.0, |nanos| *nanos as f64 / 1000.0)
                };
                println!(
                    "{count:5} {:8} {window:9}  {:.3}  {:6.0}  {:6.0}  {:7.0}  {:7.0}  {:8.0}  {:4}  {:5}  {:5}",
                    io.to_string(),
                    row.core,
                    at(0.5),
                    at(0.99),
                    at(0.999),
                    row.wakes,
                    row.enters,
                    row.sent.saturating_sub(row.relay.datagrams_out),
                    row.relay.socket_drops,
                    row.relay.buffers_exhausted,
                );
            }
        }
    }
}
