//! Page 5: sessions, response codes and delays in the names of RFC 6076, and each trunk in those of E.425.

use super::block::{Block, Cell, Section, Table};
use super::{Context, timeline};
use crate::number;
use crate::result::Histogram;
use crate::svg::{Curve, Panel, Shape, cdf};

pub(super) fn section(context: &Context<'_>) -> Section {
    let t = context.t;
    let mut section = Section::new("signalling", t.get("signalling.title"), t.get("signalling.lead"));
    section.table(ratios(context));
    section.table(delays(context));
    let d = &context.folder.result.signalling.delays;
    section.figure(
        t.get("signalling.cdf"),
        cdf(
            t.get("signalling.cdf"),
            t.get("axis.delay-log"),
            &[
                Curve { label: t.get("short.srd").to_owned(), class: "s1", histogram: &d.srd },
                Curve { label: t.get("short.setup").to_owned(), class: "s2", histogram: &d.setup },
                Curve { label: t.get("short.sdd").to_owned(), class: "s3", histogram: &d.sdd },
                Curve { label: t.get("short.added").to_owned(), class: "s4", histogram: &d.added },
            ],
            None,
            t.get("percentiles.top"),
        ),
        Some(t.get("cdf.note")),
    );
    if let Some(figure) = setup_figure(context) {
        section.push(Block::Figure(figure));
    }
    section.table(finals(context));
    section.table(health(context));
    section.table(trunks(context));
    section
}

fn ratios(context: &Context<'_>) -> Table {
    let (t, s) = (context.t, &context.folder.result.signalling);
    let r = s.compute_registers();
    let mut table = Table::new(t.get("signalling.ratios"))
        .column(t.get("signalling.metric"))
        .column(t.get("signalling.formula"))
        .figures(t.get("signalling.value"));
    let rows = [
        ("SER", t.get("term.ser.name"), t.get("term.ser.formula"), r.ser),
        ("SEER", t.get("term.seer.name"), t.get("term.seer.formula"), r.seer),
        ("ISA", t.get("term.isa.name"), t.get("term.isa.formula"), r.isa),
        ("SCR", t.get("term.scr.name"), t.get("term.scr.formula"), r.scr),
        ("IRA", t.get("term.ira.name"), t.get("term.ira.formula"), r.ira),
    ];
    for (short, name, formula, value) in rows {
        table.row(vec![
            Cell::text(format!("{short} · {name}")),
            Cell::text(formula),
            Cell::percent(t, value),
        ]);
    }
    table.note(&t.fill(
        "signalling.counts",
        &[
            ("invites", &number::grouped(s.invites)),
            ("answered", &number::grouped(s.answered)),
            ("completed", &number::grouped(s.completed)),
            ("outside", &number::grouped(s.failed_outside_fault)),
            ("inside", &number::grouped(s.failed_in_fault)),
        ],
    ))
}

/// A table of percentiles in milliseconds, one histogram a row.
pub(super) fn percentile_table(context: &Context<'_>, caption: &str, rows: &[(&str, &Histogram)]) -> Table {
    let t = context.t;
    let mut table = Table::new(caption)
        .column(t.get("percentiles.what"))
        .figures(t.get("percentiles.count"))
        .figures("p50")
        .figures("p90")
        .figures("p95")
        .figures("p99")
        .figures("p99.9")
        .figures(t.get("percentiles.max"));
    for (name, histogram) in rows {
        let p = histogram.percentiles();
        let mut cells =
            vec![Cell::text(*name), Cell::count(t, (!histogram.is_empty()).then(|| histogram.count()))];
        let columns = [
            p.map(|p| p.p50),
            p.map(|p| p.p90),
            p.map(|p| p.p95),
            p.map(|p| p.p99),
            p.map(|p| p.p999),
            p.map(|p| p.max),
        ];
        if p.is_some() {
            cells.extend(columns.map(|ns| Cell::ms(t, ns)));
        } else {
            cells.extend((0..columns.len()).map(|_| Cell::number("–")));
        }
        table.row(cells);
    }
    table
}

fn delays(context: &Context<'_>) -> Table {
    let (t, d) = (context.t, &context.folder.result.signalling.delays);
    percentile_table(
        context,
        t.get("signalling.delays"),
        &[
            (t.get("delay.srd"), &d.srd),
            (t.get("delay.srd-failed"), &d.srd_failed),
            (t.get("delay.pdd"), &d.pdd),
            (t.get("delay.setup"), &d.setup),
            (t.get("delay.added"), &d.added),
            (t.get("delay.sdd"), &d.sdd),
            (t.get("delay.sdt"), &d.sdt),
            (t.get("delay.rrd"), &d.rrd),
        ],
    )
    .note(t.get("percentiles.note"))
}

fn setup_figure(context: &Context<'_>) -> Option<super::block::Figure> {
    let t = context.t;
    let panel = Panel::new(
        t.get("panel.setup"),
        "ms",
        110.0,
        vec![
            timeline::line(context, "p50", "s1", Shape::Line, |p| p.setup_p50_ms),
            timeline::line(context, "p99", "s2", Shape::Line, |p| p.setup_p99_ms),
        ],
    )
    .log_if_wide(t.get("axis.log"));
    timeline::figure(
        context,
        t.get("signalling.setup-figure"),
        timeline::range(context),
        0.0,
        vec![panel],
        false,
    )
}

fn finals(context: &Context<'_>) -> Table {
    let (t, s) = (context.t, &context.folder.result.signalling);
    let mut table = Table::new(t.get("signalling.finals"))
        .column(t.get("signalling.final"))
        .figures(t.get("signalling.sessions"))
        .figures(t.get("signalling.share"));
    for (status, count) in &s.finals {
        table.row(vec![
            Cell::text(t.cause(status)),
            Cell::number(number::grouped(*count)),
            Cell::percent(t, (s.invites > 0).then(|| *count as f64 * 100.0 / s.invites as f64)),
        ]);
    }
    table
}

fn health(context: &Context<'_>) -> Table {
    let (t, s) = (context.t, &context.folder.result.signalling);
    let mut table = Table::new(t.get("signalling.health"))
        .column(t.get("signalling.event"))
        .figures(t.get("signalling.count"))
        .figures(t.get("signalling.per-1000"));
    let rows = [
        (t.get("signalling.retransmissions"), s.retransmissions),
        (t.get("signalling.timer-b"), s.timer_b),
        (t.get("signalling.timer-f"), s.timer_f),
        (t.get("signalling.timer-h"), s.timer_h),
        (t.get("signalling.unexpected"), s.unexpected),
    ];
    for (name, count) in rows {
        let rate = count.filter(|_| s.invites > 0).map(|count| count as f64 * 1000.0 / s.invites as f64);
        table.row(vec![Cell::text(name), Cell::count(t, count), Cell::significant(t, rate)]);
    }
    table
}

fn trunks(context: &Context<'_>) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("signalling.trunks"))
        .column(t.get("signalling.trunk"))
        .figures(t.get("signalling.bids"))
        .figures(t.get("signalling.seizures"))
        .figures("ASR")
        .figures("NER")
        .figures("ABR")
        .figures("ALOC")
        .figures(t.get("signalling.peak-of-cap"))
        .figures(t.get("signalling.at-end"));
    for trunk in &context.folder.result.signalling.trunks {
        table.row(vec![
            Cell::text(trunk.name.clone()),
            Cell::number(number::grouped(trunk.bids)),
            Cell::number(number::grouped(trunk.seizures)),
            Cell::percent(t, trunk.asr()),
            Cell::percent(t, trunk.ner()),
            Cell::percent(t, trunk.abr()),
            Cell::seconds(t, trunk.aloc()),
            Cell::of(t, trunk.peak_calls, |peak| {
                let cap = trunk.max_calls.map_or_else(|| "∞".to_owned(), number::grouped);
                format!("{} / {cap}", number::grouped(peak))
            }),
            Cell::zero(t, trunk.calls_at_end),
        ]);
    }
    table.note(t.get("signalling.trunks-note"))
}
