//! The stage that a flow is played on: who calls, who is called, and how the gateway is set up.

use crate::nameserver::NameServer;
use crate::peer::{Behaviour, CallPlan, Errand, ErrandPlan, Login, Peer, PhonePlan, RegistrarHabit, Wiring};
use crate::town::{Blueprint, Places, Published, Town, unprobed};
use crate::{EventLog, Pace};
use sansio::{Random, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switch::profile::Profile;
use switch::trunk::{HealthConfig, NamedPeer, PeerConfig, RegistrationConfig, TrunkConfig};

/// The carrier's name in flows with DNS.
const NAME: &str = "carrier.example";

/// A carrier, with the trunk that leads to it.
#[derive(Debug)]
pub struct Carrier {
    /// How it treats INVITEs.
    pub answer: Behaviour,
    /// How it treats those of certain calls.
    pub answers: BTreeMap<u64, Behaviour>,
    /// Where calls go that it redirects: the carrier of that number.
    pub moved_to: Option<usize>,
    /// How it answers requests outside of calls.
    pub answers_errands: u16,
    /// What it sends outside of calls.
    pub errands: Vec<ErrandPlan>,
    /// How it treats REGISTER.
    pub registrar: Option<RegistrarHabit>,
    /// Whether nothing listens at its address: ICMP comes back.
    pub absent: bool,
    /// The trunk.
    pub trunk: TrunkConfig,
}

/// What a flow sets. It begins as one plain call over UDP from one caller to one carrier, without audio: calls are made at
/// 100 ms, ring, are answered after half a second, and end when the caller hangs up three seconds later.
#[derive(Debug)]
pub struct Stage {
    /// Calls of the caller at `10.1.0.1`; their serials count from 1.
    pub calls: Vec<CallPlan>,
    /// Carriers, at `10.9.0.1` and up: each the backup of the one before.
    pub carriers: Vec<Carrier>,
    /// What the caller sends outside of calls.
    pub errands: Vec<ErrandPlan>,
    /// Phones at the caller's address.
    pub phones: Vec<PhonePlan>,
    /// How calls to those phones are treated.
    pub phone: Behaviour,
    /// How the gateway is set up.
    pub config: switch::Config,
    /// Whether control is asked about every call.
    pub ask: bool,
    /// So many carriers, from the first on, are located by one name: that of the first trunk.
    pub named: usize,
    /// Whether the caller's connections are WebSockets.
    pub web: bool,
    /// Whether the gateway speaks TLS.
    pub tls: bool,
    /// Whether the caller does so too.
    pub caller_tls: bool,
    /// Whether the first carrier does so too.
    pub carrier_tls: bool,
    /// What certificates of callers' networks can be fetched.
    pub published: Option<Published>,
    /// Records of calls besides those of the caller's calls.
    pub records: usize,
    /// From which everything random comes.
    pub seed: u64,
    /// How many shards the gateway has; for rows to look at.
    pub shards: u16,
    /// When everything that shall happen has happened.
    pub lasts: Duration,
}

/// How much longer than any call lasts somebody waits who is not told of its end.
const ALONE: Duration = Duration::from_secs(60);

fn silent_health() -> HealthConfig {
    HealthConfig { open_after: 1_000_000, ..unprobed() }
}

impl Stage {
    /// The plain call, through so many gateway shards.
    pub fn plain(shards: u16) -> Self {
        let mut config = Blueprint::plain(Vec::new(), Vec::new()).config;
        config.calls_max = 16;
        // A message lost once must not count as a dead carrier.
        config.no_response = Duration::from_secs(8);
        config.no_response_suspect = Duration::from_secs(8);
        config.no_progress = Duration::from_secs(20);
        let mut stage = Self {
            calls: Vec::new(),
            carriers: Vec::new(),
            errands: Vec::new(),
            phones: Vec::new(),
            phone: Behaviour { rtp: None, ..Behaviour::plain() },
            config,
            ask: false,
            named: 0,
            web: false,
            tls: false,
            caller_tls: false,
            carrier_tls: false,
            published: None,
            records: 0,
            seed: 7,
            shards,
            lasts: Duration::from_secs(30),
        };
        stage.add_call(100);
        stage.add_carrier(Behaviour::plain());
        stage
    }

    /// The first call.
    pub fn call(&mut self) -> &mut CallPlan {
        &mut self.calls[0]
    }

    /// What the first carrier does with it.
    pub fn answer(&mut self) -> &mut Behaviour {
        &mut self.carriers[0].answer
    }

    /// One more call of the caller, so many milliseconds after the start.
    pub fn add_call(&mut self, at: u64) -> &mut CallPlan {
        let serial = 1 + self.calls.len() as u64;
        let plan = CallPlan::plain(Time::from_millis(at), serial, Places::V4.gateway());
        let hang_up = Some(Duration::from_secs(3));
        self.calls.push(CallPlan { hang_up, rtp: None, ..plan });
        let last = self.calls.len() - 1;
        &mut self.calls[last]
    }

    /// One more carrier, the backup of the last.
    pub fn add_carrier(&mut self, answer: Behaviour) -> &mut Carrier {
        let index = self.carriers.len();
        let mut trunk = TrunkConfig::new(&format!("carrier{index}"), Places::V4.host(9, index));
        trunk.health = silent_health();
        let answer = Behaviour { rtp: None, ..answer };
        self.carriers.push(Carrier {
            answer,
            answers: BTreeMap::new(),
            moved_to: None,
            answers_errands: 200,
            errands: Vec::new(),
            registrar: None,
            absent: false,
            trunk,
        });
        &mut self.carriers[index]
    }

    /// Changes the profile of a carrier's trunk.
    pub fn profile(&mut self, carrier: usize, change: impl FnOnce(&mut Profile)) {
        change(Arc::make_mut(&mut self.carriers[carrier].trunk.profile));
    }

    /// Has no call made, but this sent by the caller so many milliseconds after the start.
    pub fn add_errand(&mut self, at: u64, what: Errand, comes_to: u16) {
        self.calls.clear();
        let (at, to) = (Time::from_millis(at), Places::V4.gateway());
        self.errands.push(ErrandPlan { at, what, to, number: "00490000001", login: None, comes_to });
    }

    /// Has the first carrier send this to a number.
    pub fn add_carrier_errand(&mut self, at: u64, what: Errand, number: &'static str) {
        let (at, to) = (Time::from_millis(at), Places::V4.gateway());
        self.carriers[0].errands.push(ErrandPlan { at, what, to, number, login: None, comes_to: 200 });
    }

    /// A user of the gateway.
    pub fn add_user(&mut self, login: Login) {
        let mut accounts = (*self.config.users.accounts).clone();
        accounts.insert(login.user.to_owned(), login.password.to_owned());
        self.config.users.accounts = Arc::new(accounts);
    }

    /// A phone of a user, that asks for so many seconds.
    pub fn add_phone(&mut self, login: Login, expires: u32) -> &mut PhonePlan {
        self.add_user(login);
        let to = Places::V4.gateway();
        let at = Time::from_millis(100);
        let wiring = Wiring::Plain;
        self.phones.push(PhonePlan { at, to, login, expires, refresh: None, leave: None, wiring });
        let last = self.phones.len() - 1;
        &mut self.phones[last]
    }

    /// Has the first trunk register with its carrier, which takes this name alone.
    pub fn register_trunk(&mut self, login: Login, failures: u32) {
        let carrier = &mut self.carriers[0];
        let grants = 60;
        carrier.registrar = Some(RegistrarHabit { login, grants, failures, least: 0, fresh_nonces: false });
        let address = Places::V4.host(9, 0);
        let (username, password) = (login.user.to_owned(), login.password.to_owned());
        carrier.trunk.account = Some(Arc::new(sip::auth::Account { username, password }));
        carrier.trunk.register = Some(RegistrationConfig {
            registrar: "sip:carrier.example".into(),
            aor: format!("sip:{}@carrier.example", login.user),
            contact_user: login.user.to_owned(),
            expires: Duration::from_secs(grants.into()),
            to: PeerConfig { address, transport: sip::Transport::Udp },
            is_proxy: false,
            required: true,
            called_in_to: false,
            retry_base: Duration::from_secs(4),
            retry_max: Duration::from_secs(60),
        });
    }

    /// Whoever may not be told of the end hangs up by himself: neither media nor session timers end a call here.
    fn let_nobody_wait(&mut self) {
        let answers = self.carriers.iter_mut().flat_map(|it| it.answers.values_mut().chain([&mut it.answer]));
        let behaviours = answers.chain([&mut self.phone]).map(|behaviour| &mut behaviour.hang_up);
        let plans = self.calls.iter_mut().map(|plan| &mut plan.hang_up);
        let mut ends: Vec<&mut Option<Duration>> = behaviours.chain(plans).collect();
        let last = ends.iter().filter_map(|end| **end).max().unwrap_or_default();
        ends.iter_mut().filter(|end| end.is_none()).for_each(|end| **end = Some(last + ALONE));
    }

    /// Builds the town; `lenient` if messages may arrive that nobody expects any more.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn build(mut self, lenient: bool, keep_log: bool) -> Result<Town, String> {
        if lenient {
            self.let_nobody_wait();
        }
        let mut random = Random::new(self.seed);
        let places = Places::V4;
        let server = SocketAddr::new(places.host(53, 0).ip(), 53);
        if self.named > 0 {
            let trunk = &mut self.carriers[0].trunk;
            trunk.peers.clear();
            let target: Result<locate::Target, _> = NAME.parse();
            let target = target.map_err(|error| error.to_string())?;
            trunk.names = vec![NamedPeer { before: 0, target }];
            self.config.locate = locate::Config {
                servers: vec![server],
                timeout: Duration::from_secs(1),
                families: vec![false],
                ..locate::Config::default()
            };
        }
        let mut caller = Peer::new(places.host(1, 0), random.u64(), self.calls);
        caller.default = self.phone;
        caller.lenient = lenient;
        (caller.web, caller.tls) = (self.web, self.caller_tls);
        self.errands.into_iter().for_each(|errand| caller.add_errand(errand));
        for phone in self.phones {
            caller.add_phone(phone);
        }
        let mut absent = Vec::new();
        let carriers = self.carriers.into_iter().enumerate().map(|(index, carrier)| {
            let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
            peer.default = carrier.answer;
            peer.answers = carrier.answers;
            peer.moved_to = carrier.moved_to.map(|other| places.host(9, other));
            peer.answers_errands = carrier.answers_errands;
            carrier.errands.into_iter().for_each(|errand| peer.add_errand(errand));
            peer.registrar = carrier.registrar;
            peer.tls = self.carrier_tls && index == 0;
            peer.calls_max = (carrier.trunk.max_calls > 0).then(|| carrier.trunk.max_calls.into());
            peer.lenient = lenient;
            peer.forbidden = vec![places.mark(1), "caller-".to_owned(), "Scripted".to_owned()];
            if carrier.absent {
                absent.push(index);
            }
            (peer, carrier.trunk)
        });
        let carriers: Vec<(Peer, TrunkConfig)> = carriers.collect();
        caller.forbidden = vec![places.mark(9), "Scripted".to_owned()];
        let plan = Blueprint {
            shards: self.shards,
            carriers,
            chain: true,
            ask: self.ask,
            config: self.config,
            pairs: 16,
            pace: Pace { wake_max: Duration::from_micros(50), packets: 128, ..Pace::default() },
            ask_until: Time::from_millis(3000),
            web: self.web,
            tls: self.tls,
            published: self.published,
            ..Blueprint::plain(vec![caller], Vec::new())
        };
        let mut town = Town::build(&mut random, plan, keep_log)?;
        if !keep_log {
            town.world.log = EventLog::off();
        }
        for index in absent {
            let node = town.carriers[index];
            town.world.kill(node);
        }
        if self.named > 0 {
            let hosts = (0..self.named).map(|index| (index as u16, places.host(9, index))).collect();
            town.add_name_server(server, NameServer::new(random.fork(), NAME, hosts, 3600));
        }
        Ok(town)
    }
}
