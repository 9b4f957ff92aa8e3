//! `/api/v1/calls`: calls in progress.

use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use control::{Ask, Outcome};
use link::{CallId, LiveCall, Media, Phase, ShardId, UnixMicros};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct Calls {
    /// All calls, listed or not.
    count: u64,
    answered: u64,
    /// False if some worker did not answer in time: its calls are missing.
    complete: bool,
    calls: Vec<Call>,
}

#[derive(Serialize)]
struct Call {
    id: CallId,
    phase: Phase,
    from: String,
    dialled: String,
    source: SocketAddr,
    trunk: Option<String>,
    peer: Option<SocketAddr>,
    started: Stamp,
    answered: Option<Stamp>,
    seconds: f64,
    worker: ShardId,
    /// As in its record; null before it has ports.
    media: Option<Box<Media>>,
}

impl Call {
    fn of(it: LiveCall, now: UnixMicros) -> Self {
        Self {
            id: it.call,
            phase: it.phase,
            from: it.from,
            dialled: it.dialled,
            source: it.source,
            trunk: it.trunk.map(Into::into),
            peer: it.peer,
            started: Stamp(it.started),
            answered: it.answered.map(Stamp),
            seconds: (now.since(it.started) / 1000) as f64 / 1e3,
            worker: it.shard,
            media: it.media,
        }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Calls>, Problem> {
    let limit = Parameters::read(given, &["limit"])?.limit(100, 0, 10_000)?;
    let (view, _) = api.view(limit).await?;
    let now = api.about.now();
    Ok(Json(Calls {
        count: view.calls_total,
        answered: view.calls_answered,
        complete: view.missing.is_empty(),
        calls: view.calls.into_iter().map(|it| Call::of(it, now)).collect(),
    }))
}

#[derive(Serialize)]
pub(super) struct Told {
    call: CallId,
    told: bool,
}

/// 202: the worker that has the call was told. Whether there was such a call shows in its record.
pub(super) async fn hang_up(
    State(api): State<Arc<Api>>,
    id: GivenId,
) -> Result<(StatusCode, Json<Told>), Problem> {
    let call = read_id(id)?;
    match api.ask(Ask::Hangup(call)).await?.outcome {
        Outcome::Told => Ok((StatusCode::ACCEPTED, Json(Told { call, told: true }))),
        Outcome::NoShard(_) => Err(Problem::not_found(format!("no worker has a call {call}"))),
        _ => Err(Problem::busy()),
    }
}

/// A call's id in a path, as axum gives it.
pub(super) type GivenId = Result<Path<String>, PathRejection>;

/// Reads it.
pub(super) fn read_id(given: GivenId) -> Result<CallId, Problem> {
    let Path(text) = given.map_err(|error| Problem::bad_request(error.to_string()))?;
    let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| Problem::bad_request(format!("{text:?} is not a call id: 16 hexadecimal digits are")))
}
