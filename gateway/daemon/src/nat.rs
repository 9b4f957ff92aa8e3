//! `[nat]`: peers behind NATs, checked.

use crate::config::{ConfigError, File, Span};
use serde::Deserialize;
use std::time::Duration;
use switch::{KeepAlive, NatConfig};

/// Peers behind NATs, and the gateway behind one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nat {
    /// Where requests inside a call go: `auto`, `always` or `never` to where the peer's own come from.
    pub mode: String,
    /// How the way to a registered phone behind a NAT is kept open: `options`, `crlf` or `off`.
    pub keepalive: String,
    /// How often.
    pub keepalive_interval: Span,
    /// OPTIONS in a row that a phone may leave unanswered before calls no longer go to it.
    pub keepalive_misses: u8,
    /// Keep-alives a second, most, of all shards together.
    pub keepalive_rate: u32,
    /// How often phones are told to show that they are there (Flow-Timer, RFC 5626; `keep`, RFC 6223).
    pub flow_timer: Span,
    /// How often the way to a carrier is kept open with which a trunk registered over UDP from behind a NAT; 0s: never.
    pub trunk_keepalive: Span,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            mode: "auto".into(),
            keepalive: "options".into(),
            keepalive_interval: Span(Duration::from_secs(25)),
            keepalive_misses: 3,
            keepalive_rate: 500,
            flow_timer: Span(Duration::from_secs(60)),
            trunk_keepalive: Span(Duration::from_secs(25)),
        }
    }
}

/// The rule of a name, or what is wrong with it and the cure.
pub(crate) fn rule(text: &str) -> Result<sip::Nat, String> {
    sip::Nat::named(text)
        .ok_or_else(|| format!("\"{text}\" is no rule; auto (as its messages show), always or never"))
}

/// Checks `[nat]`.
pub(crate) fn resolve(
    file: &File,
    workers: u16,
    at: &dyn Fn(&str) -> String,
) -> Result<NatConfig, ConfigError> {
    let it = &file.nat;
    let mode = rule(&it.mode).map_err(|error| ConfigError::new(at("nat.mode"), error))?;
    let keepalive = KeepAlive::named(&it.keepalive).ok_or_else(|| {
        let error = format!("\"{}\" is no keep-alive; options, crlf or off", it.keepalive);
        ConfigError::new(at("nat.keepalive"), error)
    })?;
    let within = |key: &str, span: Span, least: u64| {
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(3600));
        if (least..=most).contains(&span.0) {
            return Ok(span.0);
        }
        let error = format!("give {} to 1h; NATs forget a way over UDP after 30s and more", text(least));
        Err(ConfigError::new(at(key), error))
    };
    if !(1..=100).contains(&it.keepalive_misses) {
        return Err(ConfigError::new(at("nat.keepalive_misses"), "1 to 100; 3 rides out a bad line"));
    }
    if it.keepalive_rate == 0 {
        let error = "0 would keep no way open; give 1 or more, or set nat.keepalive = \"off\"";
        return Err(ConfigError::new(at("nat.keepalive_rate"), error));
    }
    let flow_timer = within("nat.flow_timer", it.flow_timer, 10)?;
    if flow_timer.subsec_nanos() > 0 {
        return Err(ConfigError::new(at("nat.flow_timer"), "give whole seconds: phones are told these"));
    }
    let trunk_interval = match it.trunk_keepalive.0 {
        Duration::ZERO => Duration::ZERO,
        _ => within("nat.trunk_keepalive", it.trunk_keepalive, 1)?,
    };
    Ok(NatConfig {
        mode,
        keepalive,
        interval: within("nat.keepalive_interval", it.keepalive_interval, 1)?,
        misses: it.keepalive_misses,
        rate: it.keepalive_rate.div_ceil(u32::from(workers.max(1))),
        flow_timer,
        trunk_interval,
    })
}

fn text(span: Duration) -> String {
    format!("{}s", span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(text: &str) -> Result<NatConfig, String> {
        let file = File::parse(&format!("[nat]\n{text}"))?;
        resolve(&file, 4, &|key| format!("f: {key}")).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_it_is_the_default() {
        let of_four = NatConfig { rate: 125, ..NatConfig::default() };
        assert_eq!(nat(""), Ok(of_four));
        assert_eq!(nat("trunk_keepalive = \"0s\"").unwrap().trunk_interval, Duration::ZERO);
        assert_eq!(nat("keepalive_rate = 1").unwrap().rate, 1, "never none at all");
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        for (text, words) in [
            ("mode = \"on\"", "f: nat.mode: \"on\" is no rule; auto"),
            ("keepalive = \"stun\"", "f: nat.keepalive: \"stun\" is no keep-alive; options"),
            ("keepalive_interval = \"0s\"", "f: nat.keepalive_interval: give 1s to 1h"),
            ("keepalive_misses = 0", "f: nat.keepalive_misses: 1 to 100"),
            ("keepalive_rate = 0", "set nat.keepalive = \"off\""),
            ("flow_timer = \"2s\"", "f: nat.flow_timer: give 10s to 1h"),
            ("flow_timer = \"10500ms\"", "f: nat.flow_timer: give whole seconds"),
            ("trunk_keepalive = \"2h\"", "f: nat.trunk_keepalive: give 1s to 1h"),
        ] {
            let said = nat(text).unwrap_err();
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
