//! The words of the pages in English and Chinese, from `text/*.txt`: one `key = words` a line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

impl Lang {
    /// The language tag of the page.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }
}

/// The language asked for is neither `en` nor `zh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLang(String);

impl fmt::Display for UnknownLang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown language {:?}: use en or zh", self.0)
    }
}

impl std::error::Error for UnknownLang {}

impl FromStr for Lang {
    type Err = UnknownLang;

    fn from_str(text: &str) -> Result<Self, UnknownLang> {
        match text {
            "en" => Ok(Self::En),
            "zh" | "zh-CN" => Ok(Self::Zh),
            other => Err(UnknownLang(other.to_owned())),
        }
    }
}

/// All words of one language.
#[derive(Debug)]
pub(crate) struct Text {
    lang: Lang,
    words: BTreeMap<&'static str, &'static str>,
}

impl Text {
    pub(crate) fn new(lang: Lang) -> Self {
        let source = match lang {
            Lang::En => include_str!("../text/en.txt"),
            Lang::Zh => include_str!("../text/zh.txt"),
        };
        Self { lang, words: pairs(source).collect() }
    }

    /// The words for `key`; the key itself when there are none (a test keeps that from happening).
    pub(crate) fn get<'a>(&self, key: &'a str) -> &'a str {
        self.words.get(key).copied().unwrap_or(key)
    }

    /// The words for `key` with each `{name}` replaced by its value.
    pub(crate) fn fill(&self, key: &str, values: &[(&str, &str)]) -> String {
        replace(self.get(key), |name| values.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
            .unwrap_or_else(|| self.get(key).to_owned())
    }

    /// Words for a name that came from recorded data: `family.name` when known, else `recorded` as it stands.
    pub(crate) fn known(&self, family: &str, name: &str, recorded: &str) -> String {
        self.words
            .get(format!("{family}.{name}").as_str())
            .map_or_else(|| recorded.to_owned(), |w| (*w).to_owned())
    }

    /// The name of a limit, check or cause: recorded in English, so English pages show it as it stands.
    pub(crate) fn named(&self, family: &str, name: &str, recorded: &str) -> String {
        match self.lang {
            Lang::En => recorded.to_owned(),
            Lang::Zh => self.known(family, name, recorded),
        }
    }

    /// The title of a run: the patterns that the generator uses are translated, any other stands as recorded.
    pub(crate) fn title(&self, recorded: &str) -> String {
        let english = Self::new(Lang::En);
        for (key, name) in [("run.drill", "calls"), ("run.calls", "to")] {
            let hole = format!("{{{name}}}");
            let Some((before, after)) = english.get(key).split_once(&hole) else { continue };
            let value = recorded.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            if let Some(value) = value {
                return self.fill(key, &[(name, value)]);
            }
        }
        recorded.to_owned()
    }

    /// A cause of failure or release: a status, a known word, or recorded words of which the part before the colon may
    /// be known.
    pub(crate) fn cause(&self, recorded: &str) -> String {
        let (head, rest) = recorded.find(':').map_or((recorded, ""), |at| recorded.split_at(at));
        let key = head.trim().to_lowercase().replace(' ', "-");
        format!("{}{rest}", self.known("cause", &key, head))
    }

    /// Words for a recorded event: its kind's sentence with the data filled in, else the recorded line.
    pub(crate) fn event(&self, event: &crate::result::Event) -> String {
        let Some(words) = self.words.get(format!("event.{}", event.kind).as_str()) else {
            return event.text.clone();
        };
        replace(words, |name| {
            let value = event.data.get(name)?;
            Some(if name == "phase" { self.known("phase", value, value) } else { value.clone() })
        })
        .unwrap_or_else(|| event.text.clone())
    }
}

/// `words` with `{name}` replaced; `None` when a name has no value.
fn replace(words: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(words.len() + 32);
    let mut rest = words;
    while let Some(open) = rest.find('{') {
        let close = open + rest[open..].find('}')?;
        out.push_str(&rest[..open]);
        out.push_str(&value(&rest[open + 1..close])?);
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Some(out)
}

fn pairs(source: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    source
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, words)| (key.trim(), words.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Event, event_kind};

    fn placeholders(words: &str) -> Vec<&str> {
        let mut names: Vec<&str> =
            words.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_languages_have_the_same_keys_and_placeholders() {
        let (en, zh) = (Text::new(Lang::En), Text::new(Lang::Zh));
        // Names of limits and checks are recorded in English.
        let recorded = |key: &str| key.starts_with("limit.") || key.starts_with("check.");
        for (key, words) in &en.words {
            let other = zh.words.get(key).unwrap_or_else(|| panic!("{key} is missing in zh"));
            assert_eq!(placeholders(words), placeholders(other), "{key}");
            assert!(!words.is_empty() && !other.is_empty(), "{key}");
        }
        for key in zh.words.keys().filter(|key| !recorded(key)) {
            assert!(en.words.contains_key(key), "{key} is missing in en");
        }
    }

    #[test]
    fn no_key_stands_twice() {
        for source in [include_str!("../text/en.txt"), include_str!("../text/zh.txt")] {
            let mut keys: Vec<_> = pairs(source).map(|(key, _)| key).collect();
            keys.sort_unstable();
            for pair in keys.windows(2) {
                assert_ne!(pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn every_metric_and_event_kind_has_words() {
        let (en, zh) = (Text::new(Lang::En), Text::new(Lang::Zh));
        for metric in crate::metric::CATALOGUE {
            let key = format!("limit.{}", metric.id);
            assert!(zh.words.contains_key(key.as_str()), "{key}");
        }
        for kind in event_kind::ALL {
            assert!(en.words.contains_key(format!("event.{kind}").as_str()), "event.{kind}");
        }
    }

    #[test]
    fn every_key_in_the_sources_has_words() {
        let text = Text::new(Lang::En);
        let mut seen = 0;
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                for call in ["t.get(\"", "t.fill(\""] {
                    for part in source.split(call).skip(1) {
                        let key = part.split('"').next().unwrap();
                        assert!(text.words.contains_key(key), "{}: no words for {key}", path.display());
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 100, "the scan found only {seen} keys: has the calling convention changed?");
    }

    #[test]
    fn events_fall_back_to_what_was_recorded() {
        let text = Text::new(Lang::Zh);
        let known = Event::new(1.0, event_kind::CARRIER_KILLED, "carrier a killed").with("carrier", "a");
        assert!(text.event(&known).contains('a'));
        assert_ne!(text.event(&known), known.text);
        let bare = Event::new(1.0, event_kind::CARRIER_KILLED, "carrier a killed");
        assert_eq!(text.event(&bare), bare.text, "a sentence with a hole is not shown");
        assert_eq!(text.event(&Event::new(1.0, "own", "own words")), "own words");
    }

    #[test]
    fn titles_are_translated_by_pattern() {
        let text = Text::new(Lang::Zh);
        assert_eq!(
            text.title("Drill: 400 calls with voice through a carrier failure"),
            "验收演练：400 路语音呼叫，运营商中断"
        );
        assert_eq!(text.title("Own title"), "Own title");
    }

    #[test]
    fn causes_are_translated_up_to_the_colon() {
        let text = Text::new(Lang::Zh);
        assert_eq!(
            text.cause("media timeout: carrier sent no RTP for 5 s"),
            "媒体超时: carrier sent no RTP for 5 s"
        );
        assert_eq!(text.cause("own words"), "own words");
    }
}
