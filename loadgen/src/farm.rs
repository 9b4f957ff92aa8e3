//! The farm: shards on threads of their own, each under a driver, and the mail between them and the one who asks.

use crate::mail::Mail;
use crate::measure::Part;
use crate::plan::Media;
use crate::shard::{self, SIP_TCP, SIP_UDP, Shard, ShardConfig};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use driver::mailbox::{Receiver, Sender, mailbox};
use driver::sockets::{Share, open_listener, open_udp};
use driver::{Choice, Driver, Gauges, Options, RunStats, Scheduling, clock};
use sansio::{IoError, SocketOptions, Time};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Receive buffer asked for at SIP sockets: a burst of 2000 messages.
const SIP_BUFFER: u32 = 4 << 20;

/// How long shards may take to open their ports.
const READY_IN: Duration = Duration::from_secs(20);

/// One shard to be started.
#[derive(Clone, Debug)]
pub struct ShardSpec {
    /// Its SIP address; port 0 takes any.
    pub listen: SocketAddr,
    /// Its farm's number in marks.
    pub farm: u32,
    /// Voice.
    pub media: Media,
    /// Most calls at once.
    pub calls_max: u32,
    /// RTP ports to open before the run.
    pub ports_ready: u32,
    /// What it does.
    pub part: shard::Part,
    /// Of its random stream.
    pub seed: u64,
}

/// Why a farm did not start.
#[derive(Debug)]
pub enum FarmError {
    /// A SIP address could not be opened.
    Listen(SocketAddr, io::Error),
    /// The driver could not be made.
    Driver(String),
    /// Not as many RTP ports as wanted.
    Ports {
        /// Wanted.
        wanted: u32,
        /// Open.
        open: u32,
        /// Why no more.
        why: Option<IoError>,
    },
    /// The operating system refused something else.
    System(&'static str, io::Error),
}

impl fmt::Display for FarmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => {
                let cure = match error.kind() {
                    io::ErrorKind::AddrInUse => "the port is in use; stop who has it, or choose another port",
                    io::ErrorKind::PermissionDenied => {
                        "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE"
                    }
                    io::ErrorKind::AddrNotAvailable => "this host has no such address; choose one of its own",
                    _ => return write!(f, "{address}: {error}"),
                };
                write!(f, "{address}: {cure}")
            }
            Self::Driver(error) => f.write_str(error),
            Self::Ports { wanted, open, why } => {
                let cure = match why {
                    Some(IoError::TooManyFiles) => "no file descriptors left; raise the limit (ulimit -n)",
                    Some(IoError::AddressInUse) => "the range of ports is used up; choose a larger one",
                    Some(_) | None => "the host refuses more",
                };
                write!(f, "{open} of {wanted} RTP ports could be opened: {cure}")
            }
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl core::error::Error for FarmError {}

/// Running shards.
#[derive(Debug)]
pub struct Farm {
    posts: Vec<Sender<Mail>>,
    inbox: Receiver<Mail>,
    threads: Vec<JoinHandle<RunStats>>,
    gauges: Vec<Arc<Gauges>>,
    before: Vec<RunStats>,
    addresses: Vec<SocketAddr>,
    io: &'static str,
    realtime: bool,
    note: String,
    done: usize,
}

/// What a thread says before it runs.
type Started = Result<(Arc<Gauges>, &'static str, bool, String), FarmError>;

impl Farm {
    /// Opens the sockets, starts the threads, and waits until RTP ports are open.
    ///
    /// # Errors
    /// [`FarmError`] says what could not be had and how to get it; nothing is left running.
    pub fn start(specs: &[ShardSpec], io: Choice, scheduling: Scheduling) -> Result<Self, FarmError> {
        raise_descriptor_limit();
        let boxes = |error| FarmError::System("making a mailbox", error);
        let (to_us, inbox) = mailbox(65_536).map_err(boxes)?;
        let mut farm = Self {
            posts: Vec::new(),
            inbox,
            threads: Vec::new(),
            gauges: Vec::new(),
            before: Vec::new(),
            addresses: Vec::new(),
            io: "",
            realtime: false,
            note: String::new(),
            done: 0,
        };
        for (number, spec) in specs.iter().enumerate() {
            if let Err(error) = farm.start_shard(number as u16, spec, (io, scheduling), &to_us) {
                farm.stop(Duration::from_secs(1), |_, _| {});
                return Err(error);
            }
        }
        let wanted: u32 = specs.iter().map(|spec| if spec.media.rtp { spec.ports_ready } else { 0 }).sum();
        if let Err(error) = farm.await_ports(wanted) {
            farm.stop(Duration::from_secs(1), |_, _| {});
            return Err(error);
        }
        Ok(farm)
    }

    fn start_shard(
        &mut self,
        shard: u16,
        spec: &ShardSpec,
        (io, scheduling): (Choice, Scheduling),
        to_us: &Sender<Mail>,
    ) -> Result<(), FarmError> {
        let options = SocketOptions { icmp_errors: true, timestamps: true, receive_buffer: SIP_BUFFER };
        let (udp, tcp, address) =
            open_pair(spec.listen, options).map_err(|error| FarmError::Listen(spec.listen, error))?;
        let sip = advertised(address);
        let (post, mail) = mailbox(4096).map_err(|error| FarmError::System("making a mailbox", error))?;
        let config = ShardConfig {
            shard,
            farm: spec.farm,
            sip,
            media: spec.media,
            calls_max: spec.calls_max,
            ports_ready: spec.ports_ready,
            part: spec.part.clone(),
            seed: spec.seed,
        };
        // What arrives is stamped by the kernel, so that reading it late, together with more, costs no truth and saves wake-ups.
        let coalesce = Duration::from_millis(1);
        // A carrier that waits for more before it answers would be part of what is measured.
        let share_from = match &spec.part {
            shard::Part::Caller(_) => 2,
            shard::Part::Carrier(_) => Options::default().share_from,
        };
        let driver_options = Options {
            io,
            scheduling,
            coalesce,
            share_from,
            small_packets: 8192,
            large_packets: 16,
            ..Options::default()
        };
        let posts = vec![Some(to_us.clone())];
        let (say, hear) = mpsc::channel::<Started>();
        let thread = driver::spawn(&format!("load-{shard}"), None, move || {
            let made = Driver::new(driver_options, mail, posts)
                .map_err(|error| FarmError::Driver(format!("{}: {error}", error.flag())));
            let adopted = made.and_then(|mut driver| {
                let system = |error| FarmError::System("adopting a socket", error);
                driver.adopt_udp(SIP_UDP, udp, options).map_err(system)?;
                driver.adopt_listener(SIP_TCP, tcp).map_err(system)?;
                Ok(driver)
            });
            match adopted {
                Ok(driver) => {
                    let note = driver.refusal().map(ToString::to_string).unwrap_or_default();
                    // Nobody listening means that the farm was given up.
                    if say
                        .send(Ok((driver.gauges(), driver.io().name(), driver.is_realtime(), note)))
                        .is_err()
                    {
                        return RunStats::default();
                    }
                    driver.run(&mut Shard::new(config, clock::now()))
                }
                Err(error) => {
                    let _ = say.send(Err(error));
                    RunStats::default()
                }
            }
        });
        self.threads.push(thread.map_err(|error| FarmError::System("starting a thread", error))?);
        self.posts.push(post);
        let died = || FarmError::System("starting a thread", io::Error::other("it ended at once"));
        let (gauges, io, realtime, note) = hear.recv().map_err(|_| died())??;
        self.gauges.push(gauges);
        self.before.push(RunStats::default());
        self.addresses.push(sip);
        (self.io, self.realtime, self.note) = (io, realtime, note);
        Ok(())
    }

    fn await_ports(&mut self, wanted: u32) -> Result<(), FarmError> {
        let give_up = clock::now() + READY_IN;
        let (mut waiting, mut open, mut why) = (self.posts.len(), 0, None);
        while waiting > 0 && clock::now() < give_up {
            match self.inbox.try_recv() {
                Some(Mail::Ready { ports, refusal, .. }) => {
                    waiting -= 1;
                    open += ports;
                    why = refusal.or(why);
                }
                Some(_) => {}
                None => clock::sleep_until(clock::now() + Duration::from_millis(1)),
            }
        }
        if open < wanted || waiting > 0 {
            return Err(FarmError::Ports { wanted, open, why });
        }
        Ok(())
    }

    /// The SIP addresses in use, one a shard.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The IO mode in force, and why not the better one.
    pub fn io(&self) -> (&'static str, &str) {
        (self.io, &self.note)
    }

    /// How the threads are scheduled: `realtime` or `normal`.
    pub const fn scheduling(&self) -> &'static str {
        if self.realtime { "realtime" } else { "normal" }
    }

    /// Shards.
    pub fn len(&self) -> usize {
        self.posts.len()
    }

    /// Whether it has no shards.
    pub fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// Says when the run begins.
    pub fn begin(&self, start: Time) {
        self.tell(|| Mail::Begin(start));
    }

    /// No new calls; hang up.
    pub fn drain(&self) {
        self.tell(|| Mail::Drain);
    }

    /// Tells one shard something.
    pub fn tell_one(&self, shard: usize, mail: Mail) {
        if let Some(post) = self.posts.get(shard) {
            // As in `tell`.
            let _ = post.send(mail);
        }
    }

    fn tell(&self, mail: impl Fn() -> Mail) {
        for post in &self.posts {
            // A shard's box holds thousands; full means that its thread is dead, which `stop` will show.
            let _ = post.send(mail());
        }
    }

    /// Takes the parts that came, with what the drivers counted meanwhile.
    pub fn poll(&mut self, mut take: impl FnMut(usize, Box<Part>)) {
        while let Some(mail) = self.inbox.try_recv() {
            match mail {
                Mail::Part { shard, mut part } => {
                    let shard = usize::from(shard);
                    self.add_gauges(shard, &mut part);
                    take(shard, part);
                }
                Mail::Done { .. } => self.done += 1,
                _ => {}
            }
        }
    }

    fn add_gauges(&mut self, shard: usize, part: &mut Part) {
        let (Some(gauges), Some(before)) = (self.gauges.get(shard), self.before.get_mut(shard)) else {
            return;
        };
        let now = gauges.read();
        let lost = |stats: &RunStats| {
            stats.sends_dropped
                + stats.send_errors
                + stats.sends_unknown
                + stats.packets_exhausted
                + stats.datagrams_oversize
        };
        part.drops += now.socket_drops.saturating_sub(before.socket_drops);
        part.unsent += lost(&now).saturating_sub(lost(before));
        part.busy += now.cpu_nanos.saturating_sub(before.cpu_nanos);
        *before = now;
    }

    /// Whether every shard's schedule is done and its calls over.
    pub fn is_done(&self) -> bool {
        self.done >= self.posts.len()
    }

    /// Ends all shards, takes their last words, and waits for the threads, at most so long.
    pub fn stop(mut self, patience: Duration, mut take: impl FnMut(usize, Box<Part>)) {
        self.tell(|| Mail::Stop);
        let give_up = clock::now() + patience;
        while self.threads.iter().any(|thread| !thread.is_finished()) && clock::now() < give_up {
            self.poll(&mut take);
            clock::sleep_until(clock::now() + Duration::from_millis(2));
        }
        for thread in std::mem::take(&mut self.threads) {
            if thread.is_finished() {
                // A shard that panicked has said so on standard error already.
                let _ = thread.join();
            }
        }
        self.poll(&mut take);
    }
}

/// Takes as many descriptors as the host's hard limit gives: the soft one is often 1024, and each call needs a socket.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Not permitted means that the old limit stays; a port that cannot be opened then says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Opens UDP and TCP on one port; with port 0 on any that is free for both.
fn open_pair(
    listen: SocketAddr,
    options: SocketOptions,
) -> io::Result<(UdpSocket, std::net::TcpListener, SocketAddr)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let udp = open_udp(listen, options, Share::Alone)?;
        match open_listener(udp.local, Share::Alone) {
            Ok(tcp) => return Ok((udp.socket, tcp, udp.local)),
            Err(error) if listen.port() != 0 || tries == 20 => return Err(error),
            Err(_) => {}
        }
    }
}

/// The address to name in SIP and SDP: of a wildcard, the one that the host's default route uses.
fn advertised(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let far: IpAddr = match bound.ip() {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let ip = source_towards(SocketAddr::new(far, 9)).unwrap_or_else(|| match bound.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => core::net::Ipv6Addr::LOCALHOST.into(),
    });
    SocketAddr::new(ip, bound.port())
}

/// Our address on the way to `remote`, as the routing table has it; nothing is sent.
pub fn source_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if remote.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (core::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let probe = open_udp(any, SocketOptions::default(), Share::Alone).ok()?;
    probe.socket.connect(remote).ok()?;
    Some(probe.socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(source_towards("127.0.0.1:5060".parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(advertised("127.0.0.1:7".parse().unwrap()), "127.0.0.1:7".parse().unwrap());
        assert!(!advertised("0.0.0.0:7".parse().unwrap()).ip().is_unspecified());
    }

    #[test]
    fn errors_name_address_and_cure() {
        let held = open_pair("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap();
        let error = open_pair(held.2, SocketOptions::default()).unwrap_err();
        let text = FarmError::Listen(held.2, error).to_string();
        assert!(text.contains(&held.2.to_string()) && text.contains("in use"), "{text}");
        let ports = FarmError::Ports { wanted: 10, open: 3, why: Some(IoError::TooManyFiles) }.to_string();
        assert!(ports.contains("3 of 10") && ports.contains("ulimit -n"), "{ports}");
    }
}
