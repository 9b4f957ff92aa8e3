//! Trunks whose peers are names: the table with the addresses that were found for them in place.

use super::table::{Peer, PeerConfig, Trunk, TrunkConfig, TrunkTable};
use core::net::SocketAddr;
use locate::{Place, Route, Target};
use sansio::Random;
use sip::Transport;
use std::sync::Arc;

/// A peer of a trunk that is given by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPeer {
    /// It stands before this one of the peers given by address.
    pub before: usize,
    /// Its name.
    pub target: Target,
}

/// How a peer of a trunk came about.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Which of the peers as written; those of one entry stand together.
    entry: usize,
    /// For an address found for a name: its rank there, and what a URI calls the host.
    found: Option<(Place, Arc<Target>)>,
}

/// Which of two tables is the newer: by reloads, and by changes in what names stand for since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Reloads of the configuration.
    pub reload: u32,
    /// Changes since that reload.
    pub change: u32,
}

impl Origin {
    pub(super) const fn written(entry: usize) -> Self {
        Self { entry, found: None }
    }
}

impl TrunkConfig {
    /// Its peers as written, in their order: addresses and names.
    pub fn written(&self) -> Vec<Written<'_>> {
        let mut written = Vec::with_capacity(self.peers.len() + self.names.len());
        for at in 0..=self.peers.len() {
            let names = self.names.iter().filter(|name| name.before.min(self.peers.len()) == at);
            written.extend(names.map(|name| Written::Name(&name.target)));
            written.extend(self.peers.get(at).map(Written::Address));
        }
        written
    }
}

/// A peer as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<'a> {
    /// By address.
    Address(&'a PeerConfig),
    /// By name.
    Name(&'a Target),
}

impl Trunk {
    /// The order in which a call tries its peers, last first: as written, with those found for one name by priority and
    /// chance (RFC 3263 §4.2, RFC 2782).
    pub(super) fn draw(&self, random: &mut Random) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.origins.len());
        let mut start = 0;
        for entry in self.origins.chunk_by(|a, b| a.entry == b.entry) {
            let places: Vec<Place> =
                entry.iter().filter_map(|origin| Some(origin.found.as_ref()?.0)).collect();
            if places.is_empty() {
                order.extend(start..start + entry.len());
            } else {
                order.extend(locate::order(&places, random).into_iter().map(|at| start + at));
            }
            start += entry.len();
        }
        order.reverse();
        order
    }

    /// What stands for a peer in the host part of a URI, and in a To header field: the name it was found by, else its address.
    pub fn host_of(&self, peer: &Arc<Peer>) -> (String, String) {
        let at = self.peers.iter().position(|known| Arc::ptr_eq(known, peer));
        let found = at.and_then(|at| self.origins.get(at)?.found.as_ref());
        let (address, transport) = (peer.config.address, peer.config.transport);
        match found {
            Some((_, target)) => (target.to_string(), target.host.to_string()),
            None => (format!("{address}{}", transport.uri_parameter()), crate::session::host(address.ip())),
        }
    }

    /// Whether all it has are names of which none is located.
    pub fn is_unlocated(&self) -> bool {
        self.peers.is_empty() && !self.config.names.is_empty()
    }
}

impl TrunkTable {
    /// Whether some peer is given by name.
    pub fn has_names(&self) -> bool {
        self.trunks().iter().any(|trunk| !trunk.config.names.is_empty())
    }

    /// The names of peers.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        for name in self.trunks().iter().flat_map(|trunk| &trunk.config.names) {
            if !targets.contains(&name.target) {
                targets.push(name.target.clone());
            }
        }
        targets
    }

    /// This table, as configured, with what was found for its names in place. Peers that `before` had keep their
    /// health, trunks their counters.
    pub fn located<'a>(
        &self,
        before: &Self,
        change: u32,
        routes: impl Fn(&Target) -> Option<&'a Route>,
    ) -> Self {
        let trunks = self
            .trunks()
            .iter()
            .map(|trunk| {
                if trunk.config.names.is_empty() {
                    return trunk.clone();
                }
                let old = before.trunk(&trunk.config.name);
                let known = |config: &PeerConfig| {
                    let peers = old.iter().flat_map(|old| &old.peers).chain(&trunk.peers);
                    let mut found = peers.filter(|peer| peer.config == *config);
                    found.next().cloned().unwrap_or_else(|| Arc::new(Peer::new(config.clone())))
                };
                let (configs, origins) = expand(trunk, &routes);
                let peers = configs.iter().map(known).collect();
                Arc::new(trunk.with_peers(configs, peers, origins))
            })
            .collect();
        self.with_trunks(trunks, Version { change, ..self.version() })
    }
}

/// The peers of a trunk in the order in which they are written, names replaced by their addresses. An address that comes
/// twice is tried once.
fn expand<'a>(
    trunk: &Trunk,
    routes: &impl Fn(&Target) -> Option<&'a Route>,
) -> (Vec<PeerConfig>, Vec<Origin>) {
    let (mut configs, mut origins): (Vec<PeerConfig>, Vec<Origin>) = (Vec::new(), Vec::new());
    let mut put = |config: PeerConfig, origin: Origin| {
        if !configs.contains(&config) {
            configs.push(config);
            origins.push(origin);
        }
    };
    for (entry, written) in trunk.config.written().into_iter().enumerate() {
        match written {
            Written::Address(config) => put(config.clone(), Origin::written(entry)),
            Written::Name(target) => {
                let shared = Arc::new(target.clone());
                for place in routes(target).iter().flat_map(|route| &route.places) {
                    if let Some(config) = peer(place.address, place.transport) {
                        put(config, Origin { entry, found: Some((*place, shared.clone())) });
                    }
                }
            }
        }
    }
    (configs, origins)
}

const fn peer(address: SocketAddr, transport: locate::Transport) -> Option<PeerConfig> {
    let transport = match transport {
        locate::Transport::Udp => Transport::Udp,
        locate::Transport::Tcp => Transport::Tcp,
        locate::Transport::Tls => return None,
    };
    Some(PeerConfig { address, transport })
}

#[cfg(test)]
mod tests {
    use super::super::{Dry, Evidence, Hunt};
    use super::*;
    use locate::How;
    use sansio::Time;

    fn route(places: &[(u16, u16, u16, &str)]) -> Route {
        let place = |p: &(u16, u16, u16, &str)| Place {
            tier: p.0,
            record: p.1,
            weight: p.2,
            family: 0,
            address: p.3.parse().unwrap(),
            transport: locate::Transport::Udp,
        };
        let places = places.iter().map(place).collect();
        Route { places, how: How::Srv, from: None, until: Time::ZERO, stale: false }
    }

    fn table() -> TrunkTable {
        let mut trunk = TrunkConfig::new("a", "192.0.2.1:5060".parse().unwrap());
        trunk.max_calls = 2;
        trunk
            .peers
            .push(PeerConfig { address: "192.0.2.2:5060".parse().unwrap(), transport: Transport::Udp });
        trunk.names = vec![NamedPeer { before: 1, target: "carrier.example".parse().unwrap() }];
        let mut named = TrunkConfig::new("b", "192.0.2.1:5060".parse().unwrap());
        named.peers.clear();
        named.names = vec![NamedPeer { before: 0, target: "other.example:5080".parse().unwrap() }];
        TrunkTable::new(vec![trunk, named], vec![], None).unwrap()
    }

    fn tried(table: &TrunkTable, name: &str, seed: u64) -> Vec<String> {
        let mut hunt = Hunt::new("1", &[table.group(name).unwrap()], 10).seeded(seed);
        core::iter::from_fn(|| hunt.next(Time::ZERO, table).ok().map(|a| a.peer.config.address.to_string()))
            .collect()
    }

    /// RFC 3263 §4.3: one address after the other is tried, in the place of the name among the peers.
    #[test]
    fn a_name_is_tried_where_it_is_written_by_priority() {
        let found =
            route(&[(0, 0, 0, "192.0.2.11:1"), (1, 0, 0, "192.0.2.12:1"), (2, 0, 0, "192.0.2.2:5060")]);
        let base = table();
        let table =
            base.located(&base, 1, |target| (target.host.as_str() == "carrier.example").then_some(&found));
        assert_eq!(
            tried(&table, "a", 1),
            ["192.0.2.1:5060", "192.0.2.11:1", "192.0.2.12:1", "192.0.2.2:5060"],
            "an address that comes twice is tried once"
        );
        let peer = |at: usize| table.trunks()[0].host_of(&table.trunks()[0].peers[at]);
        assert_eq!(peer(0), ("192.0.2.1:5060".into(), "192.0.2.1".into()));
        assert_eq!(peer(1), ("carrier.example".into(), "carrier.example".into()));
    }

    #[test]
    fn weights_are_drawn_for_each_call() {
        let found = route(&[(0, 0, 75, "192.0.2.11:1"), (0, 1, 25, "192.0.2.12:1")]);
        let base = table();
        let table = base.located(&base, 1, |_| Some(&found));
        let firsts = (0..10_000).filter(|seed| tried(&table, "b", *seed)[0] == "192.0.2.11:1").count();
        assert!((7_300..7_700).contains(&firsts), "{firsts}");
    }

    #[test]
    fn calls_and_health_outlive_a_change_of_addresses() {
        let (one, two) = (
            route(&[(0, 0, 0, "192.0.2.11:1"), (1, 0, 0, "192.0.2.12:1")]),
            route(&[(0, 0, 0, "192.0.2.12:1"), (1, 0, 0, "192.0.2.13:1")]),
        );
        let base = table();
        let first = base.located(&base, 1, |_| Some(&one));
        let seizure = first.trunks()[1].seize(Time::ZERO).unwrap();
        let health = first.trunks()[1].config.health;
        first.trunks()[1].peers[1].health.learn(Time::ZERO, Evidence::Refused, &health);
        let second = base.located(&first, 2, |_| Some(&two));
        assert!(second.version() > first.version());
        assert_eq!(second.trunks()[1].calls(), 1, "the call counts on");
        assert_eq!(tried(&second, "b", 1), ["192.0.2.13:1"], "what was down stays down");
        drop(seizure);
        assert_eq!(second.trunks()[1].calls(), 0);
        let reloaded = TrunkTable::new(vec![], vec![], Some(&second)).unwrap();
        assert!(reloaded.version() > second.version());
    }

    #[test]
    fn a_name_that_is_not_located_says_so() {
        let base = table();
        let mut hunt = Hunt::new("1", &[base.group("b").unwrap()], 10);
        assert_eq!(hunt.next(Time::ZERO, &base).unwrap_err(), Dry::Unlocated);
        assert_eq!(base.targets().len(), 2);
        assert_eq!(tried(&base, "a", 1), ["192.0.2.1:5060", "192.0.2.2:5060"]);
    }
}
