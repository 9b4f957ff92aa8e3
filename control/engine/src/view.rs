//! What the API shows: the shards' reports put together with what the engine itself knows.

use crate::{Attempts, Performance, Quality};
use link::{
    Figure, LiveCall, LocatedName, PeerFacts, RegistrationFacts, ShardId, ShardReport, TrunkChange,
    TrunkFacts, TrunkHeard, TrunkName, TrunkState,
};
use std::collections::BTreeMap;

/// What all shards see at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Calls now.
    pub calls_total: u64,
    /// Those of them that are answered.
    pub calls_answered: u64,
    /// As many of them as were asked for, newest first.
    pub calls: Vec<LiveCall>,
    /// Counters and gauges, added up over shards.
    pub figures: Vec<Figure>,
    /// Trunks by name.
    pub trunks: Vec<TrunkView>,
    /// The last changes of state of trunks, oldest first.
    pub changes: Vec<TrunkChange>,
    /// Whether some shard takes no new calls.
    pub draining: bool,
    /// Shards that answered.
    pub answering: Vec<ShardId>,
    /// Shards that did not answer in time: sums lack their part.
    pub missing: Vec<ShardId>,
    /// Version of the routing in force.
    pub routing: u64,
}

/// A trunk, seen by all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkView {
    /// Its name.
    pub name: TrunkName,
    /// Calls as its cap counts them.
    pub calls: u32,
    /// Calls as the shards' call tables hold them; differs from `calls` only while a call comes or goes.
    pub counted: u32,
    /// Its cap on calls.
    pub max_calls: u32,
    /// Its cap on new calls a second.
    pub max_cps: Option<u32>,
    /// The best state of its peers.
    pub state: TrunkState,
    /// Its peers.
    pub peers: Vec<PeerFacts>,
    /// Its registration with the carrier, if it has one.
    pub registration: Option<RegistrationFacts>,
    /// The names among them, and what is known of those.
    pub names: Vec<LocatedName>,
    /// How calls to it sounded in the last five minutes.
    pub heard: TrunkHeard,
    /// The last hour.
    pub recent: Quality,
    /// Since the start.
    pub total: Quality,
    /// The metrics of RFC 6076 for [`crate::RECENT`], for [`crate::WINDOW`], and since the start.
    pub performance: [Performance; 3],
    /// Attempts since the start by what came of them.
    pub attempts: Attempts,
}

impl View {
    /// Takes in a shard's report.
    pub(crate) fn add(&mut self, shard: ShardId, report: ShardReport) {
        self.answering.push(shard);
        self.calls_total += report.calls_total;
        self.calls_answered += report.calls_answered;
        self.calls.extend(report.calls);
        self.draining |= report.draining;
        for facts in report.trunks {
            self.add_trunk(facts);
        }
        self.figures.extend(report.figures);
    }

    fn add_trunk(&mut self, facts: TrunkFacts) {
        let counted = facts.own_calls;
        match self.trunks.binary_search_by(|it| it.name.cmp(&facts.trunk)) {
            Ok(at) => {
                let it = &mut self.trunks[at];
                it.counted += counted;
                it.calls = facts.calls;
                it.state = facts.state;
                it.peers = facts.peers;
                it.registration = facts.registration;
                it.heard = facts.heard;
                if !facts.names.is_empty() {
                    it.names = facts.names;
                }
            }
            Err(at) => self.trunks.insert(
                at,
                TrunkView {
                    name: facts.trunk,
                    calls: facts.calls,
                    counted,
                    max_calls: facts.max_calls,
                    max_cps: facts.max_cps,
                    state: facts.state,
                    peers: facts.peers,
                    registration: facts.registration,
                    names: facts.names,
                    heard: facts.heard,
                    recent: Quality::default(),
                    total: Quality::default(),
                    performance: Default::default(),
                    attempts: Attempts::default(),
                },
            ),
        }
    }

    /// Brings everything into order: at most `calls` calls, newest first, and each figure once.
    pub(crate) fn finish(&mut self, calls: u32) {
        self.calls.sort_by_key(|it| core::cmp::Reverse((it.started, it.call)));
        self.calls.truncate(calls as usize);
        self.answering.sort();
        let mut sums: BTreeMap<_, Figure> = BTreeMap::new();
        for figure in self.figures.drain(..) {
            let value = figure.value;
            let key = (figure.name.clone(), figure.labels.clone());
            let sum = sums.entry(key).or_insert_with(|| Figure { value: 0, ..figure });
            sum.value = sum.value.saturating_add(value);
        }
        self.figures.extend(sums.into_values());
    }
}
