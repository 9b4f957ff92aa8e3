//! A trunk's registration with its carrier in words for the log, and as the API shows it.

use crate::stamp::Stamp;
use link::{RegistrationChange, RegistrationFacts, RegistrationState, UnixMicros};
use serde::Serialize;

/// The line for the log.
pub(crate) fn told(change: &RegistrationChange) -> String {
    let word = match (change.status, change.reason.as_str()) {
        (Some(status), reason) => format!("{status} {reason}").trim_end().to_owned(),
        (None, reason) => reason.to_owned(),
    };
    let seconds = |at: Option<UnixMicros>| at.map(|at| at.since(change.at).div_ceil(1_000_000));
    let holds = match seconds(change.until) {
        Some(left) => format!("; the binding holds for {left} s more"),
        None => String::new(),
    };
    let again = match seconds(change.next) {
        Some(wait) => format!("; asked again in {wait} s"),
        None => String::new(),
    };
    let what = match change.state {
        RegistrationState::Trying => "registering".to_owned(),
        RegistrationState::Registered => {
            format!("registered for {} s ({word})", seconds(change.until).unwrap_or_default())
        }
        RegistrationState::Failing => format!("registration failed ({word}){holds}{again}"),
        RegistrationState::Refused => format!("registration refused ({word}){again}"),
        RegistrationState::Left if word.is_empty() => "registration given up".to_owned(),
        RegistrationState::Left => format!("registration given up ({word})"),
    };
    format!("trunk {}: {what}", change.trunk)
}

/// A registration as the API shows it.
#[derive(Serialize)]
pub(crate) struct Shown {
    state: RegistrationState,
    registered: bool,
    until: Option<Stamp>,
    next: Option<Stamp>,
    since: Stamp,
    status: Option<u16>,
    reason: String,
    registrar: String,
    aor: String,
    service_route: Vec<String>,
    associated: Vec<String>,
    sent: u64,
    granted: u64,
    failed: u64,
    calls_in: u64,
}

impl From<RegistrationFacts> for Shown {
    fn from(it: RegistrationFacts) -> Self {
        Self {
            state: it.state,
            registered: it.registered,
            until: it.until.map(Stamp),
            next: it.next.map(Stamp),
            since: Stamp(it.since),
            status: it.status,
            reason: it.reason,
            registrar: it.registrar,
            aor: it.aor,
            service_route: it.service_route,
            associated: it.associated,
            sent: it.sent,
            granted: it.granted,
            failed: it.failed,
            calls_in: it.calls_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_makes_a_line_that_says_what_to_expect() {
        let change = |state, until: Option<u64>, next: Option<u64>, status, reason: &str| {
            told(&RegistrationChange {
                trunk: "a".into(),
                state,
                until: until.map(UnixMicros),
                next: next.map(UnixMicros),
                status,
                reason: reason.into(),
                at: UnixMicros(10_000_000),
            })
        };
        use RegistrationState::{Failing, Left, Refused, Registered};
        let line = change(Registered, Some(70_000_000), Some(50_000_000), Some(200), "OK");
        assert_eq!(line, "trunk a: registered for 60 s (200 OK)");
        let line = change(Failing, Some(15_000_000), Some(40_000_000), None, "no answer");
        let holds = "the binding holds for 5 s more; asked again in 30 s";
        assert_eq!(line, format!("trunk a: registration failed (no answer); {holds}"));
        let line = change(Refused, None, Some(11_000_000), Some(403), "");
        assert_eq!(line, "trunk a: registration refused (403); asked again in 1 s");
        assert_eq!(change(Left, None, None, Some(200), "OK"), "trunk a: registration given up (200 OK)");
    }
}
