//! A limit and what was measured against it, and the verdict over all limits.

use serde::{Deserialize, Serialize};

/// The verdict of a run, and the process exit code that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Every limit was measured and held, and the measurement counts.
    Pass,
    /// The measurement counts and at least one limit was broken.
    Fail,
    /// The measurement does not count: nothing may be concluded from it.
    Invalid,
}

impl Verdict {
    /// The exit code of the commands that measure: 0 PASS, 1 FAIL, 3 INVALID (2 is wrong usage).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Invalid => 3,
        }
    }

    /// The word written in `result.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
        }
    }
}

/// How a limit compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Measured must not exceed the limit.
    #[serde(rename = "<=")]
    AtMost,
    /// Measured must be below the limit.
    #[serde(rename = "<")]
    Below,
    /// Measured must reach the limit.
    #[serde(rename = ">=")]
    AtLeast,
    /// Measured must equal the limit.
    #[serde(rename = "=")]
    Equal,
}

impl Comparison {
    /// Whether `measured` keeps `limit`; never for NaN.
    #[must_use]
    pub fn holds(self, measured: f64, limit: f64) -> bool {
        match self {
            Self::AtMost => measured <= limit,
            Self::Below => measured < limit,
            Self::AtLeast => measured >= limit,
            Self::Equal => (measured - limit).abs() < f64::EPSILON * limit.abs().max(1.0),
        }
    }

    /// The sign that pages print.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "≤",
            Self::Below => "<",
            Self::AtLeast => "≥",
            Self::Equal => "=",
        }
    }
}

/// The outcome of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Measured, and the limit held.
    Pass,
    /// Measured, and the limit was broken.
    Fail,
    /// A broken validity check: the run does not count.
    Invalid,
    /// No figure exists.
    #[default]
    NotMeasured,
}

/// One claim or one validity check: a limit, its source, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Stable id; when it names a metric of [`crate::metric::CATALOGUE`], the measured value is computed from the result.
    pub id: String,
    /// What is limited, in English; pages translate known ids.
    pub name: String,
    /// How measured and limit compare.
    pub comparison: Comparison,
    /// The limit, in `unit`.
    pub limit: f64,
    /// What was measured, in `unit`; `None` when it was not.
    pub measured: Option<f64>,
    /// Unit of both: `ms`, `s`, `%`, `calls`, `MOS`, `cores`, `packets`, `1`, ...
    pub unit: String,
    /// The outcome, written by the judge.
    pub status: Status,
    /// Who asks for it: a standard, a tender, a product bar.
    pub source: String,
    /// When true, "not measured" makes the run INVALID instead of being only said.
    #[serde(default)]
    pub required: bool,
}

impl Limit {
    /// A required limit, not measured yet.
    #[must_use]
    pub fn new(id: &str, name: &str, comparison: Comparison, limit: f64, unit: &str, source: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            comparison,
            limit,
            measured: None,
            unit: unit.to_owned(),
            status: Status::NotMeasured,
            source: source.to_owned(),
            required: true,
        }
    }

    /// The same limit with its measured value (for ids outside the metric catalogue).
    #[must_use]
    pub fn measured(mut self, value: Option<f64>) -> Self {
        self.measured = value;
        self
    }

    /// The same limit, but "not measured" is only said and does not invalidate the run.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Whether the measured value keeps the limit; `None` when there is none.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        self.measured.filter(|m| !m.is_nan()).map(|m| self.comparison.holds(m, self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_at_their_edges() {
        assert!(Comparison::AtMost.holds(5.0, 5.0));
        assert!(!Comparison::Below.holds(5.0, 5.0));
        assert!(Comparison::AtLeast.holds(4.3, 4.3));
        assert!(Comparison::Equal.holds(0.0, 0.0));
        assert!(!Comparison::Equal.holds(1.0, 0.0));
        assert!(!Comparison::AtMost.holds(f64::NAN, 5.0));
    }

    #[test]
    fn nothing_measured_is_neither_kept_nor_broken() {
        let limit = Limit::new("x", "x", Comparison::AtMost, 1.0, "s", "test");
        assert_eq!(limit.holds(), None);
        assert_eq!(limit.clone().measured(Some(f64::NAN)).holds(), None);
        assert_eq!(limit.measured(Some(2.0)).holds(), Some(false));
    }
}
