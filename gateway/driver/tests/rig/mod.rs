//! A machine for tests: tells the test thread what it is given and does what it is told by mail.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use driver::mailbox::{Receiver, Sender, mailbox};
use driver::{Choice, Driver, Gauges, Io, Options, RunStats, spawn};
use sansio::{
    Input, Machine, Outbox, SocketEvent, SocketId, SocketOptions, StreamEnd, StreamEvent, StreamId, Time,
};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Something to do inside the machine.
#[allow(clippy::type_complexity, reason = "said once")]
pub struct Order(pub Box<dyn FnOnce(&mut Stage, &mut Outbox<Self>) + Send>);

#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Datagram { socket: SocketId, source: SocketAddr, received: Time, now: Time, payload: Vec<u8> },
    Unreachable(SocketId, SocketAddr),
    Socket(SocketId, SocketEvent),
    Accepted(StreamId, SocketId, SocketAddr, SocketAddr),
    Connected(StreamId, SocketAddr),
    Data(StreamId, Vec<u8>),
    Closed(StreamId, StreamEnd),
    Timeout { due: Time, now: Time },
}

pub struct Stage {
    seen: mpsc::Sender<Seen>,
    pub deadline: Option<Time>,
    pub last: Time,
    /// Datagrams and stream bytes go back where they came from, unseen.
    pub echo: bool,
}

impl Machine for Stage {
    type Mail = Order;

    fn handle(&mut self, now: Time, input: Input<'_, Order>, out: &mut Outbox<Order>) {
        assert!(now >= self.last, "time runs forwards");
        self.last = now;
        let seen = match input {
            Input::Mail(Order(order)) => return order(self, out),
            Input::Datagram(datagram) if self.echo => {
                return out.send(datagram.socket, datagram.source, datagram.payload);
            }
            Input::Datagram(datagram) => Seen::Datagram {
                socket: datagram.socket,
                source: datagram.source,
                received: datagram.received,
                now,
                payload: datagram.payload.to_vec(),
            },
            Input::Unreachable { socket, destination } => Seen::Unreachable(socket, destination),
            Input::Socket(socket, event) => Seen::Socket(socket, event),
            Input::Stream(stream, StreamEvent::Accepted { listener, local, remote }) => {
                Seen::Accepted(stream, listener, local, remote)
            }
            Input::Stream(stream, StreamEvent::Connected { local }) => Seen::Connected(stream, local),
            Input::Stream(stream, StreamEvent::Data(bytes)) if self.echo => return out.write(stream, bytes),
            Input::Stream(stream, StreamEvent::Data(bytes)) => Seen::Data(stream, bytes.to_vec()),
            Input::Stream(stream, StreamEvent::Closed(end)) => Seen::Closed(stream, end),
            Input::Timeout => {
                let due = self.deadline.take().expect("no timeout was asked for");
                assert!(due <= now, "early");
                Seen::Timeout { due, now }
            }
        };
        let _ = self.seen.send(seen);
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

/// A driver running a [`Stage`] on its own thread.
pub struct Rig {
    pub seen: mpsc::Receiver<Seen>,
    pub mail: Sender<Order>,
    pub gauges: Arc<Gauges>,
    thread: Option<JoinHandle<RunStats>>,
}

impl Rig {
    pub fn start(options: Options) -> Self {
        let (mail, receiver) = mailbox(1024).unwrap();
        Self::start_with(options, mail, receiver, Vec::new())
    }

    /// A rig that listens as socket 0.
    pub fn start_adopting(
        options: Options,
        mail: Sender<Order>,
        receiver: Receiver<Order>,
        listener: TcpListener,
    ) -> Self {
        Self::run(options, mail, receiver, Vec::new(), Some(listener))
    }

    pub fn start_with(
        options: Options,
        mail: Sender<Order>,
        receiver: Receiver<Order>,
        posts: Vec<Option<Sender<Order>>>,
    ) -> Self {
        Self::run(options, mail, receiver, posts, None)
    }

    fn run(
        options: Options,
        mail: Sender<Order>,
        receiver: Receiver<Order>,
        posts: Vec<Option<Sender<Order>>>,
        listener: Option<TcpListener>,
    ) -> Self {
        let (tell, seen) = mpsc::channel();
        let (ready, made) = mpsc::channel();
        let thread = spawn("rig", None, move || {
            let mut driver = Driver::new(options.clone(), receiver, posts).unwrap();
            if let Some(listener) = listener {
                driver.adopt_listener(SocketId(0), listener).unwrap();
            }
            match options.io {
                Choice::Uring => assert_eq!(driver.io(), Io::Uring),
                Choice::Fallback => assert_eq!(driver.io(), Io::Fallback),
                Choice::Auto => {}
            }
            ready.send(driver.gauges()).unwrap();
            driver.run(&mut Stage { seen: tell, deadline: None, last: Time::ZERO, echo: false })
        })
        .unwrap();
        let gauges = made.recv().unwrap();
        Self { seen, mail, gauges, thread: Some(thread) }
    }

    /// Does something inside the machine.
    pub fn order(&self, order: impl FnOnce(&mut Stage, &mut Outbox<Order>) + Send + 'static) {
        while self.mail.is_full() {
            std::thread::yield_now();
        }
        assert_eq!(self.mail.send(Order(Box::new(order))), Ok(()));
    }

    /// Turns echoing on or off; it is so when this returns.
    pub fn echo(&self, echo: bool) {
        let (tell, done) = mpsc::channel();
        self.order(move |stage, _| {
            stage.echo = echo;
            tell.send(()).unwrap();
        });
        done.recv_timeout(PATIENCE).unwrap();
    }

    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("nothing came")
    }

    /// Nothing comes for a while.
    pub fn quiet(&self, millis: u64) {
        if let Ok(seen) = self.seen.recv_timeout(Duration::from_millis(millis)) {
            panic!("unexpected: {seen:?}");
        }
    }

    /// Opens a datagram socket and says where.
    pub fn open(&self, number: u32, local: SocketAddr, options: SocketOptions) -> SocketAddr {
        self.order(move |_, out| out.open(SocketId(number), local, options));
        match self.next() {
            Seen::Socket(SocketId(opened), SocketEvent::Opened(local)) if opened == number => local,
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&self, number: u32, to: SocketAddr, payload: &[u8]) {
        let payload = payload.to_vec();
        self.order(move |_, out| out.send(SocketId(number), to, &payload));
    }

    pub fn stop(mut self) -> RunStats {
        self.order(|_, out| out.stop());
        self.join()
    }

    /// Waits for a thread that was told to stop.
    pub fn join(&mut self) -> RunStats {
        self.thread.take().unwrap().join().unwrap()
    }
}

pub fn loopback(v6: bool) -> SocketAddr {
    if v6 { "[::1]:0".parse().unwrap() } else { "127.0.0.1:0".parse().unwrap() }
}

/// Runs a test on both back-ends; on a host that refuses io_uring on the fallback alone, saying so.
pub fn on_both(test: impl Fn(Options)) {
    driver::sockets::raise_descriptor_limit().unwrap();
    test(Options { io: Choice::Fallback, ..Options::default() });
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    match REFUSED.get_or_init(|| driver::probe().err().map(|refusal| refusal.to_string())) {
        None => test(Options { io: Choice::Uring, ..Options::default() }),
        Some(refusal) => eprintln!("fallback only: {refusal}"),
    }
}

/// Waits until `done` holds.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !done() {
        assert!(waited < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
        waited += Duration::from_millis(5);
    }
}
