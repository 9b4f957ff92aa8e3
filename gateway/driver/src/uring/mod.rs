//! The io_uring back-end: not built yet, so it refuses and the fallback runs.

use crate::error::Refusal;
use crate::mailbox::Receiver;
use crate::options::Options;
use crate::run::{Desk, Wait};
use core::net::SocketAddr;
use sansio::{IoError, Machine, SocketId, SocketOptions, StreamId};
use std::os::fd::OwnedFd;

/// What the kernel's io_uring can do beyond what the driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Wake-ups are shared by the kernel's minimum wait (Linux 6.12), else by a timeout.
    pub min_wait: bool,
}

/// Tries all of io_uring that the driver uses.
///
/// # Errors
/// A [`Refusal`] that says what failed and why.
pub fn probe() -> Result<Probe, Refusal> {
    Err(Refusal { step: "probe", cause: "not built in".into(), code: 0 })
}

#[derive(Debug)]
pub(crate) enum Uring {}

impl Uring {
    pub(crate) fn new<M>(_: &Options, _: &Receiver<M>) -> Result<Self, Refusal> {
        Err(Refusal { step: "probe", cause: "not built in".into(), code: 0 })
    }
    pub(crate) fn open(&mut self, _: SocketId, _: OwnedFd, _: SocketOptions) -> Result<(), IoError> {
        match *self {}
    }
    pub(crate) fn listen(&mut self, _: SocketId, _: OwnedFd) -> Result<(), IoError> {
        match *self {}
    }
    pub(crate) fn close_socket<M>(&mut self, _: &mut Desk<M>, _: SocketId) {}
    pub(crate) fn settle_closed<M>(&mut self, _: &mut Desk<M>) {}
    pub(crate) fn connect<M>(&mut self, _: &mut Desk<M>, _: StreamId, _: Option<SocketAddr>, _: SocketAddr) {}
    pub(crate) fn write<M>(&mut self, _: &mut Desk<M>, _: StreamId, _: Vec<u8>) {}
    pub(crate) fn shut<M>(&mut self, _: &mut Desk<M>, _: StreamId) {}
    pub(crate) fn send_all<M>(&mut self, _: &mut Desk<M>) {}
    pub(crate) fn turn<Mc: Machine>(&mut self, _: &mut Desk<Mc::Mail>, _: &mut Mc, _: &Wait) {}
    pub(crate) fn tick<M>(&mut self, _: &mut Desk<M>) {}
    pub(crate) fn unwritten(&self) -> bool {
        false
    }
    pub(crate) fn close<M>(&mut self, _: &mut Desk<M>) {}
}
