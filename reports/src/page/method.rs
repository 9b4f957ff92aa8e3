//! Page 3: how it was measured, and whether the measurement counts.

use super::block::{Block, Cell, Section, Table};
use super::{Context, verdict};
use crate::number;

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, result) = (context.t, &context.folder.result);
    let mut section = Section::new("method", t.get("method.title"), t.get("method.lead"));
    section.table(
        verdict::limits_table(t, t.get("method.checks-caption"), "check", &result.validity)
            .note(t.get("method.checks-note")),
    );

    section.push(Block::Heading(t.get("method.form").to_owned()));
    let (target, capacity) = (&result.target, &result.capacity);
    let arrivals = capacity.arrivals.as_deref().map(|law| t.known("arrivals", law, law));
    let relays = target.relays_media.map(|relays| if relays { t.get("yes") } else { t.get("no") });
    section.push(Block::Facts(vec![
        (t.get("method.topology").to_owned(), Cell::words(t, target.topology.as_deref())),
        (t.get("method.transport").to_owned(), Cell::words(t, target.transport.as_deref())),
        (t.get("method.arrivals").to_owned(), Cell::words(t, arrivals.as_deref())),
        (
            t.get("method.rate").to_owned(),
            Cell::of(t, capacity.offered_cps, |cps| {
                format!("{} {}", number::significant(cps), t.get("per-second"))
            }),
        ),
        (t.get("method.duration").to_owned(), Cell::text(number::seconds(result.run.duration_s))),
        (t.get("method.attempts").to_owned(), Cell::text(number::grouped(result.signalling.invites))),
        (t.get("method.hold").to_owned(), Cell::seconds(t, capacity.mean_hold_s)),
        (t.get("method.relay").to_owned(), Cell::words(t, relays)),
        (t.get("method.streams").to_owned(), streams(context)),
        (t.get("method.model").to_owned(), Cell::words(t, result.media.model.as_deref())),
        (
            t.get("method.clock").to_owned(),
            Cell::of(t, result.media.clock_error_ns, |ns| match ns {
                0 => t.get("method.one-clock").to_owned(),
                ns => format!("± {}", number::duration_ns(ns as f64)),
            }),
        ),
        (t.get("method.seed").to_owned(), Cell::Code(result.run.seed.to_string())),
    ]));

    let mut phases = Table::new(t.get("method.phases-caption"))
        .column(t.get("method.phase"))
        .figures(t.get("method.from"))
        .figures(t.get("method.to"))
        .figures(t.get("method.length"));
    for phase in &result.phases {
        phases.row(vec![
            Cell::text(t.known("phase", &phase.name, &phase.name)),
            Cell::number(format!("{} s", number::fixed(phase.start_s, 1))),
            Cell::number(format!("{} s", number::fixed(phase.end_s, 1))),
            Cell::number(number::seconds(phase.end_s - phase.start_s)),
        ]);
    }
    section.table(phases);
    section
}

/// Media streams per session (the form of RFC 7502): how many directions carried packets.
fn streams(context: &Context<'_>) -> Cell {
    let directions = context.folder.result.media.directions.iter().filter(|d| d.streams > 0).count();
    Cell::count(context.t, (directions > 0).then_some(directions as u64))
}
