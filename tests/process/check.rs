//! `trunkline check`: what it says of good, doubtful and bad configurations, and that it starts and writes nothing.

use crate::gateway::{folder, run};
use serde_json::Value;

const GOOD: &str = "[[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\", \"192.0.2.2:5060/tcp\"]\nbackup = \"c\"\n\
    weight = 3\nmax_calls = 10\n[[trunk]]\nname = \"b\"\npeers = [\"192.0.2.3:5060\"]\n[[trunk]]\nname = \"c\"\n\
    peers = [\"192.0.2.4:5060\"]\n[[group]]\nname = \"national\"\ntrunks = [\"a\", \"b\"]\n[[route]]\nprefix = \"86\"\n\
    to = [\"national\"]\nstrip = 2\nprepend = \"0\"\n[[route]]\nprefix = \"861\"\nto = [\"c\"]\n";

fn written(text: &str) -> String {
    let config = folder("check").join("gateway.toml");
    std::fs::write(&config, text).unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn a_good_configuration_is_summed_up() {
    let config = written(GOOD);
    for arguments in [&["check", "config", config.as_str()][..], &["check", "config", "--config", &config]] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        for words in [
            "sip        127.0.0.1:5060 (udp, tcp)",
            "trunk      a: 192.0.2.1:5060 192.0.2.2:5060/tcp, 10 calls, priority 0, weight 3, backup c, profile carrier-lenient",
            "group      national: by weight of a b",
            "route      86 -> national, 2 digits taken off, 0 put in front",
            "rtp ports  16384-32767 carry 4096 calls at a time",
            "srtp       off",
            "data       trunkline-data",
        ] {
            assert!(out.contains(words), "{words}: {out}");
        }
        assert!(!out.contains("warning"), "{out}");
    }
    let beside = std::path::Path::new(&config).parent().unwrap();
    assert_eq!(std::fs::read_dir(beside).unwrap().count(), 1, "nothing is written");
    let (code, out, err) = run(&["check", "config", "--trunk=x=192.0.2.9:5060,max_calls=5", "--route=44=x"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("trunk      x: 192.0.2.9:5060, 5 calls"), "{out}");
    assert!(out.contains("route      44 -> x"), "{out}");
}

#[test]
fn doubts_are_warnings_and_mistakes_are_errors() {
    let doubtful = written(&format!("{GOOD}[[trunk]]\nname = \"idle\"\npeers = [\"127.0.0.1:5060\"]\n"));
    let (code, out, _) = run(&["check", "config", &doubtful]);
    assert_eq!(code, 0);
    assert!(out.contains("warning: trunk \"idle\" is reached by no route"), "{out}");
    assert!(out.contains("own address"), "{out}");
    let bad = written("workers = 1\n[calls]\nmax_call = 3\n");
    for command in [&["check", "config", bad.as_str()][..], &["check", "route", "1", "--config", &bad]] {
        let (code, out, err) = run(command);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(&bad) && err.contains("line 3: unknown field `max_call`"), "{err}");
    }
    let (code, _, err) = run(&["check", "config", "/nowhere/gateway.toml"]);
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/gateway.toml"), "{err}");
    for wrong in [&["check"][..], &["check", "config", &bad, "--config", &bad], &["check", "route"]] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
    let (code, _, err) = run(&["check", "route", "1 2", "--trunk=a=192.0.2.1:5060"]);
    assert_eq!(code, 2);
    assert!(err.contains("without spaces"), "{err}");
}

#[test]
fn a_route_is_explained_step_by_step() {
    let config = written(GOOD);
    let (code, out, err) = run(&["check", "route", "+8621555", "--from", "4711", "--config", &config]);
    assert_eq!((code, err.as_str()), (0, ""));
    for words in [
        "call to +8621555 from 4711",
        "route: 86 -> national (the longest prefix that fits)",
        "861 does not fit: digit 3 is 2, not 1",
        "number: 021555 (strip 2, prepend \"0\")",
        "group national, by weight: a (priority 0, weight 3), b (priority 0, weight 1); tried first: a 75.0 %, b 25.0 %",
        "1. a 192.0.2.1:5060: at most 10 calls; given up after 1.5 s of silence",
        "2. a 192.0.2.2:5060/tcp",
        "3. c (backup of a) 192.0.2.4:5060",
        "4. b 192.0.2.3:5060: at most 100 calls; given up after 6 s",
        "503 if every trunk is full or at its rate: all trunks full, Retry-After 5",
        "486 if a peer answers 486",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (code, out, _) = run(&["check", "route", "8613", "--config", &config]);
    assert_eq!(code, 0);
    assert!(out.contains("route: 861 -> c") && out.contains("86 fits too, and is shorter"), "{out}");
    let from = |source: &str| run(&["check", "route", "8613", "--source", source, "--config", &config]).1;
    assert!(from("203.0.113.1").contains("source: 203.0.113.1 is in no allowed network"), "403");
    assert!(from("127.0.0.1").contains("source: 127.0.0.1 is allowed"));
    assert!(from("192.0.2.4").contains("source: 192.0.2.4 is allowed"), "a trunk's peer");
    let (code, out, _) = run(&["check", "route", "44", "--config", &config]);
    assert_eq!(code, 0);
    assert!(out.contains("route: none") && out.contains("404 if no route matches"), "{out}");
}

#[test]
fn profiles_are_told() {
    let config = written(
        "[[profile]]\nname = \"p\"\nbase = \"pbx\"\nearly_media = false\nno_response = \"800ms\"\n\
         numbers = { called = \"national\", calling = \"e164\", country = \"86\" }\nheaders.remove = [\"Subject\"]\n\
         headers.add = { X-Trunk = \"{trunk}\" }\n\
         [[trunk]]\nname = \"a\"\npeers = [\"192.0.2.1:5060\"]\nprofile = \"p\"\nbackup = \"b\"\n\
         [[trunk]]\nname = \"b\"\npeers = [\"192.0.2.2:5060\"]\nprofile = \"carrier-strict\"\n",
    );
    let (code, out, _) = run(&["check", "config", &config]);
    assert_eq!(code, 0);
    for words in ["p: trusted, called national, calling e164", "not Subject, added: X-Trunk, no early media"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    let call = ["check", "route", "+862155550123", "--from", "862177770123", "--config", &config];
    let (code, out, _) = run(&call);
    assert_eq!(code, 0);
    for words in [
        "given up after 0.8 s of silence",
        "calling +862177770123, added X-Trunk, no early media, REFER execute, redirections: follow",
        "profile carrier-strict: called +862155550123, calling +862177770123, REFER refuse, redirections: refuse",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, out, _) = run(&[&call[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["tries"][0]["profile"], &told["tries"][0]["called"]),
        (&"p".into(), &"02155550123".into())
    );
    let (code, out, err) = run(&["check", "config", "--trunk=a=192.0.2.1:5060,profile=x"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("trunk \"a\": profile: \"x\" is no profile; known are"), "{err}");
}

#[test]
fn a_route_is_explained_in_json() {
    let config = written(GOOD);
    let (code, out, err) = run(&["check", "route", "8621", "--json", "--config", &config]);
    assert_eq!((code, err.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["route"]["prefix"], "86");
    assert_eq!(told["number_routed"], "021");
    assert_eq!(told["missed"][0]["prefix"], "861");
    assert_eq!(told["groups"][0]["trunks"][0]["first_share"], 0.75);
    let tries: Vec<&str> =
        told["tries"].as_array().unwrap().iter().map(|attempt| attempt["peer"].as_str().unwrap()).collect();
    assert_eq!(tries, ["192.0.2.1:5060", "192.0.2.2:5060/tcp", "192.0.2.4:5060", "192.0.2.3:5060"]);
    assert_eq!(told["tries"][2]["backup_of"], "a");
    assert_eq!(told["outcomes"][0]["status"], 503);
}

#[test]
fn a_peer_by_name_is_told_as_one_and_not_looked_up() {
    // A server that is none: whoever asked it would wait.
    let config = written(
        "[dns]\nservers = [\"192.0.2.53\"]\n[[trunk]]\nname = \"a\"\n\
         peers = [\"192.0.2.1:5060\", \"carrier.example;transport=tcp\", \"192.0.2.2:5060\"]\nbackup = \"b\"\n\
         [[trunk]]\nname = \"b\"\npeers = [\"other.example:5070\"]\n[[route]]\nto = [\"a\"]\n",
    );
    let (code, out, err) = run(&["check", "config", &config]);
    assert_eq!((code, err.as_str()), (0, ""));
    let words =
        "a: 192.0.2.1:5060 carrier.example;transport=tcp (a name, located through DNS) 192.0.2.2:5060,";
    assert!(out.contains(words), "{out}");
    let (code, out, err) = run(&["check", "route", "1", "--config", &config]);
    assert_eq!((code, err.as_str()), (0, ""));
    for words in [
        "2. a carrier.example;transport=tcp (a name: each address that DNS has for it)",
        "4. b (backup of a) other.example:5070 (a name",
        "503 if no peer is in service, and DNS has not said where those given by name are",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, out, _) = run(&["check", "route", "1", "--json", "--config", &config]);
    let told: Value = serde_json::from_str(&out).unwrap();
    let tries = told["tries"].as_array().unwrap();
    assert_eq!(
        (&tries[1]["peer"], &tries[1]["by_name"]),
        (&"carrier.example;transport=tcp".into(), &true.into())
    );
    assert_eq!((&tries[2]["peer"], &tries[2]["by_name"]), (&"192.0.2.2:5060".into(), &false.into()));
}
