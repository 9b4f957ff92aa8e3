//! The command line: help, wrong usage, the load generator against its own carrier and through the gateway, and reports.

use crate::gateway::{Gateway, PATIENCE, binary, finish_within, folder, run, wait_until};
use crate::phone::Phone;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

on_both_drivers! {
    load_reaches_a_carrier_directly
    load_reaches_a_carrier_through_the_gateway
    load_follows_each_packet_through_opus_and_back
    a_carrier_can_refuse_and_keep_silent
}

#[test]
fn every_subcommand_has_help() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in ["serve", "check", "load", "drill", "report", "tune"] {
        assert!(out.contains(word), "{word} in {out}");
    }
    let commands: [(&[&str], &[&str]); 16] = [
        (
            &["serve"],
            &[
                "--listen",
                "--trunk",
                "--route",
                "--http",
                "--allow",
                "--rtp-ports",
                "--io",
                "--workers",
                "--data",
                "--config",
            ],
        ),
        (&["check"], &["config", "route"]),
        (&["check", "config"], &["[FILE]", "--config", "--trunk", "--route", "--listen"]),
        (
            &["check", "route"],
            &["<NUMBER>", "--from", "--source", "--json", "--config", "--trunk", "--route"],
        ),
        (&["load"], &["answer", "call", "run"]),
        (&["load", "answer"], &["--listen", "--ring", "--status", "--silent", "--rtp"]),
        (
            &["load", "call"],
            &[
                "--to",
                "--from",
                "--rate",
                "--concurrent",
                "--hold",
                "--duration",
                "--calls",
                "--rtp",
                "--out",
            ],
        ),
        (&["load", "run"], &["PLAN.toml", "--out"]),
        (&["drill"], &["--concurrent", "--duration", "--io", "--lang", "--out"]),
        (&["report"], &["render", "check"]),
        (&["report", "render"], &["--lang"]),
        (&["report", "check"], &["<DIR>"]),
        (&["tune"], &["check", "apply", "restore", "fingerprint"]),
        (&["tune", "check"], &["--profile"]),
        (&["tune", "apply"], &["--yes"]),
        (&["tune", "restore"], &["--yes"]),
    ];
    for (command, words) in commands {
        let (code, out, err) = run(&[command, &["--help"]].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        for word in words {
            assert!(out.contains(word), "{word} in the help of {command:?}: {out}");
        }
    }
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("trunkline ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let wrong: [&[&str]; 17] = [
        &["fly"],
        &["serve", "--nonsense"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--workers", "many"],
        &["serve", "--media-timeout", "soon"],
        &["load"],
        &["load", "answer"],
        &["load", "answer", "--listen", "127.0.0.1:0", "--status", "200"],
        &["load", "call"],
        &["load", "call", "--to", "nobody"],
        &["load", "call", "--to", "sip:1@127.0.0.1:5999", "--calls", "1", "--duration", "1"],
        &["load", "call", "--to", "sip:1@127.0.0.1:5999", "--hold", "-1", "--calls", "1"],
        &["load", "call", "--to", "sip:1@127.0.0.1:5999", "--io", "fast", "--calls", "1"],
        &["load", "run", "/nowhere/plan.toml"],
        &["drill", "--io", "fast"],
        &["report", "render", "/nowhere/run"],
        &["tune", "check", "--profile", "nonsense"],
    ];
    for arguments in wrong {
        let (code, _, err) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?} says nothing");
    }
    let (code, out, err) = run(&["report", "check", "/nowhere/run"]);
    assert!(code == 1 || code == 2, "{code}: {out}{err}");
}

#[test]
fn the_host_is_described_and_not_changed() {
    let (code, out, err) = run(&["tune", "fingerprint"]);
    assert_eq!(code, 0, "{err}");
    assert!(serde_json::from_str::<Value>(&out).unwrap().is_object());
    let (code, out, err) = run(&["tune", "check"]);
    assert!(code == 0 || code == 1, "{out}{err}");
    assert!(!out.is_empty());
}

/// `load answer`, killed in the end.
struct Answering(Child);

impl Answering {
    fn start(io: &str, listen: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(["load", "answer", "--io", io, "--listen", &listen.to_string()]).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let answering = Self(child);
        if !arguments.contains(&"--silent") {
            // It serves as soon as it answers OPTIONS; ask until it does.
            wait_until("the carrier to listen", || std::net::TcpStream::connect(listen).is_ok());
        } else {
            wait_until("the carrier to listen", || std::net::UdpSocket::bind(listen).is_err());
        }
        answering
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> SocketAddr {
    Phone::new("127.0.0.1").address
}

/// Runs `load call` with a report; tells its exit code and `result.json`.
fn load(io: &str, to: &str, out: &Path, arguments: &[&str]) -> (i32, Value) {
    let mut command: Command = binary();
    command.args(["load", "call", "--io", io, "--to", to, "--out"]).arg(out).args(arguments);
    let (code, said, err) = finish_within(&mut command, PATIENCE * 3);
    let text = std::fs::read_to_string(out.join("result.json"))
        .unwrap_or_else(|error| panic!("{error}: {said}{err}"));
    (code, serde_json::from_str(&text).unwrap())
}

/// The files of a run are all there, agree with the exit code, and are drawn again byte for byte.
fn whole(out: &Path, code: i32, result: &Value) {
    let schema = result["schema"].as_str().unwrap();
    assert!(schema.starts_with("trunkline.result/"), "{schema}");
    let verdict = result["verdict"].as_str().unwrap();
    let expected = match verdict {
        "PASS" => 0,
        "FAIL" => 1,
        "INVALID" => 3,
        other => panic!("verdict {other}"),
    };
    assert_eq!(code, expected, "{verdict}: {}", result["reasons"]);
    let read = |name: &str| {
        std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for name in ["series.jsonl", "events.jsonl"] {
        for line in read(name).lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{name}: {line}");
        }
    }
    assert!(!read("series.jsonl").is_empty());
    assert!(read("junit.xml").contains("<testsuite"));
    let directory = out.to_str().unwrap();
    let (code, said, err) = run(&["report", "check", directory]);
    assert_eq!(code, 0, "{said}{err}");
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let (code, said, err) = run(&["report", "render", directory]);
        assert_eq!(code, 0, "{said}{err}");
        drawn.push((read("index.html"), read("junit.xml")));
    }
    assert!(drawn[0].0.contains("<svg") && drawn[0].0.contains(verdict));
    assert_eq!(drawn[0], drawn[1], "drawn twice from the same record");
    let (code, _, err) = run(&["report", "render", directory, "--lang", "zh"]);
    assert_eq!(code, 0, "{err}");
    assert!(read("index.html").contains("lang=\"zh"), "in Chinese");
    // What was measured cannot be changed unnoticed.
    let series = read("series.jsonl");
    std::fs::write(out.join("series.jsonl"), series.replacen('1', "2", 1)).unwrap();
    let (code, said, _) = run(&["report", "check", directory]);
    assert_eq!(code, 1, "{said}");
}

fn load_reaches_a_carrier_directly(io: &str) {
    let (carrier, out) = (free(), folder("direct"));
    let _answering = Answering::start(io, carrier, &["--rtp"]);
    let to = format!("sip:44####@{carrier}");
    let (code, result) = load(io, &to, &out, &["--calls", "10", "--rate", "10", "--hold", "1", "--rtp"]);
    assert_ne!(result["verdict"], "FAIL", "{}", result["reasons"]);
    assert_eq!(result["environment"]["io"]["caller"].as_str().unwrap_or(io), io);
    whole(&out, code, &result);
}

fn load_reaches_a_carrier_through_the_gateway(io: &str) {
    let (carrier, out) = (free(), folder("through"));
    let _answering = Answering::start(io, carrier, &["--rtp", "--ring", "0.2"]);
    let gateway = Gateway::start(io, &["--workers", "2", &format!("--trunk=carrier={carrier}")]);
    let to = format!("sip:44####@{}", gateway.sip);
    let (code, result) = load(io, &to, &out, &["--calls", "10", "--rate", "10", "--hold", "2", "--rtp"]);
    assert_ne!(result["verdict"], "FAIL", "{}", result["reasons"]);
    let cdrs = gateway.wait_cdrs(10);
    for cdr in &cdrs {
        assert_eq!((&cdr["cause"], &cdr["ended_by"]), (&"normal".into(), &"caller".into()), "{cdr}");
        let packets = |leg: &str, way: &str| cdr["media"][leg][way]["packets"].as_u64().unwrap();
        // Two seconds of 20 ms; what one leg sent is what the other received.
        assert!(packets("caller", "received") >= 60, "{cdr}");
        assert!(packets("callee", "received") >= 60, "{cdr}");
        assert_eq!(packets("caller", "sent"), packets("callee", "received"), "{cdr}");
        assert_eq!(packets("callee", "sent"), packets("caller", "received"), "{cdr}");
    }
    gateway.wait_calls(0);
    whole(&out, code, &result);
}

/// Opus keeps no sample of what is said: every packet is told all the same, by the tones that calls spell their names in.
fn load_follows_each_packet_through_opus_and_back(io: &str) {
    let (carrier, out) = (free(), folder("opus"));
    let gateway = Gateway::start(io, &[&format!("--trunk=carrier={carrier},codecs=opus")]);
    let plan = out.join("opus.toml");
    let text = format!(
        "name = \"opus\"\n[target]\nto = \"sip:44{{100-999}}@{}\"\n\
         [[carrier]]\nname = \"carrier\"\nlisten = \"{carrier}\"\n\
         [arrival]\nlaw = \"constant\"\nrate = 5.0\nseconds = 1.0\n\
         [hold]\nlaw = \"fixed\"\nseconds = 4.0\n\
         [media]\ncodec = \"PCMA\"\ncarrier_codec = \"opus\"\n[limits]\nmos = 1.0\n",
        gateway.sip
    );
    std::fs::write(&plan, text).unwrap();
    let mut command: Command = binary();
    command.args(["load", "run", "--io", io, "--out"]).arg(&out).arg(&plan);
    let (code, said, err) = finish_within(&mut command, PATIENCE * 3);
    let text = std::fs::read_to_string(out.join("result.json"))
        .unwrap_or_else(|error| panic!("{error}: {said}{err}"));
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_ne!(result["verdict"], "FAIL", "{}", result["reasons"]);
    assert_eq!(result["target"]["codec"], "PCMA/8000 to opus/48000/2");
    for direction in result["media"]["directions"].as_array().unwrap() {
        // Four seconds of 20 ms a call, each in its place, and no other call's.
        assert!(direction["received"].as_u64() >= Some(5 * 190), "{direction}");
        for count in ["unreadable", "cross_talk", "duplicated"] {
            assert_eq!(direction[count], 0, "{direction}");
        }
    }
    for cdr in gateway.wait_cdrs(5) {
        for (leg, codec) in [("caller", "PCMA"), ("callee", "opus")] {
            assert_eq!(cdr["media"][leg]["codec"], codec, "{cdr}");
            assert_eq!(cdr["media"][leg]["untranslated"], 0, "{cdr}");
        }
    }
    gateway.wait_calls(0);
    whole(&out, code, &result);
}

fn a_carrier_can_refuse_and_keep_silent(io: &str) {
    let (refusing, silent) = (free(), free());
    let _refusing = Answering::start(io, refusing, &["--status", "486"]);
    let _silent = Answering::start(io, silent, &["--silent"]);
    let trunks = [format!("--trunk=refusing={refusing}"), format!("--trunk=silent={silent}")];
    let gateway = Gateway::start(
        io,
        &[
            "--workers",
            "2",
            &trunks[0],
            &trunks[1],
            "--route=1=refusing",
            "--route=2=silent",
            "--probe-interval",
            "0s",
        ],
    );
    let mut calls = 0;
    for (number, words) in [("1", "486"), ("2", "no response")] {
        let out = folder("refused");
        let to = format!("sip:{number}@{}", gateway.sip);
        let (code, result) = load(io, &to, &out, &["--calls", "2", "--rate", "5", "--hold", "1"]);
        assert_ne!((code, &result["verdict"]), (0, &"PASS".into()), "calls that fail are no pass");
        calls += 2;
        let cdrs = gateway.wait_cdrs(calls);
        assert!(cdrs[0].to_string().contains(words), "{}", cdrs[0]);
    }
}
