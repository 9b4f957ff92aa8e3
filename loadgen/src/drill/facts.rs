//! What the fault did, worked out afterwards from the records of callers, carriers and gateway.

use super::gateway::Cdr;
use super::schedule::MEDIA_TIMEOUT;
use crate::mark::CallName;
use crate::measure::{CallRecord, Outcome};
use crate::verdict::Joined;
use core::time::Duration;
use reports::result::{CallsAtFault, CountAgreement, FailBack, Fault, FaultWindow, Histogram, Moments, Unit};
use sansio::Time;
use std::collections::HashMap;

/// New calls that are due within this after the kill are those in the fault window.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// A dead call may end so much later than the media timeout: the gateway looks once a second.
pub(crate) const SLACK: Duration = Duration::from_millis(1500);
/// So many successes in a row count as service restored.
const IN_A_ROW: usize = 10;
/// A gap in the voice of an unrelated call from which on it was harmed.
const HARM: u64 = 500_000_000;

/// Everything known when the drill is over.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    /// The callers' records, with the carriers' where known.
    pub(crate) calls: &'a [Joined<'a>],
    /// The gateway's records.
    pub(crate) cdrs: &'a HashMap<CallName, Cdr>,
    /// The trunk whose carrier was killed, and the number of that carrier's farm.
    pub(crate) trunk: &'a str,
    pub(crate) dead_farm: u32,
    /// The farm of the carrier that came back in its place.
    pub(crate) new_farm: Option<u32>,
    /// The run's start, the kill and the return.
    pub(crate) start: Time,
    pub(crate) t0: Time,
    pub(crate) returned: Option<Time>,
}

/// A call's relation to the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// It talked to the dead carrier.
    Bound,
    /// It was being set up.
    Early,
    /// It talked to another carrier.
    Unrelated,
    /// It was due within the window after the kill.
    New,
    /// It was over before, or came later.
    Elsewhen,
}

impl Evidence<'_> {
    /// How a call stood at the instant of the kill.
    pub(crate) fn relation(&self, record: &CallRecord) -> Relation {
        let t0 = self.t0.as_nanos();
        if record.ended <= t0 {
            return Relation::Elsewhen;
        }
        if record.due > t0 {
            let within = record.due <= (self.t0 + WINDOW).as_nanos();
            return if within { Relation::New } else { Relation::Elsewhen };
        }
        if record.answered == 0 || record.answered > t0 {
            return Relation::Early;
        }
        let bound = match record.peer {
            CallName::NOBODY => self.cdrs.get(&record.call).is_some_and(|cdr| cdr.trunk == self.trunk),
            peer => peer.farm() == self.dead_farm,
        };
        if bound { Relation::Bound } else { Relation::Unrelated }
    }

    /// Whether a failed call is the fault's.
    pub(crate) fn in_fault(&self, record: &CallRecord) -> bool {
        matches!(self.relation(record), Relation::Bound | Relation::Early | Relation::New)
    }

    fn after_t0(&self, nanos: u64) -> f64 {
        nanos.saturating_sub(self.t0.as_nanos()) as f64 / 1e9
    }

    fn run_seconds(&self, at: Time) -> f64 {
        at.since(self.start).as_secs_f64()
    }

    /// The whole account. `detected` and `back` are seconds after the start at which the gateway's view of the
    /// trunk changed; `left` calls were still counted at the end.
    pub(crate) fn fault(
        &self,
        detected: Option<f64>,
        back: Option<f64>,
        left: u64,
        t0_error: Duration,
    ) -> Fault {
        let t0_s = self.run_seconds(self.t0);
        let mut fault = Fault {
            kind: "carrier-killed".to_owned(),
            target: self.trunk.to_owned(),
            t0_s,
            t0_error_ms: Some(t0_error.as_secs_f64() * 1e3),
            media_timeout_s: Some(MEDIA_TIMEOUT.as_secs_f64()),
            media_gap: Histogram::new(Unit::Nanoseconds),
            zombie_legs: Some(left),
            trials: Some(1),
            ..Fault::default()
        };
        fault.calls = vec![self.established(&mut fault), self.early()];
        fault.window = self.window();
        fault.moments = self.moments(detected.map(|at| at - t0_s));
        self.records(&mut fault);
        fault.signalling_outage_s = self.outage();
        fault.fail_back = self.returned.map(|returned| self.fail_back(returned, back));
        fault
    }

    fn established(&self, fault: &mut Fault) -> CallsAtFault {
        let mut calls = CallsAtFault { state: "established".to_owned(), ..CallsAtFault::default() };
        let limit = (self.t0 + MEDIA_TIMEOUT + SLACK).as_nanos();
        let mut phantom = 0.0;
        for Joined { caller, .. } in self.calls {
            match self.relation(caller) {
                Relation::Bound => {
                    calls.bound += 1;
                    let cdr = self.cdrs.get(&caller.call);
                    if caller.ended > limit {
                        calls.stuck += 1;
                    } else if caller.outcome == Outcome::Completed || cdr.is_some_and(says_why) {
                        calls.ended_with_cause += 1;
                    }
                    if let Some(cdr) = cdr {
                        *fault.cdr_causes.entry(cdr.cause.clone()).or_insert(0) += 1;
                        let talked = self.t0.as_nanos().saturating_sub(caller.answered) as f64 / 1e9;
                        phantom += (cdr.talk_s - talked).max(0.0);
                    }
                }
                Relation::Unrelated => {
                    calls.others += 1;
                    let gap = caller.voice.map_or(0, |voice| voice.gap);
                    calls.others_harmed += u64::from(caller.outcome.failed() || gap > HARM);
                    fault.media_gap.record(gap.saturating_sub(20_000_000));
                }
                _ => {}
            }
        }
        fault.phantom_billed_s = Some((phantom * 1000.0).round() / 1000.0);
        calls
    }

    fn early(&self) -> CallsAtFault {
        let mut calls = CallsAtFault { state: "early".to_owned(), ..CallsAtFault::default() };
        for Joined { caller, .. } in
            self.calls.iter().filter(|call| self.relation(call.caller) == Relation::Early)
        {
            if caller.answered > 0 && !caller.outcome.failed() && caller.peer.farm() != self.dead_farm {
                // Answered by another carrier, whether it had been there from the start or not.
                calls.others += 1;
                continue;
            }
            calls.bound += 1;
            if caller.outcome.failed() && self.cdrs.get(&caller.call).is_some_and(says_why) {
                calls.ended_with_cause += 1;
            } else if caller.answered > 0 && !caller.outcome.failed() {
                calls.kept += 1;
            } else {
                calls.stuck += 1;
            }
        }
        calls
    }

    fn window(&self) -> FaultWindow {
        let mut window = FaultWindow {
            start_s: self.run_seconds(self.t0),
            end_s: self.run_seconds(self.t0 + WINDOW),
            setup: Histogram::new(Unit::Nanoseconds),
            ..FaultWindow::default()
        };
        for Joined { caller, .. } in
            self.calls.iter().filter(|call| self.relation(call.caller) == Relation::New)
        {
            window.attempts += 1;
            if caller.answered > 0 {
                window.answered += 1;
                window.setup.record(caller.answered - caller.due);
            }
            // A call that could not be placed says nothing of the gateway; one that was cut short neither.
            window.failed += u64::from(caller.outcome.failed());
        }
        window
    }

    fn moments(&self, detected: Option<f64>) -> Moments {
        let t0 = self.t0.as_nanos();
        let bound = |record: &&CallRecord| matches!(self.relation(record), Relation::Bound | Relation::Early);
        let records = || self.calls.iter().map(|call| call.caller);
        let hurt = records().filter(bound).filter(|record| record.outcome.failed());
        let mut later: Vec<&CallRecord> = records().filter(|record| record.due > t0).collect();
        later.sort_by_key(|record| record.due);
        let good = |record: &&CallRecord| record.answered > 0 && !record.outcome.failed();
        let takeover = later.iter().copied().filter(good).map(|record| record.answered).min();
        let restored = later.windows(IN_A_ROW).find(|row| row.iter().all(good)).map(|row| row[0].answered);
        Moments {
            first_failure_s: hurt.clone().map(|record| self.after_t0(record.ended)).reduce(f64::min),
            detected_s: detected,
            takeover_s: takeover.map(|at| self.after_t0(at)),
            restored_s: restored.map(|at| self.after_t0(at)),
            last_call_ended_s: records()
                .filter(|record| self.relation(record) == Relation::Bound)
                .map(|record| self.after_t0(record.ended))
                .reduce(f64::max),
        }
    }

    /// Call records of the gateway against those of the callers, over the whole run.
    fn records(&self, fault: &mut Fault) {
        let (mut expected, mut missing) = (0, 0);
        for Joined { caller, .. } in
            self.calls.iter().filter(|call| call.caller.outcome != Outcome::NotPlaced)
        {
            expected += 1;
            let right = self.cdrs.get(&caller.call).is_some_and(|cdr| {
                let killed = caller.outcome == Outcome::EndedByPeer;
                // A 200 that crossed the caller's end of patience may stand in one record only.
                let crossed = matches!(caller.outcome, Outcome::Cancelled | Outcome::CutShort);
                (crossed || cdr.answered == (caller.answered > 0)) && (!killed || says_why(cdr))
            });
            missing += u64::from(!right);
        }
        fault.cdrs_expected = Some(expected);
        fault.cdrs_missing = Some(missing);
    }

    /// From the last answer before the kill to the first one after it of a call that was due after it.
    fn outage(&self) -> Option<f64> {
        let t0 = self.t0.as_nanos();
        let answers = || self.calls.iter().map(|call| call.caller).filter(|record| record.answered > 0);
        let last = answers().map(|record| record.answered).filter(|&at| at <= t0).max()?;
        let first = answers().filter(|record| record.due > t0).map(|record| record.answered).min()?;
        Some(first.saturating_sub(last) as f64 / 1e9)
    }

    fn fail_back(&self, returned: Time, back: Option<f64>) -> FailBack {
        let at = returned.as_nanos();
        let later = || self.calls.iter().map(|call| call.caller).filter(|record| record.due > at);
        let first = later()
            .filter(|record| record.answered > 0 && Some(record.peer.farm()) == self.new_farm)
            .map(|record| record.answered)
            .min();
        let returned_s = self.run_seconds(returned);
        FailBack {
            returned_s,
            detected_s: back.map(|back| back - returned_s),
            first_call_s: first.map(|first| first.saturating_sub(at) as f64 / 1e9),
            failed: Some(later().filter(|record| record.outcome.failed()).count() as u64),
        }
    }

    /// Calls up at quiet instants, one about every `every`, counted from the records of all three sides.
    /// `monotonic` turns the gateway's wall-clock nanoseconds into the callers' clock.
    pub(crate) fn agreement(&self, every: Duration, monotonic: impl Fn(u64) -> Time) -> Vec<CountAgreement> {
        let mut edges: Vec<u64> = self
            .calls
            .iter()
            .flat_map(|call| [call.caller.answered, call.caller.ended])
            .filter(|&at| at > 0)
            .collect();
        edges.sort_unstable();
        let Some(&end) = edges.last() else { return Vec::new() };
        let spans: Vec<(u64, u64)> = self
            .cdrs
            .values()
            .filter(|cdr| cdr.answered_at > 0)
            .map(|cdr| (monotonic(cdr.answered_at).as_nanos(), monotonic(cdr.ended_at).as_nanos()))
            .collect();
        let mut counts = Vec::new();
        let mut around = self.start + every;
        while around.as_nanos() < end {
            if let Some(at) = quiet_instant(&edges, around) {
                let up = |answered: u64, ended: u64| answered > 0 && answered <= at && at < ended;
                let callers: Vec<&Joined<'_>> =
                    self.calls.iter().filter(|call| up(call.caller.answered, call.caller.ended)).collect();
                let all_known = callers.iter().all(|call| call.carrier.is_some());
                let carriers = self.calls.iter().filter_map(|call| call.carrier);
                counts.push(CountAgreement {
                    t: self.run_seconds(Time::from_nanos(at)),
                    callers: Some(callers.len() as u64),
                    target: Some(
                        spans.iter().filter(|&&(answered, ended)| up(answered, ended)).count() as u64
                    ),
                    carriers: all_known
                        .then(|| carriers.filter(|record| up(record.answered, record.ended)).count() as u64),
                });
            }
            around += every;
        }
        counts
    }
}

/// Whether a record gives a reason beyond an ordinary end.
fn says_why(cdr: &Cdr) -> bool {
    !cdr.cause.is_empty() && !cdr.cause.eq_ignore_ascii_case("normal")
}

/// The middle of the longest stretch without an edge within a second of `around`.
fn quiet_instant(edges: &[u64], around: Time) -> Option<u64> {
    let second = Duration::from_secs(1);
    let (from, to) = ((around - second).as_nanos(), (around + second).as_nanos());
    let first = edges.partition_point(|&edge| edge < from);
    let last = edges.partition_point(|&edge| edge <= to);
    let mut best: Option<(u64, u64)> = None;
    let mut before = from;
    for &edge in edges[first..last].iter().chain(core::iter::once(&to)) {
        let gap = edge - before;
        if best.is_none_or(|(widest, _)| gap > widest) {
            best = Some((gap, before + gap / 2));
        }
        before = edge;
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::VoiceRecord;

    const A: u32 = 11;
    const B: u32 = 12;
    const A2: u32 = 13;
    const S: u64 = 1_000_000_000;

    fn call(number: u32, farm: u32, due: u64, answered: u64, ended: u64, outcome: Outcome) -> CallRecord {
        CallRecord {
            call: CallName::new(1, number),
            peer: if answered > 0 { CallName::new(farm, number) } else { CallName::NOBODY },
            due,
            answered,
            ended,
            outcome,
            reason: String::new(),
            judged: true,
            voice: Some(VoiceRecord { gap: 21_000_000, ..VoiceRecord::default() }),
        }
    }

    fn cdr(trunk: &str, record: &CallRecord, cause: &str) -> Cdr {
        Cdr {
            trunk: trunk.to_owned(),
            cause: cause.to_owned(),
            answered: record.answered > 0,
            answered_at: record.answered,
            ended_at: record.ended,
            talk_s: record.ended.saturating_sub(record.answered) as f64 / 1e9,
            ..Cdr::default()
        }
    }

    /// Ten seconds of calls, kill of carrier A at 5 s, return at 20 s.
    fn scene() -> (Vec<CallRecord>, HashMap<CallName, Cdr>) {
        let mut records = vec![
            call(1, A, S, 2 * S, 4 * S, Outcome::Completed),
            call(2, A, S, 2 * S, 10 * S, Outcome::EndedByPeer),
            call(3, A, S, 2 * S, 7 * S, Outcome::Completed),
            call(4, B, S, 2 * S, 30 * S, Outcome::Completed),
            call(5, A, 5 * S - 1, 0, 9 * S, Outcome::Refused(503)),
            call(6, B, 5 * S + 1, 6 * S, 30 * S, Outcome::Completed),
            call(7, A2, 21 * S, 22 * S, 30 * S, Outcome::Completed),
        ];
        for number in 20..40 {
            records.push(call(number, B, 6 * S + u64::from(number), 7 * S, 30 * S, Outcome::Completed));
        }
        let cdrs = records
            .iter()
            .map(|record| {
                let trunk = if record.peer.farm() == B { "b" } else { "a" };
                let cause = match record.outcome {
                    Outcome::EndedByPeer => "media timeout: carrier sent no RTP for 5 s",
                    Outcome::Refused(_) => "503 Service Unavailable",
                    _ => "normal",
                };
                (record.call, cdr(trunk, record, cause))
            })
            .collect();
        (records, cdrs)
    }

    fn evidence<'a>(calls: &'a [Joined<'a>], cdrs: &'a HashMap<CallName, Cdr>) -> Evidence<'a> {
        Evidence {
            calls,
            cdrs,
            trunk: "a",
            dead_farm: A,
            new_farm: Some(A2),
            start: Time::ZERO,
            t0: Time::from_nanos(5 * S),
            returned: Some(Time::from_nanos(20 * S)),
        }
    }

    fn joined(records: &[CallRecord]) -> Vec<Joined<'_>> {
        records.iter().map(|caller| Joined { caller, carrier: None }).collect()
    }

    #[test]
    fn calls_are_sorted_by_how_they_stood() {
        let (records, cdrs) = scene();
        let calls = joined(&records);
        let fault = evidence(&calls, &cdrs).fault(Some(5.4), Some(21.0), 0, Duration::from_micros(30));
        let established = &fault.calls[0];
        assert_eq!((established.bound, established.ended_with_cause, established.stuck), (2, 2, 0));
        assert_eq!((established.others, established.others_harmed), (1, 0));
        assert_eq!((fault.calls[1].bound, fault.calls[1].ended_with_cause), (1, 1));
        assert_eq!((fault.window.attempts, fault.window.answered, fault.window.failed), (21, 21, 0));
        assert!((fault.moments.detected_s.unwrap() - 0.4).abs() < 1e-9);
        assert!((fault.moments.takeover_s.unwrap() - 1.0).abs() < 1e-6);
        assert!((fault.moments.last_call_ended_s.unwrap() - 5.0).abs() < 1e-9);
        assert_eq!((fault.cdrs_expected, fault.cdrs_missing), (Some(27), Some(0)));
        assert!((fault.phantom_billed_s.unwrap() - 7.0).abs() < 1e-9);
        assert!((fault.signalling_outage_s.unwrap() - 4.0).abs() < 1e-6);
        let back = fault.fail_back.unwrap();
        assert!(
            (back.detected_s.unwrap() - 1.0).abs() < 1e-9 && (back.first_call_s.unwrap() - 2.0).abs() < 1e-9
        );
    }

    #[test]
    fn what_is_wrong_is_found() {
        let (mut records, mut cdrs) = scene();
        records[1].ended = 12 * S; // beyond the media timeout
        records[3].outcome = Outcome::EndedByPeer; // an unrelated call was harmed
        records[5].outcome = Outcome::NoAnswer;
        records[5].answered = 0;
        cdrs.remove(&records[0].call);
        let calls = joined(&records);
        let e = evidence(&calls, &cdrs);
        let fault = e.fault(None, None, 2, Duration::ZERO);
        assert_eq!((fault.calls[0].stuck, fault.calls[0].others_harmed), (1, 1));
        assert_eq!(fault.window.failed, 1);
        // One missing, one without a reason, one that says answered and was not.
        assert_eq!((fault.cdrs_missing, fault.zombie_legs), (Some(3), Some(2)));
        assert!(!e.in_fault(&records[3]) && e.in_fault(&records[5]));
    }

    #[test]
    fn counts_agree_at_quiet_instants_and_unknown_ones_are_left_out() {
        let (records, cdrs) = scene();
        let calls: Vec<Joined<'_>> =
            records.iter().map(|caller| Joined { caller, carrier: Some(caller) }).collect();
        let counts = evidence(&calls, &cdrs).agreement(Duration::from_secs(3), Time::from_nanos);
        assert!(counts.len() >= 8);
        assert!(counts.iter().all(|at| at.spread() == Some(0)), "{counts:?}");
        let calls = joined(&records);
        let counts = evidence(&calls, &cdrs).agreement(Duration::from_secs(3), Time::from_nanos);
        assert!(counts.iter().any(|at| at.carriers.is_none() && at.callers.is_some()));
    }
}
