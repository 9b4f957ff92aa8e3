//! A DNS server on a thread of its own, written for these tests: a handful of records, and the bad habits of servers.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Honest,
    /// Never answers.
    Silent,
    /// Says over UDP that the answer does not fit.
    Truncating,
    /// Sends a forged answer with another identifier before each true one.
    Forged,
    /// SERVFAIL.
    Failing,
}

/// A record's data.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Address(IpAddr),
    /// Priority, weight, port, host.
    Srv(u16, u16, u16, String),
    /// Order, preference, services, replacement.
    Naptr(u16, u16, String, String),
    Alias(String),
}

impl Data {
    const fn kind(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => 1,
            Self::Address(IpAddr::V6(_)) => 28,
            Self::Srv(..) => 33,
            Self::Naptr(..) => 35,
            Self::Alias(_) => 5,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let numbers = |numbers: &[u16]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        match self {
            Self::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Self::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Self::Srv(priority, weight, port, host) => {
                [numbers(&[*priority, *weight, *port]), name(host)].concat()
            }
            Self::Naptr(order, preference, services, replacement) => {
                let mut bytes = numbers(&[*order, *preference]);
                bytes.extend_from_slice(b"\x01s");
                bytes.push(services.len() as u8);
                bytes.extend_from_slice(services.as_bytes());
                bytes.push(0);
                [bytes, name(replacement)].concat()
            }
            Self::Alias(host) => name(host),
        }
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

#[derive(Debug)]
struct Zone {
    habit: Habit,
    ttl: u32,
    records: Vec<(String, Data)>,
    /// What was asked, as `KIND name`, with `tcp ` before it over TCP.
    asked: Vec<String>,
}

/// The server.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Serves records, each to be kept for `ttl` seconds.
    pub(crate) fn start(ttl: u32, records: &[(&str, Data)]) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            // The same port may be taken for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let records = records.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        let zone = Arc::new(Mutex::new(Zone { habit: Habit::Honest, ttl, records, asked: Vec::new() }));
        let stop = Arc::new(AtomicBool::new(false));
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let datagrams = {
            let (zone, stop) = (zone.clone(), stop.clone());
            std::thread::spawn(move || serve_udp(&udp, &zone, &stop))
        };
        let streams = {
            let (zone, stop) = (zone.clone(), stop.clone());
            std::thread::spawn(move || serve_tcp(&tcp, &zone, &stop))
        };
        Self { address, zone, stop, threads: vec![datagrams, streams] }
    }

    pub(crate) fn turn_to(&self, habit: Habit) {
        self.zone.lock().unwrap().habit = habit;
    }

    /// Puts other records in place of all.
    pub(crate) fn replace(&self, records: &[(&str, Data)]) {
        self.zone.lock().unwrap().records =
            records.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.zone.lock().unwrap().asked.clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the DNS server's thread failed");
        }
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        let mut zone = zone.lock().unwrap();
        let habit = zone.habit;
        let answer = zone.answer(&buffer[..length], false);
        match habit {
            Habit::Silent => continue,
            Habit::Forged => {
                let mut forged = answer.clone();
                forged[0] ^= 0x55;
                let last = forged.len() - 1;
                forged[last] ^= 0x7f;
                let _ = socket.send_to(&forged, source);
            }
            Habit::Honest | Habit::Truncating | Habit::Failing => {}
        }
        let _ = socket.send_to(&answer, source);
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Mutex<Zone>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            continue;
        }
        let answer = zone.lock().unwrap().answer(&question, true);
        // In two pieces, as streams may come.
        let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        let _ = stream.write_all(&framed[..3]).and_then(|()| stream.write_all(&framed[3..]));
    }
}

impl Zone {
    fn answer(&mut self, question: &[u8], tcp: bool) -> Vec<u8> {
        let (mut at, mut labels) = (12, Vec::new());
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
            at = end;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let mut owner = labels.join(".");
        let word = match kind {
            1 => "A",
            28 => "AAAA",
            33 => "SRV",
            35 => "NAPTR",
            _ => "?",
        };
        self.asked.push(format!("{}{word} {owner}", if tcp { "tcp " } else { "" }));
        let mut answers = Vec::new();
        let mut count = 0u16;
        let mut put = |owner: &str, data: &Data, ttl: u32| {
            let bytes = data.bytes();
            answers.extend(name(owner));
            answers.extend(data.kind().to_be_bytes());
            answers.extend(1u16.to_be_bytes());
            answers.extend(ttl.to_be_bytes());
            answers.extend((bytes.len() as u16).to_be_bytes());
            answers.extend(bytes);
            count += 1;
        };
        let of = |owner: &str, kind: u16| -> Vec<Data> {
            let fits = |record: &&(String, Data)| record.0 == owner && record.1.kind() == kind;
            self.records.iter().filter(fits).map(|(_, data)| data.clone()).collect()
        };
        while let [alias @ Data::Alias(next), ..] = &of(&owner, 5)[..] {
            put(&owner, alias, self.ttl);
            owner.clone_from(next);
        }
        for data in of(&owner, kind) {
            put(&owner, &data, self.ttl);
        }
        let (flags, answers, count) = match self.habit {
            Habit::Truncating if !tcp => (0x8380u16, Vec::new(), 0),
            Habit::Failing => (0x8182, Vec::new(), 0),
            _ => (0x8180, answers, count),
        };
        let mut bytes = question[..2].to_vec();
        for number in [flags, 1, count, 0, 0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend_from_slice(&question[12..at + 5]);
        bytes.extend(answers);
        bytes
    }
}
