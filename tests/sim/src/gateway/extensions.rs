//! Peers that know more than RFC 3261: reliable provisional responses, UPDATE, session timers; short calls and long ones.

use super::{audit, blueprint, compare, conduct, records};
use crate::mix::{Expect, Menu, Mix};
use crate::peer::{Behaviour, Outcome, Peer, Record, Role, Skills, Verdict};
use crate::scene::{Options, Report, Topology, draw_link, draw_pace, outcome};
use crate::town::{Places, Town};
use sansio::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest call of a scene.
const LONGEST: Duration = Duration::from_secs(500);

/// A PRACK takes longer than this only on lines that lose it several times.
const UNHEARD: Duration = Duration::from_secs(8);

/// A mix of calls whose sides know of extensions, each or both or neither; some last several session intervals, in some
/// a side has forgotten that it wanted to refresh.
pub(crate) fn extensions(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6578_7465_6e73);
    let places = Places::draw(&mut random);
    let menu = Menu { calls: 5 + random.below(8), ..Menu::default() };
    let mut mix = Mix::draw(&mut random, &menu, 1, places.gateway());
    let carriers_count = 1 + random.below(3) as usize;
    let mut answers: Vec<BTreeMap<u64, Behaviour>> = vec![BTreeMap::new(); carriers_count];
    let mut forgetful = BTreeSet::new();
    for plan in &mut mix.plans {
        let Some(answer) = mix.answers.get_mut(&plan.serial) else { continue };
        (plan.skills, answer.skills) = (draw(&mut random), draw(&mut random));
        let plain = plan.cancel.is_none() && answer.verdict == Verdict::Answer;
        if plain && random.chance(0.6) {
            // Long enough for several intervals; only the caller hangs up.
            plan.hang_up = Some(Duration::from_secs(100 + random.below(LONGEST.as_secs() - 100)));
            answer.hang_up = None;
            let side = if random.chance(0.5) { &mut plan.skills } else { &mut answer.skills };
            if side.session.is_some() && side.refreshes && random.chance(0.3) {
                side.forgets = true;
                plan.hang_up = Some(Duration::from_secs(3600));
                forgetful.insert(plan.serial);
            }
        }
        if let Some(expect @ Expect::Answered) = mix.expected.get_mut(&plan.serial)
            && plan.skills.reliable
            && answer.hang_up.is_some_and(|talk| talk < UNHEARD)
        {
            // The answer waits for the PRACK of what rang (RFC 3262 §3): who hangs up before was never heard.
            *expect = Expect::Either(480);
        }
        let good = random.below(carriers_count as u64) as usize;
        for (carrier, answers) in answers.iter_mut().enumerate() {
            let mut behaviour = answer.clone();
            if carrier != good && random.chance(0.4) {
                behaviour = Behaviour { skills: draw(&mut random), ..Behaviour::refuse(503) };
                if !plan.late_offer && random.chance(0.5) {
                    // It lets itself be heard before it gives up: the caller's session stands when the next is asked.
                    behaviour.early_media = Some(Duration::from_millis(10));
                    behaviour.after = Duration::from_millis(400);
                }
            }
            answers.insert(plan.serial, behaviour);
        }
    }
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), mix.plans.clone())];
    let carriers = answers.into_iter().enumerate().map(|(index, answers)| {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.answers = answers;
        peer
    });
    let carriers: Vec<Peer> = carriers.collect();
    let mut plan = blueprint(&mut random, places, callers, carriers, menu.within);
    plan.config.session_expires = Duration::from_secs(90 + random.below(400));
    plan.link = draw_link(&mut random);
    plan.pace = draw_pace(&mut random);
    let talks: BTreeMap<u64, Duration> =
        mix.plans.iter().filter_map(|plan| Some((plan.serial, plan.hang_up?))).collect();
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong: Vec<String> = mix.judge(|serial| outcome(&records, serial)).collect();
        wrong.extend(compare(&records));
        wrong.extend(audit(town, &records));
        wrong.extend(lengths(town, &records, &talks, &forgetful));
        (wrong, records)
    };
    let busy = menu.within + LONGEST;
    conduct(Topology::Extensions, seed, options, &mut random, plan, busy, |_| {}, &BTreeSet::new(), judge)
}

fn draw(random: &mut Random) -> Skills {
    Skills {
        reliable: random.chance(0.6),
        update: random.chance(0.6),
        session: random.chance(0.6).then(|| 90 + random.below(300) as u32),
        refreshes: random.chance(0.5),
        forgets: false,
    }
}

/// Calls last as long as their caller wants, unless a session ran out; and their records say so.
fn lengths(
    town: &Town,
    records: &[Record],
    talks: &BTreeMap<u64, Duration>,
    forgetful: &BTreeSet<u64>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let expired: BTreeSet<u64> = town
        .cdrs()
        .into_iter()
        .filter(|(_, cdr)| cdr.end.cause.starts_with("session expired"))
        .map(|(serial, _)| serial)
        .collect();
    for record in records.iter().filter(|r| r.role == Role::Caller && r.outcome == Outcome::Answered) {
        let (Some(talk), Some(answered), Some(ended)) =
            (talks.get(&record.serial), record.answered, record.ended)
        else {
            continue;
        };
        let (lasted, serial) = (ended.since(answered), record.serial);
        if forgetful.contains(&serial) {
            // Granted as asked, the session runs out; where the other side took over the refresh, it does not.
            if !record.byes.0 && !expired.contains(&serial) {
                wrong.push(format!("call {serial} ended after {lasted:?}, and not for its session"));
            }
        } else if expired.contains(&serial) || (*talk > Duration::from_secs(90) && lasted < *talk) {
            wrong.push(format!("call {serial} lasted {lasted:?} of {talk:?}: {record:?}"));
        }
    }
    wrong
}
