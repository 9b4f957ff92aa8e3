//! Profiles: a list of knobs for one kind of machine, from `profiles/*.toml`, built into the binary.

use crate::error::TuneError;
use serde::Deserialize;

const BUILT_IN: [(&str, &str); 2] = [
    ("media-gateway", include_str!("../profiles/media-gateway.toml")),
    ("load-generator", include_str!("../profiles/load-generator.toml")),
];

/// What a machine of one kind should be set to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name, as given to the command.
    pub name: String,
    /// For which machine, in one sentence.
    pub about: String,
    /// The knobs, in order of importance.
    #[serde(rename = "knob")]
    pub knobs: Vec<Knob>,
}

/// One setting.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knob {
    /// The name operators know: a sysctl name, a limit's name, or a short name for a family of files in `/sys`.
    pub id: String,
    /// Where the setting lives.
    pub kind: Kind,
    /// Files below the root, `*` allowed, for `kind = "sysfs"`; a sysctl's path follows from its name.
    #[serde(default)]
    pub path: Option<String>,
    /// Only files for which this holds.
    #[serde(default)]
    pub only: Option<Only>,
    /// What it should be.
    pub want: Want,
    /// Why it matters to calls.
    pub why: String,
    /// What it costs when it is mis-set.
    pub mis_set: String,
    /// What setting it brought, measured, or that nobody has measured it here.
    pub effect: Effect,
    /// How to undo it, when `restore` cannot.
    #[serde(default)]
    pub undo: Option<String>,
}

/// Where a setting lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `/proc/sys`; may be applied.
    Sysctl,
    /// `/sys` or another file; may be applied.
    Sysfs,
    /// A resource limit of this process; only checked, since it is set by whoever starts the process.
    Limit,
}

/// A condition on a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    /// Something stands at this path, relative to the file's folder.
    Exists(String),
    /// The number in the neighbouring file of that name exceeds the value.
    Above(String, u64),
}

/// What a setting should be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// A number of at least this; larger ones are kept.
    AtLeast(u64),
    /// A number of at most this; smaller ones are kept.
    AtMost(u64),
    /// As many numbers, each of at least this.
    EachAtLeast(Vec<u64>),
    /// Exactly this word; in files that show all choices, the one in brackets.
    Equals(String),
    /// A CPU mask with every CPU.
    AllCpus,
    /// Ports for RTP are kept out of the range from which the kernel picks ports for outgoing sockets.
    SparesRtpPorts,
}

/// What setting a knob brought.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// One sentence, or `not measured here`.
    pub said: String,
    /// The stored result it came from, relative to the repository; none when not measured.
    #[serde(default)]
    pub file: Option<String>,
}

impl Profile {
    /// The names of the built-in profiles.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        BUILT_IN.iter().map(|(name, _)| *name).collect()
    }

    /// The built-in profile called `name`.
    ///
    /// # Errors
    /// There is none of that name; the error lists those there are.
    pub fn built_in(name: &str) -> Result<Self, TuneError> {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let known = Self::names().into_iter().map(str::to_owned).collect();
            return Err(TuneError::UnknownProfile { name: name.to_owned(), known });
        };
        Self::parse(text, name)
    }

    /// A profile from TOML text; `origin` names it in errors.
    ///
    /// # Errors
    /// A key is unknown or missing, or a value has the wrong type; the message says where.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TuneError> {
        toml::from_str(text)
            .map_err(|error| TuneError::Content { path: origin.to_owned(), why: error.to_string() })
    }
}

impl Knob {
    /// The file or pattern below the root; `None` for limits.
    #[must_use]
    pub fn pattern(&self) -> Option<String> {
        match self.kind {
            Kind::Limit => None,
            Kind::Sysfs => self.path.clone(),
            Kind::Sysctl => Some(format!("proc/sys/{}", self.id.replace('.', "/"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_complete() {
        for name in Profile::names() {
            let profile = Profile::built_in(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(profile.name, name);
            for knob in &profile.knobs {
                for (what, words) in
                    [("why", &knob.why), ("mis-set", &knob.mis_set), ("effect", &knob.effect.said)]
                {
                    assert!(words.len() > 10, "{name}, {}: {what} says nothing", knob.id);
                }
                assert_eq!(knob.kind == Kind::Sysfs, knob.path.is_some(), "{name}, {}: path", knob.id);
                assert_eq!(knob.kind == Kind::Limit, knob.undo.is_some(), "{name}, {}: undo", knob.id);
                match &knob.effect.file {
                    None => assert_eq!(knob.effect.said, "not measured here", "{name}, {}", knob.id),
                    Some(file) => {
                        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
                        assert!(path.is_file(), "{name}, {}: no stored result {file}", knob.id);
                    }
                }
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = Profile::built_in("nope").unwrap_err().to_string();
        assert!(error.contains("media-gateway"), "{error}");
        let error = Profile::parse("name = \"x\"\nabout = \"y\"\ncolour = 1\nknob = []", "own.toml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("own.toml") && error.contains("colour"), "{error}");
    }
}
