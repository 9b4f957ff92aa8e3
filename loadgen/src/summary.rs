//! The summary that a run prints at its end: the figures, the limits, the verdict.

use reports::result::{Histogram, RunResult, Status};
use std::fmt::Write;

/// The summary as plain text of at most 100 columns.
pub fn text(result: &RunResult) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n{}", result.run.title);
    let s = &result.signalling;
    let _ = writeln!(
        out,
        "  calls      {} placed, {} answered, {} completed, {} failed (+ {} in the fault); peak {} at once",
        s.invites,
        s.answered,
        s.completed,
        s.failed_outside_fault,
        s.failed_in_fault,
        result.capacity.concurrent_peak.unwrap_or(0)
    );
    for (name, delay) in [("set-up", &s.delays.setup), ("ringing", &s.delays.pdd), ("hang-up", &s.delays.sdd)]
    {
        spread(&mut out, name, delay);
    }
    for direction in &result.media.directions {
        let _ = writeln!(
            out,
            "  {:<18} {} packets sent, {} heard, {} lost, {} late, {} out of order, {} twice",
            direction.name,
            direction.sent,
            direction.received,
            direction.lost,
            direction.late,
            direction.reordered,
            direction.duplicated
        );
        spread(&mut out, "  one way", &direction.delay);
    }
    for process in &result.resources.processes {
        let cores = process.cores().unwrap_or(0.0);
        let _ = writeln!(
            out,
            "  {:<12} {:.2} cores, {} MiB at most, {} descriptors at most",
            process.name,
            cores,
            process.rss_peak.unwrap_or(0) >> 20,
            process.fds_peak.unwrap_or(0)
        );
    }
    let _ = writeln!(out);
    for limit in result.limits.iter().chain(&result.validity) {
        let measured = limit.measured.map_or_else(|| "not measured".to_owned(), figure);
        let word = match limit.status {
            Status::Pass => "ok",
            Status::Fail => "FAIL",
            Status::Invalid => "INVALID",
            Status::NotMeasured => "-",
        };
        let _ = writeln!(
            out,
            "  {word:<8} {:<52} {measured:>12} {} {} {}",
            limit.name,
            limit.comparison.sign(),
            figure(limit.limit),
            limit.unit
        );
    }
    let _ = writeln!(out, "\nverdict: {}", result.verdict.word());
    for reason in &result.reasons {
        let _ = writeln!(out, "  {reason}");
    }
    out
}

fn spread(out: &mut String, name: &str, delay: &Histogram) {
    let Some(p) = delay.percentiles() else { return };
    let ms = |ns: u64| ns as f64 / 1e6;
    let _ = writeln!(
        out,
        "  {name:<10} p50 {:.2} ms, p95 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
        ms(p.p50),
        ms(p.p95),
        ms(p.p99),
        ms(p.p999),
        ms(p.max)
    );
}

fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reports::limits::{judge, on};
    use reports::result::{Comparison, Ended};

    #[test]
    fn the_summary_says_what_was_measured_and_why() {
        let mut result = RunResult::default();
        result.run.title = "a run".to_owned();
        result.run.ended = Ended::Completed;
        result.signalling.invites = 5;
        result.signalling.failed_outside_fault = 2;
        result.signalling.delays.setup.record(1_500_000);
        result.limits = vec![
            on("calls-failed-outside-fault", Comparison::AtMost, 0.0, "plan"),
            on("packet-loss", Comparison::AtMost, 0.01, "plan").optional(),
        ];
        judge(&mut result);
        let text = text(&result);
        for part in ["a run", "5 placed", "2 failed", "1.5", "not measured", "FAIL", "verdict: FAIL"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
