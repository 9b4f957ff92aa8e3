//! Page 8 and on: one page per fault, from T0 to the last consequence.

use super::block::{Block, Cell, Figure, Section, Table};
use super::{Context, timeline};
use crate::number;
use crate::result::Fault;
use crate::svg::{self, Curve, Panel, Segment, Shape};

pub(super) fn sections(context: &Context<'_>) -> Vec<Section> {
    context
        .folder
        .result
        .failover
        .iter()
        .enumerate()
        .map(|(index, fault)| section(context, index, fault))
        .collect()
}

fn section(context: &Context<'_>, index: usize, fault: &Fault) -> Section {
    let t = context.t;
    let kind = t.known("fault", &fault.kind, &fault.kind);
    let title = t.fill("failover.title", &[("what", &kind), ("part", &fault.target)]);
    let mut section = Section::new(&format!("failover-{}", index + 1), &title, &lead(context, fault));
    section.push(Block::Figure(Figure {
        title: t.get("failover.instants").to_owned(),
        svg: instants(context, fault),
        key: Vec::new(),
        note: Some(t.get("failover.instants-note").to_owned()),
    }));
    if let Some(figure) = around(context, fault) {
        section.push(Block::Figure(figure));
    }
    section.figure(t.get("failover.fate"), fate(context, fault), Some(t.get("failover.fate-note")));
    section.table(states(context, fault));
    section.push(Block::Facts(facts(context, fault)));
    section.table(causes(context, fault));
    let gap =
        Curve { label: t.get("failover.media-gap").to_owned(), class: "s1", histogram: &fault.media_gap };
    section.figure(
        t.get("failover.media-gap"),
        svg::cdf(
            t.get("failover.media-gap"),
            t.get("axis.delay-log"),
            &[gap],
            None,
            t.get("percentiles.top"),
        ),
        Some(t.get("cdf.note")),
    );
    section
}

fn lead(context: &Context<'_>, fault: &Fault) -> String {
    let t = context.t;
    let error = fault
        .t0_error_ms
        .map_or_else(|| t.get("not-measured").to_owned(), |ms| format!("± {} ms", number::significant(ms)));
    t.fill("failover.lead", &[("t0", &number::fixed(fault.t0_s, 3)), ("error", &error)])
}

fn instants(context: &Context<'_>, fault: &Fault) -> String {
    let (t, m) = (context.t, &fault.moments);
    let row = |words: &str, at: Option<f64>, class: &'static str| (words.to_owned(), at, class);
    svg::instants(
        t.get("failover.instants"),
        t.get("axis.since-t0-log"),
        t.get("not-observed"),
        &[
            row(t.get("failover.first-failure"), m.first_failure_s, "bad"),
            row(t.get("failover.detected"), m.detected_s, "s2"),
            row(t.get("failover.takeover"), m.takeover_s, "s1"),
            row(t.get("failover.restored"), m.restored_s, "good"),
            row(t.get("failover.last-call"), m.last_call_ended_s, "s5"),
        ],
    )
}

/// Ten seconds before T0 to a little after the last consequence.
fn around(context: &Context<'_>, fault: &Fault) -> Option<Figure> {
    let t = context.t;
    let m = &fault.moments;
    let longest = [m.restored_s, m.last_call_ended_s, Some(fault.window.end_s - fault.t0_s)]
        .into_iter()
        .flatten()
        .fold(10.0, f64::max);
    let whole = timeline::range(context);
    let range = ((fault.t0_s - 10.0).max(whole.0), (fault.t0_s + longest * 1.15 + 5.0).min(whole.1));
    timeline::figure(
        context,
        t.get("failover.around"),
        range,
        fault.t0_s,
        vec![
            Panel::new(
                t.get("panel.trunks"),
                "",
                120.0,
                timeline::lines_by_name(
                    context,
                    "trunk",
                    Shape::Line,
                    |p| &p.trunks,
                    |calls: u64| calls as f64,
                ),
            ),
            Panel::new(
                t.get("panel.rates"),
                t.get("per-second"),
                90.0,
                vec![
                    timeline::line(context, t.get("series.attempts"), "s5", Shape::Line, |p| {
                        Some(p.attempts as f64)
                    }),
                    timeline::line(context, t.get("series.answered"), "s1", Shape::Line, |p| {
                        Some(p.answered as f64)
                    }),
                    timeline::line(context, t.get("series.failed"), "bad", Shape::Line, |p| {
                        Some(p.failed as f64)
                    }),
                ],
            )
            .steps(),
            Panel::new(
                t.get("panel.setup"),
                "ms",
                80.0,
                vec![
                    timeline::line(context, "p50", "s1", Shape::Line, |p| p.setup_p50_ms),
                    timeline::line(context, "p99", "s2", Shape::Line, |p| p.setup_p99_ms),
                ],
            )
            .log_if_wide(t.get("axis.log")),
        ],
        true,
    )
}

fn fate(context: &Context<'_>, fault: &Fault) -> Option<String> {
    let t = context.t;
    let sum = |part: fn(&crate::result::CallsAtFault) -> u64| fault.calls.iter().map(part).sum::<u64>();
    let bound = sum(|c| c.bound);
    let (kept, ended, stuck) = (sum(|c| c.kept), sum(|c| c.ended_with_cause), sum(|c| c.stuck));
    let (others, harmed) = (sum(|c| c.others), sum(|c| c.others_harmed));
    let segment = |words: &str, class, count| Segment { label: words.to_owned(), class, count };
    svg::fate(
        t.get("failover.fate"),
        &[
            segment(t.get("failover.others"), "s1", others.saturating_sub(harmed)),
            segment(t.get("failover.kept"), "good", kept),
            segment(t.get("failover.ended"), "s5", ended),
            segment(t.get("failover.unexplained"), "s2", bound.saturating_sub(kept + ended + stuck)),
            segment(t.get("failover.stuck"), "bad", stuck + harmed),
        ],
    )
}

fn states(context: &Context<'_>, fault: &Fault) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("failover.states"))
        .column(t.get("failover.state"))
        .figures(t.get("failover.bound"))
        .figures(t.get("failover.kept"))
        .figures(t.get("failover.ended"))
        .figures(t.get("failover.stuck-calls"))
        .figures(t.get("failover.others-all"))
        .figures(t.get("failover.harmed"));
    for calls in &fault.calls {
        table.row(vec![
            Cell::text(t.known("state", &calls.state, &calls.state)),
            Cell::number(number::grouped(calls.bound)),
            Cell::number(number::grouped(calls.kept)),
            Cell::number(number::grouped(calls.ended_with_cause)),
            Cell::zero(t, Some(calls.stuck)),
            Cell::number(number::grouped(calls.others)),
            Cell::zero(t, Some(calls.others_harmed)),
        ]);
    }
    table
}

fn facts(context: &Context<'_>, fault: &Fault) -> Vec<(String, Cell)> {
    let t = context.t;
    let window = &fault.window;
    let mut facts = vec![
        (
            t.get("failover.new-calls").to_owned(),
            Cell::of(t, (window.attempts > 0).then_some(()), |()| {
                t.fill(
                    "failover.new-calls-value",
                    &[
                        ("answered", &number::grouped(window.answered)),
                        ("attempts", &number::grouped(window.attempts)),
                        ("failed", &number::grouped(window.failed)),
                    ],
                )
            }),
        ),
        (
            t.get("failover.window-setup").to_owned(),
            Cell::of(t, window.setup.quantile(0.99), |ns| number::duration_ns(ns as f64)),
        ),
        (t.get("failover.outage").to_owned(), Cell::seconds(t, fault.signalling_outage_s)),
        (t.get("failover.media-timeout").to_owned(), Cell::seconds(t, fault.media_timeout_s)),
        (
            t.get("failover.cdrs").to_owned(),
            Cell::of(t, fault.cdrs_missing, |missing| {
                let expected = fault.cdrs_expected.map_or_else(|| "?".to_owned(), number::grouped);
                t.fill(
                    "failover.cdrs-value",
                    &[("missing", &number::grouped(missing)), ("expected", &expected)],
                )
            }),
        ),
        (t.get("failover.zombies").to_owned(), Cell::zero(t, fault.zombie_legs)),
        (t.get("failover.phantom").to_owned(), Cell::seconds(t, fault.phantom_billed_s)),
        (t.get("failover.cap-error").to_owned(), Cell::zero(t, fault.cap_counter_error)),
        (t.get("failover.trials").to_owned(), Cell::count(t, fault.trials.map(u64::from))),
    ];
    if let Some(back) = &fault.fail_back {
        facts.extend([
            (
                t.get("failover.returned").to_owned(),
                Cell::text(format!("T0 + {} s", number::fixed(back.returned_s - fault.t0_s, 1))),
            ),
            (t.get("failover.back-detected").to_owned(), Cell::seconds(t, back.detected_s)),
            (t.get("failover.back-first").to_owned(), Cell::seconds(t, back.first_call_s)),
            (t.get("failover.back-failed").to_owned(), Cell::zero(t, back.failed)),
        ]);
    }
    facts
}

fn causes(context: &Context<'_>, fault: &Fault) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("failover.causes"))
        .column(t.get("failover.cause"))
        .figures(t.get("failover.cdr-count"));
    for (cause, count) in &fault.cdr_causes {
        table.row(vec![Cell::text(t.cause(cause)), Cell::number(number::grouped(*count))]);
    }
    table
}
