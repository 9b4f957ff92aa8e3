//! The network: what becomes of a datagram between two hosts. Small, seeded, without IO of its own.

use crate::log::digest;
use sansio::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How one direction between two hosts behaves. The default is a perfect line of 1 ms.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Time on the way.
    pub delay: Duration,
    /// Added to the delay, drawn evenly from zero; packets of one link keep their order unless reordered.
    pub jitter: Duration,
    /// Chance that a datagram is lost.
    pub loss: f64,
    /// Chance that a datagram arrives twice.
    pub duplicate: f64,
    /// Chance that a datagram is held back by up to `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered datagram is held back at most.
    pub reorder_by: Duration,
    /// Datagrams with more bytes than this are lost (a broken path that drops fragments); 0: no limit.
    pub mtu: usize,
    /// Chance that a refusal (ICMP) comes back for a datagram to a port that nobody listens on.
    pub icmp: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(50),
            mtu: 0,
            icmp: 1.0,
        }
    }
}

/// What the network did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Datagrams handed to the network.
    pub sent: u64,
    /// Datagrams lost by chance, by size or in a partition.
    pub lost: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
    /// Datagrams held back.
    pub reordered: u64,
}

/// What the way does to a datagram's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its end is cut off.
    Short,
    /// One byte is another one.
    Garbled,
}

impl Damage {
    /// Does it to the `number`-th datagram of a run: the place is any, and always the same one.
    pub fn befall(self, number: u64, payload: &mut Vec<u8>) {
        if payload.is_empty() {
            return;
        }
        let place = (digest(&number.to_le_bytes()) % payload.len() as u64) as usize;
        match self {
            Self::Short => payload.truncate(place),
            // Its neighbour among digits or letters: what can still be read is the worst.
            Self::Garbled => payload[place] ^= 1,
        }
    }
}

/// When the copies of a datagram arrive: none, one or two; and in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The datagram itself.
    pub first: Option<Time>,
    /// Its duplicate.
    pub second: Option<Time>,
    /// When the sender hears that nobody listens there (ICMP), whether that is so or not.
    pub refused: Option<Time>,
    /// What happened to its bytes, and its number.
    pub damage: Option<(Damage, u64)>,
}

/// What happens to one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Lost,
    Double,
    Held(Duration),
    Stalled(Duration),
    Refused,
    Damaged(Damage),
}

/// A datagram that was handed to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When.
    pub at: Time,
    /// The host that sent it.
    pub from: IpAddr,
    /// The host it is for.
    pub to: IpAddr,
}

/// A message none of whose copies arrives before a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    from: IpAddr,
    to: IpAddr,
    content: u64,
    until: Time,
}

/// The links between hosts, by IP address.
#[derive(Debug)]
pub struct Network {
    random: Random,
    default: Link,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    /// What happens to single datagrams (counted from 0 over everything sent) whatever the links say.
    marked: BTreeMap<u64, Mark>,
    stalls: Vec<Stall>,
    /// Every datagram handed to the network, in order, if that is kept.
    passages: Option<Vec<Passage>>,
    last: BTreeMap<(IpAddr, IpAddr), Time>,
    stats: NetworkStats,
}

impl Network {
    /// A network whose links all behave like `default`.
    pub const fn new(random: Random, default: Link) -> Self {
        Self {
            random,
            default,
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            marked: BTreeMap::new(),
            stalls: Vec::new(),
            passages: None,
            last: BTreeMap::new(),
            stats: NetworkStats { sent: 0, lost: 0, duplicated: 0, reordered: 0 },
        }
    }

    /// Sets how the direction `from` → `to` behaves.
    pub fn set(&mut self, from: IpAddr, to: IpAddr, link: Link) {
        self.links.insert((from, to), link);
    }

    /// Sets how all links behave that have no own setting.
    pub fn set_default(&mut self, link: Link) {
        self.default = link;
    }

    /// Cuts the direction `from` → `to`: nothing passes until [`Self::heal`].
    pub fn cut(&mut self, from: IpAddr, to: IpAddr) {
        self.cuts.insert((from, to));
    }

    /// Cuts both directions between two hosts.
    pub fn part(&mut self, one: IpAddr, other: IpAddr) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Restores both directions between two hosts.
    pub fn heal(&mut self, one: IpAddr, other: IpAddr) {
        self.cuts.remove(&(one, other));
        self.cuts.remove(&(other, one));
    }

    /// Loses the `number`-th datagram (from 0) of the whole run.
    pub fn doom(&mut self, number: u64) {
        self.marked.insert(number, Mark::Lost);
    }

    /// Delivers the `number`-th datagram twice.
    pub fn double(&mut self, number: u64) {
        self.marked.insert(number, Mark::Double);
    }

    /// Holds the `number`-th datagram back by `span`, so that later ones overtake it.
    pub fn hold(&mut self, number: u64, span: Duration) {
        self.marked.insert(number, Mark::Held(span));
    }

    /// Holds the `number`-th datagram and every later copy of it between the same hosts back until `span` after it was
    /// first sent: to both ends the message is lost with all its retransmissions, and comes when nobody expects it any more.
    pub fn stall(&mut self, number: u64, span: Duration) {
        self.marked.insert(number, Mark::Stalled(span));
    }

    /// Loses the `number`-th datagram, and has its sender told that nobody listens where it was sent (ICMP).
    pub fn refuse(&mut self, number: u64) {
        self.marked.insert(number, Mark::Refused);
    }

    /// Damages the `number`-th datagram on its way.
    pub fn damage(&mut self, number: u64, damage: Damage) {
        self.marked.insert(number, Mark::Damaged(damage));
    }

    /// Keeps a list of every datagram from now on.
    pub fn keep_passages(&mut self) {
        self.passages = Some(Vec::new());
    }

    /// Every datagram since [`Self::keep_passages`], in the order of their numbers.
    pub fn passages(&self) -> &[Passage] {
        self.passages.as_deref().unwrap_or_default()
    }

    /// Whether `from` → `to` is cut.
    pub fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// How the direction `from` → `to` behaves.
    pub fn link(&self, from: IpAddr, to: IpAddr) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.default)
    }

    /// Decides about a datagram that leaves now.
    pub fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Fate {
        let (from, to) = (from.ip(), to.ip());
        let len = payload.len();
        let link = self.link(from, to);
        let number = self.stats.sent;
        self.stats.sent += 1;
        // Drawn in any case, so that a cut or a doomed packet does not change what happens to the others.
        let (lost, twice, held) = (
            self.random.chance(link.loss),
            self.random.chance(link.duplicate),
            self.random.chance(link.reorder),
        );
        let first = self.arrival(now, from, to, link, held);
        let second = now + link.delay + self.up_to(link.jitter) + self.up_to(link.reorder_by);
        let oversize = link.mtu != 0 && len > link.mtu;
        if let Some(passages) = &mut self.passages {
            passages.push(Passage { at: now, from, to });
        }
        let mark = self.marked.get(&number);
        if let Some(Mark::Stalled(span)) = mark {
            self.stalls.push(Stall { from, to, content: digest(payload), until: now + *span });
        }
        let lost = lost || mark == Some(&Mark::Lost);
        if lost || oversize || self.is_cut(from, to) {
            self.stats.lost += 1;
            return Fate::default();
        }
        match mark {
            Some(Mark::Held(span)) => {
                self.stats.reordered += 1;
                return Fate { first: Some(now + link.delay + *span), ..Fate::default() };
            }
            Some(Mark::Refused) => {
                self.stats.lost += 1;
                return Fate { refused: Some(first + link.delay), ..Fate::default() };
            }
            Some(Mark::Damaged(damage)) => {
                return Fate { first: Some(first), damage: Some((*damage, number)), ..Fate::default() };
            }
            _ => {}
        }
        let stalled = self
            .stalls
            .iter()
            .find(|it| (it.from, it.to) == (from, to) && it.until > now && it.content == digest(payload));
        if let Some(stall) = stalled {
            self.stats.reordered += 1;
            return Fate { first: Some(stall.until), ..Fate::default() };
        }
        let twice = twice || mark == Some(&Mark::Double);
        self.stats.duplicated += u64::from(twice);
        self.stats.reordered += u64::from(held);
        Fate { first: Some(first), second: twice.then_some(second), ..Fate::default() }
    }

    fn arrival(&mut self, now: Time, from: IpAddr, to: IpAddr, link: Link, held: bool) -> Time {
        let arrival = now + link.delay + self.up_to(link.jitter);
        if held {
            return arrival + self.up_to(link.reorder_by);
        }
        let last = self.last.entry((from, to)).or_default();
        *last = (*last).max(arrival);
        *last
    }

    /// Whether a refusal finds its way back, and how long it takes.
    pub fn refusal(&mut self, from: IpAddr, to: IpAddr) -> Option<Duration> {
        let link = self.link(from, to);
        (self.random.chance(link.icmp) && !self.is_cut(from, to)).then_some(link.delay)
    }

    /// How long one step of a stream takes (no loss: the streams are reliable), in the direction given.
    pub fn step(&mut self, from: IpAddr, to: IpAddr) -> Duration {
        let link = self.link(from, to);
        // A lost segment is sent again by the host: late, not lost.
        let again = if self.random.chance(link.loss) { Duration::from_millis(200) } else { Duration::ZERO };
        link.delay + self.up_to(link.jitter) + again
    }

    /// Randomness for decisions on streams.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.random.below(span.as_nanos() as u64 + 1))
    }

    /// What it did so far.
    pub const fn stats(&self) -> NetworkStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> (SocketAddr, SocketAddr) {
        ("10.0.0.1:5060".parse().unwrap(), "10.0.0.2:5060".parse().unwrap())
    }

    #[test]
    fn a_plain_link_keeps_order_in_spite_of_jitter() {
        let link = Link { jitter: Duration::from_millis(30), ..Link::default() };
        let mut network = Network::new(Random::new(3), link);
        let (a, b) = addresses();
        let times: Vec<_> =
            (0..200).map(|at| network.send(Time::from_millis(at), a, b, b"x").first.unwrap()).collect();
        assert!(times.is_sorted());
        assert_eq!(network.stats(), NetworkStats { sent: 200, ..NetworkStats::default() });
    }

    #[test]
    fn loss_duplication_and_reordering_come_as_often_as_asked_for() {
        let link = Link { loss: 0.1, duplicate: 0.2, reorder: 0.3, ..Link::default() };
        let mut network = Network::new(Random::new(4), link);
        let (a, b) = addresses();
        let mut previous = Time::ZERO;
        let mut overtaken = 0;
        for at in 0..10_000 {
            if let Some(first) = network.send(Time::from_millis(at), a, b, b"x").first {
                overtaken += u32::from(first < previous);
                previous = first;
            }
        }
        let stats = network.stats();
        assert!((800..1200).contains(&stats.lost), "{stats:?}");
        assert!((1500..2100).contains(&stats.duplicated), "{stats:?}");
        assert!((2300..3100).contains(&stats.reordered), "{stats:?}");
        assert!(overtaken > 1000, "{overtaken}");
    }

    #[test]
    fn a_cut_is_one_way_and_heals() {
        let mut network = Network::new(Random::new(5), Link::default());
        let (a, b) = addresses();
        network.cut(a.ip(), b.ip());
        assert_eq!(network.send(Time::ZERO, a, b, b"x").first, None);
        assert!(network.send(Time::ZERO, b, a, b"x").first.is_some());
        network.heal(a.ip(), b.ip());
        assert!(network.send(Time::ZERO, a, b, b"x").first.is_some());
        network.doom(4);
        assert!(network.send(Time::ZERO, a, b, b"x").first.is_some());
        assert_eq!(network.send(Time::ZERO, a, b, b"x").first, None, "number 4 is doomed");
    }

    #[test]
    fn a_refused_datagram_is_lost_and_its_sender_told_and_a_damaged_one_arrives() {
        let mut network = Network::new(Random::new(6), Link::default());
        let (a, b) = addresses();
        network.refuse(0);
        network.damage(1, Damage::Short);
        let fate = network.send(Time::ZERO, a, b, b"x");
        assert_eq!((fate.first, fate.refused), (None, Some(Time::from_millis(2))));
        let fate = network.send(Time::ZERO, a, b, b"x");
        assert_eq!((fate.first, fate.damage), (Some(Time::from_millis(1)), Some((Damage::Short, 1))));
        let mut bytes = b"OPTIONS sip:1@2 SIP/2.0".to_vec();
        Damage::Garbled.befall(3, &mut bytes);
        assert_eq!(bytes.iter().zip(b"OPTIONS sip:1@2 SIP/2.0").filter(|(a, b)| a != b).count(), 1);
        Damage::Short.befall(3, &mut bytes);
        assert!(bytes.len() < 23);
    }

    #[test]
    fn a_stalled_message_comes_late_with_all_its_copies_and_nothing_else_does() {
        let mut network = Network::new(Random::new(6), Link::default());
        let (a, b) = addresses();
        network.stall(0, Duration::from_secs(40));
        let (early, late) = (Time::from_millis(500), Time::from_millis(40_000));
        assert_eq!(network.send(Time::ZERO, a, b, b"x").first, Some(late));
        assert_eq!(network.send(early, a, b, b"x").first, Some(late));
        assert_eq!(network.send(early, a, b, b"y").first, Some(Time::from_millis(501)));
        assert_eq!(network.send(early, b, a, b"x").first, Some(Time::from_millis(501)));
        assert_eq!(network.send(late, a, b, b"x").first, Some(Time::from_millis(40_001)));
    }
}
