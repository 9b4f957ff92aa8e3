//! Datagrams of the fallback: batches in by recvmmsg, batches out by sendmmsg or sendto.
#![allow(unsafe_code, reason = "recvmmsg, sendmmsg and sendto have no safe form")]

use super::Fallback;
use crate::address::{self, RawAddress};
use crate::run::Desk;
use crate::sockets;
use crate::tag::Tag;
use core::mem::zeroed;
use sansio::{Datagram, Input, Machine, Send, SocketId};
use std::io;
use std::os::fd::RawFd;

/// Room for the control messages of one datagram (a time stamp).
const CONTROL: usize = 8;

/// A batch of receive buffers with everything recvmmsg wants around them, linked once and for all.
pub(super) struct Lane {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[RawAddress]>,
    control: Box<[[u64; CONTROL]]>,
    buffers: Box<[u8]>,
    /// Read by the kernel through `headers`.
    _parts: Box<[libc::iovec]>,
    size: usize,
    /// Headers that were written to and what control room they have: only these are set anew.
    used: usize,
    control_room: usize,
}

impl Lane {
    /// `count` buffers of `size` bytes.
    pub(super) fn new(count: usize, size: usize) -> Self {
        let mut names = vec![RawAddress::EMPTY; count].into_boxed_slice();
        let mut control = vec![[0u64; CONTROL]; count].into_boxed_slice();
        let mut buffers = vec![0u8; count * size].into_boxed_slice();
        let mut parts: Box<[libc::iovec]> = buffers
            .chunks_exact_mut(size)
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: size })
            .collect();
        let headers = (0..count)
            .map(|at| {
                // SAFETY: mmsghdr is plain data, for which zero is valid.
                let mut header: libc::mmsghdr = unsafe { zeroed() };
                header.msg_hdr.msg_name = names[at].as_mut_ptr().cast();
                header.msg_hdr.msg_iov = &mut parts[at];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = control[at].as_mut_ptr().cast();
                header
            })
            .collect();
        Self { headers, names, control, buffers, _parts: parts, size, used: count, control_room: 0 }
    }

    /// Receives what is there, at most a batch; an error if the socket reported one.
    fn receive(&mut self, fd: RawFd, stamps: bool) -> io::Result<usize> {
        let control = if stamps { size_of_val(&self.control[0]) } else { 0 };
        if control != self.control_room {
            self.used = self.headers.len();
            self.control_room = control;
        }
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = RawAddress::ROOM as libc::socklen_t;
            header.msg_hdr.msg_controllen = control as _;
        }
        // SAFETY: every header points into boxes of this lane, which do not move and which nobody
        // else uses until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                core::ptr::null_mut(),
            )
        };
        if count < 0 {
            self.used = self.used.max(1);
            return Err(io::Error::last_os_error());
        }
        self.used = count as usize;
        Ok(self.used)
    }

    fn stamp(&self, at: usize) -> Option<u64> {
        sockets::control_messages(&self.headers[at].msg_hdr)
            .find_map(|(level, kind, content)| sockets::timestamp(level, kind, content))
    }
}

/// What sendmmsg wants around a batch of datagrams to one socket.
pub(super) struct Sender {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[RawAddress]>,
    parts: Box<[libc::iovec]>,
    batch: Vec<Send>,
}

impl Sender {
    pub(super) fn new(count: usize) -> Self {
        // SAFETY: mmsghdr is plain data, for which zero is valid.
        let headers = (0..count).map(|_| unsafe { zeroed() }).collect();
        let part = libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
        Self {
            headers,
            names: vec![RawAddress::EMPTY; count].into_boxed_slice(),
            parts: vec![part; count].into_boxed_slice(),
            batch: Vec::with_capacity(count),
        }
    }
}

impl Fallback {
    pub(super) fn receive<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        tag: Tag,
        events: u32,
    ) {
        let id = SocketId(tag.index);
        let Some(socket) = self.sockets.get_mut(id, tag.generation) else {
            desk.stats.late_completions += 1;
            return;
        };
        let (fd, options) = (socket.raw(), socket.options());
        if events & libc::EPOLLERR as u32 != 0 {
            // An error that stands in no queue would show up again and again.
            let _ = socket2::SockRef::from(&socket.fd).take_error();
            self.report_refusals(desk, machine, id, tag.generation);
        }
        if events & libc::EPOLLIN as u32 == 0 || self.sockets.get_mut(id, tag.generation).is_none() {
            return;
        }
        let large = options.icmp_errors;
        let lane = if large { &mut self.large } else { &mut self.small };
        desk.stats.enters += 1;
        let Ok(count) = lane.receive(fd, options.timestamps) else {
            // An older error of the socket came out here; the next turn reads on.
            return self.report_refusals(desk, machine, id, tag.generation);
        };
        desk.more |= count == lane.headers.len();
        for at in 0..count {
            let lane = if large { &self.large } else { &self.small };
            let header = &lane.headers[at];
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                desk.stats.datagrams_truncated += 1;
                continue;
            }
            let Some(source) = address::parse(lane.names[at].bytes()) else { continue };
            let stamp = if options.timestamps { lane.stamp(at) } else { None };
            let start = at * lane.size;
            let payload = &lane.buffers[start..start + header.msg_len as usize];
            let received = desk.received(stamp);
            desk.stats.datagrams_in += 1;
            let datagram = Datagram { socket: id, source, received, payload };
            machine.handle(desk.now, Input::Datagram(datagram), &mut desk.out);
            self.carry_out(desk);
            if self.sockets.get_mut(id, tag.generation).is_none() {
                return; // closed by the machine meanwhile
            }
        }
    }

    /// Empties the error queue of a socket and tells the machine which destinations refused.
    fn report_refusals<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        socket: SocketId,
        generation: u32,
    ) {
        let Some(open) = self.sockets.get_mut(socket, generation) else { return };
        desk.stats.enters += 1;
        for destination in sockets::take_refusals(open.raw()) {
            if self.sockets.get_mut(socket, generation).is_none() {
                return; // closed by the machine meanwhile
            }
            desk.stats.unreachable_in += 1;
            machine.handle(desk.now, Input::Unreachable { socket, destination }, &mut desk.out);
            self.carry_out(desk);
        }
    }

    /// Sends what the outbox holds, what was put off first. Datagrams of one socket that follow each other go together.
    pub(crate) fn send_all<M>(&mut self, desk: &mut Desk<M>) {
        for _ in 0..self.again.len() {
            if let Some(send) = self.again.pop_front() {
                self.send_one(desk, send, true);
            }
        }
        while let Some(send) = desk.out.next_send() {
            let limit = self.sender.headers.len();
            let socket = send.socket;
            self.sender.batch.push(send);
            while self.sender.batch.len() < limit {
                match desk.out.next_send() {
                    Some(next) if next.socket == socket => self.sender.batch.push(next),
                    Some(next) => {
                        desk.out.unsend(next);
                        break;
                    }
                    None => break,
                }
            }
            self.send_batch(desk, socket);
        }
    }

    fn send_batch<M>(&mut self, desk: &mut Desk<M>, socket: SocketId) {
        let fd = self.sockets.get(socket).map(crate::socket_table::Socket::raw);
        let mut done = 0;
        if let Some(fd) = fd.filter(|_| self.sender.batch.len() > 1) {
            let Sender { headers, names, parts, batch } = &mut self.sender;
            for (at, send) in batch.iter().enumerate() {
                let bytes = desk.out.pool().bytes(&send.packet);
                parts[at] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
                let header = &mut headers[at].msg_hdr;
                header.msg_namelen = names[at].set(send.destination);
                header.msg_name = names[at].as_mut_ptr().cast();
                header.msg_iov = &mut parts[at];
                header.msg_iovlen = 1;
            }
            desk.stats.enters += 1;
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the first `batch.len()` headers were just filled; names and parts are boxes
            // that do not move, the bytes belong to packets that are released only below.
            let sent =
                unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), batch.len() as libc::c_uint, flags as _) };
            done = usize::try_from(sent).unwrap_or(0);
        }
        let mut batch = core::mem::take(&mut self.sender.batch);
        for (at, send) in batch.drain(..).enumerate() {
            if at < done {
                desk.stats.datagrams_out += 1;
                desk.out.pool().release(send.packet);
            } else {
                // The first one that failed tells why; those behind it have not been tried.
                self.send_one(desk, send, false);
            }
        }
        self.sender.batch = batch;
    }

    fn send_one<M>(&mut self, desk: &mut Desk<M>, send: Send, again: bool) {
        let Some(socket) = self.sockets.get(send.socket) else {
            desk.stats.sends_unknown += 1;
            return desk.out.pool().release(send.packet);
        };
        let (fd, icmp) = (socket.raw(), socket.options().icmp_errors);
        let mut tried = send_to(desk, fd, &send);
        if icmp && tried.is_err_and(|code| code != libc::EAGAIN) {
            // What the socket reported may be an older datagram's: this one gets its own try. The
            // refusal itself is still in the error queue.
            desk.stats.sends_retried += 1;
            tried = send_to(desk, fd, &send);
        }
        match tried {
            Ok(()) => desk.stats.datagrams_out += 1,
            Err(libc::EAGAIN | libc::ENOBUFS) if !again => {
                desk.stats.sends_retried += 1;
                desk.put_off = true;
                return self.again.push_back(send);
            }
            Err(libc::EAGAIN | libc::ENOBUFS) => desk.stats.sends_dropped += 1,
            Err(_) => desk.stats.send_errors += 1,
        }
        desk.out.pool().release(send.packet);
    }
}

fn send_to<M>(desk: &mut Desk<M>, fd: RawFd, send: &Send) -> Result<(), i32> {
    let mut name = RawAddress::EMPTY;
    let len = name.set(send.destination);
    let bytes = desk.out.pool().bytes(&send.packet);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads the packet's bytes, which are released later, and `name` from this frame.
    let sent =
        unsafe { libc::sendto(fd, bytes.as_ptr().cast(), bytes.len(), flags, name.as_ptr().cast(), len) };
    desk.stats.enters += 1;
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}
