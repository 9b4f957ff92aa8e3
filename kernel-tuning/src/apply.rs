//! Changes settings, only when told to, and puts them back.

use crate::check::{Options, Verdict, check};
use crate::error::TuneError;
use crate::profile::{Kind, Profile};
use crate::root::Root;
use crate::state::{Saved, State};
use crate::value::normal;
use std::fmt;
use std::io;
use std::path::Path;

/// Whether settings may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Say what would be changed; change nothing.
    DryRun,
    /// Change it: the operator asked for it in so many words.
    Change,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Would be written.
    Planned,
    /// Written, and reads back as written.
    Set,
    /// Written, but the kernel keeps another value.
    Kept(String),
    /// The kernel refused.
    Refused(String),
}

/// One file to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The knob it belongs to.
    pub id: String,
    /// The file below the root.
    pub path: String,
    /// Its value before.
    pub before: String,
    /// The value it gets.
    pub after: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What [`apply`] did, or would do.
#[derive(Debug, Clone)]
pub struct ApplyReport {
    /// Whether anything was written.
    pub consent: Consent,
    /// The files, in the profile's order.
    pub changes: Vec<Change>,
    /// Knobs that are off but must be set by hand, with the way.
    pub by_hand: Vec<(String, String)>,
}

/// Sets what is off in `profile`. With [`Consent::DryRun`] only says what it would do. Otherwise the previous values go
/// to `state_file` first, and nothing is written unless every file may be written.
///
/// # Errors
/// The state file exists already or cannot be written, or a setting may not be written. Nothing was changed then.
pub fn apply(
    root: &Root,
    profile: &Profile,
    options: Options,
    consent: Consent,
    state_file: &Path,
) -> Result<ApplyReport, TuneError> {
    let mut report = plan(root, profile, options, consent);
    if consent == Consent::DryRun || report.changes.is_empty() {
        return Ok(report);
    }
    if State::load(state_file)?.is_some_and(|state| state.is_of_this_boot(root)) {
        return Err(TuneError::StateExists { path: state_file.to_owned() });
    }
    for change in &report.changes {
        let Err(error) = root.probe_write(&change.path) else { continue };
        let denied =
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
        if denied {
            return Err(TuneError::NotPermitted {
                path: root.path(&change.path),
                settings: report.changes.len(),
            });
        }
    }
    let mut state = State::new(root, &profile.name);
    state.change = report
        .changes
        .iter()
        .map(|change| Saved {
            path: change.path.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        })
        .collect();
    state.save(state_file)?;
    for change in &mut report.changes {
        change.outcome = set(root, change);
    }
    // What the kernel made of the value is what `restore` must find there.
    for (saved, change) in state.change.iter_mut().zip(&report.changes) {
        if let Outcome::Kept(value) = &change.outcome {
            saved.after.clone_from(value);
        }
    }
    let refused: Vec<&str> = report
        .changes
        .iter()
        .filter(|change| matches!(change.outcome, Outcome::Refused(_)))
        .map(|change| change.path.as_str())
        .collect();
    state.change.retain(|saved| !refused.contains(&saved.path.as_str()));
    state.save(state_file)?;
    Ok(report)
}

fn plan(root: &Root, profile: &Profile, options: Options, consent: Consent) -> ApplyReport {
    let mut report = ApplyReport { consent, changes: Vec::new(), by_hand: Vec::new() };
    for finding in check(root, profile, options).findings {
        if finding.verdict != Verdict::Off {
            continue;
        }
        if finding.knob.kind == Kind::Limit {
            report.by_hand.push((finding.id.clone(), finding.knob.undo.clone().unwrap_or_default()));
        }
        for (path, after) in finding.off {
            let before = root.read(&path).map(|text| normal(&text)).unwrap_or_default();
            report.changes.push(Change {
                id: finding.id.clone(),
                path,
                before,
                after,
                outcome: Outcome::Planned,
            });
        }
    }
    report
}

fn set(root: &Root, change: &Change) -> Outcome {
    if let Err(error) = root.write(&change.path, &change.after) {
        return Outcome::Refused(error.to_string());
    }
    match root.read(&change.path).map(|text| normal(&text)) {
        Ok(now) if now == change.after || same_mask(&now, &change.after) => Outcome::Set,
        Ok(now) => Outcome::Kept(now),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// Masks read back with leading zeros.
fn same_mask(now: &str, wanted: &str) -> bool {
    let bare = |text: &str| text.replace(',', "").trim_start_matches('0').to_owned();
    !bare(now).is_empty() && bare(now) == bare(wanted)
}

/// What became of one saved value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// Would be put back.
    Planned,
    /// The previous value is back.
    Back,
    /// Somebody else has changed it since, to this value; left alone.
    ChangedSince(String),
    /// The setting is gone (the network card was removed, for instance).
    Gone,
    /// The kernel refused.
    Refused(String),
}

/// What [`restore`] did.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    /// The machine was booted since: every value is the boot's own, nothing was written.
    pub rebooted: bool,
    /// Whether anything was written.
    pub consent: Consent,
    /// Path, previous value, and what became of it; last changed first.
    pub values: Vec<(String, String, Restored)>,
}

/// Puts the values of `state_file` back and removes it; with [`Consent::DryRun`] only says what it would do. A value that somebody else has changed since is left alone, and
/// said; values that could not be put back stay in the file.
///
/// # Errors
/// There is no state file, it cannot be read, or a setting may not be written (nothing was changed then).
pub fn restore(root: &Root, consent: Consent, state_file: &Path) -> Result<RestoreReport, TuneError> {
    let Some(mut state) = State::load(state_file)? else {
        return Err(TuneError::NoState { path: state_file.to_owned() });
    };
    let rebooted = !state.is_of_this_boot(root);
    if consent == Consent::DryRun {
        let values = if rebooted {
            Vec::new()
        } else {
            state.change.iter().rev().map(|saved| planned(root, saved)).collect()
        };
        return Ok(RestoreReport { rebooted, consent, values });
    }
    if rebooted {
        State::remove(state_file)?;
        return Ok(RestoreReport { rebooted, consent, values: Vec::new() });
    }
    for saved in &state.change {
        let Err(error) = root.probe_write(&saved.path) else { continue };
        if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
            return Err(TuneError::NotPermitted {
                path: root.path(&saved.path),
                settings: state.change.len(),
            });
        }
    }
    let mut values = Vec::new();
    let mut left = Vec::new();
    for saved in state.change.drain(..).rev() {
        let outcome = put_back(root, &saved);
        values.push((saved.path.clone(), saved.before.clone(), outcome.clone()));
        if matches!(outcome, Restored::Refused(_)) {
            left.push(saved);
        }
    }
    if left.is_empty() {
        State::remove(state_file)?;
    } else {
        left.reverse();
        state.change = left;
        state.save(state_file)?;
    }
    Ok(RestoreReport { rebooted: false, consent, values })
}

fn planned(root: &Root, saved: &Saved) -> (String, String, Restored) {
    (saved.path.clone(), saved.before.clone(), stands(root, saved).unwrap_or(Restored::Planned))
}

/// Why nothing need or may be written; `None` when the value we set still stands.
fn stands(root: &Root, saved: &Saved) -> Option<Restored> {
    let now = match root.read(&saved.path) {
        Ok(text) => normal(&text),
        Err(_) => return Some(Restored::Gone),
    };
    if now == saved.before {
        return Some(Restored::Back);
    }
    (now != saved.after && !same_mask(&now, &saved.after)).then_some(Restored::ChangedSince(now))
}

fn put_back(root: &Root, saved: &Saved) -> Restored {
    if let Some(outcome) = stands(root, saved) {
        return outcome;
    }
    match root.write(&saved.path, &saved.before) {
        Ok(()) => Restored::Back,
        Err(error) => Restored::Refused(error.to_string()),
    }
}

impl fmt::Display for ApplyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            let word = match &change.outcome {
                Outcome::Planned => "would set".to_owned(),
                Outcome::Set => "set".to_owned(),
                Outcome::Kept(value) => format!("written, but the kernel keeps {value:?}:"),
                Outcome::Refused(why) => format!("REFUSED ({why}):"),
            };
            writeln!(f, "{word} /{}: {:?} -> {:?}", change.path, change.before, change.after)?;
        }
        for (id, way) in &self.by_hand {
            writeln!(f, "by hand {id}: {way}")?;
        }
        match (self.consent, self.changes.is_empty()) {
            (_, true) => writeln!(f, "Nothing to set."),
            (Consent::DryRun, false) => writeln!(f, "Nothing was changed: this was a dry run."),
            (Consent::Change, false) => writeln!(f, "Undo with: trunkline tune restore"),
        }
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rebooted {
            return writeln!(
                f,
                "The machine was booted since the change: its settings are the boot's own. Nothing was written."
            );
        }
        for (path, before, outcome) in &self.values {
            match outcome {
                Restored::Planned => writeln!(f, "would put back /{path}: {before:?}")?,
                Restored::Back => writeln!(f, "back    /{path}: {before:?}")?,
                Restored::ChangedSince(now) => {
                    writeln!(f, "left    /{path}: somebody else set it to {now:?} since (was {before:?})")?;
                }
                Restored::Gone => writeln!(f, "gone    /{path}")?,
                Restored::Refused(why) => writeln!(f, "REFUSED /{path}: {why}")?,
            }
        }
        if self.consent == Consent::DryRun {
            return writeln!(f, "Nothing was changed: this was a dry run.");
        }
        let back = self.values.iter().filter(|(_, _, outcome)| *outcome == Restored::Back).count();
        writeln!(f, "{back} of {} values are back.", self.values.len())
    }
}
