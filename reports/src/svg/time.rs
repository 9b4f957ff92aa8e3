//! Time series: panels above one shared time axis, phases as bands behind them, events as numbered marks through them.

use super::scale::{Linear, ticks, ticks_within, time_ticks};
use super::{Anchor, Svg, WIDTH};
use crate::number;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const HEAD: f64 = 24.0;
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
    pub title: String,
    pub unit: String,
    pub height: f64,
    pub lines: Vec<Line>,
    /// A limit drawn across, with its label.
    pub limit: Option<(f64, String)>,
    /// Fixed value range; without it from 0 to a round number above the largest value.
    pub range: Option<(f64, f64)>,
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
        let rows = tag_rows(&self.marks, &x);
        let tag_space = rows.iter().max().map_or(0.0, |row| (*row as f64 + 1.0) * TAG_ROW);
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
        self.draw_marks(&mut svg, &x, &rows, tag_space, bottom);
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
            svg.text("tick", (at, bottom + 16.0), Anchor::Middle, &clock(tick));
        }
        svg.text("tick", (WIDTH - RIGHT, bottom + 32.0), Anchor::End, &self.axis);
    }

    fn draw_marks(&self, svg: &mut Svg, x: &Linear, rows: &[usize], tag_space: f64, bottom: f64) {
        for (mark, row) in self.marks.iter().zip(rows) {
            let at = x.at(mark.t);
            let tag_y = tag_space - (*row as f64 + 0.5) * TAG_ROW;
            let (line, tag) = if mark.bad { ("mark-bad", "tag-bad") } else { ("mark", "tag") };
            svg.line(line, (at, tag_y), (at, bottom));
            svg.rect(tag, (at - 8.5, tag_y - 7.5), (17.0, 15.0), Some(&mark.title));
            svg.text("tag-text", (at, tag_y + 4.0), Anchor::Middle, &mark.number.to_string());
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
    fn draw(&self, svg: &mut Svg, x: &Linear, range: (f64, f64), top: f64) {
        let (high_px, low_px) = (top + HEAD, top + HEAD + self.height);
        let stacked = self.stack();
        let steps = self.ticks(&stacked);
        let (low, high) = (steps[0], *steps.last().unwrap_or(&1.0));
        let y = Linear::new(self.range.unwrap_or((low, high)), (low_px, high_px));
        self.draw_title(svg, top + 16.0);
        for step in &steps {
            svg.line("grid", (LEFT, y.at(*step)), (WIDTH - RIGHT, y.at(*step)));
            svg.text("tick", (LEFT - 6.0, y.at(*step) + 3.5), Anchor::End, &tick_label(*step, &steps));
        }
        let drawn = self.lines.iter().zip(&stacked).rev().filter(|(line, _)| line.shape != Shape::Line);
        for (line, points) in
            drawn.chain(self.lines.iter().zip(&stacked).filter(|(l, _)| l.shape == Shape::Line))
        {
            for run in runs(points, range) {
                let top_edge: Vec<(f64, f64)> = run.iter().map(|(t, v)| (x.at(*t), y.at(*v))).collect();
                let (Some(first), Some(last)) = (top_edge.first(), top_edge.last()) else { continue };
                if line.shape != Shape::Line {
                    let mut area = top_edge.clone();
                    area.extend([(last.0, low_px), (first.0, low_px)]);
                    let kind = if line.shape == Shape::Stacked { "stack" } else { "area" };
                    svg.path(&format!("{kind} {}", line.class), &area, true);
                }
                if line.shape != Shape::Stacked {
                    svg.path(&format!("line {}", line.class), &top_edge, false);
                }
            }
        }
        if let Some((limit, label)) = &self.limit {
            svg.line("limit", (LEFT, y.at(*limit)), (WIDTH - RIGHT, y.at(*limit)));
            svg.text("limit-text", (WIDTH - RIGHT - 4.0, y.at(*limit) - 4.0), Anchor::End, label);
        }
    }

    fn draw_title(&self, svg: &mut Svg, y: f64) {
        let title =
            if self.unit.is_empty() { self.title.clone() } else { format!("{}, {}", self.title, self.unit) };
        svg.text("panel-title", (LEFT, y), Anchor::Start, &title);
        if self.lines.len() < 2 {
            return;
        }
        let mut right = WIDTH - RIGHT;
        for line in self.lines.iter().rev() {
            svg.text("legend", (right, y), Anchor::End, &line.label);
            right -= width_of(&line.label) + 16.0;
            svg.rect(&format!("key {}", line.class), (right, y - 8.0), (11.0, 8.0), None);
            right -= 12.0;
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

    fn ticks(&self, stacked: &[Vec<(f64, Option<f64>)>]) -> Vec<f64> {
        let wanted = (self.height / 28.0).round().max(2.0) as usize;
        if let Some((low, high)) = self.range {
            return ticks_within(low, high, wanted);
        }
        let top = stacked.iter().flatten().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        ticks(self.limit.as_ref().map_or(top, |(limit, _)| top.max(limit * 1.15)), wanted)
    }
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
            svg.rect(class, (x.at(before), 2.0), (width, 16.0), Some(title));
        }
        before = *t;
    }
    for tick in time_ticks(range.0, range.1, 10) {
        svg.text("tick", (x.at(tick), 32.0), Anchor::Middle, &clock(tick));
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

/// The row of each mark's tag, so that no two tags overlap.
fn tag_rows(marks: &[Mark], x: &Linear) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    marks
        .iter()
        .map(|mark| {
            let left = x.at(mark.t) - 9.0;
            let row = ends.iter().position(|end| *end <= left).unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(0.0);
            }
            ends[row] = left + 20.0;
            row
        })
        .collect()
}

/// Approximate width of 12 px text.
pub(super) fn width_of(words: &str) -> f64 {
    words.chars().map(|c| if c.is_ascii() { 6.2 } else { 12.0 }).sum()
}

/// A time on the axis: `45`, `2:30`, `1:05:00`.
fn clock(s: f64) -> String {
    if s.abs() < 120.0 {
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

/// A tick's label with as many decimals as the step needs.
fn tick_label(value: f64, steps: &[f64]) -> String {
    let step = steps.get(1).map_or(1.0, |second| second - steps[0]);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    number::fixed(value, decimals)
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
    fn near_tags_take_different_rows() {
        let mark = |t| Mark { t, number: 1, title: String::new(), bad: false };
        let x = Linear::new((0.0, 100.0), (0.0, 800.0));
        assert_eq!(tag_rows(&[mark(10.0), mark(10.5), mark(11.0), mark(50.0)], &x), vec![0, 1, 2, 0]);
    }
}
