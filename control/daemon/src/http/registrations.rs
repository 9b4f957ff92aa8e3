//! `/api/v1/registrations`: which phones are registered, and where calls to them go.

use super::parameters::{Given, Parameters};
use super::{Api, Problem};
use crate::stamp::Stamp;
use axum::Json;
use axum::extract::State;
use control::{Ask, Outcome};
use link::{Binding, Registration, Text, UnixMicros};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct Registrations {
    registrations: Vec<User>,
}

#[derive(Serialize)]
struct User {
    user: Arc<str>,
    /// Preferred ones first.
    contacts: Vec<Contact>,
}

#[derive(Serialize)]
struct Contact {
    contact: Box<str>,
    q: f64,
    transport: Text,
    /// Where the REGISTER came from.
    source: SocketAddr,
    /// Where calls are sent.
    target: SocketAddr,
    /// Whether the phone is behind a NAT, and is reached where it came from alone.
    behind_nat: bool,
    /// Whether it has stopped to answer, and is not called.
    silent: bool,
    /// Phone and flow (RFC 5626), if it registers by flows.
    instance: Option<String>,
    reg_id: Option<u32>,
    /// The proxies on the way to it (RFC 3327), if there are any.
    path: Option<Box<str>>,
    user_agent: Arc<str>,
    registered: Stamp,
    expires: Stamp,
    expires_seconds: u64,
}

impl Contact {
    fn of(it: Binding, now: UnixMicros) -> Self {
        let reg_id = it.by_flow().map(|flow| flow.reg_id);
        Self {
            contact: it.contact,
            q: f64::from(it.q) / 1000.0,
            transport: it.transport,
            source: it.source,
            target: it.target,
            behind_nat: it.behind_nat,
            silent: it.silent,
            reg_id,
            instance: it.flow.map(|flow| flow.instance),
            path: Some(it.path).filter(|path| !path.is_empty()),
            user_agent: it.user_agent,
            registered: Stamp(it.registered),
            expires: Stamp(it.expires),
            expires_seconds: it.expires.since(now) / 1_000_000,
        }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, given: Given) -> Result<Json<Registrations>, Problem> {
    Parameters::read(given, &[])?;
    let Outcome::Registrations(all) = api.ask(Ask::Registrations).await?.outcome else {
        return Err(Problem::busy());
    };
    let now = api.about.now();
    let user = |it: Registration| {
        let mut bindings = it.bindings.to_vec();
        bindings.sort_by_key(|binding| core::cmp::Reverse((binding.q, binding.registered)));
        let contacts = bindings.into_iter().map(|binding| Contact::of(binding, now)).collect();
        User { user: it.user, contacts }
    };
    Ok(Json(Registrations { registrations: all.into_iter().map(user).collect() }))
}
