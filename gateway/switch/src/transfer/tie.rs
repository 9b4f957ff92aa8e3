//! Transfers across shards: two shards speak SIP with each other by mail, as over a connection that never breaks.
//!
//! Media never changes core, so a leg cannot move to another shard. A dialog to be replaced that is another shard's is
//! replaced there, by an INVITE with Replaces from this one: one more call, whose far end is the other shard's call. Their
//! RTP ports are each other's peers on this host. The endpoints take it for a connection ([`TIE`]) that the other shard
//! holds; their Call-IDs find no other way, since all messages of such a dialog go by mail.

use crate::attempt::Way;
use crate::mail::Mail;
use crate::shard::Shard;
use crate::status::Refusal;
use sansio::{Key, Mailbox, Outbox, StreamId, Time};
use sip::transfer::Replaces;
use sip::{Flow, Held, Link, Transport};

/// The number that the connection between two shards has at both; those of real ones begin at 1.
pub(crate) const TIE: StreamId = StreamId(0);

impl Shard {
    /// The shard whose dialog a Replaces names, if it is another one.
    pub(crate) fn elsewhere(&self, replaces: &Replaces) -> Option<u16> {
        let owner = self.shards.owner_of(replaces.call_id.as_bytes());
        (owner != self.shards.me).then_some(owner)
    }

    /// Whether a message came by mail from another shard.
    pub(crate) fn is_tied(&self, flow: &Flow) -> bool {
        matches!(flow.link, Link::Stream(_))
            && self.endpoint.held(flow).is_some_and(|held| held.stream == TIE)
    }

    /// A message that another shard wrote.
    pub(crate) fn tied(&mut self, now: Time, from: u16, bytes: &[u8]) {
        let Some(address) = self.listeners.first().map(|listener| listener.advertised) else { return };
        self.endpoint.handle_foreign(now, from, TIE, Transport::Tcp, address, address, bytes);
    }

    /// Sends a call to the shard that holds the dialog it is to replace.
    pub(crate) fn route_elsewhere(&mut self, now: Time, key: Key, owner: u16, out: &mut Outbox<Mail>) {
        self.stats.transfers_elsewhere += 1;
        let Some(call) = self.calls.get_mut(key) else { return };
        // There is one place to ask, and no other.
        call.contacts = Some(Vec::new());
        call.draft.routed = Some(call.draft.dialled.clone());
        let (number, listener) = (call.draft.dialled.clone(), call.listener);
        let Some(address) = self.listeners.first().map(|listener| listener.advertised) else { return };
        self.stats.attempts += 1;
        let name = format!("{}{owner}", link::WORKER_PREFIX).into();
        let way = Way {
            over: Some((Held { holder: owner, stream: TIE }, address)),
            request_uri: format!("sip:{number}@{address}"),
            to: format!("<sip:{number}@{address}>"),
            number,
            patience: self.config.no_response.saturating_mul(4),
            ..Way::beside_trunks(name, address, Transport::Tcp, listener)
        };
        if let Err(refusal) = self.send_invite(now, key, way, &[], out) {
            self.end_refused(now, key, &refusal, out);
        }
    }

    /// What has come over the tie may only take a leg's place.
    pub(crate) fn refuse_tied(&mut self, now: Time, leg: sip::LegId) {
        self.refuse(now, leg, &Refusal::dialog(481, "nothing to be replaced"));
    }

    /// A call that another shard is to be asked about: by an INVITE that came from outside.
    pub(crate) fn note_elsewhere(&mut self, key: Key) {
        let invite = self.calls.get(key).and_then(|call| call.invite.parse().ok());
        let Some(replaces) = invite.and_then(|message| Replaces::of(&message).ok().flatten()) else { return };
        if let Some(call) = self.calls.get_mut(key) {
            call.transferring.replaces = Some(replaces);
        }
    }

    /// Puts what the endpoint has to say over a connection that another shard holds into the mail.
    pub(crate) fn mail_out(
        me: u16,
        holder: u16,
        stream: StreamId,
        remote: core::net::SocketAddr,
        bytes: &[u8],
        out: &mut Outbox<Mail>,
    ) {
        let bytes: Box<[u8]> = bytes.into();
        let mail = if stream == TIE {
            Mail::Tied { from: me, bytes }
        } else {
            Mail::Write { stream, remote, bytes }
        };
        out.mail(Mailbox(holder), mail);
    }
}
