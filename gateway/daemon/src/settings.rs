//! From a configuration as written to settings that cannot be invalid: addresses, trunks, routes and limits
//! that fit together.

use crate::calls;
use crate::config::{self, ConfigError, File};
use crate::guard;
use crate::names;
use crate::profile;
use crate::prompts;
use crate::realm::{self, RealmAddresses};
use crate::stir::{StirSettings, trunk_identity};
use crate::tls::TlsSettings;
use link::{RouteEntry, RouteTable, RoutingSnapshot};
use locate::Target;
use sip::Transport;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switch::leg_media::LatchPolicy;
use switch::trunk::{GroupConfig, HealthConfig, NamedPeer, PeerConfig, QualityRule, TrunkConfig, TrunkTable};
use switch::{Dtmf, Network, RtpPorts};

/// What a gateway runs by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SIP addresses.
    pub listen: Vec<SocketAddr>,
    /// Further SIP addresses, for connections only.
    pub streams: Vec<(Transport, SocketAddr)>,
    /// Certificates and trust.
    pub tls: TlsSettings,
    /// Addresses to name instead of the bound ones, one of each family.
    pub advertise: Vec<IpAddr>,
    /// What realms open.
    pub realms: Vec<RealmAddresses>,
    /// Number of shards.
    pub workers: u16,
    /// Which driver.
    pub io: driver::Choice,
    /// How the kernel schedules the workers.
    pub scheduling: driver::Scheduling,
    /// RTP and RTCP ports.
    pub rtp_ports: RtpPorts,
    /// Trunks.
    pub trunks: Vec<TrunkConfig>,
    /// Groups.
    pub groups: Vec<GroupConfig>,
    /// Routes, for control to hand out.
    pub routing: Arc<RoutingSnapshot>,
    /// What each shard runs by.
    pub shard: switch::Config,
    /// Memory for prompts that are ready to be played, in octets.
    pub prompt_cache: usize,
    /// Where the configuration is from, for errors about the files that it names.
    pub place: String,
    /// Identities of callers: what is configured; what is in its files is in `shard` once they are loaded.
    pub stir: StirSettings,
}

impl Settings {
    /// Checks a configuration and derives from it what was left to derive.
    ///
    /// # Errors
    /// Names the key and the cure. `place` is the file's name or "command line".
    pub fn resolve(file: &File, place: &str) -> Result<Self, ConfigError> {
        let at = |key: &str| format!("{place}: {key}");
        if file.listen.is_empty() && file.realms.is_empty() {
            return Err(ConfigError::new(
                at("listen"),
                "name at least one address, such as \"0.0.0.0:5060\"",
            ));
        }
        let io = file
            .io
            .parse()
            .map_err(|error| ConfigError::new(at("io"), format!("\"{}\": {error}", file.io)))?;
        let scheduling = file.scheduling.parse().map_err(|error| {
            ConfigError::new(at("scheduling"), format!("\"{}\": {error}", file.scheduling))
        })?;
        let rtp_ports = RtpPorts::parse(&file.media.rtp_ports)
            .map_err(|error| ConfigError::new(at("media.rtp_ports"), error))?;
        for (key, all) in [("advertise", &file.advertise), ("media.advertise", &file.media.advertise)] {
            realm::one_of_each(all).map_err(|error| ConfigError::new(at(key), error))?;
        }
        let trunks = trunks(file, &at)?;
        let (realms, joined) = realm::resolve(file, &trunks, rtp_ports, &at)?;
        let routing = routing(file, &at)?;
        let groups: Vec<GroupConfig> = routing.groups.iter().map(group).collect();
        TrunkTable::new(trunks.clone(), groups.clone(), None)
            .map_err(|error| ConfigError::new(at("trunk"), error.to_string()))?;
        let workers = match file.workers {
            0 => driver::affinity::available().len().clamp(1, 64) as u16,
            n @ 1..=64 => n,
            n => return Err(ConfigError::new(at("workers"), format!("{n} is out of range; 0 to 64"))),
        };
        let caps: u64 = trunks.iter().map(|t| u64::from(t.max_calls)).sum();
        let calls_max = match file.calls.max {
            0 => u32::try_from(caps + caps / 10 + 16).unwrap_or(u32::MAX).min(200_000),
            n => n,
        };
        let mut shard = shard_config(file, &at, calls_max)?;
        // Phones may come by proxies that have names.
        let named = trunks.iter().any(|trunk| !trunk.names.is_empty()) || !file.users.is_empty();
        (shard.realms, shard.nat) = (joined, crate::nat::resolve(file, workers, &at)?);
        shard.rtp_advertise.clone_from(&file.media.advertise);
        shard.locate = names::resolve(file, named, &at)?;
        let streams = streams(file, &at)?;
        let tls = TlsSettings::resolve(file, &trunks, &at)?;
        let stir = StirSettings::resolve(file, &at)?;
        Ok(Self {
            listen: file.listen.clone(),
            streams,
            tls,
            advertise: file.advertise.clone(),
            realms,
            workers,
            io,
            scheduling,
            rtp_ports,
            trunks,
            groups,
            routing: Arc::new(routing),
            shard,
            prompt_cache: prompt_cache(file, &at)?,
            place: place.to_owned(),
            stir,
        })
    }

    /// Reads the files that are named, as of now.
    ///
    /// # Errors
    /// Names the key, the file and the cure.
    pub fn load(&mut self) -> Result<(), ConfigError> {
        let at = |key: &str| format!("{}: {key}", self.place);
        prompts::check(self.shard.prompts.as_deref(), self.shard.hold_music.as_deref(), &at)?;
        let now = driver::clock::WallAnchor::take().wall(driver::clock::now()).as_secs();
        self.shard.identity = Arc::new(self.stir.load(now)?);
        Ok(())
    }
}

/// The addresses for connections only. Media of their calls uses the address of one of `listen`.
fn streams(file: &File, at: &dyn Fn(&str) -> String) -> Result<Vec<(Transport, SocketAddr)>, ConfigError> {
    let mut all = Vec::new();
    for (key, transport, addresses) in [
        ("tls_listen", Transport::Tls, &file.tls_listen),
        ("ws_listen", Transport::Ws, &file.ws_listen),
        ("wss_listen", Transport::Wss, &file.wss_listen),
    ] {
        for address in addresses {
            realm::beside(&file.listen, address).map_err(|error| ConfigError::new(at(key), error))?;
            all.push((transport, *address));
        }
    }
    Ok(all)
}

fn trunks(file: &File, at: &dyn Fn(&str) -> String) -> Result<Vec<TrunkConfig>, ConfigError> {
    let profiles = profile::resolve(file, at)?;
    file.trunks
        .iter()
        .map(|trunk| {
            let key = |key: &str| at(&format!("trunk \"{}\": {key}", trunk.name));
            let (mut peers, mut names) = (Vec::new(), Vec::new());
            for text in &trunk.peers {
                match peer(text).map_err(|error| ConfigError::new(key("peers"), error))? {
                    Written::Address(peer) => peers.push(peer),
                    Written::Name(target) => names.push(NamedPeer { before: peers.len(), target }),
                }
            }
            if trunk.name.is_empty() {
                return Err(ConfigError::new(key("name"), "give the trunk a name"));
            }
            if [link::USER_PREFIX, link::WORKER_PREFIX].iter().any(|it| trunk.name.starts_with(it)) {
                let error = "no trunk's name may begin with \"user:\" or \"worker:\"; records call phones and workers so";
                return Err(ConfigError::new(key("name"), error));
            }
            if file.trunks.iter().filter(|other| other.name == trunk.name).count() > 1 {
                return Err(ConfigError::new(key("name"), "two trunks have it; give each its own"));
            }
            if let Some(status) = trunk.failover_statuses.iter().find(|s| !(300..700).contains(*s)) {
                let error = format!("{status} is no final status of a failure; 300 to 699");
                return Err(ConfigError::new(key("failover_statuses"), error));
            }
            let account = match (&trunk.username, &trunk.password) {
                (None, None) => None,
                (Some(username), Some(password)) => {
                    let (username, password) = (username.clone(), password.0.clone());
                    Some(Arc::new(sip::auth::Account { username, password }))
                }
                (Some(_), None) => return Err(ConfigError::new(key("password"), "give it beside username")),
                (None, Some(_)) => return Err(ConfigError::new(key("username"), "give it beside password")),
            };
            let profile = match &trunk.profile {
                Some(name) => profiles.get(name).cloned().ok_or_else(|| {
                    ConfigError::new(key("profile"), format!("\"{name}\" {}", profile::unknown(&profiles)))
                })?,
                None => Arc::default(),
            };
            let register = crate::registration::resolve(trunk, &peers)
                .map_err(|(name, error)| ConfigError::new(key(name), error))?;
            Ok(TrunkConfig {
                name: trunk.name.clone(),
                provider: trunk.provider.clone().unwrap_or_else(|| trunk.name.clone()),
                peers,
                names,
                max_calls: trunk.max_calls,
                max_cps: trunk.max_cps,
                weight: trunk.weight,
                priority: trunk.priority,
                codecs: trunk.codecs.clone(),
                backup: trunk.backup.clone(),
                failover_statuses: trunk.failover_statuses.clone(),
                account,
                register,
                identity: trunk_identity(trunk, at)?,
                realm: trunk.realm.clone(),
                quality: quality(trunk, &key)?,
                health: health(trunk.health.as_ref().unwrap_or(&file.health)),
                profile,
            })
        })
        .collect()
}

/// When a trunk is chosen last for how calls to it sound.
fn quality(trunk: &config::Trunk, key: &dyn Fn(&str) -> String) -> Result<Option<QualityRule>, ConfigError> {
    let (mos, hold_off) = (trunk.quality_min_mos, trunk.quality_hold_off.0);
    if mos == 0.0 {
        return Ok(None);
    }
    if !(1.0..=4.2).contains(&mos) {
        let error = "no mean opinion score that calls can be held to; write 3.6, at most 4.2, or 0 for whatever it is";
        return Err(ConfigError::new(key("quality_min_mos"), format!("{mos} is {error}")));
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&hold_off) {
        return Err(ConfigError::new(key("quality_hold_off"), "must be from 1s to 24h; 5m is usual"));
    }
    Ok(Some(QualityRule { min_mos: (mos * 1000.0).round() as u32, hold_off }))
}

/// A peer as written.
enum Written {
    Address(PeerConfig),
    Name(Target),
}

fn peer(text: &str) -> Result<Written, String> {
    // A name has a letter where an address has none; an IPv6 address stands in brackets.
    let host = text.split([':', '/', ';']).next().unwrap_or_default();
    if !host.is_empty() && !host.starts_with('[') && host.bytes().any(|b| !b.is_ascii_digit() && b != b'.') {
        return names::target(text).map(Written::Name);
    }
    peer_address(text).map(Written::Address)
}

/// A peer that is an address.
pub(crate) fn peer_address(text: &str) -> Result<PeerConfig, String> {
    let named = text.split_once(";transport=").or_else(|| text.rsplit_once('/'));
    let (address, transport) = match named {
        Some((address, "tcp")) => (address, Transport::Tcp),
        Some((address, "udp")) => (address, Transport::Udp),
        Some((address, "tls")) => (address, Transport::Tls),
        Some((_, other)) => {
            return Err(format!("\"{text}\": no transport \"{other}\"; use /udp, /tcp or /tls"));
        }
        None => (text, Transport::Udp),
    };
    let address: SocketAddr = address.parse().map_err(|_| {
        format!(
            "\"{text}\" is no address; write ADDR:PORT or [ADDR6]:PORT, /tcp behind it for TCP, /tls for TLS, or a name \
             (an IPv4 address has four numbers up to 255)"
        )
    })?;
    if address.port() == 0 {
        return Err(format!("\"{text}\" names port 0; name the port the peer listens on"));
    }
    Ok(PeerConfig { address, transport })
}

fn health(health: &config::Health) -> HealthConfig {
    HealthConfig {
        open_after: health.open_after.clamp(1, 255),
        close_after: health.close_after.clamp(1, 255),
        retry_after: health.retry_after.0,
        probe_interval: health.probe_interval.0,
        probe_interval_down: health.probe_interval_down.0,
        probe_timeout: health.probe_timeout.0,
    }
}

/// The routes as control hands them out. Without any, every number goes to all trunks, by weight.
fn routing(file: &File, at: &dyn Fn(&str) -> String) -> Result<RoutingSnapshot, ConfigError> {
    const ALL: &str = "all-trunks";
    let mut groups: Vec<link::TrunkGroup> = file
        .groups
        .iter()
        .map(|group| link::TrunkGroup {
            name: group.name.as_str().into(),
            selection: group.selection,
            trunks: group.trunks.iter().map(|name| name.as_str().into()).collect(),
        })
        .collect();
    for trunk in &file.trunks {
        if !file.groups.iter().any(|group| group.name == trunk.name) {
            let name = trunk.name.as_str();
            let trunks = vec![name.into()];
            groups.push(link::TrunkGroup { name: name.into(), selection: link::Selection::Ordered, trunks });
        }
    }
    let mut routes: Vec<RouteEntry> = file
        .routes
        .iter()
        .map(|route| RouteEntry {
            prefix: route.prefix.clone(),
            groups: route.to.iter().map(|name| name.as_str().into()).collect(),
            strip: route.strip,
            prepend: route.prepend.clone(),
            ask: route.ask,
        })
        .collect();
    if routes.is_empty() && !file.trunks.is_empty() {
        if !groups.iter().any(|group| group.name.as_str() == ALL) {
            groups.push(all_trunks(file, ALL));
        }
        let groups = vec![ALL.into()];
        routes.push(RouteEntry {
            prefix: String::new(),
            groups,
            strip: 0,
            prepend: String::new(),
            ask: false,
        });
    }
    let snapshot = RoutingSnapshot { version: 1, groups, routes };
    RouteTable::new(snapshot.clone()).map_err(|error| ConfigError::new(at("route"), error.to_string()))?;
    Ok(snapshot)
}

/// All trunks but those that only stand in for another.
fn all_trunks(file: &File, name: &str) -> link::TrunkGroup {
    let find = |name: &str| file.trunks.iter().find(|trunk| trunk.name == name);
    let backs_up = |trunk: &config::Trunk, of: &config::Trunk| of.backup.as_ref() == Some(&trunk.name);
    let stands_in = |trunk: &config::Trunk| {
        // Trunks that back each other up are equals.
        let chain: Vec<&config::Trunk> = std::iter::successors(Some(trunk), |t| find(t.backup.as_deref()?))
            .take(file.trunks.len() + 1)
            .collect();
        file.trunks.iter().any(|of| backs_up(trunk, of) && !chain.iter().any(|t| t.name == of.name))
    };
    link::TrunkGroup {
        name: name.into(),
        selection: link::Selection::Weighted,
        trunks: file.trunks.iter().filter(|t| !stands_in(t)).map(|t| t.name.as_str().into()).collect(),
    }
}

fn group(group: &link::TrunkGroup) -> GroupConfig {
    GroupConfig {
        name: group.name.to_string(),
        trunks: group.trunks.iter().map(ToString::to_string).collect(),
        selection: group.selection,
    }
}

/// Memory for prompts, in octets.
fn prompt_cache(file: &File, at: &dyn Fn(&str) -> String) -> Result<usize, ConfigError> {
    match file.media.prompt_cache_mib {
        mib @ 1..=4096 => Ok(mib as usize * (1 << 20)),
        mib => {
            let error = format!("{mib} MiB is out of range; 1 to 4096");
            Err(ConfigError::new(at("media.prompt_cache_mib"), error))
        }
    }
}

/// What is kept of SIP messages, and where copies go.
fn observing(file: &File, at: &dyn Fn(&str) -> String) -> Result<switch::Observing, ConfigError> {
    let (trace, hep) = (&file.trace, &file.hep);
    if trace.ring_mib > 4096 {
        let error = format!("{} MiB is out of range; 0 to 4096 for each worker", trace.ring_mib);
        return Err(ConfigError::new(at("trace.ring_mib"), error));
    }
    if !(0.0..=1.0).contains(&hep.sample) {
        let error = format!("{} is no share; 0.0 copies no call, 1.0 every call", hep.sample);
        return Err(ConfigError::new(at("hep.sample"), error));
    }
    if hep.password.len() > 256 {
        return Err(ConfigError::new(at("hep.password"), "longer than 256 bytes; use a shorter one"));
    }
    if hep.server.is_some() && trace.ring_mib == 0 {
        let error =
            "copies for hep.server are taken from the ring; give it 1 at least, or leave out hep.server";
        return Err(ConfigError::new(at("trace.ring_mib"), error));
    }
    if let Some(server) = hep.server.filter(|server| server.port() == 0 || server.ip().is_unspecified()) {
        let error = format!("{server} is nowhere; name the capture server's address and port");
        return Err(ConfigError::new(at("hep.server"), error));
    }
    Ok(switch::Observing {
        ring: trace.ring_mib as usize * (1 << 20),
        masks: switch::Masks { credentials: trace.mask_credentials, dtmf: trace.mask_dtmf },
        hep: hep.server.map(|server| switch::HepConfig {
            server,
            capture_id: hep.capture_id,
            password: hep.password.clone(),
            // Within 0 and 10 000.
            sample: (hep.sample * 10_000.0).round() as u16,
        }),
    })
}

fn shard_config(
    file: &File,
    at: &dyn Fn(&str) -> String,
    calls_max: u32,
) -> Result<switch::Config, ConfigError> {
    let networks = |key: &str, texts: &[String]| {
        let read = |text: &String| text.parse::<Network>().map_err(|error| ConfigError::new(at(key), error));
        texts.iter().map(read).collect::<Result<Vec<_>, _>>()
    };
    let allow = networks("allow", &file.allow)?;
    let latch = LatchPolicy::named(&file.media.latch).ok_or_else(|| {
        let error = format!("\"{}\" is no latch policy; one of auto, strict, same-ip, any", file.media.latch);
        ConfigError::new(at("media.latch"), error)
    })?;
    let dtmf = Dtmf::named(&file.media.dtmf).ok_or_else(|| {
        let error = format!("\"{}\" is not known; one of {}", file.media.dtmf, Dtmf::WORDS.join(", "));
        ConfigError::new(at("media.dtmf"), error)
    })?;
    if file.timers.t1.0.is_zero() || file.timers.t2.0 < file.timers.t1.0 {
        return Err(ConfigError::new(at("timers"), "t1 must be above 0 and t2 not below t1"));
    }
    let (expires, least) = (file.timers.session_expires.0, file.timers.min_se.0);
    if least.as_secs() < 90 || least.as_secs() > 86_400 {
        return Err(ConfigError::new(at("timers.min_se"), "RFC 4028 allows no less than 90s; 90s to 24h"));
    }
    if !expires.is_zero() && (expires < least || expires.as_secs() > 86_400) {
        let error = "it must not be below timers.min_se; give that to 24h, or 0s for no session timers";
        return Err(ConfigError::new(at("timers.session_expires"), error));
    }
    if file.calls.attempts_max == 0 {
        return Err(ConfigError::new(at("calls.attempts_max"), "0 would try no peer at all; 1 to 255"));
    }
    Ok(switch::Config {
        calls_max,
        allow,
        trusted: networks("trusted", &file.trusted)?,
        users: crate::users::resolve(file, at)?,
        guard: guard::guard(file, at)?,
        overload: guard::overload(file, at)?,
        fraud: guard::fraud(file, at)?,
        latch,
        prompts: file.media.prompts.clone(),
        hold_music: prompts::hold_music(&file.media),
        security: crate::security::of_all(file, at)?,
        dtmf,
        reporting: crate::reporting::of_all(file, at)?,
        one_way_after: file.media.one_way_after.0,
        video: file.media.video,
        t38: file.media.t38,
        no_response: file.calls.no_response.0,
        no_response_suspect: file.calls.no_response_suspect.0.min(file.calls.no_response.0),
        no_progress: file.calls.no_progress.0,
        no_answer: file.calls.no_answer.0,
        attempts_max: file.calls.attempts_max,
        diversions_max: file.calls.diversions_max,
        redirects_max: file.calls.redirects_max,
        redirect_hosts: calls::redirect_hosts(file, at)?,
        datagram_max: calls::datagram_max(file, at)?,
        retry_after: file.calls.retry_after,
        media_timeout: file.media.timeout.0,
        drain_limit: file.calls.drain_limit.0,
        user_agent: file.calls.user_agent.clone(),
        session_expires: expires,
        min_se: least,
        observing: observing(file, at)?,
        outside: crate::outside::outside(file, at)?,
        t1: file.timers.t1.0,
        t2: file.timers.t2.0,
        t4: file.timers.t4.0,
        ..switch::Config::default()
    })
}
