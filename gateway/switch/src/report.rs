//! What a shard says of itself when asked, and the spool of records that control has not acknowledged.

use crate::leg_facts;
use crate::mail::Mail;
use crate::registrant;
use crate::shard::{Service, Shard};
use crate::trunk::Trunk;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use link::{
    CallId, Cdr, Event, Figure, LiveCall, PeerFacts, Phase, RegistrationFacts, ReportAsked, ShardId,
    ShardReport, TrunkFacts, TrunkHeard, TrunkState,
};
use sansio::{Outbox, Time};
use std::collections::BTreeMap;

/// Most records kept for repetition; at about 1 KiB each.
const SPOOL_MAX: usize = 65_536;
/// A record that was not acknowledged for this long is sent again.
const REPEAT_AFTER: Duration = Duration::from_secs(3);
/// Most records repeated at once.
const REPEAT_MAX: usize = 256;

/// Records on their way to disk.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    records: BTreeMap<CallId, (Time, Box<Cdr>)>,
}

impl Spool {
    /// Keeps a record until it is acknowledged; tells whether an older one had to give way.
    pub(crate) fn push(&mut self, now: Time, record: Box<Cdr>) -> bool {
        let full = self.records.len() >= SPOOL_MAX;
        if full {
            self.records.pop_first();
        }
        self.records.insert(record.call, (now, record));
        full
    }

    pub(crate) fn acknowledge(&mut self, calls: &[CallId]) {
        for call in calls {
            self.records.remove(call);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Shard {
    /// Sends again what control has not acknowledged.
    pub(crate) fn repeat_records(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let mut due = Vec::new();
        for (sent, record) in self.spool.records.values_mut() {
            if now.since(*sent) >= REPEAT_AFTER && due.len() < REPEAT_MAX {
                *sent = now;
                due.push(record.clone());
            }
        }
        self.stats.cdrs_repeated += due.len() as u64;
        for record in due {
            self.tell(Event::CallEnded(record), out);
        }
    }

    pub(crate) fn report(&self, now: Time, asked: ReportAsked) -> ShardReport {
        let answered = self.calls.iter().filter(|(_, call)| call.phase == Phase::Answered).count();
        ShardReport {
            ticket: asked.ticket,
            calls_total: self.calls.len() as u64,
            calls_answered: answered as u64,
            calls: self.live_calls(asked.calls as usize),
            figures: self.figures(now),
            trunks: self.trunk_facts(now),
            draining: self.service != Service::Open,
        }
    }

    fn live_calls(&self, limit: usize) -> Vec<LiveCall> {
        let wall = |call: &crate::call::Call, at: Time| {
            let span = at.since(call.draft.started).as_micros() as u64;
            link::UnixMicros(call.draft.started_wall.0 + span)
        };
        self.calls
            .iter()
            .take(limit)
            .map(|(_, call)| LiveCall {
                call: call.id,
                shard: ShardId(self.shards.me as u8),
                phase: call.phase,
                from: call.draft.from.clone(),
                dialled: call.draft.dialled.clone(),
                source: call.draft.source,
                trunk: call.draft.trunk.clone(),
                peer: call.draft.peer,
                started: call.draft.started_wall,
                answered: call.draft.answered.map(|at| wall(call, at)),
                media: call.media.as_ref().map(|media| Box::new(leg_facts::summary(media))),
            })
            .collect()
    }

    fn figures(&self, _now: Time) -> Vec<Figure> {
        let mut figures = Vec::with_capacity(96);
        self.stats.visit(&mut |name, help, value| {
            figures.push(Figure::counter(format!("{name}_total"), help, value));
        });
        self.endpoint.stats().visit(&mut |name, help, value| {
            figures.push(Figure::counter(format!("sip_{name}_total"), help, value));
        });
        let mut media = self.media_stats;
        for held in self.calls.iter().filter_map(|(_, call)| call.media.as_ref()) {
            media.add_bridge(&held.bridge);
            held.streams.iter().for_each(|stream| media.add_stream(stream));
        }
        let mut gauges = [0u64; 3];
        for pool in &self.pools {
            media.add_ports(pool.stats());
            gauges[0] += pool.ready() as u64;
            gauges[1] += pool.in_use() as u64;
            gauges[2] += u64::from(pool.pairs());
        }
        media.visit(&mut |name, help, value| {
            figures.push(Figure::counter(format!("{name}_total"), help, value));
        });
        let (full, evicted) = self.guard.crowding();
        let mut guarded = vec![
            (
                "guard_sources_full_total",
                "Datagrams of sources for whom the table of sources had no place.",
                full,
            ),
            ("guard_sources_evicted_total", "Sources forgotten to make room for others.", evicted),
            (
                "guard_bans_full_total",
                "Bans not carried out since too many were in force.",
                self.guard.bans_full,
            ),
        ];
        if self.shards.me == 0 {
            let help =
                "Calls that a rule against toll fraud counted with others since it knew too many sources.";
            guarded.push(("fraud_untracked_total", help, self.config.fraud.untracked()));
        }
        figures.extend(guarded.into_iter().map(|(name, help, value)| Figure::counter(name, help, value)));
        let census = self.census();
        for (name, help, value) in [
            ("rtp_pairs_ready", "Pairs of RTP ports open and free", gauges[0]),
            ("rtp_pairs_in_use", "Pairs of RTP ports held by calls", gauges[1]),
            ("rtp_pairs", "Pairs of RTP ports configured", gauges[2]),
            ("subscriptions", "Subscriptions passed through", census.subscriptions as u64),
            ("outside_waiting", "Requests outside of calls on their way", census.passages as u64),
            ("legs", "Legs not gone yet", census.legs as u64),
            ("sip_transactions", "SIP transactions", census.sip.transactions as u64),
            ("sip_connections", "TCP connections", census.sip.connections as u64),
            ("calls_setting_up", "Calls that the callee has not begun to ring for", u64::from(self.setups)),
            ("identity_waiting", "Calls that wait for a certificate", census.waiting as u64),
            ("cdrs_spooled", "Records control has not acknowledged", census.spooled as u64),
        ] {
            figures.push(Figure::gauge(name, help, value));
        }
        self.observed_figures(&mut figures);
        self.locate_figures(&mut figures);
        if let Some(thread) = &self.thread_figures {
            figures.extend((thread.0)());
        }
        figures
    }

    fn trunk_facts(&self, now: Time) -> Vec<TrunkFacts> {
        let names = self.located_names();
        self.table
            .trunks()
            .iter()
            .map(|trunk| {
                let own = self.legs.iter().flatten().filter_map(|slot| slot.seizure.as_ref());
                TrunkFacts {
                    trunk: trunk.config.name.as_str().into(),
                    calls: trunk.calls(),
                    own_calls: own.filter(|s| s.trunk().config.name == trunk.config.name).count() as u32,
                    max_calls: trunk.config.max_calls,
                    max_cps: (trunk.config.max_cps > 0).then_some(trunk.config.max_cps),
                    // Not registered where it has to be: no call is sent to it, however its peers are.
                    state: if trunk.is_callable(now) { trunk.state() } else { TrunkState::Down },
                    registration: self.registration_facts(now, trunk),
                    heard: heard(now, trunk),
                    names: names
                        .iter()
                        .filter(|name| trunk.config.names.iter().any(|n| n.target.to_string() == *name.name))
                        .cloned()
                        .collect(),
                    peers: trunk
                        .peers
                        .iter()
                        .map(|peer| PeerFacts {
                            address: peer.config.address,
                            state: peer.state(),
                            why: Default::default(),
                        })
                        .collect(),
                }
            })
            .collect()
    }

    fn registration_facts(&self, now: Time, trunk: &Trunk) -> Option<RegistrationFacts> {
        let (shared, config) = (trunk.registration()?, trunk.config.register.as_ref()?);
        let (news, counts) = (shared.news(), &shared.counts);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(RegistrationFacts {
            state: registrant::state(news.standing),
            registered: shared.is_registered(now),
            until: shared.until().filter(|until| *until > now).map(|at| self.wall(at)),
            next: news.next.map(|at| self.wall(at)),
            since: self.wall(news.since),
            status: news.word.status,
            reason: news.word.reason,
            registrar: config.registrar.clone(),
            aor: config.aor.clone(),
            service_route: news.given.service_route,
            associated: news.given.associated,
            sent: read(&counts.sent),
            granted: read(&counts.granted),
            failed: read(&counts.failed),
            calls_in: read(&counts.calls_in),
        })
    }
}

/// How calls to a trunk sounded lately.
fn heard(now: Time, trunk: &Trunk) -> TrunkHeard {
    let it = trunk.quality().heard(now);
    let mean = |sum: f64, of: u64, scale: f64| (of > 0).then(|| (sum / of as f64 * scale).max(0.0) as u32);
    TrunkHeard {
        seconds: it.seconds,
        poor_seconds: it.poor,
        r_milli: mean(it.r, it.seconds, 1000.0),
        mos_milli: mean(it.mos, it.seconds, 1000.0),
        expected: it.expected,
        lost: it.lost,
        jitter_us: mean(it.jitter_ms, it.pieces, 1000.0),
        round_trip_us: mean(it.round_trip_ms, it.round_trips, 1000.0),
        one_way: it.one_way,
        avoided: trunk.is_avoided(now),
    }
}
