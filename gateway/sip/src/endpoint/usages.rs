//! Dialogs without a call: begun by SUBSCRIBE, or by REFER (RFC 3515 §2.4.4), either way, kept until their owner closes them
//! (RFC 6665 §4.4.1).
//!
//! How long a subscription lasts and what NOTIFY means is the owner's to know; here is who speaks with whom, in what
//! order, by which route.

use super::clients::Owner;
use super::requests::is_written_well;
use super::{Endpoint, compose, servers};
use crate::dialog::usage::Usage;
use crate::dialog::{Dialog, Parts};
use crate::error::{LegError, StartError};
use crate::event::{Body, Event, Flow, Link, Received, Request, RequestId, UsageId};
use crate::message::{Message, Method, Name, unfold};
use crate::nat::{response_shows_nat, shows_nat};
use crate::transaction::key::{Arrived, OwnToken};
use core::time::Duration;
use sansio::{Key, Time};

/// How far and how long a request may travel.
struct Hop {
    max_forwards: u8,
    patience: Duration,
}

impl Endpoint {
    /// Sends a SUBSCRIBE or REFER and makes the dialog that it is to begin; `Response` or `RequestFailed` follows, and NOTIFYs as
    /// `InUsage`, perhaps before (RFC 6665 §4.1.2.4). The usage is the owner's to close. The request's `tag` is not used.
    ///
    /// # Errors
    /// As [`Self::request`]; also too many usages.
    pub fn usage_open(
        &mut self,
        now: Time,
        request: &Request<'_>,
    ) -> Result<(UsageId, RequestId), StartError> {
        let method = match request.method {
            "SUBSCRIBE" => Method::Subscribe,
            "REFER" => Method::Refer,
            _ => return Err(StartError::BadText),
        };
        if !is_written_well(request) {
            return Err(StartError::BadText);
        }
        let flow = self.flow_to(now, &request.destination)?;
        let nonce = self.random.u64();
        let empty = Dialog::new(&Parts::default(), request.cseq, None);
        let usage = Usage {
            nonce,
            outgoing: true,
            flow,
            dialog: empty,
            notified: false,
            shows_nat: false,
            answered: false,
        };
        let key = self.usage_insert(usage).ok_or(StartError::Full)?;
        let local = [request.from.as_bytes(), b";tag=", &OwnToken { key, nonce }.text()].concat();
        let parts = Parts {
            call_id: request.call_id.as_bytes(),
            local: &local,
            remote: request.to.as_bytes(),
            target: request.request_uri.as_bytes(),
            ..Parts::default()
        };
        self.usage_dialog(key, Dialog::new(&parts, request.cseq - 1, None));
        let hop = Hop { max_forwards: request.max_forwards, patience: request.timeout };
        let sent = self.usage_send(now, key, method, hop, request.headers, request.body);
        let id = sent.map_err(|error| {
            self.usage_close(UsageId(key));
            if error == LegError::Full { StartError::Full } else { StartError::BadText }
        })?;
        Ok((UsageId(key), id))
    }

    /// Sends a request inside a usage: NOTIFY, or a SUBSCRIBE or the first REFER again; `Response` or `RequestFailed` follows
    /// within `timeout` (at most 64 × T1).
    ///
    /// # Errors
    /// The usage is unknown; the method is another; tables full; bad text.
    pub fn usage_request(
        &mut self,
        now: Time,
        usage: UsageId,
        method: Method,
        max_forwards: u8,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
        timeout: Duration,
    ) -> Result<RequestId, LegError> {
        if !matches!(method, Method::Subscribe | Method::Notify | Method::Refer) {
            return Err(LegError::WrongState);
        }
        let hop = Hop { max_forwards, patience: timeout };
        self.usage_send(now, usage.0, method, hop, headers, body)
    }

    /// The Request-URI of requests in a usage; `None` once it is closed.
    pub fn usage_target(&self, usage: UsageId) -> Option<String> {
        let path = self.usages.get(usage.0)?.dialog.path();
        Some(String::from_utf8_lossy(path.request_uri).into_owned())
    }

    /// Answers a request that came as [`Event::InUsage`], finally (200 to 699). A 2xx to SUBSCRIBE names our Contact.
    ///
    /// # Errors
    /// The request is unknown or was answered, the status is another, or bad text.
    pub fn usage_respond(
        &mut self,
        now: Time,
        usage: UsageId,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let is_success = (200..300).contains(&status);
        let contact = self.usages.get(usage.0).filter(|it| is_success && !it.outgoing).map(|it| {
            let mut line = Vec::new();
            compose::contact(&mut line, it.dialog.parts().user, &it.flow);
            let value = line.strip_prefix(b"Contact: ").unwrap_or_default().trim_ascii_end();
            String::from_utf8_lossy(value).into_owned()
        });
        let contact = contact.iter().map(|value| ("Contact", value.as_str()));
        let headers: Vec<(&str, &str)> = contact.chain(headers.iter().copied()).collect();
        self.respond(now, request, status, &headers, body)
    }

    /// Forgets a usage: what still comes in it is answered 481. Nothing is sent.
    pub fn usage_close(&mut self, usage: UsageId) {
        let Some(usage) = self.usages.remove(usage.0) else { return };
        self.held -= usage.dialog.len() as u64;
        if let Link::Stream(stream) = usage.flow.link
            && let Some(connection) = self.wire.connections.get_mut(stream)
        {
            connection.legs = connection.legs.saturating_sub(1);
            connection.used = true;
        }
    }

    fn usage_insert(&mut self, usage: Usage) -> Option<Key> {
        let link = usage.flow.link;
        let Ok(key) = self.usages.insert(usage) else {
            self.stats.usages_full += 1;
            return None;
        };
        if let Link::Stream(stream) = link
            && let Some(connection) = self.wire.connections.get_mut(stream)
        {
            // It is the way for what is still to come, as a leg's is.
            connection.legs += 1;
        }
        Some(key)
    }

    fn usage_dialog(&mut self, key: Key, dialog: Dialog) {
        if let Some(usage) = self.usages.get_mut(key) {
            self.held += dialog.len() as u64;
            self.held -= usage.dialog.len() as u64;
            usage.dialog = dialog;
        }
    }

    fn usage_send(
        &mut self,
        now: Time,
        usage_key: Key,
        method: Method,
        hop: Hop,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<RequestId, LegError> {
        let usage = self.usages.get_mut(usage_key).ok_or(LegError::Unknown)?;
        let begun = !usage.dialog.parts().remote_tag.is_empty();
        let (cseq, flow) = (usage.dialog.next_cseq(), usage.flow);
        // Before anybody has answered, the request goes where it was told to, once more (RFC 3261 §22.2).
        let flow = if begun {
            let (dialog, keeps_way) = (usage.dialog.clone(), self.config.nat.applies(usage.shows_nat));
            self.inside_flow(now, &dialog, flow, keeps_way)
        } else {
            flow
        };
        let owner = Owner::Usage(usage_key);
        let (key, token) = self.client_insert(method, owner, flow, cseq).ok_or(LegError::Full)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let mut fits = false;
        if let Some(usage) = self.usages.get(usage_key) {
            let name = method.as_str().as_bytes();
            let branch: [&[u8]; 1] = [&token.branch()];
            compose::begin_inside_by(&mut out, &usage.dialog, &flow, (name, cseq), &branch, hop.max_forwards);
            compose::contact(&mut out, usage.dialog.parts().user, &flow);
            compose::parts(&mut out, &[&self.identity.allow, &self.identity.user_agent]);
            fits = compose::headers(&mut out, headers) && compose::end(&mut out, body);
        }
        if fits {
            let patience = hop.patience.min(self.config.timers.t1_64());
            if let Some(client) = self.clients.get_mut(key) {
                client.patience = Some(patience);
            }
            self.client_start(now, key, &out);
        } else {
            self.client_remove(key);
        }
        self.scratch = out;
        if fits { Ok(RequestId(key)) } else { Err(LegError::BadText) }
    }

    /// A SUBSCRIBE or REFER outside of any dialog: the dialog that it begins is made at once, so that NOTIFY may come before
    /// its answer (RFC 6665 §4.2.1.1).
    pub(crate) fn receive_subscribe(&mut self, now: Time, flow: Flow, request: &Arrived<'_, '_>, hash: u64) {
        let nonce = self.random.u64();
        let empty = Dialog::new(&Parts::default(), 0, None);
        let shows_nat = shows_nat(request, &flow);
        let usage = Usage {
            nonce,
            outgoing: false,
            flow,
            dialog: empty,
            notified: false,
            shows_nat,
            answered: false,
        };
        let Some(usage_key) = self.usage_insert(usage) else { return self.refuse_busy(flow, request) };
        let tag = OwnToken { key: usage_key, nonce }.text();
        let to = unfold(request.header(Name::To).unwrap_or_default());
        let dialog = Dialog::of_request(request, &[&to, &b";tag="[..], &tag].concat());
        let owner = servers::Owner::Request;
        let key = dialog.is_some().then(|| self.server_insert(request, hash, flow, owner, Some(&tag)));
        let (Some(dialog), Some(Some(key))) = (dialog, key) else {
            self.usage_close(UsageId(usage_key));
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        self.usage_dialog(usage_key, dialog);
        self.server_bound(now, key);
        self.events.push_back(Event::InUsage {
            usage: UsageId(usage_key),
            id: RequestId(key),
            method: request.method(),
            begins: true,
            message: Received::of(request),
            flow,
        });
    }

    /// The usage in whose dialog a request comes. The first NOTIFY says with whom it is: a SUBSCRIBE may have been forked,
    /// and the dialog is that of the NOTIFY, not of the 2xx (RFC 6665 §4.4.1). Those of other forks find nothing.
    pub(crate) fn usage_of(&self, request: &Arrived<'_, '_>, our_tag: &[u8]) -> Option<Key> {
        let token = OwnToken::parse(our_tag)?;
        let usage = self.usages.get(token.key).filter(|usage| usage.nonce == token.nonce)?;
        let parts = usage.dialog.parts();
        let open = usage.outgoing && !usage.notified && request.method() == Method::Notify;
        let same = parts.call_id == request.call_id() && (open || parts.remote_tag == request.from_tag);
        same.then_some(token.key)
    }

    /// A request in a dialog without a call.
    pub(crate) fn receive_in_usage(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        usage_key: Key,
    ) {
        let method = request.method();
        let Some(usage) = self.usages.get_mut(usage_key) else { return };
        let wanted = if usage.outgoing { Method::Notify } else { Method::Subscribe };
        if method != wanted {
            return self.refuse_method(flow, request);
        }
        if !usage.dialog.takes(request.cseq) {
            return self.refuse_counted(flow, request, 500);
        }
        usage.shows_nat = shows_nat(request, &flow);
        // Where the 2xx came first and from the same peer, its route holds: not every proxy records itself in a NOTIFY too.
        let begins = usage.outgoing && !usage.notified && usage.dialog.parts().remote_tag != request.from_tag;
        usage.notified |= usage.outgoing;
        let dialog = if begins {
            begun_by(&usage.dialog, request)
        } else {
            let mut dialog = usage.dialog.clone();
            dialog.refresh(request);
            Some(dialog)
        };
        let Some(dialog) = dialog else { return self.refuse_counted(flow, request, 400) };
        // RFC 5626 §5.3: a phone that speaks over a new connection is to be answered over that one.
        if !usage.outgoing && flow.transport == usage.flow.transport && flow.link != usage.flow.link {
            self.usage_moves(usage_key, flow);
        }
        self.usage_dialog(usage_key, dialog);
        let tag = request.to_tag;
        let Some(key) = self.server_insert(request, hash, flow, servers::Owner::Request, tag) else {
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        self.server_bound(now, key);
        self.events.push_back(Event::InUsage {
            usage: UsageId(usage_key),
            id: RequestId(key),
            method,
            begins: false,
            message: Received::of(request),
            flow,
        });
    }

    fn usage_moves(&mut self, usage_key: Key, flow: Flow) {
        let Some(usage) = self.usages.get_mut(usage_key) else { return };
        let old = core::mem::replace(&mut usage.flow, flow);
        for (link, more) in [(old.link, false), (flow.link, true)] {
            if let Link::Stream(stream) = link
                && let Some(connection) = self.wire.connections.get_mut(stream)
            {
                connection.legs = if more { connection.legs + 1 } else { connection.legs.saturating_sub(1) };
                connection.used = true;
            }
        }
    }

    /// A response to our SUBSCRIBE or NOTIFY: a 2xx to the first SUBSCRIBE says with whom we speak until a NOTIFY does;
    /// a later one refreshes the target (RFC 3261 §12.2.1.2).
    pub(crate) fn usage_response(&mut self, usage_key: Key, response: &Message<'_>) {
        if !(200..300).contains(&response.status()) {
            return;
        }
        let Some(usage) = self.usages.get_mut(usage_key) else { return };
        usage.shows_nat |= response_shows_nat(response, &usage.flow);
        let mut dialog = usage.dialog.clone();
        if !usage.outgoing {
            // An answer to our NOTIFY; it need not name a Contact (RFC 6665 §8.1).
            dialog.refresh(response);
            return self.usage_dialog(usage_key, dialog);
        }
        let Some(mut begun) = Dialog::of_response(response, dialog.parts().user) else { return };
        (begun.local_cseq, begun.remote_cseq) = (dialog.local_cseq, dialog.remote_cseq);
        let (known, said) = (usage.dialog.parts(), begun.parts());
        if known.remote_tag.is_empty()
            || known.remote_tag == said.remote_tag && known.routes.is_empty() && !usage.answered
        {
            // A NOTIFY that came before may lack the route, and names the target as well.
            dialog = begun;
        } else if known.remote_tag == said.remote_tag {
            dialog.refresh(response);
        }
        if let Some(usage) = self.usages.get_mut(usage_key) {
            usage.answered = true;
        }
        self.usage_dialog(usage_key, dialog);
    }
}

/// The dialog that a NOTIFY begins at the subscriber (RFC 6665 §4.4.1): its Record-Route and Contact, our own From.
fn begun_by(ours: &Dialog, notify: &Arrived<'_, '_>) -> Option<Dialog> {
    let theirs = Dialog::of_request(notify, ours.parts().local)?;
    let parts = theirs.parts();
    Some(Dialog::new(&Parts { user: ours.parts().user, ..parts }, ours.local_cseq, Some(notify.cseq)))
}
