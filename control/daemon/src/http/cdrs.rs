//! `/api/v1/cdrs`: finished calls, from the store.

use super::calls::{GivenId, read_id};
use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::{self, Stamp};
use axum::Json;
use axum::extract::State;
use core::ops::RangeInclusive;
use core::time::Duration;
use link::{Attempt, CallId, Cdr, Identity, Media, Reason, ShardId, Side, Text, Transfer};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use store::{Filter, Reader};

/// Longest time for one question to the database, and longest wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
pub(super) struct Cdrs {
    cdrs: Vec<Record>,
    /// To be given as `cursor` for the next page; null on the last.
    next: Option<String>,
}

/// A call record as people read it: times in RFC 3339, spans in the unit their name says.
#[derive(Serialize)]
pub(super) struct Record {
    id: CallId,
    from: String,
    dialled: String,
    routed: Option<String>,
    source: SocketAddr,
    trunk: Option<String>,
    peer: Option<SocketAddr>,
    started: Stamp,
    answered: Option<Stamp>,
    ended: Stamp,
    seconds: f64,
    talk_seconds: f64,
    pdd_ms: Option<f64>,
    setup_ms: Option<f64>,
    status: u16,
    cause: Text,
    ended_by: Side,
    q850: Option<u8>,
    attempts: Vec<Try>,
    media: Option<Media>,
    identity: Option<Identity>,
    session_id: Option<String>,
    transfer: Option<Transfer>,
    caller_sip_call_id: String,
    callee_sip_call_id: Option<String>,
    worker: ShardId,
}

#[derive(Serialize)]
struct Try {
    trunk: String,
    peer: SocketAddr,
    status: Option<u16>,
    cause: Text,
    reason: Reason,
    ms: f64,
    /// Until it said more than 100.
    heard_ms: Option<f64>,
    /// Where a redirection by it led.
    redirected: Option<Text>,
}

impl From<Attempt> for Try {
    fn from(it: Attempt) -> Self {
        Self {
            trunk: it.trunk.into(),
            peer: it.peer,
            status: it.status,
            cause: it.cause,
            reason: it.reason,
            heard_ms: it.heard_us.map(millis),
            redirected: it.redirected,
            ms: millis(it.spent_us),
        }
    }
}

impl From<Cdr> for Record {
    fn from(it: Cdr) -> Self {
        Self {
            id: it.call,
            seconds: seconds(it.ended.since(it.started)),
            talk_seconds: seconds(it.talked_us()),
            from: it.from,
            dialled: it.dialled,
            routed: it.routed,
            source: it.source,
            trunk: it.trunk.map(Into::into),
            peer: it.peer,
            started: Stamp(it.started),
            answered: it.answered.map(Stamp),
            ended: Stamp(it.ended),
            pdd_ms: it.pdd_us.map(millis),
            setup_ms: it.setup_us.map(millis),
            status: it.end.status,
            cause: it.end.cause,
            ended_by: it.end.side,
            q850: it.end.q850,
            attempts: it.attempts.into_iter().map(Try::from).collect(),
            media: it.media,
            identity: it.identity,
            session_id: it.session_id,
            transfer: it.transfer,
            caller_sip_call_id: it.caller_sip_call_id,
            callee_sip_call_id: it.callee_sip_call_id,
            worker: it.shard,
        }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Cdrs>, Problem> {
    let filter = read_filter(given)?;
    let page = read(&api, move |reader| reader.cdrs(&filter)).await?;
    let next = page.next.map(|it| it.to_string());
    Ok(Json(Cdrs { cdrs: page.cdrs.into_iter().map(Record::from).collect(), next }))
}

pub(super) async fn show(State(api): State<Arc<Api>>, id: GivenId) -> Result<Json<Record>, Problem> {
    let call = read_id(id)?;
    let found = read(&api, move |reader| reader.cdr(call)).await?;
    found.map(|it| Json(it.into())).ok_or_else(|| {
        Problem::not_found(format!("no finished call {call}; those in progress are at /api/v1/calls"))
    })
}

fn read_filter(given: Given) -> Result<Filter, Problem> {
    let known = ["limit", "since", "until", "number", "trunk", "status", "cursor"];
    let mut it = Parameters::read(given, &known)?;
    let time = "a time such as 2026-11-21T08:00:00Z, a date, or unix seconds";
    Ok(Filter {
        since: it.take("since", time, stamp::read)?,
        until: it.take("until", time, stamp::read)?,
        number: it.take("number", "a number", |text| (!text.is_empty()).then(|| dialable(text)))?,
        trunk: it.take("trunk", "a trunk's name", |text| (!text.is_empty()).then(|| text.into()))?,
        status: it.take("status", "a status such as 486, or 4xx for all of a class", read_status)?,
        before: it.take("cursor", "the \"next\" of an earlier page", |text| text.parse().ok())?,
        limit: it.limit(100, 1, 1000)?,
    })
}

/// In a query a bare `+` means a blank; no number begins with one.
fn dialable(text: &str) -> String {
    text.strip_prefix(' ').map_or_else(|| text.to_owned(), |rest| format!("+{rest}"))
}

fn read_status(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=6).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let status = text.parse().ok().filter(|status| (0..=699).contains(status))?;
    Some(status..=status)
}

/// Asks the database on a thread that may block, one question at a time and none for long.
async fn read<T: Send + 'static>(
    api: &Arc<Api>,
    question: impl FnOnce(&Reader) -> Result<T, store::Error> + Send + 'static,
) -> Result<T, Problem> {
    let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, api.reading.acquire()).await else {
        return Err(Problem::busy());
    };
    let shared = Arc::clone(api);
    let mut answer = tokio::task::spawn_blocking(move || {
        question(&shared.reader.lock().unwrap_or_else(PoisonError::into_inner))
    });
    let Ok(done) = tokio::time::timeout(PATIENCE, &mut answer).await else {
        api.stopper.stop();
        let _ = answer.await;
        return Err(Problem::unavailable("the question took too long; narrow it with since and until"));
    };
    match done {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Problem::unavailable(error.to_string())),
        Err(_) => Err(Problem::unavailable("the question to the database failed")),
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
