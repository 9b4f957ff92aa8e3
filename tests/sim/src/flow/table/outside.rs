//! Requests outside of calls: MESSAGE, OPTIONS, PUBLISH, and subscriptions from their SUBSCRIBE to their last NOTIFY.

use super::*;
use crate::peer::{Errand, News};
use sansio::Time;
use switch::Passing;

/// No call is made.
const NONE: Expect = Expect::Anything;

fn news<'a>(seen: &'a Seen<'_>, carrier: Option<usize>) -> &'a News {
    const EMPTY: &News = &News { answers: Vec::new(), heard: Vec::new() };
    let node = carrier.map_or(seen.town.callers[0], |carrier| seen.town.carriers[carrier]);
    seen.town.peer(node).map_or(EMPTY, crate::peer::Peer::news)
}

/// What somebody was asked or told, in this order.
fn heard(seen: &Seen<'_>, carrier: Option<usize>, wanted: &[(&str, &str)]) -> Option<String> {
    let found = &news(seen, carrier).heard;
    let same =
        found.iter().map(|(method, state)| (method.as_str(), state.as_str())).eq(wanted.iter().copied());
    demand(same, || format!("heard was {found:?}, not {wanted:?}"))
}

/// RFC 6665: subscribed, renewed, notified in between, ended by the subscriber.
fn subscribes(s: &mut Stage) {
    s.add_errand(100, Errand::Subscribe(120), 200);
    s.add_errand(60_000, Errand::Subscribe(120), 200);
    s.add_errand(150_000, Errand::Subscribe(0), 200);
    s.add_carrier_errand(110_000, Errand::Notify("active;expires=60"), "");
    s.lasts = ms(260_000);
}

fn lived(seen: &Seen<'_>) -> Option<String> {
    let (active, last) = ("active;expires=120", "terminated;reason=timeout");
    let notices = [("NOTIFY", active), ("NOTIFY", active), ("NOTIFY", "active;expires=60"), ("NOTIFY", last)];
    let asked = [("SUBSCRIBE", "120"), ("SUBSCRIBE", "120"), ("SUBSCRIBE", "0")];
    let answers = &news(seen, Some(0)).answers;
    let lost = seen.town.total(|it| it.subscriptions_expired + it.subscriptions_unnotified);
    heard(seen, None, &notices)
        .or_else(|| heard(seen, Some(0), &asked))
        .or_else(|| demand(answers.iter().all(|it| it.1 == 200), || format!("NOTIFYs came to {answers:?}")))
        .or_else(|| demand(lost == 0, || String::from("the subscription was lost")))
}

pub(super) const FLOWS: &[Flow] = &[
    Flow {
        check: Some(|seen| heard(seen, Some(0), &[("MESSAGE", "")])),
        ..row("MESSAGE", "RFC 3428 §4", NONE, |s| s.add_errand(100, Errand::Message, 200))
    },
    row("MESSAGE is refused", "RFC 3428 §7", NONE, |s| {
        s.add_errand(100, Errand::Message, 486);
        s.carriers[0].answers_errands = 486;
    }),
    Flow {
        check: Some(|seen| heard(seen, Some(1), &[("MESSAGE", "")])),
        ..row("MESSAGE, failover on 503", "RFC 3261 §21.5.4", NONE, |s| {
            s.add_errand(100, Errand::Message, 200);
            s.carriers[0].answers_errands = 503;
            s.add_carrier(Behaviour::plain());
        })
    },
    row("MESSAGE, failover on ICMP", "RFC 3261 §18.4", NONE, |s| {
        s.add_errand(100, Errand::Message, 200);
        s.carriers[0].absent = true;
        s.add_carrier(Behaviour::plain());
    }),
    row("OPTIONS to the gateway", "RFC 3261 §11.2", NONE, |s| s.add_errand(100, Errand::Options, 200)),
    row("OPTIONS to a number", "RFC 3261 §11", NONE, |s| {
        s.add_errand(100, Errand::Options, 200);
        s.config.outside.requests = options();
        s.profile(0, |profile| profile.requests = options());
    }),
    Flow {
        check: Some(|seen| {
            let asked = [("PUBLISH", "600"), ("PUBLISH", "600"), ("PUBLISH", "0")];
            heard(seen, Some(0), &asked)
        }),
        ..row("PUBLISH, renewed and taken back", "RFC 3903 §4", NONE, |s| {
            s.add_errand(100, Errand::Publish(600), 200);
            s.add_errand(45_000, Errand::Publish(600), 200);
            s.add_errand(90_000, Errand::Publish(0), 200);
            s.lasts = ms(150_000);
        })
    },
    Flow { check: Some(lived), ..row("a subscription", "RFC 6665 §4", NONE, subscribes) },
    row("a subscription is refused", "RFC 6665 §4.2.1.1", NONE, |s| {
        s.add_errand(100, Errand::Subscribe(600), 489);
        s.carriers[0].answers_errands = 489;
    }),
    Flow {
        check: Some(|seen| {
            let notices = [("NOTIFY", "active;expires=90"), ("NOTIFY", "terminated;reason=noresource")];
            heard(seen, None, &notices)
        }),
        ..row("a subscription ended by the notifier", "RFC 6665 §4.2.2", NONE, |s| {
            s.add_errand(100, Errand::Subscribe(90), 200);
            s.add_carrier_errand(50_000, Errand::Notify("terminated;reason=noresource"), "");
            s.lasts = ms(200_000);
        })
    },
    Flow {
        check: Some(|seen| {
            heard(seen, None, &[("NOTIFY", "active;expires=60"), ("NOTIFY", "terminated;reason=timeout")])
                .or_else(|| {
                    demand(seen.town.total(|it| it.subscriptions_expired) == 1, || "not expired".into())
                })
        }),
        ..row("a subscription runs out", "RFC 6665 §4.1.2.3", NONE, |s| {
            s.add_errand(100, Errand::Subscribe(60), 200);
            s.lasts = ms(200_000);
        })
    },
    Flow {
        check: Some(|seen| heard(seen, None, &[])),
        ..row("a phone is told of messages, and may not be", "RFC 6665 §4.4.4", NONE, |s| {
            s.calls.clear();
            s.add_phone(ANN, 120).leave = Some(Time::from_millis(60_000));
            s.add_carrier_errand(5000, Errand::Waiting, ANN.user);
            s.carriers[0].errands[0].comes_to = 481;
            s.lasts = ms(100_000);
        })
    },
    Flow {
        check: Some(|seen| heard(seen, None, &[("NOTIFY", "active;expires=3600")])),
        ..row("a phone is told of messages", "RFC 3842 §3", NONE, |s| {
            s.calls.clear();
            s.add_phone(ANN, 120).leave = Some(Time::from_millis(60_000));
            s.config.outside.requests = Passing::USUAL.or(notices());
            s.profile(0, |profile| profile.requests = Passing::USUAL.or(notices()));
            s.add_carrier_errand(5000, Errand::Waiting, ANN.user);
            s.lasts = ms(100_000);
        })
    },
];

fn options() -> Passing {
    Passing::named(&[String::from("OPTIONS")]).unwrap_or(Passing::NONE)
}

fn notices() -> Passing {
    Passing::named(&[String::from("NOTIFY")]).unwrap_or(Passing::NONE)
}
