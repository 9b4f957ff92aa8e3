//! What would happen to a call, told without placing it: the same look-up, hunt and refusals that a call goes through.

use crate::admission::{allowed, trusted};
use crate::attempt::{judge, patience};
use crate::config::Config;
use crate::profile::Profile;
use crate::status::Refusal;
use crate::trunk::{Dry, GroupConfig, Hunt, PeerConfig, TableError, TrunkConfig, TrunkTable};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use link::{RouteEntry, RouteTable, Selection};
use locate::{How, Place, Route, Target};
use sansio::Time;
use sip::Failure;
use std::sync::Arc;

/// Turns looked at to tell how a group's first choices are shared out.
const TURNS: u64 = 1000;

/// A call that is only thought of.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// How calls are handled.
    pub config: &'a Config,
    /// The trunks.
    pub trunks: &'a [TrunkConfig],
    /// The groups.
    pub groups: &'a [GroupConfig],
    /// The routes.
    pub routes: &'a RouteTable,
    /// The number dialled.
    pub number: &'a str,
    /// The calling number; empty if there is none.
    pub from: &'a str,
    /// Where the call comes from, if that is asked, too.
    pub source: Option<IpAddr>,
}

/// What would happen.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// Whether calls are taken from the source, and whether who calls is believed from there.
    pub admitted: Option<(bool, bool)>,
    /// The routes whose prefix the number begins with, the longest first; the first is taken.
    pub matching: Vec<&'a RouteEntry>,
    /// Longer routes below the one taken, and the place in the number (from 0) at which each parts from it.
    pub missed: Vec<(&'a RouteEntry, usize)>,
    /// The number after the route's rewriting.
    pub routed: String,
    /// The groups in the order in which they are searched.
    pub groups: Vec<GroupSearch>,
    /// The peers in the order in which one call, the first after a start, would try them.
    pub tries: Vec<Try>,
    /// Peers that would follow if [`Config::attempts_max`] let them.
    pub beyond: Vec<Try>,
    /// What the caller gets, by what goes wrong.
    pub outcomes: Vec<Outcome>,
}

/// How a group is searched.
#[derive(Clone, Debug)]
pub struct GroupSearch {
    /// Its name.
    pub name: String,
    /// Its rule.
    pub selection: Selection,
    /// Its trunks with priority and weight, as configured.
    pub trunks: Vec<(String, u32, u32)>,
    /// Which trunks are tried first, and by how many of a thousand calls.
    pub first: Vec<(String, u32)>,
}

/// One peer tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The trunk.
    pub trunk: String,
    /// The trunk it stands in for, if it comes as a backup.
    pub backup_of: Option<String>,
    /// The peer; of a name, a stand-in.
    pub peer: PeerConfig,
    /// Its name, if it is given by name: the addresses that DNS has for it are tried here.
    pub name: Option<Target>,
    /// How long it may say nothing at all.
    pub patience: Duration,
    /// The trunk's profile.
    pub profile: Arc<Profile>,
    /// The number called, as the trunk sees it.
    pub called: String,
    /// The calling number, as the trunk sees it.
    pub calling: String,
}

/// What the caller is told in some case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case, in words.
    pub case: &'static str,
    /// The next peer is asked first, while there is one.
    pub next_first: bool,
    /// The status the caller gets in the end.
    pub status: u16,
    /// The cause in the call's record.
    pub cause: String,
    /// Seconds in Retry-After, if it goes along.
    pub retry_after: Option<u32>,
}

/// A table with one stand-in address for each name, and which is whose: where names are is not asked to explain a call.
fn named(table: &TrunkTable) -> (TrunkTable, Vec<(SocketAddr, Target)>) {
    let stand_in = |number: u16| SocketAddr::from(([0, 0, 0, 0], number));
    let names: Vec<(SocketAddr, Target)> = (1u16..).map(stand_in).zip(table.targets()).collect();
    let route = |(address, target): &(SocketAddr, Target)| {
        let transport = target.transport.unwrap_or(locate::Transport::Udp);
        let place = Place { tier: 0, record: 0, weight: 0, family: 0, address: *address, transport };
        Route { places: vec![place], how: How::Address, from: None, until: Time::ZERO, stale: false }
    };
    let routes: Vec<Route> = names.iter().map(route).collect();
    let find = |target: &Target| routes.get(names.iter().position(|(_, name)| name == target)?);
    (table.located(table, 0, find), names)
}

impl Question<'_> {
    /// Thinks the call through.
    ///
    /// # Errors
    /// Trunks and groups that make no table.
    pub fn explain(&self) -> Result<Explanation<'_>, TableError> {
        let admitted = self.source.map(|source| {
            let trunks = self.trunks.iter();
            (allowed(self.config, trunks.clone(), source), trusted(self.config, trunks, source))
        });
        let matching: Vec<&RouteEntry> =
            self.routes.matches(self.number).map(|routed| routed.entry).collect();
        let Some(taken) = matching.first().copied() else {
            return Ok(Explanation {
                admitted,
                missed: self.missed(""),
                matching,
                routed: String::new(),
                groups: Vec::new(),
                tries: Vec::new(),
                beyond: Vec::new(),
                outcomes: vec![self.outcome("no route matches", false, &Refusal::unrouted())],
            });
        };
        let groups = taken.groups.iter().map(|name| self.group(name.as_str())).collect::<Result<_, _>>()?;
        let mut tries = self.hunt(taken, u8::MAX)?;
        let now = self.hunt(taken, self.config.attempts_max)?;
        let beyond = tries.split_off(now.len().min(tries.len()));
        Ok(Explanation {
            admitted,
            missed: self.missed(&taken.prefix),
            routed: taken.rewrite(self.number),
            groups,
            outcomes: self.outcomes(&now),
            tries: now,
            beyond,
            matching,
        })
    }

    /// The longer routes below `taken` that share more of the number than it does, or just miss it.
    fn missed(&self, taken: &str) -> Vec<(&RouteEntry, usize)> {
        let bare = |text: &str| text.strip_prefix('+').unwrap_or(text).to_owned();
        let (taken, number) = (bare(taken), bare(self.number));
        let parts = |prefix: &str| prefix.bytes().zip(number.bytes()).take_while(|(a, b)| a == b).count();
        let mut missed: Vec<(&RouteEntry, usize)> = self
            .routes
            .snapshot()
            .routes
            .iter()
            .map(|route| (route, bare(&route.prefix)))
            .filter(|(_, prefix)| prefix.len() > taken.len() && prefix.starts_with(&taken))
            .filter(|(_, prefix)| !number.starts_with(prefix.as_str()))
            .map(|(route, prefix)| (route, parts(&prefix)))
            .collect();
        missed.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.prefix.cmp(&b.0.prefix)));
        missed
    }

    fn table(&self) -> Result<TrunkTable, TableError> {
        TrunkTable::new(self.trunks.to_vec(), self.groups.to_vec(), None)
    }

    fn trunk(&self, name: &str) -> Option<&TrunkConfig> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }

    fn group(&self, name: &str) -> Result<GroupSearch, TableError> {
        let table = self.table()?;
        let group = self.groups.iter().find(|group| group.name == name);
        let members: Vec<String> = group.map_or_else(|| vec![name.to_owned()], |group| group.trunks.clone());
        let mut first: Vec<(String, u32)> = Vec::new();
        if let Some(index) = table.group(name) {
            for _ in 0..TURNS {
                let order = table.order(Time::ZERO, index, self.from);
                let Some(trunk) = order.first().map(|trunk| &trunk.config.name) else { break };
                match first.iter_mut().find(|(name, _)| name == trunk) {
                    Some((_, count)) => *count += 1,
                    None => first.push((trunk.clone(), 1)),
                }
            }
        }
        let trunks = members
            .iter()
            .filter_map(|name| self.trunk(name))
            .map(|trunk| (trunk.name.clone(), trunk.priority, trunk.weight))
            .collect();
        let selection = group.map_or(Selection::Ordered, |group| group.selection);
        Ok(GroupSearch { name: name.to_owned(), selection, trunks, first })
    }

    /// The peers a call tries when each of them fails.
    fn hunt(&self, route: &RouteEntry, attempts_max: u8) -> Result<Vec<Try>, TableError> {
        let (table, names) = named(&self.table()?);
        let groups: Vec<usize> =
            route.groups.iter().filter_map(|group| table.group(group.as_str())).collect();
        let mut hunt = Hunt::new(self.from, &groups, attempts_max);
        let routed = route.rewrite(self.number);
        let mut tries: Vec<Try> = Vec::new();
        while let Ok(attempt) = hunt.next(Time::ZERO, &table) {
            let trunk = attempt.seizure.trunk().config.clone();
            let before = tries.last().map(|last| last.trunk.as_str());
            // The backup comes right behind the trunk that names it; a member of the group comes by itself.
            let stands_in = self
                .trunks
                .iter()
                .find(|of| of.backup.as_deref() == Some(&trunk.name) && Some(of.name.as_str()) == before);
            let again = tries.last().filter(|last| last.trunk == trunk.name);
            tries.push(Try {
                backup_of: match again {
                    Some(last) => last.backup_of.clone(),
                    None => stands_in.map(|of| of.name.clone()),
                },
                name: names
                    .iter()
                    .find(|(place, _)| *place == attempt.peer.config.address)
                    .map(|(_, name)| name.clone()),
                peer: attempt.peer.config.clone(),
                patience: patience(self.config, &trunk.profile, hunt.has_more(), false),
                called: trunk.profile.called(&routed),
                calling: trunk.profile.calling(self.from),
                profile: trunk.profile,
                trunk: trunk.name,
            });
            attempt.seizure.unused();
        }
        Ok(tries)
    }

    fn outcomes(&self, tries: &[Try]) -> Vec<Outcome> {
        let dry = |case, dry| self.outcome(case, false, &Refusal::dry(dry, None));
        let mut outcomes = vec![
            dry("every trunk is full or at its rate", Dry::Full),
            dry("no peer is in service", Dry::Down),
        ];
        if tries.iter().any(|attempt| attempt.name.is_some()) {
            outcomes.push(dry(
                "no peer is in service, and DNS has not said where those given by name are",
                Dry::Unlocated,
            ));
        }
        let trunk = tries.last().and_then(|last| self.trunk(&last.trunk));
        let failover = trunk.and_then(|trunk| trunk.failover_statuses.first().copied());
        let answered = |status: u16| Failure::Status {
            status,
            reason: sip::message::reason_phrase(status).into(),
            retry_after: None,
        };
        let cases = [
            ("the last peer says nothing", Some(Failure::NoResponse)),
            ("the last peer is unreachable", Some(Failure::Refused)),
            ("the last peer answers a status of failover_statuses", failover.map(answered)),
            ("a peer answers 486", Some(answered(486))),
            ("a peer answers 401 or 407", Some(answered(407))),
            ("nobody answers in time", Some(Failure::NoAnswer)),
        ];
        for (case, failure) in cases {
            if let (Some(failure), Some(trunk)) = (failure, trunk) {
                let (_, next) = judge(&failure, Some(trunk));
                outcomes.push(self.outcome(case, next, &Refusal::callee(&failure)));
            }
        }
        outcomes
    }

    fn outcome(&self, case: &'static str, next_first: bool, refusal: &Refusal) -> Outcome {
        let retry_after = refusal.retry.then_some(self.config.retry_after);
        Outcome { case, next_first, status: refusal.status, cause: refusal.cause.clone(), retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::RoutingSnapshot;

    fn trunk(name: &str, port: u16, weight: u32, backup: Option<&str>) -> TrunkConfig {
        let mut trunk = TrunkConfig::new(name, format!("192.0.2.1:{port}").parse().unwrap());
        (trunk.weight, trunk.backup) = (weight, backup.map(str::to_owned));
        trunk
    }

    fn route(prefix: &str, to: &str, strip: u8) -> RouteEntry {
        RouteEntry {
            prefix: prefix.into(),
            groups: vec![to.into()],
            strip,
            prepend: String::new(),
            ask: false,
        }
    }

    struct World {
        config: Config,
        trunks: Vec<TrunkConfig>,
        groups: Vec<GroupConfig>,
        routes: RouteTable,
    }

    impl World {
        fn new(attempts_max: u8) -> Self {
            let members = vec!["a".to_owned(), "b".to_owned()];
            let group = |name: &str| link::TrunkGroup {
                name: name.into(),
                selection: Selection::Weighted,
                trunks: vec!["a".into()],
            };
            let snapshot = RoutingSnapshot {
                version: 1,
                groups: vec![group("g"), group("c")],
                routes: vec![route("86", "g", 2), route("8613", "c", 0), route("", "c", 0)],
            };
            Self {
                config: Config { attempts_max, ..Config::default() },
                trunks: vec![trunk("a", 1, 3, Some("c")), trunk("b", 2, 1, None), trunk("c", 3, 1, None)],
                groups: vec![GroupConfig {
                    name: "g".into(),
                    trunks: members,
                    selection: Selection::Weighted,
                }],
                routes: RouteTable::new(snapshot).unwrap(),
            }
        }

        fn ask<'a>(&'a self, number: &'a str) -> Question<'a> {
            Question {
                config: &self.config,
                trunks: &self.trunks,
                groups: &self.groups,
                routes: &self.routes,
                number,
                from: "",
                source: None,
            }
        }
    }

    #[test]
    fn the_route_taken_and_those_that_were_not_are_told() {
        let world = World::new(5);
        let question = world.ask("+8610");
        let told = question.explain().unwrap();
        let prefixes: Vec<&str> = told.matching.iter().map(|route| route.prefix.as_str()).collect();
        assert_eq!((prefixes, told.routed.as_str()), (vec!["86", ""], "10"));
        assert_eq!(
            told.missed.iter().map(|(r, at)| (r.prefix.as_str(), *at)).collect::<Vec<_>>(),
            [("8613", 3)]
        );
        let question = world.ask("861399");
        assert_eq!(question.explain().unwrap().matching[0].prefix, "8613");
    }

    #[test]
    fn trunks_peers_and_backups_come_in_the_order_of_the_hunt() {
        let world = World::new(2);
        let question = world.ask("8610");
        let told = question.explain().unwrap();
        let names =
            |tries: &[Try]| tries.iter().map(|t| (t.trunk.clone(), t.backup_of.clone())).collect::<Vec<_>>();
        assert_eq!(names(&told.tries), [("a".into(), None), ("c".into(), Some("a".into()))]);
        assert_eq!(names(&told.beyond), [("b".into(), None)]);
        assert_eq!(told.groups[0].first, [("a".to_owned(), 750), ("b".to_owned(), 250)]);
        let more = told.tries.iter().map(|t| t.patience.as_millis()).collect::<Vec<_>>();
        assert_eq!(more, [1500, 6000], "nobody waits long while there is a next peer");
    }

    #[test]
    fn limits_that_one_call_fills_do_not_hide_its_next_peers() {
        let mut world = World::new(5);
        let peer = PeerConfig { address: "192.0.2.1:9".parse().unwrap(), ..world.trunks[0].peers[0].clone() };
        world.trunks[0].peers.push(peer);
        (world.trunks[0].max_calls, world.trunks[0].max_cps) = (1, 1);
        let question = world.ask("8610");
        let ports: Vec<u16> =
            question.explain().unwrap().tries.iter().map(|attempt| attempt.peer.address.port()).collect();
        assert_eq!(ports, [1, 9, 3, 2]);
    }

    #[test]
    fn what_the_caller_gets_is_what_calls_get() {
        let world = World::new(5);
        let question = world.ask("8610");
        let told = question.explain().unwrap();
        let status = |case: &str| {
            let found = told.outcomes.iter().find(|outcome| outcome.case.contains(case)).unwrap();
            (found.status, found.next_first, found.retry_after)
        };
        assert_eq!(status("full"), (503, false, Some(5)));
        assert_eq!(status("in service"), (503, false, Some(5)));
        assert_eq!(status("says nothing"), (503, true, Some(5)));
        assert_eq!(status("failover"), (500, true, None));
        assert_eq!(status("486"), (486, false, None));
        assert_eq!(status("in time"), (480, false, None));
        let empty = World { routes: RouteTable::default(), ..World::new(5) };
        let question = empty.ask("1");
        let told = question.explain().unwrap();
        assert_eq!((told.outcomes.len(), told.outcomes[0].status), (1, 404));
    }
}
