//! Two shards and a peer by name: the first locates it, both go by the same table, whatever is lost on the way.
#![allow(clippy::unwrap_used, reason = "a test")]

use locate::{Config, Name, Target};
use sansio::{Action, Input, Machine, Mailbox, Outbox, SocketId, Time};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switch::trunk::{NamedPeer, TrunkConfig, TrunkTable};
use switch::{Listener, Mail, RtpPorts, Shard, Shards, Start};

const SECOND: Duration = Duration::from_secs(1);

fn hosts(last: &[u8]) -> Config {
    let ips: Vec<IpAddr> = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
    let mut config = Config::default();
    config.hosts.insert(Name::new("carrier.example").unwrap(), ips);
    config
}

fn trunks() -> Vec<TrunkConfig> {
    let mut trunk = TrunkConfig::new("a", SocketAddr::from(([192, 0, 2, 200], 5060)));
    trunk.peers.clear();
    let target: Target = "carrier.example:5060".parse().unwrap();
    trunk.names = vec![NamedPeer { before: 0, target }];
    vec![trunk]
}

fn config(locate: Config) -> switch::Config {
    switch::Config { locate, ..switch::Config::default() }
}

/// The shards, their mail, and how much of it is lost.
struct Process {
    now: Time,
    shards: Vec<Shard>,
    out: Outbox<Mail>,
    mail: VecDeque<(usize, Mail)>,
    table: Arc<TrunkTable>,
    lost: usize,
}

impl Process {
    fn start(locate: &Config, lost: usize) -> Self {
        let now = Time::from_millis(1000);
        let table = Arc::new(TrunkTable::new(trunks(), vec![], None).unwrap());
        let place = SocketAddr::from(([192, 0, 2, 100], 5060));
        let start = |me| Start {
            config: config(locate.clone()),
            shards: Shards { count: 2, me },
            listeners: vec![Listener { udp: SocketId(0), tcp: SocketId(1), local: place, advertised: place }],
            streams: Vec::new(),
            tls: false,
            registrar: Arc::new(switch::registrar::Registrar::new(&[0; 32])),
            rtp_ports: RtpPorts { low: 20_000, high: 20_007 },
            table: table.clone(),
            routing: Arc::default(),
            wall_at_zero: link::UnixMicros(0),
            seed: 7,
            secrets: switch::Secrets::new([7; 32]),
        };
        let shards = (0..2).map(|me| Shard::new(now, start(me))).collect();
        Self { now, shards, out: Outbox::new(64, 4), mail: VecDeque::new(), table, lost }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            for shard in 0..2 {
                self.shards[shard].handle(self.now, Input::Timeout, &mut self.out);
                self.collect();
            }
            while let Some((to, mail)) = self.mail.pop_front() {
                self.shards[to].handle(self.now, Input::Mail(mail), &mut self.out);
                self.collect();
            }
            self.now += Duration::from_millis(50);
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.out.next_action() {
            let Action::Mail(Mailbox(to), mail) = action else { continue };
            if matches!(mail, Mail::Table(_)) && self.lost > 0 {
                self.lost -= 1;
                continue;
            }
            if to < 2 {
                self.mail.push_back((usize::from(to), mail));
            }
        }
        while let Some(send) = self.out.next_send() {
            self.out.pool().release(send.packet);
        }
    }

    fn reload(&mut self, locate: &Config, trunks: Vec<TrunkConfig>, first: usize) {
        let table = Arc::new(TrunkTable::new(trunks, vec![], Some(&self.table)).unwrap());
        for shard in [first, 1 - first] {
            let (config, table) = (Box::new(config(locate.clone())), table.clone());
            self.mail.push_back((shard, Mail::Reload { config, table }));
        }
        self.table = table;
    }

    /// The addresses by which each shard goes.
    fn peers(&self) -> Vec<Vec<String>> {
        let peers = |shard: &Shard| {
            let table = shard.table();
            table.trunks()[0].peers.iter().map(|peer| peer.config.address.to_string()).collect()
        };
        self.shards.iter().map(peers).collect()
    }

    fn assert_peers(&self, expected: &[&str]) {
        assert_eq!(self.peers(), [expected, expected]);
        let tables: Vec<_> = self.shards.iter().map(|shard| shard.table().clone()).collect();
        assert!(Arc::ptr_eq(&tables[0], &tables[1]), "caps and health are shared");
    }
}

#[test]
fn both_shards_go_by_one_table() {
    let mut process = Process::start(&hosts(&[1, 2]), 0);
    process.run(SECOND);
    process.assert_peers(&["192.0.2.1:5060", "192.0.2.2:5060"]);
    assert_eq!(process.shards[0].stats().tables_repeated, 0);
}

#[test]
fn a_table_that_was_lost_is_sent_again() {
    let mut process = Process::start(&hosts(&[1]), 3);
    process.run(SECOND);
    assert_eq!(process.peers()[1], [""; 0], "lost");
    process.run(6 * SECOND);
    process.assert_peers(&["192.0.2.1:5060"]);
    let repeated = process.shards[0].stats().tables_repeated;
    assert!((1..=4).contains(&repeated), "{repeated}");
    process.run(10 * SECOND);
    assert_eq!(process.shards[0].stats().tables_repeated, repeated, "and no more once it is confirmed");
}

#[test]
fn reloads_are_taken_over_in_whatever_order_they_come() {
    for first in [0, 1] {
        let mut process = Process::start(&hosts(&[1]), 0);
        process.run(SECOND);
        let seizure = process.shards[1].table().trunks()[0].seize(process.now).unwrap();
        process.reload(&hosts(&[2]), trunks(), first);
        process.run(2 * SECOND);
        process.assert_peers(&["192.0.2.2:5060"]);
        assert_eq!(process.shards[0].table().trunks()[0].calls(), 1, "calls count on");
        // To addresses alone, and back.
        let plain = TrunkConfig::new("a", SocketAddr::from(([192, 0, 2, 9], 5060)));
        process.reload(&hosts(&[2]), vec![plain], first);
        process.run(2 * SECOND);
        process.assert_peers(&["192.0.2.9:5060"]);
        process.reload(&hosts(&[3]), trunks(), first);
        process.run(2 * SECOND);
        process.assert_peers(&["192.0.2.3:5060"]);
        drop(seizure);
        assert_eq!(process.shards[1].table().trunks()[0].calls(), 0);
    }
}

#[test]
fn a_table_overtaken_by_a_reload_is_not_taken() {
    let mut process = Process::start(&hosts(&[1]), 0);
    process.run(SECOND);
    let late = process.shards[0].table().clone();
    let plain = TrunkConfig::new("a", SocketAddr::from(([192, 0, 2, 9], 5060)));
    process.reload(&hosts(&[1]), vec![plain], 1);
    process.run(SECOND);
    process.mail.push_back((1, Mail::Table(late)));
    process.run(SECOND);
    process.assert_peers(&["192.0.2.9:5060"]);
}
