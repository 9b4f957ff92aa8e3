//! Banned sources and alarms, as the shards told: kept for the API.

use link::{Alarm, Ban, UnixMicros};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Bans remembered at most.
const BANS: usize = 100_000;
/// Alarms remembered.
const ALARMS: usize = 256;

/// What is known of abuse.
#[derive(Debug, Default)]
pub(crate) struct Abuse {
    bans: BTreeMap<IpAddr, Ban>,
    alarms: VecDeque<Alarm>,
    /// Bans by reason, since the start.
    pub(crate) banned: [u64; link::BanReason::ALL.len()],
    /// Bans lifted.
    pub(crate) lifted: u64,
    /// Bans not listed since there were too many.
    pub(crate) unlisted: u64,
    /// Alarms, by kind.
    pub(crate) alarmed: [u64; link::AlarmKind::ALL.len()],
}

impl Abuse {
    /// A shard banned a source.
    pub(crate) fn take_ban(&mut self, now: UnixMicros, ban: Ban) {
        self.banned[ban.reason as usize] += 1;
        if self.bans.len() >= BANS {
            self.bans.retain(|_, ban| ban.until > now);
        }
        if self.bans.len() >= BANS && !self.bans.contains_key(&ban.source) {
            self.unlisted += 1;
            return;
        }
        self.bans.insert(ban.source, ban);
    }

    /// A shard raised an alarm.
    pub(crate) fn take_alarm(&mut self, alarm: Alarm) {
        let kinds = self.alarmed.iter_mut().zip(link::AlarmKind::ALL);
        kinds.filter(|(_, (kind, _))| *kind == alarm.kind).for_each(|(count, _)| *count += 1);
        if self.alarms.len() == ALARMS {
            self.alarms.pop_front();
        }
        self.alarms.push_back(alarm);
    }

    /// The bans in force, by source.
    pub(crate) fn bans(&mut self, now: UnixMicros) -> Vec<Ban> {
        self.bans.retain(|_, ban| ban.until > now);
        self.bans.values().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self, now: UnixMicros) -> usize {
        self.bans.values().filter(|ban| ban.until > now).count()
    }

    /// The last alarms, newest first.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        self.alarms.iter().rev().cloned().collect()
    }

    /// Forgets the ban of a source, or all; tells how many there were.
    pub(crate) fn lift(&mut self, now: UnixMicros, source: Option<IpAddr>) -> usize {
        let before = self.bans(now).len();
        match source.map(network) {
            Some(source) => drop(self.bans.remove(&source)),
            None => self.bans.clear(),
        }
        let lifted = before - self.bans.len();
        self.lifted += lifted as u64;
        lifted
    }
}

/// How a ban names a source: an IPv4 address, or the first address of a /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::{AlarmKind, BanReason};

    fn ban(source: &str, until: u64) -> Ban {
        Ban {
            source: source.parse().unwrap(),
            reason: BanReason::Scanner,
            evidence: "test".into(),
            since: UnixMicros(0),
            until: UnixMicros(until),
            times: 1,
        }
    }

    #[test]
    fn bans_are_listed_until_they_end_or_are_lifted() {
        let mut abuse = Abuse::default();
        for (source, until) in [("192.0.2.1", 10), ("192.0.2.2", 20), ("2001:db8::", 20)] {
            abuse.take_ban(UnixMicros(0), ban(source, until));
        }
        assert_eq!((abuse.bans(UnixMicros(9)).len(), abuse.bans(UnixMicros(10)).len()), (3, 2));
        assert_eq!(abuse.lift(UnixMicros(11), Some("192.0.2.1".parse().unwrap())), 0, "over already");
        assert_eq!(
            abuse.lift(UnixMicros(11), Some("2001:db8::99".parse().unwrap())),
            1,
            "any of its network"
        );
        assert_eq!(abuse.lift(UnixMicros(11), None), 1);
        assert_eq!((abuse.count(UnixMicros(11)), abuse.lifted, abuse.banned[0]), (0, 2, 3));
    }

    #[test]
    fn the_last_alarms_are_kept_newest_first() {
        let mut abuse = Abuse::default();
        for at in 0..300 {
            let kind = AlarmKind::Fraud;
            let (rule, who, what) = ("r".into(), "all".into(), "w".into());
            abuse.take_alarm(Alarm {
                at: UnixMicros(at),
                kind,
                rule,
                who,
                what,
                refused: false,
                session_id: None,
            });
        }
        let alarms = abuse.alarms();
        assert_eq!((alarms.len(), alarms[0].at, abuse.alarmed), (256, UnixMicros(299), [300, 0, 0, 0]));
    }
}
