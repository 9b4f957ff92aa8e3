//! What an endpoint is told once, when it is made: timers, limits, what it says of itself.

use crate::message::Method;
use crate::nat::Nat;
use crate::shards::Shards;
use core::time::Duration;

/// Everything an [`crate::Endpoint`] is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Timer values.
    pub timers: Timers,
    /// Bounds of the tables.
    pub limits: Limits,
    /// Value of User-Agent in requests and Server in responses; empty leaves both out.
    pub user_agent: String,
    /// Option tags for Supported, which may stand in Require of requests; empty leaves the header out.
    pub extensions: Vec<String>,
    /// Further option tags that may stand in Require of requests: whether they are understood is for the other side of the
    /// owner to say, to which he passes them.
    pub transparent: Vec<String>,
    /// Session timers (RFC 4028) on all legs; `None`: neither asked for nor granted. `timer` has to be in `extensions`.
    pub session: Option<SessionTimers>,
    /// The methods handed to the owner as [`crate::Event::Request`] (outside or inside dialogs). INVITE, ACK,
    /// BYE and CANCEL are the endpoint's own and always understood; every other known method not in here is
    /// answered 405, an unknown one 501. UPDATE in here is understood by the endpoint: [`crate::Event::Update`] if it
    /// carries an offer.
    pub methods: Vec<Method>,
    /// Whether an INVITE that begins a call is refused with 483 when its Max-Forwards is 0: for who passes calls on.
    pub refuse_exhausted: bool,
    /// Whether an INVITE of ours that comes back with the same user in its Request-URI is refused with 482 (loop).
    pub refuse_loops: bool,
    /// Where requests inside a dialog go if its peer is behind a NAT; [`crate::Endpoint::set_nat`] says otherwise for a leg.
    pub nat: Nat,
    /// How often, in seconds, peers that ask whether they should keep their way to us open (`keep`, RFC 6223 §4.4) are
    /// told to do so; `None`: they are not told.
    pub keep: Option<u32>,
    /// Option tags that a request outside of calls other than INVITE may require besides `extensions`: those that are
    /// the far end's business, for who passes such requests on.
    pub passed: Vec<String>,
    /// Answer each INVITE with 100 at once (default). An owner that responds to every INVITE within 200 ms may leave
    /// it out (RFC 3261 §17.2.1).
    pub trying: bool,
    /// The number of the first TCP connection the endpoint opens; it counts up from here to `streams_end`.
    pub streams_first: u32,
    /// A request of more bytes than this that would go over UDP goes over TCP, if a connection can be made (RFC 3261
    /// §18.1.1 has 1300 where the MTU is not known); 0 (default): whatever its size, over UDP.
    pub datagram_max: usize,
    /// Whether the layer below speaks TLS on the connections numbered from [`sansio::StreamId::SECURED`] on. Without
    /// it no connection over TLS is opened.
    pub tls: bool,
    /// The endpoints that share this one's addresses: a message that belongs to another one is handed out as
    /// [`crate::Event::Foreign`] if it came over TCP. (Datagrams are for the owner to steer before they come here.)
    pub shards: Shards,
    /// One past the last number for TCP connections, at most [`sansio::StreamId::ACCEPTED`].
    pub streams_end: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timers: Timers::default(),
            limits: Limits::default(),
            user_agent: String::from("Trunkline"),
            extensions: Vec::new(),
            transparent: Vec::new(),
            session: None,
            methods: vec![Method::Options],
            nat: Nat::Auto,
            keep: None,
            trying: true,
            refuse_exhausted: true,
            refuse_loops: true,
            passed: Vec::new(),
            datagram_max: 0,
            tls: false,
            shards: Shards::ALONE,
            streams_first: 1,
            streams_end: sansio::StreamId::ACCEPTED,
        }
    }
}

/// Session timers (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimers {
    /// Session interval asked for and granted at most, in seconds; RFC 4028 §4 recommends 1800.
    pub expires: u32,
    /// The least interval agreed to, in seconds; less is refused with 422. At least 90 (RFC 4028 §5).
    pub min_se: u32,
}

/// Timer values (RFC 3261 §17.1.1.1 and its table 4). The lettered timers follow from the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round trip: first retransmission interval (default 500 ms).
    pub t1: Duration,
    /// The longest interval between retransmissions of non-INVITE requests and of responses (default 4 s).
    pub t2: Duration,
    /// How long a message may stay in the network (default 5 s).
    pub t4: Duration,
    /// A client INVITE transaction waits this long in Completed over UDP (timer D; default and least 32 s).
    pub d: Duration,
    /// A re-INVITE without final answer is cancelled after this (default 32 s).
    pub reinvite: Duration,
    /// The last provisional response is repeated this often while a call rings, so that proxies do not give up
    /// (RFC 3261 §13.3.1.1; default 1 min).
    pub refresh: Duration,
    /// An incoming call that its owner neither answers nor refuses is refused with 480 after this (default 5 min).
    pub ringing: Duration,
    /// TCP: a connection not standing after this is given up (default 4 s).
    pub connect: Duration,
    /// TCP: a connection over which no whole message went, and on which no leg relies, is closed after this, at the
    /// latest after twice this (default 120 s).
    pub idle: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
            reinvite: Duration::from_secs(32),
            refresh: Duration::from_secs(60),
            ringing: Duration::from_secs(300),
            connect: Duration::from_secs(4),
            idle: Duration::from_secs(120),
        }
    }
}

impl Timers {
    /// 64 × T1: timers B, F, H, J, L and M, and how long a 2xx is repeated.
    pub const fn t1_64(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// Bounds of an endpoint's tables. Memory grows with use and stops here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most transactions (about 0.5 KiB each while they linger; a call leaves about four for 64 × T1).
    /// Beyond, requests are answered 503 without state, and own requests are refused.
    pub transactions: u32,
    /// Most legs, each about 1 KiB. Beyond, INVITE is answered 503 without state.
    pub legs: u32,
    /// Most TCP connections, each up to 64 KiB of an unfinished message.
    pub connections: u32,
    /// Most bytes of messages that transactions and dialogs keep, all together (default 512 MiB). Beyond it is as
    /// if the transaction table were full.
    pub message_bytes: u64,
    /// Most dialogs without a call (subscriptions, RFC 6665), each about 1 KiB. Beyond, SUBSCRIBE is answered 503 without state.
    pub usages: u32,
    /// Most early dialogs told apart on one outgoing leg (forks); more are counted and ignored.
    pub forks: u8,
    /// Seconds told in Retry-After of the 503 sent at a bound.
    pub retry_after: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions: 1 << 20,
            legs: 1 << 17,
            connections: 4096,
            message_bytes: 512 << 20,
            usages: 1 << 16,
            forks: 8,
            retry_after: 5,
        }
    }
}
