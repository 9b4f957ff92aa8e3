//! Checks a run's folder: are the files what was recorded, does the verdict follow, do the pages redraw the same?

use crate::limits::judge;
use crate::read::{RunFolder, read_folder};
use crate::recorder::hash_file;
use crate::result::{Ended, Event, Limit, SeriesPoint, Verdict};
use crate::text::Lang;
use crate::{HTML_FILE, JUNIT_FILE, render_html, render_junit};
use std::fmt;
use std::path::Path;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The verdict the files carry, when they can be read.
    pub verdict: Option<Verdict>,
    /// What was compared and agreed, one line each.
    pub good: Vec<String>,
    /// What is off, one line each; empty when the folder is sound.
    pub off: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is off.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.off.is_empty()
    }

    fn say(&mut self, holds: bool, good: impl Into<String>, off: impl Into<String>) {
        if holds { self.good.push(good.into()) } else { self.off.push(off.into()) }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.good {
            writeln!(f, "  ok   {line}")?;
        }
        for line in &self.off {
            writeln!(f, "  OFF  {line}")?;
        }
        match (self.is_sound(), self.verdict) {
            (true, Some(verdict)) => {
                write!(f, "sound: the files agree with each other; verdict {}", verdict.word())
            }
            (true, None) => write!(f, "sound"),
            (false, _) => write!(
                f,
                "not sound: {} of {} checks are off",
                self.off.len(),
                self.off.len() + self.good.len()
            ),
        }
    }
}

/// Checks the run in `dir` without changing anything.
#[must_use]
pub fn check(dir: &Path) -> CheckReport {
    let mut report = CheckReport::default();
    let folder = match read_folder(dir) {
        Ok(folder) => folder,
        Err(error) => {
            report.off.push(error.to_string());
            return report;
        }
    };
    report.verdict = Some(folder.result.verdict);
    report.good.push(format!(
        "result.json, series.jsonl ({} seconds) and events.jsonl ({}) read as {}",
        folder.series.len(),
        folder.events.len(),
        folder.result.schema
    ));
    hashes(dir, &folder, &mut report);
    verdict(&folder, &mut report);
    order(&folder.series, &folder.events, &mut report);
    pages(dir, &folder, &mut report);
    report
}

fn hashes(dir: &Path, folder: &RunFolder, report: &mut CheckReport) {
    for (name, recorded) in &folder.result.files {
        if name.contains(['/', '\\']) {
            report.off.push(format!("{name}: a recorded file must lie in the run's folder"));
            continue;
        }
        match hash_file(&dir.join(name)) {
            Ok(found) => report.say(
                found == *recorded,
                format!("{name}: hash agrees"),
                format!("{name}: was changed after recording (SHA-256 {found}, recorded {recorded})"),
            ),
            Err(error) => report.off.push(error.to_string()),
        }
    }
    if folder.result.files.is_empty() {
        let killed = folder.result.run.ended == Ended::Interrupted;
        report.say(
            killed,
            "no hashes: the writer was killed before it could finish",
            "result.json names no hash of the other files",
        );
    }
}

/// Judges a copy again and compares.
fn verdict(folder: &RunFolder, report: &mut CheckReport) {
    let stored = &folder.result;
    let mut again = stored.clone();
    judge(&mut again);
    for (stored, again) in
        stored.limits.iter().chain(&stored.validity).zip(again.limits.iter().chain(&again.validity))
    {
        if !same(stored, again) {
            report.off.push(format!(
                "{}: recorded {:?} ({:?}), the data says {:?} ({:?})",
                stored.id, stored.measured, stored.status, again.measured, again.status
            ));
        }
    }
    report.say(
        stored.verdict == again.verdict && stored.reasons == again.reasons,
        format!(
            "verdict {} follows from {} limits and {} checks",
            stored.verdict.word(),
            stored.limits.len(),
            stored.validity.len()
        ),
        format!("verdict is {}, but the limits give {}", stored.verdict.word(), again.verdict.word()),
    );
    report.say(
        stored.signalling.registers == again.signalling.registers,
        "RFC 6076 ratios follow from the counts",
        "RFC 6076 ratios do not follow from the counts",
    );
    let ended: u64 = stored.signalling.finals.values().sum();
    report.say(
        ended <= stored.signalling.invites,
        format!("{ended} of {} sessions have an end", stored.signalling.invites),
        format!("{ended} sessions ended, but only {} were attempted", stored.signalling.invites),
    );
}

fn same(a: &Limit, b: &Limit) -> bool {
    a.status == b.status && a.measured == b.measured
}

fn order(series: &[SeriesPoint], events: &[Event], report: &mut CheckReport) {
    let rising = series.windows(2).all(|pair| pair[0].t <= pair[1].t);
    report.say(rising, "series in time order", "series.jsonl is not in time order");
    let finite = events.iter().all(|event| event.t.is_finite());
    report.say(finite, "every event has a time", "events.jsonl has an event without a time");
}

fn pages(dir: &Path, folder: &RunFolder, report: &mut CheckReport) {
    let Ok(page) = std::fs::read_to_string(dir.join(HTML_FILE)) else {
        report.off.push(format!("{HTML_FILE} is missing: render it first"));
        return;
    };
    let lang = if page.contains("<html lang=\"zh-CN\">") { Lang::Zh } else { Lang::En };
    match render_html(folder, lang) {
        Ok(again) => report.say(
            again == page,
            format!("{HTML_FILE} redraws byte for byte"),
            format!(
                "{HTML_FILE} differs from what the files draw: it was edited, or drawn by another version"
            ),
        ),
        Err(error) => report.off.push(format!("{HTML_FILE} cannot be drawn: {error}")),
    }
    let junit = std::fs::read_to_string(dir.join(JUNIT_FILE)).unwrap_or_default();
    report.say(
        junit == render_junit(&folder.result),
        format!("{JUNIT_FILE} redraws byte for byte"),
        format!("{JUNIT_FILE} differs from what the files draw"),
    );
}
