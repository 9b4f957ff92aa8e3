//! Annex A: everything needed to check or repeat the run.

use super::Context;
use super::block::{Block, Cell, Section, Table};
use crate::number;
use crate::recorder::RESULT_FILE;

/// More events than this are left to the file.
const EVENTS_MAX: usize = 200;

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, folder) = (context.t, context.folder);
    let run = &folder.result.run;
    let mut section = Section::new("raw", t.get("annex.title"), t.get("annex.lead"));
    section.push(Block::Pre { title: t.get("annex.command").to_owned(), text: run.command.clone() });
    section.push(Block::Facts(vec![
        (t.get("annex.seed").to_owned(), Cell::Code(run.seed.to_string())),
        (t.get("annex.commit").to_owned(), Cell::words(t, run.commit.as_deref())),
        (t.get("annex.start").to_owned(), Cell::text(number::utc(run.start_unix))),
        (t.get("annex.end").to_owned(), Cell::text(number::utc(run.end_unix))),
        (t.get("annex.schema").to_owned(), Cell::Code(folder.result.schema.clone())),
    ]));

    let mut versions =
        Table::new(t.get("annex.versions")).column(t.get("annex.component")).column(t.get("annex.version"));
    for (component, version) in &run.versions {
        versions.row(vec![Cell::text(component.clone()), Cell::Code(version.clone())]);
    }
    section.table(versions);

    let mut files = Table::new(t.get("annex.files"))
        .column(t.get("annex.file"))
        .column("SHA-256")
        .column(t.get("annex.holds"));
    files.row(vec![
        Cell::Code(RESULT_FILE.to_owned()),
        Cell::Code(folder.result_hash.clone()),
        Cell::text(t.get("annex.holds-result")),
    ]);
    for (name, hash) in &folder.result.files {
        files.row(vec![
            Cell::Code(name.clone()),
            Cell::Code(hash.clone()),
            Cell::text(t.known("holds", name, "")),
        ]);
    }
    section.table(files);

    let mut events = Table::new(t.get("annex.events"))
        .figures(t.get("annex.event-time"))
        .column(t.get("annex.event-kind"))
        .column(t.get("annex.event-text"));
    for event in folder.events.iter().take(EVENTS_MAX) {
        events.row(vec![
            Cell::number(format!("{} s", number::fixed(event.t, 3))),
            Cell::Code(event.kind.clone()),
            Cell::text(t.event(event)),
        ]);
    }
    if folder.events.len() > EVENTS_MAX {
        let rest = number::grouped((folder.events.len() - EVENTS_MAX) as u64);
        events = events.note(&t.fill("annex.events-more", &[("rest", &rest)]));
    }
    section.table(events);
    if !run.plan.is_empty() {
        section.push(Block::Pre { title: t.get("annex.plan").to_owned(), text: run.plan.clone() });
    }
    section
}
