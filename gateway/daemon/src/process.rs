//! The shards of a process: started, told what changes, and joined.

use crate::config::ConfigError;
use crate::listeners;
use crate::prompts::{self, Prompts};
use crate::realm::RealmAddresses;
use crate::settings::Settings;
use driver::mailbox::{Receiver, Sender, mailbox};
use driver::{Driver, Gauges, Io, Options, RunStats};
use link::{Command, Event, Figure, ShardId, UnixMicros};
use ring::rand::{SecureRandom as _, SystemRandom};
use sansio::Time;
use secure::{DtlsEnds, Secured, Shared};
use sip::Transport;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use switch::fraud::FraudTable;
use switch::guard::Tallies;
use switch::registrar::Registrar;
use switch::trunk::TrunkTable;
use switch::{Mail, MediaPlace, Secrets, Shard, Shards, Start};

/// Messages waiting for one shard at most; a datagram handed over beyond it is lost like any other, and sent again.
const SHARD_MAIL: usize = 16_384;
/// Events waiting for control at most; records beyond it are repeated from the shard's spool.
const CONTROL_MAIL: usize = 65_536;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// A SIP address could not be opened: the flag, the address, why.
    Listen(&'static str, SocketAddr, io::Error),
    /// What the configuration names cannot be used.
    Config(ConfigError),
    /// A wildcard address was given and the host has no address to name instead.
    NoAddress(IpAddr),
    /// The driver could not be made.
    Driver(String),
    /// The operating system refused something else.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen(flag, address, error) => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{flag} {address}: the port is in use; stop the process that serves it, or choose another port"
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "{flag} {address}: not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "{flag} {address}: no interface of this host has that address; choose one of its own or 0.0.0.0"
                ),
                _ if error.raw_os_error() == Some(24) => write!(
                    f,
                    "{flag} {address}: no file descriptors left; raise the limit (ulimit -n) above the number of RTP ports"
                ),
                _ => write!(f, "{flag} {address}: {error}"),
            },
            Self::NoAddress(bound) => write!(
                f,
                "--listen {bound}: the host has no route out, so no address can be named in SIP; give --advertise ADDR"
            ),
            Self::Driver(error) => f.write_str(error),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    threads: Vec<JoinHandle<Outcome>>,
    senders: Vec<Sender<Mail>>,
    events: Option<Receiver<Mail>>,
    gauges: Vec<Arc<Gauges>>,
    io: Io,
    realtime: bool,
    refusal: Option<String>,
    listen: Vec<SocketAddr>,
    streams: Vec<(Transport, SocketAddr)>,
    policy: Shared,
    table: Arc<TrunkTable>,
    fraud: Arc<FraudTable>,
    /// Ends after the shards.
    prompts: Prompts,
    /// The realms' names, in order.
    realms: Vec<String>,
}

/// What one shard's thread leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// The driver's counters.
    pub run: RunStats,
    /// What the shard still held.
    pub census: switch::Census,
}

/// Starts a gateway.
///
/// # Errors
/// [`StartError`] names the flag and the cure; nothing is left running.
pub fn start(settings: &Settings, seed: u64) -> Result<Gateway, StartError> {
    let count = settings.workers;
    let table = TrunkTable::new(settings.trunks.clone(), settings.groups.clone(), None)
        .map_err(|error| StartError::Driver(error.to_string()))?;
    let table = Arc::new(table);
    let registrar = Arc::new(Registrar::new(&secret()));
    let policy = Shared::new(settings.tls.policy().map_err(StartError::Config)?);
    let mut opened = listeners::open(&listeners::wanted(settings, false), count)?;
    let listeners: Vec<_> = opened.iter().map(|opened| opened.listener).collect();
    let first = 2 * opened.len() as u32;
    let mut opened_streams = listeners::open_streams(&listeners::wanted(settings, true), count, first)?;
    let joined = joined(settings, &opened)?;
    let streams: Vec<_> = opened_streams.iter().map(|opened| opened.listener).collect();
    let boxes = |error| StartError::System("mailbox", error);
    let (control, events) = mailbox(CONTROL_MAIL).map_err(boxes)?;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..count {
        let (sender, receiver) = mailbox(SHARD_MAIL).map_err(boxes)?;
        senders.push(sender);
        receivers.push(receiver);
    }
    let prompts = Prompts::start(senders.clone(), settings.prompt_cache)
        .map_err(|error| StartError::System("starting the thread of prompts", error))?;
    let tallies = guard_of_all(&settings.shard.guard, count);
    let cpus = driver::affinity::available();
    let wall = driver::clock::WallAnchor::take().wall(Time::ZERO);
    let mut threads = Vec::new();
    let mut secrets = keys_to_come()?;
    let dtls = Arc::new(DtlsEnds::new().map_err(StartError::Driver)?);
    let (ready, started) = mpsc::channel();
    for (me, inbox) in (0..count).zip(receivers) {
        let start = Start {
            config: switch::Config {
                realms: joined.clone(),
                guard: switch::guard::Config { shared: tallies.clone(), ..settings.shard.guard.clone() },
                dtls: Some(dtls.clone()),
                ..per_shard(&settings.shard, count)
            },
            shards: Shards { count, me },
            listeners: listeners.clone(),
            streams: streams.clone(),
            tls: true,
            rtp_ports: settings.rtp_ports,
            table: table.clone(),
            registrar: registrar.clone(),
            routing: settings.routing.clone(),
            wall_at_zero: UnixMicros(wall.as_micros() as u64),
            seed: seed.wrapping_add(u64::from(me).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            secrets: secrets.fork(),
        };
        let mut posts: Vec<_> = senders.iter().cloned().map(Some).collect();
        posts.extend([Some(control.clone()), Some(prompts.sender())]);
        let counts = (me == 0).then(|| prompts.counts());
        let sockets = Sockets {
            both: opened.iter_mut().filter_map(|o| Some((o.listener, o.udp.pop()?, o.tcp.pop()?))).collect(),
            streams: opened_streams.iter_mut().filter_map(|o| Some((o.listener, o.tcp.pop()?))).collect(),
        };
        let secured = (settings.tls.handshake, policy.clone());
        let cpu = (usize::from(count) <= cpus.len()).then(|| cpus[usize::from(me)]);
        let options = Options { io: settings.io, cpu, scheduling: settings.scheduling, ..Options::default() };
        let ready = ready.clone();
        let thread = driver::spawn(&format!("shard-{me}"), cpu, move || {
            run_shard(options, inbox, posts, sockets, (secured, counts), start, &ready)
        });
        threads.push(thread.map_err(|error| StartError::System("starting a thread", error))?);
    }
    drop((ready, opened, opened_streams));
    let mut gateway = Gateway {
        threads,
        senders,
        events: Some(events),
        gauges: Vec::new(),
        io: Io::Fallback,
        realtime: false,
        refusal: None,
        listen: listeners.iter().map(|listener| listener.local).collect(),
        streams: streams.iter().map(|listener| (listener.transport, listener.local)).collect(),
        policy,
        table,
        fraud: settings.shard.fraud.clone(),
        prompts,
        realms: settings.realms.iter().map(|realm| realm.name.clone()).collect(),
    };
    gateway.await_shards(count, &started)?;
    Ok(gateway)
}

/// The realms with the addresses that they have got.
fn joined(settings: &Settings, opened: &[listeners::Opened]) -> Result<Vec<switch::Realm>, StartError> {
    let mut realms = settings.shard.realms.clone();
    for (at, (realm, addresses)) in realms.iter_mut().zip(&settings.realms).enumerate() {
        let own = opened.iter().filter(|opened| opened.realm == Some(at));
        realm.listeners = own.map(|opened| opened.listener.local).collect();
        for &local in &addresses.media {
            let advertised = listeners::named(local, &addresses.rtp_advertise)?;
            realm.media.push(MediaPlace { local, advertised, ports: addresses.rtp_ports });
        }
    }
    Ok(realms)
}

/// What nonces are made with: new in each process, so that a phone is asked again after a restart.
fn secret() -> [u8; 32] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut secret = [0; 32];
    for part in secret.chunks_exact_mut(8) {
        // SipHash under keys that the operating system drew.
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_be_bytes());
    }
    secret
}

/// What SRTP keys are made of: from the operating system's generator for cryptography.
fn keys_to_come() -> Result<Secrets, StartError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| {
        let error = io::Error::other("the operating system gives no random numbers");
        StartError::System("drawing the seed of SRTP keys", error)
    })?;
    Ok(Secrets::new(seed))
}

/// What the shards let in of each source together; one shard alone needs no accounts.
fn guard_of_all(config: &switch::guard::Config, count: u16) -> Option<Arc<Tallies>> {
    let secret = secret();
    let key = |at: usize| secret[at..at + 8].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    (count > 1).then(|| Arc::new(Tallies::new(config.sources as usize, [key(0), key(8)])))
}

/// A shard's share of the limits that are given for the process.
fn per_shard(config: &switch::Config, count: u16) -> switch::Config {
    // Calls hash unevenly: each shard may hold up to twice its share, but never more than all.
    let share = (config.calls_max / u32::from(count)).saturating_mul(2).saturating_add(64);
    switch::Config { calls_max: config.calls_max.min(share), ..config.clone() }
}

/// What a shard's thread says once it runs, or why it does not.
type Ready = Result<(Io, bool, Option<String>, Arc<Gauges>), String>;

/// The sockets of one shard.
struct Sockets {
    both: Vec<(switch::Listener, UdpSocket, TcpListener)>,
    streams: Vec<(switch::StreamListener, TcpListener)>,
}

/// Most TLS sessions of a shard.
const SESSIONS_MAX: u32 = 4096;

fn run_shard(
    options: Options,
    inbox: Receiver<Mail>,
    posts: Vec<Option<Sender<Mail>>>,
    sockets: Sockets,
    ((handshake, policy), counts): ((Duration, Shared), Option<Arc<prompts::Counts>>),
    start: Start,
    ready: &mpsc::Sender<Ready>,
) -> Outcome {
    let layer = secure::Config {
        listeners: sockets
            .streams
            .iter()
            .filter(|(listener, _)| listener.transport.is_encrypted())
            .map(|(listener, _)| listener.socket)
            .collect(),
        handshake,
        sessions: SESSIONS_MAX,
    };
    let made = Driver::new(options, inbox, posts)
        .map_err(|error| format!("{}: {error}", error.flag()))
        .and_then(|mut driver| {
            for (listener, udp, tcp) in sockets.both {
                driver
                    .adopt_udp(listener.udp, udp, listeners::OPTIONS)
                    .and_then(|()| driver.adopt_listener(listener.tcp, tcp))
                    .map_err(|error| format!("socket of {}: {error}", listener.local))?;
            }
            for (listener, tcp) in sockets.streams {
                driver
                    .adopt_listener(listener.socket, tcp)
                    .map_err(|error| format!("socket of {}: {error}", listener.local))?;
            }
            Ok(driver)
        });
    let driver = match made {
        Ok(driver) => driver,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Outcome { run: RunStats::default(), census: switch::Census::default() };
        }
    };
    let refusal = driver.refusal().map(ToString::to_string);
    let now = driver::clock::now();
    let mut machine = Secured::new(now, Shard::new(now, start), layer, policy);
    let (gauges, sessions) = (driver.gauges(), machine.gauges());
    machine.inner_mut().report_also(move || {
        let mut figures = driver_figures(&gauges);
        tls_figures(&sessions, &mut figures);
        if let Some(counts) = &counts {
            counts.figures(&mut figures);
        }
        figures
    });
    // The main thread waits for this; it is gone only if it gave up, and then there is nobody to tell.
    let _ = ready.send(Ok((driver.io(), driver.is_realtime(), refusal, driver.gauges())));
    let run = driver.run(&mut machine);
    Outcome { run, census: machine.inner().census() }
}

/// The TLS layer's counters as figures of its shard.
fn tls_figures(gauges: &secure::Gauges, figures: &mut Vec<Figure>) {
    gauges.read().visit(|name, help, value| {
        figures.push(match name {
            "sessions" => Figure::gauge(format!("tls_{name}"), help, value),
            _ => Figure::counter(format!("tls_{name}_total"), help, value),
        });
    });
}

/// A driver's counters as figures of its shard.
fn driver_figures(gauges: &Gauges) -> Vec<Figure> {
    let mut figures = Vec::with_capacity(40);
    gauges.read().visit(|name, help, value| {
        figures.push(match name {
            "sockets_open" | "streams_open" => Figure::gauge(format!("io_{name}"), help, value),
            _ => Figure::counter(format!("io_{name}_total"), help, value),
        });
    });
    figures
}

impl Gateway {
    fn await_shards(&mut self, count: u16, started: &mpsc::Receiver<Ready>) -> Result<(), StartError> {
        let mut failure = None;
        for _ in 0..count {
            match started.recv() {
                Ok(Ok((io, realtime, refusal, gauges))) => {
                    (self.io, self.realtime) = (io, realtime);
                    self.refusal = refusal.or_else(|| self.refusal.take());
                    self.gauges.push(gauges);
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = failure.or_else(|| Some("a shard ended before it was ready".into())),
            }
        }
        match failure {
            None => Ok(()),
            Some(error) => {
                self.quit();
                self.quit();
                for thread in self.threads.drain(..) {
                    let _ = thread.join();
                }
                Err(StartError::Driver(error))
            }
        }
    }

    /// The driver in use.
    pub const fn io(&self) -> Io {
        self.io
    }

    /// Whether the workers run before all normal threads.
    pub const fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// Why it is not io_uring, if that was left to the probe.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The SIP addresses, with the ports that were found where 0 was asked for.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The SIP addresses for connections only, and what is spoken there.
    pub fn streams(&self) -> &[(Transport, SocketAddr)] {
        &self.streams
    }

    /// The drivers' counters, by shard.
    pub fn gauges(&self) -> &[Arc<Gauges>] {
        &self.gauges
    }

    /// The end that control reads events from; it can be taken once.
    pub const fn take_events(&mut self) -> Option<Receiver<Mail>> {
        self.events.take()
    }

    /// How commands reach the shards; false when a shard's mailbox is full or there is no such shard.
    pub fn commander(&self) -> impl Fn(ShardId, Command) -> bool + Send + Sync + 'static {
        let senders = self.senders.clone();
        move |shard, command| {
            senders
                .get(usize::from(shard.0))
                .is_some_and(|sender| sender.send(Mail::Command(command)).is_ok())
        }
    }

    /// What a piece of mail from a shard says to control.
    pub fn event(mail: Mail) -> Option<(ShardId, Event)> {
        match mail {
            Mail::Event(shard, event) => Some((shard, event)),
            _ => None,
        }
    }

    /// Takes no new calls; [`Self::join`] returns once the last is over.
    pub fn drain(&self) {
        self.tell(|| Mail::Drain);
    }

    /// Ends all calls; said twice, stops at once.
    pub fn quit(&self) {
        self.tell(|| Mail::Quit);
    }

    /// New settings for new calls, and certificates for new TLS handshakes. Addresses, workers, ports and driver stay as they are until a restart.
    ///
    /// # Errors
    /// The trunk table's or the certificates', in words; nothing was changed.
    pub fn reload(&mut self, settings: &Settings) -> Result<(), String> {
        let table = TrunkTable::new(settings.trunks.clone(), settings.groups.clone(), Some(&self.table))
            .map_err(|error| error.to_string())?;
        let names = |realms: &[RealmAddresses]| realms.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        if names(&settings.realms) != self.realms {
            return Err("realm: other realms than at the start, which take a restart".into());
        }
        let policy = settings.tls.policy().map_err(|error| error.to_string())?;
        self.policy.replace(policy);
        self.table = Arc::new(table);
        self.fraud = Arc::new(FraudTable::new(settings.shard.fraud.rules(), Some(&self.fraud)));
        let mut config = per_shard(&settings.shard, self.senders.len() as u16);
        config.fraud = self.fraud.clone();
        let table = self.table.clone();
        self.tell(move || Mail::Reload { config: Box::new(config.clone()), table: table.clone() });
        Ok(())
    }

    /// Whether all shards have stopped.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the shards to stop.
    pub fn join(self) -> Vec<Outcome> {
        let outcomes = self.threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        drop(self.prompts);
        outcomes
    }

    fn tell(&self, mail: impl Fn() -> Mail) {
        for sender in &self.senders {
            // A mailbox full of signalling is read within milliseconds; an order must not be lost to it.
            while sender.send(mail()).is_err() {
                if self.is_finished() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}
