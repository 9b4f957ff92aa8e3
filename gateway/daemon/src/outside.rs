//! `[outside]` of a configuration: requests outside of calls, as written and checked.

use crate::config::{ConfigError, File, Span};
use serde::Deserialize;
use std::time::Duration;
use switch::Passing;
use switch::profile::Referrals;

/// Requests outside of calls: MESSAGE, SUBSCRIBE with NOTIFY, PUBLISH, OPTIONS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outside {
    /// Methods that pass from and to phones, and from `allow`; a trunk's profile has its own.
    pub requests: Vec<String>,
    /// What becomes of REFERs from phones and from `allow`: `execute`, `pass` or `refuse`; a trunk's profile has its own.
    pub refer: String,
    /// Most of them executed at a time, per worker.
    pub refers_max: u32,
    /// Longest body that passes, in bytes.
    pub body_max: u32,
    /// Most subscriptions at a time, per worker.
    pub subscriptions_max: u32,
    /// Most requests at a time that wait for their answer, per worker.
    pub requests_max: u32,
    /// The longest time that a subscription is asked for.
    pub expires_max: Span,
}

impl Default for Outside {
    fn default() -> Self {
        let it = switch::Outside::default();
        Self {
            requests: ["MESSAGE", "SUBSCRIBE", "PUBLISH"].map(str::to_owned).into(),
            refer: it.referrals.word().to_owned(),
            refers_max: it.referrals_max,
            body_max: it.body_max as u32,
            subscriptions_max: it.subscriptions_max,
            requests_max: it.requests_max,
            expires_max: Span(it.expires_max),
        }
    }
}

/// Checks `[outside]`.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn outside(file: &File, at: &dyn Fn(&str) -> String) -> Result<switch::Outside, ConfigError> {
    let it = &file.outside;
    let requests =
        Passing::named(&it.requests).map_err(|error| ConfigError::new(at("outside.requests"), error))?;
    let referrals = Referrals::named(&it.refer).ok_or_else(|| {
        let error = format!("\"{}\" is not known; one of {}", it.refer, Referrals::WORDS.join(", "));
        ConfigError::new(at("outside.refer"), error)
    })?;
    if it.refers_max > 100_000 {
        let error = format!("{} is out of range; 0 to 100000", it.refers_max);
        return Err(ConfigError::new(at("outside.refers_max"), error));
    }
    if it.body_max > 60_000 {
        let error = format!("{} does not fit into a datagram beside its header; 0 to 60000", it.body_max);
        return Err(ConfigError::new(at("outside.body_max"), error));
    }
    for (key, value) in
        [("outside.subscriptions_max", it.subscriptions_max), ("outside.requests_max", it.requests_max)]
    {
        if value > 1_000_000 {
            return Err(ConfigError::new(at(key), format!("{value} is out of range; 0 to 1000000")));
        }
    }
    let longest = it.expires_max.0;
    if longest < Duration::from_secs(60) || longest > Duration::from_secs(30 * 86_400) {
        let error = "is out of range; 1m to 720h";
        return Err(ConfigError::new(at("outside.expires_max"), error));
    }
    Ok(switch::Outside {
        requests,
        referrals,
        referrals_max: it.refers_max,
        body_max: it.body_max as usize,
        subscriptions_max: it.subscriptions_max,
        requests_max: it.requests_max,
        expires_max: longest,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::File;
    use crate::settings::Settings;

    fn resolve(text: &str) -> Result<switch::Outside, String> {
        let settings = Settings::resolve(&File::parse(text)?, "gateway.toml").map_err(|it| it.to_string())?;
        Ok(settings.shard.outside)
    }

    #[test]
    fn what_is_written_is_what_holds() {
        assert_eq!(resolve(""), Ok(switch::Outside::default()));
        let it = resolve("[outside]\nrequests = []\nbody_max = 1300\nexpires_max = \"1h\"\n").unwrap();
        let dials = resolve("[outside]\nrefer = \"execute\"\nrefers_max = 3\n").unwrap();
        assert_eq!((dials.referrals, dials.referrals_max), (switch::profile::Referrals::Execute, 3));
        assert_eq!((it.requests, it.body_max, it.expires_max.as_secs()), (switch::Passing::NONE, 1300, 3600));
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        for (text, words) in [
            ("requests = [\"INFO\"]", "outside.requests: \"INFO\" exists inside calls alone"),
            ("requests = [\"BYE\"]", "known are MESSAGE, SUBSCRIBE, PUBLISH, OPTIONS, NOTIFY"),
            ("refer = \"yes\"", "outside.refer: \"yes\" is not known; one of execute, pass, refuse"),
            ("refers_max = 200000", "outside.refers_max: 200000 is out of range; 0 to 100000"),
            ("body_max = 70000", "outside.body_max: 70000 does not fit"),
            ("subscriptions_max = 2000000", "outside.subscriptions_max: 2000000 is out of range; 0 to"),
            ("expires_max = \"1s\"", "outside.expires_max: is out of range; 1m to 720h"),
            ("expire_max = \"1h\"", "unknown field `expire_max`"),
        ] {
            let said = resolve(&format!("[outside]\n{text}\n")).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
