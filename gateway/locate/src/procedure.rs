//! The steps of RFC 3263 for one target, taken over what the cache knows: either all is known, or what is to be asked.

use crate::cache::{Cache, Found, Key, Known};
use crate::config::{ALIASES_MAX, Config, PLACES_MAX};
use crate::message::{Kind, Records, Rule, Service};
use crate::name::Name;
use crate::route::{How, Place, Route};
use crate::target::{Target, Transport};
use core::net::{IpAddr, SocketAddr};
use sansio::Time;

/// What came of the steps.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The target is located; so many addresses were too many.
    Located(Route, usize),
    /// These questions come first.
    Ask(Vec<Key>),
    /// It cannot be located: why, and when to try again.
    Nowhere(Nowhere, Time),
}

/// Why a target cannot be located.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// No DNS server answers.
    Unanswered,
    /// There is no such name or it has no address.
    Nothing,
    /// Its SRV record says that the service is not offered (RFC 2782, target ".").
    NotOffered,
    /// It is there, but not over any transport or address family that can be used.
    NotUsable,
}

impl Nowhere {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unanswered => "no DNS server answers",
            Self::Nothing => "DNS knows no such server",
            Self::NotOffered => "DNS says that SIP is not offered there",
            Self::NotUsable => "it offers no transport that can be used",
        }
    }
}

/// Takes the steps for `target`. What was learnt before `since` has to hold until `at`.
pub(crate) fn locate(
    cache: &Cache,
    config: &Config,
    now: Time,
    at: Time,
    since: Time,
    target: &Target,
) -> Verdict {
    let mut search = Search {
        cache,
        config,
        now,
        at,
        since,
        ask: Vec::new(),
        until: None,
        from: None,
        stale: false,
        places: Vec::new(),
        cut: 0,
    };
    let result = search.run(target);
    if !search.ask.is_empty() {
        return Verdict::Ask(search.ask);
    }
    let until = search.until.unwrap_or(now + config.ttl_max);
    match result {
        Ok(how) => {
            let (places, from, stale) = (search.places, search.from, search.stale);
            Verdict::Located(Route { places, how, from, until, stale }, search.cut)
        }
        Err(why) => Verdict::Nowhere(why, until),
    }
}

/// What the cache has under a key.
enum Got<'a> {
    Records(&'a Records),
    Nothing,
    Failed,
    /// It was noted to be asked.
    Awaited,
}

struct Search<'a> {
    cache: &'a Cache,
    config: &'a Config,
    now: Time,
    at: Time,
    since: Time,
    ask: Vec<Key>,
    until: Option<Time>,
    from: Option<SocketAddr>,
    stale: bool,
    places: Vec<Place>,
    cut: usize,
}

impl<'a> Search<'a> {
    fn run(&mut self, target: &Target) -> Result<How, Nowhere> {
        let usable = |transport: &Transport| self.config.transports.contains(transport);
        if target.transport.as_ref().is_some_and(|transport| !usable(transport)) {
            return Err(Nowhere::NotUsable);
        }
        let assumed = target.transport.unwrap_or(Transport::Udp);
        if let Some(addresses) = self.config.hosts.get(&target.host) {
            let port = target.port.unwrap_or_else(|| assumed.port());
            self.put(0, 0, 0, addresses, port, assumed);
            return if self.places.is_empty() { Err(Nowhere::NotUsable) } else { Ok(How::Hosts) };
        }
        // RFC 3263 §4.1: a port means UDP unless another transport is said, and §4.2: address records alone.
        if let Some(port) = target.port {
            return self.addresses(&target.host, port, assumed);
        }
        match target.transport {
            Some(transport) => self.one_service(&target.host, transport),
            None => self.any_service(&target.host),
        }
    }

    /// RFC 3263 §4.2: the transport is known, the port is not.
    fn one_service(&mut self, host: &Name, transport: Transport) -> Result<How, Nowhere> {
        match self.service(host.under(transport.service()).as_ref(), transport, 0) {
            Err(Nowhere::Nothing) if self.ask.is_empty() => self.addresses(host, transport.port(), transport),
            other => other.map(|_| How::Srv),
        }
    }

    /// RFC 3263 §4.1: neither is known.
    fn any_service(&mut self, host: &Name) -> Result<How, Nowhere> {
        match self.get(host, Kind::Naptr) {
            Got::Awaited => return Err(Nowhere::Nothing),
            Got::Records(Records::Rules(rules)) => {
                if let Some(result) = self.follow(rules) {
                    return result.map(|()| How::Naptr);
                }
            }
            // Servers that do not know this kind of record fail rather than say so.
            _ => {}
        }
        let mut worst = Nowhere::Nothing;
        let config = self.config;
        for transport in &config.transports {
            match self.service(host.under(transport.service()).as_ref(), *transport, 0) {
                Ok(_) => return Ok(How::Srv),
                Err(_) if !self.ask.is_empty() => return Err(Nowhere::Nothing),
                Err(Nowhere::Nothing) => {}
                Err(why) => worst = why,
            }
        }
        // Only a domain that decidedly has no SRV record is a host itself.
        if worst != Nowhere::Nothing {
            return Err(worst);
        }
        let first = config.transports.first().copied().unwrap_or(Transport::Udp);
        let assumed = if config.transports.contains(&Transport::Udp) { Transport::Udp } else { first };
        self.addresses(host, assumed.port(), assumed)
    }

    /// Takes the NAPTR records for SIP that can be used, those of the first usable order by preference; `None` if there
    /// is none for SIP at all.
    fn follow(&mut self, rules: &[Rule]) -> Option<Result<(), Nowhere>> {
        let for_sip = |rule: &&Rule| matches!(rule.services.as_str(), "sip+d2u" | "sip+d2t" | "sips+d2t");
        rules.iter().find(for_sip)?;
        let mut worst = Nowhere::NotUsable;
        let mut taken: Option<u16> = None;
        let mut tier = 0;
        for rule in rules {
            let transport = match rule.services.as_str() {
                "sip+d2u" => Transport::Udp,
                "sip+d2t" => Transport::Tcp,
                "sips+d2t" => Transport::Tls,
                _ => continue,
            };
            if rule.flags != "s" || !self.config.transports.contains(&transport) {
                continue;
            }
            // RFC 3403 §4.1: once a record was taken, those of another order are of no concern.
            if taken.is_some_and(|order| order != rule.order) {
                break;
            }
            match self.service(rule.replacement.as_ref(), transport, tier) {
                Ok(next) => (taken, tier) = (Some(rule.order), next),
                Err(_) if !self.ask.is_empty() => return Some(Err(Nowhere::Nothing)),
                Err(why) => worst = why,
            }
        }
        Some(if taken.is_some() { Ok(()) } else { Err(worst) })
    }

    /// Takes the SRV records of a name from tier `tier` on; tells the next tier.
    fn service(&mut self, name: Option<&Name>, transport: Transport, tier: u16) -> Result<u16, Nowhere> {
        let Some(name) = name else { return Err(Nowhere::Nothing) };
        let services = match self.get(name, Kind::Srv) {
            Got::Records(Records::Services(services)) => services,
            Got::Failed => return Err(Nowhere::Unanswered),
            _ => return Err(Nowhere::Nothing),
        };
        if let [Service { host: None, .. }] = services.as_slice() {
            return Err(Nowhere::NotOffered);
        }
        let (mut next, before, mut failed) = (tier, self.places.len(), false);
        for same in services.chunk_by(|a, b| a.priority == b.priority) {
            for (record, service) in (0u16..).zip(same) {
                let Some(host) = &service.host else { continue };
                let found = self.host(host, service.port, transport, next, record, service.weight);
                failed |= found == Err(Nowhere::Unanswered);
            }
            next += 1;
        }
        if self.places.len() > before {
            Ok(next)
        } else {
            Err(if failed { Nowhere::Unanswered } else { Nowhere::NotUsable })
        }
    }

    fn addresses(&mut self, host: &Name, port: u16, transport: Transport) -> Result<How, Nowhere> {
        self.host(host, port, transport, 0, 0, 0).map(|()| How::Address)
    }

    /// Takes the addresses of a host.
    fn host(
        &mut self,
        host: &Name,
        port: u16,
        transport: Transport,
        tier: u16,
        record: u16,
        weight: u16,
    ) -> Result<(), Nowhere> {
        let before = self.places.len() + self.cut;
        let config = self.config;
        if let Some(addresses) = config.hosts.get(host) {
            self.put(tier, record, weight, addresses, port, transport);
        } else {
            let mut failed = false;
            // All that is missing is asked at once.
            for v6 in &config.families {
                match self.get(host, if *v6 { Kind::Aaaa } else { Kind::A }) {
                    Got::Records(Records::Addresses(addresses)) => {
                        self.put(tier, record, weight, addresses, port, transport);
                    }
                    Got::Failed => failed = true,
                    _ => {}
                }
            }
            if failed && self.places.len() + self.cut == before {
                return Err(Nowhere::Unanswered);
            }
        }
        if self.places.len() + self.cut > before { Ok(()) } else { Err(Nowhere::Nothing) }
    }

    fn put(
        &mut self,
        tier: u16,
        record: u16,
        weight: u16,
        addresses: &[IpAddr],
        port: u16,
        transport: Transport,
    ) {
        for (rank, v6) in (0u8..).zip(&self.config.families) {
            for ip in addresses.iter().filter(|ip| ip.is_ipv6() == *v6) {
                if port == 0 || !callable(*ip) {
                    continue;
                }
                let address = SocketAddr::new(*ip, port);
                if self.places.iter().any(|p| p.address == address && p.transport == transport) {
                    continue;
                }
                if self.places.len() >= PLACES_MAX {
                    self.cut += 1;
                    continue;
                }
                self.places.push(Place { tier, record, weight, family: rank, address, transport });
            }
        }
    }

    /// Looks into the cache, through aliases, and notes what has to be asked and until when all this holds.
    fn get(&mut self, name: &Name, kind: Kind) -> Got<'a> {
        let mut key = (name.clone(), kind);
        for _ in 0..=ALIASES_MAX {
            let entry = match self.cache.find(self.now, self.at, self.since, &key) {
                Found::Ask => {
                    if !self.ask.contains(&key) {
                        self.ask.push(key);
                    }
                    return Got::Awaited;
                }
                Found::Failed(retry) => {
                    self.holds(retry);
                    return Got::Failed;
                }
                Found::Fresh(entry) => {
                    self.holds(entry.until);
                    entry
                }
                Found::Stale(entry, retry) => {
                    self.holds(retry);
                    self.stale = true;
                    entry
                }
            };
            self.from = entry.from;
            match &entry.known {
                Known::Records(records) => return Got::Records(records),
                Known::Alias(alias) => key.0 = alias.clone(),
                Known::Nothing | Known::Unknown => return Got::Nothing,
            }
        }
        Got::Nothing
    }

    fn holds(&mut self, until: Time) {
        self.until = Some(self.until.map_or(until, |known| known.min(until)));
    }
}

/// Whether a server can be at an address: a wildcard would be this host itself, an IPv4 address in IPv6 clothes is no
/// IPv6 address, and a link-local one says nothing without its interface.
const fn callable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => {
            let unusual = ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local();
            !unusual && ip.to_ipv4_mapped().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// A little DNS that answers at once.
    struct World {
        cache: Cache,
        config: Config,
        zone: Vec<(&'static str, Records)>,
        asked: Vec<String>,
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn a(last: u8) -> Records {
        Records::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))])
    }

    fn srv(services: &[(u16, u16, u16, &str)]) -> Records {
        let service = |s: &(u16, u16, u16, &str)| Service {
            priority: s.0,
            weight: s.1,
            port: s.2,
            host: (s.3 != ".").then(|| name(s.3)),
        };
        Records::Services(services.iter().map(service).collect())
    }

    fn naptr(rules: &[(u16, u16, &str, &str)]) -> Records {
        let rule = |r: &(u16, u16, &str, &str)| Rule {
            order: r.0,
            preference: r.1,
            flags: "s".into(),
            services: r.2.into(),
            replacement: Some(name(r.3)),
        };
        Records::Rules(rules.iter().map(rule).collect())
    }

    fn world(zone: Vec<(&'static str, Records)>) -> World {
        World { cache: Cache::default(), config: Config::default(), zone, asked: Vec::new() }
    }

    impl World {
        fn locate(&mut self, target: &str) -> Result<Vec<String>, Nowhere> {
            let target: Target = target.parse().unwrap();
            let server = "192.0.2.53:53".parse().unwrap();
            for _ in 0..50 {
                let now = Time::ZERO;
                match locate(&self.cache, &self.config, now, now, now, &target) {
                    Verdict::Ask(keys) => {
                        for key in keys {
                            self.asked.push(format!("{:?} {}", key.1, key.0));
                            let fits = |records: &Records| match records {
                                Records::Addresses(all) => {
                                    (key.1 == Kind::Aaaa) == all[0].is_ipv6()
                                        && matches!(key.1, Kind::A | Kind::Aaaa)
                                }
                                Records::Services(_) => key.1 == Kind::Srv,
                                Records::Rules(_) => key.1 == Kind::Naptr,
                            };
                            let found = self.zone.iter().find(|(n, r)| name(n) == key.0 && fits(r));
                            let known = found.map_or(Known::Nothing, |(_, r)| Known::Records(r.clone()));
                            self.cache.learn(now, &self.config, key, known, 60, server);
                        }
                    }
                    Verdict::Located(route, _) => {
                        let place = |p: &Place| format!("{} {} {}", p.tier, p.address, p.transport.as_str());
                        return Ok(route.places.iter().map(place).collect());
                    }
                    Verdict::Nowhere(why, _) => return Err(why),
                }
            }
            panic!("no end of questions: {:?}", self.asked);
        }
    }

    /// RFC 3263 §4.1, its own example: NAPTR, then SRV, then addresses.
    #[test]
    fn naptr_leads_to_srv_leads_to_addresses() {
        let mut world = world(vec![
            (
                "example.com",
                naptr(&[
                    (50, 50, "sips+d2t", "_sips._tcp.example.com"),
                    (90, 50, "sip+d2t", "_sip._tcp.example.com"),
                    (100, 50, "sip+d2u", "_sip._udp.example.com"),
                ]),
            ),
            (
                "_sip._tcp.example.com",
                srv(&[(0, 1, 5060, "server1.example.com"), (1, 2, 5070, "server2.example.com")]),
            ),
            ("server1.example.com", a(1)),
            ("server2.example.com", a(2)),
        ]);
        let located = world.locate("example.com").unwrap();
        assert_eq!(located, ["0 192.0.2.1:5060 tcp", "1 192.0.2.2:5070 tcp"]);
        assert!(!world.asked.iter().any(|q| q.contains("_udp") || q.contains("_sips")), "{:?}", world.asked);
    }

    /// RFC 3263 §4.1: without NAPTR, SRV of each transport; RFC 3263 §4.2: without those, the name is a host.
    #[test]
    fn without_naptr_srv_and_without_srv_addresses() {
        let mut both = world(vec![
            ("_sip._tcp.a.example", srv(&[(0, 0, 5062, "h.a.example")])),
            ("h.a.example", a(7)),
            ("a.example", a(8)),
        ]);
        assert_eq!(both.locate("a.example").unwrap(), ["0 192.0.2.7:5062 tcp"]);
        assert_eq!(both.asked[..2], ["Naptr a.example", "Srv _sip._udp.a.example"]);
        let mut host = world(vec![("a.example", a(8))]);
        assert_eq!(host.locate("a.example").unwrap(), ["0 192.0.2.8:5060 udp"]);
        assert_eq!(world(vec![]).locate("a.example"), Err(Nowhere::Nothing));
    }

    /// RFC 3263 §4.2: a port given means address records alone; a transport given means its SRV records.
    #[test]
    fn port_and_transport_shorten_the_way() {
        let zone = || {
            vec![
                ("_sip._tcp.a.example", srv(&[(0, 0, 5062, "h.a.example")])),
                ("h.a.example", a(7)),
                ("a.example", a(8)),
            ]
        };
        let mut port = world(zone());
        assert_eq!(port.locate("a.example:5080").unwrap(), ["0 192.0.2.8:5080 udp"]);
        assert_eq!(port.asked, ["A a.example"]);
        assert_eq!(world(zone()).locate("a.example:5080;transport=tcp").unwrap(), ["0 192.0.2.8:5080 tcp"]);
        let mut tcp = world(zone());
        assert_eq!(tcp.locate("a.example;transport=tcp").unwrap(), ["0 192.0.2.7:5062 tcp"]);
        assert_eq!(tcp.asked, ["Srv _sip._tcp.a.example", "A h.a.example"]);
        assert_eq!(world(zone()).locate("a.example;transport=udp").unwrap(), ["0 192.0.2.8:5060 udp"]);
        assert_eq!(world(zone()).locate("a.example;transport=tls"), Err(Nowhere::NotUsable));
    }

    /// RFC 2782: the target "." says that the service is not offered; the name's own address is not tried then.
    #[test]
    fn a_service_that_is_not_offered_is_not_looked_for_elsewhere() {
        let zone = vec![("_sip._udp.a.example", srv(&[(0, 0, 0, ".")])), ("a.example", a(8))];
        assert_eq!(world(zone.clone()).locate("a.example;transport=udp"), Err(Nowhere::NotOffered));
        assert_eq!(world(zone).locate("a.example"), Err(Nowhere::NotOffered));
    }

    #[test]
    fn naptr_of_one_order_are_all_taken_and_a_dead_one_gives_way() {
        let mut world = world(vec![
            (
                "a.example",
                naptr(&[
                    (10, 1, "sip+d2u", "gone.a.example"),
                    (20, 1, "sip+d2t", "t.a.example"),
                    (20, 2, "sip+d2u", "u.a.example"),
                    (30, 1, "sip+d2u", "other.a.example"),
                ]),
            ),
            ("t.a.example", srv(&[(0, 0, 5060, "h.a.example"), (5, 0, 5061, "h.a.example")])),
            ("u.a.example", srv(&[(0, 0, 5060, "h.a.example")])),
            ("h.a.example", a(1)),
        ]);
        let located = world.locate("a.example").unwrap();
        assert_eq!(located, ["0 192.0.2.1:5060 tcp", "1 192.0.2.1:5061 tcp", "2 192.0.2.1:5060 udp"]);
    }

    #[test]
    fn aliases_are_followed_and_circles_end() {
        let (now, server) = (Time::ZERO, "192.0.2.53:53".parse().unwrap());
        let config = Config::default();
        let target: Target = "a.example:5060".parse().unwrap();
        let mut cache = Cache::default();
        let mut learn = |from: &str, known| {
            cache.learn(now, &config, (name(from), Kind::A), known, 60, server);
        };
        learn("a.example", Known::Alias(name("b.example")));
        learn("b.example", Known::Records(a(3)));
        assert!(matches!(locate(&cache, &config, now, now, now, &target), Verdict::Located(..)));
        cache.learn(now, &config, (name("b.example"), Kind::A), Known::Alias(name("a.example")), 60, server);
        assert!(matches!(locate(&cache, &config, now, now, now, &target), Verdict::Nowhere(..)));
    }

    #[test]
    fn the_hosts_file_answers_without_dns_and_what_nobody_can_be_called_at_is_left_out() {
        let mut world = world(vec![("b.example", Records::Addresses(vec!["0.0.0.0".parse().unwrap()]))]);
        world.config.hosts.insert(name("a.example"), vec!["192.0.2.9".parse().unwrap()]);
        assert_eq!(world.locate("a.example").unwrap(), ["0 192.0.2.9:5060 udp"]);
        assert!(world.asked.is_empty());
        assert_eq!(world.locate("b.example:5060"), Err(Nowhere::Nothing));
    }
}
