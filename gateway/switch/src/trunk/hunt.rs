//! The hunt: which peer a call tries next, until one takes it or none is left.

use super::{Peer, Seizure, Trunk, TrunkTable};
use sansio::{Random, Time};
use std::sync::Arc;

/// One try: a place on a trunk, and the peer of it to ask.
#[derive(Debug)]
pub struct Attempt {
    /// The place, held as long as the peer may count the call.
    pub seizure: Seizure,
    /// Whom to ask.
    pub peer: Arc<Peer>,
}

/// No peer is left to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dry {
    /// At least one trunk would have done but was full (or calls came too fast), and none was tried.
    Full,
    /// Nothing was in service.
    Down,
    /// Nothing was in service; of some trunk no address is known yet, its peers being names.
    Unlocated,
    /// Every one that could be tried was.
    Tried,
}

/// The state of one call's search: where it is in which group, and what it has tried.
#[derive(Debug)]
pub struct Hunt {
    caller: String,
    /// Groups still to come, last first.
    groups: Vec<usize>,
    /// Trunks of the present group still to come, last first, each with its peers still to come, last first.
    trunks: Vec<(Arc<Trunk>, Vec<usize>)>,
    tried: Vec<Arc<Peer>>,
    full: bool,
    unlocated: bool,
    retries_left: u8,
    /// When it was asked last.
    now: Time,
    random: Random,
}

impl Hunt {
    /// A search for a call of `caller` (a number) through these groups in order, trying at most `attempts_max` peers.
    pub fn new(caller: &str, groups: &[usize], attempts_max: u8) -> Self {
        Self {
            caller: caller.to_owned(),
            groups: groups.iter().rev().copied().collect(),
            trunks: Vec::new(),
            tried: Vec::new(),
            full: false,
            unlocated: false,
            retries_left: attempts_max,
            now: Time::ZERO,
            random: Random::new(0),
        }
    }

    /// A search that asks this peer of a trunk and no other, if there is a place.
    pub fn only(caller: &str, trunk: Arc<Trunk>, peer: usize) -> Self {
        let mut hunt = Self::new(caller, &[], 1);
        hunt.trunks.push((trunk, vec![peer]));
        hunt
    }

    /// The same search with this seed of the chance by which addresses found for one name share calls.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::new(seed);
        self
    }

    /// The next peer to try, with a place on its trunk.
    ///
    /// # Errors
    /// [`Dry`] says why there is none.
    pub fn next(&mut self, now: Time, table: &TrunkTable) -> Result<Attempt, Dry> {
        let (seizure, peer) = self.next_by(
            now,
            table,
            |_| true,
            |trunk| trunk.seize(now),
            Seizure::unused,
            |trunk, peer| peer.health.admit(now, &trunk.config.health),
        )?;
        Ok(Attempt { seizure, peer })
    }

    /// The next peer to send a request to that is no call: of a trunk that `passes` lets, in service (it makes no trial of
    /// one that is not), and within its rate. No place is held.
    ///
    /// # Errors
    /// [`Dry`] says why there is none; [`Dry::Tried`] without an attempt, that no trunk passes it.
    pub fn next_outside(
        &mut self,
        now: Time,
        table: &TrunkTable,
        passes: impl Fn(&Trunk) -> bool,
    ) -> Result<(Arc<Trunk>, Arc<Peer>), Dry> {
        let mut passed = false;
        let passes = |trunk: &Trunk| {
            let it = passes(trunk);
            passed |= it;
            it
        };
        let take = |trunk: &Arc<Trunk>| trunk.pass(now).then(|| trunk.clone());
        let is_up = |_: &Trunk, peer: &Peer| peer.state() == link::TrunkState::Up;
        let found = self.next_by(now, table, passes, take, |trunk| trunk.unpass(), is_up);
        match found {
            Err(Dry::Down) if !passed => Err(Dry::Tried),
            found => found,
        }
    }

    fn next_by<T>(
        &mut self,
        now: Time,
        table: &TrunkTable,
        mut passes: impl FnMut(&Trunk) -> bool,
        take: impl Fn(&Arc<Trunk>) -> Option<T>,
        give_back: impl Fn(T),
        admits: impl Fn(&Trunk, &Peer) -> bool,
    ) -> Result<(T, Arc<Peer>), Dry> {
        self.now = now;
        if self.retries_left == 0 {
            return Err(Dry::Tried);
        }
        loop {
            let Some((trunk, mut order)) = self.trunks.pop() else {
                let group = self.groups.pop().ok_or_else(|| self.dry())?;
                for trunk in table.order(now, group, &self.caller).into_iter().rev() {
                    self.unlocated |= trunk.is_unlocated();
                    let order = trunk.draw(&mut self.random);
                    self.trunks.push((trunk, order));
                }
                continue;
            };
            if !passes(&trunk) || !trunk.is_callable(now) {
                continue;
            }
            let Some(peer) = order.pop().and_then(|at| trunk.peers.get(at).cloned()) else { continue };
            self.trunks.push((trunk.clone(), order));
            if self.tried.iter().any(|tried| Arc::ptr_eq(tried, &peer)) {
                continue;
            }
            // The place first: a trial that then found the trunk full would be lost.
            let Some(place) = take(&trunk) else {
                self.full = true;
                self.trunks.pop();
                continue;
            };
            if !admits(&trunk, &peer) {
                give_back(place);
                continue;
            }
            self.tried.push(peer.clone());
            self.retries_left -= 1;
            return Ok((place, peer));
        }
    }

    /// Whether another peer might be asked after the one that was handed out last.
    pub fn has_more(&self) -> bool {
        let untried = |peer: &Arc<Peer>| {
            peer.state() == link::TrunkState::Up && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, peer))
        };
        self.retries_left > 0
            && (!self.groups.is_empty()
                || self.trunks.iter().any(|(trunk, order)| {
                    trunk.is_callable(self.now)
                        && order.iter().filter_map(|at| trunk.peers.get(*at)).any(untried)
                }))
    }

    /// How many peers were tried.
    pub fn attempts(&self) -> usize {
        self.tried.len()
    }

    fn dry(&self) -> Dry {
        match (self.tried.is_empty(), self.full) {
            (false, _) => Dry::Tried,
            (true, true) => Dry::Full,
            (true, false) if self.unlocated => Dry::Unlocated,
            (true, false) => Dry::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Evidence, TrunkConfig};
    use super::*;

    fn table() -> TrunkTable {
        let trunk = |name: &str, port: u16, backup: Option<&str>| {
            let mut config = TrunkConfig::new(name, format!("192.0.2.1:{port}").parse().unwrap());
            config.max_calls = 1;
            config.backup = backup.map(str::to_owned);
            config
        };
        let mut a = trunk("a", 1, Some("b"));
        a.peers.push(super::super::PeerConfig {
            address: "192.0.2.1:11".parse().unwrap(),
            ..a.peers[0].clone()
        });
        TrunkTable::new(vec![a, trunk("b", 2, None)], vec![], None).unwrap()
    }

    fn port(attempt: &Attempt) -> u16 {
        attempt.peer.config.address.port()
    }

    #[test]
    fn tries_each_peer_then_the_backup_then_is_dry() {
        let table = table();
        let mut hunt = Hunt::new("1", &[table.group("a").unwrap()], 10);
        assert!(hunt.has_more());
        let ports: Vec<u16> =
            core::iter::from_fn(|| hunt.next(Time::ZERO, &table).ok().map(|a| port(&a))).collect();
        assert_eq!(ports, [1, 11, 2]);
        assert!(!hunt.has_more());
        assert_eq!(hunt.next(Time::ZERO, &table).unwrap_err(), Dry::Tried);
        assert!(table.trunks().iter().all(|t| t.calls() == 0));
    }

    #[test]
    fn a_full_trunk_goes_to_its_backup_and_all_full_is_said() {
        let table = table();
        let groups = [table.group("a").unwrap()];
        let first = Hunt::new("1", &groups, 10).next(Time::ZERO, &table).unwrap();
        let second = Hunt::new("1", &groups, 10).next(Time::ZERO, &table).unwrap();
        assert_eq!((port(&first), port(&second)), (1, 2));
        assert_eq!(Hunt::new("1", &groups, 10).next(Time::ZERO, &table).unwrap_err(), Dry::Full);
    }

    #[test]
    fn one_peer_alone_can_be_asked() {
        let table = table();
        let trunk = table.trunk("a").unwrap().clone();
        let mut hunt = Hunt::only("1", trunk.clone(), 1);
        let attempt = hunt.next(Time::ZERO, &table).unwrap();
        assert_eq!((port(&attempt), hunt.has_more()), (11, false));
        assert_eq!(hunt.next(Time::ZERO, &table).unwrap_err(), Dry::Tried);
        // The trunk's cap holds, and there is no backup.
        assert_eq!(Hunt::only("1", trunk, 0).next(Time::ZERO, &table).unwrap_err(), Dry::Full);
    }

    #[test]
    fn what_is_not_registered_is_not_asked_unless_it_may() {
        let config = |required| super::super::RegistrationConfig {
            registrar: "sip:carrier.example".into(),
            aor: "sip:a@carrier.example".into(),
            contact_user: "a".into(),
            expires: core::time::Duration::from_secs(60),
            to: super::super::PeerConfig {
                address: "192.0.2.1:5060".parse().unwrap(),
                transport: sip::Transport::Udp,
            },
            is_proxy: false,
            required,
            called_in_to: false,
            retry_base: core::time::Duration::from_secs(30),
            retry_max: core::time::Duration::from_secs(1800),
        };
        for required in [true, false] {
            let mut a = TrunkConfig::new("a", "192.0.2.1:1".parse().unwrap());
            a.register = Some(config(required));
            a.backup = Some("b".into());
            let b = TrunkConfig::new("b", "192.0.2.1:2".parse().unwrap());
            let table = TrunkTable::new(vec![a, b], vec![], None).unwrap();
            let groups = [table.group("a").unwrap()];
            let first = |now| port(&Hunt::new("1", &groups, 10).next(now, &table).unwrap());
            assert_eq!(first(Time::ZERO), if required { 2 } else { 1 });
            let shared = table.trunk("a").unwrap().registration().unwrap();
            shared.tell(Some(Time::from_millis(500)), super::super::RegistrationNews::default());
            assert_eq!(first(Time::ZERO), 1);
            assert_eq!(first(Time::from_millis(500)), if required { 2 } else { 1 });
        }
    }

    #[test]
    fn what_sounds_bad_is_asked_last_and_asked_all_the_same() {
        use super::super::{ENOUGH, GroupConfig, Heard, QualityRule};
        let rule = QualityRule { min_mos: 3600, hold_off: core::time::Duration::from_secs(300) };
        let trunk = |name: &str, port: u16| {
            let mut config = TrunkConfig::new(name, format!("192.0.2.1:{port}").parse().unwrap());
            config.quality = Some(rule);
            config
        };
        let all = GroupConfig {
            name: "all".into(),
            trunks: vec!["a".into(), "b".into()],
            selection: link::Selection::Ordered,
        };
        let table = TrunkTable::new(vec![trunk("a", 1), trunk("b", 2)], vec![all], None).unwrap();
        let ports = |now, group| {
            let mut hunt = Hunt::new("1", &[table.group(group).unwrap()], 10);
            core::iter::from_fn(|| hunt.next(now, &table).ok().map(|it| port(&it))).collect::<Vec<_>>()
        };
        let (early, late) = (Time::from_millis(1000), Time::from_millis(400_000));
        assert_eq!(ports(early, "all"), [1, 2]);
        let bad = Heard { seconds: ENOUGH, mos: 2.0 * ENOUGH as f64, ..Heard::default() };
        let quality = table.trunk("a").unwrap().quality();
        assert_eq!(quality.learn(early, &bad, Some(rule)), Some(true));
        assert_eq!(ports(early, "all"), [2, 1]);
        assert_eq!(ports(early, "a"), [1], "there is no other");
        assert_eq!(ports(late, "all"), [1, 2]);
        // A reload keeps what is known, and a trunk without a rule is not held to one.
        let mut free = trunk("a", 1);
        free.quality = None;
        let again = TrunkTable::new(vec![free, trunk("b", 2)], vec![], Some(&table)).unwrap();
        assert!(again.trunk("a").unwrap().quality().is_avoided(early));
        assert!(!again.trunk("a").unwrap().is_avoided(early));
    }

    #[test]
    fn what_is_down_is_not_asked() {
        let table = table();
        let groups = [table.group("a").unwrap()];
        for trunk in table.trunks() {
            for peer in &trunk.peers {
                peer.health.learn(Time::ZERO, Evidence::Refused, &trunk.config.health);
            }
        }
        assert_eq!(Hunt::new("1", &groups, 10).next(Time::ZERO, &table).unwrap_err(), Dry::Down);
        assert!(table.trunks().iter().all(|t| t.calls() == 0));
    }
}
