//! Progress while a run goes on: a panel on a terminal, a line a second anywhere else.

use reports::result::SeriesPoint;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

/// What is shown of a trunk or carrier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrunkLine {
    /// Its name.
    pub name: String,
    /// Calls up.
    pub calls: u64,
    /// Its cap, if known.
    pub max: Option<u64>,
    /// A word on its state.
    pub state: String,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct Shown<'a> {
    /// Heading.
    pub title: &'a str,
    /// What is going on.
    pub phase: &'a str,
    /// Seconds of the whole.
    pub length: f64,
    /// Calls wanted up at once.
    pub calls_wanted: u64,
    /// The last second.
    pub point: SeriesPoint,
    /// Packets lost in percent so far.
    pub loss_percent: Option<f64>,
    /// Calls failed so far.
    pub failed: u64,
    /// Trunks or carriers.
    pub trunks: &'a [TrunkLine],
}

/// Draws progress to standard error.
#[derive(Debug)]
pub struct Live {
    terminal: bool,
    quiet: bool,
    drawn: usize,
}

impl Live {
    /// Looks at where standard error goes; `quiet` shows nothing at all.
    pub fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), quiet, drawn: 0 }
    }

    /// Shows a second.
    pub fn show(&mut self, shown: &Shown<'_>) {
        if self.quiet {
            return;
        }
        let text = if self.terminal { self.panel(shown) } else { line(shown) };
        // Progress that cannot be written is no reason to end the run.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Says a word above the panel.
    pub fn say(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        let mut out = String::new();
        self.rewind(&mut out);
        let _ = writeln!(out, "{text}");
        let _ = std::io::stderr().write_all(out.as_bytes());
    }

    fn rewind(&mut self, out: &mut String) {
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn panel(&mut self, shown: &Shown<'_>) -> String {
        let mut out = String::new();
        self.rewind(&mut out);
        let panel = panel_text(shown);
        self.drawn = panel.lines().count();
        out.push_str(&panel);
        out
    }
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn bar(share: f64, width: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    let mut text = "█".repeat(filled);
    text.push_str(&"░".repeat(width - filled));
    text
}

fn panel_text(shown: &Shown<'_>) -> String {
    let p = &shown.point;
    let calls = p.calls.unwrap_or(0);
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let mut out = String::new();
    let _ = writeln!(out, "\x1b[1m{}\x1b[0m  {}  {:.0}/{:.0} s", shown.title, shown.phase, p.t, shown.length);
    let _ = writeln!(out, "  time   {}", bar(share(p.t, shown.length), 40));
    let _ = writeln!(
        out,
        "  calls  {} {calls} of {}   {} new/s   {} failed",
        bar(share(calls as f64, shown.calls_wanted as f64), 40),
        shown.calls_wanted,
        p.attempts,
        shown.failed
    );
    let mos = p.mos.map_or(0.0, |mos| (mos - 1.0) / 3.5);
    let _ = writeln!(
        out,
        "  MOS    {} {} (99 % above {})   loss {} %",
        bar(mos, 40),
        optional(p.mos, 2),
        optional(p.mos_p1, 2),
        optional(shown.loss_percent, 4)
    );
    let _ = writeln!(
        out,
        "  delay  p50 {} ms, p99 {} ms   set-up p99 {} ms   send error p99 {} ms",
        optional(p.delay_p50_ms, 2),
        optional(p.delay_p99_ms, 2),
        optional(p.setup_p99_ms, 1),
        optional(p.send_error_p99_ms, 2)
    );
    for trunk in shown.trunks {
        let whole = trunk.max.unwrap_or(shown.calls_wanted) as f64;
        let _ = writeln!(
            out,
            "  {:<12} {} {} calls  {}",
            trunk.name,
            bar(share(trunk.calls as f64, whole), 30),
            trunk.calls,
            trunk.state
        );
    }
    if !p.cores.is_empty() {
        let cores: Vec<String> = p.cores.iter().map(|(name, cores)| format!("{name} {cores:.2}")).collect();
        let _ = writeln!(out, "  cores  {}", cores.join("  "));
    }
    out
}

fn line(shown: &Shown<'_>) -> String {
    let p = &shown.point;
    let mut out = format!(
        "{:>6.1} s  {:<10} calls {}/{}  +{}/s  answered {}  failed {}  MOS {}  loss {} %  delay p99 {} ms  set-up p99 {} ms",
        p.t,
        shown.phase,
        p.calls.unwrap_or(0),
        shown.calls_wanted,
        p.attempts,
        p.answered,
        shown.failed,
        optional(p.mos, 2),
        optional(shown.loss_percent, 4),
        optional(p.delay_p99_ms, 2),
        optional(p.setup_p99_ms, 1),
    );
    for trunk in shown.trunks {
        let _ = write!(out, "  {} {} {}", trunk.name, trunk.calls, trunk.state);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_show_the_same_figures() {
        let trunks =
            [TrunkLine { name: "carrier-a".to_owned(), calls: 41, max: Some(100), state: "up".to_owned() }];
        let point =
            SeriesPoint { t: 12.0, calls: Some(87), attempts: 9, mos: Some(4.39), ..SeriesPoint::default() };
        let shown = Shown {
            title: "drill",
            phase: "hold",
            length: 120.0,
            calls_wanted: 100,
            point,
            loss_percent: None,
            failed: 3,
            trunks: &trunks,
        };
        for text in [line(&shown), panel_text(&shown)] {
            for figure in ["87", "100", "4.39", "carrier-a", "41", "3", "-"] {
                assert!(text.contains(figure), "{figure} in {text}");
            }
        }
        assert_eq!(bar(0.5, 4), "██░░");
        assert_eq!(bar(7.0, 2), "██");
    }
}
