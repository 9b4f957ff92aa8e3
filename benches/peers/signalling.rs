//! What a call costs the system in the middle: SIPp calls two SIPp carriers through it, step by step faster.

use crate::Bench;
use crate::middle::{Kind, Middle};
use crate::process::{Outcome, pause};
use crate::record::rounded;
use crate::sipp::{self, Carrier};
use serde_json::{Value, json};

/// Each system at each rate; a system's stairs end at the second step that was not clean.
pub fn measure(bench: &Bench) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    for kind in [Kind::Kamailio, Kind::Uring, Kind::Fallback] {
        let carriers =
            [Carrier::start("carrier-a", &bench.folder)?, Carrier::start("carrier-b", &bench.folder)?];
        let ports = [carriers[0].port, carriers[1].port];
        let middle = Middle::start(kind, &bench.trunkline, ports, &bench.folder)?;
        // The first calls pay for memory that later ones find.
        sipp::call(middle.port, 100, 50, &bench.folder, &mut |_| ())?;
        pause(0.5);
        let mut unclean = 0;
        for &rate in bench.extent.rates {
            let row = step(bench, kind, &middle, &carriers, rate)?;
            if row["completed"] == 0 {
                eprintln!("signalling  {} completed no call at {rate} calls/s", kind.name());
                break;
            }
            unclean += u32::from(row["clean"] == false);
            rows.push(row);
            if unclean == 2 {
                break;
            }
        }
    }
    Ok(rows)
}

fn step(bench: &Bench, kind: Kind, middle: &Middle, carriers: &[Carrier; 2], rate: u32) -> Outcome<Value> {
    let again = || carriers.iter().map(Carrier::retransmissions).sum::<u64>();
    let (before, sent_again) = (middle.usage(), again());
    let calls = rate * bench.extent.rate_seconds;
    let called = sipp::call(middle.port, rate, calls, &bench.folder, &mut |_| ())?;
    // Carriers write their statistics once a second, and call records are written behind the calls.
    pause(1.3);
    let used = middle.usage().since(&before);
    let carriers_again = again().saturating_sub(sent_again);
    let per_thousand = |seconds: f64| rounded(seconds * 1000.0 / called.completed.max(1) as f64);
    let on_time = called.seconds < f64::from(bench.extent.rate_seconds) * 1.15 + 1.0;
    let clean = called.failed == 0 && called.retransmissions + carriers_again == 0 && on_time;
    println!(
        "signalling  {:<22} {rate:>5} calls/s  {:.4} CPU-s per 1000 calls  {} failed, {} sent again{}",
        kind.name(),
        per_thousand(used.total),
        called.failed,
        called.retransmissions + carriers_again,
        if clean { "" } else { "  NOT CLEAN" }
    );
    Ok(json!({
        "system": kind.name(),
        "rate": rate,
        "calls": calls,
        "completed": called.completed,
        "failed": called.failed,
        "retransmissions_caller": called.retransmissions,
        "retransmissions_carriers": carriers_again,
        "caller_seconds": rounded(called.seconds),
        "clean": clean,
        "cpu_s": rounded(used.total),
        "cpu_user_s": rounded(used.user),
        "cpu_system_s": rounded(used.system),
        "cpu_s_per_1000_calls": per_thousand(used.total),
    }))
}
