//! Series and events as plots: the lines that several sections share.

use super::Context;
use super::block::{Figure, Key};
use crate::number;
use crate::result::{Event, SeriesPoint, event_kind};
use crate::svg::{Band, Line, Mark, Shape, TimeFigure};

/// Colour classes in order of use.
pub(super) const PALETTE: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
/// More marks than this would hide what they mark.
const MARKS_MAX: usize = 12;

/// One value a second as a line.
pub(super) fn line(
    context: &Context<'_>,
    label: &str,
    class: &'static str,
    shape: Shape,
    value: impl Fn(&SeriesPoint) -> Option<f64>,
) -> Line {
    let points = context.folder.series.iter().map(|point| (point.t, value(point))).collect();
    Line { label: label.to_owned(), class, shape, points }
}

/// Whether the line has any value.
pub(super) fn measured(line: &Line) -> bool {
    line.points.iter().any(|(_, value)| value.is_some())
}

/// One line per name in a map of the series (processes, trunks, causes), in order of first appearance by name.
pub(super) fn lines_by_name<T: Copy>(
    context: &Context<'_>,
    family: &str,
    shape: Shape,
    map: impl Fn(&SeriesPoint) -> &std::collections::BTreeMap<String, T>,
    value: impl Fn(T) -> f64,
) -> Vec<Line> {
    let names: std::collections::BTreeSet<&String> =
        context.folder.series.iter().flat_map(|point| map(point).keys()).collect();
    // The others take turns with the colours that are left.
    let taken: Vec<&str> = names.iter().filter_map(|name| usual_class(name)).collect();
    let mut free: Vec<&'static str> = PALETTE.into_iter().filter(|class| !taken.contains(class)).collect();
    if free.is_empty() {
        free = PALETTE.to_vec();
    }
    let mut next = free.into_iter().cycle();
    names
        .into_iter()
        .map(|name| {
            let class = usual_class(name).or_else(|| next.next()).unwrap_or(PALETTE[0]);
            let label =
                if family == "cause" { context.t.cause(name) } else { context.t.known(family, name, name) };
            let filled = |point: &SeriesPoint| match (map(point).get(name), shape) {
                (Some(found), _) => Some(value(*found)),
                // In a stack a name without an entry holds nothing.
                (None, Shape::Stacked) => Some(0.0),
                (None, _) => None,
            };
            line(context, &label, class, shape, filled)
        })
        .collect()
}

/// Names that the drill uses keep one colour in every figure.
fn usual_class(name: &str) -> Option<&'static str> {
    match name {
        "gateway" => Some("s1"),
        "carrier-a" => Some("s2"),
        "carrier-b" => Some("s3"),
        "callers" | "load" => Some("s4"),
        "carrier-a-again" => Some("s6"),
        _ => None,
    }
}

/// From the first to the last recorded second.
pub(super) fn range(context: &Context<'_>) -> (f64, f64) {
    let last = context
        .folder
        .series
        .iter()
        .map(|point| point.t)
        .fold(context.folder.result.run.duration_s, f64::max);
    (0.0, last.max(1.0))
}

/// Whether an event of this kind is a fault.
fn is_bad(kind: &str) -> bool {
    matches!(
        kind,
        event_kind::CARRIER_KILLED
            | event_kind::CARRIER_SILENT
            | event_kind::GATEWAY_KILLED
            | event_kind::FIRST_FAILURE
            | event_kind::INTERRUPTED
    )
}

fn is_marked(event: &Event) -> bool {
    !matches!(event.kind.as_str(), event_kind::STARTED | event_kind::FINISHED | event_kind::PHASE)
}

/// Instants of faults that were worked out after the run and so stand in no event.
fn from_faults(context: &Context<'_>) -> Vec<Event> {
    let (t, folder) = (context.t, context.folder);
    let mut out = Vec::new();
    for fault in &folder.result.failover {
        let m = &fault.moments;
        let instants = [
            (event_kind::FIRST_FAILURE, t.get("failover.first-failure"), m.first_failure_s),
            (event_kind::TAKEOVER, t.get("failover.takeover"), m.takeover_s),
            (event_kind::RESTORED, t.get("failover.restored"), m.restored_s),
            (event_kind::LAST_CALL_ENDED, t.get("failover.last-call"), m.last_call_ended_s),
        ];
        for (kind, words, after) in instants {
            let Some(after) = after else { continue };
            if folder.events.iter().all(|event| event.kind != kind) {
                out.push(Event::new(fault.t0_s + after, kind, words));
            }
        }
    }
    out
}

/// Wraps panels into a figure with the run's phases, its marks inside `range`, and their key (or where it stands).
pub(super) fn figure(
    context: &Context<'_>,
    title: &str,
    range: (f64, f64),
    origin: f64,
    panels: Vec<crate::svg::Panel>,
    with_key: bool,
) -> Option<Figure> {
    let t = context.t;
    let panels: Vec<_> = panels.into_iter().filter(crate::svg::Panel::is_measured).collect();
    if panels.is_empty() {
        return None;
    }
    let mut shown: Vec<Event> =
        context.folder.events.iter().filter(|event| is_marked(event)).cloned().collect();
    shown.extend(from_faults(context));
    shown.retain(|event| event.t >= range.0 && event.t <= range.1);
    shown.sort_by(|a, b| a.t.total_cmp(&b.t));
    shown.truncate(MARKS_MAX);
    let words = |event: &Event| t.event(event);
    let time =
        |event: &Event| format!("{} s", number::fixed(event.t - origin, if origin > 0.0 { 3 } else { 1 }));
    let drawing = TimeFigure {
        label: title.to_owned(),
        range,
        panels,
        marks: shown
            .iter()
            .enumerate()
            .map(|(index, event)| Mark {
                t: event.t,
                number: index + 1,
                title: format!("{} · {}", time(event), words(event)),
                bad: is_bad(&event.kind),
            })
            .collect(),
        bands: context
            .folder
            .result
            .phases
            .iter()
            .filter(|phase| phase.end_s > range.0 && phase.start_s < range.1)
            .map(|phase| Band {
                start: phase.start_s,
                end: phase.end_s,
                label: t.known("phase", &phase.name, &phase.name),
                bad: phase.name == "fault",
            })
            .collect(),
        axis: if origin > 0.0 { t.get("axis.since-t0") } else { t.get("axis.time") }.to_owned(),
        origin,
    };
    let key: Vec<Key> = shown
        .iter()
        .enumerate()
        .map(|(index, event)| Key {
            number: index + 1,
            time: time(event),
            words: words(event),
            bad: is_bad(&event.kind),
        })
        .collect();
    let (key, note) = match (with_key, key.is_empty()) {
        (true, _) => (key, None),
        (false, true) => (Vec::new(), None),
        (false, false) => (Vec::new(), Some(t.get("figure.marks").to_owned())),
    };
    Some(Figure { title: title.to_owned(), svg: drawing.draw(), key, note })
}
