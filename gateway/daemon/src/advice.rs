//! What is doubtful in a configuration that is valid: read by a person before it runs, never in the way of a start.

use crate::config::{File, Trunk};
use crate::settings::Settings;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use switch::{KeyingPolicy, Shards, SrtpPolicy};

/// How many calls a configuration can carry, and by which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Calls at a time for which there are RTP ports, over all shards.
    pub ports: u64,
    /// The limit of calls at a time.
    pub limit: u64,
    /// The sum of the trunks' caps.
    pub caps: u64,
}

/// What a configuration can carry.
pub fn capacity(settings: &Settings) -> Capacity {
    let count = settings.workers;
    // A call takes two pairs, and both of one shard.
    let part = |me: u16| u64::from(settings.rtp_ports.part(Shards { count, me }).pairs() / 2);
    Capacity {
        ports: (0..count).map(part).sum(),
        limit: u64::from(settings.shard.calls_max),
        caps: settings.trunks.iter().map(|trunk| u64::from(trunk.max_calls)).sum(),
    }
}

/// The warnings about a configuration, one line each; `settings` are what [`Settings::resolve`] made of `file`.
pub fn advice(file: &File, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if file.trunks.is_empty() {
        warnings.push("no trunk is defined: every call is refused with 404".to_owned());
    }
    limits(settings, &mut warnings);
    reach(file, settings, &mut warnings);
    loops(file, &mut warnings);
    shadows(settings, &mut warnings);
    addresses(settings, &mut warnings);
    profiles(file, &mut warnings);
    protection(file, settings, &mut warnings);
    for text in file.allow.iter().filter(|text| text.ends_with("/0")) {
        warnings.push(format!(
            "allow = \"{text}\" lets anybody on earth place calls at your cost; name the networks of your callers"
        ));
    }
    warnings
}

fn limits(settings: &Settings, warnings: &mut Vec<String>) {
    let Capacity { ports, limit, caps } = capacity(settings);
    if caps > ports {
        warnings.push(format!(
            "the trunks' caps add up to {caps} calls, media.rtp_ports carries {ports} ({} workers): calls beyond that \
             are refused with 503; widen media.rtp_ports by {} ports or lower max_calls",
            settings.workers,
            (caps - ports) * 4
        ));
    }
    if caps > limit {
        warnings.push(format!(
            "the trunks' caps add up to {caps} calls, calls.max allows {limit}; raise it or lower max_calls"
        ));
    }
    for trunk in settings.trunks.iter().filter(|trunk| trunk.max_calls == 0) {
        warnings.push(format!("trunk \"{}\": max_calls = 0 takes no call at all", trunk.name));
    }
}

/// Trunks and groups that no call gets to.
fn reach(file: &File, settings: &Settings, warnings: &mut Vec<String>) {
    let routing = &settings.routing;
    let routed: BTreeSet<&str> =
        routing.routes.iter().flat_map(|route| &route.groups).map(|name| name.as_str()).collect();
    let groups = routing.groups.iter().filter(|group| routed.contains(group.name.as_str()));
    let mut reached: BTreeSet<&str> =
        groups.flat_map(|group| &group.trunks).map(|name| name.as_str()).collect();
    let mut waiting: Vec<&str> = reached.iter().copied().collect();
    while let Some(name) = waiting.pop() {
        let backup = find(file, name).and_then(|trunk| trunk.backup.as_deref());
        waiting.extend(backup.filter(|backup| reached.insert(backup)));
    }
    for trunk in file.trunks.iter().filter(|trunk| !reached.contains(trunk.name.as_str())) {
        warnings.push(format!(
            "trunk \"{}\" is reached by no route and is nobody's backup: it gets no call; name it in a route or group",
            trunk.name
        ));
    }
    for group in file.groups.iter().filter(|group| !routed.contains(group.name.as_str())) {
        warnings.push(format!("group \"{}\" is named by no route", group.name));
    }
}

fn find<'a>(file: &'a File, name: &str) -> Option<&'a Trunk> {
    file.trunks.iter().find(|trunk| trunk.name == name)
}

/// Profiles that no trunk and no other profile uses.
fn profiles(file: &File, warnings: &mut Vec<String>) {
    for profile in &file.profiles {
        let used = file.trunks.iter().any(|trunk| trunk.profile.as_ref() == Some(&profile.name))
            || file.profiles.iter().any(|other| other.base == profile.name);
        if !used {
            warnings.push(format!(
                "profile \"{}\" is used by no trunk; name it there as profile = \"{}\"",
                profile.name, profile.name
            ));
        }
    }
}

/// Keys of SRTP that may not go, or that others can read.
fn protection(file: &File, settings: &Settings, warnings: &mut Vec<String>) {
    let all = &settings.shard.security;
    const READ: &str = "over UDP, TCP and WS: whoever reads signalling can hear the calls";
    if all.srtp != SrtpPolicy::Off && all.keys_in_clear {
        warnings.push(format!("media.srtp_keys_in_clear sends SRTP keys {READ}"));
    }
    let encrypted = [&file.tls_listen, &file.wss_listen].iter().any(|addresses| !addresses.is_empty())
        || settings.realms.iter().flat_map(|realm| &realm.streams).any(|(it, _)| it.is_encrypted());
    if all.srtp == SrtpPolicy::Required
        && all.keying != KeyingPolicy::Dtls
        && !all.keys_in_clear
        && !encrypted
    {
        warnings.push(
            "media.srtp = \"required\" and no tls_listen or wss_listen: SRTP keys go in SDP over encrypted signalling only, \
             so that every call not keyed by DTLS is refused with 488"
                .to_owned(),
        );
    }
    for trunk in &settings.trunks {
        let own = trunk.profile.security.as_ref();
        let (security, name) = (own.unwrap_or(all), &trunk.name);
        let Some(open) = trunk.peers.iter().find(|peer| !peer.transport.is_encrypted()) else { continue };
        if own.is_some() && security.srtp != SrtpPolicy::Off && security.keys_in_clear {
            let profile = &trunk.profile.name;
            warnings.push(format!("trunk \"{name}\": profile \"{profile}\" sends SRTP keys {READ}"));
        }
        if security.srtp == SrtpPolicy::Required
            && security.keying != KeyingPolicy::Dtls
            && !security.keys_in_clear
        {
            let peer = open.address;
            warnings.push(format!(
                "trunk \"{name}\": SRTP is required, and {peer} is not spoken to over TLS, where its keys may go: it \
                 gets no call; write it as {peer}/tls, or take srtp_keying = \"dtls\""
            ));
        }
    }
}

/// Chains of backups that come back to where they began, each told once.
fn loops(file: &File, warnings: &mut Vec<String>) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for trunk in &file.trunks {
        let mut chain: Vec<&str> = vec![&trunk.name];
        let mut next = trunk.backup.as_deref();
        while let Some(name) = next.filter(|name| !chain.contains(name)) {
            chain.push(name);
            next = find(file, name).and_then(|trunk| trunk.backup.as_deref());
        }
        if next == Some(trunk.name.as_str()) && chain.iter().all(|name| told.insert(name)) {
            warnings.push(format!(
                "backup loop {} -> {}: a call tries each of them once and then ends; that is meant if they are equals",
                chain.join(" -> "),
                trunk.name
            ));
        }
    }
}

/// Routes that other routes leave nothing to do.
fn shadows(settings: &Settings, warnings: &mut Vec<String>) {
    let routes = &settings.routing.routes;
    let bare = |prefix: &'_ str| prefix.trim_start_matches('+').to_owned();
    let prefixes: BTreeSet<String> = routes.iter().map(|route| bare(&route.prefix)).collect();
    for route in routes {
        let prefix = bare(&route.prefix);
        let digits = |digit: char| covered(&format!("{prefix}{digit}"), &prefixes);
        if ('0'..='9').all(digits) {
            warnings.push(format!(
                "route \"{}\" is shadowed: longer prefixes take every number that goes on with a digit",
                route.prefix
            ));
        }
        // The next shorter prefix that would take its numbers.
        let above = routes
            .iter()
            .filter(|other| {
                let other = bare(&other.prefix);
                other.len() < prefix.len() && prefix.starts_with(&other)
            })
            .max_by_key(|other| bare(&other.prefix).len());
        if let Some(above) = above
            && (&above.groups, above.strip, &above.prepend, above.ask)
                == (&route.groups, route.strip, &route.prepend, route.ask)
        {
            warnings.push(format!(
                "route \"{}\" is shadowed: route \"{}\" leads its numbers the same way already",
                route.prefix, above.prefix
            ));
        }
    }
}

/// Whether routes below take every number with this prefix.
fn covered(prefix: &str, prefixes: &BTreeSet<String>) -> bool {
    if prefixes.contains(prefix) {
        return true;
    }
    let below = || prefixes.range(prefix.to_owned()..).next().is_some_and(|next| next.starts_with(prefix));
    below() && ('0'..='9').all(|digit| covered(&format!("{prefix}{digit}"), prefixes))
}

/// All SIP addresses over UDP and TCP, those of realms too.
fn all(settings: &Settings) -> impl Iterator<Item = &SocketAddr> {
    settings.listen.iter().chain(settings.realms.iter().flat_map(|realm| &realm.listen))
}

/// Peers that are this gateway, and peers it has no address to reach from.
fn addresses(settings: &Settings, warnings: &mut Vec<String>) {
    let own = |peer: &SocketAddr| {
        all(settings).any(|listen| {
            let named = settings.advertise.contains(&peer.ip());
            let wildcard = listen.ip().is_unspecified() && peer.ip().is_loopback();
            listen.port() == peer.port() && (listen.ip() == peer.ip() || wildcard || named)
        })
    };
    for trunk in &settings.trunks {
        for peer in &trunk.peers {
            if own(&peer.address) {
                warnings.push(format!(
                    "trunk \"{}\": peer {} is this gateway's own address: its calls come back and are refused with 482",
                    trunk.name, peer.address
                ));
            }
            if all(settings).all(|listen| listen.is_ipv4() != peer.address.is_ipv4()) {
                warnings.push(format!(
                    "trunk \"{}\": peer {} cannot be reached: no listen address is of its address family; add one",
                    trunk.name, peer.address
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(text: &str) -> Vec<String> {
        let file = File::parse(text).unwrap();
        let settings = Settings::resolve(&file, "test").unwrap();
        advice(&file, &settings)
    }

    fn trunk(name: &str, more: &str) -> String {
        format!("[[trunk]]\nname = \"{name}\"\npeers = [\"192.0.2.1:5060\"]\n{more}\n")
    }

    fn route(prefix: &str, to: &str) -> String {
        format!("[[route]]\nprefix = \"{prefix}\"\nto = [\"{to}\"]\n")
    }

    #[test]
    fn a_sound_configuration_has_no_warning() {
        let none: [String; 0] = [];
        assert_eq!(warnings(&trunk("a", "")), none);
        let text =
            [trunk("a", "backup = \"b\""), trunk("b", ""), route("86", "a"), route("861", "b")].concat();
        assert_eq!(warnings(&text), none);
    }

    #[test]
    fn what_is_doubtful_is_named() {
        let has = |text: &str, words: &[&str]| {
            let all = warnings(text);
            let found = all.iter().any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?} in {all:?}");
        };
        has("", &["no trunk"]);
        has(&[trunk("a", ""), trunk("b", ""), route("", "a")].concat(), &["\"b\"", "no route"]);
        let ring = [trunk("a", "backup = \"b\""), trunk("b", "backup = \"c\""), trunk("c", "backup = \"a\"")];
        has(&ring.concat(), &["a -> b -> c -> a"]);
        has(
            &format!("workers = 1\n[media]\nrtp_ports = \"20000-20039\"\n{}", trunk("a", "")),
            &["100 calls", "carries 10", "360 ports"],
        );
        has(&format!("[calls]\nmax = 50\n{}", trunk("a", "")), &["calls.max allows 50"]);
        has(&[trunk("a", ""), route("86", "a"), route("861", "a")].concat(), &["\"861\"", "\"86\" leads"]);
        let ten: String = (0..10).map(|digit| route(&format!("4{digit}"), "b")).collect();
        has(
            &[trunk("a", ""), trunk("b", ""), route("4", "a"), ten].concat(),
            &["\"4\" is shadowed", "longer"],
        );
        let own = "[[trunk]]\nname = \"a\"\npeers = [\"127.0.0.1:5060\"]\n";
        has(own, &["own address"]);
        has(&format!("listen = [\"0.0.0.0:5060\"]\n{own}"), &["own address"]);
        has("[[trunk]]\nname = \"a\"\npeers = [\"[2001:db8::1]:5060\"]\n", &["address family"]);
        has(&format!("allow = [\"0.0.0.0/0\"]\n{}", trunk("a", "")), &["anybody"]);
        has(&trunk("a", "max_calls = 0"), &["max_calls = 0"]);
        let srtp = |policy: &str, more: &str| {
            let keys = "[media]\nsrtp = \"optional\"\n[[profile]]\nname = \"p\"\nsrtp = ";
            format!("{keys}\"{policy}\"\n{more}\n{}", trunk("a", "profile = \"p\""))
        };
        assert_eq!(warnings(&srtp("off", "")).len() + warnings(&srtp("optional", "")).len(), 0);
        has(&srtp("required", ""), &["trunk \"a\"", "192.0.2.1:5060/tls"]);
        has(&srtp("optional", "srtp_keys_in_clear = true"), &["trunk \"a\"", "can hear the calls"]);
        has("[media]\nsrtp = \"required\"\n", &["no tls_listen", "488"]);
        has("[media]\nsrtp = \"optional\"\nsrtp_keys_in_clear = true\n", &["media.srtp_keys_in_clear"]);
        let profile = "[[profile]]\nname = \"p\"\n";
        has(&[profile, &trunk("a", "")].concat(), &["\"p\" is used by no trunk"]);
        assert_eq!(warnings(&[profile, &trunk("a", "profile = \"p\"")].concat()).len(), 0);
    }

    #[test]
    fn a_loop_is_told_once() {
        let text = [trunk("a", "backup = \"b\""), trunk("b", "backup = \"a\"")].concat();
        assert_eq!(warnings(&text).iter().filter(|line| line.contains("loop")).count(), 1);
    }
}
