//! What an endpoint tells its owner, and the names (legs, requests, flows) both use.

use crate::message::{Message, Method, ParseError};
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Key, SocketId, StreamId};

/// The transports an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; the endpoint retransmits.
    Udp,
    /// Connections of the endpoint's own.
    Tcp,
    /// The same, encrypted by the layer below the endpoint (RFC 3261 §26.2.1).
    Tls,
    /// WebSocket (RFC 7118); only peers open such connections.
    Ws,
    /// WebSocket over TLS, which the layer below the endpoint speaks.
    Wss,
}

impl Transport {
    /// Whether messages go in WebSocket frames.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether the layer below the endpoint encrypts it.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Its name in configuration, records and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// How Via calls it (RFC 3261 §20.42).
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The parameter that a SIP URI bears to ask for it, semicolon included; empty for UDP, which goes without saying
    /// (RFC 3261 §19.1.1).
    pub const fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            // RFC 7118 §5.2.4 knows this one for both.
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// The transport of a URI's `transport` parameter; `None` for one that is not spoken.
    pub fn named(name: &[u8]) -> Option<Self> {
        [(&b"udp"[..], Self::Udp), (b"tcp", Self::Tcp), (b"tls", Self::Tls), (b"ws", Self::Ws)]
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map(|(_, transport)| transport)
    }

    /// The port of a URI that names none (RFC 3261 §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// A datagram socket.
    Socket(SocketId),
    /// A connection.
    Stream(StreamId),
}

/// A way to a peer: over what, from where, to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Over what.
    pub transport: Transport,
    /// What carries it.
    pub link: Link,
    /// Our address as told to others.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// A connection of one of the endpoints of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The shard whose endpoint holds it.
    pub holder: u16,
    /// Its number there.
    pub stream: StreamId,
}

/// Where a request shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Over what.
    pub transport: Transport,
    /// Where to. Over TCP and TLS a standing connection to this address is used, else one is opened.
    pub remote: SocketAddr,
    /// UDP: the socket to send from. TCP: the listener whose address goes into Contact.
    pub socket: SocketId,
    /// The connection the peer was heard over, and what we are called on it: used, whoever holds it, as long as it
    /// stands (RFC 5626 §5.3). If it is gone, and the peer had opened it, nothing is sent: nobody listens there.
    pub over: Option<(Held, SocketAddr)>,
}

/// A leg: one side of a call, from its INVITE until [`Event::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(crate) Key);

impl LegId {
    /// Names no leg, ever: whatever is asked of it fails.
    pub const NONE: Self = Self(Key::from_bits(u64::MAX));

    /// A small number: an index for the owner's own table. Not given to another leg before this one's
    /// [`Event::Gone`] was taken.
    pub const fn index(self) -> usize {
        self.0.index()
    }

    /// The id as one number, unique until its place was reused 2³² times.
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The id from [`Self::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }
}

/// A request outside of the endpoint's own business, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) Key);

impl RequestId {
    /// The id as one number.
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The id from [`Self::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }
}

/// A dialog without a call: what a SUBSCRIBE made (RFC 6665 §4.4.1), at either side, until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageId(pub(crate) Key);

impl UsageId {
    /// The id as one number.
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }
}

/// The subscription that an accepted REFER made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub(crate) Key);

/// A received message, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    bytes: Box<[u8]>,
    body: u32,
}

impl Received {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let bytes = message.bytes();
        // The body is the tail of the message, which is shorter than 4 GiB.
        let body = (bytes.len() - message.body().len()) as u32;
        Self { bytes: bytes.into(), body }
    }

    /// A message that was written here, as if it had been received; `None` if it is none.
    pub fn written(text: &str, body: &[u8]) -> Option<Self> {
        let bytes = [text.as_bytes(), body].concat();
        Some(Self::of(&Message::parse(&bytes).ok()?))
    }

    /// The whole message.
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its body; empty if it has none.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body as usize..]
    }

    /// The message, to be asked for headers.
    ///
    /// # Errors
    /// None in practice: it was parsed once already.
    pub fn parse(&self) -> Result<Message<'_>, ParseError<'_>> {
        Message::parse(&self.bytes)
    }
}

/// What happened. The endpoint has already sent whatever the protocol asks for at once.
#[derive(Clone, Debug)]
pub enum Event {
    /// A call comes in. 100 was sent. To be followed by `provisional`, `answer` or `reject`.
    Invite {
        /// The new leg.
        leg: LegId,
        /// The INVITE.
        request: Received,
        /// How it came.
        flow: Flow,
    },
    /// A provisional response to an outgoing call (100 too, once).
    Progress {
        /// The leg.
        leg: LegId,
        /// 100 to 199.
        status: u16,
        /// Which early dialog, in order of appearance: 0 the first (and of all without To tag), above 0 further forks.
        fork: u8,
        /// Whether it came reliably (RFC 3262): its session description counts. PRACK was sent, unless it makes an offer:
        /// then `prack` is wanted.
        reliable: bool,
        /// The response.
        message: Received,
    },
    /// The outgoing call was answered. ACK was sent, unless the INVITE had no body: then `ack` is wanted.
    Answered {
        /// The leg.
        leg: LegId,
        /// The 2xx.
        message: Received,
    },
    /// The outgoing call failed; `Gone` follows.
    Failed {
        /// The leg.
        leg: LegId,
        /// Why.
        cause: Failure,
        /// The final response, if one came: where a redirection leads (RFC 3261 §21.3), what is missing (§21.4.16).
        message: Option<Received>,
    },
    /// The incoming call's 2xx (or the 2xx to a re-INVITE) was acknowledged.
    Acked {
        /// The leg.
        leg: LegId,
        /// The body of the ACK: the answer if our 2xx made the offer; else empty.
        body: Box<[u8]>,
    },
    /// The caller cancelled before an answer; 487 was sent, `Gone` follows.
    Cancelled {
        /// The leg.
        leg: LegId,
        /// Reason of the CANCEL, if it had one.
        reason: Option<Box<str>>,
    },
    /// The peer ended the call; 200 was sent, `Gone` follows.
    Bye {
        /// The leg.
        leg: LegId,
        /// The BYE.
        message: Received,
    },
    /// Our BYE was answered; `Gone` follows. A BYE that nobody answers is followed by `Gone` alone.
    ByeDone {
        /// The leg.
        leg: LegId,
        /// 200 to 699.
        status: u16,
    },
    /// The call broke; BYE was sent where that makes sense, `Gone` follows.
    Lost {
        /// The leg.
        leg: LegId,
        /// Why.
        why: LostCause,
    },
    /// The peer wants to change the session; to be followed by `answer_reinvite`.
    Reinvite {
        /// The leg.
        leg: LegId,
        /// The re-INVITE.
        message: Received,
    },
    /// Our re-INVITE was answered; ACK was sent. `None`: timed out or could not be sent (408 in effect).
    ReinviteDone {
        /// The leg.
        leg: LegId,
        /// The final status; 408 if none came, 503 if the peer could not be reached.
        status: u16,
        /// The final response, if one came.
        message: Option<Received>,
    },
    /// The last event of a leg: its id finds nothing from now on.
    Gone {
        /// The leg.
        leg: LegId,
    },
    /// A request for the owner (one of [`crate::Config::methods`]); to be followed by `respond`.
    Request {
        /// To respond with.
        id: RequestId,
        /// Its method.
        method: Method,
        /// The leg in whose dialog it came.
        leg: Option<LegId>,
        /// The request.
        message: Received,
        /// How it came.
        flow: Flow,
    },
    /// A request in a dialog without a call, or the SUBSCRIBE or REFER that begins one; to be followed by `usage_respond`. A
    /// usage that it has begun is the owner's to close, whatever it answers.
    InUsage {
        /// The usage.
        usage: UsageId,
        /// To respond with.
        id: RequestId,
        /// SUBSCRIBE, REFER or NOTIFY.
        method: Method,
        /// Whether the request begins the usage.
        begins: bool,
        /// The request.
        message: Received,
        /// How it came.
        flow: Flow,
    },
    /// The answer to an offer that went out in a reliable provisional response came in its PRACK (RFC 3262 §5).
    Pracked {
        /// The leg.
        leg: LegId,
        /// The answer.
        body: Box<[u8]>,
    },
    /// The peer changes the session with UPDATE (RFC 3311): to be followed by `answer_update`.
    Update {
        /// The leg.
        leg: LegId,
        /// The UPDATE, with an offer; one without is answered by the endpoint.
        message: Received,
    },
    /// Our UPDATE has its final answer.
    UpdateDone {
        /// The leg.
        leg: LegId,
        /// 200 to 699; 408 if none came, 503 if it could not be sent.
        status: u16,
        /// The response, if one came.
        message: Option<Received>,
    },
    /// It is time to refresh the session (RFC 4028 §10): `refresh` is wanted.
    RefreshDue {
        /// The leg.
        leg: LegId,
    },
    /// The final response to a request sent with `request`.
    Response {
        /// The request.
        id: RequestId,
        /// 200 to 699.
        status: u16,
        /// The response.
        message: Received,
    },
    /// A request sent with `request` got no final response.
    RequestFailed {
        /// The request.
        id: RequestId,
        /// Why: `NoResponse`, `TimedOut`, `Refused` or `ConnectFailed`.
        cause: Failure,
    },
    /// A message came over our connection that belongs to another endpoint (see [`crate::Config::shards`]): to be given
    /// to its [`crate::Endpoint::handle_foreign`].
    Foreign {
        /// Whose it is.
        owner: u16,
        /// Our number of the connection.
        stream: StreamId,
        /// What is spoken on it.
        transport: Transport,
        /// Our address on it.
        local: SocketAddr,
        /// The peer's address on it.
        remote: SocketAddr,
        /// The message.
        bytes: Box<[u8]>,
    },
    /// A connection is over of which messages were given to other endpoints: all of them are to be told by
    /// [`crate::Endpoint::handle_foreign_closed`].
    ForeignClosed {
        /// Our number of it.
        stream: StreamId,
    },
    /// A connection is over that a peer had opened to us.
    AcceptedLost {
        /// Our number of it.
        stream: StreamId,
    },
    /// A connection is over that was to be kept open (see [`crate::Endpoint::keep_open`]).
    KeptLost {
        /// Our number of it.
        stream: StreamId,
    },
}

/// Why an outgoing call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A final response of 300 to 699.
    Status {
        /// The status.
        status: u16,
        /// The reason phrase.
        reason: Box<str>,
        /// Seconds of Retry-After.
        retry_after: Option<u32>,
    },
    /// Nothing at all within `Invite::no_response`. A late answer is taken care of (CANCEL, or ACK and BYE).
    NoResponse,
    /// No final response within `Invite::no_answer`; it is being cancelled.
    NoAnswer,
    /// ICMP said that nobody listens there, or the connection broke under the transaction.
    Refused,
    /// The TCP connection could not be made.
    ConnectFailed,
    /// Timer B (or 64 × T1 after CANCEL): no final response.
    TimedOut,
    /// Answered with 2xx although `cancel` had been called: ACK and BYE were sent.
    AnsweredLate,
}

/// Why a call that stood broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostCause {
    /// Our 2xx was not acknowledged within 64 × T1.
    NoAck,
    /// The peer does not know the dialog any more (481) or did not answer a request inside it (408).
    DialogGone,
    /// The owner did not answer within `Timers::ringing`: 480 was sent.
    Unanswered,
    /// A reliable provisional response was not acknowledged within 64 × T1: 504 was sent (RFC 3262 §3).
    NoPrack,
    /// The session was not refreshed in time (RFC 4028 §10).
    SessionExpired,
}

/// A body to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its Content-Type, such as `application/sdp`.
    pub content_type: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> Body<'a> {
    /// An SDP body.
    pub const fn sdp(bytes: &'a [u8]) -> Self {
        Self { content_type: "application/sdp", bytes }
    }
}

/// An outgoing call. No text may hold CR or LF.
#[derive(Clone, Copy, Debug)]
pub struct Invite<'a> {
    /// Call-ID; chosen by the caller since shards are found by it.
    pub call_id: &'a str,
    /// Request-URI.
    pub request_uri: &'a str,
    /// From as name-addr or addr-spec, without tag.
    pub from: &'a str,
    /// To as name-addr or addr-spec, without tag.
    pub to: &'a str,
    /// Where to send it.
    pub destination: Destination,
    /// User part of our Contact; may be empty.
    pub contact_user: &'a str,
    /// Further headers. Via, Contact, Max-Forwards, CSeq, Allow, Supported and Content-* are written by the endpoint; an
    /// INVITE without body says `Supported: 100rel` only if that stands here: an offer may then come early.
    pub headers: &'a [(&'a str, &'a str)],
    /// The offer; `None` for a late offer (then `ack` is wanted after `Answered`).
    pub body: Option<Body<'a>>,
    /// Max-Forwards; usually 70, or one less than in the request that caused this one.
    pub max_forwards: u8,
    /// Give up with `NoResponse` when not even a 100 came within this.
    pub no_response: Duration,
    /// Give up with `NoAnswer` when no final response came within this.
    pub no_answer: Duration,
}

/// An outgoing request outside of any dialog, such as an OPTIONS probe. No text may hold CR or LF.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method as text; not INVITE, ACK, BYE or CANCEL.
    pub method: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// Request-URI.
    pub request_uri: &'a str,
    /// From without tag.
    pub from: &'a str,
    /// To without tag.
    pub to: &'a str,
    /// Tag of From; empty: one is drawn. To be given where the request is sent again for the same purpose, as after a
    /// challenge (RFC 3261 §22.2).
    pub tag: &'a str,
    /// Number of CSeq; at least 1.
    pub cseq: u32,
    /// Max-Forwards; usually 70, or one less than in the request that caused this one.
    pub max_forwards: u8,
    /// Where to send it.
    pub destination: Destination,
    /// Further headers. Via, Max-Forwards, CSeq, Contact (not in MESSAGE and PUBLISH), Allow (in SUBSCRIBE) and Content-Length
    /// are written by the endpoint.
    pub headers: &'a [(&'a str, &'a str)],
    /// A body.
    pub body: Option<Body<'a>>,
    /// Fail with `NoResponse` when no final response came within this (at most 64 × T1 count).
    pub timeout: Duration,
}

/// A REGISTER of ours (RFC 3261 §10.2). No text may hold CR or LF.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a> {
    /// Call-ID, the same for each refresh.
    pub call_id: &'a str,
    /// Number of CSeq, one higher each time.
    pub cseq: u32,
    /// Request-URI: the registrar's domain.
    pub request_uri: &'a str,
    /// The address of record: a URI, for From and To.
    pub aor: &'a str,
    /// Tag of From.
    pub tag: &'a str,
    /// User part of our Contact; may be empty.
    pub contact_user: &'a str,
    /// Seconds asked for; 0 removes the binding.
    pub expires: u32,
    /// Where to send it.
    pub destination: Destination,
    /// Further headers. Via, Contact, Max-Forwards, CSeq, Expires, Allow and Supported are written by the endpoint.
    pub headers: &'a [(&'a str, &'a str)],
    /// Fail with `NoResponse` when no final response came within this (at most 64 × T1 count).
    pub timeout: Duration,
}

/// A REGISTER under way.
#[derive(Clone, Debug)]
pub struct Registering {
    /// Names it in the event that follows.
    pub id: RequestId,
    /// The URI of the Contact it bears.
    pub contact: String,
    /// The way it went.
    pub flow: Flow,
}

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    /// INVITE sent or received, nothing else.
    Started,
    /// A provisional response above 100 was received or sent.
    Early,
    /// CANCEL was asked for.
    Cancelling,
    /// 2xx sent, ACK awaited; or 2xx received, `ack` awaited from the owner.
    Answered,
    /// 2xx and ACK exchanged.
    Confirmed,
    /// BYE sent, its answer awaited.
    Ending,
}

/// Read-only facts about a leg.
#[derive(Clone, Copy, Debug)]
pub struct LegFacts<'a> {
    /// Call-ID.
    pub call_id: &'a str,
    /// Our tag.
    pub local_tag: &'a str,
    /// The peer's tag; empty before one is known.
    pub remote_tag: &'a str,
    /// The URI that the peer's Contact names (RFC 3261 §12.1).
    pub remote_target: &'a str,
    /// How the peer is reached.
    pub flow: Flow,
    /// Whether the peer is taken to be behind a NAT: requests go over `flow`, whatever its Contact says.
    pub behind_nat: bool,
    /// Where it stands.
    pub state: LegState,
    /// Whether we called (rather than being called).
    pub outgoing: bool,
}
