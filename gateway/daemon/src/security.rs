//! How media is protected, as written in a file: for all legs in `[media]`, for a trunk's in its profile.

use crate::config::{ConfigError, File};
use crate::profile::Profile;
use rtp::srtp::Suite;
use switch::{KeyingPolicy, MediaSecurity, SrtpPolicy};

/// What a place in a file says; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said<'a> {
    srtp: Option<&'a str>,
    keying: Option<&'a str>,
    suites: Option<&'a [String]>,
    in_clear: Option<bool>,
}

impl<'a> Said<'a> {
    /// What a profile says.
    pub(crate) fn of_profile(profile: &'a Profile) -> Self {
        Self {
            srtp: profile.srtp.as_deref(),
            keying: profile.srtp_keying.as_deref(),
            suites: profile.srtp_suites.as_deref(),
            in_clear: profile.srtp_keys_in_clear,
        }
    }

    /// Whether it says anything.
    pub(crate) const fn is_anything(&self) -> bool {
        self.srtp.is_some() || self.keying.is_some() || self.suites.is_some() || self.in_clear.is_some()
    }
}

/// The settings of one place over those of `base`; `key` says where a key stands.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn resolve(
    base: MediaSecurity,
    said: Said<'_>,
    key: &dyn Fn(&str) -> String,
) -> Result<MediaSecurity, ConfigError> {
    let mut made = base;
    if let Some(text) = said.srtp {
        made.srtp = SrtpPolicy::named(text).ok_or_else(|| {
            let words = SrtpPolicy::WORDS.join(", ");
            ConfigError::new(key("srtp"), format!("\"{text}\" is not known; one of {words}"))
        })?;
    }
    if let Some(text) = said.keying {
        made.keying = KeyingPolicy::named(text).ok_or_else(|| {
            let words = KeyingPolicy::WORDS.join(", ");
            ConfigError::new(key("srtp_keying"), format!("\"{text}\" is not known; one of {words}"))
        })?;
    }
    if let Some(names) = said.suites {
        made.suites = Vec::with_capacity(names.len());
        for name in names {
            let suite = Suite::named(name).ok_or_else(|| {
                let known = Suite::ALL.map(Suite::name).join(", ");
                ConfigError::new(key("srtp_suites"), format!("\"{name}\" is no suite; known are {known}"))
            })?;
            if !made.suites.contains(&suite) {
                made.suites.push(suite);
            }
        }
        if made.suites.is_empty() {
            let error = "without a suite nothing can be protected; name one, or leave the key out";
            return Err(ConfigError::new(key("srtp_suites"), error));
        }
    }
    made.keys_in_clear = said.in_clear.unwrap_or(made.keys_in_clear);
    Ok(made)
}

/// The settings of `[media]`.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn of_all(file: &File, at: &dyn Fn(&str) -> String) -> Result<MediaSecurity, ConfigError> {
    let media = &file.media;
    let said = Said {
        srtp: Some(&media.srtp),
        keying: Some(&media.srtp_keying),
        suites: Some(&media.srtp_suites),
        in_clear: Some(media.srtp_keys_in_clear),
    };
    resolve(MediaSecurity::default(), said, &|key| at(&format!("media.{key}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn settings(text: &str) -> Result<Settings, String> {
        Settings::resolve(&File::parse(text)?, "gateway.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_says_what_differs() {
        let text = "[media]\nsrtp = \"optional\"\nsrtp_suites = [\"AES_CM_128_HMAC_SHA1_80\"]\n[[profile]]\nname = \"p\"\n\
                    srtp = \"required\"\n[[profile]]\nname = \"q\"\nbase = \"p\"\nsrtp_keys_in_clear = true\n\
                    srtp_suites = [\"aead_aes_256_gcm\", \"AEAD_AES_256_GCM\"]\n";
        let trunk = |name: &str, profile: &str| {
            format!("[[trunk]]\nname = \"{name}\"\npeers = [\"192.0.2.1:5060\"]\nprofile = \"{profile}\"\n")
        };
        let settings =
            settings(&[text, &trunk("a", "p"), &trunk("b", "q"), &trunk("c", "pbx")].concat()).unwrap();
        let of = |at: usize| settings.trunks[at].profile.security.as_ref();
        let all = &settings.shard.security;
        assert_eq!((all.srtp, all.suites.len(), all.keys_in_clear), (SrtpPolicy::Optional, 1, false));
        let p = of(0).unwrap();
        assert_eq!(
            (p.srtp, p.suites.clone(), p.keys_in_clear),
            (SrtpPolicy::Required, all.suites.clone(), false)
        );
        let q = of(1).unwrap();
        assert_eq!(
            (q.srtp, q.suites.as_slice(), q.keys_in_clear),
            (SrtpPolicy::Required, &[Suite::AeadAes256Gcm][..], true)
        );
        assert_eq!(of(2), None, "as all others");
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        for (text, words) in [
            ("[media]\nsrtp = \"yes\"", "media.srtp: \"yes\" is not known; one of off, optional, required"),
            (
                "[media]\nsrtp_suites = [\"AES\"]",
                "media.srtp_suites: \"AES\" is no suite; known are AEAD_AES_256_GCM",
            ),
            ("[media]\nsrtp_suites = []", "media.srtp_suites: without a suite nothing can be protected"),
            (
                "[media]\nsrtp_keying = \"zrtp\"",
                "media.srtp_keying: \"zrtp\" is not known; one of auto, sdes, dtls",
            ),
            ("[[profile]]\nname = \"p\"\nsrtp = \"on\"", "profile \"p\": srtp: \"on\" is not known"),
        ] {
            let said = settings(text).unwrap_err();
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
