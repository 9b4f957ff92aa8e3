//! Annex B: every term with its formula.

use super::Context;
use super::block::{Block, Section, Term};

/// Terms in the order in which pages use them; words under `term.<id>.*`.
const TERMS: [&str; 22] = [
    "ser", "seer", "isa", "scr", "ira", "srd", "setup", "pdd", "added", "sdd", "sdt", "rrd", "asr", "ner",
    "abr", "aloc", "loss", "jitter", "delay", "mos", "t0", "restored",
];

pub(super) fn section(context: &Context<'_>) -> Section {
    let t = context.t;
    let mut section = Section::new("glossary", t.get("glossary.title"), t.get("glossary.lead"));
    let word = |id: &str, part: &str| t.known("term", &format!("{id}.{part}"), id);
    section.push(Block::Terms(
        TERMS
            .iter()
            .map(|id| Term {
                short: word(id, "short"),
                name: word(id, "name"),
                formula: word(id, "formula"),
                meaning: word(id, "meaning"),
            })
            .collect(),
    ));
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Lang, Text};

    #[test]
    fn every_term_has_all_its_words() {
        for lang in [Lang::En, Lang::Zh] {
            let t = Text::new(lang);
            for id in TERMS {
                for part in ["short", "name", "formula", "meaning"] {
                    assert_ne!(t.known("term", &format!("{id}.{part}"), ""), "", "{lang:?} {id}.{part}");
                }
            }
        }
    }
}
