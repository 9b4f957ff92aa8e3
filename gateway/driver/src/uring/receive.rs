//! Receiving datagrams: one multishot recvmsg per socket into the provided buffers.
#![allow(unsafe_code, reason = "queueing an operation hands the kernel pointers")]

use super::ring::Completion;
use super::{Uring, receive_tag};
use crate::address::{self, RawAddress};
use crate::run::Desk;
use crate::socket_table::Use;
use crate::sockets;
use crate::tag::{Kind, Tag};
use core::mem::zeroed;
use core::net::SocketAddr;
use io_uring::types::RecvMsgOut;
use io_uring::{opcode, types};
use sansio::{Datagram, Input, IoError, Machine, SocketId, SocketOptions};
use std::io;
use std::os::fd::OwnedFd;

/// Room for a time stamp's control message.
const CONTROL: usize = 64;

/// The two message headers all receives share: the kernel reads their lengths for as long as any is armed.
pub(super) struct Headers {
    plain: Box<libc::msghdr>,
    stamped: Box<libc::msghdr>,
}

impl Headers {
    pub(super) fn new() -> Self {
        let header = |control: usize| {
            // SAFETY: msghdr is plain data, for which zero is valid.
            let mut header: libc::msghdr = unsafe { zeroed() };
            header.msg_namelen = RawAddress::ROOM as libc::socklen_t;
            header.msg_controllen = control as _;
            Box::new(header)
        };
        Self { plain: header(0), stamped: header(CONTROL) }
    }

    fn of(&self, options: SocketOptions) -> &libc::msghdr {
        if options.timestamps { &self.stamped } else { &self.plain }
    }
}

impl Uring {
    pub(crate) fn open(&mut self, id: SocketId, fd: OwnedFd, options: SocketOptions) -> Result<(), IoError> {
        // A ring waits by itself; on a non-blocking socket it would not.
        let _ = socket2::SockRef::from(&fd).set_nonblocking(false);
        let generation = self.sockets.insert(id, fd, Use::Datagrams(options))?;
        self.rearm.push(receive_tag(id, generation, options.icmp_errors));
        Ok(())
    }

    pub(super) fn open_bound(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        options: SocketOptions,
    ) -> io::Result<SocketAddr> {
        if core::mem::take(&mut self.unsettled) {
            // A port closed just now is free only once the kernel has let go of it.
            self.ring.wait(0, 0, 0);
        }
        let opened = sockets::open_udp(local, options, sockets::Share::Alone)?;
        self.open(id, OwnedFd::from(opened.socket), options)
            .map_err(|_| io::Error::from_raw_os_error(libc::EEXIST))?;
        Ok(opened.local)
    }

    pub(super) fn close_socket<M>(&mut self, desk: &mut Desk<M>, id: SocketId) {
        if self.ring.unsubmitted() {
            // Queued operations name the descriptor's number, which may be another's soon.
            self.ring.submit();
        }
        let Some((socket, generation, drops)) = self.sockets.remove(id) else { return };
        desk.stats.socket_drops += drops;
        if socket.armed {
            let tag = match socket.purpose {
                Use::Datagrams(options) => receive_tag(id, generation, options.icmp_errors),
                Use::Listening => Tag::new(Kind::Accept, id.0, generation),
            };
            self.cancel(tag);
            self.unsettled = true;
        }
    }

    /// Asks the kernel to end an operation; it completes as cancelled, or as whatever it just did.
    pub(super) fn cancel(&mut self, tag: Tag) {
        let cancel = opcode::AsyncCancel::new(tag.to_bits())
            .build()
            .user_data(Tag::new(Kind::Ignored, 0, 0).to_bits());
        // SAFETY: a cancellation points to nothing.
        unsafe { self.ring.push(&cancel) };
    }

    pub(super) fn arm_mail(&mut self, tag: Tag) -> bool {
        let poll = opcode::PollAdd::new(types::Fd(self.mail), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(tag.to_bits());
        // SAFETY: a poll points to nothing; the mailbox outlives the ring.
        unsafe { self.ring.push(&poll) }
    }

    /// False if the operation could not be queued; true also if the socket is gone.
    pub(super) fn arm_receive(&mut self, tag: Tag) -> bool {
        let Some(socket) = self.sockets.get_mut(SocketId(tag.index), tag.generation) else { return true };
        let group = if tag.kind == Kind::ReceiveLarge { self.large.group() } else { self.small.group() };
        let receive =
            opcode::RecvMsgMulti::new(types::Fd(socket.raw()), self.headers.of(socket.options()), group)
                .build()
                .user_data(tag.to_bits());
        // SAFETY: the header is boxed in `headers` and the buffers are registered; both stay until
        // the ring has ended all operations.
        let queued = unsafe { self.ring.push(&receive) };
        socket.armed = queued;
        queued
    }

    pub(super) fn received<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        tag: Tag,
        completion: Completion,
    ) {
        let id = SocketId(tag.index);
        let options = match self.sockets.get_mut(id, tag.generation) {
            Some(socket) => {
                if !completion.more() {
                    socket.armed = false;
                    self.rearm.push(tag);
                    desk.stats.rearms += 1;
                }
                Some(socket.options())
            }
            None => {
                desk.stats.late_completions += u64::from(completion.error() != libc::ECANCELED);
                None
            }
        };
        if let Some(buffer) = completion.buffer() {
            if let Some(options) = options {
                self.deliver(desk, machine, tag, options, buffer, completion);
            }
            match tag.kind {
                Kind::ReceiveLarge => self.large.give_back(buffer),
                _ => self.small.give_back(buffer),
            }
            return;
        }
        match completion.error() {
            0 | libc::ECANCELED | libc::EAGAIN => {}
            libc::ENOBUFS => {
                desk.stats.buffers_exhausted += 1;
                desk.more = true;
            }
            // What ICMP reported stands in the error queue.
            _ => self.report_refusals(desk, machine, id, tag.generation),
        }
    }

    /// Empties the error queue of a socket and tells the machine which destinations refused.
    pub(super) fn report_refusals<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        socket: SocketId,
        generation: u32,
    ) {
        let Some(open) = self.sockets.get_mut(socket, generation) else { return };
        for destination in sockets::take_refusals(open.raw()) {
            if self.sockets.get_mut(socket, generation).is_none() {
                return; // closed by the machine meanwhile
            }
            desk.stats.unreachable_in += 1;
            machine.handle(desk.now, Input::Unreachable { socket, destination }, &mut desk.out);
            self.carry_out(desk);
        }
    }

    fn deliver<Mc: Machine>(
        &self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        tag: Tag,
        options: SocketOptions,
        buffer: u16,
        completion: Completion,
    ) {
        let buffers = if tag.kind == Kind::ReceiveLarge { &self.large } else { &self.small };
        let bytes = buffers.bytes(buffer, completion.result.max(0) as usize);
        let Ok(parts) = RecvMsgOut::parse(bytes, self.headers.of(options)) else { return };
        if parts.is_payload_truncated() {
            desk.stats.datagrams_truncated += 1;
            return;
        }
        let Some(source) = address::parse(parts.name_data()) else { return };
        let stamp = if options.timestamps { stamp_in(parts.control_data()) } else { None };
        let received = desk.received(stamp);
        desk.stats.datagrams_in += 1;
        let payload = parts.payload_data();
        let datagram = Datagram { socket: SocketId(tag.index), source, received, payload };
        machine.handle(desk.now, Input::Datagram(datagram), &mut desk.out);
    }
}

/// The time stamp in a block of control messages, which need not be aligned.
fn stamp_in(control: &[u8]) -> Option<u64> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut rest = control;
    while rest.len() >= HEADER {
        let len = usize::from_ne_bytes(rest[..8].try_into().ok()?);
        let level = i32::from_ne_bytes(rest[8..12].try_into().ok()?);
        let kind = i32::from_ne_bytes(rest[12..16].try_into().ok()?);
        let content = rest.get(HEADER..len)?;
        if let Some(stamp) = sockets::timestamp(level, kind, content) {
            return Some(stamp);
        }
        rest = rest.get(len.next_multiple_of(8)..)?;
    }
    None
}

const _: () = assert!(size_of::<libc::cmsghdr>() == 16, "written for 64-bit Linux");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_behind_other_messages() {
        let mut control = Vec::new();
        let mut message = |level: i32, kind: i32, content: &[u8]| {
            control.extend((16 + content.len()).to_ne_bytes());
            control.extend(level.to_ne_bytes());
            control.extend(kind.to_ne_bytes());
            control.extend(content);
            control.resize(control.len().next_multiple_of(8), 0);
        };
        message(libc::SOL_IP, libc::IP_TTL, &[64, 0, 0, 0]);
        message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &[3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(stamp_in(&control), Some(3_000_000_007));
        assert_eq!(stamp_in(&control[..24]), None);
        assert_eq!(stamp_in(&[0xff; 40]), None, "nonsense lengths end the search");
        assert_eq!(stamp_in(&[0; 40]), None);
    }
}
