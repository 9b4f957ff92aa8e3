//! What is reported about media, as written in a file: for all legs in `[media]`, for a trunk's in its profile.

use crate::config::{ConfigError, File};
use switch::{Reporting, RtcpPolicy};

/// The settings of one place over those of `base`; `key` says where a key stands.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn resolve(
    base: Reporting,
    rtcp: Option<&str>,
    extended: Option<bool>,
    key: &dyn Fn(&str) -> String,
) -> Result<Reporting, ConfigError> {
    let mut made = base;
    if let Some(text) = rtcp {
        made.rtcp = RtcpPolicy::named(text).ok_or_else(|| {
            let words = RtcpPolicy::WORDS.join(", ");
            ConfigError::new(key("rtcp"), format!("\"{text}\" is not known; one of {words}"))
        })?;
    }
    made.extended = extended.unwrap_or(made.extended);
    if made.extended && matches!(made.rtcp, RtcpPolicy::Pass | RtcpPolicy::Off) {
        let error = "the gateway sends no reports of its own there that could be extended; set rtcp to \"auto\" or \"own\", or rtcp_xr to false";
        return Err(ConfigError::new(key("rtcp_xr"), error));
    }
    Ok(made)
}

/// The settings of `[media]`.
///
/// # Errors
/// Names the key and the cure.
pub(crate) fn of_all(file: &File, at: &dyn Fn(&str) -> String) -> Result<Reporting, ConfigError> {
    let media = &file.media;
    resolve(Reporting::default(), Some(&media.rtcp), Some(media.rtcp_xr), &|key| at(&format!("media.{key}")))
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
        let text = "[media]\nrtcp = \"own\"\n[[profile]]\nname = \"p\"\nrtcp_xr = true\n\
                    [[profile]]\nname = \"q\"\nbase = \"p\"\nrtcp = \"auto\"\n";
        let trunk = |name: &str, profile: &str| {
            format!("[[trunk]]\nname = \"{name}\"\npeers = [\"192.0.2.1:5060\"]\nprofile = \"{profile}\"\n")
        };
        let settings =
            settings(&[text, &trunk("a", "p"), &trunk("b", "q"), &trunk("c", "pbx")].concat()).unwrap();
        let of = |at: usize| settings.trunks[at].profile.reporting;
        assert_eq!(settings.shard.reporting, Reporting { rtcp: RtcpPolicy::Own, extended: false });
        assert_eq!(of(0), Some(Reporting { rtcp: RtcpPolicy::Own, extended: true }));
        assert_eq!(of(1), Some(Reporting { rtcp: RtcpPolicy::Auto, extended: true }));
        assert_eq!(of(2), None, "as all others");
    }

    #[test]
    fn mistakes_name_key_and_cure() {
        for (text, words) in [
            ("[media]\nrtcp = \"yes\"", "media.rtcp: \"yes\" is not known; one of auto, own, pass, off"),
            (
                "[media]\nrtcp = \"off\"\nrtcp_xr = true",
                "media.rtcp_xr: the gateway sends no reports of its own",
            ),
            ("[[profile]]\nname = \"p\"\nrtcp = \"on\"", "profile \"p\": rtcp: \"on\" is not known"),
        ] {
            let said = settings(text).unwrap_err();
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
