//! HTTP of the running gateway: what each page says agrees with the calls that were made.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use std::collections::BTreeMap;

on_both_drivers! {
    health_names_driver_and_workers
    every_page_counts_the_same_calls
    mistakes_in_a_request_are_told
}

fn health_names_driver_and_workers(io: &str) {
    let gateway = Gateway::start(io, &["--workers", "3", "--trunk=a=127.0.0.1:9", "--probe-interval", "0s"]);
    wait_until("all workers to answer", || gateway.json("/healthz")["status"] == "ok");
    let health = gateway.json("/healthz");
    assert_eq!((&health["io"], &health["workers"]), (&io.into(), &3.into()), "{health}");
    assert_eq!(health["store"]["state"], "ok", "{health}");
    assert!(gateway.logged(&format!("io {io}, workers 3")).is_some(), "{}", gateway.log());
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains(&format!("io=\"{io}\"")), "{metrics}");
}

fn every_page_counts_the_same_calls(io: &str) {
    let (good, bad) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Refuse(486)));
    let trunks = [good.trunk("good", ",max_calls=50"), bad.trunk("bad", "")];
    let gateway =
        Gateway::start(io, &["--workers", "2", &trunks[0], &trunks[1], "--route=1=good", "--route=2=bad"]);
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dial = |number: &str| -> (Dialog, Option<u16>) {
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
        let status = caller.answered(&mut dialog).status();
        (dialog, status)
    };
    let up: Vec<Dialog> = (0..6)
        .map(|n| dial(&format!("10{n}")))
        .map(|(dialog, status)| {
            assert_eq!(status, Some(200));
            dialog
        })
        .collect();
    for n in 0..4 {
        assert_eq!(dial(&format!("20{n}")).1, Some(486));
    }
    assert_eq!(dial("3").1, Some(404));
    gateway.wait_calls(6);
    let calls = gateway.json("/api/v1/calls?limit=2");
    assert_eq!(
        (&calls["count"], &calls["answered"], &calls["complete"]),
        (&6.into(), &6.into(), &true.into())
    );
    assert_eq!(calls["calls"].as_array().unwrap().len(), 2, "the list is bounded, the count is not");
    let call = &calls["calls"][0];
    assert_eq!(
        (&call["phase"], &call["trunk"], &call["from"]),
        (&"answered".into(), &"good".into(), &"4711".into())
    );
    assert_eq!(call["peer"], good.address.to_string());
    let trunk = gateway.trunk("good");
    assert_eq!(
        (&trunk["calls"], &trunk["calls_counted"], &trunk["max_calls"]),
        (&6.into(), &6.into(), &50.into())
    );
    assert_eq!((&trunk["asr"], &trunk["state"]), (&1.0.into(), &"up".into()), "{trunk}");

    // Two are hung up by the caller, one over the API, the rest by the carrier.
    let mut up = up.into_iter();
    for mut dialog in up.by_ref().take(2) {
        caller.bye(&mut dialog);
    }
    gateway.wait_calls(4);
    let id = gateway.json("/api/v1/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
    let (status, said) = gateway.ask("DELETE", &format!("/api/v1/calls/{id}"));
    assert_eq!(status, 202, "{said}");
    gateway.wait_calls(3);
    good.hang_up();
    gateway.wait_calls(0);

    let cdrs = gateway.wait_cdrs(11);
    let mut ends: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for cdr in &cdrs {
        *ends
            .entry((cdr["ended_by"].as_str().unwrap().to_owned(), cdr["status"].as_u64().unwrap()))
            .or_default() += 1;
    }
    let expected = [
        ("callee", 200, 3),
        ("callee", 486, 4),
        ("caller", 200, 2),
        ("gateway", 404, 1),
        ("operator", 200, 1),
    ];
    let expected = expected.map(|(side, status, count)| ((side.to_owned(), status), count));
    assert_eq!(ends, BTreeMap::from(expected));
    // One at a time, page after page, each record once.
    let (mut path, mut paged) = ("/api/v1/cdrs?limit=4".to_owned(), Vec::new());
    loop {
        let page = gateway.json(&path);
        paged.extend(page["cdrs"].as_array().unwrap().iter().map(|cdr| cdr["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/cdrs?limit=4&cursor={next}");
    }
    assert_eq!(paged, cdrs.iter().map(|cdr| cdr["id"].clone()).collect::<Vec<_>>());

    let figures = [
        ("calls", 0.0),
        ("calls_started_total", 11.0),
        ("calls_answered_total", 6.0),
        ("calls_unrouted_total", 1.0),
        ("attempts_total", 10.0),
        ("failovers_total", 0.0),
        ("rtp_pairs_in_use", 0.0),
        ("workers_answering", 2.0),
        ("media_unclaimed_total", 0.0),
        ("cdrs_dropped_total", 0.0),
        ("trunk_seizures_total", 10.0),
        ("trunk_answered_total", 6.0),
        ("store_failing", 0.0),
    ];
    for (name, value) in figures {
        assert_eq!(gateway.metric(&format!("trunkline_{name}")), value, "{name}");
    }
    let page = gateway.get("/metrics").1;
    let (mut named, mut lines) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert!(named.insert(name), "{name} is declared twice");
        } else if !line.starts_with('#') {
            let (key, value) = line.rsplit_once(' ').unwrap();
            assert!(named.contains(key.split('{').next().unwrap()), "{line} before its declaration");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(lines.insert(key), "{key} stands twice");
        }
    }
    let bad = gateway.trunk("bad");
    assert_eq!(
        (&bad["asr"], &bad["ner"], &bad["state"]),
        (&0.0.into(), &1.0.into(), &"up".into()),
        "busy is no fault"
    );
}

fn mistakes_in_a_request_are_told(io: &str) {
    let gateway = Gateway::start(io, &["--workers", "1", "--trunk=a=127.0.0.1:9"]);
    for (method, path, expected) in [
        ("GET", "/nothing", 404),
        ("POST", "/api/v1/calls", 405),
        ("GET", "/api/v1/calls?limit=many", 400),
        ("GET", "/api/v1/cdrs?colour=red", 400),
        ("DELETE", "/api/v1/calls/nonsense", 400),
    ] {
        let (status, body) = gateway.ask(method, path);
        assert_eq!(status, expected, "{method} {path}: {body}");
    }
    assert_eq!(gateway.get("/healthz").0, 200);
}
