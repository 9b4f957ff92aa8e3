//! `/api/v1/trunks`: the trunks, how they are and how they do.

use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::State;
use control::{Quality, TrunkView, WINDOW};
use link::{LocatedName, LocatedPeer, PeerFacts, Text, TrunkChange, TrunkState};
use serde::Serialize;
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
    /// The names among them, and what DNS says of those.
    names: Vec<Named>,
    #[serde(flatten)]
    recent: Ratios,
    /// How far back the ratios look.
    window_seconds: u64,
    total: Totals,
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
            names: it.names.into_iter().map(Named::from).collect(),
            recent: Ratios::from(&it.recent),
            window_seconds: WINDOW.as_secs(),
            total: Totals {
                seizures: it.total.seizures,
                answered: it.total.answered,
                talk_seconds: rounded(it.total.talked_us as f64 / 1e6),
            },
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
