//! Opening the SIP addresses: each on every shard, and none that another process already serves.
#![expect(clippy::disallowed_methods, reason = "waits for a port that a process just killed gives back late")]

use crate::process::StartError;
use crate::settings::Settings;
use driver::sockets::{Share, open_listener, open_udp};
use sansio::{SocketId, SocketOptions};
use sip::Transport;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;
use switch::{Listener, StreamListener};

/// Receive buffer of SIP sockets: at 5000 calls a second a burst of a quarter second fits.
const RECEIVE_BUFFER: u32 = 4 << 20;
/// How often and how long a port in use is tried again: a ring gives its ports back a little after its process died.
const RETRY: (u32, Duration) = (40, Duration::from_millis(20));

/// How SIP sockets are opened; the stamps tell how long a message waited to be handled.
pub(crate) const OPTIONS: SocketOptions =
    SocketOptions { icmp_errors: true, timestamps: true, receive_buffer: RECEIVE_BUFFER };

/// One SIP address: its sockets, one of each kind per shard.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) listener: Listener,
    pub(crate) realm: Option<usize>,
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

/// A SIP address to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The address, perhaps a wildcard, perhaps with port 0.
    pub(crate) address: SocketAddr,
    /// What is spoken there; UDP stands for UDP and TCP.
    pub(crate) transport: Transport,
    /// What to name in its place, one of each family.
    pub(crate) advertise: &'a [IpAddr],
    /// The realm whose it is.
    pub(crate) realm: Option<usize>,
}

/// All the addresses of `settings`, those over UDP and TCP or those for connections only.
pub(crate) fn wanted(settings: &Settings, streams: bool) -> Vec<Wanted<'_>> {
    let of = |realm, advertise, listen: &[SocketAddr], others: &[(Transport, SocketAddr)]| {
        let both = listen.iter().map(|address| (Transport::Udp, *address));
        let others = others.iter().copied();
        let all: Vec<(Transport, SocketAddr)> = if streams { others.collect() } else { both.collect() };
        all.into_iter().map(move |(transport, address)| Wanted { address, transport, advertise, realm })
    };
    let mut all: Vec<Wanted<'_>> =
        of(None, &*settings.advertise, &settings.listen, &settings.streams).collect();
    for (at, realm) in settings.realms.iter().enumerate() {
        all.extend(of(Some(at), &*realm.advertise, &realm.listen, &realm.streams));
    }
    all
}

/// Opens the SIP addresses for `shards` shards.
pub(crate) fn open(addresses: &[Wanted<'_>], shards: u16) -> Result<Vec<Opened>, StartError> {
    let mut all = Vec::with_capacity(addresses.len());
    for (number, Wanted { address, advertise, realm, .. }) in addresses.iter().enumerate() {
        // Shards share a port by SO_REUSEPORT, which would let a second gateway in as well: so the port is
        // first taken for ourselves alone.
        let local = alone("--listen", *address, |address| {
            let udp = open_udp(address, SocketOptions::default(), Share::Alone)?;
            open_listener(udp.local, Share::Alone).map(|_| udp.local)
        })?;
        let failed = |error| StartError::Listen("--listen", local, error);
        let udp = (0..shards)
            .map(|_| Ok(open_udp(local, OPTIONS, Share::Port)?.socket))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        let tcp = (0..shards)
            .map(|_| open_listener(local, Share::Port))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        let id = 2 * number as u32;
        let listener = Listener {
            udp: SocketId(id),
            tcp: SocketId(id + 1),
            local,
            advertised: SocketAddr::new(named(local.ip(), advertise)?, local.port()),
        };
        all.push(Opened { listener, realm: *realm, udp, tcp });
    }
    Ok(all)
}

/// A SIP address for connections only: its sockets, one per shard.
#[derive(Debug)]
pub(crate) struct OpenedStream {
    pub(crate) listener: StreamListener,
    pub(crate) tcp: Vec<TcpListener>,
}

/// Opens the addresses for connections only, their sockets numbered from `first` on.
pub(crate) fn open_streams(
    addresses: &[Wanted<'_>],
    shards: u16,
    first: u32,
) -> Result<Vec<OpenedStream>, StartError> {
    let mut all = Vec::with_capacity(addresses.len());
    for (number, Wanted { address, transport, advertise, .. }) in addresses.iter().enumerate() {
        let flag = flag_of(*transport);
        let local = alone(flag, *address, |address| open_listener(address, Share::Alone)?.local_addr())?;
        let tcp = (0..shards)
            .map(|_| open_listener(local, Share::Port))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| StartError::Listen(flag, local, error))?;
        let listener = StreamListener {
            socket: SocketId(first + number as u32),
            transport: *transport,
            local,
            advertised: SocketAddr::new(named(local.ip(), advertise)?, local.port()),
        };
        all.push(OpenedStream { listener, tcp });
    }
    Ok(all)
}

/// The flag that names addresses of a transport.
const fn flag_of(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp | Transport::Tcp => "--listen",
        Transport::Tls => "--tls",
        Transport::Ws => "--ws",
        Transport::Wss => "--wss",
    }
}

/// Binds the address as its only owner and lets it go; tells the address with its port.
fn alone(
    flag: &'static str,
    address: SocketAddr,
    take: impl Fn(SocketAddr) -> io::Result<SocketAddr>,
) -> Result<SocketAddr, StartError> {
    let (tries, pause) = RETRY;
    for attempt in 1.. {
        match take(address) {
            Ok(local) => return Ok(local),
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempt < tries => {
                std::thread::sleep(pause)
            }
            Err(error) => return Err(StartError::Listen(flag, address, error)),
        }
    }
    unreachable!("the last attempt returned")
}

/// The address to name for a bound one: itself, or for a wildcard the one the host would send from.
pub(crate) fn named(bound: IpAddr, advertise: &[IpAddr]) -> Result<IpAddr, StartError> {
    if let Some(advertise) = advertise.iter().find(|it| it.is_ipv4() == bound.is_ipv4()) {
        return Ok(*advertise);
    }
    if !bound.is_unspecified() {
        return Ok(bound);
    }
    // Connecting a datagram socket sends nothing; it asks the routing table. The documentation's addresses
    // (RFC 5737, RFC 3849) stand for "out there".
    let (wildcard, out_there): (IpAddr, IpAddr) = if bound.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    let route = || {
        let probe = open_udp(SocketAddr::new(wildcard, 0), SocketOptions::default(), Share::Alone)?.socket;
        probe.connect(SocketAddr::new(out_there, 9))?;
        Ok::<_, io::Error>(probe.local_addr()?.ip())
    };
    route().map_err(|_| StartError::NoAddress(bound))
}
