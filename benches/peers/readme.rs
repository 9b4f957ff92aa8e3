//! The few figures in README.md, drawn between two marks from the result files.

use crate::page::{find, number, put, read};
use crate::process::Outcome;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- drawn by benches/peers/run --render -->\n";
const END: &str = "<!-- end of what was drawn -->";

/// Calls at which relaying is compared.
const CALLS: u64 = 1000;
/// Our two rows.
const OURS: [&str; 2] = ["trunkline (io_uring)", "trunkline (epoll)"];

/// Draws the table into `root`'s README, if it has one.
pub fn draw(results: &Path, root: &Path) -> Outcome<()> {
    let file = root.join("README.md");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let marks = text.find(BEGIN).zip(text.find(END));
    let Some((begin, end)) = marks.filter(|(begin, end)| begin < end) else {
        return Err(format!("{}: the marks around the figures are missing", file.display()));
    };
    let drawn = table(results)?;
    put(&file, &format!("{}{drawn}{}", &text[..begin + BEGIN.len()], &text[end..]))
}

fn table(results: &Path) -> Outcome<String> {
    let rows = |name: &str| -> Outcome<Vec<Value>> {
        let record = read(&results.join(format!("{name}.json")))?;
        Ok(record.and_then(|record| record["rows"].as_array().cloned()).unwrap_or_default())
    };
    let mut text = String::from(
        "\n| beside the peer, in the same run | Trunkline on io_uring | on epoll | peer |\n|---|---|---|---|\n",
    );
    let (signalling_rows, media_rows, generator_rows) =
        (rows("signalling")?, rows("media")?, rows("generator")?);
    signalling(&signalling_rows, &mut text);
    media(&media_rows, &mut text);
    generator(&generator_rows, &mut text);
    text.push('\n');
    Ok(text)
}

/// The row of `system` with `key` = `value`.
fn row<'r>(rows: &'r [Value], system: &str, key: &str, value: u64) -> Option<&'r Value> {
    find(rows, ("system", &Value::from(system)), (key, &Value::from(value)))
}

fn signalling(rows: &[Value], text: &mut String) {
    // The highest rate that all of them carried cleanly.
    let clean = |rate: u64| {
        let at: Vec<_> = rows.iter().filter(|row| row["rate"] == rate).collect();
        at.len() > OURS.len() && at.iter().all(|row| row["clean"] == true)
    };
    let highest = |system: &str| {
        let clean = rows.iter().filter(|row| row["system"] == system && row["clean"] == true);
        clean.filter_map(|row| row["rate"].as_u64()).max().unwrap_or(0)
    };
    let _ = writeln!(
        text,
        "| highest rate of calls without a failure or a retransmission, one core, calls/s | {} | {} | Kamailio {} |",
        highest(OURS[0]),
        highest(OURS[1]),
        highest("Kamailio")
    );
    let rates = rows.iter().filter_map(|row| row["rate"].as_u64());
    let Some(rate) = rates.filter(|&rate| clean(rate)).max() else { return };
    let cost = |system| {
        row(rows, system, "rate", rate)
            .map_or_else(String::new, |row| number(&row["cpu_s_per_1000_calls"], 3))
    };
    let _ = writeln!(
        text,
        "| CPU-s for 1000 calls through the middle, {rate} calls/s | {} | {} | Kamailio {} |",
        cost(OURS[0]),
        cost(OURS[1]),
        cost("Kamailio")
    );
}

fn media(rows: &[Value], text: &mut String) {
    let peer = "rtpengine + Kamailio";
    for (name, key, decimals) in [
        ("cores to relay 1000 calls of G.711", "cores", 2),
        ("one-way delay with 1000 calls, p50, ms", "p50_ms", 2),
        ("one-way delay with 1000 calls, p99, ms", "p99_ms", 1),
    ] {
        let figure = |system| {
            row(rows, system, "calls", CALLS).map_or_else(String::new, |row| number(&row[key], decimals))
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {} | rtpengine {} |",
            figure(OURS[0]),
            figure(OURS[1]),
            figure(peer)
        );
    }
}

fn generator(rows: &[Value], text: &mut String) {
    let Some(rate) = rows.iter().filter_map(|row| row["rate"].as_u64()).max() else { return };
    for end in ["caller", "carrier"] {
        let cost = |tool: &str| {
            rows.iter()
                .find(|row| row["tool"] == tool && row["rate"] == rate && row["end"] == end)
                .map_or_else(String::new, |row| number(&row["cpu_s_per_1000_calls"], 3))
        };
        let _ = writeln!(
            text,
            "| CPU-s of the generator for 1000 calls, {end}, {rate} calls/s | {} | | SIPp {} |",
            cost("trunkline load"),
            cost("SIPp")
        );
    }
}
