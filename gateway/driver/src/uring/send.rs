//! Sending datagrams: queued as the machine writes them, submitted together, completed during submission.
#![allow(unsafe_code, reason = "queueing an operation hands the kernel pointers")]

use super::Uring;
use super::ring::Completion;
use crate::address::RawAddress;
use crate::run::Desk;
use crate::tag::{Kind, Tag};
use io_uring::{opcode, types};
use sansio::{Machine, Send, SocketId};

/// One datagram with the kernel: same number as its packet's slot, taken until the completion.
pub(super) struct SendSlot {
    name: RawAddress,
    send: Option<Send>,
    /// It was tried before.
    again: bool,
}

impl SendSlot {
    pub(super) const fn new() -> Self {
        Self { name: RawAddress::EMPTY, send: None, again: false }
    }
}

impl Uring {
    /// Queues what the outbox holds, what was put off first; submitted with the next wait.
    pub(crate) fn send_all<M>(&mut self, desk: &mut Desk<M>) {
        for slot in core::mem::take(&mut self.again) {
            if let Some(send) = self.sends[slot as usize].send.take() {
                self.queue_send(desk, send, true);
            }
        }
        while let Some(send) = desk.out.next_send() {
            self.queue_send(desk, send, false);
        }
    }

    fn queue_send<M>(&mut self, desk: &mut Desk<M>, send: Send, again: bool) {
        let Some(socket) = self.sockets.get(send.socket) else {
            desk.stats.sends_unknown += 1;
            return desk.out.pool().release(send.packet);
        };
        let index = send.packet.slot();
        let slot = &mut self.sends[index];
        let name_len = slot.name.set(send.destination);
        let bytes = desk.out.pool().bytes(&send.packet);
        let entry = opcode::Send::new(types::Fd(socket.raw()), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .dest_addr(slot.name.as_ptr().cast())
            .dest_addr_len(name_len)
            .build()
            .user_data(Tag::new(Kind::Send, index as u32, 0).to_bits());
        slot.send = Some(send);
        slot.again = again;
        // SAFETY: the address lies in the boxed slot `index` and the bytes in the packet of the same
        // number; the slot keeps the packet taken until this operation's completion.
        if unsafe { self.ring.push(&entry) } {
            self.sends_open += 1;
        } else if let Some(send) = self.sends[index].send.take() {
            desk.stats.sends_dropped += 1;
            desk.out.pool().release(send.packet);
        }
    }

    pub(super) fn sent<Mc: Machine>(
        &mut self,
        desk: &mut Desk<Mc::Mail>,
        machine: &mut Mc,
        index: u32,
        completion: Completion,
    ) {
        if completion.result < 0
            && let Some((id, again)) = self.slot(index)
            && let Some(socket) = self.sockets.get(id)
        {
            let icmp = socket.options().icmp_errors;
            let full = matches!(completion.error(), libc::EAGAIN | libc::ENOBUFS);
            if icmp && !full {
                // What the socket reported may be an older datagram's: this one gets its own try.
                self.report_refusals(desk, machine, id, self.sockets.generation(id));
            }
            if !again && (icmp || full) {
                self.sends_open -= 1;
                desk.stats.sends_retried += 1;
                desk.put_off = true;
                self.again.push(index);
                return;
            }
        }
        self.settle_send(desk, index, completion);
    }

    fn slot(&self, index: u32) -> Option<(SocketId, bool)> {
        let slot = self.sends.get(index as usize)?;
        slot.send.as_ref().map(|send| (send.socket, slot.again))
    }

    /// Counts a completed send and gives its packet back.
    pub(super) fn settle_send<M>(&mut self, desk: &mut Desk<M>, index: u32, completion: Completion) {
        self.sends_open = self.sends_open.saturating_sub(1);
        match completion.error() {
            0 => desk.stats.datagrams_out += 1,
            libc::EAGAIN | libc::ENOBUFS => desk.stats.sends_dropped += 1,
            _ => desk.stats.send_errors += 1,
        }
        if let Some(send) = self.sends.get_mut(index as usize).and_then(|slot| slot.send.take()) {
            desk.out.pool().release(send.packet);
        }
    }
}
