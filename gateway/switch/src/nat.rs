//! What is done for phones and carriers behind a NAT, and by us where we are behind one: rules and times.

use crate::shard::Shard;
use core::time::Duration;
use sip::{Flow, LegId, Nat};

/// How a phone's way through its NAT is kept open from our side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// By OPTIONS: a phone that stops answering is noticed.
    #[default]
    Options,
    /// By two line ends: less traffic, and nothing is noticed.
    Crlf,
    /// Not at all: phones see to it themselves.
    Off,
}

impl KeepAlive {
    /// The way of a name: `options`, `crlf` or `off`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "options" => Some(Self::Options),
            "crlf" => Some(Self::Crlf),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Rules and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Where requests to a peer go: the rule for whoever has none of its own.
    pub mode: Nat,
    /// How ways to registered phones behind NATs are kept open.
    pub keepalive: KeepAlive,
    /// How often.
    pub interval: Duration,
    /// OPTIONS in a row that a phone may leave unanswered; then calls no longer go to it until it is heard again.
    pub misses: u8,
    /// Keep-alives a second, most, of this shard.
    pub rate: u32,
    /// What phones are told in Flow-Timer (RFC 5626 §4.4) and `keep` (RFC 6223), in whole seconds.
    pub flow_timer: Duration,
    /// How often the way to a carrier is kept open with which we registered over UDP from behind a NAT; zero: never.
    pub trunk_interval: Duration,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            mode: Nat::Auto,
            keepalive: KeepAlive::Options,
            interval: Duration::from_secs(25),
            misses: 3,
            rate: 500,
            flow_timer: Duration::from_secs(60),
            trunk_interval: Duration::from_secs(25),
        }
    }
}

impl Shard {
    /// The rule for whoever sends over a flow: that of the trunk whose peer it is, else of its realm.
    pub(crate) fn nat_of(&self, flow: &Flow) -> Nat {
        let source = flow.remote.ip().to_canonical();
        let mut trunks = self.table.trunks().iter();
        let trunk = trunks
            .find(|trunk| trunk.peers.iter().any(|peer| peer.config.address.ip().to_canonical() == source));
        let listener = self.listener_of(flow);
        trunk.and_then(|trunk| trunk.config.profile.nat).unwrap_or_else(|| self.nat_at(listener))
    }

    /// The rule of a listener's realm.
    pub(crate) fn nat_at(&self, listener: usize) -> Nat {
        self.realm_at(listener).and_then(|realm| realm.nat).unwrap_or(self.config.nat.mode)
    }

    /// Has an incoming leg treated by the rule for where it came from.
    pub(crate) fn judge_nat(&mut self, leg: LegId, flow: &Flow) {
        let nat = self.nat_of(flow);
        self.endpoint.set_nat(leg, nat, false);
        if self.endpoint.leg(leg).is_some_and(|facts| facts.behind_nat) {
            self.stats.calls_behind_nat += 1;
        }
    }
}
