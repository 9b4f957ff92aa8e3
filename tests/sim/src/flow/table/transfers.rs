//! Transfer: blind and attended, within a shard and between two, executed, handed on and refused; legs that are replaced.

use super::*;
use crate::peer::{ReferPlan, Replaced};
use crate::town::Places;
use sansio::Time;
use switch::TransferPolicy;

/// The first call is put through to the number of a second one, that hangs up half a minute later.
fn transfer(s: &mut Stage, refer: ReferPlan) {
    s.call().refer = Some(refer);
    puts_through(s);
}

/// Nobody waits for ever who was not put through.
fn puts_through(s: &mut Stage) {
    s.call().hang_up = Some(ms(90_000));
    s.answer().hang_up = Some(ms(100_000));
    let talks = Behaviour { rtp: None, hang_up: Some(ms(25_000)), ..Behaviour::plain() };
    s.carriers[0].answers.insert(2, talks);
    s.lasts = ms(200_000);
}

fn blind(s: &mut Stage, refer: ReferPlan) {
    transfer(s, refer);
    s.records = 1;
}

fn attended(s: &mut Stage, refer: ReferPlan) {
    transfer(s, refer);
    s.add_call(3000).hang_up = Some(ms(90_000));
}

/// Who asked was told of the end, and who was put through talks with the target until that hangs up.
fn put_through(seen: &Seen<'_>, by: Role, to: Role) -> Option<String> {
    let (Some(referrer), Some(first), Some(second)) =
        (seen.side(1, by), seen.side(1, to), seen.side(2, Role::Carrier))
    else {
        return Some(String::from("a call was not made"));
    };
    let parts = [1, 2].map(|serial| {
        let mut records = seen.recorded(serial);
        records.find_map(|cdr| cdr.transfer.as_ref().map(|transfer| transfer.status))
    });
    demand(referrer.told.last() == Some(&200), || format!("the referrer was told {:?}", referrer.told))
        .or_else(|| demand(second.byes.0, || format!("the target did not talk to the end: {second:?}")))
        .or_else(|| {
            demand(first.byes.1 && first.ended >= second.ended, || format!("who was put through: {first:?}"))
        })
        .or_else(|| demand(parts == [Some(200); 2], || format!("the records say {parts:?}")))
}

/// The target refused: who asked was told, and the call goes on.
fn not_put_through(seen: &Seen<'_>, status: u16) -> Option<String> {
    let Some(referrer) = seen.side(1, Role::Caller) else { return Some(String::from("no call was made")) };
    let talked = referrer.ended.zip(referrer.answered).map(|(end, begin)| end.since(begin));
    demand(referrer.told.last() == Some(&status), || format!("the referrer was told {:?}", referrer.told))
        .or_else(|| demand(talked > Some(ms(18_000)), || format!("the call did not go on: {referrer:?}")))
}

/// A call to a phone that rings is taken at another one.
fn picked_up(s: &mut Stage) {
    s.add_phone(ANN, 120).leave = Some(Time::from_millis(40_000));
    s.calls.clear();
    s.add_call(5000).prefix = "phone";
    // A 180 that is lost would not come again.
    let skills = Skills { reliable: true, ..Skills::NONE };
    s.phone.verdict = Verdict::RingOn;
    (s.call().skills, s.phone.skills) = (skills, skills);
    s.add_call(7000).replaces = Some(Replaced::Ringing(1));
    // Between two shards it is picked up by a call of its own.
    s.records = usize::from(s.shards > 1);
    s.lasts = ms(60_000);
}

/// Whoever answers the first call is asked outside of calls to be called, and put through to the second number.
fn dial(s: &mut Stage, early_media: Option<Duration>) {
    s.call().dials = Some(2);
    s.config.outside.referrals = switch::profile::Referrals::Execute;
    s.call().patience = ms(150_000);
    s.answer().hang_up = Some(ms(100_000));
    let talks = Behaviour { rtp: None, hang_up: Some(ms(25_000)), early_media, ..Behaviour::plain() };
    s.carriers[0].answers.insert(2, talks);
    (s.records, s.lasts) = (1, ms(200_000));
}

/// The second caller joins the first one's call at its far end, which talks with both.
fn joins(s: &mut Stage) {
    s.call().hang_up = Some(ms(20_000));
    let second = s.add_call(4000);
    (second.joins, second.hang_up) = (Some(1), Some(ms(10_000)));
    s.lasts = ms(60_000);
}

/// One INVITE was to join, and each call has a record: both are calls to the same number.
fn joined(seen: &Seen<'_>) -> Option<String> {
    let peers = seen.town.carriers.iter().filter_map(|node| seen.town.peer(*node));
    let joined: u64 = peers.map(|peer| peer.stats().joined).sum();
    let talked = seen.records.iter().filter(|record| record.answered.is_some()).count();
    let recorded = seen.recorded(1).count();
    demand((joined, talked, recorded) == (1, 4, 2), || {
        format!("{joined} INVITEs were to join, {talked} sides talked, {recorded} calls are recorded")
    })
}

pub(super) const FLOWS: &[Flow] = &[
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("blind transfer", "RFC 5589 §6", OK, |s| blind(s, ReferPlan::blind(2)))
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("blind transfer of who is held", "RFC 5589 §6", OK, |s| {
            blind(s, ReferPlan { holds: true, ..ReferPlan::blind(2) });
        })
    },
    Flow {
        check: Some(|seen| not_put_through(seen, 486)),
        ..row("blind transfer to who is busy", "RFC 5589 §6.1", OK, |s| {
            blind(s, ReferPlan::blind(2));
            s.carriers[0].answers.insert(2, Behaviour::refuse(486));
            s.call().hang_up = Some(ms(26_000));
        })
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("blind transfer, then failover", "RFC 5589 §6", OK, |s| {
            blind(s, ReferPlan::blind(2));
            let talks = Behaviour { rtp: None, hang_up: Some(ms(25_000)), ..Behaviour::plain() };
            s.add_carrier(Behaviour::plain()).answers.insert(2, talks);
            s.carriers[0].answers.insert(2, Behaviour::refuse(503));
        })
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Carrier, Role::Caller)),
        ..row("blind transfer by the callee", "RFC 5589 §6", OK, |s| {
            puts_through(s);
            s.answer().refer = Some(ReferPlan::blind(2));
            s.config.allow.extend(Places::V4.network(9));
            s.records = 1;
        })
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("attended transfer", "RFC 5589 §7", OK, |s| attended(s, ReferPlan::attended(2)))
    },
    Flow {
        check: Some(|seen| {
            let tied = seen.town.shards.len() < 2 || seen.town.total(|it| it.transfers_elsewhere) > 0;
            demand(tied, || String::from("both calls were on one shard"))
                .or_else(|| put_through(seen, Role::Caller, Role::Carrier))
        }),
        ..row("attended transfer between shards", "RFC 5589 §7", OK, |s| {
            attended(s, ReferPlan::attended(2));
            s.seed = ACROSS;
            s.records = usize::from(s.shards > 1);
        })
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        others: Some(Expect::Either(487)),
        ..row("attended transfer to who rings", "RFC 5589 §7.6", OK, |s| {
            transfer(s, ReferPlan::attended(2));
            s.add_call(5500).hang_up = Some(ms(90_000));
            let rings = |it: &mut Behaviour| it.after = ms(4000);
            s.carriers[0].answers.get_mut(&2).map(rings);
        })
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("click to dial", "RFC 5359 §2.18", OK, |s| dial(s, None))
    },
    Flow {
        check: Some(|seen| put_through(seen, Role::Caller, Role::Carrier)),
        ..row("click to dial, the target is heard before it answers", "RFC 3960", OK, |s| {
            dial(s, Some(ms(200)));
        })
    },
    Flow { check: Some(joined), ..row("a third party joins", "RFC 5359 §2.11", OK, joins) },
    Flow {
        check: Some(|seen| {
            let asked = seen.town.shards.len() < 2 || seen.town.total(|it| it.transfers_elsewhere) > 0;
            demand(asked, || String::from("both calls were on one shard")).or_else(|| joined(seen))
        }),
        ..row("a third party joins by another shard", "RFC 3911 §4", OK, |s| {
            joins(s);
            s.seed = ACROSS_TO_JOIN;
        })
    },
    Flow {
        check: Some(|seen| {
            let told = seen.side(1, Role::Carrier).map(|record| record.told.clone()).unwrap_or_default();
            demand(told == [100, 200], || format!("the referrer was told {told:?}"))
        }),
        ..row("a REFER is handed on", "RFC 3515 §2.4.4", OK, |s| {
            s.answer().refer = Some(ReferPlan::blind(2));
            s.profile(0, |profile| profile.transfer = TransferPolicy::Pass);
            s.call().hang_up = Some(ms(40_000));
            s.lasts = ms(60_000);
        })
    },
    row("a REFER is refused", "RFC 3515 §2.4.2", OK, |s| {
        s.answer().refer = Some(ReferPlan { comes_to: 603, ..ReferPlan::blind(2) });
        s.profile(0, |profile| profile.transfer = TransferPolicy::Refuse);
        s.call().hang_up = Some(ms(12_000));
    }),
    Flow {
        check: Some(|seen| {
            let made = seen.side(1, Role::Caller).is_some_and(|record| record.byes.1);
            demand(made && seen.town.total(|it| it.replaces_done) == 1, || {
                String::from("no leg was replaced")
            })
        }),
        ..row("a parked call is taken up again", "RFC 3891 §3", OK, |s| {
            s.call().inside = &[(1000, crate::peer::Inside::Hold)];
            s.call().hang_up = Some(ms(60_000));
            s.add_call(6000).replaces = Some(Replaced::Made(1));
            s.lasts = ms(100_000);
        })
    },
    Flow {
        check: Some(|seen| {
            demand(seen.town.total(|it| it.replaces_done) == 1, || String::from("no leg was replaced"))
        }),
        ..row("a call is picked up", "RFC 3891 §3", OK, picked_up)
    },
    Flow {
        others: Some(Expect::Status(481)),
        ..row("a call that is over cannot be taken up", "RFC 3891 §3", OK, |s| {
            s.add_call(8000).replaces = Some(Replaced::Made(1));
        })
    },
];

/// A seed with which the two calls of an attended transfer fall to two shards, where there are two.
const ACROSS: u64 = 1;
/// The same for a call and one that joins it.
const ACROSS_TO_JOIN: u64 = 2;
