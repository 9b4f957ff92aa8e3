//! Result files: what was measured, where, by which command.

use crate::Bench;
use crate::process::Outcome;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a command prints, trimmed; empty when it cannot be run.
fn output(program: &str, arguments: &[&str], folder: &Path) -> String {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// The distribution's version of a package, if it is installed.
fn package(name: &str) -> Value {
    let version = output("dpkg-query", &["-W", "-f=${Version}", name], Path::new("/"));
    if version.is_empty() { Value::Null } else { Value::String(version) }
}

/// Writes `folder/NAME.json`.
pub fn write(folder: &Path, name: &str, bench: &Bench, root: &Path, rows: Vec<Value>) -> Outcome<()> {
    let fingerprint = output(&bench.trunkline, &["tune", "fingerprint"], root);
    let environment: Value = serde_json::from_str(&fingerprint).unwrap_or(Value::Null);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let record = json!({
        "schema": "trunkline.peers/1",
        "name": name,
        "date": output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"], root),
        "commit": commit(root),
        "command": bench.command,
        "versions": {
            "trunkline": output(&bench.trunkline, &["--version"], root),
            "sipp": package("sip-tester"),
            "kamailio": package("kamailio"),
            "rtpengine": package("rtpengine-daemon"),
        },
        "load_average_at_the_end": load.split(' ').next().and_then(|n| n.parse::<f64>().ok()),
        "environment": environment,
        "rows": rows,
    });
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())? + "\n";
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

/// A number with as many decimals as it deserves in a file.
pub fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The commit measured; `-dirty` if anything but what measuring itself writes differs from it.
fn commit(root: &Path) -> String {
    let name = output("git", &["rev-parse", "--short=12", "HEAD"], root);
    let others = ["status", "--porcelain", "--", ".", ":!reports/results", ":!docs", ":!README.md"];
    let changed = !output("git", &others, root).is_empty();
    if changed { format!("{name}-dirty") } else { name }
}
