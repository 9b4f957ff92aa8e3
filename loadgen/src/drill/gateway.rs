//! What the gateway says of itself through its API, as far as the drill needs it.

use super::http;
use crate::mark::CallName;
use core::net::SocketAddr;
use core::time::Duration;
use serde_json::Value;
use std::collections::HashMap;
use std::io;

/// How long an answer may take while the drill runs.
const QUICK: Duration = Duration::from_millis(800);

/// The API of one gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
}

/// One trunk at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrunkFacts {
    pub(crate) name: String,
    pub(crate) state: String,
    /// As the cap counts them.
    pub(crate) calls: u64,
    /// As the call tables hold them.
    pub(crate) counted: u64,
    pub(crate) max_calls: u64,
    pub(crate) seizures: u64,
    pub(crate) answered: u64,
    pub(crate) talk_s: f64,
}

impl TrunkFacts {
    /// Whether new calls are sent there as usual.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state.as_str(), "up" | "unknown")
    }
}

/// One finished call in the gateway's records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cdr {
    pub(crate) trunk: String,
    pub(crate) status: u64,
    pub(crate) cause: String,
    pub(crate) ended_by: String,
    pub(crate) talk_s: f64,
    pub(crate) answered: bool,
    /// Wall-clock nanoseconds of the answer; 0 without.
    pub(crate) answered_at: u64,
    /// Wall-clock nanoseconds of the end.
    pub(crate) ended_at: u64,
}

/// What `/healthz` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) io: String,
    pub(crate) scheduling: String,
    pub(crate) workers: Option<u32>,
    pub(crate) version: String,
}

impl Gateway {
    pub(crate) fn health(&self) -> io::Result<Health> {
        let value = http::get(self.address, "/healthz", QUICK)?;
        Ok(Health {
            status: text(&value["status"]),
            io: text(&value["io"]),
            scheduling: text(&value["scheduling"]),
            workers: value["workers"].as_u64().map(|workers| workers as u32),
            version: text(&value["version"]),
        })
    }

    pub(crate) fn trunks(&self) -> io::Result<Vec<TrunkFacts>> {
        let value = http::get(self.address, "/api/v1/trunks", QUICK)?;
        let list = value["trunks"].as_array().or_else(|| value.as_array());
        Ok(list.map_or_else(Vec::new, |list| list.iter().map(trunk).collect()))
    }

    /// Calls in progress, all and answered.
    pub(crate) fn calls(&self) -> io::Result<(u64, Option<u64>)> {
        let value = http::get(self.address, "/api/v1/calls?limit=0", QUICK)?;
        let count = value["count"].as_u64().ok_or_else(|| io::Error::other("/api/v1/calls has no count"))?;
        Ok((count, value["answered"].as_u64()))
    }

    /// Every call record, by the name that our Call-IDs begin with.
    pub(crate) fn cdrs(&self) -> io::Result<HashMap<CallName, Cdr>> {
        let mut all = HashMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/cdrs?limit=1000{cursor}");
            let value = http::get(self.address, &path, Duration::from_secs(10))?;
            let page =
                value["cdrs"].as_array().ok_or_else(|| io::Error::other("/api/v1/cdrs has no cdrs"))?;
            for record in page {
                if let Some(name) = name_of(record["caller_sip_call_id"].as_str()) {
                    all.insert(name, cdr(record));
                }
            }
            match value["next"].as_str() {
                Some(next) if !page.is_empty() => cursor = format!("&cursor={next}"),
                _ => return Ok(all),
            }
        }
    }
}

/// The call's name at the head of a Call-ID that one of our callers chose.
fn name_of(call_id: Option<&str>) -> Option<CallName> {
    let head = call_id?.get(..16)?;
    u64::from_str_radix(head, 16).ok().map(CallName)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn trunk(value: &Value) -> TrunkFacts {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    TrunkFacts {
        name: text(&value["name"]),
        state: text(&value["state"]).to_ascii_lowercase(),
        calls: number(&value["calls"]),
        counted: value["calls_counted"].as_u64().unwrap_or_else(|| number(&value["calls"])),
        max_calls: number(&value["max_calls"]),
        seizures: number(&value["total"]["seizures"]),
        answered: number(&value["total"]["answered"]),
        talk_s: value["total"]["talk_seconds"].as_f64().unwrap_or(0.0),
    }
}

fn cdr(value: &Value) -> Cdr {
    Cdr {
        trunk: text(&value["trunk"]),
        status: value["status"].as_u64().unwrap_or(0),
        cause: text(&value["cause"]),
        ended_by: text(&value["ended_by"]).to_ascii_lowercase(),
        talk_s: value["talk_seconds"].as_f64().unwrap_or(0.0),
        answered: !value["answered"].is_null(),
        answered_at: value["answered"].as_str().and_then(wall_nanos).unwrap_or(0),
        ended_at: value["ended"].as_str().and_then(wall_nanos).unwrap_or(0),
    }
}

/// Nanoseconds since 1970 of an RFC 3339 instant in UTC, such as `2026-11-21T08:00:00.25Z`.
fn wall_nanos(stamp: &str) -> Option<u64> {
    let stamp = stamp.strip_suffix('Z')?;
    let (date, time) = stamp.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let days = u64::try_from(super::calendar::days_from_civil(year, month, day)).ok()?;
    let nanos: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some((days * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn records_are_found_by_the_name_in_the_call_id() {
        assert_eq!(name_of(Some("00000007000000ff-1a2b3c4d@127.0.0.1")), Some(CallName::new(7, 255)));
        assert_eq!(name_of(Some("abc")), None);
        assert_eq!(name_of(Some("zzzzzzzzzzzzzzzz@x")), None);
        assert_eq!(name_of(None), None);
    }

    #[test]
    fn facts_are_read_from_the_api_and_missing_ones_are_empty() {
        let facts = trunk(&json!({"name": "carrier-a", "state": "Down", "calls": 3, "max_calls": 9,
            "total": {"seizures": 12, "answered": 11, "talk_seconds": 1.5}}));
        assert_eq!((facts.calls, facts.counted, facts.seizures, facts.is_up()), (3, 3, 12, false));
        let record = cdr(
            &json!({"status": 200, "cause": "media timeout", "ended_by": "gateway", "answered": "t", "talk_seconds": 2.0}),
        );
        assert!(record.answered && record.cause == "media timeout" && record.trunk.is_empty());
        assert!(!cdr(&json!({"answered": null})).answered);
        assert_eq!(wall_nanos("1970-01-02T00:00:01.5Z"), Some(86_401_500_000_000));
        assert_eq!(wall_nanos("2026-11-21T08:00:00Z"), Some(1_795_248_000_000_000_000));
        assert_eq!(wall_nanos("yesterday"), None);
    }
}
