//! Peers given by name, and what names are located by: the host's resolver configuration and hosts file, read at start.

use crate::config::{ConfigError, File};
use locate::{Name, Target};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Where the host says which DNS servers it uses.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most servers taken from there, as the C library does.
const HOST_SERVERS_MAX: usize = 3;
/// Most servers that may be configured.
const SERVERS_MAX: usize = 8;
/// Most names of a hosts file.
const HOSTS_MAX: usize = 4096;
/// The port of DNS.
const PORT: u16 = 53;

/// What a gateway locates peers by.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn resolve(
    file: &File,
    wanted: bool,
    at: &dyn Fn(&str) -> String,
) -> Result<locate::Config, ConfigError> {
    let dns = &file.dns;
    let servers = dns
        .servers
        .iter()
        .map(|text| server(text).map_err(|error| ConfigError::new(at("dns.servers"), error)))
        .collect::<Result<Vec<_>, _>>()?;
    if servers.len() > SERVERS_MAX {
        let error = format!("{} servers; {SERVERS_MAX} at most", servers.len());
        return Err(ConfigError::new(at("dns.servers"), error));
    }
    if dns.timeout.0.is_zero() {
        return Err(ConfigError::new(at("dns.timeout"), "0s gives no server time to answer; 2s is usual"));
    }
    if dns.rounds == 0 {
        return Err(ConfigError::new(at("dns.rounds"), "0 would ask no server at all; 1 to 255"));
    }
    if dns.ttl_min.0.is_zero() || dns.ttl_max < dns.ttl_min {
        let error = "ttl_min must be above 0s and ttl_max not below it";
        return Err(ConfigError::new(at("dns.ttl_min"), error));
    }
    // Without a name or phones nothing is read: a gateway with addresses alone does not depend on the host's DNS.
    let servers = if servers.is_empty() && wanted { host_servers() } else { servers };
    let hosts = if wanted {
        hosts(&dns.hosts).map_err(|error| ConfigError::new(at("dns.hosts"), error))?
    } else {
        BTreeMap::new()
    };
    let listen = file.listen.iter().chain(file.realms.iter().flat_map(|realm| &realm.listen));
    let mut families: Vec<bool> = listen.map(SocketAddr::is_ipv6).collect();
    let first = families.first().copied().unwrap_or_default();
    families.retain(|v6| *v6 != first);
    families.truncate(1);
    families.insert(0, first);
    Ok(locate::Config {
        servers,
        timeout: dns.timeout.0,
        rounds: dns.rounds,
        ttl_min: dns.ttl_min.0,
        ttl_max: dns.ttl_max.0,
        stale: dns.stale.0,
        hosts,
        families,
        ..locate::Config::default()
    })
}

/// A peer given by name.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    // As behind an address, the transport may be written with a slash.
    let spelled = match text.rsplit_once('/') {
        Some((place, transport)) => format!("{place};transport={transport}"),
        None => text.to_owned(),
    };
    let target: Target = spelled.parse().map_err(|error: locate::BadTarget| error.to_string())?;
    if target.transport.is_some_and(|transport| !locate::Config::default().transports.contains(&transport)) {
        return Err(format!(
            "\"{text}\": peers by name are reached over udp or tcp; give the address for TLS"
        ));
    }
    Ok(target)
}

fn server(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)))
        .ok()
        .filter(|server| server.port() != 0)
        .ok_or_else(|| format!("\"{text}\" is no address of a DNS server; write ADDR or ADDR:PORT"))
}

/// The host's DNS servers; the host itself if it names none, as resolv.conf(5) has it.
fn host_servers() -> Vec<SocketAddr> {
    let servers = parse_resolv_conf(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    if servers.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], PORT))] } else { servers }
}

fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten()
        })
        .map(|ip: IpAddr| SocketAddr::new(ip, PORT))
        .take(HOST_SERVERS_MAX)
        .collect()
}

/// The hosts file; one that is not there is empty, unless it was asked for by name.
fn hosts(path: &Path) -> Result<BTreeMap<Name, Vec<IpAddr>>, String> {
    if path.as_os_str().is_empty() {
        return Ok(BTreeMap::new());
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse_hosts(&text)),
        Err(_) if path == crate::config::Dns::default().hosts => Ok(BTreeMap::new()),
        Err(error) => {
            Err(format!("{} cannot be read: {error}; name a hosts file, or \"\" for none", path.display()))
        }
    }
}

fn parse_hosts(text: &str) -> BTreeMap<Name, Vec<IpAddr>> {
    let mut hosts: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words.filter_map(|word| Name::new(word).ok()) {
            if hosts.len() < HOSTS_MAX || hosts.contains_key(&name) {
                hosts.entry(name).or_default().push(ip);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_hosts_own_configuration_is_read() {
        let text = "# made by dhcp\nsearch a.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53 \nnameserver x\n";
        let servers: Vec<String> = parse_resolv_conf(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        let hosts = parse_hosts(
            "127.0.0.1 localhost\n192.0.2.1 Carrier.example b # c.example\n::1 localhost\nbad line\n",
        );
        assert_eq!(hosts[&Name::new("localhost").unwrap()].len(), 2);
        assert_eq!(hosts[&Name::new("carrier.example").unwrap()], ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.len(), 3);
    }

    fn settings(peers: &str, dns: &str) -> Result<Settings, String> {
        let text =
            format!("[dns]\nservers = [\"192.0.2.53\"]\n{dns}\n[[trunk]]\nname = \"a\"\npeers = [{peers}]\n");
        Settings::resolve(&File::parse(&text)?, "gateway.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn peers_may_be_names_among_addresses() {
        let settings =
            settings("\"192.0.2.1:5060\", \"a.example\", \"b.example:5070/tcp\", \"192.0.2.2:5060\"", "")
                .unwrap();
        let trunk = &settings.trunks[0];
        assert_eq!((trunk.peers.len(), trunk.names.len()), (2, 2));
        assert!(trunk.names.iter().all(|name| name.before == 1));
        assert_eq!(trunk.names[1].target.to_string(), "b.example:5070;transport=tcp");
        assert_eq!(settings.shard.locate.servers, ["192.0.2.53:53".parse().unwrap()]);
        assert_eq!(settings.shard.locate.families, [false]);
    }

    #[test]
    fn mistakes_name_the_key_and_the_cure() {
        for (peers, dns, key, cure) in [
            ("\"a.example:0\"", "", "trunk \"a\": peers", "1 to 65535"),
            ("\"192.0.2.300:5060\"", "", "trunk \"a\": peers", "up to 255"),
            ("\"a.example;transport=tls\"", "", "trunk \"a\": peers", "give the address"),
            ("\"a.example/sctp\"", "", "trunk \"a\": peers", "no transport \"sctp\""),
            ("\"a.example\"", "timeout = \"0s\"", "dns.timeout", "2s is usual"),
            ("\"a.example\"", "rounds = 0", "dns.rounds", "1 to 255"),
            ("\"a.example\"", "ttl_min = \"0s\"", "dns.ttl_min", "above 0s"),
            ("\"a.example\"", "hosts = \"/nonexistent/hosts\"", "dns.hosts", "\"\" for none"),
        ] {
            let error = settings(peers, dns).unwrap_err();
            assert!(error.contains(key) && error.contains(cure), "{error}");
        }
        let file = File::parse("[dns]\nservers = [\"ns.example\"]\n").unwrap();
        let error = Settings::resolve(&file, "f").unwrap_err().to_string();
        assert!(error.contains("dns.servers") && error.contains("ADDR:PORT"), "{error}");
    }
}
