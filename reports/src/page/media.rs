//! Page 6: voice quality in both directions.

use super::block::{Block, Cell, Section, Table};
use super::signalling::percentile_table;
use super::{Context, timeline};
use crate::number;
use crate::svg::{Curve, Panel, Shape, Station, cdf, heat_strip, mos_histogram, waterfall};

pub(super) fn section(context: &Context<'_>) -> Section {
    let (t, media) = (context.t, &context.folder.result.media);
    let mut section = Section::new("media", t.get("media.title"), t.get("media.lead"));
    if media.directions.is_empty() && media.calls == 0 {
        section.push(Block::Paragraph(t.get("media.none").to_owned()));
        return section;
    }
    section.table(directions(context));
    section.push(Block::Facts(vec![
        (t.get("media.calls").to_owned(), Cell::count(t, (media.calls > 0).then_some(media.calls))),
        (t.get("media.one-way").to_owned(), Cell::zero(t, media.one_way_audio)),
        (t.get("media.no-audio").to_owned(), Cell::zero(t, media.no_audio)),
        (t.get("media.cross-talk").to_owned(), Cell::zero(t, media.cross_talk_calls)),
    ]));
    section.figure(
        t.get("media.mos-figure"),
        mos_histogram(
            t.get("media.mos-figure"),
            t.get("axis.mos"),
            &[
                (4.34, t.get("band.very-satisfied")),
                (4.03, t.get("band.satisfied")),
                (3.60, t.get("band.some")),
                (3.10, t.get("band.many")),
                (2.58, t.get("band.nearly-all")),
                (1.0, t.get("band.unusable")),
            ],
            &media.mos,
        ),
        Some(&mos_note(context)),
    );
    section.figure(t.get("media.strip"), strip(context), Some(t.get("media.strip-note")));
    section.table(delays(context));
    section.figure(t.get("media.cdf"), delay_cdf(context), Some(t.get("cdf.note")));
    if let Some(figure) = over_time(context) {
        section.push(Block::Figure(figure));
    }
    let mut way = "";
    let stages: Vec<Station> = media
        .waterfall
        .iter()
        .map(|stage| {
            // `direction: place`, or just a place.
            let (direction, place) = stage.name.split_once(": ").unwrap_or(("", &stage.name));
            let first = direction != way;
            way = direction;
            let place = t.known("stage", place, place);
            let label = match direction {
                "" => place,
                direction => format!("{}: {place}", t.known("direction", direction, direction)),
            };
            Station { label, packets: stage.packets, first }
        })
        .collect();
    let drawn =
        (!stages.is_empty()).then(|| waterfall(t.get("media.waterfall"), t.get("not-measured"), &stages));
    section.figure(t.get("media.waterfall"), drawn, Some(t.get("media.waterfall-note")));
    section
}

fn directions(context: &Context<'_>) -> Table {
    let t = context.t;
    let mut table = Table::new(t.get("media.directions"))
        .column(t.get("media.direction"))
        .figures(t.get("media.streams"))
        .figures(t.get("media.sent"))
        .figures(t.get("media.received"))
        .figures(t.get("media.lost"))
        .figures(t.get("media.loss"))
        .figures(t.get("media.duplicated"))
        .figures(t.get("media.reordered"))
        .figures(t.get("media.late"))
        .figures(t.get("media.unreadable"))
        .figures(t.get("media.foreign"))
        .figures(t.get("media.to-fault"));
    for d in &context.folder.result.media.directions {
        table.row(vec![
            Cell::text(t.known("direction", &d.name, &d.name)),
            Cell::number(number::grouped(d.streams)),
            Cell::number(number::grouped(d.sent)),
            Cell::number(number::grouped(d.received)),
            Cell::number(number::grouped(d.lost)),
            Cell::percent(t, d.loss().map(|loss| loss * 100.0)),
            Cell::number(number::grouped(d.duplicated)),
            Cell::number(number::grouped(d.reordered)),
            Cell::number(number::grouped(d.late)),
            Cell::zero(t, d.unreadable),
            Cell::zero(t, Some(d.cross_talk)),
            Cell::number(number::grouped(d.lost_to_fault)),
        ]);
    }
    table.note(t.get("media.directions-note"))
}

fn mos_note(context: &Context<'_>) -> String {
    let (t, mos) = (context.t, &context.folder.result.media.mos);
    let write =
        |share: f64| mos.quantile(share).map_or_else(String::new, |mos| number::mos(mos as f64 / 1000.0));
    t.fill(
        "media.mos-note",
        &[
            ("worst", &mos.min().map_or_else(String::new, |mos| number::mos(mos as f64 / 1000.0))),
            ("p1", &write(0.01)),
            ("p50", &write(0.5)),
            ("calls", &number::grouped(mos.count())),
        ],
    )
}

/// MOS each second, coloured by the bands of G.109.
fn strip(context: &Context<'_>) -> Option<String> {
    let t = context.t;
    let cells: Vec<_> = context
        .folder
        .series
        .iter()
        .map(|point| {
            let cell = point.mos_p1.or(point.mos).map(|mos| {
                let class = match mos {
                    m if m >= 4.34 => "q1",
                    m if m >= 4.03 => "q2",
                    m if m >= 3.6 => "q3",
                    m if m >= 3.1 => "q4",
                    _ => "q5",
                };
                (class, format!("{} s: MOS {}", number::significant(point.t), number::mos(mos)))
            });
            (point.t, cell)
        })
        .collect();
    cells
        .iter()
        .any(|(_, cell)| cell.is_some())
        .then(|| heat_strip(t.get("media.strip"), timeline::range(context), &cells))
}

fn delays(context: &Context<'_>) -> Table {
    let (t, media) = (context.t, &context.folder.result.media);
    let names: Vec<[String; 3]> = media
        .directions
        .iter()
        .map(|d| {
            let direction = t.known("direction", &d.name, &d.name);
            [t.get("media.delay"), t.get("media.jitter"), t.get("media.gap")]
                .map(|what| format!("{what}, {direction}"))
        })
        .collect();
    let mut rows = Vec::new();
    for (d, [delay, jitter, gap]) in media.directions.iter().zip(&names) {
        rows.extend([(delay.as_str(), &d.delay), (jitter.as_str(), &d.jitter)]);
        if !d.gap.is_empty() {
            rows.push((gap.as_str(), &d.gap));
        }
    }
    rows.push((t.get("media.added"), &media.added_delay));
    rows.push((t.get("media.first-audio"), &media.first_audio));
    let table = percentile_table(context, t.get("media.delays"), &rows);
    match media.bare_delay_ns {
        Some(bare) => table.note(&t.fill("media.bare-note", &[("bare", &number::duration_ns(bare as f64))])),
        None => table.note(t.get("percentiles.note")),
    }
}

fn delay_cdf(context: &Context<'_>) -> Option<String> {
    let (t, result) = (context.t, &context.folder.result);
    let mut curves: Vec<Curve<'_>> = result
        .media
        .directions
        .iter()
        .zip(["s1", "s2"].into_iter().cycle())
        .map(|(d, class)| Curve { label: t.known("direction", &d.name, &d.name), class, histogram: &d.delay })
        .collect();
    curves.push(Curve {
        label: t.get("media.added").to_owned(),
        class: "s4",
        histogram: &result.media.added_delay,
    });
    let limit =
        result.limits.iter().find(|limit| matches!(limit.id.as_str(), "added-delay-p99" | "delay-p99")).map(
            |limit| {
                (limit.limit, t.fill("media.limit-mark", &[("limit", &number::bound(limit.limit, "ms"))]))
            },
        );
    cdf(t.get("media.cdf"), t.get("axis.delay-log"), &curves, limit, t.get("percentiles.top"))
}

fn over_time(context: &Context<'_>) -> Option<super::block::Figure> {
    let t = context.t;
    let loss = timeline::line(context, t.get("panel.loss"), "bad", Shape::Area, |p| {
        (p.rtp_sent > 0).then(|| p.rtp_lost as f64 * 100.0 / p.rtp_sent as f64)
    });
    timeline::figure(
        context,
        t.get("media.over-time"),
        timeline::range(context),
        0.0,
        vec![
            Panel::new(
                t.get("panel.delay"),
                "ms",
                100.0,
                vec![
                    timeline::line(context, "p50", "s1", Shape::Line, |p| p.delay_p50_ms),
                    timeline::line(context, "p99", "s2", Shape::Line, |p| p.delay_p99_ms),
                ],
            )
            .log_if_wide(t.get("axis.log")),
            Panel::new(
                t.get("panel.jitter"),
                "ms",
                70.0,
                vec![timeline::line(context, "p99", "s3", Shape::Line, |p| p.jitter_p99_ms)],
            ),
            Panel::new(t.get("panel.loss"), "%", 60.0, vec![loss]).steps(),
            Panel::new(
                t.get("panel.send-error"),
                "ms",
                70.0,
                vec![timeline::line(context, "p99", "s5", Shape::Line, |p| p.send_error_p99_ms)],
            ),
        ],
        false,
    )
}
