//! OPTIONS probing of peers (RFC 3261 §11): each peer is probed by one shard, what it learns all shards share.

use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use crate::trunk::Evidence;
use core::time::Duration;
use sansio::{Outbox, Time};
use sip::{Destination, Failure, Request, RequestId, Transport};

impl Shard {
    /// Sets the first probe of each peer that is this shard's to probe, spread over one interval.
    pub(crate) fn start_probes(&mut self, now: Time) {
        let (me, count) = (usize::from(self.shards.me), usize::from(self.shards.count));
        let mut number = 0;
        let table = self.table.clone();
        for (trunk, config) in table.trunks().iter().enumerate() {
            let interval = config.config.health.probe_interval;
            for peer in 0..config.peers.len() {
                number += 1;
                if number % count == me && !interval.is_zero() {
                    let spread = self.random.below(interval.as_nanos() as u64 / 4 + 1);
                    let generation = self.generation;
                    let timer = Timer::Probe { trunk, peer, generation };
                    self.set_timer(now + Duration::from_nanos(spread), timer);
                }
            }
        }
    }

    /// Probes a peer and sets the next probe.
    pub(crate) fn probe(&mut self, now: Time, trunk: usize, peer: usize, generation: u32) {
        if generation != self.generation {
            return;
        }
        let table = self.table.clone();
        let Some(config) = table.trunks().get(trunk) else { return };
        let Some(target) = config.peers.get(peer) else { return };
        let health = config.config.health;
        self.set_timer(now + health.probe_interval, Timer::Probe { trunk, peer, generation });
        let v4 = target.config.address.is_ipv4();
        let Some(listener) = self.listeners.iter().find(|l| l.local.is_ipv4() == v4) else { return };
        let suffix = if target.config.transport == Transport::Tcp { ";transport=tcp" } else { "" };
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
            destination: Destination {
                transport: target.config.transport,
                remote: target.config.address,
                socket: listener.udp,
            },
            headers: &[],
            body: None,
            timeout: health.probe_timeout,
        };
        // When the endpoint's tables are full the peer is not to blame: the next probe comes anyway.
        if let Ok(id) = self.endpoint.request(now, &request) {
            self.probes.insert(id, (trunk, peer, generation));
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
        if let Some(trunk) = table.trunks().get(trunk) {
            if let Some(peer) = trunk.peers.get(peer) {
                self.learn(now, trunk, peer, evidence, why, out);
            }
        }
    }
}
