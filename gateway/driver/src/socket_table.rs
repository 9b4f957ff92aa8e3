//! The datagram and listening sockets of a driver, by the machine's numbers, with a generation per number.

use crate::sockets;
use sansio::{IoError, SocketId, SocketOptions};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Numbers of sockets are below this: the table is an array.
const NUMBERS: u32 = 1 << 20;
/// How many sockets are asked for their drops at a time.
const SAMPLE: usize = 256;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Datagrams(SocketOptions),
    Listening,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) purpose: Use,
    /// An operation (receive or accept) is with the kernel.
    pub(crate) armed: bool,
    /// Drops counted so far.
    drops: u32,
}

impl Socket {
    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn options(&self) -> SocketOptions {
        match self.purpose {
            Use::Datagrams(options) => options,
            Use::Listening => SocketOptions::default(),
        }
    }

    /// Drops since the last time this was asked.
    fn new_drops(&mut self) -> u64 {
        if self.purpose == Use::Listening {
            return 0;
        }
        let drops = sockets::receive_drops(&self.fd);
        let new = drops.wrapping_sub(self.drops);
        self.drops = drops;
        u64::from(new)
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    socket: Option<Socket>,
}

/// The table. Memory: 32 bytes for each number up to the highest in use.
#[derive(Debug, Default)]
pub(crate) struct SocketTable {
    places: Vec<Place>,
    open: usize,
    sampled: usize,
}

impl SocketTable {
    /// Whether a socket can be opened under this number.
    pub(crate) fn is_free(&self, id: SocketId) -> bool {
        id.0 < NUMBERS && self.get(id).is_none()
    }

    /// Puts a socket in and returns its generation.
    pub(crate) fn insert(&mut self, id: SocketId, fd: OwnedFd, purpose: Use) -> Result<u32, IoError> {
        if !self.is_free(id) {
            return Err(IoError::Other(libc::EEXIST));
        }
        let index = id.0 as usize;
        if index >= self.places.len() {
            self.places.resize_with(index + 1, Place::default);
        }
        let place = &mut self.places[index];
        place.socket = Some(Socket { fd, purpose, armed: false, drops: 0 });
        self.open += 1;
        Ok(place.generation)
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&Socket> {
        self.places.get(id.0 as usize)?.socket.as_ref()
    }

    /// The socket, if it is still the one of this generation.
    pub(crate) fn get_mut(&mut self, id: SocketId, generation: u32) -> Option<&mut Socket> {
        let place = self.places.get_mut(id.0 as usize)?;
        if place.generation == generation { place.socket.as_mut() } else { None }
    }

    pub(crate) fn generation(&self, id: SocketId) -> u32 {
        self.places.get(id.0 as usize).map_or(0, |place| place.generation)
    }

    /// Takes a socket out; late events of its generation find nothing from now on. Also: its generation, its last drops.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<(Socket, u32, u64)> {
        let place = self.places.get_mut(id.0 as usize)?;
        let mut socket = place.socket.take()?;
        let generation = place.generation;
        place.generation = generation.wrapping_add(1);
        self.open -= 1;
        let drops = socket.new_drops();
        Some((socket, generation, drops))
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SocketId> {
        (0..self.places.len() as u32).map(SocketId).filter(|&id| self.places[id.0 as usize].socket.is_some())
    }

    /// Asks the next few sockets for their drops: all of them in turn, a bounded number per call.
    pub(crate) fn sample_drops(&mut self) -> u64 {
        let mut drops = 0;
        for _ in 0..self.places.len().min(SAMPLE) {
            self.sampled = if self.sampled + 1 < self.places.len() { self.sampled + 1 } else { 0 };
            if let Some(socket) = &mut self.places[self.sampled].socket {
                drops += socket.new_drops();
            }
        }
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::{Share, open_udp};

    fn socket() -> OwnedFd {
        let local = "127.0.0.1:0".parse().unwrap();
        OwnedFd::from(open_udp(local, SocketOptions::default(), Share::Alone).unwrap().socket)
    }

    #[test]
    fn an_old_generation_finds_nothing() {
        let mut table = SocketTable::default();
        let id = SocketId(3);
        let purpose = Use::Datagrams(SocketOptions::default());
        let first = table.insert(id, socket(), purpose).unwrap();
        assert_eq!(table.insert(id, socket(), purpose), Err(IoError::Other(libc::EEXIST)));
        assert!(table.get_mut(id, first).is_some());
        assert_eq!(table.remove(id).map(|(_, generation, drops)| (generation, drops)), Some((first, 0)));
        let second = table.insert(id, socket(), purpose).unwrap();
        assert!(table.get_mut(id, first).is_none() && table.get_mut(id, second).is_some());
        assert_eq!(table.ids().collect::<Vec<_>>(), [id]);
        assert_eq!((table.open(), table.sample_drops()), (1, 0));
        assert!(!table.is_free(SocketId(NUMBERS)));
    }
}
