//! How requests that begin something are taken: the owner's judgement of their source and of its own load.

/// How a request outside any dialog is taken ([`crate::Endpoint::treat`]). Whatever it says, retransmissions of requests
/// that were taken, ACK, CANCEL of a call in set-up, and requests inside dialogs are served.
///
/// What is refused here is refused without state (RFC 3261 §8.2.7): no transaction, no timer, no leg; the same request is
/// answered the same way each time, with the same tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// It is handled.
    #[default]
    Welcome,
    /// Its source may begin nothing here: 403.
    Refuse,
    /// Its source may begin nothing here, and is to learn nothing: not answered at all, nor is anything else that would
    /// be answered without state.
    Ignore,
    /// There is too much to do: an INVITE is answered 503 with Retry-After (RFC 3261 §21.5.4).
    Busy {
        /// Whether OPTIONS is answered likewise (RFC 3261 §11.2: as an INVITE would be), so that whoever probes sends
        /// its calls elsewhere.
        options: bool,
    },
}
