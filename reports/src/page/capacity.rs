//! Page 4: load offered and carried.

use super::block::{Block, Cell, Section, Table};
use super::{Context, timeline};
use crate::number;
use crate::svg::{Panel, Shape};

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, result) = (context.t, &context.folder.result);
    let capacity = &result.capacity;
    let mut section = Section::new("capacity", t.get("capacity.title"), t.get("capacity.lead"));
    let rate = |value: Option<f64>| {
        Cell::of(t, value, |cps| format!("{} {}", number::significant(cps), t.get("per-second")))
    };
    section.push(Block::Facts(vec![
        (t.get("capacity.planned").to_owned(), Cell::count(t, capacity.concurrent_planned)),
        (t.get("capacity.peak").to_owned(), Cell::count(t, capacity.concurrent_peak)),
        (t.get("capacity.sustained").to_owned(), Cell::count(t, capacity.concurrent_sustained)),
        (t.get("capacity.hold").to_owned(), Cell::seconds(t, capacity.hold_s)),
        (t.get("capacity.offered").to_owned(), rate(capacity.offered_cps)),
        (t.get("capacity.peak-rate").to_owned(), rate(capacity.peak_cps)),
        (
            t.get("capacity.erlangs").to_owned(),
            Cell::of(t, capacity.erlangs, |e| format!("{} E", number::significant(e))),
        ),
        (t.get("capacity.bhca").to_owned(), Cell::of(t, capacity.bhca, |b| number::fixed(b, 0))),
        (t.get("capacity.agreement").to_owned(), agreement(context)),
    ]));
    if let Some(figure) = load_figure(context) {
        section.push(Block::Figure(figure));
    }
    section.table(steps(context));
    section
}

fn agreement(context: &Context<'_>) -> Cell {
    let (t, agreement) = (context.t, &context.folder.result.capacity.agreement);
    let spreads: Vec<u64> =
        agreement.iter().filter_map(super::super::result::CountAgreement::spread).collect();
    Cell::of(t, spreads.iter().max(), |worst| {
        t.fill(
            "capacity.agreement-value",
            &[("worst", &number::grouped(*worst)), ("instants", &number::grouped(spreads.len() as u64))],
        )
    })
}

fn load_figure(context: &Context<'_>) -> Option<super::block::Figure> {
    let t = context.t;
    let mut calls = vec![
        timeline::line(context, t.get("series.calls"), "s1", Shape::Area, |p| {
            p.calls.map(|calls| calls as f64)
        }),
        timeline::line(context, t.get("series.target-calls"), "s2", Shape::Line, |p| {
            p.target_calls.map(|calls| calls as f64)
        }),
    ];
    calls.retain(timeline::measured);
    let rates = vec![
        timeline::line(context, t.get("series.attempts"), "s5", Shape::Line, |p| Some(p.attempts as f64)),
        timeline::line(context, t.get("series.answered"), "s1", Shape::Line, |p| Some(p.answered as f64)),
        timeline::line(context, t.get("series.failed"), "bad", Shape::Line, |p| Some(p.failed as f64)),
    ];
    let trunks =
        timeline::lines_by_name(context, "trunk", Shape::Stacked, |p| &p.trunks, |calls: u64| calls as f64);
    let causes =
        timeline::lines_by_name(context, "cause", Shape::Stacked, |p| &p.causes, |count: u64| count as f64);
    timeline::figure(
        context,
        t.get("capacity.figure"),
        timeline::range(context),
        0.0,
        vec![
            Panel::new(t.get("panel.calls"), "", 150.0, calls),
            Panel::new(t.get("panel.trunks"), "", 110.0, trunks),
            Panel::new(t.get("panel.rates"), t.get("per-second"), 90.0, rates).steps(),
            Panel::new(t.get("panel.causes"), t.get("per-second"), 70.0, causes).steps(),
        ],
        true,
    )
}

fn steps(context: &Context<'_>) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("capacity.steps-caption"))
        .column(t.get("capacity.step"))
        .figures(t.get("capacity.step-rate"))
        .figures(t.get("capacity.step-calls"))
        .figures(t.get("capacity.step-answered"))
        .figures(t.get("capacity.step-failed"))
        .figures(t.get("capacity.step-setup"))
        .figures(t.get("capacity.step-delay"))
        .figures(t.get("capacity.step-loss"))
        .figures(t.get("capacity.step-mos"))
        .figures(t.get("capacity.step-cores"))
        .column(t.get("capacity.step-held"));
    for step in &context.folder.result.capacity.steps {
        table.row(vec![
            Cell::text(t.known("phase", &step.name, &step.name)),
            Cell::number(number::significant(step.offered_cps)),
            Cell::number(number::grouped(step.calls)),
            Cell::number(number::grouped(step.answered)),
            Cell::number(number::grouped(step.failed)),
            Cell::significant(t, step.setup_p99_ms),
            Cell::significant(t, step.delay_p99_ms),
            Cell::percent(t, step.loss.map(|loss| loss * 100.0)),
            Cell::of(t, step.mos_p1, number::mos),
            Cell::significant(t, step.target_cores),
            match step.held {
                Some(true) => Cell::Badge { class: "good", words: t.get("yes").to_owned() },
                Some(false) => Cell::Badge { class: "bad", words: t.get("no").to_owned() },
                None => Cell::missing(t),
            },
        ]);
    }
    table
}
