//! `GET /healthz`: is it well?

use super::{Api, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    /// What is not well; empty if all is.
    reasons: Vec<String>,
    io: &'a str,
    /// Of the workers: `realtime` if they run before all normal threads.
    scheduling: &'static str,
    workers: usize,
    version: &'a str,
    uptime_seconds: u64,
    calls: u64,
    routing: u64,
    store: StoreHealth<'a>,
}

#[derive(Serialize)]
struct StoreHealth<'a> {
    state: &'static str,
    error: Option<&'a str>,
    path: &'a Path,
}

/// 200 while calls are taken (`ok`, or `degraded` with reasons), 503 when `draining`.
pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let (view, reply) = api.view(0).await?;
    let about = &api.about;
    let mut reasons = Vec::new();
    let known = view.answering.len() + view.missing.len();
    if known < about.workers {
        reasons.push(format!("{} of {} workers have not started yet", about.workers - known, about.workers));
    }
    if !view.missing.is_empty() {
        let names: Vec<String> = view.missing.iter().map(ToString::to_string).collect();
        reasons.push(format!("workers that do not answer: {}", names.join(", ")));
    }
    let failing = reply.store.failing.as_deref();
    if let Some(why) = failing {
        reasons.push(format!("call records can't be written: {why}"));
    }
    let status = match (view.draining, reasons.is_empty()) {
        (true, _) => "draining",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    let health = Health {
        status,
        reasons,
        io: &about.io,
        scheduling: about.scheduling,
        workers: about.workers,
        version: &about.version,
        uptime_seconds: about.begun.elapsed().as_secs(),
        calls: view.calls_total,
        routing: view.routing,
        store: StoreHealth {
            state: if failing.is_some() { "failing" } else { "ok" },
            error: failing,
            path: &about.database,
        },
    };
    let code = if view.draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((code, Json(health)).into_response())
}
