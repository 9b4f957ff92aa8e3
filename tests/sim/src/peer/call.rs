//! What a scripted peer knows of its calls and transactions.

use super::Peer;
use super::media::Media;
use super::script::{Behaviour, CallPlan, Inside, Outcome, Record, Role, Skills};
use super::skills::Extras;
use super::transport::Way;
use sansio::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Before the final answer.
    Inviting,
    /// Answered with 2xx.
    Talking,
    /// Over.
    Ended,
}

/// What a call follows.
#[derive(Clone, Debug)]
pub(super) enum Script {
    Caller(CallPlan),
    Carrier(Behaviour),
}

/// The session that a peer offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) direction: &'static str,
    pub(super) formats: &'static [u8],
}

impl Default for Shape {
    fn default() -> Self {
        Self { direction: "sendrecv", formats: &[0, 8, 101] }
    }
}

/// What was done in the middle of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doings {
    pub(super) begun: u32,
    pub(super) served: u32,
    pub(super) told: u32,
    /// The re-INVITE under way is one of them.
    pub(super) pending: Option<Inside>,
}

/// A 2xx that waits for its ACK.
#[derive(Clone, Debug)]
pub(super) struct Unacked {
    pub(super) bytes: Vec<u8>,
    pub(super) way: Way,
    pub(super) interval: Duration,
    pub(super) until: Time,
}

/// One call as this peer sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) serial: u64,
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) script: Script,
    pub(super) way: Way,
    /// Our name-addr with tag, theirs (with tag once known).
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) remote_tag: Option<String>,
    /// Request URI of our requests in the dialog.
    pub(super) target: String,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: u32,
    /// Branch and CSeq of the INVITE that began the call, and its bytes.
    pub(super) invite_branch: String,
    pub(super) invite_cseq: u32,
    pub(super) invite: Vec<u8>,
    pub(super) offered: bool,
    pub(super) provisional: bool,
    pub(super) cancel_wanted: bool,
    pub(super) cancelled: bool,
    pub(super) outcome: Outcome,
    pub(super) bye_sent: bool,
    pub(super) bye_received: bool,
    /// Our BYE was answered 481.
    pub(super) unknown_there: bool,
    pub(super) reinvite_out: Option<u32>,
    pub(super) reinvites: u32,
    pub(super) sdp_version: u32,
    pub(super) shape: Shape,
    pub(super) doings: Doings,
    /// The header line with our credentials, once we were asked for them.
    pub(super) credentials: String,
    /// The least session interval that the other side agrees to, once it said so.
    pub(super) min_se: Option<u32>,
    pub(super) media: Option<Media>,
    /// ACKs to 2xx by CSeq, to be sent again.
    pub(super) acks: BTreeMap<u32, Vec<u8>>,
    /// 2xx by CSeq that were not acknowledged yet.
    pub(super) unacked: BTreeMap<u32, Unacked>,
    /// CSeq of INVITEs of the other side whose 2xx was acknowledged.
    pub(super) acked: Vec<u32>,
    /// The value of Join in its INVITE (RFC 3911); empty if it joins nobody.
    pub(super) join: String,
    /// Further header lines of the INVITE.
    pub(super) fields: String,
    /// What it asked to be put through to; empty if it did not.
    pub(super) refer_to: String,
    /// The header lines of a NOTIFY of ours.
    pub(super) telling: String,
    /// What NOTIFYs told of that, and whether one was the last.
    pub(super) told: Vec<u16>,
    pub(super) told_all: bool,
    /// The branch of a fork that answered too.
    pub(super) branch: Option<super::fork::Branch>,
    /// What was said and is due of RFC 3262 and RFC 4028.
    pub(super) extras: Extras,
    pub(super) started: Time,
    pub(super) answered: Option<Time>,
    pub(super) ended: Option<Time>,
}

impl Call {
    /// A call as it begins, of which nothing is said yet.
    pub(super) fn new(id: &str, serial: u64, role: Role, script: Script, way: Way, now: Time) -> Self {
        Self {
            id: id.to_owned(),
            serial,
            role,
            state: State::Inviting,
            script,
            way,
            local: String::new(),
            remote: String::new(),
            remote_tag: None,
            target: String::new(),
            local_cseq: 0,
            remote_cseq: 0,
            invite_branch: String::new(),
            invite_cseq: 0,
            invite: Vec::new(),
            offered: true,
            provisional: false,
            cancel_wanted: false,
            cancelled: false,
            outcome: Outcome::Open,
            bye_sent: false,
            bye_received: false,
            unknown_there: false,
            reinvite_out: None,
            reinvites: 0,
            sdp_version: 1,
            shape: Shape::default(),
            doings: Doings::default(),
            credentials: String::new(),
            min_se: None,
            media: None,
            acks: BTreeMap::new(),
            unacked: BTreeMap::new(),
            acked: Vec::new(),
            join: String::new(),
            fields: String::new(),
            refer_to: String::new(),
            telling: String::new(),
            told: Vec::new(),
            told_all: false,
            branch: None,
            extras: Extras::default(),
            started: now,
            answered: None,
            ended: None,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state != State::Ended
    }

    /// How a Replaces field names it to the other side (RFC 3891 §6.1).
    pub(super) fn as_replaced(&self) -> String {
        let ours = self.local.split(";tag=").nth(1).unwrap_or_default();
        let theirs = self.remote_tag.as_deref().unwrap_or("nobody");
        format!("{};to-tag={theirs};from-tag={ours}", self.id)
    }

    pub(super) fn skills(&self) -> Skills {
        match &self.script {
            Script::Caller(plan) => plan.skills,
            Script::Carrier(behaviour) => behaviour.skills,
        }
    }

    pub(super) fn rtp(&self) -> Option<Duration> {
        match &self.script {
            Script::Caller(plan) => plan.rtp,
            Script::Carrier(behaviour) => behaviour.rtp,
        }
    }
}

/// A request of ours.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) call: String,
    pub(super) method: String,
    pub(super) cseq: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) way: Way,
    pub(super) interval: Duration,
    pub(super) provisional: bool,
    pub(super) done: bool,
    pub(super) status: u16,
    /// ACK to a non-2xx final response, to be sent again.
    pub(super) ack: Option<Vec<u8>>,
}

/// A request of the other side.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) call: String,
    pub(super) request: Vec<u8>,
    pub(super) response: Option<Vec<u8>>,
    pub(super) way: Way,
    pub(super) status: u16,
    pub(super) waits_for_ack: bool,
    pub(super) interval: Duration,
    pub(super) until: Time,
}

impl Peer {
    /// The call is over here.
    pub(super) fn end(&mut self, id: &str) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.state == State::Ended {
            return;
        }
        call.state = State::Ended;
        call.ended = Some(now);
        if call.role == Role::Carrier {
            self.active = self.active.saturating_sub(1);
        }
        self.close_media(id);
    }

    pub(super) fn record(&self, call: &Call) -> Record {
        Record {
            serial: call.serial,
            role: call.role,
            outcome: call.outcome,
            started: call.started,
            answered: call.answered,
            ended: call.ended,
            cancelled: call.cancelled,
            byes: (call.bye_sent, call.bye_received),
            rtp: call.media.as_ref().map_or((0, 0), |media| (media.sent, media.received)),
            rtcp: call.media.as_ref().map_or((0, 0), |media| media.rtcp),
            refreshes: call.extras.refreshes,
            reinvites: call.reinvites,
            told: call.told.clone(),
            inside: (call.doings.begun, call.doings.served),
            informed: call.doings.told,
            moved: call.media.as_ref().and_then(|media| Some((media.moved?, media.received_moved))),
        }
    }
}
