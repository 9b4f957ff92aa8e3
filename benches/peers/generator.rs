//! What a call costs the generator, beside SIPp: one end is measured, SIPp is the other end both times.

use crate::Bench;
use crate::process::{Cores, Outcome, Running, Usage, free_port, pause};
use crate::record::rounded;
use crate::sipp::{self, Carrier};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// Both generators as caller and as carrier at each rate, with SIPp at the other end.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    for &rate in bench.extent.generator_rates {
        let calls = rate * bench.extent.rate_seconds;

        let carrier = Carrier::start("carrier-a", &bench.folder)?;
        let mut used = Usage::default();
        let carrier_before = Usage::of(&[carrier.id()]);
        let called = sipp::call(carrier.port, rate, calls, &bench.folder, &mut |pid| {
            // Read to the last moment: a process that is gone has no figures any more.
            let now = Usage::of(&[pid]);
            if now.total > 0.0 {
                used = now;
            }
        })?;
        let carrier_used = Usage::of(&[carrier.id()]).since(&carrier_before);
        drop(carrier);
        rows.push(row("SIPp", "caller", rate, calls, called.completed, called.retransmissions, used));
        rows.push(row(
            "SIPp",
            "carrier",
            rate,
            calls,
            called.completed,
            called.retransmissions,
            carrier_used,
        ));

        rows.push(our_caller(bench, rate, calls)?);
        rows.push(our_carrier(bench, rate, calls)?);
    }
    Ok(rows)
}

fn our_caller(bench: &Bench, rate: u32, calls: u32) -> Outcome<Value> {
    let carrier = Carrier::start("carrier-a", &bench.folder)?;
    let out = bench.folder.join("caller-result");
    let _ = fs::remove_dir_all(&out);
    let text = format!(
        "load call --to sip:4930123456@127.0.0.1:{} --rate {rate} --calls {calls} --hold 0 --out {}",
        carrier.port,
        out.display()
    );
    let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let mut caller = Running::start("load-call", &bench.trunkline, &arguments, Cores::Load, &bench.folder)?;
    let limit = Duration::from_secs(u64::from(bench.extent.rate_seconds) * 2 + 45);
    let start = std::time::Instant::now();
    let mut used = Usage::default();
    while !caller.is_over() && start.elapsed() < limit {
        let now = Usage::of(&[caller.id()]);
        // SIPp draws no report at the end: ours is left out.
        let log = fs::read_to_string(bench.folder.join("load-call.log")).unwrap_or_default();
        if log.contains("the run is over") {
            break;
        }
        if now.total > 0.0 {
            used = now;
        }
        pause(0.02);
    }
    caller.wait(limit);
    drop(caller);
    let result = fs::read_to_string(out.join("result.json")).map_err(|error| {
        let log = fs::read_to_string(bench.folder.join("load-call.log")).unwrap_or_default();
        format!("trunkline load call left no result ({error}):\n{log}")
    })?;
    let result: Value = serde_json::from_str(&result).map_err(|error| error.to_string())?;
    let of = |name: &str| result["signalling"][name].as_u64().unwrap_or(0);
    Ok(row("trunkline load", "caller", rate, calls, of("completed"), of("retransmissions"), used))
}

fn our_carrier(bench: &Bench, rate: u32, calls: u32) -> Outcome<Value> {
    let port = free_port()?;
    let arguments = ["load".to_owned(), "answer".to_owned(), format!("--listen=127.0.0.1:{port}")];
    let mut carrier =
        Running::start("load-answer", &bench.trunkline, &arguments, Cores::Load, &bench.folder)?;
    carrier.wait_for_port(port, &bench.folder)?;
    pause(0.3);
    let before = Usage::of(&[carrier.id()]);
    let called = sipp::call(port, rate, calls, &bench.folder, &mut |_| ())?;
    let used = Usage::of(&[carrier.id()]).since(&before);
    Ok(row("trunkline load", "carrier", rate, calls, called.completed, called.retransmissions, used))
}

fn row(tool: &str, end: &str, rate: u32, calls: u32, completed: u64, again: u64, used: Usage) -> Value {
    let per_thousand = rounded(used.total * 1000.0 / completed.max(1) as f64);
    println!(
        "generator   {tool:<16} {end:<8} {rate:>5} calls/s  {per_thousand:.4} CPU-s per 1000 calls  {} failed",
        u64::from(calls).saturating_sub(completed)
    );
    json!({
        "tool": tool,
        "end": end,
        "rate": rate,
        "calls": calls,
        "completed": completed,
        "failed": u64::from(calls).saturating_sub(completed),
        "retransmissions": again,
        "cpu_s": rounded(used.total),
        "cpu_user_s": rounded(used.user),
        "cpu_system_s": rounded(used.system),
        "cpu_s_per_1000_calls": per_thousand,
    })
}
