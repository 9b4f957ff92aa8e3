//! The guard at a shard's door: how much a source may send, who is not listened to, who is never held up.
//!
//! It looks at the source of a datagram before anything is parsed. Each shard has its own table, of what arrives at it, and takes
//! what it lets in from accounts that all shards share, some at a time ([`Tallies`]): nothing is shared per packet, and the
//! limits hold for the process. A ban is told to all shards.

mod bucket;
mod queue;
mod scanner;
mod source;
mod table;
mod tally;

pub use bucket::Rate;
pub use queue::{Backlog, Overload, Turn, Waiting};
pub use source::Source;
pub use tally::Tallies;

use crate::admission::Network;
use core::net::IpAddr;
use core::time::Duration;
use link::BanReason;
use sansio::{Random, Time};
use std::sync::Arc;
use table::{Entry, Place, Table};

/// How many sources' worth those get together for whom the table has no place.
const CROWD: u32 = 10;
/// A ban is forgotten, and the next one is a first one again, when a source was free for this many times its last length.
const FORGIVEN_AFTER: u32 = 4;

/// How sources are limited. Neither holds for the trunks' peers, allowed networks and `never_limit`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is said to a source that may begin nothing here: nothing, instead of 403.
    pub ignore_unknown: bool,
    /// Networks that are never limited nor banned, besides those that may place calls.
    pub never_limit: Vec<Network>,
    /// Sources known at a time on this shard; 160 bytes each. A change needs a restart.
    pub sources: u32,
    /// Datagrams of a source, whatever they are.
    pub datagrams: Rate,
    /// INVITEs of a source, retransmissions included.
    pub invites: Rate,
    /// REGISTERs of a source.
    pub registers: Rate,
    /// Other requests of a source that begin something: OPTIONS, SUBSCRIBE, MESSAGE and whatever it invents.
    pub others: Rate,
    /// What scanners hold in User-Agent, in lower case.
    pub scanners: Vec<String>,
    /// How long a first ban lasts; each further one twice as long. Zero: nobody is banned.
    pub ban: Duration,
    /// The longest ban.
    pub ban_max: Duration,
    /// Offences are counted over this time.
    pub window: Duration,
    /// So many malformed messages within the window are a ban; 0: never.
    pub malformed: u16,
    /// So many wrong passwords.
    pub auth_failures: u16,
    /// So many requests refused with 403 or 404.
    pub refusals: u16,
    /// The accounts that all shards share; a reload keeps them. `None` where there is one shard only: its table says it all.
    pub shared: Option<Arc<Tallies>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ignore_unknown: false,
            never_limit: Vec::new(),
            sources: 16_384,
            datagrams: Rate::new(200, 1000),
            invites: Rate::new(20, 100),
            registers: Rate::new(20, 200),
            others: Rate::new(20, 100),
            scanners: SCANNERS.iter().map(|&name| name.to_owned()).collect(),
            ban: Duration::from_secs(300),
            ban_max: Duration::from_secs(86_400),
            window: Duration::from_secs(60),
            malformed: 20,
            auth_failures: 20,
            refusals: 50,
            shared: None,
        }
    }
}

/// Names of tools that nobody calls with.
pub const SCANNERS: [&str; 10] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sipscan",
    "sundayddr",
    "pplsip",
    "siparmyknife",
    "sivus",
];

/// What a source is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may place calls: a trunk's peer, or in an allowed network. Never limited.
    Allowed,
    /// It may not, but is never limited.
    NeverLimited,
    /// Any other.
    Unknown,
}

/// The networks and addresses that are exempt, ready for a look per datagram.
#[derive(Debug, Default)]
pub(crate) struct Known {
    allow: Vec<Network>,
    never_limit: Vec<Network>,
    /// Sorted.
    peers: Vec<IpAddr>,
}

impl Known {
    pub(crate) fn new(
        allow: &[Network],
        never_limit: &[Network],
        peers: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let mut peers: Vec<IpAddr> = peers.map(|address| address.to_canonical()).collect();
        peers.sort_unstable();
        peers.dedup();
        Self { allow: allow.to_vec(), never_limit: never_limit.to_vec(), peers }
    }

    pub(crate) fn standing(&self, address: IpAddr) -> Standing {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        if self.is_peer(address) || within(&self.allow) {
            Standing::Allowed
        } else if within(&self.never_limit) {
            Standing::NeverLimited
        } else {
            Standing::Unknown
        }
    }

    /// Whether a trunk's peer, or somebody in `never_limit`.
    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        self.is_peer(address) || self.never_limit.iter().any(|network| network.contains(address))
    }

    fn is_peer(&self, address: IpAddr) -> bool {
        self.peers.binary_search(&address.to_canonical()).is_ok()
    }
}

/// What is done with something that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is handled.
    Pass,
    /// It is dropped: its source sends too much of everything,
    Flood,
    /// or too many INVITEs,
    Invites,
    /// or REGISTERs,
    Registers,
    /// or other requests,
    Others,
    /// or is banned.
    Banned,
}

/// A ban as the shards tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Who.
    pub source: Source,
    /// Why.
    pub reason: BanReason,
    /// For how long.
    pub span: Duration,
    /// Until when.
    pub until: Time,
    /// The how many-th in a row.
    pub times: u16,
}

/// The guard of one shard.
#[derive(Debug)]
pub(crate) struct Guard {
    table: Table,
    /// Bans not carried out since the source's part of the table had as many as it may.
    pub(crate) bans_full: u64,
}

impl Guard {
    pub(crate) fn new(config: &Config, random: &mut Random) -> Self {
        Self { table: Table::new(config.sources as usize, config.window, random), bans_full: 0 }
    }

    pub(crate) const fn reload(&mut self, config: &Config) {
        self.table.set_window(config.window);
    }

    /// Judges what came from a source that is not exempt, by its first bytes.
    pub(crate) fn judge(&mut self, now: Time, address: IpAddr, bytes: &[u8], config: &Config) -> Verdict {
        let source = Source::of(address);
        let place = self.table.place(now, source);
        let (entry, share) = (self.table.entry(place), if place == Place::Crowd { CROWD } else { 1 });
        if entry.is_banned(now) {
            return Verdict::Banned;
        }
        let source = (place != Place::Crowd).then_some(source);
        let mut take = |kind: usize, rate: Rate| {
            let crowd = rate.times(CROWD);
            // What is too much for one shard alone is not asked of all.
            entry.buckets[kind].take(now, rate.times(share))
                && config.shared.as_ref().is_none_or(|shared| {
                    entry.parts[kind].take(now, shared, source, kind, (rate, crowd), config.window)
                })
        };
        if !take(0, config.datagrams) {
            return Verdict::Flood;
        }
        let (kind, rate, verdict) = if bytes.starts_with(b"INVITE ") {
            (1, config.invites, Verdict::Invites)
        } else if bytes.starts_with(b"REGISTER ") {
            (2, config.registers, Verdict::Registers)
        } else if begins_something(bytes) {
            (3, config.others, Verdict::Others)
        } else {
            return Verdict::Pass;
        };
        if take(kind, rate) { Verdict::Pass } else { verdict }
    }

    #[cfg(test)]
    /// Whether a source is banned; it gets no entry by being asked for.
    pub(crate) fn is_banned(&mut self, now: Time, address: IpAddr) -> bool {
        self.table.find(Source::of(address)).is_some_and(|at| self.table.entry(Place::Own(at)).is_banned(now))
    }

    /// Holds `count` offences against a source; gives the ban if that was too much. A scanner is banned at once.
    pub(crate) fn offend(
        &mut self,
        now: Time,
        address: IpAddr,
        reason: BanReason,
        count: u64,
        config: &Config,
    ) -> Option<Sentence> {
        let most = match reason {
            BanReason::Scanner => 1,
            BanReason::Malformed => config.malformed,
            BanReason::Authentication => config.auth_failures,
            BanReason::Refused => config.refusals,
        };
        if most == 0 || config.ban.is_zero() {
            return None;
        }
        let source = Source::of(address);
        let Place::Own(at) = self.table.place(now, source) else {
            self.bans_full += u64::from(reason == BanReason::Scanner);
            return None;
        };
        let entry = self.table.entry(Place::Own(at));
        if entry.is_banned(now) {
            return None;
        }
        if now.since(entry.counted) >= config.window {
            entry.offences = Default::default();
            entry.counted = now;
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let held = &mut entry.offences[reason as usize];
        *held = held.saturating_add(count);
        let shared = config.shared.as_ref();
        let by_all = shared.and_then(|it| it.offend(now, source, reason, count, config.window));
        if by_all.unwrap_or(0).max(*held) < most {
            return None;
        }
        if let Some(shared) = shared {
            shared.forgive(source);
        }
        if !self.table.may_ban(now, at) {
            self.bans_full += 1;
            return None;
        }
        Some(sentence(now, source, reason, self.table.entry(Place::Own(at)), config))
    }

    /// Carries out a ban that another shard decided.
    pub(crate) fn ban(&mut self, now: Time, sentence: &Sentence) {
        match self.table.place(now, sentence.source) {
            Place::Own(at)
                if self.table.may_ban(now, at) || self.table.entry(Place::Own(at)).is_banned(now) =>
            {
                let entry = self.table.entry(Place::Own(at));
                entry.banned_until = entry.banned_until.max(sentence.until);
                entry.times = sentence.times;
                entry.offences = Default::default();
            }
            _ => self.bans_full += 1,
        }
    }

    /// Listens again to a source, or to all, as if nothing had been.
    pub(crate) fn lift(&mut self, now: Time, address: Option<IpAddr>, config: &Config) {
        if let (Some(shared), Some(address)) = (&config.shared, address) {
            shared.forgive(Source::of(address));
        }
        let free = |entry: &mut Entry| {
            entry.banned_until = Time::ZERO;
            entry.times = 0;
            entry.offences = Default::default();
        };
        match address {
            Some(address) => {
                if let Some(at) = self.table.find(Source::of(address)) {
                    free(self.table.entry(Place::Own(at)));
                }
            }
            None => self.table.iter_mut().filter(|entry| entry.is_banned(now)).for_each(free),
        }
    }

    #[cfg(test)]
    /// Sources banned now.
    pub(crate) fn banned(&self, now: Time) -> usize {
        self.table.banned(now)
    }

    /// Sources that found no place, and entries taken for another source.
    pub(crate) const fn crowding(&self) -> (u64, u64) {
        (self.table.full, self.table.evicted)
    }
}

/// The next ban of an entry, carried out.
fn sentence(now: Time, source: Source, reason: BanReason, entry: &mut Entry, config: &Config) -> Sentence {
    let length = |times: u16| {
        let doubled = config
            .ban
            .saturating_mul(1_u32.checked_shl(u32::from(times.saturating_sub(1))).unwrap_or(u32::MAX));
        doubled.min(config.ban_max.max(config.ban))
    };
    if entry.times > 0 && now.since(entry.banned_until) > length(entry.times).saturating_mul(FORGIVEN_AFTER) {
        entry.times = 0;
    }
    entry.times = entry.times.saturating_add(1);
    let span = length(entry.times);
    entry.banned_until = now + span;
    entry.offences = Default::default();
    Sentence { source, reason, span, until: entry.banned_until, times: entry.times }
}

/// The scanner's name that a message holds in User-Agent.
pub(crate) fn scanner<'a>(message: &[u8], config: &'a Config) -> Option<&'a str> {
    scanner::scanner(message, &config.scanners)
}

/// Whether it is a request that need not belong to something before: those that do, responses and keep-alives count
/// with everything only.
fn begins_something(bytes: &[u8]) -> bool {
    scanner::is_request(bytes)
        && ![&b"ACK "[..], b"BYE ", b"CANCEL ", b"PRACK ", b"UPDATE ", b"INFO "]
            .iter()
            .any(|start| bytes.starts_with(start))
}

#[cfg(test)]
mod tests;
