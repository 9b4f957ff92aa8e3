//! The phones of a configuration, checked: names that can be dialled, passwords, algorithms that are known.

use crate::config::{ConfigError, File};
use std::collections::BTreeMap;
use std::sync::Arc;
use switch::Users;
use switch::registrar::{Limits, Offer};

/// Fewest characters of a secret that others must not guess.
const SECRET_MIN: usize = 16;

/// Checks `[[user]]` and `[registrar]`.
pub(crate) fn resolve(file: &File, at: &dyn Fn(&str) -> String) -> Result<Users, ConfigError> {
    let it = &file.registrar;
    let mut accounts = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for user in &file.users {
        let key = |key: &str| at(&format!("user \"{}\": {key}", user.name));
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,?/".contains(c);
        if user.name.is_empty() || !user.name.chars().all(fits) {
            let error = "write letters, digits and -_.+ as they stand before the @ of an address";
            return Err(ConfigError::new(key("name"), error));
        }
        if user.password.0.is_empty() {
            return Err(ConfigError::new(key("password"), "give the phone a password"));
        }
        if let Some(number) =
            user.numbers.iter().find(|number| number.is_empty() || !number.chars().all(fits))
        {
            let error =
                format!("\"{number}\" is no number; write it as it stands before the @ of an address");
            return Err(ConfigError::new(key("numbers"), error));
        }
        numbers.insert(user.name.clone(), user.numbers.clone());
        if accounts.insert(user.name.clone(), user.password.0.clone()).is_some() {
            return Err(ConfigError::new(key("name"), "two users have it; give each its own"));
        }
    }
    if it.realm.is_empty() || it.realm.chars().any(char::is_control) {
        return Err(ConfigError::new(at("registrar.realm"), "write a name in one line, such as your domain"));
    }
    let mut algorithms = Vec::new();
    for name in &it.algorithms {
        let known = sip::auth::Algorithm::parse(name.as_bytes()).filter(|algorithm| !algorithm.session);
        let algorithm = known.ok_or_else(|| {
            let error = format!("\"{name}\" is not known; SHA-512-256, SHA-256 or MD5");
            ConfigError::new(at("registrar.algorithms"), error)
        })?;
        algorithms.push(algorithm);
    }
    if algorithms.is_empty() {
        let error = "name at least one; [\"SHA-256\", \"MD5\"] suits most phones";
        return Err(ConfigError::new(at("registrar.algorithms"), error));
    }
    let offer = match it.offer.as_str() {
        "by-phone" => Offer::ByPhone(it.strong_agents.clone()),
        "all" => Offer::All,
        other => {
            let error = format!("\"{other}\" is not known; by-phone or all");
            return Err(ConfigError::new(at("registrar.offer"), error));
        }
    };
    if it.strong_agents.iter().any(String::is_empty) {
        let error = "an empty name would be everyone's; for that, set offer = \"all\"";
        return Err(ConfigError::new(at("registrar.strong_agents"), error));
    }
    let path_from_any = match it.path.as_str() {
        "supported" => false,
        "any" => true,
        other => {
            let error = format!("\"{other}\" is not known; supported or any");
            return Err(ConfigError::new(at("registrar.path"), error));
        }
    };
    let gruu_key: Option<Arc<str>> = it.gruu_key.as_ref().map(|secret| secret.0.as_str().into());
    if gruu_key.as_ref().is_some_and(|secret| secret.len() < SECRET_MIN) {
        let error =
            format!("a secret this short is guessed; give it {SECRET_MIN} characters or more, at random");
        return Err(ConfigError::new(at("registrar.gruu_key"), error));
    }
    let seconds = |span: std::time::Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    let (min_expires, max_expires) = (seconds(it.min_expires.0), seconds(it.max_expires.0));
    // RFC 3261 §10.3 step 7: who asks for an hour or more must not be refused.
    if !(1..=3600).contains(&min_expires) || max_expires < min_expires {
        let error = "give min_expires between 1s and 1h, and max_expires no less";
        return Err(ConfigError::new(at("registrar.min_expires"), error));
    }
    if !(1..=100).contains(&it.contacts_max) {
        return Err(ConfigError::new(at("registrar.contacts_max"), "1 to 100"));
    }
    let limits = Limits { min_expires, max_expires, contacts_max: it.contacts_max };
    let (accounts, numbers) = (Arc::new(accounts), Arc::new(numbers));
    let realm = it.realm.clone();
    Ok(Users { accounts, numbers, realm, algorithms, offer, limits, path_from_any, gruu_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file = File::parse(text).unwrap();
        resolve(&file, &|key| format!("f: {key}")).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        let user =
            |name: &str, password: &str| format!("[[user]]\nname = \"{name}\"\npassword = \"{password}\"\n");
        assert!(error(&user("a b", "x")).starts_with("f: user \"a b\": name: "));
        assert!(error(&user("a", "")).contains("password"));
        assert!(error(&(user("a", "x") + "numbers = [\"1 2\"]\n")).contains("numbers: \"1 2\""));
        assert!(error(&(user("a", "x") + &user("a", "y"))).contains("two users"));
        assert!(error("[registrar]\nalgorithms = [\"SHA1\"]").contains("\"SHA1\" is not known"));
        assert!(error("[registrar]\nalgorithms = []").contains("at least one"));
        assert!(error("[registrar]\nmin_expires = \"2h\"").contains("1h"));
        assert!(error("[registrar]\nrealm = \"\"").contains("realm"));
        assert!(error("[registrar]\noffer = \"none\"").contains("by-phone or all"));
        assert!(error("[registrar]\nstrong_agents = [\"\"]").contains("registrar.strong_agents"));
        assert!(error("[registrar]\npath = \"off\"").contains("supported or any"));
        assert!(error("[registrar]\ngruu_key = \"short\"").starts_with("f: registrar.gruu_key: a secret"));
    }

    #[test]
    fn passwords_are_not_printed() {
        let file = File::parse("[[user]]\nname = \"a\"\npassword = \"secret\"").unwrap();
        let users = resolve(&file, &|key| key.to_owned()).unwrap();
        assert!(users.has("a") && !format!("{file:?} {users:?}").contains("secret"));
    }
}
