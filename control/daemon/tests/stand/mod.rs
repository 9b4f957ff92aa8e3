//! What the tests of this crate share: a gateway of one shard that says what the test wants, and an HTTP client.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use controld::{Config, Handle, Inbox, Links};
use link::{
    Attempt, CallAnswered, CallId, CallRecord, Cdr, Command, End, Event, Figure, Hello, LiveCall, PeerFacts,
    Phase, RouteEntry, RouteTable, RoutingSnapshot, Selection, ShardId, ShardReport, Side, TrunkFacts,
    TrunkGroup, TrunkState, UnixMicros,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const SHARD: ShardId = ShardId(0);

/// The events under way and what the shard was told.
#[derive(Default)]
pub struct Shared {
    events: VecDeque<(ShardId, Event)>,
    asleep: bool,
    pub told: Vec<Command>,
    pub mute: bool,
    pub full: bool,
    pub draining: bool,
    pub live: Vec<LiveCall>,
}

pub struct Gateway {
    pub shared: Arc<Mutex<Shared>>,
    wake: Arc<UnixStream>,
}

struct Box1 {
    shared: Arc<Mutex<Shared>>,
    sleep: UnixStream,
}

impl Inbox for Box1 {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.sleep.as_fd()
    }

    fn next(&mut self) -> Option<(ShardId, Event)> {
        self.shared.lock().unwrap().events.pop_front()
    }

    fn arm(&mut self) -> bool {
        let mut shared = self.shared.lock().unwrap();
        shared.asleep = shared.events.is_empty();
        shared.asleep
    }

    fn disarm(&mut self) {
        self.shared.lock().unwrap().asleep = false;
        let mut bytes = [0; 64];
        while (&self.sleep).read(&mut bytes).is_ok_and(|read| read > 0) {}
    }
}

impl Gateway {
    pub fn new() -> (Self, Links) {
        let (wake, sleep) = UnixStream::pair().unwrap();
        sleep.set_nonblocking(true).unwrap();
        wake.set_nonblocking(true).unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let it = Self { shared: Arc::clone(&shared), wake: Arc::new(wake) };
        let inbox = Box::new(Box1 { shared: Arc::clone(&shared), sleep });
        let (told, wake) = (Arc::clone(&shared), Arc::clone(&it.wake));
        let commands = Box::new(move |shard: ShardId, command: &Command| {
            let mut shared = told.lock().unwrap();
            if shared.full {
                return false;
            }
            if let (Command::ReportAsked(asked), false) = (command, shared.mute) {
                let report = report(&shared, asked.ticket);
                shared.events.push_back((shard, Event::Report(Box::new(report))));
                wake_up(&mut shared, &wake);
            }
            shared.told.push(command.clone());
            true
        });
        (it, Links { inbox, commands })
    }

    pub fn say(&self, event: Event) {
        let mut shared = self.shared.lock().unwrap();
        shared.events.push_back((SHARD, event));
        wake_up(&mut shared, &self.wake);
    }

    pub fn hello(&self) {
        self.say(Event::Hello(Hello { version: link::VERSION, started: UnixMicros(1) }));
    }

    /// Waits until the shard was told something that `wanted` accepts.
    pub fn until_told<T>(&self, mut wanted: impl FnMut(&[Command]) -> Option<T>) -> T {
        let late = Instant::now() + Duration::from_secs(20);
        loop {
            let shared = self.shared.lock().unwrap();
            if let Some(found) = wanted(&shared.told) {
                return found;
            }
            assert!(Instant::now() < late, "told only {:?}", shared.told);
            drop(shared);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn until_acknowledged(&self, count: usize) {
        self.until_told(|told| (acknowledged(told).len() >= count).then_some(()));
    }
}

pub fn acknowledged(told: &[Command]) -> Vec<CallId> {
    let calls = told
        .iter()
        .filter_map(|it| if let Command::CdrAcknowledged(calls) = it { Some(calls) } else { None });
    calls.flatten().copied().collect()
}

fn wake_up(shared: &mut Shared, mut wake: &UnixStream) {
    if std::mem::take(&mut shared.asleep) {
        wake.write_all(&[1]).unwrap();
    }
}

fn report(shared: &Shared, ticket: link::Ticket) -> ShardReport {
    ShardReport {
        ticket,
        calls_total: shared.live.len() as u64,
        calls_answered: 0,
        calls: shared.live.clone(),
        figures: vec![
            Figure::counter("sip_requests_total", "Requests by \"method\"\nreceived.", 7)
                .labelled("method", "INVITE"),
            Figure::counter("sip_requests_total", "Requests by \"method\"\nreceived.", 3)
                .labelled("method", "B\"Y\\E"),
            Figure::gauge("ports_free", "Free port pairs.", 12),
        ],
        trunks: vec![TrunkFacts {
            trunk: "alpha".into(),
            calls: 1,
            own_calls: 1,
            max_calls: 100,
            max_cps: None,
            state: TrunkState::Up,
            registration: None,
            peers: vec![PeerFacts { address: peer(), state: TrunkState::Up, why: "".into() }],
            names: Vec::new(),
            heard: link::TrunkHeard::default(),
        }],
        draining: shared.draining,
    }
}

pub fn peer() -> SocketAddr {
    "127.0.0.1:5070".parse().unwrap()
}

pub fn live(call: u64) -> LiveCall {
    LiveCall {
        call: CallId(call),
        shard: SHARD,
        phase: Phase::Ringing,
        from: "1000".into(),
        dialled: "86138".into(),
        source: "[::1]:5080".parse().unwrap(),
        trunk: Some("alpha".into()),
        peer: Some(peer()),
        started: UnixMicros(call),
        answered: None,
        media: None,
    }
}

pub fn started(call: u64) -> Event {
    Event::CallStarted(Box::new(CallRecord {
        call: CallId(call),
        shard: SHARD,
        started: UnixMicros(call),
        sip_call_id: format!("{call}@a"),
        from: "1000".into(),
        dialled: format!("86{call}"),
        source: "[::1]:5080".parse().unwrap(),
    }))
}

pub fn answered(call: u64) -> Event {
    Event::CallAnswered(CallAnswered {
        call: CallId(call),
        at: UnixMicros(call + 2_000_000),
        trunk: "alpha".into(),
        peer: peer(),
        heard_us: Some(1000),
    })
}

pub fn cdr(call: u64, status: u16) -> Cdr {
    Cdr {
        call: CallId(call),
        shard: SHARD,
        caller_sip_call_id: format!("{call}@a"),
        callee_sip_call_id: None,
        from: "1000".into(),
        dialled: format!("86{call}"),
        routed: Some(format!("0{call}")),
        source: "[::1]:5080".parse().unwrap(),
        trunk: Some("alpha".into()),
        peer: Some(peer()),
        attempts: vec![Attempt {
            trunk: "alpha".into(),
            peer: peer(),
            status: Some(status),
            cause: "said so".into(),
            spent_us: 2500,
            heard_us: Some(1500),
            reason: if status == 200 { link::Reason::Answered } else { link::Reason::Status },
            redirected: None,
        }],
        started: UnixMicros(call),
        answered: (status == 200).then_some(UnixMicros(call + 2_000_000)),
        ended: UnixMicros(call + 10_000_000),
        pdd_us: Some(1500),
        setup_us: None,
        end: End { side: Side::Caller, status, q850: Some(16), cause: "normal".into() },
        media: None,
        identity: None,
        session_id: None,
        transfer: None,
    }
}

pub fn ended(call: u64, status: u16) -> Event {
    Event::CallEnded(Box::new(cdr(call, status)))
}

/// A folder of one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trunkline-controld-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn config(folder: &Folder) -> Config {
    Config {
        http: Some("127.0.0.1:0".parse().unwrap()),
        data: folder.0.clone(),
        io: "fallback".into(),
        scheduling: "normal",
        workers: 1,
        version: "0.0.1".into(),
        routing: routing(1),
        fetching: None,
        log: Box::new(|_| ()),
    }
}

pub fn routing(version: u64) -> RouteTable {
    let group =
        TrunkGroup { name: "all".into(), selection: Selection::Weighted, trunks: vec!["alpha".into()] };
    let route = RouteEntry {
        prefix: String::new(),
        groups: vec!["all".into()],
        strip: 0,
        prepend: String::new(),
        ask: false,
    };
    RouteTable::new(RoutingSnapshot { version, groups: vec![group], routes: vec![route] }).unwrap()
}

/// A control plane with a shard that said hello.
pub fn running(folder: &Folder) -> (Gateway, Handle) {
    let (gateway, links) = Gateway::new();
    let handle = controld::start(config(folder), links).unwrap();
    gateway.hello();
    gateway.until_told(|told| told.iter().any(|it| matches!(it, Command::Snapshot(_))).then_some(()));
    (gateway, handle)
}

/// What a server answered.
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> serde_json::Value {
        assert!(self.head.to_lowercase().contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub fn get(handle: &Handle, path: &str) -> Response {
    request(handle, "GET", path)
}

pub fn request(handle: &Handle, method: &str, path: &str) -> Response {
    let mut stream = TcpStream::connect(handle.http().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole response");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
    Response { status, head: head.to_owned(), body: body.to_owned() }
}
