//! What a shard is told: how calls are handled (may change while it runs), and how it starts (may not).

use crate::admission::Network;
use crate::fraud::FraudTable;
use crate::guard::{self, Overload};
use crate::identity::IdentityConfig;
use crate::keys::Dtmf;
use crate::leg_media::LatchPolicy;
use crate::leg_reports::Reporting;
use crate::nat::NatConfig;
use crate::observe::Observing;
use crate::outside::Outside;
use crate::realm::Realm;
use crate::registrar::Registrar;
use crate::security::MediaSecurity;
use crate::trunk::TrunkTable;
use crate::users::Users;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use link::{RoutingSnapshot, UnixMicros};
use rtp::srtp::Secrets;
use sansio::SocketId;
use sip::Shards;
use std::path::PathBuf;
use std::sync::Arc;
use stir::Replays;

/// How calls are handled; a reload replaces it for new calls.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most calls at a time on this shard; one more is answered 503. Memory at the limit: about 16 KiB a call.
    pub calls_max: u32,
    /// Networks that may place calls, besides the trunks' own peers.
    pub allow: Vec<Network>,
    /// The folder of prompts; none: nothing is played by order.
    pub prompts: Option<PathBuf>,
    /// What those hear who are held; none: what the other side sends.
    pub hold_music: Option<PathBuf>,
    /// Networks in our trust domain besides the peers of trusted trunks: who calls is believed from there (RFC 3325 §5).
    pub trusted: Vec<Network>,
    /// Phones that may register and call with a password.
    pub users: Users,
    /// How sources are limited.
    pub guard: guard::Config,
    /// When new calls are refused because there is too much to do.
    pub overload: Overload,
    /// Caps against toll fraud, shared by the shards.
    pub fraud: Arc<FraudTable>,
    /// Whose RTP is taken besides that of the address in SDP.
    pub latch: LatchPolicy,
    /// How media is protected on legs whose trunk does not say, and on those of phones.
    pub security: MediaSecurity,
    /// How peers say keys (DTMF) whose trunk does not say, and phones.
    pub dtmf: Dtmf,
    /// What is reported on legs whose trunk does not say, and on those of phones.
    pub reporting: Reporting,
    /// A side that sends no RTP for this long is told of while the other one sends, and so are both; zero: never.
    pub one_way_after: Duration,
    /// Whether video passes from and to peers whose trunk does not say, and phones.
    pub video: bool,
    /// The same of fax over UDPTL (T.38).
    pub t38: bool,
    /// What makes keys by DTLS, of all shards; none: nothing is keyed so. A reload does not replace it.
    pub dtls: Option<Arc<dyn rtp::dtls::Ends>>,
    /// Peers behind NATs.
    pub nat: NatConfig,
    /// The networks that the gateway joins; none: all its addresses are in one.
    pub realms: Vec<Realm>,
    /// The addresses to name for media outside of realms, one of each family; of a family without, that named for SIP.
    pub rtp_advertise: Vec<IpAddr>,
    /// How long a peer may say nothing at all before the next is tried.
    pub no_response: Duration,
    /// The same for a peer that failed before.
    pub no_response_suspect: Duration,
    /// How long a peer may stay at 100 before the next is tried.
    pub no_progress: Duration,
    /// How long a callee may ring.
    pub no_answer: Duration,
    /// Most peers tried for one call.
    pub attempts_max: u8,
    /// A call that was diverted more often than this before it came is refused (482).
    pub diversions_max: u32,
    /// Most targets of redirections tried for one call.
    pub redirects_max: u8,
    /// Host names and addresses that stand for the gateway in the contacts of redirections, besides its own.
    pub redirect_hosts: Vec<String>,
    /// A request of more bytes than this goes over TCP where it would go over UDP (RFC 3261 §18.1.1); 0: whatever its size.
    pub datagram_max: u32,
    /// Retry-After of a 503, in seconds.
    pub retry_after: u32,
    /// A side silent for this long ends the call; zero: never.
    pub media_timeout: Duration,
    /// How long a drain waits for calls before it ends them.
    pub drain_limit: Duration,
    /// Name in User-Agent and Server.
    pub user_agent: String,
    /// Session interval (RFC 4028) asked for and granted at most, in whole seconds; zero: no session timers.
    pub session_expires: Duration,
    /// The least session interval agreed to, in whole seconds.
    pub min_se: Duration,
    /// What is kept of SIP messages, and where copies go.
    pub observing: Observing,
    /// How peers given by name are located.
    pub locate: locate::Config,
    /// What passes outside of calls; its bounds take effect at the start only.
    pub outside: Outside,
    /// RFC 3261 T1.
    pub t1: Duration,
    /// RFC 3261 T2.
    pub t2: Duration,
    /// RFC 3261 T4.
    pub t4: Duration,
    /// How callers' identities are verified and signed.
    pub identity: Arc<IdentityConfig>,
    /// Signatures seen lately, of all shards; a reload does not replace it.
    pub replays: Arc<Replays>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            calls_max: 10_000,
            allow: Vec::new(),
            prompts: None,
            hold_music: None,
            trusted: Vec::new(),
            users: Users::default(),
            guard: guard::Config::default(),
            overload: Overload::default(),
            fraud: Arc::default(),
            latch: LatchPolicy::default(),
            security: MediaSecurity::default(),
            dtmf: Dtmf::default(),
            reporting: Reporting::default(),
            one_way_after: Duration::from_secs(5),
            video: false,
            t38: true,
            dtls: None,
            nat: NatConfig::default(),
            realms: Vec::new(),
            rtp_advertise: Vec::new(),
            no_response: Duration::from_millis(1500),
            no_response_suspect: Duration::from_millis(400),
            no_progress: Duration::from_secs(10),
            no_answer: Duration::from_secs(120),
            attempts_max: 5,
            diversions_max: 5,
            redirects_max: 5,
            redirect_hosts: Vec::new(),
            datagram_max: 1300,
            retry_after: 5,
            media_timeout: Duration::from_secs(30),
            drain_limit: Duration::from_secs(7200),
            user_agent: String::from("trunkline"),
            session_expires: Duration::from_secs(1800),
            min_se: Duration::from_secs(90),
            observing: Observing::default(),
            locate: locate::Config::default(),
            outside: Outside::default(),
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            identity: Arc::default(),
            replays: Arc::default(),
        }
    }
}

impl Config {
    /// The address to name for media outside of realms, if it is not that named for SIP.
    pub(crate) fn media_advertised(&self, v4: bool) -> Option<IpAddr> {
        self.rtp_advertise.iter().copied().find(|address| address.is_ipv4() == v4)
    }
}

/// A SIP address of the gateway, open on every shard.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// The datagram socket.
    pub udp: SocketId,
    /// The listening TCP socket.
    pub tcp: SocketId,
    /// The address bound.
    pub local: SocketAddr,
    /// The address named in Via, Contact and SDP.
    pub advertised: SocketAddr,
}

/// A further SIP address, for connections only, open on every shard.
#[derive(Clone, Copy, Debug)]
pub struct StreamListener {
    /// The listening socket.
    pub socket: SocketId,
    /// What is spoken there.
    pub transport: sip::Transport,
    /// The address bound. Media of its calls uses the address of a [`Listener`] of the same IP.
    pub local: SocketAddr,
    /// The address named in Via and Contact.
    pub advertised: SocketAddr,
}

/// What a shard starts with.
#[derive(Debug)]
pub struct Start {
    /// How calls are handled.
    pub config: Config,
    /// The shards of the process.
    pub shards: Shards,
    /// The SIP addresses.
    pub listeners: Vec<Listener>,
    /// Further SIP addresses for connections.
    pub streams: Vec<StreamListener>,
    /// Whether the layer around the shard speaks TLS.
    pub tls: bool,
    /// This shard's part of the RTP ports.
    pub rtp_ports: RtpPorts,
    /// Trunks and groups, shared by all shards.
    pub table: Arc<TrunkTable>,
    /// Who is registered, shared by all shards.
    pub registrar: Arc<Registrar>,
    /// Routes until control pushes others.
    pub routing: Arc<RoutingSnapshot>,
    /// The wall-clock time at [`sansio::Time::ZERO`].
    pub wall_at_zero: UnixMicros,
    /// Seed of identifiers.
    pub seed: u64,
    /// Seed of SRTP keys: from the operating system's generator.
    pub secrets: Secrets,
}

/// A range of ports for RTP (even) and RTCP (the odd one above).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPorts {
    /// The first port, even.
    pub low: u16,
    /// The last port, odd.
    pub high: u16,
}

impl RtpPorts {
    /// Reads `LO-HI`.
    ///
    /// # Errors
    /// Says what is wrong with the range and the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (low, high) = text
            .split_once('-')
            .and_then(|(low, high)| Some((low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?)))
            .ok_or_else(|| format!("\"{text}\" is no port range; write it as 16384-32767"))?;
        // Whole pairs within the range: RTP on the even port, RTCP on the next (RFC 3550 §11).
        let (first, last) = (u32::from(low).next_multiple_of(2), (u32::from(high) + 1) & !1);
        if low < 1024 || first + 2 > last {
            return Err(format!(
                "\"{text}\" holds no pair of ports above 1023; a call takes two pairs, so give at least four ports a call"
            ));
        }
        Ok(Self { low: first as u16, high: (last - 1) as u16 })
    }

    /// Pairs in the range.
    pub const fn pairs(self) -> u32 {
        (self.high as u32 + 1 - self.low as u32) / 2
    }

    /// The part of shard `me` of `count`; parts differ by one pair at most.
    pub fn part(self, shards: Shards) -> Self {
        let (count, me, pairs) = (u32::from(shards.count), u32::from(shards.me), self.pairs());
        let start = pairs * me / count;
        let end = pairs * (me + 1) / count;
        let low = u32::from(self.low);
        Self { low: (low + 2 * start) as u16, high: (low + 2 * end).saturating_sub(1) as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_whole_pairs_and_split_without_gap() {
        assert_eq!(RtpPorts::parse("10001-10004"), Ok(RtpPorts { low: 10002, high: 10003 }));
        let all = RtpPorts::parse("16384-32767").unwrap();
        assert_eq!(all.pairs(), 8192);
        let parts: Vec<_> = (0..3).map(|me| all.part(Shards { count: 3, me })).collect();
        assert_eq!(parts[0].low, all.low);
        assert!(parts.windows(2).all(|w| u32::from(w[0].high) + 1 == u32::from(w[1].low)));
        assert_eq!(parts[2].high, all.high);
        assert_eq!(RtpPorts::parse("60000-65535").unwrap().high, 65535);
        for bad in ["", "1-2", "5000", "a-b", "9000-8000", "10001-10002", "70000-80000"] {
            assert!(RtpPorts::parse(bad).is_err(), "{bad}");
        }
    }
}
