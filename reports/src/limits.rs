//! Judges a result: fills the measured values of its limits and derives the verdict and its reasons.

use crate::metric;
use crate::result::{Comparison, Ended, Limit, RunResult, Status, Verdict};

/// A limit on a metric of the catalogue, with the catalogue's name and unit.
///
/// An `id` outside the catalogue gives a limit named by its id whose measured value the caller must set.
#[must_use]
pub fn on(id: &str, comparison: Comparison, limit: f64, source: &str) -> Limit {
    let (name, unit) = metric::find(id).map_or((id, "1"), |metric| (metric.name, metric.unit));
    Limit::new(id, name, comparison, limit, unit, source)
}

/// Computes the RFC 6076 registers, the measured value of every limit in the catalogue, each limit's status, the
/// verdict and its reasons. Idempotent; everything follows from the rest of the result.
pub fn judge(result: &mut RunResult) {
    result.signalling.registers = result.signalling.compute_registers();
    let (mut limits, mut validity) =
        (std::mem::take(&mut result.limits), std::mem::take(&mut result.validity));
    for limit in limits.iter_mut().chain(&mut validity) {
        if let Some(metric) = metric::find(&limit.id) {
            limit.measured = (metric.value)(result);
        }
        limit.measured = limit.measured.filter(|value| value.is_finite());
    }
    for (list, broken) in [(&mut limits, Status::Fail), (&mut validity, Status::Invalid)] {
        for limit in list {
            limit.status = match limit.holds() {
                Some(true) => Status::Pass,
                Some(false) => broken,
                None => Status::NotMeasured,
            };
        }
    }
    result.limits = limits;
    result.validity = validity;
    (result.verdict, result.reasons) = verdict(result);
}

/// The verdict and its reasons from the judged limits and the way the run ended.
fn verdict(result: &RunResult) -> (Verdict, Vec<String>) {
    let mut invalid = Vec::new();
    match result.run.ended {
        Ended::Completed => {}
        Ended::Interrupted => {
            invalid.push(format!(
                "interrupted: stopped after {:.0} s, before the plan was done",
                result.run.duration_s
            ));
        }
        Ended::Aborted => {
            invalid
                .push(format!("aborted: {}", result.run.abort.as_deref().unwrap_or("no reason was given")));
        }
    }
    for check in &result.validity {
        match check.status {
            Status::Invalid | Status::Fail => {
                invalid.push(format!("validity {}: {}", check.id, shortfall(check)))
            }
            Status::NotMeasured if check.required => {
                invalid.push(format!("validity {}: not measured", check.id));
            }
            Status::Pass | Status::NotMeasured => {}
        }
    }
    let mut failed = Vec::new();
    for limit in &result.limits {
        match limit.status {
            Status::Fail | Status::Invalid => {
                failed.push(format!("limit {}: {}", limit.id, shortfall(limit)))
            }
            Status::NotMeasured if limit.required => {
                invalid.push(format!("limit {}: not measured", limit.id))
            }
            Status::Pass | Status::NotMeasured => {}
        }
    }
    if result.limits.is_empty() {
        invalid.push("no-limits: the plan claims nothing, so nothing can pass".to_owned());
    }
    let verdict = match (invalid.is_empty(), failed.is_empty()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Fail,
        (true, true) => Verdict::Pass,
    };
    invalid.append(&mut failed);
    (verdict, invalid)
}

fn shortfall(limit: &Limit) -> String {
    let measured = limit.measured.unwrap_or(f64::NAN);
    format!(
        "{} is {} {}, must be {} {}",
        limit.name,
        measured,
        limit.unit,
        limit.comparison.sign(),
        limit.limit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(limits: Vec<Limit>, validity: Vec<Limit>) -> RunResult {
        let mut result = RunResult { limits, validity, ..RunResult::default() };
        result.run.ended = Ended::Completed;
        result
    }

    fn known(measured: f64) -> Limit {
        on("own", Comparison::AtMost, 1.0, "test").measured(Some(measured))
    }

    #[test]
    fn the_verdict_follows_from_limits_validity_and_ending() {
        let mut pass = completed(vec![known(1.0)], vec![known(0.0)]);
        judge(&mut pass);
        assert_eq!((pass.verdict, pass.reasons.len()), (Verdict::Pass, 0));

        let mut fail = completed(vec![known(2.0)], vec![known(0.0)]);
        judge(&mut fail);
        assert_eq!(fail.verdict, Verdict::Fail);
        assert_eq!(fail.limits[0].status, Status::Fail);
        assert!(fail.reasons[0].starts_with("limit own: "), "{:?}", fail.reasons);

        let mut invalid = completed(vec![known(2.0)], vec![known(2.0)]);
        judge(&mut invalid);
        assert_eq!(invalid.verdict, Verdict::Invalid, "a broken check outweighs a broken limit");
        assert_eq!(invalid.validity[0].status, Status::Invalid);
        assert_eq!(invalid.reasons.len(), 2);

        let mut stopped = completed(vec![known(0.0)], vec![]);
        stopped.run.ended = Ended::Interrupted;
        judge(&mut stopped);
        assert_eq!(stopped.verdict, Verdict::Invalid);
        assert!(stopped.reasons[0].starts_with("interrupted"));
    }

    #[test]
    fn what_was_not_measured_never_passes() {
        let mut unmeasured = completed(vec![on("mos-p1", Comparison::AtLeast, 4.3, "test")], vec![]);
        judge(&mut unmeasured);
        assert_eq!(unmeasured.verdict, Verdict::Invalid);
        assert_eq!(unmeasured.limits[0].status, Status::NotMeasured);

        let mut optional =
            completed(vec![known(0.0), on("mos-p1", Comparison::AtLeast, 4.3, "test").optional()], vec![]);
        judge(&mut optional);
        assert_eq!(optional.verdict, Verdict::Pass);

        let mut nothing = completed(vec![], vec![]);
        judge(&mut nothing);
        assert_eq!(nothing.verdict, Verdict::Invalid);
    }

    #[test]
    fn a_claimed_value_of_a_known_metric_is_replaced_by_the_recorded_one() {
        let mut lie =
            completed(vec![on("ser", Comparison::AtLeast, 99.0, "test").measured(Some(100.0))], vec![]);
        lie.signalling.invites = 2;
        lie.signalling.finals.insert("200".to_owned(), 1);
        judge(&mut lie);
        assert_eq!(lie.limits[0].measured, Some(50.0));
        assert_eq!(lie.verdict, Verdict::Fail);
    }

    #[test]
    fn judging_twice_changes_nothing() {
        let mut once = completed(vec![known(2.0)], vec![known(0.5)]);
        judge(&mut once);
        let mut twice = once.clone();
        judge(&mut twice);
        assert_eq!(once, twice);
    }
}
