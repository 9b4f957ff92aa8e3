//! Line plots as standalone SVG, for a page that shows them as images.

use std::fmt::Write;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// Colours that stay apart for the colour-blind too.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#555555", "#009e73", "#cc79a7", "#e69f00"];

/// One curve.
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// Which colour.
    pub colour: usize,
    /// Drawn with dashes.
    pub dashed: bool,
    /// Sorted by x.
    pub points: Vec<(f64, f64)>,
}

/// How an axis runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// A plot.
pub struct Plot<'p> {
    /// Above it.
    pub title: &'p str,
    /// Below and beside it, with units.
    pub x: (&'p str, Scale),
    /// As said above.
    pub y: (&'p str, Scale),
    /// What is drawn.
    pub curves: Vec<Curve>,
}

/// One axis: its range, its ticks, and where values lie on it from 0 to 1.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn over(values: &[f64], scale: Scale) -> Self {
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => {
                let magnitude = 10f64.powf((most / 5.0).log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|n| n * magnitude)
                    .into_iter()
                    .find(|step| most / step <= 5.0)
                    .unwrap_or(10.0 * magnitude);
                let count = (most / step).ceil().max(1.0) as u32;
                let ticks: Vec<f64> = (0..=count).map(|n| f64::from(n) * step).collect();
                Self { scale, low: 0.0, high: f64::from(count) * step, ticks }
            }
            Scale::Log => {
                let least = values.iter().copied().filter(|v| *v > 0.0).fold(most, f64::min);
                let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
                let high = high.max(low + 1);
                let ticks = (low..=high).map(|n| 10f64.powi(n)).collect();
                Self { scale, low: 10f64.powi(low), high: 10f64.powi(high), ticks }
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        }
    }
}

/// A tick's text, without needless zeros.
fn label(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Plot<'_> {
    /// The file's text.
    pub fn svg(&self) -> String {
        let values = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            self.curves.iter().flat_map(|curve| curve.points.iter().map(pick)).collect()
        };
        let x_axis = Axis::over(&values(|p| p.0), self.x.1);
        let y_axis = Axis::over(&values(|p| p.1), self.y.1);
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let x = |value: f64| LEFT + x_axis.place(value) * width;
        let y = |value: f64| TOP + (1.0 - y_axis.place(value)) * height;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{0}\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\" font-weight=\"bold\">{0}</text>\n",
            self.title
        );
        // Writing into a String cannot fail.
        for &tick in &y_axis.ticks {
            let at = y(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#333333\">{}</text>",
                LEFT + width,
                LEFT - 6.0,
                at + 4.0,
                label(tick)
            );
        }
        for &tick in &x_axis.ticks {
            let at = x(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#eeeeee\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#333333\">{}</text>",
                TOP + height,
                TOP + height + 16.0,
                label(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + width / 2.0,
            HEIGHT - 10.0,
            self.x.0,
            TOP + height / 2.0,
            self.y.0
        );
        for (index, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[curve.colour % COLOURS.len()];
            let dash = if curve.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let path: Vec<String> =
                curve.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
                path.join(" ")
            );
            for (a, b) in &curve.points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    x(*a),
                    y(*b)
                );
            }
            let (at, key) = (TOP + 12.0 + 18.0 * index as f64, LEFT + width + 12.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{key:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
                 stroke-width=\"2\"{dash}/><text x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
                key + 20.0,
                at - 4.0,
                at - 4.0,
                key + 26.0,
                curve.name
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
