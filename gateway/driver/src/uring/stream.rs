//! TCP over the ring: multishot accept and receive, one write at a time per stream.
#![allow(unsafe_code, reason = "queueing an operation hands the kernel pointers")]

use super::ring::Completion;
use super::{Uring, stream_key, stream_tag};
use crate::error::{errno_error, io_error};
use crate::run::Desk;
use crate::socket_table::Use;
use crate::sockets;
use crate::stream_table::State;
use crate::tag::{Kind, Tag};
use core::net::SocketAddr;
use io_uring::{opcode, types};
use sansio::{Input, IoError, Key, Machine, SocketId, StreamEnd, StreamEvent, StreamId};
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::{FromRawFd, OwnedFd};

/// Closes a descriptor that the kernel accepted for nobody.
pub(super) fn discard(fd: i32) {
    drop(own(fd));
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: a completed accept hands over a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Uring {
    pub(crate) fn listen(&mut self, id: SocketId, fd: OwnedFd) -> Result<(), IoError> {
        let _ = SockRef::from(&fd).set_nonblocking(false);
        let generation = self.sockets.insert(id, fd, Use::Listening)?;
        self.rearm.push(Tag::new(Kind::Accept, id.0, generation));
        Ok(())
    }

    pub(super) fn arm_accept(&mut self, tag: Tag) -> bool {
        let Some(socket) = self.sockets.get_mut(SocketId(tag.index), tag.generation) else { return true };
        let accept = opcode::AcceptMulti::new(types::Fd(socket.raw()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(tag.to_bits());
        // SAFETY: a multishot accept asks for no address, so it points to nothing.
        let queued = unsafe { self.ring.push(&accept) };
        socket.armed = queued;
        queued
    }

    pub(super) fn accepted<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        tag: Tag,
        completion: Completion,
    ) {
        let listener = SocketId(tag.index);
        let error = completion.error();
        let known = self.sockets.get_mut(listener, tag.generation);
        let here = known.is_some();
        if let Some(socket) = known.filter(|_| !completion.more()) {
            socket.armed = false;
            if errno_error(error) == IoError::TooManyFiles {
                // It would fail again and again: look away until the next tick.
                self.paused.push(tag);
            } else {
                self.rearm.push(tag);
                desk.stats.rearms += 1;
            }
        }
        if error != 0 {
            desk.stats.accept_errors += u64::from(error != libc::ECANCELED);
            return;
        }
        let fd = own(completion.result);
        if here {
            self.take_in(desk, machine, listener, fd);
        } else {
            desk.stats.late_completions += 1;
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
        self.rearm.push(stream_tag(Kind::Read, key));
        desk.stats.streams_accepted += 1;
        let event = StreamEvent::Accepted { listener, local, remote };
        machine.handle(desk.now, Input::Stream(name, event), &mut desk.out);
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
        let key = self.streams.connect(name, OwnedFd::from(socket), remote).ok_or(IoError::TooManyFiles)?;
        let Some(stream) = self.streams.get_mut(key) else { return Err(IoError::TooManyFiles) };
        let connect =
            opcode::Connect::new(types::Fd(stream.raw()), stream.remote.as_ptr().cast(), stream.remote_len)
                .build()
                .user_data(stream_tag(Kind::Connect, key).to_bits());
        // SAFETY: the address is boxed in the stream's slot, which stays while `connecting` is set.
        stream.connecting = unsafe { self.ring.push(&connect) };
        if !stream.connecting {
            self.streams.remove(key);
            return Err(IoError::TooManyFiles);
        }
        Ok(())
    }

    pub(super) fn connected<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        key: Key,
        completion: Completion,
    ) {
        let Some(stream) = self.streams.get_mut(key) else {
            desk.stats.late_completions += 1;
            return;
        };
        stream.connecting = false;
        let local = sockets::stream_addresses(&stream.fd).map(|(local, _)| local);
        match (completion.error(), local) {
            _ if stream.state == State::Dead => self.bury(key),
            (0, Ok(local)) => {
                desk.stats.streams_connected += 1;
                let name = stream.name;
                stream.state = if name.is_some() { State::Open } else { State::Draining };
                self.rearm.push(stream_tag(Kind::Read, key));
                if let Some(name) = name {
                    let event = StreamEvent::Connected { local };
                    machine.handle(desk.now, Input::Stream(name, event), &mut desk.out);
                }
                self.push_out(desk, key);
            }
            (0, Err(_)) => self.kill(desk, key, StreamEnd::Refused(IoError::Refused)),
            (code, _) => self.kill(desk, key, StreamEnd::Refused(errno_error(code))),
        }
    }

    pub(super) fn write<M>(&mut self, desk: &mut Desk<M>, name: StreamId, bytes: Vec<u8>) {
        let Some(key) = self.streams.named(name) else { return };
        let limit = self.write_buffer;
        let Some(stream) = self.streams.get_mut(key) else { return };
        let front_busy = stream.writing;
        if stream.queue.push(bytes, limit, front_busy).is_err() {
            desk.stats.streams_stalled += 1;
            self.kill(desk, key, StreamEnd::Stalled);
        } else {
            self.push_out(desk, key);
        }
    }

    pub(super) fn shut<M>(&mut self, desk: &mut Desk<M>, name: StreamId) {
        let Some(key) = self.streams.named(name) else { return };
        self.streams.drain(key, desk.now);
        match self.streams.get(key).map(|stream| (stream.state, stream.queue.is_empty())) {
            // Nothing was promised to anybody yet.
            Some((State::Connecting, true)) => self.kill(desk, key, StreamEnd::Peer),
            Some((State::Draining, _)) => self.push_out(desk, key),
            _ => {}
        }
    }

    /// Queues the next write, or closes our side when all is out and no more will come.
    fn push_out<M>(&mut self, desk: &mut Desk<M>, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.writing || !matches!(stream.state, State::Open | State::Draining) {
            return;
        }
        let fd = types::Fd(stream.raw());
        let Some(bytes) = stream.queue.front() else {
            if stream.state == State::Draining {
                stream.state = State::Lingering;
                let _ = SockRef::from(&stream.fd).shutdown(Shutdown::Write);
                if !stream.reading {
                    self.rearm.push(stream_tag(Kind::Read, key));
                }
            }
            return;
        };
        let write = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(stream_tag(Kind::Write, key).to_bits());
        // SAFETY: the bytes are the front of the stream's queue, which neither moves nor grows while
        // `writing` is set; the slot stays until the write completed.
        stream.writing = unsafe { self.ring.push(&write) };
        if !stream.writing {
            self.kill(desk, key, StreamEnd::Broken(IoError::TooManyFiles));
        }
    }

    pub(super) fn written<M>(&mut self, desk: &mut Desk<M>, key: Key, completion: Completion) {
        let Some(stream) = self.streams.get_mut(key) else {
            desk.stats.late_completions += 1;
            return;
        };
        stream.writing = false;
        if stream.state == State::Dead {
            return self.bury(key);
        }
        match completion.error() {
            0 => {
                desk.stats.stream_bytes_out += completion.result as u64;
                stream.queue.advance(completion.result as usize);
                self.push_out(desk, key);
            }
            libc::EAGAIN | libc::EINTR => self.push_out(desk, key),
            code => self.kill(desk, key, StreamEnd::Broken(errno_error(code))),
        }
    }

    pub(super) fn arm_read(&mut self, tag: Tag) -> bool {
        let key = stream_key(tag);
        let Some(stream) = self.streams.get_mut(key) else { return true };
        if stream.reading || matches!(stream.state, State::Connecting | State::Dead) {
            return true;
        }
        let read = opcode::RecvMulti::new(types::Fd(stream.raw()), self.small.group())
            .build()
            .user_data(tag.to_bits());
        // SAFETY: the bytes go into the registered buffers, which stay until the ring has ended all operations.
        stream.reading = unsafe { self.ring.push(&read) };
        stream.reading
    }

    pub(super) fn read<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        tag: Tag,
        completion: Completion,
    ) {
        let key = stream_key(tag);
        let state = match self.streams.get_mut(key) {
            Some(stream) => {
                stream.reading = completion.more();
                Some(stream.state)
            }
            None => None,
        };
        if let Some(buffer) = completion.buffer() {
            let name = self.streams.get(key).and_then(|stream| stream.name);
            if let Some(name) = name.filter(|_| completion.result > 0) {
                let bytes = self.small.bytes(buffer, completion.result as usize);
                desk.stats.stream_bytes_in += bytes.len() as u64;
                machine.handle(desk.now, Input::Stream(name, StreamEvent::Data(bytes)), &mut desk.out);
            }
            self.small.give_back(buffer);
        }
        match state {
            None => desk.stats.late_completions += u64::from(completion.error() != libc::ECANCELED),
            Some(State::Dead) => self.bury(key),
            Some(state) => self.read_on(desk, tag, state, completion),
        }
    }

    fn read_on<M>(&mut self, desk: &mut Desk<M>, tag: Tag, state: State, completion: Completion) {
        let key = stream_key(tag);
        match (completion.error(), completion.result) {
            (0, 0) if state == State::Lingering => self.kill(desk, key, StreamEnd::Peer),
            (0, 0) => self.finished.push(key),
            (0, _) if completion.more() => {}
            (code @ (0 | libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ECANCELED), _) => {
                desk.stats.buffers_exhausted += u64::from(code == libc::ENOBUFS);
                desk.stats.rearms += 1;
                self.rearm.push(tag);
            }
            (code, _) => self.kill(desk, key, StreamEnd::Broken(errno_error(code))),
        }
    }

    /// Ends the streams whose peers have closed; what waits to be written may still reach them.
    pub(crate) fn end_finished<M>(&mut self, desk: &mut Desk<M>) {
        while let Some(key) = self.finished.pop() {
            let name = self.streams.drain(key, desk.now);
            desk.ended(name.map(|name| (name, StreamEnd::Peer)));
            self.push_out(desk, key);
        }
    }

    /// Ends a stream at once; its slot stays until the kernel has given back what it holds.
    pub(super) fn kill<M>(&mut self, desk: &mut Desk<M>, key: Key, end: StreamEnd) {
        let ended = self.streams.kill(key, desk.now, end);
        desk.ended(ended);
        let Some(stream) = self.streams.get_mut(key) else { return };
        let (reading, writing, connecting) = (stream.reading, stream.writing, stream.connecting);
        if reading || writing || connecting {
            // Wakes whatever waits inside.
            let _ = SockRef::from(&stream.fd).shutdown(Shutdown::Both);
        }
        for (open, kind) in [(reading, Kind::Read), (writing, Kind::Write), (connecting, Kind::Connect)] {
            if open {
                self.cancel(stream_tag(kind, key));
            }
        }
        self.bury(key);
    }

    /// Removes a dead stream once the kernel holds nothing of it.
    fn bury(&mut self, key: Key) {
        if self.streams.get(key).is_some_and(|stream| stream.state == State::Dead && stream.is_quiet()) {
            self.streams.remove(key);
        }
    }
}
