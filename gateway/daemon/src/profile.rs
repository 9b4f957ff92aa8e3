//! Profiles as written in a file, and what is made of them: base upon base, every name and template checked.

use crate::config::{ConfigError, File, Span};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use switch::profile::{
    BUILT_IN, EarlyDialogs, FieldName, Joins, LargeRequests, LateOffers, NumberFormat, NumberPlan, Pattern,
    RULES_MAX, Redirects, Referrals, Telling, Template,
};
use switch::{Dtmf, TransferPolicy};

/// How a trunk likes its INVITEs: what differs from the base.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, for trunks and for profiles built on it.
    pub name: String,
    /// The profile it is built on.
    #[serde(default = "lenient")]
    pub base: String,
    /// Whether the trunk is in our trust domain (RFC 3325).
    #[serde(default)]
    pub trusted: Option<bool>,
    /// Whether media before the answer passes.
    #[serde(default)]
    pub early_media: Option<bool>,
    /// Whether codecs are translated where the caller offers none of the trunk's.
    #[serde(default)]
    pub transcode: Option<bool>,
    /// Whose media that is when the call was forked: `latest` or `first`.
    #[serde(default)]
    pub early_dialogs: Option<String>,
    /// What becomes of its redirections: `follow`, `relay` or `refuse`.
    #[serde(default)]
    pub redirects: Option<String>,
    /// What becomes of a call without an offer: `pass` or `offer`.
    #[serde(default)]
    pub late_offer: Option<String>,
    /// How a request goes that is too large for a datagram: `tcp` or `udp`.
    #[serde(default)]
    pub large_requests: Option<String>,
    /// What is done with its REFERs: `execute`, `pass` or `refuse`.
    #[serde(default)]
    pub transfer: Option<String>,
    /// What becomes of an INVITE from or to it that is to join a call: `pass` or `refuse`.
    #[serde(default)]
    pub join: Option<String>,
    /// What is done with its REFERs outside of calls: `execute`, `pass` or `refuse`.
    #[serde(default)]
    pub refer: Option<String>,
    /// How long a peer may say nothing at all.
    #[serde(default)]
    pub no_response: Option<Span>,
    /// How long a callee may ring; not above that of `[calls]`.
    #[serde(default)]
    pub no_answer: Option<Span>,
    /// Where requests inside a call go: `auto`, `always` or `never` to where the peer's own come from.
    #[serde(default)]
    pub nat: Option<String>,
    /// Whether its RTP is protected: `off`, `optional`, `required`.
    #[serde(default)]
    pub srtp: Option<String>,
    /// How keys come to be: `auto`, `sdes`, `dtls`.
    #[serde(default)]
    pub srtp_keying: Option<String>,
    /// By what, the preferred first.
    #[serde(default)]
    pub srtp_suites: Option<Vec<String>>,
    /// Whether keys go over signalling that is not encrypted.
    #[serde(default)]
    pub srtp_keys_in_clear: Option<bool>,
    /// How its peers say keys (DTMF): `pass`, `rfc4733`, `info`, `info-plain` or `inband`.
    #[serde(default)]
    pub dtmf: Option<String>,
    /// Whether keys in its calls are hidden in traces and copies: card numbers and PINs.
    #[serde(default)]
    pub dtmf_hidden: Option<bool>,
    /// What becomes of RTCP on its legs: `auto`, `own`, `pass`, `off`.
    #[serde(default)]
    pub rtcp: Option<String>,
    /// Whether reports of the gateway's own on its legs are extended.
    #[serde(default)]
    pub rtcp_xr: Option<bool>,
    /// Whether video passes from and to it.
    #[serde(default)]
    pub video: Option<bool>,
    /// Whether fax over UDPTL (T.38) passes from and to it.
    #[serde(default)]
    pub t38: Option<bool>,
    /// Requests outside of calls that pass from and to the trunk.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
    /// Whether calls to the trunk bear Session-ID (RFC 7989).
    #[serde(default)]
    pub session_id: Option<bool>,
    /// How the trunk is told of diversions: `as-is`, `history-info`, `diversion`, `both` or `none`.
    #[serde(default)]
    pub diversions: Option<String>,
    /// How numbers are written.
    #[serde(default)]
    pub numbers: Numbers,
    /// Header fields.
    #[serde(default)]
    pub headers: Headers,
}

fn lenient() -> String {
    switch::profile::Profile::default().name
}

/// How numbers are written on the way out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Numbers {
    /// The number called: `as-is`, `e164` or `national`.
    pub called: Option<String>,
    /// The calling number: the same.
    pub calling: Option<String>,
    /// Our country code, without plus.
    pub country: Option<String>,
    /// What is dialled in front of a number of our country.
    pub trunk_prefix: Option<String>,
    /// What is dialled in front of a country code.
    pub international_prefix: Option<String>,
}

/// Header fields of the INVITE to a trunk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Names of the caller's fields that go on to the trunk; `X-*` means all that begin so.
    pub pass: Vec<String>,
    /// Names of those that do not, though the base lets them.
    pub remove: Vec<String>,
    /// New values of fields that pass.
    pub rewrite: BTreeMap<String, String>,
    /// Fields to put in.
    pub add: BTreeMap<String, String>,
}

/// The profiles by name, the built-in ones among them.
pub(crate) type Profiles = BTreeMap<String, Arc<switch::profile::Profile>>;

/// Makes the profiles of a configuration.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn resolve(file: &File, at: &dyn Fn(&str) -> String) -> Result<Profiles, ConfigError> {
    let mut made: Profiles = BUILT_IN
        .iter()
        .filter_map(|name| switch::profile::Profile::built_in(name))
        .map(|profile| (profile.name.clone(), Arc::new(profile)))
        .collect();
    for (index, profile) in file.profiles.iter().enumerate() {
        let key = at(&format!("profile \"{}\": name", profile.name));
        if profile.name.is_empty() {
            return Err(ConfigError::new(key, "give the profile a name"));
        }
        if BUILT_IN.contains(&profile.name.as_str()) {
            return Err(ConfigError::new(
                key,
                "a built-in profile has it; choose another and name that one as base",
            ));
        }
        if file.profiles[..index].iter().any(|other| other.name == profile.name) {
            return Err(ConfigError::new(key, "two profiles have it; give each its own"));
        }
    }
    // Whatever has its base is made, until nothing is: the order in the file is of no matter.
    let mut waiting: Vec<&Profile> = file.profiles.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let (ready, rest): (Vec<&Profile>, Vec<&Profile>) =
            waiting.iter().partition(|profile| made.contains_key(&profile.base));
        for profile in ready {
            if let Some(base) = made.get(&profile.base).cloned() {
                let key = |key: &str| at(&format!("profile \"{}\": {key}", profile.name));
                made.insert(profile.name.clone(), Arc::new(build(profile, &base, file, &key)?));
            }
        }
        waiting = rest;
        if let Some(stuck) = waiting.first().filter(|_| waiting.len() == before) {
            let key = at(&format!("profile \"{}\": base", stuck.name));
            let known = waiting.iter().any(|other| other.name == stuck.base);
            let what = if known { "is built on this one in turn".to_owned() } else { unknown(&made) };
            return Err(ConfigError::new(key, format!("\"{}\" {what}", stuck.base)));
        }
    }
    Ok(made)
}

/// What is said of a profile that there is not.
pub(crate) fn unknown(made: &Profiles) -> String {
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    format!("is no profile; known are {}", names.join(", "))
}

fn build(
    profile: &Profile,
    base: &switch::profile::Profile,
    file: &File,
    key: &dyn Fn(&str) -> String,
) -> Result<switch::profile::Profile, ConfigError> {
    let mut made = switch::profile::Profile { name: profile.name.clone(), ..base.clone() };
    made.trusted = profile.trusted.unwrap_or(made.trusted);
    made.early_media = profile.early_media.unwrap_or(made.early_media);
    made.transcode = profile.transcode.unwrap_or(made.transcode);
    if let Some(text) = &profile.nat {
        made.nat = Some(crate::nat::rule(text).map_err(|error| ConfigError::new(key("nat"), error))?);
    }
    let said = crate::security::Said::of_profile(profile);
    if said.is_anything() {
        let base = match &made.security {
            Some(base) => base.clone(),
            None => crate::security::of_all(file, &|key| format!("media.{key}"))?,
        };
        made.security = Some(crate::security::resolve(base, said, key)?);
    }
    made.dtmf_hidden = profile.dtmf_hidden.unwrap_or(made.dtmf_hidden);
    if profile.rtcp.is_some() || profile.rtcp_xr.is_some() {
        let base = match made.reporting {
            Some(base) => base,
            None => crate::reporting::of_all(file, &|key| format!("media.{key}"))?,
        };
        made.reporting =
            Some(crate::reporting::resolve(base, profile.rtcp.as_deref(), profile.rtcp_xr, key)?);
    }
    made.allowed.video = profile.video.or(made.allowed.video);
    made.allowed.t38 = profile.t38.or(made.allowed.t38);
    made.session_id = profile.session_id.unwrap_or(made.session_id);
    if let Some(names) = &profile.requests {
        made.requests =
            switch::Passing::named(names).map_err(|error| ConfigError::new(key("requests"), error))?;
    }
    if let Some(text) = &profile.diversions {
        made.diversions = Telling::named(text).ok_or_else(|| {
            let known = "as-is, history-info, diversion, both, none";
            ConfigError::new(
                key("diversions"),
                format!("\"{text}\" is no way to tell of them; one of {known}"),
            )
        })?;
    }
    manner(profile, &mut made, key)?;
    if let Some(text) = &profile.transfer {
        made.transfer = TransferPolicy::named(text).ok_or_else(|| {
            ConfigError::new(key("transfer"), format!("\"{text}\" is none; one of execute, pass, refuse"))
        })?;
    }
    if let Some(span) = profile.no_response {
        if span.0.is_zero() {
            return Err(ConfigError::new(
                key("no_response"),
                "0s would give every peer up at once; write 1500ms",
            ));
        }
        made.no_response = Some(span.0);
    }
    if let Some(span) = profile.no_answer {
        if span.0.is_zero() || span > file.calls.no_answer {
            let error =
                "must be above 0s and not above calls.no_answer, which is for all trunks; raise that first";
            return Err(ConfigError::new(key("no_answer"), error));
        }
        made.no_answer = Some(span.0);
    }
    numbers(&profile.numbers, &mut made, key)?;
    headers(&profile.headers, &mut made, key)?;
    Ok(made)
}

/// The choices that are one word.
fn manner(
    profile: &Profile,
    made: &mut switch::profile::Profile,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let bad = |name: &str, text: &str, words: &[&str]| {
        ConfigError::new(key(name), format!("\"{text}\" is not known; one of {}", words.join(", ")))
    };
    if let Some(text) = &profile.redirects {
        made.redirects = Redirects::named(text).ok_or_else(|| bad("redirects", text, Redirects::WORDS))?;
    }
    if let Some(text) = &profile.dtmf {
        made.dtmf = Some(Dtmf::named(text).ok_or_else(|| bad("dtmf", text, Dtmf::WORDS))?);
    }
    if let Some(text) = &profile.early_dialogs {
        made.early_dialogs =
            EarlyDialogs::named(text).ok_or_else(|| bad("early_dialogs", text, EarlyDialogs::WORDS))?;
    }
    if let Some(text) = &profile.late_offer {
        made.late_offer =
            LateOffers::named(text).ok_or_else(|| bad("late_offer", text, LateOffers::WORDS))?;
    }
    if let Some(text) = &profile.join {
        made.joins = Joins::named(text).ok_or_else(|| bad("join", text, Joins::WORDS))?;
    }
    if let Some(text) = &profile.refer {
        made.referrals = Referrals::named(text).ok_or_else(|| bad("refer", text, Referrals::WORDS))?;
    }
    if let Some(text) = &profile.large_requests {
        made.large_requests =
            LargeRequests::named(text).ok_or_else(|| bad("large_requests", text, LargeRequests::WORDS))?;
    }
    Ok(())
}

fn numbers(
    numbers: &Numbers,
    made: &mut switch::profile::Profile,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let (country, trunk, international) = made.plan.parts();
    made.plan = NumberPlan::new(
        numbers.country.as_deref().unwrap_or(country),
        numbers.trunk_prefix.as_deref().unwrap_or(trunk),
        numbers.international_prefix.as_deref().unwrap_or(international),
    )
    .map_err(|error| ConfigError::new(key("numbers"), error.to_string()))?;
    for (name, given, format) in [
        ("numbers.called", &numbers.called, &mut made.called),
        ("numbers.calling", &numbers.calling, &mut made.calling),
    ] {
        if let Some(text) = given {
            *format = NumberFormat::named(text).ok_or_else(|| {
                ConfigError::new(key(name), format!("\"{text}\" is no format; one of as-is, e164, national"))
            })?;
        }
        if *format == NumberFormat::National && !made.plan.has_country() {
            let error = "national numbers need to know the country; set numbers.country, such as \"86\"";
            return Err(ConfigError::new(key(name), error));
        }
    }
    Ok(())
}

fn headers(
    headers: &Headers,
    made: &mut switch::profile::Profile,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let bad = |name: &str, error: &dyn Display| ConfigError::new(key(name), error.to_string());
    for text in &headers.pass {
        made.let_pass(Pattern::new(text).map_err(|error| bad("headers.pass", &error))?);
    }
    for text in &headers.remove {
        made.take_out(Pattern::new(text).map_err(|error| bad("headers.remove", &error))?);
    }
    for (name, text) in &headers.rewrite {
        let key = format!("headers.rewrite.{name}");
        let field = FieldName::new(name).map_err(|error| bad("headers.rewrite", &error))?;
        if !made.passes(name) {
            let error =
                format!("\"{name}\" does not pass, so there is nothing to rewrite; name it in headers.pass");
            return Err(bad("headers.rewrite", &error));
        }
        made.write_anew(field, Template::new(text, true).map_err(|error| bad(&key, &error))?);
    }
    for (name, text) in &headers.add {
        let key = format!("headers.add.{name}");
        let field = FieldName::new(name).map_err(|error| bad("headers.add", &error))?;
        made.put_in(field, Template::new(text, false).map_err(|error| bad(&key, &error))?);
    }
    let most = made.pass.len().max(made.rewrite.len()).max(made.add.len());
    if most > RULES_MAX {
        return Err(bad(
            "headers",
            &format!("{most} rules of one kind; {RULES_MAX} at most, use patterns such as X-*"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::File;
    use crate::settings::Settings;

    fn settings(profiles: &str) -> Result<Settings, String> {
        let text =
            format!("{profiles}\n[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\"]\nprofile = \"p\"\n");
        let file = File::parse(&text)?;
        Settings::resolve(&file, "gateway.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_is_built_on_another_whatever_their_order() {
        let settings = settings(
            "[[profile]]\nname = \"p\"\nbase = \"q\"\nno_answer = \"40s\"\nheaders.add = { X-Trunk = \"{trunk}\" }\n\
             headers.rewrite = { X-Colour = \"{value}!\" }\n[[profile]]\nname = \"q\"\nbase = \"ims\"\ntrusted = false\n\
             early_media = false\ntransfer = \"execute\"\nnumbers = { called = \"national\", country = \"86\" }\n\
             headers.pass = [\"X-*\"]\nheaders.remove = [\"Subject\"]\n",
        )
        .unwrap();
        let profile = &settings.trunks[0].profile;
        assert_eq!((profile.name.as_str(), profile.trusted, profile.early_media), ("p", false, false));
        assert!(profile.passes("X-A") && profile.passes("P-Charging-Vector") && !profile.passes("Subject"));
        assert_eq!((profile.add.len(), profile.rewrite.len()), (1, 1));
        assert_eq!(profile.transfer, switch::TransferPolicy::Execute, "the base's is pass");
        assert_eq!(profile.no_answer.unwrap().as_secs(), 40);
        assert_eq!(profile.called("+862155550123"), "02155550123");
        assert_eq!(profile.calling("862155550123"), "+862155550123");
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        let error = |more: &str| settings(&format!("[[profile]]\nname = \"p\"\n{more}")).unwrap_err();
        for (more, words) in [
            ("base = \"x\"", "profile \"p\": base: \"x\" is no profile; known are carrier-lenient"),
            ("base = \"p\"", "base: \"p\" is built on this one in turn"),
            ("headers.add = { Via = \"x\" }", "headers.add: \"Via\" may not be touched: the gateway routes"),
            ("headers.add = { i = \"x\" }", "\"i\" is a compact form; write the full name"),
            ("headers.remove = [\"C*\"]", "headers.remove: \"C*\" fits Contact, which may not be touched"),
            ("headers.pass = [\"Call-ID\"]", "headers.pass: \"Call-ID\" may not be touched"),
            (
                "headers.add = { X-A = \"{nonsense}\" }",
                "headers.add.X-A: there is no variable {nonsense}; known",
            ),
            ("headers.add = { X-A = \"{value}\" }", "headers.add.X-A: {value} is the value before"),
            ("headers.rewrite = { X-A = \"1\" }", "\"X-A\" does not pass"),
            ("headers.adds = { X-A = \"1\" }", "unknown field `adds`"),
            ("numbers = { called = \"e.164\" }", "numbers.called: \"e.164\" is no format; one of as-is"),
            ("numbers = { calling = \"national\" }", "numbers.calling: national numbers need"),
            ("numbers = { country = \"+86\" }", "numbers: \"+86\" is no country code"),
            ("requests = [\"BYE\"]", "requests: \"BYE\" cannot pass outside of calls; known are MESSAGE"),
            ("diversions = \"x\"", "diversions: \"x\" is no way to tell of them; one of as-is"),
            ("no_answer = \"3m\"", "no_answer: must be above 0s and not above calls.no_answer"),
            ("redirects = \"yes\"", "redirects: \"yes\" is not known; one of follow, relay, refuse"),
            ("early_dialogs = \"last\"", "early_dialogs: \"last\" is not known; one of latest, first"),
            (
                "dtmf = \"rfc2833\"",
                "profile \"p\": dtmf: \"rfc2833\" is not known; one of pass, rfc4733, info",
            ),
            ("late_offer = \"no\"", "late_offer: \"no\" is not known; one of pass, offer"),
            ("join = \"mix\"", "join: \"mix\" is not known; one of pass, refuse"),
            ("refer = \"yes\"", "refer: \"yes\" is not known; one of execute, pass, refuse"),
            ("large_requests = \"sctp\"", "large_requests: \"sctp\" is not known; one of tcp, udp"),
            ("transfer = \"yes\"", "profile \"p\": transfer: \"yes\" is none; one of execute, pass, refuse"),
            ("no_response = \"0s\"", "no_response: 0s would give every peer up"),
            ("[[profile]]\nname = \"p\"", "profile \"p\": name: two profiles have it"),
            ("[[profile]]\nname = \"pbx\"", "profile \"pbx\": name: a built-in profile has it"),
        ] {
            let said = error(more);
            assert!(said.contains(words), "{words}: {said}");
        }
        let said = settings("").unwrap_err();
        let words = "gateway.toml: trunk \"a\": profile: \"p\" is no profile; known are carrier-lenient, carrier-strict";
        assert!(said.contains(words), "{said}");
        let rules: Vec<String> = (0..65).map(|n| format!("\"X-{n}\"")).collect();
        let said = error(&format!("headers.pass = [{}]", rules.join(", ")));
        assert!(said.contains("64 at most"), "{said}");
    }
}
