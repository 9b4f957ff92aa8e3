//! What control and the process tell a shard while it runs.

use crate::config::Config;
use crate::mail::Mail;
use crate::profile::LargeRequests;
use crate::shard::{self, Service, Shard, methods};
use crate::status::Refusal;
use crate::trunk::TrunkTable;
use link::{CallId, Command, Event, Phase, RouteTable, Side};
use sansio::{Outbox, Time};
use std::sync::Arc;

impl Shard {
    pub(crate) fn command(&mut self, now: Time, command: Command, out: &mut Outbox<Mail>) {
        match command {
            // Control checked it; one that does not fit is not taken, the old one stays.
            Command::Snapshot(snapshot) => {
                if let Ok(routes) = RouteTable::new((*snapshot).clone()) {
                    self.routes = routes;
                }
            }
            Command::Route { call, decision } => {
                if let Some(key) = self.ids.get(&call).copied() {
                    self.route_decided(now, key, decision, out);
                }
            }
            Command::ReportAsked(asked) => {
                let report = self.report(now, asked);
                self.tell(Event::Report(Box::new(report)), out);
            }
            Command::TraceAsked(asked) => self.trace(&asked, out),
            Command::CdrAcknowledged(calls) => self.spool.acknowledge(&calls),
            Command::Registrations(known) => self.load_registrations(now, known),
            Command::Unban(source) => self.guard.lift(now, source, &self.config.guard),
            Command::Certificate(answer) => self.certificate_came(now, &answer, out),
            Command::Revocations(answer) => self.revocations_came(now, &answer, out),
            Command::Drain => self.drain(now, out),
            Command::Play(asked) => self.play_asked(now, *asked, out),
            Command::StopPlaying(asked) => self.stop_asked(now, &asked, out),
            Command::Hangup { call } => self.hang_up(now, call, out),
        }
    }

    fn hang_up(&mut self, now: Time, call: CallId, out: &mut Outbox<Mail>) {
        let Some(key) = self.ids.get(&call).copied() else { return };
        if self.calls.get(key).is_some_and(|call| call.phase == Phase::Answered) {
            let end = self.end(Side::Operator, 200, 31, "ended by operator");
            self.finish(now, key, end, &[], out);
        } else {
            self.end_refused(now, key, &Refusal::operator(), out);
        }
    }

    /// New settings for new calls; probes start anew.
    pub(crate) fn reload(
        &mut self,
        now: Time,
        mut config: Config,
        table: Arc<TrunkTable>,
        out: &mut Outbox<Mail>,
    ) {
        // What was seen stays seen; whom we trust may have changed.
        config.replays = self.config.replays.clone();
        config.dtls = self.config.dtls.clone();
        config.guard.shared = self.config.guard.shared.clone();
        self.certificates.clear();
        self.config = config;
        self.registrar.look_anew();
        self.guard.reload(&self.config.guard);
        self.watched_since = now;
        if !table.has_names() {
            self.take_table(now, table.clone(), out);
        }
        // With names in it, the first shard puts their addresses in and gives it to all.
        self.watch_names(now, table, out);
    }

    /// Calls from now on go by this table.
    pub(crate) fn take_table(&mut self, now: Time, table: Arc<TrunkTable>, out: &mut Outbox<Mail>) {
        self.table = table;
        self.endpoint.set_methods(methods(&self.config, &self.table));
        self.known = shard::known(&self.config, &self.table);
        self.mark_udp_only();
        self.generation = self.generation.wrapping_add(1);
        if self.service == Service::Open {
            self.start_probes(now, self.watched_since);
        }
        self.review_registrants(now, out);
    }

    /// Tells the endpoint which peers are asked over UDP alone, however large a request is.
    pub(crate) fn mark_udp_only(&mut self) {
        let udp =
            self.table.trunks().iter().filter(|it| it.config.profile.large_requests == LargeRequests::Udp);
        self.endpoint.set_udp_only(udp.flat_map(|trunk| &trunk.peers).map(|peer| peer.config.address));
    }
}
