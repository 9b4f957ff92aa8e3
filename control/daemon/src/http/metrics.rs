//! `GET /metrics`: Prometheus text exposition format 0.0.4.

use super::{About, Api, Problem};
use crate::bridge::Reply;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use control::{Performance, Spread, TrunkView, View};
use link::{Kind, Reason, RegistrationFacts, TrunkHeard, TrunkState};
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Problem> {
    let (view, reply) = api.view(0).await?;
    let text = render(&api.about, &view, &reply);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn render(about: &About, view: &View, reply: &Reply) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let build = [("version", about.version.as_str()), ("io", about.io.as_str())];
    page.head("build_info", "What runs here; always 1.", Kind::Gauge);
    page.line("build_info", &build, 1);
    page.one("uptime_seconds", "Seconds since the start.", Kind::Gauge, about.begun.elapsed().as_secs_f64());
    page.one("workers", "Gateway workers that should be there.", Kind::Gauge, about.workers);
    page.one(
        "workers_answering",
        "Gateway workers that answered in time.",
        Kind::Gauge,
        view.answering.len(),
    );
    page.one("draining", "1 while no new calls are taken.", Kind::Gauge, u8::from(view.draining));
    page.one("calls", "Calls in progress.", Kind::Gauge, view.calls_total);
    page.one("calls_answered", "Calls in progress that are answered.", Kind::Gauge, view.calls_answered);
    trunks(&mut page, &view.trunks);
    attempts(&mut page, &view.trunks);
    performance(&mut page, &view.trunks);
    store(&mut page, reply);
    let mut last = "";
    for figure in &view.figures {
        if figure.name != last {
            page.head(&figure.name, &figure.help, figure.kind);
            last = &figure.name;
        }
        let labels: Vec<(&str, &str)> =
            figure.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        page.line(&figure.name, &labels, figure.value);
    }
    page.0
}

fn trunks(page: &mut Page, trunks: &[TrunkView]) {
    type Read = fn(&TrunkView) -> Option<f64>;
    let figures: [(&str, &str, Kind, Read); 14] = [
        ("trunk_calls", "Calls on the trunk, as its cap counts them.", Kind::Gauge, |it| {
            Some(it.calls.into())
        }),
        ("trunk_calls_counted", "Calls on the trunk, as the call tables hold them.", Kind::Gauge, |it| {
            Some(it.counted.into())
        }),
        ("trunk_max_calls", "The trunk's cap on calls.", Kind::Gauge, |it| Some(it.max_calls.into())),
        ("trunk_up", "1 if calls are sent to the trunk.", Kind::Gauge, |it| Some(up(it.state))),
        ("trunk_seizures_total", "Calls offered to the trunk: answered or over.", Kind::Counter, |it| {
            Some(it.total.seizures as f64)
        }),
        ("trunk_answered_total", "Calls that the trunk answered.", Kind::Counter, |it| {
            Some(it.total.answered as f64)
        }),
        ("trunk_effective_total", "Calls that reached the called user.", Kind::Counter, |it| {
            Some(it.total.effective as f64)
        }),
        ("trunk_finished_total", "Answered calls that are over.", Kind::Counter, |it| {
            Some(it.total.finished as f64)
        }),
        ("trunk_talk_seconds_total", "Talk time of calls that are over.", Kind::Counter, |it| {
            Some(it.total.talked_us as f64 / 1e6)
        }),
        ("trunk_asr", "Answer-seizure ratio of the last hour, 0 to 1.", Kind::Gauge, |it| it.recent.asr()),
        ("trunk_ner", "Network effectiveness ratio of the last hour, 0 to 1.", Kind::Gauge, |it| {
            it.recent.ner()
        }),
        ("trunk_aloc_seconds", "Average length of call of the last hour.", Kind::Gauge, |it| {
            it.recent.aloc_seconds()
        }),
        ("trunk_pdd_seconds", "Mean post-dial delay of the last hour.", Kind::Gauge, |it| {
            it.recent.pdd_ms().map(|ms| ms / 1e3)
        }),
        ("trunk_mos", "Mean opinion score of what the trunk sent in the last hour.", Kind::Gauge, |it| {
            it.recent.mos()
        }),
    ];
    for (name, help, kind, read) in figures {
        page.head(name, help, kind);
        for trunk in trunks {
            if let Some(value) = read(trunk) {
                page.line(name, &[("trunk", trunk.name.as_str())], value);
            }
        }
    }
    heard(page, trunks);
    registrations(page, trunks);
    page.head("trunk_peer_up", "1 if calls are sent to the peer.", Kind::Gauge);
    for trunk in trunks {
        for peer in &trunk.peers {
            let address = peer.address.to_string();
            page.line("trunk_peer_up", &[("trunk", trunk.name.as_str()), ("peer", &address)], up(peer.state));
        }
    }
}

/// How calls to each trunk sounded lately.
fn heard(page: &mut Page, trunks: &[TrunkView]) {
    type Read = fn(&TrunkHeard) -> Option<f64>;
    let figures: [(&str, &str, Kind, Read); 8] = [
        (
            "trunk_heard_mos",
            "Mean opinion score of what the trunk sent in the last five minutes.",
            Kind::Gauge,
            |it| it.mos_milli.map(|milli| f64::from(milli) / 1e3),
        ),
        (
            "trunk_heard_seconds",
            "Seconds of the last five minutes that were judged, over all calls.",
            Kind::Gauge,
            |it| Some(it.seconds as f64),
        ),
        ("trunk_heard_poor_seconds", "Those of them whose MOS was below 3.6.", Kind::Gauge, |it| {
            Some(it.poor_seconds as f64)
        }),
        (
            "trunk_heard_lost_ratio",
            "Share of packets lost on the way from the trunk in the last five minutes.",
            Kind::Gauge,
            |it| (it.expected > 0).then(|| it.lost as f64 / it.expected as f64),
        ),
        (
            "trunk_heard_jitter_seconds",
            "Mean jitter of what the trunk sent in the last five minutes.",
            Kind::Gauge,
            |it| it.jitter_us.map(|us| f64::from(us) / 1e6),
        ),
        (
            "trunk_heard_round_trip_seconds",
            "Mean round trip of RTP to the trunk in the last five minutes.",
            Kind::Gauge,
            |it| it.round_trip_us.map(|us| f64::from(us) / 1e6),
        ),
        (
            "trunk_heard_one_way",
            "Calls to the trunk of the last five minutes in which one side was not heard.",
            Kind::Gauge,
            |it| Some(it.one_way as f64),
        ),
        ("trunk_avoided", "1 while the trunk is chosen last for how calls to it sound.", Kind::Gauge, |it| {
            Some(u8::from(it.avoided).into())
        }),
    ];
    for (name, help, kind, read) in figures {
        page.head(name, help, kind);
        for trunk in trunks {
            if let Some(value) = read(&trunk.heard) {
                page.line(name, &[("trunk", trunk.name.as_str())], value);
            }
        }
    }
}

/// Of the trunks that register with their carrier, and of those alone.
fn registrations(page: &mut Page, trunks: &[TrunkView]) {
    type Read = fn(&RegistrationFacts) -> Option<f64>;
    let figures: [(&str, &str, Kind, Read); 6] = [
        ("trunk_registered", "1 while the carrier has our binding.", Kind::Gauge, |it| {
            Some(u8::from(it.registered).into())
        }),
        (
            "trunk_registered_until_seconds",
            "End of the binding that the carrier has, in unix time.",
            Kind::Gauge,
            |it| it.until.map(|until| until.0 as f64 / 1e6),
        ),
        ("trunk_registers_sent_total", "REGISTER requests sent, without repetitions.", Kind::Counter, |it| {
            Some(it.sent as f64)
        }),
        ("trunk_registers_granted_total", "Registrations and refreshes granted.", Kind::Counter, |it| {
            Some(it.granted as f64)
        }),
        ("trunk_registers_failed_total", "Registrations and refreshes that failed.", Kind::Counter, |it| {
            Some(it.failed as f64)
        }),
        ("trunk_calls_in_total", "Calls that the carrier sent to our contact.", Kind::Counter, |it| {
            Some(it.calls_in as f64)
        }),
    ];
    if trunks.iter().all(|trunk| trunk.registration.is_none()) {
        return;
    }
    for (name, help, kind, read) in figures {
        page.head(name, help, kind);
        for trunk in trunks {
            if let Some(value) = trunk.registration.as_ref().and_then(read) {
                page.line(name, &[("trunk", trunk.name.as_str())], value);
            }
        }
    }
}

/// What came of attempts, by trunk.
fn attempts(page: &mut Page, trunks: &[TrunkView]) {
    let name = "trunk_attempts_by_status_total";
    page.head(
        name,
        "Attempts on the trunk's peers that are over or answered, by final status.",
        Kind::Counter,
    );
    for trunk in trunks {
        for (status, count) in &trunk.attempts.by_status {
            page.line(name, &[("trunk", trunk.name.as_str()), ("status", &status.to_string())], count);
        }
    }
    let name = "trunk_attempts_by_reason_total";
    page.head(name, "The same by what came of them, in one word.", Kind::Counter);
    for trunk in trunks {
        for (reason, count) in Reason::ALL.iter().zip(trunk.attempts.by_reason) {
            page.line(name, &[("trunk", trunk.name.as_str()), ("reason", reason.as_str())], count);
        }
    }
}

/// The metrics of RFC 6076, by trunk and span of time.
fn performance(page: &mut Page, trunks: &[TrunkView]) {
    const SPANS: [&str; 3] = ["5m", "1h", "total"];
    const SHARES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)];
    type Ratio = fn(&Performance) -> Option<f64>;
    type Delays = fn(&Performance) -> &Spread;
    let ratios: [(&str, &str, Ratio); 4] = [
        ("trunk_ser", "Session establishment ratio, 0 to 1 (RFC 6076 §4.6).", Performance::ser),
        (
            "trunk_seer",
            "Session establishment effectiveness ratio, 0 to 1 (RFC 6076 §4.7).",
            Performance::seer,
        ),
        ("trunk_isa", "Ineffective session attempts, 0 to 1 (RFC 6076 §4.8).", Performance::isa),
        ("trunk_scr", "Session completion ratio, 0 to 1 (RFC 6076 §4.9).", Performance::scr),
    ];
    for (name, help, read) in ratios {
        page.head(name, help, Kind::Gauge);
        for trunk in trunks {
            for (span, performance) in SPANS.iter().zip(&trunk.performance) {
                if let Some(value) = read(performance) {
                    page.line(name, &[("trunk", trunk.name.as_str()), ("window", span)], value);
                }
            }
        }
    }
    let delays: [(&str, &str, Delays); 6] = [
        (
            "trunk_srd_seconds",
            "Session request delay of requests that rang or were answered (RFC 6076 §4.3.1).",
            |it| &it.srd,
        ),
        (
            "trunk_srd_failed_seconds",
            "Session request delay of requests that were refused (RFC 6076 §4.3.2).",
            |it| &it.srd_failed,
        ),
        ("trunk_sdd_seconds", "Session disconnect delay (RFC 6076 §4.4).", |it| &it.sdd),
        ("trunk_sdt_seconds", "Duration of sessions torn down properly (RFC 6076 §4.5.1).", |it| &it.sdt),
        (
            "trunk_sdt_failed_seconds",
            "Duration of sessions not torn down properly (RFC 6076 §4.5.2).",
            |it| &it.sdt_failed,
        ),
        (
            "trunk_pdd_quantile_seconds",
            "Post-dial delay as the caller had it, earlier attempts included.",
            |it| &it.pdd,
        ),
    ];
    for (name, help, read) in delays {
        page.head(name, help, Kind::Gauge);
        for trunk in trunks {
            for (span, performance) in SPANS.iter().zip(&trunk.performance) {
                for (label, share) in SHARES {
                    if let Some(us) = read(performance).quantile_us(share) {
                        let labels = [("trunk", trunk.name.as_str()), ("window", span), ("quantile", label)];
                        page.line(name, &labels, us as f64 / 1e6);
                    }
                }
            }
        }
    }
}

fn store(page: &mut Page, reply: &Reply) {
    let it = &reply.store;
    let failing = u8::from(it.failing.is_some());
    page.one("store_failing", "1 while call records can't be written.", Kind::Gauge, failing);
    page.one("store_commits_total", "Commits to the store.", Kind::Counter, it.commits);
    page.one("store_records_total", "Records written to the store.", Kind::Counter, it.records);
    page.one("store_retries_total", "Commits that failed and were tried again.", Kind::Counter, it.retries);
    page.one(
        "store_refused_total",
        "Records that the store refused as malformed.",
        Kind::Counter,
        it.refused,
    );
    let slowest = it.slowest_us as f64 / 1e6;
    page.one("store_slowest_commit_seconds", "The slowest commit since the start.", Kind::Gauge, slowest);
    let help = "Commands dropped since a worker's mailbox stayed full.";
    page.one("control_commands_lost_total", help, Kind::Counter, reply.commands_lost);
}

const fn up(state: TrunkState) -> f64 {
    match state {
        TrunkState::Up | TrunkState::Unknown | TrunkState::Trial => 1.0,
        TrunkState::Down | TrunkState::Disabled => 0.0,
    }
}

/// The text as it grows. Writing to a string can't fail.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP trunkline_{name} {help}\n# TYPE trunkline_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "trunkline_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", Escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn one(&mut self, name: &str, help: &str, kind: Kind, value: impl Display) {
        self.head(name, help, kind);
        self.line(name, &[], value);
    }
}

/// A label's value, in which backslash, quote and line end are escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
