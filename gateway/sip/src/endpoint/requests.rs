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
        if !is_written_well(request)
            || matches!(method, Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Other)
        {
            return Err(StartError::BadText);
        }
        let flow = self.flow_to(now, &request.destination)?;
        let (key, token) =
            self.client_insert(method, Owner::Request, flow, request.cseq).ok_or(StartError::Full)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let name = request.method.as_bytes();
        let uri = request.request_uri.as_bytes();
        let text = token.text();
        let tag = if request.tag.is_empty() { &text[..] } else { request.tag.as_bytes() };
        compose::begin_request(&mut out, name, uri, &flow, &[&token.branch()], request.max_forwards);
        compose::parts(&mut out, &[b"From: ", request.from.as_bytes(), b";tag=", tag]);
        compose::parts(&mut out, &[b"\r\nTo: ", request.to.as_bytes()]);
        compose::parts(&mut out, &[b"\r\nCall-ID: ", request.call_id.as_bytes(), b"\r\n"]);
        compose::cseq(&mut out, request.cseq, name);
        // RFC 3428 §4: "User Agents MUST NOT insert Contact header fields into MESSAGE requests"; RFC 3903 §4.1 has
        // no use for it in PUBLISH.
        if !matches!(method, Method::Message | Method::Publish) {
            compose::contact(&mut out, b"", &flow);
        }
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

    /// Tells whoever sent a request that came as [`crate::Event::Request`] or [`crate::Event::InUsage`] that it is being seen
    /// to: 100, which RFC 4320 §4.1 wants no sooner than Timer E is at T2. Nothing if it has its answer.
    pub fn respond_trying(&mut self, now: Time, request: RequestId) {
        let waits = self.servers.get(request.0).is_some_and(|it| it.owner == servers::Owner::Request);
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if waits && self.server_begin(&mut out, request.0, 100, None) {
            let _ = compose::end(&mut out, None); // no body, so it fits
            self.server_send(now, request.0, 100, &out);
        }
        self.scratch = out;
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
            // RFC 3261 §11.2: "should include Allow, Accept, Accept-Encoding, Accept-Language, and Supported header fields".
            let accept: &[u8] =
                b"Accept: application/sdp\r\nAccept-Encoding: identity\r\nAccept-Language: en\r\n";
            (200, [accept, &self.identity.allow, &self.identity.supported].concat())
        };
        if let Some(server) = self.servers.get_mut(request.0) {
            server.owner = servers::Owner::Nobody;
        }
        self.server_answer_with(now, request.0, status, None, &lines);
        Ok(())
    }
}

/// Whether a request's texts can stand in a message.
pub(crate) fn is_written_well(request: &Request<'_>) -> bool {
    let texts = [request.call_id, request.request_uri, request.from, request.to];
    texts.iter().all(|text| !text.is_empty() && compose::is_line(text.as_bytes()))
        && compose::is_line(request.tag.as_bytes())
        && !request.request_uri.contains(' ')
        && (1..1 << 31).contains(&request.cseq)
}
