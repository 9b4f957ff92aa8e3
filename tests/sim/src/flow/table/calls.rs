//! Setting calls up: answered, refused, cancelled, sent on, tried again elsewhere, verified.

use super::*;
use crate::papers;
use crate::town::Published;
use std::sync::Arc;
use switch::identity::{IdentityConfig, Verify};
use switch::profile::{EarlyDialogs, LateOffers, Redirects};

/// The first carrier sends the call on to the second.
fn redirected(s: &mut Stage, redirects: Redirects) {
    backup(s, Behaviour::refuse(302));
    s.carriers[0].moved_to = Some(1);
    s.profile(0, |profile| profile.redirects = redirects);
}

fn redirections(seen: &Seen<'_>, wanted: usize) -> Option<String> {
    let found = seen.cdrs.iter().flat_map(|cdr| &cdr.attempts).filter(|it| it.redirected.is_some()).count();
    demand(found == wanted, || format!("{found} redirections in the record, not {wanted}"))
}

/// The caller is to be verified; its certificate comes after so many milliseconds, or not at all.
fn verified(s: &mut Stage, verify: Verify, certificate: Option<u64>) {
    let identity = IdentityConfig { verify, roots: papers::roots(), ..IdentityConfig::default() };
    s.config.identity = Arc::new(identity);
    let chain = papers::certificate().map(String::into_bytes).filter(|_| certificate.is_some());
    s.published = Some(Published { chain, after: ms(certificate.unwrap_or(100)) });
    let to = format!("sip:00490000001@{}", s.call().to);
    s.call().fields = papers::identity("sip:4001@10.1.0.1", &to, 1_700_000_000);
}

fn standing(seen: &Seen<'_>, wanted: &str) -> Option<String> {
    let found: Vec<_> = seen.cdrs.iter().filter_map(|cdr| cdr.identity.as_ref()?.verstat.clone()).collect();
    let unfetched = |cdr: &link::Cdr| cdr.end.status == 436;
    let fits = |it: &link::Text| &**it == wanted || seen.cdrs.iter().any(unfetched);
    demand(found.iter().all(fits) && !found.is_empty(), || {
        format!("identities were found to be {found:?}, not {wanted}")
    })
}

pub(super) const FLOWS: &[Flow] = &[
    row("caller hangs up", "RFC 3665 §3.1", OK, |_| {}),
    row("callee hangs up", "RFC 3665 §3.1", OK, |s| {
        s.call().hang_up = None;
        s.answer().hang_up = Some(ms(3000));
    }),
    row("both hang up at once", "RFC 5407 §3.1.2", OK, |s| s.answer().hang_up = Some(ms(3000))),
    row("answered at once", "RFC 3261 §13", OK, |s| {
        *s.answer() = Behaviour { trying: false, ring: None, after: ms(0), rtp: None, ..Behaviour::plain() };
        s.call().hang_up = Some(ms(0));
    }),
    row("early media", "RFC 3960 §3", OK, |s| s.answer().early_media = Some(ms(200))),
    row("control is asked", "-", OK, |s| s.ask = true),
    row("late offer", "RFC 3261 §13.2.1", OK, |s| s.call().late_offer = true),
    row("busy", "RFC 3665 §3.9", Expect::Status(486), |s| *s.answer() = Behaviour::refuse(486)),
    row("declined after ringing", "RFC 3261 §21.6.2", Expect::Status(603), |s| {
        s.answer().verdict = Verdict::Refuse(603);
    }),
    row("cancelled before the carrier speaks", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        (s.answer().trying, s.answer().ring) = (false, Some(ms(3000)));
    }),
    row("cancelled after 100", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().ring = None;
    }),
    row("cancelled after 180", "RFC 3665 §3.8", GONE, |s| ring_on(s, 1000)),
    row("cancelled in early media", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().early_media = Some(ms(200));
    }),
    row("cancelled while a PRACK is out", "RFC 3262 §4", GONE, |s| {
        ring_on(s, 102);
        reliable(s);
    }),
    row("cancelled at once", "RFC 3261 §9.1", GONE, |s| ring_on(s, 0)),
    row("cancelled while control is asked", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 0);
        s.ask = true;
    }),
    row("CANCEL crosses the answer", "RFC 5407 §3.1.2", RACE, |s| s.call().cancel = Some(ms(500))),
    row("answer follows the CANCEL", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().answer_on_cancel = true;
    }),
    row("cancelled on the second carrier", "RFC 3261 §9.1", GONE, |s| {
        backup(s, Behaviour::refuse(503));
        s.carriers[1].answer.verdict = Verdict::RingOn;
        s.call().cancel = Some(ms(2000));
    }),
    row("failover on 503", "RFC 3261 §21.5.4", OK, |s| backup(s, Behaviour::refuse(503))),
    row("failover after early media", "RFC 3261 §21.5.4", OK, |s| {
        let first = Behaviour { early_media: Some(ms(20)), after: ms(300), ..Behaviour::refuse(503) };
        backup(s, first);
    }),
    row("failover on silence", "RFC 3261 §17.1.1.2", OK, |s| backup(s, Behaviour::silent())),
    row("failover on ICMP", "RFC 3261 §18.4", OK, |s| {
        backup(s, Behaviour::plain());
        s.carriers[0].absent = true;
    }),
    row("full trunk, backup", "-", OK, |s| {
        backup(s, Behaviour::plain());
        s.carriers[0].trunk.max_calls = 1;
        s.add_call(1000);
    }),
    Flow {
        others: Some(Expect::Status(503)),
        ..row("full trunk, no backup", "RFC 3261 §21.5.4", OK, |s| {
            s.carriers[0].trunk.max_calls = 1;
            s.call().hang_up = Some(ms(50_000));
            s.add_call(3000);
            s.lasts = ms(80_000);
        })
    },
    Flow {
        check: Some(|seen| redirections(seen, 1)),
        ..row("a redirection is followed", "RFC 3261 §8.1.3.4", OK, |s| redirected(s, Redirects::Follow))
    },
    Flow {
        check: Some(|seen| redirections(seen, 2)),
        ..row("a redirection leads to another", "RFC 3261 §8.1.3.4", OK, |s| {
            redirected(s, Redirects::Follow);
            s.carriers[1].answer = Behaviour { rtp: None, ..Behaviour::refuse(302) };
            s.carriers[1].moved_to = Some(2);
            s.add_carrier(Behaviour::plain());
        })
    },
    Flow {
        check: Some(|seen| redirections(seen, 1)),
        ..row("a redirection is told the caller", "RFC 3261 §21.3.3", Expect::Status(302), |s| {
            redirected(s, Redirects::Relay);
        })
    },
    row("a redirection is refused", "RFC 3261 §21.3", Expect::Status(480), |s| {
        redirected(s, Redirects::Refuse)
    }),
    row("redirections in a circle", "RFC 3261 §8.1.3.4", Expect::Status(480), |s| {
        redirected(s, Redirects::Follow);
        s.carriers[1].answer = Behaviour { rtp: None, ..Behaviour::refuse(302) };
        s.carriers[1].moved_to = Some(0);
    }),
    row("cancelled after a redirection", "RFC 3261 §9.1", GONE, |s| {
        redirected(s, Redirects::Follow);
        s.carriers[1].answer.verdict = Verdict::RingOn;
        s.call().cancel = Some(ms(1500));
    }),
    row("forked behind the carrier", "RFC 3261 §13.2.2.4", OK, |s| s.answer().forks = true),
    row("forked, with early media", "RFC 3960 §3.1", OK, |s| {
        s.answer().forks = true;
        s.answer().early_media = Some(ms(200));
    }),
    row("forked, the first media is heard", "RFC 3960 §3.1", OK, |s| {
        s.answer().forks = true;
        s.answer().early_media = Some(ms(50));
        s.profile(0, |profile| profile.early_dialogs = EarlyDialogs::First);
    }),
    row("two branches answer", "RFC 3261 §13.2.2.4", OK, |s| s.answer().answers_twice = true),
    row("two branches answer at once, cancelled", "RFC 3261 §13.2.2.4", RACE, |s| {
        s.answer().answers_twice = true;
        s.call().cancel = Some(ms(500));
    }),
    row("late offer, the gateway offers", "RFC 3261 §13.2.1", OK, |s| {
        s.call().late_offer = true;
        s.profile(0, |profile| profile.late_offer = LateOffers::Offer);
        s.call().hang_up = Some(ms(6000));
    }),
    row("late offer, the gateway offers, early media", "RFC 3960 §3", OK, |s| {
        s.call().late_offer = true;
        s.answer().early_media = Some(ms(200));
        s.profile(0, |profile| profile.late_offer = LateOffers::Offer);
        s.call().hang_up = Some(ms(6000));
    }),
    row("late offer, then failover", "RFC 3261 §21.5.4", OK, |s| {
        s.call().late_offer = true;
        backup(s, Behaviour::refuse(503));
    }),
    Flow {
        check: Some(|seen| standing(seen, "TN-Validation-Passed")),
        ..row("the caller is verified", "RFC 8224 §6.2", OK, |s| verified(s, Verify::Reject, Some(300)))
    },
    Flow {
        check: Some(|seen| standing(seen, "TN-Validation-Failed")),
        ..row("the certificate is not to be had", "RFC 8224 §6.2.2", Expect::Status(436), |s| {
            verified(s, Verify::Reject, None);
        })
    },
    Flow {
        check: Some(|seen| standing(seen, "TN-Validation-Failed")),
        ..row("the certificate comes too late", "RFC 8224 §6.2.2", OK, |s| {
            verified(s, Verify::Tag, Some(1500));
        })
    },
    row("cancelled while the certificate is awaited", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 0);
        verified(s, Verify::Reject, Some(900));
    }),
];
