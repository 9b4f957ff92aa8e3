//! A leg: the INVITE usage of a dialog, at either side.

use super::Dialog;
use super::reliable::{Early, Provisionals, Repeated};
use super::session::{Session, supports};
use crate::endpoint::challenged::Challenged;
use crate::event::{Flow, LegState};
use crate::message::{Message, Name};
use crate::nat::Nat;
use crate::session_id::SessionId;
use sansio::{Key, Time, TimerId};

/// What the peer of a leg has said it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// UPDATE (RFC 3311).
    pub(crate) update: bool,
    /// Reliable provisional responses (RFC 3262).
    pub(crate) reliable: bool,
    /// No others (`Require: 100rel` in its INVITE).
    pub(crate) only_reliable: bool,
}

impl Abilities {
    /// Learns from a message of the peer's; what it says nothing of stays.
    pub(crate) fn learn(&mut self, message: &Message<'_>) {
        if message.header(Name::Allow).is_some() {
            self.update = message.lists(Name::Allow, "UPDATE");
        }
        if message.header(Name::Supported).is_some() || message.header(Name::Require).is_some() {
            self.reliable = supports(message, "100rel");
            self.only_reliable = message.is_request() && message.lists(Name::Require, "100rel");
        }
    }
}

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
    /// Whether requests keep to that way, whatever the peer's Contact says.
    pub(crate) nat: Nat,
    /// Whether the peer has shown that it is behind a NAT.
    pub(crate) shows_nat: bool,
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
    /// Our UPDATE's client transaction while it has no final response.
    pub(crate) update_out: Option<Key>,
    /// The peer's UPDATE with an offer while it has no final response.
    pub(crate) update_in: Option<Key>,
    /// Whether our pending UPDATE or re-INVITE only refreshes the session.
    pub(crate) refreshing: bool,
    /// Whether the first offer has its answer, by reliable means.
    pub(crate) settled: bool,
    /// Whether the INVITE carried an offer.
    pub(crate) offered: bool,
    /// Incoming: our reliable provisional responses.
    pub(crate) provisionals: Option<Box<Provisionals>>,
    /// Outgoing: early dialogs with reliable provisional responses, at most as many as forks are told apart.
    pub(crate) earlies: Vec<Early>,
    /// Outgoing: RSeq and CSeq of the reliable provisional response whose offer the owner has to answer in the PRACK.
    pub(crate) prack_wanted: Option<(u32, u32)>,
    /// What the peer can do.
    pub(crate) abilities: Abilities,
    /// The session that runs out, if one was agreed upon.
    pub(crate) session: Option<Session>,
    /// The least session interval the peer's side has named, in seconds.
    pub(crate) min_se: u32,
    /// How often a request was sent again with a longer interval since the last agreement.
    pub(crate) raised: u8,
    /// Hashes of the tags of early dialogs, in order of appearance.
    pub(crate) forks: Vec<u64>,
    /// Outgoing: when to give up without final response. Incoming: when the owner has to have answered.
    pub(crate) answer_by: Time,
    /// Outgoing: what answers challenges, if the call has an account.
    pub(crate) challenged: Option<Box<Challenged>>,
    /// What Session-ID says in each message of ours, if it stands there (RFC 7989).
    pub(crate) session_id: Option<Box<SessionId>>,
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
            nat: Nat::Auto,
            shows_nat: false,
            dialog,
            invite: None,
            reinvite_out: None,
            reinvite_in: None,
            ack_wanted: None,
            repeated: None,
            bye_wanted: None,
            update_out: None,
            update_in: None,
            refreshing: false,
            settled: false,
            offered: false,
            provisionals: None,
            earlies: Vec::new(),
            prack_wanted: None,
            abilities: Abilities::default(),
            session: None,
            min_se: 0,
            raised: 0,
            forks: Vec::new(),
            answer_by,
            challenged: None,
            session_id: None,
            timer: None,
        }
    }

    /// Whether a re-INVITE or UPDATE may not start now: one is pending, or a 2xx is not acknowledged.
    pub(crate) const fn is_changing(&self) -> bool {
        self.reinvite_out.is_some()
            || self.reinvite_in.is_some()
            || self.repeated.is_some()
            || self.ack_wanted.is_some()
            || self.update_out.is_some()
            || self.update_in.is_some()
    }

    /// Whether requests inside the dialog go the way that the peer was last heard over, and not to its Contact.
    pub(crate) const fn keeps_way(&self) -> bool {
        self.nat.applies(self.shows_nat)
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
