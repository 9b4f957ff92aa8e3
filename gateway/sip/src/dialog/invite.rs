//! A leg: the INVITE usage of a dialog, at either side.

use super::Dialog;
use super::reliable::Repeated;
use crate::endpoint::challenged::Challenged;
use crate::event::{Flow, LegState};
use sansio::{Key, Time, TimerId};

/// One side of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    /// The random part of our tag.
    pub(crate) nonce: u64,
    /// Whether we called.
    pub(crate) outgoing: bool,
    /// Where it stands.
    pub(crate) state: LegState,
    /// Whether any response came (outgoing).
    pub(crate) heard: bool,
    /// How the peer is reached.
    pub(crate) flow: Flow,
    /// Who speaks with whom.
    pub(crate) dialog: Dialog,
    /// The first INVITE's transaction while it has no final response: a client's if outgoing, else a server's.
    pub(crate) invite: Option<Key>,
    /// Our re-INVITE's client transaction while it has no final response.
    pub(crate) reinvite_out: Option<Key>,
    /// The peer's re-INVITE's server transaction while it has no final response.
    pub(crate) reinvite_in: Option<Key>,
    /// The client transaction whose 2xx the owner has to acknowledge with an answer.
    pub(crate) ack_wanted: Option<Key>,
    /// The 2xx awaiting its ACK.
    pub(crate) repeated: Option<Repeated>,
    /// BYE was asked for before it may be sent: its header lines.
    pub(crate) bye_wanted: Option<Box<[u8]>>,
    /// Hashes of the tags of early dialogs, in order of appearance.
    pub(crate) forks: Vec<u64>,
    /// Outgoing: when to give up without final response. Incoming: when the owner has to have answered.
    pub(crate) answer_by: Time,
    /// Outgoing: what answers challenges, if the call has an account.
    pub(crate) challenged: Option<Box<Challenged>>,
    /// The timer of whatever the leg waits for.
    pub(crate) timer: Option<TimerId>,
}

impl Leg {
    /// A leg that begins.
    pub(crate) fn new(nonce: u64, outgoing: bool, flow: Flow, dialog: Dialog, answer_by: Time) -> Self {
        Self {
            nonce,
            outgoing,
            state: LegState::Started,
            heard: false,
            flow,
            dialog,
            invite: None,
            reinvite_out: None,
            reinvite_in: None,
            ack_wanted: None,
            repeated: None,
            bye_wanted: None,
            forks: Vec::new(),
            answer_by,
            challenged: None,
            timer: None,
        }
    }

    /// Whether a re-INVITE may not start now: one is pending, or a 2xx is not acknowledged.
    pub(crate) const fn is_changing(&self) -> bool {
        self.reinvite_out.is_some()
            || self.reinvite_in.is_some()
            || self.repeated.is_some()
            || self.ack_wanted.is_some()
    }

    /// Whether the first INVITE has no final answer yet.
    pub(crate) const fn is_unanswered(&self) -> bool {
        matches!(self.state, LegState::Started | LegState::Early | LegState::Cancelling)
    }

    /// Which early dialog a tag names, in order of appearance; `None` beyond `limit` of them.
    pub(crate) fn fork(&mut self, tag: u64, limit: u8) -> Option<u8> {
        if let Some(index) = self.forks.iter().position(|&known| known == tag) {
            return Some(index as u8); // at most `limit` of them
        }
        if self.forks.len() >= usize::from(limit) {
            return None;
        }
        self.forks.push(tag);
        Some((self.forks.len() - 1) as u8)
    }
}
