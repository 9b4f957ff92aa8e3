//! Opening sockets the way the gateway wants them, and the questions one may ask a socket.
#![allow(
    unsafe_code,
    reason = "IP_RECVERR, SO_TIMESTAMPNS, SO_MEMINFO and the error queue have no safe form"
)]

use crate::address::{self, RawAddress};
use core::mem::zeroed;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::SocketOptions;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Whether several threads bind the same port and let the kernel spread what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The port is this socket's alone.
    Alone,
    /// All sockets opened this way share the port (SO_REUSEPORT).
    Port,
}

/// A datagram socket as it came out.
#[derive(Debug)]
pub struct OpenedUdp {
    /// The socket.
    pub socket: UdpSocket,
    /// Where it is bound.
    pub local: SocketAddr,
    /// Receive buffer granted, in bytes: less than asked for if the host's `net.core.rmem_max` is lower.
    pub receive_buffer: u32,
}

/// Opens a datagram socket bound to `local`; IPv6 sockets take IPv6 only.
///
/// # Errors
/// The operating system's; see [`crate::io_error`].
pub fn open_udp(local: SocketAddr, options: SocketOptions, share: Share) -> io::Result<OpenedUdp> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if share == Share::Port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&local.into())?;
    prepare_udp(&socket, options)?;
    let receive_buffer = receive_buffer(&socket);
    let socket = UdpSocket::from(socket);
    let local = socket.local_addr()?;
    Ok(OpenedUdp { socket, local, receive_buffer })
}

/// Opens a listening socket; restarts find their port although old connections linger.
///
/// # Errors
/// The operating system's; see [`crate::io_error`].
pub fn open_listener(local: SocketAddr, share: Share) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if share == Share::Port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&local.into())?;
    socket.listen(1024)?;
    Ok(TcpListener::from(socket))
}

/// Raises this process's limit of open descriptors to the most it may have, and returns that.
///
/// # Errors
/// The operating system's; the limit is then as it was.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes `limit`, which lives on this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the kernel reads `limit`, which lives on this frame.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Receive buffer of a socket in bytes of payload and overhead; the kernel doubles what it is asked for, this is the half.
pub fn receive_buffer(socket: &impl AsFd) -> u32 {
    SockRef::from(socket).recv_buffer_size().map_or(0, |bytes| (bytes / 2) as u32)
}

/// Datagrams the kernel dropped at this socket since its receive buffer was full.
pub fn receive_drops(socket: &impl AsFd) -> u32 {
    const FIELDS: usize = 9;
    const DROPS: usize = 8;
    let mut fields = [0u32; FIELDS];
    let mut len = size_of_val(&fields) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `fields`; both live on this frame.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            fields.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result == 0 && len as usize == size_of_val(&fields) { fields[DROPS] } else { 0 }
}

/// Sets what `options` ask for on a socket that is bound already.
pub(crate) fn prepare_udp(socket: &impl AsFd, options: SocketOptions) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    if options.receive_buffer > 0 {
        let bytes = options.receive_buffer.min(i32::MAX as u32) as i32;
        // Beyond the host's limit where we may, else as much as it allows.
        if set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
            set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
        }
    }
    if options.timestamps {
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    }
    if options.icmp_errors {
        let v6 = SockRef::from(socket).domain()? == Domain::IPV6;
        let (level, name) =
            if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
        set_option(fd, level, name, 1)?;
    }
    Ok(())
}

/// A stream socket ready to connect to `remote`.
pub(crate) fn stream_towards(local: Option<SocketAddr>, remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(local) = local {
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
    }
    prepare_stream(&socket);
    Ok(socket)
}

/// Small writes leave at once; a peer that vanished is noticed within two minutes of silence.
pub(crate) fn prepare_stream(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    // Neither is needed for the stream to work.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20))
        .with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Our and the peer's address of a stream.
pub(crate) fn stream_addresses(socket: &impl AsFd) -> io::Result<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(socket);
    let local = socket.local_addr()?.as_socket();
    let remote = socket.peer_addr()?.as_socket();
    local.zip(remote).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one i32 that lives on this frame.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            core::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The destinations that refused, from a socket's error queue; at most a batch, what is left shows up again.
pub(crate) fn take_refusals(fd: RawFd) -> Vec<SocketAddr> {
    let mut refused = Vec::new();
    for _ in 0..256 {
        match take_report(fd) {
            Some(Reported::Refused(destination)) => refused.push(destination),
            Some(Reported::Other) => {}
            None => break,
        }
    }
    refused
}

/// What stood next in a socket's error queue.
enum Reported {
    /// ICMP refused a datagram to this destination.
    Refused(SocketAddr),
    /// Something that is no refusal (path MTU, a local error).
    Other,
}

/// Takes the next report out of a socket's error queue; `None` when it is empty.
fn take_report(fd: RawFd) -> Option<Reported> {
    let mut name = RawAddress::EMPTY;
    let mut control = [0u64; 64];
    let mut data = [0u8; 64];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: msghdr is plain data, for which zero is valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = RawAddress::ROOM as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all that `header` points to lives on this frame until after the last use of `header`.
    let result = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return None;
    }
    let mut refused = false;
    for (level, kind, content) in control_messages(&header) {
        let wanted = (level == libc::SOL_IP && kind == libc::IP_RECVERR)
            || (level == libc::SOL_IPV6 && kind == libc::IPV6_RECVERR);
        if wanted && content.len() >= size_of::<libc::sock_extended_err>() {
            // SAFETY: the kernel wrote a whole sock_extended_err there; it is plain data.
            let error: libc::sock_extended_err =
                unsafe { content.as_ptr().cast::<libc::sock_extended_err>().read_unaligned() };
            let icmp =
                error.ee_origin == libc::SO_EE_ORIGIN_ICMP || error.ee_origin == libc::SO_EE_ORIGIN_ICMP6;
            refused = icmp && error.ee_errno as i32 != libc::EMSGSIZE;
        }
    }
    match address::parse(name.bytes()) {
        Some(destination) if refused => Some(Reported::Refused(destination)),
        _ => Some(Reported::Other),
    }
}

/// The control messages of a received `header`: level, type and content.
///
/// The control buffer that `header` points to must stay alive and unchanged while the iterator is used.
pub(crate) fn control_messages(header: &libc::msghdr) -> impl Iterator<Item = (i32, i32, &[u8])> {
    // SAFETY: `header` is one the kernel filled in, so the chain lies within msg_control.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    core::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` is not null, hence a whole cmsghdr within the control buffer with
        // cmsg_len bytes of it; CMSG_NXTHDR stays within msg_controllen.
        unsafe {
            let message = &*next;
            let len = (message.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let content = core::slice::from_raw_parts(libc::CMSG_DATA(next), len);
            next = libc::CMSG_NXTHDR(header, next);
            Some((message.cmsg_level, message.cmsg_type, content))
        }
    })
}

/// Nanoseconds since 1970 of a SCM_TIMESTAMPNS message, if it is one.
pub(crate) fn timestamp(level: i32, kind: i32, content: &[u8]) -> Option<u64> {
    if level != libc::SOL_SOCKET || kind != libc::SCM_TIMESTAMPNS {
        return None;
    }
    let seconds = i64::from_ne_bytes(content.get(..8)?.try_into().ok()?);
    let nanos = i64::from_ne_bytes(content.get(8..16)?.try_into().ok()?);
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::io_error;
    use sansio::IoError;

    fn loopback(v6: bool) -> SocketAddr {
        if v6 { "[::1]:0".parse().unwrap() } else { "127.0.0.1:0".parse().unwrap() }
    }

    #[test]
    fn shared_ports_are_shared_and_others_are_not() {
        let options = SocketOptions::default();
        let first = open_udp(loopback(false), options, Share::Port).unwrap();
        assert!(open_udp(first.local, options, Share::Port).is_ok());
        let error = open_udp(first.local, options, Share::Alone).unwrap_err();
        assert_eq!(io_error(&error), IoError::AddressInUse);
    }

    #[test]
    fn the_granted_buffer_is_read_back() {
        let small = SocketOptions { receive_buffer: 16 * 1024, ..Default::default() };
        let opened = open_udp(loopback(false), small, Share::Alone).unwrap();
        assert_eq!(opened.receive_buffer, 16 * 1024);
        let default = open_udp(loopback(false), SocketOptions::default(), Share::Alone).unwrap();
        assert!(default.receive_buffer > 16 * 1024);
    }

    #[test]
    fn overflow_is_counted_by_the_kernel() {
        let small = SocketOptions { receive_buffer: 4096, ..Default::default() };
        let opened = open_udp(loopback(false), small, Share::Alone).unwrap();
        let sender = open_udp(loopback(false), SocketOptions::default(), Share::Alone).unwrap().socket;
        for _ in 0..100 {
            sender.send_to(&[0; 1000], opened.local).unwrap();
        }
        let drops = receive_drops(&opened.socket);
        assert!((50..100).contains(&drops), "{drops}");
    }

    #[test]
    fn a_refusal_names_the_destination() {
        for v6 in [false, true] {
            let options = SocketOptions { icmp_errors: true, timestamps: true, ..Default::default() };
            let gone = open_udp(loopback(v6), options, Share::Alone).unwrap().local;
            let opened = open_udp(loopback(v6), options, Share::Alone).unwrap();
            opened.socket.send_to(b"anybody?", gone).unwrap();
            let report = take_report(opened.socket.as_raw_fd());
            assert!(matches!(report, Some(Reported::Refused(to)) if to == gone));
            assert!(take_report(opened.socket.as_raw_fd()).is_none());
        }
    }
}
