//! `/api/v1/calls/{id}/play` and `/api/v1/playbacks`: what is played in calls.

use super::calls::{GivenId, read_id};
use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use control::{Ask, Outcome};
use link::{CallId, MediaRefusal, PlaybackState, Side};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What shall be played.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    files: Vec<String>,
    to: Hearers,
    #[serde(default)]
    repeat: bool,
}

/// To whom.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hearers {
    Caller,
    Callee,
    Both,
}

impl Hearers {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "caller" => Self::Caller,
            "callee" => Self::Callee,
            "both" => Self::Both,
            _ => return None,
        })
    }

    const fn sides(self) -> &'static [Side] {
        match self {
            Self::Caller => &[Side::Caller],
            Self::Callee => &[Side::Callee],
            Self::Both => &[Side::Caller, Side::Callee],
        }
    }
}

#[derive(Serialize)]
pub(super) struct Begun {
    call: CallId,
    playbacks: Vec<One>,
}

#[derive(Serialize)]
struct One {
    playback: u64,
    to: Side,
}

/// Plays files to a side, or to both. Answered once it plays; if one side cannot hear it, neither does.
pub(super) async fn play(
    State(api): State<Arc<Api>>,
    id: GivenId,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let call = read_id(id)?;
    let Json(order) = order.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut playbacks = Vec::new();
    for &side in order.to.sides() {
        let ask = Ask::Play { call, side, files: order.files.clone(), repeated: order.repeat };
        match media(&api, call, ask).await {
            Ok(playback) => playbacks.push(One { playback, to: side }),
            Err(problem) => {
                for begun in playbacks {
                    // It may be over already.
                    let _ = media(&api, call, Ask::StopPlaying(call, Some(begun.to))).await;
                }
                return Err(problem);
            }
        }
    }
    Ok((StatusCode::CREATED, Json(Begun { call, playbacks })))
}

#[derive(Serialize)]
pub(super) struct Stopped {
    call: CallId,
    stopped: u64,
}

/// Stops what is played to a side, or to both.
pub(super) async fn stop(
    State(api): State<Arc<Api>>,
    id: GivenId,
    given: Given,
) -> Result<Json<Stopped>, Problem> {
    let call = read_id(id)?;
    let to = Parameters::read(given, &["to"])?.take("to", "caller, callee or both", Hearers::named)?;
    let side = match to.unwrap_or(Hearers::Both) {
        Hearers::Caller => Some(Side::Caller),
        Hearers::Callee => Some(Side::Callee),
        Hearers::Both => None,
    };
    let stopped = media(&api, call, Ask::StopPlaying(call, side)).await?;
    Ok(Json(Stopped { call, stopped }))
}

async fn media(api: &Api, call: CallId, ask: Ask) -> Result<u64, Problem> {
    let no_call = || Problem::not_found(format!("there is no call {call}"));
    match api.ask(ask).await?.outcome {
        Outcome::Media(Ok(number)) => Ok(number),
        Outcome::Media(Err(MediaRefusal::NoCall)) | Outcome::NoShard(_) => Err(no_call()),
        Outcome::Media(Err(MediaRefusal::NotNow(why))) => Err(Problem::conflict(why)),
        Outcome::Media(Err(MediaRefusal::File(error))) => Err(Problem::bad_request(error)),
        _ => Err(Problem::busy()),
    }
}

#[derive(Serialize)]
pub(super) struct Playbacks {
    /// Newest first.
    playbacks: Vec<Playback>,
}

#[derive(Serialize)]
struct Playback {
    call: CallId,
    playback: u64,
    to: Side,
    files: String,
    hold: bool,
    state: PlaybackState,
    at: Stamp,
}

/// What is played and was played lately.
pub(super) async fn list(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Playbacks>, Problem> {
    let read = |text: &str| text.parse().ok().filter(|_| text.len() == 16);
    let call = Parameters::read(given, &["call"])?.take("call", "a call id: 16 hexadecimal digits", read)?;
    let Outcome::Playbacks(playbacks) = api.ask(Ask::Playbacks(call)).await?.outcome else {
        return Err(Problem::busy());
    };
    let playback = |it: link::Playback| Playback {
        call: it.call,
        playback: it.playback,
        to: it.side,
        files: it.what,
        hold: it.hold,
        state: it.state,
        at: Stamp(it.at),
    };
    Ok(Json(Playbacks { playbacks: playbacks.into_iter().map(playback).collect() }))
}
