//! Requests that are neither a call's nor the endpoint's own: OPTIONS probes and the like, both ways.

use super::clients::Owner;
use super::{Endpoint, compose, servers};
use crate::error::{LegError, StartError};
use crate::event::{Body, LegId, LegState, Request, RequestId};
use crate::message::Method;
use sansio::Time;

impl Endpoint {
    /// Sends a request outside of dialogs; `Response` or `RequestFailed` follows.
    ///
    /// # Errors
    /// As [`Self::invite`]; also a method that is not for this (INVITE, ACK, BYE, CANCEL) or unknown.
    pub fn request(&mut self, now: Time, request: &Request<'_>) -> Result<RequestId, StartError> {
        let method = Method::parse(request.method.as_bytes());
        let texts = [request.call_id, request.request_uri, request.from, request.to];
        if texts.iter().any(|text| text.is_empty() || !compose::is_line(text.as_bytes()))
            || request.request_uri.contains(' ')
            || matches!(method, Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Other)
        {
            return Err(StartError::BadText);
        }
        let flow = self.flow_to(now, &request.destination)?;
        let (key, token) = self.client_insert(method, Owner::Request, flow, 1).ok_or(StartError::Full)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let name = request.method.as_bytes();
        let uri = request.request_uri.as_bytes();
        compose::begin_request(&mut out, name, uri, &flow, &[&token.branch()], 70);
        compose::parts(&mut out, &[b"From: ", request.from.as_bytes(), b";tag=", &token.text()]);
        compose::parts(&mut out, &[b"\r\nTo: ", request.to.as_bytes()]);
        compose::parts(&mut out, &[b"\r\nCall-ID: ", request.call_id.as_bytes(), b"\r\n"]);
        compose::cseq(&mut out, 1, name);
        compose::contact(&mut out, b"", &flow);
        out.extend_from_slice(&self.identity.user_agent);
        let fits = compose::headers(&mut out, request.headers) && compose::end(&mut out, request.body);
        if fits {
            if let Some(client) = self.clients.get_mut(key) {
                client.patience = Some(request.timeout.min(self.config.timers.t1_64()));
            }
            self.client_start(now, key, &out);
        } else {
            self.client_remove(key);
        }
        self.scratch = out;
        if fits { Ok(RequestId(key)) } else { Err(StartError::BadText) }
    }

    /// Sends a request inside a leg's dialog (INFO, UPDATE, ...); `Response` or `RequestFailed` follows.
    ///
    /// # Errors
    /// The leg is unknown or does not stand; the method is not for this; tables full; bad text.
    pub fn request_inside(
        &mut self,
        now: Time,
        leg: LegId,
        method: Method,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<RequestId, LegError> {
        let state = self.legs.get(leg.0).ok_or(LegError::Unknown)?;
        if state.state != LegState::Confirmed
            || matches!(method, Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Other)
        {
            return Err(LegError::WrongState);
        }
        self.inside_request(now, leg.0, method, Owner::Request, headers, body).map(RequestId)
    }

    /// Answers a request that came as [`crate::Event::Request`], finally (200 to 699).
    ///
    /// # Errors
    /// The request is unknown or was answered, or the status is another.
    pub fn respond(
        &mut self,
        now: Time,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let server = self.servers.get(request.0).ok_or(LegError::Unknown)?;
        if server.owner != servers::Owner::Request || !(200..700).contains(&status) {
            return Err(LegError::WrongState);
        }
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if !self.server_begin(&mut out, request.0, status, None) {
            self.scratch = out;
            return Err(LegError::WrongState);
        }
        out.extend_from_slice(&self.identity.server);
        let fits = compose::headers(&mut out, headers) && compose::end(&mut out, body);
        if fits {
            if let Some(server) = self.servers.get_mut(request.0) {
                server.owner = servers::Owner::Nobody;
            }
            self.server_send(now, request.0, status, &out);
        }
        self.scratch = out;
        if fits { Ok(()) } else { Err(LegError::BadText) }
    }

    /// Answers an OPTIONS that came as [`crate::Event::Request`]: 200 with Accept and Allow (RFC 3261 §11.2), or 503 with
    /// Retry-After while draining.
    ///
    /// # Errors
    /// The request is unknown or was answered.
    pub fn respond_options(&mut self, now: Time, request: RequestId, draining: bool) -> Result<(), LegError> {
        let server = self.servers.get(request.0).ok_or(LegError::Unknown)?;
        if server.owner != servers::Owner::Request {
            return Err(LegError::WrongState);
        }
        let (status, lines) = if draining {
            (503, format!("Retry-After: {}\r\n", self.config.limits.retry_after).into_bytes())
        } else {
            let accept: &[u8] = b"Accept: application/sdp\r\n";
            (200, [accept, &self.identity.allow, &self.identity.supported].concat())
        };
        if let Some(server) = self.servers.get_mut(request.0) {
            server.owner = servers::Owner::Nobody;
        }
        self.server_answer_with(now, request.0, status, None, &lines);
        Ok(())
    }
}
