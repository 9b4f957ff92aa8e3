//! REFER handed on: to the other side of the call, the NOTIFYs that it sends about it back (RFC 3515, RFC 7092 §3.1.4).
//!
//! What they say of dialogs and addresses is said from our side of them: a Replaces that names a leg of ours names the
//! dialog of the leg across it instead, so that whoever is on that leg's far end knows it.

use super::super::call::across;
use super::Seat;
use crate::registrar::gr_of;
use crate::session;
use crate::shard::Shard;
use link::{Part, Side};
use sansio::{Key, Time};
use sip::message::{HostPort, Method, Name, Params, Uri};
use sip::transfer::{Join, Refer, Replaces, fragment_status};
use sip::{Body, LegId, Received, RequestId};

impl Shard {
    /// Hands a REFER on.
    ///
    /// # Errors
    /// The status to answer with.
    pub(super) fn pass_refer(
        &mut self,
        now: Time,
        id: RequestId,
        (key, by): (Key, Side),
        refer: &Refer,
        found: Option<Result<Seat, u16>>,
    ) -> Result<(), u16> {
        let call = self.calls.get(key).ok_or(481_u16)?;
        let other = call.other(by).ok_or(491_u16)?;
        let local = self.endpoint.leg(other).map(|facts| facts.flow.local).ok_or(491_u16)?;
        let mut there = refer.clone();
        there.target = self.seen_from(&refer.target, local);
        match found {
            Some(Ok(seat)) if refer.join.is_some() => there.join = Some(Join::from(seat.dialog)),
            Some(Ok(seat)) => {
                // RFC 3891 §3: who is called in an early dialog could not be asked for it by another.
                let dialog = Some(seat.dialog).filter(|_| seat.stands).ok_or(481_u16)?;
                let early_only = refer.replaces.as_ref().is_some_and(|it| it.early_only);
                there.replaces = Some(Replaces { early_only, ..dialog });
            }
            // A dialog of nobody here is somebody else's business.
            None | Some(Err(481)) => {}
            Some(Err(status)) => return Err(status),
        }
        let number = self.number_at(key, by);
        let refer_to = there.refer_to();
        let referred_by = format!("<sip:{number}@{}>", session::host(local.ip()));
        let mut headers = vec![("Refer-To", refer_to.as_str()), ("Referred-By", referred_by.as_str())];
        if !refer.subscribes {
            headers.push(("Refer-Sub", "false"));
        }
        let sent = self.endpoint.request_inside(now, other, Method::Refer, &headers, None);
        let ours = sent.map_err(|_| 491_u16)?;
        self.relays.insert(ours, id);
        self.stats.transfers_passed += 1;
        if let Some(call) = self.calls.get_mut(key) {
            call.transferring.passed = Some((by, refer.id));
        }
        let to = session::user_of(refer.target.as_bytes());
        self.note_transfer(key, link::Transfer { part: Part::Passed, by: number, to, status: 0, call: None });
        Ok(())
    }

    /// A URI as it is to be read on another side: our address as known there, if it names ours.
    pub(crate) fn seen_from(&self, uri: &str, local: core::net::SocketAddr) -> String {
        let host = Uri::parse(uri.as_bytes()).and_then(|parsed| parsed.host_port);
        let is_ours = |host: &HostPort<'_>| {
            let address = host.host.address();
            self.listeners.iter().any(|it| {
                address == Some(it.advertised.ip())
                    && host.port.is_none_or(|port| port == it.advertised.port())
            })
        };
        if !host.as_ref().is_some_and(is_ours) {
            return uri.to_owned();
        }
        let gr = Uri::parse(uri.as_bytes()).map(|parsed| gr_of(&parsed)).unwrap_or_default();
        let (user, host) = (session::user_of(uri.as_bytes()), session::host(local.ip()));
        format!("sip:{user}@{host}:{}{gr}", local.port())
    }

    /// Hands a NOTIFY about a REFER that was handed on back to who had sent that; `None` if there is none such.
    pub(super) fn pass_notify(
        &mut self,
        now: Time,
        id: RequestId,
        leg: LegId,
        message: &Received,
    ) -> Option<()> {
        let (key, side) = self.slot(leg).map(|slot| (slot.call, slot.side))?;
        let call = self.calls.get(key)?;
        let (by, cseq) = call.transferring.passed.filter(|(by, _)| across(*by) == side)?;
        let other = call.other(side)?;
        let notify = message.parse().ok()?;
        let event = notify.header(Name::Event)?;
        let end = event.iter().position(|byte| *byte == b';').unwrap_or(event.len());
        if !event[..end].trim_ascii().eq_ignore_ascii_case(b"refer") {
            return None;
        }
        // The number of his own REFER, where ours is named (RFC 3515 §2.4.6).
        let named = Params::new(&event[end..]).has("id");
        let event = if named { format!("refer;id={cseq}") } else { String::from("refer") };
        let state = notify.header(Name::SubscriptionState).map(session::text)?;
        let content_type = notify.content_type().map(session::text).unwrap_or_default();
        let body = (!message.body().is_empty())
            .then_some(Body { content_type: &content_type, bytes: message.body() });
        let headers = [("Event", event.as_str()), ("Subscription-State", state.as_str())];
        let ours = self.endpoint.request_inside(now, other, Method::Notify, &headers, body).ok()?;
        self.relays.insert(ours, id);
        let status = fragment_status(message.body()).filter(|status| *status >= 200);
        if let (Some(status), Some(transfer)) =
            (status, self.calls.get_mut(key).and_then(|call| call.draft.transfer.as_mut()))
        {
            transfer.status = status;
        }
        debug_assert_eq!(across(by), side);
        Some(())
    }
}
