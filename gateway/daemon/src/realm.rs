//! `[[realm]]`: the networks that the gateway joins, and the addresses that it has in each.

use crate::config::{ConfigError, File};
use crate::nat;
use serde::Deserialize;
use sip::Transport;
use std::net::{IpAddr, SocketAddr};
use switch::trunk::TrunkConfig;
use switch::{Network, RtpPorts, realm_of};

/// One network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realm {
    /// Its name, for trunks and in what is told.
    pub name: String,
    /// SIP addresses in it, each served over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// SIP addresses in it served over TLS.
    #[serde(default)]
    pub tls_listen: Vec<SocketAddr>,
    /// Over WebSocket.
    #[serde(default)]
    pub ws_listen: Vec<SocketAddr>,
    /// Over WebSocket and TLS.
    #[serde(default)]
    pub wss_listen: Vec<SocketAddr>,
    /// Addresses to name in SIP there instead of those bound, one of each family.
    #[serde(default)]
    pub advertise: Vec<IpAddr>,
    /// Networks whose addresses belong to it.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Addresses for RTP; those of `listen` if left out.
    #[serde(default)]
    pub rtp_address: Vec<IpAddr>,
    /// Ports for RTP and RTCP there; those of `[media]` if left out.
    #[serde(default)]
    pub rtp_ports: Option<String>,
    /// Addresses to name in SDP there instead of those bound, one of each family; those of `advertise` if left out.
    #[serde(default)]
    pub rtp_advertise: Vec<IpAddr>,
    /// Where requests inside calls of its peers go: `auto`, `always` or `never`; as in `[nat]` if left out.
    #[serde(default)]
    pub nat: Option<String>,
}

/// What a realm opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmAddresses {
    /// Its name.
    pub name: String,
    /// Its SIP addresses.
    pub listen: Vec<SocketAddr>,
    /// Those for connections only.
    pub streams: Vec<(Transport, SocketAddr)>,
    /// Addresses to name in SIP.
    pub advertise: Vec<IpAddr>,
    /// Addresses to open RTP ports on.
    pub media: Vec<IpAddr>,
    /// Which ports.
    pub rtp_ports: RtpPorts,
    /// Addresses to name in SDP.
    pub rtp_advertise: Vec<IpAddr>,
}

/// Checks the realms, and that each trunk's is one of them that can reach it.
pub(crate) fn resolve(
    file: &File,
    trunks: &[TrunkConfig],
    rtp_ports: RtpPorts,
    at: &dyn Fn(&str) -> String,
) -> Result<(Vec<RealmAddresses>, Vec<switch::Realm>), ConfigError> {
    let mut addresses: Vec<RealmAddresses> = Vec::new();
    let mut realms: Vec<switch::Realm> = Vec::new();
    for realm in &file.realms {
        let key = |key: &str| at(&format!("realm \"{}\": {key}", realm.name));
        if realm.name.is_empty() {
            return Err(ConfigError::new(key("name"), "give the realm a name"));
        }
        if realms.iter().any(|other| other.name == realm.name) {
            return Err(ConfigError::new(key("name"), "two realms have it; give each its own"));
        }
        let opened = opened(realm, rtp_ports, &key)?;
        apart(&opened, &addresses, file, rtp_ports, &key)?;
        let networks = networks(realm, &realms, &key)?;
        let rule = realm.nat.as_deref().map(nat::rule).transpose();
        let nat = rule.map_err(|error| ConfigError::new(key("nat"), error))?;
        let (listeners, media) = (Vec::new(), Vec::new());
        realms.push(switch::Realm { name: realm.name.clone(), networks, nat, listeners, media });
        addresses.push(opened);
    }
    for trunk in trunks {
        reached(trunk, file, &realms, at)?;
    }
    Ok((addresses, realms))
}

fn opened(
    realm: &Realm,
    rtp_ports: RtpPorts,
    key: &dyn Fn(&str) -> String,
) -> Result<RealmAddresses, ConfigError> {
    if realm.listen.is_empty() {
        let error = "name at least one address of this host in that network, such as \"10.0.0.1:5060\"";
        return Err(ConfigError::new(key("listen"), error));
    }
    let mut streams = Vec::new();
    for (name, transport, all) in [
        ("tls_listen", Transport::Tls, &realm.tls_listen),
        ("ws_listen", Transport::Ws, &realm.ws_listen),
        ("wss_listen", Transport::Wss, &realm.wss_listen),
    ] {
        for address in all {
            beside(&realm.listen, address).map_err(|error| ConfigError::new(key(name), error))?;
            streams.push((transport, *address));
        }
    }
    for (name, all) in [("advertise", &realm.advertise), ("rtp_advertise", &realm.rtp_advertise)] {
        one_of_each(all).map_err(|error| ConfigError::new(key(name), error))?;
    }
    let mut media = realm.rtp_address.clone();
    for address in realm.listen.iter().map(SocketAddr::ip) {
        // Signalling of a family needs media of that family.
        let served = |known: &IpAddr| match realm.rtp_address.is_empty() {
            true => *known == address,
            false => known.is_ipv4() == address.is_ipv4(),
        };
        if !media.iter().any(served) {
            if !realm.rtp_address.is_empty() {
                let error = format!("no address of the family of listen address {address}; add one");
                return Err(ConfigError::new(key("rtp_address"), error));
            }
            media.push(address);
        }
    }
    let rtp_ports = match &realm.rtp_ports {
        None => rtp_ports,
        Some(text) => RtpPorts::parse(text).map_err(|error| ConfigError::new(key("rtp_ports"), error))?,
    };
    let rtp_advertise =
        if realm.rtp_advertise.is_empty() { &realm.advertise } else { &realm.rtp_advertise }.clone();
    Ok(RealmAddresses {
        name: realm.name.clone(),
        listen: realm.listen.clone(),
        streams,
        advertise: realm.advertise.clone(),
        media,
        rtp_ports,
        rtp_advertise,
    })
}

/// Whether media of an address for connections has somewhere to go.
pub(crate) fn beside(listen: &[SocketAddr], address: &SocketAddr) -> Result<(), String> {
    if listen.iter().any(|listen| listen.ip() == address.ip()) {
        return Ok(());
    }
    Err(format!(
        "{address}: no address of `listen` (--listen) has this IP, where media of its calls could be received; add one, \
         such as \"{}\"",
        SocketAddr::new(address.ip(), 5060)
    ))
}

/// Whether these can be named for the addresses of a family each.
pub(crate) fn one_of_each(all: &[IpAddr]) -> Result<(), String> {
    if let Some(wildcard) = all.iter().find(|address| address.is_unspecified()) {
        return Err(format!("{wildcard} is no address that anybody could send to; name one that leads here"));
    }
    let of = |v4: bool| all.iter().filter(|address| address.is_ipv4() == v4).count();
    if of(true) > 1 || of(false) > 1 {
        return Err("name one address of each family at most".into());
    }
    Ok(())
}

/// Whether a realm's addresses are its own.
fn apart(
    new: &RealmAddresses,
    others: &[RealmAddresses],
    file: &File,
    rtp_ports: RtpPorts,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let elsewhere = || others.iter().flat_map(|other| &other.listen).chain(&file.listen);
    if let Some(twice) = new.listen.iter().find(|it| it.port() != 0 && elsewhere().any(|other| other == *it))
    {
        let error = format!("{twice} is another realm's, or stands in the top-level `listen`; name it once");
        return Err(ConfigError::new(key("listen"), error));
    }
    let top = file.listen.iter().map(|it| (it.ip(), rtp_ports));
    let of_others = others.iter().flat_map(|other| other.media.iter().map(|ip| (*ip, other.rtp_ports)));
    for (ip, ports) in of_others.chain(top) {
        let overlap = ports.low <= new.rtp_ports.high && new.rtp_ports.low <= ports.high;
        let same = |own: &IpAddr| {
            let wild = own.is_unspecified() || ip.is_unspecified();
            own.is_ipv4() == ip.is_ipv4() && (*own == ip || wild)
        };
        if overlap && new.media.iter().any(|own| same(own) && (*own != ip || ports != new.rtp_ports)) {
            let error = format!(
                "{}-{} and {}-{} of another realm overlap on one address; give each realm ports or an rtp_address of \
                 its own",
                new.rtp_ports.low, new.rtp_ports.high, ports.low, ports.high
            );
            return Err(ConfigError::new(key("rtp_ports"), error));
        }
    }
    Ok(())
}

fn networks(
    realm: &Realm,
    others: &[switch::Realm],
    key: &dyn Fn(&str) -> String,
) -> Result<Vec<Network>, ConfigError> {
    let mut networks: Vec<Network> = Vec::new();
    for text in &realm.networks {
        let network = text.parse().map_err(|error: String| ConfigError::new(key("networks"), error))?;
        if let Some(other) = others.iter().find(|other| other.networks.contains(&network)) {
            let error = format!("{text} is in realm \"{}\" already; a network is in one realm", other.name);
            return Err(ConfigError::new(key("networks"), error));
        }
        networks.push(network);
    }
    Ok(networks)
}

/// Whether a trunk's peers can be reached from its realm.
fn reached(
    trunk: &TrunkConfig,
    file: &File,
    realms: &[switch::Realm],
    at: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let key = |key: &str| at(&format!("trunk \"{}\": {key}", trunk.name));
    let named = trunk.realm.as_deref();
    if let Some(name) = named.filter(|name| realms.iter().all(|realm| realm.name != *name)) {
        let known: Vec<&str> = realms.iter().map(|realm| realm.name.as_str()).collect();
        let known = if known.is_empty() { "there is none".into() } else { known.join(", ") };
        return Err(ConfigError::new(key("realm"), format!("\"{name}\" is no realm; known: {known}")));
    }
    if realms.is_empty() {
        return Ok(());
    }
    for peer in &trunk.peers {
        let at = match named {
            Some(name) => realms.iter().position(|realm| realm.name == name),
            None => realm_of(realms, peer.address.ip()),
        };
        let of_family =
            |listen: &[SocketAddr]| listen.iter().any(|listen| listen.is_ipv4() == peer.address.is_ipv4());
        match at {
            Some(at) if !of_family(&file.realms[at].listen) => {
                let error = format!(
                    "{peer} is in realm \"{}\", which has no listen address of its family; add one there",
                    realms[at].name
                );
                return Err(ConfigError::new(key("peers"), error));
            }
            None if !of_family(&file.listen) => {
                let error = format!(
                    "{peer} is in no realm's networks; name its network in a realm's `networks`, or the trunk's `realm`"
                );
                return Err(ConfigError::new(key("peers"), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The realm that a trunk's peer is in, as told: its name, or that there is none.
pub fn realm_name<'a>(realms: &'a [switch::Realm], trunk: &'a TrunkConfig, peer: IpAddr) -> Option<&'a str> {
    let of_address = || realm_of(realms, peer).map(|at| realms[at].name.as_str());
    trunk.realm.as_deref().or_else(of_address)
}

#[cfg(test)]
mod tests {
    use crate::config::File;
    use crate::settings::Settings;

    const TWO: &str = "[[realm]]\nname = \"inside\"\nlisten = [\"10.0.0.1:5060\"]\nnetworks = [\"10.0.0.0/8\"]\n\
        [[realm]]\nname = \"outside\"\nlisten = [\"192.168.7.2:5060\"]\nadvertise = [\"203.0.113.10\"]\n\
        rtp_ports = \"40000-40999\"\nnetworks = [\"0.0.0.0/0\"]\nnat = \"always\"\n";

    fn settings(text: &str) -> Result<Settings, String> {
        let file = File::parse(text)?;
        Settings::resolve(&file, "f").map_err(|error| error.to_string())
    }

    #[test]
    fn realms_take_the_place_of_the_listen_addresses_that_are_not_given() {
        let trunk = "[[trunk]]\nname = \"a\"\npeers = [\"198.51.100.1:5060\", \"10.2.3.4:5060\"]\n";
        let settings = settings(&format!("{TWO}{trunk}")).unwrap();
        assert!(settings.listen.is_empty());
        let outside = &settings.realms[1];
        assert_eq!((outside.rtp_ports.low, outside.rtp_advertise.len()), (40_000, 1));
        assert_eq!(outside.media, ["192.168.7.2".parse::<std::net::IpAddr>().unwrap()]);
        let name = |peer: &str| {
            super::realm_name(&settings.shard.realms, &settings.trunks[0], peer.parse().unwrap())
        };
        assert_eq!((name("198.51.100.1"), name("10.2.3.4")), (Some("outside"), Some("inside")));
        let both = self::settings(&format!("listen = [\"127.0.0.1:5060\"]\n{TWO}")).unwrap();
        assert_eq!(both.listen.len(), 1);
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        let realm = |name: &str, more: &str| format!("[[realm]]\nname = \"{name}\"\n{more}\n");
        let at = |address: &str| format!("listen = [\"{address}\"]");
        let trunk =
            |more: &str| format!("[[trunk]]\nname = \"a\"\npeers = [\"198.51.100.1:5060\"]\n{more}\n");
        for (text, words) in [
            (realm("", &at("10.0.0.1:5060")), "realm \"\": name: give the realm a name"),
            (format!("{TWO}{}", realm("inside", &at("10.0.0.2:5060"))), "two realms have it"),
            (realm("a", "listen = []"), "realm \"a\": listen: name at least one address"),
            (realm("a", ""), "missing field `listen`"),
            (
                format!("{TWO}{}", realm("c", &at("10.0.0.1:5060"))),
                "realm \"c\": listen: 10.0.0.1:5060 is another",
            ),
            (
                format!("{TWO}{}", realm("c", &(at("10.0.0.1:5070") + "\nrtp_ports = \"16384-20000\""))),
                "realm \"c\": rtp_ports: 16384-19999 and 16384-32767 of another realm overlap",
            ),
            (
                format!("{TWO}{}", realm("c", &(at("10.0.0.2:5060") + "\nnetworks = [\"10.0.0.0/8\"]"))),
                "networks: 10.0.0.0/8 is in realm \"inside\" already",
            ),
            (
                realm("a", &(at("10.0.0.1:5060") + "\nnetworks = [\"10/8\"]")),
                "networks: \"10/8\" is no network",
            ),
            (realm("a", &(at("10.0.0.1:5060") + "\nnat = \"on\"")), "realm \"a\": nat: \"on\" is no rule"),
            (realm("a", &(at("10.0.0.1:5060") + "\nadvertise = [\"0.0.0.0\"]")), "advertise: 0.0.0.0 is no"),
            (
                realm("a", &(at("10.0.0.1:5060") + "\nrtp_advertise = [\"192.0.2.1\", \"192.0.2.2\"]")),
                "rtp_advertise: name one address of each family",
            ),
            (realm("a", &(at("10.0.0.1:5060") + "\nrtp_ports = \"5\"")), "rtp_ports: \"5\" is no port range"),
            (
                realm("a", &(at("10.0.0.1:5060") + "\nrtp_address = [\"::1\"]")),
                "rtp_address: no address of the fam",
            ),
            (
                realm("a", &(at("10.0.0.1:5060") + "\nws_listen = [\"10.0.0.2:80\"]")),
                "ws_listen: 10.0.0.2:80: no address of `listen`",
            ),
            (
                format!("{TWO}{}", trunk("realm = \"side\"")),
                "realm: \"side\" is no realm; known: inside, outside",
            ),
            (trunk("realm = \"side\""), "\"side\" is no realm; known: there is none"),
            (
                format!("{}{}", realm("a", &at("10.0.0.1:5060")), trunk("")),
                "peers: 198.51.100.1:5060 is in no realm's networks; name its network",
            ),
            (
                format!("{}{}", realm("a", &at("[fd00::1]:5060")), trunk("realm = \"a\"")),
                "is in realm \"a\", which has no listen address of its family",
            ),
        ] {
            let said = settings(&text).unwrap_err();
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
