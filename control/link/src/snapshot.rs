//! Which number goes to which trunk group: the routing as data, and the one lookup that both sides use.

use crate::{GroupName, TrunkName};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt};

/// The whole routing at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingSnapshot {
    /// Grows with each change, within one control process.
    pub version: u64,
    /// The groups that routes name.
    pub groups: Vec<TrunkGroup>,
    /// The routes, in any order; the longest prefix wins.
    pub routes: Vec<RouteEntry>,
}

/// Trunks among which a call may choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkGroup {
    /// Its name.
    pub name: GroupName,
    /// How one is chosen.
    pub selection: Selection,
    /// Its members.
    pub trunks: Vec<TrunkName>,
}

/// How a trunk of a group is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// By weight, smoothly interleaved; equal weights make it a round robin.
    #[default]
    Weighted,
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest calls for its cap.
    LeastCalls,
    /// By the caller's number: a caller stays with one trunk while it is up.
    Hash,
    /// In the order given, the next only when those before cannot.
    Ordered,
}

/// Numbers with this prefix go there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The leading digits; empty matches every number. A `+` in front is ignored, here and in the number.
    pub prefix: String,
    /// Groups to try in this order.
    pub groups: Vec<GroupName>,
    /// Digits to take off the front.
    pub strip: u8,
    /// What to put in front, after that.
    pub prepend: String,
    /// Whether control is asked for each call; while it does not answer, this entry is the default.
    pub ask: bool,
}

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The entry.
    pub entry: &'a RouteEntry,
    /// Its place in [`RoutingSnapshot::routes`].
    pub index: usize,
}

/// What is wrong with a routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutingError {
    /// A prefix holds something else than digits, `*` and `#` behind an optional `+`.
    Prefix(String),
    /// A prefix stands there twice.
    Twice(String),
    /// A route names a group that is not there.
    NoGroup {
        /// The route's prefix.
        prefix: String,
        /// The missing group.
        group: GroupName,
    },
    /// A route names no group at all.
    Nowhere(String),
    /// A group stands there twice.
    GroupTwice(GroupName),
    /// A group has no trunk.
    EmptyGroup(GroupName),
}

impl fmt::Display for RoutingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => {
                write!(f, "route prefix {prefix:?}: only digits, * and # behind an optional + can be matched")
            }
            Self::Twice(prefix) => write!(f, "route prefix {prefix:?} is given twice"),
            Self::NoGroup { prefix, group } => {
                write!(f, "route prefix {prefix:?} names {group}, which is neither a group nor a trunk")
            }
            Self::Nowhere(prefix) => {
                write!(f, "route prefix {prefix:?} leads nowhere: name a group or trunk")
            }
            Self::GroupTwice(group) => write!(f, "trunk group {group} is given twice"),
            Self::EmptyGroup(group) => write!(f, "trunk group {group} has no trunk"),
        }
    }
}

impl std::error::Error for RoutingError {}

/// A snapshot made ready for lookups: no allocation, a binary search plus one step per shorter prefix that is nested.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    snapshot: RoutingSnapshot,
    /// Sorted by prefix.
    order: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    /// Index of the route.
    route: usize,
    /// Place in `order` of the longest other prefix that this one begins with.
    parent: Option<usize>,
}

impl RouteTable {
    /// Checks a snapshot and prepares it.
    pub fn new(snapshot: RoutingSnapshot) -> Result<Self, RoutingError> {
        check_groups(&snapshot)?;
        let mut order: Vec<usize> = (0..snapshot.routes.len()).collect();
        order.sort_by(|&a, &b| key(&snapshot.routes[a]).cmp(key(&snapshot.routes[b])));
        let mut nodes: Vec<Node> = Vec::with_capacity(order.len());
        for route in order {
            let prefix = key(&snapshot.routes[route]);
            let mut parent = nodes.len().checked_sub(1);
            while let Some(above) = parent {
                let other = key(&snapshot.routes[nodes[above].route]);
                if prefix == other {
                    return Err(RoutingError::Twice(snapshot.routes[route].prefix.clone()));
                }
                if prefix.starts_with(other) {
                    break;
                }
                parent = nodes[above].parent;
            }
            nodes.push(Node { route, parent });
        }
        Ok(Self { snapshot, order: nodes })
    }

    /// The routing it was made of.
    pub const fn snapshot(&self) -> &RoutingSnapshot {
        &self.snapshot
    }

    /// The entry with the longest prefix of `number`.
    pub fn lookup(&self, number: &str) -> Option<Routed<'_>> {
        self.matches(number).next()
    }

    /// Every entry whose prefix `number` begins with, the longest first: the first is taken, the others would be if it
    /// were not there.
    pub fn matches<'a, 'n>(&'a self, number: &'n str) -> impl Iterator<Item = Routed<'a>> + use<'a, 'n> {
        let number = number.strip_prefix('+').unwrap_or(number);
        let after = self.order.partition_point(|node| key(&self.snapshot.routes[node.route]) <= number);
        let mut place = after.checked_sub(1);
        core::iter::from_fn(move || {
            while let Some(at) = place {
                let node = &self.order[at];
                place = node.parent;
                let entry = &self.snapshot.routes[node.route];
                if number.starts_with(key(entry)) {
                    return Some(Routed { entry, index: node.route });
                }
            }
            None
        })
    }
}

impl RouteEntry {
    /// The number as the carrier shall see it. A leading `+` stays only where nothing is stripped or prepended;
    /// stripping more digits than there are leaves what is prepended.
    pub fn rewrite(&self, number: &str) -> String {
        if self.strip == 0 && self.prepend.is_empty() {
            return number.to_owned();
        }
        let digits = number.strip_prefix('+').unwrap_or(number);
        let kept = digits.char_indices().nth(usize::from(self.strip)).map_or("", |(at, _)| &digits[at..]);
        let mut out = String::with_capacity(self.prepend.len() + kept.len());
        out.push_str(&self.prepend);
        out.push_str(kept);
        out
    }
}

fn key(entry: &RouteEntry) -> &str {
    entry.prefix.strip_prefix('+').unwrap_or(&entry.prefix)
}

fn check_groups(snapshot: &RoutingSnapshot) -> Result<(), RoutingError> {
    let mut names = HashSet::new();
    for group in &snapshot.groups {
        if !names.insert(&group.name) {
            return Err(RoutingError::GroupTwice(group.name.clone()));
        }
        if group.trunks.is_empty() {
            return Err(RoutingError::EmptyGroup(group.name.clone()));
        }
    }
    for route in &snapshot.routes {
        if !key(route).bytes().all(|byte| byte.is_ascii_digit() || byte == b'*' || byte == b'#') {
            return Err(RoutingError::Prefix(route.prefix.clone()));
        }
        if route.groups.is_empty() {
            return Err(RoutingError::Nowhere(route.prefix.clone()));
        }
        if let Some(group) = route.groups.iter().find(|group| !names.contains(group)) {
            return Err(RoutingError::NoGroup { prefix: route.prefix.clone(), group: group.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str) -> RouteEntry {
        RouteEntry {
            prefix: prefix.into(),
            groups: vec!["a".into()],
            strip: 0,
            prepend: String::new(),
            ask: false,
        }
    }

    fn snapshot(prefixes: &[&str]) -> RoutingSnapshot {
        RoutingSnapshot {
            version: 1,
            groups: vec![TrunkGroup {
                name: "a".into(),
                selection: Selection::default(),
                trunks: vec!["t".into()],
            }],
            routes: prefixes.iter().map(|prefix| entry(prefix)).collect(),
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let prefixes = ["86", "8613", "861", "", "+44", "4420", "8", "861399"];
        let table = RouteTable::new(snapshot(&prefixes)).unwrap();
        let numbers =
            ["8613800", "86139", "8613990", "862", "+4420555", "4419", "1", "", "861", "+8", "9", "*8"];
        for number in numbers {
            let bare = number.trim_start_matches('+');
            let best = prefixes
                .iter()
                .filter(|prefix| bare.starts_with(prefix.trim_start_matches('+')))
                .max_by_key(|prefix| prefix.trim_start_matches('+').len());
            let found = table.lookup(number).map(|routed| routed.entry.prefix.as_str());
            assert_eq!(found, best.copied(), "{number}");
            let matches: Vec<&str> = table.matches(number).map(|routed| key(routed.entry)).collect();
            assert!(matches.windows(2).all(|two| two[0].len() > two[1].len()), "longest first: {matches:?}");
            let all = prefixes.iter().filter(|prefix| bare.starts_with(prefix.trim_start_matches('+')));
            assert_eq!(matches.len(), all.count(), "{number}: {matches:?}");
        }
    }

    #[test]
    fn a_number_without_route_finds_none() {
        let table = RouteTable::new(snapshot(&["86", "44"])).unwrap();
        assert_eq!(table.lookup("85"), None);
        assert_eq!(table.lookup("1"), None);
        assert_eq!(table.lookup("99"), None);
        assert_eq!(table.lookup(""), None);
        assert!(RouteTable::default().lookup("1").is_none());
    }

    #[test]
    fn numbers_are_rewritten() {
        let route = RouteEntry { strip: 2, prepend: "0".into(), ..entry("86") };
        assert_eq!(route.rewrite("+8613800"), "013800");
        assert_eq!(route.rewrite("86"), "0");
        assert_eq!(route.rewrite("8"), "0");
        assert_eq!(entry("").rewrite("+8613"), "+8613");
        assert_eq!(RouteEntry { prepend: "00".into(), ..entry("") }.rewrite("+44"), "0044");
    }

    #[test]
    fn a_bad_routing_is_refused_with_its_reason() {
        let bad = |change: fn(&mut RoutingSnapshot)| {
            let mut it = snapshot(&["86"]);
            change(&mut it);
            RouteTable::new(it).unwrap_err().to_string()
        };
        assert!(bad(|it| it.routes.push(entry("+86"))).contains("twice"));
        assert!(bad(|it| it.routes[0].prefix = "abc".into()).contains("\"abc\""));
        assert!(bad(|it| it.routes[0].groups = vec!["b".into()]).contains("names b"));
        assert!(bad(|it| it.routes[0].groups.clear()).contains("nowhere"));
        assert!(bad(|it| it.groups[0].trunks.clear()).contains("no trunk"));
        assert!(bad(|it| it.groups.push(it.groups[0].clone())).contains("twice"));
    }
}
