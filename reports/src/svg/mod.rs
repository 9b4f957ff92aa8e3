//! Plots as inline SVG: a small writer, and one file per kind of plot. Colours come from the page's CSS classes.

mod bars;
mod distribution;
mod scale;
mod time;

pub(crate) use bars::{Segment, Station, fate, instants, limit_bar, waterfall};
pub(crate) use distribution::{Curve, cdf, mos_histogram};
pub(crate) use time::{Band, Line, Mark, Panel, Shape, TimeFigure, heat_strip};

use std::fmt::Write;

/// Width of every full-width plot in CSS pixels: the text column of the page.
pub(crate) const WIDTH: f64 = 860.0;

/// Where a text is anchored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG being written. Coordinates are CSS pixels, rounded to a tenth.
#[derive(Debug)]
pub(crate) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    /// A drawing of this size; `label` is read to those who cannot see it.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: escaped(label), body: String::new() }
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (x1, y1, x2, y2) = (short(from.0), short(from.1), short(to.0), short(to.1));
        self.put(format_args!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    /// A rectangle; nothing when it has no area.
    pub(crate) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: Option<&str>) {
        if size.0 <= 0.0 || size.1 <= 0.0 {
            return;
        }
        let (x, y, w, h) = (short(at.0), short(at.1), short(size.0), short(size.1));
        match title {
            None => {
                self.put(format_args!(r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}"/>"#))
            }
            Some(title) => {
                let title = escaped(title);
                self.put(format_args!(
                    r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}"><title>{title}</title></rect>"#
                ));
            }
        }
    }

    pub(crate) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64) {
        let (x, y, r) = (short(at.0), short(at.1), short(radius));
        self.put(format_args!(r#"<circle class="{class}" cx="{x}" cy="{y}" r="{r}"/>"#));
    }

    pub(crate) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, words) = (short(at.0), short(at.1), escaped(words));
        self.put(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>"#
        ));
    }

    /// A polyline through `points`, closed when `closed`.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool) {
        let mut drawn = String::with_capacity(points.len() * 12);
        for (index, (x, y)) in points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            // Writing into a String cannot fail.
            let _ = write!(drawn, "{letter}{} {}", short(*x), short(*y));
        }
        if drawn.is_empty() {
            return;
        }
        if closed {
            drawn.push('Z');
        }
        self.put(format_args!(r#"<path class="{class}" d="{drawn}"/>"#));
    }

    /// The finished element.
    pub(crate) fn finish(self) -> String {
        let (w, h) = (short(self.width), short(self.height));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{}">{}</svg>"#,
            self.label, self.body
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.body.write_fmt(element);
    }
}

/// A coordinate with at most one decimal.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// `text` safe inside XML text and attributes; control characters that XML forbids become U+FFFD.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_stay_words() {
        let mut svg = Svg::new(10.0, 10.0, "\"><script>");
        svg.text("t", (0.0, 0.0), Anchor::Start, "</text><script>alert('x')\u{0}");
        let out = svg.finish();
        assert!(!out.contains("<script"), "{out}");
        assert!(!out.contains('\u{0}'));
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(short(10.0), "10");
        assert_eq!(short(10.26), "10.3");
        assert_eq!(short(-0.01), "0");
    }
}
