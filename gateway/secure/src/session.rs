//! One TLS session: bytes of the network in, clear text out, and the other way round.

use core::net::SocketAddr;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ServerConfig, ServerConnection,
};
use sansio::{SocketId, TimerId};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

/// Most bytes of clear text kept while the handshake goes on, and of records not yet taken.
const BUFFER_MAX: usize = 256 * 1024;

/// What the machine within is to be told once the handshake is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// A peer connected.
    Accepted { listener: SocketId, local: SocketAddr, remote: SocketAddr },
    /// We connected; from where, once that is known.
    Connected(Option<SocketAddr>),
    /// It has been told.
    Told,
}

/// What became of bytes taken in.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing out of the ordinary.
    Fine,
    /// The handshake is done since these bytes.
    Done,
    /// The peer has said goodbye.
    Over,
    /// It broke.
    Broken(Error),
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    tls: Connection,
    pub(crate) news: News,
    /// Until when the handshake has to be done.
    pub(crate) timer: Option<TimerId>,
}

impl Session {
    /// A session with a peer that connected.
    pub(crate) fn accepted(config: Arc<ServerConfig>, news: News) -> Result<Self, Error> {
        Ok(Self::new(ServerConnection::new(config)?.into(), news))
    }

    /// A session with a peer that is being connected to.
    pub(crate) fn connecting(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self::new(ClientConnection::new(config, name)?.into(), News::Connected(None)))
    }

    fn new(mut tls: Connection, news: News) -> Self {
        tls.set_buffer_limit(Some(BUFFER_MAX));
        Self { tls, news, timer: None }
    }

    /// Whether the handshake goes on still.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether an earlier session was taken up again.
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes bytes of the network; clear text is appended to `plain`, and what is to go to `out`.
    pub(crate) fn take(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Progress {
        let before = self.tls.is_handshaking();
        let mut over = false;
        while !bytes.is_empty() && !over {
            // Reading from memory fails only when the session's own buffer is full, which the reading below empties.
            match self.tls.read_tls(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Progress::Broken(Error::General(error.to_string())),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    self.drain(out);
                    return Progress::Broken(error);
                }
            };
            over = state.peer_has_closed();
            let held = plain.len();
            plain.resize(held + state.plaintext_bytes_to_read(), 0);
            if self.tls.reader().read_exact(&mut plain[held..]).is_err() {
                plain.truncate(held);
            }
        }
        self.drain(out);
        match (over, before && !self.tls.is_handshaking()) {
            (_, true) => Progress::Done,
            (true, false) => Progress::Over,
            (false, false) => Progress::Fine,
        }
    }

    /// Encrypts; what is to go is appended to `out`. `false` if more is waiting than may.
    pub(crate) fn put(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> bool {
        while !plain.is_empty() {
            match self.tls.writer().write(plain) {
                Ok(0) | Err(_) => return false,
                Ok(count) => plain = &plain[count..],
            }
            self.drain(out);
        }
        true
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.tls.send_close_notify();
        self.drain(out);
    }

    /// Takes what is to go.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        while self.tls.wants_write() {
            if self.tls.write_tls(out).unwrap_or(0) == 0 {
                break;
            }
        }
    }
}
