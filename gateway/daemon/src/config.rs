//! The gateway's configuration as written in a file: every key, its type and its default.
//!
//! `gateway.example.toml` beside this crate shows each key with its default and why; a test compares the two.
//! Flags of `trunkline serve` fill the same structure, so that a flag and a key mean the same.

use crate::guard::{Fraud, Guard, Overload};
use crate::nat::Nat;
use crate::outside::Outside;
use crate::profile::Profile;
use crate::realm::Realm;
use crate::stir::{Stir, TrunkStir};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// SIP addresses; each is served over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// SIP addresses served over TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// SIP addresses served over WebSocket.
    pub ws_listen: Vec<SocketAddr>,
    /// SIP addresses served over WebSocket and TLS.
    pub wss_listen: Vec<SocketAddr>,
    /// Address to name in SIP and SDP instead of the one bound, when bound to a wildcard or behind NAT: one, or one of each
    /// family.
    #[serde(deserialize_with = "addresses")]
    pub advertise: Vec<IpAddr>,
    /// HTTP address of API and metrics; none: no HTTP.
    pub http: Option<SocketAddr>,
    /// Directory for call records.
    pub data: PathBuf,
    /// `auto`, `uring` or `fallback`.
    pub io: String,
    /// `normal`, `auto` or `realtime`: how the kernel schedules the workers.
    pub scheduling: String,
    /// Shards (threads); 0: one per core.
    pub workers: u16,
    /// Networks whose INVITEs are accepted, besides the trunks' own peers.
    pub allow: Vec<String>,
    /// Networks in our trust domain: who calls is believed from there (RFC 3325).
    pub trusted: Vec<String>,
    /// Phones' registrations, and how phones are asked for their password.
    pub registrar: Registrar,
    /// Call handling.
    pub calls: Calls,
    /// RTP.
    pub media: Media,
    /// Certificates and trust.
    pub tls: Tls,
    /// Peers behind NATs.
    pub nat: Nat,
    /// RFC 3261 timers.
    pub timers: Timers,
    /// How peers given by name are located.
    pub dns: Dns,
    /// When a peer counts as dead and as alive again; a trunk may have its own.
    pub health: Health,
    /// Phones that may register and call.
    #[serde(rename = "user")]
    pub users: Vec<User>,
    /// Profiles.
    #[serde(rename = "profile")]
    pub profiles: Vec<Profile>,
    /// What is kept of SIP messages, to be shown on request.
    pub trace: Trace,
    /// Copies of SIP messages for a capture server.
    pub hep: Hep,
    /// How much a source may send, and who is not listened to.
    pub guard: Guard,
    /// Requests outside of calls.
    pub outside: Outside,
    /// When new calls are refused because there is too much to do.
    pub overload: Overload,
    /// Caps against toll fraud.
    pub fraud: Vec<Fraud>,
    /// Identities of callers, verified and signed.
    pub stir: Stir,
    /// Networks that the gateway joins.
    #[serde(rename = "realm")]
    pub realms: Vec<Realm>,
    /// Trunks.
    #[serde(rename = "trunk")]
    pub trunks: Vec<Trunk>,
    /// Trunk groups.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    /// Routes.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5060))],
            tls_listen: Vec::new(),
            ws_listen: Vec::new(),
            wss_listen: Vec::new(),
            advertise: Vec::new(),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            data: PathBuf::from("trunkline-data"),
            io: "auto".into(),
            scheduling: "normal".into(),
            workers: 0,
            allow: vec!["127.0.0.0/8".into(), "::1/128".into()],
            trusted: Vec::new(),
            registrar: Registrar::default(),
            calls: Calls::default(),
            media: Media::default(),
            tls: Tls::default(),
            nat: Nat::default(),
            timers: Timers::default(),
            dns: Dns::default(),
            health: Health::default(),
            users: Vec::new(),
            profiles: Vec::new(),
            trace: Trace::default(),
            hep: Hep::default(),
            guard: Guard::default(),
            outside: Outside::default(),
            overload: Overload::default(),
            fraud: Vec::new(),
            stir: Stir::default(),
            realms: Vec::new(),
            trunks: Vec::new(),
            groups: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// Phones' registrations, and how phones are asked for their password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// The realm of challenges: phones show it, passwords may depend on it.
    pub realm: String,
    /// Digest algorithms taken, the preferred one first: `SHA-512-256`, `SHA-256`, `MD5`.
    pub algorithms: Vec<String>,
    /// Which of them phones are asked with: `by-phone`, or `all` at once.
    pub offer: String,
    /// How the User-Agent of phones begins that choose among several.
    pub strong_agents: Vec<String>,
    /// From whom a Path is taken: phones that say that they know of it (`supported`), or `any`.
    pub path: String,
    /// What temporary GRUUs (RFC 5627) are made with, so that they outlive a restart; left out: a secret of the process.
    pub gruu_key: Option<Secret>,
    /// Shortest time a registration may be asked for.
    pub min_expires: Span,
    /// Longest time a registration is given.
    pub max_expires: Span,
    /// Most contacts of one user.
    pub contacts_max: u32,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            realm: "trunkline".into(),
            algorithms: vec!["SHA-256".into(), "MD5".into()],
            offer: "by-phone".into(),
            strong_agents: vec!["Linphone".into()],
            path: "supported".into(),
            gruu_key: None,
            min_expires: Span::from_millis(60_000),
            max_expires: Span::from_millis(7_200_000),
            contacts_max: 10,
        }
    }
}

/// A phone that may register and call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name: the user part of its address, and what others dial.
    pub name: String,
    /// Its password.
    pub password: Secret,
    /// Its numbers: those that it may be asserted with (RFC 3325), the first one usually.
    #[serde(default)]
    pub numbers: Vec<String>,
}

/// A password, which is not printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How calls are handled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calls {
    /// Most calls at a time over all shards; 0: the sum of the trunks' caps and a tenth more.
    pub max: u32,
    /// How long a peer may say nothing at all to an INVITE before the next is tried.
    pub no_response: Span,
    /// The same for a peer that failed the call before.
    pub no_response_suspect: Span,
    /// How long a peer may stay at 100 Trying before the next is tried.
    pub no_progress: Span,
    /// How long a callee may ring.
    pub no_answer: Span,
    /// Peers tried for one call at most.
    pub attempts_max: u8,
    /// Diversions (RFC 5806, RFC 7044) that a call may have behind it.
    pub diversions_max: u32,
    /// Targets of redirections (3xx) tried for one call at most.
    pub redirects_max: u8,
    /// Hosts that stand for the gateway in the contacts of redirections: numbers there are routed as if they were dialled.
    pub redirect_hosts: Vec<String>,
    /// A request of more bytes than this goes over TCP instead of UDP; 0: whatever its size.
    pub datagram_max: u32,
    /// Retry-After of a 503, in seconds.
    pub retry_after: u32,
    /// How long a drain waits for calls to finish before it ends them.
    pub drain_limit: Span,
    /// Name in User-Agent and Server; empty: neither is sent.
    pub user_agent: String,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            max: 0,
            no_response: Span::from_millis(1500),
            no_response_suspect: Span::from_millis(400),
            no_progress: Span::from_millis(10_000),
            no_answer: Span::from_millis(120_000),
            attempts_max: 5,
            diversions_max: 5,
            redirects_max: 5,
            redirect_hosts: Vec::new(),
            datagram_max: 1300,
            retry_after: 5,
            drain_limit: Span::from_millis(7_200_000),
            user_agent: "trunkline".into(),
        }
    }
}

/// RTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Ports for RTP and RTCP, `LO-HI`.
    pub rtp_ports: String,
    /// Addresses to name in SDP instead of those named in SIP, one of each family.
    #[serde(deserialize_with = "addresses")]
    pub advertise: Vec<IpAddr>,
    /// A call in which one side sends neither RTP nor RTCP for this long is ended; 0s: never.
    pub timeout: Span,
    /// Whose RTP is taken besides that from the address in SDP: `auto` another port's where SDP shows a NAT,
    /// `strict` nobody's, `same-ip` another port's of that address, `any` anybody's until the first stream.
    pub latch: String,
    /// The folder of prompts (WAV files) that may be played in calls by order; none: no prompts.
    pub prompts: Option<PathBuf>,
    /// Memory for prompts that are ready to be played, in MiB.
    pub prompt_cache_mib: u32,
    /// A WAV file that those hear who are held; none: what the other side sends.
    pub hold_music: Option<PathBuf>,
    /// Whether RTP is protected (SRTP): `off`, `optional`, `required`; a trunk's profile may say otherwise.
    pub srtp: String,
    /// How keys come to be: `auto`, `sdes` (in SDP, RFC 4568), `dtls` (RFC 5764).
    pub srtp_keying: String,
    /// By what, the preferred first (RFC 4568 §6.2, RFC 6188, RFC 7714).
    pub srtp_suites: Vec<String>,
    /// Whether keys go over signalling that is not encrypted.
    pub srtp_keys_in_clear: bool,
    /// How peers say keys (DTMF) whose trunk's profile does not say, and phones: `pass`, `rfc4733`, `info`, `info-plain` or `inband`.
    pub dtmf: String,
    /// What becomes of RTCP: `auto`, `own`, `pass`, `off`; a trunk's profile may say otherwise.
    pub rtcp: String,
    /// Whether reports of the gateway's own are extended (RFC 3611).
    pub rtcp_xr: bool,
    /// A side that sends no RTP for this long, while the other does or both do not, is told of; 0s: never.
    pub one_way_after: Span,
    /// Whether video passes, beside speech; a trunk's profile may say otherwise.
    pub video: bool,
    /// Whether fax over UDPTL (T.38) passes; likewise.
    pub t38: bool,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            rtp_ports: "16384-32767".into(),
            advertise: Vec::new(),
            timeout: Span::from_millis(30_000),
            latch: "auto".into(),
            prompts: None,
            prompt_cache_mib: 64,
            hold_music: None,
            srtp: "off".into(),
            srtp_keying: "auto".into(),
            srtp_suites: switch::MediaSecurity::SUITES.map(|suite| suite.name().to_owned()).to_vec(),
            srtp_keys_in_clear: false,
            dtmf: "pass".into(),
            rtcp: "auto".into(),
            rtcp_xr: false,
            one_way_after: Span::from_millis(5000),
            video: false,
            t38: true,
        }
    }
}

/// Certificates and trust. All files are PEM and read again on SIGHUP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Our certificate, with the chain behind it. Also shown to peers we connect to that ask for one.
    pub certificate: Option<PathBuf>,
    /// The key to it.
    pub key: Option<PathBuf>,
    /// Whose certificates peers we connect to may bear; none: those the host trusts.
    pub ca: Option<PathBuf>,
    /// Who connects has to show a certificate that one of these signed; none: needs none.
    pub client_ca: Option<PathBuf>,
    /// How long a handshake may take.
    pub handshake_timeout: Span,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            ca: None,
            client_ca: None,
            handshake_timeout: Span::from_millis(5000),
        }
    }
}

/// RFC 3261 table 4, and session timers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// Round-trip estimate.
    pub t1: Span,
    /// Longest interval between retransmissions.
    pub t2: Span,
    /// Longest life of a message in the network.
    pub t4: Span,
    /// Session interval (RFC 4028) asked for on every leg and granted at most, in whole seconds; 0s: no session timers.
    pub session_expires: Span,
    /// The least session interval agreed to, in whole seconds, at least 90; a peer that asks for less is told by 422.
    pub min_se: Span,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Span::from_millis(500),
            t2: Span::from_millis(4000),
            t4: Span::from_millis(5000),
            session_expires: Span::from_millis(1_800_000),
            min_se: Span::from_millis(90_000),
        }
    }
}

/// How peers given by name are located (RFC 3263).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// DNS servers that resolve recursively, `ADDR` or `ADDR:PORT`; none: those of /etc/resolv.conf.
    pub servers: Vec<String>,
    /// How long a server may take before the next is asked, doubled with each round.
    pub timeout: Span,
    /// Rounds through the servers before a question counts as failed.
    pub rounds: u8,
    /// An answer is believed for at least this long, whatever TTL it has.
    pub ttl_min: Span,
    /// An answer is believed for at most this long.
    pub ttl_max: Span,
    /// How long past its time an answer is still used while no server answers; 0s: not at all.
    pub stale: Span,
    /// File of names whose addresses are known without DNS; empty: none.
    pub hosts: PathBuf,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Span::from_millis(2000),
            rounds: 2,
            ttl_min: Span::from_millis(5000),
            ttl_max: Span::from_millis(86_400_000),
            stale: Span::from_millis(86_400_000),
            hosts: PathBuf::from("/etc/hosts"),
        }
    }
}

/// When a peer counts as dead and as alive again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Failures in a row (calls or probes) that take a peer out of service.
    pub open_after: u32,
    /// Probe successes in a row that bring it back.
    pub close_after: u32,
    /// Time after which a peer out of service gets one call to try, and again each time this has passed.
    pub retry_after: Span,
    /// A peer in service that was not heard from for so long gets an OPTIONS; 0s: never.
    pub probe_interval: Span,
    /// Time between OPTIONS to a peer that failed last; 0s: none.
    pub probe_interval_down: Span,
    /// How long a probe waits for its answer.
    pub probe_timeout: Span,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            open_after: 5,
            close_after: 2,
            retry_after: Span::from_millis(10_000),
            probe_interval: Span::from_millis(30_000),
            probe_interval_down: Span::from_millis(2000),
            probe_timeout: Span::from_millis(1000),
        }
    }
}

/// What is kept of SIP messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// Mebibytes of the last SIP messages that each shard keeps; 0: none.
    pub ring_mib: u32,
    /// Blot out credentials and media keys in traces and copies.
    pub mask_credentials: bool,
    /// Blot out digits that INFO carries in traces and copies.
    pub mask_dtmf: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self { ring_mib: 32, mask_credentials: false, mask_dtmf: false }
    }
}

/// Copies of SIP messages for a capture server (Homer), over HEP version 3.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hep {
    /// UDP address of the capture server; none: no copies.
    pub server: Option<SocketAddr>,
    /// What tells this gateway from other agents there.
    pub capture_id: u32,
    /// The capture server's password; empty: none is sent.
    pub password: String,
    /// Share of calls of which copies are sent, 0.0 to 1.0; a call is copied whole or not at all.
    pub sample: f64,
}

impl Default for Hep {
    fn default() -> Self {
        Self { server: None, capture_id: 2001, password: String::new(), sample: 1.0 }
    }
}

/// A trunk: a contract with a carrier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Its name, in routes, groups, API and records.
    pub name: String,
    /// Whose it is, for reports; the name if left out.
    #[serde(default)]
    pub provider: Option<String>,
    /// Tried in this order: `ADDR:PORT`, `ADDR:PORT/tcp`, `ADDR:PORT/tls`, or a name: `HOST`, `HOST:PORT`,
    /// `HOST;transport=tcp`.
    pub peers: Vec<String>,
    /// The name that certificates of its peers have to bear; none: the peer's IP address.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// Whether certificates of its peers are checked at all.
    #[serde(default = "yes")]
    pub tls_verify: bool,
    /// Calls at a time.
    #[serde(default = "hundred")]
    pub max_calls: u32,
    /// New calls a second; 0: no limit.
    #[serde(default)]
    pub max_cps: u32,
    /// Share of calls in a group with `selection = "weighted"`.
    #[serde(default = "one")]
    pub weight: u32,
    /// Lower numbers are tried first within a group.
    #[serde(default)]
    pub priority: u32,
    /// Encodings offered to it, in this order; empty: what the caller offers.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Trunk to use when this one is full or down.
    #[serde(default)]
    pub backup: Option<String>,
    /// Name to answer the carrier's challenges (401, 407) with.
    #[serde(default)]
    pub username: Option<String>,
    /// The password that goes with it.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Register with the carrier: `true`, or a table that says how.
    #[serde(default, deserialize_with = "register")]
    pub register: Option<Register>,
    /// Leave the trunk alone while it is not registered.
    #[serde(default = "yes")]
    pub needs_registration: bool,
    /// Final statuses that send a call to the next peer.
    #[serde(default = "failover_statuses")]
    pub failover_statuses: Vec<u16>,
    /// Its own thresholds instead of the common ones.
    #[serde(default)]
    pub health: Option<Health>,
    /// How INVITEs to it are written; `carrier-lenient` if left out.
    #[serde(default)]
    pub profile: Option<String>,
    /// How it deals with callers' identities.
    #[serde(default)]
    pub stir: TrunkStir,
    /// The realm its peers are in; the one whose networks hold their addresses if left out.
    #[serde(default)]
    pub realm: Option<String>,
    /// The MOS that calls to it have to have in the mean: below it, it is chosen last. 0: whatever it is.
    #[serde(default)]
    pub quality_min_mos: f64,
    /// How long it is chosen last then, at least.
    #[serde(default = "hold_off")]
    pub quality_hold_off: Span,
}

const fn hold_off() -> Span {
    Span::from_millis(300_000)
}

impl Trunk {
    /// A trunk of one peer with the defaults.
    pub fn new(name: &str, peer: &str) -> Self {
        Self {
            name: name.into(),
            provider: None,
            peers: vec![peer.into()],
            tls_name: None,
            tls_verify: true,
            max_calls: hundred(),
            max_cps: 0,
            weight: one(),
            priority: 0,
            codecs: Vec::new(),
            backup: None,
            username: None,
            password: None,
            register: None,
            needs_registration: yes(),
            failover_statuses: failover_statuses(),
            health: None,
            profile: None,
            stir: TrunkStir::default(),
            realm: None,
            quality_min_mos: 0.0,
            quality_hold_off: hold_off(),
        }
    }
}

/// How a trunk registers with its carrier (RFC 3261 §10.2).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Register {
    /// The carrier's domain or registrar, as a URI; the trunk's first peer if left out.
    pub registrar: Option<String>,
    /// Address of record; the trunk's username at the registrar if left out.
    pub aor: Option<String>,
    /// User part of our Contact; that of the address of record if left out.
    pub contact_user: Option<String>,
    /// Time asked for.
    pub expires: Span,
    /// Where REGISTER goes on its way to the registrar: `ADDR:PORT` or `ADDR:PORT/tcp`.
    pub outbound_proxy: Option<String>,
    /// Where calls to our Contact name the number: `request-uri` or `to`.
    pub called_in: String,
    /// Wait after the first failure; doubled with each further one.
    pub retry_base: Span,
    /// The longest wait, and that after a refusal.
    pub retry_max: Span,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            registrar: None,
            aor: None,
            contact_user: None,
            expires: Span::from_millis(3_600_000),
            outbound_proxy: None,
            called_in: "request-uri".into(),
            retry_base: Span::from_millis(30_000),
            retry_max: Span::from_millis(1_800_000),
        }
    }
}

/// `true`, `false` or a table, each with errors of its own.
fn register<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Register>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Option<Register>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false or a table such as { expires = \"10m\" }")
        }

        fn visit_bool<E>(self, wanted: bool) -> Result<Self::Value, E> {
            Ok(wanted.then(Register::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Register::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Either)
}

/// One address, or a list of them.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Vec<IpAddr>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address such as \"203.0.113.10\", or a list of one IPv4 and one IPv6 address")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let address = text.parse().map_err(|_| E::custom(format!("\"{text}\" is no IP address")))?;
            Ok(vec![address])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(address) = list.next_element()? {
                all.push(address);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Either)
}

const fn hundred() -> u32 {
    100
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

fn failover_statuses() -> Vec<u16> {
    vec![500, 502, 503, 504]
}

/// Trunks among which calls are spread.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its trunks.
    pub trunks: Vec<String>,
    /// `round_robin`, `weighted`, `least_calls`, `hash` or `ordered`.
    #[serde(default)]
    pub selection: link::Selection,
}

/// Numbers that begin with a prefix, and where they go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Leading digits; empty: every number. The longest match wins.
    #[serde(default)]
    pub prefix: String,
    /// Trunks or groups, in order.
    pub to: Vec<String>,
    /// Digits to take off the front.
    #[serde(default)]
    pub strip: u8,
    /// What to put in front after that.
    #[serde(default)]
    pub prepend: String,
    /// Ask control for each call.
    #[serde(default)]
    pub ask: bool,
}

/// A span of time, written `400ms`, `2s`, `10m` or `2h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let millis = match &text[digits..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("\"{text}\" is not a time; write it as 400ms, 2s, 10m or 2h")),
        };
        text[..digits]
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis))
            .filter(|ms| *ms <= 366 * 86_400_000)
            .map(Self::from_millis)
            .ok_or_else(|| format!("\"{text}\" is not a time; give a whole number up to a year"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| {
            serde::de::Error::custom("a time is text with a unit, such as \"2s\" or \"400ms\"")
        })?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A configuration that cannot be used: where, what, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    place: String,
    what: String,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for ConfigError {}

impl File {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Names the file, the line and the key that cannot be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(&place, format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|error| ConfigError::new(place, error))
    }

    /// Reads a configuration from text.
    ///
    /// # Errors
    /// Names the line and the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        // Realms have addresses of their own: without a word about others there are none.
        let says_listen = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("listen"));
        if !file.realms.is_empty() && !says_listen {
            file.listen.clear();
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        let file = File::parse("").unwrap();
        assert_eq!(file.listen, [SocketAddr::from(([127, 0, 0, 1], 5060))]);
        assert_eq!(file.calls.no_response.0, Duration::from_millis(1500));
    }

    #[test]
    fn mistakes_are_named_with_line_and_cure() {
        let error = |text| File::parse(text).unwrap_err();
        let unknown = error("listen = []\n\n[calls]\nmax_call = 3\n");
        let first = error("[calls]\nmax_call = 3\n");
        assert!(first.starts_with("line 2: "), "{first}");
        assert!(unknown.starts_with("line 4: unknown field `max_call`, expected one of `max`"), "{unknown}");
        let kind = error("workers = \"two\"");
        assert!(kind.starts_with("line 1: invalid type: string \"two\", expected u16"), "{kind}");
        let span = error("[media]\ntimeout = 5\n");
        assert!(span.contains("line 2") && span.contains("\"2s\""), "{span}");
        let span = error("[media]\ntimeout = \"5 parsecs\"\n");
        assert!(span.contains("write it as 400ms, 2s"), "{span}");
    }

    #[test]
    fn registering_is_a_word_or_a_table() {
        let trunk = |line: &str| {
            File::parse(&format!("[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\"]\n{line}"))
        };
        let register = |line: &str| trunk(line).unwrap().trunks[0].register.clone();
        assert!(register("").is_none() && register("register = false").is_none());
        assert_eq!(register("register = true").unwrap().expires.0, Duration::from_secs(3600));
        let table = register("register = { expires = \"10m\", aor = \"a@b\" }").unwrap();
        assert_eq!((table.expires.0, table.aor.as_deref()), (Duration::from_secs(600), Some("a@b")));
        assert!(register("[trunk.register]\ncontact_user = \"x\"").unwrap().contact_user.is_some());
        let error = trunk("register = { expire = \"10m\" }").unwrap_err();
        assert!(error.contains("line 4: unknown field `expire`, expected one of `registrar`"), "{error}");
        let error = trunk("register = \"yes\"").unwrap_err();
        assert!(error.contains("line 4") && error.contains("true, false or a table"), "{error}");
    }

    #[test]
    fn trunks_need_only_a_name_and_a_peer() {
        let file = File::parse("[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\"]").unwrap();
        assert_eq!(file.trunks[0].max_calls, 100);
        assert_eq!(file.trunks[0].failover_statuses, [500, 502, 503, 504]);
    }
}
