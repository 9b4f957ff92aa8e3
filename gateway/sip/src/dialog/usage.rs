//! A dialog without a call: what a SUBSCRIBE made (RFC 6665 §4.4.1).

use super::Dialog;
use crate::event::Flow;

/// One side of such a dialog.
#[derive(Debug)]
pub(crate) struct Usage {
    /// The random part of our tag.
    pub(crate) nonce: u64,
    /// Whether we subscribed (rather than being subscribed to).
    pub(crate) outgoing: bool,
    /// How the peer is reached.
    pub(crate) flow: Flow,
    /// Who speaks with whom.
    pub(crate) dialog: Dialog,
    /// Outgoing: whether a NOTIFY came, which settles with whom (RFC 6665 §4.4.1).
    pub(crate) notified: bool,
    /// Whether what the peer said shows that it is behind a NAT.
    pub(crate) shows_nat: bool,
    /// Outgoing: whether a 2xx came.
    pub(crate) answered: bool,
}
