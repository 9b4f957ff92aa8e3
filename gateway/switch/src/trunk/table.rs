//! The trunk table: the trunks, peers and groups of a configuration, with what the shards share of each.
//!
//! A table never changes; a reload makes a new one in which a trunk of the same name keeps its counters,
//! so that calls made under the old table are still counted under the new.

use super::located::{NamedPeer, Origin, Version};
use super::quality::{QualityRule, SharedQuality};
use super::select::{self, Candidate};
use super::{CallLimit, Evidence, HealthConfig, HealthState, RateLimit, SharedHealth, Transition};
use super::{RegistrationConfig, SharedRegistration};
use crate::identity::TrunkIdentity;
use crate::profile::Profile;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use link::Selection;
use std::sync::Arc;

use sansio::Time;
use sip::Transport;
use sip::auth::Account;

/// One address of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where requests go.
    pub address: SocketAddr,
    /// Over what.
    pub transport: Transport,
}

impl fmt::Display for PeerConfig {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp => write!(f, "{}", self.address),
            transport => write!(f, "{}/{}", self.address, transport.name()),
        }
    }
}

/// A trunk as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkConfig {
    /// Its name, unique.
    pub name: String,
    /// Whose it is, for reports.
    pub provider: String,
    /// Its addresses, tried in this order.
    pub peers: Vec<PeerConfig>,
    /// Its peers given by name; what is found for them takes its place among the addresses.
    pub names: Vec<NamedPeer>,
    /// Calls at a time.
    pub max_calls: u32,
    /// Calls a second; 0: no limit.
    pub max_cps: u32,
    /// Share of calls under [`Selection::Weighted`].
    pub weight: u32,
    /// Lower numbers are tried first.
    pub priority: u32,
    /// Names of the encodings offered to it, in this order; empty: what the caller offers.
    pub codecs: Vec<String>,
    /// The trunk to use when this one is full or down; that one's own backup follows.
    pub backup: Option<String>,
    /// Statuses of a final answer that send a call to the next peer.
    pub failover_statuses: Vec<u16>,
    /// What its challenges are answered with.
    pub account: Option<Arc<Account>>,
    /// How it is registered with its carrier, if it is.
    pub register: Option<RegistrationConfig>,
    /// Health thresholds.
    pub health: HealthConfig,
    /// How INVITEs to it are written.
    pub profile: Arc<Profile>,
    /// How identities are dealt with.
    pub identity: TrunkIdentity,
    /// The realm its peers are in; none: the one whose networks hold their addresses.
    pub realm: Option<String>,
    /// When it is chosen last for how calls to it sound; none: never.
    pub quality: Option<QualityRule>,
}

impl TrunkConfig {
    /// A trunk of one peer with the defaults: 100 calls, no rate limit, weight 1, priority 0.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            provider: name.to_owned(),
            peers: vec![PeerConfig { address, transport: Transport::Udp }],
            names: Vec::new(),
            max_calls: 100,
            max_cps: 0,
            weight: 1,
            priority: 0,
            codecs: Vec::new(),
            backup: None,
            failover_statuses: vec![500, 502, 503, 504],
            account: None,
            register: None,
            health: HealthConfig::default(),
            profile: Arc::default(),
            identity: TrunkIdentity::default(),
            realm: None,
            quality: None,
        }
    }
}

/// A group as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Its name, unique among groups; a trunk's name stands for a group of that trunk alone.
    pub name: String,
    /// Its trunks.
    pub trunks: Vec<String>,
    /// How calls are spread.
    pub selection: Selection,
}

/// What a table cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Two trunks or two groups of one name.
    Twice(String),
    /// `who` names a trunk that is not there.
    NoSuchTrunk {
        /// The trunk or group that names it.
        who: String,
        /// The name.
        name: String,
    },
    /// A trunk that is its own backup.
    OwnBackup(String),
    /// A trunk without a peer.
    NoPeer(String),
    /// A group without a trunk.
    EmptyGroup(String),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(name) => write!(f, "\"{name}\" is defined twice; names must differ"),
            Self::NoSuchTrunk { who, name } => {
                write!(f, "\"{who}\" names trunk \"{name}\", which is not defined")
            }
            Self::OwnBackup(name) => write!(f, "trunk \"{name}\" is its own backup; name another"),
            Self::NoPeer(name) => write!(f, "trunk \"{name}\" has no peer; give it an address"),
            Self::EmptyGroup(name) => write!(f, "group \"{name}\" has no trunk; name at least one"),
        }
    }
}

impl core::error::Error for TableError {}

/// One address of a trunk and what is known of it.
#[derive(Debug)]
pub struct Peer {
    /// As configured.
    pub config: PeerConfig,
    /// Whether it is alive.
    pub health: SharedHealth,
    /// When it was last heard from, in ns; 0: never.
    heard: AtomicU64,
    /// When it was last probed, in ns; 0: never.
    probed: AtomicU64,
}

impl Peer {
    pub(super) fn new(config: PeerConfig) -> Self {
        let (heard, probed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { config, health: SharedHealth::default(), heard, probed }
    }

    /// Feeds its health; tells when it went into or out of service.
    pub fn learn(&self, now: Time, evidence: Evidence, config: &HealthConfig) -> Option<Transition> {
        if matches!(evidence, Evidence::CallServed | Evidence::ProbeServed) {
            self.heard.store(now.as_nanos(), Ordering::Relaxed);
        }
        self.health.learn(now, evidence, config)
    }

    /// Whether it is to be probed now; then that counts as done. `since` is when whoever asks began to watch.
    pub fn claim_probe(&self, now: Time, since: Time, config: &HealthConfig) -> bool {
        let ago = |at: &AtomicU64| now.since(Time::from_nanos(at.load(Ordering::Relaxed)).max(since));
        let wanted = config.wants_probe(self.health.load().state(), ago(&self.heard), ago(&self.probed));
        if wanted {
            self.probed.store(now.as_nanos(), Ordering::Relaxed);
        }
        wanted
    }

    /// Its state as the outside names it: a peer that failed a call or two is still in use.
    pub fn state(&self) -> link::TrunkState {
        match self.health.load().state() {
            HealthState::Up | HealthState::Suspect => link::TrunkState::Up,
            HealthState::Trial => link::TrunkState::Trial,
            HealthState::Down => link::TrunkState::Down,
        }
    }
}

/// A trunk and what the shards share of it.
#[derive(Debug)]
pub struct Trunk {
    /// As configured.
    pub config: TrunkConfig,
    /// Its addresses.
    pub peers: Vec<Arc<Peer>>,
    calls: Arc<CallLimit>,
    rate: Arc<RateLimit>,
    registration: Option<Arc<SharedRegistration>>,
    quality: Arc<SharedQuality>,
    identity: u64,
    /// How each peer came about.
    pub(super) origins: Vec<Origin>,
}

impl Trunk {
    /// Takes a place for one call; `None` when the trunk is full or calls come too fast.
    pub fn seize(self: &Arc<Self>, now: Time) -> Option<Seizure> {
        if !self.rate.take(now, self.config.max_cps) {
            return None;
        }
        if !self.calls.take(self.config.max_calls) {
            self.rate.give_back(self.config.max_cps);
            return None;
        }
        Some(Seizure { trunk: self.clone() })
    }

    /// Counts a request outside of calls against the rate; `false` when they come too fast.
    pub(crate) fn pass(&self, now: Time) -> bool {
        self.rate.take(now, self.config.max_cps)
    }

    /// Takes back a request that was counted but not sent.
    pub(crate) fn unpass(&self) {
        self.rate.give_back(self.config.max_cps);
    }

    /// Its registration, if it has one.
    pub const fn registration(&self) -> Option<&Arc<SharedRegistration>> {
        self.registration.as_ref()
    }

    /// Whether calls may be sent to it as far as its registration goes.
    pub fn is_callable(&self, now: Time) -> bool {
        !self.config.register.as_ref().is_some_and(|config| config.required)
            || self.registration.as_ref().is_some_and(|shared| shared.is_registered(now))
    }

    /// How calls to it sound.
    pub fn quality(&self) -> &SharedQuality {
        &self.quality
    }

    /// Whether it is chosen last now for how calls to it sound.
    pub fn is_avoided(&self, now: Time) -> bool {
        self.config.quality.is_some() && self.quality.is_avoided(now)
    }

    /// Counts a call that its carrier sent to the registered contact.
    pub(crate) fn count_call_in(&self) {
        if let Some(shared) = &self.registration {
            super::Counts::add(&shared.counts.calls_in, 1);
        }
    }

    /// A number made of its name: the same on every run and host.
    pub(crate) const fn identity(&self) -> u64 {
        self.identity
    }

    /// Whether any of its peers is in service.
    pub fn state(&self) -> link::TrunkState {
        self.peers.iter().map(|peer| peer.state()).min().unwrap_or(link::TrunkState::Down)
    }

    /// Calls on it now.
    pub fn calls(&self) -> u32 {
        self.calls.calls()
    }

    /// The same trunk with other peers.
    pub(super) fn with_peers(
        &self,
        configs: Vec<PeerConfig>,
        peers: Vec<Arc<Peer>>,
        origins: Vec<Origin>,
    ) -> Self {
        Self {
            config: TrunkConfig { peers: configs, ..self.config.clone() },
            peers,
            calls: self.calls.clone(),
            rate: self.rate.clone(),
            registration: self.registration.clone(),
            quality: self.quality.clone(),
            identity: self.identity,
            origins,
        }
    }

    /// Calls it refused at its cap and at its rate, since the start.
    pub fn refused(&self) -> (u64, u64) {
        (self.calls.refused(), self.rate.refused())
    }
}

/// A place on a trunk, given back when dropped.
#[derive(Debug)]
pub struct Seizure {
    trunk: Arc<Trunk>,
}

impl Seizure {
    /// The trunk.
    pub const fn trunk(&self) -> &Arc<Trunk> {
        &self.trunk
    }

    /// Gives the place back as if it had never been taken: no call was offered, so none counts against the rate.
    pub fn unused(self) {
        self.trunk.rate.give_back(self.trunk.config.max_cps);
    }
}

impl Drop for Seizure {
    fn drop(&mut self) {
        self.trunk.calls.give_back();
    }
}

/// A group of trunks.
#[derive(Clone, Debug)]
pub struct TrunkGroup {
    /// Its name.
    pub name: String,
    trunks: Vec<usize>,
    selection: Selection,
    turn: Arc<AtomicU64>,
}

/// All trunks and groups of a configuration.
#[derive(Debug, Default)]
pub struct TrunkTable {
    trunks: Vec<Arc<Trunk>>,
    groups: Vec<TrunkGroup>,
    version: Version,
}

impl TrunkTable {
    /// A table of these trunks and groups; every trunk is also a group of its own name. Trunks that
    /// `before` had keep their counters, peers their health.
    ///
    /// # Errors
    /// [`TableError`] names what does not fit together.
    pub fn new(
        trunks: Vec<TrunkConfig>,
        groups: Vec<GroupConfig>,
        before: Option<&Self>,
    ) -> Result<Self, TableError> {
        check(&trunks, &groups)?;
        let index = |name: &str| trunks.iter().position(|t| t.name == name);
        let mut all: Vec<TrunkGroup> = groups
            .iter()
            .map(|group| TrunkGroup {
                name: group.name.clone(),
                trunks: group.trunks.iter().filter_map(|name| index(name)).collect(),
                selection: group.selection,
                turn: Arc::default(),
            })
            .collect();
        for (at, trunk) in trunks.iter().enumerate() {
            if !groups.iter().any(|group| group.name == trunk.name) {
                let selection = Selection::RoundRobin;
                let (name, turn) = (trunk.name.clone(), Arc::default());
                all.push(TrunkGroup { name, trunks: vec![at], selection, turn });
            }
        }
        let trunks = trunks.into_iter().map(|config| Arc::new(make(config, before))).collect();
        let version = before.map_or_else(Version::default, |table| Version {
            reload: table.version.reload.wrapping_add(1),
            change: 0,
        });
        Ok(Self { trunks, groups: all, version })
    }

    /// The same groups of other trunks.
    pub(super) fn with_trunks(&self, trunks: Vec<Arc<Trunk>>, version: Version) -> Self {
        Self { trunks, groups: self.groups.clone(), version }
    }

    /// Which of several tables it is.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The trunks, in the order of the configuration.
    pub fn trunks(&self) -> &[Arc<Trunk>] {
        &self.trunks
    }

    /// The number of the group of that name.
    pub fn group(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.name == name)
    }

    /// The trunk of that name.
    pub fn trunk(&self, name: &str) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.config.name == name)
    }

    /// The trunks of a group in the order in which a call of `caller` (a number) tries them, each followed by
    /// its backups, none twice. Those that sound bad `now` come last.
    pub fn order(&self, now: Time, group: usize, caller: &str) -> Vec<Arc<Trunk>> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let mut candidates: Vec<Candidate> = group
            .trunks
            .iter()
            .map(|&trunk| {
                let t = &self.trunks[trunk];
                Candidate {
                    trunk,
                    priority: t.config.priority,
                    weight: t.config.weight,
                    calls: t.calls(),
                    max_calls: t.config.max_calls.max(1),
                    identity: t.identity,
                }
            })
            .collect();
        select::order(&mut candidates, group.selection, &group.turn, select::hash(caller.as_bytes()));
        let mut order: Vec<Arc<Trunk>> = Vec::with_capacity(candidates.len() + 1);
        for candidate in candidates {
            let mut next = Some(&self.trunks[candidate.trunk]);
            // A trunk seen before brought its backups with it; trunks may be each other's.
            while let Some(trunk) = next.filter(|trunk| !order.iter().any(|seen| Arc::ptr_eq(seen, trunk))) {
                order.push(trunk.clone());
                next = trunk.config.backup.as_deref().and_then(|name| self.trunk(name));
            }
        }
        order.sort_by_key(|trunk| trunk.is_avoided(now));
        order
    }
}

fn make(config: TrunkConfig, before: Option<&TrunkTable>) -> Trunk {
    let old = before.and_then(|table| table.trunk(&config.name));
    let peers: Vec<Arc<Peer>> = config
        .peers
        .iter()
        .map(|peer| {
            let known = old.and_then(|t| t.peers.iter().find(|p| p.config == *peer));
            known.cloned().unwrap_or_else(|| Arc::new(Peer::new(peer.clone())))
        })
        .collect();
    // Another binding is another registration; one with other times only goes on.
    let same = |it: &RegistrationConfig| {
        let before = old.and_then(|trunk| trunk.config.register.as_ref());
        before.is_some_and(|before| before.is_same_binding(it))
    };
    let registration = config.register.as_ref().map(|it| {
        let known = old.filter(|_| same(it)).and_then(|trunk| trunk.registration.clone());
        known.unwrap_or_default()
    });
    Trunk {
        origins: (0..peers.len()).map(Origin::written).collect(),
        peers,
        registration,
        calls: old.map_or_else(Arc::default, |t| t.calls.clone()),
        rate: old.map_or_else(Arc::default, |t| t.rate.clone()),
        quality: old.map_or_else(Arc::default, |t| t.quality.clone()),
        identity: select::hash(config.name.as_bytes()),
        config,
    }
}

fn check(trunks: &[TrunkConfig], groups: &[GroupConfig]) -> Result<(), TableError> {
    let find = |name: &str| trunks.iter().find(|t| t.name == name);
    let missing = |who: &str, name: &str| TableError::NoSuchTrunk { who: who.into(), name: name.into() };
    for (at, trunk) in trunks.iter().enumerate() {
        if trunks[..at].iter().any(|t| t.name == trunk.name) {
            return Err(TableError::Twice(trunk.name.clone()));
        }
        if trunk.peers.is_empty() && trunk.names.is_empty() {
            return Err(TableError::NoPeer(trunk.name.clone()));
        }
        if let Some(backup) = &trunk.backup {
            find(backup).ok_or_else(|| missing(&trunk.name, backup))?;
            if *backup == trunk.name {
                return Err(TableError::OwnBackup(trunk.name.clone()));
            }
        }
    }
    for (at, group) in groups.iter().enumerate() {
        if groups[..at].iter().any(|g| g.name == group.name) {
            return Err(TableError::Twice(group.name.clone()));
        }
        if group.trunks.is_empty() {
            return Err(TableError::EmptyGroup(group.name.clone()));
        }
        for name in &group.trunks {
            find(name).ok_or_else(|| missing(&group.name, name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(name: &str, backup: Option<&str>) -> TrunkConfig {
        let mut config = TrunkConfig::new(name, "192.0.2.1:5060".parse().unwrap());
        config.backup = backup.map(str::to_owned);
        config.max_calls = 2;
        config
    }

    fn names(order: &[Arc<Trunk>]) -> Vec<&str> {
        order.iter().map(|t| t.config.name.as_str()).collect()
    }

    #[test]
    fn backups_follow_their_trunk() {
        let table = TrunkTable::new(
            vec![trunk("a", Some("c")), trunk("b", None), trunk("c", Some("d")), trunk("d", None)],
            vec![GroupConfig {
                name: "g".into(),
                trunks: vec!["a".into(), "b".into()],
                selection: Selection::RoundRobin,
            }],
            None,
        )
        .unwrap();
        let group = table.group("g").unwrap();
        assert_eq!(names(&table.order(Time::ZERO, group, "1")), ["a", "c", "d", "b"]);
        assert_eq!(names(&table.order(Time::ZERO, group, "1")), ["b", "a", "c", "d"]);
        assert_eq!(names(&table.order(Time::ZERO, table.group("c").unwrap(), "1")), ["c", "d"]);
    }

    #[test]
    fn two_trunks_may_back_each_other_up() {
        let table =
            TrunkTable::new(vec![trunk("a", Some("b")), trunk("b", Some("a"))], vec![], None).unwrap();
        assert_eq!(names(&table.order(Time::ZERO, table.group("a").unwrap(), "1")), ["a", "b"]);
        assert_eq!(names(&table.order(Time::ZERO, table.group("b").unwrap(), "1")), ["b", "a"]);
    }

    #[test]
    fn nonsense_is_named() {
        let error = |trunks, groups| TrunkTable::new(trunks, groups, None).unwrap_err();
        assert_eq!(error(vec![trunk("a", Some("a"))], vec![]), TableError::OwnBackup("a".into()));
        assert_eq!(error(vec![trunk("a", None), trunk("a", None)], vec![]), TableError::Twice("a".into()));
        assert!(
            error(vec![trunk("a", Some("x"))], vec![]).to_string().contains("\"x\", which is not defined")
        );
    }

    #[test]
    fn a_reload_keeps_the_calls_that_are_up() {
        let old = TrunkTable::new(vec![trunk("a", None)], vec![], None).unwrap();
        let seizure = old.trunks()[0].seize(Time::ZERO).unwrap();
        let new = TrunkTable::new(vec![trunk("a", None)], vec![], Some(&old)).unwrap();
        assert_eq!(new.trunks()[0].calls(), 1);
        assert!(
            new.trunks()[0].seize(Time::ZERO).is_some_and(|_| new.trunks()[0].seize(Time::ZERO).is_none())
        );
        drop(seizure);
        assert_eq!(new.trunks()[0].calls(), 0);
    }
}
