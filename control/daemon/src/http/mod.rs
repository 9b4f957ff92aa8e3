//! The HTTP API: which path is answered by whom, and the server around it.

mod abuse;
mod calls;
mod cdrs;
mod connection;
mod health;
mod ladder;
mod metrics;
mod parameters;
mod playbacks;
mod problem;
mod registrations;
mod trunks;

use crate::bridge::{Question, Reply};
use axum::Router;
use axum::http::{Method, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use connection::Bounded;
use control::{Ask, Outcome, View};
use core::time::Duration;
use link::UnixMicros;
use problem::Problem;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use store::{Reader, Stop};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long connections have to finish when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the API says of the process.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) io: String,
    pub(crate) scheduling: &'static str,
    pub(crate) workers: usize,
    pub(crate) version: String,
    pub(crate) begun: Instant,
    pub(crate) epoch: UnixMicros,
    pub(crate) database: PathBuf,
}

impl About {
    /// The wall clock.
    fn now(&self) -> UnixMicros {
        UnixMicros(self.epoch.0 + self.begun.elapsed().as_micros() as u64)
    }
}

/// What handlers share.
struct Api {
    about: Arc<About>,
    ask: mpsc::Sender<Question>,
    reader: Mutex<Reader>,
    stopper: Stop,
    /// One question to the database at a time.
    reading: Semaphore,
}

impl Api {
    async fn ask(&self, ask: Ask) -> Result<Reply, Problem> {
        let (reply, answer) = oneshot::channel();
        self.ask.try_send(Question { ask, reply }).map_err(|_| Problem::busy())?;
        answer.await.map_err(|_| Problem::busy())
    }

    /// What all shards see now, with at most `calls` calls listed.
    async fn view(&self, calls: u32) -> Result<(View, Reply), Problem> {
        let mut reply = self.ask(Ask::View { calls }).await?;
        match std::mem::replace(&mut reply.outcome, Outcome::Told) {
            Outcome::View(view) => Ok((*view, reply)),
            _ => Err(Problem::busy()),
        }
    }
}

/// A running server.
pub(crate) struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Lets requests under way finish, but not for ever.
    pub(crate) async fn stop(mut self) {
        drop(self.stop);
        if tokio::time::timeout(FAREWELL, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Serves the API on `listener`, on the present runtime.
pub(crate) fn serve(
    listener: TcpListener,
    about: Arc<About>,
    ask: mpsc::Sender<Question>,
    reader: Reader,
) -> Server {
    let stopper = reader.stopper();
    let api = Api { about, ask, reader: Mutex::new(reader), stopper, reading: Semaphore::new(1) };
    let app = router(Arc::new(api));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        // Fails only outside a runtime, and this is inside.
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let server = axum::serve(Bounded::new(listener), app);
        let server = server.with_graceful_shutdown(async move {
            let _ = stopped.await;
        });
        // Accept errors are retried inside; there is no other end than the shutdown.
        let _ = server.await;
    });
    Server { stop, task }
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(health::show))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/calls", get(calls::list))
        .route("/api/v1/calls/{id}", delete(calls::hang_up))
        .route("/api/v1/calls/{id}/ladder", get(ladder::show))
        .route("/api/v1/calls/{id}/pcap", get(ladder::pcap))
        .route("/api/v1/calls/{id}/play", post(playbacks::play).delete(playbacks::stop))
        .route("/api/v1/playbacks", get(playbacks::list))
        .route("/api/v1/trunks", get(trunks::list))
        .route("/api/v1/registrations", get(registrations::list))
        .route("/api/v1/bans", get(abuse::bans).delete(abuse::lift_all))
        .route("/api/v1/bans/{source}", delete(abuse::lift))
        .route("/api/v1/alarms", get(abuse::alarms))
        .route("/api/v1/cdrs", get(cdrs::list))
        .route("/api/v1/cdrs/{id}", get(cdrs::show))
        .fallback(nothing_there)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}

async fn index() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], INDEX)
}

async fn nothing_there(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; GET / lists what there is", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::wrong_method(format!("{method} does not work on {}; GET / lists what does", uri.path()))
}

const INDEX: &str = "\
Trunkline control API

GET    /healthz            is it well: status ok, degraded or draining; io, workers, store
GET    /metrics            counters and gauges for Prometheus
GET    /api/v1/calls       calls in progress, newest first    ?limit=100 (0 to 10000)
DELETE /api/v1/calls/{id}  ends a call
GET    /api/v1/registrations  phones that are registered: contacts, addresses, when they expire
GET    /api/v1/calls/{id}/ladder
                           the SIP messages of a call, live or ended lately; {id} may be a leg's Call-ID
                           ?format=json|text|svg
GET    /api/v1/calls/{id}/pcap
                           the same as a pcapng file
POST   /api/v1/calls/{id}/play
                           plays files: {\"files\": [\"a.wav\"], \"to\": \"caller|callee|both\", \"repeat\": false}
DELETE /api/v1/calls/{id}/play
                           stops that    ?to=caller|callee|both
GET    /api/v1/playbacks   what is played and was lately   ?call=
GET    /api/v1/trunks      trunks and their peers: state, calls, ASR, NER, ALOC, PDD, MOS, RFC 6076
GET    /api/v1/bans        sources that are not listened to: why, until when
DELETE /api/v1/bans/{address}  listens to one again; without an address: to all
GET    /api/v1/alarms      the last alarms: toll fraud, overload
GET    /api/v1/cdrs        finished calls, newest first
                           ?limit=100 (1 to 1000) &since= &until= (RFC 3339, a date, or unix seconds)
                           &number= &trunk= &status= (486 or 4xx) &cursor= (next of the page before)
GET    /api/v1/cdrs/{id}   one finished call

Answers are JSON; errors are {\"error\": \"what is wrong\"}.
";
