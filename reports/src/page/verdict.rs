//! Page 1: the verdict in one sentence, the headline figures, and every limit with what was measured.

use super::Context;
use super::block::{Block, Cell, Section, Table, Tile};
use crate::metric;
use crate::number;
use crate::result::{Ended, Limit, RunResult, Status, Verdict};
use crate::svg;
use crate::text::Text;

/// The box on top of the page.
#[derive(Debug)]
pub(super) struct Banner {
    pub class: &'static str,
    pub word: &'static str,
    pub words: String,
    pub sentence: String,
}

pub(super) fn banner(context: &Context<'_>) -> Banner {
    let (t, result) = (context.t, &context.folder.result);
    let (class, words) = match result.verdict {
        Verdict::Pass => ("good", t.get("verdict.pass")),
        Verdict::Fail => ("bad", t.get("verdict.fail")),
        Verdict::Invalid => ("warn", t.get("verdict.invalid")),
    };
    Banner { class, word: result.verdict.word(), words: words.to_owned(), sentence: sentence(t, result) }
}

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, result) = (context.t, &context.folder.result);
    let mut section = Section::new("verdict", t.get("verdict.title"), "");
    section.push(Block::Tiles(tiles(t, result)));
    let why = reasons(t, result);
    if !why.is_empty() {
        section.push(Block::Heading(t.get("verdict.reasons").to_owned()));
        section.push(Block::List(why));
    }
    section.table(limits_table(t, t.get("limits.caption"), "limit", &result.limits));
    section
}

/// The table of limits or validity checks.
pub(super) fn limits_table(t: &Text, caption: &str, family: &str, limits: &[Limit]) -> Table {
    let mut table = Table::new(caption)
        .column(t.get("limits.what"))
        .figures(t.get("limits.limit"))
        .figures(t.get("limits.measured"))
        .column("")
        .column(t.get("limits.outcome"))
        .column(t.get("limits.source"));
    for limit in limits {
        let unit = unit(t, &limit.unit);
        table.row(vec![
            Cell::text(name(t, family, limit)),
            Cell::number(format!(
                "{} {}{unit}",
                limit.comparison.sign(),
                number::bound(limit.limit, &limit.unit)
            )),
            Cell::of(t, limit.measured, |value| {
                format!("{}{unit}", number::against(value, limit.limit, &limit.unit))
            }),
            Cell::Svg(svg::limit_bar(limit).unwrap_or_default()),
            Cell::status(t, limit.status),
            Cell::text(t.known("source", &limit.source, &limit.source)),
        ]);
    }
    table
}

/// A limit's name: on Chinese pages known ids are translated, others stand as recorded.
pub(super) fn name(t: &Text, family: &str, limit: &Limit) -> String {
    t.named(family, &limit.id, &limit.name)
}

/// A unit with the space before it; empty for bare numbers.
fn unit(t: &Text, unit: &str) -> String {
    match unit {
        "" | "1" => String::new(),
        // Bytes carry their unit in the number.
        "B" => String::new(),
        other => format!("\u{a0}{}", t.known("unit", other, other)),
    }
}

/// What a buyer may quote.
fn sentence(t: &Text, result: &RunResult) -> String {
    let mut parts = Vec::new();
    match result.verdict {
        Verdict::Invalid => parts.push(t.fill(
            "sentence.invalid",
            &[("why", &reasons(t, result).into_iter().next().unwrap_or_else(|| t.get("unknown").to_owned()))],
        )),
        Verdict::Fail => {
            let broken = result.limits.iter().filter(|limit| limit.status == Status::Fail).count();
            parts.push(t.fill(
                "sentence.fail",
                &[("broken", &broken.to_string()), ("all", &result.limits.len().to_string())],
            ));
        }
        Verdict::Pass => {}
    }
    if result.verdict == Verdict::Invalid {
        // Figures beside "nothing may be concluded" would be quoted without it.
        return parts.concat();
    }
    parts.extend(carried(t, result));
    parts.extend(quality(t, result));
    for fault in &result.failover {
        let Some(restored) = fault.moments.restored_s else { continue };
        let bound: u64 = fault.calls.iter().map(|calls| calls.bound).sum();
        let kind = t.known("fault", &fault.kind, &fault.kind);
        parts.push(t.fill(
            "sentence.fault",
            &[
                ("what", &kind),
                ("part", &fault.target),
                ("bound", &number::grouped(bound)),
                ("restored", &number::seconds(restored)),
                ("failed", &number::grouped(fault.window.failed)),
                ("attempts", &number::grouped(fault.window.attempts)),
            ],
        ));
    }
    parts.join(t.get("sentence.join").trim_matches('"'))
}

fn carried(t: &Text, result: &RunResult) -> Option<String> {
    let calls = result.capacity.concurrent_sustained.or(result.capacity.concurrent_peak)?;
    let target = match result.target.name.as_str() {
        "" => t.get("sentence.target").to_owned(),
        name => t.known("target", name, name),
    };
    let target = target.as_str();
    let codec = result.target.codec.as_deref().unwrap_or("RTP");
    let hold = result.capacity.hold_s.map(number::seconds);
    // Only where the record says that all parts shared the host.
    let shared = result.environment.placement.as_deref().is_some_and(|words| words.starts_with("one host"));
    let cores = result.environment.cores.filter(|_| shared).map(|cores| cores.to_string());
    let values = |extra: &[(&'static str, String)]| -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("target", target.to_owned()),
            ("calls", number::grouped(calls)),
            ("codec", codec.to_owned()),
        ];
        all.extend_from_slice(extra);
        all
    };
    if result.media.directions.is_empty() {
        return Some(
            t.fill("sentence.carried-signalling", &[("target", target), ("calls", &number::grouped(calls))]),
        );
    }
    let (key, values) = match (hold, cores) {
        (Some(hold), Some(cores)) => ("sentence.carried-for-on", values(&[("hold", hold), ("cores", cores)])),
        (Some(hold), None) => ("sentence.carried-for", values(&[("hold", hold)])),
        (None, _) => ("sentence.carried", values(&[])),
    };
    let borrowed: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Some(t.fill(key, &borrowed))
}

fn quality(t: &Text, result: &RunResult) -> Option<String> {
    let value = |id: &str| metric::find(id).and_then(|metric| (metric.value)(result));
    let (delay_key, delay) = match value("added-delay-p99") {
        Some(added) => ("sentence.delay-added", added),
        None => ("sentence.delay", value("delay-p99")?),
    };
    let delay = t.fill(delay_key, &[("delay", &number::duration_ns(delay * 1e6))]);
    let key = if result.failover.is_empty() { "sentence.failed" } else { "sentence.failed-outside" };
    let failed = t.fill(
        key,
        &[
            ("failed", &number::fixed(value("calls-failed-outside-fault")?, 0)),
            ("attempts", &number::grouped(result.signalling.invites)),
        ],
    );
    Some(t.fill(
        "sentence.quality",
        &[
            ("failed", &failed),
            ("loss", &number::percent(value("packet-loss")?)),
            ("delay", &delay),
            ("mos", &number::mos(value("mos-p1")?)),
        ],
    ))
}

/// Every reason against PASS, in the page's language.
fn reasons(t: &Text, result: &RunResult) -> Vec<String> {
    let mut out = Vec::new();
    let run = &result.run;
    match run.ended {
        Ended::Completed => {}
        Ended::Interrupted => {
            out.push(t.fill("reason.interrupted", &[("after", &number::seconds(run.duration_s))]));
        }
        Ended::Aborted => out.push(t.fill("reason.aborted", &[("why", run.abort.as_deref().unwrap_or("?"))])),
    }
    for (family, key, list) in
        [("check", "reason.check", &result.validity), ("limit", "reason.limit", &result.limits)]
    {
        for limit in list {
            let name = name(t, family, limit);
            match (limit.status, limit.measured) {
                (Status::Fail | Status::Invalid, Some(measured)) => out.push(t.fill(
                    key,
                    &[
                        ("name", &name),
                        ("measured", &number::against(measured, limit.limit, &limit.unit)),
                        ("sign", limit.comparison.sign()),
                        ("limit", &number::bound(limit.limit, &limit.unit)),
                        ("unit", &unit(t, &limit.unit)),
                    ],
                )),
                (Status::NotMeasured, _) if limit.required => {
                    out.push(t.fill("reason.not-measured", &[("name", &name)]));
                }
                _ => {}
            }
        }
    }
    if result.limits.is_empty() {
        out.push(t.get("reason.no-limits").to_owned());
    }
    out
}

fn tiles(t: &Text, result: &RunResult) -> Vec<Tile> {
    let tile = |id: &str, label: &str, note: &str, write: fn(f64) -> (String, &'static str)| {
        let value = metric::find(id).and_then(|metric| (metric.value)(result));
        let status = result.limits.iter().find(|limit| limit.id == id).map(|limit| limit.status);
        let (value, unit) = value.map_or_else(|| ("–".to_owned(), ""), write);
        let class = match (result.verdict, status) {
            (Verdict::Invalid, _) => "void",
            (_, Some(Status::Fail | Status::Invalid)) => "bad",
            _ => "",
        };
        let note = if value == "–" { t.get("not-measured") } else { note };
        Tile { label: label.to_owned(), value, unit: unit.to_owned(), note: note.to_owned(), class }
    };
    let calls =
        if result.capacity.concurrent_sustained.is_some() { "calls-concurrent" } else { "calls-peak" };
    let delay = if result.media.added_delay.is_empty() { "delay-p99" } else { "added-delay-p99" };
    let delay_label = if delay == "delay-p99" { t.get("tile.delay") } else { t.get("tile.added-delay") };
    let voice = match result.media.directions.is_empty() {
        true => t.get("tile.calls-signalling"),
        false => t.get("tile.calls-note"),
    };
    let mut tiles = vec![
        tile(calls, t.get("tile.calls"), voice, |v| (number::fixed(v, 0), "")),
        tile("ser", t.get("tile.ser"), t.get("tile.ser-note"), |v| (number::percent(v), "%")),
        tile("mos-p1", t.get("tile.mos"), t.get("tile.mos-note"), |v| (number::mos(v), "")),
        tile("packet-loss", t.get("tile.loss"), t.get("tile.loss-note"), |v| (number::percent(v), "%")),
        tile(delay, delay_label, t.get("tile.delay-note"), |v| (number::significant(v), "ms")),
    ];
    if !result.failover.is_empty() {
        tiles.push(tile("fault-restored", t.get("tile.restored"), t.get("tile.restored-note"), |v| {
            (number::significant(v), "s")
        }));
    }
    tiles
}
