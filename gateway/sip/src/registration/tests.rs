//! A registration held against every class of answer, by the clauses that say what is to follow.

use super::*;
use crate::auth::Authorization;

const CONTACT: &str = "sip:4711@192.0.2.9:5060";

fn terms() -> Terms {
    let (username, password) = ("4711".to_owned(), "secret".to_owned());
    Terms {
        registrar: "sip:carrier.example".into(),
        aor: "sip:4711@carrier.example".into(),
        expires: 3600,
        account: Some(Arc::new(Account { username, password })),
        route: None,
        secure: false,
        retry_base: Duration::from_secs(30),
        retry_max: Duration::from_secs(1800),
    }
}

/// A registration on a bench: what is sent, and when.
struct Bench {
    it: Registration,
    random: Random,
    now: Time,
    sent: Vec<Ask>,
}

impl Bench {
    fn new(terms: Terms) -> Self {
        let it = Registration::new(terms, "id".into(), "tag".into(), Time::ZERO);
        Self { it, random: Random::new(1), now: Time::ZERO, sent: Vec::new() }
    }

    /// Lets time pass until a REGISTER is sent; gives the wait.
    fn send(&mut self) -> Duration {
        let begun = self.now;
        for _ in 0..3 {
            self.now = self.now.max(self.it.deadline().expect("a deadline"));
            if self.it.on_time(self.now) {
                let chance = self.random.u64();
                self.sent.push(self.it.compose(self.now, chance));
                return self.now.since(begun);
            }
        }
        panic!("nothing is sent: {:?}", self.it);
    }

    fn answer(&mut self, status: &str, fields: &str) {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: id\r\nCSeq: 1 REGISTER\r\n{fields}\r\n"
        );
        self.now += Duration::from_millis(50);
        let message = Message::parse(text.as_bytes()).unwrap();
        self.it.on_response(self.now, &message, CONTACT, &mut self.random);
    }

    fn fails(&mut self) {
        self.now += Duration::from_secs(32);
        self.it.on_failure(self.now, &Failure::TimedOut, &mut self.random);
    }

    fn registered(terms: Terms) -> Self {
        let mut bench = Self::new(terms);
        bench.send();
        bench.answer("200 OK", "Contact: <sip:4711@192.0.2.9>;expires=600\r\n");
        assert_eq!(bench.it.standing(), Standing::Registered);
        bench
    }

    fn last(&self) -> &Ask {
        self.sent.last().unwrap()
    }

    /// The wait before the next REGISTER.
    fn wait(&self) -> Duration {
        self.it.next().unwrap().since(self.now)
    }

    fn shown(&self) -> Option<Authorization> {
        let field = self.last().fields.iter().find(|(name, _)| name.ends_with("Authorization"));
        Authorization::parse(field?.1.as_bytes())
    }
}

fn challenge(nonce: &str, more: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\n")
}

fn within(span: Duration, low: u64, high: u64) {
    assert!(
        span >= Duration::from_secs(low) && span <= Duration::from_secs(high),
        "{span:?}: {low} to {high}"
    );
}

/// RFC 3261 §10.2.4: one Call-ID, a CSeq that grows, refreshed before the end.
#[test]
fn what_is_granted_is_kept_and_refreshed_in_time() {
    let mut bench = Bench::registered(terms());
    assert_eq!((bench.last().cseq, bench.last().expires), (1, 3600));
    assert_eq!(bench.it.until(), Some(Time::from_millis(600_000)), "from the sending on");
    for cseq in 2..50 {
        let sent = bench.it.until().unwrap().since(bench.now);
        within(bench.send(), 299, 541);
        assert!(bench.it.until().unwrap() > bench.now, "{sent:?}");
        assert_eq!((bench.last().cseq, bench.it.call_id()), (cseq, "id"));
        bench.answer("200 OK", "Contact: <sip:4711@192.0.2.9:5060;ob>;expires=600\r\n");
    }
    // What is brief is refreshed at half to leave time for a second try.
    bench.send();
    bench.answer("200 OK", "Contact: <sip:4711@192.0.2.9>;expires=60\r\n");
    within(bench.wait(), 29, 36);
}

#[test]
fn the_time_is_that_of_our_contact() {
    let granted = |fields: &str| {
        let mut bench = Bench::new(terms());
        bench.send();
        bench.answer("200 OK", fields);
        bench.it.until().map(|until| until.since(Time::ZERO).as_secs())
    };
    let other = "Contact: <sip:4711@192.0.2.1>;expires=7, <sip:1@192.0.2.9>;expires=8\r\n";
    let ours = "Contact: <sip:%34711@192.0.2.9;transport=udp>;q=1.0;expires=120\r\n";
    assert_eq!(granted(&format!("{other}{ours}Expires: 9\r\n")), Some(120));
    assert_eq!(granted(&format!("{other}Contact: <{CONTACT}>\r\nExpires: 90\r\n")), Some(90));
    assert_eq!(granted(&format!("{other}Expires: 90\r\n")), Some(90), "none of them is ours");
    assert_eq!(granted("Contact: <sip:4711@198.51.100.7:40001>;expires=75\r\n"), Some(75), "written anew");
    assert_eq!(granted(""), Some(3600), "nothing said");
    assert_eq!(granted(&format!("Contact: <{CONTACT}>;expires=0\r\n")), None);
    assert_eq!(granted(&format!("Contact: <{CONTACT}>;expires=99999999999\r\n")), Some(u64::from(u32::MAX)));
}

/// RFC 3261 §22.2, §8.1.3.5: credentials, in a request whose CSeq is one higher; kept for the refresh.
#[test]
fn challenges_are_answered_and_nonces_used_again() {
    let mut bench = Bench::new(terms());
    bench.send();
    assert!(bench.shown().is_none());
    bench.answer("401 Unauthorized", &challenge("n1", ""));
    assert_eq!(bench.send(), Duration::ZERO);
    assert_eq!((bench.last().cseq, bench.shown().unwrap().nonce), (2, b"n1".to_vec()));
    bench.answer("200 OK", "");
    bench.send();
    assert_eq!(
        (bench.shown().unwrap().nonce, bench.shown().unwrap().nc),
        (b"n1".to_vec(), b"00000002".to_vec())
    );
    // Too old, and said so; or another one without a word: neither says anything of the password.
    bench.answer("401 Unauthorized", &challenge("n2", ", stale=true"));
    bench.send();
    assert_eq!(
        (bench.shown().unwrap().nonce, bench.shown().unwrap().nc),
        (b"n2".to_vec(), b"00000001".to_vec())
    );
    bench.answer("200 OK", "");
    bench.send();
    bench.answer("401 Unauthorized", &challenge("n3", ""));
    assert_eq!((bench.send(), bench.shown().unwrap().nonce), (Duration::ZERO, b"n3".to_vec()));
    bench.answer("200 OK", "");
    assert_eq!(bench.it.standing(), Standing::Registered);
}

#[test]
fn a_proxy_and_the_registrar_may_both_ask() {
    let mut bench = Bench::new(terms());
    bench.send();
    bench.answer("407 Asked", "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\"\r\n");
    bench.send();
    bench.answer("401 Asked", &challenge("n", ""));
    bench.send();
    let names: Vec<&str> = bench.last().fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["Proxy-Authorization", "Authorization"]);
    bench.answer("200 OK", "");
    assert_eq!(bench.it.standing(), Standing::Registered);
}

/// RFC 3261 §22.2: no try with credentials that were refused; and no hammering.
#[test]
fn a_wrong_password_is_not_tried_again_soon() {
    let mut bench = Bench::new(terms());
    bench.send();
    bench.answer("401 Unauthorized", &challenge("n1", ""));
    bench.send();
    bench.answer("401 Unauthorized", &challenge("n2", ""));
    assert_eq!(bench.it.standing(), Standing::Refused);
    assert!(bench.it.word().to_string().contains("wrong name or password"), "{}", bench.it.word());
    within(bench.wait(), 1619, 1800);
    // The password is the right one by then.
    bench.send();
    assert!(bench.shown().is_none());
    bench.answer("401 Unauthorized", &challenge("n3", ""));
    bench.send();
    bench.answer("200 OK", "");
    assert_eq!(bench.it.standing(), Standing::Registered);
}

#[test]
fn a_registrar_that_always_finds_the_nonce_stale_ends_too() {
    let mut bench = Bench::new(terms());
    for nonce in 0..=CHALLENGES {
        bench.send();
        bench.answer("401 Unauthorized", &challenge(&nonce.to_string(), ", stale=true"));
    }
    assert_eq!(bench.it.standing(), Standing::Refused);
    let mut bench = Bench::new(Terms { account: None, ..terms() });
    bench.send();
    bench.answer("401 Unauthorized", &challenge("n", ""));
    assert_eq!(bench.it.standing(), Standing::Refused);
    assert!(bench.it.word().reason.contains("none are configured"));
}

/// RFC 3261 §10.2.8.
#[test]
fn a_time_too_brief_is_raised_once_or_twice() {
    let mut bench = Bench::new(Terms { expires: 60, ..terms() });
    bench.send();
    bench.answer("423 Interval Too Brief", "Min-Expires: 300\r\n");
    assert_eq!((bench.send(), bench.last().expires), (Duration::ZERO, 300));
    bench.answer("200 OK", &format!("Contact: <{CONTACT}>;expires=300\r\n"));
    bench.send();
    assert_eq!(bench.last().expires, 300, "remembered");
    for least in ["Min-Expires: 300\r\n", "Min-Expires: 5\r\n", ""] {
        let mut bench = Bench::new(Terms { expires: 300, ..terms() });
        bench.send();
        bench.answer("423 Interval Too Brief", least);
        assert_eq!(bench.it.standing(), Standing::Refused, "{least}");
    }
    let mut bench = Bench::new(terms());
    for more in 0..3 {
        bench.send();
        bench.answer("423 Interval Too Brief", &format!("Min-Expires: {}\r\n", 5000 + more));
    }
    assert_eq!(bench.it.standing(), Standing::Refused);
}

/// RFC 5626 §4.5: 30 s × 2^failures, at most 1800 s, of that half to all.
#[test]
fn failures_are_waited_out_ever_longer() {
    let mut bench = Bench::new(terms());
    for (low, high) in [(30, 60), (60, 120), (120, 240), (240, 480), (480, 960), (900, 1800), (900, 1800)] {
        bench.send();
        bench.fails();
        assert_eq!(bench.it.standing(), Standing::Failing);
        within(bench.wait(), low, high);
    }
    bench.send();
    bench.answer("200 OK", "");
    bench.send();
    bench.fails();
    within(bench.wait(), 30, 60);
    assert!(bench.it.until().is_some(), "the binding still holds");
    let mut waits: Vec<Duration> = Vec::new();
    for seed in 0..20 {
        let mut bench = Bench::new(terms());
        bench.random = Random::new(seed);
        bench.send();
        bench.fails();
        waits.push(bench.wait());
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 15 && waits[waits.len() - 1] - waits[0] > Duration::from_secs(15), "{waits:?}");
}

/// RFC 3261 §20.33: not before Retry-After; RFC 5626 §4.5 asks for the same.
#[test]
fn retry_after_is_obeyed() {
    let mut bench = Bench::new(terms());
    bench.send();
    bench.answer("503 Busy", "Retry-After: 500 (soon)\r\n");
    assert_eq!((bench.it.standing(), bench.wait()), (Standing::Failing, Duration::from_secs(500)));
    bench.send();
    bench.answer("503 Busy", "Retry-After: 1\r\n");
    within(bench.wait(), 60, 120);
    bench.send();
    bench.answer("404 Not Found", "Retry-After: 7200\r\n");
    assert_eq!((bench.it.standing(), bench.wait()), (Standing::Refused, Duration::from_secs(7200)));
    bench.send();
    bench.answer("500 Error", "Retry-After: 99999999999\r\n");
    assert!(bench.wait() <= RETRY_AFTER_MAX);
}

#[test]
fn a_refusal_takes_the_binding_away_and_a_failure_does_not() {
    for status in [400, 402, 403, 404, 405, 416, 420, 481, 482, 488, 600, 603, 606] {
        let mut bench = Bench::registered(terms());
        bench.send();
        bench.answer(&format!("{status} No"), "");
        assert_eq!((bench.it.standing(), bench.it.until()), (Standing::Refused, None), "{status}");
        assert_eq!(bench.it.word().status, Some(status));
        within(bench.wait(), 1619, 1800);
    }
    for status in [408, 480, 486, 491, 500, 502, 503, 504, 513] {
        let mut bench = Bench::registered(terms());
        bench.send();
        bench.answer(&format!("{status} Later"), "");
        assert_eq!(bench.it.standing(), Standing::Failing, "{status}");
        assert!(bench.it.until().is_some_and(|until| until > bench.now), "{status}");
        within(bench.wait(), 30, 60);
    }
}

#[test]
fn a_binding_that_was_not_renewed_ends_on_time() {
    let mut bench = Bench::registered(terms());
    bench.send();
    let end = bench.it.until().unwrap();
    assert_eq!(bench.it.deadline(), Some(end), "while the answer is awaited");
    assert!(!bench.it.on_time(end));
    assert_eq!((bench.it.until(), bench.it.standing()), (None, Standing::Failing));
    assert_eq!(bench.it.deadline(), None);
    bench.now = end;
    bench.answer("200 OK", "");
    assert_eq!(bench.it.standing(), Standing::Registered);
}

/// RFC 3261 §8.1.3.4.
#[test]
fn redirections_are_followed_to_addresses_and_not_for_ever() {
    let mut bench = Bench::new(terms());
    bench.send();
    let moved = "Contact: <sip:far.example>, <sip:192.0.2.77:5070;transport=tcp>;q=0.5\r\n";
    bench.answer("302 Moved", moved);
    assert_eq!(bench.send(), Duration::ZERO);
    assert_eq!(bench.last().to, Some((Transport::Tcp, "192.0.2.77:5070".parse().unwrap())));
    assert_eq!(bench.last().request_uri, "sip:192.0.2.77:5070;transport=tcp");
    bench.answer("401 Asked", &challenge("n", ""));
    bench.send();
    assert_eq!(bench.shown().unwrap().uri, b"sip:192.0.2.77:5070;transport=tcp");
    bench.answer("200 OK", "");
    bench.send();
    assert!(bench.last().to.is_some(), "the binding is there now");
    bench.fails();
    bench.send();
    assert_eq!(bench.last().to, None, "back to where it was configured");
    for number in 0..=REDIRECTIONS {
        bench.answer("301 Moved", &format!("Contact: <sip:192.0.2.{number}>\r\n"));
        if number < REDIRECTIONS {
            bench.send();
        }
    }
    assert_eq!(bench.it.standing(), Standing::Refused);
    let mut bench = Bench::new(Terms { secure: true, ..terms() });
    bench.send();
    bench.answer("302 Moved", "Contact: <sip:192.0.2.7>, <sip:192.0.2.8;transport=tls>\r\n");
    bench.send();
    assert_eq!(bench.last().to, Some((Transport::Tls, "192.0.2.8:5061".parse().unwrap())));
    for contact in ["", "Contact: <sip:far.example>\r\n", "Contact: <sips:192.0.2.1>\r\n", "Contact: *\r\n"] {
        let mut bench = Bench::new(terms());
        bench.send();
        bench.answer("302 Moved", contact);
        assert_eq!(bench.it.standing(), Standing::Refused, "{contact}");
    }
}

/// RFC 3261 §10.2.2: Expires 0, asked for credentials like any other.
#[test]
fn leaving_removes_the_binding() {
    let mut bench = Bench::registered(terms());
    bench.it.leave(bench.now);
    assert_eq!(bench.send(), Duration::ZERO);
    assert_eq!((bench.last().expires, bench.last().cseq), (0, 2));
    bench.answer("401 Asked", &challenge("n", ""));
    bench.send();
    assert_eq!(bench.last().expires, 0);
    bench.answer("200 OK", "");
    assert!(bench.it.is_over() && bench.it.standing() == Standing::Left);
    assert_eq!((bench.it.deadline(), bench.it.until()), (None, None));
    // Once only, whatever comes.
    for fails in [true, false] {
        let mut bench = Bench::registered(terms());
        bench.it.leave(bench.now);
        bench.it.leave(bench.now);
        bench.send();
        if fails {
            bench.fails()
        } else {
            bench.answer("503 No", "")
        }
        assert!(bench.it.is_over());
    }
    // In the middle of an attempt: after its answer.
    let mut bench = Bench::new(terms());
    bench.send();
    bench.it.leave(bench.now);
    assert!(!bench.it.is_over());
    bench.answer("200 OK", "");
    assert_eq!((bench.send(), bench.last().expires), (Duration::ZERO, 0));
    // Never asked, or refused: there is nothing to be removed.
    let mut bench = Bench::new(terms());
    bench.it.leave(bench.now);
    assert!(bench.it.is_over());
    let mut bench = Bench::new(terms());
    bench.send();
    bench.answer("403 No", "");
    bench.it.leave(bench.now);
    assert!(bench.it.is_over());
    // A 200 that was lost may have left one behind.
    let mut bench = Bench::new(terms());
    bench.send();
    bench.fails();
    bench.it.leave(bench.now);
    assert_eq!((bench.send(), bench.last().expires), (Duration::ZERO, 0));
}

/// RFC 3608 §5 and §4: taken over as it stands, and gone when the next answer has none.
#[test]
fn service_route_and_identities_are_taken_from_each_answer() {
    let mut bench = Bench::new(terms());
    bench.send();
    let route = "Service-Route: <sip:orig@192.0.2.3;lr>, <sip:p2.example;lr>;x=1\r\n";
    let identities =
        "P-Associated-URI: <sip:+4930@carrier.example>\r\np-associated-uri: <tel:+4931>, \"A\" <sip:b@c>\r\n";
    bench.answer("200 OK", &format!("{route}{identities}"));
    assert_eq!(bench.it.given().service_route, ["<sip:orig@192.0.2.3;lr>", "<sip:p2.example;lr>;x=1"]);
    assert_eq!(bench.it.given().associated, ["sip:+4930@carrier.example", "tel:+4931", "sip:b@c"]);
    bench.send();
    bench.answer("200 OK", "");
    assert_eq!(bench.it.given(), &Given::default());
    let long = format!("Service-Route: <sip:{}.example;lr>\r\n", "a".repeat(SERVICE_ROUTE_MAX));
    for bad in [
        "Service-Route: <sip:a.example;lr>;x=\"\u{e9}\"\r\n",
        "Service-Route: <sip:strict.example>\r\n",
        "Service-Route: sip:a.example;lr\r\n",
        &long,
    ] {
        bench.send();
        bench.answer("200 OK", bad);
        assert!(bench.it.given().service_route_dropped && bench.it.given().service_route.is_empty(), "{bad}");
    }
    bench.send();
    bench.answer("200 OK", &"P-Associated-URI: <sip:a@b>\r\n".repeat(40));
    assert_eq!(bench.it.given().associated.len(), ASSOCIATED_MAX);
}

/// RFC 5626 §4.5, for a flow that fails after it stood: half to all of the base.
#[test]
fn a_connection_that_breaks_is_made_anew_after_a_while() {
    let mut bench = Bench::registered(terms());
    bench.it.on_flow_lost(bench.now, &mut bench.random);
    assert_eq!(bench.it.standing(), Standing::Failing);
    assert!(bench.it.until().is_some());
    within(bench.wait(), 15, 30);
    let before = bench.wait();
    bench.it.on_flow_lost(bench.now, &mut bench.random);
    assert_eq!(bench.wait(), before, "said twice");
}

#[test]
fn new_terms_are_used_at_once() {
    let mut bench = Bench::new(terms());
    bench.send();
    bench.answer("401 Asked", &challenge("n1", ""));
    bench.send();
    bench.answer("401 Asked", &challenge("n2", ""));
    let account = Account { username: "4711".into(), password: "right".into() };
    let new = Terms { account: Some(Arc::new(account)), expires: 120, ..terms() };
    assert!(new.is_same_binding(&terms()));
    bench.it.change(bench.now, new.clone());
    assert_eq!((bench.send(), bench.last().expires), (Duration::ZERO, 120));
    bench.answer("200 OK", "");
    // While an answer is awaited, whatever it is.
    bench.send();
    bench.it.change(bench.now, new);
    bench.answer("403 No", "");
    assert_eq!(bench.send(), Duration::ZERO);
    assert!(bench.it.call_id() == "id" && bench.last().cseq == 5, "{:?}", bench.last());
}

/// Whatever comes, in whatever order: never more than a few at once, and always either waiting, awaiting or over.
#[test]
fn no_order_of_answers_makes_it_hammer() {
    let answers = [
        ("200 OK", ""),
        ("200 OK", "Contact: <sip:4711@192.0.2.9>;expires=1\r\n"),
        ("401 A", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", stale=true\r\n"),
        ("407 A", "Proxy-Authenticate: Digest realm=\"r\", nonce=\"m\"\r\n"),
        ("423 B", "Min-Expires: 4000\r\n"),
        ("423 B", "Min-Expires: 9000\r\n"),
        ("302 M", "Contact: <sip:192.0.2.5>\r\n"),
        ("302 M", "Contact: <sip:192.0.2.6>\r\n"),
        ("503 N", "Retry-After: 0\r\n"),
        ("403 N", ""),
    ];
    for seed in 0..300 {
        let mut chance = Random::new(seed);
        let mut bench = Bench::new(terms());
        let mut quick = 0;
        for _ in 0..200 {
            let wait = bench.send();
            quick = if wait < Duration::from_millis(400) { quick + 1 } else { 0 };
            let most = u32::from(CHALLENGES) + u32::from(BRIEF) + u32::from(REDIRECTIONS) + 1;
            assert!(quick <= most, "seed {seed}: {quick} at once");
            match answers.get(chance.below(answers.len() as u64 + 1) as usize) {
                Some((status, fields)) => bench.answer(status, fields),
                None => bench.fails(),
            }
        }
    }
}
