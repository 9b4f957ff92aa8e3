//! OPTIONS probing of peers (RFC 3261 §11): each peer is probed by one shard, what it learns all shards share. A peer that
//! serves calls is left alone; one that was not heard from for a while, or failed last, is asked.

use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use crate::trunk::{Evidence, Peer};
use core::time::Duration;
use sansio::{Outbox, Time};
use sip::{Destination, Failure, Request, RequestId};

/// How often a peer is looked at: a probe is late by this much at most.
const LOOK: Duration = Duration::from_millis(500);

impl Shard {
    /// Begins to watch the peers that are this shard's to probe, spread over one look's time. One of which nothing was
    /// heard since `since` is due.
    pub(crate) fn start_probes(&mut self, now: Time, since: Time) {
        let (me, count) = (usize::from(self.shards.me), usize::from(self.shards.count));
        let mut number = 0;
        let table = self.table.clone();
        for (trunk, config) in table.trunks().iter().enumerate() {
            for peer in 0..config.peers.len() {
                number += 1;
                if number % count == me {
                    let watch = Timer::Probe { trunk, peer, since, generation: self.generation };
                    let spread = self.random.below(LOOK.as_nanos() as u64);
                    self.set_timer(now + Duration::from_nanos(spread), watch);
                }
            }
        }
    }

    /// Looks at a peer, probes it if that is due, and sets the next look.
    pub(crate) fn probe(&mut self, now: Time, trunk: usize, peer: usize, since: Time, generation: u32) {
        if generation != self.generation {
            return;
        }
        let table = self.table.clone();
        let Some(config) = table.trunks().get(trunk) else { return };
        let Some(target) = config.peers.get(peer) else { return };
        let health = config.config.health;
        self.set_timer(now + LOOK, Timer::Probe { trunk, peer, since, generation });
        if target.claim_probe(now, since, &health) {
            self.send_probe(now, trunk, peer, target, health.probe_timeout);
        }
    }

    fn send_probe(&mut self, now: Time, trunk: usize, peer: usize, target: &Peer, timeout: Duration) {
        let realm = self.table.trunks().get(trunk).and_then(|trunk| trunk.config.realm.as_deref());
        let Ok(listener) = self.listener_towards(target.config.address, realm) else { return };
        let listener = &self.listeners[listener];
        let suffix = target.config.transport.uri_parameter();
        let request_uri = format!("sip:{}{suffix}", target.config.address);
        let from = format!("<sip:probe@{}>", session::host(listener.advertised.ip()));
        let to = format!("<{request_uri}>");
        let call_id = self.shards.draw_call_id(&mut self.random);
        let request = Request {
            method: "OPTIONS",
            call_id: &call_id,
            request_uri: &request_uri,
            from: &from,
            to: &to,
            tag: "",
            cseq: 1,
            max_forwards: 70,
            destination: Destination {
                transport: target.config.transport,
                remote: target.config.address,
                socket: listener.udp,
                over: None,
            },
            headers: &[],
            body: None,
            timeout,
        };
        // When the endpoint's tables are full the peer is not to blame: the next probe comes anyway.
        if let Ok(id) = self.endpoint.request(now, &request) {
            self.probes.insert(id, (trunk, peer, self.generation));
        }
    }

    /// A probe was answered: anything but 503 shows that somebody is there who can talk SIP.
    pub(crate) fn on_probe_answer(
        &mut self,
        now: Time,
        id: RequestId,
        status: Option<u16>,
        out: &mut Outbox<Mail>,
    ) {
        match status {
            Some(503) => self.probed(now, id, Evidence::ProbeFailed, "503 to OPTIONS", out),
            _ => self.probed(now, id, Evidence::ProbeServed, "OPTIONS answered", out),
        }
    }

    pub(crate) fn on_probe_failure(
        &mut self,
        now: Time,
        id: RequestId,
        cause: &Failure,
        out: &mut Outbox<Mail>,
    ) {
        match cause {
            Failure::Refused | Failure::ConnectFailed => {
                self.probed(now, id, Evidence::Refused, "OPTIONS refused (nobody listens)", out);
            }
            _ => self.probed(now, id, Evidence::ProbeFailed, "OPTIONS not answered", out),
        }
    }

    fn probed(&mut self, now: Time, id: RequestId, evidence: Evidence, why: &str, out: &mut Outbox<Mail>) {
        let Some((trunk, peer, generation)) = self.probes.remove(&id) else { return };
        if generation != self.generation {
            return;
        }
        let table = self.table.clone();
        if let Some(trunk) = table.trunks().get(trunk)
            && let Some(peer) = trunk.peers.get(peer)
        {
            self.learn(now, trunk, peer, evidence, why, out);
        }
    }
}
