//! What relaying voice costs: our callers and carriers on one side, N calls up through the system in the middle.

use crate::Bench;
use crate::middle::{Kind, Middle};
use crate::process::{Cores, Outcome, Running, Usage, free_port, pause};
use crate::record::rounded;
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// From so many calls on the generator may use the middle's core too: one core is too small for it.
const GENERATOR_WANTS_MORE: u32 = 1001;

/// Each system with each number of calls.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    for &calls in bench.extent.calls {
        for kind in [Kind::Rtpengine, Kind::Uring, Kind::Fallback] {
            // One that fails shall not cost the others.
            rows.push(point(bench, kind, calls).unwrap_or_else(|error| {
                eprintln!("relay       {} with {calls} calls: {error}", kind.name());
                json!({ "system": kind.name(), "calls": calls, "error": error })
            }));
        }
    }
    Ok(rows)
}

/// All calls come up within the ramp, stay over the plateau, and go down as they came.
pub fn plan(bench: &Bench, calls: u32, to: u16, carriers: [u16; 2]) -> String {
    let (ramp, plateau) = (bench.extent.ramp_seconds, bench.extent.plateau_seconds);
    let rate = f64::from(calls) / f64::from(ramp);
    format!(
        r#"name = "relay"
[target]
to = "sip:+4930{{00000-99999}}@127.0.0.1:{to}"
[[carrier]]
name = "a"
listen = "127.0.0.1:{}"
[[carrier]]
name = "b"
listen = "127.0.0.1:{}"
[arrival]
law = "constant"
rate = {rate:?}
seconds = {ramp}
calls = {calls}
[hold]
law = "fixed"
seconds = {}
[media]
rtp = true
codec = "PCMA"
"#,
        carriers[0],
        carriers[1],
        ramp + plateau
    )
}

fn point(bench: &Bench, kind: Kind, calls: u32) -> Outcome<Value> {
    let carriers = [free_port()?, free_port()?];
    let middle = Middle::start(kind, &bench.trunkline, carriers, &bench.folder)?;
    let idle = middle.usage();
    let file = bench.folder.join("relay.toml");
    let out = bench.folder.join("relay-result");
    let _ = fs::remove_dir_all(&out);
    fs::write(&file, plan(bench, calls, middle.port, carriers)).map_err(|error| error.to_string())?;
    let shared = calls >= GENERATOR_WANTS_MORE;
    let cores = if shared { Cores::All } else { Cores::Load };
    // Where it shares the core of the system in the middle it must not go before it.
    let scheduling = if shared { "normal" } else { "auto" };
    let arguments = ["load", "run", "relay.toml", "--out", "relay-result", "--scheduling", scheduling];
    let arguments = arguments.map(str::to_owned);
    let start = Instant::now();
    let mut load = Running::start("load-run", &bench.trunkline, &arguments, cores, &bench.folder)?;
    let (ramp, plateau) = (f64::from(bench.extent.ramp_seconds), f64::from(bench.extent.plateau_seconds));
    // A second for the generator to start and for the last calls to settle.
    let from = ramp + 1.0;
    let to = ramp + plateau - 0.5;
    pause(from);
    let (began, before, generator) = (Instant::now(), middle.usage(), Usage::of(&[load.id()]));
    pause((to - start.elapsed().as_secs_f64()).max(0.5));
    let seconds = began.elapsed().as_secs_f64();
    let used = middle.usage().since(&before);
    let generator = Usage::of(&[load.id()]).since(&generator);
    let in_time = load.wait(Duration::from_secs_f64(2.0 * ramp + plateau + 45.0));
    drop(load);
    let text = fs::read_to_string(out.join("result.json")).map_err(|error| {
        let log = fs::read_to_string(bench.folder.join("load-run.log")).unwrap_or_default();
        format!("trunkline load run left no result ({error}, in time: {in_time}):\n{log}")
    })?;
    let result: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let series = fs::read_to_string(out.join("series.jsonl")).unwrap_or_default();
    let steady = plateau_of(&series, from, to);

    let directions = result["media"]["directions"].as_array().cloned().unwrap_or_default();
    let sum = |name: &str| directions.iter().filter_map(|d| d[name].as_u64()).sum::<u64>();
    // Of the two directions, the worse.
    let delay = |name: &str| {
        let worst = directions.iter().filter_map(|d| d["delay"][name].as_f64()).fold(0.0, f64::max);
        rounded(worst / 1e6)
    };
    let completed = result["signalling"]["completed"].as_u64().unwrap_or(0);
    let memory = used.memory.saturating_sub(idle.memory) / u64::from(calls);
    let invalid: Vec<&str> = result["validity"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["status"] == "invalid")
        .filter_map(|check| check["id"].as_str())
        .collect();
    println!(
        "relay       {:<22} {calls:>5} calls  {:.3} cores  p50 {} p99 {} p99.9 {} ms  lost {} of {}  {}",
        kind.name(),
        used.total / seconds,
        delay("p50"),
        delay("p99"),
        delay("p999"),
        sum("lost"),
        sum("sent"),
        if invalid.is_empty() { String::new() } else { format!("generator late: {}", invalid.join(", ")) }
    );
    Ok(json!({
        "system": kind.name(),
        "calls": calls,
        "completed": completed,
        "seconds": rounded(seconds),
        "cores": rounded(used.total / seconds),
        "cores_user": rounded(used.user / seconds),
        "cores_system": rounded(used.system / seconds),
        "memory_per_call_bytes": memory,
        "p50_ms": delay("p50"),
        "p99_ms": delay("p99"),
        "p999_ms": delay("p999"),
        "sent": sum("sent"),
        "received": sum("received"),
        "lost": sum("lost"),
        "cross_talk": sum("cross_talk"),
        "plateau": steady,
        "generator_cores": rounded(generator.total / seconds),
        "generator_shares_the_core": shared,
        "generator_invalid": invalid,
    }))
}

/// What the per-second series says of the seconds in which all calls were up.
pub fn plateau_of(series: &str, from: f64, to: f64) -> Value {
    let rows: Vec<Value> = series
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|row| row["t"].as_f64().is_some_and(|t| t >= from && t <= to))
        .collect();
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    let all = |name: &str| -> Vec<f64> {
        let mut all: Vec<f64> = rows.iter().filter_map(|row| row[name].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let median = |name: &str| all(name).get(rows.len().saturating_sub(1) / 2).copied().map(rounded);
    json!({
        "seconds": rows.len(),
        "calls": rows.iter().filter_map(|row| row["calls"].as_u64()).max(),
        "sent": sum("rtp_sent"),
        "lost": sum("rtp_lost"),
        "p50_ms_median_second": median("delay_p50_ms"),
        "p99_ms_median_second": median("delay_p99_ms"),
        "p99_ms_worst_second": all("delay_p99_ms").last().copied().map(rounded),
    })
}
