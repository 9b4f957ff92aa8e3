//! Time series: panels above one shared time axis, phases as bands behind them, events as numbered marks through them.

use super::scale::{Linear, Log, decades, ticks, time_ticks};
use super::{Anchor, Svg, WIDTH};
use crate::number;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const HEAD: f64 = 32.0;
const AXIS: f64 = 22.0;
const TAG_ROW: f64 = 18.0;
/// Beyond this many points a line is thinned to one low and one high value per column.
const COLUMNS: usize = 800;
/// Beyond this many points there are no hover columns.
const HOVER_MAX: usize = 400;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Line,
    Area,
    /// Filled, on top of the stacked series before it.
    Stacked,
}

/// One series; `None` breaks the line.
#[derive(Debug)]
pub(crate) struct Line {
    pub label: String,
    /// Colour class, `s1` to `s6`, `good`, `bad`.
    pub class: &'static str,
    pub shape: Shape,
    pub points: Vec<(f64, Option<f64>)>,
}

/// One panel.
#[derive(Debug)]
pub(crate) struct Panel {
    title: String,
    unit: String,
    height: f64,
    lines: Vec<Line>,
    /// Each value holds for the whole second before it (counts), not for an instant.
    steps: bool,
    /// Words that say so when the axis is logarithmic.
    log: Option<String>,
}

/// The vertical scale of a panel and its ticks.
enum Vertical {
    Linear(Linear),
    Log(Log),
}

impl Vertical {
    fn at(&self, value: f64) -> f64 {
        match self {
            Self::Linear(scale) => scale.at(value),
            Self::Log(scale) => scale.at(value),
        }
    }
}

/// A numbered event.
#[derive(Debug)]
pub(crate) struct Mark {
    pub t: f64,
    pub number: usize,
    pub title: String,
    /// Whether it is a fault (red) or just an event.
    pub bad: bool,
}

/// A phase behind the panels.
#[derive(Debug)]
pub(crate) struct Band {
    pub start: f64,
    pub end: f64,
    pub label: String,
    /// Whether it is tinted as a fault window.
    pub bad: bool,
}

/// The whole figure.
#[derive(Debug)]
pub(crate) struct TimeFigure {
    pub label: String,
    pub range: (f64, f64),
    pub panels: Vec<Panel>,
    pub marks: Vec<Mark>,
    pub bands: Vec<Band>,
    /// Label of the time axis.
    pub axis: String,
    /// Subtracted from the time before it is printed (T0 of a fault page).
    pub origin: f64,
}

impl TimeFigure {
    pub(crate) fn draw(&self) -> String {
        let x = Linear::new(self.range, (LEFT, WIDTH - RIGHT));
        let tag_space = if self.marks.is_empty() { 0.0 } else { TAG_ROW };
        let band_space = if self.bands.iter().any(|band| !band.label.is_empty()) { 16.0 } else { 0.0 };
        let top = tag_space + band_space + 2.0;
        let height = top + self.panels.iter().map(|panel| HEAD + panel.height).sum::<f64>() + AXIS + 16.0;
        let bottom = height - AXIS - 16.0;
        let mut svg = Svg::new(WIDTH, height, &self.label);
        self.draw_bands(&mut svg, &x, tag_space, (top, bottom));
        let mut y = top;
        for panel in &self.panels {
            panel.draw(&mut svg, &x, self.range, y);
            y += HEAD + panel.height;
        }
        self.draw_axis(&mut svg, &x, bottom);
        self.draw_marks(&mut svg, &x, bottom);
        self.draw_hover(&mut svg, &x, (top, bottom));
        svg.finish()
    }

    fn draw_bands(&self, svg: &mut Svg, x: &Linear, tag_space: f64, (top, bottom): (f64, f64)) {
        for (index, band) in self.bands.iter().enumerate() {
            let (from, to) = (x.at(band.start), x.at(band.end));
            let class = match (band.bad, index % 2) {
                (true, _) => "band-bad",
                (false, 0) => "band-even",
                (false, _) => "band-odd",
            };
            svg.rect(class, (from, top), (to - from, bottom - top), None);
            if to - from > 7.0 * band.label.chars().map(|c| if c.is_ascii() { 1.0 } else { 1.8 }).sum::<f64>()
            {
                svg.text("tick", ((from + to) / 2.0, tag_space + 11.0), Anchor::Middle, &band.label);
            }
        }
    }

    fn draw_axis(&self, svg: &mut Svg, x: &Linear, bottom: f64) {
        svg.line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
        for tick in time_ticks(self.range.0 - self.origin, self.range.1 - self.origin, 10) {
            let at = x.at(tick + self.origin);
            svg.line("axis", (at, bottom), (at, bottom + 4.0));
            svg.text("tick", (at, bottom + 16.0), Anchor::Middle, &clock(tick, self.range.1 - self.range.0));
        }
        svg.text("tick", (WIDTH - RIGHT, bottom + 32.0), Anchor::End, &self.axis);
    }

    fn draw_marks(&self, svg: &mut Svg, x: &Linear, bottom: f64) {
        for mark in &self.marks {
            let class = if mark.bad { "mark-bad" } else { "mark" };
            svg.line(class, (x.at(mark.t), TAG_ROW - 3.0), (x.at(mark.t), bottom));
        }
        for (first, last, at) in clusters(&self.marks, x) {
            let shared = &self.marks[first..=last];
            let words = match (shared.first(), shared.last()) {
                (Some(first), Some(last)) if first.number != last.number => {
                    format!("{}–{}", first.number, last.number)
                }
                (Some(only), _) => only.number.to_string(),
                _ => continue,
            };
            let titles: Vec<&str> = shared.iter().map(|mark| mark.title.as_str()).collect();
            let class = if shared.iter().any(|mark| mark.bad) { "tag-bad" } else { "tag" };
            let width = if first == last { 17.0 } else { 30.0 };
            svg.rect(class, (at - 8.5, 0.5), (width, 15.0), Some(&titles.join("\n")));
            svg.text("tag-text", (at - 8.5 + width / 2.0, 12.0), Anchor::Middle, &words);
        }
    }

    /// One invisible column per point over all panels, whose tooltip names every value.
    fn draw_hover(&self, svg: &mut Svg, x: &Linear, (top, bottom): (f64, f64)) {
        let Some(times) =
            self.panels.iter().flat_map(|p| &p.lines).map(|l| &l.points).max_by_key(|p| p.len())
        else {
            return;
        };
        if times.len() > HOVER_MAX {
            return;
        }
        for (index, (t, _)) in times.iter().enumerate() {
            let before = if index == 0 { self.range.0 } else { (times[index - 1].0 + t) / 2.0 };
            let after = times.get(index + 1).map_or(self.range.1, |(next, _)| (next + t) / 2.0);
            let mut title = format!("{} s", number::significant(t - self.origin));
            for panel in &self.panels {
                for line in &panel.lines {
                    let at = line.points.iter().find(|(time, _)| (time - t).abs() < 1e-6);
                    if let Some((_, Some(value))) = at {
                        title.push_str(&format!(
                            "\n{}: {} {}",
                            line.label,
                            number::in_unit(*value, &panel.unit),
                            panel.unit
                        ));
                    }
                }
            }
            svg.rect("hover", (x.at(before), top), (x.at(after) - x.at(before), bottom - top), Some(&title));
        }
    }
}

impl Panel {
    pub(crate) fn new(title: &str, unit: &str, height: f64, lines: Vec<Line>) -> Self {
        Self { title: title.to_owned(), unit: unit.to_owned(), height, lines, steps: false, log: None }
    }

    /// The values are counts per second: drawn as steps.
    pub(crate) fn steps(mut self) -> Self {
        self.steps = true;
        self
    }

    /// Logarithmic when the values span more than a factor of 50 (one slow second would flatten the rest); `words`
    /// say so beside the unit.
    pub(crate) fn log_if_wide(mut self, words: &str) -> Self {
        let mut values: Vec<f64> = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .filter_map(|(_, v)| *v)
            .filter(|v| *v > 0.0)
            .collect();
        values.sort_by(f64::total_cmp);
        if let (Some(low), Some(high)) = (values.first(), values.last())
            && high / low > 50.0
        {
            self.log = Some(words.to_owned());
        }
        self
    }

    /// Whether any line has a value.
    pub(crate) fn is_measured(&self) -> bool {
        self.lines.iter().any(|line| line.points.iter().any(|(_, value)| value.is_some()))
    }

    fn draw(&self, svg: &mut Svg, x: &Linear, range: (f64, f64), top: f64) {
        let (high_px, low_px) = (top + HEAD, top + HEAD + self.height);
        let stacked = self.stack();
        let (y, ticks) = self.vertical(&stacked, (low_px, high_px));
        self.draw_title(svg, top + 21.0);
        for tick in &ticks {
            svg.line("grid", (LEFT, y.at(*tick)), (WIDTH - RIGHT, y.at(*tick)));
            svg.text("tick", (LEFT - 6.0, y.at(*tick) + 3.5), Anchor::End, &self.tick_label(*tick, &ticks));
        }
        // Stacked bands from the top of the pile down, so that each covers the one it stands on; lines last.
        let filled = self.lines.iter().zip(&stacked).rev().filter(|(line, _)| line.shape != Shape::Line);
        let lines = self.lines.iter().zip(&stacked).filter(|(line, _)| line.shape == Shape::Line);
        for (line, points) in filled.chain(lines) {
            for run in runs(points, range) {
                let run = if self.steps { stairs(&run, range.0) } else { run };
                let edge: Vec<(f64, f64)> = run.iter().map(|(t, v)| (x.at(*t), y.at(*v))).collect();
                let (Some(first), Some(last)) = (edge.first(), edge.last()) else { continue };
                if line.shape != Shape::Line {
                    let mut area = edge.clone();
                    area.extend([(last.0, low_px), (first.0, low_px)]);
                    let kind = if line.shape == Shape::Stacked { "stack" } else { "area" };
                    svg.path(&format!("{kind} {}", line.class), &area, true);
                }
                if line.shape != Shape::Stacked {
                    svg.path(&format!("line {}", line.class), &edge, false);
                }
            }
        }
    }

    fn draw_title(&self, svg: &mut Svg, y: f64) {
        let mut title = self.title.clone();
        for part in
            [self.unit.as_str(), self.log.as_deref().unwrap_or("")].into_iter().filter(|p| !p.is_empty())
        {
            title.push_str(", ");
            title.push_str(part);
        }
        svg.text("panel-title", (LEFT, y), Anchor::Start, &title);
        if self.lines.iter().all(|line| line.label == self.title) {
            return;
        }
        let widths: Vec<f64> = self.lines.iter().map(|line| width_of(&line.label) + 32.0).collect();
        let mut at = WIDTH - RIGHT - widths.iter().sum::<f64>() + 16.0;
        for (line, width) in self.lines.iter().zip(widths) {
            svg.rect(&format!("key {}", line.class), (at, y - 8.5), (11.0, 8.0), None);
            svg.text("legend", (at + 16.0, y), Anchor::Start, &line.label);
            at += width;
        }
    }

    /// Each line's points, stacked ones added onto the stacked ones before them.
    fn stack(&self) -> Vec<Vec<(f64, Option<f64>)>> {
        let mut floor: Vec<f64> = Vec::new();
        self.lines
            .iter()
            .map(|line| {
                if line.shape != Shape::Stacked {
                    return line.points.clone();
                }
                floor.resize(floor.len().max(line.points.len()), 0.0);
                let raise = |(index, (t, value)): (usize, &(f64, Option<f64>))| {
                    floor[index] += value.unwrap_or(0.0);
                    (*t, value.map(|_| floor[index]))
                };
                line.points.iter().enumerate().map(raise).collect()
            })
            .collect()
    }

    fn vertical(&self, stacked: &[Vec<(f64, Option<f64>)>], pixels: (f64, f64)) -> (Vertical, Vec<f64>) {
        let values = || stacked.iter().flatten().filter_map(|(_, value)| *value);
        let high = values().fold(0.0, f64::max);
        if self.log.is_some() {
            let low = values().filter(|value| *value > 0.0).fold(high, f64::min);
            let ticks = decades(low, high);
            let range = (ticks[0], ticks[ticks.len() - 1]);
            return (Vertical::Log(Log::new(range, pixels)), ticks);
        }
        let ticks = ticks(high, (self.height / 28.0).round().max(2.0) as usize);
        let range = (ticks[0], ticks[ticks.len() - 1]);
        (Vertical::Linear(Linear::new(range, pixels)), ticks)
    }

    /// A tick's label with as many decimals as the step needs.
    fn tick_label(&self, value: f64, ticks: &[f64]) -> String {
        let step = if self.log.is_some() { value } else { ticks[1] - ticks[0] };
        number::fixed(value, (-step.log10().floor()).clamp(0.0, 6.0) as usize)
    }
}

/// A run of counts as stairs: each value holds from the point before it.
fn stairs(run: &[(f64, f64)], start: f64) -> Vec<(f64, f64)> {
    let step = if run.len() > 1 { (run[run.len() - 1].0 - run[0].0) / (run.len() - 1) as f64 } else { 1.0 };
    let mut before = run.first().map_or(start, |(t, _)| (t - step).max(start));
    let mut out = Vec::with_capacity(run.len() * 2);
    for (t, value) in run {
        out.extend([(before, *value), (*t, *value)]);
        before = *t;
    }
    out
}

/// A strip of one cell per point, coloured by class: health over time at a glance.
pub(crate) fn heat_strip(
    label: &str,
    range: (f64, f64),
    cells: &[(f64, Option<(&'static str, String)>)],
) -> String {
    let mut svg = Svg::new(WIDTH, 36.0, label);
    let x = Linear::new(range, (LEFT, WIDTH - RIGHT));
    svg.rect("strip-none", (LEFT, 2.0), (WIDTH - RIGHT - LEFT, 16.0), None);
    let mut before = range.0;
    for (t, cell) in cells {
        if let Some((class, title)) = cell {
            // A hair wider than the cell, so that no seam shows between equal colours.
            let width = x.at(*t) - x.at(before) + 0.4;
            svg.rect(&format!("strip {class}"), (x.at(before), 2.0), (width, 16.0), Some(title));
        }
        before = *t;
    }
    for tick in time_ticks(range.0, range.1, 10) {
        svg.text("tick", (x.at(tick), 32.0), Anchor::Middle, &clock(tick, range.1 - range.0));
    }
    svg.finish()
}

/// Unbroken runs inside `range`, thinned to at most [`COLUMNS`] columns with their lowest and highest value.
fn runs(points: &[(f64, Option<f64>)], range: (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let mut out = vec![Vec::new()];
    for (t, value) in points.iter().filter(|(t, _)| *t >= range.0 && *t <= range.1) {
        match (value, out.last_mut()) {
            (Some(value), Some(run)) => run.push((*t, *value)),
            _ => out.push(Vec::new()),
        }
    }
    out.retain(|run| !run.is_empty());
    out.into_iter().map(thin).collect()
}

fn thin(run: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if run.len() <= COLUMNS {
        return run;
    }
    let per_column = run.len().div_ceil(COLUMNS);
    run.chunks(per_column)
        .flat_map(|chunk| {
            let low = chunk.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
            let high = chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            let mut pair: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
            pair.sort_by(|a, b| a.0.total_cmp(&b.0));
            pair.dedup();
            pair
        })
        .collect()
}

/// Neighbouring marks whose tags would overlap share one tag, `2–6`: first and last index, and where the tag stands.
fn clusters(marks: &[Mark], x: &Linear) -> Vec<(usize, usize, f64)> {
    let mut out: Vec<(usize, usize, f64)> = Vec::new();
    for (index, mark) in marks.iter().enumerate() {
        let at = x.at(mark.t);
        match out.last_mut() {
            Some((_, last, tag)) if at - *tag < 30.0 => *last = index,
            _ => out.push((index, index, at)),
        }
    }
    out
}

/// Approximate width of 12 px text.
pub(super) fn width_of(words: &str) -> f64 {
    words.chars().map(|c| if c.is_ascii() { 6.2 } else { 12.0 }).sum()
}

/// A time on an axis of `span` seconds: seconds up to ten minutes, else `12:30`, `1:05:00`.
fn clock(s: f64, span: f64) -> String {
    if span <= 600.0 {
        return number::in_unit(s, "s");
    }
    let whole = s.abs().round() as u64;
    let sign = if s < 0.0 { "−" } else { "" };
    if whole < 3600 {
        format!("{sign}{}:{:02}", whole / 60, whole % 60)
    } else {
        format!("{sign}{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_keep_their_extremes() {
        let mut run: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        run[54_321].1 = 99.0;
        let thinned = thin(run);
        assert!(thinned.len() <= 2 * COLUMNS);
        assert!(thinned.iter().any(|(_, v)| *v == 99.0), "the one bad second must stay visible");
    }

    #[test]
    fn a_missing_second_breaks_the_line() {
        let points = [(0.0, Some(1.0)), (1.0, None), (2.0, Some(1.0)), (9.0, Some(1.0))];
        assert_eq!(runs(&points, (0.0, 5.0)).len(), 2);
    }

    #[test]
    fn near_tags_share_one() {
        let mark = |t, number| Mark { t, number, title: String::new(), bad: false };
        let x = Linear::new((0.0, 100.0), (0.0, 800.0));
        let shared = clusters(&[mark(10.0, 1), mark(10.5, 2), mark(11.0, 3), mark(50.0, 4)], &x);
        assert_eq!(shared, vec![(0, 2, 80.0), (3, 3, 400.0)]);
    }

    #[test]
    fn counts_hold_for_their_whole_second() {
        assert_eq!(
            stairs(&[(1.0, 5.0), (2.0, 7.0)], 0.0),
            vec![(0.0, 5.0), (1.0, 5.0), (1.0, 7.0), (2.0, 7.0)]
        );
    }

    #[test]
    fn a_wide_range_turns_logarithmic() {
        let line = |values: &[f64]| Line {
            label: "x".into(),
            class: "s1",
            shape: Shape::Line,
            points: values.iter().enumerate().map(|(t, v)| (t as f64, Some(*v))).collect(),
        };
        assert!(Panel::new("x", "", 50.0, vec![line(&[1.0, 600.0])]).log_if_wide("log").log.is_some());
        assert!(Panel::new("x", "", 50.0, vec![line(&[1.0, 6.0])]).log_if_wide("log").log.is_none());
    }
}
