//! Limits and validity checks as JUnit test cases, for whatever collects test results.

use crate::result::{Limit, RunResult, Status, Verdict};
use crate::svg::escaped;
use std::fmt::Write;

/// The JUnit text of a run. A broken limit is a failure, a broken check an error, an optional limit that was not
/// measured is skipped, a required one is an error.
#[must_use]
pub fn render_junit(result: &RunResult) -> String {
    let title = if result.run.title.is_empty() { "trunkline" } else { &result.run.title };
    let cases: Vec<Case> = cases(result);
    let count = |kind: Kind| cases.iter().filter(|case| case.kind == kind).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        cases.len(),
        count(Kind::Failure),
        count(Kind::Error),
        count(Kind::Skipped),
        result.run.duration_s
    );
    // Writing into a String cannot fail.
    let _ = writeln!(out, "<testsuites name=\"trunkline\" {totals}>");
    let _ = writeln!(out, "  <testsuite name=\"{}\" {totals}>", escaped(title));
    for case in &cases {
        let _ = write!(
            out,
            "    <testcase classname=\"{}.{}\" name=\"{}\"",
            escaped(title),
            case.class,
            escaped(&case.name)
        );
        let message = escaped(&case.message);
        let _ = match case.kind {
            Kind::Passed => writeln!(out, "/>"),
            Kind::Failure => writeln!(out, "><failure message=\"{message}\"/></testcase>"),
            Kind::Error => writeln!(out, "><error message=\"{message}\"/></testcase>"),
            Kind::Skipped => writeln!(out, "><skipped message=\"{message}\"/></testcase>"),
        };
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Failure,
    Error,
    Skipped,
}

struct Case {
    class: &'static str,
    name: String,
    kind: Kind,
    message: String,
}

fn cases(result: &RunResult) -> Vec<Case> {
    let mut cases: Vec<Case> = [("limit", &result.limits), ("validity", &result.validity)]
        .into_iter()
        .flat_map(|(class, list)| list.iter().map(move |limit| case(class, limit)))
        .collect();
    let broken = cases.iter().any(|case| matches!(case.kind, Kind::Failure | Kind::Error));
    if result.verdict == Verdict::Invalid && !broken {
        let message = result.reasons.join("; ");
        cases.push(Case { class: "run", name: "completed".to_owned(), kind: Kind::Error, message });
    }
    cases
}

fn case(class: &'static str, limit: &Limit) -> Case {
    let kind = match limit.status {
        Status::Pass => Kind::Passed,
        Status::Fail => Kind::Failure,
        Status::Invalid => Kind::Error,
        Status::NotMeasured if limit.required => Kind::Error,
        Status::NotMeasured => Kind::Skipped,
    };
    let message = match limit.measured {
        Some(measured) => {
            format!("{measured} {} must be {} {}", limit.unit, limit.comparison.sign(), limit.limit)
        }
        None => "not measured".to_owned(),
    };
    Case { class, name: format!("{}: {}", limit.id, limit.name), kind, message }
}
