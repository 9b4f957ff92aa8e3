//! What a scripted peer is told to do: the calls it makes, how it answers, how it ends.

use super::{Errand, ReferPlan};
use sansio::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// What a peer knows beyond RFC 3261.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skills {
    /// Reliable provisional responses (RFC 3262).
    pub reliable: bool,
    /// UPDATE (RFC 3311).
    pub update: bool,
    /// Session timers (RFC 4028): the interval it asks for or grants at most, in seconds.
    pub session: Option<u32>,
    /// It wants to refresh the session itself.
    pub refreshes: bool,
    /// It says that it will refresh, and does not.
    pub forgets: bool,
}

impl Skills {
    /// RFC 3261 and no more.
    pub const NONE: Self =
        Self { reliable: false, update: false, session: None, refreshes: false, forgets: false };
}

/// A name and its password (RFC 7616).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name; also the user in From of calls made with it.
    pub user: &'static str,
    /// The password.
    pub password: &'static str,
}

/// Something a peer does in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// A re-INVITE that puts the other side on hold (RFC 3264 §8.4).
    Hold,
    /// A re-INVITE that takes it off hold.
    Resume,
    /// A re-INVITE that offers A-law alone.
    Codec,
    /// A re-INVITE without an offer.
    Empty,
    /// An UPDATE without a session (RFC 3311).
    Update,
    /// An INFO with a digit (RFC 6086).
    Info,
    /// A MESSAGE with text (RFC 3428).
    Message,
    /// A NOTIFY of a subscription that there is not: it has to be refused with 481 (RFC 6665 §4.1.3).
    Unasked,
}

/// What a peer asks for before it takes a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The password of this name; until it is shown, 407.
    pub login: Option<Login>,
    /// A session interval of so many seconds at least; else 422 (RFC 4028 §6).
    pub min_se: Option<u32>,
}

/// How a phone is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wiring {
    /// Over UDP, and where it says it is.
    #[default]
    Plain,
    /// Over UDP from behind a NAT: its Contact is an address that only it knows.
    BehindNat,
    /// Over a connection that it registers as a flow (RFC 5626).
    Flow,
}

/// A registration that a peer keeps as a phone (RFC 3261 §10.2).
#[derive(Clone, Copy, Debug)]
pub struct PhonePlan {
    /// When it registers first.
    pub at: Time,
    /// The registrar.
    pub to: SocketAddr,
    /// Whose phone it is.
    pub login: Login,
    /// Seconds asked for.
    pub expires: u32,
    /// How long after each 200 it refreshes; `None`: it lets the binding expire.
    pub refresh: Option<Duration>,
    /// When it takes its binding back.
    pub leave: Option<Time>,
    /// How it is connected.
    pub wiring: Wiring,
}

/// How a peer treats REGISTER as the registrar of a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarHabit {
    /// Who may register.
    pub login: Login,
    /// Seconds granted at most.
    pub grants: u32,
    /// So many requests are answered 503 first.
    pub failures: u32,
    /// Fewer seconds are refused (423, RFC 3261 §10.3 step 6).
    pub least: u32,
    /// Each nonce is good for one request; with the same the next is told that it is stale (RFC 7616 §3.3).
    pub fresh_nonces: bool,
}

/// Whose dialog an INVITE is to replace (RFC 3891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// That of a call which this peer made: it is taken up again at another phone.
    Made(u64),
    /// That of a call which rings here: it is picked up.
    Ringing(u64),
}

/// A call that a peer shall make.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// When.
    pub at: Time,
    /// The call's number in the run: carried in the dialled number and in every RTP mark.
    pub serial: u64,
    /// What stands before the serial in the dialled number.
    pub prefix: &'static str,
    /// Where the INVITE goes.
    pub to: SocketAddr,
    /// Over TCP instead of UDP.
    pub tcp: bool,
    /// Without SDP in the INVITE: the answer goes into the ACK.
    pub late_offer: bool,
    /// Give up this long after the start, if there is no final answer yet.
    pub cancel: Option<Duration>,
    /// Hang up this long after the answer; otherwise the other side shall.
    pub hang_up: Option<Duration>,
    /// Change the session this long after the answer.
    pub reinvite: Option<Duration>,
    /// Have the other side put through.
    pub refer: Option<ReferPlan>,
    /// No call, but a REFER outside of calls: who has the number of this plan is to be called, and put through to that with
    /// this serial (RFC 5359 §2.18).
    pub dials: Option<u64>,
    /// It is to join the call with this serial, which is the peer's as well (RFC 3911).
    pub joins: Option<u64>,
    /// What else is done so many milliseconds after the answer.
    pub inside: &'static [(u64, Inside)],
    /// Who calls, and the password if it is asked for.
    pub login: Option<Login>,
    /// The dialog that is to be replaced.
    pub replaces: Option<Replaced>,
    /// Further header lines of the INVITE.
    pub fields: String,
    /// Send audio packets this often; `None`: no RTP at all.
    pub rtp: Option<Duration>,
    /// Without a final answer for this long something is wrong.
    pub patience: Duration,
    /// What it knows beyond RFC 3261.
    pub skills: Skills,
}

impl CallPlan {
    /// A plain call: SDP in the INVITE, ten seconds of talk, RTP each 200 ms.
    pub const fn plain(at: Time, serial: u64, to: SocketAddr) -> Self {
        Self {
            at,
            serial,
            prefix: "0049",
            to,
            tcp: false,
            late_offer: false,
            cancel: None,
            hang_up: Some(Duration::from_secs(10)),
            reinvite: None,
            refer: None,
            dials: None,
            joins: None,
            inside: &[],
            login: None,
            replaces: None,
            fields: String::new(),
            rtp: Some(Duration::from_millis(200)),
            patience: Duration::from_secs(240),
            skills: Skills::NONE,
        }
    }
}

/// How a peer treats an INVITE that it gets.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Send 100 at once.
    pub trying: bool,
    /// Ring (180) after this.
    pub ring: Option<Duration>,
    /// Early media (183 with SDP) after this.
    pub early_media: Option<Duration>,
    /// The final answer.
    pub verdict: Verdict,
    /// From the INVITE to the final answer.
    pub after: Duration,
    /// Hang up this long after the ACK.
    pub hang_up: Option<Duration>,
    /// Change the session this long after the ACK.
    pub reinvite: Option<Duration>,
    /// What else is done so many milliseconds after the ACK.
    pub inside: &'static [(u64, Inside)],
    /// Have the caller put through.
    pub refer: Option<ReferPlan>,
    /// The INVITE was forked on the way: what rings is another branch than the one that answers (RFC 3261 §16.7).
    pub forks: bool,
    /// Two branches of a fork answer at once (RFC 3261 §13.2.2.4): one of them is not wanted.
    pub answers_twice: bool,
    /// What is asked for before the call is taken.
    pub demands: Demands,
    /// Answer 200 to the INVITE when a CANCEL comes (the answer crossed it).
    pub answer_on_cancel: bool,
    /// Send audio packets this often.
    pub rtp: Option<Duration>,
    /// What it knows beyond RFC 3261.
    pub skills: Skills,
}

/// The final answer of a [`Behaviour`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200.
    Answer,
    /// This status.
    Refuse(u16),
    /// None ever, except to a CANCEL.
    RingOn,
    /// As if the peer were dead: nothing at all, not even to a CANCEL.
    Silent,
}

impl Behaviour {
    /// Trying, ringing at 100 ms, 200 at 500 ms.
    pub const fn plain() -> Self {
        Self {
            trying: true,
            ring: Some(Duration::from_millis(100)),
            early_media: None,
            verdict: Verdict::Answer,
            after: Duration::from_millis(500),
            hang_up: None,
            reinvite: None,
            inside: &[],
            refer: None,
            forks: false,
            answers_twice: false,
            demands: Demands { login: None, min_se: None },
            answer_on_cancel: false,
            rtp: Some(Duration::from_millis(200)),
            skills: Skills::NONE,
        }
    }

    /// Refuses at once with a status.
    pub const fn refuse(status: u16) -> Self {
        Self {
            ring: None,
            verdict: Verdict::Refuse(status),
            after: Duration::from_millis(20),
            ..Self::plain()
        }
    }

    /// Says nothing at all.
    pub const fn silent() -> Self {
        Self { trying: false, ring: None, verdict: Verdict::Silent, ..Self::plain() }
    }
}

/// Something that a peer sends outside of calls.
#[derive(Clone, Copy, Debug)]
pub struct ErrandPlan {
    /// When.
    pub at: Time,
    /// What.
    pub what: Errand,
    /// To whom.
    pub to: SocketAddr,
    /// The number.
    pub number: &'static str,
    /// Who sends it, and the password if it is asked for.
    pub login: Option<Login>,
    /// How it is answered in the end.
    pub comes_to: u16,
}

/// How a peer treats OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Answers with this status.
    Status(u16),
    /// Not at all.
    Silent,
}

/// Which side of a call a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It sent the INVITE.
    Caller,
    /// It got the INVITE.
    Carrier,
}

/// How a call stood at the end of the run, as one peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not decided.
    Open,
    /// There was a conversation (2xx and ACK).
    Answered,
    /// Refused with this status (487 after a CANCEL).
    Status(u16),
    /// Nothing came back in time.
    TimedOut,
    /// The peer's process died with it.
    Died,
}

/// What a peer has to say about one call.
#[derive(Clone, Debug)]
pub struct Record {
    /// The call's number in the run.
    pub serial: u64,
    /// The side the peer was on.
    pub role: Role,
    /// How it went.
    pub outcome: Outcome,
    /// When it began.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
    /// When it was over.
    pub ended: Option<Time>,
    /// Whether this peer had cancelled it, or was told so.
    pub cancelled: bool,
    /// Who said BYE: this peer, the other side.
    pub byes: (bool, bool),
    /// RTP packets sent and received.
    pub rtp: (u64, u64),
    /// RTCP packets sent and received.
    pub rtcp: (u64, u64),
    /// Refreshes of the session that went through, begun by either side (RFC 4028).
    pub refreshes: u32,
    /// Session changes that went through, begun by either side.
    pub reinvites: u32,
    /// What NOTIFYs told of a transfer that it asked for.
    pub told: Vec<u16>,
    /// What this peer did of [`Inside`]: begun, and answered with 2xx.
    pub inside: (u32, u32),
    /// INFO and MESSAGE of the other side's.
    pub informed: u32,
    /// When this peer's audio had moved to another port by a session change, and packets received there since.
    pub moved: Option<(Time, u64)>,
}
