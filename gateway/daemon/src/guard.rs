//! `[guard]`, `[overload]` and `[[fraud]]` of a configuration: as written, and checked.

use crate::config::{ConfigError, File, Span};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use switch::Network;
use switch::fraud::{Action, FraudTable, Rule, Who};
use switch::guard::{Overload as QueueLimits, Rate};

/// How much a source may send, and who is not listened to. Trunks' peers and allowed networks are exempt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// What a source gets that may not place calls: `refuse` (403, without any state) or `drop` (nothing at all).
    pub unknown: String,
    /// Networks that are never limited nor banned, besides `allow` and the trunks' peers.
    pub never_limit: Vec<String>,
    /// Sources known at a time, per worker; 160 bytes each, and 64 for all workers. A change needs a restart.
    pub sources: u32,
    /// Datagrams of a source, per second and at once.
    pub datagrams: [u32; 2],
    /// INVITEs of a source, per second and at once.
    pub invites: [u32; 2],
    /// REGISTERs of a source, per second and at once.
    pub registers: [u32; 2],
    /// Other requests of a source, per second and at once.
    pub others: [u32; 2],
    /// What scanners hold in User-Agent.
    pub scanners: Vec<String>,
    /// How long a first ban lasts; each further one twice as long; 0s: nobody is banned.
    pub ban: Span,
    /// The longest ban.
    pub ban_max: Span,
    /// The time over which what follows is counted.
    pub ban_window: Span,
    /// Malformed messages that are a ban; 0: never.
    pub ban_malformed: u16,
    /// Wrong passwords that are a ban; 0: never.
    pub ban_auth_failures: u16,
    /// Requests refused with 403 or 404 that are a ban; 0: never.
    pub ban_refusals: u16,
}

impl Default for Guard {
    fn default() -> Self {
        let it = switch::guard::Config::default();
        let pair = |rate: Rate| [rate.per_second, rate.burst];
        Self {
            unknown: "refuse".into(),
            never_limit: Vec::new(),
            sources: it.sources,
            datagrams: pair(it.datagrams),
            invites: pair(it.invites),
            registers: pair(it.registers),
            others: pair(it.others),
            scanners: it.scanners,
            ban: Span(it.ban),
            ban_max: Span(it.ban_max),
            ban_window: Span(it.window),
            ban_malformed: it.malformed,
            ban_auth_failures: it.auth_failures,
            ban_refusals: it.refusals,
        }
    }
}

/// When new calls are refused because the gateway has too much to do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// How long messages may wait to be handled; 0s: no limit.
    pub target: Span,
    /// For how long all messages may wait longer than that.
    pub interval: Span,
    /// Calls that nobody rings for yet, per worker; 0: no limit.
    pub setups_max: u32,
    /// Whether OPTIONS is answered 503 as well, so that balancers send calls elsewhere.
    pub refuse_options: bool,
}

impl Default for Overload {
    fn default() -> Self {
        let it = QueueLimits::default();
        Self {
            target: Span(it.target),
            interval: Span(it.interval),
            setups_max: it.setups_max,
            refuse_options: it.refuse_options,
        }
    }
}

/// A cap against toll fraud. A limit of 0 is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fraud {
    /// Its name, in alarms; what it counts survives a reload under it. Left out: prefix and who.
    #[serde(default)]
    pub name: Option<String>,
    /// How the numbers begin; empty: every number.
    #[serde(default)]
    pub prefix: String,
    /// Whose calls are counted together: `each-source`, `each-user`, `each-trunk` or `all`.
    pub who: String,
    /// Calls at a time.
    #[serde(default)]
    pub max_calls: u32,
    /// New calls a second.
    #[serde(default)]
    pub max_cps: u32,
    /// Minutes of answered calls within an hour.
    #[serde(default)]
    pub max_minutes_per_hour: u32,
    /// Minutes of answered calls within a day.
    #[serde(default)]
    pub max_minutes_per_day: u32,
    /// MESSAGEs outside of calls a second.
    #[serde(default)]
    pub max_messages_per_second: u32,
    /// MESSAGEs outside of calls within an hour.
    #[serde(default)]
    pub max_messages_per_hour: u32,
    /// `refuse` or `alarm`.
    #[serde(default = "refuse")]
    pub action: String,
    /// The status of a refusal.
    #[serde(default = "forbidden")]
    pub status: u16,
}

fn refuse() -> String {
    "refuse".into()
}

const fn forbidden() -> u16 {
    403
}

type At<'a> = &'a dyn Fn(&str) -> String;

/// Checks `[guard]`.
pub(crate) fn guard(file: &File, at: At<'_>) -> Result<switch::guard::Config, ConfigError> {
    let it = &file.guard;
    let key = |key: &str| at(&format!("guard.{key}"));
    let ignore_unknown = match it.unknown.as_str() {
        "refuse" => false,
        "drop" => true,
        other => {
            let error = format!("\"{other}\" is neither \"refuse\" nor \"drop\"");
            return Err(ConfigError::new(key("unknown"), error));
        }
    };
    let never_limit = it
        .never_limit
        .iter()
        .map(|text| text.parse::<Network>().map_err(|error| ConfigError::new(key("never_limit"), error)))
        .collect::<Result<Vec<_>, _>>()?;
    if !(8..=1 << 24).contains(&it.sources) {
        return Err(ConfigError::new(
            key("sources"),
            format!("{} is out of range; 8 to 16777216", it.sources),
        ));
    }
    let rate = |name: &str, [per_second, burst]: [u32; 2]| {
        if per_second > 0 && burst == 0 {
            let error = "a burst of 0 lets nothing in; write [PER SECOND, AT ONCE], or [0, 0] for no limit";
            return Err(ConfigError::new(key(name), error));
        }
        Ok(Rate::new(per_second, burst))
    };
    if let Some(name) = it.scanners.iter().find(|name| name.trim().len() < 4) {
        let error = format!("\"{name}\" would be found in too many names; write four letters or more");
        return Err(ConfigError::new(key("scanners"), error));
    }
    if it.ban_max < it.ban {
        return Err(ConfigError::new(key("ban_max"), "the longest ban is shorter than the first; raise it"));
    }
    if it.ban_window.0 < Duration::from_secs(1) {
        return Err(ConfigError::new(key("ban_window"), "give a second or more"));
    }
    Ok(switch::guard::Config {
        ignore_unknown,
        never_limit,
        sources: it.sources,
        datagrams: rate("datagrams", it.datagrams)?,
        invites: rate("invites", it.invites)?,
        registers: rate("registers", it.registers)?,
        others: rate("others", it.others)?,
        scanners: it.scanners.iter().map(|name| name.trim().to_ascii_lowercase()).collect(),
        ban: it.ban.0,
        ban_max: it.ban_max.0,
        window: it.ban_window.0,
        malformed: it.ban_malformed,
        auth_failures: it.ban_auth_failures,
        refusals: it.ban_refusals,
        shared: None,
    })
}

/// Checks `[overload]`.
pub(crate) fn overload(file: &File, at: At<'_>) -> Result<QueueLimits, ConfigError> {
    let it = &file.overload;
    if it.target.0 >= Duration::from_secs(10) {
        let error = "callers repeat an INVITE after half a second; give well below 10s, or 0s for no limit";
        return Err(ConfigError::new(at("overload.target"), error));
    }
    Ok(QueueLimits {
        target: it.target.0,
        interval: it.interval.0,
        setups_max: it.setups_max,
        refuse_options: it.refuse_options,
    })
}

/// Checks `[[fraud]]`.
pub(crate) fn fraud(file: &File, at: At<'_>) -> Result<Arc<FraudTable>, ConfigError> {
    let mut rules: Vec<Rule> = Vec::with_capacity(file.fraud.len());
    for it in &file.fraud {
        let name = it.name.clone().unwrap_or_else(|| format!("{} {}", it.prefix, it.who).trim().to_owned());
        let error =
            |key: &str, error: String| Err(ConfigError::new(at(&format!("fraud \"{name}\": {key}")), error));
        let who = match it.who.as_str() {
            "each-source" => Who::EachSource,
            "each-user" => Who::EachUser,
            "each-trunk" => Who::EachTrunk,
            "all" => Who::All,
            other => {
                let known = "each-source, each-user, each-trunk or all";
                return error("who", format!("\"{other}\" is not known; {known}"));
            }
        };
        let action = match it.action.as_str() {
            "alarm" => Action::Alarm,
            "refuse" if (400..700).contains(&it.status) => Action::Refuse(it.status),
            "refuse" => return error("status", format!("{} is no refusal; 403 or 503 will do", it.status)),
            other => return error("action", format!("\"{other}\" is neither \"refuse\" nor \"alarm\"")),
        };
        if rules.iter().any(|rule| rule.name == name) {
            return error("name", "two rules have it; give each its own".into());
        }
        let of_calls = [it.max_calls, it.max_cps, it.max_minutes_per_hour, it.max_minutes_per_day];
        if of_calls == [0; 4] && [it.max_messages_per_second, it.max_messages_per_hour] == [0; 2] {
            return error(
                "max_calls",
                "the rule has no limit; give max_calls, max_cps, max_minutes_per_hour, max_minutes_per_day, \
                 max_messages_per_second or max_messages_per_hour"
                    .into(),
            );
        }
        rules.push(Rule {
            name,
            prefix: it.prefix.clone(),
            who,
            max_calls: it.max_calls,
            max_cps: it.max_cps,
            max_minutes_per_hour: it.max_minutes_per_hour,
            max_minutes_per_day: it.max_minutes_per_day,
            max_messages_per_second: it.max_messages_per_second,
            max_messages_per_hour: it.max_messages_per_hour,
            action,
        });
    }
    Ok(Arc::new(FraudTable::new(rules, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file = File::parse(text).unwrap();
        let at = |key: &str| format!("f: {key}");
        let all = [guard(&file, &at).err(), overload(&file, &at).err(), fraud(&file, &at).err()];
        all.into_iter().flatten().map(|error| error.to_string()).collect()
    }

    #[test]
    fn defaults_are_those_of_the_shard() {
        let file = File::default();
        let at = |key: &str| key.to_owned();
        let shard = switch::guard::Config::default();
        assert_eq!(format!("{:?}", guard(&file, &at).unwrap()), format!("{shard:?}"));
        assert_eq!(format!("{:?}", overload(&file, &at).unwrap()), format!("{:?}", QueueLimits::default()));
        assert!(fraud(&file, &at).unwrap().rules().is_empty());
    }

    #[test]
    fn mistakes_are_named_with_the_cure() {
        for (text, place, cure) in [
            ("[guard]\nunknown = \"tarpit\"", "f: guard.unknown", "\"refuse\" nor \"drop\""),
            ("[guard]\nnever_limit = [\"10.0.0.0/99\"]", "f: guard.never_limit", "192.0.2.0/24"),
            ("[guard]\nsources = 0", "f: guard.sources", "8 to"),
            ("[guard]\ninvites = [5, 0]", "f: guard.invites", "AT ONCE"),
            ("[guard]\nscanners = [\"a\"]", "f: guard.scanners", "four letters"),
            ("[guard]\nban = \"2h\"\nban_max = \"1h\"", "f: guard.ban_max", "raise it"),
            ("[guard]\nban_window = \"1ms\"", "f: guard.ban_window", "second"),
            ("[overload]\ntarget = \"10s\"", "f: overload.target", "well below"),
            ("[[fraud]]\nwho = \"me\"", "f: fraud \"me\": who", "each-source"),
            ("[[fraud]]\nwho = \"all\"", "f: fraud \"all\": max_calls", "no limit"),
            ("[[fraud]]\nwho = \"all\"\nmax_calls = 1\nstatus = 200", "status", "403"),
            ("[[fraud]]\nwho = \"all\"\nmax_calls = 1\naction = \"shout\"", "action", "alarm"),
            (
                "[[fraud]]\nwho = \"all\"\nmax_calls = 1\n[[fraud]]\nwho = \"all\"\nmax_calls = 2",
                "f: fraud \"all\": name",
                "two rules",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(place) && error.contains(cure), "{text}: {error}");
        }
    }
}
