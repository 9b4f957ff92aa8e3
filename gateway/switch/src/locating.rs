//! Names: the first shard keeps them located and gives every shard the table with their addresses in place.
//!
//! So it does with the names of proxies that phones have in their Path (RFC 3327); where those are stands in the registrar,
//! which all shards share.
//!
//! A table is published like a reload's, but from shard to shard. Mail may be lost to a full mailbox, so each shard
//! confirms what it has, and what was not confirmed is sent again.

use crate::config::Config;
use crate::mail::Mail;
use crate::shard::{Service, Shard};
use crate::trunk::{TrunkTable, Version};
use core::time::Duration;
use link::{Figure, LocatedName, LocatedPeer};
use locate::{Locator, Route, Target};
use sansio::{Mailbox, Outbox, Random, Time};
use std::sync::Arc;

/// How long a shard may take to confirm a table before it is sent again.
const CONFIRM: Duration = Duration::from_secs(1);

/// What the first shard has beyond the others.
#[derive(Debug)]
pub(crate) struct Locating {
    pub(crate) locator: Locator,
    /// The table as configured.
    written: Arc<TrunkTable>,
    /// The names of proxies before phones, as of this revision of theirs.
    proxies: (u64, Vec<Target>),
    /// Tables made since the start.
    changes: u32,
    /// What each shard confirmed.
    confirmed: Vec<Version>,
    /// When the table was last sent.
    sent: Time,
}

impl Locating {
    pub(crate) fn new(
        now: Time,
        config: &Config,
        table: Arc<TrunkTable>,
        shards: u16,
        random: Random,
    ) -> Self {
        Self {
            locator: Locator::new(now, config.locate.clone(), random),
            confirmed: vec![table.version(); usize::from(shards)],
            written: table,
            proxies: (0, Vec::new()),
            changes: 0,
            sent: now,
        }
    }
}

impl Locating {
    /// Looks for what is wanted: peers' names, and after them those of proxies before phones.
    fn watch(&mut self, now: Time, config: &Config, out: &mut Outbox<Mail>) {
        let mut targets = self.written.targets();
        for proxy in &self.proxies.1 {
            if !targets.contains(proxy) {
                targets.push(proxy.clone());
            }
        }
        self.locator.watch(now, config.locate.clone(), &targets, out);
    }
}

impl Shard {
    /// Begins to look for the names of a table as configured, and gives all shards what is known of them already.
    pub(crate) fn watch_names(&mut self, now: Time, written: Arc<TrunkTable>, out: &mut Outbox<Mail>) {
        let Some(locating) = &mut self.locating else { return };
        let had = locating.written.has_names();
        locating.written = written;
        if !had && !locating.written.has_names() && locating.proxies.1.is_empty() {
            return;
        }
        locating.watch(now, &self.config, out);
        self.tell_proxies();
        if self.table_has_names() {
            self.publish_located(now, out);
        }
    }

    /// Looks for the names of proxies that phones have come by since, and for those of none no more.
    pub(crate) fn watch_proxies(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let Some(locating) = &mut self.locating else { return };
        self.stats.path_names_dropped += self.registrar.take_proxies_beyond();
        if self.service == Service::Stopped {
            return;
        }
        if let Some(others) = self.registrar.proxies_since(locating.proxies.0) {
            locating.proxies = others;
            locating.watch(now, &self.config, out);
            self.locate(now, out, |_, _| ());
            // What was found before stands again with a name that is wanted again.
            self.tell_proxies();
        }
    }

    /// Tells all shards where the proxies before phones are.
    fn tell_proxies(&self) {
        let Some(locating) = &self.locating else { return };
        for target in &locating.proxies.1 {
            let places = locating.locator.route(target).map_or(&[][..], |route| &route.places);
            self.registrar.proxy_found(target, places);
        }
    }

    fn table_has_names(&self) -> bool {
        self.locating.as_ref().is_some_and(|it| it.written.has_names())
    }

    /// Stops looking.
    pub(crate) fn stop_locating(&mut self, now: Time, out: &mut Outbox<Mail>) {
        if let Some(locating) = &mut self.locating {
            locating.locator.watch(now, self.config.locate.clone(), &[], out);
        }
    }

    /// Gives an input to the locator, and to all shards what came of it.
    pub(crate) fn locate(
        &mut self,
        now: Time,
        out: &mut Outbox<Mail>,
        give: impl FnOnce(&mut Locator, &mut Outbox<Mail>),
    ) {
        let Some(locating) = &mut self.locating else { return };
        give(&mut locating.locator, out);
        if locating.locator.take_changed() && self.service != Service::Stopped {
            self.tell_proxies();
            if self.table_has_names() {
                self.publish_located(now, out);
            }
        }
    }

    /// Makes the table with the addresses known now; calls from now on go by it.
    fn publish_located(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let Some(locating) = &mut self.locating else { return };
        locating.changes = locating.changes.wrapping_add(1);
        let locator = &locating.locator;
        let table = locating.written.located(&self.table, locating.changes, |target| locator.route(target));
        self.stats.tables_located += 1;
        self.take_table(now, Arc::new(table), out);
        self.send_table(now, out);
    }

    /// Sends the table to the shards that have not confirmed it.
    fn send_table(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let (table, me) = (self.table.clone(), self.shards.me);
        let Some(locating) = &mut self.locating else { return };
        locating.sent = now;
        for (shard, confirmed) in (0u16..).zip(&locating.confirmed) {
            if shard != me && *confirmed < table.version() {
                out.mail(Mailbox(shard), Mail::Table(table.clone()));
            }
        }
    }

    /// Sends a table again that some shard has not confirmed for a while.
    pub(crate) fn repeat_table(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let (version, me) = (self.table.version(), self.shards.me);
        let Some(locating) = &self.locating else { return };
        let lacks = |(shard, confirmed): (u16, &Version)| shard != me && *confirmed < version;
        if locating.written.has_names()
            && now.since(locating.sent) >= CONFIRM
            && (0u16..).zip(&locating.confirmed).any(lacks)
        {
            self.stats.tables_repeated += 1;
            self.send_table(now, out);
        }
    }

    /// Another shard says which table it has.
    pub(crate) fn table_confirmed(&mut self, shard: u16, version: Version) {
        let confirmed = self.locating.as_mut().and_then(|it| it.confirmed.get_mut(usize::from(shard)));
        if let Some(confirmed) = confirmed {
            *confirmed = version.max(*confirmed);
        }
    }

    /// The first shard sent a table.
    pub(crate) fn table_came(&mut self, now: Time, table: Arc<TrunkTable>, out: &mut Outbox<Mail>) {
        // One that was overtaken by a reload is of no more use.
        if table.version() > self.table.version() {
            self.take_table(now, table, out);
        }
        let (shard, version) = (self.shards.me, self.table.version());
        out.mail(Mailbox(0), Mail::TableTaken { shard, version });
    }

    /// What is known of the names of peers, for people; empty on all shards but the first.
    pub(crate) fn located_names(&self) -> Vec<LocatedName> {
        let Some(locating) = &self.locating else { return Vec::new() };
        let name = |fact: locate::Fact<'_>| {
            let wall = |route: &Route| {
                // `wall` reckons from now on; routes end at times of the same clock.
                self.wall(route.until)
            };
            LocatedName {
                name: fact.target.to_string().into(),
                by: fact.route.map(|route| route.how.to_string().into()),
                from: fact.route.and_then(|route| route.from),
                until: fact.route.map(wall),
                stale: fact.route.is_some_and(|route| route.stale),
                why: fact.why.into(),
                addresses: fact.route.map_or_else(Vec::new, |route| {
                    let peer = |place: &locate::Place| LocatedPeer {
                        address: place.address,
                        transport: place.transport.as_str().into(),
                        priority: place.tier,
                        weight: place.weight,
                    };
                    route.places.iter().map(peer).collect()
                }),
            }
        };
        locating.locator.facts().map(name).collect()
    }

    /// The locator's counters.
    pub(crate) fn locate_figures(&self, figures: &mut Vec<Figure>) {
        let Some(locating) = &self.locating else { return };
        locating.locator.stats().visit(&mut |name, help, value| {
            figures.push(Figure::counter(format!("dns_{name}_total"), help, value));
        });
        let census = locating.locator.census();
        for (name, help, value) in [
            ("dns_names", "Peers' names wanted", census.targets),
            ("dns_names_located", "Peers' names of which addresses are known", census.located),
            ("dns_questions_open", "Questions to DNS on their way or waiting", census.questions),
            ("dns_answers_kept", "Answers of DNS kept", census.answers),
        ] {
            figures.push(Figure::gauge(name, help, value as u64));
        }
    }
}
