//! Distributions: cumulative curves whose upper axis stretches the tail, and the histogram of call quality.

use super::scale::{Linear, Log, decades, ticks};
use super::time::width_of;
use super::{Anchor, Svg, WIDTH};
use crate::number;
use crate::result::Histogram;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;

/// Shares named on the vertical axis of a cumulative plot.
const LEVELS: [(f64, &str); 7] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
];

/// One cumulative curve.
#[derive(Debug)]
pub(crate) struct Curve<'a> {
    pub label: String,
    pub class: &'static str,
    pub histogram: &'a Histogram,
}

/// Cumulative shares over a logarithmic axis of milliseconds. The vertical axis counts nines, so that the slowest of a
/// thousand calls is as visible as the median. Empty when no curve has a value.
pub(crate) fn cdf(
    label: &str,
    axis: &str,
    curves: &[Curve<'_>],
    limit: Option<(f64, String)>,
    top_words: &str,
) -> Option<String> {
    let curves: Vec<&Curve<'_>> = curves.iter().filter(|curve| !curve.histogram.is_empty()).collect();
    let low = curves.iter().filter_map(|c| c.histogram.min()).min()?.max(1000) as f64 / 1e6;
    let high = curves.iter().filter_map(|c| c.histogram.max()).max()?.max(2000) as f64 / 1e6;
    let high = limit.as_ref().map_or(high, |(limit, _)| high.max(*limit * 1.1));
    let steps = decades(low, high);
    let height = 250.0;
    let (top, bottom) = (30.0, height - 38.0);
    let mut svg = Svg::new(WIDTH, height, label);
    let x = Log::new((*steps.first()?, *steps.last()?), (LEFT, WIDTH - RIGHT));
    // As many nines as there are samples; the maximum stands half a step above them.
    let samples = curves.iter().map(|c| c.histogram.count()).max().unwrap_or(1);
    let most = (samples as f64).log10().floor().clamp(2.0, 5.0);
    let y = |share: f64| {
        let height = if share >= 1.0 { most + 0.5 } else { nines(share).min(most + 0.5) };
        bottom - height / (most + 0.5) * (bottom - top)
    };
    for step in &steps {
        svg.line("grid", (x.at(*step), top), (x.at(*step), bottom));
        svg.text("tick", (x.at(*step), bottom + 16.0), Anchor::Middle, &millis(*step));
    }
    svg.text("tick", (WIDTH - RIGHT, bottom + 33.0), Anchor::End, axis);
    let below_top = LEVELS.into_iter().filter(|(share, _)| nines(*share) < most + 0.1);
    for (share, words) in below_top.chain([(1.0, top_words)]) {
        svg.line("grid", (LEFT, y(share)), (WIDTH - RIGHT, y(share)));
        svg.text("tick", (LEFT - 6.0, y(share) + 3.5), Anchor::End, words);
    }
    if let Some((limit, words)) = limit {
        svg.line("limit", (x.at(limit), top - 8.0), (x.at(limit), bottom));
        svg.text("limit-text", (x.at(limit) - 4.0, top - 1.0), Anchor::End, &words);
    }
    let mut key = LEFT;
    for curve in curves {
        let mut seen = 0;
        let mut points = Vec::new();
        for (from, to, count) in curve.histogram.filled() {
            let before = seen as f64 / curve.histogram.count() as f64;
            seen += count;
            let share = seen as f64 / curve.histogram.count() as f64;
            points.push((x.at(from as f64 / 1e6), y(before)));
            points.push((x.at(to.min(curve.histogram.max().unwrap_or(to)) as f64 / 1e6), y(share)));
        }
        svg.path(&format!("line {}", curve.class), &points, false);
        svg.rect(&format!("key {}", curve.class), (key, 6.0), (11.0, 8.0), None);
        svg.text("legend", (key + 16.0, 14.0), Anchor::Start, &curve.label);
        key += width_of(&curve.label) + 36.0;
    }
    Some(svg.finish())
}

/// Calls by MOS in steps of 0.05, over the bands of user satisfaction of G.109. Empty when nothing was measured.
pub(crate) fn mos_histogram(
    label: &str,
    axis: &str,
    bands: &[(f64, &str)],
    mos: &Histogram,
) -> Option<String> {
    let lowest = mos.min()? as f64 / 1000.0;
    let from = if lowest >= 3.5 { 3.5 } else { 1.0 };
    let bins = ((4.5 - from) / 0.05_f64).round() as usize;
    let mut shares = vec![0.0; bins];
    for (low, _, count) in mos.filled() {
        let bin = ((low as f64 / 1000.0 - from) / 0.05 + 1e-6).floor().clamp(0.0, bins as f64 - 1.0) as usize;
        shares[bin] += count as f64 * 100.0 / mos.count() as f64;
    }
    let height = 220.0;
    let (top, bottom) = (34.0, height - 38.0);
    let mut svg = Svg::new(WIDTH, height, label);
    let x = Linear::new((from, 4.5), (LEFT, WIDTH - RIGHT));
    for (index, (edge, words)) in bands.iter().enumerate() {
        let next = if index == 0 { 4.5 } else { bands[index - 1].0 };
        if next <= from {
            continue;
        }
        let (left, right) = (x.at(edge.max(from)), x.at(next));
        svg.rect(
            if index % 2 == 0 { "band-even" } else { "band-odd" },
            (left, top),
            (right - left, bottom - top),
            None,
        );
        if right - left > width_of(words) {
            svg.text("tick", ((left + right) / 2.0, top - 6.0), Anchor::Middle, words);
        }
    }
    let steps = ticks(shares.iter().copied().fold(0.0, f64::max), 4);
    let y = Linear::new((0.0, *steps.last()?), (bottom, top));
    for step in &steps {
        svg.line("grid", (LEFT, y.at(*step)), (WIDTH - RIGHT, y.at(*step)));
        svg.text(
            "tick",
            (LEFT - 6.0, y.at(*step) + 3.5),
            Anchor::End,
            &format!("{} %", number::in_unit(*step, "1")),
        );
    }
    for (bin, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let low = from + bin as f64 * 0.05;
        let title = format!("MOS {:.2}–{:.2}: {} %", low, low + 0.05, number::percent(*share));
        // A bin is never thinner than a pixel: one bad call in a thousand must be seen.
        let height = (bottom - y.at(*share)).max(1.5);
        let width = x.at(low + 0.05) - x.at(low) - 2.0;
        svg.rect("bar s1", (x.at(low) + 1.0, bottom - height), (width, height), Some(&title));
    }
    svg.line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
    let mut tick = from;
    while tick <= 4.5 + 1e-9 {
        let step = if from < 3.0 { 0.5 } else { 0.1 };
        svg.text("tick", (x.at(tick), bottom + 16.0), Anchor::Middle, &format!("{tick:.1}"));
        tick += step;
    }
    svg.text("tick", (WIDTH - RIGHT, bottom + 33.0), Anchor::End, axis);
    Some(svg.finish())
}

/// How many nines a share has: 0 → 0, 0.9 → 1, 0.99 → 2.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

fn millis(ms: f64) -> String {
    match ms {
        ms if ms >= 1000.0 => format!("{} s", ms / 1000.0),
        ms if ms >= 1.0 => format!("{ms} ms"),
        ms => format!("{} µs", (ms * 1000.0).round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Unit;

    #[test]
    fn nothing_measured_draws_nothing() {
        let empty = Histogram::new(Unit::Nanoseconds);
        let curve = Curve { label: "x".into(), class: "s1", histogram: &empty };
        assert_eq!(cdf("l", "a", &[curve], None, "max"), None);
        assert_eq!(mos_histogram("l", "a", &[], &empty), None);
    }

    #[test]
    fn one_value_draws_finite_coordinates() {
        let mut one = Histogram::new(Unit::Nanoseconds);
        one.record(0);
        let curve = Curve { label: "x".into(), class: "s1", histogram: &one };
        let svg = cdf("l", "a", &[curve], Some((5.0, "5 ms".into())), "max").unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
