//! What Session-ID says in the messages of a leg (RFC 7989): the owner tells it, each message of ours repeats it.

use super::{Endpoint, compose};
use crate::event::LegId;
use crate::session_id::{SessionId, Uuid};
use std::io::Write as _;

impl Endpoint {
    /// Has every message of a leg say from now on that `ours` speaks to `theirs`, seen from this side of the leg. The INVITE
    /// that begins an outgoing leg is sent before: it has to say so among its own header fields.
    pub fn set_session_id(&mut self, leg: LegId, ours: Uuid, theirs: Uuid) {
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.session_id = Some(Box::new(SessionId { local: ours, remote: Some(theirs) }));
        }
    }
}

/// Appends the line, if there is one.
pub(crate) fn line(out: &mut Vec<u8>, session: Option<&SessionId>) {
    if let Some(session) = session {
        compose::parts(out, &[b"Session-ID: "]);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{session}\r\n");
    }
}
