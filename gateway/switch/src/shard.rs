//! The gateway's machine: routes each input to the endpoint, a call's bridge or a command. It decides nothing itself.

use crate::attach::Plays;
use crate::call::{Call, LegSlot};
use crate::config::{Config, Listener, RtpPorts, Start};
use crate::ends::PastEnds;
use crate::guard::{Backlog, Guard, Known};
use crate::identity::{Certificates, Waiter};
use crate::keep::Pings;
use crate::link_media::Links;
use crate::locating::Locating;
use crate::mail::Mail;
use crate::media_stats::MediaStats;
use crate::observe::{Copies, Sessions};
use crate::outside::{self, Errands};
use crate::ports::{PairId, PortPool};
use crate::realm::Place;
use crate::registrant::Registrants;
use crate::registrar::Registrar;
use crate::report::Spool;
use crate::stats::Stats;
use crate::trunk::TrunkTable;
use core::net::IpAddr;
use core::time::Duration;
use link::{CallId, CallIds, Event, Figure, Hello, RouteTable, ShardId, Side, UnixMicros};
use locate::Locator;
use rtp::srtp::Secrets;
use sansio::{Datagram, Input, Key, Machine, Mailbox, Outbox, Random, Slab, SocketId, Time, TimerId, Wheel};
use sip::message::Method;
use sip::{Endpoint, LegId, RequestId, SessionTimers, Shards};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// RTP and RTCP sockets are numbered from here; SIP sockets lie below.
pub(crate) const MEDIA_SOCKETS: u32 = 1 << 16;
/// Sockets of one media address's ports are numbered within a span of this.
pub(crate) const MEDIA_SPAN: u32 = 1 << 17;

/// Who holds a pair of ports: a call, of its side, for its speech (0) or for which of the streams beside it.
pub(crate) type Holder = (Key, Side, u8);

/// What a timer of the shard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The peer tried has not got beyond 100.
    NoProgress(Key),
    /// Control has not said where the call goes.
    NoRoute(Key),
    /// The certificate that the caller's identity needs has not come.
    NoCertificate(Waiter),
    /// A re-INVITE of ours crossed another.
    Resync(Key),
    /// RTP ports were still being opened when the call came.
    NoPorts(Key),
    /// The next packet of something that is played.
    Play(u64),
    /// Look whether both sides of the call still send.
    Media(Key),
    /// A call's second is over, or reports about its media are due.
    Watch(Key),
    /// A bridge has packets of its own to send.
    Bridge(Key),
    /// A leg's ICE or DTLS wants something.
    Link(PairId),
    /// Who had the other side put through has not hung up.
    Referrer(Key),
    /// Legs that came together try again to agree on a session.
    Mend(Key),
    /// Probe a peer.
    Probe { trunk: usize, peer: usize, since: Time, generation: u32 },
    /// A request outside of calls has waited long enough for 100.
    Passage(Key),
    /// A subscription runs out, or its NOTIFY has not come.
    Subscription(Key),
    /// A trunk's registration wants something.
    Registrant(u32),
    /// The way to a carrier that a trunk is registered with is to be kept open.
    KeepTrunk(u32),
    /// Ways to registered phones are to be kept open.
    KeepWays,
    /// Look at what shall be done now and then: ports, records to be repeated.
    Housekeeping,
    /// The drain has lasted long enough.
    DrainLimit,
    /// The last records have waited for the disk long enough.
    DiskLimit,
}

/// Whether the shard takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// It does.
    Open,
    /// No new ones; it stops when the last is over.
    Draining,
    /// All were told to end; it stops when they are gone.
    Quitting,
    /// It has stopped.
    Stopped,
}

/// One core's part of the gateway.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: Config,
    pub(crate) shards: Shards,
    pub(crate) listeners: Vec<Listener>,
    /// What each listener is part of.
    pub(crate) places: Vec<Place>,
    /// Which of the pools is a listener's.
    pub(crate) pool_of: Vec<usize>,
    pub(crate) table: Arc<TrunkTable>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) routes: RouteTable,
    pub(crate) endpoint: Endpoint,
    /// Only the first shard looks for peers given by name.
    pub(crate) locating: Option<Box<Locating>>,
    pub(crate) random: Random,
    /// Of which SRTP keys are made.
    pub(crate) secrets: Secrets,
    /// By which intervals between reports are varied: a stream of its own, which leaves everything else as it is.
    pub(crate) reports: Random,
    /// Of which the SSRCs and names of reports are made.
    pub(crate) report_secrets: Secrets,
    /// Legs whose peers are found by ICE, or keyed by DTLS.
    pub(crate) links: Links,
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) calls: Slab<Call>,
    /// Calls by their public id, for commands.
    pub(crate) ids: BTreeMap<CallId, Key>,
    pub(crate) call_ids: CallIds,
    /// By the leg's index.
    pub(crate) legs: Vec<Option<LegSlot>>,
    /// One pool per media address.
    pub(crate) pools: Vec<PortPool>,
    /// Who holds a pair, by pool and pair.
    pub(crate) holders: Vec<Vec<Option<Holder>>>,
    /// Call-IDs of callee legs with the number sent, to know a call that comes back.
    pub(crate) own_call_ids: BTreeMap<Box<str>, Box<str>>,
    /// Probes awaiting their answer, by request.
    pub(crate) probes: BTreeMap<RequestId, (usize, usize, u32)>,
    /// INFO and the like on their way through: the request sent to one leg, and the other leg's that waits for its answer.
    pub(crate) relays: BTreeMap<RequestId, RequestId>,
    /// INFO of our own awaiting their answer: of which call and whose key.
    pub(crate) key_infos: BTreeMap<RequestId, (Key, Side)>,
    /// OPTIONS to phones awaiting their answer.
    pub(crate) pings: Pings,
    /// The ends of calls that are over.
    pub(crate) past_ends: PastEnds,
    /// Names that calls and requests are given: a stream of its own, which leaves everything else as it is.
    pub(crate) names: Random,
    /// Requests outside of calls, and subscriptions.
    pub(crate) outside: Errands,
    /// The trunks that this shard registers with their carriers.
    pub(crate) registrants: Registrants,
    /// When this shard began to watch peers: at the start or the last reload.
    pub(crate) watched_since: Time,
    /// Grows with each reload: timers of an older table are void.
    pub(crate) generation: u32,
    /// Certificates of callers' networks, and calls that wait for some.
    pub(crate) certificates: Certificates,
    /// What is played in calls.
    pub(crate) plays: Plays,
    pub(crate) spool: Spool,
    pub(crate) service: Service,
    /// The shards that have nothing left to do.
    pub(crate) others_over: BTreeSet<u16>,
    /// When the others were last told that this one has nothing left to do.
    pub(crate) told_over: Option<Time>,
    /// Set while nothing but the disk is waited for.
    pub(crate) disk_timer: Option<TimerId>,
    /// Whether the disk was waited for long enough.
    pub(crate) disk_waited: bool,
    pub(crate) wall_at_zero: UnixMicros,
    /// Who is never limited.
    pub(crate) known: Known,
    pub(crate) guard: Guard,
    pub(crate) backlog: Backlog,
    /// Calls that the callee has not begun to ring for.
    pub(crate) setups: u32,
    /// Calls made for REFERs outside of calls.
    pub(crate) dials: u32,
    /// When overload was last told.
    pub(crate) overload_told: Option<Time>,
    /// When the last alarm about RTP ports was raised.
    pub(crate) ports_told: Option<Time>,
    /// When the last alarm about a call without audio was raised.
    pub(crate) trouble_told: Option<Time>,
    pub(crate) stats: Stats,
    /// Media counters of calls that are over.
    pub(crate) media_stats: MediaStats,
    pub(crate) thread_figures: Option<ThreadFigures>,
    /// Sessions on trunks, for RFC 6076.
    pub(crate) sessions: Sessions,
    /// Copies of messages for a capture server.
    pub(crate) copies: Copies,
    /// Whether there was a call whose keys are hidden.
    pub(crate) hiding: bool,
    started: bool,
}

/// What a thread says of itself when asked.
pub(crate) struct ThreadFigures(pub(crate) Box<dyn Fn() -> Vec<Figure> + Send>);

impl core::fmt::Debug for ThreadFigures {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ThreadFigures")
    }
}

/// What a shard still holds; all zero when every call is over and the timers ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Calls.
    pub calls: usize,
    /// Legs not gone yet.
    pub legs: usize,
    /// Places on trunks held for legs.
    pub seizures: usize,
    /// Pairs of RTP ports in use.
    pub pairs: usize,
    /// Handshakes of DTLS under way, and timers of ICE and DTLS.
    pub links: usize,
    /// Timers of calls.
    pub call_timers: usize,
    /// Probes under way.
    pub probes: usize,
    /// Requests inside calls on their way through.
    pub relays: usize,
    /// Requests outside of calls, and inside subscriptions, on their way.
    pub passages: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Timers of both.
    pub outside_timers: usize,
    /// Trunks that it registers.
    pub registrants: usize,
    /// Calls that wait for a certificate.
    pub waiting: usize,
    /// Prompts that are played, or waited for.
    pub plays: usize,
    /// Records control has not acknowledged.
    pub spooled: usize,
    /// New calls that stand back because there is a queue.
    pub standing_back: usize,
    /// Calls in set-up, as the limit on them counts.
    pub setups: usize,
    /// Calls made for REFERs outside of calls, as the limit on them counts.
    pub dials: usize,
    /// Places of calls under the rules against toll fraud.
    pub tolls: usize,
    /// Questions to DNS on their way or waiting.
    pub questions: usize,
    /// The SIP endpoint's tables.
    pub sip: sip::Census,
}

impl Shard {
    /// A shard ready to run; it opens its RTP ports and greets control with its first input.
    pub fn new(now: Time, start: Start) -> Self {
        let mut random = Random::new(start.seed);
        let report_secrets = start.secrets.clone().fork();
        let sip =
            sip::Config { tls: start.tls, ..endpoint_config(&start.config, &start.table, start.shards) };
        let mut endpoint = Endpoint::new(sip, random.fork(), now);
        for listener in &start.streams {
            endpoint.add_listener(listener.socket, listener.transport, listener.advertised);
        }
        for listener in &start.listeners {
            endpoint.add_udp(listener.udp, listener.advertised);
            endpoint.add_tcp_listener(listener.tcp, listener.advertised);
        }
        let routes = RouteTable::new((*start.routing).clone()).unwrap_or_default();
        let started = UnixMicros(start.wall_at_zero.0 + now.as_nanos() / 1000);
        let places: Vec<Place> = start.listeners.iter().map(|it| Place::of(it, &start)).collect();
        let (pools, pool_of) = Self::make_pools(&start, &places);
        if !start.config.realms.is_empty() {
            let streams = start.streams.iter().map(|it| (it.advertised, it.local));
            let all = start.listeners.iter().map(|it| (it.advertised, it.local)).chain(streams);
            all.filter(|(_, local)| !local.ip().is_unspecified())
                .for_each(|(advertised, local)| endpoint.connect_from(advertised.ip(), local.ip()));
        }
        let calls_max = start.config.calls_max;
        let bounds = &start.config.outside;
        let errands = bounds.requests_max.saturating_add(bounds.subscriptions_max);
        let locating = (start.shards.me == 0).then(|| {
            // A stream of its own: looking for names leaves everything else as it is.
            let random = Random::new(start.seed ^ 0x6c6f_6361_7465);
            let (config, table) = (&start.config, start.table.clone());
            Box::new(Locating::new(now, config, table, start.shards.count, random))
        });
        Self {
            holders: pools.iter().map(|pool| vec![None; pool.pairs() as usize]).collect(),
            pools,
            endpoint,
            locating,
            routes,
            links: Links::default(),
            wheel: Wheel::new(now, calls_max.saturating_mul(6).saturating_add(8192).saturating_add(errands)),
            calls: Slab::new(calls_max),
            ids: BTreeMap::new(),
            call_ids: CallIds::new(ShardId(start.shards.me as u8), started),
            legs: Vec::new(),
            own_call_ids: BTreeMap::new(),
            probes: BTreeMap::new(),
            relays: BTreeMap::new(),
            key_infos: BTreeMap::new(),
            pings: Pings::default(),
            past_ends: PastEnds::default(),
            names: Random::new(start.seed ^ 0x656e_6473),
            outside: Errands::new(&start.config.outside),
            registrants: Registrants::default(),
            generation: 0,
            certificates: Certificates::default(),
            watched_since: now,
            plays: Plays::default(),
            spool: Spool::default(),
            service: Service::Open,
            others_over: BTreeSet::new(),
            told_over: None,
            disk_timer: None,
            disk_waited: false,
            wall_at_zero: start.wall_at_zero,
            known: known(&start.config, &start.table),
            guard: Guard::new(&start.config.guard, &mut random.clone().fork()),
            backlog: Backlog::default(),
            setups: 0,
            dials: 0,
            overload_told: None,
            ports_told: None,
            trouble_told: None,
            stats: Stats::default(),
            media_stats: MediaStats::default(),
            thread_figures: None,
            sessions: Sessions::default(),
            copies: Copies::default(),
            hiding: false,
            started: false,
            config: start.config,
            shards: start.shards,
            listeners: start.listeners,
            places,
            pool_of,
            table: start.table,
            registrar: start.registrar,
            random,
            reports: Random::new(start.seed ^ 0x7274_6370),
            report_secrets,
            secrets: start.secrets,
        }
    }

    /// Reports what the thread says of itself (its driver's counters) beside what the shard knows.
    pub fn report_also(&mut self, figures: impl Fn() -> Vec<Figure> + Send + 'static) {
        self.thread_figures = Some(ThreadFigures(Box::new(figures)));
    }

    /// The shard's counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The SIP endpoint's counters.
    pub const fn sip_stats(&self) -> &sip::Stats {
        self.endpoint.stats()
    }

    /// The trunks by which calls go now.
    pub const fn table(&self) -> &Arc<TrunkTable> {
        &self.table
    }

    /// What it still holds.
    pub fn census(&self) -> Census {
        let seizures = self.legs.iter().flatten().filter(|slot| slot.seizure.is_some()).count();
        let per_call = |call: &Call| {
            let resync = call.resync.as_ref().and_then(|it| it.timer);
            let timers = [call.timer, call.media_timer, call.bridge_timer, call.watch_timer, resync];
            timers.iter().flatten().count() + call.transferring.timers().count()
        };
        Census {
            calls: self.calls.len(),
            legs: self.legs.iter().flatten().count(),
            seizures,
            pairs: self.pools.iter().map(PortPool::in_use).sum(),
            links: self.links.len(),
            call_timers: self.calls.iter().map(|(_, call)| per_call(call)).sum(),
            probes: self.probes.len() + self.pings.len(),
            relays: self.relays.len() + self.key_infos.len(),
            passages: self.outside.passages(),
            subscriptions: self.outside.subscriptions(),
            outside_timers: self.outside.timers(),
            registrants: self.registrants.len(),
            waiting: self.certificates.waiting(),
            plays: self.plays.len(),
            spooled: self.spool.len(),
            standing_back: self.backlog.len(),
            setups: self.setups as usize,
            dials: self.dials as usize,
            tolls: self.calls.iter().map(|(_, call)| call.tolls.len() + call.trunk_tolls.len()).sum(),
            questions: self.locating.as_ref().map_or(0, |it| it.locator.census().questions),
            sip: self.endpoint.census(),
        }
    }

    /// One pool for each place that media of listeners is at, and which is whose.
    fn make_pools(start: &Start, places: &[Place]) -> (Vec<PortPool>, Vec<usize>) {
        let mut kinds: Vec<(IpAddr, RtpPorts)> = Vec::new();
        let mut pool_of = Vec::with_capacity(places.len());
        for place in places {
            let kind = (place.media.local, place.media.ports);
            let known = kinds.iter().position(|known| *known == kind);
            pool_of.push(known.unwrap_or(kinds.len()));
            if known.is_none() {
                kinds.push(kind);
            }
        }
        let pools = kinds.into_iter().enumerate().map(|(at, (address, ports))| {
            let base = SocketId(MEDIA_SOCKETS + at as u32 * MEDIA_SPAN);
            PortPool::new(address, ports.part(start.shards), base, start.config.calls_max)
        });
        (pools.collect(), pool_of)
    }

    fn start(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.started = true;
        self.mark_udp_only();
        self.start_observing(out);
        let hello = Hello { version: link::VERSION, started: self.wall(now) };
        self.tell(Event::Hello(hello), out);
        self.housekeep(now, out);
        self.watched_since = now;
        self.start_probes(now, now);
        self.start_registrants(now);
        self.watch_names(now, self.table.clone(), out);
    }

    /// The hot path: one look-up by socket number, then the call's bridge.
    fn media(&mut self, now: Time, datagram: Datagram<'_>, out: &mut Outbox<Mail>) {
        let Some((pool, pair, rtcp)) = place(datagram.socket) else { return };
        let holder = self.holders.get(pool).and_then(|pairs| pairs.get(pair)).copied().flatten();
        if let Some(holder) = holder.filter(|holder| holder.2 != 0) {
            return self.beside_speech(holder, rtcp, &datagram, out);
        }
        let media =
            holder.and_then(|(key, side, _)| Some((self.calls.get_mut(key)?.media.as_mut()?, (key, side))));
        let Some((media, (key, side))) = media else {
            self.stats.media_unclaimed += 1;
            return;
        };
        if datagram.payload.first().is_some_and(|first| *first < 64)
            && media.bridge.leg(side.into()).link.is_some()
        {
            return self.link_datagram((key, side), rtcp, datagram, out);
        }
        media.bridge.relay(side.into(), rtcp, datagram.received, datagram.source, datagram.payload, out);
        if media.bridge.tends {
            self.endpoint.note_time(now);
            self.tend_bridge(now, key, out);
            self.settle(now, out);
        }
    }

    fn mail(&mut self, now: Time, mail: Mail, out: &mut Outbox<Mail>) {
        match mail {
            Mail::Datagram { socket, source, received, bytes } => {
                self.stats.handovers_in += 1;
                self.take_datagram(now, Datagram { socket, source, received, payload: &bytes }, out);
            }
            Mail::Foreign { holder, stream, transport, local, remote, bytes } => {
                self.stats.handovers_in += 1;
                self.foreign(now, (holder, stream), transport, (local, remote), &bytes, out);
            }
            Mail::Banned(sentence) => self.guard.ban(now, &sentence),
            Mail::ForeignClosed { holder, stream } => {
                self.endpoint.handle_foreign_closed(now, holder, stream);
            }
            Mail::Seek(search) => self.sought(now, search, out),
            Mail::Found(search) => self.found(now, *search, out),
            Mail::Refer(afar) => self.referred_afar(now, &afar, out),
            Mail::Referred { subscription, status, last } => {
                self.endpoint.notify(now, subscription, status, last);
            }
            Mail::Tied { from, bytes } => self.tied(now, from, &bytes),
            Mail::Write { stream, remote, bytes } => self.endpoint.write_for(stream, remote, &bytes),
            Mail::Unreachable { socket, destination } => {
                self.endpoint.handle_unreachable(now, socket, destination);
            }
            Mail::Command(command) => self.command(now, command, out),
            Mail::Reload { config, table } => self.reload(now, *config, table, out),
            Mail::Table(table) => self.table_came(now, table, out),
            Mail::TableTaken { shard, version } => self.table_confirmed(shard, version),
            Mail::Over(shard) => {
                self.others_over.insert(shard);
            }
            Mail::Drain => self.drain(now, out),
            Mail::Quit => self.quit(now, out),
            Mail::PromptCame { play, clips } => self.prompt_came(now, play, clips, out),
            Mail::Event(..) | Mail::PromptAsked(_) => debug_assert!(false, "events are control's"),
        }
    }

    fn timeouts(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.endpoint.handle_timeout(now);
        self.let_new_calls_in(now, out);
        self.locate(now, out, |locator, out| locator.handle_timeout(now, out));
        while let Some((_, timer)) = self.wheel.pop(now) {
            match timer {
                Timer::NoProgress(call) => self.no_progress(now, call, out),
                Timer::NoRoute(call) => self.no_route(now, call, out),
                Timer::NoCertificate(waiter) => self.no_certificate(now, waiter, out),
                Timer::NoPorts(call) => self.ports_opened(now, call, out),
                Timer::Resync(call) => self.resync_try(now, call),
                Timer::Play(play) => self.play_due(now, play, out),
                Timer::Media(call) => self.check_media(now, call, out),
                Timer::Watch(call) => self.watch_media(now, call, out),
                Timer::Bridge(call) => self.bridge_due(now, call, out),
                Timer::Link(pair) => self.link_due(now, pair, out),
                Timer::Referrer(call) => self.referrer_stays(now, call, out),
                Timer::Mend(call) => self.mend(now, call, out),
                Timer::Probe { trunk, peer, since, generation } => {
                    self.probe(now, trunk, peer, since, generation);
                }
                Timer::Passage(key) => self.passage_lasts(now, key),
                Timer::Subscription(key) => self.subscription_due(now, key),
                Timer::Registrant(number) => self.registrant_due(now, number, out),
                Timer::KeepTrunk(number) => self.keep_trunk(now, number),
                Timer::KeepWays => self.keep_ways(now, out),
                Timer::Housekeeping => self.housekeep(now, out),
                Timer::DrainLimit => self.quit(now, out),
                Timer::DiskLimit => self.disk_limit(now, out),
            }
        }
    }

    /// What is done now and then: opens ports, repeats records.
    fn housekeep(&mut self, now: Time, out: &mut Outbox<Mail>) {
        for pool in &mut self.pools {
            pool.refill(now, out);
        }
        self.repeat_records(now, out);
        self.expire_registrations(now, out);
        self.begin_to_keep_ways(now);
        self.observe_now_and_then(out);
        self.charge_tolls(now, out);
        self.repeat_table(now, out);
        self.watch_proxies(now, out);
        let busy = self.pools.iter().any(PortPool::is_filling);
        let span = if busy { Duration::from_millis(5) } else { Duration::from_secs(1) };
        self.set_timer(now + span, Timer::Housekeeping);
    }

    /// Everything that follows from an input, until nothing does.
    fn settle(&mut self, now: Time, out: &mut Outbox<Mail>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event_linked(now, event, out);
        }
        let me = self.shards.me;
        self.endpoint.flush_with(out, |holder, stream, remote, bytes, out| {
            Self::mail_out(me, holder, stream, remote, bytes, out);
        });
        self.copy_messages(out);
        self.stop_if_done(now, out);
    }

    pub(crate) fn set_timer(&mut self, at: Time, timer: Timer) -> Option<TimerId> {
        let id = self.wheel.insert(at, timer);
        self.stats.timers_full += u64::from(id.is_none());
        id
    }

    pub(crate) fn wall(&self, now: Time) -> UnixMicros {
        UnixMicros(self.wall_at_zero.0 + now.as_nanos() / 1000)
    }

    pub(crate) fn tell(&self, event: Event, out: &mut Outbox<Mail>) {
        out.mail(Mailbox(self.shards.count), Mail::Event(ShardId(self.shards.me as u8), event));
    }

    /// The slot of a leg, if it is this leg's.
    pub(crate) fn slot(&self, leg: LegId) -> Option<&LegSlot> {
        self.legs.get(leg.index())?.as_ref().filter(|slot| slot.leg == leg)
    }

    pub(crate) fn put_slot(&mut self, slot: LegSlot) {
        let index = slot.leg.index();
        if self.legs.len() <= index {
            self.legs.resize_with(index + 1, || None);
        }
        self.legs[index] = Some(slot);
    }

    pub(crate) fn hold_pair(&mut self, pair: PairId, holder: Option<Holder>) {
        if let Some(place) = self.holders.get_mut(pair.pool()).and_then(|pairs| pairs.get_mut(pair.index())) {
            *place = holder;
        }
    }
}

/// Pool, pair and whether it is the RTCP port, from a media socket's number.
const fn place(socket: SocketId) -> Option<(usize, usize, bool)> {
    let Some(number) = socket.0.checked_sub(MEDIA_SOCKETS) else { return None };
    let within = number % MEDIA_SPAN;
    Some(((number / MEDIA_SPAN) as usize, (within / 2) as usize, within % 2 == 1))
}

/// What the endpoint knows or hands over: REGISTER once there are users who may, and what passes outside of calls.
pub(crate) fn methods(config: &Config, table: &TrunkTable) -> Vec<Method> {
    let mut methods = vec![Method::Options, Method::Prack, Method::Update, Method::Info, Method::Message];
    methods.extend(Shard::METHODS);
    if !config.users.is_empty() {
        methods.push(Method::Register);
    }
    for method in outside::handed(&config.outside, table.trunks()) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

/// Who is never limited: by configuration, and as a trunk's peer.
pub(crate) fn known(config: &Config, table: &TrunkTable) -> Known {
    let peers = table.trunks().iter().flat_map(|trunk| &trunk.peers).map(|peer| peer.config.address.ip());
    Known::new(&config.allow, &config.guard.never_limit, peers)
}

fn endpoint_config(config: &Config, table: &TrunkTable, shards: Shards) -> sip::Config {
    let mut sip = sip::Config { shards, ..sip::Config::default() };
    sip.user_agent.clone_from(&config.user_agent);
    sip.methods = methods(config, table);
    (sip.timers.t1, sip.timers.t2, sip.timers.t4) = (config.t1, config.t2, config.t4);
    sip.nat = config.nat.mode;
    sip.keep = Some(config.nat.flow_timer.as_secs().try_into().unwrap_or(u32::MAX));
    // Whoever keeps to what it is told is not taken for idle.
    sip.timers.idle = sip.timers.idle.max(config.nat.flow_timer + Duration::from_secs(15));
    sip.passed = outside::END_TO_END.map(str::to_owned).into();
    sip.extensions.extend(["100rel", "replaces", "join", "norefersub", "tdialog"].map(String::from));
    // Media and its resources are the callee's and the caller's to speak about (RFC 3312).
    sip.transparent.push(String::from("precondition"));
    if !config.session_expires.is_zero() {
        let seconds = |span: Duration| span.as_secs().try_into().unwrap_or(u32::MAX);
        sip.extensions.push(String::from("timer"));
        sip.session =
            Some(SessionTimers { expires: seconds(config.session_expires), min_se: seconds(config.min_se) });
    }
    sip.timers.ringing = config.no_answer + config.no_response + Duration::from_secs(60);
    sip.limits.legs = config.calls_max.saturating_mul(3).saturating_add(64);
    // A subscription has two.
    sip.limits.usages = config.outside.subscriptions_max.saturating_mul(2).saturating_add(64);
    // A finished call leaves three transactions for 64 × T1 each: about 100 of them per call and second.
    sip.limits.transactions = config.calls_max.saturating_mul(8).clamp(1 << 20, 1 << 21);
    // The numbers above are the locator's.
    sip.streams_end = locate::STREAMS.start;
    sip.limits.retry_after = config.retry_after;
    sip.datagram_max = config.datagram_max as usize;
    sip
}

impl Machine for Shard {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        if !self.started {
            self.start(now, out);
        }
        if let Input::Datagram(datagram) = input
            && datagram.socket.0 >= MEDIA_SOCKETS
        {
            return self.media(now, datagram, out);
        }
        self.endpoint.note_time(now);
        match input {
            Input::Datagram(datagram) if Self::is_for_copies(datagram.socket) => {}
            Input::Datagram(datagram) if Locator::owns_socket(datagram.socket) => {
                let Datagram { socket, source, payload, .. } = datagram;
                self.locate(now, out, |it, out| it.handle_datagram(now, socket, source, payload, out));
            }
            Input::Datagram(datagram) => self.datagram(now, datagram, out),
            Input::Unreachable { socket, .. } if Locator::owns_socket(socket) => {
                self.locate(now, out, |it, out| it.handle_unreachable(now, socket, out));
            }
            Input::Unreachable { socket, destination } => {
                self.endpoint.handle_unreachable(now, socket, destination);
                for shard in (0..self.shards.count).filter(|shard| *shard != self.shards.me) {
                    out.mail(Mailbox(shard), Mail::Unreachable { socket, destination });
                }
            }
            Input::Socket(socket, event) if Locator::owns_socket(socket) => {
                self.locate(now, out, |it, out| it.handle_socket(now, socket, event, out));
            }
            Input::Socket(socket, event) => {
                self.copies_socket(socket, &event);
                if let Some(pool) = place(socket).and_then(|(pool, ..)| self.pools.get_mut(pool)) {
                    pool.handle_socket(now, socket, event, out);
                }
            }
            Input::Stream(stream, event) if Locator::owns_stream(stream) => {
                self.locate(now, out, |it, out| it.handle_stream(now, stream, event, out));
            }
            Input::Stream(stream, event) => self.stream(now, stream, event, out),
            Input::Mail(mail) => self.mail(now, mail, out),
            Input::Timeout => self.timeouts(now, out),
        }
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(Time::ZERO);
        }
        let names = self.locating.as_ref().and_then(|locating| locating.locator.deadline());
        let turns = self.backlog.deadline();
        [self.wheel.deadline(), self.endpoint.deadline(), names, turns].into_iter().flatten().min()
    }
}
