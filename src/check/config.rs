//! `trunkline check config`: a summary of what would run, and warnings.

use crate::arguments::Serve;
use crate::{Error, serve};
use gatewayd::{File, RealmAddresses, Settings, realm_name};
use link::Selection;
use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use switch::profile::{LargeRequests, LateOffers, NumberFormat, Profile};
use switch::trunk::{TrunkConfig, Written};
use switch::{MediaSecurity, Realm, SrtpPolicy};

/// Says what would run by a configuration.
pub(super) fn run(arguments: &Serve) -> Result<ExitCode, Error> {
    let (file, settings) = serve::configure(arguments)?;
    print!("{}", summary(arguments, &file, &settings));
    for warning in gatewayd::advice(&file, &settings) {
        println!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(arguments: &Serve, file: &File, settings: &Settings) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing onto a String cannot fail.
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let source =
        arguments.config.as_ref().map_or_else(|| "flags alone".to_owned(), |path| path.display().to_string());
    line("good", source);
    if !settings.listen.is_empty() {
        let (listen, named) = (words(settings.listen.iter()), named(&settings.advertise));
        line("sip", format!("{listen} (udp, tcp){named}"));
    }
    for (addresses, realm) in settings.realms.iter().zip(&settings.shard.realms) {
        line("realm", realm_text(addresses, realm));
    }
    line("http", file.http.map_or_else(|| "off".to_owned(), |address| address.to_string()));
    line("workers", format!("{}, io {}", settings.workers, file.io));
    line("data", file.data.display().to_string());
    line("callers", format!("{}, and the trunks' peers", words(file.allow.iter())));
    let capacity = gatewayd::capacity(settings);
    let (low, high) = (settings.rtp_ports.low, settings.rtp_ports.high);
    line("rtp ports", format!("{low}-{high} carry {} calls at a time", capacity.ports));
    line("srtp", protection(&settings.shard.security));
    line(
        "limits",
        format!("{} calls at a time; the trunks' caps add up to {}", capacity.limit, capacity.caps),
    );
    for trunk in &settings.trunks {
        line("trunk", describe(trunk, settings));
    }
    let mut told: Vec<&str> = Vec::new();
    for profile in settings.trunks.iter().map(|trunk| &trunk.profile) {
        if !told.contains(&profile.name.as_str()) {
            told.push(&profile.name);
            line("profile", profile_text(profile));
        }
    }
    for group in &settings.routing.groups {
        // Every trunk is also a group of its own name, which says nothing new.
        let own = group.trunks.len() == 1 && group.trunks[0].as_str() == group.name.as_str();
        if !own {
            let trunks = words(group.trunks.iter());
            line("group", format!("{}: {} of {trunks}", group.name, selection(group.selection)));
        }
    }
    for route in &settings.routing.routes {
        let prefix = if route.prefix.is_empty() { "every number" } else { &route.prefix };
        let mut text = format!("{prefix} -> {}", words(route.groups.iter()));
        if route.strip > 0 {
            let _ = write!(text, ", {} digits taken off", route.strip);
        }
        if !route.prepend.is_empty() {
            let _ = write!(text, ", {} put in front", route.prepend);
        }
        if route.ask {
            text.push_str(", control is asked");
        }
        line("route", text);
    }
    out
}

/// A peer as written; a name is told as such, for where it is only a running gateway knows.
fn peer(peer: Written<'_>) -> String {
    match peer {
        Written::Address(peer) => peer.to_string(),
        Written::Name(name) => format!("{name} (a name, located through DNS)"),
    }
}

/// What addresses are named in place of those bound.
fn named(advertise: &[IpAddr]) -> String {
    if advertise.is_empty() { String::new() } else { format!(", named as {}", words(advertise.iter())) }
}

fn realm_text(addresses: &RealmAddresses, realm: &Realm) -> String {
    let (listen, named) = (words(addresses.listen.iter()), named(&addresses.advertise));
    let mut text = format!("{}: {listen} (udp, tcp){named}", addresses.name);
    for (transport, address) in &addresses.streams {
        let _ = write!(text, ", {address} ({})", transport.name());
    }
    let (low, high) = (addresses.rtp_ports.low, addresses.rtp_ports.high);
    let _ = write!(
        text,
        "; rtp {} {low}-{high}{}",
        words(addresses.media.iter()),
        self::named(&addresses.rtp_advertise)
    );
    let networks = words(realm.networks.iter());
    let whose = if networks.is_empty() { "only trunks that name it" } else { &networks };
    let _ = write!(text, "; peers: {whose}");
    if let Some(nat) = realm.nat {
        let _ = write!(text, "; nat {}", nat.name());
    }
    text
}

fn describe(trunk: &TrunkConfig, settings: &Settings) -> String {
    let mut text = format!(
        "{}: {}, {} calls",
        trunk.name,
        words(trunk.written().into_iter().map(peer)),
        trunk.max_calls
    );
    if trunk.max_cps > 0 {
        let _ = write!(text, ", {} new calls a second", trunk.max_cps);
    }
    let _ = write!(text, ", priority {}, weight {}", trunk.priority, trunk.weight);
    if let Some(backup) = &trunk.backup {
        let _ = write!(text, ", backup {backup}");
    }
    let _ = write!(text, ", profile {}", trunk.profile.name);
    let mut realms: Vec<&str> = Vec::new();
    let peers = trunk.peers.iter().map(|peer| peer.address.ip());
    for name in
        peers.filter_map(|peer| realm_name(&settings.shard.realms, trunk, peer)).chain(trunk.realm.as_deref())
    {
        if !realms.contains(&name) {
            realms.push(name);
        }
    }
    if !realms.is_empty() {
        let _ = write!(text, ", realm {}", realms.join(" "));
    }
    text
}

fn profile_text(profile: &Profile) -> String {
    let trust = if profile.trusted { "trusted" } else { "not trusted" };
    let (called, calling) = (spelling(profile.called), spelling(profile.calling));
    let mut text = format!("{}: {trust}, called {called}, calling {calling}", profile.name);
    let pass: Vec<String> = profile
        .pass
        .iter()
        .map(|(pattern, passes)| format!("{}{pattern}", if *passes { "" } else { "not " }))
        .collect();
    let _ = match pass.is_empty() {
        true => write!(text, ", no header passes"),
        false => write!(text, ", headers that pass: {}", pass.join(", ")),
    };
    for (what, fields) in [("rewritten", &profile.rewrite), ("added", &profile.add)] {
        if !fields.is_empty() {
            let _ = write!(text, ", {what}: {}", words(fields.iter().map(|(name, _)| name.as_str())));
        }
    }
    if !profile.early_media {
        text.push_str(", no early media");
    }
    if !profile.transcode {
        text.push_str(", no transcoding");
    }
    let _ = write!(text, ", redirections: {}", profile.redirects.word());
    if profile.late_offer == LateOffers::Offer {
        text.push_str(", offers of our own");
    }
    if profile.large_requests == LargeRequests::Udp {
        text.push_str(", large requests over UDP");
    }
    if let Some(security) = &profile.security {
        let _ = write!(text, ", SRTP {}", protection(security));
    }
    let _ = write!(text, ", REFER {}", profile.transfer.name());
    text
}

/// How media is protected.
fn protection(security: &MediaSecurity) -> String {
    match security.srtp {
        SrtpPolicy::Off => "off".to_owned(),
        policy => {
            let suites = words(security.suites.iter().map(|suite| suite.name()));
            format!("{} (keys: {}; {suites})", policy.word(), security.keying.word())
        }
    }
}

/// A number format as the configuration writes it.
const fn spelling(format: NumberFormat) -> &'static str {
    match format {
        NumberFormat::AsIs => "as-is",
        NumberFormat::E164 => "e164",
        NumberFormat::National => "national",
    }
}

/// A rule of selection in words.
pub(super) const fn selection(selection: Selection) -> &'static str {
    match selection {
        Selection::Weighted => "by weight",
        Selection::RoundRobin => "in turns",
        Selection::LeastCalls => "the least loaded",
        Selection::Hash => "by the calling number",
        Selection::Ordered => "the first that can",
    }
}

fn words(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
