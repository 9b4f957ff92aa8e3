//! `/api/v1/trunks`: the trunks, how they are and how they do.

use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::registration::Shown;
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::State;
use control::{Attempts, Performance, Quality, Spread, TrunkView, WINDOW};
use link::{LocatedName, LocatedPeer, PeerFacts, Reason, Text, TrunkChange, TrunkHeard, TrunkState};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct Trunks {
    trunks: Vec<Trunk>,
    /// The last changes of state, newest first.
    changes: Vec<Change>,
    /// False if some worker did not answer in time.
    complete: bool,
}

#[derive(Serialize)]
struct Trunk {
    name: String,
    state: TrunkState,
    /// As the cap counts them.
    calls: u32,
    /// As the call tables hold them.
    calls_counted: u32,
    max_calls: u32,
    max_cps: Option<u32>,
    peers: Vec<PeerFacts>,
    /// Null if it is not one that registers.
    registration: Option<Shown>,
    /// The names among them, and what DNS says of those.
    names: Vec<Named>,
    /// How calls to it sounded in the last five minutes.
    heard: Sound,
    #[serde(flatten)]
    recent: Ratios,
    /// How far back the ratios look.
    window_seconds: u64,
    total: Totals,
    rfc6076: Spans,
    attempts: Tried,
}

/// How calls sounded: means, null before there was anything.
#[derive(Serialize)]
struct Sound {
    seconds: u64,
    poor_seconds: u64,
    r: Option<f64>,
    mos: Option<f64>,
    loss: Option<f64>,
    jitter_ms: Option<f64>,
    round_trip_ms: Option<f64>,
    one_way: u64,
    /// Whether the trunk is chosen last because of it.
    avoided: bool,
}

impl From<&TrunkHeard> for Sound {
    fn from(it: &TrunkHeard) -> Self {
        let milli = |value: Option<u32>| value.map(|value| f64::from(value) / 1000.0);
        Self {
            seconds: it.seconds,
            poor_seconds: it.poor_seconds,
            r: milli(it.r_milli),
            mos: milli(it.mos_milli),
            loss: (it.expected > 0).then(|| rounded(it.lost as f64 / it.expected as f64)),
            jitter_ms: milli(it.jitter_us),
            round_trip_ms: milli(it.round_trip_us),
            one_way: it.one_way,
            avoided: it.avoided,
        }
    }
}

/// The metrics of RFC 6076, over three spans.
#[derive(Serialize)]
struct Spans {
    #[serde(rename = "5m")]
    minutes: Metrics,
    #[serde(rename = "1h")]
    hour: Metrics,
    total: Metrics,
}

/// Ratios from 0 to 1, null before there was anything to divide by.
#[derive(Serialize)]
struct Metrics {
    requests: u64,
    redirected: u64,
    answered: u64,
    completed: u64,
    ser: Option<f64>,
    seer: Option<f64>,
    isa: Option<f64>,
    scr: Option<f64>,
    srd: Delay,
    srd_failed: Delay,
    sdd: Delay,
    sdt: Delay,
    sdt_failed: Delay,
    pdd: Delay,
}

/// A delay's spread in milliseconds; null before there was any.
#[derive(Serialize)]
struct Delay {
    count: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

/// Attempts since the start.
#[derive(Serialize)]
struct Tried {
    by_status: BTreeMap<u16, u64>,
    by_reason: BTreeMap<&'static str, u64>,
}

impl From<&Spread> for Delay {
    fn from(it: &Spread) -> Self {
        let at = |share| it.quantile_us(share).map(|us| rounded(us as f64 / 1e3));
        Self {
            count: it.count(),
            mean_ms: it.mean_us().map(|us| rounded(us / 1e3)),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: (it.count() > 0).then(|| rounded(it.max_us() as f64 / 1e3)),
        }
    }
}

impl From<&Performance> for Metrics {
    fn from(it: &Performance) -> Self {
        Self {
            requests: it.requests,
            redirected: it.redirected,
            answered: it.answered,
            completed: it.completed,
            ser: it.ser().map(rounded),
            seer: it.seer().map(rounded),
            isa: it.isa().map(rounded),
            scr: it.scr().map(rounded),
            srd: Delay::from(&it.srd),
            srd_failed: Delay::from(&it.srd_failed),
            sdd: Delay::from(&it.sdd),
            sdt: Delay::from(&it.sdt),
            sdt_failed: Delay::from(&it.sdt_failed),
            pdd: Delay::from(&it.pdd),
        }
    }
}

impl From<Attempts> for Tried {
    fn from(it: Attempts) -> Self {
        Self {
            by_status: it.by_status,
            by_reason: Reason::ALL.iter().map(|reason| reason.as_str()).zip(it.by_reason).collect(),
        }
    }
}

/// A peer's name.
#[derive(Serialize)]
struct Named {
    name: Text,
    /// By which records it was found; null: not found.
    by: Option<Text>,
    /// The DNS server that said so.
    from: Option<SocketAddr>,
    /// Until when that holds.
    until: Option<Stamp>,
    /// Past its time, and kept since no DNS server answers.
    stale: bool,
    /// Why it is not found.
    why: Text,
    addresses: Vec<LocatedPeer>,
}

impl From<LocatedName> for Named {
    fn from(it: LocatedName) -> Self {
        let until = it.until.map(Stamp);
        Self {
            name: it.name,
            by: it.by,
            from: it.from,
            until,
            stale: it.stale,
            why: it.why,
            addresses: it.addresses,
        }
    }
}

/// Of the window; null before there was anything to divide by.
#[derive(Serialize)]
struct Ratios {
    seizures: u64,
    asr: Option<f64>,
    ner: Option<f64>,
    aloc_seconds: Option<f64>,
    pdd_ms: Option<f64>,
    mos: Option<f64>,
}

/// Since the start.
#[derive(Serialize)]
struct Totals {
    seizures: u64,
    answered: u64,
    talk_seconds: f64,
}

#[derive(Serialize)]
struct Change {
    at: Stamp,
    trunk: String,
    peer: SocketAddr,
    state: TrunkState,
    why: Text,
}

impl From<&Quality> for Ratios {
    fn from(it: &Quality) -> Self {
        Self {
            seizures: it.seizures,
            asr: it.asr().map(rounded),
            ner: it.ner().map(rounded),
            aloc_seconds: it.aloc_seconds().map(rounded),
            pdd_ms: it.pdd_ms().map(rounded),
            mos: it.mos().map(rounded),
        }
    }
}

impl From<TrunkView> for Trunk {
    fn from(it: TrunkView) -> Self {
        Self {
            name: it.name.into(),
            state: it.state,
            calls: it.calls,
            calls_counted: it.counted,
            max_calls: it.max_calls,
            max_cps: it.max_cps,
            peers: it.peers,
            registration: it.registration.map(Shown::from),
            names: it.names.into_iter().map(Named::from).collect(),
            heard: Sound::from(&it.heard),
            recent: Ratios::from(&it.recent),
            window_seconds: WINDOW.as_secs(),
            total: Totals {
                seizures: it.total.seizures,
                answered: it.total.answered,
                talk_seconds: rounded(it.total.talked_us as f64 / 1e6),
            },
            rfc6076: {
                let [minutes, hour, total] = it.performance.each_ref().map(Metrics::from);
                Spans { minutes, hour, total }
            },
            attempts: it.attempts.into(),
        }
    }
}

impl From<TrunkChange> for Change {
    fn from(it: TrunkChange) -> Self {
        Self { at: Stamp(it.at), trunk: it.trunk.into(), peer: it.peer, state: it.state, why: it.why }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Trunks>, Problem> {
    Parameters::read(given, &[])?;
    let (view, _) = api.view(0).await?;
    Ok(Json(Trunks {
        trunks: view.trunks.into_iter().map(Trunk::from).collect(),
        changes: view.changes.into_iter().rev().map(Change::from).collect(),
        complete: view.missing.is_empty(),
    }))
}

/// Four digits after the point are enough for everybody.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
