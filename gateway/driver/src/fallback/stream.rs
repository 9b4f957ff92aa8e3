//! TCP of the fallback: non-blocking reads and writes when epoll says so.
#![allow(unsafe_code, reason = "accept4 and send with MSG_NOSIGNAL have no safe form")]

use super::Fallback;
use crate::error::{errno_error, io_error};
use crate::run::Desk;
use crate::sockets;
use crate::stream_table::State;
use crate::tag::{Kind, Tag};
use core::net::SocketAddr;
use sansio::{Input, IoError, Key, Machine, SocketId, StreamEnd, StreamEvent, StreamId};
use socket2::{SockAddr, SockRef};
use std::io;
use std::net::Shutdown;
use std::os::fd::{FromRawFd, OwnedFd};

/// Connections accepted from one listener per turn.
const ACCEPTS: usize = 64;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;

impl Fallback {
    pub(super) fn accept<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, tag: Tag) {
        let listener = SocketId(tag.index);
        for _ in 0..ACCEPTS {
            let Some(socket) = self.sockets.get_mut(listener, tag.generation) else {
                desk.stats.late_completions += 1;
                return;
            };
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: no address is asked for; touches no memory of ours.
            let fd =
                unsafe { libc::accept4(socket.raw(), core::ptr::null_mut(), core::ptr::null_mut(), flags) };
            desk.stats.enters += 1;
            if fd < 0 {
                let code = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                if code == libc::EAGAIN {
                    return;
                }
                desk.stats.accept_errors += 1;
                if errno_error(code) == IoError::TooManyFiles {
                    // It would show up again and again: look away until the next tick.
                    self.watch_listener(listener, false);
                    self.paused.push(listener);
                    return;
                }
                continue;
            }
            // SAFETY: the descriptor was just made and nobody else owns it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            self.take_in(desk, machine, listener, fd);
            self.carry_out(desk);
        }
    }

    fn take_in<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        listener: SocketId,
        fd: OwnedFd,
    ) {
        let Ok((local, remote)) = sockets::stream_addresses(&fd) else {
            desk.stats.accept_errors += 1;
            return;
        };
        sockets::prepare_stream(&fd);
        let Some((key, name)) = self.streams.accept(fd) else {
            desk.stats.streams_refused += 1;
            return;
        };
        if !self.watch(key, libc::EPOLL_CTL_ADD, IN) {
            desk.stats.accept_errors += 1;
            self.streams.remove(key);
            return;
        }
        desk.stats.streams_accepted += 1;
        let event = StreamEvent::Accepted { listener, local, remote };
        machine.handle(desk.now, Input::Stream(name, event), &mut desk.out);
    }

    /// Watches a listener again, or looks away from it.
    pub(super) fn watch_listener(&self, id: SocketId, watch: bool) {
        let Some(socket) = self.sockets.get(id) else { return };
        let tag = Tag::new(Kind::Accept, id.0, self.sockets.generation(id));
        // Fails only if the listener was closed, and then there is nothing to watch.
        let _ = self.control(libc::EPOLL_CTL_MOD, socket.raw(), if watch { IN } else { 0 }, tag);
    }

    /// Asks epoll for `interest` in a stream, if that is not what it watches already.
    fn watch(&mut self, key: Key, operation: i32, interest: u32) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        if operation == libc::EPOLL_CTL_MOD && stream.interest == interest {
            return true;
        }
        stream.interest = interest;
        let fd = stream.raw();
        let bits = key.to_bits();
        let tag = Tag::new(Kind::Read, bits as u32, (bits >> 32) as u32);
        self.control(operation, fd, interest, tag).is_ok()
    }

    pub(super) fn connect<M>(
        &mut self,
        desk: &mut Desk<M>,
        name: StreamId,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) {
        if let Err(error) = self.start_connect(name, local, remote) {
            if error == IoError::TooManyFiles {
                desk.stats.streams_refused += 1;
            }
            desk.ended(Some((name, StreamEnd::Refused(error))));
        }
    }

    fn start_connect(
        &mut self,
        name: StreamId,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> Result<(), IoError> {
        if self.streams.named(name).is_some() {
            return Err(IoError::Other(libc::EEXIST));
        }
        let socket = sockets::stream_towards(local, remote).map_err(|error| io_error(&error))?;
        socket.set_nonblocking(true).map_err(|error| io_error(&error))?;
        match socket.connect(&SockAddr::from(remote)) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(io_error(&error)),
        }
        let key = self.streams.connect(name, OwnedFd::from(socket), remote).ok_or(IoError::TooManyFiles)?;
        if !self.watch(key, libc::EPOLL_CTL_ADD, OUT) {
            self.streams.remove(key);
            return Err(IoError::TooManyFiles);
        }
        Ok(())
    }

    pub(super) fn write<M>(&mut self, desk: &mut Desk<M>, name: StreamId, bytes: Vec<u8>) {
        let Some(key) = self.streams.named(name) else { return };
        let limit = self.write_buffer;
        let Some(stream) = self.streams.get_mut(key) else { return };
        let connecting = stream.state == State::Connecting;
        if stream.queue.push(bytes, limit, false).is_err() {
            desk.stats.streams_stalled += 1;
            let ended = self.streams.kill(key, desk.now, StreamEnd::Stalled);
            self.streams.remove(key);
            desk.ended(ended);
        } else if !connecting {
            self.push_out(desk, key);
        }
    }

    pub(super) fn shut<M>(&mut self, desk: &mut Desk<M>, name: StreamId) {
        let Some(key) = self.streams.named(name) else { return };
        self.streams.drain(key, desk.now);
        match self.streams.get(key).map(|stream| (stream.state, stream.queue.is_empty())) {
            // Nothing was promised to anybody yet.
            Some((State::Connecting, true)) => drop(self.streams.remove(key)),
            Some((State::Draining, _)) => self.push_out(desk, key),
            _ => {}
        }
    }

    /// Writes what the kernel takes, and says what to watch for then.
    fn push_out<M>(&mut self, desk: &mut Desk<M>, key: Key) {
        loop {
            let Some(stream) = self.streams.get_mut(key) else { return };
            let Some(bytes) = stream.queue.front() else { break };
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the kernel reads `bytes`, which the queue keeps in place during the call.
            let sent = unsafe { libc::send(stream.raw(), bytes.as_ptr().cast(), bytes.len(), flags) };
            desk.stats.enters += 1;
            if sent >= 0 {
                desk.stats.stream_bytes_out += sent as u64;
                stream.queue.advance(sent as usize);
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => {
                    let interest = if stream.state == State::Open { IN | OUT } else { OUT };
                    self.watch(key, libc::EPOLL_CTL_MOD, interest);
                }
                Some(libc::EINTR) => continue,
                _ => self.broken(desk, key, io_error(&error)),
            }
            return;
        }
        if let Some(stream) = self.streams.get_mut(key)
            && stream.state == State::Draining
        {
            stream.state = State::Lingering;
            let _ = SockRef::from(&stream.fd).shutdown(Shutdown::Write);
        }
        self.watch(key, libc::EPOLL_CTL_MOD, IN);
    }

    fn broken<M>(&mut self, desk: &mut Desk<M>, key: Key, error: IoError) {
        let ended = self.streams.kill(key, desk.now, StreamEnd::Broken(error));
        self.streams.remove(key);
        desk.ended(ended);
    }

    pub(super) fn stream_ready<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        key: Key,
        events: u32,
    ) {
        let Some(stream) = self.streams.get(key) else {
            desk.stats.late_completions += 1;
            return;
        };
        if stream.state == State::Connecting {
            return self.connected(desk, machine, key);
        }
        if events & OUT != 0 {
            self.push_out(desk, key);
        }
        if events & !OUT != 0 {
            self.read(desk, machine, key);
        }
    }

    fn connected<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let error = SockRef::from(&stream.fd).take_error().unwrap_or_else(Some);
        let error = error.map(|error| io_error(&error));
        let local = sockets::stream_addresses(&stream.fd).map(|(local, _)| local);
        match (error, local) {
            (None, Ok(local)) => {
                desk.stats.streams_connected += 1;
                let name = stream.name;
                stream.state = if name.is_some() { State::Open } else { State::Draining };
                if let Some(name) = name {
                    let event = StreamEvent::Connected { local };
                    machine.handle(desk.now, Input::Stream(name, event), &mut desk.out);
                }
                self.push_out(desk, key);
            }
            (error, _) => {
                let end = StreamEnd::Refused(error.unwrap_or(IoError::Refused));
                let ended = self.streams.kill(key, desk.now, end);
                self.streams.remove(key);
                desk.ended(ended);
            }
        }
    }

    fn read<Mc: Machine>(&mut self, desk: &mut Desk<Mc::Mail>, machine: &mut Mc, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        let name = stream.name;
        // SAFETY: the kernel writes at most the length of `chunk`, which this back-end owns.
        let got = unsafe {
            libc::recv(stream.raw(), self.chunk.as_mut_ptr().cast(), self.chunk.len(), libc::MSG_DONTWAIT)
        };
        desk.stats.enters += 1;
        if got > 0 {
            desk.stats.stream_bytes_in += got as u64;
            if let Some(name) = name {
                let event = StreamEvent::Data(&self.chunk[..got as usize]);
                machine.handle(desk.now, Input::Stream(name, event), &mut desk.out);
            }
            return;
        }
        if got == 0 {
            self.finished.push(key);
            return;
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
            self.broken(desk, key, io_error(&error));
        }
    }

    /// Ends the streams whose peers have closed; what waits to be written may still reach them.
    pub(crate) fn end_finished<M>(&mut self, desk: &mut Desk<M>) {
        while let Some(key) = self.finished.pop() {
            let name = self.streams.drain(key, desk.now);
            desk.ended(name.map(|name| (name, StreamEnd::Peer)));
            if self.streams.get(key).is_some_and(|stream| stream.state == State::Draining) {
                self.push_out(desk, key);
            }
            match self.streams.get(key).map(|stream| stream.state) {
                // Still writing: the end of the peer's side would show up again and again.
                Some(State::Draining) => drop(self.watch(key, libc::EPOLL_CTL_MOD, OUT)),
                // Both sides have closed.
                _ => drop(self.streams.remove(key)),
            }
        }
    }
}
