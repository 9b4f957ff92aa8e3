//! `trunkline check route`: what would happen to a call, step by step, for people and as JSON.

use super::config::selection;
use crate::arguments::Serve;
use crate::{Error, serve};
use gatewayd::{Settings, realm_name};
use link::{RouteEntry, RouteTable};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use switch::explain::{Explanation, GroupSearch, Outcome, Question, Try};

/// Routes that just miss the number, shown to people; in JSON all are.
const MISSED_SHOWN: usize = 10;

/// Says what would happen to a call of `from` to `number`.
pub(super) fn run(
    number: &str,
    from: &str,
    source: Option<IpAddr>,
    json: bool,
    arguments: &Serve,
) -> Result<ExitCode, Error> {
    let usable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if number.is_empty() || !usable(number) || !usable(from) {
        return Err("NUMBER and --from are user parts of SIP URIs: printable ASCII without spaces".into());
    }
    let (_, settings) = serve::configure(arguments)?;
    let routes = RouteTable::new((*settings.routing).clone())?;
    let question = Question {
        config: &settings.shard,
        trunks: &settings.trunks,
        groups: &settings.groups,
        routes: &routes,
        number,
        from,
        source,
    };
    let told = question.explain()?;
    if json {
        println!("{:#}", as_json(&question, &told, &settings));
    } else {
        print!("{}", as_text(&question, &told, &settings));
    }
    Ok(ExitCode::SUCCESS)
}

fn prefix(route: &RouteEntry) -> &str {
    if route.prefix.is_empty() { "(empty)" } else { &route.prefix }
}

fn as_text(question: &Question<'_>, told: &Explanation<'_>, settings: &Settings) -> String {
    let mut out = String::new();
    // Writing onto a String cannot fail, here and below.
    let caller = if question.from.is_empty() { "a caller without number" } else { question.from };
    let _ = writeln!(out, "call to {} from {caller}", question.number);
    if let (Some(source), Some((allowed, trusted))) = (question.source, told.admitted) {
        let verdict = match (allowed, trusted) {
            (false, _) => {
                "in no allowed network and no trunk's peer: refused with 403, and what follows does not happen"
            }
            (true, false) => "allowed; what it asserts of who calls is not believed",
            (true, true) => "allowed and trusted",
        };
        let _ = writeln!(out, "source: {source} is {verdict}");
    }
    matched(&mut out, question, told);
    let Some(route) = told.matching.first() else {
        outcomes(&mut out, &told.outcomes);
        return out;
    };
    if route.ask {
        let _ =
            writeln!(out, "control is asked where the call goes; what follows holds if it does not answer");
    }
    let _ = write!(out, "number: {}", told.routed);
    if route.strip > 0 || !route.prepend.is_empty() {
        let _ = write!(out, " (strip {}, prepend \"{}\")", route.strip, route.prepend);
    }
    let _ = writeln!(out);
    for (at, group) in told.groups.iter().enumerate() {
        let _ = writeln!(out, "{}. {}", at + 1, group_text(group));
    }
    let _ = writeln!(out, "peers in the order of the first call, if each fails:");
    for (at, attempt) in told.tries.iter().enumerate() {
        let _ = writeln!(out, "  {}. {}", at + 1, try_text(attempt, settings));
    }
    if told.tries.is_empty() {
        let _ = writeln!(out, "  none: no trunk takes calls");
    }
    for attempt in &told.beyond {
        let max = question.config.attempts_max;
        let _ =
            writeln!(out, "  -  {} {}: not tried, calls.attempts_max is {max}", attempt.trunk, peer(attempt));
    }
    outcomes(&mut out, &told.outcomes);
    out
}

fn matched(out: &mut String, question: &Question<'_>, told: &Explanation<'_>) {
    match told.matching.split_first() {
        None => {
            let _ = writeln!(out, "route: none; the number begins with no prefix");
        }
        Some((taken, shorter)) => {
            let to: Vec<&str> = taken.groups.iter().map(|name| name.as_str()).collect();
            let _ =
                writeln!(out, "route: {} -> {} (the longest prefix that fits)", prefix(taken), to.join(" "));
            for route in shorter {
                let _ = writeln!(out, "  {} fits too, and is shorter", prefix(route));
            }
        }
    }
    let number = question.number.strip_prefix('+').unwrap_or(question.number);
    for (route, at) in told.missed.iter().take(MISSED_SHOWN) {
        let wanted = route.prefix.trim_start_matches('+').chars().nth(*at).unwrap_or(' ');
        let reason = match number.chars().nth(*at) {
            Some(digit) => format!("digit {} is {digit}, not {wanted}", at + 1),
            None => format!("the number ends before its digit {}", at + 1),
        };
        let _ = writeln!(out, "  {} does not fit: {reason}", prefix(route));
    }
    if let Some(more) = told.missed.len().checked_sub(MISSED_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "  nor do {more} others");
    }
}

fn group_text(group: &GroupSearch) -> String {
    let members: Vec<String> = group
        .trunks
        .iter()
        .map(|(name, priority, weight)| format!("{name} (priority {priority}, weight {weight})"))
        .collect();
    if members.len() < 2 {
        return format!("trunk {}", members.join(" "));
    }
    let rule = selection(group.selection);
    let first: Vec<String> =
        group.first.iter().map(|(name, calls)| format!("{name} {}.{} %", calls / 10, calls % 10)).collect();
    format!("group {}, {rule}: {}; tried first: {}", group.name, members.join(", "), first.join(", "))
}

/// The peer for people; of a name, what stands for it.
fn peer(attempt: &Try) -> String {
    match &attempt.name {
        None => attempt.peer.to_string(),
        Some(name) => format!("{name} (a name: each address that DNS has for it)"),
    }
}

fn try_text(attempt: &Try, settings: &Settings) -> String {
    let backup = attempt.backup_of.as_ref().map_or(String::new(), |of| format!(" (backup of {of})"));
    let trunk = settings.trunks.iter().find(|trunk| trunk.name == attempt.trunk);
    let limits = trunk.map_or(String::new(), |trunk| match trunk.max_cps {
        0 => format!("{} calls", trunk.max_calls),
        cps => format!("{} calls, {cps} a second", trunk.max_calls),
    });
    let patience = attempt.patience.as_millis() as f64 / 1000.0;
    let (name, peer) = (&attempt.trunk, peer(attempt));
    let mut text = format!("{name}{backup} {peer}: at most {limits}; given up after {patience} s of silence");
    if let Some(realm) = realm(attempt, settings) {
        let _ = write!(text, "; realm {realm}");
    }
    let _ = write!(text, "\n     profile {}: called {}", attempt.profile.name, attempt.called);
    if !attempt.calling.is_empty() {
        let _ = write!(text, ", calling {}", attempt.calling);
    }
    for (what, fields) in [("rewritten", &attempt.profile.rewrite), ("added", &attempt.profile.add)] {
        if !fields.is_empty() {
            let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let _ = write!(text, ", {what} {}", names.join(" "));
        }
    }
    if !attempt.profile.early_media {
        text.push_str(", no early media");
    }
    if !attempt.profile.transcode {
        text.push_str(", no transcoding");
    }
    let _ = write!(text, ", REFER {}", attempt.profile.transfer.name());
    let _ = write!(text, ", redirections: {}", attempt.profile.redirects.word());
    if let Some(rule) = trunk.and_then(|trunk| trunk.quality) {
        let (mos, seconds) = (f64::from(rule.min_mos) / 1000.0, rule.hold_off.as_secs());
        let _ = write!(text, ", chosen last for {seconds} s while its calls have a MOS below {mos}");
    }
    text
}

/// The realm by which a peer is reached. Of one given by name it is known once DNS has said where that is, unless its trunk
/// says so.
fn realm<'a>(attempt: &Try, settings: &'a Settings) -> Option<&'a str> {
    let trunk = settings.trunks.iter().find(|trunk| trunk.name == attempt.trunk)?;
    match &attempt.name {
        Some(_) => trunk.realm.as_deref(),
        None => realm_name(&settings.shard.realms, trunk, attempt.peer.address.ip()),
    }
}

fn outcomes(out: &mut String, outcomes: &[Outcome]) {
    let _ = writeln!(out, "the caller gets:");
    for outcome in outcomes {
        let retry = outcome.retry_after.map_or(String::new(), |s| format!(", Retry-After {s}"));
        let next = if outcome.next_first { ", after the others were asked" } else { "" };
        let _ = writeln!(out, "  {} if {}{next}: {}{retry}", outcome.status, outcome.case, outcome.cause);
    }
}

fn as_json(question: &Question<'_>, told: &Explanation<'_>, settings: &Settings) -> Value {
    let attempt = |attempt: &Try| {
        json!({
            "trunk": attempt.trunk,
            "backup_of": attempt.backup_of,
            "peer": attempt.name.as_ref().map_or_else(|| attempt.peer.to_string(), ToString::to_string),
            "by_name": attempt.name.is_some(),
            "realm": realm(attempt, settings),
            "no_response_ms": attempt.patience.as_millis() as u64,
            "profile": attempt.profile.name,
            "called": attempt.called,
            "calling": attempt.calling,
            "transfer": attempt.profile.transfer.name(),
        })
    };
    let groups = told.groups.iter().map(|group| {
        let trunks = group.trunks.iter().map(|(name, priority, weight)| {
            let share = group.first.iter().find(|(first, _)| first == name).map_or(0, |(_, calls)| *calls);
            let share = f64::from(share) / 1000.0;
            json!({"name": name, "priority": priority, "weight": weight, "first_share": share})
        });
        json!({
            "name": group.name,
            "selection": group.selection,
            "trunks": trunks.collect::<Vec<_>>(),
        })
    });
    let outcomes = told.outcomes.iter().map(|outcome| {
        json!({
            "case": outcome.case,
            "next_peer_first": outcome.next_first,
            "status": outcome.status,
            "cause": outcome.cause,
            "retry_after": outcome.retry_after,
        })
    });
    json!({
        "number": question.number,
        "from": question.from,
        "source": question.source,
        "allowed": told.admitted.map(|(allowed, _)| allowed),
        "trusted": told.admitted.map(|(_, trusted)| trusted),
        "route": told.matching.first(),
        "shorter": told.matching.iter().skip(1).map(|route| &route.prefix).collect::<Vec<_>>(),
        "missed": told.missed.iter().map(|(route, at)| json!({"prefix": route.prefix, "differs_at": at}))
            .collect::<Vec<_>>(),
        "number_routed": told.matching.first().map(|_| &told.routed),
        "groups": groups.collect::<Vec<_>>(),
        "tries": told.tries.iter().map(attempt).collect::<Vec<_>>(),
        "not_tried": told.beyond.iter().map(attempt).collect::<Vec<_>>(),
        "attempts_max": question.config.attempts_max,
        "outcomes": outcomes.collect::<Vec<_>>(),
    })
}
