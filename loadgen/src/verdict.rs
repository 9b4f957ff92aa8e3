//! From what was measured to the recorded result: signalling, media, limits, and whether the measurement counts.

use crate::gather::{Gather, Side};
use crate::mark::CallName;
use crate::measure::{CallRecord, Outcome, VoicePart};
use crate::plan::{Limits, Validity};
use reports::limits::on;
use reports::result::{Comparison, Delays, Direction, Histogram, Limit, Media, Signalling, Unit};
use std::collections::{BTreeMap, HashMap};

/// Who asks for a limit that a plan states.
const PLAN: &str = "plan";
/// Who asks for a validity check.
const OWN: &str = "generator";

/// The limits of a plan, to be judged; `rtp` says whether voice was part of it.
pub fn limits(limits: &Limits, rtp: bool) -> Vec<Limit> {
    use Comparison::AtMost;
    let mut list = vec![on("calls-failed-outside-fault", AtMost, limits.failed_calls as f64, PLAN)];
    if let Some(ms) = limits.setup_p99_ms {
        list.push(on("setup-p99", AtMost, ms, PLAN));
    }
    if rtp {
        list.push(on("packet-loss", AtMost, limits.loss_percent.0, PLAN));
        if let Some(ms) = limits.delay_p99_ms {
            list.push(on("delay-p99", AtMost, ms, PLAN));
        }
        list.push(on("one-way-audio", AtMost, limits.one_way_calls as f64, PLAN));
        list.push(on("no-audio", AtMost, 0.0, PLAN));
        list.push(on("cross-talk", AtMost, limits.crosstalk_packets as f64, PLAN));
    }
    list
}

/// The limit on the share of calls with a good MOS.
pub fn mos_limit(limits: &Limits, media: &Media) -> Limit {
    let share = media.mos.share_at_least((limits.mos * 1000.0).round() as u64);
    let name = format!("Calls with MOS {} or better", limits.mos);
    Limit::new("mos-share", &name, Comparison::AtLeast, limits.mos_share_percent.0, "%", PLAN)
        .measured(share.map(|share| share * 100.0))
}

/// What the generator found out about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// 99.9th percentile of the send-time error, both sides, ms.
    pub send_error_p999_ms: Option<f64>,
    /// 99th percentile of the lateness in placing calls, ms.
    pub start_error_p99_ms: Option<f64>,
    /// Busiest thread, percent of a core.
    pub busiest_percent: Option<f64>,
    /// Datagrams dropped at the generator's sockets.
    pub drops: u64,
    /// Datagrams it could not send.
    pub unsent: u64,
    /// Packets it was too late to send.
    pub skipped: u64,
    /// Arrivals it did not place.
    pub not_placed: u64,
    /// Distance of the arrivals from Poisson's law, if that was the plan.
    pub arrival_distance: Option<f64>,
    /// Packets that were not ours, or damaged.
    pub records_dropped: u64,
}

impl Health {
    /// What both sides say.
    pub fn of(gather: &Gather, arrival_distance: Option<f64>) -> Self {
        let (callers, carriers) = (&gather.callers.total, &gather.carriers.total);
        let mut send_error = callers.voice.send_error.clone();
        send_error.merge(&carriers.voice.send_error);
        let busiest = [gather.callers.busiest_percent(), gather.carriers.busiest_percent()];
        Self {
            send_error_p999_ms: crate::gather::milliseconds(&send_error, 0.999),
            start_error_p99_ms: crate::gather::milliseconds(&callers.start_error, 0.99),
            busiest_percent: busiest.into_iter().flatten().reduce(f64::max),
            drops: callers.drops + carriers.drops,
            unsent: callers.unsent + carriers.unsent,
            skipped: callers.voice.skipped + carriers.voice.skipped,
            not_placed: callers.limiter_hits
                + callers.ports_missing
                + carriers.limiter_hits
                + carriers.ports_missing,
            arrival_distance,
            records_dropped: callers.records_dropped + carriers.records_dropped,
        }
    }
}

/// The checks that make a run count; `rtp` says whether voice was part of it.
pub fn validity(plan: &Validity, health: &Health, rtp: bool) -> Vec<Limit> {
    let check = |id: &str, name: &str, limit: f64, unit: &str, measured: Option<f64>| {
        Limit::new(id, name, Comparison::AtMost, limit, unit, OWN).measured(measured)
    };
    let mut list = vec![
        check(
            "arrivals-missed",
            "Planned calls that the generator did not place",
            0.0,
            "calls",
            Some(health.not_placed as f64),
        ),
        check(
            "start-error",
            "Call placed later than due, 99th percentile",
            plan.start_error_p99_ms,
            "ms",
            health.start_error_p99_ms,
        ),
        check(
            "generator-thread",
            "Busiest thread of the generator",
            plan.thread_percent.0,
            "%",
            health.busiest_percent,
        ),
        check(
            "generator-drops",
            "Datagrams dropped at the generator's sockets",
            plan.socket_drops as f64,
            "packets",
            Some(health.drops as f64),
        ),
        check(
            "generator-unsent",
            "Datagrams that the generator could not send",
            0.0,
            "packets",
            Some(health.unsent as f64),
        ),
        check(
            "records-dropped",
            "Call records beyond the generator's bound",
            0.0,
            "calls",
            Some(health.records_dropped as f64),
        ),
    ];
    if rtp {
        list.push(check(
            "send-error",
            "Packet sent later than due, 99.9th percentile",
            plan.send_error_p999_ms,
            "ms",
            health.send_error_p999_ms,
        ));
        list.push(check(
            "packets-skipped",
            "Packets that the generator was too late to send",
            0.0,
            "packets",
            Some(health.skipped as f64),
        ));
    }
    if let Some(distance) = health.arrival_distance {
        let name = "Arrivals against Poisson's law (Kolmogorov-Smirnov distance × √n)";
        list.push(check("arrival-law", name, 1.63, "1", Some(distance)));
    }
    list
}

/// Sessions and delays, as the callers saw them. `in_fault` says whether a call that failed belongs to a fault.
pub fn signalling(callers: &Side, in_fault: impl Fn(&CallRecord) -> bool) -> Signalling {
    let total = &callers.total;
    let (mut outside, mut inside) = (0, 0);
    for record in total.records.iter().filter(|record| record.judged && record.outcome.failed()) {
        if in_fault(record) { inside += 1 } else { outside += 1 }
    }
    Signalling {
        invites: total.invites,
        finals: total.finals.clone(),
        answered: total.answered,
        completed: total.completed,
        failed_outside_fault: outside,
        failed_in_fault: inside,
        responses: total.responses.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
        retransmissions: Some(total.retransmissions),
        timer_b: None,
        timer_f: None,
        timer_h: None,
        unexpected: Some(total.unexpected),
        delays: Delays {
            srd: total.srd.clone(),
            srd_failed: total.srd_failed.clone(),
            setup: total.setup.clone(),
            pdd: total.pdd.clone(),
            sdd: total.sdd.clone(),
            sdt: total.sdt.clone(),
            ..Delays::default()
        },
        ..Signalling::default()
    }
}

/// One call seen from both ends.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    /// The caller's record.
    pub caller: &'a CallRecord,
    /// The carrier's, if it is known.
    pub carrier: Option<&'a CallRecord>,
}

/// The callers' records with those of the carriers, joined by the names that the marks carried.
pub fn join<'a>(callers: &'a Side, carriers: &'a Side) -> Vec<Joined<'a>> {
    let mut by_name: HashMap<CallName, &CallRecord> = HashMap::new();
    let mut by_peer: HashMap<CallName, &CallRecord> = HashMap::new();
    for record in &carriers.total.records {
        by_name.insert(record.call, record);
        if record.peer != CallName::NOBODY {
            by_peer.insert(record.peer, record);
        }
    }
    let other =
        |record: &CallRecord| by_name.get(&record.peer).or_else(|| by_peer.get(&record.call)).copied();
    callers.total.records.iter().map(|caller| Joined { caller, carrier: other(caller) }).collect()
}

/// Voice in both directions. `excused` says of which calls the silence is a fault's, not the target's.
pub fn media(gather: &Gather, joined: &[Joined<'_>], excused: impl Fn(&CallRecord) -> bool) -> Media {
    let (callers, carriers) = (&gather.callers.total.voice, &gather.carriers.total.voice);
    let known_carriers = carriers.heard + carriers.sent > 0;
    let mut directions = Vec::new();
    let mut ends = [Ends::default(); 2];
    for call in joined {
        let excused = excused(call.caller);
        ends[0].add(call.caller, call.carrier, excused);
        if let Some(carrier) = call.carrier {
            ends[1].add(carrier, Some(call.caller), excused);
        }
    }
    if known_carriers {
        directions.push(direction("caller-to-callee", callers, carriers, &ends[0], &ends[1]));
    }
    if callers.heard + callers.sent > 0 {
        let sender = if known_carriers { carriers } else { callers };
        directions.push(direction("callee-to-caller", sender, callers, &ends[1], &ends[0]));
        if !known_carriers && let Some(back) = directions.last_mut() {
            // A foreign callee sends what we hear; there is no other account.
            back.sent = back.received + back.lost;
        }
    }
    let mut out = Media {
        directions,
        mos: Histogram::new(Unit::MilliMos),
        call_loss: Histogram::new(Unit::PartsPerMillion),
        clock_error_ns: Some(0),
        model: Some("G.711 without concealment: Ie 0, Bpl 4.3; playout 60 ms".to_owned()),
        ..Media::default()
    };
    out.first_audio.merge(&callers.first_audio);
    out.first_audio.merge(&carriers.first_audio);
    let (mut one_way, mut none, mut crosstalk) = (0, 0, 0);
    for call in joined {
        let (Some(caller), carrier) = (call.caller.voice, call.carrier.and_then(|record| record.voice))
        else {
            continue;
        };
        if !call.caller.judged || call.caller.outcome == Outcome::Unusable {
            continue;
        }
        out.calls += 1;
        crosstalk += u64::from(caller.crosstalk + carrier.map_or(0, |voice| voice.crosstalk) > 0);
        // A call shorter than a few packet times need not have been heard.
        let talked = call.caller.ended.saturating_sub(call.caller.answered) > 200_000_000;
        if talked && !excused(call.caller) {
            match (caller.heard == 0, carrier.map(|voice| voice.heard == 0)) {
                (true, Some(true)) => none += 1,
                (true, None) if known_carriers => none += 1,
                (true, _) | (false, Some(true)) => one_way += 1,
                (false, _) => {}
            }
        }
        let worse = [Some(caller), carrier].into_iter().flatten().filter(|voice| voice.heard > 0);
        if let Some(mos) = worse
            .clone()
            .map(|voice| if excused(call.caller) { voice.mos } else { voice.mos_with_tail })
            .min()
        {
            out.mos.record(u64::from(mos));
        } else if !excused(call.caller) && talked {
            out.mos.record(1000);
        }
        let (lost, heard) = worse.fold((0, 0), |sum, voice| (sum.0 + voice.lost, sum.1 + voice.heard));
        if heard > 0 {
            out.call_loss.record(lost * 1_000_000 / (lost + heard));
        }
    }
    if out.calls > 0 {
        out.one_way_audio = Some(one_way);
        out.no_audio = Some(none);
        out.cross_talk_calls = Some(crosstalk);
    }
    out
}

/// What the ends of calls add to the account of a side.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// Packets missing before a planned end.
    tail: u64,
    /// Packets sent to a peer that had died.
    into_silence: u64,
}

impl Ends {
    fn add(&mut self, own: &CallRecord, peer: Option<&CallRecord>, excused: bool) {
        let Some(voice) = own.voice else { return };
        // A call of a few packets may end before the first one crossed.
        if own.outcome == Outcome::Completed
            && !excused
            && own.ended.saturating_sub(own.answered) > 200_000_000
        {
            self.tail += voice.tail;
        }
        let peer_ended_well = peer.is_some_and(|peer| peer.outcome == Outcome::Completed);
        if excused || own.outcome != Outcome::Completed && !peer_ended_well {
            self.into_silence += voice.into_silence;
        }
    }
}

fn direction(
    name: &str,
    sender: &VoicePart,
    receiver: &VoicePart,
    at_sender: &Ends,
    at_receiver: &Ends,
) -> Direction {
    let lost = u64::try_from(receiver.lost).unwrap_or(0) + at_receiver.tail;
    Direction {
        name: name.to_owned(),
        streams: sender.streams,
        // A sender that was killed took its last second's count with it: then what was heard is known better.
        sent: sender.sent.max(receiver.heard + lost + at_sender.into_silence),
        received: receiver.heard,
        lost,
        duplicated: receiver.duplicates,
        reordered: receiver.reordered,
        late: receiver.discards,
        unreadable: Some(receiver.corrupt + receiver.foreign),
        cross_talk: receiver.crosstalk,
        lost_to_fault: at_sender.into_silence,
        delay: receiver.delay.clone(),
        jitter: receiver.jitter.clone(),
        gap: receiver.gap.clone(),
    }
}

/// How calls ended that did not end as planned, by word.
pub fn causes(records: &[CallRecord]) -> BTreeMap<String, u64> {
    let mut causes = BTreeMap::new();
    for record in records.iter().filter(|record| record.outcome.failed()) {
        *causes.entry(record.outcome.word()).or_insert(0) += 1;
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Part, VoiceRecord};
    use reports::limits::judge;
    use reports::result::{Ended, RunResult, Verdict};

    fn record(call: u64, peer: u64, outcome: Outcome, heard: u64, mos: u32) -> CallRecord {
        CallRecord {
            call: CallName(call),
            peer: CallName(peer),
            due: 1,
            answered: 1_000_000_000,
            ended: 9_000_000_000,
            outcome,
            reason: String::new(),
            judged: true,
            voice: Some(VoiceRecord { heard, mos, mos_with_tail: mos, sent: 400, ..VoiceRecord::default() }),
        }
    }

    fn gathered(callers: Vec<CallRecord>, carriers: Vec<CallRecord>) -> Gather {
        let mut gather = Gather::default();
        let side = |records: Vec<CallRecord>| {
            let mut part = Part { invites: 2, to: 1_000_000_000, ..Part::default() };
            for record in records {
                part.voice.heard += record.voice.map_or(0, |voice| voice.heard);
                part.voice.sent += 400;
                part.voice.send_error.record(100_000);
                part.start_error.record(50_000);
                part.ended(record);
            }
            part
        };
        gather.callers.take(0, &side(callers));
        gather.carriers.take(0, &side(carriers));
        gather
    }

    fn judged(gather: &Gather, plan: &Limits) -> RunResult {
        let joined = join(&gather.callers, &gather.carriers);
        let media = media(gather, &joined, |_| false);
        let mut result = RunResult {
            limits: limits(plan, true),
            validity: validity(&Validity::default(), &Health::of(gather, None), true),
            signalling: signalling(&gather.callers, |_| false),
            ..RunResult::default()
        };
        result.limits.push(mos_limit(plan, &media));
        result.media = media;
        result.run.ended = Ended::Completed;
        judge(&mut result);
        result
    }

    #[test]
    fn a_clean_run_passes_and_the_worse_direction_counts() {
        let gather = gathered(
            vec![
                record(1, 101, Outcome::Completed, 400, 4390),
                record(2, 102, Outcome::Completed, 400, 4390),
            ],
            vec![
                record(101, 1, Outcome::Completed, 400, 4390),
                record(102, 2, Outcome::Completed, 400, 4310),
            ],
        );
        let result = judged(&gather, &Limits::default());
        assert_eq!(result.verdict, Verdict::Pass, "{:?}", result.reasons);
        assert_eq!(result.media.mos.min(), Some(4310));
        assert_eq!(result.media.calls, 2);
    }

    #[test]
    fn failures_and_silent_directions_fail_it() {
        let gather = gathered(
            vec![record(1, 0, Outcome::Completed, 0, 0), record(2, 102, Outcome::EndedByPeer, 400, 4390)],
            vec![record(101, 1, Outcome::Completed, 400, 4390)],
        );
        let result = judged(&gather, &Limits::default());
        assert_eq!(result.verdict, Verdict::Fail);
        assert_eq!(result.media.one_way_audio, Some(1), "found by the name that the carrier heard");
        assert_eq!(result.signalling.failed_outside_fault, 1);
        assert!(result.reasons.iter().any(|reason| reason.contains("one-way-audio")));
    }

    #[test]
    fn a_generator_that_was_late_or_full_makes_it_invalid() {
        let mut gather = gathered(vec![record(1, 101, Outcome::Completed, 400, 4390)], vec![]);
        let mut late = Part { to: 2_000_000_000, limiter_hits: 3, ..Part::default() };
        for _ in 0..10 {
            late.voice.send_error.record(30_000_000);
        }
        gather.callers.take(0, &late);
        let result = judged(&gather, &Limits::default());
        assert_eq!(result.verdict, Verdict::Invalid);
        let reasons = result.reasons.join("\n");
        assert!(reasons.contains("send-error") && reasons.contains("arrivals-missed"), "{reasons}");
    }
}
