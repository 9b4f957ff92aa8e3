//! An outgoing call whose INVITE is challenged: sent once more with credentials (RFC 3261 §22.2 and §22.3).

use super::clients::Owner;
use super::{Endpoint, compose};
use crate::auth::{Account, Answerer};
use crate::error::LegError;
use crate::event::{Flow, LegId, LegState};
use crate::message::{Message, Method, Name, unfold};
use crate::transaction::key::OwnToken;
use sansio::{Key, Time};
use std::sync::Arc;

/// What a leg needs to answer challenges.
#[derive(Debug)]
pub(crate) struct Challenged {
    answerer: Answerer,
    /// The INVITE as it was sent first.
    invite: Box<[u8]>,
}

impl Challenged {
    /// Bytes of the INVITE that is kept.
    pub(crate) const fn len(&self) -> usize {
        self.invite.len()
    }
}

impl Endpoint {
    /// Has challenges (401, 407) to an outgoing call answered with this account, each realm once; to be called right
    /// after `invite`. A challenge that cannot be answered fails the call with its status.
    ///
    /// # Errors
    /// The leg is unknown, or is no outgoing call without a final answer.
    pub fn authenticate_as(&mut self, leg: LegId, account: Arc<Account>) -> Result<(), LegError> {
        let state = self.legs.get_mut(leg.0).ok_or(LegError::Unknown)?;
        let client = state.invite.filter(|_| state.outgoing && state.challenged.is_none());
        let client = client.and_then(|key| self.clients.get(key)).ok_or(LegError::WrongState)?;
        self.held += client.bytes.len() as u64;
        let (answerer, invite) = (Answerer::new(account), client.bytes.clone());
        state.challenged = Some(Box::new(Challenged { answerer, invite }));
        Ok(())
    }

    /// Answers the challenge to a leg's INVITE with a new INVITE: same Call-ID, From and To, CSeq one higher
    /// (RFC 3261 §8.1.3.5). `false` if it cannot be answered.
    pub(crate) fn answer_challenge(
        &mut self,
        now: Time,
        key: Key,
        leg_key: Key,
        response: &Message<'_>,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(leg_key) else { return false };
        if leg.invite != Some(key) || leg.state == LegState::Cancelling {
            return false;
        }
        let Some(mut challenged) = leg.challenged.take() else { return false };
        let sent = challenged.answerer.take(response)
            && self.invite_again(now, key, leg_key, &mut challenged).is_some();
        self.stats.challenges_answered += u64::from(sent);
        match self.legs.get_mut(leg_key) {
            Some(leg) => leg.challenged = Some(challenged),
            None => self.held -= challenged.len() as u64,
        }
        sent
    }

    fn invite_again(&mut self, now: Time, key: Key, leg_key: Key, challenged: &mut Challenged) -> Option<()> {
        let Challenged { answerer, invite } = challenged;
        let invite = Message::parse(invite).ok()?;
        let late_offer = self.clients.get(key)?.late_offer;
        let leg = self.legs.get_mut(leg_key)?;
        let (flow, cseq) = (leg.flow, leg.dialog.next_cseq());
        let uri = core::str::from_utf8(invite.request_uri()).ok()?;
        let fields = answerer.fields("INVITE", uri, self.random.u64());
        let (new, token) = self.client_insert(Method::Invite, Owner::Invite(leg_key), flow, cseq)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        rewrite(&mut out, &invite, &flow, cseq, &token);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let fits = compose::headers(&mut out, &fields);
        if fits {
            compose::parts(&mut out, &[b"\r\n", invite.body()]);
            if let Some(client) = self.clients.get_mut(new) {
                client.late_offer = late_offer;
            }
            self.client_start(now, new, &out);
            if let Some(leg) = self.legs.get_mut(leg_key) {
                leg.invite = Some(new);
            }
        } else {
            self.client_remove(new);
        }
        self.scratch = out;
        fits.then_some(())
    }
}

/// Appends an INVITE of ours with another branch and CSeq number, up to the end of its last field.
fn rewrite(out: &mut Vec<u8>, invite: &Message<'_>, flow: &Flow, cseq: u32, token: &OwnToken) {
    compose::parts(out, &[b"INVITE ", invite.request_uri(), b" SIP/2.0\r\n"]);
    for field in invite.fields() {
        match field.name {
            Name::CSeq => compose::cseq(out, cseq, b"INVITE"),
            Name::Via => {
                // The branch stands last in what we write.
                let end = field.value.windows(7).position(|part| part == b"branch=");
                let head = &field.value[..end.unwrap_or(field.value.len())];
                // Over TCP it may have gone for its size alone (RFC 3261 §18.1.1).
                let by = head.iter().position(|&byte| byte == b' ').map_or(head, |at| &head[at..]);
                let transport = flow.transport.via().as_bytes();
                compose::parts(out, &[b"Via: SIP/2.0/", transport, by, b"branch=", &token.branch(), b"\r\n"]);
            }
            _ => compose::parts(out, &[field.spelling, b": ", &unfold(field.value), b"\r\n"]),
        }
    }
}
