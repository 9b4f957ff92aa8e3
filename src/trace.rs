//! `trunkline trace`: the signalling of a call, asked of a running gateway's API.

use crate::Error;
use crate::arguments::{Trace, TraceFormat};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// How long the gateway may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer: those of a trace, its escapes included, are far below.
const MOST: u64 = 64 << 20;

pub(crate) fn run(arguments: &Trace) -> Result<ExitCode, Error> {
    if arguments.format == TraceFormat::Pcap && arguments.out.is_none() && std::io::stdout().is_terminal() {
        return Err("--format pcap is no text for a terminal; name a file with --out".into());
    }
    let bytes = fetch(arguments)?;
    match &arguments.out {
        Some(path) => std::fs::write(path, bytes)
            .map_err(|error| format!("--out {}: cannot be written: {error}", path.display()))?,
        None => std::io::stdout().write_all(&bytes).map_err(|error| format!("standard output: {error}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch(arguments: &Trace) -> Result<Vec<u8>, Error> {
    let api = arguments.api.trim_end_matches('/');
    let what = match arguments.format {
        TraceFormat::Text => "ladder?format=text",
        TraceFormat::Svg => "ladder?format=svg",
        TraceFormat::Json => "ladder?format=json",
        TraceFormat::Pcap => "pcap",
    };
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(config.build());
    let url = format!("{api}/api/v1/calls/{}/{what}", encoded(&arguments.call));
    let mut answer = agent.get(&url).call().map_err(|error| {
        format!("--api {api}: {error}; name the address that the gateway was given with --http, as http://ADDR:PORT")
    })?;
    let status = answer.status();
    let bytes = answer.body_mut().with_config().limit(MOST).read_to_vec()?;
    if status.is_success() {
        return Ok(bytes);
    }
    // The API says {"error": "..."}.
    let text = String::from_utf8_lossy(&bytes);
    let said = text.trim().strip_prefix("{\"error\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    Err(said.map_or_else(|| format!("{api}: {status}"), |said| said.replace("\\\"", "\"")).into())
}

/// A path's segment: everything but what RFC 3986 §2.3 leaves alone is escaped.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
