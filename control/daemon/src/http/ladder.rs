//! `/api/v1/calls/{id}/ladder` and `/pcap`: the signalling of one call, live or ended lately.

use super::calls::GivenId;
use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use control::{Ask, Outcome};
use ladder::Ladder;
use link::{Trace, TraceOf};
use std::sync::Arc;

/// Longest Call-ID that is looked for; a longer one fits no message that the gateway takes.
const CALL_ID_MAX: usize = 1024;

enum Format {
    Json,
    Text,
    Svg,
}

/// The ladder of a call, as JSON or as `?format=` says.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    id: GivenId,
    given: Given,
) -> Result<Response, Problem> {
    let format = Parameters::read(given, &["format"])?.take("format", "json, text or svg", |text| {
        Some(match text {
            "json" => Format::Json,
            "text" => Format::Text,
            "svg" => Format::Svg,
            _ => return None,
        })
    })?;
    let trace = find(&api, id).await?;
    let ladder = Ladder::new(&trace, |at| Stamp(at).to_string());
    Ok(match format.unwrap_or(Format::Json) {
        Format::Json => Json(ladder).into_response(),
        Format::Text => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], ladder.text()).into_response()
        }
        Format::Svg => ([(header::CONTENT_TYPE, "image/svg+xml")], ladder.svg()).into_response(),
    })
}

/// The messages of a call as a pcapng file.
pub(super) async fn pcap(
    State(api): State<Arc<Api>>,
    id: GivenId,
    given: Given,
) -> Result<Response, Problem> {
    Parameters::read(given, &[])?;
    let trace = find(&api, id).await?;
    let name = trace.call.map_or_else(|| "signalling".to_owned(), |call| call.to_string());
    let headers = [
        (header::CONTENT_TYPE, "application/x-pcapng".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.pcapng\"")),
    ];
    Ok((headers, ladder::pcapng(&trace)).into_response())
}

/// The trace of a call: by its id, or by the Call-ID of any of its legs.
async fn find(api: &Api, given: GivenId) -> Result<Box<Trace>, Problem> {
    let Path(text) = given.map_err(|error| Problem::bad_request(error.to_string()))?;
    if text.is_empty() || text.len() > CALL_ID_MAX {
        return Err(Problem::bad_request(format!("an id has 1 to {CALL_ID_MAX} bytes")));
    }
    let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut asked = Vec::new();
    if let Some(call) = text.parse().ok().filter(|_| plain) {
        asked.push(TraceOf::Call(call));
    }
    // A Call-ID may look like an id of ours.
    asked.push(TraceOf::SipCallId(text.clone()));
    let mut recording = None;
    for of in asked {
        match api.ask(Ask::Trace(of)).await?.outcome {
            Outcome::Trace(Some(trace)) if !trace.messages.is_empty() => return Ok(trace),
            Outcome::Trace(trace) => {
                if let Some(trace) = trace {
                    recording = Some(recording.unwrap_or(false) || trace.recording);
                }
            }
            _ => return Err(Problem::busy()),
        }
    }
    Err(match recording {
        Some(false) => Problem::not_found("no messages are kept: trace.ring_mib is 0 in the configuration"),
        Some(true) => Problem::not_found(format!(
            "no messages of a call {text:?}: there was none, or later messages have overwritten it (trace.ring_mib)"
        )),
        None => Problem::not_found(format!("no worker that could have a call {text:?} answered")),
    })
}
