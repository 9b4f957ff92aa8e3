//! What each kind of work on voice costs: relaying, protecting, translating. The same calls through either system, and behind
//! it a gateway that undoes the work, so that callers and carriers speak the same whatever the work is.

use crate::Bench;
use crate::media::plan;
use crate::middle::{Kind, Middle, Setting};
use crate::process::{Cores, Outcome, Running, free_port, pause};
use crate::record::rounded;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// Packets of 20 ms that each side sends in a second.
const PACKETS: f64 = 50.0;
/// A result counts only if so many of them came through.
const WHOLE: f64 = 0.99;

/// What is done to the voice of a call on its way from the caller's side to the callee's, and back.
struct Work {
    name: &'static str,
    /// Options of the trunks: what the callee's side speaks.
    trunk: &'static str,
    /// The same for rtpengine.
    rtpengine: &'static str,
    /// What the gateway behind takes from whoever calls, so that no work is measured that was not done.
    behind: &'static str,
    /// Whether that one has to translate what it gets.
    translated: bool,
}

const WORKS: [Work; 7] = [
    Work { name: "relay", trunk: "", rtpengine: "", behind: CLEAR, translated: false },
    Work {
        name: "SRTP AES-CM-128 HMAC-SHA1-80",
        trunk: ",profile=cm128",
        rtpengine: "RTP/SAVP DTLS=off SDES-only-AES_CM_128_HMAC_SHA1_80",
        behind: PROTECTED,
        translated: false,
    },
    Work {
        name: "SRTP AES-GCM-128",
        trunk: ",profile=gcm128",
        rtpengine: "RTP/SAVP DTLS=off SDES-only-AEAD_AES_128_GCM",
        behind: PROTECTED,
        translated: false,
    },
    Work {
        name: "PCMA to PCMU",
        trunk: ",codecs=PCMU",
        rtpengine: "codec-mask-PCMA codec-transcode-PCMU",
        behind: CLEAR,
        translated: true,
    },
    Work {
        name: "PCMA to G.722",
        trunk: ",codecs=G722",
        rtpengine: "codec-mask-PCMA codec-transcode-G722",
        behind: CLEAR,
        translated: true,
    },
    Work {
        name: "PCMA to G.729",
        trunk: ",codecs=G729",
        rtpengine: "codec-mask-PCMA codec-transcode-G729",
        behind: CLEAR,
        translated: true,
    },
    Work {
        name: "PCMA to Opus",
        trunk: ",codecs=opus",
        rtpengine: "codec-mask-PCMA codec-transcode-opus",
        behind: CLEAR,
        translated: true,
    },
];

/// The profiles that [`WORKS`] name; keys go over UDP, since nobody reads along on this host.
const PROFILES: &str = r#"
[[profile]]
name = "cm128"
srtp = "required"
srtp_suites = ["AES_CM_128_HMAC_SHA1_80"]
srtp_keys_in_clear = true
[[profile]]
name = "gcm128"
srtp = "required"
srtp_suites = ["AEAD_AES_128_GCM"]
srtp_keys_in_clear = true
"#;

const CLEAR: &str = "";
const PROTECTED: &str = "[media]\nsrtp = \"required\"\nsrtp_keys_in_clear = true\n";
/// And towards the carriers: nothing of it.
const CARRIERS: &str = "[[profile]]\nname = \"clear\"\nsrtp = \"off\"\n";

/// Each work with each system.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    for work in &WORKS {
        for kind in [Kind::Rtpengine, Kind::Uring, Kind::Fallback] {
            // One that fails shall not cost the others.
            rows.push(point(bench, kind, work).unwrap_or_else(|error| {
                eprintln!("cost        {} {}: {error}", kind.name(), work.name);
                json!({ "system": kind.name(), "work": work.name, "error": error })
            }));
        }
    }
    Ok(rows)
}

/// A system, and the gateway behind it that speaks to the carriers as callers do.
fn start(bench: &Bench, kind: Kind, work: &Work, carriers: [u16; 2], http: u16) -> Outcome<[Middle; 2]> {
    let folder = bench.folder.join("behind");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let file = |name: &str, text: &str| {
        let path = bench.folder.join(name);
        fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok::<_, String>(vec!["--config".to_owned(), path.display().to_string()])
    };
    let gateway = file("behind.toml", &(work.behind.to_owned() + CARRIERS))?;
    let undo = Setting {
        gateway,
        trunk: ",codecs=PCMA,profile=clear".to_owned(),
        http: Some(http),
        behind: true,
        ..Setting::default()
    };
    let behind = Middle::start_as(Kind::Uring, &bench.trunkline, carriers, &folder, &undo)?;
    let setting = Setting {
        gateway: file("profiles.toml", PROFILES)?,
        trunk: work.trunk.to_owned(),
        rtpengine: work.rtpengine.to_owned(),
        ..Setting::default()
    };
    let system = Middle::start_as(kind, &bench.trunkline, [behind.port; 2], &bench.folder, &setting)?;
    Ok([system, behind])
}

fn point(bench: &Bench, kind: Kind, work: &Work) -> Outcome<Value> {
    let calls = bench.extent.cost_calls;
    let carriers = [free_port()?, free_port()?];
    let http = free_port()?;
    let [system, _behind] = start(bench, kind, work, carriers, http)?;
    let idle = system.usage();
    let out = bench.folder.join("cost-result");
    let _ = fs::remove_dir_all(&out);
    let text = plan(bench, calls, system.port, carriers);
    fs::write(bench.folder.join("cost.toml"), text).map_err(|error| error.to_string())?;
    let arguments = ["load", "run", "cost.toml", "--out", "cost-result", "--scheduling", "auto"];
    let arguments = arguments.map(str::to_owned);
    let start = Instant::now();
    let mut load = Running::start("load-run", &bench.trunkline, &arguments, Cores::Load, &bench.folder)?;
    let (ramp, plateau) = (f64::from(bench.extent.ramp_seconds), f64::from(bench.extent.plateau_seconds));
    // A second for the generator to start and for the last calls to settle.
    pause(ramp + 1.0);
    let (began, before) = (Instant::now(), system.usage());
    pause((ramp + plateau - 0.5 - start.elapsed().as_secs_f64()).max(0.5));
    let seconds = began.elapsed().as_secs_f64();
    let used = system.usage().since(&before);
    let in_time = load.wait(Duration::from_secs_f64(2.0 * ramp + plateau + 45.0));
    drop(load);
    let text = fs::read_to_string(out.join("result.json")).map_err(|error| {
        let log = fs::read_to_string(bench.folder.join("load-run.log")).unwrap_or_default();
        format!("trunkline load run left no result ({error}, in time: {in_time}):\n{log}")
    })?;
    let result: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let completed = result["signalling"]["completed"].as_u64().unwrap_or(0);
    let directions = result["media"]["directions"].as_array().cloned().unwrap_or_default();
    let sum = |name: &str| directions.iter().filter_map(|d| d[name].as_u64()).sum::<u64>();
    // Marks do not outlast a codec that loses something; the packets that bore them do.
    let received = sum("received") + sum("unreadable");
    let sent = sum("sent").max(1) as f64;
    let through = received as f64 / sent;
    if completed < u64::from(calls) || through < WHOLE {
        return Err(format!("{completed} of {calls} calls, {:.1} % of the packets", through * 100.0));
    }
    let translated = counter(http, "trunkline_rtp_translated_total")? / sent;
    if (translated > WHOLE) != work.translated {
        return Err(format!("{:.1} % of the packets came in the callee's codec", translated * 100.0));
    }
    let microseconds = used.total / seconds / f64::from(calls) * 1e6;
    println!(
        "cost        {:<22} {:<30} {microseconds:>8.0} us per call and second, {:>6.0} calls per core",
        kind.name(),
        work.name,
        1e6 / microseconds
    );
    Ok(json!({
        "system": kind.name(),
        "work": work.name,
        "calls": calls,
        "seconds": rounded(seconds),
        "cores": rounded(used.total / seconds),
        "us_per_call_second": rounded(microseconds),
        "us_per_packet": rounded(microseconds / (2.0 * PACKETS)),
        "calls_per_core": rounded(1e6 / microseconds),
        "memory_per_call_bytes": used.memory.saturating_sub(idle.memory) / u64::from(calls),
        "sent": sum("sent"),
        "received": received,
    }))
}

/// The value of a counter at the gateway whose metrics are at this port.
fn counter(http: u16, name: &str) -> Outcome<f64> {
    let broken = |error: std::io::Error| format!("metrics of the gateway behind: {error}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http)).map_err(broken)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(broken)?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(broken)?;
    let of =
        |line: &str| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{'])).map(str::to_owned);
    let values =
        text.lines().filter_map(of).filter_map(|rest| rest.rsplit(' ').next()?.trim().parse::<f64>().ok());
    values.reduce(|a, b| a + b).ok_or_else(|| format!("the gateway behind has no metric {name}"))
}
