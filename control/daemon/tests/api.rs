//! The API over a real socket and a real database.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod stand;

use link::{CallId, Command, TrunkChange, TrunkState, UnixMicros};
use stand::{Folder, Gateway, answered, ended, get, live, request, running, started};
use std::time::{Duration, Instant};

const T: u64 = 1_795_247_266_000_000;

#[test]
fn health_says_what_is_well_and_what_is_not() {
    let folder = Folder::new("health");
    let (gateway, handle) = running(&folder);
    let health = get(&handle, "/healthz");
    let it = health.json();
    assert_eq!((health.status, it["status"].as_str()), (200, Some("ok")));
    assert_eq!((it["io"].as_str(), it["workers"].as_u64()), (Some("fallback"), Some(1)));
    assert_eq!((it["version"].as_str(), it["store"]["state"].as_str()), (Some("0.0.1"), Some("ok")));
    assert!(it["uptime_seconds"].is_u64() && it["reasons"].as_array().unwrap().is_empty());

    gateway.shared.lock().unwrap().mute = true;
    let it = get(&handle, "/healthz").json();
    assert_eq!(it["status"], "degraded");
    assert!(it["reasons"][0].as_str().unwrap().contains("do not answer: 0"), "{it}");

    let mut shared = gateway.shared.lock().unwrap();
    (shared.mute, shared.draining) = (false, true);
    drop(shared);
    let health = get(&handle, "/healthz");
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("draining")));
}

#[test]
fn a_worker_that_never_came_is_missed() {
    let folder = Folder::new("early");
    let (_gateway, links) = Gateway::new();
    let handle = controld::start(stand::config(&folder), links).unwrap();
    let it = get(&handle, "/healthz").json();
    assert_eq!(it["status"], "degraded");
    assert!(it["reasons"][0].as_str().unwrap().contains("1 of 1 workers"), "{it}");
    assert_eq!(get(&handle, "/api/v1/calls").json()["count"], 0);
}

#[test]
fn calls_are_counted_listed_and_ended() {
    let folder = Folder::new("calls");
    let (gateway, handle) = running(&folder);
    gateway.shared.lock().unwrap().live = vec![live(T), live(T + 9), live(T + 5)];
    let it = get(&handle, "/api/v1/calls?limit=2").json();
    assert_eq!((it["count"].as_u64(), it["complete"].as_bool()), (Some(3), Some(true)));
    let calls = it["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["started"], "2026-11-21T07:47:46.000009Z");
    assert_eq!((&calls[0]["phase"], &calls[0]["trunk"]), (&"ringing".into(), &"alpha".into()));
    let id = calls[0]["id"].as_str().unwrap();
    let told = request(&handle, "DELETE", &format!("/api/v1/calls/{id}"));
    assert_eq!(told.status, 202, "{}", told.body);
    gateway.until_told(|told| told.contains(&Command::Hangup { call: CallId(T + 9) }).then_some(()));
    assert_eq!(request(&handle, "DELETE", "/api/v1/calls/ff00000000000001").status, 404);
    assert_eq!(request(&handle, "DELETE", "/api/v1/calls/12").status, 400);
}

#[test]
fn trunks_have_ratios_once_there_were_calls() {
    let folder = Folder::new("trunks");
    let (gateway, handle) = running(&folder);
    let trunk = |handle: &controld::Handle| get(handle, "/api/v1/trunks").json()["trunks"][0].clone();
    let it = trunk(&handle);
    assert_eq!((&it["name"], &it["state"]), (&"alpha".into(), &"up".into()));
    assert_eq!((it["calls"].as_u64(), it["max_calls"].as_u64()), (Some(1), Some(100)));
    assert_eq!(it["peers"][0]["address"], "127.0.0.1:5070");
    assert!(it["asr"].is_null() && it["ner"].is_null() && it["mos"].is_null() && it["pdd_ms"].is_null());
    gateway.say(started(T));
    gateway.say(answered(T));
    gateway.say(ended(T, 200));
    gateway.say(ended(T + 1, 503));
    gateway.until_acknowledged(2);
    let it = trunk(&handle);
    assert_eq!((it["asr"].as_f64(), it["ner"].as_f64()), (Some(0.5), Some(0.5)));
    assert_eq!((it["aloc_seconds"].as_f64(), it["pdd_ms"].as_f64()), (Some(8.0), Some(1.5)));

    gateway.say(link::Event::TrunkState(TrunkChange {
        trunk: "alpha".into(),
        peer: stand::peer(),
        state: TrunkState::Down,
        why: "silence".into(),
        at: UnixMicros(T),
    }));
    let soon = Instant::now() + Duration::from_secs(5);
    loop {
        let it = get(&handle, "/api/v1/trunks").json();
        if it["changes"][0]["why"] == "silence" {
            assert_eq!(it["changes"][0]["state"], "down");
            break;
        }
        assert!(Instant::now() < soon, "{it}");
    }
}

#[test]
fn records_are_found_page_by_page() {
    let folder = Folder::new("cdrs");
    let (gateway, handle) = running(&folder);
    for call in 0..25 {
        gateway.say(ended(T + call * 1_000_000, if call % 5 == 0 { 486 } else { 200 }));
    }
    gateway.say(started(T + 99));
    gateway.until_acknowledged(25);
    let mut path = "/api/v1/cdrs?limit=10".to_owned();
    let mut seen = Vec::new();
    loop {
        let it = get(&handle, &path).json();
        seen.extend(it["cdrs"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        let Some(next) = it["next"].as_str() else { break };
        path = format!("/api/v1/cdrs?limit=10&cursor={next}");
    }
    let wanted: Vec<String> = (0..25).rev().map(|call| CallId(T + call * 1_000_000).to_string()).collect();
    assert_eq!(seen, wanted);

    let one = get(&handle, &format!("/api/v1/cdrs/{}", seen[0])).json();
    assert_eq!((&one["cause"], &one["ended_by"]), (&"normal".into(), &"caller".into()));
    assert_eq!((one["talk_seconds"].as_f64(), one["seconds"].as_f64()), (Some(8.0), Some(10.0)));
    assert_eq!(one["attempts"][0]["ms"].as_f64(), Some(2.5));
    assert_eq!(one["started"], "2026-11-21T07:48:10.000000Z");

    let count =
        |query: &str| get(&handle, &format!("/api/v1/cdrs?{query}")).json()["cdrs"].as_array().unwrap().len();
    assert_eq!(count("status=486"), 5);
    assert_eq!(count("status=2xx"), 20);
    assert_eq!(count("trunk=beta"), 0);
    assert_eq!(count("number=1000&limit=3"), 3);
    assert_eq!(count("since=2026-11-21T07:48:06Z"), 5);
    assert_eq!(count("until=1795247268"), 2);
    let open = get(&handle, &format!("/api/v1/cdrs/{}", CallId(T + 99)));
    assert_eq!(open.status, 404, "{}", open.body);
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let folder = Folder::new("wrong");
    let (_gateway, handle) = running(&folder);
    for (path, status, part) in [
        ("/nothing", 404, "nothing at /nothing"),
        ("/api/v1/calls?limit=ten", 400, "limit=ten: not a number from 0 to 10000"),
        ("/api/v1/calls?size=1", 400, "unknown parameter \\\"size\\\""),
        ("/api/v1/trunks?x=1", 400, "unknown parameter"),
        ("/api/v1/cdrs?since=yesterday", 400, "since=yesterday"),
        ("/api/v1/cdrs?limit=1001", 400, "from 1 to 1000"),
        ("/api/v1/cdrs?status=7xx", 400, "status=7xx"),
        ("/api/v1/cdrs?cursor=zz", 400, "cursor=zz"),
        ("/api/v1/cdrs?limit=1&limit=2", 400, "given twice"),
        ("/api/v1/cdrs/zz", 400, "16 hexadecimal digits"),
        ("/api/v1/cdrs/%FF", 400, "UTF-8"),
        ("/api/v1/cdrs?number=%FF", 200, "cdrs"),
    ] {
        let it = get(&handle, path);
        assert_eq!(it.status, status, "{path}: {}", it.body);
        assert!(it.body.contains(part), "{path}: {}", it.body);
        assert!(it.json()["error"].is_string() == (status != 200), "{path}: {}", it.body);
    }
    let it = request(&handle, "POST", "/api/v1/calls");
    assert_eq!(it.status, 405);
    assert!(it.json()["error"].as_str().unwrap().contains("POST"));
    let index = get(&handle, "/");
    assert!(index.status == 200 && index.body.contains("/api/v1/trunks"));
}

#[test]
fn metrics_are_in_the_exposition_format() {
    let folder = Folder::new("metrics");
    let (gateway, handle) = running(&folder);
    gateway.say(ended(T, 200));
    gateway.until_acknowledged(1);
    let it = get(&handle, "/metrics");
    assert!(it.head.to_lowercase().contains("text/plain; version=0.0.4"), "{}", it.head);
    let samples = parse_metrics(&it.body);
    let value = |name: &str| {
        samples.iter().find(|(sample, _)| sample == name).unwrap_or_else(|| panic!("{name}\n{}", it.body)).1
    };
    assert_eq!(value("trunkline_sip_requests_total{method=\"INVITE\"}"), 7.0);
    assert_eq!(value("trunkline_sip_requests_total{method=\"B\\\"Y\\\\E\"}"), 3.0);
    assert_eq!(value("trunkline_trunk_calls{trunk=\"alpha\"}"), 1.0);
    assert_eq!(value("trunkline_trunk_asr{trunk=\"alpha\"}"), 1.0);
    assert_eq!(value("trunkline_trunk_peer_up{trunk=\"alpha\",peer=\"127.0.0.1:5070\"}"), 1.0);
    assert_eq!(value("trunkline_control_cdrs_stored_total"), 1.0);
    assert_eq!(value("trunkline_store_failing"), 0.0);
    assert_eq!(value("trunkline_workers_answering"), 1.0);
}

/// A strict reading of the text format: each sample follows the HELP and TYPE of its name, each name comes once.
fn parse_metrics(text: &str) -> Vec<(String, f64)> {
    let mut samples = Vec::new();
    let mut seen = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("help has text");
            assert!(!help.is_empty() && !seen.contains(&name.to_owned()), "{line}");
            seen.push(name.to_owned());
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert_eq!(name, current, "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            samples.push((sample.to_owned(), value.parse().expect(line)));
        }
    }
    assert!(text.ends_with('\n'));
    samples
}

#[test]
fn many_ask_at_once_and_all_are_answered() {
    let folder = Folder::new("many");
    let (gateway, handle) = running(&folder);
    for call in 0..2000 {
        gateway.say(ended(T + call, 200));
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for path in
                    ["/healthz", "/metrics", "/api/v1/calls", "/api/v1/cdrs?limit=1000", "/api/v1/trunks"]
                {
                    let it = get(&handle, path);
                    assert_eq!(it.status, 200, "{path}: {}", it.body);
                }
            });
        }
    });
    gateway.until_acknowledged(2000);
}

#[test]
fn keep_alive_and_garbage_do_no_harm() {
    use std::io::{Read, Write};
    let folder = Folder::new("garbage");
    let (_gateway, handle) = running(&folder);
    let connect = || {
        let stream = std::net::TcpStream::connect(handle.http().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let mut garbage = connect();
    garbage.write_all(b"\x00\xff\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    let mut twice = connect();
    twice
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    twice.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2);
    // An idle connection does not keep the server from stopping.
    let _idle = connect();
    let begun = Instant::now();
    assert_eq!(handle.stop().lost, None);
    assert!(begun.elapsed() < Duration::from_secs(5));
}
