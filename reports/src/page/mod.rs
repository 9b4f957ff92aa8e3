//! The page: one self-contained HTML file drawn from a run's folder and nothing else.

mod annex;
mod block;
mod capacity;
mod environment;
mod failover;
mod glossary;
mod media;
mod method;
mod resources;
mod signalling;
mod timeline;
mod verdict;

use crate::number;
use crate::read::RunFolder;
use crate::text::{Lang, Text};
use askama::Template;
use block::{Block, Cell, Section};

/// What the sections read.
struct Context<'a> {
    folder: &'a RunFolder,
    t: &'a Text,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    lang: &'a str,
    css: &'a str,
    title: String,
    subtitle: String,
    generator: String,
    stamp: String,
    run_id: String,
    contents: &'a str,
    verdict: verdict::Banner,
    sections: Vec<Section>,
    t: &'a Text,
}

/// Draws the page of a run. The same folder and language give the same bytes.
///
/// # Errors
/// The template failed to write; cannot happen into a string, and is passed on rather than hidden.
pub fn render_html(folder: &RunFolder, lang: Lang) -> Result<String, askama::Error> {
    let text = Text::new(lang);
    let t = &text;
    let context = Context { folder, t };
    let mut sections = vec![
        verdict::section(&context),
        environment::section(&context),
        method::section(&context),
        capacity::section(&context),
        signalling::section(&context),
        media::section(&context),
        resources::section(&context),
    ];
    sections.extend(failover::sections(&context));
    for (index, section) in sections.iter_mut().enumerate() {
        section.number = (index + 1).to_string();
    }
    for (letter, mut annex) in
        ["A", "B"].into_iter().zip([annex::section(&context), glossary::section(&context)])
    {
        annex.number = letter.to_owned();
        sections.push(annex);
    }
    let run = &folder.result.run;
    Page {
        lang: lang.tag(),
        css: include_str!("../../templates/page.css"),
        title: t.title(&run.title),
        subtitle: [
            t.known("target", &folder.result.target.name, &folder.result.target.name).as_str(),
            folder.result.target.version.as_deref().unwrap_or(""),
        ]
        .join(" ")
        .trim()
        .to_owned(),
        generator: format!("trunkline reports {}", env!("CARGO_PKG_VERSION")),
        stamp: number::utc(run.start_unix),
        run_id: folder.result_hash.chars().take(12).collect(),
        contents: t.get("contents"),
        verdict: verdict::banner(&context),
        sections,
        t,
    }
    .render()
}
