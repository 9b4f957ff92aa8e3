//! docs/performance.md and its plots, drawn from the result files and from nothing else.

use crate::plot::{Curve, Plot, Scale};
use crate::process::Outcome;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Draws the page below `root` from what stands in `results`.
pub fn draw(results: &Path, root: &Path) -> Outcome<()> {
    let docs = root.join("docs");
    let mut page = String::from(
        "# Performance beside the peers\n\n\
         Drawn by `benches/peers/run --render` from `reports/results/peers/*.json`; measured by `benches/peers/run --all`.\n\
         Absolute figures move from machine to machine: what counts is the ratio to the peer in the same run.\n\
         CPU is user and system time of all processes of a system, from the kernel's accounting.\n",
    );
    let mut drawn = 0;
    for (name, section) in [
        ("signalling", signalling as fn(&[Value], &Path) -> Outcome<String>),
        ("media", media),
        ("cost", cost),
        ("tls", tls),
        ("registrations", registrations),
        ("overload", overload),
        ("generator", generator),
    ] {
        let Some(record) = read(&results.join(format!("{name}.json")))? else { continue };
        let rows = record["rows"].as_array().cloned().unwrap_or_default();
        page.push_str(&section(&rows, &docs)?);
        page.push_str(&origin(name, &record));
        drawn += 1;
    }
    if drawn == 0 {
        return Err(format!("nothing was recorded in {} yet", results.display()));
    }
    page.push_str(include_str!("reading.md"));
    put(&docs.join("performance.md"), &page)?;
    crate::readme::draw(results, root)?;
    println!("drew {}", docs.join("performance.md").display());
    Ok(())
}

/// A result file, if there is one.
pub fn read(file: &Path) -> Outcome<Option<Value>> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(None) };
    let record: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    if record["schema"] != "trunkline.peers/1" {
        return Err(format!("{}: not of schema trunkline.peers/1", file.display()));
    }
    Ok(Some(record))
}

/// Writes a file, and its folder if there is none.
pub fn put(file: &Path, text: &str) -> Outcome<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Where and when a section's figures were measured.
fn origin(name: &str, record: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let place = &record["environment"];
    let versions = &record["versions"];
    format!(
        "\n<small>`{name}.json`: {}, commit `{}`, `{}`; {} cores of {}, kernel {}; SIPp {}, Kamailio {}, rtpengine {}.</small>\n",
        word(&record["date"]),
        word(&record["commit"]),
        word(&record["command"]),
        place["usable_cpus"],
        word(&place["cpu"]),
        word(&place["kernel"]),
        word(&versions["sipp"]),
        word(&versions["kamailio"]),
        word(&versions["rtpengine"]),
    )
}

/// What each work on a call's voice takes.
fn cost(rows: &[Value], _docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## What a call's voice costs\n\n\
         A call is two-way G.711 at 20 ms on the caller's side; the work is what the system does between it and the callee's side, both ways. \
         Behind the system a gateway undoes it, on another core and not counted, so that generator and carriers are the same in all rows. CPU is \
         microseconds of a core per call and second of talk while all calls are up, signalling and the process's own needs in it; calls per core is that turned \
         round, not a trial of so many. A row stands only if all calls were completed and 99 % of the packets came through.\n",
    );
    let columns =
        ["work", "system", "calls", "µs per call-second", "µs per packet", "calls per core", "KiB a call"];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for row in rows {
        let name = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        if let Some(error) = row["error"].as_str() {
            let reason = error.lines().next().unwrap_or_default();
            let _ = writeln!(text, "| {} | {} | – | {reason} | – | – | – |", name("work"), name("system"));
            continue;
        }
        let memory = row["memory_per_call_bytes"].as_f64().unwrap_or_default() / 1024.0;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {memory:.0} |",
            name("work"),
            name("system"),
            row["calls"],
            number(&row["us_per_call_second"], 0),
            number(&row["us_per_packet"], 2),
            number(&row["calls_per_core"], 0),
        );
    }
    Ok(text)
}

/// The values of `key` in the order of their first appearance.
fn distinct(rows: &[Value], key: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for row in rows {
        if !found.contains(&row[key]) {
            found.push(row[key].clone());
        }
    }
    found
}

/// The row with these two values.
pub fn find<'r>(rows: &'r [Value], a: (&str, &Value), b: (&str, &Value)) -> Option<&'r Value> {
    rows.iter().find(|row| row[a.0] == *a.1 && row[b.0] == *b.1)
}

/// A figure, or a dash where there is none.
pub fn number(value: &Value, decimals: usize) -> String {
    value.as_f64().map_or_else(|| "–".to_owned(), |n| format!("{n:.decimals$}"))
}

/// A curve for each system.
fn curves(rows: &[Value], x: &str, y: &str, suffix: &str, dashed: bool) -> Vec<Curve> {
    distinct(rows, "system")
        .iter()
        .enumerate()
        .map(|(colour, system)| {
            let mut points: Vec<(f64, f64)> = rows
                .iter()
                .filter(|row| row["system"] == *system)
                .filter_map(|row| Some((row[x].as_f64()?, row[y].as_f64()?)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let name = format!("{}{suffix}", system.as_str().unwrap_or_default());
            Curve { name, colour, dashed, points }
        })
        .collect()
}

fn heading(columns: &[String]) -> String {
    format!("\n| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

fn signalling(rows: &[Value], docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## Signalling: CPU of the system in the middle\n\n\
         SIPp calls two SIPp carriers: INVITE, 180, 200, ACK, BYE, 200, SDP both ways, no media. CPU-seconds for 1000 calls; \
         what was not clean (a failed call, a message sent again, or calls later than planned) is in brackets.\n\
         Kamailio is a stateful proxy over its dispatcher with one worker; Trunkline is a B2BUA with one worker that opens media ports, \
         keeps two dialogs and writes a call record for each call.\n",
    );
    let systems = distinct(rows, "system");
    let mut columns = vec!["calls/s".to_owned()];
    columns.extend(systems.iter().map(|system| system.as_str().unwrap_or_default().to_owned()));
    text.push_str(&heading(&columns));
    for rate in distinct(rows, "rate") {
        let _ = write!(text, "| {rate} |");
        for system in &systems {
            let row = find(rows, ("rate", &rate), ("system", system));
            let cost = row.map_or_else(|| "–".to_owned(), |row| number(&row["cpu_s_per_1000_calls"], 3));
            let clean = row.is_none_or(|row| row["clean"] == true);
            let _ = if clean { write!(text, " {cost} |") } else { write!(text, " ({cost}) |") };
        }
        text.push('\n');
    }
    text.push_str("| **highest clean rate** |");
    for system in &systems {
        let best = rows
            .iter()
            .filter(|row| row["system"] == *system && row["clean"] == true)
            .filter_map(|row| row["rate"].as_u64())
            .max();
        let _ = write!(text, " **{}** |", best.map_or_else(|| "none".to_owned(), |rate| rate.to_string()));
    }
    text.push('\n');
    text.push_str(&against(rows, "rate", "cpu_s_per_1000_calls", "Kamailio"));
    text.push_str("\n![CPU per 1000 calls by rate](plots/signalling-cpu.svg)\n");
    let plot = Plot {
        title: "CPU-seconds for 1000 calls",
        x: ("calls per second", Scale::Linear),
        y: ("CPU-seconds for 1000 calls", Scale::Linear),
        curves: curves(rows, "rate", "cpu_s_per_1000_calls", "", false),
    };
    put(&docs.join("plots/signalling-cpu.svg"), &plot.svg())?;
    Ok(text)
}

/// Our cost as a share of the peer's, in words, at each load.
fn against(rows: &[Value], load: &str, cost: &str, peer: &str) -> String {
    let peer_name = Value::from(peer);
    let mut text = String::new();
    for system in distinct(rows, "system") {
        if system == peer_name {
            continue;
        }
        let shares: Vec<String> = distinct(rows, load)
            .iter()
            .filter_map(|at| {
                let ours = find(rows, (load, at), ("system", &system))?[cost].as_f64()?;
                let theirs = find(rows, (load, at), ("system", &peer_name))?[cost].as_f64()?;
                (theirs > 0.0).then(|| format!("{:.0} % at {at}", 100.0 * ours / theirs))
            })
            .collect();
        let _ = write!(
            text,
            "\nCPU of {} as a share of that of {peer}: {}.\n",
            system.as_str().unwrap_or_default(),
            shares.join(", ")
        );
    }
    text
}

fn media(rows: &[Value], docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## Relaying voice\n\n\
         Two-way G.711 at 20 ms from `trunkline load run`, every packet marked and checked; a call is 100 packets a second through \
         the system in the middle. Cores are its CPU share while all calls are up (rtpengine in user space with one thread; \
         with it Kamailio, which is idle then). Delay is one way, end to end, over the whole run, the worse direction; \
         loss is counted over the whole run, and again over the seconds in which all calls were up. A star marks rows in which the generator \
         itself was late, so that delay and loss are its own in part.\n",
    );
    let columns = [
        "calls",
        "system",
        "cores",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "lost of sent",
        "lost with all up",
        "KiB a call",
    ];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for row in rows.iter().filter(|row| row["error"].is_null()) {
        let star = if row["generator_invalid"].as_array().is_none_or(Vec::is_empty) { "" } else { " *" };
        // Among few calls, what a process takes once would pass for theirs.
        let many = row["calls"].as_u64() >= Some(100);
        let memory = row["memory_per_call_bytes"].as_f64().filter(|_| many);
        let memory = memory.map_or_else(|| "–".to_owned(), |bytes| format!("{:.0}", bytes / 1024.0));
        let _ = writeln!(
            text,
            "| {}{star} | {} | {} | {} | {} | {} | {} of {} | {} | {memory} |",
            row["calls"],
            row["system"].as_str().unwrap_or_default(),
            number(&row["cores"], 3),
            number(&row["p50_ms"], 2),
            number(&row["p99_ms"], 2),
            number(&row["p999_ms"], 2),
            row["lost"],
            row["sent"],
            row["plateau"]["lost"],
        );
    }
    text.push_str(&against(rows, "calls", "cores", "rtpengine + Kamailio"));
    text.push_str("\n![Cores by calls](plots/relay-cpu.svg)\n\n![Delay by calls](plots/relay-delay.svg)\n");
    let cores = Plot {
        title: "CPU of the relay",
        x: ("calls up", Scale::Linear),
        y: ("cores", Scale::Linear),
        curves: curves(rows, "calls", "cores", "", false),
    };
    put(&docs.join("plots/relay-cpu.svg"), &cores.svg())?;
    let mut both = curves(rows, "calls", "p50_ms", " p50", false);
    both.extend(curves(rows, "calls", "p99_ms", " p99", true));
    let delay = Plot {
        title: "One-way delay through the relay",
        x: ("calls up", Scale::Log),
        y: ("milliseconds", Scale::Log),
        curves: both,
    };
    put(&docs.join("plots/relay-delay.svg"), &delay.svg())?;
    Ok(text)
}

fn tls(rows: &[Value], _docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## Calls over TLS\n\n\
         Sixteen callers of our own over TLS 1.3, each with one call after the other; two SIPp carriers over UDP behind the system in the middle, \
         which has one worker and the same certificate (ECDSA P-256) each time. Calls per second of its CPU time: over connections that stand, \
         and with a connection and a whole handshake for each call.\n",
    );
    let columns = ["system", "connections", "calls", "completed", "CPU-seconds", "calls a CPU-second"];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for mode in distinct(rows, "mode") {
        for row in rows.iter().filter(|row| row["mode"] == mode) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                row["system"].as_str().unwrap_or_default(),
                mode.as_str().unwrap_or_default(),
                row["calls"],
                row["completed"],
                number(&row["cpu_s"], 2),
                number(&row["calls_per_cpu_s"], 0),
            );
        }
    }
    Ok(text)
}

fn registrations(rows: &[Value], _docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## Phones\n\n\
         Phones register over UDP with digest (MD5, qop=auth), sixteen at a time, and are asked for their password each time: two requests a \
         registration. First all of them once, which shows what a phone takes in memory (resident, all processes of a system), then again three times. \
         Kamailio keeps them in memory alone; Trunkline writes each to its store as well.\n",
    );
    let columns = [
        "system",
        "phones",
        "registrations/s",
        "a CPU-second",
        "not registered",
        "MiB before",
        "MiB after",
        "bytes a phone",
    ];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for row in rows {
        let mib = |key: &str| row[key].as_f64().map_or(0.0, |bytes| bytes / f64::from(1 << 20));
        let of = |key: &str| row[key].as_u64().unwrap_or(0);
        let wanted = of("phones") + of("asked_again");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} | {:.1} | {} |",
            row["system"].as_str().unwrap_or_default(),
            row["phones"],
            number(&row["registrations_per_s"], 0),
            number(&row["registrations_per_cpu_s"], 0),
            wanted.saturating_sub(of("registered_first") + of("registered_again")),
            mib("memory_before_bytes"),
            mib("memory_after_bytes"),
            number(&row["memory_per_phone_bytes"], 0),
        );
    }
    Ok(text)
}

fn overload(rows: &[Value], docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## Overload\n\n\
         Calls are offered at a rate that does not care what becomes of them (open loop, RFC 3261 retransmissions, hung up once answered), \
         while calls with voice are up through the same worker. Excess calls get 503 with Retry-After; the set-up delay is that of calls \
         admitted, from the first INVITE to the answer; of the voice, what was lost while the calls were offered, and the worst second's one-way delay.\n",
    );
    let columns = [
        "system",
        "offered/s",
        "admitted/s",
        "refused/s",
        "failed",
        "without Retry-After",
        "set-up p50 ms",
        "p99 ms",
        "cores",
        "voice lost",
        "voice p99 ms",
    ];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for row in rows {
        let voice = &row["voice"];
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} of {} | {} |",
            row["system"].as_str().unwrap_or_default(),
            number(&row["offered_per_s"], 0),
            number(&row["admitted_per_s"], 0),
            number(&row["refused_per_s"], 0),
            row["failed"],
            row["refused_without_retry_after"],
            number(&row["setup_p50_ms"], 1),
            number(&row["setup_p99_ms"], 1),
            number(&row["cores"], 2),
            voice["lost"],
            voice["sent"],
            number(&voice["p99_ms_worst_second"], 2),
        );
    }
    text.push_str("\n![Calls admitted and refused](plots/overload-calls.svg)\n\n![Delays under overload](plots/overload-delay.svg)\n");
    let mut calls = curves(rows, "rate", "admitted_per_s", " admitted", false);
    calls.extend(curves(rows, "rate", "refused_per_s", " refused", true));
    let calls = Plot {
        title: "What becomes of calls offered",
        x: ("calls offered per second", Scale::Linear),
        y: ("calls per second", Scale::Linear),
        curves: calls,
    };
    put(&docs.join("plots/overload-calls.svg"), &calls.svg())?;
    // The voice's delay lies beside the calls' own, row by row.
    let heard: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut row = row.clone();
            row["voice_p99_ms"] = row["voice"]["p99_ms_worst_second"].clone();
            row
        })
        .collect();
    let mut delays = curves(rows, "rate", "setup_p50_ms", " set-up p50", false);
    delays.extend(curves(rows, "rate", "setup_p99_ms", " set-up p99", true));
    delays.extend(
        curves(&heard, "rate", "voice_p99_ms", " voice p99", true)
            .into_iter()
            .map(|curve| Curve { colour: curve.colour + 2, ..curve }),
    );
    let delays = Plot {
        title: "Set-up of calls admitted, and voice of calls that are up",
        x: ("calls offered per second", Scale::Linear),
        y: ("milliseconds", Scale::Log),
        curves: delays,
    };
    put(&docs.join("plots/overload-delay.svg"), &delays.svg())?;
    Ok(text)
}

fn generator(rows: &[Value], _docs: &Path) -> Outcome<String> {
    let mut text = String::from(
        "\n## The generator itself\n\n\
         CPU-seconds of one end for 1000 calls, signalling only; the other end is SIPp. Our histograms and open-loop timing are \
         counted in, drawing the report is not: SIPp has none.\n",
    );
    let columns = ["calls/s", "end", "SIPp", "trunkline load", "share"];
    text.push_str(&heading(&columns.map(str::to_owned)));
    for rate in distinct(rows, "rate") {
        for end in distinct(rows, "end") {
            let cost = |tool: &str| {
                rows.iter()
                    .find(|row| row["rate"] == rate && row["end"] == end && row["tool"] == tool)
                    .map(|row| (row["cpu_s_per_1000_calls"].as_f64().unwrap_or(0.0), row["failed"].clone()))
            };
            let (Some(sipp), Some(ours)) = (cost("SIPp"), cost("trunkline load")) else { continue };
            let note = |failed: &Value| {
                if *failed == 0 { String::new() } else { format!(" ({failed} failed)") }
            };
            let _ = writeln!(
                text,
                "| {rate} | {} | {:.4}{} | {:.4}{} | {:.0} % |",
                end.as_str().unwrap_or_default(),
                sipp.0,
                note(&sipp.1),
                ours.0,
                note(&ours.1),
                100.0 * ours.0 / sipp.0.max(1e-9)
            );
        }
    }
    Ok(text)
}
