//! `/api/v1/bans` and `/api/v1/alarms`: sources that are not listened to, and what an operator should look at.

use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use control::{Ask, Outcome};
use link::{AlarmKind, BanReason, Text};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct Bans {
    count: usize,
    bans: Vec<Ban>,
}

#[derive(Serialize)]
struct Ban {
    /// An IPv4 address, or the first address of a /64 network that is meant.
    source: IpAddr,
    reason: BanReason,
    evidence: Text,
    since: Stamp,
    until: Stamp,
    seconds_left: u64,
    times: u16,
}

pub(super) async fn bans(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Bans>, Problem> {
    Parameters::read(given, &[])?;
    let Outcome::Bans(bans) = api.ask(Ask::Bans).await?.outcome else { return Err(Problem::busy()) };
    let now = api.about.now();
    let ban = |it: link::Ban| Ban {
        source: it.source,
        reason: it.reason,
        evidence: it.evidence,
        since: Stamp(it.since),
        until: Stamp(it.until),
        seconds_left: it.until.since(now) / 1_000_000,
        times: it.times,
    };
    Ok(Json(Bans { count: bans.len(), bans: bans.into_iter().map(ban).collect() }))
}

#[derive(Serialize)]
pub(super) struct Lifted {
    lifted: usize,
}

/// Lifts all bans.
pub(super) async fn lift_all(State(api): State<Arc<Api>>) -> Result<Json<Lifted>, Problem> {
    lifted(&api, None).await
}

/// Lifts the ban of one source.
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    given: Result<Path<String>, PathRejection>,
) -> Result<Json<Lifted>, Problem> {
    let Path(text) = given.map_err(|error| Problem::bad_request(error.to_string()))?;
    let source = text.parse().map_err(|_| {
        Problem::bad_request(format!("{text:?} is no address; write it as the list of bans shows it"))
    })?;
    let lifted = lifted(&api, Some(source)).await?;
    if lifted.lifted == 0 {
        return Err(Problem::not_found(format!("{source} is not banned")));
    }
    Ok(lifted)
}

async fn lifted(api: &Api, source: Option<IpAddr>) -> Result<Json<Lifted>, Problem> {
    match api.ask(Ask::Unban(source)).await?.outcome {
        Outcome::Lifted(lifted) => Ok(Json(Lifted { lifted })),
        _ => Err(Problem::busy()),
    }
}

#[derive(Serialize)]
pub(super) struct Alarms {
    /// Newest first.
    alarms: Vec<Alarm>,
}

#[derive(Serialize)]
struct Alarm {
    at: Stamp,
    kind: AlarmKind,
    rule: Text,
    who: Text,
    what: Text,
    refused: bool,
    session_id: Option<String>,
}

pub(super) async fn alarms(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Alarms>, Problem> {
    Parameters::read(given, &[])?;
    let Outcome::Alarms(alarms) = api.ask(Ask::Alarms).await?.outcome else { return Err(Problem::busy()) };
    let alarm = |it: link::Alarm| Alarm {
        at: Stamp(it.at),
        kind: it.kind,
        rule: it.rule,
        who: it.who,
        what: it.what,
        refused: it.refused,
        session_id: it.session_id,
    };
    Ok(Json(Alarms { alarms: alarms.into_iter().map(alarm).collect() }))
}
