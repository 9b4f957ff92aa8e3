//! Bars: a limit with what was measured, packets along their way, what became of calls, instants after a fault.

use super::scale::{Linear, Log};
use super::time::width_of;
use super::{Anchor, Svg, WIDTH};
use crate::number;
use crate::result::{Limit, Status};

/// A small bar for one row of the limits table: the limit as a tick at two thirds, the measured value as a bar that
/// must stay left of it (or, for "at least", reach it). Empty without a measured value.
pub(crate) fn limit_bar(limit: &Limit) -> Option<String> {
    const W: f64 = 120.0;
    let measured = limit.measured?;
    let mut svg = Svg::new(W, 14.0, "");
    svg.rect("track", (0.0, 4.0), (W, 6.0), None);
    let class = match limit.status {
        Status::Pass => "bar good",
        _ => "bar bad",
    };
    let bound = limit.limit;
    let tick = W * 2.0 / 3.0;
    let width = if bound == 0.0 {
        if measured == 0.0 { 0.0 } else { W }
    } else {
        (measured / bound * tick).clamp(0.0, W)
    };
    svg.rect(class, (0.0, 4.0), (if measured == 0.0 { 0.0 } else { width.max(1.5) }, 6.0), None);
    let tick = if bound == 0.0 { 0.5 } else { tick };
    svg.line("limit-tick", (tick, 0.5), (tick, 13.5));
    Some(svg.finish())
}

/// A place on the packets' way.
#[derive(Debug)]
pub(crate) struct Station {
    pub label: String,
    pub packets: Option<u64>,
    /// Another way begins here: not compared with the place before.
    pub first: bool,
}

/// Packets at each place: one bar a row, and the difference from the place before. Rows without a count say so.
pub(crate) fn waterfall(label: &str, unknown: &str, stages: &[Station]) -> String {
    const ROW: f64 = 24.0;
    let left = stages.iter().map(|station| width_of(&station.label)).fold(60.0, f64::max) + 14.0;
    let mut svg = Svg::new(WIDTH, stages.len() as f64 * ROW + 4.0, label);
    let most = stages.iter().filter_map(|station| station.packets).max().unwrap_or(1);
    let x = Linear::new((0.0, most as f64), (left, WIDTH - 190.0));
    let mut before: Option<u64> = None;
    for (row, station) in stages.iter().enumerate() {
        let y = row as f64 * ROW + 2.0;
        svg.text("legend", (left - 10.0, y + 14.0), Anchor::End, &station.label);
        let Some(packets) = station.packets else {
            svg.text("tick", (left, y + 14.0), Anchor::Start, unknown);
            continue;
        };
        svg.rect("bar s1", (left, y + 4.0), (x.at(packets as f64) - left, 13.0), None);
        let mut words = number::grouped(packets);
        if let Some(before) = before.filter(|before| !station.first && *before != packets) {
            words.push_str(&format!(" ({})", signed(packets, before)));
        }
        svg.text("legend", (x.at(packets as f64) + 8.0, y + 14.0), Anchor::Start, &words);
        before = Some(packets);
    }
    svg.finish()
}

fn signed(now: u64, before: u64) -> String {
    if now >= before {
        format!("+{}", number::grouped(now - before))
    } else {
        format!("−{}", number::grouped(before - now))
    }
}

/// A part of a whole.
#[derive(Debug)]
pub(crate) struct Segment {
    pub label: String,
    pub class: &'static str,
    pub count: u64,
}

/// One stacked bar with its key below: what became of the calls that were up.
pub(crate) fn fate(label: &str, segments: &[Segment]) -> Option<String> {
    let total: u64 = segments.iter().map(|segment| segment.count).sum();
    if total == 0 {
        return None;
    }
    let mut svg = Svg::new(WIDTH, 58.0, label);
    let (mut at, mut key) = (0.0, 0.0);
    for segment in segments {
        let width = WIDTH * segment.count as f64 / total as f64;
        let title = format!("{}: {}", segment.label, number::grouped(segment.count));
        svg.rect(&format!("bar {}", segment.class), (at, 2.0), (width, 24.0), Some(&title));
        let words = number::grouped(segment.count);
        if width > width_of(&words) + 8.0 {
            svg.text("on-bar", (at + width / 2.0, 18.5), Anchor::Middle, &words);
        }
        at += width;
        svg.rect(&format!("key {}", segment.class), (key, 40.0), (11.0, 8.0), None);
        svg.text("legend", (key + 16.0, 48.0), Anchor::Start, &title);
        key += width_of(&title) + 36.0;
    }
    Some(svg.finish())
}

/// Instants after T0 on a logarithmic axis from 1 ms, one row each; rows without an instant say so.
pub(crate) fn instants(
    label: &str,
    axis: &str,
    unknown: &str,
    rows: &[(String, Option<f64>, &'static str)],
) -> String {
    const ROW: f64 = 30.0;
    let left = rows.iter().map(|(name, _, _)| width_of(name)).fold(80.0, f64::max) + 16.0;
    let longest = rows.iter().filter_map(|(_, at, _)| *at).fold(1.0, f64::max);
    let top_decade = 10f64.powf(longest.log10().ceil().max(0.0));
    let height = rows.len() as f64 * ROW + 42.0;
    let bottom = height - 36.0;
    let mut svg = Svg::new(WIDTH, height, label);
    let right = WIDTH - 96.0;
    let x = Log::new((0.001, top_decade), (left, right));
    let mut decade = 0.001;
    while decade <= top_decade * 1.001 {
        svg.line("grid", (x.at(decade), 2.0), (x.at(decade), bottom));
        svg.text("tick", (x.at(decade), bottom + 15.0), Anchor::Middle, &plain(decade));
        decade *= 10.0;
    }
    svg.text("tick", (right, bottom + 32.0), Anchor::End, axis);
    for (row, (name, at, class)) in rows.iter().enumerate() {
        let y = row as f64 * ROW + ROW / 2.0;
        svg.text("legend", (left - 10.0, y + 4.0), Anchor::End, name);
        let Some(at) = at else {
            svg.text("tick", (left + 6.0, y + 4.0), Anchor::Start, unknown);
            continue;
        };
        let to = x.at(at.max(0.001));
        svg.rect(&format!("bar {class}"), (left, y - 5.0), ((to - left).max(1.5), 10.0), None);
        svg.circle(&format!("dot {class}"), (to, y), 6.0);
        svg.text("value", (to + 12.0, y + 4.0), Anchor::Start, &number::seconds(*at));
    }
    svg.line("axis", (left, 2.0), (left, bottom));
    svg.finish()
}

fn plain(s: f64) -> String {
    if s < 0.9 { format!("{} ms", (s * 1000.0).round()) } else { format!("{} s", s.round()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::result::Comparison;

    #[test]
    fn a_broken_zero_limit_fills_the_bar() {
        let mut limit = limits::on("own", Comparison::AtMost, 0.0, "test").measured(Some(3.0));
        limit.status = Status::Fail;
        let svg = limit_bar(&limit).unwrap();
        assert!(svg.contains(r#"class="bar bad" x="0" y="4" width="120""#), "{svg}");
        limit.measured = None;
        assert_eq!(limit_bar(&limit), None);
    }

    #[test]
    fn no_calls_no_bar() {
        assert_eq!(fate("x", &[Segment { label: "kept".into(), class: "good", count: 0 }]), None);
    }
}
